"""What a real daemon tells of a broker that dies, of traffic that stops, and of itself.

That each is visible within 15 s is tested on a fake clock (tests/unit/test_vitals.py). Here it must become
visible, however busy the machine is; the seconds are printed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from math import isnan
from pathlib import Path

import pytest

from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Daemon, Deployment
from tests.kafka.place import Place
from tests.kafka.test_accidents import CONFIG, KAFKA
from tests.kafka.test_end_to_end import traffic
from tests.kafka.waiting import poll_until

OUTAGE_S = 10.0  # of the daemon, before the broker starts again
SERIES = (
    "detector_partition_lag_records",
    "detector_partition_lag_seconds",
    "detector_partition_lag_age_seconds",
    "detector_partition_event_age_seconds",
    "detector_checkpoint_age_seconds",
)


@pytest.fixture
def deployment(own_kafka: KafkaBroker, tmp_path: Path, topic_name: str) -> Iterator[Deployment]:
    with Deployment(
        own_kafka.bootstrap, tmp_path, topic_name, partitions=2, config=CONFIG, kafka=KAFKA
    ) as made:
        yield made


def seen_after_s(condition: Callable[[], bool]) -> float:
    began_s = time.monotonic()
    assert poll_until(condition, interval_s=0.2)
    return time.monotonic() - began_s


def has_every_series(daemon: Daemon) -> bool:
    return all(len(daemon.metrics(name)) == 2 for name in SERIES)


def test_a_broker_that_dies_and_comes_back_is_seen(own_kafka: KafkaBroker, deployment: Deployment) -> None:
    deployment.produce(islice(traffic(4_000), 4_000))
    daemon = deployment.start()
    assert poll_until(lambda: daemon.ready() and daemon.metric("detector_partition_lag_records") == 0)
    assert has_every_series(daemon)
    assert daemon.metric("detector_ready") == 1
    assert daemon.metric("process_resident_memory_bytes") > 0
    assert daemon.metric("detector_partition_newest_record_age_seconds") > 0
    outages = daemon.metric("detector_outages_total")  # a busy machine may have stopped the loop before
    quiet_s = daemon.metric("detector_partition_event_age_seconds")
    assert poll_until(lambda: daemon.metric("detector_partition_event_age_seconds") > quiet_s + 2)

    own_kafka.kill()
    took_s = seen_after_s(lambda: daemon.metric("detector_ready") == 0)
    aged_s = took_s + seen_after_s(
        lambda: max(daemon.metrics("detector_partition_lag_age_seconds").values()) > 10
    )
    print(f"not ready after {took_s:.1f} s, the lag's age beyond 10 s after {aged_s:.1f} s")
    assert poll_until(lambda: daemon.metric("detector_outage_seconds") > OUTAGE_S, interval_s=1.0)
    assert has_every_series(daemon)
    assert not any(isnan(lag) for lag in daemon.metrics("detector_partition_lag_records").values())
    assert daemon.metric("detector_outages_total") > outages

    own_kafka.start()
    assert poll_until(daemon.ready)
    (line,) = daemon.logged("ready_again")
    print(f"ready again: {line}")
    assert line["seconds"] > OUTAGE_S
    assert line["reason"]
    assert poll_until(lambda: max(daemon.metrics("detector_partition_lag_age_seconds").values()) < 10)
    assert daemon.metric("detector_outage_seconds") == 0
    assert daemon.stop() == 0


def test_the_ends_are_those_of_the_log(place: Place) -> None:
    place.produce(b"a", b"b", b"c")
    ends = place.stream().ends()
    assert ends.ask([0, 1]) == {0: 3, 1: 0}
    place.produce(b"d", partition=1)
    assert ends.ask([1]) == {1: 1}
    ends.close()
    assert ends.ask([0]) == {0: 3}
    ends.close()
