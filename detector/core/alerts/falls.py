"""How far the score of an event falls when one thing takes its expected value."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from detector.core.alerts.known import OWN_HISTORY_MIN
from detector.core.features import DAY_S, Layout, Rows, population_shift, swap

# A smaller fall in score is rounding.
FALL_MIN = 1e-6

ScoreRows = Callable[[Rows], NDArray[np.float64]]
"""Gives the scores (n,) of rows, by the model that scored the event."""


def parts_of(
    layout: Layout, event: Rows, typical: Rows, score: float, score_rows: ScoreRows
) -> NDArray[np.float64]:
    """Part of each group of columns in an event's score, (G,), in all 1; zeros: none lowers it alone."""
    expected, _ = expected_of(layout, event, typical, OWN_HISTORY_MIN)
    falls = falls_of(layout, event, expected, score, score_rows)
    return falls / max(float(falls.sum()), FALL_MIN)


def falls_of(
    layout: Layout, event: Rows, expected: Rows, score: float, score_rows: ScoreRows
) -> NDArray[np.float64]:
    """How far the score falls when one group of columns is as expected, for each group; at least 0."""
    groups = np.arange(len(layout.groups))
    one_each = np.zeros(len(groups), dtype=np.int64)
    falls = score - score_rows(swap(event.take(one_each), expected.take(one_each), layout, groups))
    falls[falls < FALL_MIN] = 0.0
    return falls


def expected_of(layout: Layout, event: Rows, typical: Rows, own_from: float) -> tuple[Rows, str]:
    """One row of expected values, and where the expected numerics come from.

    `own_from`: decayed events from which they are the entity's own.
    """
    expected = typical.copy()
    expected.entities[:] = event.entities
    expected.fraud_rates[:] = layout.fraud_rates_unknown
    for place in layout.heats:
        expected.context[:, place.columns] = 0.0
    day = np.floor(event.clocks / DAY_S) * DAY_S
    expected.clocks[:] = day + typical.clocks % DAY_S
    if not layout.entities or not layout.numerics:
        return expected, "cluster"
    own = layout.kind_of(0)
    # The means and spreads that its values are compared with stay the entity's own: they belong to the
    # values. What the entity's group stands for is how busy it is.
    expected.context[:, own.compared] = event.context[:, own.compared]
    if not event.context[0, own.count(-1)] >= max(own_from, FALL_MIN):
        return expected, "cluster"
    usual = event.context[0, own.means(-1)]
    expected.numerics[0] = usual + population_shift(event.context, layout)[0]
    return expected, "entity"
