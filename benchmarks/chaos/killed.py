"""How long the outputs of a member's partitions are hidden after it was killed within a transaction.

    python -m benchmarks.chaos.killed --kills 50
    python -m benchmarks.chaos.killed --kills 50 --broker-restart
    python -m benchmarks.chaos.killed --kills 50 --feedback

Two replicas share a topic under steady traffic. In each cycle one of them is killed (-9) in place of its next
commit, with all of the transaction sent. With `--broker-restart` the only broker is killed at the same time
and starts again. Measured is the time from the death, or from when the broker answers again, until a
`read_committed` consumer sees a score of each partition that the dead replica had, at or after the offset
that was committed when it died.

It may take the session timeout and 5 s. At the end each record of the log must be scored or rejected exactly
once, and no output may be hidden.

With `--feedback` analysts answer, snooze, close, take back and erase all the while, frauds are reported late,
and case updates and receipts are published. Then all outputs must also be those of an undisturbed replay with
the same journal, each once, and every feedback record must have exactly one receipt.

Prints a line per cycle and a summary; exit code 1 if a check fails. Needs Java and Maven.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from benchmarks.chaos.analysts import Analysts, check_all
from benchmarks.chaos.traffic import Traffic
from tests.kafka.audit import kept, log_of, places, published, times_accounted
from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Daemon, Deployment
from tests.kafka.dies_in_transaction import DIE, KEPT
from tests.kafka.waiting import poll_until

PARTITIONS = 4
MARGIN_S = 5.0
PATIENCE_S = 600.0  # ends a run that hangs
CONFIG = {
    "commit_interval_ms": 50,
    "model": {"barriers": {"block_events": 64, "every_events": 512, "early_events_min": 256}},
}
SIDES = ("feedback", "exchange", "case_updates", "receipts")


def with_feedback(folder: str) -> dict[str, Any]:
    """Further settings: many alerts, and all checkpoints, whose journals the check needs."""
    checkpoints = {"url": f"file://{folder}/checkpoints", "interval": 2, "keep": 1000}
    return {"alerts": {"budget": {"share": 0.02}}, "checkpoints": checkpoints}


class Follower(threading.Thread):
    """Reads the scores as a `read_committed` consumer; remembers the newest offset of each partition."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(name="follower", daemon=True)
        self._settings = {
            "bootstrap_servers": deployment.bootstrap,
            "isolation_level": "read_committed",
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
            "reconnect_backoff_max_ms": 200,
        }
        self._topic = deployment.topics["scores"]
        self.newest = dict.fromkeys(range(PARTITIONS), -1)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Read until `stop`."""
        with closing(KafkaConsumer(self._topic, **self._settings)) as consumer:
            while not self._stopping.is_set():
                with suppress(Exception):  # the broker may be away
                    for records in consumer.poll(timeout_ms=100).values():
                        for record in records:
                            score = json.loads(record.value)
                            number, offset = score["partition"], score["offset"]
                            self.newest[number] = max(self.newest[number], offset)

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self.join(10)


@dataclass(kw_only=True, slots=True)
class Replica:
    """A process that dies in place of a commit once its gate exists."""

    gate: Path
    daemon: Daemon


class Run:
    """All cycles on one deployment."""

    def __init__(self, broker: KafkaBroker, deployment: Deployment, session_s: float) -> None:
        self._broker, self._deployment, self._session_s = broker, deployment, session_s
        self.follower = Follower(deployment)
        self.wrong: list[str] = []
        self.seconds: list[float] = []
        self._replicas = [self._start(number) for number in range(2)]

    def _start(self, number: int) -> Replica:
        gate = self._deployment.folder / f"die-{number}"
        gate.unlink(missing_ok=True)
        os.environ[DIE], os.environ[KEPT] = str(gate), str(kept(self._deployment.folder))
        return Replica(gate=gate, daemon=self._deployment.start())

    def _settled(self) -> bool:
        time.sleep(0.1)
        return [len(replica.daemon.running()) for replica in self._replicas] == [2, 2]

    def cycle(self, number: int, *, broker_restart: bool) -> None:
        """Kill one replica and measure."""
        if not poll_until(self._settled, timeout_s=PATIENCE_S):
            self.wrong.append(f"cycle {number}: the replicas do not share the partitions")
        victim = self._replicas[number % 2]
        had = sorted(victim.daemon.running())
        victim.gate.touch()
        if not poll_until(lambda: not victim.daemon.alive, timeout_s=PATIENCE_S, interval_s=0.01):
            self.wrong.append(f"cycle {number}: the replica made no commit")
            victim.daemon.kill()
        died = time.monotonic()
        committed = self._committed()
        if broker_restart:
            self._broker.kill()
            self._broker.start()
            died = time.monotonic()

        def visible() -> bool:
            return all(self.follower.newest[p] >= committed[p] for p in had)

        if not poll_until(visible, timeout_s=PATIENCE_S, interval_s=0.02):
            self.wrong.append(f"cycle {number}: hidden after {PATIENCE_S:g} s: {committed}")
        took = time.monotonic() - died
        self.seconds.append(took)
        if took > self._session_s + MARGIN_S:
            self.wrong.append(f"cycle {number}: {took:.1f} s until outputs of {had} were visible")
        load = os.getloadavg()[0]
        print(f"cycle {number}: partitions {had} visible after {took:.1f} s, load {load:.1f}", flush=True)
        self._replicas[number % 2] = self._start(number % 2)

    def _committed(self) -> dict[int, int]:
        """What the group has committed, without waiting for the transaction that the dead member left."""
        topic = self._deployment.topics["transactions"]
        settings = {"bootstrap_servers": self._deployment.bootstrap, "group_id": self._deployment.group}
        with closing(KafkaConsumer(**settings, enable_auto_commit=False)) as consumer:
            return {p: consumer.committed(TopicPartition(topic, p)) or 0 for p in range(PARTITIONS)}

    def finish(self, traffic: Traffic, analysts: Analysts | None) -> None:
        """Check that each record was scored or rejected exactly once, and that nothing is hidden."""
        poll_until(self._settled, timeout_s=PATIENCE_S)
        traffic.finish()
        if analysts is not None:
            analysts.finish()
        self._deployment.await_done(PATIENCE_S)
        if analysts is not None and not poll_until(analysts.answered, timeout_s=120, interval_s=1.0):
            self.wrong.append("feedback without a receipt at the end")
        if not poll_until(self._deployment.all_visible, timeout_s=60):
            self.wrong.append("outputs are hidden at the end")
        self.follower.stop()
        if analysts is not None:
            self.wrong += check_all(self._deployment)
        times, log = times_accounted(published(self._deployment)), places(log_of(self._deployment))
        lost = sum(not times[at] for at in log)
        twice = sum(count > 1 for count in times.values())
        print(f"{len(log)} records, {lost} lost, {twice} twice")
        if lost or twice or not times.keys() <= log:
            self.wrong.append(f"{lost} lost, {twice} twice")

    def stop(self) -> None:
        """End the processes."""
        for replica in self._replicas:
            replica.daemon.kill()


def main() -> int:
    """Run the cycles and print a summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--broker-restart", action="store_true", help="the broker is killed, too")
    parser.add_argument("--feedback", action="store_true", help="with feedback of all kinds, and receipts")
    parser.add_argument("--session", type=float, default=6.0, help="session timeout, s")
    parser.add_argument("--rate", type=float, default=100.0, help="events per s")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends all replicas
    with (
        tempfile.TemporaryDirectory(prefix="detector-killed-") as folder,
        KafkaBroker() as broker,
        Deployment(
            broker.bootstrap,
            Path(folder),
            "killed",
            partitions=PARTITIONS,
            config=CONFIG | (with_feedback(folder) if options.feedback else {}),
            module="tests.kafka.dies_in_transaction",
            kafka={"session_timeout_ms": int(options.session * 1000)},
            sides=SIDES if options.feedback else (),
        ) as deployment,
    ):
        traffic = Traffic(deployment, seed=options.seed, events_per_s=options.rate)
        analysts = Analysts(deployment, seed=options.seed) if options.feedback else None
        run = Run(broker, deployment, options.session)
        try:
            run.follower.start()
            traffic.start()
            if analysts is not None:
                analysts.start()
            for number in range(1, options.kills + 1):
                run.cycle(number, broker_restart=options.broker_restart)
            run.finish(traffic, analysts)
        finally:
            run.stop()
    median, most = statistics.median(run.seconds), max(run.seconds)
    print(
        f"{len(run.seconds)} kills, broker restart {options.broker_restart}, session {options.session:g} s: "
        f"visible after median {median:.1f} s, max {most:.1f} s; {len(run.wrong)} wrong"
    )
    for text in run.wrong:
        print(f"- {text}")
    return 1 if run.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
