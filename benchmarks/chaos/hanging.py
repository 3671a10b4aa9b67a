"""Transactions that hang after a broker's crash: how many, and whether each is ended correctly.

    python -m benchmarks.chaos.hanging --brokers 1 --cycles 30
    python -m benchmarks.chaos.hanging --brokers 3 --cycles 20      two of them crash together

One cycle:

1. Producers with transactional ids of one group send a record to each partition of a topic. Some leave their
   transaction open, as a killed member does; the others begin to commit.
2. Some milliseconds later the broker (two of three) is killed with -9.
3. It starts again, at once or after the transaction timeout. Producers that were committing get an answer or
   an error.
4. Transactions that hang are found and ended (`detector.shell.kafka.transactions`).

Checked at the end of each cycle: no record is hidden any more; each transaction is visible on all partitions
or on none: on all if its producer got the answer "committed", on none if it was left open.

Prints a line per cycle and a summary; exit code 1 if a check fails. Needs Java and Maven.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from detector.config.tree import Config
from detector.errors import DetectorError
from detector.shell.kafka.client import client_settings
from detector.shell.kafka.transactions import Transactions, transactional_id
from detector.shell.kafka.workarounds import abandon
from tests.kafka.broker import KafkaBroker
from tests.kafka.cluster import KafkaCluster
from tests.kafka.topics import create_topic, read_all
from tests.kafka.waiting import poll_until

GROUP, TOPIC = "hanging", "hanging-alerts"
PARTITIONS = 8
PRODUCERS = 6  # half of them commit
TIMEOUT_MS = 2000
DELAY_MAX_S = 0.03  # between the commits and the crash
PATIENCE_S = 60.0
# A broker that starts again first resigns all partitions of before. Markers that are tried between the moment
# when it knows that they have no leader and the end of that are left out: often, with many partitions.
OTHER_PARTITIONS = 300


@dataclass(slots=True)
class Attempt:
    """One transaction of one producer."""

    producer: KafkaProducer
    commits: bool
    name: bytes = field(default_factory=lambda: uuid.uuid4().hex.encode())
    confirmed: bool = False  # its producer got the answer that it is committed
    thread: threading.Thread | None = None

    def send(self) -> None:
        """Open a transaction with a record on each partition."""
        self.producer.begin_transaction()
        for partition in range(PARTITIONS):
            self.producer.send(TOPIC, value=self.name, partition=partition)
        self.producer.flush(timeout=20)

    def commit(self) -> None:
        """Commit and wait for the answer."""
        with suppress(KafkaError):
            self.producer.commit_transaction()
            self.confirmed = True


@contextmanager
def brokers(count: int) -> Iterator[tuple[str, list[KafkaBroker]]]:
    """Start this many brokers; yields their address, and those that crash together."""
    if count == 1:
        with KafkaBroker() as broker:
            yield broker.bootstrap, [broker]
    else:
        with KafkaCluster() as cluster:
            yield cluster.bootstrap, list(cluster.brokers[:2])


def config(bootstrap: str) -> Config:
    """The smallest configuration with a group and one output topic."""
    return Config.model_validate(
        {
            "event": {
                "id": "id",
                "time": {"path": "time"},
                "entities": [{"name": "card", "path": "card"}],
                "fields": [{"name": "amount", "path": "amount", "type": "numeric"}],
            },
            "kafka": {
                "bootstrap_servers": bootstrap.split(","),
                "group_id": GROUP,
                "transaction_timeout_ms": TIMEOUT_MS,
            },
            "topics": {"transactions": f"{GROUP}-in", "alerts": TOPIC, "dead_letter": f"{GROUP}-dead"},
            "checkpoints": {"url": "memory://"},
        }
    )


def cycle(
    bootstrap: str, crashing: list[KafkaBroker], transactions: Transactions, chance: random.Random
) -> tuple[Counter[str], list[str], float]:
    """Run one cycle; returns hanging transactions by fate, violations, and seconds until all was visible."""
    attempts = [
        Attempt(
            KafkaProducer(
                bootstrap_servers=bootstrap,
                transactional_id=transactional_id(GROUP, uuid.uuid4().hex),
                transaction_timeout_ms=TIMEOUT_MS,
                max_block_ms=10_000,
                reconnect_backoff_max_ms=500,
            ),
            commits=number % 2 == 0,
        )
        for number in range(PRODUCERS)
    ]
    for attempt in attempts:
        attempt.producer.init_transactions()
        attempt.send()
    for attempt in attempts:
        if attempt.commits:
            attempt.thread = threading.Thread(target=attempt.commit, daemon=True)
            attempt.thread.start()
    time.sleep(chance.uniform(0.0, DELAY_MAX_S))
    for broker in crashing:
        broker.kill()
    time.sleep(chance.choice((0.0, TIMEOUT_MS / 1000 + 0.5)))
    for broker in crashing:
        broker.launch()
    for broker in crashing:
        broker.await_up()
    began_s = time.monotonic()
    for attempt in attempts:
        if attempt.thread is not None:
            attempt.thread.join(15)
        abandon(attempt.producer)
    found: Counter[str] = Counter()
    unhidden = poll_until(lambda: look(transactions, found), timeout_s=PATIENCE_S)
    seconds = time.monotonic() - began_s
    if not unhidden:
        return found, [f"still hidden: {transactions.ends(transactions.outputs())}"], seconds
    wrong = []
    visible = Counter(record.value for record in read_all(bootstrap, TOPIC))
    for attempt in attempts:
        times = visible[attempt.name]
        allowed = {PARTITIONS} if attempt.confirmed else {0, PARTITIONS} if attempt.commits else {0}
        if times not in allowed:
            wrong.append(
                f"visible on {times} partitions, confirmed {attempt.confirmed}, commits {attempt.commits}"
            )
    return found, wrong, seconds


def look(transactions: Transactions, found: Counter[str]) -> bool:
    """End hanging transactions and count their fates; returns whether no record is hidden any more."""
    time.sleep(0.3)
    try:
        with transactions.connected():
            hanging = transactions.hanging()
            found.update(one.verdict.fate or f"unknown ({one.verdict.reason})" for one in hanging)
            transactions.mend(hanging)
            ends = transactions.ends(transactions.outputs())
            return bool(ends) and all(stable == end for stable, end in ends.values())
    except DetectorError:  # the broker is not up yet
        return False


def main() -> int:
    """Run the cycles and print a summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    cycles_hanging, total, wrongs, longest_s = 0, Counter[str](), 0, 0.0
    with brokers(options.brokers) as (bootstrap, crashing):
        create_topic(bootstrap, TOPIC, PARTITIONS)
        create_topic(bootstrap, f"{GROUP}-others", OTHER_PARTITIONS)
        settings = config(bootstrap)
        transactions = Transactions(settings, client_settings(settings))
        with closing(KafkaConsumer(bootstrap_servers=bootstrap, group_id=GROUP)) as consumer:
            consumer.committed(TopicPartition(TOPIC, 0))  # the first group makes the topic of offsets
        for number in range(1, options.cycles + 1):
            found, wrong, seconds = cycle(bootstrap, crashing, transactions, chance)
            cycles_hanging += bool(found)
            total += found
            wrongs += len(wrong)
            longest_s = max(longest_s, seconds)
            print(f"cycle {number}: hanging {dict(found)}, {seconds:.1f} s {'; '.join(wrong)}", flush=True)
    print(
        f"{options.brokers} brokers, {options.cycles} cycles: {cycles_hanging} with hanging transactions, "
        f"partitions {dict(total)}; all visible after {longest_s:.1f} s at most; {wrongs} wrong"
    )
    return 1 if wrongs else 0


if __name__ == "__main__":
    sys.exit(main())
