"""Shards of real daemons on a real Kafka tell each other something, and a kill -9 changes none of it."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import msgspec
from kafka import KafkaConsumer, TopicPartition
from threadpoolctl import threadpool_limits

from detector.config.load import load
from detector.core.checkpoint import read_manifest
from detector.core.journal import Journal
from detector.core.records import Identity, Record
from detector.core.shard import Shard
from detector.wiring import entity_key
from tests import talkative
from tests.kafka.broker import KafkaBroker, create_topic, poll_until, read_all
from tests.kafka.daemons import Deployment
from tests.kafka.test_end_to_end import traffic

PARTITIONS = 3
EVENTS = 18_000


class TalkativeShard(Shard):
    """As in `tests.talkative`."""

    _hear, _tell = talkative.hear, talkative.tell


def test_exchange_survives_kill_9_of_a_replica(kafka: KafkaBroker, tmp_path: Path, topic_name: str) -> None:
    exchange = f"{topic_name}-exchange"
    create_topic(kafka.bootstrap, exchange, 1)
    settings = {
        "checkpoints": {"url": f"file://{tmp_path / 'checkpoints'}", "interval": 1, "keep": 1000},
        "commit_interval_ms": 20,
    }
    with Deployment(
        kafka.bootstrap,
        tmp_path,
        topic_name,
        partitions=PARTITIONS,
        config=settings,
        module="tests.talkative",
    ) as deployment:
        events = list(traffic(EVENTS))
        on = f"topics.exchange={exchange}", "kafka.poll_records_max=200"
        replicas = [deployment.start(*on), deployment.start(*on)]
        assert poll_until(lambda: all(replica.owns() > 0 for replica in replicas), timeout_s=60)
        deployment.produce(events[: EVENTS // 2])
        assert poll_until(lambda: len(read_all(kafka.bootstrap, exchange)) > 12, timeout_s=60)
        replicas[0].kill()
        deployment.produce(events[EVENTS // 2 :])
        assert poll_until(lambda: replicas[1].owns() == PARTITIONS, timeout_s=60)
        replicas.append(deployment.start(*on))
        deployment.await_done(90)
        assert poll_until(lambda: all(replica.ready() for replica in replicas[1:]), timeout_s=60)
        heard: Counter[str] = Counter()
        for replica in replicas[1:]:
            for labels, value in replica.metrics("detector_exchange_messages_total").items():
                heard[labels.split('outcome="')[1].split('"')[0]] += int(value)
        assert min(heard["told"], heard["heard"], heard["own"], heard["unfit"]) > 0
        assert heard["malformed"] == heard["foreign"] == heard["repeated"] == heard["too_large"] == 0
        for replica in replicas[1:]:
            assert replica.stop() == 0

        assert set(deployment.scored_events().values()) == {1}
        assert len(deployment.scored_events()) == EVENTS
        told = [record.value for record in read_all(kafka.bootstrap, exchange)]
        origins = [tuple(msgspec.msgpack.decode(value)[3:6]) for value in told]
        assert len(set(origins)) == len(origins)
        alerts, told_again = audited(deployment, exchange)
        assert sorted(told_again) == sorted(told)
        assert alerts == {id_: alert[2] for id_, alert in deployment.alerts().items()}
        assert len(alerts) > 5


def audited(deployment: Deployment, exchange: str) -> tuple[dict[str, bytes], list[bytes]]:
    """Alerts and messages of an undisturbed replay of log, journal and exchange."""
    config = load(deployment.config, [f"topics.exchange={exchange}"])
    wanted = config.model_part(PARTITIONS)
    topic = deployment.topics["transactions"]
    log = read_all(deployment.bootstrap, topic)
    messages = [(record.offset, record.value) for record in read_all(deployment.bootstrap, exchange)]
    alerts: dict[str, bytes] = {}
    told: list[bytes] = []
    for number in range(PARTITIONS):
        journal = whole_journal(deployment, TopicPartition(topic, number))
        identity = Identity(
            topic=topic, group=deployment.group, partition=number, entity_key=entity_key(None)
        )
        shard = TalkativeShard(wanted, identity, position=journal.position, labels_end=journal.labels)
        shard.told_end = journal.exchange
        plan = list(journal.barriers)
        records = [
            Record(record.offset, record.timestamp, record.key, record.value, tuple(record.headers))
            for record in log
            if record.partition == number
        ]
        with threadpool_limits(1):
            while records:
                consumed, outputs, ended = shard.take(records, silent=False)
                del records[:consumed]
                alerts |= {dict(alert.headers)["ce_id"].decode(): alert.body for alert in outputs.alerts}
                if ended and plan and plan[0].position == shard.position:
                    barrier = plan.pop(0)
                    heard = [m for m in messages if shard.told_end <= m[0] < barrier.exchange]
                    shard.barrier((), barrier.labels, heard, barrier.exchange)
                    told += shard.exchange.collect()[0]
        assert not plan
    return alerts, told


def whole_journal(deployment: Deployment, at: TopicPartition) -> Journal:
    """From the bare start, through every checkpoint's own part of it."""
    with closing(
        KafkaConsumer(
            bootstrap_servers=deployment.bootstrap,
            group_id=deployment.group,
            enable_auto_commit=False,
            isolation_level="read_committed",
        )
    ) as consumer:
        journal = Journal.from_text(consumer.committed(at, metadata=True).metadata)
    while journal.checkpoint:
        found = (deployment.folder / "checkpoints").rglob("*.json")
        name = f"{journal.checkpoint}.json"
        [path] = [p for p in found if str(p).endswith(name) and "manifests" not in p.parts]
        journal = read_manifest(path.read_bytes()).since.joined(journal)
    return journal
