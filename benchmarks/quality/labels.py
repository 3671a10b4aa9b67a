"""Labels on streams that mislead: fields that only say who, and a key that becomes another one.

    python -m benchmarks.quality.labels [--streams lean,who,segment,rare-value,rare-terminal] [--seed 7]

Simulated traffic of the Handbook's scenarios, frauds known 7 days late, default configuration:

    lean            customer, terminal and amount
    who             eight more fields that are constant for each customer: four categories with few or many
                    values, a city that two customers share, latitude, longitude, and a street as text
    segment-lean    as lean, but most compromised customers are of five of the fifty states
    segment         the same with the fields
    rare-value      a category of which one value in 1,000 events is fraud with probability .98; from day 40
                    on a quarter of all events has it, and none of these is fraud
    rare-terminal   the same for a terminal

Printed: average precision after the first tenth and in the 10,000 events from day 40 on, without and with
labels.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from benchmarks.quality import ours
from benchmarks.quality.answers import parse_labels
from benchmarks.quality.columns import prepare
from benchmarks.quality.evaluate import WARM_UP
from benchmarks.quality.inputs import Labels
from benchmarks.quality.metrics import average_precision
from benchmarks.quality.streams import PRESETS, Plan, Stream
from detector.config.load import load
from detector.demo.simulation.handbook import CUSTOMER, SimulationConfig, label_rows, simulate, to_events
from detector.shell import logs

LABELS = ("none", "late:7")
CUSTOMERS, DAYS = 1500, 75
FIELDS = {
    **dict.fromkeys(("segment", "gender", "state", "job", "city"), "categorical"),
    **dict.fromkeys(("latitude", "longitude"), "numeric"),
    "street": "text",
}
WORDS = (
    "stone",
    "river",
    "hill",
    "green",
    "north",
    "south",
    "baker",
    "young",
    "king",
    "lake",
    "wood",
    "rose",
)
RISKY_STATES, RISK_ELSEWHERE = 5, 0.15
CHANGE_DAY, RARE_SHARE, RARE_FRAUD, LATER_SHARE = 40, 0.001, 0.98, 0.25
WATCHED_EVENTS = 10_000

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the streams."""

    fields: Mapping[str, str]
    risky: bool = False
    changed: str | None = None  # the path that gets the rare value


KINDS = {
    "lean": Kind({}),
    "who": Kind(FIELDS),
    "segment-lean": Kind({}, risky=True),
    "segment": Kind(FIELDS, risky=True),
    "rare-value": Kind({"mcc": "categorical"}, changed="mcc"),
    "rare-terminal": Kind({}, changed="TERMINAL_ID"),
}


def events_of(kind: Kind, seed: int) -> Iterator[tuple[Event, int]]:
    """Yield events with their scenario; 0: normal."""
    rng = np.random.default_rng(seed)
    people = [_person(rng) for _ in range(CUSTOMERS)]
    spared = rng.random(CUSTOMERS) >= RISK_ELSEWHERE
    for day in simulate(SimulationConfig(seed=seed, customers=CUSTOMERS, days=DAYS)):
        scenarios = {event_id: scenario for event_id, _, scenario in label_rows(day)}
        for event in to_events(day):
            customer = int(str(event["CUSTOMER_ID"]))
            scenario = scenarios.get(str(event["TRANSACTION_ID"]), 0)
            risky = int(people[customer]["state"][1:]) < RISKY_STATES
            if kind.risky and scenario == CUSTOMER and spared[customer] and not risky:
                continue
            changed = event | {name: people[customer][name] for name in kind.fields if name in FIELDS}
            if kind.changed is not None:
                scenario = _change(changed, kind.changed, scenario, day.day, rng)
            yield changed, scenario


def _person(rng: np.random.Generator) -> Event:
    return {
        "segment": f"s{rng.integers(3)}",
        "gender": f"g{rng.integers(2)}",
        "state": f"s{rng.integers(50)}",
        "job": f"j{min(int(rng.pareto(1.0) * 4), 400)}",
        "city": f"c{rng.integers(CUSTOMERS // 2)}",
        "latitude": round(float(rng.uniform(25, 49)), 4),
        "longitude": round(float(rng.uniform(-125, -67)), 4),
        "street": f"{rng.integers(999)} {rng.choice(WORDS)} {rng.choice(WORDS)} street",
    }


def _change(event: Event, path: str, scenario: int, day: int, rng: np.random.Generator) -> int:
    """Give an event that is no fraud the rare value, or another one; returns its scenario."""
    later = day >= CHANGE_DAY
    drawn, fraud, other = rng.random(), rng.random(), int(rng.integers(20))
    hit = scenario == 0 and drawn < (LATER_SHARE if later else RARE_SHARE)
    if hit or path not in event:
        event[path] = "X" if hit else f"m{other}"
    return 4 if hit and not later and fraud < RARE_FRAUD else scenario


def make(name: str, seed: int, scratch: Path) -> Stream:
    """Write a stream to a scratch folder."""
    kind, found = KINDS[name], {}
    encode = msgspec.json.Encoder().encode
    path = scratch / f"{name}.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for event, scenario in events_of(kind, seed):
            file.write(encode(event) + b"\n")
            if scenario:
                found[str(event["TRANSACTION_ID"])] = scenario
    fields = "".join(f"    - {{name: {one}, path: {one}, type: {of}}}\n" for one, of in kind.fields.items())
    config = scratch / f"{name}.yaml"
    config.write_text((PRESETS / "handbook.yaml").read_text().replace("  exposure:", f"{fields}  exposure:"))
    names = {scenario: str(scenario) for scenario in set(found.values())}
    labels = Labels(kind=found, name=names, incident={})
    plan = Plan(name=name, source="simulate", number=seed)
    return Stream(plan=plan, events=path, labels=labels, config=load(config), config_from="preset handbook")


def measure(stream: Stream, text: str, scratch: Path) -> dict[str, float]:
    """Average precision of one run."""
    facts, _ = prepare(stream, scratch, ())
    score = ours.run(stream, facts, parse_labels(text), scratch).score
    day = (facts.time - facts.time[0]) // 86_400.0
    change = int(np.argmax(day >= CHANGE_DAY))
    windows = {
        "AP": slice(int(WARM_UP * len(score)), None),
        "from day 40": slice(change, change + WATCHED_EVENTS),
    }
    return {name: average_precision(facts.kind[part] > 0, score[part]) for name, part in windows.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print, line by line, and to a file if one is named."""
    parser = argparse.ArgumentParser(prog="labels", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--streams", default=",".join(KINDS))
    parser.add_argument("--labels", default=",".join(LABELS))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, help="CSV file")
    options = parser.parse_args(arguments)
    logs.configure("error")
    rows = []
    for name in options.streams.split(","):
        with TemporaryDirectory() as folder:
            stream = make(name, options.seed, Path(folder))
            for text in options.labels.split(","):
                found = measure(stream, text, Path(folder))
                figures = ", ".join(f"{what} {figure:.3f}" for what, figure in found.items())
                print(f"{name}, labels {text}: {figures}", flush=True)
                rows.append({"stream": name, "labels": text, **found})
    if options.out is not None:
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
