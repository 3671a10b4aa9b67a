"""Hostile texts through every output: events and feedback that try to command whatever shows them.

| output | what is inert there |
|---|---|
| alerts, updates, receipts, scores | a JSON document in UTF-8; sentences and headers are all visible |
| dead letters | the original bytes; our headers are plain |
| CSV | one row each, no formula, no line break in a cell |
| terminal (`alerts`, `cases`, `feedback`, `demo`) | nothing that a terminal obeys, no markup |
| receivers of `notify` | valid bodies, one line each; a mail has our headers only |
| pages, log, AsyncAPI | valid JSON; metrics parse; a record of the log is a line |
"""

from __future__ import annotations

import csv
import email
import email.policy
import io
import json
import unicodedata
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from detector.cli import alerts as alerts_cli
from detector.cli import feedback as feedback_cli
from detector.cli.common import InertConsole
from detector.config.tree import Config
from detector.core.records import Record
from detector.demo.demo import _table, _Tally
from detector.notify import Message, bodies, read_message
from detector.notify.mail import mail
from detector.ports import Status
from detector.shell import logs
from detector.shell.kafka.size_limits import MESSAGE_BYTES_MAX
from detector.wiring.asyncapi import asyncapi
from tests.unit.runner_world import World, config
from tests.unit.test_metrics import BUILD, CONFIG

LONG = 1_000_000
TEXTS = {
    "markup": "[red]x[/nope]<script>alert(1)</script> <@U1> *b* `c` & {{7*7}} %s ${x}",
    "ansi": "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b31m",
    "bidi": "\u202egnp.exe\u202c\u2066x\u2069\u200b\ufeff",
    "nul": "a\x00b\x7f\x85\u2028c",
    "lines": "a\r\nBcc: all@example.org\r\n\r\nbody",
    "formula": "=cmd|'/c calc'!A1",
    "formula_at": "@SUM(1)",
    "large": "[/x] \x1b[31m " * 1500,
    "long": "x" * LONG,  # larger than an event may be
    "combining": "Z" + "\u0301" * 100,
}
NAMES = tuple(TEXTS)
INVISIBLE = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
NAME_CHARS_MAX = 200  # ids have at most 256
NORMAL = 700
SHOWN_CHARS_MAX = 4096  # of anything that people read


def event(number: int, card: str, rng: np.random.Generator, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"e-{number}",
        "t": 1_700_000_000 + 60 * number,
        "card": card,
        "shop": f"s-{rng.integers(5)}",
        "amount": round(float(rng.lognormal(3.0, 0.2)), 2),
        "country": "FR",
        "memo": f"order of {rng.integers(9)}",
        "note": "n",
        **changes,
    }


def hostile_config() -> Config:
    return config(
        event={
            "id": "id",
            "time": {"path": "t", "format": "epoch_s"},
            "entities": [{"name": "card", "path": "card"}, {"name": "shop", "path": "shop"}],
            "fields": [
                {"name": "amount", "path": "amount", "type": "numeric"},
                {"name": "country", "path": "country", "type": "categorical"},
                {"name": "memo", "path": "memo", "type": "text"},
                {"name": "note", "path": "note", "type": "text", "use": "context"},
            ],
            "exposure": "amount",
        },
        model={
            "barriers": {"block_events": 16, "every_events": 128, "early_events_min": 64},
            "clusters": {"core_events": 512, "count_max": 16, "memory_events": 1024},
            "encoder": {"dimension": 8, "hidden": 8},
            "calibration": {"memory_events": 1024, "warm_up_events": 256},
        },
        alerts={"budget": {"share": 0.2}, "cooldown": "1d", "reasons_max": 8},
        topics={
            "feedback": "feedback", "receipts": "receipts", "scores": "scores", "case_updates": "updates",
        },
    )  # fmt: skip


@cache
def world() -> World:
    """A run over normal events, then two events with each text in every field, and feedback full of it."""
    made = World(config=hostile_config())
    rng = np.random.default_rng(8)
    sent = [event(n, f"c-{rng.integers(12)}", rng) for n in range(NORMAL)]
    for text in TEXTS.values():
        for _ in range(3):
            number, name = len(sent), text[:NAME_CHARS_MAX]
            usual = {"shop": name, "country": name, "memo": text, "note": text}
            sent.append(event(number, name, rng, id=f"{name}{number}", amount=9e5 + number, **usual))
    for one in sent:
        made.broker.append(0, json.dumps(one).encode(), key=b"k")
    for text in TEXTS.values():
        made.broker.append(
            0, json.dumps({"id": text[:200], "t": text, "card": text}).encode(), key=text.encode()
        )
    made.broker.append(0, b'{"id": "\\ud800", "t": 1, "card": "\\udfff"}')
    for number, text in enumerate(TEXTS.values()):
        for key in ("kind", "actor", "code", "alert_id", "event_id", "label", "time", "until", "feedback_id"):
            record = {"time": 1_700_000_000, "event_id": f"e-{number}", "label": "fraud", key: text[:40_000]}
            made.feedback.append(json.dumps(record).encode())
        note = {"time": 1_700_000_000, "kind": "note", "event_id": f"e-{number}", "note": text[:60_000]}
        made.feedback.append(json.dumps(note).encode())
    made.feedback.append(b'{"time": 1, "event_id": "\\ud800", "actor": "\\udfff", "label": "fraud"}')
    made.finish()
    return made


def published(topic: str) -> list[Any]:
    return [one for one in world().broker.published if one.topic == topic]


@cache
def messages() -> tuple[Message, ...]:
    """The alerts and updates of hostile events."""
    found = []
    for topic in ("alerts", "updates"):
        for one in published(topic):
            if one.offset >= NORMAL:
                record = Record(one.offset, 1_700_000_000_000, one.key, one.value, tuple(one.headers))
                found.append(read_message(topic, 0, record))
    assert all(found)
    return tuple(one for one in found if one is not None)


def plain(text: str, *, lines: bool = False) -> None:
    """Assert that nothing is invisible in a text, and that it is short."""
    bad = {c for c in text if unicodedata.category(c) in INVISIBLE} - ({"\n"} if lines else set())
    assert not bad, ascii(bad)
    assert len(text) <= SHOWN_CHARS_MAX * (40 if lines else 1)


def sentences(body: Any, key: str = "") -> Iterator[str]:
    """All texts for people in a document."""
    if isinstance(body, dict):
        for name, value in body.items():
            yield from sentences(value, name)
    elif isinstance(body, list):
        for value in body:
            yield from sentences(value, key)
    elif isinstance(body, str) and key in ("detail", "text"):
        yield body


def test_each_text_is_in_alerts_and_updates() -> None:
    small = {text[:NAME_CHARS_MAX] for name, text in TEXTS.items() if name != "long"}
    alerted, updated = (
        {one.entity[1] for one in messages() if one.kind == kind and one.entity} for kind in ("alert", "case")
    )
    assert alerted >= small
    assert len(updated & small) >= 6


@pytest.mark.parametrize("topic", ["alerts", "updates", "receipts", "scores"])
def test_records_are_json_with_plain_sentences_and_headers(topic: str) -> None:
    found = published(topic)
    assert len(found) > len(TEXTS)
    for one in found:
        body = json.loads(one.value.decode())
        assert b"\x1b" not in one.value
        assert b"\x00" not in one.value
        for said in sentences(body):
            plain(said)
        for _, text in one.headers:
            plain(text.decode())


def test_every_feedback_record_has_a_receipt() -> None:
    receipts = published("receipts")
    assert len(receipts) == len(world().feedback.read(0, 10_000))
    assert max(len(one.value) for one in receipts) < 64 * 1024


def test_dead_letters_keep_the_bytes_and_their_headers_are_plain() -> None:
    letters = published("dead_letter")
    assert len(letters) == 3 + len(TEXTS) + 1  # events that are too large, those without a time, surrogates
    for one in letters:
        ours = [text.decode() for name, text in one.headers if name.startswith("detector_")]
        for text in ours:
            plain(text)


# --- what people see ---------------------------------------------------------------------------------------


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command over the messages; gives what it printed."""

    def run(command: Any, *arguments: Any, **options: Any) -> str:
        file = io.StringIO()
        console = InertConsole(file=file, width=300)
        for module in (alerts_cli, feedback_cli):
            monkeypatch.setattr(module, "out", console)
            monkeypatch.setattr(module, "load_config", lambda *_: hostile_config())
        monkeypatch.setattr(
            "detector.wiring.alerts.read_alerts", lambda *_, **__: iter([list(messages()), []])
        )
        with redirect_stdout(file):
            command(*arguments, **options)
        return file.getvalue()

    return run


def test_the_terminal_obeys_nothing(shown: Any, tmp_path: Path) -> None:
    config_file = tmp_path / "c.yaml"
    outputs = [shown(alerts_cli.tail, config_file, last=100, severity="low", entity=None, follow=False)]
    for one in messages():
        if one.kind == "alert":
            outputs.append(shown(alerts_cli.show, one.id, config_file, json=False))
            outputs.append(shown(feedback_cli.show_case, one.case, config_file, since=None))
    outputs.append(shown(feedback_cli.list_cases, config_file, last=100, since=None))
    for printed in outputs:
        assert printed.strip()
        plain(printed, lines=True)
    assert "[/nope]" in outputs[0]  # markup is shown, not obeyed
    tally = _Tally()
    tally.latest.extend(dict(one.body) for one in messages() if one.kind == "alert")
    file = io.StringIO()
    InertConsole(file=file, width=200).print(_table(tally))
    plain(file.getvalue(), lines=True)


def test_receipts_on_the_terminal(shown: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receipts = [json.loads(one.value) for one in published("receipts")]
    monkeypatch.setattr("detector.wiring.feedback.send_feedback", lambda *_: [str(n) for n in range(0)])
    monkeypatch.setattr("detector.wiring.feedback.receipts", lambda *_: iter(receipts))
    options = dict.fromkeys(("case", "event", "label", "code", "until", "note", "assignee", "actor", "file"))
    kind = {"kind": "note", "alert": "t-0-1", "wait": 1.0}
    plain(shown(feedback_cli.send, tmp_path / "c.yaml", **options, **kind), lines=True)


def test_a_csv_of_alerts_has_one_row_each_and_no_formula(shown: Any, tmp_path: Path) -> None:
    file = tmp_path / "alerts.csv"
    chosen = [one for one in messages() if one.kind == "alert"]
    shown(alerts_cli.export, tmp_path / "c.yaml", file=file, since=None, severity="low", entity=None)
    rows = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8"), newline="")))
    assert len(rows) == len(messages()) + 1 >= len(chosen) + 1
    for row in rows:
        for cell in row:
            plain(cell)
            assert not cell.startswith(("=", "+", "@", "-"))


@pytest.mark.parametrize("kind", ["webhook", "slack", "pagerduty", "alertmanager", "email"])
def test_receivers_get_valid_bodies_without_commands(kind: str) -> None:
    for one in messages():
        if kind == "email":
            letter = mail([one], "a@example.org", ["b@example.org"], 0.0)
            read = email.message_from_bytes(letter.as_bytes(), policy=email.policy.default)
            assert set(read.keys()) == {
                "From", "To", "Subject", "Date", "Message-ID", "References", "MIME-Version",
                "Content-Type", "Content-Transfer-Encoding",
            }  # fmt: skip
            assert read["To"] == "b@example.org"
            plain(str(read["Subject"]))
            plain(read.get_content(), lines=True)
            continue
        build = {
            "webhook": bodies.webhook("key"),
            "slack": bodies.slack,
            "pagerduty": bodies.pagerduty("key"),
            "alertmanager": bodies.alertmanager(60.0),
        }[kind]
        request = build([one], 0.0)
        document = json.loads(request.body)
        for value in request.headers.values():
            plain(value)
        if kind == "webhook":  # the alert itself, as it was published
            assert document.pop("data") == one.body
        for text in texts_of(document):
            plain(text, lines=True)
            assert kind != "slack" or "<" not in text


def texts_of(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        document = [*document, *document.values()]
    if isinstance(document, list):
        for one in document:
            yield from texts_of(one)
    elif isinstance(document, str):
        yield document


# --- pages, logs, documents --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["json", "console"])
def test_a_record_of_the_log_is_one_line(form: Any, name: str) -> None:
    file = io.StringIO()
    logs.configure("info", form, stream=file)
    try:
        logs.get_logger("detector").warning("not_ready", reason=TEXTS[name], **{"key": [TEXTS[name]]})
    finally:
        logs.configure("info", "json", stream=io.StringIO())
    written = file.getvalue()
    assert written.count("\n") == 1
    assert not set(written[:-1]) & set("\x1b\x07\x00\x9b\u202e\r\u2028\x85\x7f")
    assert len(written) < 4 * 16_384
    if form == "json":
        assert json.loads(written)["reason"]


@pytest.mark.parametrize("name", NAMES)
def test_pages_are_json_and_metrics_parse(name: str) -> None:
    page = msgspec.json.encode(Status(ready=False, reason=TEXTS[name], warnings=(TEXTS[name],)))
    assert json.loads(page)["reason"] == TEXTS[name]
    assert not set(page) & {0x1B, 0x00, 0x0A, 0x0D}


def test_metrics_of_the_run_name_nothing_of_its_events() -> None:
    from detector.shell.metrics import TelemetryCollector, renderer

    made = world()
    body, _ = renderer(TelemetryCollector(made.telemetry, BUILD, CONFIG))(False)
    assert list(text_string_to_metric_families(body.decode()))
    assert not [text for text in TEXTS.values() if text in body.decode()]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "long"])
def test_a_document_of_the_topics_holds_any_text_of_a_configuration(name: str) -> None:
    changed = hostile_config().model_dump(mode="json")
    changed["event"]["fields"][0]["display"] = TEXTS[name]
    changed["kafka"]["bootstrap_servers"] = TEXTS[name][:200]
    try:
        made = Config.model_validate(changed)
    except ValidationError:
        return
    document = asyncapi(made)
    assert json.loads(json.dumps(document)) == document


def test_no_alert_is_too_large_for_kafka() -> None:
    assert max(len(one.value) for one in published("alerts")) < MESSAGE_BYTES_MAX
