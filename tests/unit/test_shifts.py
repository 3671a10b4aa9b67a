"""After a step of the stream alerts go on, planted frauds give some, and a replay comes to the same state."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.quality.drive import IDENTITY
from benchmarks.quality.shifts import AFTER, BEFORE, STEPS, Run, accounts, plain, shifted
from detector.core.features.profile_table import ProfileTable, move
from detector.core.model.latest import Latest
from detector.core.model.shifts import moved_units, unit_factors
from detector.core.records import Record
from detector.core.shard.shard import Shard
from detector.core.state import copied, digest, pack, unpack

STREAMS = {"accounts": accounts, "plain": plain}


def lognormal(count: int, seed: int, spread: float = 0.7) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.exp(np.random.default_rng(seed).normal(0.0, spread, count))


# --- other units -------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0.001, 1000.0).filter(lambda factor: max(factor, 1 / factor) > 3.0),
    st.integers(0, 100),
    st.floats(0.3, 1.5),
)
def test_a_factor_is_found(factor: float, seed: int, spread: float) -> None:
    before, after = lognormal(4000, seed, spread), lognormal(512, seed + 1, spread) * factor
    if abs(np.log(factor)) < 3 * spread:
        return  # such distributions overlap too much
    found = unit_factors(np.arcsinh(before)[:, None], np.arcsinh(after)[:, None])
    assert found[0] == pytest.approx(factor, rel=0.25)


@pytest.mark.parametrize(
    "after",
    [
        lognormal(512, 2),
        lognormal(512, 2) * 1.1,
        np.full(512, 100.0),
        50.0 + lognormal(512, 2),
        np.concatenate([lognormal(256, 2), lognormal(256, 3) * 100.0]),
        np.concatenate([np.full(400, np.nan), lognormal(112, 2) * 100.0]),
        np.zeros(512),
    ],
    ids=["same", "a little more", "a burst", "moved", "a half of them", "few", "zeros"],
)
def test_anything_else_is_no_factor(after: Any) -> None:
    before = np.arcsinh(lognormal(4000, 1))[:, None]
    assert unit_factors(before, np.arcsinh(after)[:, None]).tolist() == [1.0]


def test_units_follow_where_both_ends_moved() -> None:
    before, units = np.arcsinh(lognormal(4000, 1))[:, None], np.ones(1)
    some = lognormal(600, 2)
    some[:150] *= 100.0
    assert moved_units(before, np.arcsinh(some)[:, None], units).tolist() == [1.0]
    assert moved_units(before, np.arcsinh(lognormal(600, 2, 1.2) * 50)[:, None], units)[0] > 20.0
    [after_zeros] = moved_units(np.zeros((600, 1)), np.arcsinh(np.full((600, 1), 5.0)), units)
    assert after_zeros == pytest.approx(5.0)


# --- profiles ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1e-300, 1e-200, 1e200, 1e300])
def test_profiles_stay_numbers_whatever_units_a_stream_takes(factor: float) -> None:
    compared = np.array([[0.0, 2.0, 3.0], [9.0, 2.0, 3.0], [np.nan, 1.0, 1.0]], dtype=np.float32)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for _ in range(5):
            move(compared, 1, np.array([factor]), np.zeros(1))
    assert np.isfinite(compared[:2]).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 50.0), st.integers(0, 1000))
def test_a_profile_in_other_units_is_that_of_the_other_values(factor: float, seed: int) -> None:
    """Means move exactly; spreads by the slope of the scale, where values vary little."""
    values = 20.0 + np.random.default_rng(seed).normal(0.0, 0.1, 50)

    def profile(scaled: Any) -> ProfileTable:
        table = ProfileTable(np.array([86400.0]), 1, 1024, 2.0)
        context = np.zeros((50, table.width), dtype=np.float32)
        keys, times = np.full(50, 7, dtype=np.uint64), np.arange(50.0)
        table.observe(keys, times, scaled[:, None], np.full(2, 1e-4), context)
        return table

    table = profile(np.arcsinh(values / 10.0))
    table.move(np.array([factor]), np.zeros(1))
    assert table.row(7) == pytest.approx(
        profile(np.arcsinh(values / 10.0 / factor)).row(7), rel=0.02, abs=1e-5
    )
    assert table.hashed == super(ProfileTable, table).hashed


def test_after_a_shift_a_key_takes_the_level_of_its_next_value() -> None:
    table = ProfileTable(np.array([86400.0]), 1, 1024, 2.0)

    def observe(values: list[float], start: float, **settings: Any) -> float:
        count = len(values)
        context = np.zeros((count, table.width), dtype=np.float32)
        times = start + np.arange(float(count))
        keys = np.full(count, 7, dtype=np.uint64)
        table.observe(keys, times, np.array(values)[:, None], np.full(2, 0.01), context, **settings)
        return float(table.row(7)[1])

    usual = observe([1.0, 1.1, 0.9] * 10, 0.0)
    assert observe([9.0], 100.0) < usual + 0.2  # clipped, and doubted
    assert observe([9.0], 200.0, changed_at=150.0) == 9.0
    assert observe([1.0], 300.0, changed_at=150.0) > 8.0  # seen since: it does not follow again
    assert observe([1.0], 400.0, changed_at=150.0, loose=1) == 1.0


# --- the threshold -----------------------------------------------------------------------------------------


def test_the_latest_events_limit_the_threshold() -> None:
    latest = Latest()
    assert latest.limit(0.01) == np.inf
    latest.learn(np.arange(512.0))
    assert latest.limit(0.001) == np.inf  # too few to tell
    assert latest.limit(0.01) == pytest.approx(510.0, rel=1e-5)  # 5 expected: one may lie beyond
    latest.learn(np.arange(512.0) / 512)
    assert latest.limit(0.01) < 1.0
    latest.forget()
    assert latest.limit(0.01) == np.inf


@given(st.floats(0.01, 1e6), st.integers(1, 8))
def test_no_event_lies_beyond_where_all_are_equally_far(distance: float, blocks: int) -> None:
    latest = Latest()
    for _ in range(blocks):
        latest.learn(np.full(512, distance))
    assert latest.limit(0.02) > distance


def test_latest_is_restored() -> None:
    one, other = Latest(), Latest()
    one.learn(np.arange(100.0))
    other.load(unpack(pack(one.to_state())))
    for latest in (one, other):
        latest.learn(np.arange(300.0))
    assert digest(one.to_state()) == digest(other.to_state())


# --- whole streams -----------------------------------------------------------------------------------------


@cache
def run(stream: str, step: str) -> Run:
    return shifted(STREAMS[stream](1), STEPS[step], 1)


@pytest.mark.parametrize("stream", ["accounts", "plain"])
@pytest.mark.parametrize("step", ["x100", "x10", "x1/100", "x100 and back"])
def test_after_other_units_everything_is_as_before(stream: str, step: str) -> None:
    found = run(stream, step)
    assert found.restarts == (2 if "back" in step else 1)
    assert found.gap[0] <= 2_500
    # In the first 1,000 events after a step they are judged by the old unit.
    late = [alerted for i, (alerted, _) in enumerate(found.planted) if i not in {0, 4}]
    assert sum(late) >= len(late) - 1
    assert np.mean(found.severity) > 1.0  # the mean of all alerts
    assert not found.unreasoned


def test_nothing_is_found_in_a_steady_stream() -> None:
    for stream in STREAMS:
        found = run(stream, "none")
        assert found.restarts == 0
        assert all(alerted for alerted, _ in found.planted)


def test_the_model_begins_again_where_a_part_has_changed() -> None:
    found = run("accounts", "a quarter x100")
    assert found.restarts == 1
    assert found.gap[0] <= 3_500
    assert found.rates[0][-1] == pytest.approx(1.0, abs=0.3)


def test_the_model_begins_again_where_no_event_is_of_a_known_entity() -> None:
    """Nothing is known by which profiles could follow."""

    def others(base: Any, event: dict[str, Any], number: int, rng: Any) -> None:
        event["account"] = f"new {number}"
        event["amount"] *= 100.0 if rng.random() < 0.25 else 1.0

    assert shifted(accounts(1), others, 1).restarts == 1


def test_a_burst_of_a_thousand_anomalies_is_no_shift() -> None:
    def burst(base: Any, event: dict[str, Any], number: int, rng: Any) -> None:
        if 100 <= number < 1100:
            event["a"], event["b"] = 3000.0 + rng.random(), -500.0

    assert shifted(plain(1), burst, 1).restarts == 0


# --- replays -----------------------------------------------------------------------------------------------


def barriers(shard: Shard, records: list[Record], cut: int, at: Callable[[Shard], Shard]) -> Shard:
    while shard.position < len(records):
        taken = shard.take(records[shard.position : shard.position + cut], silent=False)
        if taken.block_ended and shard.since_barrier >= shard.interval:
            shard.barrier({})
            shard = at(shard)
    return shard


@pytest.mark.parametrize("step", ["x100", "a quarter x100"])
def test_a_restored_shard_goes_on_equally_however_polls_cut_the_log(step: str) -> None:
    base, rng = accounts(3), np.random.default_rng(0)
    records = []
    for i, event in enumerate(base.events[: BEFORE + AFTER // 3]):
        if i >= BEFORE:
            STEPS[step](base, event, i - BEFORE, rng)
        records.append(Record(i, 0, None, msgspec.json.encode(event)))

    def restored(shard: Shard) -> Shard:
        other = Shard(base.config, IDENTITY, position=shard.position)
        other.load(unpack(pack(copied(shard.to_state()))))
        return other

    one = barriers(Shard(base.config, IDENTITY, position=0), records, 1024, lambda shard: shard)
    other = barriers(Shard(base.config, IDENTITY, position=0), records, 77, restored)
    assert one.gauges()["shifts"] == other.gauges()["shifts"] == 1.0
    one.barrier({})
    other.barrier({})
    assert digest(one.to_state()) == digest(other.to_state())
