"""The summary of an alert: each thing once, where the evidence lies, and why it is that severe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from detector.core.alerts.case_rows import Totals
from detector.core.alerts.earlier import Earlier
from detector.core.alerts.explain import Reason
from detector.core.alerts.facts import Evidence, Fact
from detector.core.alerts.policy import Published
from detector.core.alerts.recent import History
from detector.core.alerts.summary import SENTENCES_MAX, Standing, Summary
from detector.core.alerts.words import Sentences
from tests.unit.test_explain import SCHEMA, VIEW, event

EXPOSED = SCHEMA.model_copy(update={"exposure": "amount"})
SUMMARY = Summary(Sentences(EXPOSED), "amount")
HISTORY = History(np.array([9]), np.array([0.0]), np.array([12.0]), np.array([0.5]), -math.inf)
EVIDENCE = Evidence(event=event(), view=VIEW, amount=250.0, history=HISTORY)
AMOUNT = "Amount EUR 250.00; this card usually 12 to 85"
BUSY = "Shop corner is busy: 25 events in the last hour, usually 8 events a day"


def reason(field: str, code: str, share: float, detail: str, of: str = "card", **more: Any) -> Reason:
    return Reason(
        field=field,
        code=code,
        observed=None,
        expected=None,
        share=share,
        direction="unusual",
        basis=more.get("basis", "cluster"),
        detail=detail,
        of=of,
    )


def fact(code: str, detail: str, **values: Any) -> Fact:
    return Fact(code=code, values=values, detail=detail)


VALUE = reason("amount", "value", 0.9, AMOUNT, basis="entity")
WAVE = reason("shop", "contact", 0.9, f"{BUSY}; first time at shop corner for this card", of="shop")
LAST = fact("since_last", "5 hours after the last event of this card", gap_s=1.8e4, amount=None)
SHARED = fact("shared", "9 other cards were alerted at shop corner", of="shop", usual=False)


def summed(
    reasons: Sequence[Reason],
    facts: Sequence[Fact] = (),
    *,
    of: Evidence = EVIDENCE,
    own: tuple[float, float] | None = (12.0, 85.0),
    case: Totals | None = None,
    standing: Standing | None = None,
    severity: int = 1,
) -> dict[str, Any]:
    case = Totals(case=1, sum=250.0, largest=250.0) if case is None else case
    standing = Standing(4.0, 0.34, 0) if standing is None else standing
    return SUMMARY.make(reasons, facts, of, own, Published(case, severity), standing)


def test_the_reason_comes_first_and_the_last_event_last() -> None:
    speed = fact("speed", "22 km in 41 seconds", of="card")
    told = summed([VALUE], [speed, LAST])
    assert told["headline"] == "card 4711, EUR 250.00 at risk"
    assert told["sentences"] == [AMOUNT, "22 km in 41 seconds", told["severity"], LAST.detail]
    assert told["focus"] is None


def test_it_says_why_it_is_that_severe() -> None:
    heat = reason("card heat", "heat", 0.3, "earlier events of this card were unusual")
    standing = Standing(4.3, 0.06, -1)
    assert summed([replace(VALUE, share=0.6), heat], standing=standing)["severity"] == (
        "severity medium: about 1 event in 20,000 is as unusual, more so than 94 % of the last alerts; "
        "mainly for the amount and earlier unusual events of this card; one step lower, because many alerts "
        "were that severe lately"
    )
    assert summed([VALUE], standing=Standing(3.0, 0.95, 1))["severity"] == (
        "severity medium: about 1 event in 1,000 is as unusual, more so than 5 % of the last alerts; "
        "mainly for the amount; one step higher, because few alerts were that severe lately"
    )


def test_a_wave_at_a_shop_is_told_as_the_shops() -> None:
    first = fact(
        "first_contact", "first time at shop corner for this card", of="shop", age_s=None, events=None
    )
    told = summed([WAVE], [SHARED, first, LAST], of=replace(EVIDENCE, amount=20.0))
    assert told["headline"] == "shop corner (card 4711), EUR 20.00 at risk"
    assert told["focus"] == {"name": "shop", "value": "corner"}
    assert told["sentences"][:3] == [BUSY, SHARED.detail, "Amount EUR 20.00 is usual for this card: 12 to 85"]
    assert len(told["sentences"]) == 5


def test_evidence_of_the_card_itself_is_no_wave() -> None:
    tested = fact(
        "small_then_large", "a small amount before a large one: EUR 1.00, 2 minutes later EUR 250.00"
    )
    assert summed([WAVE], [tested])["focus"] is None
    assert summed([replace(WAVE, share=0.5), replace(VALUE, share=0.4)])["focus"] is None


def test_nothing_is_said_twice() -> None:
    window = fact("window", "4 events in the last hour", events=4, window_s=3600.0)
    pace = reason("card", "activity", 0.2, "4 events in the last hour; this card usually has 2 events a day")
    shop = reason("shop", "contact", 0.1, "first time at shop corner for this card")
    met = [
        fact("first_contact", "first time on device", of="country", value="DE", age_s=None, one_of=9.0,
             seen_by_others=True, events=None),
        fact("first_contact", "first time at shop", of="shop", value="corner", age_s=None, one_of=4.0,
             seen_by_others=True, events=None),
    ]  # fmt: skip
    heat = reason("shop heat", "heat", 0.3, "other events at shop corner were unusual", of="shop")
    told = summed([VALUE, heat, pace, shop], [SHARED, *met, window])["sentences"]
    assert told[:4] == [
        AMOUNT,
        SHARED.detail,
        "first time for this card: in country DE and at shop corner; it meets a new country in 1 of 9 events",
        window.detail,
    ]
    assert len(told) == 5


def test_an_amount_is_always_compared_with_the_entitys_own() -> None:
    there = reason(
        "country", "contact", 0.9, "Amount EUR 250.00 is rare in country DE; usual there is 1 to 9"
    )
    assert AMOUNT in summed([there])["sentences"]
    assert (
        "Amount EUR 250.00 is usual for this card: 12 to 850"
        in summed([there], own=(12.0, 850.0))["sentences"]
    )


def test_the_sum_at_risk_is_that_of_the_case_or_with_what_came_before() -> None:
    case = Totals(case=1, events=3, sum=600.0, largest=250.0)
    assert (
        summed([VALUE], case=case)["headline"]
        == "card 4711, EUR 250.00 at risk; its case: 3 events, EUR 600.00"
    )
    before = Earlier(1, ((9, 420.0, 900.0, False),), 900.0, None)
    earlier = replace(EVIDENCE, earlier=before)
    told = summed([VALUE], [LAST], of=earlier, case=case)
    assert told["headline"] == "card 4711, EUR 250.00 at risk, EUR 1,150.00 with 1 unusual event before it"
    assert LAST.detail not in told["sentences"]  # it is the one that was named
    assert summed([VALUE], of=replace(EVIDENCE, amount=math.nan))["headline"] == "card 4711"


def test_a_reader_gets_eight_sentences_at_most() -> None:
    many = [fact("frauds_there", f"fraud {n}") for n in range(20)]
    told = summed([VALUE], [*many, LAST])["sentences"]
    assert len(told) == SENTENCES_MAX
    assert told[-1] == LAST.detail


def test_a_chosen_event_says_that_it_was() -> None:
    decision = Published(Totals(case=1), 0, selection="exploration")
    told = SUMMARY.make([VALUE], [], EVIDENCE, None, decision, Standing(1.0, 1.0, 0))
    assert told["severity"] == "severity low: chosen at random, not for its score"
