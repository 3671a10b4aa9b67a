"""Resident memory after millions of events, against what the formula expects.

    python -m benchmarks.soak.memory --stream cards --events 5000000

Runs the partitions of one process without Kafka. Snapshots are taken, packed and dropped as the service does.
Prints at every tenth the resident memory, what `check-config --keys` would expect of this stream, and the
ratio. Exit code 1 if the last ratio is beyond 1 +- `ALLOWED`. Linux only (/proc). Streams:

    cards    2 entities, 1 numeric, as the Fraud Handbook has; 2 partitions, 50,000 cards
    wide     8 entities and 20 numerics; 1 partition, 200,000 cards
    texts    2 entities, 3 numerics, 8 categories, 4 texts, with labels; 2 partitions, 100,000 cards
    many     as cards, but each event is of a card that was never seen
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import detector.wiring.daemon  # noqa: F401  what a service has loaded
from benchmarks.control_group import ControlGroup
from detector.config.tree import Config
from detector.config.tree.base import to_bytes
from detector.core.records import Identity, Record
from detector.core.recovery.checkpoint import encode
from detector.core.recovery.sides import Side, SideRange, SideRecords
from detector.core.shard.expected import Seen
from detector.core.shard.partition import Partition
from detector.shell.heap import give_back, keep_large_apart
from detector.wiring.compiling import compile_for, watching_compilation
from detector.wiring.memory import expected, needed, size

ALLOWED = 0.15
BATCH = 2048
STEPS = 10
START_S = 1_600_000_000
BARRIERS_PER_CHECKPOINT = 16
LABEL_EVERY, LABEL_AFTER = 200, 1_000  # events
CATEGORIES = 200  # different values of each category


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """What events look like, and how many keys there are in a process."""

    entities: int
    numerics: int
    categories: int = 0
    texts: int = 0
    labels: bool = False
    partitions: int
    cards: int | None  # of the main entity; None: each event has a new one
    others: int  # of each other entity

    def config(self, memory: str) -> Config:
        """The configuration of such a stream."""
        kinds = {"numeric": self.numerics, "categorical": self.categories, "text": self.texts}
        fields = [
            {"name": f"{kind}{number}", "path": f"{kind}{number}", "type": kind}
            for kind, count in kinds.items()
            for number in range(count)
        ]
        entities = [{"name": f"entity{number}", "path": f"entity{number}"} for number in range(self.entities)]
        event = {
            "id": "id",
            "time": {"path": "time", "format": "epoch_s"},
            "entities": entities,
            "fields": fields,
            "exposure": "numeric0",
        }
        return Config.model_validate(
            {
                "event": event,
                "topics": {"feedback": "feedback"} if self.labels else {},
                "memory_bytes_max": memory,
                "memory_partitions_max": self.partitions,
            }
        )

    def seen(self, events: int) -> Seen:
        """What all partitions together have seen after so many events."""
        others = {f"entity{number}": self.others for number in range(1, self.entities)}
        categories = {f"categorical{number}": CATEGORIES for number in range(self.categories)}
        cards = events if self.cards is None else self.cards
        labels = events // LABEL_EVERY if self.labels else 0
        return Seen(events, {"entity0": cards, **others, **categories}, labels)

    def events(self, partition: int) -> Iterator[list[Record]]:
        """Batches of a partition's log."""
        rng = np.random.default_rng(partition)
        first = 0
        while True:
            cards = (
                np.arange(first, first + BATCH)
                if self.cards is None
                else rng.integers(0, self.cards // self.partitions, BATCH)
            )
            others = rng.integers(0, self.others, (BATCH, self.entities - 1)).tolist()
            numerics = np.round(rng.lognormal(3.0, 1.0, (BATCH, self.numerics)), 2).tolist()
            values = rng.integers(0, CATEGORIES, (BATCH, self.categories + self.texts)).tolist()
            yield [
                Record(first + i, 0, None, self._event(first + i, card, *parts))
                for i, (card, *parts) in enumerate(zip(cards.tolist(), others, numerics, values, strict=True))
            ]
            first += BATCH

    def _event(
        self, number: int, card: int, others: list[int], numerics: list[float], values: list[int]
    ) -> bytes:
        event: dict[str, Any] = {"id": str(number), "time": START_S + number, "entity0": f"card {card}"}
        event |= {f"entity{i}": f"key {key}" for i, key in enumerate(others, 1)}
        event |= {f"numeric{i}": value for i, value in enumerate(numerics)}
        event |= {f"categorical{i}": f"value {value}" for i, value in enumerate(values[: self.categories])}
        texts = values[self.categories :]
        event |= {
            f"text{i}": f"a payment to shop {value} of {number % 9973}" for i, value in enumerate(texts)
        }
        return msgspec.json.encode(event)


STREAMS = {
    "cards": Stream(entities=2, numerics=1, partitions=2, cards=50_000, others=5_000),
    "wide": Stream(entities=8, numerics=20, partitions=1, cards=200_000, others=20_000),
    "texts": Stream(
        entities=2, numerics=3, categories=8, texts=4, labels=True, partitions=2, cards=100_000, others=5_000
    ),
    "many": Stream(entities=2, numerics=1, partitions=2, cards=None, others=100_000),
}


class Member:
    """A partition, its log, and the snapshot that a service holds of it."""

    def __init__(self, stream: Stream, config: Config, number: int) -> None:
        identity = Identity(topic="t", group="g", partition=number, entity_key=b"k" * 32)
        part = config.model_part(stream.partitions)
        self._partition = Partition(identity, part, Partition.begin(part, 0), until=0)
        self._labels, self._feedback = stream.labels, list[bytes]()
        self._log = stream.events(number)
        self._barriers, self._held = 0, None

    def feed(self) -> None:
        """Process a batch."""
        records = next(self._log)
        self._answer(records)
        while records:
            step = self._partition.take(records)
            records = records[step.consumed :]
            available: dict[Side, SideRange] = {"feedback": SideRange(0, len(self._feedback))}
            barrier = self._partition.due(available) if step.block_ended else None
            if barrier is not None:
                found = {side: self._read(at) for side, at in barrier.sides.items()}
                self._partition.barrier(barrier, found)
                self._checkpoint()

    def _answer(self, records: list[Record]) -> None:
        for record in records if self._labels else ():
            number = record.offset - LABEL_AFTER
            if number >= 0 and number % LABEL_EVERY == 0:
                said = "fraud" if number % (2 * LABEL_EVERY) else "legitimate"
                label = {
                    "event_id": str(number),
                    "label": said,
                    "time": START_S + record.offset,
                    "actor": "a",
                }
                self._feedback.append(msgspec.json.encode(label))

    def _read(self, at: SideRange) -> SideRecords:
        return [(place, self._feedback[place]) for place in range(at.start, at.stop)]

    def _checkpoint(self) -> None:
        """Hold the newest barrier's snapshot; now and then write it."""
        self._held = self._partition.snapshot()
        self._barriers += 1
        if self._barriers % BARRIERS_PER_CHECKPOINT == 0:
            name, _, _ = encode(self._held)
            self._partition.rebase(name, self._held.position)
            give_back()


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--stream", choices=STREAMS, default="cards")
    parser.add_argument("--memory", default="4GiB", help="memory_bytes_max")
    parser.add_argument("--limit", help="limit of a control group to run in, e.g. 2GiB; none: no group")
    parser.add_argument("--events", type=int, default=5_000_000, help="of all partitions together")
    arguments = parser.parse_args()
    if arguments.limit is not None:
        return _limited(to_bytes(arguments.limit))
    stream = STREAMS[arguments.stream]
    config = stream.config(arguments.memory)
    compiled = list[bool]()
    keep_large_apart()
    with watching_compilation(lambda: compiled.append(True)):
        compile_for(config)
    give_back()
    print(f"at most {size(needed(config).total)}; {size(_resident())} with kernels {compiled}", flush=True)
    members = [Member(stream, config, number) for number in range(stream.partitions)]
    ratio, done, cpu = 0.0, 0, time.process_time()
    for step in range(1, STEPS + 1):
        while done < arguments.events * step // STEPS:
            for member in members:
                member.feed()
                done += BATCH
        gc.collect()
        resident, wanted = _resident(), expected(config, stream.seen(done), compiled=bool(compiled))
        ratio = resident / wanted.total
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        spent_us = (time.process_time() - cpu) / done * 1e6
        print(
            f"{done:>12,} events  {resident / 2**20:7.0f} MiB  expected {wanted.total / 2**20:7.0f}  "
            f"x {ratio:.3f}; peak {peak / 2**20:.0f}, expected {wanted.writing / 2**20:.0f}  "
            f"({spent_us:.0f} us of CPU an event, load {os.getloadavg()[0]:.0f})",
            flush=True,
        )
    return 0 if abs(ratio - 1.0) <= ALLOWED else 1


def _limited(memory_bytes: int) -> int:
    """Run this command again in a control group with so much memory."""
    place = sys.argv.index("--limit")
    again = [sys.executable, "-m", "benchmarks.soak.memory", *sys.argv[1:place], *sys.argv[place + 2 :]]
    with ControlGroup(memory_bytes=memory_bytes) as group:
        process = subprocess.Popen(again)
        group.add(process.pid)
        code = process.wait()
        peak = f"{size(group.peak_bytes())} at most with the page cache"
        print(f"in a group of {size(memory_bytes)}: exit code {code}, {peak}, killed {group.killed()}")
    return code


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
