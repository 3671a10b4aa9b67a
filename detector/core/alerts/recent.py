"""The newest events of a shard, each linked to earlier ones of the same main entity.

A ring by event number. An event without a main entity has no place of its own in a chain, but a number. The
events of one bucket of keys are a chain, newest first, so that the history of an entity is found without a
table of entities: there is nothing to evict, and an entity's chain reaches as far back as the ring.

Rules
    - An event's history depends on its number alone, not on how polls cut the log: it sees the events before
      it, `events_max` numbers back at most. The ring has a block more, so that none of them is overwritten
      while the block is being scored.
    - Chains follow from the keys. They are no part of the state.
    - A ring that was loaded from a smaller one lacks events which its size would hold. It sees none before
      `_begin`, the first number from which it has them all.
    - What became of an event (`HELD`, `ALERTED`) is known after it was added. This and in which respect it
      was unusual stand in the fraction of its offset: offsets are whole numbers far below 2 ** 47.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from detector.core.alerts.contacts import NOTHING_MET, MetBefore
from detector.core.erasure import Counts, Erased, Keys, counted
from detector.core.state import Table, row_hash, rows_hash, words

OFFSET, AMOUNT, SCORE, MET = range(4)  # columns of numbers; from MET on: see `contacts.py`
HELD, ALERTED = 1, 2  # it was held back, or alerted; 0: neither
FATES, RESPECTS_MAX = 4, 16
_FRACTION = float(FATES * RESPECTS_MAX)
PLACES_PER_BUCKET = 4
EVENT_BYTES = 8 + 8 + 3 * 8 + 4 + 8 // PLACES_PER_BUCKET
"""Bytes of one place without contacts: key, time, numbers, link, and its part of a bucket."""
SAVED_BYTES = 8 + 8 + 3 * 8 + 8
"""The same in a snapshot."""
CONTACTS_BYTES = 8
"""Bytes of one number of contacts, of which an event has as many as `contacts.numbers_of` says."""
# Events of an entity that are looked at, and events of its bucket on the way to them.
HISTORY_MAX = 1024
STEPS_MAX = 16_384


Beside = Callable[[NDArray[np.intp]], tuple[MetBefore, ...]]
"""Says what the events at these places of a history met, beside the event that is told."""


class History(NamedTuple):
    """Earlier events of one entity, newest first; m rows."""

    offsets: NDArray[np.int64]  # (m,)
    times: NDArray[np.float64]  # (m,) s since the epoch
    amounts: NDArray[np.float64]  # (m,) of the field event.exposure; NaN: missing, or there is no such field
    scores: NDArray[np.float64]  # (m,)
    since: float  # event time from which all of its events are here, s
    fates: NDArray[np.int64]  # (m,) HELD, ALERTED, or 0
    met: NDArray[np.float64] = np.zeros((0, 0))  # (m, numbers) what they met: see `contacts.py`
    respects: NDArray[np.int64] = np.zeros(0, dtype=np.int64)  # (m,) numbers in RESPECTS; empty: unknown
    beside: tuple[MetBefore, ...] = ()  # of the latest, beside the event that is told; empty: unknown
    again: MetBefore = NOTHING_MET  # the same of the latest one with the amount of that event

    def __len__(self) -> int:
        return len(self.offsets)

    def newest(self, count: int) -> History:
        """The newest of them, so many at most."""
        first = slice(0, count)
        offsets, times, fates = self.offsets[first], self.times[first], self.fates[first]
        amounts, scores, met = self.amounts[first], self.scores[first], self.met[first]
        respects, beside = self.respects[first], self.beside[first]
        return History(offsets, times, amounts, scores, self.since, fates, met, respects, beside, self.again)

    def with_beside(self, beside: Beside, amount: float, count: int) -> History:
        """The same, and what so many of the latest met beside an event of this amount."""
        again = beside(np.flatnonzero(self.amounts == amount)[:1])
        latest = beside(np.arange(min(len(self), count)))
        return History(**{**self._asdict(), "beside": latest, "again": (*again, NOTHING_MET)[0]})

    def without_amounts(self) -> History:
        """The same with all amounts missing: alerts may not show them."""
        return History(**{**self._asdict(), "amounts": np.full(len(self), np.nan)})


class Recent:
    """See the module's text.

    Parameters
    ----------
    events_max
        Numbers that an event's history goes back.
    block_events
        Events of a block.
    met
        Numbers of what an event met.
    """

    def __init__(self, events_max: int, block_events: int, met: int = 0) -> None:
        self._events_max, self.count = events_max, 0  # number of the next event
        self._begin = 0
        size = places(events_max, block_events)
        self._keys = np.zeros(size, dtype=np.uint64)  # 0: no event, or one without a main entity
        self._times = np.zeros(size)
        self._numbers = np.zeros((size, MET + met))  # offset, amount, score, what it met
        self._back = np.zeros(size, dtype=np.uint32)  # numbers from an event to the one before in its chain
        buckets = -(-size // PLACES_PER_BUCKET)
        self._newest = np.full(buckets, -1, dtype=np.int64)  # number of each bucket's newest event; -1: none
        self._hashed = np.zeros(1, dtype=np.uint64)

    def feed(
        self,
        keys: NDArray[np.uint64],
        offsets: NDArray[np.int64],
        times: NDArray[np.float64],
        amounts: NDArray[np.float64],
        scores: NDArray[np.float64],
        met: NDArray[np.float64] | None = None,
        respects: NDArray[np.int64] | None = None,
    ) -> None:
        """Add the next n events, of a block at most.

        `keys` are hashes of the main entity, 0: missing; `met` (n, numbers) is what they met, None: nothing;
        `respects` (n,) says in which respect each is unusual, None: not known.
        """
        feed: Any = _feed
        met = np.zeros((len(keys), self._numbers.shape[1] - MET)) if met is None else met
        places = offsets.astype(np.float64)
        if respects is not None:
            places += FATES * respects / _FRACTION
        feed(*self._arrays(), self._hashed, self.count, keys, places, times, amounts, scores, met)
        self.count += len(keys)

    def before(self, key: int, time: float, number: int | None = None) -> History:
        """Earlier events of an entity, as an event of `time` sees them.

        Parameters
        ----------
        number
            Of the event; None: it is the next one, and not here.
        """
        number = self.count if number is None else number
        walk: Any = _walk
        found, full = np.empty(HISTORY_MAX, dtype=np.int64), np.zeros(1)
        oldest = max(self._begin, number - self._events_max)
        arrays = self._keys, self._times, self._back, self._newest
        count = walk(*arrays, self.count, number, oldest, np.uint64(key), found, full) if key else 0
        at = found[:count]
        since = full[0]
        if count == HISTORY_MAX or np.isinf(since):  # there may be more of them
            since = self._times[at[-1]] if count else time
        elif oldest == 0:
            since = -np.inf
        stats = self._numbers[at]
        offsets = stats[:, OFFSET].astype(np.int64)
        fates = ((stats[:, OFFSET] - offsets) * _FRACTION).astype(np.int64)
        amounts, scores, met = stats[:, AMOUNT], stats[:, SCORE], stats[:, MET:]
        times, respects = self._times[at], fates // FATES
        return History(offsets, times, amounts, scores, float(since), fates % FATES, met, respects)

    def mark(self, number: int, fate: int) -> None:
        """Say what became of an event with a main entity that is here."""
        mark: Any = _mark
        place = number % len(self._keys)
        mark(self._keys, self._numbers, *words(self._times, self._numbers), self._hashed, place, fate)

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        own = self._keys, self._times, self._numbers
        return (*own, *words(self._times, self._numbers), self._back, self._newest)

    def held(self, entities: Keys) -> Counts:
        """Events of the entities."""
        return {"recent_events": counted(entities, self._keys)}

    def erase(self, erased: Erased) -> None:
        """Drop these events, and make the chains of the others anew, as `load` does."""
        places = np.flatnonzero(np.isin(self._keys, erased.entities))
        self._keys[places], self._times[places], self._numbers[places] = 0, 0.0, 0.0
        self._hashed[0] = rows_hash(self._keys, self._times, self._numbers)
        used = np.flatnonzero(self._keys)
        self._back[:], self._newest[:] = 0, -1
        size = len(self._keys)
        _link(self._keys, self._back, self._newest, np.sort(self.count - 1 - (self.count - 1 - used) % size))

    def take_over(self, other: Recent) -> None:
        """Hold the events of another ring, of whatever size."""
        state = other.to_state()
        self.load({**state, "events": other._rows()})

    # --- state ---------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """State; the table is valid until the next event."""
        begin = {"begin": self._begin} if self._begin else {}
        return {
            "count": self.count,
            "events": Table(len(self._keys), int(self._hashed[0]), self._rows),
            **begin,
        }

    def _rows(self) -> dict[str, Any]:
        used = np.flatnonzero(self._keys)
        return {
            "slots": len(self._keys),
            "used": used,
            "keys": self._keys[used],
            "last": self._times[used],
            "stats": self._numbers[used],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned, also of a ring of another size: the newest events stay."""
        table, count, begin = state["events"], int(state["count"]), int(state.get("begin", 0))
        size, used = int(table["slots"]), table["used"]
        lengths = {len(table[name]) for name in ("used", "keys", "last", "stats")}
        if not 0 <= begin <= count or size < 1 or len(lengths) > 1:
            raise ValueError(f"a ring of {size} events with columns of {sorted(lengths)} rows")
        if len(used) and not 0 <= used.min() <= used.max() < size:
            raise ValueError("a ring with rows beyond its places")
        numbers = count - 1 - (count - 1 - used) % size  # the newest number with this place
        order = np.argsort(numbers, kind="stable")
        order = order[numbers[order] >= max(0, count - len(self._keys))]
        place = numbers[order] % len(self._keys)
        self.clear()
        self.count = count
        self._begin = max(begin, count - size) if size < len(self._keys) else begin
        self._keys[place], self._times[place] = table["keys"][order], table["last"][order]
        stats, width = table["stats"][order], self._numbers.shape[1]
        width = width if stats.shape[1] == width else MET  # else what they met is not known
        self._numbers[place, :width] = stats[:, :width]
        _link(self._keys, self._back, self._newest, numbers[order])
        self._hashed[0] = rows_hash(self._keys, self._times, self._numbers)

    def clear(self) -> None:
        """Forget all events."""
        self.count = self._begin = 0
        for array in (self._keys, self._times, self._numbers, self._back, self._hashed):
            array[:] = 0
        self._newest[:] = -1


def places(events_max: int, block_events: int) -> int:
    """Places of a ring."""
    return events_max + block_events


def bytes_max(events_max: int, block_events: int, met: int = 0) -> tuple[int, int]:
    """Bytes of a ring, and of its copy in a snapshot."""
    count, contacts = places(events_max, block_events), met * CONTACTS_BYTES
    return count * (EVENT_BYTES + contacts), count * (SAVED_BYTES + contacts)


@numba.njit(cache=True)
def _feed(
    own: Any,
    own_times: Any,
    numbers: Any,
    time_words: Any,
    number_words: Any,
    back: Any,
    newest: Any,
    hashed: Any,
    first: int,
    keys: Any,
    offsets: Any,
    times: Any,
    amounts: Any,
    scores: Any,
    met: Any,
) -> None:
    size = len(own)
    place = first % size
    for event in range(len(keys)):
        if own[place] != 0:
            hashed[0] -= row_hash(own, time_words, number_words, place)
        key = keys[event]
        own[place] = key
        if key != 0:
            own_times[place] = times[event]
            numbers[place, 0] = offsets[event]
            numbers[place, 1] = amounts[event]
            numbers[place, 2] = scores[event]
            for column in range(met.shape[1]):
                numbers[place, 3 + column] = met[event, column]
            hashed[0] += row_hash(own, time_words, number_words, place)
            _chain(back, newest, key, place, first + event)
        place = place + 1 if place + 1 < size else 0


@numba.njit(cache=True)
def _mark(
    own: Any, numbers: Any, time_words: Any, number_words: Any, hashed: Any, place: int, fate: int
) -> None:
    if own[place] != 0:
        hashed[0] -= row_hash(own, time_words, number_words, place)
        told = np.floor(numbers[place, 0] * RESPECTS_MAX) / RESPECTS_MAX  # its offset and respect
        numbers[place, 0] = told + fate / _FRACTION
        hashed[0] += row_hash(own, time_words, number_words, place)


@numba.njit(cache=True, inline="always")
def _bucket(newest: Any, key: Any) -> Any:
    return np.int64((key >> np.uint64(7)) % np.uint64(len(newest)))


@numba.njit(cache=True, inline="always")
def _chain(back: Any, newest: Any, key: Any, place: int, number: int) -> None:
    bucket = _bucket(newest, key)
    way = number - newest[bucket]
    back[place] = np.uint32(way) if newest[bucket] >= 0 and way < len(back) else np.uint32(0)
    newest[bucket] = number


@numba.njit(cache=True)
def _link(own: Any, back: Any, newest: Any, numbers: Any) -> None:
    """Make the chains of events with these numbers, oldest first."""
    for number in numbers:
        place = number % len(own)
        _chain(back, newest, own[place], place, number)


@numba.njit(cache=True)
def _walk(
    own: Any,
    own_times: Any,
    back: Any,
    newest: Any,
    count: int,
    number: int,
    oldest: int,
    key: Any,
    found: Any,
    since: Any,
) -> int:
    """Places of the key's events from `oldest` to before `number`, newest first; returns how many.

    `since` becomes the time of the oldest event that was not overwritten, of whichever entity; inf if the way
    was too long.
    """
    size, hits = len(own), 0
    edge = oldest
    while edge < number and own[edge % size] == 0:
        edge += 1
    since[0] = own_times[edge % size] if edge < number else np.inf
    at, steps = newest[_bucket(newest, key)], 0
    while steps < STEPS_MAX:
        if at < oldest or at < count - size:
            return hits
        place = at % size
        if at < number:
            steps += 1
            if own[place] == key:
                found[hits] = place
                hits += 1
                if hits == len(found):
                    return hits
        if back[place] == 0:
            return hits
        at -= np.int64(back[place])
    since[0] = np.inf
    return hits
