"""Where a partition stands in its log, and what is known of its checkpoints.

Three threads know a part of it: the loop writes how far it is (`Standing`), another one asks the broker for
the end of the log (`LogEnd`), and a scrape compares the two with the clock. So lag and ages go on growing
while the loop or the broker stands still. What is not known is None, never 0.

Times are monotonic seconds unless they are said to be others.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

STATES = ("restoring", "replaying", "running", "waiting")
FAILURES = ("full", "denied", "timeout", "unavailable")
"""Why a checkpoint was not written: no room, no permission, no answer in time, anything else."""

LOOKS_MAX = 512  # of one log, 42 minutes at one look in 5 s; beyond it every second one is forgotten


class LogEnd:
    """The end of one partition's log, as the broker told it from time to time.

    Written by one thread, read by any.
    """

    def __init__(self) -> None:
        self.asked_s: float | None = None  # when the broker last told
        self._looks: tuple[tuple[int, float], ...] = ()  # end, when it was first seen; both ascending

    def note(self, now_s: float, end: int, processed: int | None) -> None:
        """Take in an answer.

        Parameters
        ----------
        now_s
            When the broker was asked.
        end
            Offset after the log's last record.
        processed
            Offset of the next record to process; None when not known.
        """
        looks = self._looks
        if looks and end < looks[-1][0]:
            looks = ()  # the log was cut, or the topic was made anew
        if not looks or end > looks[-1][0]:
            looks = (*looks, (end, now_s))
        if processed is not None:  # the last look at which nothing waited, and all after it
            looks = looks[max(bisect_right(looks, (processed, float("inf"))) - 1, 0) :]
        if len(looks) > LOOKS_MAX:  # the first two tell when the oldest waiting record came
            looks = (*looks[:2], *looks[2:-1:2], looks[-1])
        self._looks, self.asked_s = looks, now_s

    @property
    def end(self) -> int | None:
        """Offset after the log's last record."""
        looks = self._looks
        return looks[-1][0] if looks else None

    def lag(self, processed: int | None) -> int | None:
        """Records that wait: offsets from `processed` to the end."""
        end = self.end
        return None if end is None or processed is None else max(end - processed, 0)

    def grown_s(self) -> float | None:
        """When the newest record came, at the latest: when the end was first seen where it is."""
        looks = self._looks
        return looks[-1][1] if looks else None

    def waits_since_s(self, processed: int | None) -> tuple[float | None, bool]:
        """When the oldest waiting record was first seen.

        Returns
        -------
        since_s
            None when nothing waits, or when it is not known.
        exact
            Whether the look before did not see it. Else it was there at the first look already.
        """
        looks = self._looks
        if processed is None or not looks or looks[-1][0] <= processed:
            return None, True
        first = bisect_right(looks, (processed, float("inf")))
        return looks[first][1], first > 0


@dataclass(kw_only=True, slots=True)
class Standing:
    """What the loop knows of a partition that it has."""

    state: str = STATES[0]
    progress: float = 0.0  # share of the replay that is done, 0 to 1
    processed: int | None = None  # committed offset, or where a partition that was never committed begins
    newest_ms: int = 0  # log time of the newest record processed, ms since the epoch; 0: none yet
    position: int = -1  # offset after the last record that was taken
    assigned_s: float | None = None
    moved_s: float | None = None  # when `position` last moved
    feedback_pending: int | None = None  # feedback records that were not read, or have no receipt yet
    feedback_since_s: float | None = None  # when the oldest of them was first seen; None: there is none

    def lag_seconds(self, log: LogEnd, now_s: float, wall_s: float) -> float | None:
        """Age of the oldest record that waits, s; 0 when none does, None when not known.

        It counts from the first look that saw the record. A record that the first look of all saw came
        earlier: then the log time of the newest processed record is used, where there is one.
        """
        lag = log.lag(self.processed)
        if not lag:
            return None if lag is None else 0.0
        since_s, exact = log.waits_since_s(self.processed)
        seen = 0.0 if since_s is None else max(now_s - since_s, 0.0)
        return seen if exact or not self.newest_ms else max(wall_s - self.newest_ms / 1000.0, seen)


@dataclass(kw_only=True, slots=True)
class CheckpointNumbers:
    """Checkpoints of one partition."""

    since_s: float | None = None  # when the newest one was written; before the first: the assignment
    bytes: int | None = None  # what the newest one wrote
    largest: int = 0  # what one wrote at most: a whole state
    journal_bytes: int | None = None  # size of the committed journal
    failures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FAILURES, 0))  # by kind
