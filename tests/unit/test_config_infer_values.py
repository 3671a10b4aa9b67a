"""An inferred configuration for numbers, places and names that are out of the ordinary."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from detector.config.infer import infer, render
from detector.config.load import load_text
from detector.config.tree import Event, NumberForm
from detector.core.events import ParsedEvent, Parser
from detector.core.records import Record


def configured(events: Sequence[dict[str, Any]]) -> Event:
    lines = [json.dumps(event).encode() for event in events]
    return load_text(render(infer(lines)), "inferred").event


def test_a_whole_number_beyond_all_floats_is_no_time_and_no_price() -> None:
    huge = 10**400
    rows = [
        {"id": f"e{n}", "day": huge + n, "price": huge, "qty": n % 7, "lat": huge, "lon": n}
        for n in range(150)
    ]
    event = configured(rows)
    assert event.time.path is None
    assert [field.type for field in event.fields if field.path.startswith("lat")] in ([], ["numeric"])


@pytest.mark.parametrize(
    ("latitude", "form"),
    [
        (lambda n: f"48,{n:04}", NumberForm(decimal=",", thousands=".")),
        (lambda n: "NA" if n % 3 else f"48.{n:04}", NumberForm()),
    ],
)
def test_places_in_texts(latitude: Callable[[int], str], form: NumberForm) -> None:
    rows = [
        {"id": f"e{n}", "amount": n * 1.25, "lat": latitude(n), "lon": latitude(n).replace("48", "2")}
        for n in range(150)
    ]
    event = configured(rows)
    (place,) = (field for field in event.fields if field.type == "geo")
    assert (place.path, place.number or event.number) == ("lat, lon", form)
    parser = Parser(event, b"key")
    found = parser.parse(Record(0, 0, None, json.dumps(rows[3]).encode()))
    assert isinstance(found, ParsedEvent)
    assert (found.points, found.unreadable) == (((48.0003, 2.0003),), ())


@pytest.mark.parametrize(("name", "unit"), [("stake", "EUR"), ("Gutschrift in CHF", "CHF"), ("odds", None)])
def test_the_unit_of_what_an_event_is_about(name: str, unit: str | None) -> None:
    rows = [{"player": f"p{n % 30}", name: 1.25 + n % 40, "currency": "EUR"} for n in range(150)]
    event = configured(rows)
    assert [field.unit for field in event.fields if field.path == name] == [unit]


def test_an_entity_of_no_known_kind_is_shown_by_its_own_name() -> None:
    rows = [{"ასისტენტი": f"A-{n * 7 % 40:03}", "amount": n % 60 + 0.5} for n in range(150)]
    (entity,) = configured(rows).entities
    assert (entity.name, entity.display) == ("field", "ასისტენტი")


def test_an_identifier_that_few_events_have_and_that_never_comes_back_is_no_field() -> None:
    rows = [
        {"visitor": f"v{n % 30}", "amount": n % 60 + 0.5, "purchase_id": None if n % 20 else 9_000 + n * 3}
        for n in range(300)
    ]
    event = configured(rows)
    assert [field.path for field in event.fields] == ["amount"]


def test_names_of_deep_paths() -> None:
    rows = [
        {
            "FIToFICstmrCdtTrf": {
                "CdtTrfTxInf": {
                    "DbtrAcct": {"Id": {"IBAN": f"DE{n * 7 % 40:020}"}},
                    "CdtrAcct": {"Id": {"IBAN": f"FR{n * 11 % 37:020}"}},
                    "IntrBkSttlmAmt": {"@Ccy": "EUR", "#text": f"{n % 60}.50"},
                }
            }
        }
        for n in range(150)
    ]
    event = configured(rows)
    assert [entity.name for entity in event.entities] == ["iban", "payee"]
    assert (
        [field.name for field in event.fields]
        == [event.exposure]
        == ["cdt_trf_tx_inf_intr_bk_sttlm_amt_text"]
    )
