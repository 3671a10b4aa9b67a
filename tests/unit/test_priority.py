"""Priorities follow the answers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.core.alerts.priority import ALERTS_MAX, PRIOR, Kind, Priority, priority
from detector.core.state import pack, unpack

LOW, MEDIUM, HIGH, CRITICAL = (Kind(rank, hot=False, later=False) for rank in range(4))
HOT = Kind(0, hot=True, later=True)


def answered(kind: Kind, frauds: int, legitimate: int, made: Priority | None = None) -> Priority:
    made = made or Priority()
    start = len(made._alerts)
    for n in range(start, start + frauds + legitimate):
        made.record(n, kind, 7)
        made.apply({n: "fraud" if n < start + frauds else "legitimate"})
    return made


def test_without_answers_the_severity_decides() -> None:
    made = Priority()
    for n in range(100):
        made.record(n, LOW, 7)
    assert [made.chance(kind) for kind in (LOW, MEDIUM, HIGH, CRITICAL)] == pytest.approx(PRIOR)
    assert made.chance(HOT) == made.chance(LOW)


def test_many_answers_decide_alone() -> None:
    made = answered(LOW, 300, 100)
    answered(CRITICAL, 50, 350, made)
    answered(HOT, 10, 390, made)
    assert made.chance(LOW) == pytest.approx(0.75, abs=0.02)
    assert made.chance(CRITICAL) == pytest.approx(0.125, abs=0.02)
    assert made.chance(HOT) == pytest.approx(0.025, abs=0.02)
    assert made.chance(MEDIUM) == pytest.approx(0.3, abs=0.02)  # nothing is known of it but of all


def test_where_only_frauds_are_reported_silence_counts() -> None:
    made = Priority()
    for n in range(200):
        made.record(n, LOW if n % 2 else HIGH, 7)
    made.apply(dict.fromkeys(range(0, 200, 4), "fraud"))  # half of HIGH
    assert made.chance(HIGH) == pytest.approx(0.5, abs=0.05)
    assert made.chance(LOW) < 0.1
    made.apply(dict.fromkeys(range(0, 200, 4), "retracted"))
    assert made.chance(HIGH) == pytest.approx(PRIOR[2])


def test_priority_is_the_loss_to_be_expected() -> None:
    assert priority(0.5, 200.0) == 100.0
    assert priority(0.5, -200.0) == 100.0
    assert priority(0.5, None) == 0.5


def test_old_alerts_are_forgotten() -> None:
    made = answered(LOW, 10, 0)
    for n in range(100, 100 + ALERTS_MAX):
        made.record(n, HIGH, 7)
    assert made.chance(LOW) == pytest.approx(PRIOR[0])
    made.apply({0: "fraud"})
    assert made.chance(LOW) == pytest.approx(PRIOR[0])


@given(
    answers=st.lists(
        st.tuples(
            st.integers(0, 15), st.integers(0, 30), st.sampled_from(["fraud", "legitimate", "retracted"])
        ),
        max_size=60,
    )
)
@settings(max_examples=40, deadline=None)
def test_chances_are_chances_and_go_on_from_their_state(answers: list[tuple[int, int, str]]) -> None:
    made = Priority()
    for n, (number, answered_one, label) in enumerate(answers):
        made.record(n, Kind(number // 4, hot=bool(number & 2), later=bool(number & 1)), 7)
        made.apply({answered_one: label})
    other = Priority()
    other.load(unpack(pack(made.to_state())))
    kinds = [Kind(r, hot=h, later=s) for r in range(4) for h in (False, True) for s in (False, True)]
    assert [made.chance(kind) for kind in kinds] == [other.chance(kind) for kind in kinds]
    assert all(0.0 < made.chance(kind) < 1.0 for kind in kinds)
    assert pack(made.to_state()) == pack(other.to_state())
