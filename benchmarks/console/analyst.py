"""Whether what the console shows helps to decide: two simulated analysts on the same alerts.

    python -m benchmarks.console.analyst
    python -m benchmarks.console.analyst --seeds 7,8,9 --events 80000

Card traffic with frauds is replayed without labels, and every alert is decided twice: by an analyst who sees
the score and the reasons alone, as an alert without a console has them, and by one who also sees the facts,
the last events of the entity, its case, what is related to it, and the nearest normal behaviour. An analyst
is a logistic regression with a ridge. Both learn from the alerts of the earlier half of the cases, by time,
and decide those of the later half; no case is in both.

A decision is right if the fraud was injected, or was not. Told are the shares with 95 % intervals (Wilson),
that of whoever gives the commoner answer always, and the difference of the two, with its interval from 2,000
bootstrap samples of whole cases. A model is no person: it says that what is shown tells frauds apart, not how
fast somebody reads it.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.common import about
from detector.core.alerts.severity import SEVERITIES
from detector.core.intervals import wilson

CONFIG = Path(__file__).parents[2] / "configs/simulate.yaml"
RIDGE = 10.0  # in units of one decision of the standardised features
SEEN_MIN = 10  # decisions in which a feature must differ from 0
STEPS = 50  # of Newton's method
SAMPLES = 2_000
HOUR_S, DAY_S = 3_600.0, 86_400.0
Features = dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """An alert with the truth."""

    case: str
    time_s: float
    fraud: bool
    plain: Features  # score and reasons
    whole: Features  # and all that the console shows beside them


def bent(value: float) -> float:
    """A logarithm that takes every number."""
    return math.copysign(math.log1p(abs(value)), value)


def score_and_reasons(body: Mapping[str, Any]) -> Features:
    """What an alert says by its score and its reasons."""
    score = body["score"]
    found = {
        "score": score["raw"],
        "quantile": -math.log10(max(1.0 - score["quantile"], 1e-7)),
        "severity": float(SEVERITIES.index(body["severity"])),
        "warm_up": float(score["warm_up"]),
    }
    for rank, reason in enumerate(body["reasons"]):
        name = f"{reason['field']} {reason['code']} {reason['direction']}"
        found[name] = reason["share"]
        found[f"{reason['basis']} {rank}"] = 1.0
        observed, expected = reason["observed"], reason["expected"]
        if isinstance(observed, int | float) and isinstance(expected, int | float):
            found[f"{reason['field']} observed"] = bent(observed)
            found[f"{reason['field']} over expected"] = bent(observed) - bent(expected)
    return found


def facts_and_history(body: Mapping[str, Any]) -> Features:
    """What the console shows beside the score and the reasons."""
    found: Features = {"amount": bent(body["exposure"] or 0.0), "related": float(len(body["related"]))}
    for fact in body["facts"]:
        found[f"fact {fact['code']}"] = 1.0
        for name, value in fact["values"].items():
            if isinstance(value, int | float):
                found[f"fact {fact['code']} {name}"] = bent(value)
    case = body["case"]
    unlisted = {f"unlisted {name}": value for name, value in case["unlisted"].items()}
    found |= {f"case {name}": bent(value or 0.0) for name, value in unlisted.items()}
    found |= {f"case {name}": bent(case[name] or 0.0) for name in ("number", "sum", "largest")}
    if body["exemplars"]:
        found["nearest"] = bent(body["exemplars"][0]["distance"])
    return found | _history(body)


def _history(body: Mapping[str, Any]) -> Features:
    recent = body["recent"]
    found: Features = {"recent": float(len(recent))}
    if not recent:
        return found
    now_s = _seconds(body["event_time"])
    ages = [now_s - _seconds(one["time"]) for one in recent]
    amounts = [one["amount"] for one in recent if one["amount"] is not None]
    scores = [one["score"] for one in recent if one["score"] is not None]
    found |= {
        "since last": bent(min(ages)),
        "within an hour": float(sum(age <= HOUR_S for age in ages)),
        "within a day": float(sum(age <= DAY_S for age in ages)),
    }
    if amounts:
        found["over the median"] = bent(body["exposure"] or 0.0) - bent(float(np.median(amounts)))
        found["over the largest"] = bent(body["exposure"] or 0.0) - bent(max(amounts))
    if scores:
        found |= {"scores before": float(np.mean(scores)), "largest score before": max(scores)}
    return found


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def alerts_of(seed: int, events: int, share: float) -> list[Alert]:
    """Replay traffic; its alerts with the truth."""
    with tempfile.TemporaryDirectory(prefix="detector-analyst-") as name:
        folder = Path(name)
        stream, labels, out = (folder / one for one in ("events.jsonl", "labels.csv", "alerts.jsonl"))
        _detector("simulate", "--seed", seed, "--events", events, "--out", stream, "--labels", labels)
        _detector(
            "replay", "--config", CONFIG, "--events", stream, "--alerts", out,
            "--set", f"alerts.budget.share={share}",
        )  # fmt: skip
        with labels.open(newline="") as file:
            frauds = {row["event_id"] for row in csv.DictReader(file)}
        with out.open() as file:
            return [_alert(json.loads(line), frauds, seed) for line in file]


def _alert(body: Mapping[str, Any], frauds: set[str], seed: int) -> Alert:
    plain = score_and_reasons(body)
    return Alert(
        case=f"{seed} {body['case_id']}",
        time_s=_seconds(body["event_time"]),
        fraud=body["event_id"] in frauds,
        plain=plain,
        whole=plain | facts_and_history(body),
    )


def _detector(*arguments: object) -> None:
    subprocess.run(
        [sys.executable, "-m", "detector", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL
    )


def halves(alerts: Sequence[Alert]) -> tuple[list[Alert], list[Alert]]:
    """Alerts of the earlier and of the later half of the cases."""
    begins: dict[str, float] = {}
    for alert in alerts:
        begins[alert.case] = min(alert.time_s, begins.get(alert.case, math.inf))
    middle = float(np.median(list(begins.values())))
    return (
        [alert for alert in alerts if begins[alert.case] <= middle],
        [alert for alert in alerts if begins[alert.case] > middle],
    )


def decided(
    learned: Sequence[Features], truth: NDArray[np.bool_], asked: Sequence[Features]
) -> NDArray[np.bool_]:
    """What an analyst decides on `asked`, who has learned from `learned` (n,) what is a fraud (n,)."""
    counts: dict[str, int] = defaultdict(int)
    for one in learned:
        for name, value in one.items():
            counts[name] += value != 0.0
    names = sorted(name for name, count in counts.items() if count >= SEEN_MIN)
    x, other = (
        np.array([[one.get(name, 0.0) for name in names] for one in side]) for side in (learned, asked)
    )
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation[deviation == 0.0] = 1.0
    x, other = (np.column_stack([np.ones(len(side)), (side - mean) / deviation]) for side in (x, other))
    weights = logistic(x, truth.astype(np.float64))
    return np.asarray(other @ weights > 0.0)


def logistic(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (D,) of a logistic regression with a ridge, on rows (n, D) whose first column is constant."""
    weights, ridge = np.zeros(x.shape[1]), np.full(x.shape[1], RIDGE)
    ridge[0] = 1e-6
    for _ in range(STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ weights, -30.0, 30.0)))
        gradient = x.T @ (p - y) + ridge * weights
        curvature = (x * (p * (1.0 - p))[:, None]).T @ x + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if float(np.abs(step).max()) < 1e-8:
            break
    return weights


def interval(right: int, count: int) -> str:
    """A share with its 95 % interval by Wilson."""
    low, high = wilson(right, count)
    return f"{right / count:.3f} ({low:.3f} to {high:.3f})"


def difference(
    cases: Sequence[str], first: NDArray[np.bool_], second: NDArray[np.bool_]
) -> tuple[float, float]:
    """95 % interval of the mean of second - first over samples of whole cases."""
    _, numbers = np.unique(cases, return_inverse=True)
    sizes = np.bincount(numbers)
    gains = np.bincount(numbers, weights=second.astype(np.float64) - first)
    rng = np.random.default_rng(0)
    picked = rng.integers(0, len(sizes), size=(SAMPLES, len(sizes)))
    found = gains[picked].sum(axis=1) / sizes[picked].sum(axis=1)
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def main() -> int:
    """Replay, decide and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", default="7,8,9")
    parser.add_argument("--events", type=int, default=80_000, help="of each seed")
    parser.add_argument("--share", type=float, default=0.01, help="of events that the alert budget allows")
    options = parser.parse_args()
    learned, asked = list[Alert](), list[Alert]()
    for seed in map(int, options.seeds.split(",")):
        earlier, later = halves(alerts_of(seed, options.events, options.share))
        learned, asked = learned + earlier, asked + later
        print(f"seed {seed}: {len(earlier)} alerts to learn from, {len(later)} to decide", flush=True)
    truth, known = (np.array([alert.fraud for alert in side]) for side in (asked, learned))
    rights = {
        "score and reasons": decided([a.plain for a in learned], known, [a.plain for a in asked]) == truth,
        "facts and history, too": decided([a.whole for a in learned], known, [a.whole for a in asked])
        == truth,
        "always the commoner answer": np.full(len(truth), known.mean() > 0.5) == truth,
    }
    print(about())
    print(f"{len(asked)} alerts decided, {truth.mean():.0%} of them frauds; right decisions:")
    for name, right in rights.items():
        print(f"  {name:27} {interval(int(right.sum()), len(right))}")
    first, second = list(rights.values())[:2]
    low, high = difference([alert.case for alert in asked], first, second)
    gain = float(second.mean() - first.mean())
    print(f"  difference                  {gain:+.3f} ({low:+.3f} to {high:+.3f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
