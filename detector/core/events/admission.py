"""Which events enter a shard: no duplicates, and no late events where the configuration refuses them.

Rules
    - Each event is decided in log order, from the log alone; how polls cut the log does not matter.
    - A refused event leaves no trace: neither its id nor its time is kept.
    - In a stream of changes (Debezium, Connect) an id is that of a row, and each of its changes is an event.
      So there an event is known again by its id and by all values that are read: a change that was written
      twice, the row in a snapshot, or an update of other columns. These are skipped, not rejected.
    - Memory is bounded: the ids of the last `horizon_events` events, as 64-bit hashes. With 65,536 of them,
      two different ids share a hash once in 2^48 events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Event
from detector.core.events.block_reader import Events
from detector.core.events.event_time import EventTime, is_behind, time_latest, time_now, update_time
from detector.core.events.rejection import SKIPPED, Rejected
from detector.core.records import IRREGULARITIES

_OUT_OF_ORDER, _LATE, _DUPLICATE = range(3)
_ENTERS, _REJECTED = 3, 4  # fates of a row; the other fates are the numbers above: why it was refused
_IDS_MIN = 1024  # places of a new ring


class RecentIds:
    """Hashes of the last ids with their offsets: a ring, and a hash table of places in the ring.

    The table (open addressing) has at least twice as many slots as the ring has places.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._allocate(min(capacity, _IDS_MIN))

    def _allocate(self, places: int) -> None:
        self.hashes = np.zeros(places, dtype=np.uint64)
        self.offsets = np.zeros(places, dtype=np.int64)
        self.slots = np.full(1 << (2 * places - 1).bit_length(), -1, dtype=np.int32)  # a place, -1: none
        self.ends = np.zeros(
            2, dtype=np.int64
        )  # ids held; place of the next one, which is that of the oldest once the ring is full

    @property
    def arrays(self) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
        """All arrays, for kernels."""
        return self.hashes, self.offsets, self.slots, self.ends

    def reserve(self, ids: int) -> None:
        """Make room for `ids` more, within the capacity."""
        places = len(self.hashes)
        while places < self._capacity and self.ends[0] + ids > places:
            places = min(2 * places, self._capacity)
        if places > len(self.hashes):
            self._fill(self.to_state(), places)

    def read_ahead(self, hashes: NDArray[np.uint64]) -> None:
        """Bring what is searched for these ids (n,) near the processor, all at once."""
        _read(self.hashes, self.slots, hashes)

    def find(self, hashed: int) -> int | None:
        """Offset of the event with this id hash; None: it is not held."""
        place = _find(self.hashes, self.slots, np.uint64(hashed))
        return None if place < 0 else int(self.offsets[place])

    def remember(self, hashed: int, offset: int) -> None:
        """Add an id that is not held; a full ring drops the oldest."""
        self.reserve(1)
        _remember(*self.arrays, np.uint64(hashed), offset)

    def to_state(self) -> dict[str, Any]:
        """Return hashes and offsets, oldest first."""
        held, after = self.ends.tolist()
        oldest = after % max(held, 1)
        return {
            "hashes": np.roll(self.hashes[:held], -oldest),
            "offsets": np.roll(self.offsets[:held], -oldest),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Load what `to_state` returned; the newest ids, if not all fit."""
        held = min(len(state["hashes"]), self._capacity)
        self._fill(state, min(max(held, _IDS_MIN), self._capacity))

    def _fill(self, state: Mapping[str, Any], places: int) -> None:
        self._allocate(places)
        _remember_all(*self.arrays, state["hashes"][-places:], state["offsets"][-places:])


@dataclass(frozen=True, slots=True, eq=False)
class Admitted:
    """The outcome for the first `consumed` rows."""

    consumed: int
    rows: NDArray[np.int64]  # (n,) that entered
    bounded_times: NDArray[np.float64]  # (n,) their event times, bounded by `event_time`, s since the epoch
    now: NDArray[np.float64]  # (n,) event time of the shard after each
    refused: Mapping[int, Rejected]  # by row, ascending


class Admission:
    """Admits the events of one shard; see the module's docstring.

    Parameters
    ----------
    id_hash
        Of the ids, as in `Events.id_hashes`.
    """

    def __init__(self, schema: Event, id_hash: Callable[[str], int]) -> None:
        self._id_hash = id_hash
        # An id that is the event's place in the log never repeats.
        self._duplicates, self._late = None if schema.id is None else schema.duplicates, schema.time.late
        self._ids = RecentIds(1 if self._duplicates is None else self._duplicates.horizon_events)
        self._changes = schema.envelope is not None and schema.envelope.has_changes
        self._counts = np.zeros(len(IRREGULARITIES), dtype=np.int64)

    def admit(self, events: Events, rejected: Mapping[int, Rejected], time: EventTime, room: int) -> Admitted:
        """Admit events in log order until `room` have entered; their ids are kept and `time` is updated.

        Parameters
        ----------
        events
            n rows as they were read.
        rejected
            Rows that are not events.
        """
        n = len(events)
        hashes = change_hashes(events) if self._changes else events.id_hashes.copy()
        fates = np.full(n, _ENTERS, dtype=np.int8)
        for row, why in rejected.items():
            fates[row] = _REJECTED
            hashes[row] = 0 if why.original is None else self._id_hash(why.original)
        self._ids.reserve(n)
        self._ids.read_ahead(hashes)
        first, bounded, now = np.full(n, -1), np.empty(n), np.empty(n)
        consumed = _admit(
            room, hashes, events.times, events.offsets, fates, first, bounded, now,
            self._duplicates is not None,
            self._duplicates is not None and self._duplicates.action == "reject",
            self._late.after,
            self._late.action == "reject",
            self._counts,
            *self._ids.arrays,
            time.last,
            time.held,
        )  # fmt: skip
        fates = fates[:consumed]
        rows = np.flatnonzero(fates == _ENTERS)
        refused: dict[int, Rejected] = {}
        for row in np.flatnonzero(fates != _ENTERS).tolist():
            if fates[row] == _REJECTED:
                refused[row] = self._explain(rejected[row], int(first[row]))
            elif fates[row] == _DUPLICATE and self._changes:
                self._counts[_DUPLICATE] -= 1
                refused[row] = Rejected(SKIPPED, f"the change at offset {first[row]} says the same")
            elif fates[row] == _DUPLICATE:
                refused[row] = Rejected("duplicate", f"the event at offset {first[row]} has the same id")
            else:
                behind = float(now[row] - events.times[row])
                refused[row] = Rejected("late", f"{behind:.0f} s behind event time")
        return Admitted(consumed, rows, bounded[rows], now[rows], refused)

    def _explain(self, rejected: Rejected, offset: int) -> Rejected:
        """Add the offset of the event that a reversal takes back, if its id is held."""
        if rejected.original is None or self._duplicates is None or self._changes:
            return rejected
        where = "not among the last events" if offset < 0 else f"at offset {offset}"
        return Rejected(rejected.reason, f"{rejected.detail}, {where}")

    def collect(self) -> dict[str, int]:
        """Count irregular events since the last call, refused or not, by irregularity."""
        counts = dict(zip(IRREGULARITIES, self._counts.tolist(), strict=True))
        self._counts[:] = 0
        return {name: count for name, count in counts.items() if count}

    def to_state(self) -> dict[str, Any]:
        """Return the ids that are remembered: none where they are not compared."""
        return (RecentIds(1) if self._duplicates is None else self._ids).to_state()

    def load(self, state: Mapping[str, Any]) -> None:
        """Load what `to_state` returned, perhaps under other settings."""
        if self._duplicates is not None:
            self._ids.load(state)


def change_hashes(events: Events) -> NDArray[np.uint64]:
    """Hashes of n events' ids together with all values that are read, (n,)."""
    numbers = [events.times, *events.numerics.T, *events.points.reshape(len(events), -1).T]
    columns = [(np.where(np.isnan(column), np.nan, column) + 0.0).view(np.uint64) for column in numbers]
    columns += [*events.entities.T, *events.categories.T]
    columns += [column.astype(np.uint64) for column in events.grams.reshape(len(events), -1).T]
    hashes = events.id_hashes.copy()
    for column in columns:  # splitmix64 after each
        hashes = (hashes ^ column) + np.uint64(0x9E3779B97F4A7C15)
        hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashes ^= hashes >> np.uint64(31)
    return hashes


@numba.njit(cache=True)
def _admit(
    room: int,
    id_hashes: Any,
    times: Any,
    log_offsets: Any,
    fates: Any,
    first: Any,
    bounded: Any,
    now: Any,
    keep_ids: bool,
    reject_duplicates: bool,
    late_after: float,
    reject_late: bool,
    counts: Any,
    hashes: Any,
    offsets: Any,
    slots: Any,
    ends: Any,
    last: Any,
    held: Any,
) -> int:
    """Decide event by event; returns the number of rows consumed.

    Writes `fates`; `first`, the offset of an earlier event with the same id; and for events that enter
    `bounded` and `now`. For a late event `now` is the time before it.
    """
    entered = 0
    for row in range(len(id_hashes)):
        if entered == room:
            return row
        place = _find(hashes, slots, id_hashes[row]) if keep_ids else -1
        if place >= 0:
            first[row] = offsets[place]
        if fates[row] == _REJECTED:
            continue
        if place >= 0:
            counts[_DUPLICATE] += 1
            if reject_duplicates:
                fates[row] = _DUPLICATE
                continue
        if is_behind(last, held, times[row], late_after):
            counts[_LATE] += 1
            if reject_late:
                fates[row] = _LATE
                now[row] = time_now(last, held)
                continue
        if times[row] < time_latest(last, held):
            counts[_OUT_OF_ORDER] += 1
        if keep_ids and place < 0:
            _remember(hashes, offsets, slots, ends, id_hashes[row], log_offsets[row])
        bounded[row], now[row] = update_time(last, held, times[row])
        entered += 1
    return len(id_hashes)


@numba.njit(cache=True)
def _slot_of(hashes: Any, slots: Any, hashed: Any) -> Any:
    """Return the slot of this id, or the empty slot for it."""
    last = len(slots) - 1
    slot = np.int64(hashed & np.uint64(last))
    while slots[slot] >= 0 and hashes[slots[slot]] != hashed:
        slot = (slot + 1) & last
    return slot


@numba.njit(cache=True)
def _find(hashes: Any, slots: Any, hashed: Any) -> int:
    """Return the id's place in the ring, -1 if it is not held."""
    place: int = slots[_slot_of(hashes, slots, hashed)]
    return place


@numba.njit(cache=True)
def _read(hashes: Any, slots: Any, wanted: Any) -> int:
    """Search for the wanted ids (n,); a sum of their places, so that the reading is not left out."""
    total = 0
    for hashed in wanted:
        total += _find(hashes, slots, hashed)
    return total


@numba.njit(cache=True)
def _remember(hashes: Any, offsets: Any, slots: Any, ends: Any, hashed: Any, offset: int) -> None:
    """Add an id that is not held; a full ring drops the oldest."""
    place = ends[1]
    if ends[0] == len(hashes):
        _forget(hashes, slots, hashes[place])
    else:
        ends[0] += 1
    hashes[place], offsets[place] = hashed, offset
    slots[_slot_of(hashes, slots, hashed)] = place
    ends[1] = (place + 1) % len(hashes)


@numba.njit(cache=True)
def _forget(hashes: Any, slots: Any, hashed: Any) -> None:
    """Empty an id's slot; later ids of the same probe sequence move up (Knuth 6.4, algorithm R)."""
    last = len(slots) - 1
    hole = _slot_of(hashes, slots, hashed)
    slot = hole
    while True:
        slot = (slot + 1) & last
        if slots[slot] < 0:
            break
        wanted = np.int64(hashes[slots[slot]] & np.uint64(last))
        if ((slot - wanted) & last) >= ((slot - hole) & last):
            slots[hole] = slots[slot]
            hole = slot
    slots[hole] = -1


@numba.njit(cache=True)
def _remember_all(
    hashes: Any, offsets: Any, slots: Any, ends: Any, new_hashes: Any, new_offsets: Any
) -> None:
    for i in range(len(new_hashes)):
        _remember(hashes, offsets, slots, ends, new_hashes[i], new_offsets[i])
