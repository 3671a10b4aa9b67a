"""Speed of the service on a real Kafka, compared with its client library and its peers.

    python -m benchmarks.speed.end_to_end
    python -m benchmarks.speed.end_to_end --stream handbook --folder DATA --events 400000

The same preloaded topic is processed in four ways, in turns:

loop      kafka-python's poll with the daemon's settings, each record decoded by msgspec into a struct: the
          upper limit of any program with that client
detector  the daemon in a process of its own; see `benchmarks.speed.service` for how its rate is measured
river     the loop, each event scored and learned by MinMaxScaler | HalfSpaceTrees (25 trees, height 8)
loda      the loop, each event scored and learned by PySAD's LODA, library defaults

The peers see two numbers of an event, its amount and its second of the day, and the first `--peer-events`
only. The clock of a loop starts with its first poll that returns records, which are not counted. Only
the broker runs at the same time, and all have the same cores. A second table has CPU time instead: the daemon
and the broker run in parallel, and a busy machine changes CPU time less.

Without Java and Maven the topic is the in-memory one of `detector.testing` and the daemon its runner in this
process; the output says so.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Protocol

import msgspec
from kafka import KafkaConsumer, TopicPartition
from threadpoolctl import threadpool_limits

from benchmarks.speed.common import (
    POLL_RECORDS,
    WARM_UP_SHARE,
    about,
    clock_s,
    configuration,
    parser,
    progress,
    ratio,
    rounds,
    show,
    transactions,
)
from benchmarks.speed.service import BROKER, Service
from detector.core.reporting.telemetry import Telemetry
from detector.shell.background import BackgroundThread
from detector.shell.clock import SystemClock
from detector.shell.runner.loop import Runner
from detector.testing import FakeClock, MemoryBroker, MemoryLog, MemoryStore, MemoryStream
from detector.wiring.common import entity_key
from tests.kafka.broker import KafkaBroker
from tests.kafka.distribution import KafkaUnavailable, distribution, java

PARTITIONS = (1, 4, 16)
OURS = "detector"
HEADER = ("partitions", "loop", OURS, "river", "loda", "/ loop", "/ river", "/ loda")


class Transaction(msgspec.Struct):
    """The fields that a program would read."""

    TRANSACTION_ID: str
    TX_DATETIME: str
    CUSTOMER_ID: str
    TERMINAL_ID: str
    TX_AMOUNT: float


Learn = Callable[[Transaction], None]
"""Score an event, then learn it."""


class Pace(NamedTuple):
    """Speed of one run."""

    rate: float  # events/s
    cpu_rate: float  # events per second of CPU time, without the broker's


class Topic(Protocol):
    """A topic of events that can be processed any number of times."""

    def polls(self) -> Iterator[Sequence[bytes]]:
        """Values of one poll after another, to the end of the topic."""

    def detector(self) -> Pace:
        """Let the service process it."""


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

    def detector(self) -> Pace:
        worked = self._service.run()
        return Pace(worked.rate, worked.events / worked.cpu_s["replica 1"])


class MemoryTopic:
    """In memory: no broker, no client library, no process."""

    def __init__(self, options: argparse.Namespace, partitions: int) -> None:
        self._config = configuration([*options.set, "log.level=error"])
        self._partitions = partitions
        self._events = [
            (zlib.crc32(key) % partitions, key, value)
            for key, value in islice(transactions(options), options.events)
        ]

    def polls(self) -> Iterator[Sequence[bytes]]:
        values = [value for _, _, value in self._events]
        for start in range(0, len(values), POLL_RECORDS):
            yield values[start : start + POLL_RECORDS]

    def detector(self) -> Pace:
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
                sides={},
                clock=SystemClock(),
                telemetry=telemetry,
                log=MemoryLog(),
                executor=BackgroundThread("checkpoints"),
            )
            warm_up = WARM_UP_SHARE * len(self._events)
            while not runner.turn() and telemetry.totals().scored < warm_up:
                pass
            first, watch = telemetry.totals().scored, Watch()
            runner.run()
            return watch.pace(len(self._events) - first)


class Watch:
    """A clock that runs from its creation."""

    def __init__(self) -> None:
        self._began_s, self._cpu_before_s = time.perf_counter(), clock_s()

    def pace(self, events: int) -> Pace:
        """Speed of this many events since then."""
        rate = events / (time.perf_counter() - self._began_s)
        return Pace(rate, events / (clock_s() - self._cpu_before_s))


# --- the loops -------------------------------------------------------------------------------------------


def loop(polls: Iterator[Sequence[bytes]], learn: Learn | None = None, events_max: int | None = None) -> Pace:
    """Decode the polled records, and let a peer score and learn them."""
    decode = msgspec.json.Decoder(Transaction).decode
    next(polls)
    count, watch = 0, Watch()
    with contextlib.closing(polls):  # type: ignore[type-var]
        for values in polls:
            for value in islice(values, None if events_max is None else events_max - count):
                event = decode(value)
                if learn is not None:
                    learn(event)
                count += 1
            if count == events_max:
                break
        return watch.pace(count)


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


def compare(topic: Topic, options: argparse.Namespace) -> dict[str, list[Pace]]:
    """Measure one topic in all four ways; returns speeds by way and round."""
    return rounds(
        options.rounds,
        {
            "loop": lambda: loop(topic.polls()),
            OURS: topic.detector,
            "river": lambda: loop(topic.polls(), river(), options.peer_events),
            "loda": lambda: loop(topic.polls(), loda(), options.peer_events),
        },
    )


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
    rates, cpu_rates = [], []
    for topic, partitions in topics:
        progress(f"{partitions} partitions")
        found = compare(topic, options)
        rates.append(_row(partitions, {name: [pace.rate for pace in found[name]] for name in found}))
        cpu_rates.append(_row(partitions, {name: [pace.cpu_rate for pace in found[name]] for name in found}))
    print(f"\n{options.events:,} events, median of {options.rounds} rounds; ratios are {OURS} / other")
    show("events per second", HEADER, rates)
    show("events per second of CPU time, the broker's apart", HEADER, cpu_rates)


def _row(partitions: int, rates: Mapping[str, Sequence[float]]) -> list[str]:
    ratios = [f"{ratio(rates[OURS], rates[other]):.2f}" for other in rates if other != OURS]
    return [f"{partitions}", *(f"{median(rates[name]):,.0f}" for name in rates), *ratios]


if __name__ == "__main__":
    main()
