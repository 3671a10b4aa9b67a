"""A day and a time of day in two fields are the same time as both in one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.config.clock import read_clock
from detector.config.infer import infer, render
from detector.config.infer.times import is_clock
from detector.config.load import load_text
from detector.config.tree import Event
from detector.core.events import BlockReader, ParsedEvent, Parser, Rejected
from detector.core.events.formats.logical import clock, named
from detector.core.records import Record
from detector.errors import ConfigError
from detector.shell.files import Source, read_events

HOUR_US = 3_600_000_000


def event(**time: Any) -> Event:
    return Event.model_validate(
        {"id": None, "time": time, "fields": [{"name": "a", "type": "numeric", "path": "a"}]}
    )


def parsed(schema: Event, tree: Any) -> ParsedEvent | Rejected:
    record = Record(0, 0, None, json.dumps({"a": 1, **tree}).encode())
    alone = Parser(schema, b"key").parse(record)
    events, rejected = BlockReader(schema, b"key").read([record])
    assert repr(rejected.get(0) or events[0]) == repr(alone)
    return alone


def time_of(schema: Event, tree: Any) -> float:
    found = parsed(schema, tree)
    assert isinstance(found, ParsedEvent), found
    return found.time


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        *(("10:30", 10.5), ("9:30", 9.5), ("10.30.00", 10.5), ("10:30 PM", 22.5), ("12:15 am", 0.25)),
        *(("1030", 10.5), ("103000", 10.5), ("93000", 9.5), ("0", 0.0), ("24:00", 24.0), ("10h30", 10.5)),
        *(("1899-12-30 10:30:00", 10.5), ("0 days 10:30:00", 10.5), ("10:30:00.000", 10.5)),
    ],
)
def test_times_of_day(text: str, hours: float) -> None:
    found = read_clock(text)
    assert found is not None
    assert found.micros == hours * HOUR_US


@pytest.mark.parametrize(
    "text", ["", "x", "25:00", "10:60", "13:00 PM", "0:30 AM", "2026-03-01", "1e3", "-1:00"]
)
def test_what_is_no_time_of_day(text: str) -> None:
    assert read_clock(text) is None


@settings(deadline=None)
@given(
    moment=st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1)),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu"]),
)
def test_the_same_time_as_in_one_field(moment: datetime, zone: str) -> None:
    one = time_of(event(path="t", zone=zone), {"t": moment.isoformat(" ")})
    clock = {"d": moment.date().isoformat(), "c": moment.time().isoformat()}
    assert time_of(event(path="d", clock="c", zone=zone), clock) == one
    pattern = event(path="d", clock="c", zone=zone, format="%d.%m.%Y")
    assert time_of(pattern, {**clock, "d": moment.strftime("%d.%m.") + f"{moment.year:04}"}) == one


@settings(deadline=None)
@given(
    moment=st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1)).map(lambda m: m.replace(microsecond=0)),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]),
    as_text=st.booleans(),
)
def test_parts_are_the_same_time_as_one_field(moment: datetime, zone: str, as_text: bool) -> None:
    one = time_of(event(path="t", zone=zone), {"t": moment.isoformat()})
    values = [moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second]
    tree = dict(zip("ymdhis", map(str, values) if as_text else values, strict=True))
    assert time_of(event(path="y, m, d, h, i, s", format="apart", zone=zone), tree) == one
    clock = event(path="y,m,d", format="apart", clock="c", zone=zone)
    assert time_of(clock, {**tree, "c": moment.time().isoformat()}) == one


def test_parts_that_are_no_time() -> None:
    schema = event(path="y, m, d", format="apart")
    assert (
        time_of(schema, {"y": 2026.0, "m": "3", "d": " 01 "}) == datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    )
    for tree, reason in (
        ({"y": 2026, "m": 3}, "missing"),
        ({"y": 2026, "m": 2, "d": 30}, "bad_time"),
        ({"y": 2026, "m": "March", "d": 1}, "bad_time"),
        ({"y": 26, "m": 3, "d": 1}, "out_of_range"),
        ({"y": 2026, "m": 3.5, "d": True}, "bad_time"),
    ):
        found = parsed(schema, tree)
        assert isinstance(found, Rejected)
        assert found.reason == reason


@pytest.mark.parametrize("path", ["t", "y, m", "y, m, d, h, i, s, f"])
def test_a_time_apart_has_three_to_six_parts(path: str) -> None:
    with pytest.raises(ConfigError, match="3 to 6 paths"):
        load_text(
            f"event: {{id: null, time: {{path: '{path}', format: apart}}, "
            "fields: [{name: a, type: numeric, path: a}]}",
            "x",
        )


def test_days_of_a_spreadsheet() -> None:
    days = event(path="d", format="steps", step=86_400.0, origin="1899-12-30T00:00:00Z", clock="c")
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
    assert time_of(days, {"d": 46082, "c": "12:00"}) == noon
    assert (
        time_of(
            days.model_copy(update={"time": days.time.model_copy(update={"clock": None})}), {"d": 46082.5}
        )
        == noon
    )


def test_digits_of_a_pattern_may_be_a_number() -> None:
    schema = event(path="d", format="%y%m%d")
    day = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    assert time_of(schema, {"d": 260301}) == time_of(schema, {"d": "260301"}) == day


def test_numbers_offsets_and_missing_ones() -> None:
    day = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    both = event(path="d", clock="c", zone="Europe/Berlin")
    assert time_of(both, {"d": 20260301, "c": 93000}) == day + 8.5 * 3600
    assert time_of(both, {"d": "2026-03-01", "c": "09:30+02:00"}) == day + 7.5 * 3600
    for nothing in ({}, {"c": None}, {"c": ""}, {"c": "N/A"}):
        assert time_of(both, {"d": "2026-03-01", **nothing}) == day - 3600


def test_what_is_rejected() -> None:
    both = event(path="d", clock="c")
    for tree, reason in (
        ({"c": "10:00"}, "missing"),
        ({"d": "2026-03-01", "c": "later"}, "bad_time"),
        ({"d": "2026-03-01", "c": [1]}, "wrong_type"),
        ({"d": "2026-03-01T10:00:00", "c": "10:00"}, "bad_time"),
        ({"d": "2260-03-01", "c": "10:00"}, "out_of_range"),
    ):
        found = parsed(both, tree)
        assert isinstance(found, Rejected)
        assert found.reason == reason


def test_a_clock_needs_a_day() -> None:
    for time in ("{path: null, clock: c}", "{path: d, clock: c, format: steps}"):
        with pytest.raises(ConfigError, match="leads to the day"):
            load_text(
                f"event: {{id: null, time: {time}, fields: [{{name: a, type: numeric, path: a}}]}}", "x"
            )


def test_times_of_day_of_other_formats() -> None:
    assert clock(1000, 37_800_000) == "10:30:00"
    micro = named("io.debezium.time.MicroTime")
    assert micro is not None
    assert micro(37_800_500_000) == "10:30:00.500000"


def _lines(day: str, at: str, header: str) -> bytes:
    start = datetime(2026, 1, 5)
    moments = [start + timedelta(minutes=397 * n) for n in range(300)]
    rows = [f"{m.strftime(day)};{m.strftime(at)};K{n % 17};{n % 7 + 1},50" for n, m in enumerate(moments)]
    return "\n".join([header, *rows]).encode()


@pytest.mark.parametrize(
    ("day", "at", "header", "paths"),
    [
        ("%d.%m.%Y", "%H:%M", "Datum;Uhrzeit;Karte;Betrag", ("Datum", "Uhrzeit")),
        ("%Y-%m-%d", "%H:%M:%S", "trans_date;trans_time;card;amount", ("trans_date", "trans_time")),
        ("%Y%m%d", "%H%M%S", "TXN_DATE;TXN_TIME;CARD_NO;AMOUNT", ("TXN_DATE", "TXN_TIME")),
        ("%Y.%m.%d", "%H:%M:%S", "Dátum;Időpont;Kártyaszám;Összeg", ("Dátum", "Időpont")),
        ("%m/%d/%Y", "%I:%M %p", "Date;Time;Account;Amount", ("Date", "Time")),
    ],
)
def test_init_config_finds_both(
    tmp_path: Path, day: str, at: str, header: str, paths: tuple[str, str]
) -> None:
    file = tmp_path / "bank.csv"
    file.write_bytes(_lines(day, at, header))
    inference = infer(read_events(Source(file)))
    schema = load_text(render(inference), "inferred").event
    assert (schema.time.path, schema.time.clock) == paths
    assert paths[1] not in {field.path for field in schema.fields}
    parser = Parser(schema, b"key")
    found = [parser.parse(Record(n, 0, None, line)) for n, line in enumerate(read_events(Source(file)))]
    times = [one.time for one in found if isinstance(one, ParsedEvent)]
    assert len(times) == 300
    assert {b - a for a, b in pairwise(times)} == {397 * 60.0}


def test_digits_of_a_date_and_a_time_need_no_name(tmp_path: Path) -> None:
    file = tmp_path / "calls.csv"
    moments = [datetime(2026, 1, 5) + timedelta(minutes=397 * n) for n in range(300)]
    rows = [f"{m:%Y%m%d%H%M%S}|4479{n % 17:08}|{n % 7}.5" for n, m in enumerate(moments)]
    file.write_text("\n".join(rows))
    schema = load_text(render(infer(read_events(Source(file)))), "inferred").event
    assert (schema.time.path, schema.time.format) == ("column_1", "auto")


@pytest.mark.parametrize("value", [2902, "2902", " 2902"])
def test_a_day_without_a_year_is_of_the_year_of_the_origin(value: object) -> None:
    schema = event(path="d", clock="c", format="%d%m", origin="2024-01-01T00:00:00Z")
    found = time_of(schema, {"d": value, "c": "10:05"})
    assert found == datetime(2024, 2, 29, 10, 5, tzinfo=UTC).timestamp()


def test_a_day_without_a_year_may_lack_a_zero() -> None:
    schema = event(path="d", format="%d%m")
    assert time_of(schema, {"d": 103}) == datetime(2000, 3, 1, tzinfo=UTC).timestamp()
    found = parsed(schema, {"d": 3002})  # no such day
    assert isinstance(found, Rejected)
    assert found.reason == "bad_time"


def test_digits_without_end_are_no_time_of_day() -> None:
    assert not is_clock(["9" * 5_000, "1200"])


def test_raised_digits_are_no_time_of_day() -> None:
    assert not is_clock(["²1", "1200"])
    assert not is_clock(["²1"])
