"""Events that keep coming, with changes on demand; and the analysts who answer the alerts."""

from __future__ import annotations

import json
import random
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from kafka import KafkaConsumer, KafkaProducer

from detector.demo.simulation.handbook import SimulationConfig, simulate, to_events
from tests.kafka.daemons import Deployment

TICK_S = 0.2
CHANNELS = ("shop", "shop", "shop", "web", "web", "phone")
FRAUD_ABOVE = 220.0  # amount from which on the analysts call it fraud


class Traffic(threading.Thread):
    """Sends simulated events until `finish`.

    Parameters
    ----------
    now
        The events' time is that of the clock; else that of the simulation, in which a day takes a minute.

    Attributes
    ----------
    factor
        Every amount is multiplied by it.
    broken_share
        Share of the records that are no events.
    odd_share
        Share of the amounts that are a hundred times as large.
    unreadable_share
        Share of the distances that are no numbers.
    unseen_share
        Share of the events by a channel that was not there before.
    """

    def __init__(self, deployment: Deployment, *, seed: int, events_per_s: float, now: bool = False) -> None:
        super().__init__(name="traffic", daemon=True)
        self._deployment, self.events_per_s = deployment, events_per_s
        self._rng = random.Random(seed)
        self._seed, self._now = seed, now
        self._ended = threading.Event()
        self.factor, self.broken_share, self.odd_share = 1.0, 0.0, 0.0
        self.unreadable_share, self.unseen_share = 0.0, 0.0
        self.sent = 0
        self._coming = self._events()

    def preload(self, count: int) -> None:
        """Send so many events at once, before the start."""
        self._deployment.produce(
            (str(event["CUSTOMER_ID"]).encode(), json.dumps(event).encode())
            for event in islice(self._coming, count)
        )
        self.sent += count

    def finish(self) -> None:
        """Send no more."""
        self._ended.set()
        self.join()

    def run(self) -> None:
        topic, partitions = self._deployment.topics["transactions"], self._deployment.partitions
        producer = KafkaProducer(
            bootstrap_servers=self._deployment.bootstrap, linger_ms=20, max_block_ms=1000, retries=1000
        )
        due = 0.0
        while not self._ended.wait(TICK_S):
            due += self.events_per_s * TICK_S
            with suppress(Exception):  # the broker is away: what is due is sent later
                while due >= 1.0:
                    event = next(self._coming)
                    key = str(event["CUSTOMER_ID"]).encode()
                    body = b"{" if self._rng.random() < self.broken_share else json.dumps(event).encode()
                    producer.send(topic, key=key, value=body, partition=zlib.crc32(key) % partitions)
                    due -= 1.0
                    self.sent += 1
            due = min(due, 20 * self.events_per_s)
        with suppress(Exception):
            producer.close(timeout=5)

    def _events(self) -> Iterator[dict[str, Any]]:
        for day in simulate(SimulationConfig(seed=self._seed, customers=1500)):
            for event in to_events(day):
                changed: dict[str, Any] = dict(event)
                factor = 100.0 if self._rng.random() < self.odd_share else self.factor
                changed["TX_AMOUNT"] = round(float(changed["TX_AMOUNT"]) * factor, 2)
                unseen = self._rng.random() < self.unseen_share
                changed["CHANNEL"] = "kiosk" if unseen else self._rng.choice(CHANNELS)
                unreadable = self._rng.random() < self.unreadable_share
                changed["DISTANCE"] = "far" if unreadable else round(self._rng.expovariate(0.1), 1)
                if self._now:
                    changed["TX_DATETIME"] = datetime.now(UTC).isoformat()
                yield changed


class Analysts(threading.Thread):
    """Answer every alert, and now and then write something that is no feedback."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(name="analysts", daemon=True)
        self._deployment = deployment
        self._ended = threading.Event()
        self.malformed = 0  # so many records more are not understood
        self.notes = 0  # so many notes more are written about the newest alert

    def finish(self) -> None:
        """Answer no more."""
        self._ended.set()
        self.join()

    def run(self) -> None:
        topics, servers = self._deployment.topics, self._deployment.bootstrap
        consumer = KafkaConsumer(
            topics["alerts"],
            bootstrap_servers=servers,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        producer = KafkaProducer(bootstrap_servers=servers, max_block_ms=1000, retries=1000)
        note = b""
        while not self._ended.is_set():
            with suppress(Exception):
                for records in consumer.poll(timeout_ms=500).values():
                    for record in records:
                        alert = json.loads(record.value)
                        label = "fraud" if (alert["at_risk"]["event"] or 0.0) > FRAUD_ABOVE else "legitimate"
                        about = {"time": alert["event_time"], "event_id": alert["event_id"]}
                        note = json.dumps({**about, "kind": "note", "text": "looked at"}).encode()
                        answer = json.dumps({**about, "label": label}).encode()
                        producer.send(topics["feedback"], value=answer)
                while note and self.notes > 0:
                    self.notes -= 1
                    producer.send(topics["feedback"], value=note)
                while self.malformed > 0:
                    self.malformed -= 1
                    producer.send(topics["feedback"], value=b'{"label": "frod"}')
            time.sleep(0.1)
        with suppress(Exception):
            consumer.close()
            producer.close(timeout=5)
