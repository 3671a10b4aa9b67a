"""One minute of the whole service: a broker, simulated card traffic with frauds, the daemon, its alerts.

    simulate ─> producer ─> transactions ─> `detector run` (a process of its own) ─> alerts ─> table
                                               └ feedback, receipts ─ `detector console` (another) ─> browser

The daemon is that of production, connected by real sockets. Without `--bootstrap` the broker is librdkafka's
mock cluster in this process. It has no transactions, so delivery is then at least once. At the end the
console shows the alerts, while slow traffic goes on, until Ctrl-C.
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
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from detector.config.extras import install
from detector.core.alerts.words import printed
from detector.demo.broker import Broker
from detector.demo.simulation.cards import DAYS_MAX, CardsConfig, label_rows, simulate, to_events
from detector.errors import ConfigError, NeedsOperator, Problem

CUSTOMERS = 1_000
# One core can process this while learning; the producer is never more than a poll or two ahead.
EVENTS_PER_SECOND = 3_000
LATER_EVENTS_PER_SECOND = 20  # while the console is looked at
BUDGET_SHARE = 0.005
TABLE_ROWS = 10
START_SECONDS_MAX = 180.0  # the first start compiles the kernels
DRAIN_SECONDS_MAX = 20.0
SECONDS_MIN = 10.0
EXIT_SIGNAL = 128 + signal.SIGTERM
DAY_S = 86_400
WEEK_S = 7 * DAY_S
EVENTS_PER_DAY = 1.7 * CUSTOMERS

CATEGORICAL = ("category", "channel", "country", "city")
SEVERITY_STYLES = {"low": "default", "medium": "yellow", "high": "red", "critical": "bold red"}


@dataclass(slots=True)
class _Tally:
    """Frauds that were injected and alerts that came."""

    frauds: dict[str, tuple[str, str]] = field(default_factory=dict)  # event id -> pattern and incident
    alerts: dict[str, str] = field(default_factory=dict)  # event id -> alert id
    produced: int = 0
    latest: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=TABLE_ROWS))


def run_demo(seconds: float, bootstrap: str | None, console: Console, *, stay: bool | None = None) -> None:
    """Run the demonstration and print its results.

    Parameters
    ----------
    seconds
        Duration of the traffic, without start and end.
    bootstrap
        HOST:PORT of a real broker; None: a broker in this process.
    stay
        Whether it ends with the pages of `detector console`, until Ctrl-C. None: on a terminal, where the
        packages for them are installed.

    Raises
    ------
    ConfigError
        `seconds` is out of range.
    BrokerUnavailable, NeedsOperator
        The broker cannot be reached; the daemon or the console ended early.
    """
    if seconds < SECONDS_MIN:
        raise ConfigError(
            "demo", [Problem(path="seconds", value=f"{seconds:g}", allowed=f"at least {SECONDS_MIN:g}")]
        )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(EXIT_SIGNAL))  # so that the processes end, too
    broker, tally = Broker(bootstrap), _Tally()
    address, pages = (f"127.0.0.1:{_free_port()}" for _ in range(2))
    count = int(seconds * EVENTS_PER_SECOND)
    events = _traffic(count, tally)
    with tempfile.TemporaryDirectory(prefix="detector-demo-") as name:
        folder = Path(name)
        file = folder / "demo.yaml"
        file.write_text(json.dumps(_config(broker, address, pages, folder)))  # JSON is YAML
        with _process("run", file) as daemon:
            console.print(
                f"broker {broker.address}, daemon pid {daemon.pid}, metrics on http://{address}/metrics"
            )
            with console.status("starting the daemon (the first start compiles its kernels)"):
                _await(
                    daemon,
                    "daemon",
                    lambda: bool(json.loads(_page(f"http://{address}/readyz"))["partitions"]),
                )
            began = time.monotonic()
            _flow(count, events, broker, daemon, address, tally, console)
            took = time.monotonic() - began
            scored = _metric(address, "detector_events_scored_total")
            rejected = _metric(address, "detector_events_rejected_total")
            _report(tally, scored, rejected, took, console)
            if console.is_terminal if stay is None else stay:
                _show_console(file, pages, events, broker, daemon, console)


def _show_console(
    file: Path,
    pages: str,
    events: Iterator[dict[str, object]],
    broker: Broker,
    daemon: subprocess.Popen[bytes],
    console: Console,
) -> None:
    """Run `detector console` on the alerts until Ctrl-C. Slow traffic goes on, so that more of them come."""
    if any(find_spec(name) is None for name in ("starlette", "uvicorn", "jinja2")):
        console.print(f"to work these alerts in a browser: {install('console')}")
        return
    with _process("console", file) as process:
        with console.status("starting the console"):
            _await(process, "console", lambda: _page(f"http://{pages}/healthz") != b"")
        console.print(f"work these alerts in a browser: http://{pages} (Ctrl-C ends the demonstration)")
        with suppress(KeyboardInterrupt):
            while daemon.poll() is None and process.poll() is None:
                for _ in range(LATER_EVENTS_PER_SECOND):
                    broker.send(next(events))
                broker.flush()
                time.sleep(1.0)


@contextmanager
def _process(command: str, file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of `detector` as a process; SIGTERM stops it at the end."""
    path = file.with_name(f"{command}.log")
    log = path.open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "detector", command, "--config", str(file)],
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
        if process.poll() is not None:
            raise NeedsOperator(f"`detector {command}` ended early:\n{path.read_text()[-2000:]}")
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


def _config(broker: Broker, address: str, pages: str, folder: Path) -> dict[str, Any]:
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
            "group_id": f"{broker.run}-detector",
            "api_version": None if broker.real else [2, 3],
        },
        "topics": broker.topics,
        "delivery": "exactly_once" if broker.real else "at_least_once",
        "alerts": {"budget": {"share": BUDGET_SHARE}},
        "checkpoints": {"url": f"file://{folder}/checkpoints"},
        "http": {"address": address},
        "console": {"address": pages, "database": f"{folder}/console.db", "map_every": "5m"},
        "log": {"format": "json"},
    }


def _await(process: subprocess.Popen[bytes], what: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            if ready():
                return
        time.sleep(0.2)
    if process.poll() is None:
        raise NeedsOperator(f"the {what} was not ready after {START_SECONDS_MAX:g} s")


def _page(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=2) as page:
        return bytes(page.read())


def _flow(
    count: int,
    events: Iterator[dict[str, object]],
    broker: Broker,
    daemon: subprocess.Popen[bytes],
    address: str,
    tally: _Tally,
    console: Console,
) -> None:
    """Send so many events and wait until they are scored. Shows alerts as they arrive."""
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
    """Yield events without end. The first `count` end a week or two ago, as people answer them today."""
    begin, span_s = CardsConfig().start_time, count / EVENTS_PER_DAY * DAY_S
    begin += max(int((time.time() - span_s - begin) / WEEK_S) - 1, 0) * WEEK_S  # weekdays stay
    for day in simulate(CardsConfig(seed=7, customers=CUSTOMERS, days=DAYS_MAX, start_time=begin)):
        frauds = {event_id: (kind, incident) for event_id, _, kind, incident in label_rows(day)}
        for event in to_events(day):
            if (id_ := str(event["event_id"])) in frauds:
                tally.frauds[id_] = frauds[id_]
            yield event


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
