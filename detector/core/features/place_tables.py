"""Tables of places: where each card, merchant or device is usually seen, and where it was last seen.

    PlacesTable   a few usual places of each key; how rare it is for the key to be as far from them
    MovesTable    the latest place of each key; how rare the speed from there is

The rules of `habit_tables` hold. How rare a distance or a speed is comes from `levels`. An event without a
place, or without a key, is not far and not fast, and nothing is learned from it.

Usual places
    - The same distance is common for a traveller and strange for somebody who stays at home: it is compared
      with the key's own events, and these with everybody's while they are few.
    - A place is usual from its second event on. Where a fraud happened, the next one is as far away.
    - No distance decides what one place is. While there is room, each new point is a place. Then it joins the
      nearest place, or takes the room of the place with the fewest events. It does the latter if its way to
      the nearest place is longer than the way of all those events to the place next to theirs.

Moves
    - A speed is compared with those of all keys of its kind, so nothing needs to know what travels: cards
      fly, parcels drive.
    - A late event is compared with the latest one too, and moves nothing.
    - Clocks differ, and so do times that two systems write. So `SLACK_S` is added to each time, and events at
      the same time have a speed.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detector.core.features.habit_tables import Context, Keys, Times
from detector.core.features.key_table import enter
from detector.core.features.levels import (
    FIRST,
    LEVELS,
    LevelsTable,
    count,
    decay_all,
    level_of,
    share_of_all,
    share_of_own,
)
from detector.core.state import row_hash

PLACES = 4
PLACE = 4  # numbers of a place: count, and the unit vector of its mean
EARTH_KM = 6371.0
LENGTH_MIN = 1e-12  # of a mean of opposite points, squared: it has no direction
# Nearer points are the same place; see `square`.
SAME_SQUARE = (FIRST / EARTH_KM) ** 2
# Decayed events from which a place is usual: the second one, up to a half-life after the first.
USUAL_MIN = 1.5
SLACK_S = 300.0
HOUR_S = 3600.0
Points = NDArray[np.float32]
"""Unit vectors (n, 3), NaN: missing."""


class PlacesTable(LevelsTable):
    """Usual places, each with a decayed count and the mean of its points, and levels of earlier distances."""

    def __init__(self, long_s: float, keys_max: int) -> None:
        super().__init__(PLACES * PLACE + LEVELS, long_s, keys_max)

    def observe(self, keys: Keys, times: Times, points: Points, context: Context) -> None:
        """Write how far n events are from usual places, (n, 2); learn them.

        -log of the share of events at least as far, in nats, 0 for a key never seen; km to the nearest usual
        place, NaN for such a key.
        """
        self._update(_places, self._everyone, self._rate, keys, times, points, context)


class MovesTable(LevelsTable):
    """Latest places."""

    def __init__(self, long_s: float, keys_max: int) -> None:
        super().__init__(3, long_s, keys_max)

    def observe(self, keys: Keys, times: Times, points: Points, context: Context) -> None:
        """Write how fast n events moved their keys, (n, 3); learn them.

        -log of the share of moves at least as fast, in nats, 0 for a key never seen; km since the key's last
        event, and s, both NaN for such a key.
        """
        self._update(_moves, self._everyone, self._rate, keys, times, points, context)


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


@numba.njit(cache=True, error_model="numpy")
def _places(
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
        slot, new = enter(keys, last, stats, count_, hashed, last_words, stats_words, key)
        row = stats[slot]
        levels = row[PLACES * PLACE :]
        if not new:
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
    """Nearest place (-1: none) and `square` to it, `square` to the nearest usual one, a free one (-1: none).

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


@numba.njit(cache=True, error_model="numpy")
def _moves(
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
        slot, new = enter(keys, last, stats, count_, hashed, last_words, stats_words, key)
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
