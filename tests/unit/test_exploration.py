"""Answers to a few random alerts give an unbiased estimate of what the score misses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.core.alerts.exploration import ALERTS_MAX, ANSWERS_MIN, BY_SCORE, Exploration
from detector.core.state import pack, unpack


def stream(
    seed: int, *, events: int = 20_000, probability: float = 0.05, answered: float = 1.0
) -> tuple[Exploration, float, float]:
    """Explore a stream whose score finds some frauds; also returns the true numbers of missed and found."""
    rng = np.random.default_rng(seed)
    fraud = rng.random(events) < 0.03
    by_score = rng.random(events) < np.where(fraud, 0.4, 0.01)
    exploration = Exploration(seed, 0)
    # A probability may change from one block to the next.
    chances = np.where(np.arange(events) < events // 2, probability, probability / 2)
    drawn = np.concatenate(
        [exploration.draw(block, float(chances[block[0]])) for block in np.split(np.arange(events), 20)]
    )
    answers = {}
    for offset in np.flatnonzero(drawn | by_score).tolist():
        exploration.record(offset, BY_SCORE if by_score[offset] else float(chances[offset]), 7)
        if rng.random() < answered:
            answers[offset] = "fraud" if fraud[offset] else "legitimate"
    exploration.apply(answers)
    return exploration, float((fraud & ~by_score).sum()), float((fraud & by_score).sum())


@pytest.mark.parametrize("answered", [1.0, 0.5])
def test_the_estimate_is_unbiased_and_its_error_is_right(answered: float) -> None:
    errors, estimated, recalls = [], [], []
    for seed in range(200):
        exploration, missed, found = stream(seed, answered=answered)
        estimates = exploration.estimates
        errors.append(estimates["missed_frauds"] - missed)
        estimated.append(estimates["missed_frauds_error"])
        recalls.append((estimates["recall"] - found / (found + missed)) / estimates["recall_error"])
    spread = np.std(errors)
    assert abs(np.mean(errors)) <= 3.0 * spread / np.sqrt(len(errors))
    assert np.sqrt(np.mean(np.square(estimated))) == pytest.approx(spread, rel=0.2)
    assert 0.9 <= np.mean(np.abs(recalls) <= 2.5) <= 1.0


@given(numbers=st.integers(1, 400), cut=st.integers(0, 400), seed=st.integers(0, 1 << 31))
@settings(max_examples=40, deadline=None)
def test_a_draw_depends_on_the_events_number_alone(numbers: int, cut: int, seed: int) -> None:
    exploration, every = Exploration(seed, 3), np.arange(numbers)
    whole = exploration.draw(every, 0.3)
    parts = [exploration.draw(part, 0.3) for part in np.split(every, [min(cut, numbers)])]
    assert np.array_equal(whole, np.concatenate(parts))
    more = exploration.draw(every, 0.6)
    assert not (whole & ~more).any()
    assert not exploration.draw(every, 0.0).any()


def test_draws_are_even_and_differ_between_partitions() -> None:
    numbers = np.arange(200_000)
    one, other = (Exploration(0, partition).draw(numbers, 0.01) for partition in (0, 1))
    assert one.mean() == pytest.approx(0.01, rel=0.1)
    assert (one & other).mean() == pytest.approx(0.0001, rel=0.9)
    tenths = one.reshape(10, -1).sum(axis=1)
    assert tenths.min() > 120
    assert tenths.max() < 290


def filled(explored: int, by_score: int) -> Exploration:
    exploration = Exploration(0, 0)
    for offset in range(explored):
        exploration.record(offset, 0.01, 7)
    for offset in range(explored, explored + by_score):
        exploration.record(offset, BY_SCORE, 7)
    return exploration


def test_there_is_no_estimate_before_enough_answers() -> None:
    exploration = filled(ANSWERS_MIN, ANSWERS_MIN)
    answers = dict.fromkeys(range(2 * ANSWERS_MIN - 1), "legitimate")
    exploration.apply(answers)
    assert exploration.estimates == {"explored_answers": ANSWERS_MIN}
    exploration.apply({2 * ANSWERS_MIN - 1: "fraud"})
    assert exploration.estimates["recall"] == 1.0
    assert exploration.estimates["missed_frauds"] == 0.0
    assert exploration.estimates["missed_frauds_error"] == pytest.approx(
        100.0, rel=0.01
    )  # as if there was one
    assert exploration.estimates["recall_error"] > 0.9


def test_an_answer_may_change_and_be_retracted() -> None:
    exploration = filled(ANSWERS_MIN, ANSWERS_MIN)
    exploration.apply(dict.fromkeys(range(2 * ANSWERS_MIN), "legitimate"))
    exploration.apply({0: "fraud", 10**6: "fraud"})
    assert exploration.estimates["missed_frauds"] == pytest.approx(100.0)
    exploration.apply({0: "legitimate"})
    assert exploration.estimates["missed_frauds"] == 0.0
    exploration.apply({0: "retracted"})
    assert exploration.estimates == {"explored_answers": ANSWERS_MIN - 1}


def test_without_exploration_there_is_no_estimate() -> None:
    exploration = filled(0, 2 * ANSWERS_MIN)
    exploration.apply(dict.fromkeys(range(2 * ANSWERS_MIN), "fraud"))
    assert exploration.estimates == {}


def test_the_table_is_bounded_and_the_oldest_go() -> None:
    exploration = filled(ANSWERS_MIN, ALERTS_MAX)
    exploration.apply(dict.fromkeys(range(ALERTS_MAX), "fraud"))
    assert exploration.estimates == {}
    assert len(exploration.to_state()["offsets"]) == ALERTS_MAX


def test_it_goes_on_from_its_state() -> None:
    exploration, *_ = stream(1)
    saved = pack(exploration.to_state())
    other = Exploration(1, 0)
    other.load(unpack(saved))
    assert other.estimates == exploration.estimates
    more: dict[int, Any] = dict.fromkeys(range(0, 20_000, 7), "retracted")
    for one in (exploration, other):
        one.record(30_000, 0.25, 7)
        one.apply(more)
    assert other.estimates == exploration.estimates
    assert pack(other.to_state()) == pack(exploration.to_state())
    numbers: NDArray[np.int64] = np.arange(500)
    assert np.array_equal(other.draw(numbers, 0.2), exploration.draw(numbers, 0.2))
