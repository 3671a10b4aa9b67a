"""Time from a restart to readiness on a real Kafka with a large model, compared with reading its checkpoint.

    python -m benchmarks.recovery.restart --customers 34000 --clusters 16384

One daemon and one partition: the stream is processed and a checkpoint is written. Then the events of a minute
at `--rate` are processed, and the daemon is killed with -9 and started again. Prints the parts of the time to
/readyz = 200 (process, checkpoint, replay), how long a checkpoint stopped scoring, how long it took to write,
and the time of a plain read of the same file. Needs Java and Maven.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from detector.demo.simulation.handbook import SimulationConfig, simulate, to_events
from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Daemon, Deployment
from tests.kafka.distribution import KAFKA_VERSION
from tests.kafka.waiting import poll_until

DONE_SECONDS_MAX = 3600.0
READS = 5


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--customers", type=int, default=34_000, help="half the number of terminals")
    parser.add_argument("--clusters", type=int, default=16_384)
    parser.add_argument("--rate", type=int, default=1_000, help="events/s since the checkpoint")
    parser.add_argument("--seconds", type=int, default=60, help="since the checkpoint")
    arguments = parser.parse_args()
    versions = f"Python {platform.python_version()}, Kafka {KAFKA_VERSION}"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {versions}", flush=True)
    events = _events(arguments.customers)
    clusters = {"count_max": arguments.clusters, "core_events": 16 * arguments.clusters, "members_min": 1}
    model = {"clusters": clusters}
    with (
        tempfile.TemporaryDirectory(prefix="detector-restart-") as name,
        KafkaBroker() as broker,
        Deployment(broker.bootstrap, Path(name), "restart", partitions=1, config={"model": model}) as group,
    ):
        _learn(group, events, 12 * arguments.customers)
        _forget_a_minute(group, events, arguments.rate * arguments.seconds)
        _restart(group)


def _events(customers: int) -> Iterator[tuple[bytes, bytes]]:
    days = simulate(SimulationConfig(seed=1, customers=customers))
    for event in chain.from_iterable(map(to_events, days)):
        yield str(event["CUSTOMER_ID"]).encode(), msgspec.json.encode(event)


def _learn(group: Deployment, events: Iterable[tuple[bytes, bytes]], count: int) -> None:
    """Process `count` events; the stop at the end leaves a checkpoint close behind."""
    group.produce(islice(events, count))
    daemon = group.start("topics.scores=null", "checkpoints.interval=2")
    group.await_done(DONE_SECONDS_MAX)
    profiles, clusters = (int(daemon.metric(f"detector_{name}")) for name in ("profiles", "clusters"))
    print(f"{count:,} events, {profiles:,} entities and pairs, {clusters:,} clusters")
    for stage in ("barrier", "hash", "snapshot"):
        seconds, number = (_stage(daemon, f"{kind}", stage) for kind in ("sum", "count"))
        print(f"  {stage}: {seconds / max(number, 1) * 1000:,.0f} ms on average, {number:.0f} times")
    written = [line["seconds"] for line in _lines(daemon) if line["event"] == "checkpoint_written"]
    print(
        f"  checkpoints in the background: {len(written)}, the last in {written[-1]:.2f} s",
        flush=True,
    )
    assert daemon.stop() == 0


def _stage(daemon: Daemon, kind: str, stage: str) -> float:
    values = daemon.metrics(f"detector_stage_duration_seconds_{kind}")
    return values.get(f'{{stage="{stage}"}}', 0.0)


def _forget_a_minute(group: Deployment, events: Iterable[tuple[bytes, bytes]], count: int) -> None:
    """A checkpoint, then `count` events without another one, then kill -9."""
    group.produce(islice(events, 20_000))
    daemon = group.start("topics.scores=null", "checkpoints.interval=1")
    group.await_done(DONE_SECONDS_MAX)
    assert daemon.stop() == 0
    group.produce(islice(events, count))
    daemon = group.start("topics.scores=null", "checkpoints.interval=86400")
    group.await_done(DONE_SECONDS_MAX)
    daemon.kill()


def _restart(group: Deployment) -> None:
    began = time.monotonic()
    daemon = group.start("topics.scores=null", "checkpoints.interval=86400")
    if not poll_until(daemon.ready, timeout_s=DONE_SECONDS_MAX):
        raise TimeoutError(daemon.log()[-3000:])
    ready_s = time.monotonic() - began
    lines = {line["event"]: line for line in _lines(daemon)}
    restored, running = lines["restored"], lines["running"]
    checkpoint = next((group.folder / "checkpoints").rglob(f"{restored['checkpoint']}.state".split("/")[-1]))
    reading_s = min(_reading_s(checkpoint) for _ in range(READS))
    replayed = int(daemon.metric("detector_events_replayed_total"))
    size_mb = checkpoint.stat().st_size / 1e6
    replay_s = running["seconds"] - restored["seconds"]
    print(f"checkpoint of {size_mb:.1f} MB; a plain read of it takes {reading_s * 1000:.1f} ms (cached)")
    print(f"ready after {ready_s:.2f} s = {ready_s / reading_s:,.0f} x that read")
    print(f"  process and group: {ready_s - running['seconds']:.2f} s")
    print(
        f"  checkpoint to model: {restored['seconds']:.2f} s, {size_mb / restored['seconds']:,.0f} MB/s, "
        f"{restored['seconds'] / reading_s:,.0f} x that read"
    )
    print(
        f"  replay of {replayed:,} events: {replay_s:.2f} s, {replayed / max(replay_s, 1e-9):,.0f} events/s"
    )


def _lines(daemon: Daemon) -> list[dict[str, Any]]:
    return [json.loads(line) for line in daemon.log().splitlines() if line.startswith("{")]


def _reading_s(file: Path) -> float:
    began = time.perf_counter()
    file.read_bytes()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
