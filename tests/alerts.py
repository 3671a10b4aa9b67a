"""Every alert that a test meets goes through here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

HEADERS = ("specversion", "id", "source", "type", "subject", "time", "dataschema")


@cache
def validator() -> Draft202012Validator:
    schema = json.loads(files("detector").joinpath("schemas/alert.v1.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def check_alert(body: bytes, headers: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
    """Check an alert against its schema and its CloudEvents headers; returns it."""
    alert: dict[str, Any] = json.loads(body)
    validator().validate(alert)
    found = dict(headers)
    assert {f"ce_{name}" for name in HEADERS} | {"content-type"} <= found.keys()
    assert found["ce_specversion"] == b"1.0"
    assert found["ce_id"].decode() == alert["alert_id"]
    assert found["ce_type"] == b"detector.alert.v1"
    assert found["ce_time"].decode() == alert["event_time"]
    assert found["ce_dataschema"].decode() == validator().schema["$id"]
    assert found["content-type"] == b"application/json"
    assert sum(reason["share"] for reason in alert["reasons"]) <= 1.0 + 1e-3
    return alert
