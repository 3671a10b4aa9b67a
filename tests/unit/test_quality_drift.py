"""Rates over windows, the time until alerts are within the budget, and shifts that start from one model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.quality.drift import BUDGET_SHARE, COLD_FROM, SHIFTS, back_after, cold_start, rate, shifted

WINDOW = 8192


def run(*parts: tuple[int, float]) -> dict[str, Any]:
    """Alerts evenly spread, in multiples of the budget: (events, multiple) one after another."""
    alert = []
    for events, multiple in parts:
        places = np.arange(events) * multiple * BUDGET_SHARE
        alert.append(np.floor(places + multiple * BUDGET_SHARE) > np.floor(places))
    return {"alert": np.concatenate(alert)}


def test_rates_are_in_multiples_of_the_budget() -> None:
    runs = [run((10_000, 2.0)), run((10_000, 0.0))]
    assert rate(runs, "alert", slice(None)) == pytest.approx(1.0)
    assert rate(runs[:1], "alert", slice(0, 5_000)) == pytest.approx(2.0)


def test_the_way_back_ends_where_it_stays_within_bounds() -> None:
    steady = run((60_000, 1.0))
    assert back_after([steady], WINDOW) == 0
    quiet = run((20_480, 0.1), (60_000, 1.0))
    # A window that begins this early has two thirds of its events after it: some .7 of the budget.
    assert back_after([quiet], WINDOW) == pytest.approx(20_480 - WINDOW / 3, abs=2048)
    again = run((4_096, 0.1), (20_480, 1.0), (8_192, 3.0), (60_000, 1.0))
    assert back_after([again], WINDOW) == pytest.approx(24_576 + 8_192, abs=2048)
    assert back_after([run((60_000, 1.0), (20_480, 0.1))], WINDOW) is None


def test_every_shift_starts_from_the_same_model_and_only_it_differs() -> None:
    before, after = shifted(seed=1, customers=150, days_before=4, days_after=1)
    assert after.keys() == SHIFTS.keys()
    assert len(before["score"]) % 256 == 0
    assert len(before["score"]) > 700
    length = len(after["none"]["score"])
    for name, columns in after.items():
        assert {len(column) for column in columns.values()} == {length}
        assert (columns["score"] == after["none"]["score"]).all() == (name == "none")
    np.testing.assert_array_equal(after["prices double"]["fraud"], after["none"]["fraud"])
    assert after["prices double"]["accepted"].mean() < after["none"]["accepted"].mean()


def test_a_cold_start_is_judged_by_ranges_and_its_alerts_are_marked() -> None:
    rows, (early, marked, late) = cold_start(seed=7)
    assert len(rows) == len(COLD_FROM)
    assert all(0 <= ap <= 1 and 0 <= auc <= 1 for ap, auc, _ in rows if not np.isnan(ap))
    assert early > 0
    assert marked == early
    assert late == 0
