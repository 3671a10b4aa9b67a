"""Why an event scored high: how far its score falls when one thing takes its expected value.

For each group of columns that people can name (a field, an entity's history, the time of day) the raw value
is replaced by the expected one, everything derived from it is computed again, and the event is scored again.
A reason's share is its fall in score divided by the sum of all falls.

The expected value is what the entity's own profile says, else the median of the nearest cluster that enough
people share, else the median of all events: never another customer's event.

What a field shows is said by its kind, see `detector.core.events.kinds`; all sentences are in
`detector.core.alerts.words`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import ValueField
from detector.core.alerts.falls import ScoreRows, expected_of, falls_of
from detector.core.alerts.known import (
    OWN_HISTORY_MIN,
    contact,
    fastest_move,
    informative_category,
    own_hour,
    pace,
    ranges,
)
from detector.core.alerts.words import Sentences, Usual
from detector.core.events import KINDS, View
from detector.core.features import DAY_S, Group, Layout, Rows, Units

# A smaller share of the fall is no reason.
SHARE_MIN = 0.05
Nothing = Literal["combination", "random"]
"""What is said where no single thing lowers the score."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """What one field contributed to an alert; values in the field's own units."""

    field: str
    code: str  # of `detector.core.codes.REASONS`
    observed: float | str | None
    expected: float | str | None
    share: float  # in (0, 1]; the shares of all reasons of an alert sum to at most 1
    direction: str  # above | below | unusual
    basis: str  # entity | cluster: where expected comes from
    detail: str  # one sentence for people
    range: tuple[float, float] | None = None  # .1 and .9 quantiles of what is usual
    display: str | None = None
    unit: str | None = None


class Typical(NamedTuple):
    """What is typical of events near one."""

    row: Rows  # one row: medians
    ends: NDArray[np.float64]  # (2, J) .1 and .9 quantiles of numerics, in their own units
    shown: bool  # whether enough people share it; otherwise it is used but not shown


class Explainer:
    """Explains events of one schema."""

    def __init__(self, layout: Layout, units: Units, sentences: Sentences) -> None:
        self._layout = layout
        self._units = units
        self._say = sentences

    def reasons(
        self,
        event: Rows,
        typical: Typical,
        view: View,
        score: float,
        score_rows: ScoreRows,
        *,
        count_max: int,
        otherwise: Nothing = "combination",
    ) -> tuple[Reason, ...]:
        """Explain one event, by one reason at least.

        Parameters
        ----------
        event
            One row.
        score
            The event's score.
        otherwise
            The reason, if no single thing lowers the score.
        """
        expected, basis = expected_of(self._layout, event, typical.row, OWN_HISTORY_MIN)
        falls = falls_of(self._layout, event, expected, score, score_rows)
        if not falls.any() and basis == "cluster":
            # A profile of few events may be what is strange: then only its own values fit it.
            expected, basis = expected_of(self._layout, event, typical.row, 0.0)
            falls = falls_of(self._layout, event, expected, score, score_rows)
        total = falls.sum()
        if total <= 0.0:
            return (_reason("combination", otherwise, 1.0, self._say.nothing(otherwise)),)
        order = np.argsort(-falls, kind="stable")[:count_max]
        shares = np.floor(falls / total * 10_000) / 10_000  # rounded to nearest they could sum to above 1
        told = [g for g in order if shares[g] >= SHARE_MIN]
        if not told:
            names = [self._layout.groups[g].name for g in order]
            return (_reason("combination", "combination", 1.0, self._say.many(names)),)
        description = _Description(
            self._layout, self._units, self._say, event, expected, typical, view, basis
        )
        groups = self._layout.groups
        reasons = tuple(description.reason(groups[g], float(shares[g])) for g in told)
        # A value that is usual by itself reassures where something else is not.
        return tuple(one for one in reasons if one.code != "combination") or reasons


class _Description(NamedTuple):
    """Words one event's reasons."""

    layout: Layout
    units: Units
    say: Sentences
    event: Rows  # one row
    expected: Rows
    typical: Typical
    view: View
    basis: str  # of the expected numerics

    def reason(self, group: Group, share: float) -> Reason:
        """Describe a group of columns, with the frauds of its entity or category first."""
        found = self._of(group, share)
        for rated in group.fraud_rates:
            rate, age = float(self.event.fraud_rates[0, rated.longest]), self.event.fraud_rates[0, rated.age]
            if rate > 0.0:
                frauds = self.say.frauds(group.name, rate, float(np.expm1(age)) * DAY_S)
                return replace(found, detail=f"{frauds}; {found.detail}")
        return found

    def _of(self, group: Group, share: float) -> Reason:
        layout, event = self.layout, self.event
        if group.clock:
            observed, usual = _clock(event.clocks[0]), _clock(self.expected.clocks[0])
            detail = self.say.hour(observed, usual, own_hour(layout, event))
            return _reason("time", "hour", share, detail, observed, usual)
        if (habit := layout.heat_of(group.name)) is not None:
            hour, longest = event.context[0, habit.columns][[0, -1]].tolist()
            detail = self.say.heat(layout.entities[habit.key or 0], hours=hour > longest / 2.0)
            return _reason(group.name, "heat", share, detail, direction="above", basis="entity")
        if group.entity == 0:
            return self._activity(group, share)
        if group.field is None:
            assert group.entity is not None
            value = self.view.entities[group.name]
            detail = self._contact(group.name, group.entity, value)
            return _reason(group.name, "contact", share, detail, value)
        if not group.field.echo:
            hidden = self.say.hidden(group.name)
            code = _code(group)
            return _reason(
                group.name, code, share, hidden, display=group.field.display, unit=group.field.unit
            )
        return self._field(group, group.field, share)

    def _field(self, group: Group, field: ValueField, share: float) -> Reason:
        values = self.view.values
        numeric, place = group.numerics.stop > 0, group.points.stop > 0
        basis = self.basis if numeric else "entity" if place else "cluster"
        told = basis == "entity" or self.typical.shown
        expected = self.units.restore(self.expected.numerics)[0, group.numerics]
        shown = KINDS[field.type].explain(field, values[field.name], expected)
        whose = self.say.words.this() if basis == "entity" else self.say.words.others()
        usual = shown.expected if told else None
        code, ends = _code(group), None
        if numeric and not isinstance(shown.observed, str):
            of = self._usual(group.numerics.start, told)
            detail = self.say.number(field, shown.observed, of, values)
            if self.say.is_usual(shown.observed, of):
                code = "combination"
            ends = next(((_short(one.low), _short(one.high)) for one in of if not np.isnan(one.low)), None)
        elif group.categories.stop > 0 and shown.expected is None:
            column = len(self.layout.entities) + group.categories.start
            detail = self._contact(field.name, column, values[field.name])
        elif place:
            detail = self._place(group.points.start, field, shown.observed)
        else:
            detail = self.say.shown(field, shown.observed, usual, whose, values)
        return Reason(
            field=field.name,
            code=code,
            observed=shown.observed,
            expected=usual,
            share=share,
            direction=shown.direction,
            basis=basis,
            detail=detail,
            range=ends,
            display=field.display,
            unit=field.unit,
        )

    def _usual(self, numeric: int, told: bool) -> list[Usual]:
        """Ranges of a numeric: the entity's own or those of events like it, then those of the category."""
        layout, words = self.layout, self.say.words
        found: list[Usual] = []
        own = ranges(layout, self.units, self.event, layout.kind_of(0)) if self.basis == "entity" else None
        if own is not None:
            found.append(Usual(words.this(), *own[:, numeric].tolist()))
        elif told:
            found.append(Usual(words.others(), *self.typical.ends[:, numeric].tolist()))
        category = informative_category(layout, self.event, numeric)
        if category is not None:
            ends = ranges(layout, self.units, self.event, layout.kind_of(len(layout.entities) + category))
            field = layout.categories[category].field
            if ends is not None and field.echo:
                meeting = words.meeting(field.name, self.view.values[field.name])
                found.append(Usual(meeting, *ends[:, numeric].tolist()))
        return found

    def _contact(self, name: str, column: int, value: str | None) -> str:
        """How often this value was seen, with the main entity if there is one."""
        layout, event = self.layout, self.event
        found = contact(layout, event, column)
        if found is None:
            return self.say.missing(name)
        entity = column < len(layout.entities)
        speed = pace(layout, event, column) if entity else None
        all_, own = layout.kind_of(None).count(-1), layout.kind_of(column).count(-1)
        share = float(event.context[0, own]) / max(float(event.context[0, all_]), 1.0)
        young = None if speed is None else speed.age_s
        detail = self._amount_there(name, column, value) if not entity and not found.new else None
        if detail is None:
            detail = self.say.contact(found, name, value, young_s=young, share=max(share, 1e-6))
        return f"{detail}; {self.say.busy(name, speed)}" if speed is not None and speed.fast else detail

    def _amount_there(self, name: str, column: int, value: str | None) -> str | None:
        """That the exposure, else the first numeric, is rare in a category; None if it is not."""
        layout, numeric = self.layout, self.layout.exposure or 0
        kind = layout.kind_of(column)
        if numeric >= kind.numerics or not layout.numerics[numeric].field.echo:
            return None
        ends, field = ranges(layout, self.units, self.event, kind), layout.numerics[numeric].field
        amount = self.view.values[field.name]
        if ends is None or not isinstance(amount, float | int):
            return None
        usual = Usual("", *ends[:, numeric].tolist())
        if usual.low <= amount <= usual.high:
            return None
        return self.say.amount_there(name, value, field, float(amount), usual, self.view.values)

    def _activity(self, group: Group, share: float) -> Reason:
        """The main entity itself: how busy it is, against what is typical."""
        layout = self.layout
        found = pace(layout, self.event, 0)
        kind, everything = layout.kind_of(0), layout.habit_of("pace", None)
        assert everything is not None
        seen = float(self.event.context[0, everything.columns][3])
        half_life = float(layout.half_lives_s[-1])
        typical = float(self.expected.context[0, kind.count(-1)]) / max(seen, 1e-6)
        usual = typical * math.log(2.0) / half_life
        observed = 0.0 if found is None else found.per_s
        return Reason(
            field=group.name,
            code="activity",
            observed=_short(observed * DAY_S) if found is not None and found.known else None,
            expected=None,
            share=share,
            direction="unusual" if found is None else "above" if observed > usual else "below",
            basis="cluster",
            detail=self.say.activity(group.name, found, usual),
            unit="events a day",
        )

    def _place(self, point: int, field: ValueField, observed: str | float | None) -> str:
        """How far a place is from the main entity's usual ones, and the fastest move there."""
        usual = self.layout.habit_of("places", 0, point)
        assert usual is not None
        move = fastest_move(self.layout, self.event, point)
        named = None if move is None else (self.layout.entities[move[0]], *move[1:])
        return self.say.place(field, observed, float(self.event.context[0, usual.start + 1]), named)


def _code(group: Group) -> str:
    """Code of a reason that is a field."""
    if group.points.stop > 0:
        return "place"
    return "contact" if group.categories.stop > 0 and group.numerics.stop == 0 else "value"


def _reason(
    field: str,
    code: str,
    share: float,
    detail: str,
    observed: float | str | None = None,
    expected: float | str | None = None,
    *,
    direction: str = "unusual",
    basis: str = "cluster",
    display: str | None = None,
    unit: str | None = None,
) -> Reason:
    return Reason(
        field=field,
        code=code,
        observed=observed,
        expected=expected,
        share=share,
        direction=direction,
        basis=basis,
        detail=detail,
        display=display,
        unit=unit,
    )


def _clock(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%H:%M")


def _short(value: float) -> float:
    return float(f"{value:.4g}")
