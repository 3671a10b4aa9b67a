"""The summary of an alert: each thing once, where the evidence lies, and why it is that severe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detector.core.alerts.case_rows import Totals
from detector.core.alerts.earlier import Before, Earlier
from detector.core.alerts.evidence import Evidence, Fact
from detector.core.alerts.explain import Reason
from detector.core.alerts.known import Contact, Met
from detector.core.alerts.policy import Published
from detector.core.alerts.recent import History
from detector.core.alerts.signs import signs_of
from detector.core.alerts.summary import SENTENCES_MAX, Standing, Summary
from detector.core.alerts.words import Sentences
from detector.core.alerts.words.headlines import OwnShare
from detector.core.features import DAY_S
from tests.unit.test_explain import SCHEMA, VIEW, event

EXPOSED = SCHEMA.model_copy(update={"exposure": "amount"})
SUMMARY = Summary(Sentences(EXPOSED), "amount")
HISTORY = History(
    np.array([9]), np.array([0.0]), np.array([12.0]), np.array([0.5]), -math.inf, np.zeros(1, np.int64)
)
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
    standing = Standing(4.0, 0.34, 1) if standing is None else standing
    return SUMMARY.make(reasons, facts, of, own, Published(case, severity), standing)


def test_the_reason_comes_first_and_the_last_event_last() -> None:
    speed = fact("speed", "22 km in 41 seconds", of="card")
    told = summed([VALUE], [speed, LAST])
    assert told["headline"] == "card 4711, EUR 250.00 at risk"
    signs = "signs of fraud: an amount far above the usual"
    assert told["sentences"] == [signs, AMOUNT, "22 km in 41 seconds", told["severity"], LAST.detail]
    assert told["focus"] is None


def test_it_says_why_it_is_that_severe() -> None:
    heat = reason("card heat", "heat", 0.3, "earlier events of this card were unusual")
    standing = Standing(4.3, 0.06, 3)
    assert summed([replace(VALUE, share=0.6), heat], standing=standing)["severity"] == (
        "rare: about 1 normal event in 20,000 is as unusual, mainly for the amount and earlier unusual "
        "events of this card; severity medium: rarer than 94 % of the last alerts, "
        "which by itself is critical, but each severity keeps its share of the alerts"
    )
    alone = summed([VALUE], standing=Standing(9.0, 0.001, 3), severity=3)["severity"]
    assert "about 1 normal event in 1,000,000,000 is as unusual" in alone
    assert alone.endswith("rarer than all of the last alerts")
    usual = summed([VALUE], standing=Standing(2.0, 1.0, 0), severity=0)["severity"]
    assert usual.endswith("nearly all of the last alerts were rarer")
    assert summed([VALUE], standing=Standing(3.0, 0.95, 0))["severity"] == (
        "rare: about 1 normal event in 1,000 is as unusual, mainly for the amount; severity medium: "
        "95 % of the last alerts were rarer, which by itself is low, but each severity keeps its share "
        "of the alerts"
    )


@pytest.mark.parametrize(("severity", "said"), [(0, "low"), (1, "medium"), (3, "critical")])
def test_it_says_what_the_severity_means(severity: int, said: str) -> None:
    standing = Standing(3.0, 0.7, severity)
    assert summed([VALUE], standing=standing, severity=severity)["severity"] == (
        f"rare: about 1 normal event in 1,000 is as unusual, mainly for the amount; severity {said}: "
        "70 % of the last alerts were rarer"
    )


def test_what_is_unusual_together_is_always_said() -> None:
    joint = "Country DE and Amount EUR 250.00: neither is unusual by itself, together they are rare"
    country = reason("country", "combination", 0.7, joint)
    amount = reason("amount", "combination", 0.3, "Amount EUR 250.00 is usual by itself")
    told = summed([country, amount], [SHARED])
    assert told["sentences"][1:3] == [SHARED.detail, joint]  # figures before what has none
    assert amount.detail not in told["sentences"]
    assert "mainly for the country and the amount together" in told["severity"]
    assert "mainly for many values together, most of all the country" in summed([country])["severity"]


def test_other_entities_are_named_with_whether_they_are_known() -> None:
    def met(**more: Any) -> Met:
        known = Contact(1, True, False, 60.0, 90 * DAY_S, 8.0, True, 9.0)
        return Met("shop", known._replace(**more), 0.2, 500.0)

    def told(one: Met) -> str:
        made = SUMMARY.make(
            [VALUE], [], EVIDENCE, None, Published(Totals(case=1), 1), Standing(3.0, 0.5, 1), [one]
        )
        text: str = made["with"]
        return text

    value = VIEW.entities["shop"]
    assert told(met(new=True)) == f"shop {value} (new to this card, seen with others before)"
    assert told(met(new=True, ever=False)) == f"shop {value} (never seen before)"
    assert told(met(age_s=7200.0)) == f"shop {value} (first met by this card 2 hours ago)"
    assert told(met()) == f"shop {value} (known to this card for 3 months)"
    usual = met()._replace(share=0.9)
    assert told(usual) == f"shop {value} (the usual one of this card, known for 3 months)"
    own = f"shop {value} (the usual one of this card, known for 3 months, used by few others)"
    assert told(usual._replace(others=2.0)) == own
    own = f"shop {value} (known to this card for 3 months, used by few others)"  # an invented shop, perhaps
    assert told(met()._replace(others=2.0)) == own
    assert summed([VALUE])["with"] is None


def test_what_nothing_is_told_of_is_named_and_how_usual_it_is() -> None:
    shares = [
        OwnShare("channel", "chip", 0.9),
        OwnShare("mcc", "food", 0.04),
        OwnShare("amount", "250", 0.5),  # told as a reason
    ]
    known = Met("shop", Contact(1, True, False, 60.0, 3 * DAY_S, 4.0, True, 5.0), 0.1, 50.0)
    published, standing = Published(Totals(case=1, sum=250.0, largest=250.0), 1), Standing(4.0, 0.34, 1)
    told = SUMMARY.make([VALUE], [], EVIDENCE, (12.0, 85.0), published, standing, [known], shares=shares)
    assert told["sentences"][-2] == (
        "otherwise: category food (as 4 % of its events); "
        "as usual: channel chip and shop corner (known to this card for 3 days)"
    )


def test_a_wave_at_a_shop_is_told_as_the_shops() -> None:
    first = fact(
        "first_contact",
        "first time at shop corner for this card",
        of="shop",
        age_s=None,
        events=None,
        one_of=4.0,
    )
    told = summed([WAVE], [SHARED, first, LAST], of=replace(EVIDENCE, amount=20.0))
    assert told["headline"] == "shop corner (card 4711), EUR 20.00 at risk"
    assert told["focus"] == {"name": "shop", "value": "corner"}
    assert told["sentences"][1:4] == [
        BUSY,
        SHARED.detail,
        "Amount EUR 20.00 is usual for this card: 12 to 85",
    ]
    assert len(told["sentences"]) == 6


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
    assert told[1:5] == [
        AMOUNT,
        SHARED.detail,
        "first time for this card: in country DE and at shop corner; this happens in 1 of 9 of its events",
        window.detail,
    ]
    assert len(told) == 6


def test_an_amount_is_always_compared_with_the_entitys_own() -> None:
    there = reason(
        "country", "contact", 0.9, "Amount EUR 250.00 is rare in country DE; usual there is 1 to 9"
    )
    assert AMOUNT in summed([there])["sentences"]
    assert (
        "Amount EUR 250.00 is usual for this card: 12 to 850"
        in summed([there], own=(12.0, 850.0))["sentences"]
    )


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ((5.0, 80.0), "Amount EUR 250.00; cards usually 5 to 80"),
        ((5.0, 800.0), "Amount EUR 250.00 is usual by itself; cards usually 5 to 800"),
    ],
)
def test_an_amount_without_a_history_is_compared_with_everybodys(
    others: tuple[float, float], said: str
) -> None:
    """The amount of a new card was beside nothing where its earlier events were the reason."""
    heat = reason("card heat", "heat", 1.0, "earlier events of this card were unusual")
    decision, standing = Published(Totals(case=1), 1), Standing(4.0, 0.34, 1)
    told = SUMMARY.make([heat], [], EVIDENCE, None, decision, standing, (), lambda: others)["sentences"]
    assert said in told
    amount = replace(VALUE, basis="cluster")
    told = SUMMARY.make([amount], [], EVIDENCE, None, decision, standing, (), lambda: others)["sentences"]
    assert said not in told


def test_the_sum_at_risk_is_that_with_what_came_before() -> None:
    before = Earlier(1, (Before(9, 420.0, 900.0, "not_alerted", 2.5),), 900.0, None)
    earlier = replace(EVIDENCE, earlier=before)
    told = summed([VALUE], [LAST], of=earlier)
    assert told["headline"] == "card 4711, EUR 250.00 at risk, EUR 1,150.00 with 1 unusual event before it"
    assert LAST.detail not in told["sentences"]  # it is the one that was named
    assert summed([VALUE], of=replace(EVIDENCE, amount=math.nan))["headline"] == "card 4711"


def test_a_reader_gets_eight_sentences_at_most() -> None:
    many = [replace(VALUE, detail=f"amount {n}") for n in range(20)]
    told = summed(many, [fact("frauds_there", "fraud"), LAST])["sentences"]
    assert len(told) == SENTENCES_MAX
    assert told[-1] == LAST.detail


def test_a_chosen_event_says_that_it_was() -> None:
    decision = Published(Totals(case=1), 0, selection="exploration")
    told = SUMMARY.make([VALUE], [], EVIDENCE, None, decision, Standing(1.0, 1.0, 0))
    assert told["severity"] == "severity low: chosen at random, not for its score"
    assert told["signs"] == []
    assert not any("sign" in one for one in told["sentences"])


TESTED = fact("small", "", events=4, window_s=3600.0, alone=False)
FAST = fact("speed", "", of="card", km=1300.0, gap_s=1800.0)
NEW = [
    fact("first_contact", f"{n}", of=n, value="x", age_s=None, one_of=40.0)
    for n in ("shop", "country", "device")
]


@pytest.mark.parametrize(
    ("reasons", "facts", "amount", "case", "codes"),
    [
        ([VALUE], [], 30.0, 1, []),
        ([VALUE], [], 250.0, 1, ["large", "large_there"]),
        ([VALUE], [], 100.0, 1, ["large_there"]),
        ([VALUE], [TESTED], 1.0, 4, ["testing", "again"]),
        ([VALUE], [replace(TESTED, values={"events": 2, "window_s": 3600.0})], 1.0, 1, []),
        ([VALUE], [FAST], 30.0, 1, ["two_places"]),
        ([VALUE], [replace(FAST, values={"km": 300.0, "gap_s": 1800.0})], 30.0, 1, []),
        ([WAVE], [SHARED], 30.0, 1, ["busy"]),
        ([VALUE], [SHARED], 30.0, 1, []),
        ([VALUE], NEW, 30.0, 1, ["several_new"]),
        ([VALUE], NEW[:2], 30.0, 1, []),
        ([VALUE], [fact("window", "", events=6, window_s=3600.0, usual_events=0.2)], 30.0, 1, ["many"]),
        ([VALUE], [fact("window", "", events=6, window_s=2400.0, usual_events=0.2)], 30.0, 1, ["many"]),
        ([VALUE], [fact("window", "", events=6, window_s=86_400.0, usual_events=0.2)], 30.0, 1, []),
        ([VALUE], [fact("window", "", events=6, window_s=3600.0, usual_events=0.5)], 30.0, 1, []),
        ([VALUE], [fact("near_fraud", "")], 30.0, 1, ["frauds"]),
    ],
)
def test_it_says_what_it_looks_like(
    reasons: list[Reason], facts: list[Fact], amount: float, case: int, codes: list[str]
) -> None:
    """Readers could not decide where an alarming text stood beside severity low: now it has its signs."""
    assert list(signs_of(reasons, facts, amount, (12.0, 85.0), (1.0, 40.0), case)) == codes
    if "busy" in codes:  # the card nearly has the shop to itself
        assert "busy" not in signs_of(reasons, facts, amount, None, None, case, {"shop"})


def test_no_sign_is_said_too() -> None:
    told = summed([VALUE], of=replace(EVIDENCE, amount=30.0))
    assert told["signs"] == []
    assert told["sentences"][0] == "no known sign of fraud, but rare"


def test_a_small_amount_is_no_weak_evidence_beside_signs() -> None:
    """A wave of small amounts was told with: a small amount by itself is weak evidence of fraud."""
    weak = fact("small", "weak evidence", events=1, window_s=3600.0, alone=True)
    small = replace(EVIDENCE, amount=1.0)
    assert weak.detail in summed([VALUE], [weak], of=small)["sentences"]
    assert weak.detail not in summed([WAVE], [weak], of=small)["sentences"]


def test_what_happened_on_the_cards_own_device_is_not_told_as_others() -> None:
    heat = reason("shop heat", "heat", 0.5, "other events at shop corner were unusual", of="shop")
    own = Met("shop", Contact(1, True, False, 60.0, 90 * DAY_S, 8.0, True, 9.0), 0.9, 2.0)
    before = fact("earlier", "earlier unusual events of this card: EUR 9.00", events=1)

    def told(one: Met) -> list[str]:
        made = SUMMARY.make(
            [VALUE, heat],
            [before],
            EVIDENCE,
            None,
            Published(Totals(case=1), 1),
            Standing(3.0, 0.5, 1),
            [one],
        )
        sentences: list[str] = made["sentences"]
        return sentences

    assert heat.detail not in told(own)
    assert heat.detail in told(own._replace(others=500.0))
