"""Boosted trees over inputs, as compiled loops: grown from judged events, summed for new ones.

Gradient boosting (Friedman 2001) with second-order leaf values (Chen and Guestrin 2016). All nodes of a level
have the same split (oblivious trees, Prokhorenkova 2018): a leaf's number is a bit for each level, and there
is less to learn by heart from few frauds.

Rules
    - Sums are taken in the order of the rows, without threads: equal bytes on equal machines.
    - A row's result depends on that row alone.
    - Size is limited: `TREES` trees of `DEPTH` levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numba
import numpy as np
from numpy.typing import NDArray

TREES, DEPTH = 100, 4
# Share of each tree's value that counts, and the weight of the prior at 0 in each leaf, in events.
RATE, PRIOR_WEIGHT = 0.1, 10.0
# Quantiles of each input that splits are looked for at.
CUTS = 31
# Share of the inputs that each tree may split on.
SEEN = 0.5

Floats = NDArray[np.float32]
_compiled = numba.njit(cache=True, nogil=True, error_model="numpy")


class Trees:
    """Log-odds of fraud, from inputs (n, F); none before the first `grow`."""

    def __init__(self) -> None:
        self._inputs: NDArray[np.int64] = np.zeros(
            (0, DEPTH), dtype=np.int64
        )  # (T, D) that a level splits on
        self._cuts: Floats = np.zeros((0, DEPTH), dtype=np.float32)  # (T, D) from here on a bit is 1
        self._values: NDArray[np.float64] = np.zeros((0, 1 << DEPTH))  # (T, 2^D)
        self._base = 0.0

    def __len__(self) -> int:
        return len(self._cuts)

    @classmethod
    def grow(
        cls,
        inputs: Floats,
        fraud: NDArray[np.bool_],
        weights: NDArray[np.float64],
        usable: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> Self:
        """Grow from n events.

        Parameters
        ----------
        inputs : (n, F) float32
        fraud : (n,) bool
            Some are frauds, and some are not.
        weights : (n,) float64
            Events that each stands for.
        usable : (F,) bool
            Inputs that may be split on.
        """
        made = cls()
        columns = np.flatnonzero(usable)
        edges = np.quantile(inputs[:, columns], np.arange(1, CUTS + 1) / (CUTS + 1), axis=0).T
        edges = np.ascontiguousarray(edges, dtype=np.float32)
        places = np.empty((len(columns), len(inputs)), dtype=np.uint8)
        for place, (column, cuts) in enumerate(zip(columns.tolist(), edges, strict=True)):
            places[place] = np.searchsorted(cuts, inputs[:, column], side="right")
        share = float(weights[fraud].sum() / weights.sum())
        made._base = float(np.log(share / (1.0 - share)))
        seen = max(1, int(np.ceil(SEEN * len(columns))))
        drawn = np.argsort(rng.random((TREES, len(columns))), axis=1, kind="stable")[:, :seen]
        splits, cut = (np.zeros((TREES, DEPTH), dtype=np.int64) for _ in range(2))
        made._values = np.zeros((TREES, 1 << DEPTH))
        _grow(places, fraud, weights, np.sort(drawn), made._base, splits, cut, made._values)
        made._inputs, made._cuts = columns[splits], edges[splits, cut]
        return made

    def log_odds(self, inputs: Floats) -> NDArray[np.float64]:
        """Log-odds (n,) of fraud of n events."""
        found = np.full(len(inputs), self._base)
        _sum(np.ascontiguousarray(inputs), self._inputs, self._cuts, self._values, found)
        return found

    def to_state(self) -> dict[str, Any]:
        """State; arrays are never changed in place."""
        return {"inputs": self._inputs, "cuts": self._cuts, "values": self._values, "base": self._base}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Restore what `to_state` returned."""
        made = cls()
        made._inputs, made._cuts = state["inputs"], state["cuts"]
        made._values, made._base = state["values"], state["base"]
        return made


@_compiled
def _grow(
    places: Any, fraud: Any, weights: Any, drawn: Any, base: float, splits: Any, cuts: Any, values: Any
) -> None:
    """Grow trees one after another, from places (F, n) of inputs among their edges.

    `drawn` (T, S) are the inputs of each tree; splits and cuts (T, D) and values (T, 2^D) are written.
    """
    count, leaves = places.shape[1], values.shape[1]
    sums = np.full(count, base)
    first, second = np.empty(count), np.empty(count)
    leaf = np.empty(count, dtype=np.int64)
    hist, gains = np.empty((leaves, CUTS + 1, 2)), np.empty(CUTS)
    for tree in range(len(drawn)):
        for row in range(count):
            share = 1.0 / (1.0 + np.exp(-sums[row]))
            first[row] = weights[row] * (share - (1.0 if fraud[row] else 0.0))
            second[row] = weights[row] * share * (1.0 - share)
            leaf[row] = 0
        for level in range(splits.shape[1]):
            best = -1.0
            for column in drawn[tree]:
                hist[: 1 << level] = 0.0
                of = places[column]
                for row in range(count):
                    hist[leaf[row], of[row], 0] += first[row]
                    hist[leaf[row], of[row], 1] += second[row]
                gains[:] = 0.0
                for node in range(1 << level):
                    _add_gains(hist[node], gains)
                for cut in range(CUTS):
                    if gains[cut] > best:
                        best = gains[cut]
                        splits[tree, level], cuts[tree, level] = column, cut
            of, cut = places[splits[tree, level]], cuts[tree, level]
            for row in range(count):
                leaf[row] = 2 * leaf[row] + (1 if of[row] > cut else 0)
        total = np.zeros((leaves, 2))
        for row in range(count):
            total[leaf[row], 0] += first[row]
            total[leaf[row], 1] += second[row]
        for node in range(leaves):
            values[tree, node] = -RATE * total[node, 0] / (total[node, 1] + PRIOR_WEIGHT)
        for row in range(count):
            sums[row] += values[tree, leaf[row]]


@_compiled
def _add_gains(hist: Any, gains: Any) -> None:
    """Add what each cut of a node gains (B - 1,), from sums (B, 2) of first and second derivatives.

    What the node has without a split is the same for all cuts, and left out.
    """
    g, h = hist[:, 0].sum(), hist[:, 1].sum()
    low_g, low_h = 0.0, 0.0
    for cut in range(len(gains)):
        low_g += hist[cut, 0]
        low_h += hist[cut, 1]
        high_g, high_h = g - low_g, h - low_h
        gains[cut] += low_g * low_g / (low_h + PRIOR_WEIGHT) + high_g * high_g / (high_h + PRIOR_WEIGHT)


@_compiled
def _sum(inputs: Any, splits: Any, cuts: Any, values: Any, found: Any) -> None:
    """Add the trees' values to `found` (n,)."""
    for row in range(len(inputs)):
        for tree in range(len(splits)):
            leaf = 0
            for level in range(splits.shape[1]):
                leaf = 2 * leaf + (1 if inputs[row, splits[tree, level]] >= cuts[tree, level] else 0)
            found[row] += values[tree, leaf]
