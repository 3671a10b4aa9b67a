"""Feedback on a quiet topic: it is applied soon, although no event brings a barrier.

Labels wait for event time, so that none overtakes its event while a backlog is processed, and for a barrier.
Both come with events. Where few come, a barrier is made by command: it is in the journal as all others, and
a recovery makes it at the same place.

    first seen            the feedback that is there, and where the log ends at that moment
    `QUIET_S` later       if everything before that end is processed, a barrier applies that feedback

Nobody answers an event that is not in the log yet, so no answer overtakes its event here either.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from detector.core.recovery.sides import Side
from detector.ports import SideLog
from detector.shell.runner.owned import Owned
from detector.shell.runner.shared import Shared

# From the moment at which feedback is seen to the barrier by command. What comes meanwhile waits for the next
# one: with `SPREAD_S` that is 8 s at most, and 2 s are left for the barrier and its commit.
QUIET_S = 3.0
# The partitions of a process take turns within this time, or all of them would stop at once.
SPREAD_S = 1.0
# Seconds between two notes of when feedback came, and how many notes are kept: those of the last hour at
# least. Feedback from before the oldest note is given that note's time.
SEEN_S, SEEN_MAX = 1.0, 4096


class _Seen(NamedTuple):
    """When the feedback before a position was first seen."""

    end: int
    at_s: float  # monotonic


@dataclass(frozen=True, slots=True)
class _Wait:
    since_s: float  # monotonic
    log_end: int  # of the transactions, when the wait began
    ends: Mapping[Side, int]  # of the side topics, then


class QuietTopics:
    """Tells for which partitions a barrier by command is due.

    Parameters
    ----------
    logs
        The side topics that are configured.
    live
        Barriers may depend on the clock. A file's must not.
    answers_all
        At the end of a finite log all feedback is applied, whatever its time.
    """

    def __init__(
        self, shared: Shared, logs: Mapping[Side, SideLog], *, live: bool, answers_all: bool
    ) -> None:
        self._live, self._answers_all = live, answers_all
        self._stream, self._calls, self._clock = shared.stream, shared.calls, shared.clock
        self._telemetry, self._logs = shared.telemetry, logs
        self._waits: dict[int, _Wait] = {}  # by partition
        self._seen: deque[_Seen] = deque(maxlen=SEEN_MAX)
        self._made_s = -inf  # monotonic time of the last barrier by command
        self._ended = False
        self.answered = False  # whether a barrier was made in this turn

    def begin(self, *, ended: bool) -> None:
        """Begin a turn; `ended`: the logs have ended, so nothing needs to wait."""
        self._ended, self.answered = ended and self._answers_all, False

    def due(self, owned: Owned) -> Mapping[Side, int] | None:
        """Ends of the side topics that a barrier by command should apply now; None: none is due.

        Raises
        ------
        OutsideError
            The broker does not say where the log ends.
        """
        number = owned.number
        if not (self._live or self._ended) or not owned.caught_up or owned.partition.follows:
            self._waits.pop(number, None)
            return None
        ends = self._ends()
        wait = self._waits.get(number)
        if wait is None or not _has_more(owned, wait.ends):
            self._waits.pop(number, None)
            if not _has_more(owned, ends):
                return None
            log_end = self._calls.ask(lambda: self._stream.log_end(number))
            wait = self._waits[number] = _Wait(self._clock.monotonic(), log_end, ends)
        if not self._ended and not self._is_time(wait):
            return None
        offset = owned.offset(self._stream)
        return None if offset is None or offset < wait.log_end else wait.ends

    def _is_time(self, wait: _Wait) -> bool:
        now_s = self._clock.monotonic()
        turn_s = SPREAD_S / max(len(self._telemetry.owned), 1)
        return now_s - wait.since_s >= QUIET_S and now_s - self._made_s >= turn_s

    def count(self, owned: Owned) -> None:
        """Count the feedback that has no receipt of this partition yet, for the metrics."""
        if "feedback" in self._logs:
            end = self._logs["feedback"].end(inf)
            self._note_end(end)
            waiting = end - owned.partition.journal.end("feedback")
            standing = self._telemetry.partitions[owned.number].standing
            standing.feedback_pending = max(waiting, 0) + owned.partition.undecided
            standing.feedback_since_s = self._seen_s(owned.partition.answered_to)

    def _note_end(self, end: int) -> None:
        """Note when feedback was first seen: what comes within a second has one time."""
        now_s = self._clock.monotonic()
        if self._seen and (end <= self._seen[-1].end or now_s - self._seen[-1].at_s < SEEN_S):
            self._seen[-1] = self._seen[-1]._replace(end=max(end, self._seen[-1].end))
        else:
            self._seen.append(_Seen(end, now_s))

    def _seen_s(self, position: int) -> float | None:
        """When the record at this position of the feedback topic was first seen; None: there is none yet."""
        found = bisect_right(self._seen, position, key=lambda seen: seen.end)
        return self._seen[found].at_s if found < len(self._seen) else None

    def _ends(self) -> dict[Side, int]:
        return {side: log.end(inf) for side, log in self._logs.items()}

    def done(self, owned: Owned) -> None:
        """Note that the barrier was made."""
        self._waits.pop(owned.number, None)
        self._made_s = self._clock.monotonic()
        self.answered = True


def _has_more(owned: Owned, ends: Mapping[Side, int]) -> bool:
    """Whether a barrier would apply feedback, or decide some."""
    journal = owned.partition.journal
    if ends.get("feedback", 0) > journal.end("feedback"):
        return True
    return owned.partition.undecided > 0 and ends.get("exchange", 0) > journal.end("exchange")
