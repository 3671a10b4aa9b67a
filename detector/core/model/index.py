"""Nearest cluster centres: HNSW for many, exact search with the same protocol for few and as oracle.

The graph is derived from the arrays: it is built by one thread, in array order, and never saved. hnswlib
saves neither its generator nor `ef`, builds different graphs with two threads, and loses nodes under in-place
updates (all measured). `ef`, how many candidates a search keeps, is chosen once per graph by comparison with
exact search, and saved.

Centres of clusters all move from one barrier to the next, so their graph is built from scratch. A set of
events changes in a few places; its graph is copied, and gets what is new (`ChangingIndex`).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy, deepcopy
from typing import Any, Protocol, Self

import hnswlib
import numba
import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Index as IndexConfig

SEED = 100  # hnswlib's own default; any fixed number works
WIDTHS = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)

# Vectors that a graph has room for, per vector that it is built from. Those taken away stay in it, so it is
# built from scratch when it is full: more room means fewer builds and slower searches.
ROOM = 2
# A changed graph that finds fewer of the neighbours is built from scratch: what was taken away has cut it.
RECALL_MIN = 0.9
ROUNDING = 1e-5  # of a distance: a graph sums squares in another order than exact search


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
        index.narrow(points, Exact(centres).search(points, k)[1], config.recall)
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


class OutOfReachError(RuntimeError):
    """A search finds fewer vectors than it was asked for."""


class Hnsw:
    """Approximate search in a graph (Malkov and Yashunin 2016)."""

    def __init__(
        self, centres: NDArray[np.float32], config: IndexConfig, ef: int | None = None, room: int = 1
    ) -> None:
        centres = _checked(centres, centres.shape[1])
        self._dimension = centres.shape[1]
        self._count = len(centres)
        self._next = len(centres)  # number of the next vector that is added
        self._graph = hnswlib.Index(space="l2", dim=self._dimension)
        self._graph.init_index(
            max_elements=self._count * room,
            ef_construction=config.ef_construction,
            M=config.m,
            random_seed=SEED,
        )
        self._graph.set_num_threads(1)
        self._graph.add_items(centres, np.arange(self._count), num_threads=1)
        self.set_ef(config.ef if ef is None else ef)

    def changed(self, added: NDArray[np.float32], removed: NDArray[np.int64]) -> Hnsw:
        """Return a copy with vectors (m, D) more and without those of these numbers.

        A copy's generator starts anew, so the same changes in the same order give the same graph.
        """
        graph = deepcopy(self._graph)
        graph.set_num_threads(1)
        for number in removed.tolist():
            graph.mark_deleted(number)
        if len(added):
            numbers = np.arange(self._next, self._next + len(added))
            graph.add_items(_checked(added, self._dimension), numbers, num_threads=1)
        other = copy(self)
        other._graph = graph
        other._count += len(added) - len(removed)
        other._next += len(added)
        other.set_ef(self.ef)
        return other

    def narrow(self, points: NDArray[np.float32], true: NDArray[np.float32], recall: float) -> None:
        """Choose the least `ef` that finds `recall` of the neighbours of (n, D) points.

        `true` (n, k) are the distances of the true ones, ascending.
        """
        largest, k = self.ef, true.shape[1]
        for ef in (width for width in WIDTHS if k <= width < largest):
            self.set_ef(ef)
            try:
                found = recall_of(self.search(points, k)[1], true)
            except OutOfReachError:
                continue
            if found >= recall:
                return
        self.set_ef(largest)

    def set_ef(self, ef: int) -> None:
        """Keep so many candidates in a search."""
        self.ef = ef
        self._graph.set_ef(ef)

    def search(self, points: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        points = _checked(points, self._dimension)  # a wrong width is read past the row's end by hnswlib
        _check_k(k, self._count)
        try:
            labels, squares = self._graph.knn_query(points, k=k, num_threads=1)
        except RuntimeError as error:  # after removals a part of a graph can be out of reach
            raise OutOfReachError(str(error)) from error
        return labels.astype(np.int64), np.sqrt(np.maximum(squares, 0.0))


class ChangingIndex:
    """Search over a set of distinct vectors that changes little from one barrier to the next.

    It is replaced, not changed: `changed_to` returns a successor. Its state is how the graph came about.
    """

    def __init__(self, config: IndexConfig) -> None:
        self._config = config
        # (N, D) those of the set, in the order in which they were added; among them those of a graph that
        # were removed since it was built.
        self._vectors = np.zeros((0, 0), dtype=np.float32)
        self._added = np.zeros(0, dtype=np.int32)  # (N,) change of the graph that added each; 0: its build
        self._removed = np.zeros(0, dtype=np.int32)  # (N,) change that removed it; -1: none
        self._counts = np.zeros(0, dtype=np.int32)  # (N,) how often each occurs in the set; 0: removed
        self._index: NearestCentres | None = None
        self.recall = 1.0  # share of true neighbours found, when it was made

    def __len__(self) -> int:
        """Vectors in the set."""
        return int((self._removed < 0).sum())

    @property
    def deleted(self) -> float:
        """Share of the graph's vectors that are not in the set any more; 0 where there is no graph."""
        return float((self._removed >= 0).mean()) if len(self._removed) else 0.0

    @property
    def approximate(self) -> bool:
        """Whether a graph answers."""
        return isinstance(self._index, Hnsw)

    def changed_to(
        self, vectors: NDArray[np.float32], probes: NDArray[np.float32], k: int, *, afresh: bool
    ) -> Self:
        """Return an index of (n, D) vectors; equal ones are one vector that counts as many.

        Parameters
        ----------
        probes : (m, D) float32
            Points, not of the set, whose neighbours are searched to choose `ef` and to measure the recall.
        k
            Neighbours that will be searched.
        afresh
            Build a new graph, also where few vectors differ.
        """
        other = copy(self)
        keys = _hashes(np.ascontiguousarray(vectors))
        keys, first, counts = np.unique(keys, return_index=True, return_counts=True)
        alive = np.flatnonzero(self._removed < 0)
        graph = self._index if isinstance(self._index, Hnsw) else None
        if graph is not None and not afresh and len(first) >= self._config.exact_below:
            here = _hashes(self._vectors[alive])
            new = np.sort(first[~np.isin(keys, here)])
            gone = alive[~np.isin(here, keys)]
            built = int((self._added == 0).sum())
            if len(self._vectors) + len(new) <= ROOM * built:
                change = int(self._added[-1]) + 1
                other._vectors = np.concatenate([self._vectors, vectors[new]])
                other._added = np.append(self._added, np.full(len(new), change, dtype=np.int32))
                other._removed = np.append(self._removed, np.full(len(new), -1, dtype=np.int32))
                other._removed[gone] = change
                other._count(keys, counts)
                other._index = graph.changed(vectors[new], gone)
                other._tune(probes, k)
                if other.recall >= RECALL_MIN:
                    return other
        other._vectors = vectors[np.sort(first)]
        other._added = np.zeros(len(first), dtype=np.int32)
        other._removed = np.full(len(first), -1, dtype=np.int32)
        other._count(keys, counts)
        other._build()
        other._tune(probes, k)
        return other

    def _count(self, keys: NDArray[np.uint64], counts: NDArray[np.int64]) -> None:
        """Set how often the vectors with these hashes, sorted, occur."""
        self._counts = np.zeros(len(self._vectors), dtype=np.int32)
        alive = np.flatnonzero(self._removed < 0)
        self._counts[alive] = counts[np.searchsorted(keys, _hashes(self._vectors[alive]))]

    def _build(self) -> None:
        """Make the graph again, change by change; exact search for few vectors."""
        if len(self) < max(self._config.exact_below, 1):
            self._index = Exact(self._vectors)
            return
        graph = Hnsw(self._vectors[self._added == 0], self._config, room=ROOM)
        for change in range(1, int(max(self._added.max(), self._removed.max())) + 1):
            added = self._vectors[self._added == change]
            graph = graph.changed(added, np.flatnonzero(self._removed == change))
        self._index = graph

    def _tune(self, probes: NDArray[np.float32], k: int) -> None:
        self.recall = 1.0
        if not isinstance(self._index, Hnsw):
            return
        alive = np.flatnonzero(self._removed < 0)
        k = min(k, len(alive))
        true = Exact(self._vectors[alive]).search(probes, k)[1]
        self._index.set_ef(self._config.ef)
        if self._config.recall is not None:
            self._index.narrow(probes, true, self._config.recall)
        try:
            self.recall = recall_of(self._index.search(probes, k)[1], true)
        except OutOfReachError:
            self.recall = 0.0

    def mean_distances(self, points: NDArray[np.float32], k: int) -> NDArray[np.float64]:
        """Mean distance (n,) of (n, D) points to the k nearest; to all if they are fewer."""
        numbers, distances = self._search(points, min(k, len(self)))
        means = np.empty(len(points))
        _means(numbers, distances, self._counts, k, means)
        return means

    def _search(self, points: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Numbers and distances (n, k) of the nearest vectors; exact where the graph does not reach k."""
        assert self._index is not None
        try:
            return self._index.search(points, k)
        except OutOfReachError:
            alive = np.flatnonzero(self._removed < 0)
            numbers, distances = Exact(self._vectors[alive]).search(points, k)
            return alive[numbers], distances

    def to_state(self) -> dict[str, Any]:
        return {
            "vectors": self._vectors,
            "added": self._added,
            "removed": self._removed,
            "counts": self._counts,
            "ef": 0 if self._index is None else self._index.ef,
            "recall": self.recall,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._vectors, self._added, self._removed = state["vectors"], state["added"], state["removed"]
        self._counts, self.recall = state["counts"], state["recall"]
        self._build()
        if isinstance(self._index, Hnsw):
            self._index.set_ef(state["ef"])


@numba.njit(cache=True, nogil=True)
def _means(numbers: Any, distances: Any, counts: Any, k: int, out: Any) -> None:
    """Mean distance (n,) to the k nearest, of the nearest vectors (n, m) with their counts."""
    for row in range(len(numbers)):
        total, left = 0.0, k
        for place in range(numbers.shape[1]):
            taken = min(left, counts[numbers[row, place]])
            total += taken * distances[row, place]
            left -= taken
        out[row] = total / (k - left)


def recall_of(found: NDArray[np.float32], true: NDArray[np.float32]) -> float:
    """Share of neighbours that are as near as true ones; both are distances (n, k), ascending.

    Where many vectors are equally far, as with amounts in cents, another one of them is no worse.
    """
    return float((found <= true[:, -1:] * np.float32(1.0 + ROUNDING)).mean())


@numba.njit(cache=True, nogil=True)
def _hash_bits(bits: Any, out: Any) -> None:
    for row in range(len(bits)):
        mixed = np.uint64(1469598103934665603)
        for column in range(bits.shape[1]):
            mixed = (mixed ^ np.uint64(bits[row, column])) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(32)
        out[row] = mixed


def _hashes(vectors: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Hash the bits of each of (n, D) vectors; two unequal ones of a set share one in 1 of 10^11 sets."""
    hashes = np.empty(len(vectors), dtype=np.uint64)
    _hash_bits(vectors.view(np.uint32), hashes)
    return hashes


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
