"""Figures of merit of a ranking, in numpy alone.

Rules
    - Higher score = more anomalous. Infinite scores are fine, NaN is refused.
    - No figure depends on the order of the rows. Equal scores share their fate: half a win in the AUC (that
      is, average ranks), one threshold in the average precision; in the card precision, where a choice must
      be made, they are chosen against the detector.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Figures = dict[str, int | float]


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
        return math.nan
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
        return math.nan
    positives, negatives = _counts_by_threshold(label, score)
    precision = positives / (positives + negatives)
    return float(np.sum(precision * np.diff(positives, prepend=0)) / positives[-1])


def figures(kind: IntArray, score: FloatArray, alert: BoolArray) -> Figures:
    """Judge a ranking, and the alerts actually sent.

    Parameters
    ----------
    kind : ndarray of int, shape (n,)
        0 for a normal event, else the kind of anomaly.
    score : ndarray of float, shape (n,)
    alert : ndarray of bool, shape (n,)

    Returns
    -------
    dict
        Figure by name, in the order in which to print; anomalies also by kind where there is more than one.
    """
    label = kind > 0
    kinds = np.unique(kind[label]).tolist()
    caught = int((alert & label).sum())
    return {
        "events": len(kind),
        "anomalies": int(label.sum()),
        **({f"anomalies_scenario_{k}": int((kind == k).sum()) for k in kinds} if len(kinds) > 1 else {}),
        "roc_auc": roc_auc(label, score),
        "average_precision": average_precision(label, score),
        "alerts": int(alert.sum()),
        "precision_of_alerts": caught / alert.sum() if alert.any() else math.nan,
        "recall_of_alerts": caught / label.sum() if label.any() else math.nan,
    }


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
