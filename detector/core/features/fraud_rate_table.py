"""How much of what each key did turned out to be fraud: decayed shares, and where the key stands in a run.

A terminal that was compromised, a merchant where cards are tested, a card in a thief's hand: known frauds of
a key say more about its next event than the event does. A key has a row from its first known fraud on:

    frauds    decayed count of known frauds per memory
    matured   decayed count of the key's events that are old enough to be judged, per memory
    last      event time of the latest known fraud
    run       event time of the first fraud of the present run of frauds
    since     matured events after `last` that are no known frauds: a run may have ended

Rules
    - All counts decay by *event* time, so a label's lateness does not change what it means. A share is as of
      the latest event judged, or a short memory would know nothing by the time labels come.
    - Numerator and denominator cover the same events: a new key's `matured` begins with what the profiles had
      counted up to that fraud, and goes on with every event that matures after it.
    - Counts are linear in the labels, so a retraction takes its fraud out again. Ages are not: they stay as
      the latest fraud ever known left them, until there is none.
    - So are counts in what siblings count (see `detector.core.labels.peers`): what they tell is added to
      what is counted here, each shard counting its own share of a key's events and no other's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detector.core.features.key_table import KeyTable, find_slot, slot_for, take_slot

DAY_S = 86_400.0
# A share is frauds / (matured + 1): one fraud of one event is not yet certain.
PRIOR_EVENTS = 1.0
# Ages beyond a year say no more, nor do more than 100 events without fraud.
AGE_DAYS_MAX = 365.0
SINCE_MAX = 100.0
# So many events without fraud end a run.
RUN_ENDS_AFTER = 3
# A count that a retraction leaves below this is none: what rounding leaves.
NOTHING = 1e-9
FRAUD, MATURED, RETRACTED = 1, 0, -1
"""What `FraudRateTable.count` is told of an event."""
PASSED, FOLLOWED, BEGUN = 0, 1, 2
"""What became of it: not counted; counted; counted as the first of its key."""


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """n changes of fraud shares, as one shard tells them to another."""

    kinds: NDArray[np.uint8]  # (n,) number of the kind of key
    keys: NDArray[np.uint64]  # (n,)
    times: NDArray[np.float64]  # (n,) event time, s
    what: NDArray[np.int32]  # (n,) FRAUD, MATURED or RETRACTED
    counts: NDArray[np.float32]  # (n, H) events to add to `matured`, decayed to `times`
    events: NDArray[np.float32]  # (n,) how many of them happened after the key began to be followed

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def none(cls, memories: int) -> Changes:
        return cls(
            np.zeros(0, np.uint8),
            np.zeros(0, np.uint64),
            np.zeros(0),
            np.zeros(0, np.int32),
            np.zeros((0, memories), np.float32),
            np.zeros(0, np.float32),
        )

    def take(self, index: Any) -> Changes:
        """Select changes, as numpy's indexing does."""
        return Changes(*(getattr(self, field.name)[index] for field in fields(self)))

    def joined(self, *others: Changes) -> Changes:
        parts = (self, *others)
        return Changes(
            *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(self))
        )

    def to_state(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Changes:
        return cls(*(state[field.name] for field in fields(cls)))


class FraudRateTable(KeyTable):
    """Fraud shares of one kind of key.

    Parameters
    ----------
    half_lives_s : (H,) float64
        Memories, shortest first, seconds of event time.
    keys_max
        Bound on keys; the one whose frauds are the oldest goes.
    """

    def __init__(self, half_lives_s: NDArray[np.float64], keys_max: int) -> None:
        self._rates = np.log(2.0) / np.asarray(half_lives_s, dtype=np.float64)
        super().__init__(2 * len(self._rates) + 4, keys_max, np.float64)

    def read(self, keys: NDArray[np.uint64], times: NDArray[np.float64], out: NDArray[np.float32]) -> None:
        """Write inputs of the encoder, (n, H + 3): shares, then log1p of days since the latest fraud, of days
        since its run began, and of events since."""
        _read(self._keys, self._stats, len(self._rates), keys, times, out)

    def count(
        self,
        keys: NDArray[np.uint64],
        times: NDArray[np.float64],
        what: NDArray[np.int8],
        before: NDArray[np.float64],
    ) -> NDArray[np.int8]:
        """Count n events of this shard, one after another; returns what became of each, (n,).

        Parameters
        ----------
        keys : (n,) uint64
            0: the event has no such key.
        times : (n,) float64
            Event time, s.
        what : (n,) int8
            FRAUD, MATURED (only keys that had a fraud are followed) or RETRACTED.
        before : (n, H) float64
            Decayed counts of the key's events up to this one, for keys that are new.
        """
        counts = np.where((what == MATURED)[:, None], 1.0, before)
        return self._add(keys, times, what, counts, np.ones(len(keys)), np.inf, told=False)

    def add(self, told: Changes, now: float) -> NDArray[np.int8]:
        """Add what a sibling counted; returns what became of each change, (n,).

        This shard's own events of a new key are followed from that fraud on, or from `now` (s of event time)
        if this shard has not come so far.
        """
        counts = told.counts[:, : len(self._rates)].astype(np.float64)
        what, events = told.what.astype(np.int8), told.events.astype(np.float64)
        return self._add(told.keys, told.times, what, counts, events, now, told=True)

    def followed_from(self, keys: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Event time after which this shard's events of the keys are counted one by one, (n,)."""
        slots = [find_slot(self._keys, key) for key in keys]
        return np.array([self._stats[slot, -1] if slot >= 0 else np.inf for slot in slots])

    def _add(
        self,
        keys: NDArray[np.uint64],
        times: NDArray[np.float64],
        what: NDArray[np.int8],
        counts: NDArray[np.float64],
        events: NDArray[np.float64],
        now: float,
        *,
        told: bool,
    ) -> NDArray[np.int8]:
        self.reserve(int(np.count_nonzero(what == FRAUD)))
        state = self._keys, self._times, self._stats, self._count
        became = np.full(len(keys), PASSED, dtype=np.int8)
        _count(*state, self._rates, keys, times, what, counts, events, now, told, became)
        return became


def inputs_of(memories: int) -> int:
    """Number of inputs a kind with so many memories gives."""
    return memories + 3


def upper_ends(memories: int) -> NDArray[np.float32]:
    """Largest value of each input: the range over which the encoder lays its bins, from 0."""
    ends = [1.0] * memories + [np.log1p(AGE_DAYS_MAX)] * 2 + [np.log1p(SINCE_MAX)]
    return np.array(ends, dtype=np.float32)


def unknown(memories: int) -> NDArray[np.float32]:
    """Inputs of a key that never had a fraud."""
    row = upper_ends(memories)
    row[:memories] = 0.0
    return row


@numba.njit(cache=True)
def _read(keys: Any, stats: Any, memories: int, event_keys: Any, event_times: Any, out: Any) -> None:
    last_at = 2 * memories
    for event in range(len(event_keys)):
        slot = find_slot(keys, event_keys[event]) if event_keys[event] != 0 else -1
        if slot < 0:
            out[event, :memories] = 0.0
            out[event, memories : memories + 2] = np.log1p(AGE_DAYS_MAX)
            out[event, memories + 2] = np.log1p(SINCE_MAX)
            continue
        row = stats[slot]
        for h in range(memories):
            out[event, h] = row[h] / (max(row[memories + h], row[h]) + PRIOR_EVENTS)
        for age in range(2):
            days = max(0.0, event_times[event] - row[last_at + age]) / DAY_S
            out[event, memories + age] = np.log1p(min(days, AGE_DAYS_MAX))
        out[event, memories + 2] = np.log1p(min(row[last_at + 2], SINCE_MAX))


@numba.njit(cache=True)
def _count(
    keys: Any,
    times: Any,
    stats: Any,
    count: Any,
    rates: Any,
    event_keys: Any,
    event_times: Any,
    what: Any,
    counts: Any,
    events: Any,
    now: float,
    told: bool,
    became: Any,
) -> None:
    memories = len(rates)
    last_at = 2 * memories
    run_at, since_at, born_at = last_at + 1, last_at + 2, last_at + 3
    for event in range(len(event_keys)):
        key, time, kind = event_keys[event], event_times[event], what[event]
        if key == 0:
            continue
        new = False
        if kind == FRAUD:
            slot = slot_for(keys, times, key)
            new = take_slot(keys, slot, key, count)
            row = stats[slot]
            if new:
                row[:] = 0.0
                row[last_at] = -np.inf
                row[run_at] = times[slot] = time
                row[born_at] = min(time, now)
        else:
            slot = find_slot(keys, key)
            if slot < 0:
                continue
            row = stats[slot]
            if kind == MATURED and not told and time < row[born_at]:
                continue  # among those that the key began with
        became[event] = BEGUN if new else FOLLOWED
        passed = max(0.0, time - times[slot])
        times[slot] = max(times[slot], time)
        late = times[slot] - time
        for h in range(memories):
            decay, weight = np.exp(-passed * rates[h]), np.exp(-late * rates[h])
            row[h] *= decay
            row[memories + h] *= decay
            if told or new or kind == MATURED:
                row[memories + h] += counts[event, h] * weight
            row[h] = max(0.0, row[h] + kind * weight)
        if kind == RETRACTED and row[memories - 1] < NOTHING:
            row[last_at] = row[run_at] = -np.inf
            row[since_at] = SINCE_MAX
        if kind == FRAUD and time > row[last_at]:
            if row[since_at] >= RUN_ENDS_AFTER:
                row[run_at] = time
            row[last_at], row[since_at] = time, 0.0
        elif kind == MATURED and time > row[last_at]:
            row[since_at] += events[event]
