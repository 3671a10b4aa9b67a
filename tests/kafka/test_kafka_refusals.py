"""Why a connection fails: each cause is named."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from kafka.admin import ACLOperation, ResourceType

from detector.errors import (
    BrokerUnavailable,
    CredentialsError,
)
from detector.ports import Committed
from detector.shell.kafka import KafkaStream
from detector.shell.kafka.transactions import transactional_id
from tests.kafka.broker import MTLS, PLAINTEXT, SASL_SSL
from tests.kafka.pki import create_pki
from tests.kafka.place import Member, Place, poll_for, settled, trouble
from tests.kafka.topics import create_topic


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
    elsewhere = {
        "bootstrap_servers": [f"127.1:{port}"]
    }  # the same host, by a name that is not in its certificate
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


def poll_on(stream: KafkaStream) -> None:
    """Poll until it raises."""
    while True:
        stream.poll(100)


def test_every_missing_permission_is_named(place: Place) -> None:
    allow, name = place.broker.allow, place.name
    read, write, describe = ACLOperation.READ, ACLOperation.WRITE, ACLOperation.DESCRIBE
    identity = {"group_instance_id": "a"}
    id_ = transactional_id(name, "a")
    grants: list[tuple[str, ResourceType, str, tuple[ACLOperation, ...]]] = [
        (f"read topic {place.transactions}", ResourceType.TOPIC, place.transactions, (read,)),
        (f"write topic {place.alerts}", ResourceType.TOPIC, place.alerts, (write,)),
        (f"write topic {place.rejected}", ResourceType.TOPIC, place.rejected, (write,)),
        (f"transactional id {id_}", ResourceType.TRANSACTIONAL_ID, id_, (write, describe)),
        (f"group {name}", ResourceType.GROUP, name, (read,)),
    ]
    for words, kind, resource, operations in grants:
        stream = place.stream(SASL_SSL, place.password, kafka=identity)
        error = trouble(partial(poll_on, stream))
        assert isinstance(error, CredentialsError)
        assert words in str(error)
        allow(SASL_SSL, kind, resource, *operations)
    member = Member(place.stream(SASL_SSL, place.password, kafka=identity))
    poll_for(settled(member), member)
    member.commit([place.alert(b"allowed")], {0: Committed(offset=0, metadata="")})
    assert place.alerts_seen() == [b"allowed"]


def test_all_missing_permissions_are_named_at_the_start(place: Place) -> None:
    allow, name = place.broker.allow, place.name
    labels, exchange = f"{name}.labels", f"{name}.exchange"
    for topic in (labels, exchange):
        create_topic(place.broker.bootstrap, topic, 1)
    allow(SASL_SSL, ResourceType.TOPIC, place.transactions, ACLOperation.READ)
    allow(SASL_SSL, ResourceType.TOPIC, exchange, ACLOperation.READ)
    allow(SASL_SSL, ResourceType.TOPIC, place.alerts, ACLOperation.DESCRIBE)
    stream = place.stream(SASL_SSL, place.password, topics={"feedback": labels, "exchange": exchange})
    error = trouble(stream.open)
    assert isinstance(error, CredentialsError)
    for words in (
        f"write topic {place.alerts} (needs WRITE)",
        f"write topic {place.rejected} (needs WRITE)",
        f"read topic {labels} (needs READ)",
        f"read and write topic {exchange} (needs WRITE)",
        f"use transactional id {stream.transactional_id} (needs WRITE and DESCRIBE",
        f"join group {name} (needs READ)",
    ):
        assert words in str(error)
    assert place.transactions not in str(error)


def test_unusable_key_file_is_named(place: Place, tmp_path: Path) -> None:
    error = trouble(lambda: place.stream(MTLS, security={"ca_file": str(tmp_path / "nowhere.pem")}))
    assert isinstance(error, CredentialsError)
    assert "nowhere.pem" in str(error)
