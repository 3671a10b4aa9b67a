"""Mean distance to the nearest of several random groups of core events.

It needs no shape of normal: several peaks, bent or hollow. Small groups show how far an event lies from
where normal is dense, large ones how far from where normal is at all. Many small searches are averaged, so
that one normal event that happens to be near decides nothing, and no index is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]

# Values, and events, compared with each event for each group size; they bound time (.7 to 3 us) and bytes.
VALUES_MAX = 16_384
EVENTS_MAX = 4_096
GROUPS_MIN, GROUPS_MAX = 2, 64


class NearestGroups:
    """Groups of one size.

    Parameters
    ----------
    size
        Events of a group; fewer while the core holds fewer than twice as many.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._groups = np.zeros((0, 0, 0), dtype=np.float32)  # (D, S, G)

    def fit(self, points: Points, rng: np.random.Generator) -> None:
        """Draw groups from core events (n, D), without missing values."""
        count, columns = points.shape
        size = min(self._size, max(GROUPS_MIN, count // 2))
        groups = min(VALUES_MAX // (size * columns), EVENTS_MAX // size, GROUPS_MAX)
        groups = max(groups, GROUPS_MIN)
        drawn = [points[rng.permutation(count)[:size]].T for _ in range(groups)]
        self._groups = np.ascontiguousarray(np.stack(drawn, axis=2))

    def distances(self, points: Points) -> NDArray[np.float64]:
        """Distances (n,) of events (n, D), without missing values."""
        distances = np.empty(len(points))
        _nearest(self._groups, points, distances)
        return distances

    def to_state(self) -> dict[str, Any]:
        return {"groups": self._groups}

    def load(self, state: Mapping[str, Any]) -> None:
        self._groups = state["groups"]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _nearest(groups: Any, points: Any, out: Any) -> None:
    """Write distances (n,); the inner loops run over many events at once."""
    columns, size, count = groups.shape
    flat = groups.reshape((columns, size * count))
    squares = np.empty(size * count, dtype=np.float32)
    for row in range(len(points)):
        value = points[row, 0]
        for event in range(size * count):
            difference = value - flat[0, event]
            squares[event] = difference * difference
        for column in range(1, columns):
            value = points[row, column]
            for event in range(size * count):
                difference = value - flat[column, event]
                squares[event] += difference * difference
        left = size
        while left > 1:
            half = (left + 1) // 2
            for event in range((left - half) * count):
                other = squares[event + half * count]
                squares[event] = other if other < squares[event] else squares[event]
            left = half
        total = 0.0
        for group in range(count):
            total += math.sqrt(squares[group])
        out[row] = total / count
