"""`init-config --yes` and then `replay`, on small inputs of all kinds and on files in the shape of public
sets: nothing is wrongly rejected; id, time, entities, amount and labels are what an analyst would choose."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector import cli
from detector.config.load import load
from detector.config.tree import Event
from tests import cases
from tests.shapes import SHAPES, Shape

pytestmark = pytest.mark.usefixtures("logging_restored")

Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in an empty folder and return what it said."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["detector", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert ended.value.code == 0, said.err
        return said.out + said.err

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


# --- files in the shape of public sets ---------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_shape_is_understood(run: Run, shape: Shape) -> None:
    event, said = configured(run, shape.make(), shape.file)
    assert event.id == shape.id
    assert (event.time.path, event.time.step) == (shape.time, shape.step)
    assert not shape.format or event.time.format == shape.format
    assert [entity.path for entity in event.entities[:1]] == [shape.main][: shape.main is not None]
    assert shape.others <= {entity.path for entity in event.entities}
    assert amount(event) == shape.amount
    assert (None if event.envelope is None else event.envelope.type) == shape.envelope
    used = {field.path for field in event.fields if field.use == "encode"}
    assert not used & (shape.labels | shape.context)
    assert shape.context <= {field.path for field in event.fields}
    assert all(label in said for label in shape.labels)
    assert shape.duplicates is None or (event.duplicates is not None) == shape.duplicates
    assert " 0 rejected" in replayed(run, shape.file)


# --- small inputs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "expected"),
    [
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
        (cases.compact_days, {"entity": "account", "format": "date"}),
        (cases.zoned, {"entity": "account"}),
        (cases.framed, {"entity": "account"}),
        (cases.marked, {"entity": "account"}),
        (cases.no_time, {"entity": "account", "time": None, "format": "auto"}),
        (
            cases.other_script,
            {"id": "交易编号", "time": "交易时间", "entity": "客户", "amount": "金额"},
        ),
        (cases.places, {"entity": "card"}),
        (cases.cloudevents, {"id": "ce_id", "time": "ce_time", "entity": "account"}),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_a_small_input_comes_in(run: Run, make: Callable[[], bytes], expected: dict[str, Any]) -> None:
    event, said = configured(run, make())
    plain = {
        "id": "id",
        "time": "time",
        "entity": "customer",
        "amount": "amount",
        "format": event.time.format,
    }
    assert {
        "id": event.id,
        "time": event.time.path,
        "entity": event.entities[0].path,
        "amount": amount(event),
        "format": event.time.format,
    } == plain | expected
    assert " 0 rejected" in said
    assert " 0 rejected" in replayed(run)


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


def labels_of(said: str) -> dict[str, int]:
    """Labels by outcome, as a replay reports them. Those after the last barrier are not read."""
    return {what: int(count) for what, count in re.findall(r"labels, (\w+): (\d+)", said)}


def test_what_is_constant_per_card_is_only_copied(run: Run) -> None:
    event, _ = configured(run, cases.persons())
    assert {field.path: field.use for field in event.fields} == {
        "amount": "encode",
        "first": "context",
        "city": "context",
        "dob": "context",
    }
    assert [entity.path for entity in event.entities] == ["cc_num", "merchant"]


def test_numbers_in_texts_are_read_as_the_sample_shows_them(run: Run) -> None:
    event, _ = configured(run, cases.comma())
    assert (event.number.decimal, event.number.thousands) == (",", ".")
    Path("my.yaml").unlink()
    event, _ = configured(run, cases.dollars())
    assert (event.number.decimal, event.number.thousands) == (".", ",")
    assert event.fields[0].unit == "$"


def test_a_word_for_a_missing_number_is_configured(run: Run) -> None:
    event, _ = configured(run, cases.tokens())
    fee = next(field for field in event.fields if field.path == "fee")
    assert fee.type == "numeric"
    assert fee.missing is not None
    assert {"", "unknown"} <= set(fee.missing)


def test_names_of_other_scripts_are_shown_as_they_are(run: Run) -> None:
    event, _ = configured(run, cases.other_script())
    assert [(field.name, field.display) for field in event.fields] == [("amount", "金额")]
    assert event.entities[0].name == "customer"
    assert "金额" in Path("my.yaml").read_text()


def test_equal_amounts_raise_no_alert(run: Run) -> None:
    configured(run, cases.identical())
    replayed(run)
    alerts = [json.loads(line) for line in Path("alerts.jsonl").read_text().splitlines()]
    assert all(alert["severity"] != "critical" and alert["reasons"] for alert in alerts)
