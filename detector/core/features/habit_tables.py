"""Tables of habits: decayed counts of what each card, merchant or device does.

    PaceTable      how often a key is seen, and how often just now
    BinsTable      in which of a few bins its events fall: hours of the day, days of the week
    NoveltyTable   how often what it meets is new to it

An event sees the row of its key as it was just before the event; then the row is updated with it, event by
event in log order. A late event decays nothing. A missing key, 0, has the row of a key never seen, and
nothing is learned. No fast-math and no threads: equal bytes on equal machines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numba
import numpy as np
from numpy.typing import DTypeLike, NDArray

from detector.core.features.key_table import HashedTable, enter
from detector.core.state import row_hash

# Bins decay once this share of them is to be forgotten; a decay for each event of a busy key is dear.
DECAYED_FROM = 1e-3
SHORT_S = (300.0, 3600.0)
"""Half-lives of a pace's short memories: 5 minutes and an hour, in which cards are tested and shops hit."""
MEETINGS_S = (3600.0, 86_400.0)
"""Those of meetings: an hour and a day, in which one device opens many accounts."""

Keys = NDArray[np.uint64]
Times = NDArray[np.float64]
Context = NDArray[np.float32]


class HabitTable(HashedTable):
    """A table with one long memory.

    Parameters
    ----------
    columns : int
        W, numbers per key.
    long_s : float
        Half-life of the long memory, s of event time.
    keys_max : int
        Bound on keys.
    dtype
        Doubles where rows decay at each event: at a million events a day a single one would not decay.
    """

    def __init__(self, columns: int, long_s: float, keys_max: int, dtype: DTypeLike = np.float32) -> None:
        self._rate = math.log(2.0) / long_s
        super().__init__(columns, keys_max, dtype)


class SharedTable(HabitTable):
    """A table beside numbers of all its keys together, of which the last is the time of the latest event.

    These are doubles: one event would not change a float that counts many.
    """

    def __init__(
        self, columns: int, shared: int, long_s: float, keys_max: int, dtype: DTypeLike = np.float32
    ) -> None:
        super().__init__(columns, long_s, keys_max, dtype)
        self._everyone = np.zeros(shared)

    def apart(self, keys: Keys) -> tuple[Self, Keys]:
        """Copy as `KeyTable.apart` does, for one event: a second one would see what it taught of everyone."""
        assert len(keys) == 1
        table, own = super().apart(keys)
        table._everyone = self._everyone.copy()
        return table, own

    def to_state(self) -> Any:
        return {"everyone": self._everyone.copy(), "table": super().to_state()}

    def load(self, state: Mapping[str, Any]) -> None:
        super().load(state["table"])
        self._everyone = state["everyone"].copy()


class PaceTable(HabitTable):
    """Counts in two short memories and in the long one, and the time since the key was first seen.

    That time is decayed like the long count, in units of the long memory. Count over time is the rate of the
    key, without the bias that a count alone has while the key is young.
    """

    def __init__(self, long_s: float, keys_max: int, short_s: Sequence[float] = SHORT_S) -> None:
        super().__init__(len(short_s) + 2, long_s, keys_max, np.float64)
        self._rates = np.log(2.0) / np.array([*short_s, long_s])

    def observe(self, keys: Keys, times: Times, context: Context) -> None:
        """Write counts of the short memories, of the long one, and the time, (n, 4); learn n events."""
        self._update(_pace, self._rates, keys, times, context)


class BinsTable(HabitTable):
    """Counts of bins.

    Parameters
    ----------
    bins : int
        Number of bins.
    spread : float
        Bins are a circle, and an event sees those around its own, too, by a normal density with this standard
        deviation, in bins: habits are not cut at full hours. 0: an event sees its own bin alone.
    """

    def __init__(self, bins: int, long_s: float, keys_max: int, *, spread: float = 0.0) -> None:
        super().__init__(bins, long_s, keys_max)
        self._seen = _around(bins, spread)

    def observe(self, keys: Keys, times: Times, bins: NDArray[np.int64], context: Context) -> None:
        """Write counts of the event's bin (n,) and of all bins, (n, 2); learn n events."""
        self._update(_bins, self._rate, self._seen, keys, times, bins, context)


class NoveltyTable(HabitTable):
    """Counts of all events, and of those whose contact the key had never met, by the kind of contact.

    Parameters
    ----------
    contacts : int
        M, kinds of contact: merchants, devices, categories.
    """

    def __init__(self, contacts: int, long_s: float, keys_max: int) -> None:
        super().__init__(1 + contacts, long_s, keys_max, np.float64)

    def observe(self, keys: Keys, times: Times, new: NDArray[np.bool_], context: Context) -> None:
        """Write counts of all events and of those with new contacts, (n, 1 + M); learn n events.

        `new` (n, M) says which contacts of each event are new.
        """
        self._update(_novelty, self._rate, keys, times, new, context)


def _around(bins: int, spread: float) -> NDArray[np.float64]:
    """Weights of bins in a circle, from an event's own on, summing to 1; one weight without a spread."""
    if spread == 0.0:
        return np.ones(1)
    steps = [min(step, bins - step) for step in range(bins)]
    weights = np.array([math.exp(-0.5 * (step / spread) ** 2) for step in steps])
    around: NDArray[np.float64] = weights / weights.sum()
    return around


@numba.njit(cache=True)
def _pace(
    keys: Any,
    last: Any,
    stats: Any,
    count: Any,
    hashed: Any,
    last_words: Any,
    stats_words: Any,
    rates: Any,
    event_keys: Any,
    times: Any,
    context: Any,
) -> None:
    counts = len(rates)
    for event in range(len(event_keys)):
        key = event_keys[event]
        if key == 0:
            context[event, :] = 0.0
            continue
        slot, new = enter(keys, last, stats, count, hashed, last_words, stats_words, key)
        row = stats[slot]
        gap = 0.0 if new else max(0.0, times[event] - last[slot])
        for h in range(counts):
            row[h] *= math.exp(-gap * rates[h])
        kept = math.exp(-gap * rates[counts - 1])
        row[counts] = row[counts] * kept + (1.0 - kept)
        context[event, :] = row
        last[slot] = times[event] if new else max(last[slot], times[event])
        for h in range(counts):
            row[h] += 1.0
        hashed[0] += row_hash(keys, last_words, stats_words, slot)


@numba.njit(cache=True)
def _bins(
    keys: Any,
    last: Any,
    stats: Any,
    count: Any,
    hashed: Any,
    last_words: Any,
    stats_words: Any,
    rate: float,
    seen: Any,
    event_keys: Any,
    times: Any,
    bins: Any,
    context: Any,
) -> None:
    size = stats.shape[1]
    for event in range(len(event_keys)):
        key = event_keys[event]
        if key == 0:
            context[event, :] = 0.0
            continue
        slot, new = enter(keys, last, stats, count, hashed, last_words, stats_words, key)
        row = stats[slot]
        if new:
            last[slot] = times[event]
        elif (times[event] - last[slot]) * rate > DECAYED_FROM:
            row *= np.float32(math.exp(-(times[event] - last[slot]) * rate))
            last[slot] = times[event]
        here = bins[event]
        own = 0.0
        for step in range(len(seen)):
            own += seen[step] * np.float64(row[(here + step) % size])
        context[event, 0] = own
        context[event, 1] = row.sum()
        row[here] += np.float32(1.0)
        hashed[0] += row_hash(keys, last_words, stats_words, slot)


@numba.njit(cache=True)
def _novelty(
    keys: Any,
    last: Any,
    stats: Any,
    count: Any,
    hashed: Any,
    last_words: Any,
    stats_words: Any,
    rate: float,
    event_keys: Any,
    times: Any,
    met: Any,
    context: Any,
) -> None:
    for event in range(len(event_keys)):
        key = event_keys[event]
        if key == 0:
            context[event, :] = 0.0
            continue
        slot, new = enter(keys, last, stats, count, hashed, last_words, stats_words, key)
        row = stats[slot]
        gap = 0.0 if new else max(0.0, times[event] - last[slot])
        kept = math.exp(-gap * rate)
        for column in range(len(row)):
            row[column] *= kept
        context[event, :] = row
        last[slot] = times[event] if new else max(last[slot], times[event])
        row[0] += 1.0
        for column in range(met.shape[1]):
            if met[event, column]:
                row[1 + column] += 1.0
        hashed[0] += row_hash(keys, last_words, stats_words, slot)
