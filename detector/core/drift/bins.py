"""Bins of each column, and the compiled loop that counts events in them.

numbers      ten bins, cut at the deciles of the first events; a value that is frequent has one of its own
categories   the nine most frequent ones, others, those never seen before
repeats      of a number: another value than in the event before (0), or the same one (1)
keys         known (0), or never seen before (1)
all          missing
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

OTHER, UNSEEN, MISSING, BINS = 10, 11, 12, 13
CUTS, TOPS = 9, 9
SEEN_BITS = 1 << 14  # of the set of known categories, per field; a hash of one bit each
SLOTS, SLOT_S = 168, 3600.0  # hours of a week
MONDAY_S = 4 * 86_400.0  # 5 January 1970, s since the epoch
NEW_KEY = REPEATED = 1


class Cuts:
    """Where the bins are cut: M columns of numbers, K of categories.

    Until `made`, everything is in the first bin.
    """

    def __init__(self, numbers: int, categories: int) -> None:
        self.made = False
        self.edges = np.full((numbers, CUTS), np.inf)  # upper ends of bins, ascending; inf: there is none
        self.tops = np.zeros((categories, TOPS), dtype=np.uint64)  # the most frequent first; 0: there is none
        self.seen = np.zeros((categories, SEEN_BITS // 64), dtype=np.uint64)
        self.fresh = np.zeros_like(self.seen)  # seen since `accept`
        self.waiting = np.zeros_like(self.seen)  # seen between the last two calls of `accept`

    def make(self, values: NDArray[np.float64], categories: NDArray[np.uint64]) -> None:
        """Cut at the deciles of values (n, M), NaN: missing, and take the most frequent categories (n, K)."""
        for column in range(values.shape[1]):
            known = values[:, column]
            edges = decile_edges(known[~np.isnan(known)])
            self.edges[column] = np.inf
            self.edges[column, : len(edges)] = edges
        for column in range(categories.shape[1]):
            known_keys = categories[:, column]
            keys, counts = np.unique(known_keys[known_keys != 0], return_counts=True)
            order = np.lexsort((keys, -counts))[:TOPS]
            self.tops[column] = 0
            self.tops[column, : len(order)] = keys[order]
        self.made = True

    def accept(self, chosen: NDArray[np.bool_]) -> None:
        """Count what was seen before the last call as known, in the chosen columns (K,) of categories.

        What was seen since then has to wait: it may be the beginning of a drift.
        """
        self.seen[chosen] |= self.waiting[chosen]
        self.waiting[chosen] = self.fresh[chosen]
        self.fresh[chosen] = 0

    @property
    def arrays(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """As `count` takes them."""
        return self.edges, self.tops, self.seen, self.fresh

    def to_state(self) -> dict[str, Any]:
        return {
            "made": self.made,
            "edges": self.edges.copy(),
            "tops": self.tops.copy(),
            "seen": self.seen.copy(),
            "fresh": self.fresh.copy(),
            "waiting": self.waiting.copy(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.made = state["made"]
        self.edges, self.tops = state["edges"], state["tops"]
        self.seen, self.fresh, self.waiting = state["seen"], state["fresh"], state["waiting"]


def decile_edges(known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ends of ten bins, at most `CUTS`, ascending.

    A value at several deciles gets a bin of its own: its predecessor among doubles is an end, too.
    """
    if not len(known):
        return np.zeros(0)
    deciles, times = np.unique(
        np.quantile(known, np.arange(1, 10) / 10.0, method="lower"), return_counts=True
    )
    return np.union1d(deciles, np.nextafter(deciles[times > 1], -np.inf))


def slot_of(time: float) -> int:
    """Hour of the week, from Monday 0:00 UTC."""
    return int((time - MONDAY_S) // SLOT_S) % SLOTS


@numba.njit(cache=True, nogil=True)
def _category_bin(category: Any, tops: Any, seen: Any, fresh: Any) -> int:
    """Bin of a category, which is noted if it is new."""
    if category == 0:
        return MISSING
    for top in range(TOPS):
        if tops[top] == category:
            return top
    bit = category % np.uint64(SEEN_BITS)
    word, mask = bit >> np.uint64(6), np.uint64(1) << (bit & np.uint64(63))
    if seen[word] & mask:
        return OTHER
    fresh[word] |= mask
    return UNSEEN


@numba.njit(cache=True, nogil=True)
def count(
    values: Any,
    categories: Any,
    entities: Any,
    context: Any,
    times: Any,
    keys: Any,
    last: Any,
    edges: Any,
    tops: Any,
    seen: Any,
    fresh: Any,
    pane: Any,
) -> None:
    """Count n events.

    Parameters
    ----------
    values, categories
        (n, M) float64, NaN: missing; (n, K) uint64, hashes, 0: missing.
    entities, context, times
        (n, E) uint64, (n, W) float32 and (n,) float64, s.
    keys : (P, 3) int64
        Of each kind of key: columns of the entities it consists of (the second may be -1), and the column
        of the context that is NaN where the key was never seen.
    last : (M,) float64
        Values of the event before, NaN: missing; changed.
    edges, tops, seen, fresh
        See `Cuts`.
    pane : (SLOTS, 2 M + K + P, BINS) int32
        Counts, changed.
    """
    numbers, kinds, pairs = values.shape[1], categories.shape[1], len(keys)
    first = 2 * numbers + kinds
    for i in range(len(times)):
        slot = int(np.floor((times[i] - MONDAY_S) / SLOT_S)) % SLOTS
        for j in range(numbers):
            value = values[i, j]
            found = MISSING
            if not np.isnan(value):
                found = 0
                while found < CUTS and value > edges[j, found]:
                    found += 1
            pane[slot, j, found] += 1
            repeats = numbers + kinds + j
            pane[slot, repeats, MISSING if found == MISSING else REPEATED if value == last[j] else 0] += 1
            last[j] = value
        for k in range(kinds):
            found = _category_bin(categories[i, k], tops[k], seen[k], fresh[k])
            pane[slot, numbers + k, found] += 1
        for p in range(pairs):
            found = 0
            if entities[i, keys[p, 0]] == 0 or (keys[p, 1] >= 0 and entities[i, keys[p, 1]] == 0):
                found = MISSING
            elif np.isnan(context[i, keys[p, 2]]):
                found = NEW_KEY
            pane[slot, first + p, found] += 1


@numba.njit(cache=True, nogil=True)
def add_scores(times: Any, scores: Any, most: float, usual: Any, sums: Any, block: Any) -> None:
    """Add n scores, each `most` at most, to the sums of their hours and of the block.

    Parameters
    ----------
    times, scores : (n,) float64
    usual : (SLOTS,) float64
        Mean score at each hour of the week.
    sums : (SLOTS, 2) float64
        Sum of scores, and events; changed.
    block : (2,) float64
        Sum of scores less the usual ones, and events; changed.
    """
    for i in range(len(times)):
        slot = int(np.floor((times[i] - MONDAY_S) / SLOT_S)) % SLOTS
        score = min(scores[i], most)
        sums[slot, 0] += score
        sums[slot, 1] += 1.0
        block[0] += score - usual[slot]
        block[1] += 1.0
