"""Avro by the schemas of a registry: logical types, unions, evolution, references, corrupt bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any
from uuid import UUID

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.config.tree import Event
from detector.core.events import SKIPPED, ParsedEvent, Parser, Rejected
from detector.core.events.formats.schemas import Schema
from detector.core.records import Record
from tests.both_ways import KEY, read_as_json, read_both_ways, reason

MOMENT = datetime(2026, 3, 1, 0, 1, 58, 123456, tzinfo=UTC)
UUID_TEXT = "0e6a3f0c-8a57-4f0e-9a3b-0c9a4d9b7a10"
TREE: dict[str, Any] = {
    "format": "avro",
    "id": "id",
    "time": {"path": "time"},
    "entities": [{"name": "card", "path": "card.number", "optional": True}],
    "fields": [
        {"name": "amount", "path": "amount", "type": "numeric"},
        {"name": "day", "path": "day", "type": "categorical"},
    ],
}
CARD = {"type": "record", "name": "Card", "fields": [{"name": "number", "type": ["null", "string"]}]}
FIELDS: dict[str, Any] = {
    "id": {"type": "string", "logicalType": "uuid"},
    "time": {"type": "long", "logicalType": "timestamp-micros"},
    "card": ["null", CARD],
    "amount": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}],
    "day": {"type": "int", "logicalType": "date"},
}
EVENT = {
    "id": UUID(UUID_TEXT),
    "time": MOMENT,
    "card": {"number": "4711"},
    "amount": Decimal("17.85"),
    "day": date(2026, 3, 1),
}
AS_JSON = {
    "id": UUID_TEXT,
    "time": "2026-03-01T00:01:58.123456Z",
    "card": {"number": "4711"},
    "amount": 17.85,
    "day": "2026-03-01",
}


def record_schema(fields: Mapping[str, Any] = FIELDS, **changes: Any) -> dict[str, Any]:
    listed = [{"name": name, "type": type_} for name, type_ in ({**fields, **changes}).items()]
    return {"type": "record", "name": "Payment", "fields": listed}


def written(schema: Any, event: Any = EVENT, number: int = 1, offset: int = 0) -> Record:
    buffer = BytesIO()
    buffer.write(b"\0" + number.to_bytes(4, "big"))
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(json.loads(json.dumps(schema))), event)
    return Record(offset, 0, b"4711", buffer.getvalue())


def read(schemas: Mapping[int, Any], *sent: Record, **changes: Any) -> list[ParsedEvent | Rejected]:
    """Read records one by one and as blocks; both ways must agree."""
    table = {
        number: found if isinstance(found, (str, Schema)) else Schema("AVRO", json.dumps(found))
        for number, found in schemas.items()
    }
    return read_both_ways(TREE | changes, table, sent)


def plain(event: Any = None) -> tuple[Any, ...]:
    """What the event is as JSON."""
    return read_as_json(TREE, event or AS_JSON)


def test_logical_types_are_what_json_would_have() -> None:
    schema = record_schema()
    found = read({1: schema}, *[written(schema)] * 3)
    assert {one[1:] for one in found} == {plain()}
    parser = Parser(
        Event.model_validate(TREE), KEY, resources={"schemas": {1: Schema("AVRO", json.dumps(schema))}}
    )
    assert msgspec.json.decode(parser.view(written(schema)).document) == AS_JSON


@pytest.mark.parametrize(
    ("kind", "stored", "text"),
    [
        ({"type": "long", "logicalType": "timestamp-millis"}, MOMENT, "2026-03-01T00:01:58.123Z"),
        ({"type": "long", "logicalType": "timestamp-nanos"}, 1772323318123456789,
         "2026-03-01T00:01:58.123456Z"),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, 1772323318123456,
         "2026-03-01T00:01:58.123456"),
        ({"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"}, 1772323318123456,
         "2026-03-01T00:01:58.123456Z"),
        (["null", {"type": "long", "connect.name": "org.apache.kafka.connect.data.Timestamp"}], 1772323318123,
         "2026-03-01T00:01:58.123Z"),
        ("string", "2026-03-01T00:01:58Z", "2026-03-01T00:01:58Z"),
    ],
)  # fmt: skip
def test_times(kind: Any, stored: Any, text: str) -> None:
    schema = record_schema(time=kind)
    (found,) = read({1: schema}, written(schema, EVENT | {"time": stored}))
    assert found[1:] == plain(AS_JSON | {"time": text})


def test_decimals_of_any_size_and_missing_values() -> None:
    whole = {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 0}
    schema = record_schema(id=whole)
    event = EVENT | {"id": Decimal(9007199254740993000001), "card": None, "amount": None}
    (found,) = read({1: schema}, written(schema, event))
    assert found[1:] == plain(AS_JSON | {"id": 9007199254740993000001, "card": None, "amount": None})


def test_unions_of_several_types_and_fixed_uuids() -> None:
    fixed = {"type": "fixed", "size": 16, "name": "Id", "logicalType": "uuid"}
    union = ["null", "string", {"type": "int", "logicalType": "date"}]
    schema = record_schema(id=fixed, day=union)
    event = EVENT | {"id": UUID(UUID_TEXT).bytes}
    found = read({1: schema}, written(schema, event), written(schema, event | {"day": "2026-03-01"}))
    assert [one[1:] for one in found] == [plain(), plain()]


def test_the_schema_may_change_at_any_record() -> None:
    old = {name: kind for name, kind in FIELDS.items() if name != "day"}
    first, second = record_schema(old), record_schema({"added": "long", **FIELDS})
    third = record_schema(amount="double")
    sent = [
        written(first),
        written(second, EVENT | {"added": 5}, 2),
        written(third, EVENT | {"amount": 17.85}, 3),
        written(first),
    ]
    found = read({1: first, 2: second, 3: third}, *sent)
    without = plain({name: value for name, value in AS_JSON.items() if name != "day"})
    assert [one[1:] for one in found] == [without, plain(), plain(), without]


EVERY_TYPE: dict[str, Any] = {
    "none": "null",
    "flag": ["boolean", "null"],
    "short": ["null", "float"],
    "double": "double",
    "code": {"type": "fixed", "size": 3, "name": "Code"},
    "place": ["null", {"type": "record", "name": "Place", "fields": [
        {"name": "city", "type": "string"},
        {"name": "kind", "type": ["null", {"type": "enum", "name": "Kind", "symbols": ["a", "b"]}]},
        {"name": "count", "type": "long"},
    ]}],
}  # fmt: skip
EVERY_FIELD = [
    {"name": "flag", "path": "flag", "type": "categorical"},
    {"name": "short", "path": "short", "type": "numeric"},
    {"name": "double", "path": "double", "type": "numeric"},
    {"name": "city", "path": "place.city", "type": "categorical"},
    {"name": "kind", "path": "place.kind", "type": "categorical"},
    {"name": "count", "path": "place.count", "type": "numeric"},
    {"name": "absent", "path": "place.absent", "type": "numeric"},
]


@pytest.mark.parametrize("nullable", [False, True])
def test_every_type_is_read_in_blocks_as_alone(nullable: bool) -> None:
    schema = record_schema(**EVERY_TYPE)
    place = None if nullable else {"city": "Zürich 東京", "kind": "b", "count": -(2**62)}
    more = {"none": None, "flag": True, "short": 0.1, "double": -1e300, "code": b"abc", "place": place}
    event = EVENT | more | ({"flag": None, "short": None} if nullable else {})
    found = read(
        {1: schema}, *[written(schema, event), written(schema, EVENT | more)] * 2, fields=EVERY_FIELD
    )
    assert all(isinstance(one, ParsedEvent) for one in found), found


def test_references_are_followed() -> None:
    schema = record_schema(card=["null", "shop.Card"])
    card = {**CARD, "namespace": "shop"}
    registered = Schema("AVRO", json.dumps(schema), (("shop.Card", json.dumps(card)),))
    (found,) = read({1: registered}, written(record_schema(card=["null", card])))
    assert found[1:] == plain()


def test_a_change_event_of_debezium() -> None:
    row = record_schema()
    envelope = {
        "type": "record",
        "name": "Envelope",
        "fields": [
            {"name": "before", "type": ["null", row]},
            {"name": "after", "type": ["null", "Payment"]},
            {"name": "op", "type": "string"},
        ],
    }
    insert = written(envelope, {"before": None, "after": EVENT, "op": "c"})
    delete = written(envelope, {"before": EVENT, "after": None, "op": "d"})
    tombstone = Record(0, 0, b"4711", None)
    found = read({1: envelope}, insert, delete, tombstone, envelope={"type": "debezium"})
    assert found[0][1:] == plain()
    assert [reason(one)[0] for one in found[1:]] == [SKIPPED, SKIPPED]


def test_what_is_wrong_is_named() -> None:
    schema = record_schema()
    good = written(schema)
    assert good.value is not None
    value = good.value
    table = {
        1: schema,
        2: "the registry does not know it",
        3: Schema("JSON", "{}"),
        4: {"type": "rec"},
        5: "string",
    }
    sent = [good, *(good._replace(value=raw) for raw in (
        b'{"id": 1}', value[:-1], value + b"\0",
        *(b"\0\0\0\0" + bytes([n]) + value[5:] for n in (2, 3, 4, 5, 9)),
    ))]  # fmt: skip
    found = read(table, *sent)
    assert found[0][1:] == plain()
    reasons = [reason(one) for one in found[1:]]
    assert {name for name, _ in reasons} == {"malformed"}
    for (_, detail), words in zip(
        reasons,
        ("no frame", "not of its schema", "1 bytes after", "does not know", "kind JSON", "schema 4",
         "schema 5", "schema 9: there is no registry"),
        strict=True,
    ):  # fmt: skip
        assert words in detail


def test_a_value_that_cannot_be_converted_rejects_only_where_it_is_read() -> None:
    schema = record_schema(other={"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"})
    sent = written(schema, EVENT | {"other": 2**62})
    assert read({1: schema}, sent)[0][1:] == plain()
    field = {"name": "other", "path": "other", "type": "categorical", "optional": False}
    assert reason(read({1: schema}, sent, fields=[field])[0])[0] == "wrong_type"


def test_a_path_to_something_else_than_a_value() -> None:
    schema = record_schema(day={"type": "array", "items": "long"})
    [found] = read({1: schema}, written(schema, EVENT | {"day": [1]}))
    assert isinstance(found, ParsedEvent)
    assert found.unreadable == ("day",)


@pytest.mark.parametrize(
    "hostile",
    [
        {"type": "record", "name": "Payment", "fields": [{"name": "next", "type": ["null", "Payment"]}]},
        record_schema(day={"type": "array", "items": "null"}),
        record_schema(
            amount=["null", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 9999}]
        ),
        record_schema(time=["int", {"type": "long", "logicalType": "timestamp-millis"}]),
    ],
)
def test_schemas_that_hostile_bytes_could_use_are_refused(hostile: Any) -> None:
    name, detail = reason(read({1: hostile}, written(record_schema()))[0])
    assert name == "malformed"
    assert "schema 1" in detail


@pytest.mark.parametrize("name", ["plain", "every type"])
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_an_event_or_a_reason(name: str, data: st.DataObject) -> None:
    more = {"none": None, "flag": True, "short": 0.1, "double": -1e300, "code": b"abc"}
    place = {"city": "Zürich 東京", "kind": "b", "count": -5}
    schema = record_schema() if name == "plain" else record_schema(**EVERY_TYPE)
    good = written(schema, EVENT if name == "plain" else EVENT | more | {"place": place})
    assert good.value is not None
    raw = bytearray(good.value)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(5, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(raw[: data.draw(st.integers(5, len(raw)))])
    added = good.value[:5] + data.draw(st.binary())
    sent = [good, *(good._replace(value=value) for value in (bytes(raw), cut, added))]
    read({1: schema}, *sent, **({} if name == "plain" else {"fields": EVERY_FIELD}))
