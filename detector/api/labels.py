"""Labels that wait for a barrier, and what became of earlier ones."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from detector.api.alerts import Alert
from detector.api.frames import EXPECTED, Frame
from detector.core.labels.commands import Malformed, feedback_time, read_command
from detector.core.records import Outputs
from detector.core.recovery.sides import SideRange, SideRecords
from detector.errors import UsageError

WAITING_MAX = 1_000_000  # labels that wait; a record has about 100 bytes
RECEIPTS_MAX = 10_000  # newest receipts kept until they are asked for


class Labels:
    """The side input of one shard: labels in the order in which they are applied.

    Rules
        - A label that was given by hand is applied at the next barrier.
        - Labels of a replay wait until event time is after their own time, as in `detector replay`.

    Parameters
    ----------
    applied
        Position up to which the shard has applied labels.
    """

    def __init__(self, applied: int = 0) -> None:
        self._applied = applied
        self._waiting: list[tuple[float, int, bytes]] = []  # event time from which on, order, record
        self._given = 0
        self.outcomes: Counter[str] = Counter()
        self._receipts: deque[bytes] = deque(maxlen=RECEIPTS_MAX)

    def __len__(self) -> int:
        """Labels that wait."""
        return len(self._waiting)

    def give(self, records: Sequence[bytes], *, timed: bool) -> None:
        """Add records.

        Parameters
        ----------
        timed
            Each waits for its own time.

        Raises
        ------
        UsageError
            One of them is no label, or too many wait. Nothing is added.
        """
        for number, record in enumerate(records):
            if isinstance(read := read_command(record), Malformed):
                shown = record[:120].decode(errors="replace")
                raise UsageError(f"label {number} cannot be read: {read.why}: {shown}")
        if len(self) + len(records) > WAITING_MAX:
            raise UsageError(f"more than {WAITING_MAX:,} labels would wait for a barrier: give fewer at once")
        for record in records:
            seconds = feedback_time(record) if timed else None
            release = -math.inf if seconds is None else seconds
            insort(self._waiting, (release, self._given, record))
            self._given += 1

    def available(self, event_time: float) -> SideRange:
        """Positions that a barrier at this event time may apply."""
        count = bisect_left(self._waiting, (event_time, -1, b""))
        return SideRange(self._applied, self._applied + count)

    def read(self, wanted: SideRange) -> SideRecords:
        """Position and value of the records in a range that begins after the last one applied."""
        count = wanted.stop - self._applied
        return [(self._applied + i, record) for i, (_, _, record) in enumerate(self._waiting[:count])]

    def done(self, wanted: SideRange, outputs: Outputs) -> None:
        """Drop what was applied, and count what became of it."""
        del self._waiting[: wanted.stop - self._applied]
        self._applied = wanted.stop
        outcomes = outputs.side_outcomes.get("feedback", {})
        self.outcomes.update({name: count for name, count in outcomes.items() if count and name != "read"})
        self._receipts += [receipt.body for receipt in outputs.receipts]

    def receipts(self) -> list[bytes]:
        """Bodies of the receipts since the last call, at most RECEIPTS_MAX."""
        receipts = list(self._receipts)
        self._receipts.clear()
        return receipts


def names_event(event: Any) -> dict[str, Any]:
    """The part of a feedback record that names the event."""
    if isinstance(event, Alert):
        source = event.body["source"]
        return {"topic": source["topic"], "partition": source["partition"], "offset": source["offset"]}
    if isinstance(event, bool) or not isinstance(event, str | int | np.integer):
        raise UsageError(f"got a {type(event).__name__}, expected an alert or an event's id")
    return {"event_id": event if isinstance(event, str) else int(event)}


def seconds_of(time: str | float | datetime | None, now: float) -> str | float:
    """A time of feedback; None: that of the stream, `now`, s since the epoch."""
    if isinstance(time, datetime):
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    return (max(now, 0.0) if math.isfinite(now) else 0.0) if time is None else time


def records_of(labels: Any) -> list[bytes]:
    """Feedback records of a table."""
    try:
        return [line for chunk in Frame(labels).chunks() for line in chunk]
    except UsageError as error:
        raise UsageError(f"feedback: {str(error).replace(EXPECTED, EXPECTED + ' of labels')}") from None
