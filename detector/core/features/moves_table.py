"""Moves of one kind of key: how fast each card or device had to travel since its last event.

A slot of the table (see `key_table`) holds where its key was last seen. An event sees the way from there, the
time, and how rare the speed is among all moves of keys of this kind (see `levels`). So nothing needs to know
what travels: cards fly, parcels drive.

Rules
    - An event sees the row as it was just before the event; then the row is updated with it, event by event
      in log order.
    - A late event is compared with the latest one too, and moves nothing.
    - Two clocks differ, and so do times of an event that two systems write. So `SLACK_S` is added to each
      time, and events at the same time have a speed.
    - An event without a point has no speed, and nothing is learned.
    - No fast-math and no threads: equal bytes on equal machines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detector.core.features.key_table import KeyTable, slot_for, take_slot
from detector.core.features.layout import HABIT_WIDTHS
from detector.core.features.levels import LEVELS, count, level_of, share_of_all
from detector.core.features.places_table import decay_all, square, way_km
from detector.core.features.rows import Rows
from detector.core.state import row_hash, words

SLACK_S = 300.0
HOUR_S = 3600.0


class MovesTable(KeyTable):
    """Latest points of one kind of key.

    Parameters
    ----------
    long_s : float
        Half-life of the counts of speeds, s of event time.
    keys_max : int
        Bound on keys.
    point : int
        Column of `Rows.points`.
    """

    def __init__(self, long_s: float, keys_max: int, point: int) -> None:
        self._rate = math.log(2.0) / long_s
        self._point = point
        self._hashed = np.zeros(1, dtype=np.uint64)  # hash of the rows, updated with each change
        self._everyone = np.zeros(LEVELS + 1)  # levels of all speeds, and the time of the latest event
        super().__init__(3, keys_max, np.float32)

    @property
    def hashed(self) -> int:
        return int(self._hashed[0])

    def to_state(self) -> Any:
        return {"everyone": self._everyone.copy(), "table": super().to_state()}

    def load(self, state: Mapping[str, Any]) -> None:
        super().load(state["table"])
        self._everyone = state["everyone"].copy()
        self._hashed[0] = super().hashed

    def observe(self, keys: NDArray[np.uint64], rows: Rows, context: NDArray[np.float32]) -> None:
        """Read each event's row as it was before the event, then update the row.

        Parameters
        ----------
        keys : (n,) uint64
            0: the event has no such key. It gets the context of a key never seen, and nothing is learned.
        rows
            The events; their times and points are read.
        context : (n, 3) float32
            Output: -log of the share of moves at least as fast, in nats, 0 for a key never seen; km since the
            key's last event, and s, both NaN for such a key.
        """
        assert context.shape[1] == HABIT_WIDTHS["moves"]
        _observe(
            self._keys,
            self._times,
            self._stats,
            self._count,
            self._hashed,
            *words(self._times, self._stats),
            self._everyone,
            self._rate,
            keys,
            rows.times,
            rows.points[:, self._point],
            context,
        )


@numba.njit(cache=True)
def _observe(
    keys: Any,
    last: Any,
    stats: Any,
    count_: Any,
    hashed: Any,
    last_words: Any,
    stats_words: Any,
    everyone: Any,
    rate: float,
    event_keys: Any,
    times: Any,
    points: Any,
    context: Any,
) -> None:
    for event in range(len(event_keys)):
        key = event_keys[event]
        context[event, 0], context[event, 1], context[event, 2] = 0.0, np.nan, np.nan
        point = points[event]
        if key == 0 or math.isnan(point[0]):
            continue
        slot = slot_for(keys, last, key)
        if keys[slot] != 0:
            hashed[0] -= row_hash(keys, last_words, stats_words, slot)
        new = take_slot(keys, slot, key, count_)
        row = stats[slot]
        if not new:
            decay_all(everyone, times[event], rate)
            way, gap = way_km(square(row, 0, point, 0)), abs(times[event] - last[slot])
            speed = way / ((gap + SLACK_S) / HOUR_S)
            level = level_of(speed)
            share = share_of_all(everyone, level, speed)
            context[event, 0], context[event, 1], context[event, 2] = -math.log(share), way, gap
            count(everyone, level)
        if new or times[event] >= last[slot]:
            row[:] = point
            last[slot] = times[event]
        hashed[0] += row_hash(keys, last_words, stats_words, slot)
