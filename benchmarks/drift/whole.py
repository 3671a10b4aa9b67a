"""Whole partitions on the Handbook's stream: what the service itself would say, and with which weight."""

from __future__ import annotations

import gzip
import zlib
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
PIECE = 2_048
OPTIONAL = ["event.fields.0.optional=true"]  # amounts


def events(path: Path) -> Iterator[Event]:
    """The Handbook's events, in order."""
    with gzip.open(path) as file:
        yield from map(msgspec.json.decode, file)


def prices(made: list[Event], rng: np.random.Generator) -> None:
    """All amounts double."""
    for event in made:
        event["TX_AMOUNT"] *= 2.0


def null(made: list[Event], rng: np.random.Generator) -> None:
    """The amount is missing."""
    for event in made:
        event["TX_AMOUNT"] = None


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


CHANGES: dict[str, Change] = {"prices": prices, "null": null, "night": night, "customers": customers}


def log_of(made: Sequence[Event], first: int) -> list[Record]:
    """Events as records from offset `first` on."""
    return records(((str(e["CUSTOMER_ID"]).encode(), msgspec.json.encode(e)) for e in made), first)


def run(partition: Partition, log: Sequence[Record]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Sentences at each barrier where they change; events so far."""
    said: tuple[str, ...] = ()
    for start in range(0, len(log), PIECE):
        for _ in drive(partition, log[start : start + PIECE]):
            pass
        found = partition.drift
        now = () if found is None else found.sentences
        if [one.split(" (")[0] for one in now] != [one.split(" (")[0] for one in said]:
            yield start + PIECE, now
        said = now


def main(path: Path, quiet_days: int, changed_days: int) -> None:
    """Run the quiet days, then each change from there."""
    rng, config = np.random.default_rng(0), configuration(OPTIONAL)
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
    while partition._shard.pending:  # up to the end of the block
        for _ in drive(partition, log_of([next(source)], partition.position)):
            pass
    position = partition.position
    make_barrier(partition)
    checkpoint = encode(partition.snapshot())
    rest = list(islice(source, changed_days * DAY_EVENTS))
    for name, change in CHANGES.items():
        other = read_back(*checkpoint, config)
        made = [dict(event) for event in rest]
        change(made, rng)
        for at, said in run(other, log_of(made, position)):
            print(f"{name}, after {at} events: {'; '.join(said) or 'over'}", flush=True)


def one_of_four(path: Path, quiet_days: int, changed_days: int) -> None:
    """Four partitions; in one of them amounts double. Each partition's sentences, and the sum of all bins."""
    config, made = (
        configuration(OPTIONAL),
        list(islice(events(path), (quiet_days + changed_days) * DAY_EVENTS)),
    )
    usual, current = np.zeros(13), np.zeros(13)
    for number in range(4):
        own = [event for event in made if zlib.crc32(str(event["CUSTOMER_ID"]).encode()) % 4 == number]
        first = quiet_days * DAY_EVENTS // 4
        if number == 2:
            prices(own[first:], np.random.default_rng(0))
        partition = opened(config)
        for at, said in run(partition, log_of(own, 0)):
            after = f"{at - first:+,} events of the change"
            print(f"partition {number}, {after}: {'; '.join(said) or 'over'}", flush=True)
        found = partition.drift
        assert found is not None
        amount = found.fields["amount"]
        print(f"partition {number}, at the end: psi {amount.psi:.3f}, limit {amount.threshold:.3f}")
        usual += amount.usual
        current += amount.current
    p, q = (current + 0.5) / (current + 0.5).sum(), (usual + 0.5) / (usual + 0.5).sum()
    print(f"sum of the bins of all four: psi {float(((p - q) * np.log(p / q)).sum()):.3f}")
