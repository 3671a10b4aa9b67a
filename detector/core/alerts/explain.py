"""Why an event scored high: how far its score falls when one thing takes its expected value.

For each group of columns that people can name (a field, an entity's history, the time of day) the raw value
is replaced by the expected one, everything derived from it is computed again, and the event is scored again.
A reason's share is its fall in score divided by the sum of all falls.

The expected value is what the entity's own profile says, else the median of the nearest cluster that enough
people share, else the median of all events: never another customer's event.

A field is described by its kind, see `detector.core.events.kinds`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.alerts.habit_words import heat, hours, novelty, pace, whereabouts
from detector.core.events import KINDS, View
from detector.core.features import DAY_S, Group, Layout, Rows, Units, population_shift, swap

# Decayed events from which an entity's own mean is a better guess than its cluster's.
OWN_HISTORY_MIN = 5.0

# A smaller fall in score is rounding.
FALL_MIN = 1e-6
COMBINATION = "no single field stands out; it is their combination that is rare"
RANDOM = "chosen at random, to find out what the score misses; nothing about it stands out"

_NOTHING_SINGLE: dict[str, Any] = {
    "observed": None, "expected": None, "share": 1.0, "direction": "unusual", "basis": "cluster",
}  # fmt: skip

ScoreRows = Callable[[Rows], NDArray[np.float64]]
"""Gives the scores (n,) of rows, by the model that scored the event."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """What one field contributed to an alert; values in the field's own units."""

    field: str
    observed: float | str | None
    expected: float | str | None
    share: float  # in (0, 1]; the shares of all reasons of an alert sum to at most 1
    direction: str  # above | below | unusual
    basis: str  # entity | cluster: where expected comes from
    detail: str  # one sentence for people
    display: str | None = None
    unit: str | None = None


class Explainer:
    """Explains events of one schema."""

    def __init__(self, layout: Layout, units: Units) -> None:
        self._layout = layout
        self._units = units

    def reasons(
        self,
        event: Rows,
        typical: Rows,
        view: View,
        score: float,
        score_rows: ScoreRows,
        *,
        count_max: int,
        show_typical: bool,
        otherwise: str = COMBINATION,
    ) -> tuple[Reason, ...]:
        """Explain one event, by one reason at least.

        Parameters
        ----------
        event, typical
            One row each: the event, and what is typical of its nearest cluster.
        score
            The event's score.
        show_typical
            Whether enough people share what is typical; otherwise it is used but not shown.
        otherwise
            The reason, if no single thing lowers the score.
        """
        groups = self._layout.groups
        expected, basis = self._expected(event, typical, OWN_HISTORY_MIN)
        falls = self._falls(event, expected, score, score_rows)
        if not falls.any() and basis == "cluster":
            # A profile of few events may be what is strange: then only its own values fit it.
            expected, basis = self._expected(event, typical, 0.0)
            falls = self._falls(event, expected, score, score_rows)
        total = falls.sum()
        if total <= 0.0:
            return (Reason(field="combination", detail=otherwise, **_NOTHING_SINGLE),)
        order = np.argsort(-falls, kind="stable")[:count_max]
        shares = np.floor(falls / total * 10_000) / 10_000  # rounded to nearest they could sum to above 1
        reasons = (
            self._with_frauds(
                self._describe(groups[g], event, expected, basis, view, float(shares[g])), groups[g], event
            )
            for g in order
            if shares[g] > 0.0
        )
        return tuple(reasons if show_typical else map(_without_expected, reasons))

    def _falls(self, event: Rows, expected: Rows, score: float, score_rows: ScoreRows) -> NDArray[np.float64]:
        """How far the score falls when one group of columns is as expected, for each group; at least 0."""
        groups = np.arange(len(self._layout.groups))
        one_each = np.zeros(len(groups), dtype=np.int64)
        falls = score - score_rows(swap(event.take(one_each), expected.take(one_each), self._layout, groups))
        falls[falls < FALL_MIN] = 0.0
        return falls

    def _expected(self, event: Rows, typical: Rows, own_from: float) -> tuple[Rows, str]:
        """One row of expected values, and where the expected numerics come from.

        `own_from`: decayed events from which they are the entity's own.
        """
        expected = typical.copy()
        expected.entities[:] = event.entities
        expected.fraud_rates[:] = self._layout.fraud_rates_unknown
        for place in self._layout.heats:
            expected.context[:, place.columns] = 0.0
        day = np.floor(event.clocks / DAY_S) * DAY_S
        expected.clocks[:] = day + typical.clocks % DAY_S
        if not self._layout.entities or not self._layout.numerics:
            return expected, "cluster"
        own = self._layout.kind_of(0)
        # The means and spreads that its values are compared with stay the entity's own: they belong to the
        # values. What the entity's group stands for is how busy it is.
        expected.context[:, own.compared] = event.context[:, own.compared]
        if not event.context[0, own.count(-1)] >= max(own_from, FALL_MIN):
            return expected, "cluster"
        usual = event.context[0, own.means(-1)]
        expected.numerics[0] = usual + population_shift(event.context, self._layout)[0]
        return expected, "entity"

    def _describe(
        self, group: Group, event: Rows, expected: Rows, basis: str, view: View, share: float
    ) -> Reason:
        if group.clock:
            observed, usual = _clock(event.clocks[0]), _clock(expected.clocks[0])
            own = hours(self._layout, event) or f"such events come around {usual}"
            return Reason(
                field="time",
                observed=observed,
                expected=usual,
                share=share,
                direction="unusual",
                basis="cluster",
                detail=f"at {observed} UTC, {own}"
                if own
                else f"at {observed} UTC, such events come around {usual}",
            )
        if self._layout.heat_of(group.name) is not None:
            return self._heat(group, event, share)
        if group.entity == 0:
            return self._activity(group, event, expected, share)
        if group.field is None:
            return Reason(
                field=group.name,
                observed=view.entities[group.name],
                expected=None,
                share=share,
                direction="unusual",
                basis="cluster",
                detail=self._familiarity(group, event),
            )
        field, place = group.field, group.points.stop > 0
        basis = basis if group.numerics.stop else "entity" if place else "cluster"
        shown = KINDS[field.type].explain(
            field,
            view.values[field.name],
            self._units.restore(expected.numerics)[0, group.numerics],
            whose=f"this {self._layout.entities[0]}" if basis == "entity" else "events like it",
            familiarity=whereabouts(self._layout, event, group.points.start)
            if place
            else self._familiarity(group, event),
        )
        return Reason(
            field=field.name,
            observed=shown.observed,
            expected=shown.expected,
            share=share,
            direction=shown.direction,
            basis=basis,
            detail=shown.detail,
            display=field.display,
            unit=field.unit,
        )

    def _activity(self, group: Group, event: Rows, expected: Rows, share: float) -> Reason:
        """The main entity itself: how busy it is, against what is typical."""
        column = self._layout.kind_of(0).count(0)
        half_life = self._layout.half_lives_s[0] / DAY_S
        observed, usual = _short(float(event.context[0, column])), _short(float(expected.context[0, column]))
        return Reason(
            field=group.name,
            observed=observed,
            expected=usual,
            share=share,
            direction="above" if observed > usual else "below" if observed < usual else "unusual",
            basis="cluster",
            detail=(
                f"history of this {group.name}: {observed:g} recent events (half-life {half_life:g} days), "
                f"{usual:g} is usual{pace(self._layout, event, 0)}"
            ),
            unit="events",
        )

    def _heat(self, group: Group, event: Rows, share: float) -> Reason:
        """How far earlier events of an entity lay beyond normal."""
        return Reason(
            field=group.name,
            observed=None,
            expected=None,
            share=share,
            direction="above",
            basis="entity",
            detail=heat(self._layout, event, group.name),
        )

    def _with_frauds(self, reason: Reason, group: Group, event: Rows) -> Reason:
        """Put the fraud rate of the entity or category first, if it had frauds."""
        for rated in group.fraud_rates:
            rate, age = float(event.fraud_rates[0, rated.longest]), event.fraud_rates[0, rated.age]
            if rate > 0.0:
                days = float(np.expm1(age))
                known = f"{rate:.0%} of what is known of this {group.name} was fraud"
                detail = f"{known}, the latest {days:.2g} days ago; {reason.detail}"
                return replace(reason, detail=detail)
        return reason

    def _familiarity(self, group: Group, event: Rows) -> str:
        """How often this value was seen, with the main entity if there is a pair of them."""
        if not group.context:
            return f"{group.name} is unlike what is usual here"
        if group.entity is not None and event.entities[0, group.entity] == 0:
            return f"{group.name} is missing"
        if not event.categories[0, group.categories].all():
            return f"{group.name} is missing"
        pair = len(group.context) > 1 and event.entities[0, 0] != 0
        columns = group.context[-1] if pair else group.context[0]
        whom = f" with this {self._layout.entities[0]}" if pair else ""
        gap_s = float(event.context[0, columns.start])
        fast = "" if group.entity is None else pace(self._layout, event, group.entity)
        if np.isnan(gap_s):
            rare = novelty(self._layout, event, columns.start) if pair else ""
            return f"{group.name} seen for the first time{whom}{rare}{fast}"
        return f"{group.name} last seen{whom} {gap_s / DAY_S:.2g} days ago{fast}"


def _without_expected(reason: Reason) -> Reason:
    """Remove the expected value where it would show a few people's events."""
    if reason.basis != "cluster" or reason.expected is None:
        return reason
    detail = f"{reason.display or reason.field} is {reason.observed}, which is unusual here"
    return replace(reason, expected=None, detail=detail)


def _clock(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%H:%M")


def _short(value: float) -> float:
    return float(f"{value:.4g}")
