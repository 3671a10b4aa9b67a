"""What the log says of rejected records: few lines, however many records there are.

A dead letter has everything about its record. The log has a line for the first rejection of a partition with
some reason, and then at most one a minute, with the number of records since the line before.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from detector.core.records import Outputs
from detector.ports import Clock, Log

LOG_AGAIN_S = 60.0  # between two lines about one partition and reason


class RejectionLog:
    """Logs `events_rejected`. Reasons are few, so it stays small."""

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log, self._clock = log, clock
        self._logged_s: dict[tuple[int, str], float] = {}
        self._waiting: dict[tuple[int, str], tuple[int, int]] = {}  # how many since then, and the first one

    def note(self, partition: int, batch: Sequence[Outputs]) -> None:
        """Take note of the dead letters that a commit published; log what is due."""
        for outputs in batch:
            for letter in outputs.dead_letters:
                count, first = self._waiting.get((partition, letter.reason), (0, letter.offset))
                self._waiting[partition, letter.reason] = count + 1, first
        if not self._waiting:
            return
        now_s = self._clock.monotonic()
        for key, (count, first) in list(self._waiting.items()):
            if now_s - self._logged_s.get(key, -inf) >= LOG_AGAIN_S:
                self._logged_s[key] = now_s
                del self._waiting[key]
                self._log.warning(
                    "events_rejected", partition=key[0], reason=key[1], count=count, first_offset=first
                )
