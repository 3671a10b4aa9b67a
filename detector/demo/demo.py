"""One minute of the whole service: a broker, simulated card traffic with frauds, the daemon, its alerts.

    simulate ─> producer ─> transactions ─> `detector run` (a process of its own) ─> alerts ─> table

The daemon is that of production, connected by real sockets. Without `--bootstrap` the broker is librdkafka's
mock cluster in this process. It has no transactions, so delivery is then at least once.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from detector.config.extras import install
from detector.core.alerts.words import printed
from detector.demo.simulation.cards import CardsConfig, label_rows, simulate, to_events
from detector.errors import BrokerUnavailable, ConfigError, NeedsOperator, Problem

CUSTOMERS = 1_000
# One core can process this while learning; the producer is never more than a poll or two ahead.
EVENTS_PER_SECOND = 3_000
BUDGET_SHARE = 0.005
PARTITIONS = 2
TABLE_ROWS = 10
START_SECONDS_MAX = 90.0  # the first start compiles the kernels
DRAIN_SECONDS_MAX = 20.0
SECONDS_MIN = 10.0

CATEGORICAL = ("category", "channel", "country", "city")
SEVERITY_STYLES = {"low": "default", "medium": "yellow", "high": "red", "critical": "bold red"}


@dataclass(slots=True)
class _Tally:
    """Frauds that were injected and alerts that came."""

    frauds: dict[str, tuple[str, str]] = field(default_factory=dict)  # event id -> pattern and incident
    alerts: dict[str, str] = field(default_factory=dict)  # event id -> alert id
    produced: int = 0
    latest: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=TABLE_ROWS))


def run_demo(seconds: float, bootstrap: str | None, console: Console) -> None:
    """Run the demonstration and print its results.

    Parameters
    ----------
    seconds
        Duration of the traffic, without start and end.
    bootstrap
        HOST:PORT of a real broker; None: a broker in this process.

    Raises
    ------
    ConfigError
        `seconds` is out of range.
    BrokerUnavailable, NeedsOperator
        The broker cannot be reached; the daemon ended early.
    """
    if seconds < SECONDS_MIN:
        raise ConfigError(
            "demo", [Problem(path="seconds", value=f"{seconds:g}", allowed=f"at least {SECONDS_MIN:g}")]
        )
    broker = _Broker(bootstrap)
    tally = _Tally()
    address = f"127.0.0.1:{_free_port()}"
    with (
        tempfile.TemporaryDirectory(prefix="detector-demo-") as folder,
        _daemon(broker, address, Path(folder)) as daemon,
    ):
        console.print(
            f"broker {broker.address}, daemon pid {daemon.pid}, metrics on http://{address}/metrics"
        )
        with console.status("starting the daemon (the first start compiles its kernels)"):
            _await_ready(daemon, address)
        began = time.monotonic()
        _flow(seconds, broker, daemon, address, tally, console)
        took = time.monotonic() - began
        scored = _metric(address, "detector_events_scored_total")
        rejected = _metric(address, "detector_events_rejected_total")
    _report(tally, scored, rejected, took, console)


class _Broker:
    """Topics of one demonstration, on a real broker or on librdkafka's mock cluster."""

    def __init__(self, bootstrap: str | None) -> None:
        try:
            import confluent_kafka
        except ImportError:
            raise NeedsOperator(f"the demo needs confluent-kafka: {install('demo')}") from None
        self._kafka = confluent_kafka
        self.real = bootstrap is not None
        settings: dict[str, Any] = {"linger.ms": 5, "log_level": 0}
        settings |= {"bootstrap.servers": bootstrap} if bootstrap else {"test.mock.num.brokers": 1}
        self._producer = confluent_kafka.Producer(settings)
        run = uuid.uuid4().hex[:8]
        self.topics = {name: f"demo-{run}-{name}" for name in ("transactions", "alerts", "dead_letter")}
        try:
            brokers = self._producer.list_topics(timeout=10).brokers
        except confluent_kafka.KafkaException as error:
            raise BrokerUnavailable(f"no broker at {bootstrap}: {error}") from None
        if bootstrap is None:
            broker = next(iter(brokers.values()))
            bootstrap = f"{broker.host}:{broker.port}"
        self.address = bootstrap
        self._create_topics()
        self._consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"demo-{run}-viewer",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "log_level": 0,
            }
        )
        partitions = self._consumer.list_topics(self.topics["alerts"], timeout=10)
        self._consumer.assign(
            [
                confluent_kafka.TopicPartition(self.topics["alerts"], number, 0)
                for number in partitions.topics[self.topics["alerts"]].partitions
            ]
        )

    def send(self, event: dict[str, object]) -> None:
        """Queue one event, keyed by its card."""
        key = str(event["card"]).encode()
        partition = zlib.crc32(key) % PARTITIONS  # of the four partitions that the mock cluster makes
        self._producer.produce(self.topics["transactions"], msgspec.json.encode(event), key, partition)

    def flush(self) -> None:
        """Wait until the broker has all queued events."""
        self._producer.flush(10)

    def alerts(self, seconds: float) -> Iterator[dict[str, Any]]:
        """Yield the alerts that arrive within `seconds`."""
        for message in self._consumer.consume(num_messages=500, timeout=seconds):
            body = message.value()
            if message.error() is None and body is not None:
                yield msgspec.json.decode(body)

    def _create_topics(self) -> None:
        if self.real:
            from confluent_kafka import admin as found

            admin: Any = found  # its stubs do not export NewTopic
            client = admin.AdminClient({"bootstrap.servers": self.address, "log_level": 0})
            topics = [admin.NewTopic(topic, PARTITIONS, 1) for topic in self.topics.values()]
            try:
                for future in client.create_topics(topics).values():
                    future.result(10)
            except self._kafka.KafkaException as error:
                raise NeedsOperator(f"topics cannot be created at {self.address}: {error}") from None
        else:  # the mock cluster creates a topic when it is asked about it
            for topic in self.topics.values():
                self._producer.list_topics(topic, timeout=10)


@contextmanager
def _daemon(broker: _Broker, address: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `detector run` as a process; SIGTERM stops it at the end."""
    file = folder / "demo.yaml"
    file.write_text(json.dumps(_config(broker, address, folder)))  # JSON is YAML
    log = (folder / "daemon.log").open("wb")
    command = [sys.executable, "-m", "detector", "run", "--config", str(file)]
    daemon = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield daemon
        if daemon.poll() is not None:
            raise NeedsOperator(f"the daemon ended early:\n{(folder / 'daemon.log').read_text()[-2000:]}")
    finally:
        with suppress(ProcessLookupError):
            daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(15)
        except subprocess.TimeoutExpired:
            daemon.kill()
        log.close()


def _config(broker: _Broker, address: str, folder: Path) -> dict[str, Any]:
    return {
        "event": {
            "id": "event_id",
            "time": {"path": "event_time"},
            "entities": [
                {"name": "card", "path": "card"},
                {"name": "merchant", "path": "merchant"},
                {"name": "device", "path": "device", "optional": True},
            ],
            "fields": [
                {"name": "amount", "path": "amount", "type": "numeric", "display": "amount"},
                *(
                    {"name": name, "path": name, "type": "categorical", "display": name}
                    for name in CATEGORICAL
                ),
            ],
            "exposure": "amount",
        },
        "kafka": {
            "bootstrap_servers": [broker.address],
            "group_id": f"{broker.topics['transactions']}-detector",
            "api_version": None if broker.real else [2, 3],
        },
        "topics": broker.topics,
        "delivery": "exactly_once" if broker.real else "at_least_once",
        "alerts": {"budget": {"share": BUDGET_SHARE}},
        "checkpoints": {"url": f"file://{folder}/checkpoints"},
        "http": {"address": address},
        "log": {"format": "json"},
    }


def _await_ready(daemon: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and daemon.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"http://{address}/readyz", timeout=2) as page:
            if json.load(page)["partitions"]:
                return
        time.sleep(0.2)
    if daemon.poll() is None:
        raise NeedsOperator(
            f"the daemon was not ready after {START_SECONDS_MAX:g} s: see http://{address}/readyz"
        )


def _flow(
    seconds: float,
    broker: _Broker,
    daemon: subprocess.Popen[bytes],
    address: str,
    tally: _Tally,
    console: Console,
) -> None:
    """Send traffic for `seconds` and wait until it is scored. Shows alerts as they arrive."""
    count = int(seconds * EVENTS_PER_SECOND)
    events = _traffic(count, tally)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} events"),
        TimeRemainingColumn(),
        console=console,
    )
    task = bar.add_task("traffic", total=count)
    began = time.monotonic()
    with Live(Group(bar, _table(tally)), console=console, refresh_per_second=4) as live:
        drained_by = float("inf")
        while daemon.poll() is None and time.monotonic() < drained_by:
            due = min(int((time.monotonic() - began) * EVENTS_PER_SECOND), count)
            for _ in range(due - tally.produced):
                broker.send(next(events))
                tally.produced += 1
            broker.flush()
            for alert in broker.alerts(0.2):
                tally.alerts[alert["event_id"]] = alert["alert_id"]
                tally.latest.append(alert)
            bar.update(task, completed=tally.produced)
            live.update(Group(bar, _table(tally)))
            if tally.produced == count:
                drained_by = min(drained_by, time.monotonic() + DRAIN_SECONDS_MAX)
                if _metric(address, "detector_events_scored_total") >= tally.produced:
                    drained_by = min(drained_by, time.monotonic() + 0.5)  # the last commit's alerts
    broker.flush()


def _traffic(count: int, tally: _Tally) -> Iterator[dict[str, object]]:
    for day in simulate(CardsConfig(seed=7, customers=CUSTOMERS, events=count)):
        tally.frauds.update((event_id, (kind, incident)) for event_id, _, kind, incident in label_rows(day))
        yield from to_events(day)


def _table(tally: _Tally) -> Table:
    table = Table(title=f"alerts: {len(tally.alerts)}", expand=True, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("event time", style="dim", no_wrap=True)
    table.add_column("card", style="cyan", no_wrap=True, justify="right")
    table.add_column("amount", no_wrap=True, justify="right")
    table.add_column("score", no_wrap=True, justify="right")
    table.add_column("because", ratio=1)
    table.add_column("truth", no_wrap=True)
    for alert in tally.latest:
        kind = tally.frauds.get(alert["event_id"], ("",))[0].replace("_", " ")
        because = "; ".join(reason["detail"] for reason in alert["reasons"][:2] if reason["share"] >= 0.2)
        table.add_row(
            alert["event_time"][5:16].replace("T", " "),
            escape(printed(alert["entity"]["value"])),
            f"{alert['exposure']:.2f}",
            f"[{SEVERITY_STYLES[alert['severity']]}]{alert['score']['raw']:.1f}",
            escape(because or "far from normal behaviour"),
            f"[green]{escape(kind)}" if kind else "[dim]normal",
        )
    return table


def _report(tally: _Tally, scored: float, rejected: float, took: float, console: Console) -> None:
    hits = [tally.frauds[event_id] for event_id in tally.alerts if event_id in tally.frauds]
    precision = len(hits) / len(tally.alerts) if tally.alerts else 0.0
    console.print(
        f"\n{scored:,.0f} events scored, {rejected:,.0f} rejected, {scored / took:,.0f} events/s "
        f"(sent at {EVENTS_PER_SECOND:,}/s)"
    )
    console.print(
        f"precision {precision:.2f} ({len(hits)} of {len(tally.alerts)} alerts were injected frauds)"
    )
    injected, alerted = set(tally.frauds.values()), set(hits)
    for kind in dict.fromkeys(kind for kind, _ in sorted(injected)):
        incidents, found = (sum(name == kind for name, _ in pairs) for pairs in (injected, alerted))
        console.print(
            f"incidents found {found / incidents:.2f} ({kind.replace('_', ' ')}: {found} of {incidents})"
        )
    console.print(f"budget: {BUDGET_SHARE:.1%} of events, {BUDGET_SHARE * scored:.0f} alerts")


def _metric(address: str, name: str) -> float:
    """Sum of a metric over its labels; 0 if it cannot be read."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
