"""Failover to a mirrored cluster: what mirroring copied is refused, and the documented way goes on.

Mirroring copies records to other offsets. The group's offsets are translated, at best to the same place; what
was committed with them, the journal, is copied as it is, or left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from detector.errors import EXIT_NEEDS_OPERATOR
from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Deployment
from tests.kafka.test_accidents import CONFIG, KAFKA
from tests.kafka.test_end_to_end import traffic
from tests.kafka.topics import produce_all
from tests.kafka.waiting import PATIENCE_S

PARTITIONS = 2
AHEAD = 7  # a record has an offset that is so much higher on the mirror
BEHIND = {0: 0, 1: 5}  # translated offsets may be lower than the true ones: no event is lost, some come again
EVENTS = 6_000


@pytest.fixture
def first(kafka: KafkaBroker, tmp_path: Path, topic_name: str) -> Iterator[Deployment]:
    """The cluster that dies."""
    folder = tmp_path / "first"
    folder.mkdir()
    with Deployment(
        kafka.bootstrap, folder, topic_name, partitions=PARTITIONS, config=CONFIG, kafka=KAFKA
    ) as made:
        yield made


@pytest.fixture
def second(own_kafka: KafkaBroker, tmp_path: Path, topic_name: str) -> Iterator[Deployment]:
    """Its mirror, with the same names of topics and group, and a checkpoint store of its own."""
    folder = tmp_path / "second"
    folder.mkdir()
    with Deployment(
        own_kafka.bootstrap, folder, topic_name, partitions=PARTITIONS, config=CONFIG, kafka=KAFKA
    ) as made:
        yield made


def mirror(first: Deployment, second: Deployment) -> None:
    """Copy the transactions topic."""
    topic = second.topics["transactions"]
    gone = [(None, b"gone", None, number) for number in range(PARTITIONS) for _ in range(AHEAD)]
    produce_all(second.bootstrap, topic, gone)
    with closing(KafkaAdminClient(bootstrap_servers=second.bootstrap)) as admin:
        admin.delete_records({TopicPartition(topic, number): AHEAD for number in range(PARTITIONS)})
    records = first.published("transactions")
    copies = [(record.key, record.value, None, record.partition) for record in records]
    produce_all(second.bootstrap, topic, copies)


def group_offsets(of: Deployment) -> dict[int, OffsetAndMetadata]:
    with closing(KafkaConsumer(bootstrap_servers=of.bootstrap, group_id=of.group)) as consumer:
        at = {number: TopicPartition(of.topics["transactions"], number) for number in range(PARTITIONS)}
        return {number: consumer.committed(place, metadata=True) for number, place in at.items()}


def commit(to: Deployment, offsets: Mapping[int, OffsetAndMetadata]) -> None:
    with closing(KafkaConsumer(bootstrap_servers=to.bootstrap, group_id=to.group)) as consumer:
        topic = to.topics["transactions"]
        consumer.commit({TopicPartition(topic, number): at for number, at in offsets.items()})


def detector(deployment: Deployment, *arguments: str) -> str:
    command = [sys.executable, "-m", "detector", *arguments, "--config", str(deployment.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_mirror_is_refused_and_the_documented_way_goes_on(
    first: Deployment, second: Deployment, tmp_path: Path
) -> None:
    events = traffic(EVENTS + 2_000)
    first.produce(islice(events, EVENTS))
    daemon = first.start()
    first.await_done()
    assert daemon.stop() == 0
    mirror(first, second)

    there = group_offsets(first)
    translated = {number: one.offset + AHEAD - BEHIND[number] for number, one in there.items()}
    for offsets, sentence in (
        (there, "with a journal of cluster "),  # as they are
        (
            {n: OffsetAndMetadata(translated[n], one.metadata, -1) for n, one in there.items()},
            "but its journal was committed with offset ",
        ),
    ):
        commit(second, offsets)
        refused = second.start()
        assert refused.process.wait(PATIENCE_S) == EXIT_NEEDS_OPERATOR
        assert sentence in refused.log().splitlines()[-1]
        assert "Traceback" not in refused.log()
        now = group_offsets(second)
        assert {n: (one.offset, one.metadata) for n, one in now.items()} == {
            n: (one.offset, one.metadata) for n, one in offsets.items()
        }
    assert not second.published("scores") + second.published("dead_letter")

    # docs/how-to/operations.md, "Fail over to a mirrored cluster"; the first cluster is not needed for it.
    model = str(tmp_path / "model.bin")
    detector(first, "checkpoint", "export", "--partition", "0", "--out", model)
    said = detector(second, "checkpoint", "begin", "--warm-start", model, "--yes")
    assert [f"partition {n} begins at {at} " in said for n, at in translated.items()] == [True] * PARTITIONS
    second.start()
    second.produce(events)
    second.await_done()
    scored = second.scored_events()
    assert set(scored.values()) == {1}
    for number, begin in translated.items():
        offsets_scored = sorted(offset for partition, offset in scored if partition == number)
        assert offsets_scored == list(range(begin, begin + len(offsets_scored)))
    assert len(scored) == 2_000 + sum(BEHIND.values())
    firsts = [json.loads(record.value)["score"] for record in second.published("scores")[:20]]
    assert max(firsts) > 0  # what was learned is known from the first event on
