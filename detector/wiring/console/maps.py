"""Maps of the embedding for the console: drawn by a process of its own, seldom, from the newest checkpoint.

The console has no model. `detector embedding map` restores one outside of the group, writes what it draws as
data, and ends, and its memory with it. One map is drawn at a time; one that is asked for meanwhile, or is
older than `console.map_every`, is drawn in the background, and the page shows what there is until then.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from detector.config.load import effective
from detector.config.tree import Config
from detector.console.views import EmbeddingPicture, Spot
from detector.ports import Clock, Log

DRAWN_S = 180.0  # a process that takes longer is ended
BYTES_MAX = 16 << 20
FAILED_S = 60.0  # until a map that could not be drawn is tried again
PARTITIONS_MAX = 64  # of which a map is kept
NICE = 10  # the service may run on the same machine
SENTENCE_CHARS_MAX = 500
DRAWING = "It is being drawn from the newest checkpoint. Look again in a minute."


class _Dot(msgspec.Struct):
    x: float
    y: float
    offset: int


class _Cluster(msgspec.Struct):
    x: float
    y: float
    events: int
    age_s: float | None


class _Drawn(msgspec.Struct):
    """What the console takes of `map.json`."""

    clusters: list[_Cluster]
    alerts: list[_Dot]
    frauds: list[_Dot]
    said: list[str]
    newest: float


@dataclass(frozen=True, slots=True)
class _Kept:
    picture: EmbeddingPicture
    until_s: float  # monotonic


class Maps:
    """Maps by partition. Safe to use from several threads; each call is quick.

    Parameters
    ----------
    config
        With `console.map_every`; the process gets the same one.
    """

    def __init__(self, config: Config, environ: Mapping[str, str], clock: Clock, log: Log) -> None:
        self._config, self._environ, self._clock, self._log = config, environ, clock, log
        self._lock, self._drawing = threading.Lock(), threading.Lock()
        self._kept: dict[int, _Kept] = {}

    def __call__(self, partition: int) -> EmbeddingPicture:
        """Give the map of a partition, as far as there is one."""
        with self._lock:
            kept = self._kept.get(partition)
            if kept is not None and self._clock.monotonic() < kept.until_s:
                return kept.picture
        if self._drawing.acquire(blocking=False):
            threading.Thread(target=self._draw, args=(partition,), name="map", daemon=True).start()
        if kept is None:
            return EmbeddingPicture(why=DRAWING)
        return kept.picture

    def _draw(self, partition: int) -> None:
        try:
            self._keep(partition, self._drawn(partition))
        except OSError as error:  # no room for its files, no process to be had
            self._keep(partition, EmbeddingPicture(why=f"It could not be drawn: {error}"))
        finally:
            self._drawing.release()

    def _keep(self, partition: int, picture: EmbeddingPicture) -> None:
        assert self._config.console.map_every is not None
        lasts_s = self._config.console.map_every if not picture.why else FAILED_S
        with self._lock:
            self._kept.pop(partition, None)
            self._kept[partition] = _Kept(picture, self._clock.monotonic() + lasts_s)
            while len(self._kept) > PARTITIONS_MAX:
                del self._kept[next(iter(self._kept))]
        self._log.info("map_drawn", partition=partition, why=picture.why)

    def _drawn(self, partition: int) -> EmbeddingPicture:
        with tempfile.TemporaryDirectory(prefix="detector-console-map-") as name:
            folder = Path(name)
            file, out = folder / "map.yaml", folder / "map.json"
            file.write_text(effective(self._config))
            command = [sys.executable, "-m", "detector", "embedding", "map", "--config", str(file)]
            command += ["--partition", str(partition), "--out", str(out)]
            try:
                done = subprocess.run(
                    command, env=dict(self._environ), capture_output=True, timeout=DRAWN_S, check=False,
                    stdin=subprocess.DEVNULL, preexec_fn=_behind,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                return EmbeddingPicture(why=f"It was not drawn within {DRAWN_S:g} s.")
            if done.returncode:
                said = done.stderr.decode("utf-8", "replace").strip().removeprefix("detector: ")
                return EmbeddingPicture(why=said[-SENTENCE_CHARS_MAX:] or "It could not be drawn.")
            return read_picture(out, self._clock.time())


def read_picture(path: Path, made_s: float) -> EmbeddingPicture:
    """Read what `detector embedding map --out map.json` has written.

    Parameters
    ----------
    made_s
        When, s since the epoch.
    """
    try:
        with path.open("rb") as stream:
            drawn = msgspec.json.decode(stream.read(BYTES_MAX), type=_Drawn)
    except (OSError, msgspec.MsgspecError) as error:
        return EmbeddingPicture(why=f"What was drawn cannot be read: {error}")
    ages = sorted(one.age_s for one in drawn.clusters if one.age_s is not None)
    return EmbeddingPicture(
        made_s=made_s,
        newest_s=drawn.newest,
        clusters=[
            Spot(x=one.x, y=one.y, events=one.events, rank=_rank(one.age_s, ages)) for one in drawn.clusters
        ],
        alerts={dot.offset: (dot.x, dot.y) for dot in drawn.alerts},
        frauds={dot.offset: (dot.x, dot.y) for dot in drawn.frauds},
        said=drawn.said,
    )


def _rank(age_s: float | None, ages: list[float]) -> int:
    """Which third by age, the youngest is 0."""
    if age_s is None or not ages:
        return 0
    return sum(age_s > ages[len(ages) * part // 3] for part in (1, 2))


def _behind() -> None:
    os.nice(NICE)
