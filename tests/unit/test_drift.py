"""The drift monitor counts a lasting change once and soon; it does not count noise or single odd blocks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from detector.core.reporting.counting import DRIFT_SIGNALS
from detector.core.reporting.telemetry import Telemetry
from detector.shell.drift import DriftMonitor


def noise(seed: int, mean: float, spread: float, blocks: int) -> Iterable[float]:
    return np.random.default_rng(seed).normal(mean, spread, blocks).tolist()


def shares(seed: int, share: float, blocks: int) -> Iterable[float]:
    return (np.random.default_rng(seed).binomial(256, share, blocks) / 256).tolist()


def changes(*parts: Iterable[float]) -> int:
    telemetry = Telemetry()
    monitor = DriftMonitor(telemetry)
    for part in parts:
        for value in part:
            monitor.observe(0, {"score_mean": value})
    return telemetry.partitions[0].drift["score_mean"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("mean", "spread"), [(0.43, 0.03), (0.0, 1e-5), (1e6, 1e5), (0.0, 0.0)])
def test_a_steady_signal_does_not_drift(seed: int, mean: float, spread: float) -> None:
    assert changes(noise(seed, mean, spread, 5000)) == 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("to", [0.37, 0.49, 5.0, -5.0])
def test_a_change_that_lasts_is_counted_once_and_soon(seed: int, to: float) -> None:
    """Two spreads of a block's mean, within 64 blocks; the scale of the signal does not matter."""
    for unit in (1.0, 1e-4, 1e4):
        before, after = noise(seed, 0.43 * unit, 0.03 * unit, 1000), noise(seed, to * unit, 0.03 * unit, 64)
        assert changes(before, after) == 1
        assert changes(before, after, noise(seed + 9, to * unit, 0.03 * unit, 1000)) == 1


def test_every_change_is_counted() -> None:
    assert changes(*(noise(day, 1.0 + day % 2, 0.1, 500) for day in range(6))) == 5


@pytest.mark.parametrize("seed", range(5))
def test_rejected_events_becoming_ten_times_as_many_is_a_change(seed: int) -> None:
    assert changes(shares(seed, 0.001, 2000)) == 0
    assert changes(shares(seed, 0.001, 2000), shares(seed, 0.01, 200)) == 1
    assert changes([0.0] * 1000, shares(seed, 0.05, 200)) == 1


def test_one_odd_block_is_no_change() -> None:
    assert changes(noise(1, 0.4, 0.03, 500), [1e9], noise(2, 0.4, 0.03, 500)) == 0
    assert changes([0.0] * 500, [1.0], [0.0] * 500) == 0


def test_missing_and_non_finite_signals_change_nothing() -> None:
    assert changes(noise(1, 0.4, 0.03, 300), [float("nan"), float("inf")] * 50, noise(2, 0.4, 0.03, 300)) == 0
    telemetry = Telemetry()
    DriftMonitor(telemetry).observe(0, {})
    assert telemetry.partitions[0].drift == dict.fromkeys(DRIFT_SIGNALS, 0)


def test_partitions_and_signals_do_not_mix() -> None:
    telemetry = Telemetry()
    monitor = DriftMonitor(telemetry)
    for one, other in zip(noise(1, 0.0, 1.0, 500), noise(2, 9.0, 1.0, 500), strict=True):
        monitor.observe(0, {"score_mean": one, "rejected_share": other})
        monitor.observe(1, {"score_mean": other, "rejected_share": one})
    assert [sum(telemetry.partitions[p].drift.values()) for p in (0, 1)] == [0, 0]


def test_a_forgotten_partition_starts_again_and_keeps_its_counts() -> None:
    telemetry = Telemetry()
    monitor = DriftMonitor(telemetry)
    telemetry.partitions[0].drift["score_mean"] = 3
    for mean in (0.0, 100.0, 200.0):
        for value in noise(1, mean, 1.0, 500):
            monitor.observe(0, {"score_mean": value})
        monitor.forget(0)
    monitor.forget(7)
    assert telemetry.partitions[0].drift["score_mean"] == 3


def test_signals_are_a_fixed_set() -> None:
    with pytest.raises(ValueError, match="surprise"):
        DriftMonitor(Telemetry()).observe(0, {"surprise": 1.0})
    telemetry = Telemetry()
    DriftMonitor(telemetry, signals=("mine",)).observe(0, {"mine": 1.0})
    assert telemetry.partitions[0].drift == {"mine": 0}
