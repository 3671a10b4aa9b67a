"""Shares of events that reach a level, of one key and of all: how rare a distance, a speed or a repeat is.

A level is a power of 4 of a size, in km or km/h, or of how soon an amount comes again. `counts` (LEVELS,) of
a key hold the decayed number of its events at each level or above, so that the share of events beyond a size
needs no sum. Between two levels the share is interpolated.
"""

from __future__ import annotations

import math
from typing import Any

import numba

from detector.core.features.habit_tables import SharedTable

LEVELS = 10
# Level 0 ends at about 60 m, nearer is the same place. The last is 16,000 km, or as many km/h.
FIRST = 1.0 / 16.0
# Events that everybody's share counts as in a key's own.
OWN_PRIOR = 8.0
_compiled = numba.njit(cache=True, nogil=True)


class LevelsTable(SharedTable):
    """A table beside the levels of all its keys."""

    def __init__(self, columns: int, long_s: float, keys_max: int) -> None:
        super().__init__(columns, LEVELS + 1, long_s, keys_max)


@_compiled
def level_of(size: float) -> float:
    """Level that a size has, in [0, LEVELS - 1]."""
    return 0.0 if size <= FIRST else min(0.5 * math.log2(size / FIRST), LEVELS - 1.0)


@_compiled
def share_of_all(counts: Any, level: float, size: float) -> float:
    """Share of all events at least as far; one event of a wide distribution counts beside them."""
    share: float = (reached(counts, level) + 1.0 / (1.0 + size)) / (counts[0] + 1.0)
    return share


@_compiled
def share_of_own(counts: Any, level: float, share: float) -> float:
    """Share of a key's events at least as far, shrunk to everybody's."""
    own: float = (reached(counts, level) + OWN_PRIOR * share) / (counts[0] + OWN_PRIOR)
    return own


@_compiled
def count(counts: Any, level: float) -> None:
    """Count an event of a level."""
    for i in range(int(level) + 1):
        counts[i] += 1.0


@_compiled
def reached(counts: Any, level: float) -> float:
    """Decayed events at a level or above."""
    below = min(int(level), LEVELS - 2)
    inside = level - below
    found: float = (1.0 - inside) * counts[below] + inside * counts[below + 1]
    return found


@_compiled
def decay_all(everyone: Any, time: float, rate: float) -> None:
    """Decay the levels of all events up to a time; the last number is the time they are of."""
    kept = math.exp(-max(0.0, time - everyone[-1]) * rate)
    for i in range(LEVELS):
        everyone[i] *= kept
    everyone[-1] = max(everyone[-1], time)
