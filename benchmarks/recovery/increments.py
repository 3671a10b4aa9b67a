"""Bytes that checkpoints write, and how long one takes to write and to read back.

    python -m benchmarks.recovery.increments --rate 200
    python -m benchmarks.recovery.increments --rate 2000 --checkpoints 8

One partition of the Handbook's stream with the default configuration and labels: each fraud is reported some
thousand events later. After `--fill` events a checkpoint is written at the first barrier after every
`checkpoints.interval` at `--rate` events/s, into a local folder, and pruned as after a commit. What each of
them writes is compared with its whole state. Read back is what a restore reads, into the tree of arrays.
Seconds are CPU time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from itertools import islice

import msgspec
from threadpoolctl import threadpool_limits

from benchmarks.speed.common import IDENTITY, about, clock_s, configuration, show
from detector.core.records import Record
from detector.core.recovery.generations import expired, folders, read_checkpoint, write
from detector.core.recovery.sides import SideRange
from detector.core.shard.partition import Partition
from detector.core.state import pack
from detector.demo.simulation.handbook import SimulationConfig, label_rows, simulate, to_events
from detector.shell.store import FsspecStore

POLL = 2048
REPORTED_AFTER = 60_000  # events


class Lived:
    """A partition, its log and its labels."""

    def __init__(self, customers: int) -> None:
        self.config = configuration(["topics.feedback=feedback"])
        wanted = self.config.model_part(partitions=1)
        self.partition = Partition(IDENTITY, wanted, Partition.begin(wanted, 0, {"feedback": 0}), until=0)
        self._labels: list[tuple[int, bytes]] = []  # offset from which it is visible, and value
        self._visible = 0
        self._log = self._records(customers)
        self._backlog: list[Record] = []

    def _records(self, customers: int) -> Iterator[Record]:
        offset = 0
        for day in simulate(SimulationConfig(seed=7, customers=customers)):
            frauds = {event_id for event_id, _, _ in label_rows(day)}
            for event in to_events(day):
                if event["TRANSACTION_ID"] in frauds:
                    label = {
                        "time": event["TX_DATETIME"],
                        "label": "fraud",
                        "event_id": event["TRANSACTION_ID"],
                    }
                    self._labels.append((offset + REPORTED_AFTER, msgspec.json.encode(label)))
                key = str(event["CUSTOMER_ID"]).encode()
                yield Record(offset, 0, key, msgspec.json.encode(event))
                offset += 1

    def go(self, until: int) -> None:
        """Process to the first barrier from this offset on."""
        while True:
            if len(self._backlog) < POLL:
                self._backlog += islice(self._log, POLL)
            step = self.partition.take(self._backlog)
            self._backlog = self._backlog[step.consumed :]
            here = self.partition.position
            while self._visible < len(self._labels) and self._labels[self._visible][0] <= here:
                self._visible += 1
            if not step.block_ended:
                continue
            barrier = self.partition.due({"feedback": SideRange(0, self._visible)})
            if barrier is None:
                continue
            start, stop = barrier.sides.get("feedback", SideRange(0, 0))
            applied = [(position, self._labels[position][1]) for position in range(start, stop)]
            self.partition.barrier(barrier, {"feedback": applied})
            if here >= until:
                return
            name = self.partition.journal.checkpoint
            if name or len(self.partition.journal.barriers) > 100:  # nobody asks for the chain before
                self.partition.rebase(name, here)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rate", type=int, default=200, help="events/s of the partition")
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--fill", type=int, default=500_000, help="events before the first checkpoint")
    parser.add_argument("--checkpoints", type=int, default=17)
    arguments = parser.parse_args()
    with threadpool_limits(1), tempfile.TemporaryDirectory(prefix="detector-increments-") as folder:
        _measure(arguments, FsspecStore(f"file://{folder}"))


def _measure(arguments: argparse.Namespace, store: FsspecStore) -> None:
    lived = Lived(arguments.customers)
    partition, settings = lived.partition, lived.config.checkpoints
    rows, written, wholes, events, began = [], 0, 0, 0, 0
    lived.go(arguments.fill)
    for number in range(arguments.checkpoints):
        if number:
            lived.go(partition.position + int(arguments.rate * settings.interval))
        snapshot = partition.snapshot()
        sizes: list[int] = []

        def put(name: str, data: bytes, sizes: list[int] = sizes) -> None:
            store.put(name, data)
            sizes.append(len(data))

        before_s = clock_s()
        name = write(snapshot, put, store.get)
        write_s = clock_s() - before_s
        partition.rebase(name, snapshot.position)
        names = [found for prefix in folders(0) for found in store.list(prefix)]
        for old in expired(names, partition.journal, store.get, keep=settings.keep):
            store.delete(old)
        before_s, wall = clock_s(), time.monotonic()
        manifest, _ = read_checkpoint(name, store.get)
        read_s, wall = clock_s() - before_s, time.monotonic() - wall
        whole = len(pack(snapshot.state))
        if number:
            written, wholes = written + sum(sizes), wholes + whole + 2 * sizes[-1]
            events += snapshot.position - began
        began = snapshot.position
        total = sum(layer.bytes for layer in manifest.all_layers)
        kept = sum(len(store.get(found)) for prefix in folders(0) for found in store.list(prefix))
        rows.append(
            [
                f"{snapshot.position:,}",
                str(manifest.number),
                *(f"{size / 1e6:.1f}" for size in (whole, sum(sizes), total, kept)),
                f"{write_s:.2f}",
                f"{read_s:.2f}",
            ]
        )
        print(" ".join(rows[-1]), flush=True)
    print(about())
    show(
        f"{arguments.rate} events/s, {arguments.customers:,} customers; MB and CPU seconds",
        ["at event", "number", "whole", "written", "read back", "kept", "write s", "read s"],
        rows,
    )
    seconds = events / arguments.rate
    print(
        f"\nper checkpoint: {written / 1e6 / (arguments.checkpoints - 1):.1f} MB of "
        f"{wholes / 1e6 / (arguments.checkpoints - 1):.1f}, {written / wholes:.2f} of it; "
        f"{written / 1e6 / seconds:.2f} MB/s of {wholes / 1e6 / seconds:.2f}"
    )


if __name__ == "__main__":
    main()
