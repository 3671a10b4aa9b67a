"""The report, as plain values for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.fairness.gathered import MISSING, Gathered
from detector.fairness.proxies import named, proxies
from detector.fairness.rates import Rate, corrected, fold, rates

QUANTILES = (0.5, 0.9, 0.99, 0.999)
LEVEL = 0.02  # false discoveries among what is flagged
FAIR = (0.8, 1.25)  # ratios between these are not flagged: the four-fifths rule (29 CFR 1607.4 D)
PROXY_MIN = 0.6

_WHAT = {"alerts": "is alerted", "false_alarms": "has false alarms among its answered alerts"}
CAUTIONS = (
    "A ratio other than 1 is no proof of unfair treatment: groups may be defrauded more or less often. "
    "This report does not know the true frauds.",
    "A ratio of 1 is no proof of fair treatment: a group can be defrauded more often, yet be alerted as all.",
    "The false-alarm rate is of answered alerts. If alerts of some groups are answered less often, or by "
    "another rule, it says how analysts answer.",
    "A proxy is a statement about this stream, not about causes. It may tell fraud as well as the segment.",
    "Small groups are folded, and groups with fewer than 5 expected alerts have no interval.",
)


def report(gathered: Gathered, left_out: int = 0) -> dict[str, Any]:
    """Compare the groups of each segment field.

    Parameters
    ----------
    left_out
        Events that were not gathered, because there were too many.
    """
    made = [_field(gathered, name, *segment) for name, segment in gathered.segments.items()]
    compared = [rate for one in made for kind in ("alerts", "false_alarms") for rate in one[kind]]
    for rate, q in zip(compared, corrected([rate["p"] for rate in compared]), strict=True):
        rate["q"] = q
        rate["flagged"] = q < LEVEL and not FAIR[0] <= rate["ratio"] <= FAIR[1]
    answered = gathered.answers >= 0
    return {
        "events": len(gathered.scores),
        "left_out": left_out,
        "alerts": int(np.count_nonzero(gathered.alerted)),
        "answered": int(np.count_nonzero(answered & gathered.alerted)),
        "fields": made,
        "cautions": list(CAUTIONS),
    }


def sentences(made: Mapping[str, Any]) -> list[str]:
    """What stands out, in words; one sentence says so if nothing does."""
    said = []
    for one in made["fields"]:
        for kind, what in _WHAT.items():
            for rate in (rate for rate in one[kind] if rate["flagged"]):
                low, high = (f"{rate[key]:.2f}" for key in ("low", "high"))
                said.append(
                    f"{one['field']} {_shown(rate['group'])} {what} {rate['ratio']:.2f} times as often as "
                    f"all ({low} to {high})"
                )
        if told := [f"{name} ({value:.2f})" for name, value in one["proxies"].items()]:
            said.append(f"{one['field']} can be told from {', '.join(told[:5])}")
    return said or ["No group stands out, and no input tells a segment."]


def _shown(group: str) -> str:
    return "(missing)" if group == MISSING else group


def _field(gathered: Gathered, name: str, groups: Sequence[str], which: NDArray[np.int64]) -> dict[str, Any]:
    names, which = fold(groups, which, gathered.entities)
    alerted, answered = gathered.alerted, gathered.alerted & (gathered.answers >= 0)
    false = rates(names, which[answered], gathered.entities[answered], gathered.answers[answered] == 0)
    overall = float(alerted.mean()) if len(alerted) else 0.0
    return {
        "field": name,
        "alerts": [_plain(rate) for rate in rates(names, which, gathered.entities, alerted)],
        "false_alarms": [_plain(rate) for rate in false],
        "scores": [
            {"group": group, **_quantiles(gathered.scores[which == number], overall)}
            for number, group in enumerate(names)
        ],
        "proxies": named(proxies(gathered, which, len(names)), PROXY_MIN),
    }


def _plain(rate: Rate) -> dict[str, Any]:
    values = asdict(rate)
    values["high"] = rate.high if isfinite(rate.high) else None
    return values


def _quantiles(scores: NDArray[np.float64], share: float) -> dict[str, Any]:
    """Quantiles, and the threshold at which this group alone would have as many alerts as all have."""
    if not len(scores):
        return {"quantiles": {}, "threshold": None}
    found = np.quantile(scores, QUANTILES)
    return {
        "quantiles": {f"{at:g}": float(value) for at, value in zip(QUANTILES, found, strict=True)},
        "threshold": float(np.quantile(scores, 1.0 - share)),
    }
