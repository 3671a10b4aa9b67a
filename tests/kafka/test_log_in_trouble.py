"""What the service's log and /readyz say while something is wrong: little, and the cause."""

from __future__ import annotations

import json
import signal
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from itertools import islice
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Daemon, Deployment
from tests.kafka.test_end_to_end import traffic
from tests.kafka.waiting import poll_until

OUTAGE_S = 60.0
LINES_MAX = 20  # of one minute of trouble


@pytest.fixture
def deployment(
    kafka: KafkaBroker, request: pytest.FixtureRequest, tmp_path: Path, topic_name: str
) -> Iterator[Deployment]:
    """On a broker of its own where the test stops brokers."""
    broker = request.getfixturevalue("own_kafka") if "own_kafka" in request.fixturenames else kafka
    with Deployment(broker.bootstrap, tmp_path, topic_name, partitions=4) as made:
        yield made


def running(deployment: Deployment) -> Daemon:
    deployment.produce(traffic(4_000))
    daemon = deployment.start()
    deployment.await_done()
    assert poll_until(daemon.ready)
    return daemon


def lines_since(daemon: Daemon, before: str) -> list[str]:
    return daemon.log().removeprefix(before).splitlines()


def most_in_a_minute(lines: list[str]) -> int:
    """Largest number of lines within 60 s. On a busy machine the trouble lasts longer than the outage."""
    at_s = [0.0]
    for line in lines:  # a line without a time belongs to the one before it
        moment = json.loads(line)["timestamp"] if line.startswith("{") else None
        at_s.append(datetime.fromisoformat(moment).timestamp() if moment else at_s[-1])
    return max(index - bisect_left(at_s, at - 60.0) + 1 for index, at in enumerate(at_s))


@pytest.mark.parametrize("way", ["kill", "suspend"])
def test_an_outage_of_a_minute_gives_few_lines(
    own_kafka: KafkaBroker, deployment: Deployment, way: str
) -> None:
    daemon = running(deployment)
    deployment.produce(islice(traffic(6_000), 4_000, None))
    before = daemon.log()
    began_s = time.monotonic()
    own_kafka.kill() if way == "kill" else own_kafka.suspend()
    assert poll_until(lambda: not daemon.ready())
    time.sleep(max(OUTAGE_S - (time.monotonic() - began_s), 0.0))
    own_kafka.restart() if way == "kill" else own_kafka.resume()
    assert poll_until(daemon.ready)
    deployment.await_done()
    lines = lines_since(daemon, before)
    print(f"{len(lines)} lines in {time.monotonic() - began_s:.0f} s", *lines, sep="\n")
    assert most_in_a_minute(lines) <= LINES_MAX
    assert any('"event": "ready_again"' in line for line in lines)


def test_a_topic_that_is_deleted_is_named(kafka: KafkaBroker, deployment: Deployment) -> None:
    daemon = running(deployment)
    topic = deployment.topics["transactions"]
    before = daemon.log()
    with closing(KafkaAdminClient(bootstrap_servers=kafka.bootstrap)) as admin:
        admin.delete_topics([topic])
    words = f"Topic {topic} does not exist"
    began_s = time.monotonic()
    assert poll_until(lambda: words in json.loads(daemon.page("/readyz")[1])["reason"])
    print("named after", round(time.monotonic() - began_s, 1), "s")
    time.sleep(max(OUTAGE_S - (time.monotonic() - began_s), 0.0))
    assert words in json.loads(daemon.page("/readyz")[1])["reason"]
    lines = lines_since(daemon, before)
    print(len(lines), "lines", *lines, sep="\n")
    assert most_in_a_minute(lines) <= LINES_MAX
    assert any(words in line for line in lines)


def test_a_hangup_takes_the_budget_and_names_what_needs_a_restart(deployment: Deployment) -> None:
    daemon = running(deployment)
    settings = json.loads(deployment.config.read_text())
    settings |= {"alerts": {"budget": {"per_day": 90}}, "commit_interval_ms": 77}
    deployment.config.write_text(json.dumps(settings))
    before = daemon.metrics("detector_config_info")
    daemon.process.send_signal(signal.SIGHUP)
    assert poll_until(lambda: bool(daemon.logged("configuration_reloaded")))
    (line,) = daemon.logged("configuration_reloaded")
    assert line["taken"] == ["alerts.budget.per_day: None -> 90.0", "alerts.budget.share: 0.001 -> None"]
    assert line["needs_restart"] == ["commit_interval_ms"]
    assert poll_until(lambda: "commit_interval_ms" in daemon.page("/readyz")[1])
    assert daemon.metrics("detector_config_info") != before
    deployment.produce(islice(traffic(6_000), 4_000, None))
    deployment.await_done()
    assert daemon.ready()
    assert daemon.stop() == 0
