"""The daemon's Kafka side against a real broker: what is promised, and what accidents do to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ACLOperation, ResourceType
from kafka.structs import ConsumerGroupMetadata

from detector.config.tree import Config
from detector.core.labels.feedback import feedback_time
from detector.core.records import Record
from detector.errors import (
    BrokerUnavailable,
    CommitFailed,
    CredentialsError,
    DetectorError,
    NeedsOperator,
    OutsideError,
)
from detector.ports import Change, Commit, Committed, Message
from detector.shell.kafka import KafkaSideLog, KafkaStream, side_log
from detector.shell.kafka import stream as kafka_stream
from tests.kafka.broker import (
    MTLS,
    PLAINTEXT,
    SASL_SSL,
    KafkaBroker,
    KafkaCluster,
    create_topic,
    poll_until,
    produce_all,
    read_all,
)
from tests.kafka.pki import create_pki

PROTOCOLS = {PLAINTEXT: "PLAINTEXT", SASL_SSL: "SASL_SSL", MTLS: "SSL"}


class Place:
    """Topics and a group of one test's own, and streams that are closed when it ends."""

    def __init__(self, broker: KafkaBroker, name: str, partitions: int = 2) -> None:
        self.broker = broker
        self.name = name
        self.transactions, self.alerts, self.rejected = (f"{name}.{kind}" for kind in ("in", "out", "bad"))
        create_topic(broker.bootstrap, self.transactions, partitions)
        create_topic(broker.bootstrap, self.alerts, 1)
        create_topic(broker.bootstrap, self.rejected, 1)
        self._streams: list[KafkaStream] = []

    def config(self, listener: str = PLAINTEXT, **changes: Any) -> Config:
        kafka = {
            "bootstrap_servers": [self.broker.bootstrap_for(listener)],
            "group_id": self.name,
            "session_timeout_ms": 6000,
            "request_timeout_ms": 5000,
            "security": self._security(listener) | changes.pop("security", {}),
        }
        return Config.model_validate(
            {
                "event": {"id": "id", "time": {"path": "t"}, "entities": [{"name": "card", "path": "card"}]},
                "kafka": kafka | changes.pop("kafka", {}),
                "topics": {
                    "transactions": self.transactions,
                    "alerts": self.alerts,
                    "dead_letter": self.rejected,
                }
                | changes.pop("topics", {}),
            }
            | changes
        )

    def stream(self, listener: str = PLAINTEXT, password: str | None = None, **changes: Any) -> KafkaStream:
        stream = KafkaStream(self.config(listener, **changes), password)
        self._streams.append(stream)
        return stream

    @property
    def password(self) -> str:
        self.broker.bootstrap_for(SASL_SSL)  # skips the test where there is no such listener
        return self.broker.password

    def produce(self, *values: bytes, partition: int = 0) -> None:
        produce_all(
            self.broker.bootstrap,
            self.transactions,
            [(b"key", value, [("h", b"1")], partition) for value in values],
        )

    def alert(self, value: bytes, offset: int = 0) -> Message:
        return Message(
            topic=self.alerts,
            key=b"card",
            value=value,
            headers=(("ce_id", b"1"),),
            partition=0,
            offset=offset,
        )

    def ends(self, topic: str) -> int:
        """Sum of a topic's end offsets, markers included."""
        with closing(KafkaConsumer(bootstrap_servers=self.broker.bootstrap)) as consumer:
            at = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            return sum(consumer.end_offsets(at).values())

    def alerts_seen(self) -> list[bytes | None]:
        return [record.value for record in read_all(self.broker.bootstrap, self.alerts)]

    def close(self) -> None:
        for stream in self._streams:
            stream.close()

    def _security(self, listener: str) -> dict[str, Any]:
        security: dict[str, Any] = {"protocol": PROTOCOLS[listener]}
        if listener != PLAINTEXT:
            settings = self.broker.client_settings(listener)
            security["ca_file"] = settings["ssl_cafile"]
        if listener == MTLS:
            security |= {"cert_file": settings["ssl_certfile"], "key_file": settings["ssl_keyfile"]}
        if listener == SASL_SSL:
            security |= {
                "sasl_mechanism": settings["sasl_mechanism"],
                "username": settings["sasl_plain_username"],
                "password": {"env": "UNUSED"},
            }
        return security


@pytest.fixture
def place(kafka: KafkaBroker, topic_name: str) -> Iterator[Place]:
    place = Place(kafka, topic_name)
    yield place
    place.close()


@pytest.fixture
def own_place(own_kafka: KafkaBroker, topic_name: str) -> Iterator[Place]:
    place = Place(own_kafka, topic_name)
    yield place
    own_kafka.resume() if own_kafka.running else None
    place.close()


class Member:
    """A stream, and what its polls have brought so far. Partitions begin where they are committed."""

    def __init__(self, stream: KafkaStream) -> None:
        self.stream = stream
        self.owned: set[int] = set()
        self.changes: list[Change] = []
        self.records: list[Record] = []
        self.membership: Any = None

    def poll(self, timeout_ms: int = 50) -> None:
        poll = self.stream.poll(timeout_ms)
        self.membership = poll.membership
        fresh: set[int] = set()
        for change in poll.changes:
            self.changes.append(change)
            if change.kind == "assigned":
                self.owned |= set(change.partitions)
                fresh |= set(change.partitions)
            else:
                self.owned -= set(change.partitions)
        for partition, committed in self.stream.committed(fresh).items():
            begin = self.stream.start(partition) if committed is None else committed.offset
            self.stream.seek(partition, begin)
        for partition, records in poll.records.items():
            if partition not in fresh:
                self.records += records

    def values(self) -> list[bytes | None]:
        return [record.value for record in self.records]

    def commit(self, messages: Sequence[Message], positions: dict[int, Committed], **changes: Any) -> None:
        self.stream.commit(
            Commit(
                messages=messages, positions=positions, membership=changes.get("membership", self.membership)
            )
        )


def poll_for(condition: Callable[[], bool], *members: Member, timeout_s: float = 20.0) -> None:
    def step() -> bool:
        for member in members:
            member.poll()
        return condition()

    assert poll_until(step, timeout_s=timeout_s)


def settled(*members: Member) -> Callable[[], bool]:
    """Whether these members own both partitions, evenly."""
    return lambda: (
        sorted(len(m.owned) for m in members) == [2 // len(members)] * len(members)
        and all(m.stream.settled() for m in members)
    )


def trouble(call: Callable[[], object]) -> DetectorError:
    """What a call raises, which must be within 10 s."""
    began = time.monotonic()
    with pytest.raises(DetectorError) as caught:
        call()
    assert time.monotonic() - began < 10
    return caught.value


# --- the promised way -------------------------------------------------------------------------------------


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_polls_commits_and_reads_back(place: Place, delivery: str) -> None:
    place.produce(b"a", b"b", b"c")
    first = Member(place.stream(delivery=delivery))
    poll_for(lambda: first.values() == [b"a", b"b", b"c"], first)
    record = first.records[1]
    assert (record.offset, record.key, record.value, record.headers) == (1, b"key", b"b", (("h", b"1"),))
    assert record.timestamp_ms > 0
    assert first.stream.partitions_count() == 2
    assert first.stream.position(0) == first.stream.end(0) == first.stream.log_end(0) == 3

    journal = '{"checkpoint":"x","barriers":[3]}' + "é" * 100
    first.commit([place.alert(b"alert")], {0: Committed(offset=3, metadata=journal)})
    first.commit([], {1: Committed(offset=0, metadata="")})  # offsets only

    assert first.stream.committed([0, 1]) == {
        0: Committed(offset=3, metadata=journal),
        1: Committed(offset=0, metadata=""),
    }
    (alert,) = read_all(place.broker.bootstrap, place.alerts)
    assert (alert.key, alert.value, alert.headers) == (b"card", b"alert", [("ce_id", b"1")])

    first.stream.close()
    place.produce(b"d")
    second = Member(place.stream(delivery=delivery))
    poll_for(lambda: second.values() == [b"d"], second)


def test_start_latest_skips_what_was_there(place: Place) -> None:
    place.produce(b"old")
    member = Member(place.stream(start="latest"))
    poll_for(settled(member), member)
    place.produce(b"new")
    poll_for(lambda: bool(member.records), member)
    assert member.values() == [b"new"]
    assert member.stream.beginning(0) == 0


def test_poll_obeys_its_bounds(place: Place) -> None:
    place.produce(*(b"%d" % n for n in range(100)))
    stream = place.stream(kafka={"poll_records_max": 7})
    sizes: list[int] = []

    def read() -> bool:
        sizes.append(sum(map(len, stream.poll(50).records.values())))
        return sum(sizes) == 100

    assert poll_until(read, timeout_s=20)
    assert max(sizes) == 7
    began = time.monotonic()
    stream.poll(200)
    assert 0.15 < time.monotonic() - began < 2


def test_paused_partitions_deliver_nothing(place: Place) -> None:
    member = Member(place.stream())
    poll_for(settled(member), member)
    member.stream.pause([0, 7])
    place.produce(b"held", partition=0)
    place.produce(b"free", partition=1)
    poll_for(lambda: bool(member.records), member)
    member.poll(300)
    assert member.values() == [b"free"]
    member.stream.resume([0, 7])
    poll_for(lambda: member.values() == [b"free", b"held"], member)


def test_transaction_markers_leave_no_lag(place: Place) -> None:
    settings = place.broker.client_settings()
    with closing(KafkaProducer(**settings, transactional_id=f"{place.name}-x")) as producer:
        producer.init_transactions()
        for value in (b"a", b"b"):
            producer.begin_transaction()
            producer.send(place.transactions, value=value, partition=0)
            producer.commit_transaction()
    member = Member(place.stream())
    poll_for(lambda: len(member.records) == 2, member)
    poll_for(lambda: member.stream.position(0) == member.stream.end(0) == 4, member)
    assert [record.offset for record in member.records] == [0, 2]


def test_the_end_of_the_log_is_asked_for_and_leaves_out_open_transactions(own_place: Place) -> None:
    member = Member(own_place.stream(kafka={"request_timeout_ms": 2000}))
    poll_for(settled(member), member)
    own_place.produce(b"a")
    assert member.stream.log_end(0) == 1  # no poll has brought it
    settings = own_place.broker.client_settings()
    with closing(KafkaProducer(**settings, transactional_id=f"{own_place.name}-x")) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(own_place.transactions, value=b"b", partition=0).get(timeout=10)
        assert member.stream.log_end(0) == 1
        producer.commit_transaction()
    assert poll_until(lambda: member.stream.log_end(0) == 3, timeout_s=10)
    own_place.broker.suspend()
    assert isinstance(trouble(lambda: member.stream.log_end(0)), BrokerUnavailable)


def test_awkward_messages_do_not_block_the_commit(place: Place) -> None:
    member = Member(place.stream(kafka={"request_timeout_ms": 20_000}))  # a checksum of 1 MB in pure Python
    poll_for(settled(member), member)
    big = b"x" * 1_048_500
    empty = Message(topic=place.rejected, key=None, value=None, headers=(), partition=0, offset=0)
    large = Message(topic=place.rejected, key=b"k", value=big, headers=(), partition=0, offset=1)
    many = tuple((f"{n}", b"") for n in range(120_000))
    keyed = Message(topic=place.rejected, key=big, value=b"v", headers=many, partition=0, offset=2)
    alert = place.alert(b'{"score":1.0,"event":{"text":"%b"}}' % big)
    member.commit([empty, large, keyed, alert], {0: Committed(offset=0, metadata="")})
    first, second, third = read_all(place.broker.bootstrap, place.rejected)
    assert (first.key, first.value) == (None, b"")
    assert second.value is not None
    assert big.startswith(second.value)
    assert second.headers == [("detector_cut_from_bytes", b"1048500")]
    assert third.key is not None
    assert big.startswith(third.key)
    assert third.value == b""
    assert dict(third.headers) == {
        "detector_cut_from_bytes": b"1",
        "detector_headers_cut": b"120000",
        "detector_key_cut_from_bytes": b"1048500",
    }
    assert place.alerts_seen() == [b'{"score":1.0,"event":{}}']


def test_too_long_a_journal_is_our_own_mistake(place: Place) -> None:
    member = Member(place.stream())
    poll_for(settled(member), member)
    member.commit([], {0: Committed(offset=0, metadata="é" * 2048)})
    with pytest.raises(AssertionError, match="4098 bytes"):
        member.commit([], {0: Committed(offset=0, metadata="é" * 2049)})


def test_retention(place: Place, topic_name: str) -> None:
    create_topic(place.broker.bootstrap, f"{topic_name}.day", 1, {"retention.ms": "86400000"})
    create_topic(place.broker.bootstrap, f"{topic_name}.ever", 1, {"retention.ms": "-1"})
    stream = place.stream()
    assert stream.retention_ms(f"{topic_name}.day") == 86_400_000
    assert stream.retention_ms(f"{topic_name}.ever") == kafka_stream.UNLIMITED_MS
    assert stream.retention_ms(f"{topic_name}.none") is None


# --- groups -----------------------------------------------------------------------------------------------


def test_two_members_share_and_the_old_membership_is_fenced(place: Place) -> None:
    first, second = Member(place.stream()), Member(place.stream())
    poll_for(settled(first), first)
    old = first.membership

    poll_for(settled(first, second), first, second)
    # Cooperative: only the partition that moved was taken away.
    assert [change.kind for change in first.changes] == ["assigned", "revoked"]
    assert first.owned.isdisjoint(second.owned)

    mine = min(first.owned)
    with pytest.raises(CommitFailed):
        first.commit([place.alert(b"late")], {mine: Committed(offset=1, metadata="late")}, membership=old)
    assert first.stream.committed([mine]) == {mine: None}
    first.commit([place.alert(b"fresh")], {mine: Committed(offset=1, metadata="fresh")})
    assert first.stream.committed([mine]) == {mine: Committed(offset=1, metadata="fresh")}
    assert place.alerts_seen() == [b"fresh"]


def test_at_least_once_refuses_an_old_membership(place: Place) -> None:
    first = Member(place.stream(delivery="at_least_once"))
    second = Member(place.stream(delivery="at_least_once"))
    poll_for(settled(first), first)
    old = first.membership
    poll_for(settled(first, second), first, second)
    with pytest.raises(CommitFailed):
        first.commit([], {0: Committed(offset=1, metadata="late")}, membership=old)
    assert first.stream.committed([0]) == {0: None}


def test_a_membership_without_id_is_refused(place: Place) -> None:
    # The broker would take it: old clients commit like that.
    member = Member(place.stream())
    poll_for(settled(member), member)
    with pytest.raises(CommitFailed, match="no longer in the group"):
        member.commit([], {0: Committed(offset=1, metadata="")}, membership=ConsumerGroupMetadata(place.name))


def test_static_member_returns_to_its_partitions(place: Place) -> None:
    long = {"session_timeout_ms": 30_000}
    first = Member(place.stream(kafka=long | {"group_instance_id": "a"}))
    second = Member(place.stream(kafka=long | {"group_instance_id": "b"}))
    poll_for(settled(first, second), first, second)
    before, seen = set(first.owned), len(second.changes)

    first.stream.close()
    again = Member(place.stream(kafka=long | {"group_instance_id": "a"}))
    poll_for(lambda: again.owned == before, again, second)
    assert len(second.changes) == seen


def test_leave_on_stop_frees_partitions_at_once(place: Place) -> None:
    leaving = {"session_timeout_ms": 60_000, "leave_on_stop": True}
    first = Member(place.stream(kafka=leaving | {"group_instance_id": "a"}))
    second = Member(place.stream(kafka=leaving | {"group_instance_id": "b"}))
    poll_for(settled(first, second), first, second)
    began = time.monotonic()
    first.stream.close()
    assert time.monotonic() - began < 5
    poll_for(settled(second), second, timeout_s=10)  # a heartbeat (3 s) tells the survivor


def test_same_static_identity_twice_needs_an_operator(place: Place) -> None:
    first = Member(place.stream(kafka={"group_instance_id": "a"}))
    poll_for(settled(first), first)
    second = Member(place.stream(kafka={"group_instance_id": "a"}))
    poll_for(settled(second), second)
    error = trouble(lambda: first.commit([], {0: Committed(offset=1, metadata="")}))
    assert isinstance(error, (NeedsOperator, CommitFailed))
    second.commit([], {0: Committed(offset=2, metadata="mine")})
    assert second.stream.committed([0]) == {0: Committed(offset=2, metadata="mine")}


def test_deleted_records_need_an_operator(place: Place) -> None:
    place.produce(*(b"%d" % n for n in range(10)))
    member = Member(place.stream())
    poll_for(lambda: len(member.records) == 10, member)
    with closing(KafkaAdminClient(**place.broker.client_settings())) as admin:
        admin.delete_records({TopicPartition(place.transactions, 0): 5})
    assert member.stream.beginning(0) == 5
    member.stream.seek(0, 2)

    def refused() -> bool:
        try:
            member.poll()
        except NeedsOperator as error:
            return "no longer in the log" in str(error)
        return False

    assert poll_until(refused, timeout_s=10)


def test_a_committed_offset_that_is_gone_is_for_the_caller_to_judge(place: Place) -> None:
    # The client goes there by itself as soon as it has the partition, before the caller can say where to.
    place.produce(*(b"%d" % n for n in range(10)))
    first = Member(place.stream())
    poll_for(lambda: len(first.records) == 10, first)
    first.commit([], {0: Committed(offset=3, metadata="")})
    first.stream.close()
    with closing(KafkaAdminClient(**place.broker.client_settings())) as admin:
        admin.delete_records({TopicPartition(place.transactions, 0): 5})
    stream = place.stream()
    given: list[Change] = []

    def polled() -> bool:
        with suppress(BrokerUnavailable):
            given.extend(stream.poll(50).changes)
            return bool(given) and stream.position(0) >= 5
        return False

    assert poll_until(polled, timeout_s=20)
    assert stream.committed([0]) == {0: Committed(offset=3, metadata="")}
    stream.seek(0, 5)
    second = Member(stream)
    poll_for(lambda: second.values() == [b"%d" % n for n in range(5, 10)], second)


# --- accidents --------------------------------------------------------------------------------------------


def test_frozen_broker_during_commit(own_place: Place) -> None:
    broker = own_place.broker
    member = Member(own_place.stream(kafka={"request_timeout_ms": 2000, "session_timeout_ms": 30_000}))
    poll_for(settled(member), member)
    member.commit([own_place.alert(b"before")], {0: Committed(offset=1, metadata="before")})

    broker.suspend()
    began = time.monotonic()
    with pytest.raises(CommitFailed):
        member.commit([own_place.alert(b"during")], {0: Committed(offset=2, metadata="during")})
    assert time.monotonic() - began < 4
    with pytest.raises(OutsideError):
        member.stream.committed([0])
    broker.resume()

    recovered: dict[int, Committed | None] = {}

    def recover() -> bool:
        try:
            member.poll()
            recovered.update(member.stream.committed([0]))
            offset = recovered[0].offset if recovered[0] else 0
            member.commit([own_place.alert(b"after")], {0: Committed(offset=offset + 1, metadata="after")})
        except OutsideError:
            return False
        return True

    assert poll_until(recover, timeout_s=30)
    # Both or neither: the alert is there exactly when its offset is.
    happened = recovered[0] is not None and recovered[0].metadata == "during"
    assert own_place.alerts_seen() == [b"before", *([b"during"] if happened else []), b"after"]


def test_a_refused_commit_leaves_no_transaction_open(place: Place) -> None:
    settings = {"transaction_timeout_ms": 60_000}
    first, second = Member(place.stream(kafka=settings)), Member(place.stream(kafka=settings))
    poll_for(lambda: len(first.owned) == 2, first)
    stale = first.membership
    poll_for(settled(first, second), first, second)
    with pytest.raises(CommitFailed):
        first.commit([place.alert(b"late")], {0: Committed(offset=1, metadata="")}, membership=stale)
    second.commit([place.alert(b"other")], {1: Committed(offset=1, metadata="")})
    assert poll_until(lambda: place.alerts_seen() == [b"other"], timeout_s=10)


def test_a_transaction_that_the_broker_gave_up_moves_no_offset(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client goes on under a new epoch, without the outputs that it could not send."""
    stream = place.stream(kafka={"transaction_timeout_ms": 1000})
    member = Member(stream)
    poll_for(settled(member), member)
    member.commit([place.alert(b"before")], {0: Committed(offset=1, metadata="before")})
    send_all = stream._publisher.send_all

    def interrupted(producer: KafkaProducer, messages: Sequence[Message]) -> list[Any]:
        """The last message leaves only after the broker has given the transaction up."""
        sent = send_all(producer, messages[:1])
        producer.flush()
        ended, send_data = place.ends(place.alerts), producer._sender._send_producer_data
        gone = threading.Event()

        def wait_for_the_markers() -> None:
            poll_until(lambda: place.ends(place.alerts) > ended, timeout_s=20)
            gone.set()

        threading.Thread(target=wait_for_the_markers, daemon=True).start()
        monkeypatch.setattr(
            producer._sender, "_send_producer_data", lambda: send_data() if gone.is_set() else 20
        )
        return sent + send_all(producer, messages[1:])

    monkeypatch.setattr(stream._publisher, "send_all", interrupted)
    with pytest.raises(CommitFailed):
        member.commit(
            [place.alert(b"one"), place.alert(b"other")], {0: Committed(offset=2, metadata="during")}
        )
    monkeypatch.undo()
    assert stream.committed([0]) == {0: Committed(offset=1, metadata="before")}
    assert place.alerts_seen() == [b"before"]
    poll_for(settled(member), member)
    member.commit([place.alert(b"after")], {0: Committed(offset=2, metadata="after")})
    assert place.alerts_seen() == [b"before", b"after"]


def test_broker_away_and_back(own_place: Place) -> None:
    broker = own_place.broker
    member = Member(own_place.stream(kafka={"request_timeout_ms": 2000}))
    poll_for(settled(member), member)

    def unavailable() -> bool:
        try:
            member.poll()
        except BrokerUnavailable as error:
            return expected in str(error)
        return False

    def available() -> bool:
        try:
            member.poll()
        except OutsideError:
            return False
        return want in member.values()

    broker.suspend()
    expected = "the broker hangs"
    assert poll_until(unavailable, timeout_s=15)
    broker.resume()
    want = b"resumed"
    own_place.produce(want)
    assert poll_until(available, timeout_s=30)

    broker.kill()
    expected = "connection refused"
    assert poll_until(unavailable, timeout_s=15)
    broker.restart()
    want = b"restarted"
    own_place.produce(want)
    assert poll_until(available, timeout_s=40)

    broker.kill()  # stopping must not wait for it
    began = time.monotonic()
    member.stream.close()
    assert time.monotonic() - began < 6


@pytest.mark.parametrize("coordinator", ["transaction", "group"])
def test_a_commit_waits_for_the_next_coordinator(
    own_cluster: KafkaCluster, topic_name: str, coordinator: str, caplog: pytest.LogCaptureFixture
) -> None:
    # The client used to lose a request whose coordinator was gone, and to ask for the group's next one, which
    # was the dead one for some seconds, 600 times a second.
    place = Place(own_cluster.brokers[0], topic_name)
    servers = {"bootstrap_servers": own_cluster.bootstrap.split(","), "request_timeout_ms": 30_000}
    with closing(place.stream(kafka=servers)) as stream:
        member = Member(stream)
        poll_for(settled(member), member)
        member.commit([place.alert(b"before")], {0: Committed(offset=0, metadata="")})

        of = stream._publisher._producer._transaction_manager, stream._consumer._coordinator
        node = of[0]._transaction_coordinator if coordinator == "transaction" else of[1].coordinator_id
        gone = own_cluster.brokers[int(node.removeprefix("coordinator-")) - 1]
        gone.kill()
        member.commit([place.alert(b"after")], {0: Committed(offset=0, metadata="")})
        poll_for(stream.settled, member)
        gone.start()  # the place asks the first one

    assert place.alerts_seen() == [b"before", b"after"]
    assert len(caplog.records) < 500


def test_quiet_topic_is_not_a_dead_broker(place: Place) -> None:
    member = Member(place.stream())
    poll_for(settled(member), member)
    until = time.monotonic() + kafka_stream._SILENCE_MAX_S + 2
    poll_for(lambda: time.monotonic() > until, member)


# --- refused ----------------------------------------------------------------------------------------------


def test_wrong_password_is_named(place: Place) -> None:
    error = trouble(place.stream(SASL_SSL, "not-the-password").open)
    assert isinstance(error, CredentialsError)
    assert "rejects user detector by SCRAM-SHA-512" in str(error)
    assert place.broker.bootstrap_for(SASL_SSL) in str(error)
    assert "not-the-password" not in str(error)


def test_wrong_authority_is_named(place: Place, tmp_path: Path) -> None:
    stranger = str(create_pki(tmp_path).ca)
    error = trouble(place.stream(SASL_SSL, place.password, security={"ca_file": stranger}).open)
    assert isinstance(error, CredentialsError)
    assert "certificate is not trusted" in str(error)


def test_wrong_host_name_is_named(place: Place) -> None:
    port = place.broker.bootstrap_for(MTLS).rpartition(":")[2]
    elsewhere = {"bootstrap_servers": [f"127.1:{port}"]}  # the same host by a name not in its certificate
    error = trouble(place.stream(MTLS, kafka=elsewhere).open)
    assert isinstance(error, CredentialsError)
    assert "127.1" in str(error)
    assert "mismatch" in str(error)


def test_missing_client_certificate_is_named(place: Place) -> None:
    error = trouble(place.stream(MTLS, security={"cert_file": None, "key_file": None}).open)
    assert isinstance(error, CredentialsError)
    assert "client certificate" in str(error)


@pytest.mark.parametrize(
    ("configured", "actual", "words"),
    [(PLAINTEXT, MTLS, "uses TLS"), (MTLS, PLAINTEXT, "does not use TLS")],
)
def test_wrong_protocol_is_named(place: Place, configured: str, actual: str, words: str) -> None:
    there = {"bootstrap_servers": [place.broker.bootstrap_for(actual)]}
    error = trouble(place.stream(configured, kafka=there).open)
    assert isinstance(error, CredentialsError)
    assert words in str(error)


def test_refused_connection_is_named(place: Place) -> None:
    error = trouble(lambda: place.stream(kafka={"bootstrap_servers": ["127.0.0.1:1"]}).poll(100))
    assert isinstance(error, BrokerUnavailable)
    assert str(error) == "127.0.0.1:1: connection refused."


def test_another_server_is_used_when_the_first_is_away(place: Place) -> None:
    both = ["127.0.0.1:1", place.broker.bootstrap]
    member = Member(place.stream(kafka={"bootstrap_servers": both}))
    poll_for(settled(member), member)


def test_missing_topic_is_named_and_may_come_later(place: Place) -> None:
    later = f"{place.name}.later"
    stream = place.stream(topics={"transactions": later})
    error = trouble(lambda: stream.poll(100))
    assert isinstance(error, BrokerUnavailable)
    assert later in str(error)
    create_topic(place.broker.bootstrap, later, 2)
    member = Member(stream)
    poll_for(settled(member), member)


def test_every_missing_permission_is_named(place: Place) -> None:
    allow, name = place.broker.allow, place.name
    read, write, describe = ACLOperation.READ, ACLOperation.WRITE, ACLOperation.DESCRIBE
    identity = {"group_instance_id": "a"}
    grants: list[tuple[str, ResourceType, str, tuple[ACLOperation, ...]]] = [
        (f"read topic {place.transactions}", ResourceType.TOPIC, place.transactions, (read,)),
        (f"write topic {place.alerts}", ResourceType.TOPIC, place.alerts, (write,)),
        (f"write topic {place.rejected}", ResourceType.TOPIC, place.rejected, (write,)),
        (f"transactional id {name}-a", ResourceType.TRANSACTIONAL_ID, f"{name}-a", (write, describe)),
        (f"group {name}", ResourceType.GROUP, name, (read,)),
    ]
    for words, kind, resource, operations in grants:
        error = trouble(lambda: place.stream(SASL_SSL, place.password, kafka=identity).poll(3000))
        assert isinstance(error, CredentialsError)
        assert words in str(error)
        allow(SASL_SSL, kind, resource, *operations)
    member = Member(place.stream(SASL_SSL, place.password, kafka=identity))
    poll_for(settled(member), member)
    member.commit([place.alert(b"allowed")], {0: Committed(offset=0, metadata="")})
    assert place.alerts_seen() == [b"allowed"]


def test_unusable_key_file_is_named(place: Place, tmp_path: Path) -> None:
    error = trouble(lambda: place.stream(MTLS, security={"ca_file": str(tmp_path / "nowhere.pem")}))
    assert isinstance(error, CredentialsError)
    assert "nowhere.pem" in str(error)


# --- side topics ------------------------------------------------------------------------------------------


@pytest.fixture
def side(place: Place, topic_name: str) -> Iterator[KafkaSideLog]:
    create_topic(place.broker.bootstrap, f"{topic_name}.side", 1)
    log = KafkaSideLog(place.config(), f"{topic_name}.side", time_of=feedback_time)
    yield log
    log.close()


def produce_side(place: Place, *values: bytes) -> None:
    produce_all(place.broker.bootstrap, f"{place.name}.side", [(None, value, None, 0) for value in values])


def refreshed(log: KafkaSideLog, end: int) -> bool:
    def step() -> bool:
        log.refresh()
        return log.end(0.0) == end

    return poll_until(step, timeout_s=10)


def test_side_log_follows_and_reads_again(
    place: Place, side: KafkaSideLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_log, "_RECENT_RECORDS_MAX", 4)
    produce_side(place, b"0", b"1", b"2")
    assert refreshed(side, 3)  # what was there before us is read, too
    produce_side(place, *(b"%d" % n for n in range(3, 10)))
    assert refreshed(side, 10)

    everything = [(n, b"%d" % n) for n in range(10)]
    assert list(side.read(7, 10)) == everything[7:]  # from memory
    assert list(side.read(0, 10)) == everything  # again from the topic
    assert list(side.read(2, 5)) == everything[2:5]
    assert list(side.read(4, 4)) == []
    produce_side(place, b"10")
    assert refreshed(side, 11)  # it still follows
    assert list(side.read(9, 11)) == [*everything[9:], (10, b"10")]
    assert side.beginning() == 0


def test_side_log_sees_whole_transactions_only(place: Place, side: KafkaSideLog) -> None:
    settings = place.broker.client_settings()
    side.refresh()
    with closing(KafkaProducer(**settings, transactional_id=f"{place.name}-x")) as producer:
        producer.init_transactions()
        for value, commit in ((b"no", False), (b"yes", True)):
            producer.begin_transaction()
            producer.send(f"{place.name}.side", value=value).get(timeout=10)
            (producer.commit_transaction if commit else producer.abort_transaction)()
    assert refreshed(side, 4)
    assert list(side.read(0, 4)) == [(2, b"yes")]
    again = KafkaSideLog(place.config(), f"{place.name}.side")
    assert list(again.read(0, 4)) == [(2, b"yes")]
    again.close()


def test_side_log_holds_labels_back_for_a_backlog(place: Place, side: KafkaSideLog) -> None:
    # Both topics filled up while nobody was there: the labels must not be used up before the events come.
    days = (2, 4, 3, 9)
    produce_side(place, *(b'{"time":"2026-01-0%d","event_id":1}' % day for day in days))
    day_s = 86_400.0
    first_s = 1_767_225_600.0  # 2026-01-01

    def read() -> bool:
        side.refresh()
        return side.end(first_s + 8 * day_s) == len(days)

    assert poll_until(read, timeout_s=10)
    assert [side.end(first_s + day * day_s) for day in (0, 1, 2, 3, 7)] == [0, 1, 1, 3, 3]


def test_side_log_says_when_records_are_gone(place: Place, side: KafkaSideLog) -> None:
    produce_side(place, *(b"%d" % n for n in range(6)))
    assert side.beginning() == 0
    with closing(KafkaAdminClient(**place.broker.client_settings())) as admin:
        admin.delete_records({TopicPartition(f"{place.name}.side", 0): 4})
    assert side.beginning() == 4
    for _ in range(2):
        with pytest.raises(NeedsOperator, match="no longer in the log"):
            side.read(2, 6)
        assert refreshed(side, 6)  # it follows what is left
        assert list(side.read(4, 6)) == [(4, b"4"), (5, b"5")]
    with pytest.raises(NeedsOperator, match="ends at 6, but records before 9"):
        side.read(4, 9)


def test_side_log_needs_one_partition(place: Place) -> None:
    log = KafkaSideLog(place.config(), place.transactions)
    with pytest.raises(NeedsOperator, match="has 2 partitions"):
        log.refresh()


def test_side_log_waits_for_its_topic(place: Place) -> None:
    log = KafkaSideLog(place.config(), f"{place.name}.side")
    with pytest.raises(BrokerUnavailable, match="does not exist"):
        log.refresh()
    create_topic(place.broker.bootstrap, f"{place.name}.side", 1)
    log.refresh()
    assert log.end(0.0) == 0
    log.close()
