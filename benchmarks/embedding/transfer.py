"""Whether a model that begins with another stream's encoder is better than one that begins with nothing.

    python -m benchmarks.embedding.transfer --pairs fields,units,sparse --seeds 7-9
    python -m benchmarks.embedding.transfer --pairs handbook --folder FOLDER --seeds 0-2

Pairs, another population of customers each time:

    fields     simulated cards without country, city and place -> cards with all fields
    units      simulated cards -> the same fields, amounts x 100
    attributes simulated cards with 8 fields that are constant per customer -> cards without them
    sparse     the Handbook's simulator, which has an amount only -> simulated cards
    handbook   simulated cards -> a stretch of the Handbook's own stream, from day 30 * seed on
    banks      one model of several simulated banks, one after another -> cards of another kind of bank

Starts:

    cold       with nothing
    again      with nothing, and another seed of the model: what is below cold by chance
    whole      units, core, clusters and calibration, too; only where the fields are the same
    fine-tuned weights of the encoder, by field; they are trained on
    frozen     the same, but only weights of new fields are trained. What adapts each field to the new stream
               is its bins, which are quantiles of it
    gains      frozen, with a trained factor in front of each unit of the input layer
    adapter    frozen, with a trained linear map in front of the hidden layer. That layer's weights have full
               rank, so each map is another matrix in their place: that one is trained, and nothing behind it

AP of the first day and of the first week, without labels, from the first event on; events without a score
count as 0. A row is the mean over seeds, with how often the start was below cold, and the mean gain over cold
with its standard error.
"""

from __future__ import annotations

import argparse
import gzip
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from statistics import mean, stdev
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
import yaml
from threadpoolctl import threadpool_limits

from benchmarks.embedding.runs import seeds_of, through
from benchmarks.quality.inputs import InputError, read_labels
from benchmarks.quality.metrics import average_precision
from benchmarks.speed.common import IDENTITY, show
from detector.config.load import load_mapping
from detector.config.tree import ModelPart
from detector.core.model.encoder import PlainLearner
from detector.core.recovery.checkpoint import encode, read_manifest, read_state
from detector.core.recovery.journal import Journal
from detector.core.shard.partition import Partition
from detector.core.shard.transfer import weights
from detector.core.shard.warm_start import Model, differences, export_model, first_checkpoint, read_model
from detector.demo import simulation

CONFIGS = Path(__file__).parents[2] / "configs"
LEARNED_DAYS, WEEK = 14, 7
QUIET_DAYS = 14  # of simulated cards: frauds begin after a week
PLACES = ("country", "city", "place")
FACTOR = 100.0
CUSTOMERS_EVERY = 4  # of the Handbook's are taken, so that all streams are about as long
STARTS = ("cold", "again", "whole", "fine-tuned", "frozen", "gains", "adapter")


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Events in order, as lines, and which of them are frauds."""

    config: ModelPart
    lines: Sequence[bytes]
    days: Sequence[int]  # of each, from 0 on
    frauds: np.ndarray[Any, np.dtype[np.bool_]]


Made = Callable[[int, Path | None], Traffic]


def config_of(name: str, change: Callable[[dict[str, Any]], None] = lambda event: None) -> ModelPart:
    """A preset, with a change to its section `event`."""
    tree = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    change(tree["event"])
    return load_mapping(tree).model_part(1)


def without(names: Sequence[str]) -> Callable[[dict[str, Any]], None]:
    """Drop fields."""

    def change(event: dict[str, Any]) -> None:
        event["fields"] = [field for field in event["fields"] if field["name"] not in names]

    return change


def constants(event: dict[str, Any]) -> None:
    """Add the fields that are constant per customer."""
    for name, values in simulation.cards.ATTRIBUTES.items():
        event["fields"].append({"name": name, "path": name, "type": "categorical" if values else "numeric"})


def as_cards(event: dict[str, Any]) -> None:
    """Call the Handbook's entities as those of cards."""
    for entity, name in zip(event["entities"], ("card", "merchant"), strict=True):
        entity["name"] = name


def simulated(
    preset: str, config: ModelPart, seed: int, days: int, *, skip: int = 0, factor: float = 1.0, **more: Any
) -> Traffic:
    """Simulated traffic, without its first days."""
    made = simulation.traffic(preset, seed=seed, days=skip + days, **more)
    id_name, amount = config.event.id or "", config.event.exposure or ""
    path = next(field.path for field in config.event.fields if field.name == amount)
    lines, numbers, frauds = [], [], []
    for number, day in enumerate(islice(made.days, skip, None)):
        known = {str(row[0]) for row in made.label_rows(day)}
        for event in made.to_events(day):
            value = event[path]
            assert isinstance(value, float)
            lines.append(msgspec.json.encode({**event, path: value * factor}))
            numbers.append(number)
            frauds.append(str(event[id_name]) in known)
    return Traffic(config=config, lines=lines, days=numbers, frauds=np.array(frauds))


def cards(config: ModelPart, seed: int, days: int = WEEK, **more: Any) -> Traffic:
    """Simulated cards, from the day on when all patterns of fraud are there."""
    return simulated("cards", config, seed, days, skip=QUIET_DAYS, **{"customers": 1500, **more})


def of_handbook(seed: int, folder: Path | None) -> Traffic:
    """A week of the Handbook's stream, of some customers."""
    if folder is None:
        raise InputError("handbook: name its folder with --folder")
    config = config_of("handbook", as_cards)
    labels = read_labels(folder / "handbook.frauds.csv.gz").kind
    lines, days, frauds = [], [], []
    first: int | None = None
    with gzip.open(folder / "handbook.jsonl.gz") as file:
        for line in file:
            event = msgspec.json.decode(line)
            day = int(np.datetime64(event["TX_DATETIME"][:10], "D").astype(int))
            first = day if first is None else first
            since = day - first - 30 * seed
            if since >= WEEK:
                break
            if since >= 0 and int(event["CUSTOMER_ID"]) % CUSTOMERS_EVERY == 0:
                lines.append(line.rstrip())
                days.append(since)
                frauds.append(labels.get(event["TRANSACTION_ID"], 0) > 0)
    return Traffic(config=config, lines=lines, days=days, frauds=np.array(frauds))


SIMULATE, FEWER = config_of("simulate"), config_of("simulate", without(PLACES))
HANDBOOK = config_of("handbook", as_cards)
CONSTANT = config_of("simulate", constants)


def source_of(pair: str, seed: int) -> Sequence[Traffic]:
    """What the other model learns from."""
    other = seed + 1000
    match pair:
        case "fields":
            return [cards(FEWER, other, LEARNED_DAYS)]
        case "units" | "handbook":
            return [cards(SIMULATE, other, LEARNED_DAYS)]
        case "attributes":
            return [cards(CONSTANT, other, LEARNED_DAYS, attributes=8)]
        case "sparse":
            return [simulated("handbook", HANDBOOK, other, LEARNED_DAYS, customers=1500)]
        case "banks":
            sizes = (400, 600, 900, 1300)
            return [
                cards(
                    SIMULATE,
                    other + n,
                    4,
                    customers=size,
                    factor=4.0**n,
                    start_time=1_735_689_600 + n * 604_800,
                )
                for n, size in enumerate(sizes)
            ]
    raise InputError(f"{pair}: no such pair")


def target_of(pair: str, seed: int, folder: Path | None) -> Traffic:
    """The stream that is new."""
    match pair:
        case "handbook":
            return of_handbook(seed, folder)
        case "units":
            return cards(SIMULATE, seed, factor=FACTOR)
        case "banks":
            return cards(SIMULATE, seed, factor=0.1)
    return cards(SIMULATE, seed)


def opened(config: ModelPart, model: Model | None) -> Partition:
    """A new partition."""
    bare = Partition.begin(config, 0)
    if model is None:
        return Partition(IDENTITY, config, bare, until=0)
    name, manifest_bytes, state = encode(first_checkpoint(model, config, IDENTITY, bare))
    manifest = read_manifest(manifest_bytes)
    journal = Journal(checkpoint=name, position=0, config=bare.config, sides=bare.sides)
    restored = manifest, read_state(manifest, state)
    return Partition(IDENTITY, config, journal, until=0, configs={bare.config: config}, restored=restored)


def model_of(sources: Sequence[Traffic]) -> Model:
    """What is learned from some streams, one after another."""
    partition = opened(sources[0].config, None)
    for source in sources:
        through(source.lines, partition)
    while partition.state is None:
        barrier = partition.due({}, aged=True)
        assert barrier is not None
        partition.barrier(barrier, {})
    _, manifest_bytes, state = encode(partition.snapshot())
    manifest = read_manifest(manifest_bytes)
    return read_model(export_model(manifest, read_state(manifest, state)))


@contextmanager
def frozen(model: Model, wanted: ModelPart, start: str) -> Iterator[None]:
    """Undo what each step changes in weights that were taken, but for what the start trains."""
    there = model.population["learner"]["weights"]
    marked = weights(
        model.config,
        {name: np.ones_like(weight) for name, weight in there.items()},
        wanted,
        {name: np.zeros_like(weight) for name, weight in fresh_of(wanted).items()},
    )
    if start == "adapter":
        marked["hidden"][:] = 0.0
    learn_each = PlainLearner.learn_each

    def learn(self: PlainLearner, inputs: Any, hashes: Any, real: Any, weight: Any) -> Any:
        losses = []
        for n in range(len(inputs)):
            before = {name: own.copy() for name, own in self.weights.items()}
            one = slice(n, n + 1)
            losses.append(
                learn_each(self, inputs[one], type(hashes)(*(of[one] for of in hashes)), real, weight[one])
            )
            if start == "gains":
                was, now = before["hidden"], self.weights["hidden"]
                squares = np.maximum((was * was).sum(axis=1, keepdims=True), np.float32(1e-12))
                before["hidden"] = was * ((was * now).sum(axis=1, keepdims=True) / squares)
            for name, own in self.weights.items():
                own[marked[name] > 0.0] = before[name][marked[name] > 0.0]
            self._update_sums()
        return np.concatenate(losses) if losses else np.zeros(0)

    with patch.object(PlainLearner, "learn_each", learn):
        yield


@cache
def fresh_of(wanted: ModelPart) -> Mapping[str, Any]:
    """Weights that a new model begins with."""
    return opened(wanted, None)._shard._learning._trainer.learner.weights


def scores_of(start: str, traffic: Traffic, model: Model) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """Scores of the new stream; None: there is no such start."""
    wanted = traffic.config
    if start == "cold":
        return through(traffic.lines, opened(wanted, None))
    if start == "again":
        other = wanted.model.model_copy(update={"seed": wanted.model.seed + 1})
        return through(traffic.lines, opened(wanted.model_copy(update={"model": other}), None))
    if start == "whole":
        return None if differences(model, wanted) else through(traffic.lines, opened(wanted, model))
    model = replace(model, encoder_only=True)
    with nullcontext() if start == "fine-tuned" else frozen(model, wanted, start):
        return through(traffic.lines, opened(wanted, model))


def gain(gains: Sequence[float]) -> str:
    """Mean and standard error."""
    error = stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan
    return f"{mean(gains):+.3f} ± {error:.3f}"


def rows(pair: str, seeds: Sequence[int], folder: Path | None, starts: Sequence[str]) -> Iterator[list[str]]:
    """A row for each start: AP of the first day and of the first week."""
    found: dict[str, list[tuple[float, float]]] = {start: [] for start in starts}
    for seed in seeds:
        model, target = model_of(source_of(pair, seed)), target_of(pair, seed, folder)
        first = np.array(target.days) == 0
        for start in starts:
            scores = scores_of(start, target, model)
            if scores is not None:
                figures = [average_precision(target.frauds[of], scores[of]) for of in (first, slice(None))]
                found[start].append((figures[0], figures[1]))
                print(
                    f"{pair} {seed} {start}: {figures[0]:.3f} {figures[1]:.3f}", file=sys.stderr, flush=True
                )
    for start, each in found.items():
        if each:
            means = [mean(of) for of in zip(*each, strict=True)]
            below = [sum(a[n] < b[n] for a, b in zip(each, found["cold"], strict=True)) for n in range(2)]
            yield [
                pair,
                start,
                *(f"{figure:.3f}" for figure in means),
                *(f"{count} of {len(each)}" for count in below),
                *(gain([a[n] - b[n] for a, b in zip(each, found["cold"], strict=True)]) for n in range(2)),
            ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("--pairs", default="fields,units,sparse")
    made.add_argument("--seeds", default="7-9", help="FIRST-LAST")
    made.add_argument("--starts", default=",".join(STARTS), help="cold is always one of them")
    made.add_argument("--folder", type=Path, help="holds handbook.jsonl.gz and handbook.frauds.csv.gz")
    options = made.parse_args(arguments)
    starts = [start for start in STARTS if start == "cold" or start in options.starts.split(",")]
    header = ["pair", "start", "AP day", "AP week", "below cold, day", "week", "gain, day", "week"]
    with threadpool_limits(1):
        for pair in options.pairs.split(","):
            body = list(rows(pair, seeds_of(options.seeds), options.folder, starts))
            show(f"a new stream that begins with another one's model: {pair}", header, body)


if __name__ == "__main__":
    main()
