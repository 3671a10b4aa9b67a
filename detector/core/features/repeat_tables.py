"""Table of repeats: when each card, merchant or device last had an amount.

The same amount again is what a bill that is handed in twice looks like, and a purchase that is charged twice.
It is nothing where amounts are few: fares, subscriptions. So it is compared with how often the key's amounts
come again (`NoveltyTable`), and the time in between with that of everybody's repeats.

The rules of `habit_tables` hold. Amounts are compared on the scale of rows, so those before a change of units
are forgotten. How rare a time in between is comes from `levels`: its size there is how often it fits into the
half-life of the long memory.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from detector.core.features.habit_tables import Context, Keys, Times
from detector.core.features.key_table import enter
from detector.core.features.levels import LevelsTable, count, decay_all, level_of, reached
from detector.core.state import row_hash

REPEATED = 1.0  # level of all repeats; an event that repeats nothing has level 0
GAP_MIN_S = 1.0


class RepeatsTable(LevelsTable):
    """Times of pairs of a key and an amount."""

    def __init__(self, long_s: float, keys_max: int) -> None:
        super().__init__(0, long_s, keys_max)
        self._long_s = long_s

    def observe(self, pairs: Keys, times: Times, context: Context) -> None:
        """Write what n events repeat, (n, 3); learn them.

        -log of the share of repeats that came at least as soon, in nats, 0 for an event that repeats nothing;
        seconds since the key had this amount, NaN for such an event; share of all events that are repeats.
        """
        self._update(_repeats, self._everyone, self._rate, self._long_s, pairs, times, context)


@numba.njit(cache=True, error_model="numpy")
def _repeats(
    keys: Any,
    last: Any,
    stats: Any,
    count_: Any,
    hashed: Any,
    last_words: Any,
    stats_words: Any,
    everyone: Any,
    rate: float,
    long_s: float,
    pairs: Any,
    times: Any,
    context: Any,
) -> None:
    for event in range(len(pairs)):
        pair = pairs[event]
        decay_all(everyone, times[event], rate)
        repeats = reached(everyone, REPEATED)
        usual = (repeats + 0.5) / (everyone[0] + 1.0)
        context[event, 0], context[event, 1], context[event, 2] = 0.0, np.nan, usual
        if pair == 0:
            continue
        slot, new = enter(keys, last, stats, count_, hashed, last_words, stats_words, pair)
        level = 0.0
        if not new:
            gap = abs(times[event] - last[slot])
            level = max(level_of(long_s / max(gap, GAP_MIN_S)), REPEATED)
            soon = (reached(everyone, level) + 1.0) / (repeats + 1.0)
            context[event, 0], context[event, 1] = -math.log(soon), gap
        count(everyone, level)
        last[slot] = times[event] if new else max(last[slot], times[event])
        hashed[0] += row_hash(keys, last_words, stats_words, slot)
