"""Alerts treat a debit of -40 as they treat a payment of 40: an amount is as large as it is far from 0."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.core.alerts.amounts import is_large, on_side, sizes
from detector.core.alerts.case_rows import CaseBefore
from detector.core.alerts.earlier import range_so_far, unlisted, unusual_before
from detector.core.alerts.evidence import Evidence
from detector.core.alerts.facts import Facts
from detector.core.alerts.known import Pace
from detector.core.alerts.priority import priority
from detector.core.alerts.recent import History
from detector.core.alerts.signs import signs_of
from detector.core.alerts.words import Sentences
from detector.core.features import DAY_S
from detector.notify.message import Message
from detector.notify.texts import title
from tests.unit.test_cases import candidate, cases
from tests.unit.test_earlier import NOW
from tests.unit.test_earlier import history as scored
from tests.unit.test_explain import UNITS, VIEW
from tests.unit.test_facts import EXPOSED, _exposed, facts, history, known_card
from tests.unit.test_summary import EVIDENCE, VALUE, summed

SALARY = (2 * 3600.0, 2100.0)


def sized(values: Mapping[str, object]) -> dict[str, object]:
    """Values without the signs of numbers."""
    return {name: abs(one) if isinstance(one, float) else one for name, one in values.items()}


@pytest.mark.parametrize(
    ("past", "amount"),
    [
        ([(120.0, 10_131.0), (300.0, 10_131.01), (900.0, 10_131.0), (5 * DAY_S, 12.0)], 10_131.0),
        ([(129.6, 1.0), (3 * DAY_S, 40.0)], 900.0),
        ([(60.0, 1.0), (120.0, 1.5), (180.0, 1.0), (3 * DAY_S, 40.0)], 1.2),
        ([(3600.0 * 5, 12.0)], 40.0),
        ([(3600.0 * 5, 12.0)], 900.0),
    ],
)
def test_facts_of_debits_are_those_of_payments(past: list[tuple[float, float]], amount: float) -> None:
    paid = facts(known_card(), history(*past), amount)
    debited = facts(known_card(-40.0), history(*((time, -one) for time, one in past)), -amount)
    assert paid.keys() == debited.keys()
    for code in paid:
        assert sized(paid[code].values) == pytest.approx(sized(debited[code].values)), code
    signs = [
        signs_of([], tuple(found.values()), one, usual, None, 1)
        for found, one, usual in ((paid, amount, (12.0, 85.0)), (debited, -amount, (-85.0, -12.0)))
    ]
    assert signs[0] == signs[1]


def test_sums_and_largest_are_sizes_and_single_amounts_have_their_sign() -> None:
    past = history(*((60.0 * n, -900.0) for n in range(1, 3)), (5 * DAY_S, -12.0))
    window = facts(known_card(-40.0), past, -900.0)["window"]
    assert (window.values["sum"], window.values["largest"]) == (2700.0, 900.0)
    assert window.detail.startswith(
        "3 events in the last hour, EUR 2,700.00 in all: EUR -900.00, EUR -900.00 and EUR -900.00; "
        "this card usually has 10 events a day, about EUR "
    )
    assert "about EUR -" not in window.detail
    tried = facts(known_card(-40.0), history((129.6, -1.0), (3 * DAY_S, -40.0)), -900.0)["small_then_large"]
    assert tried.detail.startswith(
        "a small amount before a large one: EUR -1.00, 2 minutes later EUR -900.00; this card usually -"
    )


def test_a_debit_is_compared_with_debits_and_not_with_the_salary() -> None:
    rows, past = known_card(-40.0), history(SALARY, (5 * DAY_S, -12.0))
    assert "window" not in facts(rows, past, -40.0)
    many = history(SALARY, *((60.0 * n, -900.0) for n in range(1, 4)))
    window = facts(rows, many, -900.0)["window"]
    assert (window.values["events"], window.values["sum"]) == (4, 3600.0)
    refund = history((60.0, 1.0), (3 * DAY_S, -40.0))
    assert "small_then_large" not in facts(rows, refund, -900.0)


def test_a_side_without_a_history_has_no_usual_sum() -> None:
    """An alert of a first redemption said: usually 12 events a day, about 0.00 in all."""
    window = facts(known_card(40.0), history((60.0, -900.0), (120.0, -900.0), (DAY_S, 40.0)), -900.0)[
        "window"
    ]
    assert window.values["usual_sum"] is None
    assert window.detail.endswith("this card usually has 10 events a day")


def test_what_is_usual_of_debits_beside_credits_is_that_of_debits() -> None:
    past = history(SALARY, *((3600.0 * n, -10.0 * n) for n in range(1, 12)))
    own = Pace(1.0, 1e-4, 50.0, 90 * DAY_S)
    assert range_so_far(past, own, -40.0) == pytest.approx((-100.0, -20.0))
    assert range_so_far(past, own, 40.0) is None  # one salary says nothing
    only = history(*((3600.0 * n, -10.0 * n) for n in range(1, 12)))
    assert range_so_far(only, own, -40.0) is None  # the profile knows longer ones
    of = Evidence(event=known_card(-40.0), view=VIEW, amount=-40.0, history=past)
    assert Facts(_exposed(), UNITS, Sentences(EXPOSED)).own_range(of) == pytest.approx((-100.0, -20.0))


def test_small_debits_in_quick_succession_are_card_tests() -> None:
    usual = [(DAY_S * n, -10.0 * n) for n in range(2, 40)]
    tests = [(60.0 * n, -1.0) for n in range(1, 4)]
    small = facts(known_card(-40.0), history(*tests, SALARY, *usual), -1.5)["small"]
    assert small.values["events"] == 4
    assert "testing" in signs_of([], (small,), -1.5, (-85.0, -12.0), None, 1)


def test_earlier_debits_are_summed_and_compared_by_their_size() -> None:
    usual = [(86_400.0 * n, -40.0 - n, 0.2) for n in range(1, 12)]
    odd = [(60.0, -900.0, 4.0), (80_000.0, -1.0, 3.0), (70_000.0, 5000.0, 3.0)]
    found = unusual_before(scored(*odd, *usual), NOW, 7 * DAY_S, amount=-40.0)
    assert [(one.amount, one.why) for one in found.told] == [
        (-900.0, "above"),
        (-1.0, "below"),
        (5000.0, ""),  # there are no usual credits
    ]
    assert found.sum == 5901.0
    assert found.normal == pytest.approx((-50.0, -42.0))


def test_the_largest_debit_is_told_of_many() -> None:
    odd = [(60.0 * n, -10.0 * n, 3.0) for n in range(1, 8)]
    told = unusual_before(scored(*odd), NOW, 7 * DAY_S, amount=-40.0).told
    assert -70.0 in [one.amount for one in told]


def test_a_case_of_debits_has_the_sum_and_the_largest_of_payments() -> None:
    made = cases()
    made.alert(candidate(5, 0, exposure=-900.0))
    made.hold(candidate(5, 1, exposure=-2100.5), "cooldown")
    totals = made.totals(5)
    assert totals is not None
    assert (totals.sum, totals.largest) == (3000.5, 2100.5)
    assert [one.cause for one in made.collect()] == ["sum"]  # it has doubled
    before = made.before(5, 0, -2100.5)
    assert before is not None
    assert before.sum == 900.0
    nobody = made.alert(candidate(0, 2, exposure=-7.0))
    assert (nobody.sum, nobody.largest) == (7.0, 7.0)


def test_a_refund_makes_nothing_at_risk_smaller() -> None:
    made = cases()
    for offset, amount in enumerate((100.0, -100.0)):
        made.alert(candidate(5, offset, exposure=amount))
    totals = made.totals(5)
    assert totals is not None
    assert totals.sum == 200.0


def test_events_of_a_case_that_are_not_listed_have_the_rest_of_its_sum() -> None:
    assert unlisted(CaseBefore(1, 0.0, 3, 1000.0), [-100.0, 200.0]) == (1, 700.0)


def test_at_risk_is_a_size() -> None:
    debit = replace(EVIDENCE, amount=-250.0)
    assert summed([VALUE], of=debit)["headline"] == "card 4711, EUR 250.00 at risk"
    assert priority(0.5, -250.0) == 125.0
    body = {"severity": "low", "exposure": -250.0, "entity": {"name": "card", "value": "4711"}}
    blank = dict.fromkeys(("id", "type", "source", "subject", "time", "schema", "topic"), "")
    told = Message(**blank, kind="alert", body=body, raw=b"", partition=0, offset=0, published_s=0.0)
    assert title(told) == "LOW alert: card 4711, 250.00 at risk"


def test_sides() -> None:
    amounts = np.array([-1.0, 0.0, 2.0, math.nan])
    assert on_side(amounts, -5.0).tolist() == [True, False, False, False]
    assert on_side(amounts, 5.0).tolist() == [False, True, True, False]
    assert on_side(amounts, 0.0).tolist() == on_side(amounts, math.nan).tolist() == [True] * 3 + [False]
    assert sizes((-900.0, 2100.0), -1.0) == (0.0, 900.0)
    assert sizes((-900.0, 2100.0), 1.0) == (0.0, 2100.0)


def test_a_range_of_debits_has_no_cents_where_that_of_payments_has_none() -> None:
    words = Sentences(EXPOSED).words
    assert words.amounts(-635.1, -248.5, -300.0, {}) == "-640 to -250"
    assert words.amounts(248.5, 635.1, 300.0, {}) == "250 to 640"


@given(amount=st.floats(0.01, 1e6), low=st.floats(0.0, 1e3), width=st.floats(0.01, 1e3))
@settings(max_examples=30, deadline=None)
def test_a_first_refund_is_large_if_a_payment_of_its_size_would_be(
    amount: float, low: float, width: float
) -> None:
    payments, debits = (low, low + width), (-low - width, -low)
    large = amount > 2.0 * (low + width)
    assert is_large(amount, payments, 2.0) == is_large(-amount, debits, 2.0) == large
    assert is_large(-amount, payments, 2.0) == is_large(amount, debits, 2.0) == large
    assert signs_of([], [], -amount, payments, None, 1) == (("large",) if large else ())


def test_two_usual_refunds_of_a_card_that_only_pays_are_no_unusual_sum() -> None:
    rows, past = known_card(40.0), history((600.0, -41.0), (DAY_S, 40.0))
    assert "window" not in facts(rows, past, -40.0)
    assert "window" in facts(rows, history((600.0, -900.0), (DAY_S, 40.0)), -900.0)


def test_an_empty_history_has_no_range() -> None:
    nothing = np.zeros(0)
    past = History(nothing.astype(np.int64), nothing, nothing, nothing, 0.0, nothing.astype(np.int64))
    assert range_so_far(past, Pace(1.0, 1e-4, 50.0, 3600.0), -40.0) is None
