"""Faults as in production, injected on a real Kafka. Afterwards every published byte is checked.

    python -m benchmarks.chaos.run --seed 1 --kills 100 --rebalances 30 --broker-restarts 10 --minutes 40
    python -m benchmarks.chaos.run --expire     the log is compacted, and old segments expire
    python -m benchmarks.chaos.run --sides      with labels and messages between shards
    python -m benchmarks.chaos.run --delivery at_least_once     outputs may come again, with equal bytes
    python -m benchmarks.chaos.run --brokers 1  a single broker: may fail

Traffic (`traffic.py`) goes on while a seeded schedule of faults runs over replicas that are real processes:

- *kill*: kill -9 and a new process; sometimes the newest checkpoint of one of its partitions is
  truncated, corrupted or deleted before
- *oom*: a kill, too, by the kernel in a memory cgroup (`oom.py`)
- *add*, *remove*: one replica is added, one is removed for good
- *restart*: SIGTERM and a new process; *all*: every replica at once, half of them by kill -9
- *freeze*: SIGSTOP for longer than the session timeout, then SIGCONT: a former owner that was not told about
  the rebalance
- *broker_kill*, *broker_stop*: kill -9 or an orderly stop of one of the brokers: sometimes the active
  controller, else one that leads partitions. Sometimes a replica is killed, too. The broker stays away for
  this fault and perhaps some more. The next such fault comes when all brokers are in sync again.

With `--brokers 1` the broker starts again after a moment, and outputs may be published twice after a kill -9
of it. When it starts, it may end open transactions before it knows the leaders of its partitions. It then
leaves out the markers of partitions without a leader (Kafka 4.3: "likely deleted already"), and an aborted
transaction is committed with the next one of its producer. With three brokers another one leads meanwhile.

After a quarter of the faults the next one comes within 3 s, without waiting for recovery. A kill counts if
the process was alive and ran partitions. A rebalance counts if it was caused by an add or remove and moved
partitions. Faults that do not count are repeated.

Checked at the end, after the traffic ended with markers of aborted and committed transactions at the log's
tail:

1. The committed offsets reach the end of the log; replicas count received = scored + rejected and stop with
   code 0. None ended by itself, and none took longer than `--patience` to be ready again.
2. Each record of the log is scored or rejected, exactly once.
3. Alerts, dead letters and scores are those of an undisturbed run: same ids, keys, headers, bytes; none lost,
   none twice. With `--delivery at_least_once` copies may come, all with the same bytes. The undisturbed run
   is one daemon over the same log. With `--expire` it is the core's shards over a copy of the log that was
   read before it expired; with `--sides` likewise, with the disturbed run's journal.

Prints a table; exit code 1 if a check fails. Needs Java and Maven.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from benchmarks.chaos.fleet import CONFIG, KAFKA, SESSION_S, Fleet, Offsets, Replica
from benchmarks.chaos.oom import oom_kill
from benchmarks.chaos.traffic import Traffic
from detector.core.records import Record
from tests.kafka.audit import (
    Difference,
    Seen,
    compare,
    first_copies,
    log_of,
    places,
    published,
    published_again,
    side_records,
    times_accounted,
    to_record,
    undisturbed,
)
from tests.kafka.broker import KafkaBroker
from tests.kafka.cluster import KafkaCluster
from tests.kafka.daemons import Deployment
from tests.kafka.distribution import KAFKA_VERSION
from tests.kafka.waiting import poll_until

REPLICAS_MIN, REPLICAS_MAX = 2, 4
IMPATIENT_SHARE, IMPATIENT_S_MAX = 0.25, 3.0
DAMAGED_SHARE = 0.2  # of kills
OOM_SHARE = 0.2  # of kills
KILLED_WITHOUT_BROKER = 0.3  # of a broker's absences
CONTROLLER_SHARE = 0.3  # of these
BACK_SHARE = 0.5  # of the faults while a broker is away begin with its return
DRAIN_SECONDS_MAX = 300.0
EXPIRE_EVERY_S = 15.0

# The cleaner changes no segment younger than a minute: a recovery needs the log unchanged.
COMPACTED = {
    "cleanup.policy": "compact,delete",
    "min.compaction.lag.ms": "60000",
    "min.cleanable.dirty.ratio": "0.01",
    "segment.ms": "10000",
    "segment.bytes": "1048576",
}
BROKER = {
    "log.cleaner.backoff.ms": "3000",
    "log.retention.check.interval.ms": "10000",
    # Kafka's default. A broker that aborts timed-out transactions while it starts leaves out their markers.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "10000",
}
# Log events of the replicas that are counted.
LOGGED = {
    "restored": "restores of a partition",
    "checkpoint_damaged": "of these past a damaged one",
    "partitions_lost": "partitions lost without a revoke",
    "commit_failed": "commits refused or overdue",
}


def main() -> None:
    """Run the command."""
    arguments = _arguments()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends all replicas
    versions = f"Python {platform.python_version()}, Kafka {KAFKA_VERSION}"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {versions}")
    print(", ".join(f"{name} {value}" for name, value in vars(arguments).items()), flush=True)
    sides = ("feedback", "exchange") if arguments.sides else ()
    kept = 1000 if arguments.sides else 3  # with sides the check needs the journals of all checkpoints
    with (
        _folder(arguments.folder) as folder,
        KafkaCluster(arguments.brokers, properties=BROKER) as cluster,
        Deployment(
            cluster.bootstrap,
            Path(folder),
            "chaos",
            partitions=arguments.partitions,
            config=CONFIG
            | {
                "delivery": arguments.delivery,
                "checkpoints": {"url": f"file://{folder}/checkpoints", "interval": 1, "keep": kept},
            },
            kafka=KAFKA,
            log=COMPACTED if arguments.expire else None,
            sides=sides,
        ) as deployment,
    ):
        run = Run(arguments, cluster, deployment)
        try:
            run.disturb()
            run.drain()
            run.check()
        finally:
            run.report()
            for broker in cluster.brokers:
                shutil.copy(broker.log_file, Path(folder) / f"broker-{broker.node}.log")
    sys.exit(1 if run.fleet.violations else 0)


@dataclass(kw_only=True, slots=True)
class Tally:
    """Faults that were injected, and recovery times."""

    faults: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    killers: Counter[str] = field(default_factory=Counter)
    rebalances: int = 0
    moved: int = 0  # partitions, by these rebalances
    ready_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    going_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    events: Counter[str] = field(default_factory=Counter)
    logged: Counter[str] = field(default_factory=Counter)
    controllers: int = 0  # of the brokers that went away
    load: list[float] = field(default_factory=list)  # of the machine over the last minute, at each fault


class Run:
    """One run, see the module's docstring."""

    def __init__(self, arguments: argparse.Namespace, cluster: KafkaCluster, deployment: Deployment) -> None:
        self.arguments, self.cluster, self.deployment = arguments, cluster, deployment
        self.fleet = Fleet(deployment=deployment, ready_seconds_max=arguments.patience)
        self.tally = Tally()
        self._rng = random.Random(arguments.seed)
        self._offsets = Offsets(deployment)
        self._done: dict[int, int] = {}  # committed, as last seen
        self._damaged: set[str] = set()
        self._away: KafkaBroker | None = None
        self._expired_s = time.monotonic()
        self._until = time.monotonic() + arguments.minutes * 60.0
        self._traffic = Traffic(deployment, seed=arguments.seed, events_per_s=arguments.rate)
        self._recorder = Recorder(deployment) if arguments.expire else None

    # --- the faults ---

    def disturb(self) -> None:
        """Inject the scheduled faults until all are done or the time is over."""
        for _ in range(3):
            self.fleet.add()
        self._traffic.start()
        if self._recorder is not None:
            self._recorder.start()
        self._await_going("the start")
        for number, fault in enumerate(self._schedule(), 1):
            if time.monotonic() > self._until:
                self._violation(f"time was up before fault {number} ({fault})")
                return
            self._one(number, fault)
        self._return_broker()
        self._await_going("the last fault")

    def _schedule(self) -> Iterator[str]:
        """All faults in random order; then again those that did not count."""
        arguments, tally = self.arguments, self.tally
        kills, restarts = arguments.kills, arguments.broker_restarts
        ooms = int(kills * OOM_SHARE)
        faults = ["kill"] * (kills - ooms) + ["oom"] * ooms
        faults += ["change"] * arguments.rebalances + ["restart"] * (kills // 6)
        faults += ["freeze"] * (kills // 7) + ["all"] * (kills // 33)
        faults += ["broker_kill"] * ((restarts + 1) // 2) + ["broker_stop"] * (restarts // 2)
        self._rng.shuffle(faults)
        for fault in faults:
            yield self._add_or_remove() if fault == "change" else fault
        while tally.kills < arguments.kills or tally.rebalances < arguments.rebalances:
            yield "kill" if tally.kills < arguments.kills else self._add_or_remove()

    def _add_or_remove(self) -> str:
        count = len(self.fleet.replicas)
        more = count == REPLICAS_MIN or (count < REPLICAS_MAX and self._rng.random() < 0.5)
        return "add" if more else "remove"

    def _one(self, number: int, fault: str) -> None:
        self.tally.load.append(os.getloadavg()[0])
        if self._rng.random() < BACK_SHARE:
            self._return_broker()
        if fault in ("add", "remove"):
            self.fleet.await_settled(f"what came before fault {number}")
        elif not poll_until(lambda: bool(self.fleet.owners()), timeout_s=self.arguments.patience):
            self._violation(f"nobody ran anything before fault {number} ({fault})")
        before = self.fleet.owners()
        actions: dict[str, Callable[[], str]] = {
            "kill": self._kill,
            "oom": lambda: self._kill(oom=True),
            "add": self._add,
            "remove": self._remove,
            "restart": self._restart,
            "all": self._all,
            "freeze": self._freeze,
            "broker_kill": self._broker,
            "broker_stop": lambda: self._broker(orderly=True),
        }
        outcome = actions[fault]()
        self.tally.faults[fault] += 1
        line = f"{number:4} {fault:11} {outcome}"
        # What is counted by what it did must be let do it.
        if fault not in ("add", "remove") and self._rng.random() < IMPATIENT_SHARE:
            time.sleep(self._rng.uniform(0.0, IMPATIENT_S_MAX))
            print(f"{line}; not waited for", flush=True)
            return
        ready_s, going_s = self._await_going(f"fault {number} ({line})")
        self.tally.ready_s[fault].append(ready_s)
        self.tally.going_s[fault].append(going_s)
        after = self.fleet.owners()
        moved = sum(before.get(p) is not None and before.get(p) != owner for p, owner in after.items())
        if fault in ("add", "remove") and moved:
            self.tally.rebalances += 1
            self.tally.moved += moved
        times = f"ready after {ready_s:.1f} s, going after {going_s:.1f} s"
        print(f"{line}; {times}, {moved} moved, at {sum(self._done.values())}", flush=True)
        self._expire()

    def _await_going(self, what: str) -> tuple[float, float]:
        """Seconds until all replicas are ready, and then until every partition has committed further."""
        ready_s = self.fleet.await_settled(what)
        began = time.monotonic()
        before: dict[int, int] = {}

        def further() -> bool:
            seen = self._offsets.committed()
            if not before:
                before.update(seen)
                return False
            self._done = seen or self._done
            return bool(seen) and all(seen[p] > before[p] for p in before)

        if not poll_until(further, timeout_s=self.arguments.patience):
            self._violation(f"not every partition went on after {what}: {before}, {self._done}")
        return ready_s, ready_s + time.monotonic() - began

    def _victim(self) -> Replica:
        owners = set(self.fleet.owners().values())
        choice = [r for r in self.fleet.replicas if r.name in owners] or self.fleet.replicas
        return self._rng.choice(choice)

    def _kill(self, *, oom: bool = False) -> str:
        victim = self._victim()
        running = victim.daemon.running()
        damage = self._damage(running) if self._rng.random() < DAMAGED_SHARE else ""
        self.tally.kills += bool(victim.daemon.alive and running)
        killer = oom_kill(victim.daemon.process) if oom else "SIGKILL"
        victim.daemon.kill()
        self.tally.killers[killer] += 1
        self.fleet.again(victim)
        return f"{victim.name} with {sorted(running)} by {killer} {damage}"

    def _add(self) -> str:
        return self.fleet.add().name

    def _remove(self) -> str:
        victim = self._victim()
        self.fleet.replicas.remove(victim)
        self.fleet.terminate(victim)
        return victim.name

    def _restart(self) -> str:
        victim = self._victim()
        self.fleet.terminate(victim)
        self.fleet.again(victim)
        return victim.name

    def _all(self) -> str:
        half = len(self.fleet.replicas) // 2
        for replica in self.fleet.replicas[:half]:
            self.tally.kills += bool(replica.daemon.alive and replica.daemon.running())
            replica.daemon.kill()
        self.fleet.terminate(*self.fleet.replicas[half:])
        for replica in self.fleet.replicas:
            self.fleet.again(replica)
        return f"{len(self.fleet.replicas)} replicas"

    def _freeze(self) -> str:
        victim = self._victim()
        running = sorted(victim.daemon.running())
        seconds = SESSION_S + self._rng.uniform(1.0, 4.0)
        victim.daemon.suspend()
        time.sleep(seconds)
        victim.daemon.resume()
        return f"{victim.name} with {running} for {seconds:.1f} s"

    def _broker(self, *, orderly: bool = False) -> str:
        self._return_broker()
        if not poll_until(self._in_sync, timeout_s=self.arguments.patience):
            self._violation("not all brokers had everything again")
        controller, led = self.cluster.controller(), self.cluster.led()
        leading = [broker for broker in self.cluster.brokers if led[broker.node]]
        broker = controller if self._rng.random() < CONTROLLER_SHARE else self._rng.choice(leading)
        self.tally.controllers += broker is controller
        (broker.stop if orderly else broker.kill)()
        self._away = broker
        meanwhile = (
            f", meanwhile a kill of {self._kill()}" if self._rng.random() < KILLED_WITHOUT_BROKER else ""
        )
        if len(self.cluster.brokers) == 1:
            time.sleep(self._rng.uniform(0.0, 4.0))
            self._return_broker()
        return f"{broker.node}{', the controller' if broker is controller else ''}{meanwhile}"

    def _return_broker(self) -> None:
        if self._away is not None:
            self._away.start()
            print(f"     broker {self._away.node} is back", flush=True)
            self._away = None

    def _in_sync(self) -> bool:
        with suppress(KafkaError):  # whom we ask may be on its way up
            return self.cluster.in_sync()
        return False

    def _damage(self, partitions: set[int]) -> str:
        """Damage the newest generation of one partition, never twice in succession."""
        if not partitions:
            return ""
        states = self._states(self._rng.choice(sorted(partitions)))
        names = [state.stem for state in states[-2:]]
        if len(names) < 2 or self._damaged & set(names):
            return ""
        self._damaged.add(names[-1])
        path = states[-1]
        kind = self._rng.choice(("torn", "corrupted", "deleted", "without manifest"))
        with suppress(FileNotFoundError):  # it was pruned just now
            if kind == "torn":
                os.truncate(path, path.stat().st_size // 2)
            elif kind == "corrupted":
                with path.open("r+b") as file:
                    file.seek(path.stat().st_size // 3)
                    file.write(self._rng.randbytes(64))
            elif kind == "deleted":
                path.unlink()
            else:
                path.with_suffix(".json").unlink()
        self.tally.faults["damage"] += 1
        return f"{path.stem} {kind}"

    def _states(self, partition: int) -> list[Path]:
        """State files of a partition, oldest first."""
        return sorted(self.deployment.checkpoints.glob(f"*/*/*/{partition:05d}/*.state"))

    def _expire(self) -> None:
        """Delete records before the oldest generation, as retention would; odd partitions are compacted."""
        if self._recorder is None or time.monotonic() - self._expired_s < EXPIRE_EVERY_S:
            return
        self._expired_s = time.monotonic()
        topic = self.deployment.topics["transactions"]
        before = {}
        for partition in range(0, self.deployment.partitions, 2):
            states = self._states(partition)
            if len(states) > 1:
                needed = min(int(states[0].stem.partition("-")[0]), self._recorder.position(partition))
                before[TopicPartition(topic, partition)] = needed
        with (
            suppress(Exception),
            closing(KafkaAdminClient(bootstrap_servers=self.cluster.bootstrap)) as admin,
        ):
            admin.delete_records(before)

    # --- the end ---

    def drain(self) -> None:
        """End the traffic, wait until the log's end is committed, markers included, and stop the replicas."""
        self._traffic.finish()

        def done() -> bool:
            time.sleep(0.3)
            self.fleet.check_alive()
            ends = self._offsets.ends()
            return bool(ends) and self._offsets.committed() == ends

        if not poll_until(done, timeout_s=max(DRAIN_SECONDS_MAX, self.arguments.patience)):
            self._violation(
                f"not drained: committed {self._offsets.committed()}, ends {self._offsets.ends()}"
            )
        self.fleet.await_settled("the end")

        def lag() -> float:
            return sum(r.daemon.metric("detector_partition_lag_records") for r in self.fleet.replicas)

        if not poll_until(lambda: lag() == 0, timeout_s=10):
            self._violation(f"lag {lag():g} at the end")
        for replica in self.fleet.replicas:
            received, scored, rejected = (
                replica.daemon.metric(f"detector_events_{name}_total")
                for name in ("received", "scored", "rejected")
            )
            if received != scored + rejected:
                self._violation(
                    f"{replica.name}: received {received} is not scored {scored} + rejected {rejected}"
                )
        self.fleet.terminate(*self.fleet.replicas)
        for daemon in self.deployment.daemons:
            for event, words in LOGGED.items():
                self.tally.logged[words] += len(daemon.logged(event))

    def check(self) -> None:
        """Compare everything published with the log and with an undisturbed run."""
        seen = published(self.deployment)
        if self.arguments.delivery == "at_least_once":
            seen, self.tally.events["repeated"], mixed = first_copies(seen)
            if mixed:
                self._violation(f"{len(mixed)} outputs have copies that differ: {mixed[:5]}")
        log = log_of(self.deployment)
        if self._recorder is not None:
            left, log = sum(map(len, log.values())), self._recorder.finish(self._offsets.ends())
            self._tell_gone(log, left)
        self._accounted(seen, log)
        if self.arguments.expire or self.arguments.sides:
            reference, messages = undisturbed(self.deployment, log, sides=self.arguments.sides)
            self._check_messages(messages)
        else:
            reference = published_again(self.deployment, 60.0 + len(seen) / 100)
        for kind, number in Counter(about[0] for about in seen).items():
            self.tally.events[kind] = number
        self._tell(compare(seen, reference))

    def _accounted(self, seen: Seen, log: dict[int, list[Record]]) -> None:
        """Each record is scored or rejected, exactly once."""
        times, offsets = times_accounted(seen), places(log)
        self.tally.events["in the log"] = len(offsets)
        wrong = sorted(at for at in offsets | times.keys() if (at in offsets, times[at]) != (True, 1))
        if wrong:
            self._violation(f"{len(wrong)} records are not scored or rejected exactly once: {wrong[:5]}")

    def _check_messages(self, expected: list[bytes]) -> None:
        messages = side_records(self.cluster.bootstrap, self.deployment.topics.get("exchange"))
        if sorted(expected) != sorted(value for _, value in messages):
            self._violation(
                f"shards published {len(messages)} messages, undisturbed {len(expected)}, and they differ"
            )
        self.tally.events["messages of shards"] = len(messages)

    def _tell(self, difference: Difference) -> None:
        for what in ("lost", "surplus", "twice", "different"):
            found = getattr(difference, what)
            self.tally.events[what] = len(found)
            if found:
                self._violation(f"{len(found)} outputs {what}: {found[:5]}")

    def _tell_gone(self, log: dict[int, list[Record]], left: int) -> None:
        with closing(KafkaConsumer(bootstrap_servers=self.cluster.bootstrap)) as consumer:
            topic = self.deployment.topics["transactions"]
            begin = consumer.beginning_offsets([TopicPartition(topic, number) for number in log])
        kept = sum(r.offset >= begin[TopicPartition(topic, p)] for p, records in log.items() for r in records)
        self.tally.events["expired"] = sum(map(len, log.values())) - kept
        self.tally.events["compacted away"] = kept - left

    def _violation(self, text: str) -> None:
        print(f"VIOLATION {text}", flush=True)
        self.fleet.violations.append(text)

    def report(self) -> None:
        """Print the table."""
        tally = self.tally
        print("\n                       waited   ready, s      every partition goes on, s")
        print("fault         times       for   median    max     median    max")
        for fault, times in sorted(tally.faults.items()):
            ready, going = tally.ready_s[fault], tally.going_s[fault]
            figures = [f"{statistics.median(s):11.1f} {max(s):6.1f}" for s in (ready, going) if s]
            print(f"{fault:13} {times:5} {len(ready):9}{''.join(figures)}")
        killers = ", ".join(f"{times} by {killer}" for killer, times in tally.killers.items())
        print(f"\nkills of a process with partitions {tally.kills} ({killers})")
        print(f"rebalances by add or remove        {tally.rebalances}, {tally.moved} partitions moved")
        restarts = tally.faults["broker_kill"] + tally.faults["broker_stop"]
        print(f"broker restarts                    {restarts}, {tally.controllers} of the active controller")
        if tally.load:
            load = f"median {statistics.median(tally.load):.1f}, max {max(tally.load):.1f}"
            print(f"load                               {load}")
        if self.fleet.stop_s:
            stops = self.fleet.stop_s
            times = f"median {statistics.median(stops):.1f} s, max {max(stops):.1f} s"
            print(f"stops by SIGTERM                   {times}")
        for what, number in tally.logged.items():
            print(f"{what:34} {number:,}")
        print(f"batches without an answer, sent again {self._traffic.unknown:,}\n")
        for what, number in tally.events.items():
            print(f"{what:20} {number:10,}")
        print(f"\nviolations: {len(self.fleet.violations)}")
        for violation in self.fleet.violations:
            print(f"- {violation}")
        sys.stdout.flush()


class Recorder(threading.Thread):
    """Reads the log before it expires."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(name="recorder", daemon=True)
        self._at = [
            TopicPartition(deployment.topics["transactions"], p) for p in range(deployment.partitions)
        ]
        self._servers = deployment.bootstrap
        self._positions = dict.fromkeys(range(deployment.partitions), 0)
        self._log: dict[int, list[Record]] = {p: [] for p in range(deployment.partitions)}
        self._ends: dict[int, int] | None = None

    def run(self) -> None:
        """Read until `finish` sets the end of the log."""
        settings = {
            "isolation_level": "read_committed",
            "auto_offset_reset": "none",
            "enable_auto_commit": False,
        }
        with closing(KafkaConsumer(bootstrap_servers=self._servers, **settings)) as consumer:
            consumer.assign(self._at)
            for at in self._at:
                consumer.seek(at, 0)
            while self._ends is None or self._positions != self._ends:
                for at, records in consumer.poll(timeout_ms=200).items():
                    self._log[at.partition] += map(to_record, records)
                with suppress(Exception):
                    self._positions = {
                        at.partition: consumer.position(at, timeout_ms=1000) for at in self._at
                    }

    def position(self, partition: int) -> int:
        """Next offset to read."""
        return self._positions[partition]

    def finish(self, ends: dict[int, int]) -> dict[int, list[Record]]:
        """All records that were ever in the log."""
        self._ends = ends
        self.join(60)
        if self._positions != ends:
            raise TimeoutError(f"the log was read to {self._positions}, it ends at {ends}")
        return self._log


@contextmanager
def _folder(wanted: Path | None) -> Iterator[str]:
    if wanted is not None:
        wanted.mkdir(parents=True)
        yield str(wanted.resolve())
        return
    with tempfile.TemporaryDirectory(prefix="detector-chaos-") as made:
        yield made


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rebalances", type=int, default=30)
    parser.add_argument("--broker-restarts", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=40.0, help="time for the faults, without the checks")
    parser.add_argument(
        "--brokers", type=int, choices=(1, 3), default=3, help="a single broker can lose transaction markers"
    )
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rate", type=float, default=300.0, help="events per second")
    parser.add_argument(
        "--patience",
        type=float,
        default=90.0,
        help="limit of seconds from a fault until all replicas are ready",
    )
    parser.add_argument("--expire", action="store_true", help="compact the topic and let old segments expire")
    parser.add_argument("--sides", action="store_true", help="with labels and exchange")
    parser.add_argument(
        "--delivery",
        choices=("exactly_once", "at_least_once"),
        default="exactly_once",
        help="at_least_once: outputs may be repeated",
    )
    parser.add_argument("--folder", type=Path, help="new folder for logs and checkpoints; it is kept")
    return parser.parse_args()


if __name__ == "__main__":
    main()
