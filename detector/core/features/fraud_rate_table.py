"""Fraud rates of one kind of key: decayed shares of its events, and its latest run of frauds.

A compromised terminal, a merchant where cards are tested, a stolen card: known frauds of a key say more about
its next event than the event does. A key has a row from its first known fraud on:

    frauds    decayed count of known frauds per memory
    matured   decayed count of the key's events older than the label maturity delay, per memory
    last      event time of the latest known fraud
    run       event time of the first fraud of the current run of frauds
    since     matured events after `last` that are not known to be fraud: the run may have ended
    followed  event time from which this shard counts the key's events one by one

Rules
    - All counts decay by *event* time, so the lateness of a label does not change its effect. A rate is as of
      the latest event counted; as of now, a short memory would have decayed before labels come.
    - Numerator and denominator cover the same events: `matured` of a new key starts with the profile's count
      up to its first fraud, and grows with every event that matures later.
    - Counts are linear in the labels, so a retraction removes its fraud. Ages are not: they keep the latest
      fraud ever known, until no fraud is left.
    - Counts add up over shards (see `detector.core.labels.peers`): each shard counts its own events, and adds
      what its peers publish.
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
# A rate is frauds / (matured + 1): one fraud in one event does not make the next one certain.
PRIOR_EVENTS = 1.0
# Bounds of ages and of events without fraud; larger values say no more.
AGE_DAYS_MAX = 365.0
SINCE_MAX = 100.0
# Events without fraud that end a run.
RUN_ENDS_AFTER = 3
# A smaller count after a retraction is a rounding error.
NOTHING = 1e-9
FRAUD, MATURED, RETRACTED = 1, 0, -1
"""Changes of an event that `FraudRateTable.count` counts."""
IGNORED, COUNTED, STARTED = 0, 1, 2
"""Outcomes: not counted; counted; counted as the first fraud of its key."""


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """n changes of fraud rates, as shards publish them to their peers."""

    kinds: NDArray[np.uint8]  # (n,) number of the kind of key
    keys: NDArray[np.uint64]  # (n,)
    times: NDArray[np.float64]  # (n,) event time, s
    statuses: NDArray[np.int32]  # (n,) FRAUD, MATURED or RETRACTED
    counts: NDArray[np.float32]  # (n, H) events to add to `matured`, decayed to `times`
    events: NDArray[np.float32]  # (n,) how many of these came after the key's first fraud

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
        """Read `to_state`; columns of different lengths raise ValueError."""
        columns = [state[field.name] for field in fields(cls)]
        if len({len(column) for column in columns}) > 1:
            raise ValueError("changes of fraud rates with columns of different lengths")
        return cls(*columns)


class FraudRateTable(KeyTable):
    """Fraud rates of one kind of key.

    Parameters
    ----------
    half_lives_s : (H,) float64
        Memories, shortest first, seconds of event time.
    keys_max
        Bound on keys; a full bucket drops the key with the oldest change.
    """

    def __init__(self, half_lives_s: NDArray[np.float64], keys_max: int) -> None:
        self._rates = np.log(2.0) / np.asarray(half_lives_s, dtype=np.float64)
        super().__init__(2 * len(self._rates) + 4, keys_max, np.float64)

    def read(self, keys: NDArray[np.uint64], times: NDArray[np.float64], out: NDArray[np.float32]) -> None:
        """Write inputs of the encoder, (n, H + 3).

        They are the rates, then log1p of: days since the latest fraud, days since its run began, events since
        it.
        """
        _read(self._keys, self._stats, len(self._rates), keys, times, out)

    def doubt(
        self,
        keys: NDArray[np.uint64],
        seen: NDArray[np.float32],
        doubted_from: float,
        grown: float,
        out: NDArray[np.float32],
    ) -> None:
        """Write 1 to `out` (n,) where a key's events are mostly not those that labels have judged.

        Parameters
        ----------
        seen : (n,) float32
            Decayed events of each key in the longest memory, judged or not.
        doubted_from, grown
            Least number of events that nobody has judged, and how many for each that was judged.
        """
        _doubt(self._keys, self._stats, len(self._rates), keys, seen, doubted_from, grown, out)

    def count(
        self,
        keys: NDArray[np.uint64],
        times: NDArray[np.float64],
        statuses: NDArray[np.int8],
        before: NDArray[np.float64],
        weights: NDArray[np.float64],
    ) -> NDArray[np.int8]:
        """Count n events of this shard, one after another; returns the outcome of each, (n,).

        Parameters
        ----------
        keys : (n,) uint64
            0: the event has no such key.
        times : (n,) float64
            Event time, s.
        statuses : (n,) int8
            FRAUD, MATURED (ignored for keys without a fraud) or RETRACTED.
        before : (n, H) float64
            Decayed counts of the key's events up to this one, used for new keys.
        weights : (n,) float64
            How many events each stands for.
        """
        counts = np.where((statuses == MATURED)[:, None], weights[:, None], before)
        return self._add(keys, times, statuses, counts, weights, np.inf, from_peer=False)

    def add(self, changes: Changes, now: float) -> NDArray[np.int8]:
        """Add changes of a peer; returns the outcome of each, (n,).

        This shard counts its own events of a new key one by one from that fraud on, or from `now` (event
        time, s) if that is earlier.
        """
        counts = changes.counts[:, : len(self._rates)].astype(np.float64)
        statuses, events = changes.statuses.astype(np.int8), changes.events.astype(np.float64)
        return self._add(changes.keys, changes.times, statuses, counts, events, now, from_peer=True)

    def followed_from(self, keys: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Event time from which this shard counts the keys' events one by one, (n,); inf: it does not."""
        slots = [find_slot(self._keys, key) for key in keys]
        return np.array([self._stats[slot, -1] if slot >= 0 else np.inf for slot in slots])

    def _add(
        self,
        keys: NDArray[np.uint64],
        times: NDArray[np.float64],
        statuses: NDArray[np.int8],
        counts: NDArray[np.float64],
        events: NDArray[np.float64],
        now: float,
        *,
        from_peer: bool,
    ) -> NDArray[np.int8]:
        self.reserve(int(np.count_nonzero(statuses == FRAUD)))
        state = self._keys, self._times, self._stats, self._count
        outcomes = np.full(len(keys), IGNORED, dtype=np.int8)
        _count(*state, self._rates, keys, times, statuses, counts, events, now, from_peer, outcomes)
        return outcomes


def inputs_of(memories: int) -> int:
    """Number of inputs of a kind with this many memories."""
    return memories + 3


def upper_ends(memories: int) -> NDArray[np.float32]:
    """Largest value of each input; the encoder's bins cover the range from 0 to it."""
    ends = [1.0] * memories + [np.log1p(AGE_DAYS_MAX)] * 2 + [np.log1p(SINCE_MAX)]
    return np.array(ends, dtype=np.float32)


def unknown(memories: int) -> NDArray[np.float32]:
    """Inputs of a key without a fraud."""
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
def _doubt(
    keys: Any,
    stats: Any,
    memories: int,
    event_keys: Any,
    seen: Any,
    doubted_from: float,
    grown: float,
    out: Any,
) -> None:
    for event in range(len(event_keys)):
        if seen[event] < doubted_from or event_keys[event] == 0:
            continue
        slot = find_slot(keys, event_keys[event])
        if slot >= 0:
            judged = stats[slot, 2 * memories - 1]
            if seen[event] - judged >= max(doubted_from, grown * (judged + PRIOR_EVENTS)):
                out[event] = 1.0


@numba.njit(cache=True)
def _count(
    keys: Any,
    times: Any,
    stats: Any,
    count: Any,
    rates: Any,
    event_keys: Any,
    event_times: Any,
    statuses: Any,
    counts: Any,
    events: Any,
    now: float,
    from_peer: bool,
    outcomes: Any,
) -> None:
    memories = len(rates)
    last_at = 2 * memories
    run_at, since_at, followed_at = last_at + 1, last_at + 2, last_at + 3
    for event in range(len(event_keys)):
        key, time, status = event_keys[event], event_times[event], statuses[event]
        if key == 0:
            continue
        new = False
        if status == FRAUD:
            slot = slot_for(keys, times, key)
            new = take_slot(keys, slot, key, count)
            row = stats[slot]
            if new:
                row[:] = 0.0
                row[last_at] = -np.inf
                row[run_at] = times[slot] = time
                row[followed_at] = min(time, now)
        else:
            slot = find_slot(keys, key)
            if slot < 0:
                continue
            row = stats[slot]
            if status == MATURED and not from_peer and time < row[followed_at]:
                continue  # included in the count that the row started with
        outcomes[event] = STARTED if new else COUNTED
        passed = max(0.0, time - times[slot])
        times[slot] = max(times[slot], time)
        late = times[slot] - time
        for h in range(memories):
            decay, weight = np.exp(-passed * rates[h]), np.exp(-late * rates[h])
            row[h] *= decay
            row[memories + h] *= decay
            if from_peer or new or status == MATURED:
                row[memories + h] += counts[event, h] * weight
            row[h] = max(0.0, row[h] + status * weight)
        if status == RETRACTED and row[memories - 1] < NOTHING:
            row[last_at] = row[run_at] = -np.inf
            row[since_at] = SINCE_MAX
        if status == FRAUD and time > row[last_at]:
            if row[since_at] >= RUN_ENDS_AFTER:
                row[run_at] = time
            row[last_at], row[since_at] = time, 0.0
        elif status == MATURED and time > row[last_at]:
            row[since_at] += events[event]
