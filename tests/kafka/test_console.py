"""`detector console` on a real Kafka: answers come back as receipts, and kills lose nothing."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaProducer

from detector.config.load import load
from detector.config.secrets import resolve_secrets
from detector.console.views import Command, Filter, Person
from detector.shell import logs
from detector.wiring.console.console import _parts
from tests.kafka.broker import KafkaBroker, free_ports
from tests.kafka.daemons import Deployment
from tests.kafka.distribution import ends_with_us
from tests.kafka.test_end_to_end import traffic
from tests.kafka.waiting import poll_until
from tests.unit.console_world import T0, TABLES, alert, labelled

pytestmark = pytest.mark.kafka
CASES = 20  # of each part
ANN = Person(name="ann", role="analyst")
SIDES = ("feedback", "exchange", "receipts", "case_updates")
EVERY = Filter(states=("open", "answered", "closed", "snoozed"))


@contextmanager
def console(deployment: Deployment, database: Path) -> Iterator:  # type: ignore[type-arg]
    """The console's parts in this process, reading."""
    config = load(deployment.config, [f"console.database={database}"], {})
    stopping = threading.Event()
    with ExitStack() as opened:
        parts = _parts(
            config, resolve_secrets(config, {}), None, logs.get_logger("detector"), opened, stopping
        )
        assert parts is not None
        assert parts.reader is not None
        parts.reader.start(stopping)
        try:
            yield parts.book
        finally:
            stopping.set()
            parts.reader.join()
            assert parts.reader.failed is None


def test_an_answer_comes_back_as_a_receipt_and_originals_are_read(
    kafka: KafkaBroker, tmp_path: Path, topic_name: str
) -> None:
    with Deployment(kafka.bootstrap, tmp_path, topic_name, partitions=2, sides=SIDES) as deployment:
        deployment.produce(list(traffic(9_000)))
        deployment.start()
        deployment.await_done()
        with console(deployment, tmp_path / "console.db") as book:
            assert poll_until(lambda: book.queue(EVERY).count > 0)
            row = book.queue(EVERY).rows[0]
            alert = book.case(row.id).alerts[0]
            place = alert.body["source"]["partition"], alert.body["source"]["offset"]
            command = Command(kind="label", id="form", case_ids=(row.id,), detail={"label": "fraud"})
            (id_,) = book.send(ANN, command).feedback_ids
            assert book.case(row.id).row.answer == "fraud"
            assert poll_until(lambda: book.case(row.id).acts[0].status == "applied")
            (act,) = book.case(row.id).acts
            assert (act.feedback_id, act.actor, act.outcome) == (id_, "ann", "applied")
            original, gone = book.originals([place, (0, 10**9)])
            assert str(original.value["TRANSACTION_ID"]) == alert.body["event_id"]
            assert (gone.value, gone.why) == (None, "The topic has no event there.")


def test_a_console_that_is_killed_reads_on_and_holds_what_one_reading_gives(
    kafka: KafkaBroker, tmp_path: Path, topic_name: str
) -> None:
    """Without a daemon: what it would publish is written here, in transactions, some of them aborted."""
    with Deployment(kafka.bootstrap, tmp_path, topic_name, partitions=2, sides=SIDES) as deployment:
        killed = tmp_path / "killed.db"
        for part in range(3):
            port = free_ports(1)[0]
            command = [
                sys.executable, "-m", "detector", "console", "--config", str(deployment.config), "--set",
                f"console.database={killed}", "--set", f"console.address=127.0.0.1:{port}",
            ]  # fmt: skip
            process = subprocess.Popen(ends_with_us(command), stderr=subprocess.DEVNULL)
            try:
                assert poll_until(lambda port=port: _answers(port))  # type: ignore[misc]
                publish(deployment, part)
                if part == 2:
                    process.send_signal(signal.SIGTERM)
                    assert process.wait(30) == 0
            finally:
                process.kill()  # perhaps while it reads
                process.wait()
        with console(deployment, tmp_path / "once.db") as one, console(deployment, killed) as other:
            for book in (one, other):
                assert poll_until(lambda book=book: book.queue(EVERY).count == 3 * CASES)  # type: ignore[misc]
                assert poll_until(lambda book=book: len(book.acts(limit=500)[0]) == 3 * CASES)  # type: ignore[misc]
            assert one.queue(EVERY, limit=500) == other.queue(EVERY, limit=500)
            assert all("aborted" not in row.headline for row in one.queue(EVERY, limit=500).rows)
        whole, again = dump(tmp_path / "once.db"), dump(killed)
        assert whole == again
        (of,) = (row[1] for row in again["facts"] if row[0] == "of")
        assert str(of).count("/") == 8  # each topic has the cluster's id and its own
        assert "//" not in str(of)


def publish(deployment: Deployment, part: int) -> None:
    """Alerts, an aborted one between them, and an answer for each case."""
    settings = {"bootstrap_servers": deployment.bootstrap, "transactional_id": f"{deployment.group}-{part}"}
    with closing(KafkaProducer(**settings)) as producer:
        producer.init_transactions()
        for n in range(part * CASES, (part + 1) * CASES):
            producer.begin_transaction()
            body = alert(n, n, card=f"C{n}")
            producer.send(deployment.topics["alerts"], msgspec.json.encode(body), partition=n % 2)
            said = labelled(n, "fraud", at_s=T0, id_=f"f{n}")
            producer.send(deployment.topics["feedback"], msgspec.json.encode(said))
            producer.commit_transaction()
            producer.begin_transaction()
            producer.send(deployment.topics["alerts"], msgspec.json.encode(alert(n, n, card="aborted")))
            producer.flush()
            producer.abort_transaction()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def dump(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """All tables of a console's database, in an order of their own."""
    with closing(sqlite3.connect(path)) as connection:
        found = {
            table: sorted(map(tuple, connection.execute(f"SELECT * FROM {table}")), key=repr)
            for table in (*TABLES, "facts")
        }
    found["facts"] = [row for row in found["facts"] if row[0] != "changes"]
    return found
