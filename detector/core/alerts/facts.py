"""Facts about an alerted event that do not depend on the score: what an analyst would look up.

Each has a code, values for programs, and a sentence. They are found from the entity's recent events, from
what the tables knew of the event's keys, and from labels. The codes, in the order in which an alert has them:

    frauds_there     confirmed fraud of another entity of the event, or of the main one
    answered         the last answer about the main entity: fraud or legitimate
    earlier          unusual events of the main entity in the last days
    shared           other alerted entities at the same merchant, device, beneficiary
    near_fraud       a confirmed fraud that is nearer in the embedding than normal events are
    small_then_large a small amount within the hour before a large one
    small            a small amount, and whether anything says that it matters
    speed            a fast way since an entity's last event
    repeated         an entity's earlier amount again, where its amounts seldom come again
    changed          an entity that comes with another one than usual: a payee with another account
    newcomers        many contacts of one kind that are new, in an hour or a day
    first_contact    first time with a merchant, device, country, category; or for a day at most
    window           many events, or a large sum, in the last hour and day
    little_history   the main entity is new, or seldom seen
    long_silence     the main entity was not seen for ten times its usual interval
    since_last       time since the main entity's last event
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.alerts.amounts import is_large, on_side, sizes
from detector.core.alerts.contacts import NOTHING_MET
from detector.core.alerts.earlier import range_so_far
from detector.core.alerts.evidence import Evidence, Fact, Values
from detector.core.alerts.explain import told_earlier
from detector.core.alerts.known import (
    CATEGORY_HISTORY_MIN,
    EVENTS_MIN,
    TIMES_USUAL,
    Contact,
    Pace,
    Ranges,
    changed,
    contact,
    far_km,
    fastest_move,
    informative_category,
    newcomers,
    pace,
    repeat,
)
from detector.core.alerts.recent import ALERTED
from detector.core.alerts.words import Sentences, short
from detector.core.alerts.words.sentences import ONE_OF_MIN
from detector.core.features import DAY_S, KeyKind, Layout, Units, population_shift

FACTS_MAX = 6  # of an alert
CONTACTS_MAX = 4  # of these about contacts
NEWCOMERS_MAX = 2  # of these about many new ones
SHORT_WINDOW_S = 3600.0
WINDOWS_S = (SHORT_WINDOW_S, DAY_S)
WINDOW_MIN_S = 60.0  # a shorter window says nothing
TIMES_LARGER = 20.0  # a large amount is so many times a small one
TIMES_DEAR = 2.0  # a large sum or amount is so many times the usual one
TIMES_SMALLER = 2.0  # a small amount is so many times smaller than the usual ones
SILENT_INTERVALS = 10.0  # usual intervals without an event that are told


class Facts:
    """Finds facts about events of one schema."""

    def __init__(self, layout: Layout, units: Units, sentences: Sentences) -> None:
        self._layout, self._units, self._say = layout, units, sentences
        self._days = layout.resolution_s > SHORT_WINDOW_S  # what came within an hour is not known

    def find(self, of: Evidence) -> tuple[Fact, ...]:
        """All facts of an event, the most telling first; an alert has `FACTS_MAX` of them."""
        own = pace(self._layout, of.event, 0) if self._layout.entities else None
        usual = self.own_range(of)
        contacts = self._contacts(of, own)
        windows = list(self._windows(of, own, usual))
        found: list[Fact] = []
        for facts in (
            self._frauds(of),
            self._answered(of),
            self._earlier(of),
            self._shared(of),
            self._near_frauds(of),
            self._small_then_large(of, usual),
            self._small(of, usual, contacts),
            self._speeds(of),
            self._repeated(of),
            self._changed(of),
            self._newcomers(of),
            contacts,
            windows,
            self._time(of, own),
        ):
            found += facts
        return tuple(found)

    # --- one by one ----------------------------------------------------------------------------------------

    def _frauds(self, of: Evidence) -> Iterator[Fact]:
        layout = self._layout
        for rated in layout.fraud_rate_kinds:
            share = float(of.event.fraud_rates[0, rated.longest])
            if rated.column >= len(layout.entities) or not share > 0.0:
                continue
            age_s = float(np.expm1(of.event.fraud_rates[0, rated.age])) * DAY_S
            name = layout.entities[rated.column]
            value = of.view.entities[name]
            detail = self._say.frauds_there(name, value, share, age_s, main=rated.column == 0)
            values: Values = {"of": name, "value": value, "share": short(share), "age_s": short(age_s)}
            yield Fact(code="frauds_there", values=values, detail=detail)

    def _answered(self, of: Evidence) -> Iterator[Fact]:
        if of.answered is not None:
            label, time_s = of.answered
            values: Values = {"label": label, "time_s": time_s}
            yield Fact(code="answered", values=values, detail=self._say.answered(label, time_s))

    def _earlier(self, of: Evidence) -> Iterator[Fact]:
        detail = told_earlier(self._say, of.earlier, of.view)
        if detail is not None:
            earlier = of.earlier
            values: Values = {"events": earlier.number, "sum": earlier.sum, "since_s": earlier.since_s}
            yield Fact(code="earlier", values=values, detail=detail)

    def _shared(self, of: Evidence) -> Iterator[Fact]:
        for one in of.shared:
            value = of.view.entities[one.name]
            values: Values = {
                "of": one.name,
                "value": value,
                "others": one.others,
                "since_s": one.since_s,
                "latest_s": short(one.latest_s),
                "usual": one.usual,
            }
            detail = self._say.phrases.shared(**one._asdict(), value=value, values=of.view.values)
            yield Fact(code="shared", values=values, detail=detail)

    def _near_frauds(self, of: Evidence) -> Iterator[Fact]:
        for near in of.near_frauds:
            values: Values = {"offset": near.offset, "distance": short(near.distance)}
            yield Fact(code="near_fraud", values=values, detail=self._say.near_fraud())

    def _small_then_large(self, of: Evidence, usual: tuple[float, float] | None) -> Iterator[Fact]:
        if usual is None or not is_large(of.amount, usual, TIMES_DEAR) or self._days:
            return
        history, small = of.history, _small_before(of, WINDOWS_S[0], abs(of.amount) / TIMES_LARGER)
        if not small.any():
            return
        latest = int(np.flatnonzero(small)[0])
        gap_s = max(0.0, float(of.event.times[0]) - float(history.times[latest]))
        amount = float(history.amounts[latest])
        yield Fact(
            code="small_then_large",
            values={"small": amount, "large": of.amount, "gap_s": short(gap_s)},
            detail=self._say.small_then_large(amount, gap_s, of.amount, usual, of.view.values),
        )

    def _small(
        self, of: Evidence, usual: tuple[float, float] | None, contacts: Sequence[Fact]
    ) -> Iterator[Fact]:
        """A small amount: of little meaning, unless there are several, or a first contact."""
        size = abs(of.amount)
        own = math.inf if usual is None else sizes(usual, of.amount)[0]
        ranges = [sizes(ends, of.amount) for ends in (usual, self._usual_there(of)) if ends is not None]
        low = max((ends[0] for ends in ranges), default=0.0)
        if not 0.0 < size < min(low / TIMES_SMALLER, own):  # small in its category alone: usual here
            return
        as_small = min(max(TIMES_SMALLER * size, low / TIMES_SMALLER), own)
        # Stolen cards are tried out quickly.
        small = _small_before(of, SHORT_WINDOW_S, as_small) & (not self._days)
        count, largest = 1 + int(small.sum()), float(np.abs(of.history.amounts[small]).max(initial=size))
        first = bool(contacts) and size <= low / TIMES_SMALLER**2
        alerted = any(not one.usual for one in of.shared)
        values: Values = {
            "amount": of.amount,
            "events": count,
            "largest": largest,
            "window_s": SHORT_WINDOW_S,
            "first_contact": bool(contacts),
            "alone": count == 1 and not first and not alerted,
        }
        detail = self._say.small(count, largest, of.view.values, first=first, alerted=alerted)
        yield Fact(code="small", values=values, detail=detail)

    def _contacts(self, of: Evidence, own: Pace | None) -> list[Fact]:
        """New contacts, those of the rarest kind first."""
        if own is None or not own.known:
            return []
        found: list[tuple[float, Fact]] = []
        names = [*self._layout.entities, *(place.name for place in self._layout.categories)]
        for column in range(1, len(names)):
            about = contact(self._layout, of.event, column)
            if about is None or not about.paired or about.one_of < ONE_OF_MIN:
                continue
            recent = about.new or about.age_s < min(DAY_S, own.age_s / 2.0)
            if recent and (fact := self._contact(of, about, names[column])) is not None:
                found.append((about.one_of, fact))
        return [fact for _, fact in sorted(found, key=lambda one: -one[0])[:CONTACTS_MAX]]

    def _contact(self, of: Evidence, about: Contact, name: str) -> Fact | None:
        layout = self._layout
        if about.column < len(layout.entities):
            value = of.view.entities[name]
            theirs = pace(layout, of.event, about.column)
        else:
            field = layout.categories[about.column - len(layout.entities)].field
            if not field.echo:
                return None
            value, theirs = of.view.values.get(field.name), None
        if about.new:
            detail = self._say.first_time(about, name, value, theirs=theirs)
        else:
            detail = self._say.first_contact(about, name, value)
        values: Values = {
            "of": name,
            "value": value,
            "age_s": None if about.new else short(about.age_s),
            "seen_by_others": about.ever if about.new else None,
            "one_of": short(about.one_of),
            "events": None if about.new else round(max(about.events, 1.0)),
        }
        return Fact(code="first_contact", values=values, detail=detail)

    def _windows(self, of: Evidence, own: Pace | None, usual: tuple[float, float] | None) -> Iterator[Fact]:
        time, history, told = float(of.event.times[0]), of.history, 0
        for window_s in WINDOWS_S[1:] if self._days else WINDOWS_S:
            reach_s = min(window_s, time - history.since)
            inside = history.times > time - reach_s
            count = 1 + int(inside.sum())
            if reach_s < WINDOW_MIN_S or count <= max(told, 1):
                continue
            amounts = np.append(history.amounts[inside][::-1], of.amount)
            amounts = amounts[on_side(amounts, of.amount)]
            found = np.abs(amounts)
            total, largest = (float(found.sum()), float(found.max())) if len(found) else (None, None)
            expected = own.per_s * reach_s if own is not None and own.known else None
            many = count >= max(EVENTS_MIN, TIMES_USUAL * (expected or 0.0))
            per_s = None if expected is None or own is None else own.per_s
            a_day = None if per_s is None else self._usual_sum(of, per_s * DAY_S)
            times = max(1.0, expected or 0.0)
            dear = (
                usual is not None
                and total is not None
                and is_large(math.copysign(total - abs(of.amount), of.amount), usual, times)
                and (a_day is None or total > TIMES_DEAR * a_day * reach_s / DAY_S)
            )
            if not many and not dear:
                continue
            told = 2 * count
            values: Values = {
                "window_s": short(reach_s),
                "events": count,
                "sum": total,
                "largest": largest,
                "usual_events": None if expected is None else short(expected),
                "usual_sum": None if a_day is None else short(a_day * reach_s / DAY_S),
            }
            detail = self._say.window(
                count, reach_s, amounts.tolist(), per_s, a_day, of.view.values, many=many or not dear
            )
            yield Fact(code="window", values=values, detail=detail)

    def _usual_sum(self, of: Evidence, count: float) -> float | None:
        """Sum of so many usual amounts of the main entity, on the event's side, by its mean and spreads."""
        layout, numeric, event = self._layout, self._layout.exposure, of.event
        kind = layout.kind_of(0)
        if numeric is None or numeric >= kind.numerics:
            return None
        ends = self._ranges(of)(kind)
        # Between the middle and the ends, weighted as Pearson and Tukey (1965) have the mean: .3, .4, .3.
        middle = event.numerics.copy()
        middle[0] = event.context[0, kind.means(-1)]
        middle[0] += population_shift(event.context, layout)[0]
        if ends is None:
            return None
        low, high = ends[:, numeric].tolist()
        typical = float(self._units.restore(middle)[0, numeric])
        (least, most), middling = sizes((low, high), of.amount), sizes((typical, typical), of.amount)[1]
        found = count * (0.3 * least + 0.4 * middling + 0.3 * most)
        return found if found > 0.0 else None  # nothing is known of this side

    def _speeds(self, of: Evidence) -> Iterator[Fact]:
        for point, place in enumerate(self._layout.points):
            move = fastest_move(self._layout, of.event, point, 0)
            if move is None or not place.field.echo:
                continue
            _, km, gap_s = move
            name = self._layout.entities[0]
            far, known = far_km(self._layout, of.event, point)
            home = known and far is None
            values: Values = {
                "of": name,
                "place": place.name,
                "km": short(km),
                "gap_s": short(gap_s),
                "usual_place": home,
            }
            yield Fact(code="speed", values=values, detail=self._say.move(name, km, gap_s, home=home))

    def _repeated(self, of: Evidence) -> Iterator[Fact]:
        found = None if math.isnan(of.amount) else repeat(self._layout, of.event)
        if found is not None:
            name = self._layout.entities[found.entity]
            value, age_s, one_of = of.view.entities[name], short(found.gap_s), short(found.one_of)
            detail = self._say.phrases.repeated(found, name, of.view, of.history.again)
            values: Values = {"of": name, "value": value, "age_s": age_s, "one_of": one_of}
            yield Fact(code="repeated", values=values, detail=detail)

    def _changed(self, of: Evidence) -> Iterator[Fact]:
        found = changed(self._layout, of.event)
        if found is not None:
            name, other = (self._layout.entities[column] for column in (found.entity, found.other))
            value = of.view.entities[name]
            values: Values = {"of": name, "value": value, "other": other, "one_of": short(found.one_of)}
            detail = self._say.phrases.changed(name, value, other, found.one_of)
            yield Fact(code="changed", values=values, detail=detail)

    def _newcomers(self, of: Evidence) -> Iterator[Fact]:
        for found in newcomers(self._layout, of.event)[:NEWCOMERS_MAX]:
            name, met = (self._layout.entities[column] for column in (found.entity, found.met))
            value = of.view.entities[name]
            values: Values = {
                "of": name,
                "value": value,
                "met": met,
                "events": round(found.events),
                "window_s": found.window_s,
                "usual_events": None if found.usual is None else short(found.usual),
            }
            detail = self._say.phrases.newcomers(found, name, value, met)
            yield Fact(code="newcomers", values=values, detail=detail)

    def _time(self, of: Evidence, own: Pace | None) -> Iterator[Fact]:
        """How new the main entity is, and when it was last seen."""
        layout = self._layout
        if not layout.entities or of.event.entities[0, 0] == 0:
            return
        main = layout.entities[0]
        if own is None or not own.known:
            age_s = None if own is None or math.isinf(own.age_s) else short(own.age_s)
            counted = 0 if own is None else round(own.events)
            if math.isinf(of.history.since):  # the ring has all of them
                counted = len(of.history)
            seen = of.history.amounts[:counted]
            seen = seen[~np.isnan(seen)]
            ends = (float(seen.min()), float(seen.max())) if len(seen) else None
            detail = self._say.little_history(main, own, counted, ends, of.view.values)
            values: Values = {"age_s": age_s, "events": counted}
            yield Fact(code="little_history", values=values, detail=detail)
        gap_s = float(of.event.context[0, layout.kind_of(0).gap])
        if own is None or math.isnan(gap_s):
            return
        if own.known and gap_s >= DAY_S and gap_s * own.per_s >= SILENT_INTERVALS:
            detail = self._say.long_silence(main, gap_s, own.per_s)
            yield Fact(code="long_silence", values={"gap_s": short(gap_s)}, detail=detail)
            return
        last = float(of.history.amounts[0]) if len(of.history) else None
        last = None if last is None or math.isnan(last) else last
        alerted = len(of.history) > 0 and of.history.fates[0] == ALERTED
        met = of.history.beside[0] if of.history.beside else NOTHING_MET
        detail = self._say.since_last(main, gap_s, last, of.view.values, met, alerted=alerted)
        yield Fact(code="since_last", values={"gap_s": short(gap_s), "amount": last}, detail=detail)

    def _ranges(self, of: Evidence) -> Ranges:
        return of.ranges or Ranges(self._layout, self._units, of.event)

    # --- what is usual -------------------------------------------------------------------------------------

    def own_range(self, of: Evidence) -> tuple[float, float] | None:
        """Range of the main entity's amounts."""
        layout = self._layout
        if not layout.entities or layout.exposure is None:
            return None
        if of.earlier.normal is not None:
            return of.earlier.normal
        so_far = range_so_far(of.history, pace(layout, of.event, 0), of.amount)
        return so_far or self._range(of, layout.kind_of(0))

    def range_of_all(self, of: Evidence) -> tuple[float, float] | None:
        """Range of everybody's amounts."""
        return self._range(of, self._layout.kind_of(None))

    def range_there(self, of: Evidence) -> tuple[float, float] | None:
        """Range of amounts in the category of the event that tells most of them; None: none does."""
        layout = self._layout
        category = None
        if layout.exposure is not None:
            category = informative_category(layout, of.event, layout.exposure)
        if category is None or not layout.categories[category].field.echo:
            return None
        return self._range(of, layout.kind_of(len(layout.entities) + category))

    def _range(self, of: Evidence, kind: KeyKind) -> tuple[float, float] | None:
        if self._layout.exposure is None:
            return None
        found = self._ranges(of)(kind)
        if found is None or np.isnan(found[:, self._layout.exposure]).any():
            return None
        low, high = found[:, self._layout.exposure].tolist()
        return low, high

    def _usual_there(self, of: Evidence) -> tuple[float, float] | None:
        """Range of amounts in the category of the event where they are largest."""
        layout, numeric, found = self._layout, self._layout.exposure, []
        if numeric is None:
            return None
        for category, place in enumerate(layout.categories):
            kind = layout.kind_of(len(layout.entities) + category)
            known = of.event.categories[0, category] != 0 and place.field.echo and numeric < kind.numerics
            if known and of.event.context[0, kind.count(-1)] >= CATEGORY_HISTORY_MIN:
                ends = self._ranges(of)(kind)
                if ends is not None and not np.isnan(ends[:, numeric]).any():
                    found.append((float(ends[0, numeric]), float(ends[1, numeric])))
        return max(found, default=None)

    def usual(self, of: Evidence) -> list[dict[str, Any]]:
        """Ranges of what is usual of the main entity, of its category, and of both together."""
        layout, event, view = self._layout, of.event, of.view
        kinds: list[tuple[str, str | None, KeyKind]] = []
        if layout.entities:
            kinds.append((layout.entities[0], view.main, layout.kind_of(0)))
        numeric = layout.exposure or 0
        category = informative_category(layout, event, numeric) if layout.numerics else None
        if category is not None:
            field, column = layout.categories[category].field, len(layout.entities) + category
            if field.echo:
                value = view.values.get(field.name)
                kinds.append((field.name, value, layout.kind_of(column)))
                if layout.entities:
                    kinds.append((f"{layout.entities[0]}+{field.name}", value, layout.kind_of(0, column)))
        found = []
        for name, value, kind in kinds:
            ends = self._ranges(of)(kind)
            if ends is not None:
                count = round(float(event.context[0, kind.count(-1)]))
                found.append({"of": name, "value": value, "events": count, "ranges": self._named(ends)})
        return found

    def _named(self, ends: NDArray[np.float64]) -> dict[str, list[float]]:
        return {
            place.name: [short(low), short(high)]
            for place, (low, high) in zip(self._layout.numerics, ends.T.tolist(), strict=True)
            if place.field.echo and not math.isnan(low)
        }


def _small_before(of: Evidence, window_s: float, size_max: float) -> NDArray[np.bool_]:
    """Which events of the history, (m,), have a size of at most this, on the event's side, in a window."""
    amounts, recent = of.history.amounts, of.history.times > float(of.event.times[0]) - window_s
    small: NDArray[np.bool_] = recent & on_side(amounts, of.amount) & (amounts != 0.0)
    return small & (np.abs(amounts) <= size_max)
