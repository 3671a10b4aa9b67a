"""Figures that say whether an embedding is any good. Points are (n, D); nothing is drawn at random here.

effective rank   how many directions are used: exp of the entropy of the shares of variance (Roy 2007)
uniformity       how evenly directions from the middle are used (Wang and Isola 2020); lower is more even
hubness          skew of how often points are among the ten nearest of others (Radovanovic 2010)
purity           how much more neighbours agree in a value than any two points do: 0 by chance, 1 always
between          share of variance that only says whose point it is
resultant        whether offsets point the same way: 0 by chance, 1 all
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

NEIGHBOURS = 10
TINY = 1e-12


def shares_of_variance(points: Points) -> Points:
    """Share of the variance along each principal direction (D,), the largest first; equal points have one."""
    centred = points - points.mean(axis=0)
    values = np.maximum(np.linalg.eigvalsh(centred.T @ centred)[::-1], 0.0)
    total = float(values.sum())
    shares: Points = values / total if total > TINY else np.eye(len(values))[0]
    return shares


def effective_rank(shares: Points) -> float:
    """1 to D."""
    used = shares[shares > TINY]
    return float(np.exp(-(used * np.log(used)).sum()))


def uniformity(points: Points) -> float:
    """-4 for directions that are spread evenly, 0 for a single one."""
    units = _units(points - points.mean(axis=0))
    squares = np.maximum(2.0 - 2.0 * units @ units.T, 0.0)
    others = ~np.eye(len(points), dtype=bool)
    return float(np.log(np.exp(-2.0 * squares[others]).mean()))


def hubness(neighbours: NDArray[np.int64]) -> float:
    """Skewness of the number of points that have each point among their neighbours (n, k)."""
    counts = np.bincount(neighbours.ravel(), minlength=len(neighbours)).astype(np.float64)
    spread = max(float(counts.std()), TINY)
    return float((((counts - counts.mean()) / spread) ** 3).mean())


def purity(keys: NDArray[np.uint64], neighbours: NDArray[np.int64]) -> float:
    """Of a category, given as hashes (n,), 0: missing; NaN where all points have the same."""
    counts = np.unique(keys, return_counts=True)[1]
    chance = float((counts * (counts - 1.0)).sum() / max(len(keys) * (len(keys) - 1.0), 1.0))
    if chance >= 1.0:
        return float("nan")
    agree = float((keys[neighbours] == keys[:, None]).mean())
    return (agree - chance) / (1.0 - chance)


def order_purity(values: NDArray[np.floating], neighbours: NDArray[np.int64]) -> float:
    """Of a number (n,): by ranks, so that units do not matter; NaN where too few are known or vary."""
    known = np.isfinite(values)
    if known.sum() < 2 or np.ptp(values[known]) == 0.0:
        return float("nan")
    ranks = np.full(len(values), np.nan)
    distinct, place = np.unique(values[known], return_inverse=True)
    counts = np.bincount(place, minlength=len(distinct))
    ranks[known] = (np.cumsum(counts) - counts / 2.0)[place] / known.sum()
    ordered = np.sort(ranks[known])
    count = len(ordered)
    weights = 2.0 * np.arange(count) - count + 1.0
    usual = float(2.0 * (weights @ ordered) / (count * (count - 1.0)))  # mean difference of any two
    near = float(np.nanmean(np.abs(ranks[neighbours] - ranks[:, None])))
    return 1.0 - near / max(usual, TINY)


def between(points: Points, keys: NDArray[np.uint64]) -> float:
    """Share of the variance between entities, corrected for chance; 0: missing keys are left out.

    NaN where no entity is seen twice.
    """
    points, keys = points[keys != 0], keys[keys != 0]
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    groups = len(counts)
    if len(points) - groups < 1 or groups < 2:
        return float("nan")
    means = np.zeros((groups, points.shape[1]))
    np.add.at(means, place, points)
    means /= counts[:, None]
    within = float(np.square(points - means[place]).sum()) / (len(points) - groups)
    total = float(np.square(points - points.mean(axis=0)).sum()) / (len(points) - 1)
    return max(0.0, 1.0 - within / max(total, TINY))


def resultant(offsets: Points) -> float:
    """Length of the mean direction of offsets (m, D); NaN where none has a length."""
    there = np.linalg.norm(offsets, axis=1) > TINY
    return float(np.linalg.norm(_units(offsets[there]).mean(axis=0))) if there.any() else float("nan")


def area(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve of scores (n,); ties count half; NaN without both classes."""
    count = int(positive.sum())
    if not 0 < count < len(positive):
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[place]
    above = float(ranks[positive].sum()) - count * (count + 1) / 2.0
    return above / (count * (len(positive) - count))


def contrast(true: NDArray[np.floating], changed: NDArray[np.floating]) -> float:
    """How well changed events (m, D) are told from true ones (n, D): area by the distance from the origin."""
    norms = np.linalg.norm(np.concatenate([true, changed]).astype(np.float64), axis=1)
    return area(norms, np.arange(len(norms)) >= len(true))


def average_precision(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Mean precision at each positive, from the highest score down; ties count as one step."""
    if not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.append(np.diff(scores[order]) != 0.0, True)  # of equal scores
    found = hits[last]
    precision = found / (np.flatnonzero(last) + 1.0)
    return float((np.diff(found, prepend=0) * precision).sum() / found[-1])


def direction(points: Points, positive: NDArray[np.bool_]) -> Points:
    """Direction (D,) that separates two classes best, where both spread alike (Fisher 1936), with a ridge."""
    one, other = points[positive], points[~positive]
    centred = np.concatenate([one - one.mean(axis=0), other - other.mean(axis=0)])
    spread = centred.T @ centred / max(len(centred), 1)
    ridge = 0.01 * float(np.trace(spread)) / len(spread) + TINY
    found: Points = np.linalg.solve(
        spread + ridge * np.eye(len(spread)), one.mean(axis=0) - other.mean(axis=0)
    )
    return found


def _units(points: Points) -> Points:
    units: Points = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), TINY)
    return units
