"""How fast the service is on a real Kafka, beside what its client library and its peers allow.

    python -m benchmarks.speed.end_to_end
    python -m benchmarks.speed.end_to_end --stream handbook --folder DATA --events 400000

The same preloaded topic is worked off four ways, in turns:

loop      kafka-python's poll with the daemon's settings, each record decoded by msgspec into a struct: what
          whatever uses that client cannot exceed
detector  the daemon, a process of its own; how its rate is measured says `benchmarks.speed.service`
river     the loop, each event scored and learned by MinMaxScaler | HalfSpaceTrees (25 trees, height 8)
loda      the loop, each event scored and learned by PySAD's LODA, library defaults

The peers see two numbers of an event, its amount and its second of the day, and the first `--peer-events`
only. The clock of a loop runs from its first records on, and their number is not counted. Nothing else runs
meanwhile but the broker: all have the same cores. Without Java and Maven the topic is the in-memory one of
`detector.testing` and the daemon its runner in this process; the output says so.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import msgspec
from kafka import KafkaConsumer, TopicPartition
from threadpoolctl import threadpool_limits

from benchmarks.speed.common import (
    POLL_RECORDS,
    WARM_UP_SHARE,
    about,
    configuration,
    parser,
    progress,
    ratio,
    rounds,
    show,
    transactions,
)
from benchmarks.speed.service import BROKER, Service
from detector.core.telemetry import Telemetry
from detector.shell.background import BackgroundThread
from detector.shell.clock import SystemClock
from detector.shell.runner import Runner
from detector.testing import FakeClock, MemoryBroker, MemoryLog, MemoryStore, MemoryStream
from detector.wiring import entity_key
from tests.kafka.broker import KafkaBroker, KafkaUnavailable, distribution, java

PARTITIONS = (1, 4, 16)


class Transaction(msgspec.Struct):
    """What a program that uses the events would read."""

    TRANSACTION_ID: str
    TX_DATETIME: str
    CUSTOMER_ID: str
    TERMINAL_ID: str
    TX_AMOUNT: float


Learn = Callable[[Transaction], None]
"""Score an event, then learn it."""


class Topic(Protocol):
    """A topic of events, to be worked off any number of times."""

    def polls(self) -> Iterator[Sequence[bytes]]:
        """Values as one poll after another brings them, to the end."""

    def detector(self) -> float:
        """Let the service work it off; returns events/s."""


class KafkaTopic:
    """On a real broker."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def polls(self) -> Iterator[Sequence[bytes]]:
        deployment = self._service.deployment
        topic = deployment.topics["transactions"]
        with contextlib.closing(
            KafkaConsumer(
                bootstrap_servers=deployment.bootstrap,
                enable_auto_commit=False,
                isolation_level="read_committed",
                auto_offset_reset="earliest",
                max_poll_records=POLL_RECORDS,
                metrics_enabled=False,
            )
        ) as consumer:
            consumer.assign([TopicPartition(topic, number) for number in range(deployment.partitions)])
            left = self._service.preloaded
            while left > 0:
                for batch in consumer.poll(timeout_ms=100).values():
                    left -= len(batch)
                    yield [record.value for record in batch]

    def detector(self) -> float:
        return self._service.run().rate


class MemoryTopic:
    """In memory: no broker, no client library, no process."""

    def __init__(self, options: argparse.Namespace, partitions: int) -> None:
        self._config = configuration([*options.set, "log.level=error"])
        self._partitions = partitions
        self._events = [
            (int(key) % partitions, key, value)
            for key, value in islice(transactions(options), options.events)
        ]

    def polls(self) -> Iterator[Sequence[bytes]]:
        values = [value for _, _, value in self._events]
        for start in range(0, len(values), POLL_RECORDS):
            yield values[start : start + POLL_RECORDS]

    def detector(self) -> float:
        broker, telemetry = MemoryBroker(self._partitions), Telemetry()
        for partition, key, value in self._events:
            broker.append(partition, value, key=key)
        broker.closed = True
        with threadpool_limits(1):
            runner = Runner(
                config=self._config,
                topic=self._config.topics.transactions,
                group=self._config.kafka.group_id,
                entity_key=entity_key(None),
                stream=MemoryStream(broker, FakeClock(), poll_records_max=POLL_RECORDS),
                store=MemoryStore(),
                feedback=None,
                clock=SystemClock(),
                telemetry=telemetry,
                log=MemoryLog(),
                executor=BackgroundThread("checkpoints"),
            )
            warm_up = WARM_UP_SHARE * len(self._events)
            while not runner.turn() and telemetry.totals().scored < warm_up:
                pass
            first, began_s = telemetry.totals().scored, time.perf_counter()
            runner.run()
            return (len(self._events) - first) / (time.perf_counter() - began_s)


# --- the loops -------------------------------------------------------------------------------------------


def loop(
    polls: Iterator[Sequence[bytes]], learn: Learn | None = None, events_max: int | None = None
) -> float:
    """Decode what polls bring, and let a peer learn it; returns events/s."""
    decode = msgspec.json.Decoder(Transaction).decode
    next(polls)
    count, began_s = 0, time.perf_counter()
    with contextlib.closing(polls):  # type: ignore[type-var]
        for values in polls:
            for value in islice(values, None if events_max is None else events_max - count):
                event = decode(value)
                if learn is not None:
                    learn(event)
                count += 1
            if count == events_max:
                break
        return count / (time.perf_counter() - began_s)


def numbers(event: Transaction) -> tuple[float, float]:
    """Amount and second of the day."""
    time_of_day = event.TX_DATETIME[11:19]
    return event.TX_AMOUNT, 3600 * int(time_of_day[:2]) + 60 * int(time_of_day[3:5]) + int(time_of_day[6:])


def river() -> Learn:
    """river's half-space trees behind its scaler."""
    from river.anomaly import HalfSpaceTrees
    from river.preprocessing import MinMaxScaler

    model = MinMaxScaler() | HalfSpaceTrees(n_trees=25, height=8, seed=0)

    def learn(event: Transaction) -> None:
        amount, second = numbers(event)
        row = {"amount": amount, "second": second}
        model.score_one(row)
        model.learn_one(row)

    return learn


def loda() -> Learn:
    """PySAD's LODA."""
    import numpy as np
    from pysad import models

    make: Any = models.LODA
    model = make(random_state=0)

    def learn(event: Transaction) -> None:
        row = np.array(numbers(event))
        if not model.to_init:  # it cannot score before it has seen one
            model.score_partial(row)
        model.fit_partial(row)

    return learn


# --- the command -----------------------------------------------------------------------------------------


def compare(topic: Topic, options: argparse.Namespace, words: str) -> list[str]:
    """Measure one topic in all four ways; returns the table's row."""
    progress(words)
    found = rounds(
        options.rounds,
        {
            "loop": lambda: loop(topic.polls()),
            "detector": topic.detector,
            "river": lambda: loop(topic.polls(), river(), options.peer_events),
            "loda": lambda: loop(topic.polls(), loda(), options.peer_events),
        },
    )
    rates = [f"{median(rates):,.0f}" for rates in found.values()]
    ratios = [ratio(found["detector"], found[other]) for other in ("loop", "river", "loda")]
    return [words, *rates, f"{ratios[0]:.2f}", f"{ratios[1]:.1f}", f"{ratios[2]:.1f}"]


def main() -> None:
    """Run the command."""
    made = parser(__doc__, events=200_000, rounds=3)
    made.add_argument("--peer-events", type=int, default=10_000, help="of the same topic, for the peers")
    made.add_argument("--partitions", type=int, nargs="+", default=PARTITIONS)
    options = made.parse_args()
    if options.quick:
        options.events, options.peer_events, options.rounds, options.partitions = 20_000, 500, 1, (1,)
    try:
        java(), distribution()
    except KafkaUnavailable as reason:
        print(about(f"in memory, as there is no Kafka ({reason})"))
        topics: Iterator[tuple[Topic, int]] = ((MemoryTopic(options, n), n) for n in options.partitions)
        _table(topics, options)
        return
    print(about(BROKER))
    with tempfile.TemporaryDirectory(prefix="detector-speed-") as folder, KafkaBroker() as broker:
        _table(_on_kafka(broker, Path(folder), options), options)


def _on_kafka(broker: KafkaBroker, folder: Path, options: argparse.Namespace) -> Iterator[tuple[Topic, int]]:
    for partitions in options.partitions:
        with Service(broker, folder, f"speed-{partitions}", partitions, options.set) as service:
            progress(f"filling {partitions} partitions")
            service.preload(islice(transactions(options), options.events))
            yield KafkaTopic(service), partitions


def _table(topics: Iterator[tuple[Topic, int]], options: argparse.Namespace) -> None:
    show(
        f"events/s, {options.events:,} events, median of {options.rounds} rounds; then detector / the others",
        ["partitions", "loop", "detector", "river", "loda", "/ loop", "/ river", "/ loda"],
        [compare(topic, options, f"{partitions}") for topic, partitions in topics],
    )


if __name__ == "__main__":
    main()
