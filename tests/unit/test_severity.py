"""Severities hold their share of the alerts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.config.tree import Alerts as AlertsConfig
from detector.core.alerts.severity import MEMORY, OWED_MAX, SEVERITIES, Severity
from detector.core.state import pack, unpack

SHARES = {"medium": 0.3, "high": 0.2, "critical": 0.1}


def severity(**shares: float) -> Severity:
    return Severity(AlertsConfig.model_validate({"severity": {**SHARES, **shares}}))


def publish(made: Severity, scores: list[float]) -> list[int]:
    ranks = []
    for score in scores:
        ranks.append(made.rank(score))
        made.note(score, ranks[-1])
    return ranks


@given(
    scores=st.lists(st.floats(-5, 400), max_size=80),
    critical=st.floats(0.01, 0.3),
    high=st.floats(0.01, 0.3),
    start=st.integers(0, 40),
    repeated=st.integers(1, 10),
    per_week=st.sampled_from([0.0, 70.0, 1000.0]),
)
@settings(max_examples=100, deadline=None)
def test_any_run_of_alerts_has_the_shares(
    scores: list[float], critical: float, high: float, start: int, repeated: int, per_week: float
) -> None:
    """Whatever their scores."""
    made = severity(critical=critical, high=high)
    made.follow(0.0, per_week)
    ranks = np.array(publish(made, scores * repeated)[start:])
    for rank, share in ((3, critical), (2, critical + high), (1, critical + high + 0.3)):
        assert abs((ranks >= rank).sum() - share * len(ranks)) <= 2 * made.limits[rank - 1] + 1


@given(scores=st.lists(st.floats(0, 400), min_size=2, max_size=9), earlier=st.lists(st.floats(0, 9)))
@settings(max_examples=50, deadline=None)
def test_severity_never_falls_with_the_score(scores: list[float], earlier: list[float]) -> None:
    made = severity()
    publish(made, earlier)
    ranks = [made.rank(score) for score in sorted(scores)]
    assert ranks == sorted(ranks)
    assert set(ranks) <= set(range(len(SEVERITIES)))


def test_a_young_shard_goes_by_the_rarity_that_scores_stand_for() -> None:
    made = severity()
    made.follow(3.0)
    assert [made.rarity(score) for score in (2.0, 3.0, 4.0, 5.0)] == pytest.approx([1.0, 1.0, 0.1, 0.01])
    assert [made.rank(score) for score in (3.1, 3.3, 3.6, 4.1)] == [0, 1, 2, 3]


@pytest.mark.parametrize(("level", "spread"), [(3.0, 0.4), (30.0, 0.4), (3.0, 0.01), (3.0, 9.0)])
def test_what_scores_mean_may_change(level: float, spread: float) -> None:
    """The most unusual alerts of each time are the critical ones."""
    rng = np.random.default_rng(1)
    made = severity()
    made.follow(3.0)
    publish(made, (3.0 + rng.exponential(0.4, 500)).tolist())
    scores = level + rng.exponential(spread, 1000)
    made.follow(level)
    ranks = np.array(publish(made, scores.tolist()))
    assert np.bincount(ranks, minlength=4) / 1000 == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=0.006)
    settled = slice(MEMORY, None)
    means = [scores[settled][ranks[settled] == rank].mean() for rank in range(4)]
    assert means == sorted(means)
    assert np.corrcoef(scores[settled].argsort().argsort(), ranks[settled])[0, 1] > 0.65


@pytest.mark.parametrize("per_week", [70, 140, 350])
def test_no_share_moves_by_more_than_half_between_weeks_and_severity_follows_the_score(per_week: int) -> None:
    made = severity()
    made.follow(0.0, float(per_week))
    scores = np.random.default_rng(3).exponential(0.3, 12 * per_week)
    ranks = np.array(publish(made, scores.tolist()))
    weeks = np.array([np.bincount(week, minlength=4) for week in ranks.reshape(12, per_week)])
    assert (weeks.max(axis=0) <= 1.5 * weeks.min(axis=0)).all()
    fitting = 4 - np.searchsorted([0.1, 0.3, 0.6], np.argsort(np.argsort(-scores)) / len(scores)) - 1
    assert (np.abs(ranks - fitting) >= 2).mean() < 0.03


def test_waves_of_high_scores_move_no_share_by_more_than_half_between_weeks_of_few_alerts() -> None:
    """With a debt of 1.2 alerts a week had 5 critical ones of 70, and another 9."""
    made = severity()
    made.follow(0.0, 70.0)
    scores = np.random.default_rng(13).exponential(0.43, 26 * 70)
    for start in range(100, len(scores), 150):
        scores[start : start + 20] += 1.5
    ranks = np.array(publish(made, scores.tolist()))
    weeks = np.array([np.bincount(week, minlength=4) for week in ranks.reshape(26, 70)[1:]])
    assert (weeks.max(axis=0) <= 1.5 * weeks.min(axis=0)).all()


def test_the_limits_are_those_of_chance_and_a_share_of_a_week() -> None:
    made = severity()
    assert made.limits == pytest.approx([OWED_MAX * 6**0.5, OWED_MAX * 3**0.5, OWED_MAX])
    made.follow(3.0, 350.0)
    assert made.limits == pytest.approx([14.7, 7.35, 2.45])


def test_a_rarity_has_a_severity_of_its_own() -> None:
    """Where the shares have moved an alert, its severity is another one."""
    assert [severity().fitting(rarity) for rarity in (0.05, 0.11, 0.31, 0.8)] == [3, 2, 1, 0]


@given(first=st.lists(st.floats(0, 9), max_size=40), second=st.lists(st.floats(0, 9), max_size=40))
@settings(max_examples=30, deadline=None)
def test_severity_goes_on_from_its_state(first: list[float], second: list[float]) -> None:
    one, other = severity(), severity()
    one.follow(2.0)
    publish(one, first)
    saved = pack(one.to_state())
    other.load(unpack(saved))
    assert publish(one, second) == publish(other, second)
    assert pack(one.to_state()) == pack(other.to_state())
