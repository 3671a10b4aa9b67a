"""Mean of how far out an event's columns lie, each in its own distribution, on the nearer side (as in ECOD).

    -log(2 min(share of the core at most as high, share at least as high)), at least 0

Li and others, "ECOD: unsupervised outlier detection using empirical cumulative distribution functions", 2022.
The shares are interpolated between order statistics whose ranks grow geometrically: exact where shares are
small, and a few dozen numbers per column. A missing value counts 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]

RANK_STEP = 1.35  # from one rank to the next
KNOTS = 64  # more than ranks up to half of a core of 2^20 events


class Tails:
    """Order statistics of each column, from both ends."""

    def __init__(self) -> None:
        # (2, D, KNOTS) values from below, and negative values from above; both rise. +inf where the column
        # has fewer.
        self._knots = np.zeros((2, 0, KNOTS), dtype=np.float32)
        self._logs = np.zeros((0, KNOTS), dtype=np.float32)  # (D, KNOTS) logarithms of their shares
        self._beyond = np.zeros(0, dtype=np.float32)  # (D,) logarithm of the share beyond the extremes

    def fit(self, points: Points) -> None:
        """Read order statistics from core events (n, D); NaN: missing."""
        columns = points.shape[1]
        self._knots = np.full((2, columns, KNOTS), np.inf, dtype=np.float32)
        self._logs = np.zeros((columns, KNOTS), dtype=np.float32)
        self._beyond = np.zeros(columns, dtype=np.float32)
        for column in range(columns):
            known = np.sort(points[~np.isnan(points[:, column]), column])
            if len(known) < 2:
                continue
            ranks = _ranks(len(known))
            used = slice(0, len(ranks))
            self._knots[0, column, used] = known[ranks - 1]
            self._knots[1, column, used] = -known[len(known) - ranks]
            self._logs[column, used] = np.log(ranks / (len(known) + 1.0))
            self._beyond[column] = math.log(0.5 / (len(known) + 1.0))

    def distances(self, points: Points) -> NDArray[np.float64]:
        """Distances (n,) of events (n, D), in nats; NaN: missing."""
        distances = np.empty(len(points))
        _tails(points, self._knots, self._logs, self._beyond, distances)
        return distances

    def to_state(self) -> dict[str, Any]:
        return {"knots": self._knots, "logs": self._logs, "beyond": self._beyond}

    def load(self, state: Mapping[str, Any]) -> None:
        self._knots, self._logs, self._beyond = state["knots"], state["logs"], state["beyond"]


def _ranks(count: int) -> NDArray[np.int64]:
    """Ranks from 1 to half of `count`, at most KNOTS."""
    ranks = [1]
    while len(ranks) < KNOTS and ranks[-1] < count // 2:
        ranks.append(min(max(ranks[-1] + 1, int(ranks[-1] * RANK_STEP)), count // 2))
    return np.array(ranks, dtype=np.int64)


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _log_share(value: Any, knots: Any, logs: Any, beyond: Any) -> float:
    """Logarithm of the share at or below a value; knots (KNOTS,) rise, and end with +inf if fewer."""
    if value < knots[0]:
        return np.float64(beyond)
    low, high = 0, len(knots)  # knots[low] <= value < knots[high]
    while high - low > 1:
        middle = (low + high) // 2
        if knots[middle] <= value:
            low = middle
        else:
            high = middle
    if high == len(knots) or knots[high] == np.inf:
        return np.float64(logs[low])
    inside = np.float64(value - knots[low]) / np.float64(knots[high] - knots[low])
    return np.float64(logs[low]) + inside * np.float64(logs[high] - logs[low])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _tails(points: Any, knots: Any, logs: Any, beyond: Any, out: Any) -> None:
    columns = points.shape[1]
    for row in range(len(points)):
        total = 0.0
        for column in range(columns):
            value = points[row, column]
            if math.isnan(value):
                continue
            below = _log_share(value, knots[0, column], logs[column], beyond[column])
            above = _log_share(-value, knots[1, column], logs[column], beyond[column])
            total -= min(0.0, math.log(2.0) + min(below, above))
        out[row] = total / columns
