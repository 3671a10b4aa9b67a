"""Whole partitions on the Handbook's stream: what the service itself would say."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.speed.common import configuration, drive, make_barrier, opened, read_back, records
from detector.core.records import Record
from detector.core.recovery.checkpoint import encode
from detector.core.shard.partition import Partition

Event = dict[str, Any]
Change = Callable[[list[Event], np.random.Generator], None]
DAY_EVENTS = 9_600


def events(path: Path) -> Iterator[Event]:
    """The Handbook's events, in order."""
    with gzip.open(path) as file:
        yield from map(msgspec.json.decode, file)


def prices(made: list[Event], rng: np.random.Generator) -> None:
    """All amounts double."""
    for event in made:
        event["TX_AMOUNT"] *= 2.0


def night(made: list[Event], rng: np.random.Generator) -> None:
    """Six events of ten move to between 0 and 6 o'clock of their day."""
    for event in made:
        if rng.random() < 0.6:
            second = int(rng.integers(6 * 3600))
            clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
            event["TX_DATETIME"] = f"{event['TX_DATETIME'][:11]}{clock}Z"
    made.sort(key=lambda event: event["TX_DATETIME"])


def customers(made: list[Event], rng: np.random.Generator) -> None:
    """Half of the events come from customers that were never seen."""
    for event in made:
        if rng.random() < 0.5:
            event["CUSTOMER_ID"] = f"new {event['TRANSACTION_ID']}"


CHANGES: dict[str, Change] = {"prices": prices, "night": night, "customers": customers}


def log_of(made: Sequence[Event], first: int) -> list[Record]:
    """Events as records from offset `first` on."""
    return records(((str(e["CUSTOMER_ID"]).encode(), msgspec.json.encode(e)) for e in made), first)


def run(partition: Partition, log: Sequence[Record]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Sentences at each barrier where they change; events so far."""
    said: tuple[str, ...] = ()
    for start in range(0, len(log), 2048):
        for _ in drive(partition, log[start : start + 2048]):
            pass
        found = partition.drift
        now = () if found is None else found.sentences
        if len(now) != len(said):
            yield start + 2048, now
        said = now


def main(path: Path, quiet_days: int, changed_days: int) -> None:
    """Run the quiet days, then each change from there."""
    rng, config = np.random.default_rng(0), configuration()
    source = events(path)
    partition = opened(config)
    log = log_of(list(islice(source, quiet_days * DAY_EVENTS // 8192 * 8192)), 0)
    for at, said in run(partition, log):
        print(f"quiet, day {at / DAY_EVENTS:.1f}: {'; '.join(said) or 'over'}", flush=True)
    found = partition.drift
    assert found is not None
    for name, one in found.fields.items():
        print(f"quiet, at the end: {name} psi {one.psi:.4f}, limit {one.threshold:.3f}", flush=True)
    print(
        f"quiet: {found.new_shares} {found.embedding} {found.labels} scores {found.score_changes}", flush=True
    )
    position = partition.position
    if partition._shard.pending:
        raise SystemExit("the quiet days do not end at a block's end")
    make_barrier(partition)
    checkpoint = encode(partition.snapshot())
    rest = list(islice(source, changed_days * DAY_EVENTS))
    for name, change in CHANGES.items():
        other = read_back(*checkpoint, config)
        made = [dict(event) for event in rest]
        change(made, rng)
        for at, said in run(other, log_of(made, position)):
            print(f"{name}, after {at} events: {'; '.join(said) or 'over'}", flush=True)
