"""A slow change is told by whole weeks; rhythm, gaps and what drifts fast are not told by them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from detector.core.drift import bins
from detector.core.drift.seasons import DAYS, FLOOR, Seasons
from detector.core.drift.watch import DriftWatch
from tests.unit.test_drift import COLUMNS, DAY_S, START_S, follow, pieces


def test_a_change_of_one_percent_a_day_is_told_with_its_days_and_no_other_field() -> None:
    def rising(made: dict[str, np.ndarray], rng: np.random.Generator) -> None:
        made["amount"] *= 1.01 ** ((made["times"][0] - START_S) / DAY_S - 10.0)

    first = next(
        one for one in follow(DriftWatch(COLUMNS), pieces(50.0, rising, per_day=30_000)) if one.sentences
    )
    assert 30.0 < (first.time - START_S) / DAY_S < 45.0
    assert [name for name, one in first.fields.items() if one.since] == ["amount"]
    assert first.fields["amount"].psi > first.fields["amount"].threshold >= FLOOR
    [said] = first.sentences
    assert re.fullmatch(r"amount is 1\.\d+ times as large, slowly over \d\d days \(PSI 0\.\d+\)", said), said


def days_of(
    seasons: Seasons,
    days: range,
    share: Callable[[int], float],
    fast: Callable[[int], bool] = lambda day: False,
) -> Iterator[tuple[int, bool]]:
    """A column of two bins, a pane at noon of each day; each day, and whether the column drifts slowly."""
    rng = np.random.default_rng(7)
    for day in days:
        pane = np.zeros((bins.SLOTS, 1, bins.BINS), dtype=np.int32)
        first = rng.binomial(20_000, share(day))
        pane[day % 7 * 24 + 12, 0, :2] = first, 20_000 - first
        seasons.note(bins.MONDAY_S + (day + 0.6) * DAY_S, pane, np.array([fast(day)]))
        yield day, bool(seasons.active[0])


def slow_days(*given: Any, rising: bool = False, **further: Any) -> list[int]:
    return [day for day, active in days_of(Seasons(np.array([rising])), *given, **further) if active]


def test_weekly_rhythm_is_not_slow_and_weeks_that_move_are() -> None:
    assert not slow_days(range(90), lambda day: 0.9 if day % 7 > 4 else 0.3)
    told = slow_days(range(90), lambda day: 0.3 + 0.004 * day)
    assert told[0] < 56
    assert told == [*range(told[0], 90)]


def test_it_ends_once_the_older_week_has_caught_up() -> None:
    told = slow_days(range(140), lambda day: 0.3 + 0.004 * min(day, 50))
    assert 50 < told[-1] < 50 + DAYS


def test_a_share_that_may_only_rise_is_not_told_where_it_falls() -> None:
    assert not slow_days(range(90), lambda day: 0.3 + 0.004 * day, rising=True)  # the second bin falls
    assert slow_days(range(90), lambda day: 0.7 - 0.004 * day, rising=True)


def test_what_drifts_fast_is_not_told_twice() -> None:
    told = slow_days(range(60), lambda day: 0.3 if day < 30 else 0.7, fast=lambda day: 30 <= day < 38)
    assert not told


def test_days_without_events_are_not_compared() -> None:
    seasons = Seasons(np.zeros(1, dtype=bool))
    assert not any(active for _, active in days_of(seasons, range(20), lambda day: 0.3))
    assert not any(active for _, active in days_of(seasons, range(200, 205), lambda day: 0.7))
    assert np.isinf(seasons.limits[0])


def test_columns_are_compared_over_their_own_days() -> None:
    """After one column drifted fast, its weeks are nearer than those of the others. Each has its limit."""
    rng = np.random.default_rng(7)
    both, alone = Seasons(np.zeros(3, dtype=bool)), [Seasons(np.zeros(1, dtype=bool)) for _ in range(3)]
    for day in range(60):
        pane = np.zeros((bins.SLOTS, 3, bins.BINS), dtype=np.int32)
        first = rng.binomial(20_000, 0.3, 3)
        pane[day % 7 * 24 + 12, :, 0], pane[day % 7 * 24 + 12, :, 1] = first, 20_000 - first
        now, fast = bins.MONDAY_S + (day + 0.6) * DAY_S, np.array([False, 20 <= day < 24, False])
        both.note(now, pane, fast)
        for column, one in enumerate(alone):
            one.note(now, pane[:, [column]], fast[[column]])
        np.testing.assert_array_equal(both.limits, [one.limits[0] for one in alone])
    assert np.isfinite(both.limits).all()
    assert both.lag[1] < both.lag[0]


def test_a_stream_without_fields_has_no_slow_drift() -> None:
    seasons = Seasons(np.zeros(0, dtype=bool))
    for day in range(30):
        now = bins.MONDAY_S + (day + 0.6) * DAY_S
        seasons.note(now, np.zeros((bins.SLOTS, 0, bins.BINS), dtype=np.int32), np.zeros(0, dtype=bool))
    assert not seasons.active.any()
