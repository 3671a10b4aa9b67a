"""What a step in level, scale or mix does to alerts, and how long it takes until all is as before.

    python -m benchmarks.quality.shifts [--streams accounts simulate plain] [--seeds 1 2] [--handbook FILE]

Each stream runs `BEFORE` events, then a step, then `AFTER` events, through a real partition with the default
configuration. One event in 2,000 is a planted fraud: its amount is 100 times what it would have been. Of all
seeds together:

    first      events until the first alert, longest over the seeds
    gap        longest gap between two alerts, in events, from the step on (before: in as many events before)
    rate       alerts in multiples of the budget, in the first 2,000, the second 2,000 and all later events
    planted    planted frauds that gave an alert, of all, from the step on; and their lowest score
    severity   mean rank (low 0, critical 3) of the planted frauds' alerts, before and from the step on
    reasons    alerts without one
    restarts   times that calibration began again
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.drive import Driven, configuration
from detector.config.tree import ModelPart
from detector.core.alerts.severity import SEVERITIES
from detector.demo.simulation.handbook import SimulationConfig, simulate, to_events

BEFORE, AFTER = 12_288, 16_384
PLANTED_EVERY, PLANTED_AT, PLANTED_FACTOR = 2_000, 500, 100.0
BUDGET_SHARE = 0.001
CATEGORY = {"name": "category", "path": "MERCHANT_CATEGORY", "type": "categorical"}

Events = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """A stream without a step."""

    config: ModelPart
    events: Events
    entity: str | None  # field of the main entity
    numerics: tuple[str, ...]  # the first one is multiplied in planted frauds
    category: str | None = None


@dataclass(kw_only=True, slots=True)
class Run:
    """One run; lists by seed."""

    first: list[int] = field(default_factory=list)
    gap_before: list[int] = field(default_factory=list)
    gap: list[int] = field(default_factory=list)
    rates: list[list[float]] = field(default_factory=list)
    planted: list[tuple[bool, float]] = field(default_factory=list)
    severity_before: list[int] = field(default_factory=list)
    severity: list[int] = field(default_factory=list)
    unreasoned: int = 0
    alerts: int = 0
    restarts: float = 0.0


# --- streams -----------------------------------------------------------------------------------------------


def _schema(**event: Any) -> ModelPart:
    return ModelPart.model_validate({"event": {"id": "id", "time": {"path": "time"}, **event}})


def accounts(seed: int) -> Base:
    """300 accounts with lognormal amounts around their own level."""
    rng = np.random.default_rng(seed)
    count = BEFORE + AFTER
    times = 1_772_323_200 + np.cumsum(rng.exponential(30.0, count))
    account = rng.integers(0, 300, count)
    amount = np.exp(rng.normal(3.0 + account % 5 * 0.3, 0.5))
    events = [
        {
            "id": f"e{i}",
            "time": round(float(times[i]), 3),
            "account": f"a{account[i]}",
            "amount": float(amount[i]),
        }
        for i in range(count)
    ]
    fields = [{"name": "amount", "path": "amount", "type": "numeric"}]
    config = _schema(entities=[{"name": "account", "path": "account"}], fields=fields, exposure="amount")
    return Base(config=config, events=events, entity="account", numerics=("amount",))


def plain(seed: int) -> Base:
    """Four numerics without entities: two groups of events, correlated, of different sizes."""
    rng = np.random.default_rng(seed)
    count = BEFORE + AFTER
    group = rng.random(count) < 0.4
    level = rng.normal(size=count)
    columns = {
        "a": np.exp(rng.normal(2.0 + group, 0.4) + 0.3 * level),
        "b": 50.0 + 8.0 * level + 30.0 * group + rng.normal(0.0, 3.0, count),
        "c": rng.gamma(2.0, 3.0, count),
        "d": rng.normal(0.0, 1.0, count) + 2.0 * group,
    }
    times = 1_772_323_200 + np.cumsum(rng.exponential(30.0, count))
    events = [
        {"id": f"e{i}", "time": round(float(times[i]), 3), **{k: float(v[i]) for k, v in columns.items()}}
        for i in range(count)
    ]
    config = _schema(
        fields=[{"name": name, "path": name, "type": "numeric", "optional": True} for name in columns]
    )
    return Base(config=config, events=events, entity=None, numerics=tuple(columns))


def simulated(seed: int) -> Base:
    """Card traffic with merchant categories, 1,500 customers."""
    config = SimulationConfig(seed=seed, customers=1_500, categories=20, events=BEFORE + AFTER)
    events: Events = [event for day in simulate(config) for event in to_events(day)]
    return Base(
        config=configuration([CATEGORY]),
        events=events,
        entity="CUSTOMER_ID",
        numerics=("TX_AMOUNT",),
        category="MERCHANT_CATEGORY",
    )


def handbook(path: Path) -> Callable[[int], Base]:
    """The Handbook's published data, from another place for each seed."""

    def read(seed: int) -> Base:
        events, skipped = [], (seed - 1) * 40_000
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file):
                if number >= skipped:
                    events.append(json.loads(line))
                if len(events) == BEFORE + AFTER:
                    break
        return Base(config=configuration(), events=events, entity="CUSTOMER_ID", numerics=("TX_AMOUNT",))

    return read


# --- steps -------------------------------------------------------------------------------------------------

Step = Callable[[Base, dict[str, Any], int, np.random.Generator], None]
"""Changes one event that comes so many events after the step."""


def _all_times(factor: float) -> Step:
    def step(base: Base, event: dict[str, Any], number: int, rng: np.random.Generator) -> None:
        event[base.numerics[0]] *= factor

    return step


def _there_and_back(base: Base, event: dict[str, Any], number: int, rng: np.random.Generator) -> None:
    event[base.numerics[0]] *= 100.0 if number < AFTER // 2 else 1.0


def _slow(base: Base, event: dict[str, Any], number: int, rng: np.random.Generator) -> None:
    event[base.numerics[0]] *= 2.0 ** min(number / 10_000, 1.0)


def _repeated(base: Base, event: dict[str, Any], number: int, rng: np.random.Generator) -> None:
    event[base.numerics[0]] *= 5.0 ** (1 + number // 4_096)


def _some_entities(base: Base, event: dict[str, Any], number: int, rng: np.random.Generator) -> None:
    if hash_of(event[base.entity]) % 4 == 0 if base.entity else rng.random() < 0.25:
        event[base.numerics[0]] *= 100.0


def _new_entities(base: Base, event: dict[str, Any], number: int, rng: np.random.Generator) -> None:
    if rng.random() < 0.5:
        event[base.numerics[0]] *= 5.0
        if base.entity:
            event[base.entity] = f"n{rng.integers(0, 300)}"
        if base.category:
            event[base.category] = "new"


def _new_categories(base: Base, event: dict[str, Any], number: int, rng: np.random.Generator) -> None:
    if base.category and rng.random() < 0.5:
        event[base.category] = f"n{rng.integers(0, 5)}"


def _missing(base: Base, event: dict[str, Any], number: int, rng: np.random.Generator) -> None:
    if len(base.numerics) > 1:
        event[base.numerics[1]] = None


def _moved(base: Base, event: dict[str, Any], number: int, rng: np.random.Generator) -> None:
    """Add to another column than the one that is multiplied in planted frauds."""
    if len(base.numerics) > 1:
        event[base.numerics[1]] += 200.0


def hash_of(value: Any) -> int:
    """A number for an entity, the same in each run."""
    return sum(ord(letter) * (7 + place) for place, letter in enumerate(str(value)))


STEPS: dict[str, Step] = {
    "none": _all_times(1.0),
    "x100": _all_times(100.0),
    "x10": _all_times(10.0),
    "x7.5": _all_times(7.5),
    "x2": _all_times(2.0),
    "x1/100": _all_times(0.01),
    "x100 and back": _there_and_back,
    "x5 each 4,096": _repeated,
    "doubling slowly": _slow,
    "a quarter x100": _some_entities,
    "half new, x5": _new_entities,
    "half new category": _new_categories,
    "one missing": _missing,
    "one moved": _moved,
}


# --- runs --------------------------------------------------------------------------------------------------


def shifted(base: Base, step: Step, seed: int, log: Callable[..., None] | None = None) -> Run:
    """Drive one stream through one step."""
    rng, run = np.random.default_rng([seed, 1]), Run()
    events: Events = []
    planted = np.zeros(len(base.events), dtype=bool)
    for i, event in enumerate(map(dict, base.events)):
        if i >= BEFORE:
            step(base, event, i - BEFORE, rng)
        if i >= 4_000 and i % PLANTED_EVERY == PLANTED_AT:
            planted[i] = True
            event[base.numerics[0]] *= PLANTED_FACTOR
        events.append(event)
    driven = Driven(base.config)
    score, alert = np.empty(len(events)), np.zeros(len(events), dtype=bool)
    severity = np.zeros(len(events), dtype=int)
    for start in range(0, len(events), 512):
        piece = slice(start, min(start + 512, len(events)))
        fed = driven.feed(events[piece])
        score[piece], alert[piece] = fed.score, fed.alert
        for body in fed.bodies:
            at = body["source"]["offset"]
            severity[at] = SEVERITIES.index(body["severity"])
            run.unreasoned += not body["reasons"]
            run.alerts += 1
        if log:
            log(start - BEFORE, fed, driven, planted[piece])
    run.restarts = driven.gauges.get("shifts", 0.0)
    after = np.flatnonzero(alert[BEFORE:])
    gaps = np.diff(np.concatenate([[0], after, [len(events) - BEFORE]]))
    earlier = np.flatnonzero(alert[4_096:BEFORE])
    run.gap_before.append(int(np.diff(np.concatenate([[0], earlier, [BEFORE - 4_096]])).max()))
    run.gap.append(int(gaps.max()))
    run.first.append(int(gaps[0]))
    windows = (
        slice(BEFORE, BEFORE + 2_000),
        slice(BEFORE + 2_000, BEFORE + 4_000),
        slice(BEFORE + 4_000, None),
    )
    run.rates.append([float(alert[window].mean()) / BUDGET_SHARE for window in windows])
    for i in np.flatnonzero(planted):
        if i >= BEFORE:
            run.planted.append((bool(alert[i]), float(score[i])))
        if alert[i]:
            (run.severity if i >= BEFORE else run.severity_before).append(int(severity[i]))
    return run


def together(runs: Sequence[Run]) -> Run:
    """Join runs of several seeds."""
    joined = Run()
    for run in runs:
        for name in ("first", "gap_before", "gap", "rates", "planted", "severity_before", "severity"):
            getattr(joined, name).extend(getattr(run, name))
        joined.unreasoned += run.unreasoned
        joined.alerts += run.alerts
        joined.restarts += run.restarts / len(runs)
    return joined


def row(name: str, step: str, run: Run) -> str:
    """One row of the table, Markdown."""
    rates = np.mean(run.rates, axis=0)
    found = sum(alerted for alerted, _ in run.planted)
    lowest = min(score for _, score in run.planted)
    before, after = (
        np.mean(ranks) if ranks else float("nan") for ranks in (run.severity_before, run.severity)
    )
    cells = (
        name,
        step,
        f"{max(run.first):,}",
        f"{max(run.gap):,} ({max(run.gap_before):,})",
        ", ".join(f"{rate:.1f}" for rate in rates),
        f"{found} of {len(run.planted)}",
        f"{lowest:.2f}",
        f"{before:.1f}, {after:.1f}",
        f"{run.unreasoned} of {run.alerts}",
        f"{run.restarts:.1f}",
    )
    return f"| {' | '.join(cells)} |"


HEADS = (
    "stream",
    "step",
    "first",
    "gap (before)",
    "rate",
    "planted",
    "lowest",
    "severity",
    "reasons",
    "restarts",
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", nargs="+", default=["accounts", "simulate", "plain"])
    parser.add_argument("--steps", nargs="+", default=list(STEPS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--handbook", type=Path, help="file of the stream `handbook`")
    options = parser.parse_args()
    streams = {"accounts": accounts, "simulate": simulated, "plain": plain}
    if options.handbook:
        streams["handbook"] = handbook(options.handbook)
    print(f"| {' | '.join(HEADS)} |")
    print(f"|{'---|' * len(HEADS)}")
    for name in options.streams:
        bases = [streams[name](seed) for seed in options.seeds]
        for step in options.steps:
            if not _applies(step, bases[0]):
                continue
            runs = [shifted(base, STEPS[step], seed) for base, seed in zip(bases, options.seeds, strict=True)]
            print(row(name, step, together(runs)), flush=True)


def _applies(step: str, base: Base) -> bool:
    if step == "half new category":
        return base.category is not None
    return len(base.numerics) > 1 or step not in {"one missing", "one moved"}


if __name__ == "__main__":
    main()
