"""CPU time per event by size of the model.

    python -m benchmarks.speed.growth
    python -m benchmarks.speed.growth --only entities --rounds 9

Two tables. Their sizes are measured in turns, each in a process of its own:

clusters    1k to 64k of them over a core of 16 times as many events. The state is built directly: the core of
            a model that has learned from the stream, its rows repeated with amounts varied by a tenth, its
            clusters scattered by their radii. What an event costs between barriers is measured in it, with
            the widest search; then, up to `--barrier-clusters`, what the next barrier installs is made and
            installed (the share of both in an event is that of a barrier per half a core), and what an event
            costs with it, searched as wide as its recall asks.
entities    1k to 1M of them, half customers, half terminals, filled by events: each customer once, the model
            young at first, as barriers are made for the first ones only. Then customers come at random, each
            at one of four terminals. A barrier installs what was made before. Memory is what the arrays of
            their tables take for each (which double when they are half full, so it depends on the number),
            and by how much the process (RSS) is larger than that of the smallest size.

All times are CPU time. Checkpoint and restore are of the whole partition, in memory, without the store.
"""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.speed.common import (
    Event,
    about,
    clock_s,
    configuration,
    drive,
    make_barrier,
    opened,
    parser,
    progress,
    ratio,
    read_back,
    records,
    restored,
    rounds,
    show,
    transactions,
)
from detector.config.tree import Clusters, Config
from detector.core.features import Layout
from detector.core.features.profile_table import ProfileTable
from detector.core.model.clusters import EVENTS_PER_CLUSTER
from detector.core.records import Record
from detector.core.recovery.checkpoint import encode
from detector.core.shard.partition import Partition

T = TypeVar("T")

CLUSTERS = (1 << 10, 1 << 12, 1 << 14, 1 << 16)
ENTITIES = (1_000, 100_000, 1_000_000)
BASE_EVENTS = 32_768  # that the model has learned from before it is made larger
FILL_EVENTS_MIN = 66_560  # of every size: more than there are ids remembered against duplicates
BARRIER_EVENTS = 32_768  # of these, barriers come as usual; beyond them none
TERMINALS_EACH = 4
START_S = 1_522_540_800
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


# --- what is measured ------------------------------------------------------------------------------------


@dataclass(kw_only=True, slots=True)
class Subject:
    """A partition of some size, and the next events of its log."""

    config: Config
    partition: Partition
    events: Iterator[Event]

    def feed(self, count: int, *, barriers: bool = False) -> float:
        """Process this many events; returns us per event."""
        log = records(islice(self.events, count), self.partition.position)
        began_s = clock_s()
        for _ in drive(self.partition, log, barriers=barriers):
            pass
        return 1e6 * (clock_s() - began_s) / len(log)

    def prepare(self) -> float:
        """Prepare what the next barrier installs, as a background lane does; returns seconds."""
        learning, served = self.partition._shard._learning, self.partition._shard._scorer.served
        began_s = clock_s()
        learning._promotion = None
        learning._prepare(served)
        return clock_s() - began_s

    def barrier(self) -> float:
        """Make a real barrier; returns seconds."""
        began_s = clock_s()
        make_barrier(self.partition)
        return clock_s() - began_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpointed:
    """Costs of a checkpoint."""

    size_bytes: int
    written_s: float
    restored_s: float

    def cells(self) -> list[str]:
        """Cells of a table row."""
        return [f"{self.size_bytes / 1e6:,.1f} MB", f"{self.written_s:.2f} s", f"{self.restored_s:.2f} s"]


def checkpoint(subject: Subject) -> Checkpointed:
    """Make a checkpoint right after a barrier, and a partition from its bytes."""
    began_s = clock_s()
    name, manifest, state = encode(subject.partition.snapshot())
    written_s = clock_s()
    read_back(name, manifest, state, subject.config)
    return Checkpointed(
        size_bytes=len(manifest) + len(state),
        written_s=written_s - began_s,
        restored_s=clock_s() - written_s,
    )


# --- clusters --------------------------------------------------------------------------------------------


def with_clusters(options: argparse.Namespace, count: int, base_events: int = BASE_EVENTS) -> Subject:
    """A model of `count` clusters, built directly."""
    config = configuration(options.set)
    block = config.model.barriers.block_events
    events = transactions(options)
    base = opened(config)
    log: list[Record] = records(islice(events, base_events - base_events % block))
    for _ in drive(base, log):
        pass
    make_barrier(base)
    larger = _with_clusters(config, count)
    state = _scattered(base.snapshot().state, count, np.random.default_rng(0))
    return Subject(
        config=larger, partition=restored(replace(base.snapshot(), state=state), larger), events=events
    )


def _with_clusters(config: Config, count: int) -> Config:
    """May exceed the limits of the configuration, as copies are not checked."""
    core = EVENTS_PER_CLUSTER * count
    clusters = config.model.clusters.model_copy(
        update={"count_max": count, "core_events": core, "members_min": 1, "memory_events": 4 * core}
    )
    return config.model_copy(update={"model": config.model.model_copy(update={"clusters": clusters})})


def _scattered(state: Mapping[str, Any], count: int, rng: np.random.Generator) -> dict[str, Any]:
    """A state with `count` clusters, `EVENTS_PER_CLUSTER` core events for each."""
    core, served = state["core"], state["served"]
    learned = served["parts"]["learned"]
    clusters = learned["clusters"]
    size = EVENTS_PER_CLUSTER * count
    chosen = rng.integers(0, len(core["cluster"]), size)
    rows = {name: values[chosen] for name, values in core["rows"].items()}
    rows["numerics"] = rows["numerics"] * rng.normal(1.0, 0.1, rows["numerics"].shape)
    parent = rng.integers(0, len(clusters["centres"]), count)
    spread = clusters["radii"][parent] / np.sqrt(clusters["centres"].shape[1])
    step = rng.normal(size=(count, clusters["centres"].shape[1])) * spread[:, None]
    scattered = {
        **clusters,
        "centres": (clusters["centres"][parent] + step).astype(np.float32),
        "sizes": np.full(count, EVENTS_PER_CLUSTER, dtype=clusters["sizes"].dtype),
        "radii": clusters["radii"][parent],
    }
    members = np.arange(size) % count
    return {
        **state,
        "core": {**core, "rows": rows, "cluster": members.astype(core["cluster"].dtype)},
        "served": {
            **served,
            "parts": {**served["parts"], "learned": {**learned, "clusters": scattered}},
        },
    }


def show_clusters(options: argparse.Namespace, sizes: Sequence[int]) -> None:
    """Measure and print the table of clusters."""
    limit = max(bound.le for bound in Clusters.model_fields["core_events"].metadata if hasattr(bound, "le"))
    with ExitStack() as workers:
        subjects = {}
        for size in sizes:
            progress(f"{size:,} clusters")
            subjects[size] = workers.enter_context(Worker(with_clusters, options, size))
        steady = _in_turns(options, subjects)
        rows = []
        for size, subject in subjects.items():
            words = _barrier(options, subject, size) if size <= options.barrier_clusters else ["-"] * 7
            change = ratio(steady[size], steady[sizes[0]])
            rows.append([f"{size:,}", f"{median(steady[size]):.1f}", f"{change:.2f}", *words])
    show(
        f"clusters, state built directly; a real barrier up to {options.barrier_clusters:,}",
        [
            "clusters",
            "us/event",
            "ratio",
            "prepared",
            "installed",
            "us/event",
            "after it",
            "checkpoint",
            "made",
            "restored",
        ],
        rows,
    )
    if beyond := [size for size in sizes if EVENTS_PER_CLUSTER * size > limit]:
        named = ", ".join(f"{size:,}" for size in beyond)
        print(f"{named}: beyond what a configuration allows (core_events <= {limit:,})")


def _barrier(options: argparse.Namespace, subject: Worker, size: int) -> list[str]:
    """Make a barrier and a checkpoint of `size` clusters, and measure events after it; cells of a table."""
    progress(f"barrier and checkpoint of {size:,} clusters")
    prepared_s = subject.ask(Subject.prepare)
    barrier_s = subject.ask(Subject.barrier)
    taken = subject.ask(checkpoint)
    subject.ask(Subject.feed, options.events)
    after = median(subject.ask(Subject.feed, options.events) for _ in range(options.rounds))
    every = max(configuration(options.set).model.barriers.every_events, EVENTS_PER_CLUSTER * size // 2)
    per_event_us = 1e6 * (prepared_s + barrier_s) / every
    cells = [f"{prepared_s:.2f} s", f"{barrier_s:.2f} s", f"{per_event_us:,.1f}", f"{after:.1f}"]
    return [*cells, *taken.cells()]


# --- entities --------------------------------------------------------------------------------------------


def with_entities(options: argparse.Namespace, count: int, events_min: int = FILL_EVENTS_MIN) -> Subject:
    """A model that knows `count` entities; ends right after a barrier."""
    config = configuration(options.set)
    block = config.model.barriers.block_events
    subject = Subject(config=config, partition=opened(config), events=visits(count // 2))
    fed, filled = 0, -(-max(events_min, count // 2) // block) * block
    while fed < filled:
        piece = min(filled - fed, BARRIER_EVENTS)
        subject.feed(piece, barriers=not fed)
        fed += piece
    subject.barrier()
    return subject


def visits(customers: int, seed: int = 0) -> Iterator[Event]:
    """Each customer once, each at a terminal of its own, then customers at random, without end."""
    rng = np.random.default_rng(seed)
    means = rng.lognormal(3.0, 0.7, customers)
    everybody = rng.permutation(customers)
    yield from _visits(rng, everybody, everybody, means, 0)
    made = customers
    while True:
        who = rng.integers(0, customers, 4096)
        where = (who + rng.integers(0, TERMINALS_EACH, len(who))) % customers
        yield from _visits(rng, who, where, means, made)
        made += len(who)


def _visits(rng: np.random.Generator, who: Any, terminals: Any, means: Any, made: int) -> Iterator[Event]:
    amounts = np.round(means[who] * rng.lognormal(0.0, 0.4, len(who)), 2)
    rows = zip(who.tolist(), terminals.tolist(), amounts.tolist(), strict=True)
    for number, (customer, terminal, amount) in enumerate(rows, start=made):
        event = {
            "TRANSACTION_ID": str(number),
            "TX_DATETIME": datetime.fromtimestamp(START_S + number, UTC).isoformat(),
            "CUSTOMER_ID": str(customer),
            "TERMINAL_ID": str(terminal),
            "TX_AMOUNT": amount,
        }
        yield str(customer).encode(), msgspec.json.encode(event)


def resident_bytes(_: Subject) -> int:
    """Memory of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def tables(subject: Subject) -> dict[str, tuple[int, int]]:
    """Keys and bytes of each kind's table; ``+`` stands in the names of pairs."""
    event, features = subject.config.event, subject.config.model.features
    kinds = [kind.name for kind in Layout(event, features).kinds]
    found = [
        (len(owner), sum(array.nbytes for array in arrays))
        for owner, arrays in _holders(subject.partition, set())
        if isinstance(owner, ProfileTable)
    ]
    return dict(zip(kinds, found, strict=True))


def per_key(held: Mapping[str, tuple[int, int]], kinds: Iterable[str]) -> float:
    """Bytes per key of some kinds."""
    keys, size_bytes = zip(*(held[kind] for kind in kinds), strict=True)
    return float(sum(size_bytes) / sum(keys))


def _holders(thing: Any, seen: set[int]) -> Iterator[tuple[Any, list[np.ndarray[Any, Any]]]]:
    """Objects below `thing` that hold arrays, with these."""
    if id(thing) in seen or isinstance(thing, (str, bytes, type)):
        return
    seen.add(id(thing))
    inside: Iterable[Any] = ()
    if isinstance(thing, Mapping):
        inside = list(thing.values())
    elif isinstance(thing, (list, tuple)):
        inside = thing
    elif type(thing).__module__.startswith("detector."):
        inside = list(vars(thing).values()) if hasattr(thing, "__dict__") else ()
        if arrays := [value for value in inside if isinstance(value, np.ndarray)]:
            yield thing, arrays
    for value in inside:
        yield from _holders(value, seen)


def show_entities(options: argparse.Namespace, sizes: Sequence[int]) -> None:
    """Measure and print the table of entities."""
    with ExitStack() as workers:
        subjects, resident, held, taken = {}, {}, {}, {}
        for size in sizes:
            progress(f"{size:,} entities")
            subject = subjects[size] = workers.enter_context(Worker(with_entities, options, size))
            resident[size], held[size] = subject.ask(resident_bytes), subject.ask(tables)
            taken[size] = subject.ask(checkpoint)
        steady = _in_turns(options, subjects)
        barrier_s = {size: subject.ask(Subject.barrier) for size, subject in subjects.items()}
    smallest, rows = sizes[0], []
    entities = [entity.name for entity in configuration(options.set).event.entities]
    for size in sizes:
        more = size - smallest
        grown = f"{(resident[size] - resident[smallest]) / more:,.0f}" if more else "-"
        rows.append(
            [
                f"{size:,}",
                f"{median(steady[size]):.1f}",
                f"{ratio(steady[size], steady[smallest]):.2f}",
                f"{barrier_s[size]:.3f} s",
                f"{per_key(held[size], entities):,.0f} B",
                grown,
                *taken[size].cells(),
            ]
        )
    show(
        "entities; their tables, and by how much the process grew with entities, pairs and all",
        ["entities", "us/event", "ratio", "barrier", "per entity", "RSS B", "checkpoint", "made", "restored"],
        rows,
    )
    kinds = held[sizes[-1]].items()
    words = [f"{kind} {keys:,} at {size_bytes / keys:,.0f} B" for kind, (keys, size_bytes) in kinds]
    print(f"tables of {sizes[-1]:,}: {'; '.join(words)}")


# --- processes -------------------------------------------------------------------------------------------


class Worker:
    """A process that holds one subject and answers questions about it."""

    def __init__(self, build: Callable[..., Subject], *arguments: Any) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        self._pool.submit(_hold, build, arguments).result()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def ask(self, question: Callable[..., T], *arguments: Any) -> T:
        """Call `question` with the subject in the other process."""
        return self._pool.submit(_answer, question, arguments).result()


_held: list[Subject] = []


def _hold(build: Callable[..., Subject], arguments: Sequence[Any]) -> None:
    threadpool_limits(1)
    _held.append(build(*arguments))


def _answer(question: Callable[..., T], arguments: Sequence[Any]) -> T:
    return question(_held[0], *arguments)


def _in_turns(options: argparse.Namespace, subjects: Mapping[int, Worker]) -> dict[int, list[float]]:
    """us per event between barriers, by size and round; a first turn is not counted."""

    def measure(size: int) -> Callable[[], float]:
        return lambda: subjects[size].ask(Subject.feed, options.events)

    for subject in subjects.values():
        subject.ask(Subject.feed, options.events)
    found = rounds(options.rounds, {f"{size:,}": measure(size) for size in subjects})
    return {size: found[f"{size:,}"] for size in subjects}


def main() -> None:
    """Run the command."""
    made = parser(__doc__, events=8_192, rounds=5)
    made.add_argument("--only", choices=("clusters", "entities"), help="one of the two tables")
    made.add_argument("--barrier-clusters", type=int, default=1 << 16, help="the most for a real barrier")
    options = made.parse_args()
    clusters: Sequence[int] = CLUSTERS
    entities: Sequence[int] = ENTITIES
    if options.quick:
        clusters, entities, options.events, options.rounds = CLUSTERS[:2], ENTITIES[:2], 2_048, 1
    print(about())
    if options.only != "entities":
        show_clusters(options, clusters)
    if options.only != "clusters":
        show_entities(options, entities)


if __name__ == "__main__":
    main()
