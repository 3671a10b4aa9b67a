"""What the service, replays and audits share: keys, threads, warm start, signals."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Self, TypeVar

from detector.config.formats import WITH_SCHEMAS
from detector.config.secrets import resolve_secrets
from detector.config.tree import Config
from detector.core.jobs import Lanes, Result
from detector.core.records import Record
from detector.core.recovery.sides import SIDES, Side
from detector.core.reporting.telemetry import Histogram
from detector.core.shard.transfer import obstacles
from detector.core.shard.warm_start import Model, read_model
from detector.errors import (
    CheckpointDamaged,
    ConfigError,
    Problem,
)
from detector.ports import SideLog
from detector.shell.background import BackgroundThread
from detector.shell.clock import SystemClock
from detector.shell.kafka import KafkaSideLog, TimeOf, TopicReader
from detector.shell.registry import RegistryClient

T = TypeVar("T")

# Used when no secret is configured. It is public: entity values can be guessed from their hashes.
DEVELOPMENT_KEY = b"detector development key: not a secret"
RETENTION_MARGIN_S = 3 * 86_400.0  # a weekend
# What a signal does to a program that does not handle it.
USUAL: Mapping[int, Any] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}


def entity_key(secret: str | None) -> bytes:
    """Derive the key of the entity hashes, 32 bytes, from a secret of any length."""
    return hashlib.sha256(DEVELOPMENT_KEY if secret is None else secret.encode()).digest()


def check_no_shadow(config: Config, allowed: str) -> None:
    """Refuse what would reach people or the service from the configuration of a shadow.

    Raises
    ------
    ConfigError
    """
    if config.shadow is not None:
        raise ConfigError("configuration", [Problem(path="shadow", value=config.shadow, allowed=allowed)])


def recovery_s(config: Config) -> float:
    """How long topics that are read must be kept, s: the oldest checkpoint may be needed, and a weekend."""
    checkpoints = config.checkpoints
    return max(checkpoints.interval, checkpoints.age_max) * checkpoints.keep + RETENTION_MARGIN_S


def side_logs(
    config: Config, password: str | None, key_password: str | None, times: Mapping[Side, TimeOf]
) -> dict[Side, SideLog]:
    """Make the logs of the configured side topics.

    Parameters
    ----------
    times
        Reads a record's time, for side inputs whose records wait for the shard's event time.
    """
    topics: dict[Side, str | None] = {side: getattr(config.topics, side) for side in SIDES}
    return {
        side: KafkaSideLog(config, topic, password, key_password, time_of=times.get(side))
        for side, topic in topics.items()
        if topic is not None
    }


def topic_records(
    config: Config,
    environ: Mapping[str, str],
    topics: Sequence[str],
    since_s: float | None = None,
    *,
    follow: bool = False,
) -> Generator[Sequence[tuple[str, int, Record]]]:
    """Yield topic, partition and record of topics, in batches; see `TopicReader.records`.

    Raises
    ------
    OperatorError
        Credentials.
    OutsideError
        Kafka is unavailable.
    """
    secrets = resolve_secrets(config, environ)
    with closing(TopicReader(config, topics, secrets.password, secrets.key_password)) as reader:
        yield from reader.records(since_s, follow=follow)


def registry_client(config: Config, password: str | None, key_password: str | None) -> RegistryClient | None:
    """Make the client of the configured schema registry, for formats that need one; it connects later."""
    if config.registry is None or config.event.format not in WITH_SCHEMAS:
        return None
    return RegistryClient(
        config.registry, password, key_password, SystemClock(), compiles=config.event.format == "protobuf"
    )


@contextmanager
def job_lanes(wait_s: float, refits: Histogram) -> Iterator[Lanes]:
    """Threads for training and for promotion. At the end, jobs under way have `wait_s` to end.

    Parameters
    ----------
    refits
        Gets the seconds that each job of promotion takes.
    """
    threads = BackgroundThread("training"), BackgroundThread("promotion")
    clock = SystemClock()

    def timed(job: Callable[[], T], /) -> Result[T]:
        def run() -> T:
            began_s = clock.monotonic()
            result = job()
            refits.observe(clock.monotonic() - began_s)
            return result

        return threads[1].lane(run)

    try:
        yield Lanes(threads[0].lane, timed)
    finally:
        for thread in threads:
            thread.drain(wait_s)


class ModelFile(NamedTuple):
    """A model that new partitions begin with."""

    path: Path  # written by `detector checkpoint export`
    encoder_only: bool = False  # nothing else of it is taken, also where fields and settings are the same


def read_warm_start(start: ModelFile | None, config: Config) -> Model | None:
    """Read the model file of a warm start; None gives None.

    Raises
    ------
    ConfigError
        It cannot be read, or nothing of it can be taken. Lists all reasons.
    NeedsOperator
        It is of a newer version.
    """
    if start is None:
        return None
    file, encoder_only = start
    allowed = "a file written by `detector checkpoint export`"
    try:
        model = read_model(file.read_bytes())
    except (OSError, CheckpointDamaged) as error:
        found = f"{file} ({getattr(error, 'strerror', None) or error})"
        raise ConfigError(
            "command line", [Problem(path="--warm-start", value=found, allowed=allowed)]
        ) from None
    wanted = config.model_part(1)
    if problems := obstacles(model.config, wanted):
        raise ConfigError(f"--warm-start {file}", problems)
    return replace(model, encoder_only=encoder_only)


class Signals:
    """Calls a function at the first SIGTERM or SIGINT, even if it came before the function was set.

    A second signal has its usual effect.

    Parameters
    ----------
    end_s
        Time from the signal to the end of the process, s. Then `leave` ends it, whatever it does: nothing is
        lost, as after a kill. None: it may take as long as it does.
    leave
        Ends the process; takes the exit code.
    """

    def __init__(self, end_s: float | None = None, leave: Callable[[int], object] = os._exit) -> None:
        self._end_s, self._leave = end_s, leave
        self._asked = False
        self._stop: Callable[[], None] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in USUAL:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def call(self, stop: Callable[[], None]) -> None:
        """Call `stop` at the signal; at once if there was one already."""
        self._stop = stop
        if self._asked:
            stop()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        signal.signal(number, USUAL[number])
        self._asked = True
        if self._end_s is not None:
            end = threading.Timer(self._end_s, self._leave, (0,))
            end.daemon = True
            end.start()
        if self._stop is not None:
            self._stop()
