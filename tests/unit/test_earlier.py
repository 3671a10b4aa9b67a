"""Earlier unusual events of an entity, and what is usual of it without them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from detector.core.alerts.case_rows import CaseBefore
from detector.core.alerts.earlier import NOTHING, Before, in_case, unlisted, unusual_before
from detector.core.alerts.recent import ALERTED, HELD, History
from detector.core.codes import RESPECTS
from detector.core.features import DAY_S

NOW = 100 * DAY_S


def history(*events: tuple[float, float, float], fates: Mapping[int, int] = {}) -> History:
    """Events (seconds before, amount, score), newest first; offsets 99, 98, ... with these fates."""
    before, amounts, scores = np.array(events, dtype=np.float64).reshape(-1, 3).T
    offsets = 99 - np.arange(len(events))
    became = np.array([fates.get(offset, 0) for offset in offsets.tolist()], dtype=np.int64)
    return History(offsets, NOW - before, amounts, scores, -math.inf, became)


def test_alerted_events_and_the_days_unusual_ones_are_named_with_their_sum() -> None:
    events = (60.0, 400.0, 2.5), (7200.0, 30.0, 0.3), (2 * DAY_S, 900.0, 3.9), (3 * DAY_S, 50.0, 2.9)
    past = history(*events, fates={97: ALERTED})
    found = unusual_before(past, NOW, 7 * DAY_S)
    assert found.told == (
        Before(99, 60.0, 400.0, "not_alerted", 2.5),
        Before(97, 2 * DAY_S, 900.0, "alerted", 3.9),
    )
    assert (found.number, found.sum, found.offsets) == (2, 1300.0, {99, 97})
    assert unusual_before(past, NOW, DAY_S).number == 1


@pytest.mark.parametrize(
    ("amount", "respect", "why"),
    [
        (90.0, "", "above"),
        (90.0, "large_there", "above"),  # the history says it more exactly
        (12.0, "large_there", "large_there"),
        (90.0, "hour", "hour"),  # it was above, too, but that is not what made it unusual
        (12.0, "", "inside"),
        (12.0, "new", "new"),
    ],
)
def test_it_says_why_an_event_was_unusual(amount: float, respect: str, why: str) -> None:
    others = [(7200.0 * n, 10.0 + n % 5, 0.5) for n in range(2, 40)]
    past = history((60.0, amount, 2.5), *others)
    respects = np.zeros(len(past), dtype=np.int64)
    respects[0] = RESPECTS.index(respect)
    [told] = unusual_before(History(**{**past._asdict(), "respects": respects}), NOW, 7 * DAY_S).told
    assert told.why == why


def test_what_became_of_an_alert_is_said() -> None:
    past = history((60.0, 1.0, 4.0), (70.0, 1.0, 4.0), (80.0, 1.0, 4.0), fates={99: HELD, 98: 2, 97: 2})
    found = unusual_before(past, NOW, 7 * DAY_S, answer_of={97: "fraud"}.get)
    assert [one.status for one in found.told] == ["held_back", "alerted_unanswered", "alerted_fraud"]


def test_all_that_a_case_counts_is_among_them_also_what_is_not_in_the_history() -> None:
    """So the sum that is told has the case's in it."""
    events = (60.0, 10.1, 0.5), (7200.0, 20.2, 0.3), (2 * DAY_S, 40.4, 3.9), (30 * DAY_S, 80.8, 2.9)
    past = history(*events, fates={99: HELD, 97: ALERTED, 96: ALERTED})
    case = CaseBefore(97, NOW - 2 * DAY_S, 4, 110.7)  # two of its events are not in the history
    found = unusual_before(past, NOW, 7 * DAY_S, case)
    assert in_case(past, case).tolist() == [True, False, True, False]
    assert unlisted(case, [10.1, 40.4]) == (2, 60.2)
    assert (found.number, found.sum) == (4, 110.7)


def test_what_was_held_back_before_the_first_alert_counts_from_the_beginning_of_the_case() -> None:
    events = (60.0, 1.0, 0.5), (90.0, 1.0, 4.0), (600.0, 1.0, 3.0), (3 * DAY_S, 1.0, 3.0)
    past = history(*events, fates={99: HELD, 98: ALERTED, 97: HELD, 96: HELD})
    case = CaseBefore(98, NOW - 600.0, 3, 3.0)
    assert in_case(past, case).tolist() == [True, True, True, False]
    assert in_case(past, None).tolist() == [False] * 4


def test_three_are_told_at_most_alerted_ones_first() -> None:
    past = history(*((60.0 * n, 10.0, 2.0 + n / 10) for n in range(1, 8)), fates={99: ALERTED})
    found = unusual_before(past, NOW, 7 * DAY_S)
    assert [one.offset for one in found.told] == [99, 94, 93]
    assert found.number == 7


def test_the_usual_range_is_that_of_the_other_events() -> None:
    usual = [(3600.0 * n, 10.0 * n, 0.2) for n in range(1, 12)]
    found = unusual_before(history((60.0, 5000.0, 4.0), *usual), NOW, 7 * DAY_S)
    assert found.normal == pytest.approx((20.0, 100.0))
    assert unusual_before(history((60.0, 5000.0, 4.0), *usual[:3]), NOW, 7 * DAY_S).normal is None


def test_without_any_there_is_nothing() -> None:
    assert unusual_before(history(), NOW, 7 * DAY_S) == NOTHING
    assert unusual_before(history((60.0, 1.0, 0.5)), NOW, 7 * DAY_S) == NOTHING


def test_missing_amounts_have_no_sum() -> None:
    found = unusual_before(history((60.0, math.nan, 4.0)), NOW, 7 * DAY_S)
    assert (found.number, found.sum) == (1, None)


def test_why_an_earlier_event_was_unusual_is_said_as_far_as_its_history_shows_it() -> None:
    usual = [(86_400.0 * n, 40.0 + n, 0.2) for n in range(1, 12)]
    many = [(7200.0, 45.0, 4.0), (7210.0, 45.0, 0.1), (7220.0, 45.0, 0.1)]
    odd = [(60.0, 900.0, 4.0), *many, (80_000.0, 1.0, 3.0)]
    found = unusual_before(history(*odd, *usual), NOW, 7 * DAY_S)
    assert [(one.why, one.events) for one in found.told] == [("above", 0), ("many", 3), ("below", 0)]
    other = unusual_before(history((60.0, 45.0, 4.0), *usual), NOW, 7 * DAY_S)
    assert [one.why for one in other.told] == ["inside"]
    young = unusual_before(history((60.0, 900.0, 4.0)), NOW, 7 * DAY_S)  # nothing to compare it with
    assert [(one.why, one.score) for one in young.told] == [("", 4.0)]
