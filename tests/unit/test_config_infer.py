"""An inferred configuration loads, has id, time, entities and values of realistic streams, follows the
arguments of its caller, has reasons, and copies no private data."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.config.infer import COLUMNS_MAX, SAMPLE_LINES_MAX, Inference, infer, render
from detector.config.load import load
from detector.config.tree import Event
from detector.core.events import Parser, Rejected
from detector.core.records import Record
from detector.errors import ConfigError

Events = Sequence[dict[str, Any]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "inferred.yaml"


def lines(events: Events) -> list[bytes]:
    return [json.dumps(event).encode() + b"\n" for event in events]


def inferred(events: Events, **named: Any) -> Inference:
    return infer(lines(events), **named)


def loaded(path: Path, inference: Inference) -> Event:
    path.write_text(render(inference))
    return load(path).event


def refused(events: Events, **named: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        inferred(events, **named)
    return str(caught.value)


def kinds(inference: Inference) -> dict[str, str]:
    return {c.path: c.kind for c in (*inference.entities, *inference.fields, *inference.ignored)}


def handbook(n: int = 300) -> Events:
    draw = random.Random(0)
    return [
        {
            "TRANSACTION_ID": str(i),
            "TX_DATETIME": f"2018-04-01T{i // 60:02}:{i % 60:02}:31Z",
            "CUSTOMER_ID": str(draw.randrange(200)),
            "TERMINAL_ID": str(draw.randrange(150)),
            "TX_AMOUNT": round(draw.uniform(1, 200), 2),
        }
        for i in range(n)
    ]


def generic(n: int = 300) -> Events:
    draw = random.Random(1)
    return [
        {"event_id": f"http-{i}", "event_time": f"2020-01-01T00:{i // 60:02}:{i % 60:02}Z"}
        | {f"f{k}": draw.gauss(0, 1) for k in range(3)}
        for i in range(n)
    ]


def card(n: int = 300) -> Events:
    draw = random.Random(2)
    return [
        {
            "transaction": {
                "id": f"{draw.getrandbits(64):016x}",
                "transmittedAt": 1_760_000_000_000 + i * 977,
                "amount": f"{draw.uniform(1, 500):.2f}",
                "responseCode": draw.choice(["00", "05", "51"]),
            },
            "received_at": 1_760_000_000_500 + i * 977,
            "stan": i,
            "card": {"token": draw.randrange(4_000_000_000_000_000, 4_000_000_000_000_080), "brand": "visa"},
            "acceptor": {
                "merchant_id": f"M{draw.randrange(40)}",
                "name": f"SHOP NUMBER {draw.randrange(40)}",
                "mcc": draw.choice([5411, 5999, 4111]),
                "country": draw.choice(["FR", "DE"]),
            },
            "device": {"id": f"d{draw.randrange(60)}"} if i % 3 else None,
            "contactless": draw.random() < 0.5,
            "tags": ["a", "b"],
            "schema": "v1",
        }
        for i in range(n)
    ]


# --- streams as they are -----------------------------------------------------------------------------------


def test_the_handbook(path: Path) -> None:
    event = loaded(path, inferred(handbook()))
    assert (event.id, event.time.path, event.time.format) == ("TRANSACTION_ID", "TX_DATETIME", "iso8601")
    assert [(e.name, e.path, e.optional) for e in event.entities] == [
        ("customer", "CUSTOMER_ID", True),
        ("terminal", "TERMINAL_ID", True),
    ]
    assert [(f.name, f.path, f.type) for f in event.fields] == [("tx_amount", "TX_AMOUNT", "numeric")]
    assert event.exposure == "tx_amount"


def test_plain_numbers(path: Path) -> None:
    event = loaded(path, inferred(generic()))
    assert (event.id, event.time.path, event.entities, event.exposure) == ("event_id", "event_time", (), None)
    assert [(f.name, f.type, f.optional) for f in event.fields] == [
        (f"f{k}", "numeric", True) for k in range(3)
    ]


def test_nested_card_transactions(path: Path) -> None:
    inference = inferred(card())
    event = loaded(path, inference)
    assert event.id == "transaction.id"
    assert (event.time.path, event.time.format) == ("transaction.transmittedAt", "epoch_ms")
    assert [(e.name, e.path, e.optional) for e in event.entities] == [
        ("card", "card.token", True),
        ("device", "device.id", True),
        ("merchant", "acceptor.merchant_id", True),
    ]
    assert {f.path: f.type for f in event.fields} == {
        "transaction.amount": "numeric",
        "transaction.responseCode": "categorical",
        "acceptor.name": "text",
        "acceptor.mcc": "categorical",
        "acceptor.country": "categorical",
        "contactless": "categorical",
    }
    assert event.exposure == "transaction_amount"
    reasons = {c.path: c.reason for c in inference.ignored}
    assert set(reasons) == {"received_at", "stan", "card.brand", "tags", "schema"}
    assert "constant" in reasons["schema"]
    assert "list" in reasons["tags"]
    assert "time" in reasons["received_at"]


@pytest.mark.parametrize("stream", [handbook, generic, card])
def test_the_parser_accepts_what_the_configuration_was_made_of(
    path: Path, stream: Callable[[], Events]
) -> None:
    sample = lines(stream())
    parser = Parser(loaded(path, infer(sample)), b"key")
    read = [parser.parse(Record(i, 0, None, line)) for i, line in enumerate(sample)]
    assert [event for event in read if isinstance(event, Rejected)] == []


def test_a_handful_of_events_is_enough_to_begin(path: Path) -> None:
    for events in (handbook(3), generic(1), card(2)):
        assert loaded(path, inferred(events)).fields


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["2026-01-01T10:00:00Z", "2026-01-01T10:00:00.250+02:00"], "iso8601"),
        (["2026-01-01 10:00:00", "2026-01-01 11:00:00"], "iso8601"),
        ([1_760_000_000, 1_760_000_001.5], "epoch_s"),
        ([1_760_000_000_000, 1_760_000_001_500], "epoch_ms"),
        (["1760000000", "1760000001"], "epoch_s"),
        (["2026-01-01", "2026-01-02"], "iso8601"),
        (["20260101T100000Z", "20260101T110000Z"], "iso8601"),
    ],
)
def test_times(path: Path, times: list[Any], expected: str) -> None:
    events = [{"id": str(i), "ts": t, "x": i / 3} for i, t in enumerate(times)]
    event = loaded(path, inferred(events))
    assert (event.time.path, event.time.format) == ("ts", expected)


def test_times_without_a_zone_are_pointed_out() -> None:
    events = [{"id": str(i), "ts": f"2026-01-01 10:00:0{i}", "x": i / 3} for i in range(5)]
    assert "5 of 5 have no time zone: UTC is assumed" in render(inferred(events))
    assert "resolution" not in render(inferred(events))


def test_the_time_of_the_event_is_preferred() -> None:
    events = [{"id": str(i), "created_at": 1_760_000_000 + i, "event_time": 1_750_000_000 + i, "x": i / 3}
              for i in range(5)]  # fmt: skip
    assert inferred(events).time.path == "event_time"


def test_days_are_the_time_where_there_is_no_better_one(path: Path) -> None:
    events = [{"id": str(i), "transaction_date": f"2026-01-0{i}", "x": i / 3} for i in range(1, 6)]
    assert "days without a time of day" in render(inferred(events))
    assert "resolution: 1d" in render(inferred(events))
    assert loaded(path, inferred(events)).time.path == "transaction_date"
    parser = Parser(load(path).event, bytes(32))
    assert not isinstance(parser.parse(Record(0, 0, None, json.dumps(events[0]).encode())), Rejected)
    with_times = [event | {"seen": 1_760_000_000 + i} for i, event in enumerate(events)]
    assert inferred([e | {"seen_at": e["seen"]} for e in with_times]).time.path == "seen_at"


def test_a_telephone_number_is_no_time() -> None:
    events = [
        {"id": str(i), "subscriber": 1_760_000_000 + i, "at": 1_750_000_000, "x": i / 3} for i in range(5)
    ]
    assert inferred(events).time.path == "at"


def test_whole_numbers_that_identify_are_no_amounts() -> None:
    events = [
        e | {"account": i % 50, "branch_no": 9_000 + i % 40, "visits": i % 7} for i, e in enumerate(generic())
    ]
    found = kinds(inferred(events))
    assert (found["account"], found["branch_no"], found["visits"]) == ("entity", "entity", "numeric")


def test_entities_are_recognised_by_recurring_values() -> None:
    draw = random.Random(3)
    events = [e | {"src": f"k{draw.randrange(60)}x", "once": f"{draw.random()}s"} for e in generic()]
    found = kinds(inferred(events))
    assert (found["src"], found["once"]) == ("entity", "ignored")


def test_everything_is_optional_so_that_a_producer_may_drop_a_field() -> None:
    inference = inferred(card())
    assert all(choice.optional for choice in (*inference.entities, *inference.fields))


def test_each_choice_has_counts_and_examples(path: Path) -> None:
    events = [e | {"colour": ["red", "blue", None, "red"][i % 4]} for i, e in enumerate(generic())]
    inference = inferred(events)
    colour = next(f for f in inference.fields if f.path == "colour")
    assert (colour.distinct, colour.missing, colour.examples) == (2, 0.25, ("'red'", "'blue'"))
    assert "2 different, 25.0% missing, e.g. 'red', 'blue'" in render(inference)


def test_a_field_that_is_sometimes_an_object_is_not_used() -> None:
    events = [e | {"a": {"b": 1.5 * i, "c": {"d": 0.1 * i}} if i % 2 else 7} for i, e in enumerate(generic())]
    found = kinds(inferred(events))
    assert {found[path] for path in ("a", "a.b", "a.c.d")} == {"ignored"}


def test_an_object_may_be_missing() -> None:
    events = [e | {"a": {"b": 1.5 * i} if i % 2 else None} for i, e in enumerate(generic())]
    assert kinds(inferred(events))["a.b"] == "numeric"


def test_names_are_valid_and_different(path: Path) -> None:
    extra = {"9 lives": 1.5, "é": 2.5, "a b": 3.5, "a-b": 4.5, "a_b": 5.5, "x" * 200: 6.5, "camelCase": 7.5}
    events = [{**e, **{k: v * i for k, v in extra.items()}} for i, e in enumerate(generic())]
    fields = loaded(path, inferred(events)).fields
    assert {f.path for f in fields} >= set(extra)
    assert {f.path: f.name for f in fields}["camelCase"] == "camel_case"


def test_keys_that_no_path_can_name_are_listed_as_not_used(path: Path) -> None:
    events = [
        {**e, "a.b": 1.5 * i, "": 2.5 * i, 'a"': 2.5 * i, "\n": 2.5 * i, "k" * 300: 1.5 * i}
        for i, e in enumerate(generic())
    ]
    inference = inferred(events)
    assert len(loaded(path, inference).fields) == 3
    left_out = {c.path: c.reason for c in inference.ignored}
    assert "its name has a dot" in left_out["a.b"]
    assert set(left_out) == {"a.b", "", 'a"', "\n", "k" * 253 + "..."}
    assert "#   a.b: its name has a dot" in render(inference)


def test_keys_that_cannot_be_named_are_counted_only_so_far() -> None:
    events = [e | {f"a.{i}.{k}": 1 for k in range(20)} for i, e in enumerate(generic(200))]
    assert len(inferred(events).ignored) <= COLUMNS_MAX


def test_limits_of_the_tree_are_kept(path: Path) -> None:
    events = [
        e | {f"v{k}": i * k / 7 for k in range(1, 200)} | {f"user{k}_id": i % (30 + k) for k in range(12)}
        for i, e in enumerate(generic(120))
    ]
    event = loaded(path, inferred(events))
    assert (len(event.fields), len(event.entities)) == (128, 8)


# --- what the caller says ----------------------------------------------------------------------------------


def test_the_caller_wins(path: Path) -> None:
    named = {"id": "stan", "time": "received_at", "entities": ["acceptor.merchant_id", "acceptor.country"]}
    inference = inferred(card(), **named)
    event = loaded(path, inference)
    assert (event.id, event.time.path) == ("stan", "received_at")
    assert [e.path for e in event.entities] == ["acceptor.merchant_id", "acceptor.country"]
    assert kinds(inference)["card.token"] == "ignored"
    assert render(inference).count("named by you") == 4


def test_the_caller_may_name_an_id_that_repeats_and_a_time_that_counts_from_zero(path: Path) -> None:
    events = [{"who": i // 2, "second": i, "x": i / 3} for i in range(300)]
    event = loaded(path, inferred(events, id="who", time="second"))
    assert (event.id, event.time.path, event.time.format) == ("who", "second", "steps")
    assert event.duplicates is None, "every second event would be refused as a repeat"
    assert "50.0% of the events repeat" in render(inferred(events, id="who", time="second"))


def test_a_few_repeats_in_the_sample_are_a_producers_retries(path: Path) -> None:
    events = [{"who": max(0, i - 1), "second": i, "x": i / 3} for i in range(300)]
    inference = inferred(events, id="who", time="second")
    assert loaded(path, inference).duplicates is not None
    assert "0.3% of the events repeat" in render(inference)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"id": "TRANSACTION_IDD"}, "did you mean TRANSACTION_ID?"),
        ({"id": "nothing"}, "TRANSACTION_ID, TX_DATETIME, CUSTOMER_ID, TERMINAL_ID"),
        ({"id": "TX_AMOUNT"}, "CUSTOMER_ID"),
        ({"time": "CUSTOMER"}, "TX_DATETIME"),
        ({"entities": ["customer_id"]}, "did you mean CUSTOMER_ID?"),
        ({"entities": ["TX_AMOUNT"]}, "CUSTOMER_ID"),
        ({"entities": ["CUSTOMER_ID", "CUSTOMER_ID"]}, "different"),
    ],
)
def test_an_unknown_name_is_refused_with_the_names_that_fit(named: dict[str, Any], words: str) -> None:
    assert words in refused(handbook(), **named)


# --- streams without an id or a time ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        lambda i: {},
        lambda i: {"n": i},
        lambda i: {"ts": "2026-01-01T10:00:00Z", "n": i * 7 % 50},
        lambda i: {"customer": f"c{i}"},
        lambda i: {"note": f"note {i}"},
    ],
)
def test_without_an_id_the_place_of_the_event_is_its_id(
    path: Path, more: Callable[[int], dict[str, Any]]
) -> None:
    events = [{"ts": f"2026-01-01T10:00:{i:02}Z", "x": i % 5 / 3} | more(i) for i in range(50)]
    inference = inferred(events)
    event = loaded(path, inference)
    assert (event.id, event.duplicates is None) == (None, False)
    assert "topic-partition-offset" in render(inference)


def test_an_id_that_its_name_does_not_tell_is_not_compared(path: Path) -> None:
    events = [{"ts": f"2026-01-01T10:00:{i:02}Z", "x": i % 5, "what": f"w{i * 7919:06}"} for i in range(50)]
    inference = inferred(events)
    event = loaded(path, inference)
    assert (event.id, event.duplicates) == ("what", None)
    assert "its name does not say that it is the event's id" in render(inference)


def test_a_text_that_merely_differs_is_no_id() -> None:
    events = [{"ts": f"2026-01-01T10:00:{i:02}Z", "x": i % 5, "what": f"w{i * 7919}"} for i in range(50)]
    assert inferred(events).id.path == ""


def test_without_a_time_the_record_has_one(path: Path) -> None:
    inference = inferred([{"id": str(i), "x": i / 3} for i in range(50)])
    assert loaded(path, inference).time.path is None
    assert "the record's timestamp is the time" in render(inference)


# --- when nothing can be found -----------------------------------------------------------------------------


def test_nothing_to_learn_from() -> None:
    assert "learn from" in refused([{"id": str(i), "ts": f"2026-01-01T10:00:0{i}Z"} for i in range(5)])


@pytest.mark.parametrize("sample", [[], [b"\n"], [b"{", b"[1]", b"null", b"\xff", b"NaN"], [b"[" * 100_000]])
def test_no_usable_line(sample: list[bytes]) -> None:
    with pytest.raises(ConfigError, match="no event"):
        infer(sample)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'["a", 1]', "lists without names"),
        (rb'"{\"id\": 1}"', "jq -c fromjson"),
        (b"{'id': 1}", "json.dumps"),
        (b"{id: 1}", "no quotes"),
        (b"b'{\"id\": 1}'", "bytes as Python prints them"),
        (b'key1 {"id": 1}', "in front of the JSON"),
        (b'{"name": "M\xfcller"}', "iconv"),
        (b"2026-03-01 10:00:00 INFO paid", "another kind"),
    ],
)
def test_what_is_no_event_is_named_with_a_way_out(line: bytes, words: str) -> None:
    with pytest.raises(ConfigError, match="no event") as caught:
        infer([line] * 5)
    assert words in str(caught.value)


def test_events_inside_of_a_list_or_a_text_are_pointed_out() -> None:
    one = {"head": {"id": "7"}, "body": {"entries": [{"amount": i} for i in range(5)]}, "x": 1.5}
    assert "jq -c '.body.entries[]' FILE" in render(inferred([one]))
    texts = [{"key": f"k{i}", "value": json.dumps({"id": i}), "x": i / 3} for i in range(50)]
    assert "value holds JSON in a text" in render(inferred(texts))


def test_broken_lines_are_counted() -> None:
    good = lines(generic())
    inference = infer([b"{\n", *good[:9], b"\n", b"[]\n", b'{"a": "' + b"x" * 70_000 + b'"}', *good[9:]])
    assert (inference.events, inference.broken) == (300, 3)
    assert "3 broken lines" in render(inference)


def test_the_sample_is_bounded() -> None:
    def endless() -> Iterator[bytes]:
        i = 0
        while True:
            assert i <= SAMPLE_LINES_MAX
            yield b'{"id": "%d", "ts": "2026-01-01T10:00:00Z", "x": %d}' % (i, i * i % 97)
            i += 1

    assert infer(endless()).events == SAMPLE_LINES_MAX


def test_no_whole_card_number_or_name_is_copied() -> None:
    events = [
        e | {"card": {"pan": f"49927398716{i % 40:05}"}, "memo": f"for Jane Doe, flat {i % 90}"}
        for i, e in enumerate(generic())
    ]
    text = render(inferred(events))
    assert "49927" not in text
    assert "Jane" not in text


# --- laws ------------------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
keys = st.text(max_size=6) | st.sampled_from(["id", "ts", "card", "amount", "name", "user_id", "a", "a.b"])
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=2) | st.dictionaries(keys, v, max_size=3), max_leaves=6
)
objects = st.dictionaries(keys, values, max_size=6)


def readable(event: Event) -> bool:
    return Parser(event, b"key").schema == event


def reads(path: Path, events: Events, **named: Any) -> bool:
    """Whether the sample is refused with a reason, or the configuration made of it loads."""
    try:
        inference = inferred(events, **named)
    except ConfigError as error:
        return bool(error.problems)
    return readable(loaded(path, inference))


@given(events=st.lists(objects, max_size=6))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_sample_is_refused_or_loads(path: Path, events: Events) -> None:
    assert reads(path, events)


@given(extra=st.lists(objects, min_size=1, max_size=6), times=st.integers(1, 40))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_fields_beside_an_id_and_a_time_load(path: Path, extra: Events, times: int) -> None:
    events = [
        {**event, "id": f"e{i}", "ts": "2026-01-01T10:00:00Z", "x": i / 3}
        for i, event in enumerate(extra * times)
    ]
    event = loaded(path, inferred(events, time="ts"))
    assert event.time.path == "ts"
    assert readable(event)
    assert all(
        reads(path, events, id=named, time="ts", entities=[named]) for named in ("id", "a", "card", "name")
    )


@pytest.mark.parametrize(
    ("names", "amount"),
    [
        (("Debit", "Credit"), "Debit"),
        (("Haben", "Soll"), "Soll"),
        (("Deposits (USD)", "Withdrawals (USD)"), "Withdrawals (USD)"),
        (("Money In", "Money Out"), "Money Out"),
        (("Credit Amount", "Debit Amount"), "Debit Amount"),
        (("Debit", "Amount"), "Amount"),
        (("Debit Cnt", "Credit Score"), None),
    ],
)
def test_of_two_columns_of_a_statement_the_money_that_leaves(
    names: tuple[str, str], amount: str | None
) -> None:
    rows = [
        {"id": f"u{n}", "time": 1_772_323_200 + n, names[0]: n % 9 + 0.5, names[1]: n % 7 + 0.25}
        for n in range(120)
    ]
    inference = infer(json.dumps(row).encode() for row in rows)
    paths = {choice.name: choice.path for choice in inference.fields}
    assert (None if inference.exposure is None else paths[inference.exposure]) == amount


@pytest.mark.parametrize(
    ("name", "yes", "no", "sure"),
    [
        ("Missbrauch", "ja", "nein", True),
        ("est_suspecte", "oui", "non", True),
        ("contestação", "sim", "não", True),
        ("мошенничество", "да", "нет", True),
        ("是否异常", "是", "否", True),
        ("Zkažená", "ano", "ne", False),  # nobody knows this word: it is left out, and makes no feedback
        ("is_reviewed", 1, 0, False),
    ],
)
def test_a_flag_that_says_afterwards_what_an_event_was_is_no_input(
    name: str, yes: Any, no: Any, sure: bool
) -> None:
    draw = random.Random(3)
    rows = [
        {"id": f"T{number}", "card": f"c{number % 40}", "amount": draw.randrange(1, 9_000) / 100,
         name: yes if number % 60 == 7 else no, "foreign_request": int(draw.random() < 0.02)}
        for number in range(600)
    ]  # fmt: skip
    found = inferred(rows)
    assert [(label.path, label.sure) for label in found.labels] == [(name, sure)]
    assert kinds(found)["foreign_request"] == "categorical"


def test_a_flag_that_never_says_yes_is_no_label() -> None:
    rows = [{"id": f"T{number}", "card": f"c{number % 40}", "amount": number / 100,
             "is_known": ("no", "none")[number % 60 == 7]} for number in range(600)]  # fmt: skip
    assert not inferred(rows).labels
