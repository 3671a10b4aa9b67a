"""Resident memory with full tables, against the bound: every event is of a card that was never seen.

    python -m benchmarks.soak.memory --memory 1GiB --partitions 1 --events 5000000

Runs the partitions of one process without Kafka, checkpoints and labels. Prints at every tenth the resident
memory relative to `base + partitions x state`, see docs/explanation/memory.md. Exit code 1 if the last one is
above 1. Linux only (/proc). The events have the fields of the Fraud Handbook.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from detector.config.load import load
from detector.config.tree import PROCESS_BYTES
from detector.core.records import Identity, Record
from detector.core.shard.partition import Partition
from detector.core.shard.sizing import bytes_max, fitted, keys_of

BATCH = 2048
STEPS = 10
EPOCH_S = 1_600_000_000


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/handbook.yaml"))
    parser.add_argument("--memory", default="2GiB")
    parser.add_argument("--partitions", type=int, default=2)
    parser.add_argument("--events", type=int, default=5_000_000, help="of all partitions together")
    arguments = parser.parse_args()
    settings = (
        f"memory_bytes_max={arguments.memory}",
        f"memory_partitions_max={arguments.partitions}",
        "event.time.format=epoch_s",
    )
    part = load(arguments.config, settings, {}).model_part(arguments.partitions)
    sizes = bytes_max(part)
    bound = PROCESS_BYTES + arguments.partitions * sizes.state
    print(
        f"{keys_of(fitted(part))}; base + {arguments.partitions} x state: {bound / 2**20:.0f} MiB", flush=True
    )
    shards = [
        Partition(
            Identity(topic="t", group="g", partition=number, entity_key=b"k" * 32),
            part,
            Partition.begin(part, 0),
            until=0,
        )
        for number in range(arguments.partitions)
    ]
    each, share = arguments.events // arguments.partitions, 0.0
    for first in range(0, each, BATCH):
        for shard in shards:
            _feed(shard, first, min(first + BATCH, each))
        done = first + BATCH
        if done // (each // STEPS) > first // (each // STEPS):
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            share = resident / bound
            print(f"{done * len(shards):>12,} events  {resident / 2**20:8.1f} MiB  x {share:.3f}", flush=True)
    return 0 if 0.0 < share <= 1.0 else 1


def _feed(shard: Partition, first: int, stop: int) -> None:
    records = [
        Record(
            number,
            0,
            None,
            b'{"TRANSACTION_ID":"%d","TX_DATETIME":%d,"CUSTOMER_ID":"%d","TERMINAL_ID":"%d","TX_AMOUNT":%d.5}'
            % (number, EPOCH_S + number, number, number * 7, number % 97),
        )
        for number in range(first, stop)
    ]
    while records:
        step = shard.take(records)
        records = records[step.consumed :]
        if step.block_ended and (barrier := shard.due({})) is not None:
            shard.barrier(barrier, {})


if __name__ == "__main__":
    sys.exit(main())
