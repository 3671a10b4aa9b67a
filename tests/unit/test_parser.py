"""Every record becomes an event or a reason why it is not one; nothing raises."""

from __future__ import annotations

import json
import math
import time
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.config.tree import EntityField, Event, EventLimits, NumberForm, TimeField, ValueField
from detector.core.events import ParsedEvent, Parser, Rejected
from detector.core.events.numbers import NumberTexts
from detector.core.records import REASONS, Record

KEY = b"a secret of the tests"
GOOD: dict[str, Any] = {
    "id": "e-1",
    "time": "2024-03-01T12:00:00Z",
    "card": "4711",
    "shop": {"id": 12, "name": "Corner shop"},
    "amount": 12.5,
    "country": "DE",
    "note": "two coffees",
    "channel": "web",
}


@pytest.mark.parametrize("text", ["١٬٢٣٤٫٥٠", "१,२३४.५", "１，２３４．５", "۱٬۲۳۴٫۵ ﷼"])
def test_a_number_may_have_the_digits_of_another_script(text: str) -> None:
    assert NumberTexts(NumberForm(thousands=","))(text) == 1234.5
    assert NumberTexts(NumberForm())(text) is None  # groups are not guessed here either


def schema(**changes: Any) -> Event:
    tree: dict[str, Any] = {
        "id": "id",
        "time": {"path": "time"},
        "entities": [
            {"name": "card", "path": "card"},
            {"name": "shop", "path": "shop.id", "optional": True},
        ],
        "fields": [
            {"name": "amount", "path": "amount", "type": "numeric"},
            {"name": "country", "path": "country", "type": "categorical"},
            {"name": "note", "path": "note", "type": "text"},
            {"name": "shop_name", "path": "shop.name", "type": "text", "use": "context"},
            {"name": "fee", "path": "shop.fee", "type": "numeric", "use": "context"},
        ],
    }
    return Event.model_validate(tree | changes)


PARSER = Parser(schema(), KEY)
STRICT = Parser(
    schema(
        fields=[
            {"name": "amount", "path": "amount", "type": "numeric", "optional": False},
            {"name": "country", "path": "country", "type": "categorical", "optional": False},
            {"name": "note", "path": "note", "type": "text", "optional": False},
        ],
        limits=EventLimits(bytes_max=2000, depth_max=4, key_chars_max=16, text_chars_max=32),
    ),
    KEY,
    require_key=True,
)
SHALLOW = Parser(schema(limits=EventLimits(depth_max=1)), KEY)


def record(value: bytes | None, key: bytes | None = None, **more: Any) -> Record:
    return Record(0, 0, key, value, **more)


def raw(**changes: Any) -> bytes:
    """The good event with fields changed; `...` takes one out."""
    event = {name: value for name, value in (GOOD | changes).items() if value is not ...}
    return json.dumps(event).encode()


def parse(parser: Parser = PARSER, **changes: Any) -> ParsedEvent | Rejected:
    return parser.parse(record(raw(**changes), b"4711"))


def accepted(parser: Parser = PARSER, **changes: Any) -> ParsedEvent:
    parsed = parse(parser, **changes)
    assert isinstance(parsed, ParsedEvent), parsed
    return parsed


def reason(parser: Parser = PARSER, **changes: Any) -> str:
    parsed = parse(parser, **changes)
    assert isinstance(parsed, Rejected), parsed
    return parsed.reason


def holds(parser: Parser, value: bytes | None, key: bytes | None = None) -> None:
    """The law of this file, for one record."""
    taken = record(value, key)
    parsed = parser.parse(taken)
    parser.main_key(value or b"")
    if isinstance(parsed, Rejected):
        assert parsed.reason in REASONS
        assert parsed.detail
        return
    assert value is not None
    assert isinstance(json.loads(value), dict)  # alerts echo the whole event, so all of it must be JSON
    assert parsed.id
    assert 0.0 <= parsed.time < datetime(2200, 1, 1, tzinfo=UTC).timestamp()
    assert all(0 <= digest < 1 << 64 for digest in (*parsed.entities, *parsed.categories))
    assert not any(math.isinf(number) for number in parsed.numerics)
    assert all(0 < gram < 1 << 32 for grams in parsed.grams for gram in grams)
    parser.view(taken)


# --- nothing raises ----------------------------------------------------------------------------------------

any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**20, -(10**20), 10**308, 10**400, -(10**400), 10**4200])
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(
        ["\ud800", "\udfff\ud800", "NaN", "1e999", "0001-01-01T00:00:00+23:59", "", " ", "x" * 2000]
    )
    | st.sampled_from(["9999-12-31T23:59:59-23:59", "2024-02-30T00:00:00", "1e5", "-0", "１２", "\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from([None, b"", b"4711", b"\xff"])


@given(value=st.none() | st.binary(max_size=200), key=keys)
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_an_event_or_a_reason(value: bytes | None, key: bytes | None) -> None:
    for parser in (PARSER, STRICT, SHALLOW):
        holds(parser, value, key)


@given(value=any_json, key=keys)
@settings(max_examples=150, deadline=None)
def test_any_json_is_an_event_or_a_reason(value: Any, key: bytes | None) -> None:
    for parser in (PARSER, STRICT, SHALLOW):
        holds(parser, json.dumps(value).encode(), key)


@given(
    changes=st.dictionaries(st.sampled_from([*GOOD, "unknown"]), any_json, max_size=3),
    shop=st.fixed_dictionaries({}, optional={"id": any_json, "name": any_json, "fee": any_json}),
    ascii_only=st.booleans(),
    key=keys,
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_valid_event_with_any_field_replaced_is_an_event_or_a_reason(
    changes: dict[str, Any], shop: dict[str, Any], ascii_only: bool, key: bytes | None
) -> None:
    text = json.dumps({**GOOD, "shop": shop, **changes}, ensure_ascii=ascii_only)
    for parser in (PARSER, STRICT, SHALLOW):
        holds(parser, text.encode(errors="surrogatepass"), key)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_valid_event_with_bytes_changed_is_an_event_or_a_reason(data: st.DataObject) -> None:
    value = bytearray(raw())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(value) - 1))
        stop = at + data.draw(st.integers(0, 3))
        value[at:stop] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"[", b"{", b'"', b"\\", b"NaN", b"\xff"])
        )
        if not value:
            break
    for parser in (PARSER, STRICT, SHALLOW):
        holds(parser, bytes(value))


BAD: dict[str, tuple[bytes | None, str]] = {
    "tombstone": (None, "tombstone"),
    "empty": (b"", "empty"),
    "blank": (b" \r\n\t ", "empty"),
    "garbage": (b"hello", "malformed"),
    "cut short": (raw()[:-1], "malformed"),
    "two events": (raw() + raw(), "malformed"),
    "byte order mark": (b"\xef\xbb\xbf" + raw(), "malformed"),
    "UTF-16": (raw().decode().encode("utf-16"), "malformed"),
    "NaN token in place of the main entity": (raw(card=math.nan), "missing"),
    "another token": (raw(amount="@").replace(b'"@"', b"undefined"), "malformed"),
    "NaN token in what is no JSON": (raw(amount=math.nan)[:-1], "malformed"),
    "invalid UTF-8": (raw(card="@").replace(b"@", b"\xff"), "malformed"),
    "invalid UTF-8 in a skipped field": (raw(unknown="@").replace(b"@", b"\xff\xfe"), "malformed"),
    "encoded surrogate in a skipped field": (raw(unknown="@").replace(b"@", b"\xed\xa0\x80"), "malformed"),
    "half a surrogate pair": (raw(card="\ud800"), "malformed"),
    "control character in a skipped field": (raw(unknown="@").replace(b"@", b"\n"), "malformed"),
    "array": (b"[1]", "not_an_object"),
    "text": (b'"x"', "not_an_object"),
    "null": (b"null", "not_an_object"),
    "too large": (raw(unknown="x" * 65536), "too_large"),
    "too deep": (raw(unknown=json.loads("[" * 17 + "]" * 17)), "too_deep"),
    "far too deep": (b'{"a":' * 9000 + b"1" + b"}" * 9000, "too_deep"),
    "no id": (raw(id=...), "missing"),
    "null id": (raw(id=None), "missing"),
    "empty id": (raw(id=""), "missing"),
    "no time": (raw(time=...), "missing"),
    "no main entity": (raw(card=...), "missing"),
    "id is a fraction": (raw(id=1.5), "wrong_type"),
    "id has lost digits": (raw(id=2.0**53), "wrong_type"),
    "id is an object": (raw(id={}), "wrong_type"),
    "entity is a boolean": (raw(card=True), "wrong_type"),
    "time is a boolean": (raw(time=True), "wrong_type"),
    "time is no time": (raw(time="yesterday"), "bad_time"),
    "30th of February": (raw(time="2024-02-30T00:00:00Z"), "bad_time"),
    "before 1970": (raw(time="1969-12-31T23:59:59Z"), "out_of_range"),
    "after 2200": (raw(time="2200-01-01T00:00:00Z"), "out_of_range"),
    "time between the units": (raw(time=50_000_000_000), "out_of_range"),
    "time says that it is missing": (raw(time="null"), "missing"),
    "time is a number like a date": (raw(time=20_261_301), "bad_time"),
    "time is a huge whole number": (raw(time=10**400), "out_of_range"),
    "time is a whole number of 5,000 digits": (
        raw(time=0).replace(b": 0,", b": 1" + b"0" * 5000 + b","),
        "out_of_range",
    ),
    "long id": (raw(id="x" * 257), "too_long"),
    "long entity": (raw(card="x" * 257), "too_long"),
    "number without end": (raw(more=1.5)[:-1] + b', "n": ' + b"9" * 4000 + b"}", "out_of_range"),
    "many fields": (raw(more={str(n): n for n in range(2050)}), "too_many"),
    "many items": (raw(more=[0] * 2050), "too_many"),
    "long name": (raw(**{"x" * 257: 1}), "too_long"),
    "long name far down": (raw(more=[{"x" * 257: 1}]), "too_long"),
}


@pytest.mark.parametrize("kind", BAD)
def test_every_kind_of_bad_record_has_its_reason(kind: str) -> None:
    value, expected = BAD[kind]
    parsed = PARSER.parse(record(value))
    assert isinstance(parsed, Rejected)
    assert parsed.reason == expected
    assert parsed.detail
    assert len(parsed.detail) < 300


BAD_VALUES: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "amount is text": ({"amount": "many"}, "wrong_type", ("amount",)),
    "amount is a list": ({"amount": [1]}, "wrong_type", ("amount",)),
    "amount is a huge whole number": ({"amount": 10**400}, "out_of_range", ("amount",)),
    "amount overflows": ({"amount": "1e999"}, "out_of_range", ("amount",)),
    "amount is grouped": ({"amount": "1,234.50"}, "wrong_type", ("amount",)),
    "long category": ({"country": "x" * 1025}, "too_long", ("country",)),
    "long text": ({"note": "x" * 1025}, "too_long", ("note",)),
    "text is an object": ({"note": {"x": 1}}, "wrong_type", ("note",)),
    "parent is a list": ({"shop": [1]}, "wrong_type", ("shop", "shop_name", "fee")),
    "parent is a value": ({"shop": "x"}, "wrong_type", ("shop", "shop_name", "fee")),
    "long context": ({"shop": {"name": "x" * 1025}}, "too_long", ("shop_name",)),
    "context is no number": ({"shop": {"fee": "x"}}, "wrong_type", ("fee",)),
    "optional entity is a fraction": ({"shop": {"id": 1.5}}, "wrong_type", ("shop",)),
    "two at once": ({"amount": [], "note": {}}, "wrong_type", ("amount", "note")),
}


@pytest.mark.parametrize("kind", BAD_VALUES)
def test_a_value_that_cannot_be_read_rejects_the_event_only_if_it_is_required(kind: str) -> None:
    changes, expected, names = BAD_VALUES[kind]
    event = accepted(**changes)
    assert set(event.unreadable) == set(names)
    without = dict.fromkeys(changes, ...)
    assert event[2:-1] == accepted(**without)[2:-1] or math.isnan(event.numerics[0])
    taken = record(raw(**changes))
    assert all(PARSER.view(taken).values.get(name) is None for name in names)
    tree = schema().model_dump()
    for item in (*tree["entities"], *tree["fields"]):
        item["optional"] = item["name"] != names[0]
    assert reason(Parser(Event.model_validate(tree), KEY), **changes) == expected


def test_every_reason_is_reached() -> None:
    reached = {expected for _, expected in BAD.values()}
    elsewhere = {"key_mismatch", "reversal", "duplicate", "late"}  # test_admission.py has the last three
    assert reached | elsewhere == set(REASONS)


@pytest.mark.parametrize(
    "value",
    [
        b"[" * 17 + b'"' + b'\\"' * 32_000,  # looked at from every quote: 12 s, measured
        b"[" * 17 + b'"' + b"\\" * 65_000,
        b"[" * 17 + b'"' * 65_001,
        b'{"a":' * 13_000,
    ],
    ids=["escaped quotes", "backslashes", "quotes", "objects"],
)
def test_every_record_is_refused_quickly(value: bytes) -> None:
    """Work grows with a record's length, not with its square: one record must not stop a partition."""
    began = time.process_time()
    parsed = PARSER.parse(record(value))
    assert isinstance(parsed, Rejected)
    assert time.process_time() - began < 2.0  # milliseconds, on any machine


# --- what is read ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("field", "path"), [("id", "id"), ("card", "card")])
def test_ids_and_entities_are_text_or_whole_numbers_alike(field: str, path: str) -> None:
    as_text, as_number = accepted(**{field: "4711"}), accepted(**{field: 4711})
    assert (as_text.id, as_text.entities) == (as_number.id, as_number.entities)
    assert accepted(id=10**20).id == str(10**20)


@given(moment=st.datetimes(datetime(1970, 1, 2), datetime(2199, 12, 30)), hours=st.integers(-14, 14))
@settings(max_examples=50, deadline=None)
def test_iso_times_mean_the_same_moment_in_any_zone(moment: datetime, hours: int) -> None:
    seconds = moment.replace(tzinfo=UTC).timestamp()
    assert accepted(time=moment.isoformat()).time == pytest.approx(seconds, abs=1e-6)
    assert accepted(time=moment.isoformat() + "Z").time == pytest.approx(seconds, abs=1e-6)
    offset = f"{'-' if hours < 0 else '+'}{abs(hours):02d}:00"
    there = accepted(time=moment.isoformat() + offset).time if 86400 < seconds < 7.2e9 else None
    assert there is None or there == pytest.approx(seconds - hours * 3600, abs=1e-6)


def test_times_without_a_zone_are_in_the_configured_one() -> None:
    parser = Parser(schema(time={"path": "time", "zone": "Europe/Berlin"}), KEY)
    winter, summer = "2024-01-15T08:00:00", "2024-07-15T08:00:00"
    for text in (winter, summer):
        there = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
        assert accepted(parser, time=text).time == there
        assert accepted(parser, time=text + "Z").time == accepted(time=text).time
    assert accepted(time=winter).time - accepted(parser, time=winter).time == 3600
    assert accepted(time=summer).time - accepted(parser, time=summer).time == 7200


@pytest.mark.parametrize(
    ("format_", "value", "seconds"),
    [
        ("auto", 1_700_000_000, 1_700_000_000.0),
        ("auto", 1_700_000_000.25, 1_700_000_000.25),
        ("auto", 1_700_000_000_250, 1_700_000_000.25),
        ("auto", "2023-11-14T22:13:20.250Z", 1_700_000_000.25),
        ("auto", "1700000000", 1_700_000_000.0),
        ("auto", 0, 0.0),
        ("auto", 1_700_000_000_250_000, 1_700_000_000.25),
        ("auto", 1_700_000_000_250_000_000, 1_700_000_000.25),
        ("auto", "1700000000250000000", 1_700_000_000.25),
        ("auto", 50_000_000_000, "out_of_range"),
        ("auto", 20260301, 1_772_323_200.0),
        ("auto", 20260301.0, 1_772_323_200.0),
        ("auto", "20260301", 1_772_323_200.0),
        ("auto", 20261301, "bad_time"),
        ("auto", 20260301.5, "bad_time"),
        ("auto", 202603011030, 1_772_361_000.0),
        ("auto", "/Date(1772361000250)/", 1_772_361_000.25),
        ("auto", "/Date(1772361000000+0100)/", 1_772_361_000.0),
        ("auto", "/Date(soon)/", "bad_time"),
        ("%y%m%d%H%M%S", 260301103000, 1_772_361_000.0),
        ("%d/%b/%Y:%H:%M:%S %z", "01/Mar/2026:11:30:00 +0100", 1_772_361_000.0),
        ("%d-%b-%y %I.%M.%S.%f %p", "01-MAR-26 10.30.00.250000 AM", 1_772_361_000.25),
        ("auto", 20260301103007, 1_772_361_007.0),
        ("auto", "2026-03-01", 1_772_323_200.0),
        ("auto", "2026-03-01Z", 1_772_323_200.0),
        ("auto", "2026-03-01+01:00", 1_772_319_600.0),
        ("auto", "2026-03-01 10:00:00 UTC", 1_772_359_200.0),
        ("auto", "2026-03-01 10:00:00.25 UTC", 1_772_359_200.25),
        ("auto", "2026-03-01T10:00:00+01:00[Europe/Paris]", 1_772_355_600.0),
        ("auto", "2026-03-01T10:00:00[Europe/Paris]", 1_772_355_600.0),
        ("auto", "2026-03-01T10:00:00Z[!UTC][u-ca=gregory]", 1_772_359_200.0),
        ("auto", "2026-03-01T10:00:00[Mars/Olympus]", "bad_time"),
        ("auto", "2026-03-01T10:00:00[../../etc/passwd]", "bad_time"),
        ("auto", "2026-03-01 10:00:00 +0100", 1_772_355_600.0),
        ("auto", "2026-03-01t10:00:00z", 1_772_359_200.0),
        ("auto", "2026/03/01 10:00:00", 1_772_359_200.0),
        ("auto", " 2026-03-01 10:00:00 ", 1_772_359_200.0),
        ("auto", "2026-03-01 10:00:00 CET", "bad_time"),
        ("auto", "01/03/2026", "bad_time"),
        ("iso8601", "2023-11-14T22:13:20+00:00", 1_700_000_000.0),
        ("iso8601", 1_700_000_000, "wrong_type"),
        ("epoch_s", 1_700_000_000, 1_700_000_000.0),
        ("epoch_s", "1700000000.5", 1_700_000_000.5),
        ("epoch_s", 1_700_000_000_250, "out_of_range"),
        ("epoch_s", "2023-11-14T22:13:20Z", "bad_time"),
        ("epoch_ms", 1_700_000_000_250, 1_700_000_000.25),
        ("epoch_ms", "1700000000250", 1_700_000_000.25),
        ("epoch_ms", 5_000, 5.0),
        ("epoch_ms", "nan", "missing"),
        ("epoch_ms", "inf", "out_of_range"),
        ("epoch_us", 1_700_000_000_250_000, 1_700_000_000.25),
        ("epoch_ns", "1700000000250000000", 1_700_000_000.25),
        ("epoch_ns", 1_700_000_000_250_000_000, 1_700_000_000.25),
        ("date", 20260301, 1_772_323_200.0),
        ("date", "20260301", 1_772_323_200.0),
        ("date", "2026-03-01", 1_772_323_200.0),
        ("date", 1_700_000_000, "bad_time"),
        ("date", 20260230, "bad_time"),
        ("date", math.nan, "missing"),
        ("steps", 3, 946_684_803.0),
        ("steps", "2.5", 946_684_802.5),
        ("steps", "many", "bad_time"),
        ("steps", -1e10, "out_of_range"),
        ("%d.%m.%Y %H:%M:%S", "01.03.2026 10:00:00", 1_772_359_200.0),
        ("%d.%m.%Y %H:%M:%S", "2026-03-01 10:00:00", "bad_time"),
        ("%d.%m.%Y %H:%M:%S", True, "wrong_type"),
        ("%Y%m%d", 20260301, 1_772_323_200.0),
        ("%Y%m%d", 20260301.0, 1_772_323_200.0),
        ("%d/%b/%Y:%H:%M:%S %z", "01/Mar/2026:10:00:00 +0100", 1_772_355_600.0),
        ("%m/%d/%y %I:%M %p", "3/1/26 10:00 PM", 1_772_402_400.0),
        ("epoch_ms", -1, "out_of_range"),
    ],
)
def test_times_are_read_in_the_configured_format(format_: str, value: Any, seconds: float | str) -> None:
    parser = Parser(schema(time={"path": "time", "format": format_}), KEY)
    if isinstance(seconds, str):
        assert reason(parser, time=value) == seconds
    else:
        assert accepted(parser, time=value).time == seconds


@pytest.mark.parametrize(
    ("format_", "value", "words"),
    [
        ("auto", 50_000_000_000, "50000000000, read as epoch_s, is not between 1970 and 2200"),
        ("auto", 20_000_000_000_000_000_000, "read as epoch_ns"),
        (
            "epoch_s",
            1_700_000_000_000,
            "read as epoch_s, is not between 1970 and 2200; it looks like epoch_ms",
        ),
        ("auto", 20261301, "20261301 is no date %Y%m%d"),
    ],
)
def test_errors_of_times_name_the_unit(format_: str, value: Any, words: str) -> None:
    parsed = parse(Parser(schema(time={"path": "time", "format": format_}), KEY), time=value)
    assert isinstance(parsed, Rejected)
    assert words in parsed.detail


def test_steps_count_from_the_origin() -> None:
    time = {"path": "time", "format": "steps", "step": "1h", "origin": "2020-01-01T00:00:00+01:00"}
    start = datetime(2019, 12, 31, 23, tzinfo=UTC).timestamp()
    assert accepted(Parser(schema(time=time), KEY), time=743).time == start + 743 * 3600


def test_without_a_time_the_records_own_counts_and_in_files_the_number() -> None:
    parser = Parser(schema(time={"path": None, "step": "1h"}), KEY)
    start = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
    for stamp, offset, seconds in ((1_700_000_000_250, 5, 1_700_000_000.25), (0, 5, start + 5 * 3600)):
        parsed = parser.parse(Record(offset, stamp, b"4711", raw(time=...)))
        assert isinstance(parsed, ParsedEvent)
        assert parsed.time == seconds
    parsed = parser.parse(Record(0, -1, b"4711", raw()))  # Kafka's "no timestamp"
    assert isinstance(parsed, Rejected)
    assert parsed.reason == "missing"


def test_without_an_id_the_place_in_the_log_is_the_id() -> None:
    parser = Parser(schema(id=None), KEY, source=("payments", 3))
    parsed = parser.parse(Record(17, 0, b"4711", raw(id=...)))
    assert isinstance(parsed, ParsedEvent)
    assert parsed.id == "payments-3-17"


def test_a_number_counts_by_its_value_as_id_and_entity() -> None:
    for spelled in ("12", "12.0", "1.2e1", "120e-1"):
        value = raw(id="@", card="@", country="@").replace(b'"@"', spelled.encode())
        parsed, view = PARSER.parse(record(value, b"12")), PARSER.view(record(value))
        assert isinstance(parsed, ParsedEvent)
        assert (parsed.id, view.main, view.values["country"], parsed.key_matches) == ("12", "12", "12", True)
        assert parsed.entities[0] == accepted(card=12).entities[0]
        assert PARSER.main_key(value) == b"12"


def test_whole_numbers_keep_every_digit() -> None:
    for number in (2**53 + 1, 2**63 - 1, 10**30 + 1):
        parsed = accepted(id=number, card=number)
        assert parsed.id == str(number)
        assert parsed.entities[0] == accepted(card=str(number)).entities[0]
    assert accepted(card=2**53).entities != accepted(card=2**53 + 1).entities


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "nan", "inf"])
def test_tokens_that_are_no_json_are_missing(token: str) -> None:
    value = raw(amount="@", note='NaN, "Infinity"', unknown="@", shop={"id": "@"})
    value = value.replace(b'"@"', token.encode())
    taken = record(value, b"4711")
    parsed = PARSER.parse(taken)
    assert isinstance(parsed, ParsedEvent)
    assert math.isnan(parsed.numerics[0])
    assert (parsed.entities[1], parsed.unreadable) == (0, ())
    assert PARSER.view(taken).values["note"] == 'NaN, "Infinity"'
    assert json.loads(PARSER.view(taken).document, parse_constant=pytest.fail)["unknown"] is None


def test_what_is_missing_follows_the_configuration() -> None:
    for text in ("", "NA", "N/A", "null", "None", "NaN", "-", " NA "):
        event = accepted(amount=text)
        assert math.isnan(event.numerics[0])
        assert event.unreadable == ()
    assert accepted(shop={"id": "NA"}).entities[1] == 0
    assert accepted(country="").categories == (0,)
    assert accepted(country="NA").categories != (0,), "Namibia"
    assert accepted(note="").grams == ((),)
    assert reason(card="NA") == "missing"
    own = Parser(schema(missing=["NA", "-999"]), KEY)
    assert accepted(own, country="NA").categories == (0,)
    assert math.isnan(accepted(own, amount=-999).numerics[0])
    assert accepted(own, amount="null").unreadable == ("amount",)
    assert accepted(own, shop={"id": ""}).entities[1] == 0, "an empty key is no key"
    tree = schema(missing=["NA"]).model_dump()
    tree["fields"][1]["missing"] = ["??"]
    tree["entities"][1]["missing"] = ["0"]
    own = Parser(Event.model_validate(tree), KEY)
    assert accepted(own, country="NA").categories != (0,)
    assert accepted(own, country="??").categories == (0,)
    assert accepted(own, shop={"id": 0}).entities[1] == 0
    assert accepted(own, shop={"id": "NA"}).entities[1] != 0


def test_a_missing_required_text_rejects() -> None:
    assert reason(STRICT, id="e", shop=..., country="") == "missing"
    assert reason(STRICT, id="e", shop=..., amount="NA") == "missing"
    assert reason(STRICT, id="e", shop=..., amount="@") == "wrong_type"


def test_numbers_may_travel_as_text() -> None:
    assert accepted(amount="12.50").numerics == (12.5,)
    assert accepted(amount=-3).numerics == (-3.0,)
    assert accepted(amount=True).numerics == (1.0,)
    assert accepted(amount="(1.00 EUR)").numerics == (-1.0,)
    for text, number in (("4.50 Cr", 4.5), ("4.50Dr.", -4.5), ("INR 4.50 DR", -4.5)):
        assert accepted(amount=text).numerics == (number,)
    for text in ("Cr", "-4.50 Dr", "4.50 CrDr"):
        assert accepted(amount=text).unreadable == ("amount",)
    tree = schema(number={"decimal": ",", "thousands": "."}).model_dump()
    assert accepted(Parser(Event.model_validate(tree), KEY), amount="1.234,50 €").numerics == (1234.5,)
    tree["fields"][0]["number"] = {"decimal": ".", "thousands": " "}
    assert accepted(Parser(Event.model_validate(tree), KEY), amount="1\u202f234.50").numerics == (1234.5,)


def test_missing_optional_values_are_nan_zero_or_empty() -> None:
    bare = accepted(amount=..., country=..., note=..., shop=...)
    assert math.isnan(bare.numerics[0])
    assert bare.categories == (0,)
    assert bare.grams == ((),)
    assert bare.entities[0] != 0
    assert bare.entities[1] == 0
    for nothing in (None, {}, {"id": None}, {"id": ""}):
        assert accepted(shop=nothing).entities[1] == 0
    assert math.isnan(accepted(amount=None).numerics[0])


@pytest.mark.parametrize("field", ["amount", "country", "note"])
@pytest.mark.parametrize("nothing", [..., None])
def test_missing_required_values_are_rejected(field: str, nothing: Any) -> None:
    small = {"id": "e", "card": "4711", "shop": ..., "channel": ...}
    assert isinstance(parse(STRICT, **small), ParsedEvent)
    assert reason(STRICT, **small, **{field: nothing}) == "missing"


def test_limits_are_inclusive() -> None:
    limits = EventLimits(bytes_max=300, depth_max=3, key_chars_max=8, text_chars_max=12)
    tree = schema(limits=limits).model_dump()
    tree["fields"][2]["optional"] = False
    parser = Parser(Event.model_validate(tree), KEY)
    accepted(parser, id="x" * 8, card="x" * 8, note="x" * 12, channel=[[0]])
    assert reason(parser, id="x" * 9) == "too_long"
    assert reason(parser, card="x" * 9) == "too_long"
    assert reason(parser, note="x" * 13) == "too_long"
    assert reason(parser, channel=[[[0]]]) == "too_deep"
    room = 300 - len(raw(channel=""))
    accepted(parser, channel="x" * room)
    assert reason(parser, channel="x" * (room + 1)) == "too_large"


def test_brackets_inside_text_do_not_nest() -> None:
    accepted(note="[{" * 100)
    accepted(note='"' + "[" * 40 + "\\")


def test_of_repeated_keys_the_last_counts() -> None:
    value = raw()[:-1] + b', "amount": 99}'
    parsed = PARSER.parse(record(value))
    assert isinstance(parsed, ParsedEvent)
    assert parsed.numerics == (json.loads(value)["amount"],) == (99.0,)


def test_paths_go_into_objects_and_may_have_odd_names() -> None:
    odd = {"f0": 5, "__class__": "a", "naïve key": {"": 1.0, "f1": 2.0}, "class": "x", "a-b": {"$": {"c": 3}}}
    parser = Parser(
        schema(
            id="__class__",
            time={"path": "f0"},
            entities=[{"name": "card", "path": "class"}],
            fields=[
                {"name": "two", "path": "naïve key.f1", "type": "numeric"},
                {"name": "three", "path": "a-b.$.c", "type": "numeric"},
            ],
        ),
        KEY,
    )
    for ascii_only in (True, False):
        taken = record(json.dumps(odd, ensure_ascii=ascii_only).encode())
        parsed = parser.parse(taken)
        assert isinstance(parsed, ParsedEvent), parsed
        assert (parsed.id, parsed.time, parsed.numerics) == ("a", 5.0, (2.0, 3.0))
        assert parser.view(taken).values == {"two": 2.0, "three": 3.0}


@pytest.mark.parametrize(("inner", "outer"), [("a.b", "a"), ("a", "a.b"), ("a.b.c", "a.b")])
def test_a_path_cannot_be_a_field_and_a_folder(inner: str, outer: str) -> None:
    fields = [
        {"name": "x", "path": inner, "type": "numeric"},
        {"name": "y", "path": outer, "type": "numeric"},
    ]
    with pytest.raises(ValueError, match="a field, not an object"):
        Parser(schema(fields=fields), KEY)


# --- keys --------------------------------------------------------------------------------------------------


def test_the_record_key_is_compared_with_the_main_entity() -> None:
    for key, matches in ((b"4711", True), (None, True), (b"4712", False), (b"", False), (b"\xff", False)):
        parsed = PARSER.parse(record(raw(), key))
        assert isinstance(parsed, ParsedEvent)
        assert parsed.key_matches is matches


@pytest.mark.parametrize(("key", "fits"), [(b"4711", True), (None, False), (b"4712", False)])
def test_records_with_another_key_can_be_refused(key: bytes | None, fits: bool) -> None:
    parsed = Parser(schema(), KEY, require_key=True).parse(record(raw(), key))
    assert isinstance(parsed, ParsedEvent) is fits
    assert fits or (isinstance(parsed, Rejected) and parsed.reason == "key_mismatch")


def test_events_without_a_main_entity_need_no_key() -> None:
    optional = schema(entities=[{"name": "card", "path": "card", "optional": True}])
    for parser in (
        Parser(optional, KEY, require_key=True),
        Parser(schema(entities=[]), KEY, require_key=True),
    ):
        parsed = parser.parse(record(raw(card=...)))
        assert isinstance(parsed, ParsedEvent)
        assert parsed.key_matches


def test_the_main_entity_is_the_expected_record_key() -> None:
    assert PARSER.main_key(raw()) == b"4711"
    assert PARSER.main_key(raw(card=4711)) == b"4711"
    assert PARSER.main_key(raw(card="Zoë")) == "Zoë".encode()
    assert PARSER.main_key(raw(card=...)) is None
    assert PARSER.main_key(b"hello") is None


# --- what leaves -------------------------------------------------------------------------------------------


def test_values_become_hashes_that_depend_on_the_secret() -> None:
    here, there = accepted(), accepted(Parser(schema(), b"another secret"))
    assert set(here.entities).isdisjoint(there.entities)
    assert set(here.categories).isdisjoint(there.categories)
    assert here.numerics == there.numerics
    text = [value for value in here[2:] for value in (value if isinstance(value, tuple) else (value,))]
    assert not any(isinstance(value, (str, bytes)) for value in text)
    assert PARSER.entity_key_id != Parser(schema(), b"another secret").entity_key_id
    assert PARSER.entity_key_id == Parser(schema(id="other"), KEY).entity_key_id
    assert KEY.decode() not in PARSER.entity_key_id


def test_equal_values_of_different_entities_have_different_hashes() -> None:
    parsed = accepted(card="12", shop={"id": 12})
    assert parsed.entities[0] != parsed.entities[1]


def test_different_values_have_different_constant_hashes() -> None:
    assert accepted(card="a").entities != accepted(card="b").entities
    again = Parser(schema(), KEY)
    assert accepted(again) == accepted()


def test_text_is_compared_without_case_and_spacing() -> None:
    assert accepted(note="Two  COFFEES ").grams == accepted(note="two coffees").grams
    assert accepted(note="two coffees").grams != accepted(note="two teas").grams


def test_the_view_returns_the_originals() -> None:
    traces = (("traceparent", b"00-1"), ("other", b"x"), ("TraceState", b"a=b"))
    taken = record(raw(shop={"id": 12, "name": "Corner shop", "fee": "1.5"}), headers=traces)
    view = PARSER.view(taken)
    assert view.main == "4711"
    assert view.entities == {"card": "4711", "shop": "12"}
    assert view.values == {
        "amount": 12.5,
        "country": "DE",
        "note": "two coffees",
        "shop_name": "Corner shop",
        "fee": 1.5,
    }
    assert view.carried == {"shop_name": "Corner shop", "fee": 1.5}
    assert view.traces == (("traceparent", b"00-1"), ("TraceState", b"a=b"))


def test_the_view_shows_what_is_missing_as_none() -> None:
    view = PARSER.view(record(raw(shop=..., amount=None, note=...)))
    assert view.entities == {"card": "4711", "shop": None}
    assert view.values == {"amount": None, "country": "DE", "note": None, "shop_name": None, "fee": None}


def test_every_field_of_the_schema_is_checked_even_if_never_encoded() -> None:
    fields = [
        ValueField(name="amount", path="amount", type="numeric"),
        ValueField(name="channel", path="channel", type="numeric", use="segment", optional=False),
    ]
    event = Event(
        id="id",
        time=TimeField(path="time"),
        entities=(EntityField(name="card", path="card"),),
        fields=tuple(fields),
    )
    assert reason(Parser(event, KEY)) == "wrong_type"
