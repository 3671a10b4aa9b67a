"""Priorities follow the score, and then the answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.core.alerts.priority import ALERTS_MAX, Priority, priority
from detector.core.erasure import Erased
from detector.core.state import pack, unpack

NEAR, FAR = 0.0, 2.0


def answered(excess: float, frauds: int, legitimate: int, made: Priority | None = None) -> Priority:
    made = made or Priority()
    start = len(made._alerts)
    for n in range(start, start + frauds + legitimate):
        made.record(n, excess, 7)
    made.apply({n: "fraud" if n < start + frauds else "legitimate" for n in range(start, len(made._alerts))})
    return made


def odds(chance: float) -> float:
    return chance / (1.0 - chance)


def test_without_answers_a_score_of_one_more_has_ten_times_the_odds() -> None:
    made = Priority()
    for n in range(100):
        made.record(n, NEAR, 7)
    assert made.chance(NEAR) == pytest.approx(0.01)
    assert odds(made.chance(FAR)) == pytest.approx(100.0 * odds(made.chance(NEAR)))


def test_few_frauds_among_alerts_leave_the_order_of_the_score() -> None:
    rng = np.random.default_rng(1)
    made = Priority()
    for n in range(400):
        excess = float(rng.exponential(0.4))
        made.record(n, excess, 7)
        made.apply({n: "fraud" if rng.random() < 0.01 * 10.0**excess else "legitimate"})
    chances = [made.chance(excess) for excess in (0.0, 0.5, 1.0, 2.0)]
    assert chances == sorted(chances)
    assert chances[3] > 20.0 * chances[0]  # so an amount 20 times as large does not come first


def test_many_answers_decide_alone() -> None:
    made = answered(NEAR, 300, 100)
    answered(FAR, 50, 350, made)
    assert made.chance(NEAR) == pytest.approx(0.75, abs=0.03)
    assert made.chance(FAR) == pytest.approx(0.125, abs=0.03)
    assert made.chance(1.0) == pytest.approx(0.4, abs=0.05)


def test_one_answer_far_out_says_little_of_the_others() -> None:
    made = Priority()
    for n in range(200):
        made.record(n, n / 100.0, 7)
    made.apply({n: "fraud" if n > 100 else "legitimate" for n in range(200)})
    before = made.chance(0.5), made.chance(1.5)
    made.record(200, 300.0, 7)
    made.apply({200: "legitimate"})
    assert made.chance(0.5) < 0.5 < made.chance(1.5)
    assert made.chance(1.5) == pytest.approx(before[1], abs=0.2)


def test_where_only_frauds_are_reported_silence_counts() -> None:
    made = Priority()
    for n in range(800):
        made.record(n, NEAR if n % 2 else FAR, 7)
    made.apply(dict.fromkeys(range(0, 800, 4), "fraud"))  # half of FAR
    assert made.chance(FAR) == pytest.approx(0.5, abs=0.05)
    assert made.chance(NEAR) < 0.1
    before = Priority().chance(FAR)
    made.apply(dict.fromkeys(range(0, 800, 4), "retracted"))
    assert made.chance(FAR) == pytest.approx(before)


def test_priority_is_the_loss_to_be_expected() -> None:
    assert priority(0.5, 200.0) == 100.0
    assert priority(0.5, -200.0) == 100.0
    assert priority(0.5, None) == 0.5


def test_old_alerts_are_forgotten() -> None:
    made = answered(NEAR, 10, 0)
    for n in range(100, 100 + ALERTS_MAX):
        made.record(n, FAR, 7)
    before = made.chance(NEAR)
    made.apply({0: "legitimate"})
    assert made.chance(NEAR) == before
    made.apply({100: "retracted"})
    assert made.chance(NEAR) == pytest.approx(0.01)


def test_what_answers_about_an_erased_entity_taught_goes() -> None:
    made = answered(NEAR, 10, 0)
    assert made.chance(NEAR) > 0.02
    made.erase(Erased(entities=np.array([7], dtype=np.uint64), offsets=np.zeros(0, dtype=np.int64)))
    assert made.chance(NEAR) == pytest.approx(0.01)


@given(
    answers=st.lists(
        st.tuples(
            st.floats(-5.0, 300.0), st.integers(0, 30), st.sampled_from(["fraud", "legitimate", "retracted"])
        ),
        max_size=60,
    ),
    asked=st.floats(-5.0, 300.0),
)
@settings(max_examples=40, deadline=None)
def test_chances_are_chances_and_go_on_from_their_state(
    answers: list[tuple[float, int, str]], asked: float
) -> None:
    made = Priority()
    for n, (excess, answered_one, label) in enumerate(answers):
        made.record(n, excess, 7)
        made.apply({answered_one: label})
    other = Priority()
    other.load(unpack(pack(made.to_state())))
    assert 0.0 < made.chance(asked) < 1.0
    assert other.chance(asked) == made.chance(asked)
    assert pack(made.to_state()) == pack(other.to_state())
    made.apply({0: "fraud"})
    other.apply({0: "fraud"})
    assert other.chance(asked) == made.chance(asked)
