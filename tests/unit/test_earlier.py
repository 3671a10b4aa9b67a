"""Earlier unusual events of an entity, and what is usual of it without them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detector.core.alerts.earlier import NOTHING, unusual_before
from detector.core.alerts.recent import History
from detector.core.features import DAY_S

NOW = 100 * DAY_S


def history(*events: tuple[float, float, float]) -> History:
    """Events (seconds before, amount, score), newest first; offsets 99, 98, ..."""
    before, amounts, scores = np.array(events, dtype=np.float64).reshape(-1, 3).T
    return History(99 - np.arange(len(events)), NOW - before, amounts, scores, -math.inf)


def test_alerted_events_and_the_days_unusual_ones_are_named_with_their_sum() -> None:
    past = history((60.0, 400.0, 2.5), (7200.0, 30.0, 0.3), (2 * DAY_S, 900.0, 3.9), (3 * DAY_S, 50.0, 2.9))
    found = unusual_before(past, NOW, 7 * DAY_S, [97])
    assert found.told == ((99, 60.0, 400.0, False), (97, 2 * DAY_S, 900.0, True))
    assert (found.number, found.sum, found.offsets) == (2, 1300.0, {99, 97})
    assert unusual_before(past, NOW, DAY_S, [97]).number == 1


def test_three_are_told_at_most_alerted_ones_first() -> None:
    past = history(*((60.0 * n, 10.0, 2.0 + n / 10) for n in range(1, 8)))
    found = unusual_before(past, NOW, 7 * DAY_S, [99])
    assert [offset for offset, *_ in found.told] == [99, 94, 93]
    assert found.number == 7


def test_the_usual_range_is_that_of_the_other_events() -> None:
    usual = [(3600.0 * n, 10.0 * n, 0.2) for n in range(1, 12)]
    found = unusual_before(history((60.0, 5000.0, 4.0), *usual), NOW, 7 * DAY_S, [])
    assert found.normal == pytest.approx((20.0, 100.0))
    assert unusual_before(history((60.0, 5000.0, 4.0), *usual[:3]), NOW, 7 * DAY_S, []).normal is None


def test_without_any_there_is_nothing() -> None:
    assert unusual_before(history(), NOW, 7 * DAY_S, [5]) == NOTHING
    assert unusual_before(history((60.0, 1.0, 0.5)), NOW, 7 * DAY_S, []) == NOTHING


def test_missing_amounts_have_no_sum() -> None:
    found = unusual_before(history((60.0, math.nan, 4.0)), NOW, 7 * DAY_S, [])
    assert (found.number, found.sum) == (1, None)
