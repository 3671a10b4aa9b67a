"""Protobuf by the schemas of a registry: types, presence, imports, evolution, indexes, corrupt bytes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.config.tree import Event
from detector.core.events import SKIPPED, ParsedEvent, Parser, Rejected
from detector.core.events.formats.schemas import Schema
from detector.core.records import Record
from detector.errors import ConfigError
from detector.shell.registry import Uncompilable, compile_protobuf
from tests.both_ways import KEY, read_as_json, read_both_ways, reason

TREE: dict[str, Any] = {
    "format": "protobuf",
    "id": "id",
    "time": {"path": "time"},
    "entities": [{"name": "card", "path": "card.number", "optional": True}],
    "fields": [
        {"name": "amount", "path": "amount", "type": "numeric"},
        {"name": "day", "path": "day", "type": "categorical"},
    ],
}
IMPORTS = """
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/type/date.proto";
import "google/type/decimal.proto";
"""
PAYMENT = """
message Card { optional string number = 1; }
message Payment {
  int64 id = 1;
  google.protobuf.Timestamp time = 2;
  Card card = 3;
  google.type.Decimal amount = 4;
  google.type.Date day = 5;
"""
PLAIN = IMPORTS + PAYMENT + "}"
EVENT: dict[str, Any] = {
    "id": 9007199254740993,
    "time": {"seconds": 1772323318, "nanos": 123456789},
    "card": {"number": "4711"},
    "amount": {"value": "17.85"},
    "day": {"year": 2026, "month": 3, "day": 1},
}
AS_JSON: dict[str, Any] = {
    "id": 9007199254740993,
    "time": "2026-03-01T00:01:58.123456Z",
    "card": {"number": "4711"},
    "amount": 17.85,
    "day": "2026-03-01",
}


@cache
def compiled(text: str, references: tuple[tuple[str, str], ...] = ()) -> Schema:
    return Schema("PROTOBUF", text, references, compile_protobuf(text, references))


@cache
def message_type(schema: Schema, name: str) -> Any:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(schema.compiled).file:
        pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def written(
    text: str | Schema,
    event: Any = None,
    *,
    number: int = 1,
    name: str = "shop.Payment",
    indexes: bytes = b"\x02\x02",
) -> Record:
    """A record; by default the message is the second one of its file."""
    schema = compiled(text) if isinstance(text, str) else text
    message = message_type(schema, name)(**(EVENT if event is None else event))
    body = message.SerializePartialToString(deterministic=True)
    return Record(0, 0, b"4711", b"\0" + number.to_bytes(4, "big") + indexes + body)


def read(schemas: Mapping[int, Any], *sent: Record, **changes: Any) -> list[ParsedEvent | Rejected]:
    """Read records one by one and as blocks; both ways must agree."""
    table = {
        number: compiled(found) if isinstance(found, str) and "message" in found else found
        for number, found in schemas.items()
    }
    return read_both_ways(TREE | changes, table, sent)


def as_json(text: str | Schema, sent: Record, **changes: Any) -> Any:
    schema = compiled(text) if isinstance(text, str) else text
    event = Event.model_validate(TREE | changes)
    view = Parser(event, KEY, resources={"schemas": {1: schema}}).view(sent)
    return msgspec.json.decode(view.document)


def plain(event: Any = None, **changes: Any) -> tuple[Any, ...]:
    """What the event is as JSON."""
    return read_as_json(TREE | changes, event or AS_JSON)


# --- values ------------------------------------------------------------------------------------------------


def test_well_known_types_are_what_json_would_have() -> None:
    found = read({1: PLAIN}, *[written(PLAIN)] * 3)
    assert {one[1:] for one in found} == {plain()}
    assert as_json(PLAIN, written(PLAIN)) == AS_JSON


EVERYTHING = (
    IMPORTS
    + """
import "google/protobuf/wrappers.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/type/money.proto";
import "confluent/meta.proto";
import "confluent/type/decimal.proto";
enum Kind { KIND_UNKNOWN = 0; WEB = 1; SHOP = 2; }
"""
    + PAYMENT.replace("message Card", "message Tree { Tree left = 1; string name = 2; }\nmessage Card")
    + """
  uint64 large = 6 [(confluent.field_meta) = {doc: "all 64 bits"}];
  Kind kind = 7;
  google.protobuf.StringValue wrapped = 8;
  google.protobuf.Duration took = 9;
  google.protobuf.Struct more = 10;
  google.type.Money price = 11;
  confluent.type.Decimal fee = 12;
  repeated int32 codes = 13;
  map<string, int64> counts = 14;
  oneof way { string iban = 15; Card other = 16; int32 number = 21; }
  optional bool flag = 17;
  bytes raw = 18;
  float small = 19;
  Tree tree = 20;
  repeated Card cards = 22;
  map<int32, Card> by_number = 23;
  google.protobuf.BytesValue blob = 24;
}"""
)
MORE: dict[str, Any] = {
    "large": 2**64 - 1,
    "kind": 2,
    "wrapped": {"value": "w"},
    "took": {"seconds": 1, "nanos": 500_000_000},
    "more": {"a": {"b": 2.5}, "l": ["x", None]},
    "price": {"currency_code": "EUR", "units": -12, "nanos": -340_000_000},
    "fee": {"value": (-125).to_bytes(2, "big", signed=True), "precision": 9, "scale": 2},
    "codes": [1, 2],
    "counts": {"x": 2**62},
    "number": 5,
    "raw": b"ab",
    "small": 0.5,
    "tree": {"left": {"left": {"name": "deep"}}},
    "cards": [{"number": "1"}, {}],
    "by_number": {7: {"number": "2"}},
    "blob": {"value": b"z"},
}  # fmt: skip
MORE_JSON: dict[str, Any] = {
    "large": 2**64 - 1,
    "kind": "SHOP",
    "wrapped": "w",
    "took": 1.5,
    "more": {"a": {"b": 2.5}, "l": ["x", None]},
    "price": {"currency_code": "EUR", "units": -12, "nanos": -340_000_000, "value": -12.34},
    "fee": -1.25,
    "codes": [1, 2],
    "counts": {"x": 2**62},
    "iban": None,
    "other": None,
    "number": 5,
    "flag": None,
    "raw": "YWI=",
    "small": 0.5,
    "tree": {"left": {"left": {"left": None, "name": "deep"}, "name": ""}, "name": ""},
    "cards": [{"number": "1"}, {"number": None}],
    "by_number": {"7": {"number": "2"}},
    "blob": "eg==",
}
PATHS = {
    "large": "categorical", "kind": "categorical", "wrapped": "categorical", "took": "numeric",
    "more.a.b": "numeric", "price.value": "numeric", "price.currency_code": "categorical", "fee": "numeric",
    "counts.x": "numeric", "counts.y": "numeric", "iban": "categorical", "other.number": "categorical",
    "number": "numeric", "flag": "categorical", "small": "numeric", "tree.left.left.name": "categorical",
    "tree.left.left.left.name": "categorical", "absent": "numeric", "card.absent": "numeric",
}  # fmt: skip
FIELDS = [{"name": path.replace(".", "_"), "path": path, "type": kind} for path, kind in PATHS.items()]
TREE_INDEX = b"\x02\x04"  # Tree and Card are before Payment


def test_every_type_is_what_json_would_have() -> None:
    full = written(EVERYTHING, EVENT | MORE, indexes=TREE_INDEX)
    empty = written(EVERYTHING, indexes=TREE_INDEX)
    assert as_json(EVERYTHING, full) == AS_JSON | MORE_JSON
    found = read({1: EVERYTHING}, full, empty, full, fields=FIELDS)
    zeros = {"large": 0, "kind": "KIND_UNKNOWN", "small": 0.0, "raw": "", "codes": [], "counts": {}}
    without = dict.fromkeys(MORE_JSON) | zeros | {"cards": [], "by_number": {}}
    assert as_json(EVERYTHING, empty) == AS_JSON | without
    expected = [plain(AS_JSON | MORE_JSON, fields=FIELDS), plain(AS_JSON | without, fields=FIELDS)]
    assert [one[1:] for one in found] == [*expected, expected[0]]


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        ({"iban": "DE1"}, {"iban": "DE1"}),
        ({"other": {}}, {"other": {"number": None}}),
        ({"number": 0}, {"number": 0}),
    ],
)  # fmt: skip
def test_one_member_of_a_oneof_has_a_value(member: dict[str, Any], expected: dict[str, Any]) -> None:
    event = {name: value for name, value in (EVENT | MORE).items() if name != "number"} | member
    sent = written(EVERYTHING, event, indexes=TREE_INDEX)
    members = {"iban": None, "other": None, "number": None}
    assert as_json(EVERYTHING, sent) == AS_JSON | MORE_JSON | members | expected
    (found,) = read({1: EVERYTHING}, sent, fields=FIELDS)
    assert found[1:] == plain(AS_JSON | MORE_JSON | members | expected, fields=FIELDS)


def test_a_number_that_an_enumeration_does_not_name_stays() -> None:
    sent = written(EVERYTHING, EVENT | MORE | {"kind": 77}, indexes=TREE_INDEX)
    assert as_json(EVERYTHING, sent)["kind"] == 77


PROTO2 = """
syntax = "proto2";
package shop;
import "google/protobuf/timestamp.proto";
message Payment {
  required int64 id = 1;
  optional google.protobuf.Timestamp time = 2;
  optional double amount = 4;
  optional string day = 5 [default = "monday"];
  optional group Extra = 6 { optional int32 code = 7; }
  optional double rate = 8 [default = nan];
}
"""
PROTO2_FIELDS = [
    {"name": "amount", "path": "amount", "type": "numeric"},
    {"name": "day", "path": "day", "type": "categorical"},
    {"name": "code", "path": "extra.code", "type": "categorical"},
]


def test_presence_in_proto2() -> None:
    def send(**event: Any) -> Record:
        return written(PROTO2, {"time": EVENT["time"], **event}, indexes=b"\0")

    sent = [send(id=1), send(id=1, amount=0.0, day="x", extra={"code": 0}), send()]
    assert as_json(PROTO2, sent[0], fields=PROTO2_FIELDS) == {
        "id": 1, "time": AS_JSON["time"], "amount": None, "day": "monday", "extra": None, "rate": None,
    }  # fmt: skip
    found = read({1: PROTO2}, *sent, fields=PROTO2_FIELDS)
    small = {"id": 1, "time": AS_JSON["time"], "day": "monday"}
    full = small | {"amount": 0.0, "day": "x", "extra": {"code": 0}}
    assert [one[1:] for one in found[:2]] == [
        plain(small, fields=PROTO2_FIELDS),
        plain(full, fields=PROTO2_FIELDS),
    ]
    assert reason(found[2]) == ("malformed", "not of its schema: a required field is not written")


def test_a_text_of_proto2_that_is_not_utf_8() -> None:
    good = written(PROTO2, {"id": 1, "time": EVENT["time"]}, indexes=b"\0")
    bad = good._replace(value=(good.value or b"") + b"\x2a\x02\xff\xfe")
    found = read({1: PROTO2}, good, bad, fields=PROTO2_FIELDS)
    assert isinstance(found[1], ParsedEvent)
    assert len(found[1].unreadable) == 1
    (unread,) = read({1: PROTO2}, bad, fields=PROTO2_FIELDS[:1])
    assert isinstance(unread, ParsedEvent)


def test_a_value_that_cannot_be_converted_rejects_only_where_it_is_read() -> None:
    sent = written(PLAIN, EVENT | {"day": {"year": 2026, "month": 13, "day": 1}, "amount": {"value": "x"}})
    (found,) = read({1: PLAIN}, sent)
    assert isinstance(found, ParsedEvent)
    assert found.unreadable == ("amount", "day")
    fields = [{**TREE["fields"][0], "optional": False}]
    assert reason(read({1: PLAIN}, sent, fields=fields)[0])[0] == "wrong_type"
    (unread,) = read({1: PLAIN}, sent, fields=[])
    assert isinstance(unread, ParsedEvent)
    assert unread.unreadable == ()


@pytest.mark.parametrize("moment", [{"seconds": -(2**40)}, {"seconds": 2**60}, {"seconds": 5, "nanos": -1}])
def test_odd_times_are_read_as_alone(moment: dict[str, int]) -> None:
    read({1: PLAIN}, *[written(PLAIN, EVENT | {"time": moment})] * 2, written(PLAIN))


# --- schemas -----------------------------------------------------------------------------------------------


def test_the_schema_may_change_at_any_record() -> None:
    second = PLAIN.replace("int64 id = 1;", "string id = 1; string added = 9;")
    third = PLAIN.replace("google.type.Date day = 5;", "reserved 5;")
    sent = [
        written(PLAIN),
        written(second, EVENT | {"id": "9007199254740993", "added": "x"}, number=2),
        written(third, {name: value for name, value in EVENT.items() if name != "day"}, number=3),
        written(PLAIN),
    ]
    found = read({1: PLAIN, 2: second, 3: third}, *sent)
    without = plain({name: value for name, value in AS_JSON.items() if name != "day"})
    assert [one[1:] for one in found] == [plain(), plain(), without, plain()]


def test_fields_that_a_schema_does_not_have_are_skipped() -> None:
    newer = PLAIN.replace("int64 id = 1;", "int64 id = 1; string added = 9;")
    (found,) = read({1: PLAIN}, written(newer, EVENT | {"added": "x"}))
    assert found[1:] == plain()


def test_references_are_imports() -> None:
    card = 'syntax = "proto3"; package shop; message Card { optional string number = 1; }'
    text = IMPORTS + 'import "shop/card.proto";' + PAYMENT.replace("message Card", "message Other") + "}"
    schema = compiled(text, (("shop/card.proto", card),))
    (found,) = read({1: schema}, written(schema))
    assert found[1:] == plain()


NESTED = IMPORTS + "message First { string x = 1; } message Outer { message Zero {} " + PAYMENT + "} }"


@pytest.mark.parametrize(
    ("name", "indexes"), [("shop.Outer.Payment", b"\x04\x02\x04"), ("shop.Outer.Card", b"\x04\x02\x02")]
)
def test_the_indexes_name_the_message(name: str, indexes: bytes) -> None:
    event = EVENT if name.endswith("Payment") else {"number": "5"}
    sent = written(NESTED, event, name=name, indexes=indexes)
    found = read({1: NESTED}, sent)[0]
    if name.endswith("Payment"):
        assert found[1:] == plain()
    else:
        assert reason(found)[0] == "missing"


def test_the_first_message_has_a_short_form() -> None:
    text = (
        IMPORTS
        + "message Payment {"
        + PAYMENT.partition("message Payment {")[2]
        + "} message Card { string number = 1; }"
    )
    read_all = read({1: text}, *(written(text, indexes=indexes) for indexes in (b"\0", b"\x02\0", b"\0")))
    assert {one[1:] for one in read_all} == {plain()}


def test_a_change_event_of_debezium() -> None:
    text = PLAIN + "message Envelope { Payment before = 1; Payment after = 2; string op = 3; }"
    sent = [
        written(text, event, name="shop.Envelope", indexes=b"\x02\x04")
        for event in ({"after": EVENT, "op": "c"}, {"before": EVENT, "op": "d"})
    ]
    found = read({1: text}, *sent, Record(0, 0, b"4711", None), envelope={"type": "debezium"})
    assert found[0][1:] == plain()
    assert [reason(one)[0] for one in found[1:]] == [SKIPPED, SKIPPED]


def test_what_is_wrong_is_named() -> None:
    good = written(PLAIN)
    value = good.value or b""
    table = {
        1: PLAIN,
        2: "the registry does not know it",
        3: Schema("JSON", "{}"),
        4: Schema("PROTOBUF", "x"),
    }
    sent = [good, *(good._replace(value=raw) for raw in (
        b'{"id": 1}', value[:-1], value[:5] + b"\x02\x0a" + value[7:], value[:5] + b"\xff" * 6,
        value[:5] + b"\x01", value[:5] + b"\x02\x01", value[:5] + b"\x80",
        *(b"\0\0\0\0" + bytes([n]) + value[5:] for n in (2, 3, 4, 9)),
    ))]  # fmt: skip
    found = read(table, *sent)
    assert found[0][1:] == plain()
    reasons = [reason(one) for one in found[1:]]
    assert {name for name, _ in reasons} == {"malformed"}
    for (_, detail), words in zip(
        reasons,
        ("no frame", "not of its schema", "no message type [5]", "not readable", "-1 indexes",
         "no message type [-1]", "not readable", "does not know", "kind JSON", "schema 4",
         "schema 9: there is no registry"),
        strict=True,
    ):  # fmt: skip
        assert words in detail


@pytest.mark.parametrize(
    "path", ["codes", "raw", "cards.number", "card", "id.x", "took.seconds", "price", "blob"]
)
def test_a_path_to_something_else_than_a_value(path: str) -> None:
    field = {"name": "odd", "path": path, "type": "categorical", "optional": False}
    changes = {"fields": [field], "entities": [], "id": "large"}
    sent = written(EVERYTHING, EVENT | MORE, indexes=TREE_INDEX)
    assert reason(read({1: EVERYTHING}, sent, sent, **changes)[0])[0] == "wrong_type"


@pytest.mark.parametrize("name", ["plain", "everything", "proto2"])
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_an_event_or_a_reason(name: str, data: st.DataObject) -> None:
    text, changes = {
        "plain": (PLAIN, {}),
        "everything": (EVERYTHING, {"fields": FIELDS}),
        "proto2": (PROTO2, {"fields": PROTO2_FIELDS}),
    }[name]  # fmt: skip
    good = {
        "plain": lambda: written(PLAIN),
        "everything": lambda: written(EVERYTHING, EVENT | MORE, indexes=TREE_INDEX),
        "proto2": lambda: written(PROTO2, {"id": 1, "time": EVENT["time"], "day": "x"}, indexes=b"\0"),
    }[name]()  # fmt: skip
    raw = bytearray(good.value or b"")
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(5, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(raw[: data.draw(st.integers(5, len(raw)))])
    added = (good.value or b"")[:7] + data.draw(st.binary())
    sent = [good, *(good._replace(value=value) for value in (bytes(raw), cut, added))]
    read({1: text}, *sent, **changes)


# --- the compiler ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "references", "words"),
    [
        ("message {", (), "schema.proto:1:"),
        ('import "missing.proto";', (), "missing.proto"),
        ("message A {}", (("../x.proto", ""),), "not named"),
        ("message A {}", (("/etc/x.proto", ""),), "not named"),
        ("message A {}", (("x.py", ""),), "not named"),
        ('import "b.proto";', (("b.proto", 'import "schema.proto";'),), "b.proto"),
    ],
)
def test_a_schema_that_cannot_be_compiled_says_why(
    text: str, references: tuple[tuple[str, str], ...], words: str
) -> None:
    texts = [""] * 2
    for turn in range(2):
        with pytest.raises(Uncompilable, match=words) as caught:
            compile_protobuf(f'syntax = "proto3"; {text}', references)
        texts[turn] = str(caught.value)
    assert texts[0] == texts[1]  # a rejection is the same at every replay


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.protobuf.message", None)
    with pytest.raises(ConfigError, match=r"detector\[protobuf\]"):
        Parser(Event.model_validate(TREE), KEY)
