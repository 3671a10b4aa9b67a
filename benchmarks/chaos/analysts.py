"""Analysts who answer alerts while replicas are killed, and the check of everything that was published.

Every alert is answered by one or two records of any kind, some of them wrong. Nothing is sent twice on
purpose; a producer that gets no answer sends again, so the feedback topic alone says what was sent.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta
from typing import Any

from kafka import KafkaConsumer, KafkaProducer

from detector.core.codes import CODES
from tests.kafka.audit import Copy, compare, log_of, published, side_records, undisturbed
from tests.kafka.daemons import Deployment

OTHERS = ("case_updates", "receipts")
ERASED_SHARE = 0.03  # of records


class Analysts(threading.Thread):
    """Answers alerts until `finish`."""

    def __init__(self, deployment: Deployment, *, seed: int) -> None:
        super().__init__(name="analysts", daemon=True)
        self._deployment, self._rng = deployment, random.Random(seed)
        self._stopping = threading.Event()
        self.sent: Counter[str] = Counter()  # by kind

    def run(self) -> None:
        """Read alerts as they are committed, and answer them."""
        topics, servers = self._deployment.topics, self._deployment.bootstrap
        settings = {"isolation_level": "read_committed", "auto_offset_reset": "earliest"}
        with (
            closing(KafkaConsumer(topics["alerts"], bootstrap_servers=servers, **settings)) as consumer,
            closing(KafkaProducer(bootstrap_servers=servers, linger_ms=20)) as producer,
        ):
            while not self._stopping.is_set():
                with suppress(Exception):
                    for records in consumer.poll(timeout_ms=200).values():
                        for record in records:
                            for said in self._answers(json.loads(record.value)):
                                producer.send(topics["feedback"], value=said, partition=0)
                    producer.flush(timeout=10)

    def finish(self) -> None:
        """End the thread."""
        self._stopping.set()
        self.join(30)

    def answered(self) -> bool:
        """Whether there are as many receipts as feedback records."""
        receipts, feedback = (self._deployment.topics[name] for name in ("receipts", "feedback"))
        servers = self._deployment.bootstrap
        return len(side_records(servers, receipts)) >= len(side_records(servers, feedback))

    def _answers(self, alert: dict[str, Any]) -> Iterator[bytes]:
        time = datetime.fromisoformat(alert["event_time"])
        named = (
            {"alert_id": alert["alert_id"]} if self._rng.random() < 0.7 else {"event_id": alert["event_id"]}
        )
        for _ in range(self._rng.choice((1, 1, 2))):
            kind = self._rng.choice(
                ("label", "label", "label", "retract_label", "snooze", "unsnooze", "note", "close", "hush")
            )
            record = {
                "kind": kind,
                "time": alert["event_time"],
                "actor": self._rng.choice(("ann", "bob")),
                "feedback_id": f"{alert['alert_id']}-{self._rng.randrange(1_000_000)}",
                **named,
            }
            if self._rng.random() < ERASED_SHARE:
                record["kind"] = "erase"
                if self._rng.random() < 0.5:
                    record = {name: value for name, value in record.items() if name not in named}
                    record["entity"] = self._rng.choice((alert["entity"]["value"], "nobody"))
            elif kind == "label":
                record["label"] = self._rng.choice(("fraud", "legitimate"))
            elif kind == "snooze":
                record["until"] = (time + timedelta(days=self._rng.randint(1, 9))).isoformat()
            if record["kind"] in ("snooze", "unsnooze") and self._rng.random() < 0.5:
                record["code"] = self._rng.choice((*CODES, "nonsense"))
            elif record["kind"] in ("note", "close"):
                record["note" if kind == "note" else "code"] = "called"
            self.sent[record["kind"]] += 1
            yield json.dumps(record).encode()


def check_all(deployment: Deployment) -> list[str]:
    """Compare all outputs with those of an undisturbed replay; says what is wrong."""
    wrong: list[str] = []
    others: list[tuple[str, Copy]] = []
    reference, _ = undisturbed(deployment, log_of(deployment), sides=True, others=others)
    difference = compare(published(deployment), reference)
    for what in ("lost", "surplus", "twice", "different"):
        if found := getattr(difference, what):
            wrong.append(f"{len(found)} outputs {what}: {found[:3]}")
    for kind in OTHERS:
        expected = Counter(copy for one, copy in others if one == kind)
        there = Counter((r.key, tuple(r.headers), r.value) for r in deployment.published(kind))
        print(f"{kind}: {there.total()} published, {expected.total()} in an undisturbed replay")
        if there != expected:
            lost, surplus = (expected - there).total(), (there - expected).total()
            wrong.append(f"{kind}: {lost} lost, {surplus} too many or different")
    feedback = side_records(deployment.bootstrap, deployment.topics["feedback"])
    positions = Counter(json.loads(r.value)["feedback"]["position"] for r in deployment.published("receipts"))
    outcomes = Counter(json.loads(r.value)["outcome"] for r in deployment.published("receipts"))
    print(f"{len(feedback)} feedback records; receipts by outcome: {dict(outcomes)}")
    if positions != Counter(position for position, value in feedback if value is not None):
        wrong.append("feedback records without exactly one receipt")
    return wrong
