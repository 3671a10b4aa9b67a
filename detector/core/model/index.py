"""Nearest cluster centres: HNSW for many, exact search with the same protocol for few and as oracle.

The graph is derived from the arrays: it is built from scratch for each barrier, by one thread, in array
order, and never saved. hnswlib saves neither its generator nor `ef`, builds different graphs with two
threads, and loses nodes under in-place updates (all measured). `ef`, how many candidates a search keeps, is
chosen once per graph by comparison with exact search, and saved.
"""

from __future__ import annotations

from typing import Any, Protocol

import hnswlib
import numba
import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Index as IndexConfig

SEED = 100  # hnswlib's own default; any fixed number works
WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)


class NearestCentres(Protocol):
    """Search over (K, D) centres."""

    ef: int  # candidates that a search keeps; 0: it compares with all centres

    def search(self, points: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest centres of each of (n, D) points, nearest first; k is at most K.

        Returns their numbers and Euclidean distances, both (n, k). A row's result depends on that row alone.
        """


def build(centres: NDArray[np.float32], config: IndexConfig, ef: int | None = None) -> NearestCentres:
    """Index centres; exact below `config.exact_below` of them.

    Parameters
    ----------
    ef
        Candidates that a search of a graph keeps; None: `config.ef`.
    """
    return Exact(centres) if len(centres) < config.exact_below else Hnsw(centres, config, ef)


def tuned(
    centres: NDArray[np.float32], config: IndexConfig, points: NDArray[np.float32], k: int
) -> NearestCentres:
    """Index centres, with the least `ef` that finds `config.recall` of the k neighbours of (n, D) points."""
    index = build(centres, config)
    if isinstance(index, Hnsw) and config.recall is not None:
        index.narrow(points, Exact(centres).search(points, k)[0], config.recall)
    return index


class Exact:
    """Compares with every centre."""

    ef = 0

    def __init__(self, centres: NDArray[np.float32]) -> None:
        self._columns = np.ascontiguousarray(_checked(centres, centres.shape[1]).T)

    def search(self, points: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        dimension, count = self._columns.shape
        points = _checked(points, dimension)
        _check_k(k, count)
        return _nearest(self._columns, points, k)  # type: ignore[no-any-return]


class Hnsw:
    """Approximate search in a graph (Malkov and Yashunin 2016)."""

    def __init__(self, centres: NDArray[np.float32], config: IndexConfig, ef: int | None = None) -> None:
        centres = _checked(centres, centres.shape[1])
        self._dimension = centres.shape[1]
        self._count = len(centres)
        self._graph = hnswlib.Index(space="l2", dim=self._dimension)
        self._graph.init_index(
            max_elements=self._count, ef_construction=config.ef_construction, M=config.m, random_seed=SEED
        )
        self._graph.set_num_threads(1)
        self._graph.add_items(centres, np.arange(self._count), num_threads=1)
        self._set_ef(config.ef if ef is None else ef)

    def narrow(self, points: NDArray[np.float32], true: NDArray[np.int64], recall: float) -> None:
        """Choose the least `ef` that finds `recall` of the true neighbours (n, k) of (n, D) points."""
        largest, k = self.ef, true.shape[1]
        for ef in (width for width in WIDTHS if k <= width < largest):
            self._set_ef(ef)
            found = self.search(points, k)[0]
            if (found[:, :, None] == true[:, None, :]).any(axis=2).mean() >= recall:
                return
        self._set_ef(largest)

    def _set_ef(self, ef: int) -> None:
        self.ef = ef
        self._graph.set_ef(ef)

    def search(self, points: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        points = _checked(points, self._dimension)  # a wrong width is read past the row's end by hnswlib
        _check_k(k, self._count)
        labels, squares = self._graph.knn_query(points, k=k, num_threads=1)
        return labels.astype(np.int64), np.sqrt(np.maximum(squares, 0.0))


def _checked(points: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    points = np.ascontiguousarray(points, dtype=np.float32)
    if points.ndim != 2 or points.shape[1] != dimension:
        raise ValueError(f"got points of shape {points.shape}, expected (n, {dimension})")
    if not np.isfinite(points).all():
        raise ValueError("points must be finite")
    return points


def _check_k(k: int, count: int) -> None:
    if not 1 <= k <= count:
        raise ValueError(f"got k = {k}, expected 1 to {count}, the number of centres")


@numba.njit(cache=True, nogil=True)
def _nearest(columns: Any, points: Any, k: int) -> Any:
    """Sum squares column by column, for all centres at once: vectorised over centres, always in one order."""
    dimension, count = columns.shape
    numbers = np.empty((len(points), k), dtype=np.int64)
    distances = np.empty((len(points), k), dtype=np.float32)
    squares = np.empty(count, dtype=np.float32)
    for row in range(len(points)):
        squares[:] = 0.0
        for column in range(dimension):
            value = points[row, column]
            for number in range(count):
                difference = value - columns[column, number]
                squares[number] += difference * difference
        found = 0
        farthest = np.float32(np.inf)
        for number in range(count):
            square = squares[number]
            if found == k and square >= farthest:
                continue
            place = found if found < k else k - 1
            while place > 0 and distances[row, place - 1] > square:
                distances[row, place] = distances[row, place - 1]
                numbers[row, place] = numbers[row, place - 1]
                place -= 1
            distances[row, place] = square
            numbers[row, place] = number
            found = min(found + 1, k)
            farthest = distances[row, found - 1]
        for place in range(k):
            distances[row, place] = np.sqrt(distances[row, place])
    return numbers, distances
