"""Sentences of reasons and facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from detector.config.tree import Event, ValueField
from detector.core.alerts.known import Contact, Pace
from detector.core.alerts.words.english import LAST, TEXTS
from detector.core.alerts.words.numbers import date, duration, number, percent
from detector.core.alerts.words.words import DAY_S, Words, ago, distance, events, is_inside, rate, speed

# An entity meets a new thing in 1 of so many events, from which that is told.
ONE_OF_MIN = 3.0
# A value that fewer of all events have is rare.
RARE_SHARE = 0.01
# A contact that comes back sooner is told as that.
AGAIN_S = 600.0
# An entity of few events that was first seen longer ago is not new, but seldom seen.
YOUNG_S = 30 * DAY_S
# A place that is nearer to the usual ones is one of them.
NEAR_KM = 1.0


Values = Mapping[str, Any]
"""All values of an event, by field."""


class Usual(NamedTuple):
    """What values of a numeric are usual, and whose habit that is."""

    whose: str  # in words
    low: float
    high: float


class Sentences:
    """Sentences about events of one schema."""

    def __init__(self, schema: Event) -> None:
        self.words = Words(schema)

    # --- values --------------------------------------------------------------------------------------------

    def usual(self, name: str, of: Sequence[Usual], observed: Any, values: Values) -> str:
        """What is usual: `this card usually 12 to 85, in category 6011 usually 5 to 60`."""
        found = ""
        for one in of:
            shown = self.words.range(name, one.low, one.high, observed, values)
            text = TEXTS["usually"].format(whose=one.whose, range=shown)
            found = TEXTS["and"].format(first=found, second=text) if found else text
        return found

    def number(self, field: ValueField, observed: Any, of: Sequence[Usual], values: Values) -> str:
        """A numeric: its value, and what is usual."""
        of = [one for one in of if not np.isnan([one.low, one.high]).any()]
        usual, label = self.usual(field.name, of, observed, values), self.words.label(field.name)
        if observed is None:
            return TEXTS["value_missing_usual" if usual else "value_missing"].format(label=label, usual=usual)
        value = self.words.value(field.name, observed, values)
        if not usual:
            return TEXTS["value_unusual"].format(label=label, value=value)
        text = TEXTS["value_inside" if self.is_usual(observed, of) else "value_usual"]
        return text.format(label=label, value=value, usual=usual)

    def is_usual(self, observed: Any, of: Sequence[Usual]) -> bool:
        """Whether a value is within all ranges that are known, and there is one."""
        of = [one for one in of if not np.isnan([one.low, one.high]).any()]
        return bool(of) and observed is not None and all(is_inside(one.low, one.high, observed) for one in of)

    def shown(self, field: ValueField, observed: Any, expected: Any, whose: str, values: Values) -> str:
        """A field whose kind writes its values itself, beside what is expected; else a text."""
        label, value = self.words.label(field.name), self.words.value(field.name, observed, values)
        if observed is None:
            return TEXTS["value_missing"].format(label=label)
        if expected is not None:
            shown = self.words.value(field.name, expected, values)
            return TEXTS["as_usual"].format(label=label, value=value, expected=shown, whose=whose)
        return TEXTS["text"].format(label=label, value=value)

    def hidden(self, name: str) -> str:
        """A field whose value alerts do not show."""
        return TEXTS["hidden"].format(label=self.words.label(name))

    # --- contacts ------------------------------------------------------------------------------------------

    def missing(self, name: str) -> str:
        """An entity or a category that the event does not have."""
        return TEXTS["entity_missing"].format(noun=self.words.noun(name))

    def contact(
        self, found: Contact, name: str, value: str | None, *, young_s: float | None, share: float
    ) -> str:
        """An entity or a category that an event meets.

        Parameters
        ----------
        young_s
            Seconds since anybody was first seen with it; None: unknown.
        share
            Of all events that have it.
        """
        words = self.words
        label, shown = words.label(name), "" if value is None else words.labelled(name, value)
        if not found.paired:
            if found.new:
                return TEXTS["never"].format(label=label, value=shown)
            if share < RARE_SHARE:
                return TEXTS["rare"].format(label=label, value=shown, events=number(_about(1.0 / share)))
            return TEXTS["seen"].format(label=label, value=shown, ago=ago(found.gap_s))
        if found.new:
            return self.first_time(found, name, value, young_s=young_s)
        if found.age_s < DAY_S:
            return self.first_contact(found, name, value)
        if found.gap_s < AGAIN_S:
            meeting, gap, known = words.meeting(name, value), duration(found.gap_s), duration(found.age_s)
            return TEXTS["again"].format(meeting=meeting, duration=gap, this=words.this(), known=known)
        return TEXTS["known_contact"].format(
            label=label, value=shown, this=words.this(), known=duration(found.age_s), ago=ago(found.gap_s)
        )

    def amount_there(
        self, name: str, value: str | None, field: ValueField, amount: float, usual: Usual, values: Values
    ) -> str:
        """A numeric that is rare where it is, in a category."""
        return TEXTS["amount_there"].format(
            amount=f"{self.words.label(field.name)} {self.words.value(field.name, amount, values)}",
            meeting=self.words.meeting(name, value),
            range=self.words.range(field.name, usual.low, usual.high, amount, values),
        )

    def first_time(self, found: Contact, name: str, value: str | None, *, young_s: float | None) -> str:
        """The main entity meets something new."""
        words, meeting = self.words, self.words.meeting(name, value)
        if not found.ever:
            text = TEXTS["first_time_ever"].format(meeting=meeting)
        elif young_s is not None and young_s < DAY_S:
            text = TEXTS["first_time_young"].format(meeting=meeting, this=words.this(), ago=ago(young_s))
        else:
            text = TEXTS["first_time"].format(meeting=meeting, this=words.this())
        if found.one_of < ONE_OF_MIN:
            return text
        every = number(_about(found.one_of))
        return TEXTS["one_of"].format(contact=text, this=words.this(), events=every)

    def first_contact(self, found: Contact, name: str, value: str | None) -> str:
        """The main entity has met it for a day at most."""
        meeting = self.words.meeting(name, value)
        return TEXTS["first_contact"].format(
            meeting=meeting, ago=ago(found.age_s), events=events(max(found.events, 1.0))
        )

    def frauds(self, name: str, share: float, age_s: float) -> str:
        """Frauds that were confirmed of an entity or a category."""
        return TEXTS["frauds"].format(share=percent(share), this=self.words.this(name), ago=ago(age_s))

    # --- the main entity -----------------------------------------------------------------------------------

    def activity(self, name: str, found: Pace | None, usual_per_s: float) -> str:
        """How busy the main entity is."""
        if found is None or not found.known:
            return self.little_history(name, found, 0 if found is None else round(found.events))
        if found.fast:
            return self.busy(name, found)
        text = TEXTS["busier" if found.per_s > usual_per_s else "calmer"]
        return text.format(this=self.words.this(name), rate=rate(found.per_s))

    def busy(self, name: str, found: Pace) -> str:
        """Far more events than usual; of an entity without a history there is no usual number."""
        if not found.known:
            return self.little_history(name, found, round(found.events))
        return TEXTS["busy"].format(
            events=events(found.hour), window=LAST[3600.0], rate=rate(found.per_s), this=self.words.this(name)
        )

    def heat(self, name: str, *, hours: bool) -> str:
        """Earlier events of an entity were unusual."""
        return TEXTS["hot_hours" if hours else "hot_days"].format(this=self.words.this(name))

    def hour(self, time: str, usual: str, share: float | None) -> str:
        """The time of day; `share` of the main entity's events come around it, if few do."""
        if share is None:
            return TEXTS["hour"].format(time=time, usual=usual)
        return TEXTS["hour_own"].format(time=time, share=percent(share), whose=self.words.whose())

    def place(
        self, field: ValueField, observed: Any, km: float, move: tuple[str, float, float] | None
    ) -> str:
        """A place: km from the usual ones (NaN: none is known), and a fast move: entity, km, s."""
        label = self.words.label(field.name)
        if observed is None:
            return TEXTS["value_missing"].format(label=label)
        told = []
        if km > NEAR_KM:
            told.append(TEXTS["far"].format(distance=distance(km), this=self.words.this()))
        if move is not None and move[0] == self.words.main:
            told.append(self.move(*move))
        elif move is not None:  # a shop does not travel: its last customer was elsewhere
            name, way_km, gap_s = move
            this, gap = self.words.this(name), duration(gap_s)
            told.append(TEXTS["elsewhere"].format(this=this, distance=distance(way_km), duration=gap))
        if not told and not np.isnan(km):
            told.append(TEXTS["place_usual"].format(this=self.words.this()))
        where = "; ".join(told) or TEXTS["place_unknown"].format(this=self.words.this())
        return TEXTS["place"].format(
            label=label, value=self.words.value(field.name, observed, {}), where=where
        )

    def move(self, name: str, km: float, seconds: float) -> str:
        """A fast way since an entity's last event."""
        fast = speed(km, seconds)
        return TEXTS["move_fast" if fast else "move"].format(
            distance=distance(km), duration=duration(seconds), this=self.words.this(name), speed=fast
        )

    # --- facts ---------------------------------------------------------------------------------------------

    def frauds_there(self, name: str, value: str | None, share: float, age_s: float, *, main: bool) -> str:
        """Confirmed frauds of an entity of the event."""
        if main:
            return TEXTS["frauds_own"].format(this=self.words.this(name), ago=ago(age_s))
        meeting = self.words.meeting(name, value)
        return TEXTS["frauds_there"].format(meeting=meeting, ago=ago(age_s), share=percent(share))

    def answered(self, label: str, time_s: float) -> str:
        """The last answer about the main entity."""
        return TEXTS[f"answered_{label}"].format(date=date(time_s), this=self.words.this())

    def shared(self, name: str, value: str | None, others: int, since_s: float) -> str:
        """Other alerted entities that an entity of the event has met."""
        return TEXTS["shared_one" if others == 1 else "shared"].format(
            n=others,
            main=self.words.noun_of_main,
            mains=self.words.plural_of_main,
            meeting=self.words.meeting(name, value),
            days=duration(since_s),
        )

    def near_fraud(self, offset: int) -> str:
        """A confirmed fraud that the event is like."""
        return TEXTS["near_fraud"].format(offset=offset)

    def small_then_large(
        self, small: float, gap_s: float, large: float, usual: tuple[float, float], values: Values
    ) -> str:
        """A small amount before a large one."""
        whose = TEXTS["usually"].format(
            whose=self.words.this(), range=self.words.amounts(*usual, large, values)
        )
        return TEXTS["small_then_large"].format(
            small=self.words.amount(small, values),
            duration=duration(gap_s),
            large=self.words.amount(large, values),
            usual=whose,
        )

    def window(
        self,
        count: int,
        window_s: float,
        total: float | None,
        largest: float | None,
        per_s: float | None,
        usual: tuple[float, float] | None,
        values: Values,
    ) -> str:
        """Events, sum and largest of the last hour or day, and what is usual."""
        words = self.words
        sum_ = ""
        if total is not None and largest is not None:
            shown = words.amount(total, values), words.amount(largest, values)
            sum_ = TEXTS["window_sum"].format(sum=shown[0], largest=shown[1])
        window = LAST[window_s] if window_s in LAST else TEXTS["last"].format(duration=duration(window_s))
        text = TEXTS["window"].format(events=events(count), window=window, sum=sum_)
        if per_s is None:
            return text
        expected = rate(per_s)
        if usual is not None:
            expected = TEXTS["usual_sum"].format(rate=expected, range=words.amounts(*usual, total, values))
        return TEXTS["window_usual"].format(window=text, usual=expected, this=words.this())

    def little_history(self, name: str, found: Pace | None, counted: int) -> str:
        """The main entity has hardly any history: so many events."""
        this = self.words.this(name)
        if found is None:
            return TEXTS["no_history"].format(this=this)
        if found.age_s > YOUNG_S:
            return TEXTS["seldom"].format(this=this, events=events(counted))
        return TEXTS["young"].format(this=this, ago=ago(found.age_s), events=events(counted))

    def long_silence(self, name: str, gap_s: float, per_s: float) -> str:
        """The main entity was not seen for long."""
        return TEXTS["long_silence"].format(
            this=self.words.this(name), duration=duration(gap_s), rate=rate(per_s)
        )

    def since_last(self, name: str, gap_s: float, amount: float | None, values: Values) -> str:
        """The main entity's last event."""
        this, time = self.words.this(name), duration(gap_s)
        if amount is None:
            return TEXTS["since_last"].format(duration=time, this=this)
        shown = self.words.amount(amount, values)
        return TEXTS["since_last_amount"].format(duration=time, this=this, amount=shown)

    def many(self, names: Sequence[str]) -> str:
        """Many things lower the score, each a little; these most."""
        return TEXTS["many"].format(names=", ".join(self.words.label(name) for name in names))

    def nothing(self, which: str) -> str:
        """No single thing is the reason."""
        return TEXTS[which]


def _about(count: float) -> float:
    """A number of events, to two digits."""
    return float(f"{round(count):.2g}")
