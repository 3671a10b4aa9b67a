"""Pace of one kind of key: how often each card, merchant or device is usually seen, and how often just now.

A slot of the table (see `key_table`), like a slice of the context, has two decayed counts of short memories,
one of a long memory, and the decayed time, in the same long memory, since the key was first seen. Count over
time is the rate of the key, without the bias that a count alone has while the key is young.

Rules
    - An event sees the row as it was just before the event; then the row is updated with it, event by event
      in log order.
    - No fast-math and no threads: equal bytes on equal machines.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detector.core.features.key_table import KeyTable, slot_for, take_slot
from detector.core.features.layout import HABIT_WIDTHS
from detector.core.features.rows import Rows
from detector.core.state import row_hash, words

SHORT_S = (300.0, 3600.0)
"""Half-lives of the short memories: 5 minutes and an hour, in which cards are tested and merchants hit."""


class PaceTable(KeyTable):
    """Paces of one kind of key.

    Parameters
    ----------
    long_s : float
        Half-life of the long memory, s of event time.
    keys_max : int
        Bound on keys.
    """

    def __init__(self, long_s: float, keys_max: int) -> None:
        self._rates = np.log(2.0) / np.array([*SHORT_S, long_s])
        self._hashed = np.zeros(1, dtype=np.uint64)  # hash of the rows, updated with each change
        super().__init__(HABIT_WIDTHS["pace"], keys_max, np.float32)

    @property
    def hashed(self) -> int:
        return int(self._hashed[0])

    def load(self, state: Any) -> None:
        super().load(state)
        self._hashed[0] = super().hashed

    def observe(self, keys: NDArray[np.uint64], rows: Rows, context: NDArray[np.float32]) -> None:
        """Read each event's row as it was before the event, then update the row.

        Parameters
        ----------
        keys : (n,) uint64
            0: the event has no such key. It gets the context of a key never seen, and nothing is learned.
        rows
            The events; their times are read.
        context : (n, 4) float32
            Output.
        """
        _observe(
            self._keys,
            self._times,
            self._stats,
            self._count,
            self._hashed,
            *words(self._times, self._stats),
            self._rates,
            keys,
            rows.times,
            context,
        )


@numba.njit(cache=True)
def _observe(
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
        slot = slot_for(keys, last, key)
        if keys[slot] != 0:
            hashed[0] -= row_hash(keys, last_words, stats_words, slot)
        new = take_slot(keys, slot, key, count)
        row = stats[slot]
        gap = 0.0
        if new:
            row[:] = 0.0
        else:
            gap = max(0.0, times[event] - last[slot])
        for h in range(counts):
            row[h] *= math.exp(-gap * rates[h])
        kept = math.exp(-gap * rates[counts - 1])
        row[counts] = row[counts] * kept + (1.0 - kept)
        context[event, :] = row
        last[slot] = times[event] if new else max(last[slot], times[event])
        for h in range(counts):
            row[h] += 1.0
        hashed[0] += row_hash(keys, last_words, stats_words, slot)
