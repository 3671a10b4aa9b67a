"""Rates of groups against the rate of all, with intervals that know that events of one entity go together.

The share of a group is the ratio of two sums over entities: hits and trials. Its variance is that of the
linearised ratio over entities (Cochran, Sampling Techniques, 1977, section 6), so a card with many alerts
counts once. Several comparisons are corrected as Benjamini and Hochberg (1995) do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

ENTITIES_MIN = 10  # a group of fewer is folded with others: it would tell of single customers
EXPECTED_MIN = 5.0  # hits, at the rate of all: with fewer nothing can be said
FOLDED = "(small groups)"
Z95 = 1.959964


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """One group."""

    group: str
    entities: int
    trials: int
    hits: int
    rate: float
    ratio: float  # to the rate of all
    low: float  # of the ratio's 95 % interval
    high: float
    p: float  # chance of a ratio as far from 1 if the group were as all are; 1: too little is known


def fold(
    names: Sequence[str], groups: NDArray[np.int64], entities: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.int64]]:
    """Put groups of too few entities together.

    Parameters
    ----------
    names
        Of the groups.
    groups, entities
        Shape (n,): of each event.

    Returns
    -------
    names : list of str
    groups : ndarray of shape (n,)
    """
    pairs = np.unique(np.stack([groups, entities]), axis=1)
    sizes = np.bincount(pairs[0], minlength=len(names))
    large = np.flatnonzero(sizes >= ENTITIES_MIN)
    if len(large) == len(names):
        return list(names), groups
    to = np.full(len(names), len(large))
    to[large] = np.arange(len(large))
    return [*(names[at] for at in large.tolist()), FOLDED], to[groups]


def rates(
    names: Sequence[str],
    groups: NDArray[np.int64],
    entities: NDArray[np.int64],
    hits: NDArray[np.bool_],
) -> list[Rate]:
    """Compare each group with all.

    Parameters
    ----------
    names
        Of the groups.
    groups, entities, hits
        Shape (n,): of each trial.

    Returns
    -------
    list of Rate
        In the order of the names, without groups that have no trial.
    """
    if not len(hits):
        return []
    _, owner = np.unique(entities, return_inverse=True)
    count = int(owner.max()) + 1
    all_trials = np.bincount(owner, minlength=count).astype(np.float64)
    all_hits = np.bincount(owner[hits], minlength=count).astype(np.float64)
    found = []
    for number, name in enumerate(names):
        ours = groups == number
        if not ours.any():
            continue
        mine = np.bincount(owner[ours], minlength=count).astype(np.float64)
        my_hits = np.bincount(owner[ours & hits], minlength=count).astype(np.float64)
        found.append(_rate(name, mine, my_hits, all_trials, all_hits))
    return found


def _rate(
    name: str,
    trials: NDArray[np.float64],
    hits: NDArray[np.float64],
    all_trials: NDArray[np.float64],
    all_hits: NDArray[np.float64],
) -> Rate:
    """Compare sums over entities, each of shape (entities,)."""
    n, k = float(trials.sum()), float(hits.sum())
    overall = float(all_hits.sum() / all_trials.sum())
    rate = k / n
    ratio = rate / overall if overall else 1.0
    low, high, p = 0.0, float("inf"), 1.0
    expected = overall * n
    with_hits = int(np.count_nonzero(all_hits))
    if expected >= EXPECTED_MIN and with_hits > 1:
        wide = with_hits / (with_hits - 1)
        # under the null: hits of the group beyond its part of all hits
        beyond = hits - overall * trials - n / all_trials.sum() * (all_hits - overall * all_trials)
        spread = sqrt(wide * float(beyond @ beyond))
        p = erfc(abs(k - expected) / spread / sqrt(2.0)) if spread > 0 else 1.0
        if k > 0:
            off = (hits - rate * trials) / k - (all_hits - overall * all_trials) / all_hits.sum()
            error = Z95 * sqrt(wide * float(off @ off))
            low, high = exp(log(ratio) - error), exp(log(ratio) + error)
        else:
            high = 3.0 / expected  # the rule of three
    return Rate(
        group=name, entities=int(np.count_nonzero(trials)), trials=int(n), hits=int(k), rate=rate,
        ratio=ratio, low=low, high=high, p=p,
    )  # fmt: skip


def corrected(p_values: Sequence[float]) -> list[float]:
    """Return the smallest false discovery rate at which each comparison stands out (Benjamini-Hochberg)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__, reverse=True)
    found, lowest = [1.0] * len(p_values), 1.0
    for behind, at in enumerate(order):
        rank = len(p_values) - behind
        lowest = min(lowest, p_values[at] * (len(p_values) / rank))
        found[at] = lowest
    return found
