"""Shards of real daemons exchange messages on a real Kafka, and a kill -9 changes none of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from detector.core.shard.shard import Shard
from tests import talkative
from tests.kafka.audit import compare, log_of, published, undisturbed
from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Deployment
from tests.kafka.test_end_to_end import traffic
from tests.kafka.topics import read_all
from tests.kafka.waiting import poll_until

PARTITIONS = 3
EVENTS = 18_000


class TalkativeShard(Shard):
    """As in `tests.talkative`."""

    _receive_message, _publish = talkative.receive, talkative.publish


def test_exchange_survives_kill_9_of_a_replica(kafka: KafkaBroker, tmp_path: Path, topic_name: str) -> None:
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
        sides=("exchange",),
    ) as deployment:
        events = list(traffic(EVENTS))
        exchange = deployment.topics["exchange"]
        slow = "kafka.poll_records_max=200"
        replicas = [deployment.start(slow), deployment.start(slow)]
        assert poll_until(lambda: all(replica.owns() > 0 for replica in replicas))
        deployment.produce(events[: EVENTS // 2])
        assert poll_until(lambda: len(read_all(kafka.bootstrap, exchange)) > 12)
        replicas[0].kill()
        deployment.produce(events[EVENTS // 2 :])
        assert poll_until(lambda: replicas[1].owns() == PARTITIONS)
        replicas.append(deployment.start(slow))
        deployment.await_done()
        assert poll_until(lambda: all(replica.ready() for replica in replicas[1:]))
        counts: Counter[str] = Counter()
        for replica in replicas[1:]:
            for labels, value in replica.metrics("detector_exchange_messages_total").items():
                counts[labels.split('outcome="')[1].split('"')[0]] += int(value)
        assert min(counts["published"], counts["applied"], counts["own"], counts["unfit"]) > 0
        assert counts["malformed"] == counts["foreign"] == counts["duplicate"] == counts["too_large"] == 0
        for replica in replicas[1:]:
            assert replica.stop() == 0

        messages = [record.value for record in read_all(kafka.bootstrap, exchange)]
        origins = [tuple(msgspec.msgpack.decode(value)[3:6]) for value in messages]
        assert len(set(origins)) == len(origins)
        reference, expected = undisturbed(
            deployment, log_of(deployment), sides=True, shard_type=TalkativeShard
        )
        assert sorted(expected) == sorted(messages)
        assert not compare(published(deployment), reference)
        kinds = Counter(kind for kind, _, _ in reference)
        assert kinds["scores"] == EVENTS
        assert kinds["alerts"] > 5
