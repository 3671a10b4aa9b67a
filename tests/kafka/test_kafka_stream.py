"""The Kafka stream against a real broker: polls, commits and positions."""

from __future__ import annotations

import time
from contextlib import closing

import pytest
from kafka import KafkaProducer

from detector.errors import (
    BrokerUnavailable,
)
from detector.ports import Committed, Message
from detector.shell import calls
from detector.shell.kafka import stream as kafka_stream
from tests.kafka.place import Member, Place, impatient, poll_for, settled, trouble
from tests.kafka.topics import create_topic, read_all
from tests.kafka.waiting import PATIENCE_S, poll_until


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_polls_commits_and_reads_back(place: Place, delivery: str) -> None:
    place.produce(b"a", b"b", b"c")
    first = Member(place.stream(delivery=delivery))
    poll_for(lambda: first.values() == [b"a", b"b", b"c"], first)
    record = first.records[1]
    assert (record.offset, record.key, record.value, record.headers) == (1, b"key", b"b", (("h", b"1"),))
    assert record.timestamp_ms > 0
    assert first.stream.partitions_count() == 2
    assert first.stream.position(0) == first.stream.log_end(0) == 3

    journal = '{"checkpoint":"x","barriers":[3]}' + "é" * 100
    first.commit([place.alert(b"alert")], {0: Committed(offset=3, metadata=journal)})
    first.commit([], {1: Committed(offset=0, metadata="")})  # only offsets

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

    assert poll_until(read)
    assert max(sizes) == 7
    began = time.monotonic()
    assert not stream.poll(200).records
    assert time.monotonic() - began > 0.15  # it waited
    hour_ms = 3_600_000
    waiting = calls.start(lambda: stream.poll(hour_ms))
    place.produce(b"late")
    assert calls.wait(waiting, PATIENCE_S).records  # and does not wait any longer than it has to


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
    poll_for(lambda: member.stream.position(0) == member.stream.log_end(0) == 4, member)
    assert [record.offset for record in member.records] == [0, 2]


def test_the_end_of_the_log_is_asked_for_and_leaves_out_open_transactions(own_place: Place) -> None:
    member = Member(own_place.stream())
    poll_for(settled(member), member)
    own_place.produce(b"a")
    assert member.stream.log_end(0) == 1  # no poll has returned it
    settings = own_place.broker.client_settings()
    with closing(KafkaProducer(**settings, transactional_id=f"{own_place.name}-x")) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(own_place.transactions, value=b"b", partition=0).get(timeout=PATIENCE_S)
        assert member.stream.log_end(0) == 1
        producer.commit_transaction()
    assert poll_until(lambda: member.stream.log_end(0) == 3)
    own_place.broker.suspend()
    with impatient(member.stream):
        assert isinstance(trouble(lambda: member.stream.log_end(0)), BrokerUnavailable)


def test_awkward_messages_do_not_block_the_commit(place: Place) -> None:
    member = Member(place.stream())
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
