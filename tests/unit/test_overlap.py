"""Columns of habits that say the same count as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.core.model.overlap import Overlap

MEMORY = 32_768


def weights_of(
    beyond: NDArray[np.float64], useful: NDArray[np.float64] | None = None, *, second: Sequence[int] = ()
) -> NDArray[np.float64]:
    overlap = Overlap(np.isin(np.arange(beyond.shape[1]), second), MEMORY)
    overlap.learn(beyond)
    return overlap.weights(np.ones(beyond.shape[1]) if useful is None else useful)


def rare(rng: np.random.Generator, events: int, columns: int) -> NDArray[np.float64]:
    """Nats beyond what is usual, of columns that know nothing of each other."""
    return np.where(rng.random((events, columns)) < 0.02, rng.exponential(1.0, (events, columns)), 0.0)


@given(copies=st.integers(2, 6), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_columns_that_are_equal_weigh_as_one(copies: int, seed: int) -> None:
    beyond = rare(np.random.default_rng(seed), 4_000, 4)
    weights = weights_of(np.column_stack([beyond, *[beyond[:, 0]] * (copies - 1)]))
    same = np.r_[0, 4 : len(weights)]
    np.testing.assert_allclose(weights[same].sum() / weights[1:4].mean(), 1.0, rtol=0.35)
    np.testing.assert_allclose(weights[same], weights[0])


def test_columns_that_know_nothing_of_each_other_keep_their_say() -> None:
    weights = weights_of(rare(np.random.default_rng(0), 200_000, 8))
    np.testing.assert_allclose(weights, 1.0, rtol=0.1)


def test_a_column_apart_gains_where_the_others_overlap() -> None:
    rng = np.random.default_rng(0)
    place, hour = rare(rng, 50_000, 2).T
    seen = np.column_stack([place * rng.uniform(0.5, 1.5, len(place)) for _ in range(4)])
    weights = weights_of(np.column_stack([seen, hour]))
    assert weights[4] > 3.0 * weights[:4].max()


def test_what_tells_nothing_takes_nothing_from_the_others() -> None:
    beyond = rare(np.random.default_rng(1), 20_000, 3)
    both = np.column_stack([beyond, beyond[:, 0]])
    useful = np.array([1.0, 1.0, 1.0, 0.0])
    np.testing.assert_allclose(weights_of(both, useful)[:3], weights_of(beyond), rtol=1e-12)


def test_without_far_events_all_weigh_1() -> None:
    assert (weights_of(np.zeros((1_000, 3))) == 1.0).all()
    assert (weights_of(np.ones((1_000, 3)), np.zeros(3)) == 1.0).all()
    one = np.array([[2.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(weights_of(one), 1.0)


def test_what_comes_second_takes_nothing_from_the_others_and_adds_what_they_do_not_say() -> None:
    rng = np.random.default_rng(2)
    first, alone = rare(rng, 50_000, 3), rare(rng, 50_000, 1)[:, 0]
    weights = weights_of(np.column_stack([first, first[:, 0], alone]), second=(3, 4))
    np.testing.assert_allclose(weights[:3], weights_of(first), rtol=1e-12)
    assert weights[3] < 0.6 * weights[4]


@given(seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_the_order_of_columns_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    beyond = rare(rng, 2_000, 5)
    order = rng.permutation(5)
    np.testing.assert_allclose(weights_of(beyond[:, order]), weights_of(beyond)[order])


def test_a_copy_is_apart_and_state_comes_back() -> None:
    rng = np.random.default_rng(0)
    one = Overlap(np.zeros(3, dtype=bool), MEMORY)
    one.learn(rare(rng, 1_000, 3))
    other, before = one.copy(), one.weights(np.ones(3))
    one.learn(np.repeat(rare(rng, 5_000, 1), 3, axis=1))
    np.testing.assert_array_equal(other.weights(np.ones(3)), before)
    assert not np.allclose(one.weights(np.ones(3)), before)
    other.load(one.to_state())
    np.testing.assert_array_equal(other.weights(np.ones(3)), one.weights(np.ones(3)))
