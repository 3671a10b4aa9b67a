"""Amounts that come again and many new contacts, as alerts tell them."""

from __future__ import annotations

import numpy as np
import pytest

from detector.config.tree import Features as FeaturesConfig
from detector.core.alerts.evidence import Evidence, Fact
from detector.core.alerts.explain import told_among
from detector.core.alerts.facts import Facts
from detector.core.alerts.recent import History
from detector.core.alerts.signs import signs_of
from detector.core.alerts.words import Sentences, Usual
from detector.core.erasure import Erased
from detector.core.events import View
from detector.core.features import Profiles, Rows, Units
from tests.unit.test_habits import DAY_S, LAYOUT, SCHEMA, key, observed, traffic

NONE = History(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0), 0.0, np.zeros(0, np.int64))


def facts(rows: Rows, amount: float) -> dict[str, Fact]:
    """Facts of the last row."""
    entities = {"card": "C1", "shop": "S1"}
    values = {"age": 1.0, "amount": amount, "kind": "food"}
    view = View(main="C1", entities=entities, values=values, carried={}, traces=(), document=b"")
    found = Facts(LAYOUT, Units(np.ones(2)), Sentences(SCHEMA)).find(
        Evidence(event=rows.take(slice(-1, None)), view=view, amount=amount, history=NONE)
    )
    return {fact.code: fact for fact in found}


def paid_twice() -> Rows:
    """Card 1 pays what it has paid before."""
    rows = traffic(6000)
    first = len(rows) - 400
    rows.entities[[first, -1], 0], rows.numerics[[first, -1], 1] = key(1), 0.7
    rows.times[-1] = rows.clocks[-1] = rows.times[first] + 3 * DAY_S
    return observed(rows)


def new_cards(count: int) -> Rows:
    """New cards come to a shop that is known for two months, ten minutes apart."""
    rows = traffic(4000)
    rows.times[-count:] = rows.clocks[-count:] = rows.times[-count - 1] + np.arange(count) * 600.0
    rows.entities[-count:, 0] = key(50_000 + np.arange(count))
    rows.entities[-count:, 1] = key(1_000_000)
    return observed(rows)


def test_an_amount_that_comes_again_is_told_with_the_time_since() -> None:
    fact = facts(paid_twice(), 84.2)["repeated"]
    assert fact.detail.startswith("EUR 84.20 again: this card had the same amount 3 days ago; about 1 of ")
    assert fact.values["of"] == "card"
    assert fact.values["age_s"] == pytest.approx(3 * DAY_S)
    assert "repeated" not in facts(observed(traffic(6000)), 84.2)


def test_many_new_cards_at_a_shop_are_told_with_what_is_usual() -> None:
    fact = facts(new_cards(6), 84.2)["newcomers"]
    assert fact.detail.startswith("5 cards that are new to shop S1 in the last hour; usually one in ")
    assert fact.values["met"] == "card"
    assert fact.values["window_s"] == 3600.0
    assert "newcomers" not in facts(new_cards(2), 84.2)


def test_a_shop_with_another_card_than_ever_is_told() -> None:
    fact = facts(new_cards(1), 84.2)["changed"]
    assert fact.detail.startswith("Shop S1 comes with another card than usual, as 1 of ")
    assert (fact.values["of"], fact.values["other"]) == ("shop", "card")
    assert "changed" not in facts(observed(traffic(4000)), 84.2)


def test_both_are_signs() -> None:
    for rows, sign in ((paid_twice(), "repeated"), (new_cards(6), "newcomers")):
        found = tuple(facts(rows, 84.2).values())
        assert sign in signs_of([], found, 84.2, (10.0, 100.0), None, 1)


def test_what_is_erased_is_no_repeat() -> None:
    rows = paid_twice()
    profiles = Profiles(LAYOUT, FeaturesConfig())
    profiles.reserve(len(rows))
    profiles.observe(rows.take(slice(None, -1)))
    profiles.erase(Erased(key(1), np.zeros(0, dtype=np.int64)))
    last = rows.take(slice(-1, None)).copy()
    profiles.observe(last)
    habit = LAYOUT.habit_of("repeats", 0)
    assert habit is not None
    assert np.isnan(last.context[0, habit.start + 1])
    assert not np.isnan(rows.context[-1, habit.start + 1])


@pytest.mark.parametrize(
    ("amount", "usual", "large"),
    [
        (900.0, (15.0, 80.0), True),
        (100.0, (15.0, 80.0), False),
        (-900.0, (-80.0, -15.0), True),
        (-100.0, (-80.0, -15.0), False),
        (-900.0, (15.0, 80.0), True),
        (0.0, (-80.0, -15.0), False),
    ],
)
def test_a_debit_is_as_large_as_it_is_far_below_0(
    amount: float, usual: tuple[float, float], large: bool
) -> None:
    assert ("large" in signs_of([], (), amount, usual, None, 1)) == large


@pytest.mark.parametrize(
    ("amount", "others", "said"),
    [
        (900.0, 40.0, "had less in each of its last 20 events"),
        (-900.0, -40.0, "had less in each of its last 20 events"),
        (1.0, 40.0, "had more in each of its last 20 events"),
        (-1.0, -40.0, "had more in each of its last 20 events"),
    ],
)
def test_more_is_what_is_farther_from_0(amount: float, others: float, said: str) -> None:
    zeros = np.zeros(20)
    past = History(zeros.astype(np.int64), zeros, zeros + others, zeros, 0.0, zeros.astype(np.int64))
    usual = [Usual("this card", *sorted((0.5 * others, 2.0 * others)))]
    found = told_among(Sentences(SCHEMA), past, amount, usual)
    assert found is not None
    assert said in found
