"""A score means the same on every stream: how rare such a distance is among accepted events."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.config.tree import Calibration as CalibrationConfig
from detector.core.model.calibration import (
    BIN,
    LOW,
    SHARPNESS,
    USUAL_NATS,
    USUAL_SHAPE,
    Calibration,
    Limit,
    Sketch,
    mixed,
)
from detector.core.state import pack, unpack

Doubles = NDArray[np.float64]
CONFIG = CalibrationConfig(memory_events=8192)
BLOCK = 256

STREAMS: dict[str, Callable[[np.random.Generator, int], Doubles]] = {
    "normal": lambda rng, n: rng.normal(0, 1, n),
    "lognormal": lambda rng, n: rng.lognormal(0, 1, n),
    "heavy": lambda rng, n: rng.pareto(1.5, n),
    "far from 0": lambda rng, n: 3 + rng.exponential(0.5, n),
    "two kinds": lambda rng, n: np.where(rng.random(n) < 0.9, rng.normal(0, 0.2, n), rng.normal(5, 0.2, n)),
    "steps": lambda rng, n: rng.integers(0, 400, n) / 100.0,
}


def calibration(config: CalibrationConfig = CONFIG, parts: int = 2) -> Calibration:
    return Calibration(config, np.full(parts, 1.0 / parts))


def feed(made: Calibration, distances: Doubles) -> Doubles:
    """Score and learn block by block, as a shard does; returns the scores."""
    scores = []
    for start in range(0, len(distances), BLOCK):
        block = distances[start : start + BLOCK]
        scores.append(made.scores(block))
        made.learn(block, made.accepts(block))
    return np.concatenate([*scores, np.zeros(0)])


def trained(stream: str = "lognormal", count: int = 16 * 1024, seed: int = 0) -> Calibration:
    made = calibration()
    feed(made, STREAMS[stream](np.random.default_rng(seed), count))
    return made


TRAINED = {stream: trained(stream) for stream in STREAMS} | {"nothing": calibration()}


def place(distance: float) -> float:
    return float(np.arcsinh(4.0 * distance))


@pytest.mark.parametrize("stream", STREAMS)
def test_a_quantile_is_where_the_sum_of_counts_reaches_its_share(stream: str) -> None:
    sketch = Sketch(8192)
    for seed in range(8):
        sketch.learn(STREAMS[stream](np.random.default_rng(seed), BLOCK))
    below = np.concatenate([[0.0], np.cumsum(sketch.counts)]) / sketch.counts.sum()
    for share in (0.0, 1e-9, 0.1, 0.5, 0.9, 0.999, 1.0):
        index = min(int(np.searchsorted(below, share, side="right")) - 1, len(sketch.counts) - 1)
        inside = (share - below[index]) / max(below[index + 1] - below[index], 1e-300)
        if sketch.counts[index] > (1.0 - share) * sketch.counts.sum():
            inside = 1.0  # a bin that holds more than may lie beyond is not cut
        place = LOW + BIN * (index + min(max(inside, 0.0), 1.0))
        assert sketch.quantile(share) == np.sinh(place) / SHARPNESS


@pytest.mark.parametrize("stream", TRAINED)
@given(left=st.floats(-300, 1e6), right=st.floats(-300, 1e6) | st.floats(-3, 60), tiny=st.floats(1e-5, 1e-2))
@settings(max_examples=150, deadline=None)
def test_a_greater_distance_has_a_higher_score(stream: str, left: float, right: float, tiny: float) -> None:
    made = TRAINED[stream]
    pairs = [(left, right), (left, left + tiny * (1 + abs(left)))]
    for one, other in pairs:
        near, far = sorted((one, other))
        low, high = made.scores(np.array([near, far]))
        assert low <= high
        if place(far) - place(near) > 1e-5:
            assert low < high


@pytest.mark.parametrize("stream", TRAINED)
@given(distances=st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_scores_are_finite_and_not_negative(stream: str, distances: list[float]) -> None:
    scores = TRAINED[stream].scores(np.array(distances))
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()


@given(distances=st.lists(st.floats(-1e300, 1e300), max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_distances_can_be_learned_from(distances: list[float]) -> None:
    made = calibration()
    feed(made, np.array(distances or [0.0]))
    scores = made.scores(np.array([-1e9, -1.0, 0.0, 1.0, 1e9]))
    assert np.isfinite(scores).all()
    assert (np.diff(scores) >= 0).all()


@pytest.mark.parametrize("stream", STREAMS)
def test_one_in_a_hundred_accepted_events_lies_above_the_99_percent_quantile(stream: str) -> None:
    made = trained(stream)
    fresh = STREAMS[stream](np.random.default_rng(1), 100_000)
    accepted = made.accepts(fresh)
    assert accepted.mean() == pytest.approx(CONFIG.trim, abs=0.015)
    quantiles = 1.0 - 10.0 ** -made.scores(fresh[accepted])
    assert 0.007 <= (quantiles > 0.99).mean() <= 0.013
    assert (quantiles > 0.9).mean() == pytest.approx(0.1, abs=0.015)
    assert (quantiles > 0.5).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("trim", [0.51, 0.95, 0.9999])
@pytest.mark.parametrize("tail_from", [0.51, 0.9, 0.998, 0.99999, 1 - 1e-12])
@pytest.mark.parametrize("count", [0, 1, 300, 9000])
def test_any_settings_give_rising_scores(trim: float, tail_from: float, count: int) -> None:
    made = calibration(CalibrationConfig(memory_events=4096, trim=trim, tail_from=tail_from))
    feed(made, STREAMS["lognormal"](np.random.default_rng(0), count))
    scores = made.scores(np.sinh(np.linspace(-7.9, 45, 4000)) / 4)
    assert np.isfinite(scores).all()
    assert (np.diff(scores) > 0).all()


def test_the_tail_neither_ends_nor_underflows() -> None:
    scores = TRAINED["normal"].scores(np.array([1e3, 1e6, 1e12, 1e100]))
    assert (np.diff(scores) > 0.5).all()


@pytest.mark.parametrize("stream", ["normal", "lognormal"])
def test_a_burst_does_not_become_normal(stream: str) -> None:
    """4 % of the memory at once: none of it is accepted, and no score moves much."""
    rng = np.random.default_rng(3)
    made = trained(stream)
    normal = STREAMS[stream](rng, 4000)
    probe = np.quantile(normal, [0.1, 0.5, 0.9, 0.94])
    before = made.scores(probe)
    burst = rng.normal(200, 1, 320)
    first = made.scores(burst[:1])[0]
    for start in range(0, len(burst), 32):
        block = burst[start : start + 32]
        assert not made.accepts(block).any()
        made.learn(block, made.accepts(block))
    assert made.scores(burst[:1])[0] > 0.9 * first > 4
    np.testing.assert_allclose(made.scores(probe), before, atol=0.05)


def test_a_past_burst_soon_stops_raising_the_threshold() -> None:
    made, rng = trained(), np.random.default_rng(5)
    share = 0.99
    before = made.quantile(share)
    feed(made, 20.0 * STREAMS["lognormal"](rng, 1024))
    assert made.quantile(share) > 3.0 * before
    feed(made, STREAMS["lognormal"](rng, 6 * 1024))
    assert made.all.quantile(share) > 2.0 * before
    assert made.quantile(share) == pytest.approx(before, rel=0.35)


def test_events_that_were_not_accepted_change_no_score_below_the_tail() -> None:
    made = trained()
    probe = np.linspace(-2, 3, 50)
    before = made.scores(probe)
    made.learn(np.full(64, 1e3), np.zeros(64, dtype=bool))
    np.testing.assert_allclose(made.scores(probe), before, rtol=1e-9)


def test_the_score_follows_a_stream_that_changes() -> None:
    made = trained("normal")
    rng = np.random.default_rng(5)
    shifted = 0.5 + STREAMS["normal"](rng, 8 * 8192)
    feed(made, shifted)
    fresh = 0.5 + STREAMS["normal"](rng, 50_000)
    accepted = fresh[made.accepts(fresh)]
    assert 0.007 <= (made.scores(accepted) > 2).mean() <= 0.013


def test_before_anything_was_seen_everything_is_accepted() -> None:
    made = calibration()
    assert made.accepts(np.array([-1e9, 0.0, 1e9])).all()
    assert made.all.quantile(0.5) == np.inf


def test_a_restart_forgets_and_counts_the_core() -> None:
    rng = np.random.default_rng(0)
    made = trained("far from 0")
    core = rng.normal(0, 1, 4000)
    made.restart(core)
    scores = made.scores(rng.normal(0, 1, 50_000))
    assert np.median(scores) == pytest.approx(0.3, abs=0.1)
    assert made.scores(np.array([50.0]))[0] > 3


def test_parts_count_in_their_own_spans() -> None:
    rng = np.random.default_rng(0)
    parts = np.stack([rng.normal(5, 1, 20_000), 1000 * rng.lognormal(0, 1, 20_000)], axis=1)
    made = calibration()
    made.update_spans(parts, np.full(2, 0.05))
    median, far = np.quantile(parts, [0.5, 0.95], axis=0)
    assert made.combine(median[None])[0] == pytest.approx(0)
    assert made.combine(far[None])[0] == pytest.approx(1)
    mixed = made.combine(np.array([[far[0], median[1]], [median[0], far[1]]]))
    assert mixed == pytest.approx([0.5, 0.5])


def test_distances_are_combined_by_weight() -> None:
    made = Calibration(CONFIG, np.array([0.8, 0.2]))
    assert made.combine(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])) == pytest.approx([0.8, 0.2, 1.0])


def test_a_part_that_never_varies_stays_finite() -> None:
    made = calibration()
    made.update_spans(np.full((100, 2), 7.0), np.full(2, 0.05))
    combined = made.combine(np.array([[7.0, 7.0], [8.0, 7.0], [1e6, 0.0]]))
    assert np.isfinite(combined).all()
    assert combined[0] == 0 < combined[1] < combined[2]


def test_it_goes_on_from_its_state() -> None:
    rng = np.random.default_rng(7)
    first = trained()
    first.update_spans(rng.normal(0, 1, (500, 2)) + np.array([3, 4]), np.full(2, 0.05))
    second = calibration()
    snapshot = first.to_state()
    saved = pack(snapshot)
    second.load(unpack(saved))
    stream = STREAMS["lognormal"](rng, 2000)
    parts = rng.normal(0, 1, (50, 2))
    assert first.combine(parts).tobytes() == second.combine(parts).tobytes()
    assert feed(first, stream).tobytes() == feed(second, stream).tobytes()
    assert pack(first.to_state()) == pack(second.to_state())
    assert pack(snapshot) == saved


# --- labels ----------------------------------------------------------------------------------------------


def test_labels_have_no_weight_at_first_and_then_as_much_as_was_set() -> None:
    made = calibration()
    plain, labelled = np.array([3.0, 2.0, 3.0, -1.0, -1.0]), np.array([8.0, np.nan, -5.0, -5.0, 2.0])
    assert made.mix(plain, labelled).tolist() == plain.tolist()
    made.label_weight = 0.5
    # Halfway from 3 and from 2 to 1 + their logarithms.
    slow = 2.0 + np.log(3.0) / 2.0, 1.5 + np.log(2.0) / 2.0
    expected = [np.hypot(slow[0], 4.0), slow[1], slow[0], -1.0, 0.0]
    assert made.mix(plain, labelled) == pytest.approx(expected)
    again = calibration()
    again.load(unpack(pack(made.to_state())))
    assert again.mix(plain, labelled).tolist() == made.mix(plain, labelled).tolist()


@given(st.floats(0.0, 1.0), st.floats(0.0, 20.0))
def test_labels_keep_the_order_of_what_is_equally_far_for_them(weight: float, known: float) -> None:
    plain = np.linspace(-2.0, 60.0, 500)
    made = mixed(plain, np.full(500, known), weight)
    assert (np.diff(made) >= 0.0).all()
    assert (np.diff(made[plain < 0.0]) > 0.0).all()
    assert (np.diff(mixed(plain, np.zeros(500), weight)) > 0.0).all()


def test_what_is_far_without_labels_does_not_hide_what_they_accuse() -> None:
    far, accused = mixed(np.array([20.0, 0.5]), np.array([0.0, 5.0]), 1.0)
    assert far < accused


def test_a_recount_is_as_if_events_had_come_with_these_distances() -> None:
    rng = np.random.default_rng(3)
    before, after = rng.lognormal(0, 1, 40_000), rng.normal(8, 2, 40_000)
    moved, fresh = calibration(), calibration()
    feed(moved, before)
    moved.recount(after)
    feed(fresh, after)
    shares = np.array([0.1, 0.5, 0.9, 0.99, 0.999])
    for share in shares:
        assert moved.quantile(share) == pytest.approx(fresh.quantile(share), rel=0.03)
    places = np.quantile(after, shares)
    np.testing.assert_allclose(moved.scores(places), fresh.scores(places), atol=0.15)


# --- sketch ----------------------------------------------------------------------------------------------


@given(
    values=st.lists(st.floats(-50, 1e6), min_size=30, max_size=200),
    share=st.floats(0, 0.9999),
)
@settings(max_examples=100, deadline=None)
def test_quantiles_are_within_a_bin(values: list[float], share: float) -> None:
    sketch = Sketch(1 << 24)
    sketch.learn(np.array(values))
    found = place(sketch.quantile(share))
    below = np.quantile(values, max(share - 1e-4, 0), method="lower")
    above = np.quantile(values, min(share + 1e-4, 1), method="higher")
    assert place(float(below)) - 1 / 32 <= found <= place(float(above)) + 1 / 32


def test_a_sketch_forgets() -> None:
    sketch = Sketch(1024)
    sketch.learn(np.full(10_000, 5.0))
    for _ in range(16):
        sketch.learn(np.zeros(64))
    assert sketch.quantile(0.99) == pytest.approx(5.0, rel=0.05)
    for _ in range(160):
        sketch.learn(np.zeros(64))
    assert sketch.quantile(0.99) == pytest.approx(0.0, abs=0.01)


def test_limited_distances_keep_their_order_and_far_ones_do_not_hide_the_others() -> None:
    limits = np.array([Limit.NONE, Limit.TANH, Limit.LOGARITHM])
    made = Calibration(CONFIG, np.full(3, 1.0 / 3.0), limits)
    values = np.array([-3.0, -0.5, 0.0, 1.0, 2.0, 2.1, 20.0, 2e6])
    one = [np.where(np.arange(3) == part, values[:, None], 0.0) for part in range(3)]
    plain, bounded, slowed = (3.0 * made.combine(parts) for parts in one)
    assert plain == pytest.approx(values)
    assert bounded == pytest.approx(np.tanh(values))
    assert slowed[:5] == pytest.approx(values[:5])
    assert (np.diff(slowed) > 0.0).all()
    assert slowed[5] == pytest.approx(2.1, abs=0.01)  # the slope is 1 where the logarithm begins
    assert slowed[-1] < 32.0


def test_the_tail_of_few_events_is_near_the_usual_one_and_that_of_many_is_their_own() -> None:
    config = CalibrationConfig(memory_events=1 << 20)

    def shapes(count: int) -> list[float]:
        found = []
        for stream in ("normal", "heavy"):
            made = Calibration(config, np.ones(1), np.array([Limit.LOGARITHM]))
            feed(made, STREAMS[stream](np.random.default_rng(0), count))
            far, farther = made.scores(np.sinh([8.0, 9.0]) / SHARPNESS)
            found.append(float(1.0 / (np.log(10.0) * (farther - far))))
        return found

    assert shapes(512) == pytest.approx([USUAL_SHAPE] * 2, abs=0.05)
    light, heavy = shapes(1 << 18)
    assert heavy - light > 0.1


@pytest.mark.parametrize("trim", [0.8, 0.95, 0.99])
def test_nats_of_the_mean_lie_between_those_of_accepted_events_and_of_all(trim: float) -> None:
    limits = np.array([Limit.NONE, Limit.BESIDE])
    made = Calibration(CalibrationConfig(trim=trim), np.array([1.0, 0.0]), limits)
    rng = np.random.default_rng(3)
    core = np.column_stack([rng.exponential(3.0, 50_000), np.zeros(50_000)])
    made.update_spans(core, np.full(2, 0.05))
    for quantile in (0.9, 0.99):
        event = np.array([[np.quantile(core[:, 0], quantile), 0.0]])
        nats = made.combine(event)[0] * USUAL_NATS
        assert -np.log1p(-trim * quantile) < nats < -np.log1p(-quantile)


def test_a_habit_beside_a_usual_mean_counts_in_full() -> None:
    limits = np.array([Limit.NONE, Limit.BESIDE])
    made = Calibration(CONFIG, np.array([1.0, 0.0]), limits)
    rng = np.random.default_rng(3)
    made.update_spans(np.column_stack([rng.exponential(3.0, 50_000), np.zeros(50_000)]), np.full(2, 0.05))
    usual, broken = made.combine(np.array([[3.0, 0.0], [3.0, 6.0]]))
    assert (broken - usual) * USUAL_NATS == pytest.approx(6.0)
