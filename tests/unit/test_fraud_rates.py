"""Fraud rates: counts of a key change its inputs, no other key's, and are undone by a retraction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.core.features.fraud_rate_table import (
    AGE_DAYS_MAX,
    DAY_S,
    FRAUD,
    MATURED,
    PRIOR_EVENTS,
    RETRACTED,
    RUN_ENDS_AFTER,
    SINCE_MAX,
    Changes,
    FraudRateTable,
    inputs_of,
    unknown,
    upper_ends,
)
from detector.core.features.key_table import SLOTS_MIN, WAYS
from detector.core.state import pack, unpack
from tests.keys import key_of

HALF_LIVES_S = np.array([1.0, 7.0, 30.0]) * DAY_S
MEMORIES = len(HALF_LIVES_S)
AGE, RUN_AGE, SINCE = MEMORIES, MEMORIES + 1, MEMORIES + 2

Counted = tuple[int, float, int]  # key, day, status


def count(table: FraudRateTable, events: list[Counted], before: float = 0.0) -> FraudRateTable:
    keys, days, statuses = zip(*events, strict=True) if events else ((), (), ())
    table.count(
        np.array([key_of(key) for key in keys], dtype=np.uint64),
        np.array(days, dtype=np.float64) * DAY_S,
        np.array(statuses, dtype=np.int8),
        np.full((len(events), MEMORIES), before),
        np.ones(len(events)),
    )
    return table


def fresh(keys_max: int = 1024) -> FraudRateTable:
    return FraudRateTable(HALF_LIVES_S, keys_max)


def read(table: FraudRateTable, keys: list[int], day: float = 100.0) -> NDArray[np.float32]:
    out = np.full((len(keys), inputs_of(MEMORIES)), -1.0, dtype=np.float32)
    table.read(np.array([key_of(key) for key in keys], dtype=np.uint64), np.full(len(keys), day * DAY_S), out)
    return out


KEYS = st.integers(0, 4)
DAYS = st.integers(0, 99).map(float)
EVENTS = st.lists(st.tuples(KEYS, DAYS, st.sampled_from([FRAUD, MATURED, RETRACTED])), max_size=40)


@given(events=EVENTS, before=st.floats(0, 1e6), day=st.floats(-1e5, 1e5))
@settings(max_examples=100, deadline=None)
def test_inputs_are_within_their_bounds(events: list[Counted], before: float, day: float) -> None:
    inputs = read(count(fresh(), events, before), [0, 1, 2, 3, 4, 5], day)
    assert np.isfinite(inputs).all()
    assert (inputs >= 0.0).all()
    assert (inputs <= upper_ends(MEMORIES)).all()
    assert (inputs[:, :MEMORIES] < 1.0).all()


@given(events=EVENTS)
@settings(max_examples=50, deadline=None)
def test_a_key_without_fraud_is_unknown(events: list[Counted]) -> None:
    table = count(fresh(), events)
    known = {key for key, _, status in events if status == FRAUD and key}
    assert len(table) == len(known)
    for key in {0, 5} | {key for key in range(5) if key not in known}:
        assert read(table, [key])[0].tolist() == unknown(MEMORIES).tolist()


@given(events=EVENTS, key=st.integers(1, 5), day=DAYS, before=st.floats(0, 100))
@settings(max_examples=100, deadline=None)
def test_a_retracted_fraud_is_in_no_rate(events: list[Counted], key: int, day: float, before: float) -> None:
    table = count(fresh(), events)
    rates = read(table, [0, 1, 2, 3, 4, 5])[:, :MEMORIES]
    count(table, [(key, day, FRAUD)], before)
    assert (read(table, [key])[0, :MEMORIES] > 0.0).all()
    count(table, [(key, day, RETRACTED)])
    # Rates are as of the latest event counted; a later one that was retracted moves only that time. What
    # was counted before the key's first fraud is not followed.
    latest = max((d for k, d, status in events if k == key and status == FRAUD), default=day)
    if day <= latest:
        np.testing.assert_allclose(read(table, [0, 1, 2, 3, 4, 5])[:, :MEMORIES], rates, atol=1e-6)
    else:
        others = [other for other in range(6) if other != key]
        np.testing.assert_allclose(read(table, others)[:, :MEMORIES], rates[others], atol=1e-6)


def test_a_key_whose_only_fraud_is_retracted_is_like_an_unknown_key() -> None:
    table = count(fresh(), [(1, 10, FRAUD), (1, 11, MATURED), (1, 10, RETRACTED), (1, 12, MATURED)])
    np.testing.assert_allclose(read(table, [1])[0], unknown(MEMORIES), atol=1e-6)
    count(table, [(1, 20, FRAUD)])
    inputs = read(table, [1], 21)[0]
    assert inputs[[AGE, RUN_AGE]] == pytest.approx(np.log1p(1.0))
    assert inputs[SINCE] == 0.0


def test_of_two_frauds_one_is_left_after_a_retraction() -> None:
    table = count(fresh(), [(1, 10, FRAUD), (1, 12, FRAUD), (1, 12, RETRACTED)])
    left = 0.5 ** (2.0 * DAY_S / HALF_LIVES_S)
    assert read(table, [1])[0, :MEMORIES] == pytest.approx(left / (left + PRIOR_EVENTS))


@given(
    frauds=st.lists(DAYS, min_size=1, max_size=8),
    matured=st.lists(DAYS, max_size=20),
    before=st.floats(0, 50),
    seed=st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_a_rate_is_frauds_over_matured_events_of_the_same_time(
    frauds: list[float], matured: list[float], before: float, seed: int
) -> None:
    """Whatever the order in which they are counted after the first fraud."""
    rest = [(1, day, FRAUD) for day in frauds[1:]] + [(1, day, MATURED) for day in matured]
    rest = [rest[i] for i in np.random.default_rng(seed).permutation(len(rest))]
    table = count(fresh(), [(1, frauds[0], FRAUD), *rest, (2, 50, FRAUD)], before)
    inputs = read(table, [1])[0]
    latest = max([*frauds, *matured])

    def decayed(days: list[float], half_life: float) -> float:
        return sum(0.5 ** ((latest - day) / half_life) for day in days)

    for rate, half_life in zip(inputs, HALF_LIVES_S / DAY_S, strict=False):
        known = decayed(frauds, half_life)
        judged = before * 0.5 ** ((latest - frauds[0]) / half_life)
        judged += decayed([day for day in matured if day >= frauds[0]], half_life)
        assert rate == pytest.approx(known / (max(judged, known) + PRIOR_EVENTS), rel=1e-4, abs=1e-6)
    assert inputs[AGE] == pytest.approx(np.log1p(100 - max(frauds)), rel=1e-5)


def test_one_fraud_of_one_event_is_not_certain() -> None:
    rate = read(count(fresh(), [(1, 10, FRAUD)]), [1], 10)[0, :MEMORIES]
    assert rate == pytest.approx([0.5] * MEMORIES)


def test_ages_are_as_of_the_event_that_reads_them() -> None:
    table = count(fresh(), [(1, 10, FRAUD), (1, 12, FRAUD)])
    asked = [read(table, [1], day)[0] for day in (5, 12, 15, 5000)]
    assert [row[AGE] for row in asked] == pytest.approx([0, 0, np.log1p(3), np.log1p(AGE_DAYS_MAX)])
    assert [row[RUN_AGE] for row in asked] == pytest.approx([0, *np.log1p([2, 5, AGE_DAYS_MAX])])


@pytest.mark.parametrize("between", range(6))
def test_a_run_of_frauds_ends_after_events_without_any(between: int) -> None:
    quiet = [(1, 10 + n / 10, MATURED) for n in range(1, between + 1)]
    table = count(fresh(), [(1, 10, FRAUD), *quiet])
    assert read(table, [1])[0, SINCE] == pytest.approx(np.log1p(between))
    count(table, [(1, 20, FRAUD)])
    inputs = read(table, [1], 21)[0]
    assert inputs[SINCE] == 0.0
    assert inputs[RUN_AGE] == pytest.approx(np.log1p(1 if between >= RUN_ENDS_AFTER else 11))


def test_events_before_the_latest_fraud_do_not_end_its_run() -> None:
    table = count(fresh(), [(1, 10, FRAUD), *[(1, 5 + n / 10, MATURED) for n in range(5)]])
    assert read(table, [1])[0, SINCE] == 0.0
    count(table, [(1, 11 + n, MATURED) for n in range(200)])
    assert read(table, [1], 300)[0, SINCE] == pytest.approx(np.log1p(SINCE_MAX))


def test_keys_are_bounded_and_the_latest_frauds_stay() -> None:
    table = fresh(keys_max=SLOTS_MIN // 2)
    count(table, [(key, key / 100, FRAUD) for key in range(1, 5001)])
    assert len(table) <= SLOTS_MIN
    late = read(table, list(range(5001 - WAYS, 5001)))
    assert (late[:, 0] > 0.0).all()
    early = read(table, list(range(1, 1001)))
    assert (early[:, MEMORIES - 1] == 0.0).mean() > 0.9


@given(events=EVENTS, more=EVENTS)
@settings(max_examples=30, deadline=None)
def test_a_table_continues_from_its_state(events: list[Counted], more: list[Counted]) -> None:
    first, second = count(fresh(), events), fresh()
    second.load(unpack(pack(first.to_state().rows())))
    for table in (first, second):
        count(table, more)
    assert pack(first.to_state().rows()) == pack(second.to_state().rows())


@given(events=EVENTS, cut=st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_it_does_not_matter_how_many_are_counted_at_once(events: list[Counted], cut: int) -> None:
    whole = count(fresh(), events)
    pieces = count(count(fresh(), events[:cut]), events[cut:])
    assert pack(whole.to_state().rows()) == pack(pieces.to_state().rows())


def test_growth_changes_no_result() -> None:
    frauds = [(key, key % 50, FRAUD) for key in range(1, 4001)]
    table = fresh(keys_max=8192)
    count(table, frauds[:100])
    before = read(table, list(range(1, 101)))
    count(table, frauds[100:])
    assert len(table) > 0.99 * len(frauds)
    assert read(table, list(range(1, 101))).tobytes() == before.tobytes()


def test_changes_with_columns_of_different_lengths_are_refused() -> None:
    """A changed checkpoint had been loaded, and failed at the next label."""
    state = Changes.none(2).to_state()
    assert len(Changes.from_state(state)) == 0
    with pytest.raises(ValueError, match="different lengths"):
        Changes.from_state({**state, "keys": np.zeros(3, np.uint64)})
