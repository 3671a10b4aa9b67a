"""An event format can be added from outside: by its name in one table and its class in another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from detector.config.formats import FORMATS as NAMES
from detector.config.tree import Event, EventLimits
from detector.core.events import BlockReader, ParsedEvent, Parser, Rejected
from detector.core.events.formats import FORMATS
from detector.core.events.formats.base import Format
from detector.core.events.rejection import Bad
from detector.core.records import REASONS, Headers, Record

KEY = b"a secret of the tests"
TREE: dict[str, Any] = {
    "format": "pairs",
    "id": "id",
    "time": {"path": "time"},
    "entities": [{"name": "card", "path": "key"}],
    "fields": [
        {"name": "amount", "path": "body.amount", "type": "numeric"},
        {"name": "country", "path": "body.country", "type": "categorical"},
        {"name": "tags", "path": "tags", "type": "categorical", "use": "context"},
    ],
}


class Pairs(Format):
    """`amount=5;country=DE`, with id and time in headers, and the card in the record's key.

    Amounts are multiplied by a resource: state that is made once.
    """

    def __init__(self, paths: Sequence[str], limits: EventLimits, resources: Mapping[str, Any]) -> None:
        super().__init__(paths, limits, resources)
        self._factor = resources["factor"]

    def decode(self, value: bytes, key: bytes | None, headers: Headers) -> Any:
        if b"=" not in value:
            raise Bad("malformed", "no pairs")
        body: dict[str, Any] = dict(pair.split("=", 1) for pair in value.decode().split(";"))
        if "amount" in body:
            body["amount"] = self._factor * float(body["amount"])
        facts = {name: text.decode() for name, text in headers}
        event = {**facts, "key": None if key is None else key.decode(), "body": body}
        return event | ({"tags": [1, 2]} if "tags" in body else {})


@pytest.fixture(autouse=True)
def _added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NAMES, "pairs", "pairs of names and values")
    monkeypatch.setitem(FORMATS, "pairs", Pairs)


def record(value: bytes, **changes: Any) -> Record:
    headers = (("id", b"e-1"), ("time", b"2024-03-01T12:00:00Z"))
    return Record(
        **{"offset": 0, "timestamp_ms": 0, "key": b"4711", "value": value, "headers": headers} | changes
    )


def parser(**changes: Any) -> Parser:
    return Parser(Event.model_validate(TREE | changes), KEY, resources={"factor": 10.0})


def test_names_in_both_tables_are_the_same() -> None:
    assert NAMES.keys() == FORMATS.keys()


def test_an_unknown_format_is_refused_with_the_names_allowed() -> None:
    with pytest.raises(ValidationError, match="one of: json, avro, protobuf, pairs"):
        Event.model_validate(TREE | {"format": "jsn"})


def test_json_is_the_default() -> None:
    assert (
        Event.model_validate({key: value for key, value in TREE.items() if key != "format"}).format == "json"
    )


def test_values_key_and_headers_become_fields() -> None:
    parsed = parser().parse(record(b"amount=1.5;country=DE"))
    assert isinstance(parsed, ParsedEvent)
    assert parsed.id == "e-1"
    assert parsed.numerics == (15.0,)
    same = Parser(Event.model_validate(TREE | {"format": "json"}), KEY).parse(
        record(b'{"id": "e-1", "time": "2024-03-01T12:00:00Z", "key": "4711", "body": {"country": "DE"}}')
    )
    assert isinstance(same, ParsedEvent)
    assert (parsed.entities, parsed.categories) == (same.entities, same.categories)


def test_an_alert_has_the_event_as_json() -> None:
    view = parser().view(record(b"amount=1.5"))
    assert view.values["amount"] == 15.0
    assert msgspec.json.decode(view.document)["body"] == {"amount": 15.0}


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (record(b"no pairs"), "malformed"),
        (record(b"  "), "empty"),
        (record(b"x=" + b"y" * 70_000), "too_large"),
        (record(b"amount=1", headers=()), "missing"),
        (record(b"tags=1"), "wrong_type"),  # a path leads to a list
    ],
)
def test_what_is_refused_has_a_reason(sent: Record, reason: str) -> None:
    fields = [field | {"optional": field["name"] != "tags"} for field in TREE["fields"]]
    if reason != "wrong_type":
        fields = TREE["fields"]
    refused = parser(fields=fields).parse(sent)
    assert isinstance(refused, Rejected)
    assert refused.reason == reason
    assert reason in REASONS


def test_a_path_through_a_value_is_a_wrong_type() -> None:
    refused = parser(id="key.id", entities=[]).parse(record(b"amount=1"))
    assert isinstance(refused, Rejected)
    assert refused.reason == "wrong_type"


def test_a_block_is_read_as_its_records_are() -> None:
    sent = [
        record(b"amount=1.5;country=DE"),
        record(b"no pairs"),
        record(b"amount=nan"),
        record(b"country=FR", key=None),
        record(b"tags=1"),
        Record(5, 0, None, None),
        record(b"amount=2;country=DE"),
    ]
    reader = BlockReader(Event.model_validate(TREE), KEY, resources={"factor": 10.0})
    for batch in (sent, sent[1:2], [], [sent[0], sent[-1]]):
        events, rejected = reader.read(batch)
        for row, one in enumerate(batch):
            assert repr(rejected.get(row) or events[row]) == repr(parser().parse(one))
