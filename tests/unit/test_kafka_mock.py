"""The Kafka package against librdkafka's mock cluster: a broker inside this process, real sockets, no server.

The mock cluster has no real transactions and no groups of two members, so delivery is at_least_once and there
is one member. The rest is tested in tests/kafka.
"""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka import errors as kafka_errors
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from detector.config.tree import Config
from detector.core.labels.commands import feedback_time
from detector.core.records import Headers, Record
from detector.errors import BrokerUnavailable, CommitFailed, NeedsOperator
from detector.ports import Commit, Committed, Message
from detector.shell.kafka import KafkaSideLog, KafkaStream, probe, side_log, size_limits
from detector.shell.kafka.size_limits import MESSAGE_BYTES_MAX
from tests.kafka.waiting import PATIENCE_S, poll_until

confluent = pytest.importorskip("confluent_kafka")


@pytest.fixture(scope="module")
def producer() -> Iterator[Any]:
    """The mock cluster lives as long as this producer; its topics have one record each."""
    producer = confluent.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "ignored"})
    for topic in ("transactions", "alerts", "dead_letter", "feedback"):
        # The first record creates a topic with four partitions.
        producer.produce(topic, key=b"key", value=b"first", headers=[("h", b"1")], partition=0)
    assert producer.flush(PATIENCE_S) == 0
    yield producer
    producer.purge()


@pytest.fixture
def config(producer: Any, request: pytest.FixtureRequest) -> Config:
    (address,) = (f"{b.host}:{b.port}" for b in producer.list_topics(timeout=PATIENCE_S).brokers.values())
    return Config.model_validate(
        {
            "event": {"id": "id", "time": {"path": "t"}, "entities": [{"name": "card", "path": "card"}]},
            "kafka": {
                "bootstrap_servers": [address],
                "group_id": request.node.name,
                "api_version": [2, 3],
                "request_timeout_ms": 30_000,
                "session_timeout_ms": 6000,  # the mock cluster forgets members only when it is over
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
    """Polls a stream. A partition begins at its committed offset."""

    def __init__(self, stream: KafkaStream) -> None:
        self.stream = stream
        self.owned: set[int] = set()
        self.records: list[Record] = []
        self.membership: object = None

    def poll_until(self, condition: Callable[[], bool]) -> None:
        def step() -> bool:
            self.poll()
            return condition()

        assert condition() or poll_until(step, interval_s=0.0)

    def poll(self) -> None:
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
    assert stream.position(0) == stream.log_end(0) == 1
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
    with pytest.raises(BrokerUnavailable, match="Not connected"):
        stream.log_end(0)


def test_a_membership_without_id_is_refused(stream: KafkaStream) -> None:
    membership = stream.poll(0).membership  # too short to join
    with pytest.raises(CommitFailed, match="no longer in the group"):
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


# --- malformed records ---------------------------------------------------------------


class _Latin(str):
    """A header name that is not UTF-8, as producers in other languages may write it."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return super().encode("latin-1")


def produce_latin(config: Config, topic: str, value: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=config.kafka.bootstrap_servers, api_version=(2, 3))
    with closing(producer):
        headers = [("good", b"1"), (_Latin("gr\xfc\xdfe"), b"\xff"), (_Latin("\xe9"), b"")]
        producer.send(topic, key=b"k", value=value, headers=headers, partition=1).get(timeout=PATIENCE_S)


def test_header_names_may_be_any_bytes(config: Config, stream: KafkaStream) -> None:
    produce_latin(config, "transactions", b"repaired")
    reader = Reader(stream)
    reader.poll_until(lambda: any(record.value == b"repaired" for record in reader.records))
    (record,) = (record for record in reader.records if record.value == b"repaired")
    assert record.key == b"k"
    assert record.headers == (("good", b"1"), ("gr??e", b"\xff"), ("?", b""))


def test_records_that_cannot_be_decoded_need_an_operator(
    stream: KafkaStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DefaultRecordBatch, "validate_crc", lambda batch: False)
    for _ in range(2):  # the library would loop for ever in the second poll
        with pytest.raises(NeedsOperator, match=r"transactions/\d cannot be read from offset 0 on: .*crc"):
            Reader(stream).poll_until(lambda: False)


# --- messages that are too large --------------------------------------------------------------------------

BIG = b"x" * (MESSAGE_BYTES_MAX + 1)
FACTS: Headers = (("detector_reason", b"malformed"), ("detector_offset", b"7"))


def fitted(
    topic: str, key: bytes | None, value: bytes | None, headers: Headers
) -> tuple[bytes | None, bytes | None, dict[str, bytes]]:
    message = Message(topic=topic, key=key, value=value, headers=headers, partition=0, offset=0)
    fit = size_limits.fitted(message, dead_letter=topic == "dead_letter")
    size = DefaultRecordBatchBuilder.estimate_size_in_bytes(fit.key, fit.value, list(fit.headers))
    assert size <= MESSAGE_BYTES_MAX + 4096  # max_request_size
    return fit.key, fit.value, dict(fit.headers)


def test_a_dead_letter_loses_its_value_first() -> None:
    own = (("own", b"1"), ("detector_reason", b"of an earlier dead letter"))
    key, value, headers = fitted("dead_letter", b"key", BIG, own + FACTS)
    assert key == b"key"
    assert value is not None
    assert MESSAGE_BYTES_MAX - 1000 < len(value) < MESSAGE_BYTES_MAX
    assert headers == dict(own + FACTS) | {"detector_cut_from_bytes": b"1000001"}


@pytest.mark.parametrize(
    "own",
    [
        (("own", BIG),),
        (("detector_own", BIG),),
        tuple((f"{n}", b"") for n in range(200_000)),
        tuple((f"detector_{n}", b"") for n in range(100_000)),
    ],
)
def test_a_dead_letter_loses_its_own_headers_second(own: Headers) -> None:
    key, value, headers = fitted("dead_letter", b"key", b"value", own + FACTS)
    assert (key, value) == (b"key", b"value")
    assert dict(FACTS).items() <= headers.items()
    assert int(headers["detector_headers_cut"]) >= len(own) - 14
    assert "detector_cut_from_bytes" not in headers


def test_a_dead_letter_loses_its_key_last() -> None:
    key, value, headers = fitted("dead_letter", BIG, b"value", (("own", b"1"), *FACTS))
    assert key is not None
    assert BIG.startswith(key)
    assert len(key) > MESSAGE_BYTES_MAX - 1000
    assert value == b""
    assert headers == dict(FACTS) | {
        "detector_cut_from_bytes": b"5",
        "detector_headers_cut": b"1",
        "detector_key_cut_from_bytes": b"1000001",
    }


def test_a_message_that_fits_is_not_changed() -> None:
    assert fitted("dead_letter", None, None, FACTS) == (None, b"", dict(FACTS))
    assert fitted("dead_letter", b"k", None, FACTS) == (b"k", None, dict(FACTS))
    traced: Headers = (("ce_id", b"1"), ("traceparent", b"0" * 55), ("tracestate", b"a=1"))
    assert fitted("alerts", b"k", b"{}", traced) == (b"k", b"{}", dict(traced))


def test_a_large_alert_loses_the_event_and_stays_json() -> None:
    digits = b"1" * 5000  # more than Python's json module accepts
    body = b'{"alert_id":"t-0-7","score":1.50,"event":{"n":%b,"text":"%b"}}' % (digits, BIG)
    key, value, headers = fitted("alerts", b"card", body, (("ce_id", b"1"),))
    assert (key, value) == (b"card", b'{"alert_id":"t-0-7","score":1.50,"event":{}}')
    assert headers == {"ce_id": b"1", "detector_event_cut": b"%d" % len(body)}


def test_long_trace_headers_are_dropped() -> None:
    long: Headers = (("traceparent", b"0" * 65), ("TraceState", b"a" * 513), ("ce_id", b"1"))
    many: Headers = tuple(("tracestate", b"") for _ in range(200_000))
    assert fitted("alerts", b"k", b"{}", long + many)[2] == {"ce_id": b"1", "tracestate": b""}


def test_an_output_with_too_long_a_key_is_published() -> None:
    body = b'{"score":1.0}'
    key, value, headers = fitted("scores", BIG, body, ())
    assert key is not None
    assert BIG.startswith(key)
    assert (value, headers) == (body, {"detector_key_cut_from_bytes": b"1000001"})


# --- labels wait for their events ---------------------------------------------------------------------------

NOW = 1_900_000_000.0


class _SideConsumer:
    """Delivers prepared records of a side topic, without a broker."""

    _cluster = SimpleNamespace(
        cluster_id=None, topic_id=lambda topic: None, partitions_for_topic=lambda topic: {0}
    )  # an old broker

    def __init__(self, beginning: int = 0) -> None:
        self.at, self.first = beginning, beginning
        self.batch: list[Any] = []

    def add(self, value: object, arrived_s: float = NOW) -> None:
        raw = value if isinstance(value, bytes) else json.dumps({"time": value}).encode()
        self.batch.append(SimpleNamespace(offset=self.at, value=raw, timestamp_ms=int(arrived_s * 1000)))
        self.at += 1

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        if self.first > self.at:
            raise kafka_errors.OffsetOutOfRangeError({})
        batch, self.batch = self.batch, []
        return {TopicPartition("feedback", 0): batch} if batch else {}

    def position(self, at: TopicPartition, timeout_ms: int) -> int:
        return self.at

    def seek(self, at: TopicPartition, offset: int) -> None:
        self.at = offset

    def beginning_offsets(self, ats: list[TopicPartition], timeout_ms: int) -> dict[TopicPartition, int]:
        return dict.fromkeys(ats, self.first)


@pytest.fixture
def side(monkeypatch: pytest.MonkeyPatch) -> tuple[KafkaSideLog, _SideConsumer]:
    monkeypatch.setattr(side_log, "time", SimpleNamespace(time=lambda: NOW, monotonic=time.monotonic))
    event = {"id": "id", "time": {"path": "t"}, "entities": [{"name": "card", "path": "card"}]}
    config = Config.model_validate({"event": event})
    log, consumer = KafkaSideLog(config, "feedback", time_of=feedback_time), _SideConsumer()
    log._consumer = consumer
    return log, consumer


def test_labels_are_held_back_until_the_event_time_reaches_them(
    side: tuple[KafkaSideLog, _SideConsumer],
) -> None:
    log, consumer = side
    for label_time in (100.0, 300.0, 200.0, 400.0):
        consumer.add(label_time)
    assert log.end(1000.0) == 0  # nothing has been read yet
    log.refresh()
    assert [log.end(t) for t in (0.0, 100.0, 250.0, 300.0, 399.0, 400.0)] == [0, 1, 1, 3, 3, 4]
    consumer.add(500.0)
    log.refresh()
    assert [log.end(t) for t in (250.0, 400.0, 500.0)] == [1, 4, 5]


def test_a_label_without_a_time_holds_back_nothing(side: tuple[KafkaSideLog, _SideConsumer]) -> None:
    log, consumer = side
    for value in (b"nonsense", b"{}", "no time", None):
        consumer.add(value)
    consumer.add(100.0)
    log.refresh()
    assert [log.end(t) for t in (50.0, 100.0)] == [4, 5]


@pytest.mark.parametrize("arrived_s", [NOW - 60.0, NOW + 1e9, -0.001])
def test_a_label_of_the_far_future_is_held_back_until_the_present_only(
    side: tuple[KafkaSideLog, _SideConsumer], arrived_s: float
) -> None:
    log, consumer = side
    consumer.add("2199-01-01", arrived_s)
    consumer.add(NOW - 50.0, NOW - 50.0)
    log.refresh()
    assert log.end(NOW) == 2
    assert log.end(min(NOW, arrived_s) - 1.0) == 0


def test_the_number_of_remembered_times_is_bounded(
    side: tuple[KafkaSideLog, _SideConsumer],
) -> None:
    log, consumer = side
    log._peaks = deque(maxlen=3)
    for label_time in range(1, 6):
        consumer.add(float(label_time))
    log.refresh()
    assert [log.end(t) for t in (0.5, 2.5, 4.5, 9.0)] == [2, 2, 4, 5]


def test_retention_that_overtakes_the_side_log(side: tuple[KafkaSideLog, _SideConsumer]) -> None:
    log, consumer = side
    consumer.add(1.0)
    log.refresh()
    consumer.first = 7
    log.refresh()
    assert (log.beginning(), log.end(0.0)) == (7, 7)
    consumer.add(2.0)
    log.refresh()
    assert [log.end(t) for t in (1.0, 2.0)] == [7, 8]


@pytest.mark.parametrize(
    ("use", "leader", "raises"), [("write", -1, True), ("write", 1, False), ("read", -1, False)]
)
def test_outputs_without_a_leader_are_waited_for(use: Any, leader: int, raises: bool) -> None:
    """A restarting broker would lose the abort markers of what an earlier producer left open."""
    partitions = [SimpleNamespace(leader_id=1), SimpleNamespace(leader_id=leader)]
    topic = SimpleNamespace(name="alerts", error_code=0, topic_authorized_operations=0, partitions=partitions)
    attempt = probe.Attempt("127.0.0.1:1", {"security_protocol": "PLAINTEXT"}, 0.0)
    if raises:
        with pytest.raises(probe.TopicError) as caught:
            attempt._check_topic(topic, use)
        assert "without a leader" in str(caught.value.error)
    else:
        assert attempt._check_topic(topic, use) == 2


def test_servers_that_do_not_answer_share_one_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start fails within 10 s, whatever the number of servers. The clock is not the machine's."""
    now, waits = [100.0], []

    def connect(address: object, timeout: float) -> None:
        waits.append(timeout)
        now[0] += timeout
        raise TimeoutError

    monkeypatch.setattr(probe, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(probe, "socket", SimpleNamespace(create_connection=connect, gaierror=socket.gaierror))
    servers = [f"10.0.0.{number}:9092" for number in range(9)]
    with pytest.raises(BrokerUnavailable, match=r"10.0.0.0:9092: the host does not answer.* 10.0.0.2:9092"):
        probe.probe({"bootstrap_servers": servers, "security_protocol": "PLAINTEXT"}, {}, probe.PROBE_S)
    assert waits == pytest.approx([3.0, 3.0, 2.0])
