"""`detector console` put together: topics of a broker in this process, and the files of a replay."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import confluent_kafka as confluent
import msgspec
import pytest
from typer.testing import CliRunner

from detector.cli.program import app
from detector.config.load import load
from detector.config.secrets import resolve_secrets
from detector.config.tree import Config
from detector.console.acts import NotAllowed
from detector.console.tokens import TokenFile
from detector.console.views import Command, Filter, Person
from detector.errors import ConfigError, NeedsOperator
from detector.shell.kafka import RecordWriter, TopicReader
from detector.testing import MemoryLog
from detector.wiring.console.console import _check, _parts
from detector.wiring.console.originals import runs_of
from detector.wiring.console.world import signing_key
from tests.kafka.waiting import PATIENCE_S, poll_until
from tests.unit.console_world import ANN, T0, alert, labelled, receipt, update

TOPICS = {"feedback": "feedback", "receipts": "receipts", "case_updates": "case_updates"}
EVENT = {
    "id": "id", "time": {"path": "t"}, "entities": [{"name": "card", "path": "card"}], "exposure": "amount",
    "fields": [
        {"name": "amount", "path": "amount", "type": "numeric", "unit": "EUR"},
        {"name": "channel", "path": "channel", "type": "categorical", "use": "segment"},
        {"name": "phone", "path": "buyer.phone", "type": "categorical", "echo": False},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def producer() -> Iterator[Any]:
    made = confluent.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "ignored"})
    for topic in ("transactions", "alerts", *TOPICS):
        made.produce(topic, value=b"first", partition=0)  # creates the topic
    assert made.flush(PATIENCE_S) == 0
    yield made
    made.purge()


@pytest.fixture
def config(producer: Any, tmp_path: Path) -> Config:
    (address,) = (f"{b.host}:{b.port}" for b in producer.list_topics(timeout=PATIENCE_S).brokers.values())
    return Config.model_validate(
        {
            "event": EVENT,
            "kafka": {"bootstrap_servers": [address], "group_id": "g", "api_version": [2, 3]},
            "topics": TOPICS,
            "delivery": "at_least_once",
            "console": {"database": str(tmp_path / "console.db"), "tokens": str(tmp_path / "tokens")},
        }
    )


def produce(producer: Any, topic: str, body: Any) -> tuple[int, int]:
    """Write a record; returns where it is."""
    places: list[tuple[int, int]] = []
    producer.produce(
        topic,
        value=msgspec.json.encode(body),
        partition=0,
        on_delivery=lambda _, message: places.append((message.partition(), message.offset())),
    )
    assert producer.flush(PATIENCE_S) == 0
    return places[0]


def test_a_reader_goes_on_at_positions_and_a_writer_says_where_records_are(config: Config) -> None:
    writer = RecordWriter(config, "feedback")
    first, second = writer.send([(b"a", b"one"), (b"a", b"two")], partition=2)
    (third,) = writer.send([(b"a", b"three")], partition=2)
    writer.close()
    assert [one.partition for one in (first, second, third)] == [2] * 3
    assert (second.offset, third.offset) == (first.offset + 1, first.offset + 2)
    reader = TopicReader(config, ["feedback"])
    positions = {("feedback", n): 1 << 40 for n in range(4)} | {("feedback", first.partition): second.offset}
    read = [one[2].value for batch in reader.records(positions=positions) for one in batch]
    reader.close()
    assert read == [b"two", b"three"]


def test_what_topics_hold_is_shown_and_an_answer_goes_there(producer: Any, config: Config) -> None:
    partition, offset = produce(
        producer,
        "transactions",
        {"id": "E7", "amount": 5, "buyer": {"phone": "555"}, "list": [{"phone": "1"}]},
    )
    body = {**alert(7, 7), "source": {"topic": "transactions", "partition": partition, "offset": offset}}
    produce(producer, "alerts", body)
    produce(producer, "case_updates", update(7, 1, events=4))

    def both(check: Callable[[Any], None]) -> None:
        stopping = threading.Event()
        with ExitStack() as opened:
            parts = _parts(config, resolve_secrets(config, {}), None, MemoryLog(), opened, stopping)
            assert parts is not None
            assert parts.reader is not None
            parts.reader.start(stopping)
            try:
                check(parts.book)
            finally:
                stopping.set()
                parts.reader.join()
                assert parts.reader.failed is None

    def first(book: Any) -> None:
        assert poll_until(lambda: [row.events for row in book.queue(Filter()).rows] == [4])
        (row,) = book.queue(Filter(segment=("channel", "web"))).rows
        assert row.unit == "EUR"
        (id_,) = book.send(
            ANN, Command(kind="label", id="f", case_ids=(row.id,), detail={"label": "fraud"})
        ).feedback_ids
        assert book.case(row.id).acts[0].feedback_id == id_
        original, missing = book.originals([(partition, offset), (0, 999)])
        assert original.value == {
            "id": "E7", "amount": 5, "buyer": {"phone": "(hidden)"}, "list": [{"phone": "(hidden)"}],
        }  # fmt: skip
        assert missing.value is None
        assert book.originals([(77, 0)])[0].why == "The topic has no partition 77."

    def second(book: Any) -> None:
        (act,) = book.case("transactions-0-7").acts
        assert (act.actor, act.status) == ("ann", "pending")
        position = int(book.case("transactions-0-7").row.version >> 21) - 1
        produce(producer, "receipts", receipt(position))
        assert poll_until(lambda: book.case("transactions-0-7").acts[0].status == "applied")

    both(first)
    both(second)  # a restart


def test_a_replay_is_shown_from_its_files_and_refuses_acts(config: Config, tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    folder.mkdir()
    lines = {
        "alerts.jsonl": [alert(1, 1), alert(2, 1, number=2)],
        "any-name.jsonl": [update(1, 1, events=5)],
        "receipts.jsonl": [{**receipt(0), "feedback": {"position": 3, "line": 1}}],
        "labels.jsonl": [labelled(1, "fraud", at_s=T0 + 60)],
        "events.jsonl": [{"id": 1}],
    }
    for name, bodies in lines.items():
        (folder / name).write_bytes(b"".join(msgspec.json.encode(body) + b"\n" for body in bodies))
    (folder / "more.jsonl.gz").write_bytes(gzip.compress(msgspec.json.encode(alert(9, 9, card="C9")) + b"\n"))
    (folder / "scores.csv").write_text("event_id\n")
    with ExitStack() as opened:
        parts = _parts(config, resolve_secrets(config, {}), folder, MemoryLog(), opened, threading.Event())
        assert parts is not None
        book = parts.book
        assert book.fresh()[1] == 0.0
        rows = book.queue(Filter(states=("open", "answered"))).rows
        assert sorted((row.id, row.events, row.state) for row in rows) == [
            ("transactions-0-1", 5, "answered"), ("transactions-0-9", 1, "open"),
        ]  # fmt: skip
        view = book.case("transactions-0-1")
        assert view is not None
        assert [act.status for act in view.acts] == ["applied"]
        with pytest.raises(NotAllowed, match="This is a replay"):
            book.send(ANN, Command(kind="note", case_ids=("transactions-0-1",), detail={"note": "x"}))
        assert "This is a replay" in book.originals([(0, 1)])[0].why


@pytest.mark.parametrize(
    "make", [lambda folder: None, lambda folder: folder.mkdir(), lambda folder: folder.touch()]
)
def test_a_folder_without_outputs_is_named(
    config: Config, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "empty")
    with ExitStack() as opened, pytest.raises(ConfigError, match=r"--replay: got .*empty, expected a folder"):
        _parts(
            config, resolve_secrets(config, {}), tmp_path / "empty", MemoryLog(), opened, threading.Event()
        )


def test_it_does_not_start_where_nobody_could_log_in_or_answer(config: Config) -> None:
    closed = config.model_copy(update={"console": config.console.model_copy(update={"mode": "token"})})
    with pytest.raises(NeedsOperator, match="has no token, so nobody could log in"):
        _check(closed, topics=True)
    silent = config.model_copy(update={"topics": config.topics.model_copy(update={"feedback": None})})
    with pytest.raises(ConfigError, match=r"topics\.feedback: got null"):
        _check(silent, topics=True)
    _check(silent, topics=False)


@pytest.mark.parametrize(
    ("console", "why"),
    [
        ({"address": "0.0.0.0:1"}, r"console\.mode: got 'none', expected token or proxy"),
        ({"address": "10.0.0.1:1", "mode": "token"}, r"http\.tls, or an https:// origin"),
        ({"mode": "proxy"}, r"console\.mode: got 'proxy', expected none or token, or a section"),
        ({"origin": "console.example.com"}, "scheme and host alone"),
        ({"session": "1s"}, "session"),
        ({"mask": ["boss"]}, "mask"),
        ({"replicas": ["http://detector/status"]}, "scheme and host alone"),
    ],
)
def test_settings_that_are_not_safe_or_make_no_sense_are_named(
    tmp_path: Path, console: dict[str, Any], why: str
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(msgspec.json.encode({"event": EVENT, "console": console}).decode())
    with pytest.raises(ConfigError, match=why):
        load(file, [], {})


def test_a_token_is_printed_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        msgspec.json.encode({"event": EVENT, "console": {"tokens": str(tmp_path / "t")}}).decode()
    )
    result = CliRunner().invoke(app, ["console", "token", "ann", "--role", "lead", "--config", str(file)])
    assert result.exit_code == 0, result.output
    token = result.stdout.strip()
    known = TokenFile(tmp_path / "t").of(token)
    assert known is not None
    assert known.person == Person(name="ann", role="lead")
    assert token not in (tmp_path / "t").read_text()


def test_the_signing_key_stays_and_a_short_one_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "console.db"
    assert signing_key(None, database) == signing_key(None, database)
    assert signing_key("secret", database) == b"secret"
    (tmp_path / "console.db.key").write_bytes(b"short")
    with pytest.raises(NeedsOperator, match="has 5 bytes"):
        signing_key(None, database)


def test_originals_near_each_other_are_read_in_one_go() -> None:
    assert runs_of([1, 2, 90, 500, 501]) == [(1, 90), (500, 501)]
    assert runs_of([]) == []


def test_it_waits_for_a_broker_until_it_is_told_to_stop(config: Config) -> None:
    nowhere = config.kafka.model_copy(update={"bootstrap_servers": ("127.0.0.1:1",)})
    away, stopping = config.model_copy(update={"kafka": nowhere}), threading.Event()

    class StopsIt(MemoryLog):
        def warning(self, event: str, **values: object) -> None:
            super().warning(event, **values)
            stopping.set()

    log = StopsIt()
    with ExitStack() as opened:
        assert _parts(away, resolve_secrets(away, {}), None, log, opened, stopping) is None
