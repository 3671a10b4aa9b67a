"""Replicas whose network, disk, clock or limits fail, on a real Kafka. Every published byte is checked.

    python -m benchmarks.chaos.hindered --faults 30
    python -m benchmarks.chaos.hindered --faults 30 --delivery at_least_once
    python -m benchmarks.chaos.hindered --faults 30 --brokers 3

Three replicas share a topic under steady traffic; each reaches the brokers through proxies of its own, and
the second and third have a wall clock that is an hour ahead and a day behind. A seeded schedule of faults
hinders one of them at a time:

- *cut*: nothing passes between it and the brokers, in both directions, for less or more than the session
  timeout; then all that was held back arrives
- *slow*: each piece of data takes 0.3 s longer
- *reset*: all its connections end
- *disk_full*: it can write no file larger than 0 bytes (RLIMIT_FSIZE), so no checkpoint
- *no_files*: it can open no further file or connection (RLIMIT_NOFILE), and its connections end
- *memory*: the kernel kills it in a cgroup without memory (`oom.py`), and it starts again

What must hold: no replica ends by itself, and each is ready again within `--patience`; 0 outputs are lost, 0
come twice, 0 differ from those of one undisturbed daemon over the same log. With `at_least_once` some may
come twice, all copies with the same bytes, and none is lost or different.

Prints a line per fault and a summary; exit code 1 if a check fails. Needs Linux, Java and Maven.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.chaos.fleet import CONFIG, KAFKA, Fleet, Replica
from benchmarks.chaos.oom import oom_kill
from benchmarks.chaos.traffic import Traffic
from tests.kafka.audit import (
    compare,
    first_copies,
    log_of,
    places,
    published,
    published_again,
    times_accounted,
)
from tests.kafka.broker import KafkaBroker
from tests.kafka.cluster import KafkaCluster
from tests.kafka.daemons import Daemon, Deployment
from tests.kafka.proxied import CLOCK, PORTS
from tests.kafka.proxy import Proxy

FAULTS = ("cut", "slow", "reset", "disk_full", "no_files", "memory")
SKEWS_S = (0.0, 3600.0, -86_400.0)
SLOW_S = 0.3
HINDERED_S = (1.0, 8.0)  # shorter and longer than the session timeout
DRAIN_S = 180.0  # until the log is committed at the end; longer with a longer --patience
PARTITIONS = 4


class Run:
    """All faults on one deployment."""

    def __init__(self, options: argparse.Namespace, deployment: Deployment) -> None:
        self._options, self._deployment = options, deployment
        self._rng = random.Random(options.seed)
        self.fleet = Fleet(deployment=deployment, ready_seconds_max=options.patience)
        self.happened: Counter[str] = Counter()
        self._ports = [int(one.rpartition(":")[2]) for one in deployment.bootstrap.split(",")]
        self._proxies = [[Proxy(port) for port in self._ports] for _ in SKEWS_S]
        for number in range(len(SKEWS_S)):
            self.fleet.replicas.append(Replica(name=f"r{number}", static=False, daemon=self._daemon(number)))

    def _daemon(self, number: int) -> Daemon:
        pairs = zip(self._ports, self._proxies[number], strict=True)
        os.environ[PORTS] = ",".join(f"{port}:{proxy.port}" for port, proxy in pairs)
        os.environ[CLOCK] = str(SKEWS_S[number])
        return self._deployment.start()

    def disturb(self) -> None:
        """Inject the faults, each once all replicas are ready."""
        self.fleet.await_settled("the start")
        for number in range(1, self._options.faults + 1):
            fault = self._rng.choice(FAULTS) if number > len(FAULTS) else FAULTS[number - 1]
            place = self._rng.randrange(len(self.fleet.replicas))
            seconds = self._rng.uniform(*HINDERED_S)
            self._hinder(fault, place, seconds)
            ready_s = self.fleet.await_settled(f"fault {number} ({fault})")
            self.happened[fault] += 1
            print(
                f"{number:3} {fault:9} r{place} for {seconds:.1f} s, ready {ready_s:.1f} s after", flush=True
            )

    def _hinder(self, fault: str, place: int, seconds: float) -> None:
        replica, proxies = self.fleet.replicas[place], self._proxies[place]
        pid = replica.daemon.process.pid
        if fault in ("cut", "slow"):
            for proxy in proxies:
                proxy.cut, proxy.delay_s = fault == "cut", SLOW_S if fault == "slow" else 0.0
            time.sleep(seconds)
            for proxy in proxies:
                proxy.cut, proxy.delay_s = False, 0.0
        elif fault == "reset":
            for proxy in proxies:
                proxy.reset()
        elif fault == "memory":
            self.happened[f"killed by {oom_kill(replica.daemon.process)}"] += 1
            time.sleep(seconds)
            replica.daemon = self._daemon(place)
        else:
            what, limit = {
                "disk_full": (resource.RLIMIT_FSIZE, 0),
                "no_files": (resource.RLIMIT_NOFILE, 3),
            }[fault]
            before = resource.prlimit(pid, what)
            resource.prlimit(pid, what, (limit, before[1]))
            if fault == "no_files":
                for proxy in proxies:
                    proxy.reset()
            time.sleep(seconds)
            resource.prlimit(pid, what, before)

    def check(self, traffic: Traffic) -> None:
        """Compare everything published with the log and with an undisturbed run."""
        traffic.finish()
        drain_s = max(DRAIN_S, self._options.patience)
        self._deployment.await_done(drain_s)
        self.fleet.await_settled("the end")
        self.fleet.terminate(*self.fleet.replicas)
        seen = published(self._deployment)
        times, log = times_accounted(seen), places(log_of(self._deployment))
        lost, foreign = log - times.keys(), times.keys() - log
        os.environ[PORTS], os.environ[CLOCK] = "", "0"
        reference = published_again(self._deployment, drain_s)
        once = self._options.delivery == "exactly_once"
        repeated = 0
        if not once:
            reference, _, _ = first_copies(reference)
            seen, repeated, mixed = first_copies(seen)
            if mixed:
                self.fleet.violations.append(f"copies differ: {mixed[:5]}")
        found = compare(seen, reference)
        figures = {name: len(getattr(found, name)) for name in ("lost", "surplus", "twice", "different")}
        print(f"{len(log)} records, {len(seen)} outputs, repeated {repeated}, {figures}")
        if lost or foreign or found:
            self.fleet.violations.append(f"{len(lost)} records lost, {len(foreign)} foreign, {figures}")

    def stop(self) -> None:
        """End all processes."""
        for daemon in self._deployment.daemons:
            daemon.kill()
        for proxies in self._proxies:
            for proxy in proxies:
                proxy.close()


def main() -> int:
    """Run the faults and the checks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--faults", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=100.0, help="events per s")
    parser.add_argument("--patience", type=float, default=90.0, help="until all replicas are ready again, s")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--delivery", choices=("exactly_once", "at_least_once"), default="exactly_once")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends all replicas
    with (
        tempfile.TemporaryDirectory(prefix="detector-hindered-") as folder,
        KafkaBroker() if options.brokers == 1 else KafkaCluster() as kafka,
        Deployment(
            kafka.bootstrap,
            Path(folder),
            "hindered",
            partitions=PARTITIONS,
            config=CONFIG
            | {
                "delivery": options.delivery,
                "checkpoints": {"url": f"file://{folder}/checkpoints", "interval": 1, "keep": 3},
            },
            module="tests.kafka.proxied",
            kafka=KAFKA,
        ) as deployment,
    ):
        traffic = Traffic(deployment, seed=options.seed, events_per_s=options.rate)
        run = Run(options, deployment)
        try:
            traffic.start()
            run.disturb()
            run.check(traffic)
        finally:
            run.stop()
    print(f"{dict(run.happened)}; violations: {len(run.fleet.violations)}")
    for violation in run.fleet.violations:
        print(f"- {violation}")
    return 1 if run.fleet.violations else 0


if __name__ == "__main__":
    sys.exit(main())
