"""The daemon on a real Kafka: a preloaded topic, and `detector run` processes that process it.

How a rate is measured
    The topic is filled and its producer gone before a daemon starts. Ten times a second the broker is asked
    what the group has committed. The clock starts when the first quarter of the events is committed (which
    covers start, compilation and the frequent barriers of young models) and each replica has its share of the
    partitions. It ends when the last event is committed. Rate = events committed / time between the two; the
    last commit is seen up to a tenth of a second late.

Learning, alerts and the metrics page are on. Settings have their defaults, except where a benchmark sets
others; the scores topic is off. CPU seconds are those of the measured time, from /proc (Linux).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from benchmarks.speed.common import CONFIG, WARM_UP_SHARE, Event
from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Daemon, Deployment
from tests.kafka.distribution import KAFKA_VERSION

SAMPLE_S = 0.1
DONE_SECONDS_MAX = 3_600.0
COUNTED_SECONDS_MAX = 10.0  # from the last commit
SCORES_OFF = "topics.scores=null"
DEFAULTS = (SCORES_OFF, "checkpoints.interval=30", "kafka.session_timeout_ms=15000")
"""Settings of tests taken back to the daemon's own."""

BROKER = f"Kafka {KAFKA_VERSION}, one broker, C1 only, serial collector"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True, slots=True)
class Worked:
    """Results of the measured part of a run."""

    events: int
    seconds: float
    cpu_s: dict[str, float]  # by process: replica 1, ..., broker

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds


class Service:
    """One topic and the group that processes it; stops all its daemons."""

    def __init__(
        self,
        broker: KafkaBroker,
        folder: Path,
        name: str,
        partitions: int,
        settings: Iterable[str] = (),
        sides: Iterable[str] = (),
    ) -> None:
        event = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["event"]
        self.deployment = Deployment(
            broker.bootstrap, folder, name, partitions=partitions, config={"event": event}, sides=sides
        )
        self.preloaded = 0
        self._broker = broker
        self._daemons: list[Daemon] = []
        self.settings = [*DEFAULTS, *settings]
        self._admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admin.close()
        self.deployment.__exit__()

    def preload(self, events: Iterable[Event]) -> None:
        """Fill the topic."""
        self.preloaded += self.deployment.produce(events)

    def publish_scores(self) -> None:
        """Let daemons started from now on publish the scores of all events."""
        self.settings.remove(SCORES_OFF)

    def run(self, replicas: int = 1) -> Worked:
        """Process the topic from its beginning, as a new group."""
        self.start(replicas)
        worked = self.measure()
        self.stop()
        self.deployment.forget_group()
        return worked

    def start(self, replicas: int = 1) -> None:
        """Start daemons of the group."""
        self._daemons = [self.deployment.start(*self.settings) for _ in range(replicas)]

    def measure(self) -> Worked:
        """Measure until all preloaded events are committed; see the module's docstring."""
        warm_up, share = WARM_UP_SHARE * self.preloaded, self.deployment.partitions // len(self._daemons)

        def under_way() -> bool:
            return self.committed() >= warm_up and all(daemon.owns() == share for daemon in self._daemons)

        self.wait("under way", under_way)
        began_s, first, cpu_before_s = time.monotonic(), self.committed(), self.cpu_s()
        if first >= self.preloaded:
            raise SystemExit("done before it could be measured: raise --events")
        self.wait("done", lambda: self.committed() >= self.preloaded)
        seconds = time.monotonic() - began_s
        spent = {name: after - cpu_before_s[name] for name, after in self.cpu_s().items()}
        return Worked(events=self.preloaded - first, seconds=seconds, cpu_s=spent)

    def stop(self) -> None:
        """Stop daemons when everything is committed; their counts must include every event."""
        self.wait("counted", lambda: self._counted("received") == self.committed(), COUNTED_SECONDS_MAX)
        received, scored, rejected = map(self._counted, ("received", "scored", "rejected"))
        if received != scored + rejected:
            raise SystemExit(f"{self.committed():,} events: received {received:,}, scored {scored:,}")
        while self._daemons:
            if (code := self._daemons.pop().stop()) != 0:
                raise SystemExit(f"a daemon ended with exit code {code}")

    def _counted(self, name: str) -> int:
        return int(sum(daemon.metric(f"detector_events_{name}_total") for daemon in self._daemons))

    def committed(self) -> int:
        """Sum of the group's committed offsets; 0 while there is no such group."""
        group = self.deployment.group
        with contextlib.suppress(KafkaError):
            offsets: dict[Any, Any] = self._admin.list_group_offsets([group])[group]
            return sum(max(committed.offset, 0) for committed in offsets.values())
        return 0

    def stages(self) -> dict[str, tuple[float, float]]:
        """Seconds of each stage of the processing, and how often there was one."""
        name = "detector_stage_duration_seconds"
        sums, counts = (
            Counter[str]() + sum((Counter(d.metrics(f"{name}_{kind}")) for d in self._daemons), Counter())
            for kind in ("sum", "count")
        )
        return {labels.split('"')[1]: (seconds, counts[labels]) for labels, seconds in sums.items()}

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far, by process."""
        processes = {f"replica {n}": daemon.process.pid for n, daemon in enumerate(self._daemons, start=1)}
        return {name: cpu_s(pid) for name, pid in {**processes, "broker": self._broker.pid}.items()}

    def wait(self, what: str, condition: Callable[[], bool], seconds_max: float = DONE_SECONDS_MAX) -> None:
        """Wait until something holds; a daemon that ended is an error."""
        until_s = time.monotonic() + seconds_max
        while not condition():
            if time.monotonic() > until_s or not all(daemon.alive for daemon in self._daemons):
                logs = "\n".join(daemon.log()[-3000:] for daemon in self._daemons)
                raise SystemExit(f"not {what}\n{logs}")
            time.sleep(SAMPLE_S)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
