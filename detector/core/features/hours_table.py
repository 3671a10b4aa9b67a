"""Hours of one kind of key: at which hours of the day and days of the week each card is usually seen.

A slot of the table (see `key_table`) holds decayed counts of the 24 hours and of the 7 days. An event sees
how many earlier ones its key had around the same hour, on the same day, and in all.

Rules
    - An event sees the row as it was just before the event; then the row is updated with it, event by event
      in log order.
    - An hour is also seen by its neighbours, with half the weight: habits are not cut at full hours.
    - No fast-math and no threads: equal bytes on equal machines.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detector.core.features.key_table import KeyTable, slot_for, take_slot
from detector.core.features.rows import Rows
from detector.core.state import row_hash, words

HOURS, DAYS = 24, 7
HOUR_S, DAY_S = 3600.0, 86_400.0
EPOCH_DAY = 3  # 1970-01-01 was a Thursday; Monday is 0


class HoursTable(KeyTable):
    """Hours and days of one kind of key.

    Parameters
    ----------
    long_s : float
        Half-life of the counts, s of event time.
    keys_max : int
        Bound on keys.
    """

    def __init__(self, long_s: float, keys_max: int) -> None:
        self._rate = math.log(2.0) / long_s
        self._hashed = np.zeros(1, dtype=np.uint64)  # hash of the rows, updated with each change
        super().__init__(HOURS + DAYS, keys_max, np.float32)

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
        context : (n, 3) float32
            Output.
        """
        _observe(
            self._keys,
            self._times,
            self._stats,
            self._count,
            self._hashed,
            *words(self._times, self._stats),
            self._rate,
            keys,
            rows.times,
            rows.clocks,
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
    rate: float,
    event_keys: Any,
    times: Any,
    clocks: Any,
    context: Any,
) -> None:
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
        if new:
            row[:] = 0.0
        else:
            row *= np.float32(math.exp(-max(0.0, times[event] - last[slot]) * rate))
        hour = np.int64(math.floor(clocks[event] / HOUR_S)) % HOURS
        day = HOURS + (np.int64(math.floor(clocks[event] / DAY_S)) + EPOCH_DAY) % DAYS
        around = 0.25 * (row[(hour + HOURS - 1) % HOURS] + row[(hour + 1) % HOURS])
        context[event, 0] = 0.5 * row[hour] + around
        context[event, 1] = row[day]
        context[event, 2] = row[HOURS:].sum()
        row[hour] += 1.0
        row[day] += 1.0
        last[slot] = times[event] if new else max(last[slot], times[event])
        hashed[0] += row_hash(keys, last_words, stats_words, slot)
