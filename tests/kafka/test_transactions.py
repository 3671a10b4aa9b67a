"""Transactions that nobody ends, on a real Kafka: what hangs ends as it was, a dead member's ends at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin._transactions import AbortTransactionSpec

from detector.config.load import load
from detector.errors import EXIT_NEEDS_OPERATOR
from detector.shell import calls
from detector.shell.kafka.client import client_settings, make_client
from detector.shell.kafka.transactions import Transactions, transactional_id
from tests.kafka.broker import KafkaBroker
from tests.kafka.cluster import KafkaCluster
from tests.kafka.daemons import HANDBOOK_EVENT, Daemon, Deployment
from tests.kafka.dies_in_transaction import DIE
from tests.kafka.test_end_to_end import traffic
from tests.kafka.topics import create_topic, read_all
from tests.kafka.waiting import PATIENCE_S, poll_until

TIMEOUT_MS = 2000
SESSION_S = 6.0
PARTITIONS = 3
LONE = 3  # the broker that alone has the outputs


def leaders(cluster: KafkaCluster, topic: str) -> list[int]:
    with suppress(Exception), closing(KafkaAdminClient(bootstrap_servers=cluster.bootstrap)) as admin:
        [found] = admin.describe_topics([topic])
        return [partition["leader_id"] for partition in found["partitions"]]
    return []


def outputs_on_one_broker(cluster: KafkaCluster, topic: str) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=cluster.bootstrap)) as admin:
        places = {number: [LONE] for number in range(PARTITIONS)}
        admin.create_topics({topic: {"assignments": places}})
    assert poll_until(lambda: leaders(cluster, topic) == [LONE] * PARTITIONS)


def producer_of(cluster: KafkaCluster, id_: str, timeout_ms: int = TIMEOUT_MS) -> KafkaProducer:
    settings = {"bootstrap_servers": cluster.bootstrap.split(",")}
    producer: KafkaProducer = make_client(
        KafkaProducer, settings, transactional_id=id_, transaction_timeout_ms=timeout_ms
    )
    producer.init_transactions()
    return producer


def begin(producer: KafkaProducer, topic: str, value: bytes) -> None:
    producer.begin_transaction()
    for partition in range(PARTITIONS):
        producer.send(topic, value=value, partition=partition)
    producer.flush(timeout=PATIENCE_S)


def doctor(config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "detector", "doctor", "--config", str(config), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.fixture
def config(own_cluster: KafkaCluster, tmp_path: Path, topic_name: str) -> Path:
    file = tmp_path / "config.yaml"
    settings = {
        "event": HANDBOOK_EVENT,
        "kafka": {
            "bootstrap_servers": own_cluster.bootstrap.split(","),
            "group_id": topic_name,
            "transaction_timeout_ms": TIMEOUT_MS,
        },
        "topics": {
            "transactions": f"{topic_name}-transactions",
            "alerts": f"{topic_name}-alerts",
            "dead_letter": f"{topic_name}-dead",
        },
        "checkpoints": {"url": f"file://{tmp_path}"},
    }
    file.write_text(json.dumps(settings))
    return file


def test_a_hanging_transaction_ends_as_the_coordinator_ended_it(
    own_cluster: KafkaCluster, config: Path, topic_name: str
) -> None:
    """A coordinator leaves out the markers of partitions without a leader; then the leader comes back.

    That is what a lone broker does to itself when it starts again, in a moment that cannot be hit at will.
    """
    topic = f"{topic_name}-alerts"
    settings = load(config)
    transactions = Transactions(settings, client_settings(settings))
    outputs_on_one_broker(own_cluster, topic)
    for other in ("transactions", "dead"):  # else the doctor has more to say
        create_topic(own_cluster.bootstrap, f"{topic_name}-{other}", 1)
    committed = producer_of(own_cluster, transactional_id(topic_name, "committed"), 120_000)
    abandoned = producer_of(own_cluster, transactional_id(topic_name, "abandoned"))
    foreign = producer_of(own_cluster, "foreign-1")
    for producer, value in ((committed, b"committed"), (abandoned, b"abandoned"), (foreign, b"foreign")):
        begin(producer, topic, value)

    lone = own_cluster.brokers[LONE - 1]
    lone.kill()
    assert poll_until(lambda: leaders(own_cluster, topic) == [-1] * PARTITIONS)
    calls.within(PATIENCE_S, committed.commit_transaction)  # the coordinator says that it is done
    own_ids = [transactional_id(topic_name, name) for name in ("committed", "abandoned")]

    def ended() -> bool:
        with suppress(Exception), closing(KafkaAdminClient(bootstrap_servers=own_cluster.bootstrap)) as admin:
            found = admin.describe_transactions([*own_ids, "foreign-1"]).values()
            return all(one.state.value.startswith("Complete") for one in found)
        return False

    assert poll_until(ended)
    lone.start()
    assert poll_until(lambda: leaders(own_cluster, topic) == [LONE] * PARTITIONS)

    hanging = transactions.hanging()
    fates = {(one.transactional_id, one.found.partition): one.verdict.fate for one in hanging}
    assert fates == {
        (id_, partition): fate
        for id_, fate in zip(own_ids, ("commit", "abort"), strict=True)
        for partition in range(PARTITIONS)
    }
    seen = doctor(config)
    assert seen.returncode == EXIT_NEEDS_OPERATOR
    assert seen.stdout.count("hangs: ") == 2 * PARTITIONS
    assert "--mend ends it" in seen.stdout

    assert poll_until(lambda: doctor(config, "--mend").returncode == 0)
    assert transactions.hanging() == []
    ends = transactions.ends([TopicPartition(topic, number) for number in range(PARTITIONS)])
    assert all(stable < end for stable, end in ends.values()), "the foreign one was ended too"
    end_foreign(own_cluster, topic)
    assert sorted(record.value for record in read_all(own_cluster.bootstrap, topic)) == (
        [b"committed"] * PARTITIONS
    )


def end_foreign(cluster: KafkaCluster, topic: str) -> None:
    """As its own group would do it."""
    with closing(KafkaAdminClient(bootstrap_servers=cluster.bootstrap)) as admin:
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        for at, found in admin.describe_producers(places).items():
            for state in found.active_producers:
                if state.current_transaction_start_offset >= 0:
                    admin.abort_transaction(AbortTransactionSpec(at, state.producer_id, state.producer_epoch))


@pytest.fixture
def deployment(
    kafka: KafkaBroker, request: pytest.FixtureRequest, tmp_path: Path, topic_name: str
) -> Iterator[Deployment]:
    """On a broker of its own where the test stops brokers."""
    broker = request.getfixturevalue("own_kafka") if "own_kafka" in request.fixturenames else kafka
    slow = {"poll_records_max": 200, "session_timeout_ms": int(SESSION_S * 1000)}
    with Deployment(
        broker.bootstrap,
        tmp_path,
        topic_name,
        partitions=4,
        config={"commit_interval_ms": 20},
        kafka=slow,
    ) as made:
        yield made


def fenced(member: Daemon) -> list[str]:
    """Commits refused because somebody ended the member's transaction. A rebalance may refuse others."""
    reasons = [line["reason"] for line in member.logged("commit_failed")]
    return [reason for reason in reasons if "fenced" in reason.lower() or "epoch" in reason.lower()]


def test_outputs_are_visible_soon_after_a_member_died_in_a_transaction(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction may stay open for 15 s by itself, and hides what its heirs publish."""
    gate = tmp_path / "die"
    monkeypatch.setenv(DIE, str(gate))
    events = traffic(30_000)
    deployment.produce(islice(events, 2_000))
    survivor = deployment.start()
    deployment.module = "tests.kafka.dies_in_transaction"
    dying = deployment.start()
    assert poll_until(lambda: survivor.owns() == dying.owns() == 2)
    deployment.await_done()
    lost = dying.running()
    before = set(deployment.scored_events())
    gate.touch()
    deployment.produce(islice(events, 2_000))
    assert poll_until(lambda: not dying.alive)
    deployment.produce(islice(events, 2_000))

    def outputs_of_lost_ones() -> bool:
        return lost <= {partition for partition, _ in set(deployment.scored_events()) - before}

    assert poll_until(outputs_of_lost_ones)
    deployment.await_done()
    scored = deployment.scored_events()
    assert len(scored) == 6_000
    assert set(scored.values()) == {1}
    assert survivor.metrics("detector_transactions_ended_total")['{cause="dead_member"}'] == 1
    assert not fenced(survivor)


def test_a_living_member_is_never_fenced(deployment: Deployment) -> None:
    events = traffic(24_000)
    members = [deployment.start(), deployment.start()]
    assert poll_until(lambda: [member.owns() for member in members] == [2, 2])
    settings = load(deployment.config)
    stranger = Transactions(settings, client_settings(settings))
    with stranger.connected():
        for _ in range(8):  # each look comes while the members commit what was just produced
            deployment.produce(islice(events, 3_000))
            assert stranger.end_those_of_dead_members() == []
            assert stranger.mend(stranger.hanging()) == []
    third = deployment.start()
    deployment.await_done()
    assert not any(fenced(member) for member in [*members, third])
    assert set(deployment.scored_events().values()) == {1}


def test_every_committed_output_becomes_visible(
    deployment: Deployment, own_kafka: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lone broker crashes with two open transactions, a dead member's and a living one's."""
    gate = tmp_path / "die"
    monkeypatch.setenv(DIE, str(gate))
    short = f"kafka.transaction_timeout_ms={TIMEOUT_MS}"
    events = traffic(16_000)
    deployment.produce(islice(events, 15_000))
    survivor = deployment.start(short)
    deployment.module = "tests.kafka.dies_in_transaction"
    dying = deployment.start(short)
    assert poll_until(lambda: bool(dying.owns()))
    gate.touch()
    deployment.produce(events)
    assert poll_until(lambda: not dying.alive)
    own_kafka.kill()
    assert poll_until(lambda: not survivor.ready())
    own_kafka.start()
    deployment.module = "detector"
    deployment.start(short)
    deployment.await_done()
    assert poll_until(deployment.all_visible)
    scored = deployment.scored_events()
    assert len(scored) == 16_000
    assert set(scored.values()) == {1}
