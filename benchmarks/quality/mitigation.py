"""What it costs to treat segments alike: average precision and recall, against the ratio of alert rates.

    python -m benchmarks.quality.mitigation [--seeds 0-2] [--events 150000] [--kept-out]

Simulated cards with eight fields that are constant per customer. A quarter of the customers, group B of the
field `group` (`use: segment`, so no model sees it), spend less regularly than the others: a tenth of their
payments is multiplied by a lognormal factor. One of the constant fields tells the group. Frauds are the same
in both groups. Each row is another configuration, but for "the highest of each group": it takes the scores of
the first one.

The first tenth is left out. Alerts are the highest 1 % of scores, in hindsight; in rows of *the service* they
are those that it gave, at a budget of 1 % after the cooldown. *recall* is the share of the frauds among them,
*precision* the share of frauds in them, *ratio* that of group B's alert rate to the rate of all, with its
95 % interval, as `detector report bias` has it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml

from benchmarks.embedding.runs import seeds_of
from benchmarks.quality.inputs import Scores, read_scores
from benchmarks.quality.metrics import BoolArray, FloatArray, average_precision
from detector.config.load import load_mapping
from detector.demo import simulation
from detector.demo.simulation.cards import ATTRIBUTES
from detector.fairness.rates import rates
from detector.testing import MemoryLog
from detector.wiring.file_replay import Replay, replay

PRESET = Path(__file__).parents[2] / "configs" / "simulate.yaml"
TELLING = "segment"  # the constant field by which customers are of group B
IRREGULAR_SHARE, IRREGULAR_SPREAD = 0.1, 1.0
WARM_UP, BUDGET = 0.1, 0.01
KEPT_OUT: Mapping[str, tuple[str, ...]] = {
    "without the field that tells the group": (TELLING,),
    "without all constant fields": tuple(ATTRIBUTES),
    "without the amount": ("amount",),
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Written:
    """A stream in a file, and what is known of its n events."""

    events: Path
    frauds: BoolArray
    in_b: BoolArray
    cards: np.ndarray[Any, np.dtype[np.int64]]


def written(folder: Path, seed: int, count: int) -> Written:
    """Write the stream of a seed."""
    traffic = simulation.traffic("cards", seed=seed, events=count, attributes=len(ATTRIBUTES))
    rng, path = np.random.default_rng(seed), folder / "events.jsonl"
    frauds, groups, cards = set[str](), list[bool](), list[int]()
    with path.open("wb") as file:
        for day in traffic.days:
            frauds |= {str(row[0]) for row in traffic.label_rows(day)}
            for event in traffic.to_events(day):
                is_b = str(event[TELLING]).endswith(" 0")
                if is_b and str(event["event_id"]) not in frauds and rng.random() < IRREGULAR_SHARE:
                    factor = float(np.exp(rng.normal(0.0, IRREGULAR_SPREAD)))
                    event["amount"] = round(float(str(event["amount"])) * factor, 2)
                event["group"] = "B" if is_b else "A"
                groups.append(is_b)
                cards.append(int(str(event["card"])[1:]))
                file.write(msgspec.json.encode(event) + b"\n")
    fraudulent = np.array([str(number) in frauds for number in range(len(groups))])
    return Written(events=path, frauds=fraudulent, in_b=np.array(groups), cards=np.array(cards))


def config(kept_out: tuple[str, ...], per_segment: str | None = None) -> Mapping[str, Any]:
    """The preset with constant fields and the group; `kept_out`: fields that no model sees."""
    stated = yaml.safe_load(PRESET.read_text(encoding="utf-8"))
    fields = stated["event"]["fields"]
    for name, values in ATTRIBUTES.items():
        fields.append({"name": name, "path": name, "type": "categorical" if values else "numeric"})
    for field in fields:
        if field["name"] in kept_out:
            field["use"] = "context"
    fields.append({"name": "group", "path": "group", "type": "categorical", "use": "segment"})
    if "amount" in kept_out:
        del stated["event"]["exposure"]
    return {**stated, "alerts": {"budget": {"share": BUDGET, "per_segment": per_segment}}}


def scores_of(stream: Written, stated: Mapping[str, Any], folder: Path) -> Scores:
    """Scores and alerts by a configuration."""
    scores = folder / "scores.csv"
    plan = Replay(events=stream.events, scores=scores)
    replay(load_mapping(stated, "mitigation"), {}, plan, MemoryLog(), lambda _: None)
    return read_scores(scores)


def highest(score: FloatArray, where: BoolArray) -> BoolArray:
    """The budget's share of the events that are asked for: those with the highest scores."""
    alert = np.zeros(len(score), bool)
    ranked = np.flatnonzero(where)[np.argsort(-score[where], kind="stable")]
    alert[ranked[: round(BUDGET * len(ranked))]] = True
    return alert


def show(seed: int, what: str, stream: Written, scores: Scores, alerts: str = "highest") -> None:
    """Print a row. Alerts: the `highest` scores, the highest of each group `apart`, or `given` ones."""
    judged = slice(int(WARM_UP * len(scores.score)), None)
    frauds, in_b, score = stream.frauds[judged], stream.in_b[judged], scores.score[judged]
    groups = (in_b, ~in_b) if alerts == "apart" else (np.ones(len(score), bool),)
    alert = np.any([highest(score, group) for group in groups], axis=0)
    alert = scores.alert[judged] if alerts == "given" else alert
    compared = rates(["A", "B"], in_b.astype(np.int64), stream.cards[judged], alert)
    [b] = [rate for rate in compared if rate.group == "B"]
    found = average_precision(frauds, score), alert[frauds].mean(), frauds[alert].mean()
    figures = " | ".join([*(f"{figure:.3f}" for figure in found), f"{alert.sum()}"])
    print(f"| {seed} | {what} | {figures} | {b.ratio:.2f} ({b.low:.2f} to {b.high:.2f}) |", flush=True)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, default=seeds_of("0-2"))
    parser.add_argument("--events", type=int, default=150_000)
    parser.add_argument("--kept-out", action="store_true", help="also without fields")
    options = parser.parse_args()
    print("| seed | configuration | AP | recall | precision | alerts | ratio of B |")
    print("|---|---|---|---|---|---|---|")
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            stream = written(folder, seed, options.events)
            whole = scores_of(stream, config(()), folder)
            show(seed, "as it is", stream, whole)
            show(seed, "the highest of each group", stream, whole, "apart")
            show(seed, "the service", stream, whole, "given")
            shared = scores_of(stream, config((), "group"), folder)
            show(seed, "the service, a budget per segment", stream, shared, "given")
            for what, names in KEPT_OUT.items() if options.kept_out else ():
                show(seed, what, stream, scores_of(stream, config(names), folder))


if __name__ == "__main__":
    main()
