"""How empty the cells are in which an event falls, in random grids over random columns (RSHash).

Sathe and Aggarwal, "Subspace outlier detection in linear time with randomized hashing", 2016. Each grid has a
random cell width, random offsets and a few random columns, so that it sees unusual combinations. Cells are
counted in a hash table of fixed size; two cells that share a place look fuller than they are, in one grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]

GRIDS = 64
CELLS = 4096  # a power of 2
EVENTS_MIN = 16  # the formula for widths needs as many
RANGE_MIN = 1e-9
COUNT_MAX = np.iinfo(np.uint16).max


class Grids:
    """Counts of the core in all grids."""

    def __init__(self) -> None:
        self._low = np.zeros(0, dtype=np.float32)  # (D,) of the core
        self._range = np.ones(0, dtype=np.float32)  # (D,)
        self._columns = np.zeros(0, dtype=np.int64)  # (T,) of all grids, one grid after another
        self._starts = np.zeros(GRIDS + 1, dtype=np.int64)  # where each grid's columns begin
        self._offsets = np.zeros(0)  # (T,)
        self._widths = np.ones(GRIDS)  # of the cells, as shares of the range
        self._counts = np.zeros((GRIDS, CELLS), dtype=np.uint16)
        self._fullness = np.zeros((GRIDS, CELLS), dtype=np.float32)  # log2(1 + count)

    def fit(self, points: Points, rng: np.random.Generator) -> None:
        """Draw grids, and count core events (n, D), without missing values."""
        count, columns = max(len(points), EVENTS_MIN), points.shape[1]
        self._low = points.min(axis=0)
        self._range = np.maximum(points.max(axis=0) - self._low, np.float32(RANGE_MIN))
        edge = 1.0 / math.sqrt(count)
        self._widths = rng.uniform(edge, 1.0 - edge, GRIDS)
        chosen, offsets = [], []
        for width in self._widths:
            # As many columns as leave the average cell of the densest half some events.
            most = int(math.log(count) / math.log(max(2.0, 1.0 / width)))
            least = int(1.0 + 0.5 * most)
            drawn = most if least >= most else int(rng.integers(least, most + 1))
            chosen.append(rng.choice(columns, max(1, min(columns, drawn)), replace=False))
            offsets.append(rng.uniform(0.0, width, len(chosen[-1])))
        self._columns, self._offsets = np.concatenate(chosen), np.concatenate(offsets)
        self._starts = np.cumsum([0, *map(len, chosen)], dtype=np.int64)
        counts = np.zeros((GRIDS, CELLS), dtype=np.int64)
        _count(self._scaled(points), self._columns, self._starts, self._offsets, self._widths, counts)
        self._counts = np.minimum(counts, COUNT_MAX).astype(np.uint16)
        self._update_fullness()

    def _scaled(self, points: Points) -> Points:
        scaled: Points = (points - self._low) / self._range
        return scaled

    def _update_fullness(self) -> None:
        self._fullness = np.log2(1.0 + self._counts).astype(np.float32)

    def distances(self, points: Points) -> NDArray[np.float64]:
        """Mean of -log2(1 + events in the cell), (n,), of events (n, D), without missing values."""
        distances = np.empty(len(points))
        _emptiness(
            self._scaled(points),
            self._columns,
            self._starts,
            self._offsets,
            self._widths,
            self._fullness,
            distances,
        )
        return distances

    def to_state(self) -> dict[str, Any]:
        return {
            "low": self._low,
            "range": self._range,
            "columns": self._columns,
            "starts": self._starts,
            "offsets": self._offsets,
            "widths": self._widths,
            "counts": self._counts,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._low, self._range = state["low"], state["range"]
        self._columns, self._starts = state["columns"], state["starts"]
        self._offsets, self._widths = state["offsets"], state["widths"]
        self._counts = state["counts"]
        self._update_fullness()


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _cell(point: Any, columns: Any, first: int, last: int, offsets: Any, width: float) -> Any:
    """Place in the hash table of an event's cell, by Fibonacci hashing; -1 beyond the core's range."""
    mixed = np.uint64(1469598103934665603)
    for term in range(first, last):
        step = np.int64(math.floor((point[columns[term]] + offsets[term]) / width))
        if step < 0 or step > math.floor((1.0 + offsets[term]) / width):
            return np.int64(-1)
        mixed = (mixed ^ np.uint64(step)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    return np.int64(mixed & np.uint64(CELLS - 1))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _count(points: Any, columns: Any, starts: Any, offsets: Any, widths: Any, counts: Any) -> None:
    for row in range(len(points)):
        for grid in range(len(widths)):
            cell = _cell(points[row], columns, starts[grid], starts[grid + 1], offsets, widths[grid])
            counts[grid, cell] += 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _emptiness(
    points: Any, columns: Any, starts: Any, offsets: Any, widths: Any, fullness: Any, out: Any
) -> None:
    for row in range(len(points)):
        total = 0.0
        for grid in range(len(widths)):
            cell = _cell(points[row], columns, starts[grid], starts[grid + 1], offsets, widths[grid])
            if cell >= 0:
                total -= fullness[grid, cell]
        out[row] = total / len(widths)
