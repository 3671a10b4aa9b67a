"""The tests' own broker: every listener works, and rejects what it should."""

from __future__ import annotations

import contextlib

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ACLOperation, ResourceType
from kafka.errors import KafkaTimeoutError, SaslAuthenticationFailedError, TopicAuthorizationFailedError

from tests.kafka.broker import LISTENERS, MTLS, SASL_SSL, KafkaBroker
from tests.kafka.cluster import KafkaCluster
from tests.kafka.topics import create_topic, produce_all, read_all
from tests.kafka.waiting import PATIENCE_S, poll_until


@pytest.mark.parametrize("listener", LISTENERS)
def test_roundtrip(kafka: KafkaBroker, topic_name: str, listener: str) -> None:
    settings = kafka.client_settings(listener)
    create_topic(kafka.bootstrap, topic_name, 1)
    kafka.allow(listener, ResourceType.TOPIC, topic_name, ACLOperation.READ, ACLOperation.WRITE)

    with contextlib.closing(KafkaProducer(**settings)) as producer:
        producer.send(topic_name, key=b"key", value=b"value", headers=[("h", b"1")]).get(timeout=PATIENCE_S)
    with contextlib.closing(KafkaConsumer(**settings, auto_offset_reset="earliest")) as consumer:
        consumer.assign([TopicPartition(topic_name, 0)])
        ((record,),) = consumer.poll(timeout_ms=PATIENCE_S * 1000).values()

    assert (record.key, record.value, record.headers) == (b"key", b"value", [("h", b"1")])


@pytest.mark.parametrize("listener", [SASL_SSL, MTLS])
def test_unauthorised_principal_is_refused(kafka: KafkaBroker, topic_name: str, listener: str) -> None:
    settings = kafka.client_settings(listener)
    create_topic(kafka.bootstrap, topic_name, 1)
    kafka.allow(listener, ResourceType.TOPIC, topic_name, ACLOperation.DESCRIBE)
    # Whoever may write to some topic may have a producer id.
    kafka.allow(listener, ResourceType.TOPIC, f"{topic_name}-other", ACLOperation.WRITE)

    with contextlib.closing(KafkaProducer(**settings)) as producer:
        sent = producer.send(topic_name, value=b"value")
        with pytest.raises(TopicAuthorizationFailedError):
            sent.get(timeout=PATIENCE_S)

    assert read_all(kafka.bootstrap, topic_name) == []


def test_wrong_password_is_refused(kafka: KafkaBroker) -> None:
    # The client retries until it times out, and rarely reports the reason.
    settings = kafka.client_settings(SASL_SSL) | {"sasl_plain_password": "not it"}
    with pytest.raises((SaslAuthenticationFailedError, KafkaTimeoutError)):
        KafkaConsumer(**settings, bootstrap_timeout_ms=500)


def test_client_without_certificate_is_refused(kafka: KafkaBroker) -> None:
    settings = kafka.client_settings(MTLS) | {"ssl_certfile": None, "ssl_keyfile": None}
    with pytest.raises(KafkaTimeoutError):
        KafkaConsumer(**settings, bootstrap_timeout_ms=500)


def test_read_all_is_in_partition_order(kafka: KafkaBroker, topic_name: str) -> None:
    create_topic(kafka.bootstrap, topic_name, 3, {"retention.ms": "-1"})
    records = [(b"key", b"%d" % n, [("n", b"%d" % n)], 2 - n % 3) for n in range(9)]
    produce_all(kafka.bootstrap, topic_name, records)

    got = [
        (record.partition, record.offset, record.value) for record in read_all(kafka.bootstrap, topic_name)
    ]

    assert got == [(p, n, b"%d" % (3 * n + 2 - p)) for p in range(3) for n in range(3)]


def test_read_all_sees_what_is_committed(kafka: KafkaBroker, topic_name: str) -> None:
    create_topic(kafka.bootstrap, topic_name, 1)
    settings = kafka.client_settings()
    with contextlib.closing(KafkaProducer(**settings, transactional_id=topic_name)) as producer:
        producer.init_transactions()
        for value in (b"aborted", b"committed", b"open"):
            producer.begin_transaction()
            producer.send(topic_name, value=value).get(timeout=PATIENCE_S)
            if value == b"aborted":
                producer.abort_transaction()
            elif value == b"committed":
                producer.commit_transaction()
        committed = read_all(kafka.bootstrap, topic_name)
        everything = read_all(kafka.bootstrap, topic_name, "read_uncommitted")
        producer.abort_transaction()

    assert [record.value for record in committed] == [b"committed"]
    assert [record.value for record in everything] == [b"aborted", b"committed", b"open"]


def test_kill_and_restart_keeps_data(own_kafka: KafkaBroker) -> None:
    bootstrap = own_kafka.bootstrap
    create_topic(bootstrap, "kept", 2)
    produce_all(bootstrap, "kept", [(None, b"%d" % n, None, n % 2) for n in range(100)])

    own_kafka.kill()
    assert not own_kafka.running
    own_kafka.restart()

    assert own_kafka.bootstrap == bootstrap
    assert len(read_all(bootstrap, "kept")) == 100


def test_suspended_broker_answers_when_resumed(own_kafka: KafkaBroker) -> None:
    create_topic(own_kafka.bootstrap, "frozen", 1)
    with contextlib.closing(KafkaProducer(**own_kafka.client_settings())) as producer:
        producer.send("frozen", value=b"before").get(timeout=PATIENCE_S)
        own_kafka.suspend()
        during = producer.send("frozen", value=b"during")
        assert not poll_until(lambda: during.is_done, timeout_s=0.3)
        own_kafka.resume()
        during.get(timeout=PATIENCE_S)

    assert [record.value for record in read_all(own_kafka.bootstrap, "frozen")] == [b"before", b"during"]


def test_orderly_stop_of_a_suspended_broker(own_kafka: KafkaBroker) -> None:
    own_kafka.suspend()
    own_kafka.stop()  # raises if the broker had to be killed
    assert not own_kafka.running


def test_cluster_goes_on_without_its_controller(own_cluster: KafkaCluster) -> None:
    bootstrap = own_cluster.bootstrap
    create_topic(bootstrap, "kept", 3)
    assert own_cluster.in_sync()
    assert set(own_cluster.led()) == {1, 2, 3}

    gone = own_cluster.controller()
    gone.kill()
    produce_all(bootstrap, "kept", [(None, b"%d" % n, None, n % 3) for n in range(99)])
    assert not own_cluster.in_sync()
    assert own_cluster.controller() is not gone
    assert gone.node not in own_cluster.led()

    gone.start()
    assert poll_until(own_cluster.in_sync)
    assert len(read_all(bootstrap, "kept")) == 99
