"""What names of fields say: words by language, other forms of a word, and names that are hard to say."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest

from detector.config.infer import Inference, infer, render
from detector.config.infer.vocabulary import CONCEPTS, concept, words_of
from detector.config.load import load_text

WORDS = tomllib.loads(files("detector.config.infer").joinpath("words.toml").read_text("utf-8"))


def inferred(events: list[dict[str, Any]]) -> Inference:
    found = infer(json.dumps(event).encode() for event in events)
    load_text(render(found), "inferred")
    return found


@pytest.mark.parametrize("language", WORDS)
def test_a_language_has_words_of_the_known_meanings_alone(language: str) -> None:
    assert set(WORDS[language]) <= set(WORDS["en"])
    assert all(text == text.lower() and text.split() for text in WORDS[language].values())


@pytest.mark.parametrize("language", WORDS)
def test_a_word_of_a_language_is_of_one_entity_or_value(language: str) -> None:
    found = [word for meaning in CONCEPTS for word in WORDS[language].get(meaning, "").split()]
    twice = {word for word in found if found.count(word) > 1}
    assert twice <= {"value"}


@pytest.mark.parametrize(
    ("name", "what"),
    [
        *(("nr_transakcji", ""), ("id_terminala", "terminal"), ("Покупателя", "customer")),
        *(("müşterisi", "customer"), ("Betrugsverdacht", "label"), ("Auftragskonto", "account")),
    ],
)
def test_a_word_in_another_form_is_the_known_one(name: str, what: str) -> None:
    words = words_of(name)
    assert words != [name.lower()]
    assert concept(words[-1]) == what


@pytest.mark.parametrize(
    "name", ["customs", "operator", "merchandise", "district", "statement", "counter", "played"]
)
def test_words_that_only_begin_alike_are_not_taken_for_each_other(name: str) -> None:
    assert words_of(name) == [name]


def test_a_name_may_have_no_word() -> None:
    found = inferred([{"=": f"k{n}", "amount": n / 4} for n in range(60)])
    assert found.id.path == "="


def test_what_a_thai_name_is_stands_first() -> None:
    assert words_of("วันที่ทำรายการ") == ["วันที่", "ทำรายการ"]


@pytest.mark.parametrize(("name", "text"), [("Geçiş Ücreti (TL)", "{}.50"), ("amount", "{},")])
def test_an_amount_may_be_known_by_its_currency_or_have_no_cents(name: str, text: str) -> None:
    found = inferred(
        [
            {"t": f"2026-03-01T10:{n:02}:00Z", name: text.format(1200 + n), "Bakiye": f"{n % 7}.25"}
            for n in range(60)
        ]
    )
    assert next(field.path for field in found.fields if field.name == found.exposure) == name


def test_a_name_may_have_a_comma_and_a_space() -> None:
    found = inferred([{"t": f"2026-03-01T10:{n % 60:02}:00Z", "paid, net": n / 4} for n in range(60)])
    assert [field.path for field in found.fields] == ["paid, net"]


def test_a_number_beside_a_currency_may_be_missing_in_words() -> None:
    events = [{"c": ("EUR", "USD")[n % 2], "x": "NA" if n % 9 == 7 else f"{n}.50"} for n in range(120)]
    assert inferred(events).exposure == "x"


def test_codes_are_categories_also_with_a_fraction() -> None:
    events = [{"RatecodeID": float(1 + n % 5), "os": n % 7, "rate": float(n % 5)} for n in range(200)]
    kinds = {field.path: field.kind for field in inferred(events).fields}
    assert kinds == {"RatecodeID": "categorical", "os": "categorical", "rate": "numeric"}


def test_what_lies_in_data_is_no_date() -> None:
    events = [{"data": {"line": 1_700_000_000 + n * 7919 % 41, "ms": n % 9 + 0.5}} for n in range(200)]
    assert inferred(events).time.path == ""


@pytest.mark.parametrize(
    ("name", "is_amount"),
    [
        ("total", True),
        ("total_usd", True),
        ("Total Cents", True),
        ("Gross Pay", True),
        ("Total Flights", False),
    ],
)
def test_a_total_of_something_else_is_no_amount(name: str, is_amount: bool) -> None:
    found = inferred([{"t": f"2026-03-01T10:{n % 60:02}:00Z", name: n % 41} for n in range(200)])
    assert (found.exposure is not None) == is_amount


def one_more(name: str, value: Callable[[int], Any]) -> Inference:
    return inferred([{"t": f"2026-03-01T10:{n % 60:02}:00Z", "x": n % 5, name: value(n)} for n in range(600)])


@pytest.mark.parametrize("name", ["has_cbk", "attack_cat", "Is Account Takeover", "欺诈标志", "不正フラグ"])
def test_names_of_labels(name: str) -> None:
    assert [label.path for label in one_more(name, lambda n: int(n % 5 == 3)).labels] == [name]


@pytest.mark.parametrize(
    "name", ["caller", "payer_vpa", "from_addr", "person", "supplier", "vin", "household"]
)
def test_names_of_somebody(name: str) -> None:
    assert [entity.path for entity in one_more(name, lambda n: n * 7 % 53 + 100).entities] == [name]


@pytest.mark.parametrize("name", ["TRANAMT", "donation", "usd", "payment"])
def test_names_of_amounts(name: str) -> None:
    assert one_more(name, lambda n: n * 13 % 377 + 0.25).exposure is not None


@pytest.mark.parametrize(
    ("names", "amount"),
    [
        (("goods_value", "total"), "total"),
        (("amount_local", "amount_eur"), "amount_eur"),
        (("amount_local", "fee"), "amount_local"),
    ],
)
def test_of_several_amounts_it_is_the_whole_in_one_currency(names: tuple[str, ...], amount: str) -> None:
    events = [
        {"id": f"k{n}", "time": f"2026-03-01T10:{n // 60:02}:{n % 60:02}Z", "card": f"c{n % 9}"}
        | {name: round((n * 13 % 377 + 0.25) * (place + 1), 2) for place, name in enumerate(names)}
        for n in range(300)
    ]
    assert inferred(events).exposure == amount


def test_the_day_of_something_in_no_order_is_not_the_time() -> None:
    """Claims came by the second, each with the day of its service, weeks before."""
    events = [
        {
            "claim_id": f"k{n}",
            "service_date": f"2026-02-{n * 17 % 28 + 1:02}",
            "received_at": f"2026-03-01T{n // 60:02}:{n % 60:02}:00Z",
            "member": f"m{n % 9}",
            "amount": n * 13 % 377 + 0.25,
        }
        for n in range(300)
    ]
    assert inferred(events).time.path == "received_at"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wandererid", ["wanderer", "id"]),
        ("unpaid", ["unpaid"]),
        ("prepaid", ["prepaid"]),
        ("is_invalid", ["is", "invalid"]),
    ],
)
def test_an_unknown_word_with_id_behind_it_is_an_id(name: str, words: list[str]) -> None:
    assert words_of(name) == words
