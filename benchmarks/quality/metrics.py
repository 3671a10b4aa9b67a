"""Figures of merit of a ranking, in numpy alone.

Rules
    - Higher score = more anomalous. Infinite scores are fine, NaN is refused.
    - No figure depends on the order of the rows. Equal scores share their fate: half a win in the AUC, one
      threshold in the average precision, an equal part of what is left of a budget; in the card precision,
      where a choice must be made, they are chosen against the detector.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def _counts_by_threshold(label: BoolArray, score: FloatArray) -> tuple[IntArray, IntArray]:
    """Return positives and negatives at or above each distinct score, from the highest down."""
    if np.isnan(score).any():
        raise ValueError("a score is NaN")
    order = np.argsort(-score, kind="stable")
    score, label = score[order], label[order]
    last = np.append(np.flatnonzero(score[1:] != score[:-1]), len(score) - 1)  # of each run of equal scores
    positives = np.cumsum(label)[last]
    return positives, last + 1 - positives


def roc_auc(label: BoolArray, score: FloatArray) -> float:
    """Return the probability that a positive ranks above a negative, ties counting half.

    Parameters
    ----------
    label : ndarray of bool, shape (n,)
    score : ndarray of float, shape (n,)

    Returns
    -------
    float
        In [0, 1]; NaN unless there is a positive and a negative.
    """
    if label.all() or not label.any():
        return float("nan")
    positives, negatives = _counts_by_threshold(label, score)
    below = negatives[-1] - negatives
    tied = np.diff(negatives, prepend=0)
    wins = np.sum(np.diff(positives, prepend=0) * (below + tied / 2))
    return float(wins / (positives[-1] * negatives[-1]))


def average_precision(label: BoolArray, score: FloatArray) -> float:
    """Return the sum over distinct thresholds of precision times the gain in recall.

    The step-wise sum, as scikit-learn's `average_precision_score`; no interpolation.

    Parameters
    ----------
    label : ndarray of bool, shape (n,)
    score : ndarray of float, shape (n,)

    Returns
    -------
    float
        In (0, 1]; NaN without a positive.
    """
    if not label.any():
        return float("nan")
    positives, negatives = _counts_by_threshold(label, score)
    precision = positives / (positives + negatives)
    return float(np.sum(precision * np.diff(positives, prepend=0)) / positives[-1])


def share_within_budget(score: FloatArray, budget: float) -> FloatArray:
    """Return how much of each event the highest scores of a budget hold.

    Parameters
    ----------
    score : ndarray of float, shape (n,)
    budget : float
        Share of all events, in (0, 1]; rounded to whole events, at least one.

    Returns
    -------
    ndarray of float, shape (n,)
        1 above the threshold, 0 below it; events at the threshold share what is left equally. The
        mean over the positives is the recall, the sum over them divided by the sum over all the precision.
    """
    if np.isnan(score).any():
        raise ValueError("a score is NaN")
    room = min(len(score), max(1, round(budget * len(score))))
    threshold = np.partition(score, -room)[-room]
    above = score > threshold
    tied = score == threshold
    return np.where(above, 1.0, tied * ((room - above.sum()) / tied.sum()))


def card_precision(
    day: IntArray, customer: IntArray, label: BoolArray, score: FloatArray, top: int = 100
) -> float:
    """Return the Handbook's card precision: the share of compromised cards among each day's `top`, averaged.

    Each day a customer has the maximum of the day's scores and labels, and the `top` customers are looked at.
    Those of them that are fraudulent are found, and leave all following days.

    Parameters
    ----------
    day, customer : ndarray of int, shape (n,)
    label : ndarray of bool, shape (n,)
    score : ndarray of float, shape (n,)
    top : int
        Customers looked at per day; the divisor also on days that have fewer.

    Returns
    -------
    float
        Mean over the days that occur, in [0, 1].
    """
    if np.isnan(score).any():
        raise ValueError("a score is NaN")
    found = np.empty(0, dtype=customer.dtype)
    precisions = []
    for today in np.unique(day):
        here = (day == today) & ~np.isin(customer, found)
        cards, row = np.unique(customer[here], return_inverse=True)
        card_score = np.full(len(cards), -np.inf)
        np.maximum.at(card_score, row, score[here])
        card_label = np.zeros(len(cards), dtype=bool)
        np.logical_or.at(card_label, row, label[here])
        looked_at = np.lexsort((cards, card_label, -card_score))[:top]
        caught = looked_at[card_label[looked_at]]
        precisions.append(len(caught) / top)
        found = np.append(found, cards[caught])
    return float(np.mean(precisions))
