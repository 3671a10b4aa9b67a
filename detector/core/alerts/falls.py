"""How far the score of an event falls when one thing takes its expected value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from detector.core.alerts.known import OWN_HISTORY_MIN
from detector.core.features import DAY_S, Layout, Rows, population_shift, swap

# A smaller fall in score is rounding.
FALL_MIN = 1e-6
# Groups that are tried in pairs: 28 of them.
JOINT_MAX = 8

ScoreRows = Callable[[Rows], NDArray[np.float64]]
"""Gives the scores (n,) of rows, by the model that scored the event."""


def parts_of(
    layout: Layout, event: Rows, typical: Rows, score: float, score_rows: ScoreRows
) -> NDArray[np.float64]:
    """Part of each group of columns in an event's score, (G,), in all 1; zeros: none lowers it alone."""
    expected, _ = expected_of(layout, event, typical, OWN_HISTORY_MIN)
    falls = Swaps(layout, event, expected, score, score_rows).falls()
    return falls / max(float(falls.sum()), FALL_MIN)


class Swaps:
    """Scores of an event, one row, with groups of its columns as expected.

    Parameters
    ----------
    expected
        One row.
    score
        The event's.
    """

    def __init__(
        self, layout: Layout, event: Rows, expected: Rows, score: float, score_rows: ScoreRows
    ) -> None:
        self._layout, self._event, self._expected = layout, event, expected
        self._score, self._score_rows = score, score_rows
        self._alone = self._scores([np.arange(len(layout.groups))])
        self._together: dict[frozenset[int], float] = {}  # scores that `joint` has found

    def falls(self) -> NDArray[np.float64]:
        """How far the score falls when one group of columns is as expected, for each, (G,); at least 0."""
        falls = self._score - self._alone
        falls[falls < FALL_MIN] = 0.0
        return falls

    def joint(self) -> tuple[int, ...]:
        """Two groups, else three, that lower the score together where none does alone; empty: none do.

        At most `JOINT_MAX` groups are tried in pairs, those that raise it least by themselves.
        """
        tried = np.argsort(self._alone, kind="stable")[:JOINT_MAX]
        first, second = np.triu_indices(len(tried), 1)
        if not len(first):
            return ()
        pairs = self._scores([tried[first], tried[second]])
        best = int(np.argmin(pairs))
        found = int(tried[first[best]]), int(tried[second[best]])
        if self._score - pairs[best] >= FALL_MIN:
            self._together[frozenset(found)] = float(pairs[best])
            return found
        third = np.setdiff1d(tried, found)
        if not len(third):
            return ()
        triples = self._scores([third, *found])
        best = int(np.argmin(triples))
        if self._score - triples[best] < FALL_MIN:
            return ()
        self._together[frozenset((*found, int(third[best])))] = float(triples[best])
        return *found, int(third[best])

    def without(self, groups: Sequence[int]) -> float:
        """The score with all of these groups as expected."""
        if len(groups) == 1:
            return float(self._alone[groups[0]])
        known = self._together.get(frozenset(int(group) for group in groups))
        if known is not None:
            return known
        return float(self._scores([np.array([group]) for group in groups])[0])

    def _scores(self, groups: Sequence[NDArray[np.intp] | int]) -> NDArray[np.float64]:
        """Scores (n,) with each of the first groups (n,), and with all further groups, as expected."""
        one_each = np.zeros(np.size(groups[0]), dtype=np.int64)
        rows, other = self._event.take(one_each), self._expected.take(one_each)
        for group in groups:
            rows = swap(rows, other, self._layout, np.broadcast_to(group, one_each.shape).astype(np.int64))
        return self._score_rows(rows)


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
