"""Failures that other services of this kind have had, with real daemons on a real Kafka.

Each test ends with a comparison: alerts, dead letters and scores must be those of undisturbed shards over the
same log, with equal bytes, each exactly once.
"""

from __future__ import annotations

import signal
import zlib
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from detector.errors import EXIT_NEEDS_OPERATOR
from tests.kafka.audit import committed_journal, compare, log_of, published, undisturbed
from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Daemon, Deployment
from tests.kafka.recovers_slowly import GATE
from tests.kafka.test_end_to_end import Event, traffic
from tests.kafka.waiting import PATIENCE_S, poll_until

CONFIG = {
    "commit_interval_ms": 20,
    "model": {
        "barriers": {"block_events": 64, "every_events": 512, "early_events_min": 256},
        "calibration": {"warm_up_events": 1024},
    },
    "alerts": {"budget": {"share": 0.01}},
}
KAFKA = {"session_timeout_ms": 8000, "transaction_timeout_ms": 2000}
NO_CHECKPOINT = "checkpoints.interval=3600"  # a recovery replays everything
EVERY_LINE = {"log": {"level": "debug"}}  # some tests count lines
PATIENT = "kafka.session_timeout_ms=60000"  # a frozen process on a busy machine keeps its membership
STATIC = "kafka.group_instance_id=a"  # the next process takes over at once
FREQUENT = "checkpoints.interval=200ms"


@pytest.fixture
def partitions() -> int:
    return 2


@pytest.fixture
def deployment(kafka: KafkaBroker, tmp_path: Path, topic_name: str, partitions: int) -> Iterator[Deployment]:
    with Deployment(
        kafka.bootstrap, tmp_path, topic_name, partitions=partitions, config=CONFIG | EVERY_LINE, kafka=KAFKA
    ) as made:
        yield made


@pytest.fixture
def events() -> Iterator[Event]:
    return traffic(12_000)


def all_there_once(deployment: Deployment) -> None:
    """Wait for the end of the log, and compare everything published with an undisturbed run."""
    deployment.await_done()
    log = log_of(deployment)
    reference, _ = undisturbed(deployment, log)
    assert not compare(published(deployment), reference)
    assert sum(kind != "alerts" for kind, _, _ in reference) == sum(map(len, log.values()))
    assert any(kind == "alerts" for kind, _, _ in reference)


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(GATE, str(tmp_path / "gate"))
    return tmp_path / "gate"


def recovering(deployment: Deployment, events: Iterator[Event], count: int) -> list[Daemon]:
    """Start `count` replicas that share the partitions and replay them slowly until the gate is open."""
    deployment.produce(islice(events, 6_000))
    first = deployment.start(NO_CHECKPOINT)
    deployment.await_done()
    first.kill()  # a stop would write a checkpoint
    deployment.module = "tests.kafka.recovers_slowly"
    replicas = [deployment.start(NO_CHECKPOINT, PATIENT, "kafka.poll_records_max=20") for _ in range(count)]

    def replaying() -> bool:
        states = [list(replica.states().values()) for replica in replicas]
        return all(found and "running" not in found for found in states) and sum(map(len, states)) == (
            deployment.partitions
        )

    assert poll_until(replaying)
    return replicas


def join_while_frozen(deployment: Deployment, frozen: list[Daemon]) -> Daemon:
    """Start another replica while the others are frozen, so that they learn of the rebalance late."""
    for replica in frozen:
        replica.suspend()
    joining = deployment.start(NO_CHECKPOINT, PATIENT)
    assert poll_until(lambda: bool(joining.logged("started")))
    for replica in frozen:
        replica.resume()
    return joining


def evenly(*replicas: Daemon) -> bool:
    owned = [replica.owns() for replica in replicas]
    return max(owned) - min(owned) <= 1 and sum(owned) == 3


def test_rebalance_during_restore(deployment: Deployment, events: Iterator[Event], gate: Path) -> None:
    [first] = recovering(deployment, events, 1)
    second = join_while_frozen(deployment, [first])
    assert poll_until(lambda: bool(first.logged("partitions_revoked")))
    gate.touch()
    assert poll_until(lambda: second.owns() == 1)
    given_up = {number for line in first.logged("partitions_revoked") for number in line["partitions"]}
    assert given_up == second.running()
    assert not given_up & {line["partition"] for line in first.logged("running")}
    deployment.produce(islice(events, 2_000))
    all_there_once(deployment)


@pytest.mark.parametrize("partitions", [3])
def test_a_replica_that_joins_does_not_restart_the_recovery_of_others(
    deployment: Deployment, events: Iterator[Event], gate: Path
) -> None:
    recovering_ones = recovering(deployment, events, 2)
    third = join_while_frozen(deployment, recovering_ones)
    assert poll_until(lambda: bool(third.logged("partitions_assigned")))
    gate.touch()
    assert poll_until(lambda: evenly(third, *recovering_ones))
    for replica in recovering_ones:
        restored = [line["partition"] for line in replica.logged("restored")]
        for number in replica.running():
            assert restored.count(number) == 1
            [until] = [line["until"] for line in replica.logged("restored") if line["partition"] == number]
            replayed = replica.metrics("detector_events_replayed_total")
            assert replayed[f'{{partition="{number}"}}'] == until
    all_there_once(deployment)


def test_slow_revoke(deployment: Deployment, events: Iterator[Event]) -> None:
    # The replica has processed much and committed nothing when it learns that partitions were revoked.
    first = deployment.start("commit_interval_ms=30000", NO_CHECKPOINT, PATIENT)
    assert poll_until(lambda: first.owns() == 2)
    deployment.produce(islice(events, 2_000))
    assert poll_until(lambda: first.metric("detector_stage_duration_seconds_count") > 0)
    second = join_while_frozen(deployment, [first])
    deployment.produce(islice(events, 2_000))
    assert poll_until(lambda: second.owns() == 1)
    assert first.stop() == 0
    all_there_once(deployment)


@pytest.mark.parametrize("partitions", [3])
def test_replicas_are_added_and_removed(deployment: Deployment, events: Iterator[Event]) -> None:
    replicas = [deployment.start(FREQUENT)]
    for count in (2, 3):
        deployment.produce(islice(events, 2_000))
        replicas.append(deployment.start(FREQUENT))
        assert poll_until(lambda: evenly(*replicas))
        assert len(replicas) == count
    while len(replicas) > 1:
        deployment.produce(islice(events, 1_000))
        assert replicas.pop(0).stop() == 0
        assert poll_until(lambda: evenly(*replicas))
    deployment.produce(islice(events, 1_000))
    all_there_once(deployment)


def test_kill_9_between_a_checkpoint_and_the_commit_that_names_it(
    deployment: Deployment, events: Iterator[Event]
) -> None:
    deployment.module = "tests.kafka.dies_before_commit"
    dying = deployment.start(FREQUENT, STATIC)
    deployment.produce(islice(events, 3_000))
    assert dying.process.wait(PATIENCE_S) == -signal.SIGKILL
    assert list(deployment.checkpoints.rglob("*.state"))
    journals = [committed_journal(deployment, number) for number in range(deployment.partitions)]
    assert all(journal.checkpoint == "" for journal in journals)
    deployment.module = "detector"
    deployment.start(FREQUENT, STATIC)
    deployment.produce(islice(events, 2_000))
    all_there_once(deployment)


def test_markers_at_the_tail_leave_no_lag(deployment: Deployment, events: Iterator[Event]) -> None:
    deployment.produce(islice(events, 3_000))
    topic = deployment.topics["transactions"]
    with closing(
        KafkaProducer(bootstrap_servers=deployment.bootstrap, transactional_id=f"{topic}-x")
    ) as producer:
        producer.init_transactions()
        for commit in (True, False):  # each partition ends with a commit marker, an abort marker, or both
            producer.begin_transaction()
            for key, value in islice(events, 40):
                number = zlib.crc32(key or b"") % deployment.partitions
                if number != (0 if commit else 1):
                    producer.send(topic, key=key, value=value, partition=number)
            (producer.commit_transaction if commit else producer.abort_transaction)()
    for _ in range(2):  # the second time after a restart
        daemon = deployment.start()
        assert poll_until(lambda: daemon.owns() == deployment.partitions)  # noqa: B023
        deployment.await_done()
        assert poll_until(lambda: daemon.metric("detector_partition_lag_records") == 0)  # noqa: B023
        assert daemon.stop() == 0
    all_there_once(deployment)


def test_a_b_a_redelivery_accounts_for_every_offset_once(
    deployment: Deployment, events: Iterator[Event]
) -> None:
    deployment.produce(islice(events, 3_000))
    a, b = islice(events, 2)
    deployment.produce([a, b, a])
    first = deployment.start(STATIC)
    deployment.await_done()
    first.kill()
    deployment.produce([b, a])
    deployment.start(STATIC)
    all_there_once(deployment)


@pytest.mark.parametrize(("begins_at", "what"), [(700, "origin"), (1_800, "committed offset")])
def test_offsets_that_the_log_no_longer_has_are_reported(
    deployment: Deployment, events: Iterator[Event], begins_at: int, what: str
) -> None:
    deployment.produce(islice(events, 3_000))
    first = deployment.start(NO_CHECKPOINT)
    deployment.await_done()
    first.kill()  # a stop would write a checkpoint
    deployment.produce(islice(events, 2_000))
    topic = deployment.topics["transactions"]
    with closing(KafkaAdminClient(bootstrap_servers=deployment.bootstrap)) as admin:
        admin.delete_records(
            {TopicPartition(topic, number): begins_at for number in range(deployment.partitions)}
        )
    daemon = deployment.start(NO_CHECKPOINT)
    assert daemon.process.wait(PATIENCE_S) == EXIT_NEEDS_OPERATOR
    last_line = daemon.log().splitlines()[-1]
    assert f"begins at {begins_at} now" in last_line, what
    assert "retention" in last_line
    assert "Traceback" not in daemon.log()

    daemon = deployment.start(NO_CHECKPOINT, "on_data_loss=skip")
    deployment.await_done()
    lost = sum(line["lost"] for line in daemon.logged("data_lost"))
    assert len(daemon.logged("data_lost")) == deployment.partitions
    assert (lost > 0) == (what == "committed offset")
    assert daemon.metric("detector_events_lost_total") == lost
    assert daemon.stop() == 0
    seen = published(deployment, ("scores", "dead_letter"))
    assert all(len(copies) == 1 for copies in seen.values())
    assert len(seen) + lost == 5_000


def test_records_that_are_deleted_before_a_running_member_reads_them_do_not_stop_it(
    deployment: Deployment, events: Iterator[Event]
) -> None:
    deployment.produce(islice(events, 2_000))
    daemon = deployment.start(PATIENT, "on_data_loss=skip")
    deployment.await_done()
    daemon.suspend()
    deployment.produce(islice(events, 2_000))
    topic = deployment.topics["transactions"]
    places = [TopicPartition(topic, number) for number in range(deployment.partitions)]
    with closing(KafkaConsumer(bootstrap_servers=deployment.bootstrap)) as consumer:
        ends = consumer.end_offsets(places)
    with closing(KafkaAdminClient(bootstrap_servers=deployment.bootstrap)) as admin:
        admin.delete_records({place: end - 1 for place, end in ends.items()})
    daemon.resume()
    deployment.await_done()
    lost = daemon.metric("detector_events_lost_total")
    assert lost > 0
    assert daemon.stop() == 0
    seen = published(deployment, ("scores", "dead_letter"))
    assert all(len(copies) == 1 for copies in seen.values())
    assert len(seen) + lost == 4_000
