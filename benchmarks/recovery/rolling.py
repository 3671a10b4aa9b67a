"""A rolling restart under load on a real Kafka: the longest pause of a partition, what is lost or doubled.

    python -m benchmarks.recovery.rolling --members 3 --partitions 6 --rate 2000

Members of one group process events that a producer in a process of its own sends in an open loop. They are
restarted one after another: SIGTERM, a new process, and `--apart` seconds after it is ready the next one.
With `--static` they keep their identity (`kafka.group_instance_id`), as pods of a StatefulSet.

A pause is the longest time without an output of a partition, in a read_committed consumer. All partitions
have events all the time. At the end each event must have been scored exactly once. Needs Java and Maven.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.speed.common import about, parser, progress, show, transactions
from benchmarks.speed.latency import Produced, consumer_at_end, produce
from benchmarks.speed.service import BROKER, Service
from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Daemon
from tests.kafka.waiting import poll_until

READY_SECONDS_MAX = 180.0
STOP_SECONDS_MAX = 30.0


class Outputs(threading.Thread):
    """Notes when the scores of each partition arrive, until `finish`."""

    def __init__(self, service: Service) -> None:
        super().__init__(name="outputs", daemon=True)
        self._consumer = consumer_at_end(service, "scores")
        self._finished = threading.Event()
        self.arrived: dict[int, list[float]] = defaultdict(list)  # by partition: monotonic, s

    def run(self) -> None:
        """Read until `finish`."""
        with contextlib.closing(self._consumer) as consumer:
            while not self._finished.is_set():
                batches = consumer.poll(timeout_ms=20)
                now_s = time.monotonic()
                for at in batches:
                    self.arrived[at.partition].append(now_s)

    def finish(self) -> None:
        """Stop reading."""
        self._finished.set()
        self.join()

    def pause_s(self, partition: int, began_s: float, ended_s: float) -> float:
        """Longest time without an output of a partition between two moments."""
        inside = [at_s for at_s in self.arrived[partition] if began_s < at_s < ended_s]
        return float(np.diff([began_s, *inside, ended_s]).max())


def main() -> None:
    """Run the command."""
    made = parser(__doc__, events=60_000, rounds=1)
    made.add_argument("--members", type=int, default=3)
    made.add_argument("--partitions", type=int, default=6)
    made.add_argument("--rate", type=float, default=2_000.0, help="events/s, of all partitions")
    made.add_argument("--apart", type=float, default=15.0, help="seconds from ready to the next restart")
    made.add_argument("--seconds", type=float, default=150.0, help="of events")
    made.add_argument("--sides", action="store_true", help="with labels and exchange")
    made.add_argument("--static", action="store_true", help="members keep their identity")
    options = made.parse_args()
    sides = ("feedback", "exchange") if options.sides else ()
    print(about(BROKER))
    with (
        tempfile.TemporaryDirectory(prefix="detector-rolling-") as folder,
        KafkaBroker() as broker,
        Service(broker, Path(folder), "rolling", options.partitions, options.set, sides) as service,
    ):
        service.publish_scores()
        service.preload(islice(transactions(options), options.events))
        members = [start(service, options, number) for number in range(options.members)]
        await_running(members, options.partitions)
        service.wait("caught up", lambda: service.committed() >= options.events)
        rows = restart_all(options, service, members)
        show(
            f"restarts of {options.members} members, {options.rate:,.0f} events/s; s",
            ["member", "partitions", "SIGTERM", "ready after", "longest pause", "of partition", "replayed"],
            rows,
        )
        check(service)


def start(service: Service, options: argparse.Namespace, number: int) -> Daemon:
    """Start a member."""
    static = [f"kafka.group_instance_id=member-{number}"] if options.static else []
    return service.deployment.start(*service.settings, *static)


def await_running(members: list[Daemon], partitions: int) -> None:
    """Wait until all partitions run, on members that are all ready."""

    def running() -> bool:
        return all(member.ready() for member in members) and sum(m.owns() for m in members) == partitions

    if not poll_until(running, timeout_s=READY_SECONDS_MAX):
        raise SystemExit("\n".join(member.log()[-3000:] for member in members))


def restart_all(options: argparse.Namespace, service: Service, members: list[Daemon]) -> list[list[str]]:
    """Restart member by member under load; returns a row for each."""
    deployment = service.deployment
    outputs = Outputs(service)
    outputs.start()
    arguments = deployment.bootstrap, deployment.topics, options.partitions, options.events, options.rate
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        producing: Future[Produced] = pool.submit(produce, options, *arguments)
        if not poll_until(lambda: len(outputs.arrived) == options.partitions, timeout_s=READY_SECONDS_MAX):
            raise SystemExit("not every partition has outputs")
        time.sleep(options.apart)
        rows = []
        for number, member in enumerate(members):
            progress(f"restart of member {number}")
            owned, began_s = member.owns(), time.monotonic()
            if code := member.stop(STOP_SECONDS_MAX):
                raise SystemExit(f"member {number} ended with code {code}\n{member.log()[-3000:]}")
            stop_s = time.monotonic() - began_s
            members[number] = start(service, options, number)
            await_running(members, options.partitions)
            ready_s = time.monotonic() - began_s
            time.sleep(options.apart)
            ended_s = time.monotonic()
            if producing.done():
                raise SystemExit("the events were over before the last restart: raise --seconds")
            pauses = {n: outputs.pause_s(n, began_s, ended_s) for n in range(options.partitions)}
            worst = max(pauses, key=lambda n: pauses[n])
            replayed = sum(m.metric("detector_events_replayed_total") for m in members)
            rows.append(
                [
                    str(number),
                    str(owned),
                    f"{stop_s:.1f}",
                    f"{ready_s:.1f}",
                    f"{pauses[worst]:.1f}",
                    str(worst),
                    f"{replayed:,.0f}",
                ]
            )
            progress(" ".join(rows[-1]))
        produced = producing.result()
    total = options.events + len(produced.ids)
    if not poll_until(lambda: service.committed() >= total, timeout_s=READY_SECONDS_MAX):
        raise SystemExit(f"committed {service.committed():,} of {total:,}")
    outputs.finish()
    for member in members:
        member.stop(STOP_SECONDS_MAX)
    return rows


def check(service: Service) -> None:
    """Count the events that were not scored exactly once."""
    scored = service.deployment.scored_events()
    sent = {(record.partition, record.offset) for record in service.deployment.published("transactions")}
    counts = Counter(min(scored[at], 2) for at in sent)
    print(f"events {len(sent):,}: lost {counts[0]}, twice {counts[2]}, surplus {len(scored.keys() - sent)}")


if __name__ == "__main__":
    main()
