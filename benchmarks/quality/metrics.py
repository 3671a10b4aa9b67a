"""Figures of merit of a ranking, in numpy alone.

Rules
    - Higher score = more anomalous. Scores may be infinite; NaN is refused.
    - No figure depends on the order of the rows. Equal scores are treated equally: half a win in the AUC
      (that is, average ranks), one threshold in the average precision. In the card precision, where a choice
      must be made, it is made against the detector.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Figures = dict[str, int | float]

DAY_S = 86_400.0
DAYS_MIN = 5
ALERTS_PER_WINDOW = 5


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
    recall, precision = precision_recall(label, score)
    return float(np.sum(precision * np.diff(recall, prepend=0.0)))


def precision_recall(label: BoolArray, score: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return recall and precision at each distinct score, from the highest down; (m,) each, recall rising.

    Parameters
    ----------
    label : ndarray of bool, shape (n,)
        With at least one positive.
    score : ndarray of float, shape (n,)
    """
    positives, negatives = _counts_by_threshold(label, score)
    return positives / positives[-1], positives / (positives + negatives)


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
        here = np.flatnonzero(day == today)
        here = here[~np.isin(customer[here], found)]
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


def share_looked_at(score: FloatArray, budget: float) -> FloatArray:
    """Return how much of each event is looked at when the highest scores are, up to a share of all events.

    Parameters
    ----------
    score : ndarray of float, shape (n,)
    budget : float
        Share of events, at least one event.

    Returns
    -------
    ndarray of float, shape (n,)
        1 above the cut, 0 below; events tied at the cut share the rest, so that the sum is the budget.
    """
    if np.isnan(score).any():
        raise ValueError("a score is NaN")
    room = max(1, round(budget * len(score)))
    cut = np.partition(score, len(score) - room)[len(score) - room]
    above, tied = score > cut, score == cut
    return above + tied * ((room - above.sum()) / tied.sum())


def time_to_alert(
    card: IntArray, time: FloatArray, label: BoolArray, alerted: BoolArray
) -> tuple[IntArray, FloatArray, int]:
    """Compute how long compromised cards went unnoticed.

    Parameters
    ----------
    card : ndarray of int, shape (n,)
    time : ndarray of float, shape (n,)
        Seconds, in order.
    label, alerted : ndarray of bool, shape (n,)

    Returns
    -------
    transactions, hours, cards
        The card's transactions and the hours from its first fraud to its first alert from then on, (m,) each,
        0 for an alert on the first fraud itself; and how many cards had a fraud, m of them with an alert.
    """
    order = np.argsort(card, kind="stable")
    starts = np.flatnonzero(np.diff(card[order], prepend=card[order][:1] - 1))
    transactions, hours, cards = [], [], 0
    for rows in np.split(order, starts[1:]):
        frauds = np.flatnonzero(label[rows])
        if not len(frauds):
            continue
        cards += 1
        first = frauds[0]
        alerts = np.flatnonzero(alerted[rows[first:]])
        if len(alerts):
            transactions.append(int(alerts[0]))
            hours.append((time[rows[first + alerts[0]]] - time[rows[first]]) / 3600.0)
    return np.array(transactions, dtype=np.int64), np.array(hours), cards


def budget_use(time: FloatArray, alert: BoolArray, share: float) -> tuple[FloatArray, str]:
    """Return the ratio of alerts to what the budget allows, window by window.

    A window is a day of event time; where there are fewer than `DAYS_MIN` whole days, so many events that the
    budget allows `ALERTS_PER_WINDOW`.

    Parameters
    ----------
    time : ndarray of float, shape (n,)
        Seconds since the epoch.
    alert : ndarray of bool, shape (n,)
    share : float
        The budget: alerts per event.

    Returns
    -------
    ratios, window
        (m,) without the first and the last window, which may be incomplete; what a window is, in words.
    """
    window, words = (time // DAY_S).astype(np.int64), "day"
    if len(time) == 0 or window.max() - window.min() - 1 < DAYS_MIN:
        events = round(ALERTS_PER_WINDOW / share)
        window, words = np.arange(len(time)) // events, f"{events:,} events"
    _, number = np.unique(window, return_inverse=True)
    allowed = np.bincount(number) * share
    return (np.bincount(number, weights=alert) / allowed)[1:-1], words
