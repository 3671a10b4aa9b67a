"""Boosted trees: what they learn, and that they are a function of their events."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.quality.metrics import average_precision
from detector.core.model.trees import CUTS, DEPTH, TREES, Trees
from detector.core.state import pack, unpack

INPUTS = 6


def events(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Frauds are far in inputs 1 and 4 together; either alone says nothing."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(count, INPUTS)).astype(np.float32)
    return inputs, (inputs[:, 1] > 0.8) & (inputs[:, 4] < -0.8)


def grown(seed: int = 0, usable: NDArray[np.bool_] | None = None, count: int = 2000) -> Trees:
    inputs, fraud = events(count, 1)
    all_of_them = np.ones(INPUTS, dtype=np.bool_)
    drawn = np.random.default_rng(seed)
    return Trees.grow(inputs, fraud, np.ones(count), all_of_them if usable is None else usable, drawn)


def test_conditions_that_count_together_are_found() -> None:
    inputs, fraud = events(3000, 2)
    assert average_precision(fraud, grown().log_odds(inputs)) > 0.95


def test_log_odds_are_near_the_share_of_frauds_where_nothing_tells() -> None:
    rng = np.random.default_rng(0)
    inputs, fraud = rng.normal(size=(4000, INPUTS)).astype(np.float32), rng.random(4000) < 0.2
    made = Trees.grow(inputs, fraud, np.ones(4000), np.ones(INPUTS, dtype=np.bool_), rng)
    assert np.median(made.log_odds(inputs)) == pytest.approx(np.log(0.25), abs=0.3)


def test_events_that_stand_for_many_move_the_log_odds() -> None:
    inputs, fraud = events(1000, 1)
    usable, drawn = np.ones(INPUTS, dtype=np.bool_), np.random.default_rng(0)
    rare = Trees.grow(inputs, fraud, np.where(fraud, 1.0, 100.0), usable, drawn)
    assert np.median(rare.log_odds(inputs)) < np.median(grown(count=1000).log_odds(inputs)) - 3.0


def test_what_may_not_be_used_changes_nothing() -> None:
    usable = np.arange(INPUTS) != 1
    made = grown(usable=usable)
    inputs, _ = events(500, 3)
    changed = inputs.copy()
    changed[:, 1] += 5.0
    assert made.log_odds(changed).tobytes() == made.log_odds(inputs).tobytes()


def test_trees_are_a_function_of_their_events_and_draws() -> None:
    assert pack(grown().to_state()) == pack(grown().to_state())
    assert pack(grown().to_state()) != pack(grown(seed=1).to_state())


def test_they_go_through_a_checkpoint() -> None:
    inputs, _ = events(500, 3)
    again = Trees.from_state(unpack(pack(grown().to_state())))
    assert again.log_odds(inputs).tobytes() == grown().log_odds(inputs).tobytes()
    assert len(again) == TREES
    assert len(Trees.from_state(unpack(pack(Trees().to_state())))) == 0


@given(st.integers(0, 499), st.integers(1, 500))
@settings(max_examples=20, deadline=None)
def test_a_row_depends_on_itself_alone(first: int, count: int) -> None:
    made, (inputs, _) = grown(count=300), events(500, 3)
    part = inputs[first : first + count]
    assert made.log_odds(part).tobytes() == made.log_odds(inputs)[first : first + count].tobytes()


@pytest.mark.parametrize("value", [0.0, 1e30, -1e30])
def test_constant_and_huge_inputs_are_harmless(value: float) -> None:
    inputs, fraud = events(400, 1)
    inputs[:, 2] = value
    inputs[::7, 3] = value
    made = Trees.grow(inputs, fraud, np.ones(400), np.ones(INPUTS, dtype=np.bool_), np.random.default_rng(0))
    assert np.isfinite(made.log_odds(inputs)).all()
    size = made.to_state()
    assert size["values"].shape == (TREES, 1 << DEPTH)
    assert CUTS < 256
