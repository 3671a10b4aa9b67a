"""Facts: what an analyst would look up, found from the entity's events, contacts and frauds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from detector.core.alerts.case_rows import CaseBefore
from detector.core.alerts.earlier import recent_events
from detector.core.alerts.evidence import Answer, Evidence, Fact, NearFraud, Shared
from detector.core.alerts.facts import Facts
from detector.core.alerts.recent import ALERTED, HELD, History
from detector.core.alerts.words import Sentences
from detector.core.features import DAY_S, KeyKind, Rows
from tests.unit.test_explain import LAYOUT, SCHEMA, UNITS, VIEW, event, habit

NOW = 10 * DAY_S + 3 * 3600 + 25 * 60
EXPOSED = SCHEMA.model_copy(update={"exposure": "amount"})
HALF_LIFE = float(LAYOUT.half_lives_s[-1])


def history(*events: tuple[float, float], since: float = -math.inf) -> History:
    """Events (seconds before, amount), newest first."""
    before, amounts = (np.array(column, dtype=np.float64) for column in (zip(*events, strict=True)))
    count = len(events)
    return History(
        1000 - np.arange(count), NOW - before, amounts, np.zeros(count), since, np.zeros(count, np.int64)
    )


NONE = History(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0), -math.inf, np.zeros(0, np.int64))


def known_card(mean: float = 40.0) -> Rows:
    """An event of a card that pays ten times a day, and of a shop that it knows."""
    rows = event(history=14.0, mean=mean)
    age = 1.0 - 2.0**-10
    habit(rows, "pace", 0, [0.0, 0.0, 10.0 * age / math.log(2.0) * HALF_LIFE / DAY_S, age])
    habit(rows, "pace", 1, [0.0, 0.0, 500.0 * age, age])
    habit(rows, "novelty", 0, [60.0, 2.0, 0.2])
    for kind in LAYOUT.kinds:
        if kind.start != LAYOUT.kinds[1].start:
            rows.context[:, kind.start] = 3600.0
    for kind in LAYOUT.contacts:
        rows.context[:, kind.age] = 90 * DAY_S
        rows.context[:, kind.count(-1)] = 20.0
    return rows


def contact(name: str) -> KeyKind:
    return next(kind for kind in LAYOUT.kinds if kind.name == name)


def facts(
    rows: Rows,
    past: History = NONE,
    amount: float = 250.0,
    near: Sequence[NearFraud] = (),
    shared: Sequence[Shared] = (),
) -> dict[str, Fact]:
    found = Facts(_exposed(), UNITS, Sentences(EXPOSED)).find(
        Evidence(event=rows, view=VIEW, amount=amount, history=past, near_frauds=near, shared=shared)
    )
    assert len(found) <= 6
    return {fact.code: fact for fact in found}


def _exposed():  # type: ignore[no-untyped-def]
    """The layout with an exposure; its columns are the same."""
    import copy

    layout = copy.copy(LAYOUT)
    layout.exposure = 0
    return layout


def test_the_thiefs_own_first_contact_is_told_as_such() -> None:
    rows = known_card()
    pair = contact("card+shop")
    rows.context[:, [pair.gap, pair.age]] = 129.6
    rows.context[:, pair.count(-1)] = 1.0
    fact = facts(rows)["first_contact"]
    assert fact.detail == "first time at shop corner was 2 minutes ago, 1 event before this one"
    assert fact.values["age_s"] == pytest.approx(129.6)


def test_a_first_time_is_told_if_it_is_rare_for_the_entity() -> None:
    rows = known_card()
    pair = contact("card+country")
    rows.context[:, pair.gap] = np.nan
    fact = facts(rows)["first_contact"]
    assert fact.detail == (
        "first time in country DE for this card; this happens in 1 of 60 events of this card"
    )
    assert fact.values == {
        "of": "country",
        "value": "DE",
        "age_s": None,
        "seen_by_others": True,
        "one_of": 60.0,
        "events": None,
    }
    habit(rows, "novelty", 0, [60.0, 2.0, 40.0])
    assert "first_contact" not in facts(rows)


def test_a_burst_is_told_with_its_sum_to_the_cent_and_what_is_usual() -> None:
    past = history((120.0, 10_131.0), (300.0, 10_131.01), (900.0, 10_131.0), (5 * DAY_S, 12.0))
    fact = facts(known_card(), past, amount=10_131.0)["window"]
    assert fact.values["events"] == 4
    assert fact.values["sum"] == 40_524.01
    assert fact.values["largest"] == 10_131.01
    assert fact.detail.startswith(
        "4 events in the last hour, EUR 40,524.01 in all: "
        "EUR 10,131.00, EUR 10,131.01, EUR 10,131.00 and EUR 10,131.00; "
        "this card usually has 10 events a day, about EUR "
    )


def test_a_window_is_no_longer_than_the_ring_goes_back() -> None:
    past = history((60.0, 900.0), (120.0, 900.0), since=NOW - 600.0)
    assert "in the last 10 minutes" in facts(known_card(), past, amount=900.0)["window"].detail
    assert "window" not in facts(known_card(), history((5.0, 900.0), since=NOW - 10.0))


def test_nothing_is_told_of_an_ordinary_hour() -> None:
    assert facts(known_card(), history((3600.0 * 5, 12.0)), amount=40.0).keys() == {"since_last"}


def test_small_then_large() -> None:
    fact = facts(known_card(), history((129.6, 1.0), (3 * DAY_S, 40.0)), amount=900.0)["small_then_large"]
    assert fact.detail.startswith(
        "a small amount before a large one: EUR 1.00, 2 minutes later EUR 900.00; this card usually "
    )
    assert "small_then_large" not in facts(known_card(), history((129.6, 60.0)), amount=900.0)
    assert "small_then_large" not in facts(known_card(), history((2 * 3600.0, 1.0)), amount=900.0)


def test_a_new_entity_and_a_long_silence_are_told() -> None:
    rows = event()
    assert facts(rows)["little_history"].detail == "first event of this card"
    rows = known_card()
    rows.context[:, LAYOUT.kinds[1].start] = 40 * DAY_S
    told = facts(rows)["long_silence"].detail
    assert told == "first event of this card for 40 days; 10 events a day is usual"


def test_frauds_come_first() -> None:
    rows = known_card()
    rated = LAYOUT.fraud_rate_kinds[1]
    rows.fraud_rates[:, rated.longest] = 0.12
    rows.fraud_rates[:, rated.age] = np.log1p(3.0)
    near = [NearFraud(77, 0.4)]
    found = facts(rows, near=near, shared=[Shared("shop", 3, 7 * DAY_S, 240.0, amounts=(9.5, 12.0))])
    assert list(found)[:3] == ["frauds_there", "shared", "near_fraud"]
    assert found["frauds_there"].detail == (
        "confirmed fraud at shop corner, the latest 3 days ago; 12 % of what is known of it was fraud"
    )
    assert found["shared"].detail == (
        "3 other cards were alerted at shop corner in the last 7 days, the latest 4 minutes ago "
        "(the newest ones EUR 9.50 and EUR 12.00)"
    )
    assert found["near_fraud"].values == {"offset": 77, "distance": 0.4}
    assert found["near_fraud"].detail == "like a confirmed fraud"


def test_recent_events_are_the_latest_twenty() -> None:
    past = history(*((60.0 * n, float(n) if n % 2 else math.nan) for n in range(30)))
    told = recent_events(past)
    assert [one["offset"] for one in told] == list(range(1000, 980, -1))
    assert told[0]["amount"] is None
    assert told[1] == {"offset": 999, "time": NOW - 60.0, "amount": 1.0, "score": 0.0, "case": "none"}
    fates = np.zeros(30, np.int64)
    fates[[0, 1]] = HELD, ALERTED
    case = CaseBefore(999, NOW - 60.0, 2, 1.0)
    told = recent_events(History(*past[:5], fates), case)
    assert [one["case"] for one in told[:3]] == ["held", "alerted", "none"]


def test_a_late_first_event_is_no_wonder() -> None:
    """Without a main entity there is neither history nor contact."""
    rows = event()
    rows.entities[:] = 0
    assert facts(rows, amount=math.nan) == {}


@pytest.mark.parametrize(
    ("label", "detail"),
    [
        ("legitimate", "you said legitimate on 3 May 2026 of an earlier event of this card"),
        ("fraud", "you said fraud on 3 May 2026 of an earlier event of this card"),
    ],
)
def test_what_was_answered_before_is_told(label: str, detail: str) -> None:
    of = Evidence(
        event=known_card(), view=VIEW, amount=250.0, history=NONE, answered=Answer(label, 1_777_800_000.0)
    )
    found = {fact.code: fact for fact in Facts(_exposed(), UNITS, Sentences(EXPOSED)).find(of)}
    assert found["answered"].detail == detail


def test_a_small_amount_where_others_were_alerted_is_no_weak_evidence() -> None:
    """An alert said both: 3 other cards were alerted there, and weak evidence."""
    there = [Shared("shop", 3, 7 * DAY_S, 240.0)]
    found = facts(known_card(400.0), history((3600.0 * 5, 400.0)), amount=1.0, shared=there)
    assert found["small"].detail.endswith("beside other alerts")
    usual = [there[0]._replace(usual=True)]
    found = facts(known_card(400.0), history((3600.0 * 5, 400.0)), amount=1.0, shared=usual)
    assert "weak evidence" in found["small"].detail


def test_what_is_usual_of_a_young_card_is_what_it_had() -> None:
    """An alert called 39 to 310 usual so far of a card whose first events were mostly below 39."""
    rows = known_card(400.0)
    habit(rows, "pace", 0, [0.0, 0.0, 6.0, 0.01])
    past = history(*((600.0 * n, amount) for n, amount in enumerate((482.0, 8.0, 5.0, 16.0, 15.5, 60.0), 1)))
    found = Facts(_exposed(), UNITS, Sentences(EXPOSED))
    of = Evidence(event=rows, view=VIEW, amount=3.0, history=past)
    assert found.own_range(of) == (5.0, 482.0)
    old = replace(of, event=known_card(400.0))
    assert found.own_range(old) == pytest.approx((248.487, 635.052), abs=0.01)
