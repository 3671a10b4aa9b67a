"""Cases count everything, tell it in time, and lose nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.config.tree import Alerts as AlertsConfig
from detector.core.alerts.case_rows import ALERTS_MAX, Candidate, CaseBefore, Total, Totals
from detector.core.alerts.cases import AT_ONCE, CAUSES, WAITING_MAX, Cases, Update
from detector.core.erasure import Erased
from detector.core.features import DAY_S
from detector.core.state import pack, unpack

START_S = 1_700_000_000.0
LOW, HIGH, CRITICAL = 0, 2, 3


def cases(**changes: Any) -> Cases:
    return Cases(AlertsConfig.model_validate({"cooldown": 3600.0, **changes}), b"key")


def candidate(
    entity: int, offset: int, *, time: float = 0.0, exposure: float | None = None, severity: int = LOW
) -> Candidate:
    return Candidate(
        entity=entity,
        value=f"card-{entity}",
        offset=offset,
        time=START_S + time,
        now=START_S + time,
        exposure=exposure,
        severity=severity,
        score=4.0,
    )


def held(updates: Sequence[Update]) -> list[int]:
    return [one.offset for update in updates for one in update.held]


# --- sums --------------------------------------------------------------------------------------------------


@given(cents=st.lists(st.integers(-(10**9), 10**12), max_size=300), places=st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_a_sum_is_right_to_the_last_place(cents: list[int], places: int) -> None:
    amounts = [Decimal(cent).scaleb(-places) for cent in cents]
    assert Total.of([float(amount) for amount in amounts]) == float(sum(amounts, Decimal(0)))


def test_a_million_amounts_are_summed_to_the_cent() -> None:
    made = cases()
    made.alert(candidate(5, 0, exposure=0.07))
    row = made._rows[made._open[5]]
    sum_, rest = 0.0, 0.0
    for n in range(1_000_000):
        sum_, rest = Total.add(sum_, rest, (n % 99_991) / 100)
    row["sum"], row["rest"] = sum_, rest
    exact = Decimal(sum(n % 99_991 for n in range(1_000_000))).scaleb(-2)
    totals = made.totals(5)
    assert totals is not None
    assert totals.sum == float(exact)


# --- what a case counts ------------------------------------------------------------------------------------


def test_a_burst_is_told_to_the_cent_at_once() -> None:
    made = cases()
    amounts = [2298.89, 1999.99, 1500.1, 1832.02, 1250.0, 1250.0]
    assert made.alert(candidate(5, 0, exposure=amounts[0])) == Totals(case=0, sum=2298.89, largest=2298.89)
    for n, amount in enumerate(amounts[1:], start=1):
        made.hold(candidate(5, n, time=300.0 * n, exposure=amount), "entity")
        [update] = made.collect()
        assert update.totals == Totals(
            case=0, events=n + 1, sum=float(sum(map(Decimal, map(str, amounts[: n + 1])))), largest=2298.89
        )
        assert (update.at, update.number, update.value, held([update])) == (n, n, "card-5", [n])
        assert (update.began, update.latest) == (START_S, START_S + 300.0 * n)
    assert update.totals.sum == 10131.0


def test_events_without_an_exposure_are_counted_without_a_sum() -> None:
    made = cases()
    made.alert(candidate(5, 0))
    made.hold(candidate(5, 1), "entity")
    assert made.collect()[0].totals == Totals(case=0, events=2)
    made.hold(candidate(5, 2, exposure=3.0), "entity")
    assert made.collect()[0].totals == Totals(case=0, events=3, sum=3.0, largest=3.0)


def test_what_the_budget_held_back_before_a_case_is_in_its_totals() -> None:
    made = cases()
    for n in range(3):
        made.hold(candidate(5, n, exposure=10.0, severity=HIGH), "budget")
    assert made.collect() == []
    assert made.alert(candidate(5, 3, time=DAY_S, exposure=1.5)) == Totals(
        case=3, events=4, sum=31.5, largest=10.0
    )
    made.hold(candidate(6, 4, exposure=10.0), "budget")
    assert made.alert(candidate(6, 5, time=8 * DAY_S)) == Totals(case=5)  # too long ago
    made.hold(candidate(0, 6), "budget")
    assert made.alert(candidate(0, 7, exposure=2.0)) == Totals(case=7, sum=2.0, largest=2.0)
    assert made.alert(candidate(0, 8)) == Totals(case=8)


def test_an_alert_looks_back_on_its_case_without_itself() -> None:
    made = cases()
    assert made.before(5, None, 1.0) is None
    made.alert(candidate(5, 3, exposure=10.1))
    assert made.before(5, 3, 10.1) is None  # it is the only one
    made.hold(candidate(5, 4, exposure=20.2), "entity")
    made.alert(candidate(5, 5, exposure=0.3))
    assert made.before(5, 3, 0.3) == CaseBefore(3, START_S, 2, 30.3)
    assert made.before(5, None, 7.0) == CaseBefore(3, START_S, 3, 30.6)  # another event, which does not count


def test_a_case_lasts_until_its_entity_is_quiet() -> None:
    made = cases()
    for n, day in enumerate((0, 6, 13)):
        assert made.alert(candidate(5, n, time=day * DAY_S)).case == 0
    assert made.alert(candidate(5, 3, time=20.1 * DAY_S)) == Totals(case=3)
    assert made.alert(candidate(6, 4, time=20.1 * DAY_S)).case == 4


def test_what_comes_after_a_case_has_ended_is_not_in_it() -> None:
    made = cases()
    made.alert(candidate(5, 0))
    made.hold(candidate(5, 1, time=7.1 * DAY_S), "budget")
    assert made.collect() == []
    assert made.alert(candidate(5, 2, time=7.2 * DAY_S)) == Totals(case=2, events=2)


def test_a_case_knows_its_newest_alerts_and_can_be_closed() -> None:
    made = cases()
    for n in range(ALERTS_MAX + 5):
        made.alert(candidate(5, n, time=3600.0 * n))
    assert made.alerts_of(0) == list(range(5, ALERTS_MAX + 5))
    assert made.entity_of(0) == 5
    assert made.alerts_of(1) is None
    assert made.close(0, 100)
    assert not made.close(0, 100)
    assert made.alerts_of(0) is made.last_alert(5) is made.entity_of(0) is None
    assert made.alert(candidate(5, 200)).case == 200


# --- when it is told ---------------------------------------------------------------------------------------


def after_a_burst(made: Cases, exposure: float = 1.0) -> int:
    """An alert and as many held-back events as are told at once; the offset of the next one."""
    made.alert(candidate(5, 0, exposure=exposure))
    for n in range(1, AT_ONCE + 1):
        made.hold(candidate(5, n, exposure=exposure), "entity")
    assert len(made.collect()) == AT_ONCE
    return AT_ONCE + 1


def test_later_events_are_told_when_the_sum_doubles() -> None:
    made = cases()
    n = after_a_burst(made)
    made.hold(candidate(5, n, exposure=15.9), "entity")
    made.hold(candidate(5, n + 1, exposure=1.09), "entity")
    assert made.collect() == []
    made.hold(candidate(5, n + 2, exposure=0.01), "entity")
    [update] = made.collect()
    assert (update.cause, held([update]), update.totals.sum) == ("sum", [n, n + 1, n + 2], 34.0)


def test_later_events_are_told_when_many_wait_or_the_severity_rises() -> None:
    made = cases()
    n = after_a_burst(made, exposure=0.0)
    for k in range(WAITING_MAX):
        made.hold(candidate(5, n + k, exposure=0.0), "entity")
    [update] = made.collect()
    assert (update.cause, update.totals.events) == ("waiting", n + WAITING_MAX)
    made.hold(candidate(5, 100, exposure=0.0, severity=CRITICAL), "entity")
    [update] = made.collect()
    assert (update.cause, update.severity) == ("severity", CRITICAL)
    made.hold(candidate(5, 101, exposure=0.0, severity=CRITICAL), "entity")
    assert made.collect() == []


def test_what_is_not_told_is_told_at_the_end_of_the_cooldown() -> None:
    made = cases()
    n = after_a_burst(made)
    made.hold(candidate(5, n, time=600.0, exposure=1.0), "entity")
    made.hold(candidate(5, n + 1, time=700.0, exposure=1.0), "budget")
    assert made.next_due == START_S + 3600.0
    made.tell_due(77)
    [update] = made.collect()
    assert (update.cause, update.at, update.value) == ("cooldown", 77, "card-5")
    assert [(one.offset, one.reason) for one in update.held] == [(n, "entity"), (n + 1, "budget")]
    assert made.next_due == math.inf
    made.hold(candidate(5, n + 2, time=7000.0, exposure=1.0), "entity")  # heat alone: the cooldown is over
    assert made.next_due == START_S + 7000.0 + 3600.0


def test_only_so_many_events_wait() -> None:
    made = cases()
    n = after_a_burst(made, exposure=1000.0)
    made.alert(candidate(5, n, exposure=1e6))
    for k in range(AT_ONCE + 3 * WAITING_MAX):
        made.hold(candidate(5, n + 1 + k, exposure=0.0), "entity")
    assert max(len(update.held) for update in made.collect()) <= WAITING_MAX


def test_the_state_holds_no_value_of_an_entity() -> None:
    made = cases()
    n = after_a_burst(made)
    made.hold(candidate(5, n), "entity")
    text = pack(made.to_state())
    assert b"card-5" not in text
    assert b"card-5".hex().encode() not in text
    other = Cases(AlertsConfig(), b"another key")
    other.load(unpack(text))
    with pytest.raises(UnicodeDecodeError):
        other.tell_due(1)


# --- laws --------------------------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.sampled_from(["alert", "hold", "hold", "hold", "close"]),
        st.integers(1, 20),
        st.floats(0, 2 * DAY_S),
        st.one_of(st.none(), st.integers(0, 10**6)),
        st.sampled_from([LOW, HIGH, CRITICAL]),
    ),
    max_size=120,
)


def run(made: Cases, given_steps: list[Any], offset: int = 0, time: float = 0.0) -> list[Update]:
    told: list[Update] = []
    for what, entity, gap, cents, severity in given_steps:
        offset, time = offset + 1, time + gap * (gap > DAY_S)
        while made.next_due <= START_S + time:
            made.tell_due(offset)
        one = candidate(
            entity, offset, time=time, exposure=None if cents is None else cents / 100, severity=severity
        )
        match what:
            case "alert":
                made.alert(one)
            case "hold":
                made.hold(one, "entity")
            case "close":
                made.close(entity, offset)
        told += made.collect()
    return told


@given(given_steps=steps)
@settings(max_examples=60, deadline=None)
def test_nothing_held_back_of_a_case_is_lost_or_told_twice(given_steps: list[Any]) -> None:
    made = cases(cases_max=16)
    opened: dict[int, bool] = {}
    expected: list[int] = []
    told: list[Update] = []
    for n, step in enumerate(given_steps):
        entity = step[1]
        before = made.last_alert(entity)
        told += run(made, [(*step[:2], 0.0, *step[3:])], offset=n)
        opened[entity] = made.last_alert(entity) is not None
        if step[0] == "hold" and before is not None:
            expected.append(n + 1)
    for first in list(made._by_first):
        made.close(first, 1000)
    told += made.collect()
    assert sorted(held(told)) == expected
    assert {update.cause for update in told} <= set(CAUSES)
    numbers: dict[int, int] = {}
    for update in told:
        numbers[update.totals.case] = numbers.get(update.totals.case, 0) + 1
        assert update.number == numbers[update.totals.case]


@given(first=steps, second=steps)
@settings(max_examples=60, deadline=None)
def test_cases_go_on_from_their_state(first: list[Any], second: list[Any]) -> None:
    one, other = cases(cases_max=16), cases(cases_max=16)
    run(one, first)
    saved = pack(one.to_state())
    other.load(unpack(saved))
    assert pack(other.to_state()) == saved
    assert run(one, second, 1000, 1e6) == run(other, second, 1000, 1e6)
    assert pack(one.to_state()) == pack(other.to_state())


# --- bounds ------------------------------------------------------------------------------------------------


def test_cases_are_limited_and_the_quietest_goes() -> None:
    made = cases(cases_max=16)
    for entity in range(1, 17):
        made.alert(candidate(entity, entity))
    made.alert(candidate(1, 100, time=4000))  # so 2 is the longest quiet
    made.alert(candidate(30, 101, time=4000))
    assert len(made) == 16
    assert made.last_alert(2) is None
    assert made.alert(candidate(3, 102, time=8000)).case == 3


def test_what_waits_of_a_dropped_case_is_told() -> None:
    made = cases(cases_max=16)
    n = after_a_burst(made)
    made.hold(candidate(5, n), "entity")
    for entity in range(100, 116):
        made.alert(candidate(entity, entity))
    [update] = made.collect()
    assert (update.cause, held([update]), update.at) == ("ended", [n], 115)


def test_entities_without_a_case_are_limited() -> None:
    made = cases(cases_max=16)
    for entity in range(1, 100):
        made.hold(candidate(entity, entity), "budget")
    assert len(made.to_state()["without"]["entity"]) == 16
    assert made.alert(candidate(99, 100)).events == 2
    assert made.alert(candidate(1, 101)).events == 1


def test_a_smaller_limit_applies_from_the_next_alert_on() -> None:
    made = cases(cases_max=64)
    for entity in range(1, 65):
        made.alert(candidate(entity, entity))
    smaller = cases(cases_max=16)
    smaller.load(unpack(pack(made.to_state())))
    smaller.alert(candidate(1000, 1000))
    assert len(smaller) == 16


def test_a_forgotten_entity_leaves_nothing() -> None:
    made = cases()
    n = after_a_burst(made)
    made.hold(candidate(5, n), "entity")
    made.hold(candidate(6, n + 1), "budget")
    made.erase(Erased(np.array([5, 6, 7], dtype=np.uint64), np.zeros(0, dtype=np.int64)))
    assert made.collect() == []
    assert pack(made.to_state()) == pack(cases().to_state())
