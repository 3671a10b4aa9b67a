"""Which events enter a shard: not again what entered before, and not late where late ones are unwanted.

Rules
    - It is decided event by event in log order, from the log alone: how polls cut it does not matter.
    - What is refused leaves nothing behind: neither its id nor its time.
    - Bounded: the ids of the last `horizon_events` events, as 64-bit hashes. Two of so many different ids
      share one by chance once in 2^48 events.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np

from detector.config.tree import Event
from detector.core.event_time import EventTime
from detector.core.events import ParsedEvent, Rejected, id_hash

IRREGULARITIES = ("out_of_order", "late", "duplicate")


class RecentIds:
    """Hashes of the last ids and the offsets they came with: a ring, and where in it each one lies."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._hashes = array("Q")
        self._offsets = array("q")
        self._places: dict[int, int] = {}
        self._next = 0  # where the next one goes: over the oldest, once the ring is full

    def find(self, hashed: int) -> int | None:
        """Offset of the event with this id."""
        place = self._places.get(hashed)
        return None if place is None else self._offsets[place]

    def remember(self, hashed: int, offset: int) -> None:
        """Hold an id that is not here; the oldest goes."""
        place = self._next
        if place == len(self._hashes):
            self._hashes.append(hashed)
            self._offsets.append(offset)
        else:
            del self._places[self._hashes[place]]
            self._hashes[place], self._offsets[place] = hashed, offset
        self._places[hashed] = place
        self._next = (place + 1) % self._capacity

    def to_state(self) -> dict[str, Any]:
        """Oldest first."""
        oldest = self._next % max(len(self._hashes), 1)
        return {
            "hashes": np.roll(np.array(self._hashes, dtype=np.uint64), -oldest),
            "offsets": np.roll(np.array(self._offsets, dtype=np.int64), -oldest),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what `to_state` gave, as far as it fits."""
        self._hashes = array("Q", state["hashes"][-self._capacity :].tobytes())
        self._offsets = array("q", state["offsets"][-self._capacity :].tobytes())
        self._places = {hashed: place for place, hashed in enumerate(self._hashes)}
        self._next = len(self._hashes) % self._capacity


class Admission:
    """See the module's text."""

    def __init__(self, schema: Event) -> None:
        self._duplicates, self._late = schema.duplicates, schema.time.late
        self._ids = None if schema.duplicates is None else RecentIds(schema.duplicates.horizon_events)
        self._counts = dict.fromkeys(IRREGULARITIES, 0)

    def refusal(self, event: ParsedEvent, time: EventTime) -> Rejected | None:
        """Tell why an event may not enter; None: it enters, and is remembered."""
        hashed = event.id_hash
        first = None if self._ids is None else self._ids.find(hashed)
        if first is not None:
            self._counts["duplicate"] += 1
            if self._duplicates is not None and self._duplicates.action == "reject":
                return Rejected("duplicate", f"the id came before, at offset {first}")
        if time.is_behind(event.time, self._late.after):
            self._counts["late"] += 1
            if self._late.action == "reject":
                return Rejected("late", f"{time.now - event.time:.0f} s behind event time")
        if event.time < time.latest:
            self._counts["out_of_order"] += 1
        if self._ids is not None and first is None:
            self._ids.remember(hashed, event.record.offset)
        return None

    def explain(self, rejected: Rejected) -> Rejected:
        """Add where the event is that a reversal takes back, if it is remembered."""
        if rejected.original is None or self._ids is None:
            return rejected
        offset = self._ids.find(id_hash(rejected.original))
        where = "not among the last events" if offset is None else f"at offset {offset}"
        return Rejected(rejected.reason, f"{rejected.detail}, {where}")

    def collect(self) -> dict[str, int]:
        """Irregular events since the last call, refused or not, by what they are."""
        counts, self._counts = self._counts, dict.fromkeys(IRREGULARITIES, 0)
        return {name: count for name, count in counts.items() if count}

    def to_state(self) -> dict[str, Any]:
        return {} if self._ids is None else self._ids.to_state()

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what `to_state` gave, perhaps under other settings or before there was any."""
        if self._ids is not None and "hashes" in state:
            self._ids.load(state)
