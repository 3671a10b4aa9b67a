"""Streams to measure on, and what is known about their events.

A stream is named by a text:

    cards:7            card traffic with habits and patterns of fraud, seed 7; cards:7-11: five seeds
    cards+8:7          the same with 8 fields that are constant per customer
    simulate:7         card traffic with the Handbook's three kinds of fraud
    NAME               NAME.jsonl.gz of the folder, in its order
    NAME@5             the same in 5 orders: as given, and shuffled 4 times; the times are not shuffled
    NAME:week          the Fraud Detection Handbook's published test week of that stream

The folder holds NAME.jsonl.gz, one JSON object a line in event order, and NAME.labels.csv.gz or
NAME.frauds.csv.gz, the anomalous events by id (see `benchmarks.quality.inputs`). The configuration is
NAME.yaml of the folder; else the preset of configs/ that reads every field of the first events; else what
`detector init-config` infers.

Rules
    - Files that are made (simulated, shuffled, inferred) lie in a scratch folder that is deleted after the
      run.
    - Detectors never see labels: events have none, and facts are for the judge only.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml

from benchmarks.quality.inputs import InputError, Labels, read_labels
from benchmarks.quality.metrics import FloatArray, IntArray
from detector.config.infer import infer, render
from detector.config.load import load
from detector.config.tree import Config
from detector.core.events import BlockReader, Events, Parser, Rejected
from detector.core.records import Record
from detector.demo import simulation
from detector.demo.simulation.cards import ATTRIBUTES
from detector.errors import ConfigError
from detector.wiring.common import entity_key

PRESETS = Path(__file__).parents[2] / "configs"
LABELS = ("labels", "frauds")
BLOCK = 256  # events handled together
PRESET_SAMPLE = 200  # events that a preset must read to be chosen
ORDERS_MAX = 100
_PRESETS = {"cards": "cards", "simulate": "handbook"}
SIMULATED = tuple(_PRESETS)
# Incidents are counted at this budget; alerts change no score.
_DEFAULTS = {"cards": ("alerts.budget.share=0.01",)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One stream to be made."""

    name: str  # runs of the same name are averaged
    source: str  # one of SIMULATED, or the name in the folder
    number: int = 0  # seed, or order
    week: bool = False
    attributes: int = 0  # fields that are constant per customer

    @property
    def instance(self) -> str:
        """Which of the streams of this name."""
        return f"{'seed' if self.source in SIMULATED else 'order'} {self.number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """A stream that is there."""

    plan: Plan
    events: Path
    labels: Labels
    config: Config
    config_from: str  # where the configuration comes from


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Facts:
    """What the judge knows of the accepted events, in order, n of them."""

    ids: list[str]
    time: FloatArray  # (n,) s since the epoch
    kind: IntArray  # (n,) 0 normal
    incident: IntArray | None = (
        None  # (n,) number of the incident, -1: none; None: the labels name no incidents
    )
    kinds: dict[int, str] = field(default_factory=dict)  # name of each kind
    card: IntArray | None  # (n,) the main entity, numbered; None: the stream has no entities
    amount: FloatArray | None  # (n,) at stake

    @classmethod
    def of(
        cls,
        ids: list[str],
        time: FloatArray,
        labels: Labels,
        *,
        card: IntArray | None = None,
        amount: FloatArray | None = None,
    ) -> Facts:
        """Look up the labels of n events.

        Raises
        ------
        InputError
            No labelled event is among the events.
        """
        kind = np.array([labels.kind.get(event_id, 0) for event_id in ids], dtype=np.int64)
        if not kind.any():
            raise InputError("none of the labelled events is in the stream")
        number = {name: place for place, name in enumerate(dict.fromkeys(labels.incident.values()))}
        incident = np.array([number.get(labels.incident.get(event_id, ""), -1) for event_id in ids])
        return cls(
            ids=ids,
            time=time,
            kind=kind,
            incident=incident if labels.incident else None,
            kinds=labels.name,
            card=card,
            amount=amount,
        )


def parse_plans(text: str) -> list[Plan]:
    """Read the name of a stream, which may stand for several.

    Raises
    ------
    InputError
        It is none.
    """
    if found := re.fullmatch(r"(cards(?:\+[1-8])?|simulate):(\d+)(?:-(\d+))?", text):
        first, last = int(found[2]), int(found[3] or found[2])
        if not first <= last < first + ORDERS_MAX:
            raise InputError(f"{text}: at most {ORDERS_MAX} seeds, the lower one first")
        source, _, attributes = found[1].partition("+")
        plan = Plan(name=found[1], source=source, attributes=int(attributes or 0))
        return [replace(plan, number=seed) for seed in range(first, last + 1)]
    if found := re.fullmatch(r"([\w.-]+):week", text):
        return [Plan(name=text, source=found[1], week=True)]
    if found := re.fullmatch(r"([\w.-]+)(?:@(\d+))?", text):
        orders = int(found[2] or 1)
        if not 1 <= orders <= ORDERS_MAX:
            raise InputError(f"{text}: 1 to {ORDERS_MAX} orders")
        return [Plan(name=found[1], source=found[1], number=order) for order in range(orders)]
    forms = "cards[+N]:SEED[-SEED], simulate:SEED[-SEED], NAME, NAME@ORDERS or NAME:week"
    raise InputError(f"{text}: not a stream; give {forms}")


def make(
    plan: Plan,
    folder: Path | None,
    scratch: Path,
    *,
    days: int | None = 30,
    events_max: int | None = None,
    overrides: Sequence[str] = (),
) -> Stream:
    """Make a stream, or find it.

    Parameters
    ----------
    folder
        Where streams that are not simulated lie.
    scratch
        For files that are made.
    days
        Length of simulated streams; None: only `events_max` limits it.
    events_max
        Take only the first so many events.
    overrides
        Settings like ``model.seed=1`` over the stream's configuration.

    Raises
    ------
    InputError
        There is no such stream, or it cannot be read.
    """
    if plan.source in SIMULATED:
        events, labels = _simulate(scratch, plan, days, events_max)
    else:
        events, labels = _find(folder, plan.source)
        if events_max is not None:
            events = _cut(events, scratch, events_max)
    try:
        if plan.attributes:
            path, words = _with_attributes(plan.attributes, scratch), "preset simulate and attributes"
        else:
            own = None if folder is None else folder / f"{plan.source}.yaml"
            path, words = _config(events, own, scratch)
        config = load(path, [*_DEFAULTS.get(plan.source, ()), *overrides])
    except ConfigError as error:
        raise InputError(f"{plan.name}: {error}") from None
    if plan.source not in SIMULATED and plan.number > 0:
        events = _shuffle(events, scratch, plan.number, config.event.time.path)
    return Stream(plan=plan, events=events, labels=labels, config=config, config_from=words)


def blocks(stream: Stream) -> Iterator[Events]:
    """Yield the accepted events in order, `BLOCK` at a time."""
    reader = BlockReader(stream.config.event, entity_key(None))
    with gzip.open(stream.events) as file:
        records = (Record(n, 0, None, line.rstrip(b"\r\n")) for n, line in enumerate(file))
        accepted = (record for record in records if not isinstance(reader.parser.parse(record), Rejected))
        while block := list(islice(accepted, BLOCK)):
            yield reader.read(block)[0]


class FactsBuilder:
    """Collects facts block by block."""

    def __init__(self, stream: Stream) -> None:
        self._labels = stream.labels
        schema = stream.config.event
        numerics = [f.name for f in schema.fields if f.use == "encode" and f.type == "numeric"]
        self._amount = numerics.index(schema.exposure) if schema.exposure in numerics else None
        self._entities = bool(schema.entities)
        self._ids: list[str] = []
        self._times: list[float] = []
        self._cards: list[int] = []
        self._amounts: list[float] = []

    def add(self, events: Events) -> None:
        """Take one block."""
        self._ids += events.ids
        self._times += events.times.tolist()
        if self._entities:
            self._cards += events.entities[:, 0].tolist()
        if self._amount is not None:
            self._amounts += events.numerics[:, self._amount].tolist()

    def build(self) -> Facts:
        """Return what was collected.

        Raises
        ------
        InputError
            No labelled event is among the events.
        """
        card = None
        if self._entities:
            keys = np.array(self._cards, dtype=np.uint64)
            card = np.unique(keys, return_inverse=True)[1].astype(np.int64)
            missing = np.flatnonzero(keys == 0)
            card[missing] = len(keys) + np.arange(len(missing))  # each its own
        return Facts.of(
            self._ids,
            np.array(self._times),
            self._labels,
            card=card,
            amount=np.nan_to_num(np.array(self._amounts)) if self._amount is not None else None,
        )


# --- leaves ----------------------------------------------------------------------------------------------


def _simulate(scratch: Path, plan: Plan, days: int | None, events_max: int | None) -> tuple[Path, Labels]:
    path = scratch / "simulated.jsonl.gz"
    labels = scratch / "simulated.labels.csv"
    preset = {"cards": "cards", "simulate": "handbook"}[plan.source]
    traffic = simulation.traffic(
        preset, seed=plan.number, days=days, events=events_max, attributes=plan.attributes or None
    )
    with gzip.open(path, "wb", compresslevel=1) as events, labels.open("wb") as rows:
        simulation.write(traffic, events, rows)
    return path, read_labels(labels)


def _with_attributes(count: int, scratch: Path) -> Path:
    stated = yaml.safe_load((PRESETS / "simulate.yaml").read_text(encoding="utf-8"))
    for name, values in list(ATTRIBUTES.items())[:count]:
        kind = "categorical" if values else "numeric"
        stated["event"]["fields"].append({"name": name, "path": name, "type": kind})
    path = scratch / "attributes.yaml"
    path.write_bytes(msgspec.json.encode(stated))  # JSON is YAML
    return path


def _find(folder: Path | None, name: str) -> tuple[Path, Labels]:
    if folder is None:
        raise InputError(f"{name}: name its folder with --folder")
    events = folder / f"{name}.jsonl.gz"
    found = [path for word in LABELS if (path := folder / f"{name}.{word}.csv.gz").is_file()]
    if not events.is_file() or not found:
        there = sorted(path.name.removesuffix(".jsonl.gz") for path in folder.glob("*.jsonl.gz"))
        raise InputError(f"{name}: no {events.name} with labels in {folder}; there are: {', '.join(there)}")
    return events, read_labels(found[0])


def _cut(events: Path, scratch: Path, events_max: int) -> Path:
    path = scratch / "first.jsonl.gz"
    with gzip.open(events) as source, gzip.open(path, "wb", compresslevel=1) as target:
        target.writelines(islice(source, events_max))
    return path


def _shuffle(events: Path, scratch: Path, order: int, time_path: str) -> Path:
    """Put the events in another order, each with the time of the place that it comes to. Held in memory."""
    with gzip.open(events) as file:
        rows: list[dict[str, Any]] = [msgspec.json.decode(line) for line in file]
    *parents, leaf = time_path.split(".")

    def holder(row: dict[str, Any]) -> dict[str, Any]:
        for name in parents:
            row = row[name]
        return row

    times = [holder(row)[leaf] for row in rows]
    path = scratch / "shuffled.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as target:
        for time, index in zip(times, np.random.default_rng(order).permutation(len(rows)), strict=True):
            holder(rows[index])[leaf] = time
            target.write(msgspec.json.encode(rows[index]) + b"\n")
    return path


def _config(events: Path, own: Path | None, scratch: Path) -> tuple[Path, str]:
    """Return the stream's configuration and in words where it comes from."""
    if own is not None and own.is_file():
        return own, own.name
    with gzip.open(events) as file:
        sample = list(islice(file, PRESET_SAMPLE))
    if not sample:
        raise InputError(f"{events.name} is empty")
    for preset in sorted(PRESETS.glob("*.yaml")):
        if _reads(load(preset), sample):
            return preset, f"preset {preset.stem}"
    path = scratch / "inferred.yaml"
    with gzip.open(events) as file:
        path.write_text(render(infer(file)))
    return path, "inferred"


def _reads(config: Config, sample: list[bytes]) -> bool:
    """Whether a configuration reads all events of a sample and leaves none of their fields out."""
    schema = config.event
    known = {schema.id, schema.time.path}
    known |= {path for part in (*schema.entities, *schema.fields) for path in part.path.split(", ")}
    parser = Parser(schema, entity_key(None))
    return all(
        set(_leaves(msgspec.json.decode(line))) <= known
        and not isinstance(parser.parse(Record(0, 0, None, line)), Rejected)
        for line in sample
    )


def _leaves(event: Any, prefix: str = "") -> Iterator[str]:
    if not isinstance(event, dict):
        yield prefix
        return
    for name, value in event.items():
        yield from _leaves(value, f"{prefix}.{name}" if prefix else name)
