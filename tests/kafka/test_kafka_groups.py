"""The Kafka stream against a real broker: members of a group, and offsets that are gone."""

from __future__ import annotations

from contextlib import closing, suppress

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.structs import ConsumerGroupMetadata

from detector.errors import (
    BrokerUnavailable,
    CommitFailed,
    NeedsOperator,
)
from detector.ports import Change, Committed
from tests.kafka.place import Member, Place, poll_for, settled, trouble
from tests.kafka.topics import create_anew
from tests.kafka.waiting import poll_until


def test_two_members_share_and_the_old_membership_is_fenced(place: Place) -> None:
    first, second = Member(place.stream()), Member(place.stream())
    poll_for(settled(first), first)
    old = first.membership

    poll_for(settled(first, second), first, second)
    # Cooperative: only the partition that moved was revoked.
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
    # The broker would accept it, as old clients commit without an id.
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
    # A session outlives the test, so only the leaving itself can free the partition.
    leaving = {"session_timeout_ms": 600_000, "leave_on_stop": True}
    first = Member(place.stream(kafka=leaving | {"group_instance_id": "a"}))
    second = Member(place.stream(kafka=leaving | {"group_instance_id": "b"}))
    poll_for(settled(first, second), first, second)
    first.stream.close()
    poll_for(settled(second), second)


def test_same_static_identity_twice_needs_an_operator(place: Place) -> None:
    first = Member(place.stream(kafka={"group_instance_id": "a"}))
    poll_for(settled(first), first)
    second = Member(place.stream(kafka={"group_instance_id": "a"}))
    poll_for(settled(second), second)
    error = trouble(lambda: first.commit([], {0: Committed(offset=1, metadata="")}))
    assert isinstance(error, (NeedsOperator, CommitFailed))
    second.commit([], {0: Committed(offset=2, metadata="mine")})
    assert second.stream.committed([0]) == {0: Committed(offset=2, metadata="mine")}


def test_a_fenced_static_member_leaves_although_its_topic_is_quiet(place: Place) -> None:
    first = Member(place.stream(kafka={"group_instance_id": "a"}))
    poll_for(settled(first), first)
    second = Member(place.stream(kafka={"group_instance_id": "a"}))
    poll_for(settled(second), second)

    def refused() -> bool:
        second.poll()
        try:
            first.poll()
        except NeedsOperator as error:
            return "kafka.group_instance_id must be different" in str(error)
        return False

    assert poll_until(refused)
    second.poll()


def test_a_topic_that_is_created_anew_needs_an_operator(place: Place) -> None:
    place.produce(b"one")
    member = Member(place.stream())
    poll_for(lambda: len(member.records) == 1, member)
    before = member.stream.ids()
    assert before.cluster
    assert before.topic
    create_anew(place.broker.bootstrap, place.transactions)

    def refused() -> bool:
        try:
            member.poll()
        except NeedsOperator as error:
            return "was created anew" in str(error)
        except BrokerUnavailable:
            pass
        return False

    assert poll_until(refused)


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

    assert poll_until(refused)
    member.poll()  # says it once: what is left can be polled, and the caller seeks


def test_a_committed_offset_that_is_gone_is_for_the_caller_to_judge(place: Place) -> None:
    # The client seeks to the committed offset as soon as it has the partition, before the caller can seek.
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

    assert poll_until(polled)
    assert stream.committed([0]) == {0: Committed(offset=3, metadata="")}
    stream.seek(0, 5)
    second = Member(stream)
    poll_for(lambda: second.values() == [b"%d" % n for n in range(5, 10)], second)
