"""What the service, replays and audits share: keys, threads, warm start, signals."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Self

from detector.config.formats import WITH_SCHEMAS
from detector.config.tree import Config
from detector.core.jobs import Lanes
from detector.core.recovery.sides import SIDES, Side
from detector.core.shard.warm_start import Model, differences, read_model
from detector.errors import (
    CheckpointDamaged,
    ConfigError,
    Problem,
)
from detector.ports import SideLog
from detector.shell.background import BackgroundThread
from detector.shell.clock import SystemClock
from detector.shell.kafka import KafkaSideLog, TimeOf
from detector.shell.registry import RegistryClient

# Used when no secret is configured. It is public: entity values can be guessed from their hashes.
DEVELOPMENT_KEY = b"detector development key: not a secret"


def entity_key(secret: str | None) -> bytes:
    """Derive the key of the entity hashes, 32 bytes, from a secret of any length."""
    return hashlib.sha256(DEVELOPMENT_KEY if secret is None else secret.encode()).digest()


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


def registry_client(config: Config, password: str | None, key_password: str | None) -> RegistryClient | None:
    """Make the client of the configured schema registry, for formats that need one; it connects later."""
    if config.registry is None or config.event.format not in WITH_SCHEMAS:
        return None
    return RegistryClient(
        config.registry, password, key_password, SystemClock(), compiles=config.event.format == "protobuf"
    )


def background_lanes() -> Lanes:
    """Threads for training and for promotion."""
    return Lanes(BackgroundThread("training").lane, BackgroundThread("promotion").lane)


def read_warm_start(file: Path | None, config: Config) -> Model | None:
    """Read the model file of a warm start; None gives None.

    Raises
    ------
    ConfigError
        It cannot be read, or was learned with other settings. Lists all that differ.
    NeedsOperator
        It is of a newer version.
    """
    if file is None:
        return None
    allowed = "a file written by `detector checkpoint export`"
    try:
        model = read_model(file.read_bytes())
    except (OSError, CheckpointDamaged) as error:
        found = f"{file} ({getattr(error, 'strerror', None) or error})"
        raise ConfigError(
            "command line", [Problem(path="--warm-start", value=found, allowed=allowed)]
        ) from None
    problems = [
        Problem(path=key, value=here, allowed=f"{there}, as in the model file")
        for key, there, here in differences(model, config.model_part(1))
    ]
    if problems:
        raise ConfigError(f"--warm-start {file}", problems)
    return model


class Signals:
    """Calls a function at the first SIGTERM or SIGINT, even if it came before the function was set."""

    def __init__(self) -> None:
        self._asked = False
        self._stop: Callable[[], None] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
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
        signal.signal(number, self._before[number])  # a second signal has its usual effect
        self._asked = True
        if self._stop is not None:
            self._stop()
