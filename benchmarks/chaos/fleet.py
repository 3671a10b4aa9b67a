"""The replicas of one group as real processes: which replica runs which partition, and violations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kafka import KafkaConsumer, TopicPartition

from tests.kafka.daemons import Daemon, Deployment
from tests.kafka.waiting import poll_until

STOP_SECONDS_MAX = 10.0  # also at a high load: what a supervisor commonly waits before it kills
LOOK_S = 0.1
VIOLATIONS_MAX = 20
SESSION_S = 3.0
# Frequent barriers, and so frequent checkpoints: each partition has some tens of events a second here.
CONFIG = {
    "commit_interval_ms": 50,
    "model": {
        "barriers": {"block_events": 64, "every_events": 512, "early_events_min": 256},
        "calibration": {"warm_up_events": 1024},
    },
    "alerts": {"budget": {"share": 0.01}},
}
KAFKA = {
    "session_timeout_ms": int(SESSION_S * 1000),
    "transaction_timeout_ms": 4_000,
    "request_timeout_ms": 5_000,
}


@dataclass(kw_only=True, slots=True)
class Replica:
    """One member of the group. Its process is replaced after a kill or a stop."""

    name: str
    static: bool  # keeps its identity over a restart
    daemon: Daemon


@dataclass(kw_only=True, slots=True)
class Fleet:
    """The replicas that must be alive, and all violations so far."""

    deployment: Deployment
    ready_seconds_max: float  # longest time from a fault until all partitions run again
    replicas: list[Replica] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    stop_s: list[float] = field(default_factory=list)
    started: int = 0

    def add(self) -> Replica:
        """Start one more replica; every second one has a static identity."""
        self.started += 1
        name, static = f"r{self.started}", self.started % 2 == 0
        replica = Replica(name=name, static=static, daemon=self._start(name, static=static))
        self.replicas.append(replica)
        return replica

    def again(self, replica: Replica) -> None:
        """Start a new process for the same member."""
        replica.daemon = self._start(replica.name, static=replica.static)

    def _start(self, name: str, *, static: bool) -> Daemon:
        settings = [f"kafka.group_instance_id={name}", "kafka.leave_on_stop=true"] if static else []
        return self.deployment.start(*settings)

    def terminate(self, *replicas: Replica) -> None:
        """Send SIGTERM. Each process must end with code 0 within the limit."""
        began = time.monotonic()
        for replica in replicas:
            replica.daemon.process.terminate()
        for replica in replicas:
            if not poll_until(lambda: not replica.daemon.alive, timeout_s=STOP_SECONDS_MAX):  # noqa: B023
                self.violations.append(f"{replica.name} did not stop in {STOP_SECONDS_MAX:g} s")
                replica.daemon.kill()
                continue
            self.stop_s.append(time.monotonic() - began)
            if replica.daemon.process.returncode != 0:
                self._tell_end(replica)

    def check_alive(self) -> None:
        """Record replicas that ended by themselves, and start them again."""
        for replica in self.replicas:
            if not replica.daemon.alive:
                self._tell_end(replica)
                if len(self.violations) > VIOLATIONS_MAX:
                    raise SystemExit("\n- ".join(["too many violations to go on:", *self.violations]))
                self.again(replica)

    def _tell_end(self, replica: Replica) -> None:
        end = replica.daemon.log()[-1500:]
        code = replica.daemon.process.returncode
        self.violations.append(f"{replica.name} ended with code {code} ({replica.daemon.log_file}):\n{end}")

    def owners(self) -> dict[int, str]:
        """Which replica runs which partition, by the replicas' status pages."""
        return {p: r.name for r in self.replicas if r.daemon.alive for p in r.daemon.running()}

    def settled(self) -> bool:
        """Whether every replica is ready and every partition runs."""
        self.check_alive()
        return (
            all(r.daemon.ready() for r in self.replicas) and len(self.owners()) == self.deployment.partitions
        )

    def await_settled(self, what: str) -> float:
        """Seconds until `settled`; a violation when that takes too long."""
        began = time.monotonic()
        while not self.settled():
            if time.monotonic() - began > self.ready_seconds_max:
                pages = "; ".join(f"{r.name}: {r.daemon.page('/readyz')[1]}" for r in self.replicas)
                self.violations.append(f"not ready {self.ready_seconds_max:g} s after {what}: {pages}")
                break
            time.sleep(LOOK_S)
        return time.monotonic() - began


class Offsets:
    """The group's committed offsets and the ends of the log, read by a client of its own."""

    def __init__(self, deployment: Deployment) -> None:
        self._at = [
            TopicPartition(deployment.topics["transactions"], p) for p in range(deployment.partitions)
        ]
        self._settings = {"bootstrap_servers": deployment.bootstrap, "group_id": deployment.group}

    def committed(self) -> dict[int, int]:
        """Committed offsets by partition, without those that could not be read."""
        with self._consumer() as consumer:
            try:
                return {at.partition: consumer.committed(at, timeout_ms=5_000) or 0 for at in self._at}
            except Exception:  # noqa: BLE001 - the broker may be away: that is tested here
                return {}

    def ends(self) -> dict[int, int]:
        """Offsets after the last readable record or marker."""
        with self._consumer() as consumer:
            try:
                found = consumer.end_offsets(self._at, timeout_ms=5_000)
            except Exception:  # noqa: BLE001
                return {}
            return {at.partition: end for at, end in found.items()}

    @contextmanager
    def _consumer(self) -> Iterator[KafkaConsumer]:
        consumer = KafkaConsumer(
            **self._settings,
            enable_auto_commit=False,
            isolation_level="read_committed",
            metrics_enabled=False,
        )
        try:
            yield consumer
        finally:
            consumer.close(timeout_ms=0)
