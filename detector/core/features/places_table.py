"""Usual places of one kind of key: where each card is seen, and how far from there an event is.

A slot of the table (see `key_table`) holds a few places, each with a decayed count of events and the mean of
their points, and the levels of the distances that its events had (see `levels`). An event sees how far it is
from the nearest usual place, and how rare that distance is: a share of the key's own events, shrunk to that
of all events. So the same way is common for a traveller and strange for somebody who stays at home.

Rules
    - An event sees the row as it was just before the event; then the row is updated with it, event by event
      in log order.
    - A place is usual from its second event on. Where a fraud happened, the next one is as far away.
    - No distance decides what one place is. While there is room, each new point is a place. Then it joins the
      nearest place, or takes the room of the place with the fewest events. It does the latter if its way to
      the nearest place is longer than the way of all those events to the place next to theirs.
    - Distances are chords through the earth, turned into the way over its surface. A missing point has no
      distance, and nothing is learned.
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
from detector.core.features.levels import FIRST, LEVELS, count, level_of, share_of_all, share_of_own
from detector.core.features.rows import Rows
from detector.core.state import row_hash, words

PLACES = 4
PLACE = 4  # numbers of a place: count, and the unit vector of its mean
EARTH_KM = 6371.0
LENGTH_MIN = 1e-12  # of a mean of opposite points, squared: it has no direction
# Nearer points are the same place; see `square`.
SAME_SQUARE = (FIRST / EARTH_KM) ** 2
# Decayed events from which a place is usual: the second one, up to a half-life after the first.
USUAL_MIN = 1.5


class PlacesTable(KeyTable):
    """Usual places of one kind of key.

    Parameters
    ----------
    long_s : float
        Half-life of all counts, s of event time.
    keys_max : int
        Bound on keys.
    point : int
        Column of `Rows.points`.
    """

    def __init__(self, long_s: float, keys_max: int, point: int) -> None:
        self._rate = math.log(2.0) / long_s
        self._point = point
        self._hashed = np.zeros(1, dtype=np.uint64)  # hash of the rows, updated with each change
        # Levels of all events, and the time of the latest. In doubles: many events would not change a float.
        self._everyone = np.zeros(LEVELS + 1)
        super().__init__(PLACES * PLACE + LEVELS, keys_max, np.float32)

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
        context : (n, 2) float32
            Output: -log of the share of events at least as far from usual places, in nats, 0 for a key never
            seen; km to the nearest usual place, NaN for such a key.
        """
        assert context.shape[1] == HABIT_WIDTHS["places"]
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
def square(row: Any, at: int, point: Any, of: int) -> float:
    """Squared distance between the unit vectors in `row[at : at + 3]` and `point[of : of + 3]`."""
    x, y, z = row[at] - point[of], row[at + 1] - point[of + 1], row[at + 2] - point[of + 2]
    found: float = x * x + y * y + z * z
    return found


@numba.njit(cache=True)
def way_km(squared: float) -> float:
    """Way over the earth between two points, given by `square`, km."""
    return 2.0 * EARTH_KM * math.asin(min(1.0, 0.5 * math.sqrt(squared)))


@numba.njit(cache=True)
def decay_all(everyone: Any, time: float, rate: float) -> None:
    """Decay the levels of all events up to a time; the last number is the time they are of."""
    kept = math.exp(-max(0.0, time - everyone[-1]) * rate)
    for i in range(LEVELS):
        everyone[i] *= kept
    everyone[-1] = max(everyone[-1], time)


@numba.njit(cache=True, error_model="numpy")
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
        context[event, 0], context[event, 1] = 0.0, np.nan
        point = points[event]
        if key == 0 or math.isnan(point[0]):
            continue
        decay_all(everyone, times[event], rate)
        slot = slot_for(keys, last, key)
        if keys[slot] != 0:
            hashed[0] -= row_hash(keys, last_words, stats_words, slot)
        new = take_slot(keys, slot, key, count_)
        row = stats[slot]
        levels = row[PLACES * PLACE :]
        if new:
            row[:] = 0.0
        else:
            kept = np.float32(math.exp(-max(0.0, times[event] - last[slot]) * rate))
            for place in range(PLACES):
                row[place * PLACE] *= kept
            levels *= kept
        nearest, nearest_square, usual_square, free = _nearest(row, point)
        if nearest >= 0:
            far = way_km(usual_square)
            level = level_of(far)
            share = share_of_own(levels, level, share_of_all(everyone, level, far))
            context[event, 0], context[event, 1] = -math.log(min(share, 1.0)), far
            count(levels, level)
            count(everyone, level)
        _learn(row, nearest, nearest_square, free, point)
        last[slot] = times[event] if new else max(last[slot], times[event])
        hashed[0] += row_hash(keys, last_words, stats_words, slot)


@numba.njit(cache=True, error_model="numpy")
def _nearest(row: Any, point: Any) -> Any:
    """Nearest place (-1: none) and `square` to it, `square` to the nearest usual one, room for one (-1: none).

    Where no place is usual yet, all count as usual.
    """
    nearest, free = -1, -1
    least, usual = np.inf, np.inf
    for place in range(PLACES):
        at = place * PLACE
        if row[at] > 0.0:
            squared = square(row, at + 1, point, 0)
            if squared < least:
                least, nearest = squared, place
            if row[at] >= USUAL_MIN and squared < usual:
                usual = squared
        elif free < 0:
            free = place
    return nearest, least, (usual if usual < np.inf else least), free


@numba.njit(cache=True, error_model="numpy")
def _learn(row: Any, nearest: int, squared: float, free: int, point: Any) -> None:
    """Let a point join the nearest place, or be a place of its own."""
    same = squared <= SAME_SQUARE
    if same or (nearest >= 0 and free < 0 and squared <= _loss(row)):
        at = nearest * PLACE
        row[at] += 1.0
        share = 1.0 / row[at]
        x = row[at + 1] + share * (point[0] - row[at + 1])
        y = row[at + 2] + share * (point[1] - row[at + 2])
        z = row[at + 3] + share * (point[2] - row[at + 3])
        scale = 1.0 / math.sqrt(max(x * x + y * y + z * z, LENGTH_MIN))
        row[at + 1], row[at + 2], row[at + 3] = scale * x, scale * y, scale * z
    else:
        at = (free if free >= 0 else _fewest(row)) * PLACE
        row[at], row[at + 1], row[at + 2], row[at + 3] = 1.0, point[0], point[1], point[2]


@numba.njit(cache=True, error_model="numpy")
def _fewest(row: Any) -> int:
    """The place with the fewest events."""
    found = 0
    for place in range(1, PLACES):
        if row[place * PLACE] < row[found * PLACE]:
            found = place
    return found


@numba.njit(cache=True, error_model="numpy")
def _loss(row: Any) -> float:
    """Square of: events of the place with the fewest, times the distance to the place next to it."""
    fewest = _fewest(row)
    at = fewest * PLACE
    least = np.inf
    for place in range(PLACES):
        if place != fewest:
            least = min(least, square(row, place * PLACE + 1, row, at + 1))
    loss: float = least * row[at] * row[at]
    return loss
