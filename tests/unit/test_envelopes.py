"""Events inside of other messages: Debezium, Connect, CloudEvents, and JSON with a registry's frame."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from detector.config.tree import Event
from detector.core.events import SKIPPED, BlockReader, ParsedEvent, Parser, Rejected
from detector.core.records import Headers, Record

KEY = b"a secret of the tests"
TREE: dict[str, Any] = {
    "id": "id",
    "time": {"path": "created"},
    "entities": [{"name": "account", "path": "account"}],
    "fields": [
        {"name": "amount", "path": "amount", "type": "numeric"},
        {"name": "channel", "path": "channel", "type": "categorical"},
    ],
}
ROW: dict[str, Any] = {
    "id": 9007199254740993,
    "account": "A24",
    "amount": 17.85,
    "channel": "web",
    "created": "2026-03-01T00:01:58.123456Z",
}
BINARY: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e-1"),
    ("ce_source", b"/shop"),
    ("ce_type", b"payment"),
    ("ce_time", b"2026-03-01T00:01:58.123456Z"),
    ("content-type", b"application/json"),
)


def schema(envelope: str | None, **changes: Any) -> Event:
    operations = changes.pop("operations", None)
    tree = TREE | changes
    if envelope is not None:
        tree["envelope"] = {"type": envelope} | ({"operations": operations} if operations else {})
    return Event.model_validate(tree)


def record(message: Any, headers: Headers = (), offset: int = 0) -> Record:
    value = message if isinstance(message, bytes | None) else json.dumps(message).encode()
    return Record(offset, 0, b"A24", value, headers)


def read(event: Event, *sent: Record) -> list[ParsedEvent | Rejected]:
    """Read records one by one and as blocks; both ways must agree."""
    parser, reader = Parser(event, KEY), BlockReader(event, KEY)
    found = [parser.parse(one) for one in sent]
    events, rejected = reader.read(list(sent))
    for row, one in enumerate(found):
        assert repr(rejected.get(row) or events[row]) == repr(one)
    return found


def accepted(event: Event, *sent: Record) -> list[ParsedEvent]:
    found = read(event, *sent)
    assert all(isinstance(one, ParsedEvent) for one in found), found
    return found  # type: ignore[return-value]


def values(parsed: ParsedEvent) -> tuple[Any, ...]:
    return parsed[1:]


def plain(row: Mapping[str, Any] = ROW) -> tuple[Any, ...]:
    """What the row is as plain JSON."""
    return values(accepted(schema(None), record(row))[0])


def change(op: str = "c", row: Any = ROW, **more: Any) -> dict[str, Any]:
    return {"before": None, "after": row, "source": {"table": "tx", "ts_ms": 5}, "op": op, "ts_ms": 9} | more


def connect_schema(*, inside: bool) -> dict[str, Any]:
    """Schema that Connect writes beside a payload: the row itself, or a change event of it."""
    fields = [
        {"field": "id", "type": "int64", "optional": False},
        {"field": "account", "type": "string", "optional": False},
        {
            "field": "amount",
            "type": "bytes",
            "name": "org.apache.kafka.connect.data.Decimal",
            "version": 1,
            "parameters": {"scale": "2", "connect.decimal.precision": "10"},
            "optional": True,
        },
        {"field": "channel", "type": "string", "optional": True},
        {"field": "created", "type": "int64", "name": "io.debezium.time.MicroTimestamp", "version": 1},
    ]
    row = {"type": "struct", "fields": fields, "optional": True, "name": "tx.Value"}
    if not inside:
        return row
    rows = [{**row, "field": "before"}, {**row, "field": "after"}]
    return {"type": "struct", "fields": [*rows, {"field": "op", "type": "string"}], "name": "tx.Envelope"}


CODED = ROW | {
    "amount": base64.b64encode((1785).to_bytes(2, "big", signed=True)).decode(),
    "created": 1_772_323_318_123_456,
}


# --- Debezium ----------------------------------------------------------------------------------------------


def test_after_is_the_event() -> None:
    for op in "cur":
        assert values(accepted(schema("debezium"), record(change(op)))[0]) == plain()


def test_no_digit_of_an_id_is_lost() -> None:
    assert accepted(schema("debezium"), record(change()))[0].id == "9007199254740993"


def test_the_payload_beside_a_schema_is_unwrapped_and_decimals_are_numbers() -> None:
    message = {"schema": connect_schema(inside=True), "payload": change(row=CODED)}
    assert values(accepted(schema("debezium"), record(message))[0]) == plain()


def test_a_block_may_have_both_forms_and_deletes() -> None:
    wrapped = {"schema": connect_schema(inside=True), "payload": change(row=CODED)}
    delete = change("d", None, before=ROW)
    sent = [
        record(change()),
        record(wrapped),
        record(delete),
        record(None),
        record({"schema": None} | wrapped),
    ]
    first, second, deleted, tombstone, third = read(schema("debezium"), *sent)
    assert isinstance(first, ParsedEvent)
    assert isinstance(second, ParsedEvent)
    assert isinstance(third, ParsedEvent)
    assert values(first) == values(second) == values(third) == plain()
    assert isinstance(deleted, Rejected)
    assert isinstance(tombstone, Rejected)
    assert deleted.reason == tombstone.reason == SKIPPED


@pytest.mark.parametrize("op", ["u", "r", "t", "d"])
def test_operations_that_are_not_asked_for_are_skipped(op: str) -> None:
    (found,) = read(schema("debezium", operations=["c"]), record(change(op)))
    assert isinstance(found, Rejected)
    assert found.reason == SKIPPED


def test_a_null_payload_is_a_tombstone() -> None:
    for envelope in ("debezium", "connect"):
        (found,) = read(schema(envelope), record({"schema": None, "payload": None}))
        assert isinstance(found, Rejected)
        assert found.reason == SKIPPED


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (ROW, "malformed"),
        (change(row=None), "missing"),
        (change(row=5), "wrong_type"),
        (b"no json", "malformed"),
        (
            {"schema": connect_schema(inside=True), "payload": change(row=CODED | {"amount": "%"})},
            "wrong_type",
        ),
    ],
)
def test_what_is_not_a_change_event_is_rejected(message: Any, reason: str) -> None:
    fields = [field | {"optional": field["name"] != "amount"} for field in TREE["fields"]]
    found, _ = read(schema("debezium", fields=fields), record(message), record(change()))
    assert isinstance(found, Rejected)
    assert found.reason == reason


def test_the_envelope_itself_can_be_read() -> None:
    event = schema("debezium", time={"path": "__ts_ms", "format": "epoch_ms"}, id="__source.table")
    (parsed,) = accepted(event, record(change(ts_ms=1_772_323_318_000)))
    assert (parsed.id, parsed.time) == ("tx", 1_772_323_318.0)


def test_an_alert_has_the_event_without_its_envelope() -> None:
    wrapped = {"schema": connect_schema(inside=True), "payload": change(row=CODED)}
    for message in (change(), wrapped):
        view = Parser(schema("debezium"), KEY).view(record(message))
        assert msgspec.json.decode(view.document) == ROW
        assert view.main == "A24"


def test_what_is_not_read_rejects_no_event() -> None:
    columns = connect_schema(inside=False)
    columns["fields"] += [{**columns["fields"][2], "field": "fee"}, {"field": "rate", "type": "double"}]
    payload = json.dumps(CODED)[:-1] + ', "fee": "%", "rate": 1e999}'
    message = f'{{"schema": {json.dumps(columns)}, "payload": {payload}}}'.encode()
    assert values(accepted(schema("connect"), record(message))[0]) == plain()
    document = Parser(schema("connect"), KEY).view(record(message)).document
    assert b'"fee":"%"' in document
    assert b"1e999" in document
    encoded = base64.b64encode(json.dumps(ROW).encode()).decode()
    cloud = f'{{"specversion": "1.0", "rate": 1e999, "data_base64": "{encoded}"}}'.encode()
    assert values(accepted(schema("cloudevents"), record(cloud))[0]) == plain()


def test_any_schema_in_a_message_is_borne() -> None:
    for wrong in (5, [], {"fields": 1}, {"fields": [1, {"field": "after", "fields": [{"field": 1}]}]}):
        accepted(schema("debezium"), record({"schema": wrong, "payload": change()}))


# --- Connect -----------------------------------------------------------------------------------------------


def test_the_payload_is_the_event() -> None:
    message = {"schema": connect_schema(inside=False), "payload": CODED}
    assert values(accepted(schema("connect"), record(message))[0]) == plain()
    view = Parser(schema("connect"), KEY).view(record(message))
    assert msgspec.json.decode(view.document) == ROW


def test_rows_marked_as_deleted_are_skipped() -> None:
    marked = CODED | {"__deleted": "true", "__op": "d"}
    kept = CODED | {"__deleted": "false", "__op": "u"}
    rows = [{"schema": connect_schema(inside=False), "payload": row} for row in (marked, kept)]
    gone, here = read(schema("connect"), *map(record, rows))
    assert isinstance(gone, Rejected)
    assert gone.reason == SKIPPED
    assert isinstance(here, ParsedEvent)


def test_a_row_without_its_schema_is_no_message_of_connect() -> None:
    (found,) = read(schema("connect"), record(ROW))
    assert isinstance(found, Rejected)
    assert found.reason == "malformed"


def test_rows_without_their_schema_are_found_among_others() -> None:
    event = schema("connect")
    bare, whole = {"payload": ROW}, {"schema": {"type": "struct", "fields": []}, "payload": ROW}
    found = read(event, *[record(message) for message in (bare, whole, bare, {"schema": None, **bare})])
    assert [isinstance(one, Rejected) for one in found] == [True, False, True, False]
    assert all(isinstance(one, Rejected) for one in read(event, record(bare), record(bare)))


# --- CloudEvents -------------------------------------------------------------------------------------------


def structured(**more: Any) -> dict[str, Any]:
    attributes = {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "payment"}
    return attributes | {"time": "2026-03-01T00:01:58.123456Z", "data": ROW} | more


def test_both_modes_give_the_event() -> None:
    encoded = structured(data_base64=base64.b64encode(json.dumps(ROW).encode()).decode())
    del encoded["data"]
    sent = [record(ROW, BINARY), record(structured()), record(encoded)]
    for batch in (sent, sent[:1] * 2, sent[1:2] * 2, sent[2:]):
        assert {values(parsed) for parsed in accepted(schema("cloudevents"), *batch)} == {plain()}
    for one in sent:
        assert msgspec.json.decode(Parser(schema("cloudevents"), KEY).view(one).document) == ROW


def test_attributes_are_named_as_in_the_headers() -> None:
    event = schema("cloudevents", id="ce_id", time={"path": "ce_time"})
    for one in (record(ROW, BINARY), record(structured())):
        (parsed,) = accepted(event, one)
        assert (parsed.id, parsed.time) == ("e-1", plain()[1])


@pytest.mark.parametrize(
    "sent",
    [
        record(ROW),
        record(structured(data_base64="%")),
        record(ROW, (*BINARY, ("ce_subject", b"\xff"))),
    ],
)
def test_what_is_no_cloud_event_is_rejected(sent: Record) -> None:
    found, _ = read(schema("cloudevents"), sent, record(ROW, BINARY))
    assert isinstance(found, Rejected)
    assert found.reason == "malformed"


# --- frame -------------------------------------------------------------------------------------------------


def test_the_frame_of_a_registry_is_dropped() -> None:
    framed = b"\0\0\0\0\x11" + json.dumps(ROW).encode()
    sent = [record(framed), record(ROW), record(framed), record(b"\0\0")]
    for batch in (sent, sent[1:], sent[:1]):
        found = read(schema(None), *batch)
        events = [values(one) for one in found if isinstance(one, ParsedEvent)]
        assert set(events) == {plain()}
    assert msgspec.json.decode(Parser(schema(None), KEY).view(sent[0]).document) == ROW


# --- configuration -----------------------------------------------------------------------------------------


def test_an_unknown_envelope_or_operation_is_refused() -> None:
    with pytest.raises(ValidationError):
        schema("soap")
    with pytest.raises(ValidationError):
        schema("debezium", operations=["d"])
