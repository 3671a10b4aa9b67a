"""Inputs of the peers: the same events as rows of numbers.

    plain      the numeric fields as they are; missing: 0
    features   all inputs of our encoder that need no labels, made by the service's own profiles in the order
               of the stream
    compact    the few features that suit detectors which weigh all columns equally: the values, their
               deviations from the main entity's profile, time since its last event, its decayed counts; only
               where there are entities

A row uses nothing later than its event, except the units of the numeric scale, which are read from the first
block, as the service reads them at its first barrier.

The rows lie in files of the run's scratch folder, mapped into memory: a stream may be larger than memory.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from benchmarks.quality.streams import Facts, FactsBuilder, Stream, blocks
from detector.core.events import Events, EventTime
from detector.core.events.event_time import update_time
from detector.core.features import Features, Layout, Profiles, Units, to_rows

SETS = ("plain", "compact", "features")

Matrix = npt.NDArray[np.float32]


def prepare(stream: Stream, scratch: Path, sets: tuple[str, ...] = ()) -> tuple[Facts, dict[str, Matrix]]:
    """Read a stream once: facts of its n events, and the wanted sets of columns, (n, F) each.

    A set that the stream does not have is left out.

    Raises
    ------
    InputError
        No labelled event is in the stream.
    """
    facts, builder = FactsBuilder(stream), _Builder(stream)
    files: dict[str, BinaryIO] = {}
    with ExitStack() as opened:
        if sets:
            for name in ("plain", "features"):
                files[name] = opened.enter_context((scratch / name).open("wb"))
        for events in blocks(stream):
            facts.add(events)
            if sets:
                plain, features = builder.add(events)
                files["plain"].write(plain.tobytes())
                files["features"].write(features.tobytes())
    found = facts.build()
    if not sets:
        return found, {}
    widths = {"plain": builder.plain_count, "features": builder.features.plain_count}
    matrices: dict[str, Matrix] = {
        name: np.memmap(scratch / name, dtype=np.float32, mode="r", shape=(len(found.ids), width))
        for name, width in widths.items()
        if width
    }
    if found.card is not None and "features" in matrices:
        matrices["compact"] = matrices["features"][:, builder.compact]
    return found, {name: matrices[name] for name in SETS if name in sets and name in matrices}


class _Builder:
    """Makes rows, block by block."""

    def __init__(self, stream: Stream) -> None:
        config = stream.config.model.features
        self._layout = Layout(stream.config.event, config)
        self._profiles = Profiles(self._layout, config)
        self._time = EventTime()
        self._units: Units | None = None
        self.features = Features(self._layout)
        self.plain_count = len(self._layout.numerics)

    @property
    def compact(self) -> list[int]:
        """Columns of `features`."""
        values = [value.name for value in self._layout.numerics]
        main = self._layout.entities[0]
        longest = f"{self._layout.half_lives_s[-1] / 86_400.0:g}d"
        exact = set(values) | {f"{value} against {main} {longest}" for value in values} | {f"{main} gap"}
        names = enumerate(self.features.names)
        return [n for n, name in names if name in exact or name.startswith(f"{main} count ")]

    def add(self, events: Events) -> tuple[Matrix, Matrix]:
        """Return the block's plain columns and features."""
        raw = events.numerics
        if self._units is None:
            self._units = Units.read(raw)
        rows = to_rows(events, self._layout, self._units)
        time = self._time
        bounded = [update_time(time.last, time.held, sent)[0] for sent in events.times]
        rows = replace(rows, times=np.array(bounded))
        self._profiles.reserve(len(rows))
        self._profiles.observe(rows)
        features = self.features.compute(rows)[:, : self.features.plain_count]
        self._profiles.update_priors(rows.take(slice(len(rows) - 1, len(rows))))
        limit = np.finfo(np.float32).max
        plain = np.clip(np.nan_to_num(raw, nan=0.0), -limit, limit).astype(np.float32)
        return plain, features
