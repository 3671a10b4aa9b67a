"""Sentences of reasons and facts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from detector.config.tree import Event, ValueField
from detector.core.alerts.contacts import NOTHING_MET, MetBefore
from detector.core.alerts.earlier import Before
from detector.core.alerts.known import EVENTS_MIN, Contact, Pace, is_impossible
from detector.core.alerts.words.english import LAST, TEXTS
from detector.core.alerts.words.numbers import about, date, number, one_in, percent
from detector.core.alerts.words.phrases import Phrases, Values, listed
from detector.core.alerts.words.words import (
    DAY_S,
    Words,
    distance,
    events,
    is_inside,
    period_days,
    rate,
    speed,
)

# An entity meets a new thing in 1 of so many events, from which that is told.
ONE_OF_MIN = 3.0
# And where it happens more often, nothing is told of it.
TOLD_FROM = 1.5
# A value that fewer of all events have is rare.
RARE_SHARE = 0.01
# A contact that comes back sooner is told as that.
AGAIN_S = 600.0
# An entity of few events that was first seen longer ago is not new, but seldom seen.
YOUNG_S = 30 * DAY_S
# A value that fewer of the main entity's events have is seldom for it.
SELDOM_SHARE = 0.1
# A thing that so many of the main entity's events have is its usual one.
USUAL_SHARE = 0.5
# Amounts that are told one by one.
LISTED_MAX = 5
# Events of the last hour from which their number is told beside unusual ones.
HOT_EVENTS_MIN = 2.0


class Usual(NamedTuple):
    """What values of a numeric are usual, and whose habit that is."""

    whose: str  # in words
    low: float
    high: float
    young: bool = False  # it is known for less than a day


class Sentences:
    """Sentences about events of one schema."""

    def __init__(self, schema: Event) -> None:
        self.words = Words(schema)
        self.phrases = Phrases(self.words)
        self._lasting, self._ago = self.words.duration, self.words.ago

    # --- values --------------------------------------------------------------------------------------------

    def usual(self, name: str, of: Sequence[Usual], observed: Any, values: Values) -> str:
        """What is usual: `this card usually 12 to 85, in category 6011 usually 5 to 60`."""
        found = ""
        for one in of:
            shown = self.words.range(name, one.low, one.high, observed, values)
            text = TEXTS["so_far" if one.young else "usually"].format(whose=one.whose, range=shown)
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

    def among(self, count: int, events_: int, *, above: bool, others: bool = False) -> str:
        """How many of the main entity's last events have an amount as large, or else as small.

        `others`: earlier unusual ones are not among these events.
        """
        which = ("as_much" if above else "as_little") if count else ("less" if above else "more")
        shown = number(float(count)), number(float(events_))
        text = TEXTS[f"had_{which}"].format(this=self.words.this(), n=shown[0], events=shown[1])
        return TEXTS["had_others"].format(text=text) if others else text

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

    def contact(
        self,
        found: Contact,
        name: str,
        value: str | None,
        *,
        theirs: Pace | None,
        share: float,
        own_events: float = 0.0,
    ) -> str:
        """An entity or a category that an event meets.

        Parameters
        ----------
        theirs
            How often anybody is seen with it; None: unknown.
        share
            Of all events that have it.
        own_events
            Decayed events of the main entity.
        """
        words = self.words
        label, shown = words.label(name), "" if value is None else words.labelled(name, value)
        if not found.paired:
            if found.new:
                return TEXTS["never"].format(label=label, value=shown)
            if share < RARE_SHARE:
                return TEXTS["rare"].format(label=label, value=shown, events=number(about(1.0 / share)))
            return TEXTS["seen"].format(label=label, value=shown, ago=self._ago(found.gap_s))
        if found.new:
            return self.first_time(found, name, value, theirs=theirs)
        if found.age_s < DAY_S:
            return self.first_contact(found, name, value)
        if is_again(found, own_events):
            return TEXTS["again"].format(
                meeting=words.meeting(name, value), duration=self._lasting(found.gap_s)
            )
        if is_seldom(found, own_events):
            every = number(about(own_events / max(found.events, 1.0)))
            return TEXTS["seldom_there"].format(label=label, value=shown, this=words.this(), events=every)
        return TEXTS["known_there"].format(
            label=label, value=shown, this=words.this(), known=self._lasting(found.age_s)
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

    def first_time(self, found: Contact, name: str, value: str | None, *, theirs: Pace | None) -> str:
        """The main entity meets something new."""
        words, meeting = self.words, self.words.meeting(name, value)
        if not found.ever:
            text = TEXTS["first_time_ever"].format(meeting=meeting)
        elif theirs is not None and theirs.age_s < DAY_S:
            text = TEXTS["first_time_young"].format(
                meeting=meeting,
                this=words.this(),
                ago=self._ago(theirs.age_s),
                events=events(max(theirs.events, 1.0)),
            )
        else:
            text = TEXTS["first_time"].format(meeting=meeting, this=words.this())
        if found.one_of < TOLD_FROM:
            return text
        every = number(about(found.one_of))
        often = TEXTS["one_of_often" if found.one_of < ONE_OF_MIN else "one_of"]
        share = percent(1.0 / max(found.one_of, 1.0))
        return often.format(contact=text, this=words.this(), events=every, share=share)

    def first_times(self, met: Sequence[tuple[str, str | None, bool]], one_of: float) -> str:
        """Several first times at once: name, value, whether anybody was seen there; the rarest first."""
        meetings = [
            self.words.meeting(name, value) + ("" if ever else TEXTS["ever"]) for name, value, ever in met
        ]
        return TEXTS["first_times"].format(
            this=self.words.this(),
            meetings=listed(meetings),
            events=number(about(one_of)),
        )

    def first_contact(self, found: Contact, name: str, value: str | None) -> str:
        """The main entity has met it for a day at most."""
        return self.first_contacts([(name, value, True)], found.age_s, max(found.events, 1.0))

    def first_contacts(self, met: Sequence[tuple[str, str | None, bool]], age_s: float, count: float) -> str:
        """The same of several at once: name, value, whether anybody was seen there before."""
        meetings = [self.words.meeting(name, value) for name, value, _ in met]
        return TEXTS["first_contact"].format(
            meeting=listed(meetings), ago=self._ago(age_s), events=events(count)
        )

    def frauds(self, name: str, share: float, age_s: float) -> str:
        """Frauds that were confirmed of an entity or a category."""
        return TEXTS["frauds"].format(share=percent(share), this=self.words.this(name), ago=self._ago(age_s))

    # --- the main entity -----------------------------------------------------------------------------------

    def activity(self, name: str, found: Pace | None, usual_per_s: float) -> str:
        """How busy the main entity is."""
        if found is None or not found.known:
            return self.little_history(name, found, 0 if found is None else round(found.events))
        if found.fast:
            return TEXTS["busy"].format(
                events=events(found.hour),
                window=LAST[3600.0],
                rate=rate(found.per_s),
                this=self.words.this(name),
            )
        return TEXTS["pace"].format(
            this=self.words.this(name),
            rate=rate(found.per_s),
            mains=self.words.plural_of_main,
            usual=rate(usual_per_s),
        )

    def busy_there(self, name: str, value: str | None, found: Pace) -> str:
        """Far more events than usual of another entity; without a history there is no usual number."""
        if not found.known:
            return self.little_history(name, found, round(found.events))
        noun = self.words.label(name)
        shown = "" if value is None else self.words.labelled(name, value)
        return TEXTS["busy_there"].format(
            noun=noun, value=shown, events=events(found.hour), window=LAST[3600.0], rate=rate(found.per_s)
        )

    def heat(self, highest: float | None, *, hours: bool) -> str:
        """Earlier events of the main entity were a little unusual; `highest`: their highest score."""
        text = TEXTS["hot_hours" if hours else "hot_days"].format(this=self.words.this())
        return text if highest is None else TEXTS["hot_most"].format(text=text, n=one_in(highest))

    def heat_there(self, name: str, value: str | None, found: Pace | None, *, hours: bool) -> str:
        """Other events of another entity, which is so busy, were unusual."""
        text = TEXTS["hot_there_hours" if hours else "hot_there_days"]
        text = text.format(meeting=self.words.meeting(name, value))
        # Seldom, for longer than is known; or so few that it says nothing.
        if found is None or (math.isinf(found.age_s) if not found.known else found.hour < HOT_EVENTS_MIN):
            return text
        if not found.known:
            seen, counted = self._ago(found.age_s), events(found.events)
            return TEXTS["hot_there_young"].format(text=text, ago=seen, events=counted)
        return TEXTS["hot_there_rate"].format(text=text, events=events(found.hour), rate=rate(found.per_s))

    def earlier(
        self, told: Sequence[Before], count: int, total: float | None, since_s: float, values: Values
    ) -> str:
        """Earlier unusual events of the main entity: these of so many, and the sum of all."""
        parts: list[str] = []
        for one in told:
            nothing = math.isnan(one.amount)
            again = one.why == "many" and any(other.why == "many" for other in told[: len(parts)])
            why = "" if again else self.phrases.why(one)
            parts.append(
                TEXTS["earlier_nothing" if nothing else "earlier_one"].format(
                    amount="" if nothing else self.words.amount(one.amount, values),
                    where=self.phrases.beside(one.met),
                    duration=self._lasting(one.gap_s),
                    why=TEXTS["earlier_why"].format(why=why, rare=one_in(one.score)),
                    alerted=TEXTS[one.status],
                )
            )
        shown = listed(parts)
        if count > len(told):
            text = TEXTS["earlier_more" if told else "earlier_none"]
            all_ = "" if total is None else TEXTS["in_all"].format(sum=self.words.amount(total, values))
            shown = text.format(n=number(float(count)), days=self._lasting(since_s), sum=all_, list=shown)
        return TEXTS["earlier"].format(this=self.words.this(), list=shown)

    def hour(self, time: str, usual: str, share: float | None) -> str:
        """The time of day; `share` of the main entity's events come around it, if few do."""
        if share is None:
            return TEXTS["hour"].format(time=time, usual=usual)
        return TEXTS["hour_own"].format(time=time, share=percent(share), whose=self.words.whose())

    def place(
        self, field: ValueField, observed: Any, far_km: float | None, *, known: bool, young: bool = False
    ) -> str:
        """A place: km from the usual ones, None where it is near them or none is known.

        `young`: the main entity has too few events to have usual places.
        """
        label, this = self.words.label(field.name), self.words.this()
        if observed is None:
            return TEXTS["value_missing"].format(label=label)
        if far_km is not None:
            return TEXTS["far_young" if young else "far"].format(distance=distance(far_km), this=this)
        return TEXTS["place_usual" if known else "place_unknown"].format(label=label, this=this)

    def elsewhere(self, name: str, km: float, seconds: float) -> str:
        """Another entity was far away shortly before."""
        return TEXTS["elsewhere"].format(
            this=self.words.this(name), distance=distance(km), duration=self._lasting(seconds)
        )

    def move(self, name: str, km: float, seconds: float, *, home: bool = False) -> str:
        """A fast way since an entity's last event; `home`: to a place that is usual for it."""
        fast = speed(km, seconds)
        text = TEXTS["move_fast" if fast and not is_impossible(km, seconds) else "move_impossible"]
        told = text.format(
            distance=distance(km),
            duration=self._lasting(seconds),
            this=self.words.this(name),
            speed=fast,
        )
        return TEXTS["move_home"].format(move=told) if home else told

    # --- facts ---------------------------------------------------------------------------------------------

    def frauds_there(self, name: str, value: str | None, share: float, age_s: float, *, main: bool) -> str:
        """Confirmed frauds of an entity of the event."""
        if main:
            return TEXTS["frauds_own"].format(this=self.words.this(name), ago=self._ago(age_s))
        meeting = self.words.meeting(name, value)
        return TEXTS["frauds_there"].format(meeting=meeting, ago=self._ago(age_s), share=percent(share))

    def answered(self, label: str, time_s: float) -> str:
        """The last answer about the main entity."""
        return TEXTS[f"answered_{label}"].format(date=date(time_s), this=self.words.this())

    def near_fraud(self) -> str:
        """The event is like a confirmed fraud."""
        return TEXTS["near_fraud"]

    def small_then_large(
        self, small: float, gap_s: float, large: float, usual: tuple[float, float], values: Values
    ) -> str:
        """A small amount before a large one."""
        whose = TEXTS["usually"].format(
            whose=self.words.this(), range=self.words.amounts(*usual, large, values)
        )
        return TEXTS["small_then_large"].format(
            small=self.words.amount(small, values),
            duration=self._lasting(gap_s),
            large=self.words.amount(large, values),
            usual=whose,
        )

    def small(
        self,
        count: int,
        amount: float,
        values: Values,
        *,
        first: bool,
        alerted: bool = False,
    ) -> str:
        """An amount far below the usual ones: several, at a first contact, beside other alerts, or alone."""
        if count > 1:
            text = TEXTS["small_testing" if count >= EVENTS_MIN else "small_several"]
            shown = self.words.amount(amount, values)
            return text.format(events=events(count), amount=shown, window=LAST[3600.0])
        return TEXTS["small_first" if first else "small_alerted" if alerted else "small_alone"]

    def window(
        self,
        count: int,
        window_s: float,
        amounts: Sequence[float],
        per_s: float | None,
        usual_sum: float | None,
        values: Values,
        *,
        many: bool = True,
    ) -> str:
        """Events and amounts of the last hour or day, and what is usual; `usual_sum` is that of a day.

        Few amounts are told one by one, of many their sum and the largest.

        Parameters
        ----------
        amounts
            Of one side, in the order of their events; those that are missing are not among them.
        many
            The number is unusual, else the sum is.
        """
        words = self.words
        window = (
            LAST[window_s] if window_s in LAST else TEXTS["last"].format(duration=self._lasting(window_s))
        )
        if not len(amounts):
            text = TEXTS["window"].format(events=events(count), window=window)
        else:
            told = "window_list" if len(amounts) == count <= LISTED_MAX else "window_sum"
            text = TEXTS[told if many else "window_dear"].format(
                events=events(count),
                window=window,
                sum=words.amount(math.fsum(map(abs, amounts)), values),
                largest=words.amount(max(map(abs, amounts)), values),
                amounts=listed([words.amount(amount, values) for amount in amounts]),
            )
        if per_s is None:
            return text
        usual = rate(per_s)
        if usual_sum is None or not len(amounts):
            return TEXTS["window_usual"].format(window=text, rate=usual, this=words.this())
        shown = words.about(usual_sum * period_days(per_s), values)
        return TEXTS["window_usual_sum"].format(window=text, rate=usual, sum=shown, this=words.this())

    def little_history(
        self,
        name: str,
        found: Pace | None,
        counted: int,
        seen: tuple[float, float] | None = None,
        values: Values | None = None,
    ) -> str:
        """An entity has hardly any history: so many events. `seen`: least and largest of their amounts."""
        this = self.words.this(name)
        if found is None:
            return TEXTS["no_history"].format(this=this)
        count = events(counted)
        if seen is not None and counted:
            low, high = (self.words.amount(end, values or {}) for end in seen)
            shown = low if low == high else TEXTS["range"].format(low=low, high=high)
            count = TEXTS["events_of"].format(events=count, amounts=shown)
        if found.age_s > YOUNG_S:
            return TEXTS["seldom"].format(this=this, events=count)
        return TEXTS["young"].format(this=this, ago=self._ago(found.age_s), events=count)

    def long_silence(self, name: str, gap_s: float, per_s: float) -> str:
        """The main entity was not seen for long."""
        return TEXTS["long_silence"].format(
            this=self.words.this(name), duration=self._lasting(gap_s), rate=rate(per_s)
        )

    def since_last(
        self,
        name: str,
        gap_s: float,
        amount: float | None,
        values: Values,
        met: MetBefore = NOTHING_MET,
        *,
        alerted: bool = False,
    ) -> str:
        """The main entity's last event."""
        this, time = self.words.this(name), self._lasting(gap_s)
        if amount is None:
            since = TEXTS["since_last"].format(duration=time, this=this)
        else:
            shown = self.words.amount(amount, values)
            since = TEXTS["since_last_amount"].format(duration=time, this=this, amount=shown)
        since += self.phrases.beside(met)
        return TEXTS["since_last_alerted"].format(since=since) if alerted else since

    def own_amount(self, name: str, amount: float, usual: tuple[float, float], values: Values) -> str:
        """An amount that is usual for the main entity."""
        return TEXTS["own_amount"].format(
            label=self.words.label(name),
            value=self.words.value(name, amount, values),
            this=self.words.this(),
            range=self.words.range(name, *usual, amount, values),
        )


def is_again(found: Contact, own_events: float) -> bool:
    """Whether the main entity, which has so many events, meets this again at once, and not as usual."""
    return found.gap_s < AGAIN_S and found.events < USUAL_SHARE * own_events


def is_seldom(found: Contact, own_events: float) -> bool:
    """Whether the main entity, which has so many events, is seldom seen with this."""
    return max(found.events, 1.0) < SELDOM_SHARE * own_events
