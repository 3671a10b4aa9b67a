"""Golden sentences: what an alert says, word by word."""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detector.config.tree import Event
from detector.core.alerts.earlier import Before
from detector.core.alerts.known import Contact, Pace
from detector.core.alerts.words import Sentences, Usual, duration, money, number, percent, printed
from detector.core.alerts.words.words import rate
from detector.core.codes import RESPECTS

DAY, HOUR = 86_400.0, 3_600.0

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def schema(**amount: Any) -> Event:
    return Event.model_validate(
        {
            "id": "id",
            "time": {"path": "t"},
            "entities": [
                {"name": "account_id", "path": "a"},
                {"name": "device", "path": "d"},
                {"name": "bene_iban", "path": "b"},
                {"name": "MERCHANT_ID", "path": "m"},
                {"name": "holder", "path": "h", "display": "card holder"},
            ],
            "fields": [
                {"name": "amount", "path": "amount", "type": "numeric", "display": "Amount", **amount},
                {"name": "items", "path": "items", "type": "numeric", "unit": "pieces"},
                {
                    "name": "mcc",
                    "path": "mcc",
                    "type": "categorical",
                    "display": "Merchant category",
                    "labels": ["6011=cash"],
                },
                {"name": "ccy", "path": "ccy", "type": "categorical"},
                {"name": "country", "path": "country", "type": "categorical"},
            ],
            "exposure": "amount",
        }
    )


SAY = Sentences(schema(unit="EUR"))
VALUES = {"amount": 2_164_470.0, "mcc": "6011", "ccy": "SEK"}


def contact(**changed: Any) -> Contact:
    known = {
        "column": 1,
        "paired": True,
        "new": False,
        "gap_s": 3 * DAY,
        "age_s": 90 * DAY,
        "events": 40.0,
        "ever": True,
        "one_of": 200.0,
    }
    return Contact(**(known | changed))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "less than a second"),
        (1.0, "1 second"),
        (119.0, "119 seconds"),
        (129.6, "2 minutes"),
        (5400.0, "90 minutes"),
        (7200.0, "2 hours"),
        (47 * HOUR, "47 hours"),
        (2 * DAY, "2 days"),
        (90 * DAY, "3 months"),
        (800 * DAY, "2 years"),
    ],
)
def test_times_are_told_in_the_largest_unit_of_which_there_are_two(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0"),
        (7.0, "7"),
        (1234567.0, "1,234,567"),
        (0.002686, "0.002686"),
        (3.16349, "3.163"),
        (-12.5, "-12.5"),
        (123456.789, "123,457"),
        (1e300, "1.000e+300"),
        (float("nan"), "missing"),
    ],
)
def test_numbers_have_four_digits_and_signs_between_thousands(value: float, words: str) -> None:
    assert number(value) == words


def test_money_has_two_decimals_and_its_currency_in_front() -> None:
    assert money(2_164_470, "EUR") == "EUR 2,164,470.00"
    assert money(-0.5, "€") == "€ -0.50"
    assert money(12.345, None) == "12.35" or money(12.345, None) == "12.34"
    assert money(1200.0, "EUR", whole=True) == "EUR 1,200"
    assert percent(0.021) == "2 %"
    assert percent(0.0001) == "less than 1 %"


def test_an_amount_beside_the_accounts_own_range() -> None:
    field, own = SAY.words._fields["amount"], Usual("this account", 12.3, 84.9)
    assert SAY.number(field, 2_164_470.0, [own], VALUES) == (
        "Amount EUR 2,164,470.00; this account usually 12 to 85"
    )
    here = Usual("in merchant category 6011, cash", 20.0, 204.0)
    assert SAY.number(field, 900.0, [own, here], VALUES) == (
        "Amount EUR 900.00; this account usually 12 to 85, in merchant category 6011, cash usually 20 to 200"
    )
    assert SAY.number(field, 50.0, [own], VALUES) == (
        "Amount EUR 50.00 is usual by itself; this account usually 12 to 85"
    )
    assert SAY.number(field, None, [own], VALUES) == "Amount is missing; this account usually 12 to 85"
    assert SAY.number(field, 50.0, [], VALUES) == "Amount EUR 50.00, which is rare here"
    same = Usual("accounts", 49.99, 50.01)
    assert SAY.number(field, 90.0, [same], VALUES) == "Amount EUR 90.00; accounts usually 50"
    young = Usual("this account", 12.3, 84.9, young=True)
    assert SAY.number(field, 90.0, [young], VALUES) == "Amount EUR 90.00; this account so far 12 to 85"
    cents = Usual("this account", 0.46, 81.0)
    assert SAY.number(field, 90.0, [cents], VALUES) == "Amount EUR 90.00; this account usually up to 81"
    small = Usual("this account", 0.31, 2.74)
    assert SAY.number(field, 9.5, [small], VALUES) == "Amount EUR 9.50; this account usually 0.31 to 2.70"


@given(st.sampled_from(["amount", "items"]), FINITE, FINITE, FINITE)
@example("amount", 1.0, 2.0, sys.float_info.max)
@example("items", 1.0, 2.0, sys.float_info.max)
def test_any_finite_value_and_range_can_be_said(name: str, observed: float, low: float, high: float) -> None:
    own = Usual("this account", min(low, high), max(low, high))
    said = SAY.number(SAY.words.field(name), observed, [own], VALUES)
    assert not re.search(r"\b(inf|nan)\b", said)
    assert len(said) < 200


def test_other_numbers_have_their_unit_and_whole_ones_whole_ranges() -> None:
    field = SAY.words._fields["items"]
    assert SAY.number(field, 7.0, [Usual("this account", 0.6, 2.6)], VALUES) == (
        "Items 7 pieces; this account usually 1 to 3"
    )
    few = [Usual("this account", 0.89, 1.46)]
    assert SAY.number(field, 7.0, few, VALUES) == "Items 7 pieces; this account usually 1 to 2"
    assert SAY.number(field, 1.0, few, VALUES).endswith("usually 0.89 to 1.5")  # it may be a share


def shared(others: int, *amounts: float, usual: bool = False) -> str:
    """What is said of a device that other accounts, which were alerted, have used too."""
    return SAY.phrases.shared(
        "device", "D17", others, since_s=7 * DAY, latest_s=240.0, amounts=amounts, values=VALUES, usual=usual
    )


def test_others_that_were_alerted_are_told_with_what_it_was() -> None:
    three = "3 other accounts were alerted on device D17 in the last 7 days, the latest 4 minutes ago"
    assert shared(3) == shared(3, math.nan) == three
    assert shared(3, 12.5) == f"{three} (EUR 12.50)"
    assert shared(3, 12.5, math.nan, 900.0) == f"{three} (the newest ones EUR 12.50 and EUR 900.00)"
    assert shared(2, 12.5, 900.0).endswith("4 minutes ago (EUR 12.50 and EUR 900.00)")
    assert shared(1, 12.5, usual=True) == (
        "1 other account was alerted on device D17 in the last 7 days, 4 minutes ago (EUR 12.50); "
        "no more than chance explains there"
    )


def test_each_respect_in_which_an_event_was_unusual_has_words() -> None:
    told = [SAY.phrases.why(Before(9, 60.0, 4.0, "alerted", 3.0, one)) for one in RESPECTS]
    assert told[0] == ""
    assert all(one.endswith(", ") for one in told[1:])
    assert len(set(told)) == len(RESPECTS)


def test_what_always_happens_is_not_counted() -> None:
    """ "First time at merchant M236 for this card; this happens in 100 % of the events of this card"."""
    met = Contact(1, True, True, math.nan, math.nan, 0.0, ever=True, one_of=1.1)
    assert SAY.first_time(met, "device", "D17", theirs=None) == "first time on device D17 for this account"


def test_a_range_beside_0_is_told_as_that() -> None:
    hardly = [Usual("this account", 0.0, 0.0012)]
    assert SAY.number(SAY.words.field("items"), 4.5, hardly, VALUES) == (
        "Items 4.5 pieces; this account usually about 0"
    )
    assert SAY.number(SAY.words.field("items"), 0.05, hardly, VALUES).endswith("usually up to 0.0012")
    far = Usual("this account", 12.3, 84.9)
    assert SAY.number(SAY.words.field("amount"), 9e6, [far], VALUES).endswith("usually 12 to 85")


def test_a_yes_or_no_is_named_by_what_it_is() -> None:
    assert [SAY.words.noun(name) for name in ("is_gift", "hasChip", "is")] == ["gift", "chip", "is"]


def test_the_currency_may_be_that_of_another_field_or_unknown() -> None:
    by_field = Sentences(schema(currency="ccy"))
    assert by_field.words.amount(1200.0, VALUES) == "SEK 1,200.00"
    assert by_field.words.amount(1200.0, {}) == "1,200.00"
    assert Sentences(schema()).words.amount(1200.0, VALUES) == "1,200.00"
    assert Sentences(schema(unit="kWh")).words.amount(1200.0, VALUES) == "1,200 kWh"


@pytest.mark.parametrize(
    ("name", "noun"),
    [
        ("account_id", "account"),
        ("MERCHANT_ID", "merchant"),
        ("customerId", "customer"),
        ("cc_num", "card"),
        ("bene_iban", "beneficiary IBAN"),
        ("holder", "card holder"),
        ("mcc", "merchant category"),
        ("id", "id"),
        ("device.fingerprint", "device fingerprint"),
    ],
)
def test_each_entity_has_its_noun(name: str, noun: str) -> None:
    assert SAY.words.noun(name) == noun


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("mcc", "6011", "in merchant category 6011, cash"),
        ("mcc", "5411", "in merchant category 5411"),
        ("country", "DE", "in country DE"),
        ("device", "D17", "on device D17"),
        ("MERCHANT_ID", "M1", "at merchant M1"),
        ("bene_iban", "X", "with beneficiary IBAN X"),
        ("holder", "Ann", "with card holder Ann"),
        ("country", None, "in country"),
        ("country", "country 24", "in country 24"),
    ],
)
def test_how_one_meets_a_thing(name: str, value: str | None, words: str) -> None:
    assert SAY.words.meeting(name, value) == words


@pytest.mark.parametrize(
    ("known", "theirs", "words"),
    [
        (
            {"new": True, "ever": False},
            None,
            "first time on device D17 for anybody; this happens in 1 of 200 events of this account",
        ),
        ({"new": True, "one_of": 0.0}, None, "first time on device D17 for this account"),
        (
            {"new": True, "one_of": 0.0},
            Pace(2.0, 0.0, 6.2, 2 * HOUR),
            "first time on device D17 for this account; others were first seen there 2 hours ago, "
            "6 events since",
        ),
        (
            {"gap_s": 60.0, "age_s": 129.6, "events": 1.0},
            None,
            "first time on device D17 was 2 minutes ago, 1 event before this one",
        ),
        ({}, None, "Device D17 is usual for this account by itself, known for 3 months"),
        ({"events": 2.0}, None, "Device D17 is seldom for this account: about 1 of 50 events"),
        ({"gap_s": 20.0}, None, "again on device D17 after 20 seconds"),
        (
            {"gap_s": 20.0, "events": 60.0},  # its usual one
            None,
            "Device D17 is usual for this account by itself, known for 3 months",
        ),
        (
            {"new": True, "one_of": 2.0},
            None,
            "first time on device D17 for this account; this happens in 50 % of the events of this account",
        ),
        ({"paired": False, "new": True}, None, "Device D17, never seen before"),
        ({"paired": False}, None, "Device D17, which about 1 of 500 events has"),
    ],
)
def test_contacts(known: dict[str, Any], theirs: Pace | None, words: str) -> None:
    told = SAY.contact(contact(**known), "device", "D17", theirs=theirs, share=0.002, own_events=100.0)
    assert told == words


def test_first_contacts_of_one_time_are_told_together() -> None:
    met = [("device", "D17", False), ("mcc", "6011", True), ("MERCHANT_ID", "M1", True)]
    assert SAY.first_times(met, 45.0) == (
        "first time for this account: on device D17 (never seen with anybody), "
        "in merchant category 6011, cash and at merchant M1; this happens in 1 of 45 of its events"
    )
    assert SAY.first_contacts(met[1:], 7200.0, 1.0) == (
        "first time in merchant category 6011, cash and at merchant M1 was 2 hours ago, "
        "1 event before this one"
    )


def test_facts() -> None:
    own = Pace(7.0, 2.0 / DAY, 40.0, 30 * DAY)
    assert SAY.window(7, HOUR, [10_131.0] * 6 + [0.0], own.per_s, 96.3, VALUES) == (
        "7 events in the last hour, EUR 60,786.00 in all, the largest EUR 10,131.00; "
        "this account usually has 2 events a day, about EUR 96 in all"
    )
    assert SAY.window(2, DAY, [100.0, 800.0], own.per_s, 96.3, VALUES, many=False) == (
        "EUR 900.00 in the last day (2 events, the largest EUR 800.00); "
        "this account usually has 2 events a day, about EUR 96 in all"
    )
    assert SAY.window(2, DAY, [100.0, 800.0], 5.0 / (7 * DAY), 13.3, VALUES) == (
        "2 events in the last day, EUR 900.00 in all: EUR 100.00 and EUR 800.00; "
        "this account usually has 5 events a week, about EUR 93 in all"
    )
    assert SAY.window(3, 1320.0, [], None, None, VALUES) == "3 events in the last 22 minutes"
    assert SAY.small_then_large(1.0, 129.6, 900.0, (12.0, 85.0), VALUES) == (
        "a small amount before a large one: EUR 1.00, 2 minutes later EUR 900.00; "
        "this account usually 12 to 85"
    )
    weak = "an unusually small amount by itself is weak evidence of fraud"
    assert SAY.small(1, 1.0, VALUES, first=False) == weak
    assert SAY.small(1, 1.0, VALUES, first=True) == "a small amount at a first contact"
    assert SAY.small(2, 1.5, VALUES, first=True) == "2 events of EUR 1.50 or less in the last hour"
    assert SAY.small(3, 1.5, VALUES, first=True) == (
        "stolen cards and accounts are tried out with small amounts: "
        "3 events of EUR 1.50 or less in the last hour"
    )
    assert SAY.since_last("account_id", 129.6, 12.0, VALUES) == (
        "2 minutes after the last event of this account, EUR 12.00"
    )
    assert (
        SAY.since_last("account_id", 129.6, None, VALUES) == "2 minutes after the last event of this account"
    )
    assert SAY.since_last("account_id", 129.6, 12.0, VALUES, alerted=True) == (
        "2 minutes after the last event of this account, EUR 12.00 (alerted)"
    )
    assert SAY.long_silence("account_id", 90 * DAY, 1.0 / DAY) == (
        "first event of this account for 3 months; 1 event a day is usual"
    )
    assert SAY.little_history("account_id", None, 0) == "first event of this account"
    assert SAY.little_history("account_id", Pace(2.0, 1.0, 3.0, 3 * HOUR), 3) == (
        "this account was first seen here 3 hours ago, with 3 events before this one"
    )
    young = Pace(2.0, 1.0, 3.0, 3 * HOUR)
    assert SAY.little_history("account_id", young, 3, (2.5, 40.0), VALUES) == (
        "this account was first seen here 3 hours ago, with 3 events of EUR 2.50 to EUR 40.00 before this one"
    )
    assert SAY.little_history("account_id", Pace(0.0, 1.0, 2.0, float("inf")), 2) == (
        "this account is seldom seen: 2 events lately"
    )
    assert SAY.frauds_there("MERCHANT_ID", "M1", 0.12, 3 * DAY, main=False) == (
        "confirmed fraud at merchant M1, the latest 3 days ago; 12 % of what is known of it was fraud"
    )
    assert SAY.frauds_there("account_id", "A", 0.12, 3 * DAY, main=True) == (
        "confirmed fraud of this account, the latest 3 days ago"
    )
    before = [
        Before(9, 420.0, 400.0, "alerted", 3.0, "above"),
        Before(8, 2 * DAY, math.nan, "not_alerted", 2.1, "many", 4),
    ]
    assert SAY.earlier(before, 2, 400.0, 7 * DAY, VALUES) == (
        "earlier unusual events of this account: EUR 400.00 7 minutes before (above its usual, 1 event in "
        "1,000 as unusual; alerted) and one 2 days before (4 events within an hour, 1 event in 130 as "
        "unusual; not alerted)"
    )
    assert SAY.earlier(before[:1], 5, 900.0, 7 * DAY, VALUES) == (
        "earlier unusual events of this account: 5 in the last 7 days, EUR 900.00 in all, "
        "of these EUR 400.00 7 minutes before (above its usual, 1 event in 1,000 as unusual; alerted)"
    )
    assert SAY.move("account_id", 1204.0, 1800.0) == (
        "1,204 km in 30 minutes since the last event of this account: faster than anybody travels"
    )
    assert SAY.move("account_id", 204.0, 1800.0) == (
        "204 km in 30 minutes since the last event of this account, 408 km/h"
    )


def test_the_activity_of_the_main_entity_has_no_decayed_count() -> None:
    busy = Pace(11.0, 2.0 / DAY, 40.0, 30 * DAY)
    assert SAY.activity("account_id", busy, 1.0 / DAY) == (
        "11 events in the last hour; this account usually has 2 events a day"
    )
    calm = Pace(0.002686, 40.0 / DAY, 40.0, 30 * DAY)
    assert SAY.activity("account_id", calm, 0.4 / DAY) == (
        "this account has about 40 events a day; accounts with such events usually have 3 events a week"
    )
    assert SAY.busy_there("MERCHANT_ID", "M1", busy) == (
        "Merchant M1 is busy: 11 events in the last hour, usually 2 events a day"
    )
    assert SAY.activity("account_id", None, 1.0) == "first event of this account"


@pytest.mark.parametrize(
    ("per_day", "words"),
    [
        (250.0, "250 events a day"),
        (0.3, "2 events a week"),
        (0.01, "4 events a year"),
    ],
)
def test_rates_are_told_in_days_weeks_or_years(per_day: float, words: str) -> None:
    assert rate(per_day / DAY) == words


HOSTILE = ["\x1b[31mred", "a\x00b", "\u202eevil", "line\nbreak", "x" * 5000, "tab\tbed"]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_cannot_disturb_the_sentence(value: str) -> None:
    sentence = SAY.contact(contact(new=True), "device", value, theirs=None, share=1.0)
    assert len(sentence) < 200
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", sentence)


@given(st.text())
def test_any_value_is_printed_in_one_short_line(value: str) -> None:
    shown = printed(value)
    assert len(shown) <= 60
    assert all(unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for sign in shown)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_number_can_be_told(value: float) -> None:
    assert number(value)
    assert money(value, "EUR")


def test_hours() -> None:
    assert SAY.hour("03:12", "14:05", None) == "at 03:12 UTC; such events come around 14:05"
    assert SAY.hour("03:12", "14:05", 0.02) == (
        "at 03:12 UTC; 2 % of this account’s events come around this hour"
    )


def test_unusual_events_at_another_entity_are_told_with_how_many_there_are() -> None:
    busy, new = Pace(2.6, 4.0 / DAY, 60.0, 30 * DAY), Pace(2.0, 0.0, 3.0, HOUR)
    told = "other events at merchant M1 were unusual in the last hours"
    assert SAY.heat_there("MERCHANT_ID", "M1", busy, hours=True) == (
        f"{told}, 3 events in the last hour, usually 4 events a day"
    )
    assert SAY.heat_there("MERCHANT_ID", "M1", new, hours=True) == (
        f"{told}, first seen 60 minutes ago, before this one 3 events"
    )
    assert SAY.heat_there("MERCHANT_ID", "M1", None, hours=True) == told
    seldom = Pace(0.5, 0.0, 0.5, math.inf)  # for longer than is known
    assert SAY.heat_there("MERCHANT_ID", "M1", seldom, hours=True) == told


def test_a_place_is_usual_only_to_who_has_a_history() -> None:
    """An alert named the usual places of a card that had one event before."""
    place = SAY.words.field("country")
    assert SAY.place(place, "1, 2", 389.2, known=True) == "389 km from the usual places of this account"
    young = SAY.place(place, "1, 2", 389.2, known=True, young=True)
    assert young == "389 km from the earlier places of this account"
