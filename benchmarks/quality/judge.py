"""Figures of one detector on one stream, the same for all detectors.

All events but the first tenth are judged, or the Handbook's test week. Figures *at a budget* take the share
of the judged events with the highest scores, in hindsight, so detectors without a threshold have them too.
Where a figure needs whole events, events that are tied at the cut and do not all fit are left out.

The service's own alerts (by its threshold, budget and cooldown) have the same figures, with OWN before the
name: the result for an analyst who sees only these alerts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np

from benchmarks.quality.evaluate import WARM_UP
from benchmarks.quality.handbook_week import CARDS_LOOKED_AT, FIRST_DAY, check_counts, in_test
from benchmarks.quality.metrics import (
    DAY_S,
    BoolArray,
    FloatArray,
    average_precision,
    budget_use,
    card_precision,
    figures,
    roc_auc,
    share_looked_at,
    time_to_alert,
)
from benchmarks.quality.streams import Facts
from detector.config.tree import Config

BUDGETS = (0.001, 0.01)  # the effect is computed for the last one
OWN = "alerts: "
QUANTILE = 0.99  # of the normal events' scores
RECALL, INCIDENTS, EVENTS_OF, INCIDENTS_OF = "recall: ", "incidents: ", "events of ", "incidents of "


def judged(facts: Facts, *, week: bool) -> BoolArray:
    """Return which events are judged, (n,).

    Raises
    ------
    InputError
        The week is not the published one.
    """
    n = len(facts.ids)
    if not week:
        return np.arange(n) >= int(WARM_UP * n)
    first = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC).timestamp()
    day = ((facts.time - first) // DAY_S).astype(np.int64)
    card = np.arange(n) if facts.card is None else facts.card
    here = np.flatnonzero(day >= 0)
    tested = np.zeros(n, dtype=bool)
    tested[here] = in_test(day[here], card[here], facts.kind[here])
    check_counts(facts.kind[tested])
    return tested


def ranking(facts: Facts, score: FloatArray, tested: BoolArray) -> dict[str, float]:
    """Judge a score, (n,); figures that the stream does not have are left out."""
    label, score = facts.kind[tested] > 0, score[tested]
    found: dict[str, float] = {
        "events": len(label),
        "anomalies": int(label.sum()),
        "auc": roc_auc(label, score),
        "ap": average_precision(label, score),
    }
    for budget in BUDGETS:
        looked = share_looked_at(score, budget)
        caught = float(looked @ label)
        name = f"{budget:.1%}".replace(".0%", "%")
        found[f"precision {name}"] = caught / float(looked.sum())
        found[f"recall {name}"] = _ratio(caught, int(label.sum()))
    if facts.card is not None:
        day = (facts.time[tested] // DAY_S).astype(np.int64)
        card = facts.card[tested]
        found[f"cp@{CARDS_LOOKED_AT}"] = card_precision(day, card, label, score, CARDS_LOOKED_AT)
    if facts.incident is not None:
        found |= by_kind(facts, score, looked >= 1.0, tested)
    return found | effect(facts, looked, tested)


def effect(facts: Facts, looked: FloatArray, tested: BoolArray) -> dict[str, float]:
    """Compute the effect of looking at some of the m judged events.

    Parameters
    ----------
    looked : ndarray of float, shape (m,)
        How much of each event is looked at, 0 to 1.

    Returns
    -------
    dict
        Recall by kind where there is more than one, share of the anomalous amount; where there are cards, the
        share of the hit ones that were found, medians of the time this took, and the number of customers
        without any anomaly that were looked at per anomaly found. Without cards: events looked at.
    """
    kind, time = facts.kind[tested], facts.time[tested]
    label, alerted = kind > 0, looked >= 1.0
    found: dict[str, float] = {}
    kinds = np.unique(kind[label]).tolist()
    if len(kinds) > 1 and facts.incident is None:
        for number in kinds:
            found[f"recall of {number}"] = float(looked[kind == number].mean())
    if facts.amount is not None:
        amount = facts.amount[tested] * label
        found["amount caught"] = _ratio(float(looked @ amount), float(amount.sum()))
    bothered, caught = int((alerted & ~label).sum()), int((alerted & label).sum())
    if facts.card is not None:
        card = facts.card[tested]
        transactions, hours, cards = time_to_alert(card, time, label, alerted)
        found["cards found"] = _ratio(len(hours), cards)
        found["transactions to alert"] = float(np.median(transactions)) if len(hours) else math.nan
        found["hours to alert"] = float(np.median(hours)) if len(hours) else math.nan
        bothered = len(np.setdiff1d(card[alerted & ~label], card[label]))
    found["false per caught"] = _ratio(bothered, caught)
    return found


def by_kind(facts: Facts, score: FloatArray, alert: BoolArray, tested: BoolArray) -> dict[str, float]:
    """Judge the m tested events of each kind apart; needs facts with incidents.

    Parameters
    ----------
    score : ndarray of float, shape (m,)
    alert : ndarray of bool, shape (m,)

    Returns
    -------
    dict
        For each kind that occurs, its name behind: RECALL, the share of its events above the `QUANTILE` of
        the normal events; INCIDENTS, the share of its incidents with an alert; and the numbers of both.
    """
    if facts.incident is None:
        raise ValueError("the labels name no incidents")
    found: dict[str, float] = {}
    kind, incident = facts.kind[tested], facts.incident[tested]
    limit = float(np.quantile(score[kind == 0], QUANTILE, method="higher"))
    for number in np.unique(kind[kind > 0]).tolist():
        theirs, name = kind == number, facts.kinds[number]
        incidents, alerted = np.unique(incident[theirs]), np.unique(incident[theirs & alert])
        found[RECALL + name] = float((score[theirs] > limit).mean())
        found[INCIDENTS + name] = len(alerted) / len(incidents)
        found[EVENTS_OF + name], found[INCIDENTS_OF + name] = float(theirs.sum()), float(len(incidents))
    return found


def service(
    facts: Facts, score: FloatArray, alert: BoolArray, tested: BoolArray, config: Config
) -> dict[str, float | str]:
    """Figures of the service only: alerts of judged events, and use of the budget after the first tenth."""
    sent: Mapping[str, float] = figures(facts.kind[tested], score[tested], alert[tested])
    found: dict[str, float | str] = {
        name: sent[name] for name in ("alerts", "precision_of_alerts", "recall_of_alerts")
    }
    figures_of_alerts = effect(facts, alert[tested].astype(np.float64), tested)
    found |= {f"{OWN}{name}": value for name, value in figures_of_alerts.items()}
    if facts.incident is not None:
        found |= by_kind(facts, score[tested], alert[tested], tested)
    warm = slice(int(WARM_UP * len(score)), None)
    if (share := config.alerts.budget.share) is not None:
        ratios, window = budget_use(facts.time[warm], alert[warm], share)
        found["budget window"] = window
        for quantile in (5, 50, 95):
            found[f"budget q{quantile}"] = (
                float(np.quantile(ratios, quantile / 100)) if len(ratios) else math.nan
            )
    return {name: value if isinstance(value, str) else float(value) for name, value in found.items()}


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
