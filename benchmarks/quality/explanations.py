"""Whether the reasons of alerts are true.

    python -m benchmarks.quality.explanations [--events 40000] [--customers 1500] [--seeds 7 8 9]

Runs a real partition with the default configuration over simulated traffic, the Handbook's and one with a
merchant category and a country, and tests each alert after the warm-up: the event is changed and scored
again, from bytes to score, with every profile as it was before the event:

    top two    both fields named first take their expected values: does the score fall below the threshold?
    top one    does the field named first alone lower the score more than another field, drawn at random?
    tampered   where one field is known to be wrong, is it among the first two named?

An expected value is the one in the reason. Where a reason has none (a terminal, a category: the model holds
only their hashes), it is the most frequent value among the customer's last events in the log. A customer's
history is no field of the event and cannot be changed: named first it counts as wrong, named second it is
left as it is.

Wrong fields are those of the simulator's frauds (amounts), and of traffic without frauds in which one field
of one event in 200 is changed, in turn: five times the amount, a rare other category, another country, three
hours around 03:00 where others come at noon +- 10,000 s; there the budget is 1 %, so that all of them can be
alerts.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.quality.drive import Driven, configuration, simulated
from detector.config.tree import ModelPart
from detector.demo.simulation.handbook import TERMINAL, SimulationConfig

RICH = (
    {"name": "category", "path": "MERCHANT_CATEGORY", "type": "categorical"},
    {"name": "country", "path": "COUNTRY", "type": "categorical"},
)
COUNTRIES = ("FR", "DE", "IT", "ES", "PT")
CATEGORIES = 20
TAMPERED_EVERY = 200
TAMPERINGS = ("amount", "category", "country", "time")
PATHS = {
    "amount": "TX_AMOUNT",
    "terminal": "TERMINAL_ID",
    "category": "MERCHANT_CATEGORY",
    "country": "COUNTRY",
    "time": "TX_DATETIME",
}
HISTORY_EVENTS = 50


@dataclass(kw_only=True, slots=True)
class Verdict:
    """Alerts tested, and those that passed."""

    alerts: int = 0
    top_two: int = 0
    top_one: int = 0
    compared: int = 0  # alerts with another field to compare with
    tampered: Counter[str] = field(default_factory=Counter)  # events with one wrong field, by its name
    alerted: Counter[str] = field(default_factory=Counter)  # of these, alerted
    named: Counter[str] = field(default_factory=Counter)  # of these, with that field among the first two


class Habits:
    """The values of each customer's last events, from the log alone."""

    def __init__(self) -> None:
        self._last: dict[str, deque[Mapping[str, Any]]] = defaultdict(lambda: deque(maxlen=HISTORY_EVENTS))

    def learn(self, event: Mapping[str, Any]) -> None:
        """Remember an event."""
        self._last[event["CUSTOMER_ID"]].append(event)

    def usual(self, event: Mapping[str, Any], name: str) -> Any:
        """Usual value of field `name`; its own value for a customer without events."""
        last = self._last[event["CUSTOMER_ID"]]
        if not last:
            return event[PATHS[name]]
        values = [other[PATHS[name]] for other in last]
        if name == "amount":
            return float(np.median(values))
        if name == "time":
            return _at(event["TX_DATETIME"], sorted(value[11:16] for value in values)[len(values) // 2])
        return Counter(values).most_common(1)[0][0]


def judge(
    config: ModelPart, events: Sequence[Mapping[str, Any]], wrong: Mapping[int, str], seed: int
) -> Verdict:
    """Test the alerts of one stream; `wrong` names the one wrong field of some events, by number."""
    alerts = {
        int(body["source"]["offset"]): body
        for body in Driven(config).feed(events).bodies
        if not body["score"]["warm_up"]
    }
    fields = [name for name, path in PATHS.items() if path in events[0]]
    verdict = Verdict(tampered=Counter(name for number, name in wrong.items()))
    rng = np.random.default_rng(seed)
    again, habits = Driven(config), Habits()
    for number, body in alerts.items():
        passed = events[again.position : number]
        again.feed(passed)
        for event in passed:
            habits.learn(event)
        _judge_alert(again, habits, events[number], body, fields, verdict, rng)
        if (name := wrong.get(number)) is not None:
            verdict.alerted[name] += 1
            verdict.named[name] += name in [reason["field"] for reason in body["reasons"][:2]]
    return verdict


def _judge_alert(
    driven: Driven,
    habits: Habits,
    event: Mapping[str, Any],
    body: Mapping[str, Any],
    fields: Sequence[str],
    verdict: Verdict,
    rng: np.random.Generator,
) -> None:
    reasons = {reason["field"]: reason for reason in body["reasons"]}
    top = list(reasons)[:2]
    verdict.alerts += 1
    if not top:
        return
    others = [name for name in fields if name != top[0]]
    other = others[rng.integers(len(others))]
    changed = [_with(event, reasons, habits, names) for names in (top, top[:1], [other])]
    original, both, first, another = driven.would_score([event, *changed])
    assert original == body["score"]["raw"], "a model asked again answers otherwise"
    verdict.top_two += both < body["score"]["threshold"]
    verdict.compared += 1
    verdict.top_one += first < another


def _with(
    event: Mapping[str, Any], reasons: Mapping[str, Any], habits: Habits, names: Sequence[str]
) -> dict[str, Any]:
    """Build the event with the named fields as expected."""
    changed = dict(event)
    for name in names:
        if name not in PATHS:
            continue
        expected = reasons.get(name, {}).get("expected")
        if expected is None:
            expected = habits.usual(event, name)
        elif name == "time":
            expected = _at(event["TX_DATETIME"], expected)
        changed[PATHS[name]] = expected
    return changed


def _at(time: str, clock: str) -> str:
    return f"{time[:11]}{clock}:00Z"


def enrich(events: Sequence[dict[str, Any]]) -> None:
    """Give each event the country its customer lives in."""
    for event in events:
        event["COUNTRY"] = COUNTRIES[int(event["CUSTOMER_ID"]) % len(COUNTRIES)]


def tamper(events: Sequence[dict[str, Any]], start: int, seed: int) -> dict[int, str]:
    """Change one field of one event in `TAMPERED_EVERY`, from `start` on; returns the changed fields."""
    rng = np.random.default_rng(seed)
    wrong = {}
    for turn, number in enumerate(range(start, len(events), TAMPERED_EVERY)):
        event, name = events[number], TAMPERINGS[turn % len(TAMPERINGS)]
        if name == "amount":
            event["TX_AMOUNT"] = round(5 * event["TX_AMOUNT"], 2)
        elif name == "category":
            rare = [f"C{n}" for n in range(CATEGORIES // 2, CATEGORIES)]
            event["MERCHANT_CATEGORY"] = str(rng.choice([c for c in rare if c != event["MERCHANT_CATEGORY"]]))
        elif name == "country":
            event["COUNTRY"] = str(rng.choice([c for c in COUNTRIES if c != event["COUNTRY"]]))
        else:
            minute = int(rng.integers(90, 270))
            event["TX_DATETIME"] = _at(event["TX_DATETIME"], f"{minute // 60:02d}:{minute % 60:02d}")
        wrong[number] = name
    return wrong


def streams(
    seed: int, events: int, customers: int
) -> Iterator[tuple[str, ModelPart, list[dict[str, Any]], dict[int, str]]]:
    """Yield name, configuration, events and the wrong fields of each stream."""
    plain = SimulationConfig(seed=seed, customers=customers, events=events)
    made, scenario = simulated(plain)
    # Scenario 2 changes nothing but the label, so no field of it is wrong.
    frauds = dict.fromkeys(np.flatnonzero((scenario > 0) & (scenario != TERMINAL)).tolist(), "amount")
    yield "Handbook", configuration(), made, frauds
    rich = SimulationConfig(seed=seed, customers=customers, events=events, categories=CATEGORIES)
    made, scenario = simulated(rich)
    enrich(made)
    yield "rich", configuration(RICH), made, frauds
    honest = SimulationConfig(
        seed=seed,
        customers=customers,
        events=events,
        categories=CATEGORIES,
        amount_limit=float("inf"),
        terminal_share_per_day=0.0,
        customer_share_per_day=0.0,
        time_of_day_spread_s=10_000.0,
    )
    made, _ = simulated(honest)
    enrich(made)
    wrong = tamper(made, events // 4, seed)
    yield "rich, tampered", configuration(RICH, alerts={"budget": {"share": 0.01}}), made, wrong


def main() -> None:
    """Print shares over all seeds, per stream."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=40_000, help="per seed and stream (40000)")
    parser.add_argument("--customers", type=int, default=1_500, help="the Handbook has 5000 (1500)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    options = parser.parse_args()
    totals: dict[str, Verdict] = defaultdict(Verdict)
    for seed in options.seeds:
        for name, config, events, wrong in streams(seed, options.events, options.customers):
            add(totals[name], judge(config, events, wrong, seed))
    print(f"{len(options.seeds)} seeds, {options.events:,} events each, {options.customers:,} customers")
    print(f"\n{'stream':<16}{'alerts':>8}  {'top two clear it':>18}  {'top one beats another':>22}")
    for name, verdict in totals.items():
        cleared = _share(verdict.top_two, verdict.alerts)
        print(
            f"{name:<16}{verdict.alerts:>8}  {cleared:>18}  {_share(verdict.top_one, verdict.compared):>22}"
        )
    print(f"\n{'stream':<16}{'wrong field':<14}{'events':>8}{'alerted':>9}  {'among the first two':>20}")
    for name, verdict in totals.items():
        for wrong_field, count in sorted(verdict.tampered.items()):
            alerted = verdict.alerted[wrong_field]
            named = _share(verdict.named[wrong_field], alerted)
            print(f"{name:<16}{wrong_field:<14}{count:>8}{alerted:>9}  {named:>20}")


def add(total: Verdict, more: Verdict) -> None:
    """Add counts."""
    total.alerts += more.alerts
    total.top_two += more.top_two
    total.top_one += more.top_one
    total.compared += more.compared
    total.tampered += more.tampered
    total.alerted += more.alerted
    total.named += more.named


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} % of {whole}" if whole else "-"


if __name__ == "__main__":
    main()
