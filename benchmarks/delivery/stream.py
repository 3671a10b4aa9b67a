"""A whole stream through real daemons on a real Kafka, compared with `replay` and with an undisturbed run.

    python -m benchmarks.delivery.stream --events E.jsonl.gz --count 200000 --partitions 4
    python -m benchmarks.delivery.stream --events E.jsonl.gz --count 200000 --partitions 4 --chaos

The first command prints received = scored + rejected, alerts and events/s, and the same of `replay` over the
same events. The second one runs the log again with two replicas. One is killed with -9 in the middle, and the
broker is killed once and started again. At the end the alerts that a read_committed consumer sees must equal
those of the undisturbed run in ids, keys, headers and bytes. Needs Java and Maven.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Daemon, Deployment
from tests.kafka.distribution import KAFKA_VERSION
from tests.kafka.waiting import poll_until

DONE_SECONDS_MAX = 540.0
# Small polls keep both replicas busy until after the faults.
SLOWED = ("kafka.poll_records_max=250", "commit_interval_ms=20")


def main() -> None:
    """Run the command."""
    arguments = _arguments()
    versions = f"Python {platform.python_version()}, Kafka {KAFKA_VERSION}"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {versions}")
    with (
        tempfile.TemporaryDirectory(prefix="detector-delivery-") as folder,
        KafkaBroker() as broker,
        Deployment(broker.bootstrap, Path(folder), "stream", partitions=arguments.partitions) as deployment,
    ):
        count = deployment.produce(_records(arguments.events, arguments.count))
        print(f"produced {count:,} events into {arguments.partitions} partitions")
        alerts = _undisturbed(deployment, count)
        print("replay: " + _replay(deployment, arguments.events, arguments.count, Path(folder)))
        if arguments.chaos:
            _chaos(deployment, broker, count, alerts)


def _undisturbed(deployment: Deployment, count: int) -> dict[str, tuple[object, ...]]:
    began = time.monotonic()
    daemon = deployment.start("topics.scores=null")
    deployment.await_done(DONE_SECONDS_MAX)
    took = time.monotonic() - began
    received, scored, rejected = (
        int(daemon.metric(f"detector_events_{name}_total")) for name in ("received", "scored", "rejected")
    )
    alerts = deployment.alerts()
    assert received == scored + rejected == count
    print(
        f"daemon: received {received:,} = scored {scored:,} + rejected {rejected:,}; {len(alerts):,} alerts; "
        f"{took:.1f} s with its start, {count / took:,.0f} events/s"
    )
    assert daemon.stop() == 0
    return alerts


def _replay(deployment: Deployment, events: Path, count: int, folder: Path) -> str:
    head = folder / "head.jsonl"
    head.write_bytes(b"".join(_lines(events, count)))
    command = [
        sys.executable,
        "-m",
        "detector",
        "replay",
        "--config",
        str(deployment.config),
        "--events",
        str(head),
    ]
    command += ["--partitions", str(deployment.partitions)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stderr.strip().splitlines()[-1]


def _chaos(
    deployment: Deployment, broker: KafkaBroker, count: int, undisturbed: dict[str, tuple[object, ...]]
) -> None:
    deployment.forget_group()
    deployment.rename_outputs("-chaos")
    half = deployment.partitions // 2
    replicas = [deployment.start(*SLOWED), deployment.start(*SLOWED)]
    _wait("both replicas run half of the partitions", lambda: all(r.owns() == half for r in replicas))
    _wait("a third is committed", lambda: deployment.committed() >= count // 3)
    replicas[0].kill()
    began = time.monotonic()
    _wait("the other replica runs all partitions", lambda: replicas[1].owns() == deployment.partitions)
    print(f"kill -9 of a replica: all partitions run again after {time.monotonic() - began:.1f} s")
    print(f"replayed silently so far: {replicas[1].metric('detector_events_replayed_total'):,.0f} events")
    broker.kill()
    _wait("not ready without a broker", lambda: not replicas[1].ready())
    assert replicas[1].page("/livez")[0] == 200
    broker.start()
    began = time.monotonic()
    _wait("ready again", replicas[1].ready)
    print(f"kill -9 and start of the broker: ready again after {time.monotonic() - began:.1f} s")
    deployment.await_done(DONE_SECONDS_MAX)
    alerts, scored = deployment.alerts(), deployment.scored_events()
    lost, surplus = undisturbed.keys() - alerts.keys(), alerts.keys() - undisturbed.keys()
    different = sum(alerts[id_] != undisturbed[id_] for id_ in alerts.keys() & undisturbed.keys())
    twice = sum(times > 1 for times in scored.values())
    print(f"alerts: {len(alerts):,}; lost {len(lost)}, surplus {len(surplus)}, different bytes {different}")
    print(f"events scored: {len(scored):,} of {count:,}; twice {twice}")
    for replica in replicas[1:]:
        _stop(replica)
    if lost or surplus or different or twice or len(scored) != count:
        sys.exit("the disturbed run differs from the undisturbed one")


def _stop(daemon: Daemon) -> None:
    began = time.monotonic()
    code = daemon.stop()
    print(f"SIGTERM: exit code {code} after {time.monotonic() - began:.1f} s")


def _wait(what: str, condition: Callable[[], bool]) -> None:
    if not poll_until(condition, timeout_s=120):
        sys.exit(f"not after 120 s: {what}")


def _records(events: Path, count: int) -> Iterator[tuple[bytes, bytes]]:
    for line in _lines(events, count):
        yield str(json.loads(line)["CUSTOMER_ID"]).encode(), line.strip()


def _lines(events: Path, count: int) -> Iterator[bytes]:
    with gzip.open(events) if events.suffix == ".gz" else events.open("rb") as file:
        yield from islice(file, count)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=Path, required=True, help="events with the Handbook's TX_* fields")
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--chaos", action="store_true", help="run again with faults and compare")
    return parser.parse_args()


if __name__ == "__main__":
    main()
