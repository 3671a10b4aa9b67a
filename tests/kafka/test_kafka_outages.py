"""The Kafka stream while brokers hang, die and come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaProducer

from detector.errors import (
    BrokerUnavailable,
    CommitFailed,
    OutsideError,
)
from detector.ports import Committed, Message
from detector.shell import calls
from detector.shell.kafka import stream as kafka_stream
from tests.kafka.cluster import KafkaCluster
from tests.kafka.place import Member, Place, impatient, poll_for, settled
from tests.kafka.waiting import PATIENCE_S, poll_until


def test_frozen_broker_during_commit(own_place: Place) -> None:
    broker = own_place.broker
    member = Member(own_place.stream(kafka={"session_timeout_ms": 600_000}))
    poll_for(settled(member), member)
    member.commit([own_place.alert(b"before")], {0: Committed(offset=1, metadata="before")})

    broker.suspend()
    with impatient(member.stream):
        with pytest.raises(CommitFailed):
            member.commit([own_place.alert(b"during")], {0: Committed(offset=2, metadata="during")})
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

    assert poll_until(recover)
    # Both or neither: the alert was published if and only if its offset was committed.
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
    assert poll_until(lambda: place.alerts_seen() == [b"other"])


def test_a_transaction_that_the_broker_gave_up_moves_no_offset(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client continues under a new epoch, without the outputs that it could not send."""
    stream = place.stream(kafka={"transaction_timeout_ms": 4000})
    member = Member(stream)
    poll_for(settled(member), member)
    member.commit([place.alert(b"before")], {0: Committed(offset=1, metadata="before")})
    send_all = stream._publisher.send_all

    def interrupted(producer: KafkaProducer, messages: Sequence[Message]) -> list[Any]:
        """The last message is sent only after the broker has aborted the transaction."""
        sent = send_all(producer, messages[:1])
        producer.flush()
        ended, send_data = place.ends(place.alerts), producer._sender._send_producer_data
        gone = threading.Event()

        def wait_for_the_markers() -> None:
            poll_until(lambda: place.ends(place.alerts) > ended)
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
    member = Member(own_place.stream())
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
    assert poll_until(unavailable)
    broker.resume()
    want = b"resumed"
    own_place.produce(want)
    assert poll_until(available)

    broker.kill()
    expected = "connection refused"
    assert poll_until(unavailable)
    broker.restart()
    want = b"restarted"
    own_place.produce(want)
    assert poll_until(available)

    broker.kill()
    calls.within(PATIENCE_S, member.stream.close)  # must not wait for the broker


@pytest.mark.parametrize("coordinator", ["transaction", "group"])
def test_a_commit_waits_for_the_next_coordinator(
    own_cluster: KafkaCluster, topic_name: str, coordinator: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Without the workarounds the client loses a request whose coordinator is down, and looks up the group's
    # coordinator, which is the dead one for some seconds, 600 times a second.
    place = Place(own_cluster.brokers[0], topic_name)
    servers = {"bootstrap_servers": own_cluster.bootstrap.split(","), "request_timeout_ms": 60_000}
    began = time.monotonic()
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
        gone.start()  # the place connects to the first broker

    assert place.alerts_seen() == [b"before", b"after"]
    assert len(caplog.records) < 200 + 50 * (time.monotonic() - began)  # a rate, so that load does no harm


def test_quiet_topic_is_not_a_dead_broker(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_stream, "SHORT_REQUEST_MS", 1000 * PATIENCE_S)  # the machine may be busy
    member = Member(place.stream())
    poll_for(settled(member), member)
    stream = member.stream
    stream._answered_s = long_ago = time.monotonic() - 2 * kafka_stream._SILENCE_MAX_S
    member.poll()
    assert stream._answered_s > long_ago
