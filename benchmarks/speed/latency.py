"""Latency from produce to the alert in a read_committed consumer, under load.

    python -m benchmarks.speed.latency
    python -m benchmarks.speed.latency --seconds 300 --topic scores
    python -m benchmarks.speed.latency --seconds 600 --topic scores --partitions 4 --rate 2000 --sides

1. The highest rate is measured on a preloaded topic (see `benchmarks.speed.service`).
2. A producer in a process of its own sends events to the same daemon in an open loop, at 10, 50 and 80 % of
   that rate. Each event has a planned time that does not depend on the events before it. Its latency counts
   from the planned time, so a delay of the producer is included.
3. A consumer in this process reads the alerts, read_committed, and records when each arrives. The latency of
   an event is that of its alert. Barriers, commit interval and checkpoints are included.

High quantiles need many alerts, so the budget is one in a hundred events, half of it for random ones
(`exploration_share`), which are spread evenly. That is ten times the usual work of explaining. `--topic
scores` uses the scores of all events instead, which are published in the same transactions; publishing them
is then most of the work. A quantile with fewer than three alerts above it is in brackets.

With `--rate` that rate is measured instead of step 1. With `--sides` shards exchange messages, and events are
labelled: large amounts as frauds, one in fifty of the others as legitimate, two days of event time later. The
longest pause is the longest time without an output, of all partitions together and of one of them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np
from confluent_kafka import Producer
from kafka import KafkaConsumer, TopicPartition

from benchmarks.speed.common import about, parser, progress, show, transactions
from benchmarks.speed.service import BROKER, Service, cpu_s
from tests.kafka.broker import KafkaBroker

SHARES = (0.1, 0.5, 0.8)
QUANTILES, QUANTILE_NAMES = (0.5, 0.99, 0.999), ("p50", "p99", "p99.9")
PROCESSES = ("replica 1", "broker", "producer", "consumer")
BEYOND_MIN = 3  # alerts above a quantile that it needs to be meaningful
SETTINGS = ("alerts.budget.share=0.01", "alerts.exploration_share=0.5")
LEAD_S = 0.5  # from the producer's start to its first event
TICK_S = 0.001
LATE_MS = 1000.0  # the share of events with a higher latency is shown
FRAUD_AMOUNT = 220.0  # of the Handbook's first scenario
LABELLED_ONE_IN, LABEL_DELAY = 50, np.timedelta64(2, "D")
QUIET_S = 2.0  # the end: everything is committed, and nothing arrived for this long


class _Published(msgspec.Struct):
    """The fields that alerts and scores have in common."""

    event_id: str


class Transaction(msgspec.Struct):
    """What a label is made of."""

    TRANSACTION_ID: str
    TX_DATETIME: str
    TX_AMOUNT: float


def label_of(event: Transaction) -> bytes:
    """The label of an event; empty: none."""
    fraud = event.TX_AMOUNT > FRAUD_AMOUNT
    if not fraud and zlib.crc32(event.TRANSACTION_ID.encode()) % LABELLED_ONE_IN:
        return b""
    time_ = np.datetime64(event.TX_DATETIME.removesuffix("Z"), "s") + LABEL_DELAY
    return msgspec.json.encode(
        {
            "event_id": event.TRANSACTION_ID,
            "label": "fraud" if fraud else "legitimate",
            "time": f"{time_}Z",
            "feedback_id": event.TRANSACTION_ID,
        }
    )


Arrived = tuple[str, float, int]
"""Event id of an output, when it was read (monotonic, s), its partition."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Produced:
    """Results of a producer; n events."""

    began_s: float  # monotonic: planned time of the first event; the n-th follows n / rate later
    ids: list[str]
    late_ms: float  # the longest delay of an event after its planned time
    cpu_s: float


def produce(
    options: argparse.Namespace,
    bootstrap: str,
    topics: Mapping[str, str],
    partitions: int,
    first: int,
    rate: float,
) -> Produced:
    """Send events at a rate, each at its planned time; runs in a process of its own."""
    events = list(islice(transactions(options), first, first + int(rate * options.seconds)))
    decode = msgspec.json.Decoder(Transaction).decode
    decoded = [decode(value) for _, value in events]
    labels = {n: label for n, event in enumerate(decoded) if (label := label_of(event))}
    ids = [event.TRANSACTION_ID for event in decoded]
    places = [zlib.crc32(key) % partitions for key, _ in events]
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1, "acks": "all"})
    cpu_before_s = time.process_time()
    began_s = time.monotonic() + LEAD_S
    sent, late_s = 0, 0.0
    while sent < len(events):
        now_s = time.monotonic()
        due = min(int((now_s - began_s) * rate) + 1, len(events)) if now_s >= began_s else 0
        if sent < due:
            late_s = max(late_s, now_s - (began_s + sent / rate))
        for number in range(sent, due):
            key, value = events[number]
            producer.produce(topics["transactions"], key=key, value=value, partition=places[number])
            if options.sides and number in labels:
                producer.produce(topics["feedback"], value=labels[number], partition=0)
        sent = due
        producer.poll(0)
        time.sleep(TICK_S)
    if producer.flush(60):
        raise RuntimeError("the broker did not take all events")
    return Produced(began_s=began_s, ids=ids, late_ms=1000 * late_s, cpu_s=time.process_time() - cpu_before_s)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Load:
    """One rate's figures."""

    rate: float
    latency_ms: np.ndarray[tuple[int], np.dtype[np.float64]]  # (alerts,)
    late_ms: float
    cores: dict[str, float]  # in use, by process
    pause_ms: tuple[float, float]  # longest time without an output: of all partitions, of one of them


def run_load(options: argparse.Namespace, service: Service, first: int, rate: float) -> Load:
    """Produce at a rate from event `first` on, and measure the latency of outputs."""
    deployment = service.deployment
    arrived: list[Arrived] = []
    with contextlib.closing(consumer_at_end(service, options.topic)) as consumer:
        pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        producing = pool.submit(
            produce, options, deployment.bootstrap, deployment.topics, deployment.partitions, first, rate
        )
        before = {**service.cpu_s(), "consumer": cpu_s(os.getpid()), "producer": 0.0}
        read_until_quiet(service, consumer, producing, first, arrived)
        produced = producing.result()
        pool.shutdown()
        after = {**service.cpu_s(), "consumer": cpu_s(os.getpid()), "producer": produced.cpu_s}
    if not arrived:
        raise SystemExit("nothing arrived: raise --seconds, unless the stream is over")
    moment_s = {id_: produced.began_s + n / rate for n, id_ in enumerate(produced.ids)}
    return Load(
        rate=rate,
        latency_ms=np.array([1000 * (at_s - moment_s[id_]) for id_, at_s, _ in arrived]),
        late_ms=produced.late_ms,
        cores={name: (after[name] - before[name]) / options.seconds for name in after},
        pause_ms=longest_pauses(arrived, moment_s),
    )


def longest_pauses(arrived: Sequence[Arrived], moment_s: Mapping[str, float]) -> tuple[float, float]:
    """Longest time without an output, ms, while events came: of all partitions, and of one of them."""
    last_s = max(moment_s.values())

    def longest(times: Iterable[float]) -> float:
        inside = np.array([at_s for at_s in times if at_s <= last_s])
        return float(1000 * np.diff(inside).max(initial=0.0))

    partitions = {partition for _, _, partition in arrived}
    each = [longest(at for _, at, partition in arrived if partition == one) for one in partitions]
    return longest(at for _, at, _ in arrived), max(each)


def consumer_at_end(service: Service, kind: str) -> KafkaConsumer:
    """Read an output topic from its end on."""
    deployment = service.deployment
    consumer = KafkaConsumer(
        bootstrap_servers=deployment.bootstrap,
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_poll_records=100_000,
        metrics_enabled=False,
    )
    places = [TopicPartition(deployment.topics[kind], n) for n in range(deployment.partitions)]
    consumer.assign(places)
    for place, end in consumer.end_offsets(places).items():
        consumer.seek(place, end)
    consumer.poll(timeout_ms=100)  # connects
    return consumer


def read_until_quiet(
    service: Service,
    consumer: KafkaConsumer,
    producing: Future[Produced],
    first: int,
    arrived: list[Arrived],
) -> None:
    """Record what arrives, and when, until everything produced is committed and nothing more arrives."""
    decode = msgspec.json.Decoder(_Published).decode
    asked_s = time.monotonic()
    while True:
        batches = consumer.poll(timeout_ms=100)
        now_s = time.monotonic()
        arrived += [
            (decode(record.value).event_id, now_s, at.partition)
            for at, batch in batches.items()
            for record in batch
        ]
        asked_s = now_s if batches else asked_s
        if producing.done() and now_s - asked_s > QUIET_S:
            if service.committed() >= first + len(producing.result().ids):
                return
            asked_s = now_s  # ask again later, it costs something


def row(load: Load, highest: float) -> list[str]:
    """Cells of the table."""
    cells = [f"{load.rate / highest:.0%}", f"{load.rate:,.0f}", f"{len(load.latency_ms):,}"]
    for share, value in zip(QUANTILES, np.quantile(load.latency_ms, QUANTILES), strict=True):
        known = (1 - share) * len(load.latency_ms) >= BEYOND_MIN
        cells.append(f"{value:.0f}" if known else f"({value:.0f})")
    cells += [f"{load.latency_ms.max():.0f}", f"{(load.latency_ms > LATE_MS).mean():.2%}"]
    cells += [f"{pause:.0f}" for pause in load.pause_ms]
    cells += [f"{load.late_ms:.0f}"]
    return cells + [f"{load.cores[name]:.2f}" for name in PROCESSES]


def main() -> None:
    """Run the command."""
    made = parser(__doc__, events=200_000, rounds=1)
    made.add_argument("--seconds", type=float, default=120.0, help="of each load")
    made.add_argument("--partitions", type=int, default=1)
    made.add_argument("--rate", type=float, help="events/s; default: 10, 50 and 80 %% of the highest")
    made.add_argument("--sides", action="store_true", help="with labels and exchange")
    made.add_argument(
        "--topic", choices=("alerts", "scores"), default="alerts", help="output whose latency is measured"
    )
    options = made.parse_args()
    if options.quick:
        options.events, options.seconds = 30_000, 5.0
    sides = ("feedback", "exchange") if options.sides else ()
    print(about(BROKER))
    with (
        tempfile.TemporaryDirectory(prefix="detector-speed-") as folder,
        KafkaBroker() as broker,
        Service(
            broker, Path(folder), "latency", options.partitions, [*SETTINGS, *options.set], sides
        ) as service,
    ):
        if options.topic == "scores":
            service.publish_scores()
        progress("filling the topic")
        service.preload(islice(transactions(options), options.events))
        service.start()
        progress("the highest rate")
        highest = service.measure().rate
        loads = []
        for rate in [options.rate] if options.rate else [share * highest for share in SHARES]:
            progress(f"{rate:,.0f} events/s, at most {highest:,.0f}, {options.seconds:g} s")
            loads.append(run_load(options, service, service.committed(), rate))
            stages = service.stages()
        service.stop()
    words = f"{options.seconds:g} s at each share of {highest:,.0f} events/s; then cores in use"
    show(
        f"ms from an event's moment to its {options.topic}, {words}",
        ["load", "events/s", "n", *QUANTILE_NAMES, "max", "> 1 s", "pause", "of one", "late", *PROCESSES],
        [row(load, highest) for load in loads],
    )
    print("pause, of one: the longest time without an output, of all partitions and of one of them, ms")
    show(
        "stages since the start",
        ["stage", "s", "times", "ms each"],
        [
            [name, f"{seconds:.1f}", f"{times:.0f}", f"{1000 * seconds / max(times, 1):.1f}"]
            for name, (seconds, times) in sorted(stages.items())
        ],
    )
    print("late: the longest delay of an event in the producer after its planned time, ms")


if __name__ == "__main__":
    main()
