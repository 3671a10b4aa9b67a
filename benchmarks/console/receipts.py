"""From the click on an answer to its receipt "applied" on the page, under steady traffic.

    python -m benchmarks.console.receipts --rate 50
    python -m benchmarks.console.receipts --rate 500

A real Kafka with 8 partitions, one replica of the service with its default settings, the console, and a real
Chromium. After events enough to learn from, events come at a steady rate. Case by case a page is opened,
"Fraud" is clicked, the page of the case is opened again, and the clock stops when its act shows "applied",
without a reload. It also tells how long the receipt took from the record in the topic, and how long the
service's main thread waited for a processor meanwhile, which on a busy machine is most of it.

Prints a line per answer and a summary, also of those answers in which the service waited for less than
`WAITED_S`, and warnings of the service's log; exit code 1 if the 95th percentile is over `--limit`. Needs
Java, Maven, Playwright and Chromium.
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
import zlib
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from kafka import KafkaProducer
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.console.client import ConsoleProcess
from benchmarks.speed.common import about
from tests.browser.conftest import chromium
from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Deployment
from tests.kafka.test_end_to_end import Event, traffic
from tests.kafka.waiting import poll_until

SIDES = ("feedback", "exchange", "case_updates", "receipts")
LEARNED_EVENTS = 24_000  # before the rate is steady
CUSTOMERS = 2_000
TICK_S = 0.1
PATIENCE_S = 600.0
WAITED_S = 1.0
WARNINGS_MAX = 20
CONFIG = {
    "alerts": {"budget": {"share": 0.01}},
    "model": {"calibration": {"warm_up_events": 1024}},  # of each partition
}


class Steady(threading.Thread):
    """Sends events at a rate until `finish`."""

    def __init__(self, deployment: Deployment, events: Iterator[Event], events_per_s: float) -> None:
        super().__init__(name="traffic", daemon=True)
        self._deployment, self._events, self._rate = deployment, events, events_per_s
        self._stopping = threading.Event()

    def run(self) -> None:
        """Send what is due, ten times a second."""
        topic, partitions = self._deployment.topics["transactions"], self._deployment.partitions
        began, sent = time.monotonic(), 0
        with closing(KafkaProducer(bootstrap_servers=self._deployment.bootstrap)) as producer:
            while not self._stopping.wait(TICK_S):
                due = int((time.monotonic() - began) * self._rate) - sent
                for key, value in islice(self._events, max(due, 0)):
                    partition = zlib.crc32(key or b"") % partitions
                    producer.send(topic, key=key, value=value, partition=partition)
                    sent += 1

    def finish(self) -> None:
        """End the thread."""
        self._stopping.set()
        self.join(10)


def answer_one(page: Page, url: str) -> tuple[float, str] | None:
    """Answer the first open case; seconds from the click to "applied", and the case. None: there is none."""
    page.goto(f"{url}/cases?order=time")
    if page.locator("[data-row] a").count() == 0:
        return None
    page.locator("[data-row] a").first.click()
    page.wait_for_selector("#answer")
    case = page.url
    began = time.monotonic()
    page.click('#answer [data-key="f"]')
    page.wait_for_url(lambda now: now != case)
    page.goto(case)
    page.wait_for_selector("#acts .status.applied", timeout=PATIENCE_S * 1000)
    return time.monotonic() - began, case


def measure(browser: Browser, url: str, count: int, service: int) -> list[tuple[float, float]]:
    """Answer so many cases, one after the other: seconds, and how long the process waited for a processor."""
    page, found = browser.new_page(), []
    while len(found) < count:
        before_s = waited_s(service)
        answered = answer_one(page, url)
        if answered is None:
            time.sleep(1.0)
            continue
        waited = waited_s(service) - before_s
        found.append((answered[0], waited))
        print(
            f"{len(found)}: {answered[0]:.1f} s, waited {waited:.1f} s, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    page.close()
    return found


def waited_s(process: int) -> float:
    """How long the main thread of a process was ready to run and did not, s; 0 where only Linux tells it."""
    try:
        return int(Path(f"/proc/{process}/task/{process}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def warnings(log: str) -> Iterator[str]:
    """The last lines of a service's log that are no information."""
    lines = [line for line in log.splitlines() if '"level": "info"' not in line and '"start_up"' not in line]
    yield from (line[:300] for line in lines[-WARNINGS_MAX:])


def stages(deployment: Deployment) -> str:
    """Where the time went, as the records of the topics tell: from the record to its receipt."""
    written = {record.offset: record.timestamp for record in deployment.published("feedback")}
    waited = [
        (record.timestamp - written[position]) / 1000
        for record in deployment.published("receipts")
        if (position := json.loads(record.value)["feedback"]["position"]) in written
    ]
    return f"record to receipt: {quantiles(waited)}"


def quantiles(seconds: list[float]) -> str:
    """Median, 95th percentile and maximum in words."""
    return f"median {statistics.median(seconds):.1f} s, p95 {p95(seconds):.1f} s, max {max(seconds):.1f} s"


def p95(seconds: list[float]) -> float:
    """The smallest of the values that 95 % of them do not exceed."""
    return sorted(seconds)[max(-(-len(seconds) * 95 // 100) - 1, 0)]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rate", type=float, default=50.0, help="events per s")
    parser.add_argument("--answers", type=int, default=40)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--limit", type=float, default=12.0, help="of the 95th percentile, s")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends all processes
    path = chromium()
    if path is None:
        raise SystemExit("needs Chromium")
    events = traffic(10**9, customers=CUSTOMERS)
    with (
        tempfile.TemporaryDirectory(prefix="detector-console-receipts-") as name,
        KafkaBroker() as broker,
        Deployment(
            broker.bootstrap,
            folder := Path(name),
            "receipts",
            partitions=options.partitions,
            config=CONFIG | {"checkpoints": {"url": f"file://{name}/checkpoints"}},
            sides=SIDES,
        ) as deployment,
        sync_playwright() as playwright,
    ):
        deployment.produce(islice(events, LEARNED_EVENTS))
        daemon = deployment.start()
        deployment.await_done(PATIENCE_S)
        console = ConsoleProcess(deployment.config, folder)
        steady = Steady(deployment, events, options.rate)
        browser: Any = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            console.await_pages()
            if not poll_until(daemon.ready, timeout_s=PATIENCE_S):
                raise SystemExit("the service is not ready")
            steady.start()
            measured = measure(browser, console.url, options.answers, daemon.process.pid)
            lag = daemon.metrics("detector_partition_lag_seconds")
            print(stages(deployment))
            print(*warnings(daemon.log()), sep="\n")
        finally:
            steady.finish() if steady.ident else None
            browser.close()
            console.kill()
    found = [seconds for seconds, _ in measured]
    print(about())
    if calm := [seconds for seconds, waited in measured if waited < WAITED_S]:
        print(f"of them {len(calm)} with a processor at hand: {quantiles(calm)}")
    print(
        f"{options.rate:g} events/s, {options.partitions} partitions, {len(found)} answers: click to applied "
        f"{quantiles(found)}; largest lag at the end {max(lag.values(), default=0.0):.1f} s"
    )
    return 1 if p95(found) > options.limit else 0


if __name__ == "__main__":
    sys.exit(main())
