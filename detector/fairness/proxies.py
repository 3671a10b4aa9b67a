"""Which inputs of the model tell the segment of an event, and how well.

Each input is cut into bins: deciles of numbers, the most frequent values of texts. Half of the entities say
how often each bin is of a group, the other half is judged by it, so knowing a customer again is no proxy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.model.quality_of_space import area
from detector.fairness.gathered import Gathered

DECILES = 10
VALUES_MAX = 256  # most frequent texts; all others are one bin
PRIOR = 5.0  # events of the usual mix that each bin begins with
TOGETHER = "(all inputs)"


def proxies(gathered: Gathered, groups: NDArray[np.int64], count: int) -> dict[str, float]:
    """Return by input how well it tells the groups apart: .5 not at all, 1 fully.

    The figure is the chance that of an event of a group and one of the others the first looks more like the
    group (AUC), as the mean over groups by their events.

    Parameters
    ----------
    groups
        Shape (n,): group of each event.
    count
        Of groups.
    """
    mine = groups[gathered.sampled]
    spread = gathered.entities[gathered.sampled].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    half = spread >> np.uint64(63) != 0
    if not half.any() or half.all() or count < 2:
        return {}
    together = np.zeros((np.count_nonzero(~half), count))
    found = {}
    for name, values in gathered.inputs.items():
        told = _told(_bins(values), mine, half, count)
        found[name] = _mean_auc(told, mine[~half])
        together += told
    found[TOGETHER] = _mean_auc(together, mine[~half])
    return found


def _bins(values: Sequence[Any]) -> NDArray[np.int64]:
    """Shape (m,): number of each value's bin; 0: missing."""
    if all(value is None or isinstance(value, int | float) for value in values):
        numbers = np.array([np.nan if value is None else float(value) for value in values])
        there = np.isfinite(numbers)
        if not there.any():
            return np.zeros(len(values), np.int64)
        edges = np.quantile(numbers[there], np.arange(1, DECILES) / DECILES)
        return np.where(there, 1 + np.searchsorted(edges, numbers, side="right"), 0)
    texts = ["" if value is None else str(value) for value in values]
    counts: dict[str, int] = {}
    for text in texts:
        counts[text] = counts.get(text, 0) + 1
    frequent = sorted(counts, key=lambda text: (-counts[text], text))[:VALUES_MAX]
    number = {text: at for at, text in enumerate(frequent, start=1)}
    return np.array([number.get(text, 0) for text in texts], np.int64)


def _told(
    bins: NDArray[np.int64], groups: NDArray[np.int64], half: NDArray[np.bool_], count: int
) -> NDArray[np.float64]:
    """Log of how much more frequent each group is in the bins of the judged half, shape (judged, count)."""
    seen = np.zeros((int(bins.max()) + 1, count))
    np.add.at(seen, (bins[half], groups[half]), 1.0)
    mix = (np.bincount(groups[half], minlength=count) + 0.5) / (np.count_nonzero(half) + 0.5 * count)
    shares = (seen + PRIOR * mix) / (seen.sum(axis=1, keepdims=True) + PRIOR)
    told: NDArray[np.float64] = np.log(shares / mix)[bins[~half]]
    return told


def _mean_auc(told: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    total, weight = 0.0, 0
    for number in range(told.shape[1]):
        ours = groups == number
        size = int(np.count_nonzero(ours))
        if 0 < size < len(groups):
            total += size * area(told[:, number], ours)
            weight += size
    return total / weight if weight else 0.5


def named(found: Mapping[str, float], least: float) -> dict[str, float]:
    """Those of at least `least`, the clearest first."""
    return dict(sorted(((n, v) for n, v in found.items() if v >= least), key=lambda one: (-one[1], one[0])))
