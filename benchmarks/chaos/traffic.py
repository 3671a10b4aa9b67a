"""Producers of simulated events that keep sending whatever happens to the broker.

Batches are sent without a transaction, in transactions that are committed, and in transactions that are
aborted and sent again. So the log contains markers, and `finish` leaves both kinds at its end. Some events
are malformed, some are sent a second time later. A batch without an answer is sent again, as producers do. So
only the log shows what was sent, and checks read it from there.
"""

from __future__ import annotations

import json
import random
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from itertools import islice
from typing import Any

from kafka import KafkaProducer

from detector.demo.simulation.handbook import (
    DAYS_MAX,
    SimulationConfig,
    label_rows,
    simulate,
    to_events,
)
from tests.kafka.daemons import Deployment
from tests.kafka.test_end_to_end import broken

Event = tuple[bytes, bytes | None]

TICK_S = 0.2
BATCH_EVENTS_MAX = 2_000  # after an outage the rest is sent with the next batches
DEADLINE_S = 10.0  # kafka-python's transactions have no timeout of their own and may wait for ever
MALFORMED_SHARE = 0.01
AGAIN_SHARE = 0.01
AGAIN_WITHIN_EVENTS = 2_000
COMMITTED_SHARE, ABORTED_SHARE = 0.2, 0.1  # of batches
LABELS_DELAY_DAYS = 2


class Traffic(threading.Thread):
    """Sends events until `finish`.

    Where there is a feedback topic, frauds are reported to it two days of event time later.

    Parameters
    ----------
    events_per_s
        On average; events delayed by an outage are sent faster.
    """

    def __init__(self, deployment: Deployment, *, seed: int, events_per_s: float) -> None:
        super().__init__(name="traffic", daemon=True)
        self._servers, self._partitions = deployment.bootstrap, deployment.partitions
        self._topic, self._feedback = deployment.topics["transactions"], deployment.topics.get("feedback")
        self._events_per_s = events_per_s
        self._rng = random.Random(seed)
        self._simulation = SimulationConfig(seed=seed, customers=2_000, days=DAYS_MAX)
        self._labels: deque[tuple[int, list[bytes]]] = deque()
        self._producers: dict[bool, KafkaProducer] = {}
        self._day = 0
        self._stream = self._events()
        self._stopping = threading.Event()
        self.sent = self.unknown = 0  # events; batches without an answer

    def run(self) -> None:
        """Send batch after batch, each until it is confirmed."""
        began = time.monotonic()
        while not self._stopping.wait(TICK_S):
            due = int((time.monotonic() - began) * self._events_per_s) - self.sent
            batch = list(islice(self._stream, min(max(due, 0), BATCH_EVENTS_MAX)))
            draw = self._rng.random()
            if draw < ABORTED_SHARE:
                self._insist(lambda: self._transact(batch, commit=False))  # noqa: B023 - called at once
            if draw < ABORTED_SHARE + COMMITTED_SHARE:
                self._insist(lambda: self._transact(batch, commit=True))  # noqa: B023
            else:
                self._insist(lambda: self._send(batch))  # noqa: B023
            self.sent += len(batch)
            if self._feedback is not None and self._labels and self._labels[0][0] <= self._day:
                labels = self._labels.popleft()[1]
                self._insist(lambda: self._report(labels))  # noqa: B023

    def finish(self) -> None:
        """Stop. Leave markers at the log's end: aborts everywhere, then commits in every second partition."""
        self._stopping.set()
        self.join()
        tails = list(islice(self._stream, 200))
        self._stopping.clear()
        self._insist(lambda: self._transact(tails, commit=False))
        every_other = [event for event in tails if self._partition(event) % 2 == 0]
        self._insist(lambda: self._transact(every_other, commit=True))
        self.sent += len(every_other)
        for producer in self._producers.values():
            with suppress(Exception):
                _within(DEADLINE_S, producer.close)

    # --- what is sent ---

    def _events(self) -> Iterator[Event]:
        recent: deque[Event] = deque(maxlen=AGAIN_WITHIN_EVENTS)
        for day in simulate(self._simulation):
            self._day = day.day
            if self._feedback is not None:
                self._labels.append((day.day + LABELS_DELAY_DAYS, _reports(label_rows(day), day.time[-1])))
            for event in to_events(day):
                recent.append((str(event["CUSTOMER_ID"]).encode(), json.dumps(event).encode()))
                yield recent[-1]
                draw = self._rng.random()
                if draw < MALFORMED_SHARE:
                    value, _ = broken(self._rng.randrange(1000))
                    yield str(event["CUSTOMER_ID"]).encode(), value
                elif draw < MALFORMED_SHARE + AGAIN_SHARE:
                    yield self._rng.choice(recent)

    # --- how ---

    def _insist(self, send: Callable[[], None]) -> None:
        """Send until it succeeds or the run stops."""
        while not self._stopping.is_set():
            try:
                _within(DEADLINE_S, send)
                return
            except Exception:  # noqa: BLE001 - any error: a new producer may succeed
                self.unknown += 1
                for producer in self._producers.values():
                    _behind(lambda producer=producer: producer.close(timeout=0))  # type: ignore[misc]
                self._producers = {}
                self._stopping.wait(TICK_S)

    def _send(self, batch: list[Event]) -> None:
        producer = self._producer(transactional=False)
        sent = [self._put(producer, event) for event in batch]
        producer.flush(timeout=DEADLINE_S)
        for future in sent:
            future.get(timeout=0)

    def _transact(self, batch: list[Event], *, commit: bool) -> None:
        producer = self._producer(transactional=True)
        producer.begin_transaction()
        sent = [self._put(producer, event) for event in batch]
        producer.flush(timeout=DEADLINE_S)
        for future in sent:
            future.get(timeout=0)
        (producer.commit_transaction if commit else producer.abort_transaction)()

    def _report(self, labels: list[bytes]) -> None:
        producer = self._producer(transactional=False)
        for label in labels:
            producer.send(self._feedback, value=label, partition=0)
        producer.flush(timeout=DEADLINE_S)

    def _put(self, producer: KafkaProducer, event: Event) -> Any:
        key, value = event
        return producer.send(self._topic, key=key, value=value, partition=self._partition(event))

    def _partition(self, event: Event) -> int:
        return zlib.crc32(event[0]) % self._partitions

    def _producer(self, *, transactional: bool) -> KafkaProducer:
        if transactional not in self._producers:
            settings = {"transactional_id": f"{self._topic}-traffic", "transaction_timeout_ms": 5_000}
            producer = KafkaProducer(
                bootstrap_servers=self._servers,
                max_block_ms=5_000,
                request_timeout_ms=5_000,
                delivery_timeout_ms=8_000,
                **(settings if transactional else {}),
            )
            self._producers[transactional] = producer
            if transactional:
                producer.init_transactions()
        return self._producers[transactional]


def _reports(rows: list[tuple[str, str, int]], day_end: float) -> list[bytes]:
    """Labels for the frauds of a day, dated two days later."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(day_end + LABELS_DELAY_DAYS * 86_400.0))
    return [
        json.dumps(
            {"event_id": event_id, "label": "fraud", "time": moment, "feedback_id": f"f{event_id}"}
        ).encode()
        for event_id, _, _ in rows
    ]


def _within(seconds: float, call: Callable[[], None]) -> None:
    """Call in a thread of its own, and stop waiting after some time."""
    _behind(call).result(seconds)


def _behind(call: Callable[[], None]) -> Future[None]:
    done: Future[None] = Future()

    def work() -> None:
        try:
            call()
            done.set_result(None)
        except Exception as error:  # noqa: BLE001 - raised again in the waiting thread
            done.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return done
