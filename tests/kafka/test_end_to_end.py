"""What users are promised, tested with real daemons, a real Kafka and a read_committed consumer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detector.core.records import REASONS
from detector.demo.simulation.handbook import SimulationConfig, simulate, to_events
from tests.alerts import check_alert
from tests.kafka.broker import PLAINTEXT, SASL_SSL, KafkaBroker
from tests.kafka.daemons import Deployment
from tests.kafka.topics import create_topic, produce_all, read_all
from tests.kafka.waiting import PATIENCE_S, poll_until

Event = tuple[bytes | None, bytes | None]


def traffic(count: int, customers: int = 400) -> Iterator[Event]:
    """Simulated events as records keyed by their customer."""
    for day in simulate(SimulationConfig(seed=11, customers=customers, events=count)):
        for event in to_events(day):
            yield str(event["CUSTOMER_ID"]).encode(), json.dumps(event).encode()


def broken(number: int) -> tuple[bytes | None, str]:
    """Return one of many malformed events, and the reason with which it must be rejected."""
    good: dict[str, Any] = {
        "TRANSACTION_ID": f"x{number}",
        "TX_DATETIME": "2018-04-02T00:00:00Z",
        "CUSTOMER_ID": "1",
        "TERMINAL_ID": "2",
        "TX_AMOUNT": 12.5,
    }

    def changed(**fields: Any) -> bytes:
        return json.dumps({k: v for k, v in {**good, **fields}.items() if v is not ...}).encode()

    kinds: list[tuple[bytes | None, str]] = [
        (None, "tombstone"),
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{not json", "malformed"),
        (b'{"TRANSACTION_ID": "1", ', "malformed"),
        (b"\xff\xfe\x00binary", "malformed"),
        (b"[1, 2, 3]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"null", "not_an_object"),
        (changed(TRANSACTION_ID=...), "missing"),
        (changed(TRANSACTION_ID=""), "missing"),
        (changed(CUSTOMER_ID=None), "missing"),
        (changed(TX_AMOUNT=...), "missing"),
        (changed(TX_AMOUNT=float("nan")), "missing"),
        (changed(TX_AMOUNT=float("-inf")), "missing"),
        (changed(TX_AMOUNT="nan"), "missing"),
        (changed(TX_DATETIME=...), "missing"),
        (changed(TX_AMOUNT="twelve"), "wrong_type"),
        (changed(TX_AMOUNT=[1]), "wrong_type"),
        (changed(TX_AMOUNT={"value": 1}), "wrong_type"),
        (changed(CUSTOMER_ID={"id": 1}), "wrong_type"),
        (changed(TRANSACTION_ID=1.5), "wrong_type"),
        (changed(TX_DATETIME="yesterday"), "bad_time"),
        (changed(TX_DATETIME="2018-02-30T00:00:00Z"), "bad_time"),
        (changed(TX_DATETIME="1066-10-14"), "out_of_range"),
        (changed(TX_DATETIME=9e15), "out_of_range"),
        (b'{"TX_AMOUNT": 1e999}', "missing"),
        (changed(CUSTOMER_ID="c" * 5000), "too_long"),
        (changed(note="n" * 100_000), "too_large"),
        (changed(nested=json.loads("[" * 60 + "]" * 60)), "too_deep"),
        (changed(items=list(range(3_000))), "too_many"),
    ]
    return kinds[number % len(kinds)]


@pytest.fixture
def deployment(kafka: KafkaBroker, tmp_path: Path, topic_name: str) -> Iterator[Deployment]:
    with Deployment(kafka.bootstrap, tmp_path, topic_name, partitions=2) as made:
        yield made


def test_broken_messages_are_dead_letters_and_the_rest_is_scored(deployment: Deployment) -> None:
    records: list[Event] = []
    reasons: Counter[str] = Counter()
    for number, record in enumerate(traffic(6_000)):
        records.append(record)
        if number % 100 == 0:
            value, reason = broken(number // 100)
            records.append((b"1", value))
            reasons[reason] += 1
    deployment.produce(records)
    daemon = deployment.start()
    deployment.await_done()

    dead = deployment.published("dead_letter")
    assert Counter(dict(letter.headers)["detector_reason"].decode() for letter in dead) == reasons
    assert set(reasons) == set(REASONS) - {"key_mismatch", "duplicate", "late", "reversal"}  # as configured
    sent = Counter(value for _, value in records)
    assert all(sent[letter.value] for letter in dead), "a dead letter is not what was sent"
    assert {"detector_topic", "detector_partition", "detector_offset", "detector_detail"} <= {
        name for name, _ in dead[0].headers
    }
    assert set(deployment.scored_events().values()) == {1}
    assert len(deployment.scored_events()) == 6_000
    totals = {
        name: daemon.metric(f"detector_events_{name}_total") for name in ("received", "scored", "rejected")
    }
    assert totals == {"received": len(records), "scored": 6_000, "rejected": len(dead)}


def test_a_stopped_daemon_goes_on_where_it_was(deployment: Deployment) -> None:
    events = list(traffic(12_000))
    deployment.produce(events[:7_000])
    first = deployment.start()
    deployment.await_done()
    assert first.stop() == 0

    deployment.produce(events[7_000:])
    second = deployment.start()
    deployment.await_done()
    assert second.metric("detector_events_received_total") == 5_000
    assert set(deployment.scored_events().values()) == {1}
    alerts = deployment.alerts()
    assert alerts
    for _, headers, body in alerts.values():
        check_alert(body, headers)
    disturbed = dict(alerts)
    assert second.stop() == 0

    deployment.forget_group()
    deployment.rename_outputs("-again")
    deployment.start()
    deployment.await_done()
    assert deployment.alerts() == disturbed


def test_two_replicas_a_kill_and_a_broker_restart_change_no_alert(
    own_kafka: KafkaBroker, tmp_path: Path, topic_name: str
) -> None:
    events = list(traffic(24_000))
    with Deployment(own_kafka.bootstrap, tmp_path, topic_name, partitions=4) as deployment:
        deployment.produce(events)
        deployment.start()
        deployment.await_done()
        undisturbed = deployment.alerts()
        assert len(undisturbed) > 10
        for daemon in deployment.daemons:
            assert daemon.stop() == 0

        deployment.forget_group()
        deployment.rename_outputs("-again")
        slow = ["kafka.poll_records_max=200", "commit_interval_ms=20"]
        replicas = [deployment.start(*slow), deployment.start(*slow)]
        assert poll_until(lambda: all(replica.owns() == 2 for replica in replicas))
        replicas[0].kill()
        assert poll_until(lambda: replicas[1].owns() == 4)
        own_kafka.kill()
        assert poll_until(lambda: not replicas[1].ready())
        assert replicas[1].page("/livez")[0] == 200
        own_kafka.start()
        third = deployment.start(*slow)
        deployment.await_done()
        assert poll_until(lambda: replicas[1].ready() and third.ready())
        # The broker may have left out the end of a transaction: then the daemons find it and end it.
        assert poll_until(deployment.all_visible)
        assert deployment.alerts() == undisturbed
        scored = deployment.scored_events()
        assert len(scored) == len(events)
        assert set(scored.values()) == {1}


def test_labels_are_journaled_and_applied_once(kafka: KafkaBroker, tmp_path: Path, topic_name: str) -> None:
    feedback, receipts, exchange = (f"{topic_name}-{name}" for name in ("feedback", "receipts", "exchange"))
    for topic in (feedback, receipts, exchange):
        create_topic(kafka.bootstrap, topic, 1)
    with Deployment(kafka.bootstrap, tmp_path, topic_name, partitions=2) as deployment:
        events = list(traffic(9_000))
        deployment.produce(events[:4_000])
        topics = {"feedback": feedback, "receipts": receipts, "exchange": exchange}
        daemon = deployment.start(*(f"topics.{name}={topic}" for name, topic in topics.items()))
        deployment.await_done()
        answers: list[dict[str, Any]] = [
            {"event_id": str(number), "label": "fraud", "time": "2018-04-09", "feedback_id": f"f{number}"}
            for number in range(20)
        ]
        answers += [answers[0], {"kind": "threshold", "time": "2018-04-09", "value": 3}]
        lines = [json.dumps(answer).encode() for answer in answers]
        produce_all(kafka.bootstrap, feedback, [(None, line, None, 0) for line in [*lines, b"nonsense"]])
        deployment.produce(events[4_000:])
        deployment.await_done()

        outcomes = daemon.metrics("detector_labels_total")
        by_outcome: Counter[str] = Counter()
        for labels, value in outcomes.items():
            by_outcome[labels.split('outcome="')[1].split('"')[0]] += int(value)
        counted = {outcome: number for outcome, number in by_outcome.items() if number}
        # Each shard reads all feedback; each label counts once.
        assert counted == {"read": 23, "applied": 20, "duplicate": 1, "unknown_kind": 1, "malformed": 1}
        bodies = [json.loads(record.value) for record in read_all(kafka.bootstrap, receipts)]
        assert sorted(body["feedback"]["position"] for body in bodies) == list(range(23))


def test_a_wrong_password_ends_with_a_sentence_and_code_2(
    kafka: KafkaBroker, tmp_path: Path, topic_name: str
) -> None:
    settings = kafka.client_settings(SASL_SSL)
    secret = tmp_path / "password"
    secret.write_text("not-the-password\n")
    with Deployment(kafka.bootstrap_for(PLAINTEXT), tmp_path, topic_name, partitions=1) as deployment:
        daemon = deployment.start(
            f"kafka.bootstrap_servers=[{settings['bootstrap_servers']}]",
            "kafka.security.protocol=SASL_SSL",
            "kafka.security.sasl_mechanism=SCRAM-SHA-512",
            f"kafka.security.username={settings['sasl_plain_username']}",
            f"kafka.security.password={{file: {secret}}}",
            f"kafka.security.ca_file={settings['ssl_cafile']}",
        )
        assert daemon.process.wait(PATIENCE_S) == 2
        assert "authentication" in daemon.log().lower()
        assert "not-the-password" not in daemon.log()
        assert "Traceback" not in daemon.log()
