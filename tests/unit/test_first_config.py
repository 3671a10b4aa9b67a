"""`init-config --yes` and then `replay`, on small inputs of all kinds and on files in the shape of public
sets: nothing is wrongly rejected; id, time, entities, amount and labels are what an analyst would choose."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.config.infer import Inference, infer, render
from detector.config.load import load, load_text
from detector.config.tree import Event
from detector.core.events import SKIPPED, Parser, Rejected
from detector.core.records import Record
from detector.errors import ConfigError, NeedsOperator
from detector.shell.files import Source, read_events
from detector.wiring.first_config import open_envelope
from tests import cases
from tests.aside import ASIDE
from tests.commands import run_main
from tests.exports import EXPORTS
from tests.fresh import FRESH
from tests.further import FURTHER
from tests.kinds import KINDS
from tests.odd import ODD
from tests.payloads import PAYLOADS
from tests.portals import PORTALS
from tests.shapes import SHAPES, Shape
from tests.trades import TRADES
from tests.unread import NOTED, TEXTS
from tests.written import WRITTEN

pytestmark = pytest.mark.usefixtures("logging_restored")

Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in an empty folder and return what it said."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        done = run_main(monkeypatch, capsys, *arguments)
        assert done.code == 0, done.err
        return done.out + done.err

    return run


def configured(run: Run, data: bytes, file: str = "events.jsonl", *more: object) -> tuple[Event, str]:
    """The configuration of a file, and what was said."""
    Path(file).write_bytes(data)
    said = run("init-config", "--events", file, "--yes", "--out", "my.yaml", *more)
    return load(Path("my.yaml")).event, said


def replayed(run: Run, file: str = "events.jsonl", *more: object) -> str:
    return run("replay", "--config", "my.yaml", "--events", file, "--alerts", "alerts.jsonl", *more)


def amount(event: Event) -> str | None:
    return next((field.path for field in event.fields if field.name == event.exposure), None)


def understood(path: Path) -> tuple[Event, Inference]:
    """The configuration of a file without the command around it; every event must be accepted."""
    inference = infer(read_events(Source(path)), open_envelope=open_envelope)
    event = load_text(render(inference), "inferred").event
    parser = Parser(event, b"key")
    seen: set[str] = set()
    for offset, line in enumerate(read_events(Source(path))):
        found = parser.parse(Record(offset, 0, None, line))
        if isinstance(found, Rejected):
            assert found.reason == SKIPPED, found
        else:
            assert event.duplicates is None or found.id not in seen, "rejected as a duplicate"
            seen.add(found.id)
            assert found.unreadable == ()
    return event, inference


# --- files in the shape of public sets --------------------------------------------------------------------


ALL = [*SHAPES, *ASIDE, *FURTHER, *EXPORTS, *ODD, *TRADES, *WRITTEN, *KINDS, *FRESH, *PAYLOADS, *PORTALS]


@pytest.mark.parametrize("shape", ALL, ids=lambda shape: shape.name)
def test_a_shape_is_understood(tmp_path: Path, shape: Shape) -> None:
    path = tmp_path / shape.file
    path.write_bytes(shape.make())
    event, inference = understood(path)
    assert event.id == shape.id
    assert (event.time.path, event.time.step) == (shape.time, shape.step)
    assert not shape.format or event.time.format == shape.format
    assert [entity.path for entity in event.entities[:1]] == [shape.main][: shape.main is not None]
    assert shape.others <= {entity.path for entity in event.entities}
    assert not shape.nobody & {entity.path for entity in event.entities}
    assert amount(event) == shape.amount
    assert (None if event.envelope is None else event.envelope.type) == shape.envelope
    assert {label.path for label in inference.labels} == shape.labels
    assert not {field.path for field in event.fields} & shape.labels
    assert shape.context <= {field.path for field in event.fields if field.use == "context"}
    assert shape.duplicates is None or (event.duplicates is not None) == shape.duplicates


@pytest.mark.parametrize(("name", "data", "what"), TEXTS, ids=[name for name, _, _ in TEXTS])
def test_what_is_not_read_ends_with_a_sentence(tmp_path: Path, name: str, data: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(NeedsOperator, match=what):
        list(read_events(Source(tmp_path / name)))


@pytest.mark.parametrize("name", ["conn.log", "iis.log"])
def test_the_way_out_of_a_log_gives_its_names_once(tmp_path: Path, name: str) -> None:
    data = next(data for file, data, _ in TEXTS if file == name)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(NeedsOperator, match=r"sed .* > events\.tsv") as caught:
        list(read_events(Source(tmp_path / name)))
    command = re.search(r"sed '.* > events\.tsv", str(caught.value))
    assert command is not None
    subprocess.run(["sh", "-c", command[0]], cwd=tmp_path, check=True)
    first, *others = (tmp_path / "events.tsv").read_text().splitlines()
    assert first.split("\t")[0] in ("ts", "date")
    assert len(others) == sum(not line.startswith(b"#") for line in data.splitlines())


def test_events_that_are_lists_are_named(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(json.dumps({"batch": [{"id": n}]}) for n in range(40)))
    with pytest.raises(ConfigError, match=r"jq -c '\.batch\[\]' FILE"):
        infer(read_events(Source(path)))


def test_a_row_of_types_below_the_names_is_no_event(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    rows = "".join(f"p{n},2026-03-01T10:{n:02}:00Z,c{n % 7},{n}.5\n" for n in range(60))
    path.write_text(f"id,time,card,amount\nstring,timestamp,string,double\n{rows}")
    assert len(list(read_events(Source(path)))) == 60


@pytest.mark.parametrize(("name", "make", "what"), NOTED, ids=[name for name, _, _ in NOTED])
def test_what_a_person_should_know_is_noted(
    tmp_path: Path, name: str, make: Callable[[], bytes], what: str
) -> None:
    path = tmp_path / name
    path.write_bytes(make())
    _, inference = understood(path)
    assert any(what in note for note in inference.notes)


@pytest.mark.parametrize("name", ["PaySim", "Debezium"])
def test_two_commands_lead_to_scores(run: Run, name: str) -> None:
    shape = next(shape for shape in SHAPES if shape.name == name)
    _, said = configured(run, shape.make(), shape.file)
    assert f"main entity: {shape.main}" in said
    assert all(label in said for label in shape.labels)
    assert "trial with the first 1,000 events" in said
    assert " 0 rejected" in replayed(run, shape.file)


# --- small inputs -----------------------------------------------------------------------------------------

SMALL: list[tuple[Callable[[], bytes], dict[str, Any]]] = [
    (cases.empty_texts, {}),
    (cases.tokens, {}),
    (cases.labels, {}),
    (cases.cards, {"entity": "card1"}),
    (cases.persons, {"entity": "cc_num"}),
    (cases.once, {"id": None, "entity": "nameOrig", "time": "step", "format": "steps"}),
    (cases.thousands, {}),
    (cases.comma, {}),
    (cases.dollars, {}),
    (cases.changes, {"entity": "account_id"}),
    (cases.float_ids, {"entity": "customer_id"}),
    (cases.epoch(1), {"entity": "account", "format": "epoch_s"}),
    (cases.epoch(1_000), {"entity": "account", "format": "epoch_ms"}),
    (cases.epoch(1_000_000), {"entity": "account", "format": "epoch_us"}),
    (cases.epoch(1_000_000_000), {"entity": "account", "format": "epoch_ns"}),
    (cases.written("%d.%m.%Y %H:%M:%S"), {"entity": "account", "format": "%d.%m.%Y %H:%M:%S"}),
    (cases.written("%m/%d/%Y %I:%M %p"), {"entity": "account", "format": "%m/%d/%Y %I:%M %p"}),
    (cases.written("%d-%b-%Y"), {"entity": "account", "format": "%d-%b-%Y"}),
    (cases.written("%Y/%m/%d %H:%M"), {"entity": "account", "format": "%Y/%m/%d %H:%M"}),
    (cases.written("%Y%m%d%H%M%S"), {"entity": "account", "format": "auto"}),
    (cases.compact_days, {"entity": "account", "format": "date"}),
    (cases.zoned, {"entity": "account"}),
    (cases.framed, {"entity": "account"}),
    (cases.marked, {"entity": "account"}),
    (cases.no_time, {"entity": "account", "time": None, "format": "auto"}),
    (cases.other_script, {"id": "交易编号", "time": "交易时间", "entity": "客户", "amount": "金额"}),
    (cases.places, {"entity": "card"}),
    (cases.cloudevents, {"id": "ce_id", "time": "ce_time", "entity": "account"}),
]


@pytest.mark.parametrize(("make", "expected"), SMALL)
def test_a_small_input_comes_in(tmp_path: Path, make: Callable[[], bytes], expected: dict[str, Any]) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(make())
    event, _ = understood(path)
    plain = {"id": "id", "time": "time", "entity": "customer", "amount": "amount"}
    plain |= {"format": event.time.format}
    assert {
        "id": event.id,
        "time": event.time.path,
        "entity": event.entities[0].path,
        "amount": amount(event),
        "format": event.time.format,
    } == plain | expected


def decided(tmp_path: Path, data: bytes) -> Event:
    path = tmp_path / "events.jsonl"
    path.write_bytes(data)
    return understood(path)[0]


def test_labels_are_no_inputs_but_make_feedback(run: Run) -> None:
    n = 1_500
    event, said = configured(run, cases.labels(n), "events.jsonl", "--labels-out", "labels.jsonl")
    assert [field.path for field in event.fields] == ["amount", "is_weekend"]
    assert "labels, not used as inputs: is_fraud, chargeback" in said
    records = [json.loads(line) for line in Path("labels.jsonl").read_text().splitlines()]
    assert records[0].keys() == {"time", "event_id", "label"}
    frauds = [f"p{i}" for i in range(n) if i % 40 == 7 or i % 60 == 7]
    assert [record["event_id"] for record in records] == frauds
    assert labels_of(replayed(run, "events.jsonl", "--feedback", "labels.jsonl")).keys() == {"applied"}


def test_labels_of_events_without_an_id_name_their_place(run: Run) -> None:
    shape = next(shape for shape in SHAPES if shape.name == "creditcard")
    configured(run, shape.make(), shape.file, "--labels-out", "labels.jsonl", "--labels-delay", "1m")
    records = [json.loads(line) for line in Path("labels.jsonl").read_text().splitlines()]
    assert records[0].keys() == {"time", "topic", "partition", "offset", "label"}
    assert labels_of(replayed(run, shape.file, "--feedback", "labels.jsonl")).keys() == {"applied"}


def test_without_labels_there_is_a_configuration_and_a_trial_but_no_feedback(run: Run) -> None:
    lines = [json.loads(line) for line in cases.labels().splitlines()]
    plain = [{k: v for k, v in one.items() if k not in ("is_fraud", "chargeback")} for one in lines]
    data = "\n".join(map(json.dumps, plain)).encode()
    _, said = configured(run, data, "events.jsonl", "--labels-out", "labels.jsonl")
    assert "no field with labels was found, so labels.jsonl is not written" in said
    assert "trial with the first" in said
    assert "--feedback" not in said
    assert not Path("labels.jsonl").exists()


def test_labels_of_a_pipe(run: Run) -> None:
    pipe = Path("pipe")
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(cases.labels(),))
    writer.start()
    said = run("init-config", "--events", pipe, "--yes", "--out", "my.yaml", "--labels-out", "labels.jsonl")
    writer.join()
    assert f"of {cases.N} events written to labels.jsonl" in said
    assert Path("labels.jsonl").read_text().count("fraud") == 8


def labels_of(said: str) -> dict[str, int]:
    """Labels by outcome, as a replay reports them. Those after the last barrier are not read."""
    return {what: int(count) for what, count in re.findall(r"feedback, (\w+): (\d+)", said)}


def test_what_is_constant_per_card_is_only_copied(tmp_path: Path) -> None:
    event = decided(tmp_path, cases.persons())
    assert {field.path: field.use for field in event.fields} == {
        "amount": "encode",
        "first": "context",
        "city": "context",
        "dob": "context",
    }
    assert [entity.path for entity in event.entities] == ["cc_num", "merchant"]


def test_numbers_in_texts_are_read_as_the_sample_shows_them(tmp_path: Path) -> None:
    event = decided(tmp_path, cases.comma())
    assert (event.number.decimal, event.number.thousands) == (",", ".")
    event = decided(tmp_path, cases.dollars())
    assert (event.number.decimal, event.number.thousands) == (".", ",")
    assert event.fields[0].unit == "$"


def test_a_word_for_a_missing_number_is_configured(tmp_path: Path) -> None:
    event = decided(tmp_path, cases.tokens())
    fee = next(field for field in event.fields if field.path == "fee")
    assert fee.type == "numeric"
    assert fee.missing is not None
    assert {"", "unknown"} <= set(fee.missing)


def test_names_of_other_scripts_are_shown_as_they_are(tmp_path: Path) -> None:
    event = decided(tmp_path, cases.other_script())
    assert [(field.name, field.display) for field in event.fields] == [("amount", "金额")]
    assert event.entities[0].name == "customer"
    assert "金额" in render(infer(read_events(Source(tmp_path / "events.jsonl"))))


def test_equal_amounts_raise_no_alert(run: Run) -> None:
    configured(run, cases.identical())
    replayed(run)
    alerts = [json.loads(line) for line in Path("alerts.jsonl").read_text().splitlines()]
    assert all(alert["severity"] != "critical" and alert["reasons"] for alert in alerts)
