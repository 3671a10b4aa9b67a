"""What entities usually come with, and how a change of it is measured and told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.core.features.change_tables import STRENGTH_MAX, ChangesTable
from detector.core.features.feature_kernels import HABIT_PRIOR
from detector.core.state import digest, pack, unpack

LONG_S, KEYS_MAX = 1e12, 1000  # nothing decays
DAY_S = 86_400.0


def key(number: int) -> int:
    """Keys are hashes: spread over all bits."""
    return ((number + 1) * 0x9E3779B97F4A7C15) % (1 << 64) if number else 0


steps = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=60)


def observe(table: ChangesTable, given_steps: list[tuple[int, int, int]], at: float = 0.0) -> np.ndarray:
    """Payees with their accounts and devices, a second between two events."""
    rows = np.array([[key(n) for n in step] for step in given_steps], dtype=np.uint64)
    context = np.zeros((len(rows), 3), dtype=np.float32)
    table.observe(rows[:, 0], at + np.arange(len(rows), dtype=np.float64), rows[:, 1:], context)
    return context


def plainly(given_steps: list[tuple[int, int, int]]) -> list[tuple[float, int]]:
    """Nats and column of each event's rarest change, in a plain loop."""
    usual: dict[tuple[int, int], tuple[int, int]] = {}  # value and strength
    counts: dict[tuple[int, int], list[int]] = {}
    everyone = [[0, 0], [0, 0]]
    found = []
    for payee, *contacts in given_steps:
        best = (0.0, -1)
        for column, value in enumerate(contacts):
            if not payee or not value:
                continue
            place = payee, column
            if place not in usual:
                usual[place], counts[place] = (value, 1), [0, 0]
                continue
            known, strength = usual[place]
            own, ours = counts[place], everyone[column]
            if value != known:
                share = (ours[1] + 1.0) / (ours[0] + 1.0)
                share = (own[1] + HABIT_PRIOR * share) / (own[0] + HABIT_PRIOR)
                best = max(best, (-math.log(share), column), key=lambda one: one[0])
            strength = min(strength + 1, STRENGTH_MAX) if value == known else strength - 1
            usual[place] = (known, strength) if strength else (value, 1)
            for count in (own, ours):
                count[0] += 1
                count[1] += value != known
        found.append(best)
    return found


@given(given_steps=steps)
@settings(max_examples=60, deadline=None)
def test_changes_are_those_of_a_plain_loop(given_steps: list[tuple[int, int, int]]) -> None:
    context = observe(ChangesTable(2, LONG_S, KEYS_MAX), given_steps)
    expected = plainly(given_steps)
    np.testing.assert_allclose(context[:, 0], [nats for nats, _ in expected], atol=1e-5)
    told = [column for nats, column in zip(context[:, 0], context[:, 1].tolist(), strict=True) if nats > 0.0]
    assert told == [column for nats, column in expected if nats > 0.0]


@given(first=steps, second=steps)
@settings(max_examples=20, deadline=None)
def test_it_goes_on_from_its_state_and_cuts_change_nothing(first: Any, second: Any) -> None:
    one, other = (ChangesTable(2, 30 * DAY_S, KEYS_MAX) for _ in range(2))
    observe(one, first + second)
    observe(other, first)
    loaded = ChangesTable(2, 30 * DAY_S, KEYS_MAX)
    loaded.load(unpack(pack(other.to_state())))
    observe(loaded, second, at=len(first))
    assert digest(loaded.to_state()) == digest(one.to_state())


def test_one_odd_event_changes_nothing_and_what_goes_on_is_usual_after_a_few() -> None:
    table = ChangesTable(2, LONG_S, KEYS_MAX)
    observe(table, [(n, 1, 1) for n in (1, 2, 3)] * 30)
    odd, after = observe(table, [(1, 2, 1), (1, 1, 1)], at=90)[:, 0].tolist()
    assert odd > 4.0
    assert after == 0.0
    moved = observe(table, [(2, 2, 1)] * 8, at=100)[:, 0]
    assert (moved[:STRENGTH_MAX] > 1.0).all()
    assert (moved[STRENGTH_MAX:] == 0.0).all()


def test_a_device_that_always_has_another_user_tells_nothing() -> None:
    table = ChangesTable(2, LONG_S, KEYS_MAX)
    found = observe(table, [(1, 1 + n % 3, 0) for n in range(300)])
    assert found[100:, 0].max() < 1.0


def test_events_apart_see_the_table_and_change_nothing() -> None:
    table = ChangesTable(2, LONG_S, KEYS_MAX)
    observe(table, [(1, 1, 1)] * 50)
    before = digest(table.to_state())
    copied, own = table.apart(np.array([key(1)], dtype=np.uint64))
    context = np.zeros((1, 3), dtype=np.float32)
    copied.observe(own, np.array([50.0]), np.array([[key(2), key(1)]], dtype=np.uint64), context)
    assert context[0, 0] > 3.0
    assert context[0, 1] == 0.0
    assert digest(table.to_state()) == before


def test_a_forgotten_contact_is_as_if_it_had_never_been_met() -> None:
    table = ChangesTable(2, LONG_S, KEYS_MAX)
    observe(table, [(1, 1, 1), (2, 2, 1)] * 20)
    table.forget(0, np.array([key(1)], dtype=np.uint64))
    forgotten, kept = observe(table, [(1, 3, 1), (2, 3, 1)], at=50)[:, 0].tolist()
    assert forgotten == 0.0
    assert kept > 4.0
    again = ChangesTable(2, LONG_S, KEYS_MAX)
    again.load(unpack(pack(table.to_state())))
    assert digest(again.to_state()) == digest(table.to_state())
