"""The weight of the labelled parts in the score: the largest one that ranks judged events well.

Events are ranked by the distances they had when they were scored (prequential evaluation). A labelled part
without skill of its own gets the weight 0. One that has some gets the whole weight, unless that has been
clearly worse than less.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.core.model.calibration import mixed

# Judged frauds below which the weight is 0: few frauds show more about themselves than about fraud.
FRAUDS_MIN = 8
# Judged events looked at, and how many legitimate ones among them, evenly spread.
EVENTS_MAX = 65_536
LEGITIMATE_MAX = 8192
WEIGHTS = (0.0, 0.25, 0.5, 1.0)
# The largest weight is taken whose skill is within this factor of the best one's. What is judged was scored
# one or two weeks ago, when the labelled part knew far less: at first it looks useless while it is already
# twice as good as what it is added to. It only adds, so what it may cost is bounded by this factor.
AS_GOOD = 1.1
# Times the average precision of chance that the labelled part must reach by itself.
SKILL_MIN = 2.0
# Largest change at one barrier: alerts should not change their ranking abruptly.
WEIGHT_STEP = 0.25


def moved(weight: float, target: float) -> float:
    """Move a weight towards `target`, by at most `WEIGHT_STEP`."""
    return weight + min(max(target - weight, -WEIGHT_STEP), WEIGHT_STEP)


def best_weight(
    plain: NDArray[np.float64],
    labelled: NDArray[np.float64],
    fraud: NDArray[np.bool_],
    counts: NDArray[np.float64],
) -> float:
    """Choose from `WEIGHTS` by average precision.

    Parameters
    ----------
    plain, labelled : (n,) float64
        Distances of judged events without labels, and of the labelled parts; no NaN.
    fraud : (n,) bool
        Which of the events are frauds.
    counts : (n,) float64
        How many events each stands for.
    """
    frauds = int(fraud.sum())
    if frauds < FRAUDS_MIN or fraud.all():
        return 0.0
    legitimate = np.flatnonzero(~fraud)
    every = -(-len(legitimate) // LEGITIMATE_MAX)
    chosen = np.concatenate([np.flatnonzero(fraud), legitimate[::every]])
    plain, labelled = plain[chosen], labelled[chosen]
    counts = counts[chosen]
    counts[frauds:] *= every
    chance = float(counts[:frauds].sum() / counts.sum())
    if _average_precision(labelled, frauds, counts) < SKILL_MIN * chance:
        return 0.0
    skills = [_average_precision(mixed(plain, labelled, weight), frauds, counts) for weight in WEIGHTS]
    return max(w for w, skill in zip(WEIGHTS, skills, strict=True) if AS_GOOD * skill >= max(skills))


def _average_precision(distances: NDArray[np.float64], frauds: int, counts: NDArray[np.float64]) -> float:
    """Average precision; the first `frauds` are frauds, each event stands for `counts` (n,)."""
    order = np.argsort(-distances, kind="stable")
    fraud = order < frauds
    ordered = counts[order]
    found = np.cumsum(ordered * fraud)
    passed = np.cumsum(ordered)
    return float(np.average((found / passed)[fraud], weights=ordered[fraud]))
