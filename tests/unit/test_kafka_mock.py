"""The Kafka client against librdkafka's mock cluster: a broker inside this process, real sockets, no server.

It has no real transactions and no group of two, so delivery is at_least_once and there is one member. Truth
about the rest is in tests/kafka.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from detector.config.tree import Config
from detector.core.records import Record
from detector.errors import BrokerUnavailable, CommitFailed
from detector.ports import Commit, Committed, Message
from detector.shell.kafka import KafkaSideLog, KafkaStream

confluent = pytest.importorskip("confluent_kafka")


@pytest.fixture(scope="module")
def producer() -> Iterator[Any]:
    """Keep the mock cluster alive, and fill its topics."""
    producer = confluent.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "ignored"})
    for topic in ("transactions", "alerts", "rejected", "feedback"):
        # It creates a topic, with four partitions, when something is sent there.
        producer.produce(topic, key=b"key", value=b"first", headers=[("h", b"1")], partition=0)
    assert producer.flush(10) == 0
    yield producer
    producer.purge()


@pytest.fixture
def config(producer: Any, request: pytest.FixtureRequest) -> Config:
    (address,) = (f"{b.host}:{b.port}" for b in producer.list_topics(timeout=10).brokers.values())
    return Config.model_validate(
        {
            "event": {"id": "id", "time": {"path": "t"}, "entities": [{"name": "card", "path": "card"}]},
            "kafka": {
                "bootstrap_servers": [address],
                "group_id": request.node.name,
                "api_version": [2, 3],
                "deadline_ms": 5000,
                "session_timeout_ms": 6000,  # the mock may forget a member by it only
            },
            "delivery": "at_least_once",
        }
    )


@pytest.fixture
def stream(config: Config) -> Iterator[KafkaStream]:
    stream = KafkaStream(config)
    yield stream
    stream.close()


class Reader:
    """Polls a stream; a partition begins where it is committed."""

    def __init__(self, stream: KafkaStream) -> None:
        self.stream = stream
        self.owned: set[int] = set()
        self.records: list[Record] = []
        self.membership: object = None

    def poll_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            poll = self.stream.poll(50)
            self.membership = poll.membership
            fresh = {p for change in poll.changes for p in change.partitions if change.kind == "assigned"}
            self.owned |= fresh
            for partition, committed in self.stream.committed(fresh).items():
                begin = self.stream.start(partition) if committed is None else committed.offset
                self.stream.seek(partition, begin)
            for partition, records in poll.records.items():
                if partition not in fresh:
                    self.records += records


def test_consumes_and_commits(config: Config, stream: KafkaStream) -> None:
    reader = Reader(stream)
    reader.poll_until(lambda: bool(reader.records) and stream.settled())
    (record,) = reader.records
    assert (record.offset, record.key, record.value, record.headers) == (0, b"key", b"first", (("h", b"1"),))
    assert reader.owned == set(range(stream.partitions_count()))
    assert stream.position(0) == stream.end(0) == 1
    assert stream.beginning(0) == 0

    alert = Message(topic="alerts", key=b"k", value=b"v", headers=(), partition=0, offset=0)
    done = Committed(offset=1, metadata="journal")
    stream.commit(Commit(messages=[alert], positions={0: done}, membership=reader.membership))
    assert stream.committed([0, 1]) == {0: done, 1: None}

    stream.close()
    again = Reader(KafkaStream(config))
    again.poll_until(lambda: again.owned == reader.owned)
    again.stream.poll(200)
    assert again.records == []
    again.stream.close()


def test_nothing_is_known_before_it_is_connected(stream: KafkaStream) -> None:
    assert not stream.settled()
    with pytest.raises(BrokerUnavailable, match="Not connected"):
        stream.partitions_count()


def test_a_membership_without_id_is_refused(stream: KafkaStream) -> None:
    membership = stream.poll(0).membership  # too short to join
    with pytest.raises(CommitFailed, match="lost its place"):
        stream.commit(
            Commit(messages=[], positions={0: Committed(offset=1, metadata="")}, membership=membership)
        )


def test_journal_length_is_checked_before_anything_is_sent(stream: KafkaStream) -> None:
    with pytest.raises(AssertionError, match="4097 bytes"):
        stream.commit(
            Commit(messages=[], positions={0: Committed(offset=1, metadata="x" * 4097)}, membership=None)
        )


def test_missing_topic_is_named(config: Config) -> None:
    log = KafkaSideLog(config, "absent")
    with pytest.raises(BrokerUnavailable, match="absent"):
        log.refresh()
    log.close()


def test_closing_twice_and_unopened_is_fine(config: Config) -> None:
    stream = KafkaStream(config)
    stream.close()
    stream.close()
