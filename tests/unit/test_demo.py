"""What `detector demo` starts from: its topics, and traffic that ends about today."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime

import confluent_kafka as confluent

from detector.demo.broker import TOPICS, Broker
from detector.demo.demo import WEEK_S, _Tally, _traffic
from detector.demo.simulation.cards import CardsConfig
from tests.kafka.waiting import PATIENCE_S


def test_topics_have_the_partitions_that_the_service_needs() -> None:
    broker = Broker(None)
    found = confluent.Producer({"bootstrap.servers": broker.address, "log_level": 0}).list_topics(
        timeout=PATIENCE_S
    )
    counts = {name: len(found.topics[topic].partitions) for name, topic in broker.topics.items()}
    assert counts == TOPICS
    assert counts["feedback"] == counts["exchange"] == 1


def test_two_demonstrations_have_topics_of_their_own() -> None:
    assert not set(Broker(None).topics.values()) & set(Broker(None).topics.values())


def test_the_first_events_end_some_weeks_ago_and_begin_on_the_same_weekday() -> None:
    count = 5_000
    events = list(itertools.islice(_traffic(count, _Tally()), count))
    first, last = (datetime.fromisoformat(str(one["event_time"])) for one in (events[0], events[-1]))
    assert 0 < time.time() - last.timestamp() < 3 * WEEK_S
    assert first.weekday() == datetime.fromtimestamp(CardsConfig().start_time, UTC).weekday()


def test_only_frauds_that_were_sent_are_counted() -> None:
    tally, count = _Tally(), 16_000
    sent = {str(one["event_id"]) for one in itertools.islice(_traffic(count, tally), count)}
    assert tally.frauds
    assert set(tally.frauds) <= sent
