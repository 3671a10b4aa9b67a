"""Watches the free space of a local checkpoint store: a full disk is seen before a checkpoint fails."""

from __future__ import annotations

from collections.abc import Callable

from detector.core.reporting.telemetry import Telemetry
from detector.errors import DetectorError
from detector.ports import Log
from detector.shell.watch import Watch

LOOK_S = 5.0  # between two looks
ROOM = 2  # free space is short below so many times the largest checkpoints: one more of each, and a margin


class SpaceWatch(Watch):
    """The background thread. Does nothing where the store does not tell its free space.

    Parameters
    ----------
    free_bytes
        Asks the store; None: it does not tell. May block: it is called on the thread only.
    telemetry
        Takes the answer.
    log
        Told of bugs.
    """

    def __init__(self, free_bytes: Callable[[], int | None], telemetry: Telemetry, log: Log) -> None:
        super().__init__("space-watch", log)
        self._free_bytes, self._telemetry = free_bytes, telemetry

    def look(self) -> float | None:
        """Look once; see `Watch`."""
        try:
            free = self._free_bytes()
        except (DetectorError, OSError):  # failed writes are counted where they are made
            self._telemetry.store_free_bytes = None
            return LOOK_S
        self._telemetry.store_free_bytes = free
        return None if free is None else LOOK_S

    def warnings(self) -> tuple[str, ...]:
        """What /readyz must say. May be called from any thread."""
        telemetry, free = self._telemetry, self._telemetry.store_free_bytes
        ours = [telemetry.partitions[number] for number in telemetry.owned]
        needed = ROOM * sum(numbers.checkpoints.largest for numbers in ours)
        if free is None or (free > needed and free > 0):
            return ()
        return (
            f"the checkpoint store has {free} bytes free, checkpoints may need {needed}: make room, or the "
            "next start replays all events since the last checkpoint that was written",
        )
