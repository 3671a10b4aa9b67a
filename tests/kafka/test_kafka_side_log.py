"""Side topics on a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from detector.core.labels.commands import feedback_time
from detector.errors import (
    BrokerUnavailable,
    NeedsOperator,
)
from detector.shell.kafka import KafkaSideLog, side_log
from tests.kafka.place import Place
from tests.kafka.topics import create_anew, create_topic, produce_all
from tests.kafka.waiting import PATIENCE_S, poll_until


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

    return poll_until(step)


def test_side_log_follows_and_reads_again(
    place: Place, side: KafkaSideLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_log, "_RECENT_RECORDS_MAX", 4)
    produce_side(place, b"0", b"1", b"2")
    assert refreshed(side, 3)  # earlier records are read, too
    produce_side(place, *(b"%d" % n for n in range(3, 10)))
    assert refreshed(side, 10)

    everything = [(n, b"%d" % n) for n in range(10)]
    assert list(side.read(7, 10)) == everything[7:]  # from memory
    assert list(side.read(0, 10)) == everything  # read again from the topic
    assert list(side.read(2, 5)) == everything[2:5]
    assert list(side.read(4, 4)) == []
    produce_side(place, b"10")
    assert refreshed(side, 11)  # it continues to follow the topic
    assert list(side.read(9, 11)) == [*everything[9:], (10, b"10")]
    assert side.beginning() == 0


def test_side_log_sees_whole_transactions_only(place: Place, side: KafkaSideLog) -> None:
    settings = place.broker.client_settings()
    side.refresh()
    with closing(KafkaProducer(**settings, transactional_id=f"{place.name}-x")) as producer:
        producer.init_transactions()
        for value, commit in ((b"no", False), (b"yes", True)):
            producer.begin_transaction()
            producer.send(f"{place.name}.side", value=value).get(timeout=PATIENCE_S)
            (producer.commit_transaction if commit else producer.abort_transaction)()
    assert refreshed(side, 4)
    assert list(side.read(0, 4)) == [(2, b"yes")]
    again = KafkaSideLog(place.config(), f"{place.name}.side")
    assert list(again.read(0, 4)) == [(2, b"yes")]
    again.close()


def test_side_log_holds_labels_back_for_a_backlog(place: Place, side: KafkaSideLog) -> None:
    # Both topics have a backlog: labels must not be applied before their events.
    days = (2, 4, 3, 9)
    produce_side(place, *(b'{"time":"2026-01-0%d","event_id":1}' % day for day in days))
    day_s = 86_400.0
    first_s = 1_767_225_600.0  # 2026-01-01

    def read() -> bool:
        side.refresh()
        return side.end(first_s + 8 * day_s) == len(days)

    assert poll_until(read)
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
        assert refreshed(side, 6)  # it follows the remaining records
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


def test_a_side_topic_that_is_deleted_is_named(place: Place, side: KafkaSideLog) -> None:
    """Labels just stopped, and nothing said so."""
    produce_side(place, b"0")
    assert refreshed(side, 1)
    with closing(KafkaAdminClient(bootstrap_servers=place.broker.bootstrap)) as admin:
        admin.delete_topics([f"{place.name}.side"])
    said = list[str]()

    def named() -> bool:
        try:
            side.refresh()
        except BrokerUnavailable as error:
            said.append(str(error))
        return bool(said)

    assert poll_until(named)
    assert said == [f"Topic {place.name}.side does not exist."]
    with pytest.raises(BrokerUnavailable, match="does not exist"):  # and again, without asking each time
        side.refresh()


def test_a_side_topic_that_is_created_anew_is_noticed(place: Place, side: KafkaSideLog) -> None:
    produce_side(place, b"0")
    assert refreshed(side, 1)
    before = side.ids()
    assert before.cluster
    assert before.topic
    create_anew(place.broker.bootstrap, f"{place.name}.side")

    def refused() -> bool:
        try:
            side.refresh()
        except NeedsOperator as error:
            return "was created anew" in str(error)
        except BrokerUnavailable:
            pass
        return False

    assert poll_until(refused)
