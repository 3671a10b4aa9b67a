"""Bounded table of numbers per key, for profiles and fraud rates.

A table is a set-associative cache: a key has one of the 16 slots of its bucket. O(1) time per key.

Rules
    - A table grows only when the caller asks (at the beginning of a block, at a barrier), so that its size is
      a function of the log. A full bucket drops the key with the oldest time.
    - Keys are hashes, uint64; 0 stands for a missing key.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numba
import numpy as np
from numpy.typing import DTypeLike, NDArray

from detector.core.state import Table, row_hash, rows_hash, words

WAYS = 16
# Buckets overflow before a table is full: at half load, 16 ways lose 2 keys in 1,000 (measured).
LOAD_MAX = 0.5
SLOTS_MIN = 1024
READ_AT_ONCE = 8  # numbers, at most 64 bytes: one reading brings its neighbours
APART_WAYS = 8  # keys per bucket of a table from `apart`: none is dropped


class KeyTable:
    """Slots with a key, a time (s) and `columns` numbers.

    Parameters
    ----------
    columns
        Numbers per key.
    keys_max
        Bound on keys; slots are at most twice as many, in whole buckets, and at least `SLOTS_MIN`.
    """

    def __init__(self, columns: int, keys_max: int, dtype: DTypeLike) -> None:
        self._columns = columns
        self._dtype = np.dtype(dtype)
        self._slots_max = slots_max(keys_max)
        self._count = np.zeros(1, dtype=np.int64)  # keys held; an array so that kernels can count
        self._allocate(SLOTS_MIN)

    def __len__(self) -> int:
        return int(self._count[0])

    @property
    def row_bytes(self) -> int:
        """Bytes of a slot."""
        return row_bytes(self._columns, self._dtype)

    @property
    def bytes_max(self) -> int:
        """Bytes of the arrays once they have grown to the bound."""
        return self._slots_max * self.row_bytes

    def expected(self, keys: int, more: int) -> tuple[int, int]:
        """What the table takes once it has seen `keys` different keys and was asked for room for `more`.

        Returns
        -------
        slots
            That it has grown to.
        held
            Keys in it: keys fall into buckets at random (Poisson), and a full bucket drops one for each more.
        """
        slots = SLOTS_MIN
        while keys + more > slots * LOAD_MAX and slots < self._slots_max:
            slots = min(2 * slots, self._slots_max)
        mean = keys * WAYS / slots
        if mean > 8 * WAYS:  # all are full; also, exp(-mean) must not underflow
            return slots, slots
        chance, below, lower = math.exp(-mean), 0.0, 0.0
        for count in range(WAYS):  # chance of `count` keys in a bucket
            below += count * chance
            lower += chance
            chance *= mean / (count + 1)
        return slots, round(slots / WAYS * (below + WAYS * (1.0 - lower)))

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays as they are."""
        return self._keys.nbytes + self._times.nbytes + self._stats.nbytes

    def reserve(self, keys: int) -> None:
        """Make room for `keys` new keys, within the bound."""
        slots = len(self._keys)
        while (len(self) + keys) > slots * LOAD_MAX and slots < self._slots_max:
            slots = min(2 * slots, self._slots_max)
        if slots > len(self._keys):
            self._fill(slots, self._keys, self._times, self._stats)

    def bound(self, like: KeyTable) -> None:
        """Take the bound of another table; keys that do not fit are dropped as in a full bucket."""
        self._slots_max = like._slots_max
        if len(self._keys) > self._slots_max:
            self._fill(self._slots_max, self._keys, self._times, self._stats)

    @property
    def keys(self) -> NDArray[np.uint64]:
        """All keys (n,), as a copy."""
        used: NDArray[np.uint64] = self._keys[self._keys != 0]
        return used

    def held(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """1 for each of the keys (n,) that is here, else 0."""
        found: NDArray[np.bool_] = _slots(self._keys, keys) >= 0
        return found.astype(np.int64)

    def read_ahead(self, keys: NDArray[np.uint64]) -> None:
        """Bring the rows of these keys (n,) near the processor, before a kernel takes them one after another.

        A kernel waits for each row before it asks for the next one; here all are asked for at once. A table
        of 5,000 keys then takes .8 of the time, one of 300,000 keys .7.
        """
        _read(self._keys, self._times, self._stats, self._count, keys)

    def erase(self, keys: NDArray[np.uint64]) -> None:
        """Drop these keys (n,), as if they had never come."""
        _remove(self._keys, self._times, self._stats, self._count, keys)

    def apart(self, keys: NDArray[np.uint64]) -> tuple[Self, NDArray[np.uint64]]:
        """Copy what the table knows of n events' keys into a table in which each event has a key of its own.

        So every event can be observed as if it were the next one: no event sees what another one taught, and
        this table does not change.

        Returns
        -------
        table
            Of the same class.
        keys : (n,) uint64
            The events' keys in it; 0 stays 0.
        """
        table = copy.copy(self)
        table._count = np.zeros(1, dtype=np.int64)
        table._allocate(WAYS * max(1, -(-len(keys) // APART_WAYS)))
        numbers = np.arange(len(keys), dtype=np.uint64)
        own = (numbers // np.uint64(APART_WAYS) << np.uint64(7)) + numbers % np.uint64(APART_WAYS)
        own = np.where(keys == 0, np.uint64(0), own + np.uint64(1))
        there, here = (self._keys, self._times, self._stats), (table._keys, table._times, table._stats)
        _copy_apart(*there, keys, own, *here, table._count)
        return table, own

    @property
    def hashed(self) -> int:
        """Hash of all rows, computed from scratch."""
        return rows_hash(self._keys, self._times, self._stats)

    def to_state(self) -> Table:
        return Table(len(self._keys), self.hashed, self._rows)

    def _rows(self) -> dict[str, Any]:
        """Keys in use only; a table is mostly empty slots."""
        used = np.flatnonzero(self._keys)
        return {
            "slots": len(self._keys),
            "used": used,
            "keys": self._keys[used],
            "last": self._times[used],
            "stats": self._stats[used],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Load the rows of what `to_state` returned, also of a table with a larger bound."""
        slots, used = int(state["slots"]), state["used"]
        sizes = {len(state[name]) for name in ("used", "keys", "last", "stats")}
        if slots % WAYS or slots < SLOTS_MIN or len(sizes) > 1:
            raise ValueError(f"a table with {slots} slots and columns of {sorted(sizes)} rows")
        if len(used) and not 0 <= used.min() <= used.max() < slots:
            raise ValueError("a table with rows beyond its slots")
        if slots > self._slots_max:
            self._fill(self._slots_max, state["keys"], state["last"], state["stats"])
            return
        self._allocate(slots)
        self._keys[used], self._times[used], self._stats[used] = state["keys"], state["last"], state["stats"]
        self._count[0] = len(used)

    def _fill(
        self, slots: int, keys: NDArray[np.uint64], times: NDArray[np.float64], stats: NDArray[Any]
    ) -> None:
        """Begin again with so many slots, and these rows (n,)."""
        self._allocate(slots)
        _rehash(
            keys,
            times,
            stats.astype(self._dtype, copy=False),
            self._keys,
            self._times,
            self._stats,
            self._count,
        )

    def _allocate(self, slots: int) -> None:
        self._keys = np.zeros(slots, dtype=np.uint64)
        self._times = np.zeros(slots, dtype=np.float64)
        self._stats = np.zeros((slots, self._columns), dtype=self._dtype)
        self._count[0] = 0


class HashedTable(KeyTable):
    """A table whose hash is updated with each change of a row, by kernels that call `enter`."""

    def __init__(self, columns: int, keys_max: int, dtype: DTypeLike) -> None:
        self._hashed = np.zeros(1, dtype=np.uint64)
        self._own: tuple[NDArray[Any], ...] = ()  # what kernels change
        super().__init__(columns, keys_max, dtype)

    def apart(self, keys: NDArray[np.uint64]) -> tuple[Self, NDArray[np.uint64]]:
        table, own = super().apart(keys)
        table._hashed = np.zeros(1, dtype=np.uint64)  # nobody asks for it
        return table, own

    def _allocate(self, slots: int) -> None:
        self._own = ()
        super()._allocate(slots)

    @property
    def hashed(self) -> int:
        return int(self._hashed[0])

    def erase(self, keys: NDArray[np.uint64]) -> None:
        slots = _slots(self._keys, keys)
        slots = slots[slots >= 0]
        gone = rows_hash(self._keys[slots], self._times[slots], self._stats[slots])
        self._hashed[0] = np.uint64((int(self._hashed[0]) - gone) % (1 << 64))
        super().erase(keys)

    def bound(self, like: KeyTable) -> None:
        super().bound(like)
        self._hash_again()

    def load(self, state: Mapping[str, Any]) -> None:
        super().load(state)
        self._hash_again()

    def _hash_again(self) -> None:
        """Compute the hash from scratch, after rows were changed otherwise."""
        self._hashed[0] = super().hashed

    def _update(self, kernel: Any, *seen: Any) -> None:
        """Call a kernel with what it changes: keys, times and numbers, their count and hash, as words too."""
        if not self._own:
            own = self._keys, self._times, self._stats, self._count, self._hashed
            self._own = *own, *words(self._times, self._stats)
        kernel(*self._own, *seen)


def slots_max(keys_max: int) -> int:
    """Slots of a table that is bounded to so many keys."""
    return max(SLOTS_MIN, WAYS * -(-int(keys_max / LOAD_MAX) // WAYS))


def row_bytes(columns: int, dtype: DTypeLike) -> int:
    """Bytes of a slot: key, time and numbers."""
    return 16 + columns * np.dtype(dtype).itemsize


def held_in(tables: Sequence[KeyTable], keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """In how many of the tables each of the keys (n,) is."""
    return sum((table.held(keys) for table in tables), np.zeros(len(keys), dtype=np.int64))


def tables_to_state(tables: Sequence[KeyTable]) -> dict[str, Any]:
    """State of tables, by number."""
    return {f"{i:03d}": table.to_state() for i, table in enumerate(tables)}


def load_tables(tables: Sequence[KeyTable], state: Mapping[str, Any]) -> None:
    """Load what `tables_to_state` returned."""
    for i, table in enumerate(tables):
        table.load(state[f"{i:03d}"])


@numba.njit(cache=True)
def find_slot(keys: Any, key: Any) -> int:
    """Return the key's slot, -1 if it has none."""
    buckets = len(keys) // WAYS
    first = int((key >> np.uint64(7)) % np.uint64(buckets)) * WAYS
    for slot in range(first, first + WAYS):
        if keys[slot] == key:
            return slot
        if keys[slot] == 0:
            return -1
    return -1


@numba.njit(cache=True)
def _read(keys: Any, times: Any, stats: Any, count: Any, wanted: Any) -> float:
    """Read the rows of the wanted keys (n,); a sum of them, so that the reading is not left out."""
    total = 0.0
    if count[0] <= len(wanted):  # so small a table is near anyway
        return total
    for key in wanted:
        slot = find_slot(keys, key)
        if slot >= 0:
            total += times[slot]
            for column in range(0, stats.shape[1], READ_AT_ONCE):
                total += stats[slot, column]
    return total


@numba.njit(cache=True)
def _slots(keys: Any, wanted: Any) -> Any:
    """Slot of each wanted key (n,), -1 if it has none."""
    slots = np.empty(len(wanted), dtype=np.int64)
    for i in range(len(wanted)):
        slots[i] = find_slot(keys, wanted[i])
    return slots


@numba.njit(cache=True)
def _remove(keys: Any, times: Any, stats: Any, count: Any, gone: Any) -> None:
    """Empty the slots of some keys; the last key of a bucket takes the place of one that goes."""
    for key in gone:
        slot = find_slot(keys, key)
        if slot < 0:
            continue
        last = slot - slot % WAYS + WAYS - 1
        while keys[last] == 0:
            last -= 1
        keys[slot], times[slot] = keys[last], times[last]
        stats[slot, :] = stats[last, :]
        keys[last], times[last] = 0, 0.0
        stats[last, :] = 0
        count[0] -= 1


@numba.njit(cache=True)
def slot_for(keys: Any, times: Any, key: Any) -> int:
    """Return the key's slot, or the slot it may take: an empty one, else that of its bucket's oldest key."""
    buckets = len(keys) // WAYS
    first = int((key >> np.uint64(7)) % np.uint64(buckets)) * WAYS
    oldest = first
    for slot in range(first, first + WAYS):
        if keys[slot] == key or keys[slot] == 0:
            return slot
        if times[slot] < times[oldest]:
            oldest = slot
    return oldest


@numba.njit(cache=True)
def take_slot(keys: Any, slot: int, key: Any, count: Any) -> bool:
    """Put a key into its `slot_for`; returns whether it is new. The numbers of a new slot are arbitrary."""
    if keys[slot] == key:
        return False
    if keys[slot] == 0:
        count[0] += 1
    keys[slot] = key
    return True


@numba.njit(cache=True)
def enter(
    keys: Any, last: Any, stats: Any, count: Any, hashed: Any, last_words: Any, stats_words: Any, key: Any
) -> Any:
    """Take the key's slot and its row out of the hash; returns the slot, and whether it is new."""
    slot = slot_for(keys, last, key)
    if keys[slot] != 0:
        hashed[0] -= row_hash(keys, last_words, stats_words, slot)
    new = take_slot(keys, slot, key, count)
    if new:
        stats[slot, :] = 0.0
    return slot, new


@numba.njit(cache=True)
def _copy_apart(
    keys_there: Any,
    times_there: Any,
    stats_there: Any,
    event_keys: Any,
    own: Any,
    keys: Any,
    times: Any,
    stats: Any,
    count: Any,
) -> None:
    """Copy the row of each event's key, where there is one, to the event's own key."""
    for event in range(len(event_keys)):
        found = find_slot(keys_there, event_keys[event]) if event_keys[event] != 0 else -1
        if found >= 0:
            slot = slot_for(keys, times, own[event])
            take_slot(keys, slot, own[event], count)
            times[slot] = times_there[found]
            stats[slot] = stats_there[found]


@numba.njit(cache=True)
def _rehash(
    keys_old: Any, times_old: Any, stats_old: Any, keys: Any, times: Any, stats: Any, count: Any
) -> None:
    for old in range(len(keys_old)):
        if keys_old[old] != 0:
            slot = slot_for(keys, times, keys_old[old])
            take_slot(keys, slot, keys_old[old], count)
            times[slot] = times_old[old]
            stats[slot] = stats_old[old]
