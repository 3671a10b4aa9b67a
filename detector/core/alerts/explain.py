"""Why an event scored high: how far its score falls when one thing takes its expected value.

For each group of columns that people can name (a field, an entity's history, the time of day) the raw value
is replaced by the expected one, everything derived from it is computed again, and the event is scored again.
A reason's share is its fall in score divided by the sum of all falls.

The expected value is what the entity's own profile says, else the median of the nearest cluster that enough
people share, else the median of all events: never another customer's event. What is told as usual is the
entity's own range, else that of all entities.

What a field shows is said by its kind, see `detector.core.events.kinds`; all sentences are in
`detector.core.alerts.words`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import ValueField
from detector.core.alerts.amounts import on_side
from detector.core.alerts.contacts import NOTHING_MET
from detector.core.alerts.earlier import NOTHING, Earlier, range_so_far
from detector.core.alerts.falls import ScoreRows, Swaps, expected_of
from detector.core.alerts.known import (
    CATEGORY_HISTORY_MIN,
    OWN_HISTORY_MIN,
    Ranges,
    contact,
    far_km,
    fastest_move,
    informative_category,
    own_hour,
    pace,
    repeat,
    variance_of,
)
from detector.core.alerts.recent import History
from detector.core.alerts.words import Sentences, Usual, short
from detector.core.alerts.words.sentences import is_again, is_seldom
from detector.core.events import KINDS, View
from detector.core.features import DAY_S, Group, Layout, Rows, Units

# A smaller share of the fall is no reason.
SHARE_MIN = 0.05
AMONG_MIN = 2  # an amount is compared with those of so many earlier events, at least
HEAT_EVENTS = 20  # latest events of which the most unusual one is told
JOINT_TOLD_MAX = 3  # things that are unusual together
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
    of: str | None = None  # entity of the event that the reason lies with; None: its fields together


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
        earlier: Earlier = NOTHING,
        history: History | None = None,
        ranges: Ranges | None = None,
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
        earlier
            Earlier unusual events of the main entity.
        history
            Its last events.
        ranges
            Of the event; None: they are found anew.
        """
        expected, basis = expected_of(self._layout, event, typical.row, OWN_HISTORY_MIN)
        swaps = Swaps(self._layout, event, expected, score, score_rows)
        if not (falls := swaps.falls()).any() and basis == "cluster":
            # A profile of few events may be what is strange: then only its own values fit it.
            expected, basis = expected_of(self._layout, event, typical.row, 0.0)
            swaps = Swaps(self._layout, event, expected, score, score_rows)
            falls = swaps.falls()
        joint = swaps.joint() if otherwise == "combination" and not falls.any() else ()
        falls[list(joint)] = 1.0
        total = falls.sum()
        if total <= 0.0:
            return (_reason("combination", otherwise, 1.0, self._say.phrases.nothing(otherwise)),)
        order = np.argsort(-falls, kind="stable")[:count_max]
        shares = np.floor(falls / total * 10_000) / 10_000  # rounded to nearest they could sum to above 1
        told = [g for g in order if shares[g] >= SHARE_MIN]
        if not told:
            names = [self._layout.groups[g].name for g in order]
            detail = self._say.phrases.many(names, score, swaps.without(order.tolist()))
            return (_reason("combination", "combination", 1.0, detail),)
        groups = self._layout.groups
        description = _Description(
            self._layout,
            self._units,
            self._say,
            event,
            expected,
            typical,
            view,
            basis,
            earlier,
            history,
            ranges or Ranges(self._layout, self._units, event),
            frozenset(groups[g].numerics.start for g in told if groups[g].numerics.stop),
            tuple(groups[g].categories.start for g in told if groups[g].categories.stop),
        )
        reasons = tuple(description.reason(groups[g], float(shares[g])) for g in told)
        # What is usual by itself reassures where something else is not.
        single = () if joint else tuple(one for one in reasons if one.code != "combination")
        return single or self._together(swaps, description, told[:JOINT_TOLD_MAX], reasons, score)

    def _together(
        self,
        swaps: Swaps,
        description: _Description,
        told: Sequence[int],
        reasons: Sequence[Reason],
        score: float,
    ) -> tuple[Reason, ...]:
        """Reasons of which each is usual by itself: the first one says what is rare together."""
        parts = [description.phrase(self._layout.groups[g]) for g in told]
        detail = self._say.phrases.joint(parts, score, swaps.without(told))
        reasons = (replace(reasons[0], detail=detail), *reasons[1:])
        return tuple(replace(one, code="combination") for one in reasons)


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
    earlier: Earlier
    history: History | None
    ranges: Ranges
    numerics: frozenset[int]  # first ones of the groups that are told
    categories: tuple[int, ...]

    def reason(self, group: Group, share: float) -> Reason:
        """Describe a group of columns, with the frauds of its entity or category first."""
        found = self._of(group, share)
        for rated in group.fraud_rates:
            rate, age = float(self.event.fraud_rates[0, rated.longest]), self.event.fraud_rates[0, rated.age]
            if rate > 0.0:
                frauds = self.say.frauds(group.name, rate, float(np.expm1(age)) * DAY_S)
                return replace(found, detail=f"{frauds}; {found.detail}")
        return found

    def phrase(self, group: Group) -> str:
        """What the event has in a group of columns, as a part of a sentence."""
        say = self.say.phrases
        if group.clock:
            return say.at_hour(_clock(self.event.clocks[0]))
        if (habit := self.layout.heat_of(group.name)) is not None:
            return say.after_heat(self.layout.entities[habit.key or 0])
        if group.entity == 0:
            found = pace(self.layout, self.event, 0)
            return say.with_pace(found.per_s if found is not None and found.known else None)
        if group.field is None:
            return say.met(group.name, self.view.entities[group.name])
        return say.has(group.field, self.view.values, place=group.points.stop > 0)

    def _of(self, group: Group, share: float) -> Reason:
        layout, event, main = self.layout, self.event, self.say.words.main
        if group.clock:
            observed, usual = _clock(event.clocks[0]), _clock(self.expected.clocks[0])
            detail = self.say.hour(observed, usual, own_hour(layout, event))
            return _reason("time", "hour", share, detail, observed, usual, of=main)
        if (habit := layout.heat_of(group.name)) is not None:
            hour, longest = event.context[0, habit.columns][[0, -1]].tolist()
            of = layout.entities[habit.key or 0]
            detail = self._heat(of, habit.key or 0, hours=hour > longest / 2.0)
            return _reason(group.name, "heat", share, detail, direction="above", basis="entity", of=of)
        if group.entity == 0:
            return self._activity(group, share)
        if group.field is None:
            assert group.entity is not None
            value = self.view.entities[group.name]
            code, detail = self._contact(group.name, group.entity, value)
            speed = pace(layout, event, group.entity)
            if speed is None or not speed.fast:
                return _reason(group.name, code, share, detail, value, of=main)
            busy = self.say.busy_there(group.name, value, speed)
            detail = f"{busy}; {detail}" if code == "contact" else busy
            return _reason(group.name, "contact", share, detail, value, of=group.name)
        if not group.field.echo:
            hidden = self.say.hidden(group.name)
            code = _code(group)
            return _reason(
                group.name, code, share, hidden, display=group.field.display, unit=group.field.unit, of=main
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
            of = self._usual(group.numerics.start, told, shown.observed)
            detail = self.say.number(field, shown.observed, of, values)
            exposed = group.numerics.start == self.layout.exposure
            if exposed and (again := repeat(self.layout, self.event)) is not None:
                met = NOTHING_MET if self.history is None else self.history.again
                name = self.layout.entities[again.entity]
                detail = self.say.phrases.repeated(again, name, self.view, met)
            elif self.say.is_usual(shown.observed, of):
                code = "combination"
            elif exposed and shown.observed is not None:
                among = told_among(self.say, self.history, shown.observed, of, self.earlier)
                detail = "; ".join(filter(None, (detail, among)))
            ends = next(((short(one.low), short(one.high)) for one in of if not np.isnan(one.low)), None)
        elif group.categories.stop > 0 and shown.expected is None:
            column = len(self.layout.entities) + group.categories.start
            code, detail = self._contact(field.name, column, values[field.name])
        elif place:
            code, detail = self._place(group.points.start, field, shown.observed)
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
            of=self.say.words.main,
        )

    def _heat(self, name: str, entity: int, *, hours: bool) -> str:
        """Earlier events of an entity were unusual."""
        if name != self.say.words.main:
            found = pace(self.layout, self.event, entity)
            busy = found is not None and found.fast  # which is told already
            return self.say.heat_there(name, self.view.entities[name], None if busy else found, hours=hours)
        if (named := told_earlier(self.say, self.earlier, self.view)) is not None:
            return named
        scores = np.zeros(0) if self.history is None else self.history.newest(HEAT_EVENTS).scores
        return self.say.heat(float(scores.max()) if len(scores) else None, hours=hours)

    def _usual(self, numeric: int, told: bool, amount: str | float | None) -> list[Usual]:
        """Ranges of a numeric: the entity's own, else those of all entities, then those of the category."""
        layout, words = self.layout, self.say.words
        found: list[Usual] = []
        own = self.ranges(layout.kind_of(0)) if self.basis == "entity" else None
        if numeric == layout.exposure and self.earlier.normal is not None:
            found.append(Usual(words.this(), *self.earlier.normal))
        elif own is not None:
            speed = pace(layout, self.event, 0)
            young = speed is not None and speed.age_s < DAY_S
            known = numeric == layout.exposure and isinstance(amount, float | int)
            so_far = range_so_far(self.history, speed, float(amount or 0.0)) if known else None
            low, high = so_far or own[:, numeric].tolist()
            found.append(Usual(words.this(), low, high, young))
        elif told:
            every = self.ranges(layout.kind_of(None))
            ends = self.typical.ends if every is None else every
            found.append(Usual(words.others(), *ends[:, numeric].tolist()))
        found += self._usual_there(numeric)
        return found

    def _usual_there(self, numeric: int) -> list[Usual]:
        """Range of a numeric in one category: of those that are told and the most telling, the narrowest."""
        layout, event = self.layout, self.event
        telling = informative_category(layout, event, numeric)
        found: list[tuple[float, Usual]] = []
        for category in dict.fromkeys((*self.categories, *(() if telling is None else (telling,)))):
            kind, field = layout.kind_of(len(layout.entities) + category), layout.categories[category].field
            known = event.categories[0, category] != 0 and numeric < kind.numerics and field.echo
            if known and event.context[0, kind.count(-1)] >= CATEGORY_HISTORY_MIN:
                ends = self.ranges(kind)
                if ends is not None:
                    meeting = self.say.words.meeting(field.name, self.view.values[field.name])
                    usual = Usual(meeting, *ends[:, numeric].tolist())
                    found.append((variance_of(event.context[0], kind, numeric), usual))
        return [min(found, key=lambda one: one[0])[1]] if found else []

    def _contact(self, name: str, column: int, value: str | None) -> tuple[str, str]:
        """Code and sentence: how often this value was seen, with the main entity if there is one."""
        layout, event = self.layout, self.event
        found = contact(layout, event, column)
        if found is None:
            return "contact", self.say.words.missing(name)
        entity = column < len(layout.entities)
        all_, own = layout.kind_of(None).count(-1), layout.kind_of(column).count(-1)
        share = float(event.context[0, own]) / max(float(event.context[0, all_]), 1.0)
        speed, main = pace(layout, event, column) if entity else None, pace(layout, event, 0)
        if not entity and not found.new and (there := self._amount_there(name, column, value)) is not None:
            return "contact", there
        own_events = 0.0 if main is None else main.events
        detail = self.say.contact(
            found,
            name,
            value,
            theirs=speed,
            share=max(share, 1e-6),
            own_events=own_events,
        )
        usual = found.paired and found.age_s >= DAY_S and not is_again(found, own_events)
        usual = usual and not is_seldom(found, own_events)
        return "combination" if usual else "contact", detail

    def _amount_there(self, name: str, column: int, value: str | None) -> str | None:
        """That the exposure, else the first numeric, is rare in a category; None if it is not."""
        layout, numeric = self.layout, self.layout.exposure or 0
        kind = layout.kind_of(column)
        if numeric >= kind.numerics or not layout.numerics[numeric].field.echo or numeric in self.numerics:
            return None
        ends, field = self.ranges(kind), layout.numerics[numeric].field
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
        # Others with such events may be more or less busy: that is no reason beside another one.
        ordinary = found is not None and found.known and not found.fast
        return Reason(
            field=group.name,
            code="combination" if ordinary else "activity",
            observed=short(observed * DAY_S) if found is not None and found.known else None,
            expected=None,
            share=share,
            direction="unusual" if found is None else "above" if observed > usual else "below",
            basis="cluster",
            detail=self.say.activity(group.name, found, usual),
            unit="events a day",
            of=group.name,
        )

    def _place(self, point: int, field: ValueField, observed: str | float | None) -> tuple[str, str]:
        """Code and sentence: how far a place is from the main entity's usual ones, the fastest move there."""
        km, known = far_km(self.layout, self.event, point)
        move = fastest_move(self.layout, self.event, point)
        own = pace(self.layout, self.event, 0)
        young = own is not None and not own.known
        told = []
        if move is None or km is not None:
            told.append(self.say.place(field, observed, km, known=known, young=young))
        if move is not None:
            name, home = self.layout.entities[move[0]], known and km is None
            told.append(
                self.say.elsewhere(name, *move[1:]) if move[0] else self.say.move(name, *move[1:], home=home)
            )
        usual = observed is not None and km is None and move is None and known
        return "combination" if usual else "place", "; ".join(told)


def told_among(
    say: Sentences,
    history: History | None,
    amount: float,
    of: Sequence[Usual],
    earlier: Earlier = NOTHING,
) -> str | None:
    """How many of an entity's last events have an amount as far out as one beyond a usual range.

    Earlier unusual ones, which are told by themselves and of which no range is made, do not count. An amount
    beyond what is usual in its category is not compared with those of other categories.
    """
    exceeded = [one for one in of if amount > one.high or amount < one.low]
    amounts = np.zeros(0) if history is None else history.amounts[~np.isnan(history.amounts)]
    amounts = amounts if history is None or earlier.others is None else earlier.others
    amounts = amounts[on_side(amounts, amount)]
    if not exceeded or len(amounts) < AMONG_MIN:
        return None
    above = amount > exceeded[0].high
    count = int(np.count_nonzero(amounts >= amount if above else amounts <= amount))
    if count and any(one in exceeded for one in of[1:]):
        return None
    above ^= amount < 0.0  # of debits the lower one is more
    return say.among(count, len(amounts), above=above, others=earlier.others is not None)


def told_earlier(say: Sentences, earlier: Earlier, view: View) -> str | None:
    """Earlier unusual events in words; None without any."""
    if not earlier.number:
        return None
    return say.earlier(earlier.told, earlier.number, earlier.sum, earlier.since_s, view.values)


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
    of: str | None = None,
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
        of=of,
    )


def _clock(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%H:%M")
