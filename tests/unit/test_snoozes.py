"""Snoozes hold back what was asked, for as long as was asked, but nothing worse."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from detector.core.alerts.snoozes import CODES_MAX, SNOOZES_MAX, Snoozes
from detector.core.features import DAY_S
from detector.core.state import pack, unpack

LOW, MEDIUM, HIGH = range(3)


def test_all_alerts_of_an_entity_are_held_back_until_then() -> None:
    made = Snoozes()
    assert made.set(5, None, until=100.0, now=0.0) == 100.0
    assert made.holds(5, (), LOW, 99.9)
    assert not made.asks(5, 50.0)
    assert not made.holds(6, (), LOW, 50.0)
    assert not made.holds(5, (), LOW, 100.0)
    assert len(made) == 0


def test_a_snooze_lasts_seven_days_at_most_and_never_begins_in_the_past() -> None:
    made = Snoozes()
    assert made.set(5, None, until=30 * DAY_S, now=DAY_S) == 8 * DAY_S
    assert made.until(5, DAY_S) == 8 * DAY_S
    made.set(5, None, until=DAY_S - 1, now=DAY_S)
    assert made.until(5, DAY_S) is None


def test_a_higher_severity_breaks_it() -> None:
    made = Snoozes()
    made.set(5, None, until=100.0, now=0.0, severity=MEDIUM)
    assert made.holds(5, (), MEDIUM, 1.0)
    assert not made.holds(5, (), HIGH, 2.0)
    assert not made.holds(5, (), LOW, 3.0)  # it has ended


def test_one_reason_is_held_back_and_others_are_not() -> None:
    made = Snoozes()
    made.set(5, "amount", until=100.0, now=0.0)
    assert made.asks(5, 1.0)
    assert not made.asks(6, 1.0)
    assert made.holds(5, {"amount", "hour"}, LOW, 1.0)
    assert not made.holds(5, {"hour"}, LOW, 1.0)
    made.set(5, "hour", until=50.0, now=0.0)
    assert made.clear(5, "amount")
    assert not made.clear(5, "amount")
    assert not made.holds(5, {"amount"}, LOW, 1.0)
    assert made.clear(5)
    assert len(made) == 0


def test_snoozes_are_bounded_and_the_first_to_end_goes() -> None:
    made = Snoozes()
    for n in range(CODES_MAX + 1):
        made.set(5, f"c{n}", until=100.0 + n, now=0.0)
    assert len(made) == CODES_MAX
    assert not made.holds(5, {"c0"}, LOW, 1.0)
    for entity in range(10, SNOOZES_MAX + 10 - CODES_MAX):
        made.set(entity, None, until=1000.0 + entity, now=0.0)
    assert len(made) == SNOOZES_MAX
    made.set(9, None, until=2000.0, now=0.0)
    assert len(made) == SNOOZES_MAX
    assert not made.holds(5, {"c1"}, LOW, 1.0)


steps = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from([None, "a", "b"]), st.floats(0, 9e5), st.integers(0, 3)),
    max_size=30,
)


@given(first=steps, second=steps)
@settings(max_examples=30, deadline=None)
def test_snoozes_go_on_from_their_state(first: list[Any], second: list[Any]) -> None:
    def run(made: Snoozes, given_steps: list[Any]) -> list[Any]:
        found = []
        for entity, code, time, rank in given_steps:
            found.append(made.holds(entity, {"a"}, rank, time))
            found.append(made.set(entity, code, time + 1000.0, time, rank))
        return found

    one, other = Snoozes(), Snoozes()
    run(one, first)
    other.load(unpack(pack(one.to_state())))
    assert run(one, second) == run(other, second)
    assert pack(one.to_state()) == pack(other.to_state())
