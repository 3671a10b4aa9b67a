"""What all parts of one runner share."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, field

from detector.core.reporting.counting import StageTimer
from detector.core.reporting.telemetry import Telemetry
from detector.ports import Clock, Log, Stream
from detector.shell.objects import Objects
from detector.shell.runner.owned import Owned
from detector.shell.runner.stopping import StoppableCalls


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """The world, the numbers, and the partitions of this process."""

    stream: Stream
    objects: Objects
    executor: Executor  # for checkpoints and configurations: one background thread
    calls: StoppableCalls
    clock: Clock
    telemetry: Telemetry
    timer: StageTimer
    log: Log
    owned: dict[int, Owned] = field(default_factory=dict)  # by number; the loop and the restorer change it
    assigned: dict[int, float] = field(default_factory=dict)  # not restored yet; since when, monotonic s
