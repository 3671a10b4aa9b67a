"""The alert of version 1 is a contract: frozen schema, golden records, and the official SDK as a reader.

`python -m tests.unit.test_alert_contract` freezes the schema anew and writes the golden records again. Do it
only to add fields.
"""

from __future__ import annotations

import base64
import copy
import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from detector.core.codes import CODES, FACTS, REASONS, RESPECTS, SIGNS
from tests.alerts import check_alert
from tests.contract import broken
from tests.unit.test_explain import made

SCHEMAS = files("detector") / "schemas"
CONTRACTS = Path(__file__).parents[1] / "data" / "contracts"
FROZEN, GOLDEN = CONTRACTS / "alert.v1.json", CONTRACTS / "alert.v1.jsonl"
GOLDEN_EVERY = 40


@cache
def schema() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(files("detector").joinpath("schemas/alert.v1.json").read_text())
    return read


def golden() -> list[dict[str, Any]]:
    return [json.loads(line) for line in GOLDEN.read_text().splitlines()]


def test_the_schema_has_only_grown_since_it_was_frozen() -> None:
    assert broken(json.loads(FROZEN.read_text()), schema()) == []


def changed(change: str) -> dict[str, Any]:
    now = copy.deepcopy(schema())
    properties = now["properties"]
    if change == "removed":
        del properties["event_id"]
    elif change == "renamed":
        properties["facts"]["items"]["properties"]["text"] = properties["facts"]["items"]["properties"].pop(
            "detail"
        )
    elif change == "retyped":
        properties["score"]["properties"]["raw"]["type"] = "string"
    elif change == "no longer null":
        properties["exposure"]["type"] = "number"
    elif change == "newly required":
        now["required"].append("selection")
    elif change == "no longer required":
        now["required"].remove("facts")
    elif change == "another severity":
        now["$defs"]["severity"]["enum"].append("extreme")
    elif change == "only added":
        properties["more"] = {"type": "object", "required": ["a"], "properties": {"a": {"type": "number"}}}
    return now


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("removed", "event_id: removed"),
        ("renamed", "facts[].detail: removed"),
        ("retyped", "score.raw: type was 'number' and is 'string'"),
        ("no longer null", "exposure: type was ['number', 'null'] and is 'number'"),
        ("newly required", "selection: newly required"),
        ("no longer required", "facts: no longer required"),
        ("another severity", "severity: enum was"),
        ("only added", None),
    ],
)
def test_a_change_that_breaks_readers_is_refused(change: str, said: str | None) -> None:
    problems = broken(schema(), changed(change))
    assert any(said in problem for problem in problems) if said else problems == []


def test_alerts_that_were_published_once_still_keep_to_the_schema() -> None:
    validator = Draft202012Validator(schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)
    records = golden()
    assert len(records) >= 5
    for record in records:
        validator.validate(record["body"])


def test_alerts_made_now_have_every_field_of_the_golden_ones() -> None:
    now = json.loads(made()[0].body)
    for record in golden():
        assert record["body"].keys() <= now.keys() | {"selection"}


def test_codes_are_the_same_in_alerts_schemas_and_the_reference() -> None:
    bodies = [json.loads(alert.body) for alert in made()]
    assert {reason["code"] for body in bodies for reason in body["reasons"]} <= set(REASONS)
    assert {fact["code"] for body in bodies for fact in body["facts"]} <= set(FACTS)
    feedback = json.loads((SCHEMAS / "feedback.v1.json").read_text(encoding="utf-8"))
    lists = [
        rule["then"]["properties"]["code"]["enum"]
        for rule in feedback["allOf"]
        if "code" in rule["then"].get("properties", {})
    ]
    assert lists == [list(CODES)]
    alert = json.loads((SCHEMAS / "alert.v1.json").read_text(encoding="utf-8"))
    assert alert["properties"]["recent"]["items"]["properties"]["why"]["enum"] == list(RESPECTS[1:])
    text = (Path(__file__).parents[2] / "docs" / "reference" / "alert.md").read_text(encoding="utf-8")
    tables = ("Reasons", REASONS), ("Facts", FACTS), ("Signs", SIGNS), ("Earlier events", RESPECTS[1:])
    for title, codes in tables:
        table = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
        assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == codes


def test_every_alert_keeps_to_the_contract() -> None:
    for alert in made():
        body = check_alert(alert.body, alert.headers)
        assert len(body["facts"]) <= 6
        assert len(body["recent"]) <= 20
        offsets = [event["offset"] for event in body["recent"]]
        assert offsets == sorted(offsets, reverse=True)
        assert all(offset < body["source"]["offset"] for offset in offsets)


def test_what_a_case_counts_is_what_its_alerts_list() -> None:
    """This event, the recent ones that count in the case, and the unlisted ones: number and sum."""
    listed_ones = 0
    for alert in made():
        body = json.loads(alert.body)
        case, unlisted = body["case"], body["case"]["unlisted"]
        listed = [event["amount"] for event in body["recent"] if event["case"] != "none"]
        listed_ones += len(listed)
        assert case["number"] == 1 + len(listed) + unlisted["number"]
        assert case["sum"] == pytest.approx(body["exposure"] + sum(listed) + (unlisted["sum"] or 0.0))
        earlier = [fact["values"] for fact in body["facts"] if fact["code"] == "earlier"]
        if case["number"] > 1:
            assert earlier[0]["events"] >= case["number"] - 1
            assert body["at_risk"]["with_earlier"] == pytest.approx(body["exposure"] + earlier[0]["sum"])
    assert listed_ones > 50


def test_the_official_sdk_reads_every_alert() -> None:
    pytest.importorskip("cloudevents")
    from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event

    for alert in made():
        message = KafkaMessage(headers=dict(alert.headers), key=alert.key, value=alert.body)
        event = from_binary_event(message)
        assert event.get_id() == json.loads(alert.body)["alert_id"]
        assert event.get_type() == "detector.alert.v1"
        assert event.get_source() == "/detector/g"
        assert event.get_data() == json.loads(alert.body)


def _freeze() -> None:
    CONTRACTS.mkdir(exist_ok=True)
    FROZEN.write_text(files("detector").joinpath("schemas/alert.v1.json").read_text())
    lines = [
        {
            "headers": {name: value.decode() for name, value in alert.headers},
            "key": base64.b64encode(alert.key or b"").decode(),
            "body": json.loads(alert.body),
        }
        for alert in made()[::GOLDEN_EVERY]
    ]
    GOLDEN.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


if __name__ == "__main__":
    _freeze()
