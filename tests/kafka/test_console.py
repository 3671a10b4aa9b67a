"""`detector console` on a real Kafka: answers come back as receipts, and kills lose nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from detector.config.load import load
from detector.config.secrets import resolve_secrets
from detector.console.views import Command, Filter, Person
from detector.shell import logs
from detector.wiring.console import _parts, wanted
from tests.kafka.broker import KafkaBroker, free_ports
from tests.kafka.daemons import Deployment
from tests.kafka.distribution import ends_with_us
from tests.kafka.test_end_to_end import traffic
from tests.kafka.waiting import poll_until
from tests.unit.console_world import TABLES

pytestmark = pytest.mark.kafka
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
    with Deployment(kafka.bootstrap, tmp_path, topic_name, partitions=2, sides=SIDES) as deployment:
        deployment.start()
        events = list(traffic(9_000))
        killed = tmp_path / "killed.db"
        for part in range(3):
            port = free_ports(1)[0]
            command = [
                sys.executable, "-m", "detector", "console", "--config", str(deployment.config), "--set",
                f"console.database={killed}", "--set", f"console.address=127.0.0.1:{port}",
            ]  # fmt: skip
            process = subprocess.Popen(ends_with_us(command), env=dict(os.environ), stderr=subprocess.DEVNULL)
            try:
                assert poll_until(lambda port=port: _answers(port))  # type: ignore[misc]
                deployment.produce(events[part * 3000 : (part + 1) * 3000])
                if part < 2:
                    process.kill()  # while the daemon publishes
                else:
                    deployment.await_done()
                    process.send_signal(signal.SIGTERM)
                    assert process.wait(30) == 0
            finally:
                process.kill()
                process.wait()
        with console(deployment, tmp_path / "once.db") as one, console(deployment, killed) as other:
            assert poll_until(lambda: one.queue(EVERY).count > 0 and one.queue(EVERY) == other.queue(EVERY))
        config = load(deployment.config, [], {})
        assert wanted(config).exposure == "amount"
        assert _dump(killed) == _dump(tmp_path / "once.db")


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _dump(path: Path) -> dict[str, list[tuple[object, ...]]]:
    import sqlite3

    with sqlite3.connect(path) as connection:
        return {
            table: sorted(map(tuple, connection.execute(f"SELECT * FROM {table}")), key=repr)
            for table in (*TABLES, "positions")
        }
