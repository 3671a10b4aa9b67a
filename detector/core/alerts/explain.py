"""Why an event scored high: what happens to its score when one thing takes its expected value.

For each group of columns that people can name (a field, an entity's history, the time of day) the raw value
is replaced by the expected one, everything derived from it is computed again, and the event is scored again.
A reason's share is its fall in score over the sum of all falls.

Expected is what the entity's own profile says, else what is typical of the nearest cluster that enough people
share (medians over its core events), else of all: never another customer's event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.events import View
from detector.core.features import DAY_S, Group, Layout, Rows, Units, population_shift, swap
from detector.core.features.fraud_rates import inputs_of

# Decayed events from which an entity's own mean is a better guess than its cluster's.
OWN_HISTORY_MIN = 5.0

# A smaller fall in score is rounding.
FALL_MIN = 1e-6

ScoreRows = Callable[[Rows], NDArray[np.float64]]
"""Scores (n,) of rows as the event was scored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """One field's part in an alert; values in the field's own units."""

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
        tellable: bool,
    ) -> tuple[Reason, ...]:
        """Explain one event.

        Parameters
        ----------
        event, typical
            One row each: the event, and what is typical of its nearest cluster.
        score
            The event's score.
        tellable
            Whether enough people share what is typical; otherwise it is reckoned with but not shown.
        """
        groups = self._layout.groups
        expected, bases = self._expected(event, typical)
        one_each = np.zeros(len(groups), dtype=np.int64)
        variants = swap(event.take(one_each), expected.take(one_each), self._layout, np.arange(len(groups)))
        falls = score - score_rows(variants)
        falls[falls < FALL_MIN] = 0.0
        total = falls.sum()
        if total <= 0.0:
            return ()
        order = np.argsort(-falls, kind="stable")[:count_max]
        shares = np.floor(falls / total * 10_000) / 10_000  # rounded to nearest they could sum to above 1
        reasons = (
            self._with_frauds(
                self._describe(groups[g], event, expected, bases, view, float(shares[g])), groups[g], event
            )
            for g in order
            if shares[g] > 0.0
        )
        return tuple(reasons if tellable else map(_untold, reasons))

    def _expected(self, event: Rows, typical: Rows) -> tuple[Rows, Sequence[str]]:
        """One row of expected values, and per numeric where they come from."""
        expected = typical.copy()
        expected.entities[:] = event.entities
        expected.risk[:] = self._layout.risk_unknown
        day = np.floor(event.clocks / DAY_S) * DAY_S
        expected.clocks[:] = day + typical.clocks % DAY_S
        bases = ["cluster"] * len(self._layout.numerics)
        own = self._layout.kinds[1] if self._layout.entities else None
        if own is not None and own.numerics:
            # What its values are compared with belongs to each value; the entity itself is how busy it is.
            compared = slice(own.start + 1 + own.memories, own.stop)
            expected.context[:, compared] = event.context[:, compared]
            context = event.context[0, own.columns]
            longest = own.memories - 1
            if context[1 + longest] >= OWN_HISTORY_MIN:
                start = 1 + own.memories + longest * own.numerics
                usual = context[start : start + own.numerics]
                expected.numerics[0] = usual + population_shift(event.context, self._layout)[0]
                bases = ["entity"] * len(bases)
        return expected, bases

    def _describe(
        self, group: Group, event: Rows, expected: Rows, bases: Sequence[str], view: View, share: float
    ) -> Reason:
        if group.numeric is not None:
            return self._numeric(group.numeric, expected, bases[group.numeric], view, share)
        if group.clock:
            observed, usual = _clock(event.clocks[0]), _clock(expected.clocks[0])
            return Reason(
                field="time",
                observed=observed,
                expected=usual,
                share=share,
                direction="unusual",
                basis="cluster",
                detail=f"at {observed} UTC, such events come around {usual}",
            )
        if group.entity == 0:
            return self._activity(group, event, expected, share)
        value = view.entities[group.name] if group.entity is not None else view.values[group.name]
        field = None if group.entity is not None else self._field(group.name)
        return Reason(
            field=group.name,
            observed=value,
            expected=None,
            share=share,
            direction="unusual",
            basis="cluster",
            detail=self._familiarity(group, event),
            display=field.display if field else None,
            unit=field.unit if field else None,
        )

    def _numeric(self, column: int, expected: Rows, basis: str, view: View, share: float) -> Reason:
        field = self._layout.numerics[column]
        observed = view.values[field.name]
        usual = self._units.restore(expected.numerics)[0, column]
        value = None if np.isnan(usual) else _short(float(usual))
        direction = "unusual"
        if observed is not None and value is not None and observed != value:
            direction = "above" if observed > value else "below"
        name = field.display or field.name
        whose = f"this {self._layout.entities[0]}" if basis == "entity" else "events like it"
        return Reason(
            field=field.name,
            observed=observed,
            expected=value,
            share=share,
            direction=direction,
            basis=basis,
            detail=f"{name} is {_spell(observed)}, {_spell(value)} is usual for {whose}",
            display=field.display,
            unit=field.unit,
        )

    def _activity(self, group: Group, event: Rows, expected: Rows, share: float) -> Reason:
        """The main entity itself: how busy it is, against what is typical."""
        column = self._layout.kinds[1].start + 1
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
                f"{usual:g} is usual"
            ),
            unit="events",
        )

    def _with_frauds(self, reason: Reason, group: Group, event: Rows) -> Reason:
        """Say first what labels say of the entity or category, if it had frauds."""
        if group.risk is None:
            return reason
        row = event.risk[0, group.risk]
        memories = len(row) - inputs_of(0)
        share, age = float(row[memories - 1]), float(np.expm1(row[memories]))
        if share <= 0.0:
            return reason
        detail = f"{share:.0%} of what is known of this {group.name} was fraud, the latest {age:.2g} days ago"
        return replace(reason, detail=f"{detail}; {reason.detail}")

    def _familiarity(self, group: Group, event: Rows) -> str:
        """How often this value was seen, with the main entity if there is a pair of them."""
        columns = group.context[-1] if group.context else None
        if columns is None:
            return f"{group.name} is unlike what is usual here"
        if group.entity is not None and event.entities[0, group.entity] == 0:
            return f"{group.name} is missing"
        if group.category is not None and event.categories[0, group.category] == 0:
            return f"{group.name} is missing"
        pair = len(group.context) > 1 and event.entities[0, 0] != 0
        columns = columns if pair else group.context[0]
        whom = f" with this {self._layout.entities[0]}" if pair else ""
        if np.isnan(event.context[0, columns.start]):
            return f"{group.name} seen for the first time{whom}"
        days = float(event.context[0, columns.start]) / DAY_S
        return f"{group.name} last seen{whom} {days:.2g} days ago"

    def _field(self, name: str) -> Any:
        fields = [*self._layout.categories, *self._layout.texts]
        return next((field for field in fields if field.name == name), None)


def _untold(reason: Reason) -> Reason:
    """Keep what is expected to ourselves where few people's events would show through."""
    if reason.basis != "cluster" or reason.expected is None:
        return reason
    detail = f"{reason.display or reason.field} is {reason.observed}, which is unusual here"
    return replace(reason, expected=None, detail=detail)


def _clock(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%H:%M")


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _spell(value: float | None) -> str:
    return "missing" if value is None else f"{value:g}"
