"""What leaves the process, and how much it gives away: inversion and membership, for each output.

    python -m benchmarks.embedding.privacy --streams simulate:7,cards:7 --events 16000

A model learns from a stream without labels.

    inversion    how well each field is read back from what an output says of an event
                 (`benchmarks.embedding.readers`); *linked*: AUC of telling that two events are of one card
    membership   AUC of telling an event in the core, or a card, from one that was accepted at about the same
                 time and is not in it: by its distance to what an output shows of normal events
    clusters     what is shown of clusters that few entities share
    left out     how far figures of the report move when one card is left out of the core

The baseline is a view of random numbers. Alerts are made with half of all events as the budget, so that there
are enough: the other half of the events has none. Vectors as float16 and int8 are those of
`benchmarks.embedding.search`. Noise is Gaussian; its size is a share of the vectors' spread.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.embedding.readers import (
    SEED,
    category_read,
    flattened,
    linked,
    number_read,
)
from benchmarks.embedding.runs import first_lines, value_at
from benchmarks.embedding.search import halved, quantised
from benchmarks.quality.streams import Stream, make, parse_plans
from benchmarks.speed.common import IDENTITY, drive, make_barrier, show
from detector.config.tree import Config
from detector.core.features import DAY_S, Rows
from detector.core.model.clusters import ENTITIES_SHOWN_MIN, Core
from detector.core.model.index import Exact
from detector.core.model.projection import principal
from detector.core.model.quality_of_space import area
from detector.core.records import Record
from detector.core.shard.embedded import Embedded
from detector.core.shard.embedding_map import DIGITS, usual_ranges
from detector.core.shard.embedding_report import embedding_report
from detector.core.shard.partition import Partition

READ = 8000  # events that are read back
WARM = 1 / 3  # of the events, before them
NOISES = (0.1, 0.3, 1.0)
CARDS = 12  # left out of the core, one after the other
MEMBERS_MAX = 4000
NAMES = ("alert_id", "case_id", "event_id", "entity", "entities", "source", "related", "context", "model")
BUDGET = {"budget": {"share": 0.5, "per_day": None}, "cooldown": 1e-3}
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Learned:
    """A model after a stream, and what it said of it."""

    partition: Partition
    lines: Sequence[bytes]
    scores: Floats  # (n,) by offset; NaN: none
    alerts: Mapping[int, Mapping[str, Any]]  # bodies by offset
    accepted: Rows  # all events that were accepted as normal

    @property
    def embedded(self) -> Embedded:
        return self.partition.embedded

    def rescored(self, rows: Rows) -> Floats:
        """Scores of rows as they would be now."""
        return np.asarray(self.partition._shard._scorer.score_rows(rows))


def learned(config: Config, lines: Sequence[bytes], alerts: Mapping[str, Any]) -> Learned:
    """Learn from the lines; `alerts`: settings of that section."""
    wanted = config.model_part(1).model_copy(update={"feedback": True})
    wanted = type(wanted).model_validate(
        {**wanted.model_dump(), "alerts": {**wanted.alerts.model_dump(), **alerts}}
    )
    partition = Partition(IDENTITY, wanted, Partition.begin(wanted, 0), until=0)
    scores, bodies, pieces = np.full(len(lines), np.nan), {}, []
    learn = Core.learn

    def noted(core: Core, rows: Rows, accepted: NDArray[np.int64], rng: np.random.Generator) -> None:
        pieces.append(rows.take(accepted))
        learn(core, rows, accepted, rng)

    with patch.object(Core, "learn", noted):
        for outputs in drive(partition, [Record(n, 0, None, line) for n, line in enumerate(lines)]):
            for scored in outputs.scored:
                scores[scored.offsets] = scored.scores
            for alert in outputs.alerts:
                body = msgspec.json.decode(alert.body)
                bodies[body["source"]["offset"]] = body
        make_barrier(partition)
    return Learned(
        partition=partition, lines=lines, scores=scores, alerts=bodies, accepted=Rows.joined(pieces)
    )


# --- vectors ---------------------------------------------------------------------------------------------


def stored(vectors: NDArray[np.float32], spread: float) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Vectors as they may be stored, and with noise."""
    yield "float32", vectors
    yield "float16", halved(vectors)[0]
    yield "int8", quantised(vectors)[0]
    for noise in NOISES:
        rng = np.random.default_rng(SEED)
        yield (
            f"noise {noise:g}",
            vectors + np.float32(noise * spread) * rng.standard_normal(vectors.shape, dtype=np.float32),
        )


def spread_of(vectors: NDArray[np.float32]) -> float:
    """Root mean square deviation of a dimension."""
    return float(np.sqrt(vectors.var(axis=0).mean()))


# --- inversion -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Truth:
    """What is true of some events."""

    offsets: NDArray[np.int64]
    entities: NDArray[np.uint64]
    numbers: Mapping[str, Floats]
    categories: Mapping[str, Sequence[Any]]

    def read(self, view: Floats, some: NDArray[np.int64]) -> list[str]:
        """How well each field of these events is read from a view of them (n, J): linear / trees."""
        view = np.asarray(view, dtype=np.float64)
        train = self.entities[some] % np.uint64(2) == 0
        if not self.entities.any():
            train = np.arange(len(some)) % 2 == 0
        cells = [number_read(view, values[some], train) for values in self.numbers.values()]
        cells += [
            category_read(view, [values[n] for n in some], train) for values in self.categories.values()
        ]
        link = linked(view[~train], self.entities[some][~train]) if self.entities.any() else np.nan
        return [*(f"{one:.2f} / {other:.2f}" for one, other in cells), f"{link:.2f}"]

    @property
    def head(self) -> list[str]:
        return [*self.numbers, *self.categories, "linked"]


def truth_of(config: Config, model: Learned) -> tuple[Truth, NDArray[np.int64]]:
    """The truth of evenly spread remembered events, and their numbers in the buffer."""
    embedded = model.embedded
    held = embedded.buffer.stored()
    held = held[embedded.buffer.column("offsets", held) >= WARM * len(model.lines)]
    held = held[:: -(-len(held) // READ) or 1]
    offsets = embedded.buffer.column("offsets", held)
    events = [msgspec.json.decode(model.lines[offset]) for offset in offsets.tolist()]
    fields = [field for field in config.event.fields if field.use == "encode"]
    numbers: dict[str, Floats] = {}
    for field in fields:
        if field.type == "numeric":
            values = np.array([float(value_at(event, field.path) or np.nan) for event in events])
            numbers[field.name] = np.arcsinh(values / max(float(np.nanquantile(np.abs(values), 0.95)), 1e-12))
    if config.event.entities:
        angle = 2.0 * np.pi * embedded.buffer.column("times", held) / DAY_S
        numbers["time of day"] = np.cos(angle)
    keys = embedded.buffer.column("keys", held)
    return (
        Truth(
            offsets=offsets,
            entities=keys[:, 0] if config.event.entities else np.zeros(len(held), dtype=np.uint64),
            numbers=numbers,
            categories={
                field.name: [value_at(event, field.path) for event in events]
                for field in fields
                if field.type == "categorical"
            },
        ),
        held,
    )


def inversion(stream: Stream, lines: Sequence[bytes], model: Learned) -> None:
    """Print how well fields are read back."""
    truth, held = truth_of(stream.config, model)
    embedded = model.embedded
    vectors = embedded.embed(embedded.buffer.examples(held))
    clusters = embedded.space.clusters
    every = np.arange(len(held))
    rng = np.random.default_rng(SEED)
    views: list[tuple[str, Floats, NDArray[np.int64]]] = [
        ("random numbers (baseline)", rng.standard_normal((len(held), 4)), every),
        ("metrics: offset", truth.offsets[:, None].astype(np.float64), every),
        ("scores topic: score", model.scores[truth.offsets][:, None], every),
        (
            "map: place",
            np.round(principal(clusters.centres, clusters.sizes).place(vectors), DIGITS),
            every,
        ),
        (
            "similar: distances to clusters",
            embedded.space.nearest.search(vectors, 4)[1].astype(np.float64),
            every,
        ),
    ]
    for name, settings, hidden in ALERTS:
        said = (
            model
            if settings is None and not hidden
            else learned(
                without_echo(stream.config) if hidden else stream.config,
                lines,
                {**BUDGET, **(settings or {})},
            )
        )
        there = np.flatnonzero([offset in said.alerts for offset in truth.offsets.tolist()])
        bodies = [said.alerts[int(truth.offsets[n])] for n in there]
        told = [{key: value for key, value in body.items() if key not in NAMES} for body in bodies]
        views.append((name, flattened(told), there))
    views += [
        (f"vector, {name}", each.astype(np.float64), every)
        for name, each in stored(vectors, spread_of(vectors))
    ]
    wide = embedded.buffer.examples(held).inputs.astype(np.float64)
    views.append(("checkpoint: inputs", wide, every))
    rows = [[name, f"{len(some):,}", *truth.read(view, some)] for name, view, some in views]
    show(f"{stream.plan.name}: fields read back, linear / trees", ("", "events", *truth.head), rows)


ALERTS: tuple[tuple[str, Mapping[str, Any] | None, bool], ...] = (
    ("alert", None, False),
    ("alert, echo: coordinates", {"echo": "coordinates"}, False),
    ("alert, all fields echo: false", None, True),
)


def without_echo(config: Config) -> Config:
    """A configuration whose alerts show no field."""
    fields = tuple(field.model_copy(update={"echo": False}) for field in config.event.fields)
    return config.model_copy(update={"event": config.event.model_copy(update={"fields": fields})})


# --- membership ------------------------------------------------------------------------------------------


def _named(rows: Rows) -> NDArray[np.void]:
    pair = np.stack(
        [rows.times.view(np.uint64), rows.main(), rows.numerics[:, 0].copy().view(np.uint64)], axis=1
    )
    return np.ascontiguousarray(pair).view([("", np.uint64)] * 3).ravel()


def matched(model: Learned) -> tuple[Rows, NDArray[np.bool_]]:
    """Accepted events in the core, each with the next one that is not, and which are in it."""
    inside = np.isin(_named(model.accepted), _named(model.embedded.core.filled()))
    outside = np.flatnonzero(~inside)
    members = np.flatnonzero(inside)
    following = np.searchsorted(outside, members)
    members = members[following < len(outside)]
    others, first = np.unique(outside[following[following < len(outside)]], return_index=True)
    members = members[first][:: -(-len(first) // MEMBERS_MAX) or 1]
    others = others[:: -(-len(first) // MEMBERS_MAX) or 1]
    rows = Rows.joined([model.accepted.take(members), model.accepted.take(others)])
    return rows, np.arange(len(rows)) < len(members)


def outside_ranges(embedded: Embedded, rows: Rows, nearest: NDArray[np.int64]) -> Floats:
    """How far each event lies beyond the usual values of the nearest cluster that has any told (n,)."""
    far = np.full(len(rows), np.nan)
    people = embedded.space.exemplars.people
    for cluster in np.unique(nearest):
        own = np.flatnonzero(nearest == cluster)
        if people[cluster] >= ENTITIES_SHOWN_MIN:
            low, high = embedded.space.exemplars.ends(int(cluster))
            values = rows.numerics[own]
            far[own] = np.nan_to_num(np.maximum(np.maximum(low - values, values - high), 0.0)).sum(axis=1)
    return far


def membership(stream: Stream, model: Learned) -> None:
    """Print whether events and cards of the core are told."""
    embedded = model.embedded
    rows, member = matched(model)
    points = embedded.embed_rows(rows)
    space, core = embedded.space, embedded.core.filled()
    known = embedded.embed_rows(core)
    plane = principal(space.clusters.centres, space.clusters.sizes)
    circles = np.round(plane.place(space.clusters.centres), DIGITS).astype(np.float32)
    places = np.round(plane.place(points), DIGITS).astype(np.float32)
    nearest, distances = space.nearest.search(points, 1)
    rng = np.random.default_rng(SEED)
    seen: list[tuple[str, Floats]] = [
        ("random numbers (baseline)", rng.standard_normal(len(rows))),
        ("scores topic: the event sent again", model.rescored(rows)),
        ("alert: distance to the nearest cluster", distances[:, 0]),
        ("alert: beyond the usual values told", outside_ranges(embedded, rows, nearest[:, 0])),
        ("map: distance to the nearest circle", Exact(circles).search(places, 1)[1][:, 0]),
    ]
    spread = spread_of(known)
    for name, centres in stored(space.clusters.centres, spread):
        seen.append((f"centres, {name}", Exact(centres).search(points, 1)[1][:, 0]))
    for name, vectors in stored(known, spread):
        seen.append((f"vectors of the core, {name}", Exact(vectors).search(points, 1)[1][:, 0]))
    cards = cards_of(rows, member, model)
    table = []
    for name, far in seen:
        there = np.isfinite(far)
        by_card = "" if cards is None else f"{cards.told(far):.2f}"
        table.append([name, f"{area(-far[there], member[there]):.2f}", by_card])
    title = f"{stream.plan.name}: {int(member.sum()):,} events in the core, as many not"
    show(title, ("", "event, AUC", "card, AUC"), table)


def cards_of(rows: Rows, member: NDArray[np.bool_], model: Learned) -> Cards | None:
    """Cards with events that are not in the core: what is known of a card does not rest on the very event
    that is in it. None: the stream has no cards."""
    main, accepted = rows.main(), model.accepted.main()
    if not main.any():
        return None
    names, place = np.unique(main[~member], return_inverse=True)
    known, counts = np.unique(accepted, return_counts=True)
    return Cards(
        event=np.flatnonzero(~member),
        card=place,
        inside=np.isin(names, model.embedded.core.filled().main()),
        events=counts[np.searchsorted(known, names)],
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cards:
    """Cards (c), by events (m) of each."""

    event: NDArray[np.int64]  # (m,)
    card: NDArray[np.int64]  # (m,)
    inside: NDArray[np.bool_]  # (c,) whether the card is in the core
    events: NDArray[np.int64]  # (c,) accepted ones, ever: cards with as many are compared

    def told(self, far: Floats) -> float:
        """AUC of the mean distance of a card's events, among cards with as many events."""
        known = np.isfinite(far[self.event])
        sums = np.bincount(self.card[known], far[self.event][known], minlength=len(self.inside))
        counts = np.bincount(self.card[known], minlength=len(self.inside))
        won = pairs = 0.0
        for events in np.unique(self.events):
            own = np.flatnonzero((self.events == events) & (counts > 0))
            inside = int(self.inside[own].sum())
            if 0 < inside < len(own):
                weight = inside * (len(own) - inside)
                won += weight * area(-sums[own] / counts[own], self.inside[own])
                pairs += weight
        return won / pairs if pairs else np.nan


# --- clusters --------------------------------------------------------------------------------------------


def clusters_told(stream: Stream, embedded: Embedded) -> None:
    """Print what is told of clusters, and whether it is one event's or one entity's."""
    exemplars, core = embedded.space.exemplars, embedded.core
    cluster, rows = core.cluster[: len(core)].astype(np.int64), core.filled()
    few, most, ends, single = 0, [], 0, 0
    alone = 0
    for number, people in enumerate(exemplars.people.tolist()):
        own = rows.take(np.flatnonzero(cluster == number))
        if people < ENTITIES_SHOWN_MIN:
            few += 1
            alone += people == 1
            continue
        main = own.main()
        most.append(
            float(np.unique(main, return_counts=True)[1].max()) / len(own) if main.any() else 1 / len(own)
        )
        values = embedded.units.restore(own.numerics)
        for column, (_, pair) in enumerate(usual_ranges(embedded, number).items()):
            for end in pair:
                ends += 1
                single += int((np.abs(values[:, column] - end) <= 1e-6 * abs(end)).sum() == 1)
    shown = len(most)
    cells = [
        stream.plan.name,
        str(few + shown),
        str(few),
        str(alone),
        f"{single} of {ends}",
        f"{np.median(most):.2f}" if most else "",
        f"{max(most):.2f}" if most else "",
    ]
    head = ("", "clusters", "below 10 entities", "of one", "ends that are one event's value")
    show("Usual values of clusters", (*head, "of the largest entity, median", "most"), [cells])


# --- the report ------------------------------------------------------------------------------------------


def left_out(stream: Stream, embedded: Embedded) -> None:
    """Print how far the report's figures move when one card is left out, or as many events of other cards."""
    core = embedded.core
    main = core.filled().main()
    if not main.any():
        return
    rng = np.random.default_rng(SEED)
    names, counts = np.unique(main[main != 0], return_counts=True)
    chosen = names[np.argsort(-counts, kind="stable")[:CARDS]]
    rows, clusters = core.filled().copy(), core.cluster[: len(core)].copy()

    def moved(without: NDArray[np.bool_]) -> float:
        core.keep(np.flatnonzero(~without))
        after = embedding_report(embedded).intrinsic
        core.restart(rows)
        core.cluster[: len(rows)] = clusters
        return max(abs(after[name] - value) for name, value in before.items() if np.isfinite(value))

    before = embedding_report(embedded).intrinsic
    cards = [moved(main == name) for name in chosen]
    others = [
        moved(np.isin(np.arange(len(main)), rng.choice(len(main), int((main == name).sum()), replace=False)))
        for name in chosen
    ]
    title = "Largest change of a figure of the report without some events of the core"
    cells = [
        stream.plan.name,
        str(int(counts.max())),
        *(f"{np.median(each):.3f} ({max(each):.3f})" for each in (cards, others)),
    ]
    head = ("", "events of a card, most", "a card, median (most)", "as many other events (baseline)")
    show(title, head, [cells])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("--streams", default="simulate:7,cards:7", help="see benchmarks.quality.streams")
    made.add_argument("--folder", type=Path, help="holds NAME.jsonl.gz")
    made.add_argument("--events", type=int, default=16_000, help="of each stream")
    options = made.parse_args(arguments)
    with threadpool_limits(1), TemporaryDirectory() as scratch:
        for plan in [plan for text in options.streams.split(",") for plan in parse_plans(text)]:
            stream = make(plan, options.folder, Path(scratch), events_max=options.events)
            lines = first_lines(stream, options.events)
            model = learned(stream.config, lines, BUDGET)
            inversion(stream, lines, model)
            membership(stream, model)
            clusters_told(stream, model.embedded)
            left_out(stream, model.embedded)


if __name__ == "__main__":
    main()
