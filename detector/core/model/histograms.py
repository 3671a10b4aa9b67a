"""Mean surprise of an event's columns, each by its own histogram of the core (as in HBOS).

Goldstein and Dengel, "Histogram-based outlier score", 2012. A gap inside a column is as unusual as what lies
beyond its ends. Missing values have a bin of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]

BINS_MIN, BINS_MAX = 4, 20
PRIOR = 0.5  # events in every bin beforehand
RANGE_MIN = 1e-9


class Histograms:
    """A histogram of each column, even between the core's extremes."""

    def __init__(self) -> None:
        self._low = np.zeros(0)  # (D,)
        self._width = np.ones(0)  # (D,) of a bin
        # (D, bins + 2) -log of the share: of each bin, of what lies beyond, of missing values.
        self._surprise = np.zeros((0, BINS_MIN + 2), dtype=np.float32)

    def fit(self, points: Points) -> None:
        """Count core events (n, D); NaN: missing."""
        count, columns = points.shape
        bins = max(BINS_MIN, min(BINS_MAX, int(math.sqrt(count) / 2.0)))
        missing = np.isnan(points)
        nothing = missing.all(axis=0)
        self._low = np.where(nothing, 0.0, np.where(missing, np.inf, points).min(axis=0))
        high = np.where(nothing, 0.0, np.where(missing, -np.inf, points).max(axis=0))
        self._width = np.maximum(high - self._low, RANGE_MIN) / bins
        counts = np.zeros((columns, bins + 2))
        _count(points, self._low, self._width, counts)
        counts[:, bins] = 0.0
        self._surprise = -np.log((counts + PRIOR) / (count + PRIOR * bins)).astype(np.float32)

    def distances(self, points: Points) -> NDArray[np.float64]:
        """Mean surprise (n,) of events (n, D), in nats; NaN: missing."""
        distances = np.empty(len(points))
        _surprises(points, self._low, self._width, self._surprise, distances)
        return distances

    def to_state(self) -> dict[str, Any]:
        return {"low": self._low, "width": self._width, "surprise": self._surprise}

    def load(self, state: Mapping[str, Any]) -> None:
        self._low, self._width, self._surprise = state["low"], state["width"], state["surprise"]


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _bin(value: float, low: float, width: float, bins: int) -> int:
    """The bin of a value; `bins`: beyond, bins + 1: missing. The upper end belongs to the last bin."""
    if math.isnan(value):
        return bins + 1
    place = (value - low) / width
    # The width was rounded, so the largest value may lie a little beyond the last edge.
    if place < 0.0 or place > bins + 1e-6:
        return bins
    return min(int(place), bins - 1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _count(points: Any, low: Any, width: Any, counts: Any) -> None:
    bins = counts.shape[1] - 2
    for row in range(len(points)):
        for column in range(len(low)):
            counts[column, _bin(np.float64(points[row, column]), low[column], width[column], bins)] += 1.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _surprises(points: Any, low: Any, width: Any, surprise: Any, out: Any) -> None:
    bins = surprise.shape[1] - 2
    for row in range(len(points)):
        total = 0.0
        for column in range(len(low)):
            place = _bin(np.float64(points[row, column]), low[column], width[column], bins)
            total += surprise[column, place]
        out[row] = total / len(low)
