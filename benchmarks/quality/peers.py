"""Other detectors over the same streams, each scored before it learns.

    hst          river, HalfSpaceTrees: 25 trees of height 8, window 250; columns brought to 0..1 by their
                 running extremes
    loda         PySAD, LODA: library defaults
    rshash       PySAD, RSHash: library defaults; bounds from the first block
    xstream      PySAD, xStream: library defaults
    iforestasd   PySAD, IForestASD: library defaults (window 2,048)
    knn          ours: mean distance to the 10 nearest of the last 2,048 events, joined 32 at a time
    iforest      scikit-learn, isolation forest: library defaults, fitted on the whole stream before it
                 scores; not streaming, it sees the future: a reference

The columns of all others are standardised by the mean and spread of all events of the blocks before (the
first block by its own). A library is imported when its peer is made, so it is needed
only for that peer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.quality.metrics import FloatArray
from benchmarks.quality.streams import BLOCK

FIT_EVENTS_MAX = 200_000  # of the batch reference: a random sample of a longer stream
SPREAD_MIN = 1e-9

Matrix = npt.NDArray[np.floating[Any]]


class Peer(Protocol):
    """One detector."""

    def score_learn(self, block: FloatArray) -> FloatArray:
        """Score a block's events, (m, F) standardised, each before it is learned; (m,), high = anomalous."""


class TooSlow(Exception):
    """A peer used up its CPU time."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scored:
    """Results of a run."""

    score: FloatArray  # (n,)
    cpu_s: float  # of scoring and learning


def run(name: str, matrix: Matrix, *, seed: int = 0, seconds_max: float = np.inf) -> Scored:
    """Run one peer over a stream.

    Parameters
    ----------
    matrix : ndarray of float, shape (n, F)
        In the order of the stream; may be mapped from disk.
    seconds_max
        CPU time, s.

    Raises
    ------
    TooSlow
        The CPU time is used up.
    ImportError
        The peer's library is not installed.
    """
    began = time.process_time()
    if name == REFERENCE:
        return Scored(score=_batch_forest(matrix, seed), cpu_s=time.process_time() - began)
    score = np.empty(len(matrix))
    peer: Peer | None = None
    for start, block in _standardised(matrix):
        if peer is None:
            peer = PEERS[name](block, seed)
        score[start : start + len(block)] = peer.score_learn(block)
        if time.process_time() - began > seconds_max:
            raise TooSlow(f"stopped after {seconds_max / 60:g} minutes at event {start + len(block):,}")
    return Scored(score=score, cpu_s=time.process_time() - began)


def _standardised(matrix: Matrix) -> Iterator[tuple[int, FloatArray]]:
    count, total, squares = 0, np.zeros(matrix.shape[1]), np.zeros(matrix.shape[1])
    shift = np.array(matrix[:BLOCK], dtype=np.float64).mean(axis=0)  # against cancellation
    for start in range(0, len(matrix), BLOCK):
        block = np.array(matrix[start : start + BLOCK], dtype=np.float64) - shift
        if start == 0:
            count, total, squares = len(block), block.sum(axis=0), np.square(block).sum(axis=0)
        mean = total / count
        spread = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
        yield start, (block - mean) / np.where(spread > SPREAD_MIN, spread, 1.0)
        if start:
            count, total = count + len(block), total + block.sum(axis=0)
            squares = squares + np.square(block).sum(axis=0)


class _HalfSpaceTrees:
    def __init__(self, first: FloatArray, seed: int) -> None:
        from river.anomaly import HalfSpaceTrees

        self._model = HalfSpaceTrees(n_trees=25, height=8, window_size=250, seed=seed)
        self._names = [f"{n}" for n in range(first.shape[1])]
        self._low, self._high = first.min(axis=0), first.max(axis=0)

    def score_learn(self, block: FloatArray) -> FloatArray:
        span = self._high - self._low
        scaled = np.clip((block - self._low) / np.where(span > 0, span, 1.0), 0.0, 1.0)
        scores = []
        for values in scaled.tolist():
            event = dict(zip(self._names, values, strict=True))
            scores.append(self._model.score_one(event))
            self._model.learn_one(event)
        self._low, self._high = (
            np.minimum(self._low, block.min(axis=0)),
            np.maximum(self._high, block.max(axis=0)),
        )
        return np.array(scores)


class _PySad:
    """A PySAD model, event by event."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._fitted = False

    def score_learn(self, block: FloatArray) -> FloatArray:
        scores = []
        for event in block:
            scores.append(self._model.score_partial(event) if self._fitted else 0.0)
            self._model.fit_partial(event)
            self._fitted = True
        return np.array(scores)


class _IForestAsd:
    """PySAD's IForestASD; its forest only changes at powers of 2 and multiples of 2,048, so after the first
    block the events of a block are scored in one call: the same scores, without 5 ms of overhead each."""

    def __init__(self, first: FloatArray, seed: int) -> None:
        from pysad.models import IForestASD

        self._model = IForestASD(window_size=8 * BLOCK, random_state=seed)
        self._one_by_one = _PySad(self._model)
        self._young = True

    def score_learn(self, block: FloatArray) -> FloatArray:
        if self._young:
            self._young = False
            return self._one_by_one.score_learn(block)
        scores: FloatArray = self._model.model.decision_function(block)
        for event in block:
            self._model.fit_partial(event)
        return scores


class _Knn:
    """Mean distance to the nearest neighbours in a window of recent events."""

    WINDOW, NEIGHBOURS, JOIN = 2_048, 10, 32

    def __init__(self, first: FloatArray, seed: int) -> None:
        self._events = np.zeros((self.WINDOW, first.shape[1]))
        self._squares = np.zeros(self.WINDOW)
        self._count = 0

    def score_learn(self, block: FloatArray) -> FloatArray:
        parts = [block[start : start + self.JOIN] for start in range(0, len(block), self.JOIN)]
        return np.concatenate([self._part(part) for part in parts])

    def _part(self, part: FloatArray) -> FloatArray:
        score = np.zeros(len(part))
        held, k = min(self._count, self.WINDOW), self.NEIGHBOURS
        squares = np.square(part).sum(axis=1)
        if held > k:
            distance = squares[:, None] - 2.0 * part @ self._events[:held].T + self._squares[:held]
            nearest = np.partition(distance, k - 1, axis=1)[:, :k]
            score = np.sqrt(np.maximum(nearest, 0.0)).mean(axis=1)
        places = (self._count + np.arange(len(part))) % self.WINDOW
        self._events[places], self._squares[places] = part, squares
        self._count += len(part)
        return score


def _loda(first: FloatArray, seed: int) -> Peer:
    from pysad.models import LODA

    return _PySad(LODA(random_state=seed))


def _rshash(first: FloatArray, seed: int) -> Peer:
    from pysad.models import RSHash

    return _PySad(RSHash(first.min(axis=0), first.max(axis=0), random_state=seed))


def _xstream(first: FloatArray, seed: int) -> Peer:
    from pysad.models import xStream

    return _PySad(xStream(random_state=seed))


def _batch_forest(matrix: Matrix, seed: int) -> FloatArray:
    from sklearn.ensemble import IsolationForest

    rows = np.arange(len(matrix))
    if len(rows) > FIT_EVENTS_MAX:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), FIT_EVENTS_MAX, replace=False))
    model = IsolationForest(random_state=seed).fit(matrix[rows])
    step = 64 * BLOCK
    pieces = [-model.score_samples(matrix[start : start + step]) for start in range(0, len(matrix), step)]
    return np.concatenate(pieces)


REFERENCE = "iforest"
PEERS: dict[str, Callable[[FloatArray, int], Peer]] = {
    "hst": _HalfSpaceTrees,
    "loda": _loda,
    "rshash": _rshash,
    "xstream": _xstream,
    "iforestasd": _IForestAsd,
    "knn": _Knn,
}
"""How to make each: from the first block, (m, F), and a seed."""
