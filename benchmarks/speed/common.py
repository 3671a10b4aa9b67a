"""What the commands of this folder share: events, a partition without the world around it, rounds, tables.

Rules
    - Variants are measured in rounds, a b c d a b c d ..., so that other load of the machine affects all of
      them equally. A ratio is the median of the rounds' ratios.
    - Events are the Fraud Detection Handbook's, simulated from a seed or read from a folder, in their order.
    - One thread computes, as in the daemon.
    - Within one process CPU time is measured (`clock_s`), which other load hardly changes. What involves
      several processes is measured in wall-clock time.
"""

from __future__ import annotations

import argparse
import gzip
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, islice
from pathlib import Path
from statistics import median
from typing import TypeVar

import msgspec

from benchmarks.quality.inputs import InputError
from benchmarks.quality.streams import Plan, parse_plans
from detector.config.extras import DISTRIBUTION
from detector.config.load import load
from detector.config.tree import Config
from detector.core.records import Identity, Lap, Outputs, Record, no_lap
from detector.core.recovery.checkpoint import Snapshot, encode, read_manifest, read_state
from detector.core.recovery.journal import Barrier, Journal
from detector.core.shard.partition import Partition
from detector.demo.simulation.handbook import DAYS_MAX, SimulationConfig, simulate, to_events

CONFIG = Path(__file__).parents[2] / "configs" / "handbook.yaml"
IDENTITY = Identity(topic="transactions", group="benchmark", partition=0, entity_key=b"benchmark")
POLL_RECORDS = 2048  # records of one poll, by default
WARM_UP_SHARE = 0.25  # first events of a run, not measured: starts, compilation, a young model's barriers
PACKAGES = (DISTRIBUTION, "numpy", "numba", "hnswlib", "msgspec", "kafka-python", "river", "pysad")

Event = tuple[bytes, bytes]
"""Record key and JSON."""

T = TypeVar("T")

clock_s = time.process_time
"""CPU seconds of this process, all threads."""


# --- the command line ------------------------------------------------------------------------------------


def parser(description: str | None, *, events: int, rounds: int) -> argparse.ArgumentParser:
    """Options that all commands have, with this command's defaults."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("--events", type=int, default=events, help="events of one run")
    made.add_argument("--rounds", type=int, default=rounds, help="rounds; the median counts")
    made.add_argument("--stream", type=_plan, default="simulate:7", help="simulate:SEED, or NAME of --folder")
    made.add_argument("--folder", type=Path, help="holds NAME.jsonl.gz, events of the Handbook's form")
    made.add_argument("--set", action="append", default=[], help="setting of the service, KEY=VALUE")
    made.add_argument(
        "--quick", action="store_true", help="short run to check that it works; the figures mean nothing"
    )
    return made


def _plan(text: str) -> Plan:
    try:
        first, *more = parse_plans(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if more or first.week:
        raise argparse.ArgumentTypeError(f"{text}: one stream, in its own order")
    return first


def configuration(settings: Sequence[str] = ()) -> Config:
    """The preset for the Handbook's events, with settings like ``model.seed=1`` over it."""
    return load(CONFIG, settings)


def about(*more: str) -> str:
    """Describe in one line what was measured on: machine, versions, and further facts."""
    packages = [f"{name} {found}" for name in PACKAGES if (found := _version(name))]
    python = f"Python {platform.python_version()}"
    return "; ".join([f"{_cpu_name()}, {os.cpu_count()} CPUs, {platform.system()}", python, *packages, *more])


def _cpu_name() -> str:
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return f"{platform.machine()} {model}".strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# --- events ----------------------------------------------------------------------------------------------


def transactions(options: argparse.Namespace) -> Iterator[Event]:
    """Yield the events of `--stream` in order, to its end; a simulated one is practically endless."""
    plan: Plan = options.stream
    if plan.source == "simulate":
        days = simulate(SimulationConfig(seed=plan.number, days=DAYS_MAX))
        for event in chain.from_iterable(map(to_events, days)):
            yield str(event["CUSTOMER_ID"]).encode(), msgspec.json.encode(event)
        return
    if options.folder is None:
        raise SystemExit(f"{plan.source}: name its folder with --folder")
    with gzip.open(options.folder / f"{plan.source}.jsonl.gz") as file:
        for line in file:
            yield str(msgspec.json.decode(line)["CUSTOMER_ID"]).encode(), line.rstrip()


def records(events: Iterable[Event], first: int = 0) -> list[Record]:
    """Events as records of one partition's log from offset `first` on."""
    return [Record(offset, 0, key, value) for offset, (key, value) in enumerate(events, start=first)]


def first_records(options: argparse.Namespace) -> list[Record]:
    """The first `--events` of the stream, or all."""
    return records(islice(transactions(options), options.events))


# --- a partition -----------------------------------------------------------------------------------------


def opened(config: Config, lap: Lap = no_lap) -> Partition:
    """A new partition."""
    wanted = config.model_part(partitions=1)
    return Partition(IDENTITY, wanted, Partition.begin(wanted, 0), until=0, lap=lap)


def drive(
    partition: Partition, log: Sequence[Record], *, poll_records: int = POLL_RECORDS, barriers: bool = True
) -> Iterator[Outputs]:
    """Process records as the runner does, without IO; yields the outputs of each piece.

    Without `barriers` none is made.
    """
    for start in range(0, len(log), poll_records):
        backlog = log[start : start + poll_records]
        while backlog:
            step = partition.take(backlog)
            yield step.outputs
            backlog = backlog[step.consumed :]
            if step.block_ended and barriers and (barrier := partition.due({})) is not None:
                yield partition.barrier(barrier, {})


def make_barrier(partition: Partition) -> None:
    """Make a barrier whether one is due or not; only at a block's end."""
    partition.barrier(Barrier(position=partition.position, cause="every"), {})


def restored(snapshot: Snapshot, config: Config) -> Partition:
    """A partition that begins with a checkpoint, as it is after a restart."""
    name, manifest, state = encode(snapshot)
    return read_back(name, manifest, state, config)


def read_back(name: str, manifest: bytes, state: bytes, config: Config) -> Partition:
    """A partition from the bytes of a checkpoint, read and checked as after a restart."""
    known, wanted = read_manifest(manifest), config.model_part(partitions=1)
    journal = Journal(checkpoint=name, position=known.position, config=wanted.hash())
    model = (known, read_state(known, state))
    return Partition(IDENTITY, wanted, journal, until=known.position, restored=model)


# --- figures ---------------------------------------------------------------------------------------------


def rounds(count: int, variants: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Measure the variants one after another, `count` times; returns each one's figures by round."""
    found: dict[str, list[T]] = {name: [] for name in variants}
    for number in range(count):
        for name, measure in variants.items():
            progress(f"round {number + 1} of {count}: {name}")
            found[name].append(measure())
    return found


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median of the rounds' ratios."""
    return median(a / b for a, b in zip(above, below, strict=True))


def progress(text: str) -> None:
    """Print progress to standard error."""
    print(text, file=sys.stderr, flush=True)


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    print(f"\n{title}")
    for row in (header, *rows):
        first, *rest = (
            cell.ljust(w) if n == 0 else cell.rjust(w)
            for n, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *rest]).rstrip(), flush=True)
