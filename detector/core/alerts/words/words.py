"""Nouns, values, ranges and meetings of one schema, in words."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from detector.config.tree import Event, ValueField
from detector.core.alerts.words.english import (
    MEETING,
    NO_NOUNS,
    NO_NOUNS_FIRST,
    NOUNS,
    PLURALS,
    TEXTS,
    WITH,
)
from detector.core.alerts.words.numbers import duration, money, number, printed, rounded
from detector.core.events import resolution_s

_WORDS = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+|[^\W\d_]+\d*")
_DIGITS = "0123456789"
_CODE = re.compile(r"[A-Z]{3}")
_MEETING = {noun: text for text, nouns in MEETING.items() for noun in nouns}
DAY_S = 86_400.0
CATEGORIES_TOLD = 2
WHOLE_FROM = 10.0  # upper end of a range of money from which it has no cents
NEAR_ZERO = 0.02  # a range that is as near to 0, beside a value so many times as far from it, is told as 0
NEAR_ZERO_TIMES = 100.0


class Words:
    """Words of one schema.

    Parameters
    ----------
    schema
        Gives labels (`display`), units, and labels of values (`labels`).
    """

    def __init__(self, schema: Event) -> None:
        self._fields = {field.name: field for field in schema.fields}
        self._labels = {
            field.name: dict(one.split("=", 1) for one in field.labels) for field in schema.fields
        }
        self._entities = {entity.name: entity for entity in schema.entities}
        self._exposure = schema.exposure
        self._resolution_s = resolution_s(schema.time)
        self._main = schema.entities[0].name if schema.entities else None
        categories = [one.name for one in schema.fields if one.type == "categorical" and one.use == "encode"]
        # What an earlier event is told with: other entities, else the first categories.
        self.things = [one.name for one in schema.entities[1:]] or categories[:CATEGORIES_TOLD]
        self._nouns = {name: self._noun(name) for name in (*self._fields, *self._entities)}

    # --- nouns ---------------------------------------------------------------------------------------------

    def noun(self, name: str) -> str:
        """Noun of an entity or a field: its `display`, else the words of its name that make one."""
        return self._nouns[name] if name in self._nouns else self._noun(name)

    def _noun(self, name: str) -> str:
        item = self._entities.get(name) or self._fields.get(name)
        if item is not None and item.display:
            display: str = item.display
            return display if name in self._entities else _lower(display)
        words = [word if _is_code(word) else word.lower() for word in _WORDS.findall(name)]
        while len(words) > 1 and words[-1].lower() in NO_NOUNS:
            words.pop()
        if len(words) > 1 and words[0].lower() in NO_NOUNS_FIRST:
            del words[0]
        return " ".join(NOUNS.get(word.lower(), word) for word in words) or name

    def label(self, name: str) -> str:
        """Label that begins a sentence."""
        field = self._fields.get(name)
        text = field.display if field is not None and field.display else self.noun(name)
        return text[:1].upper() + text[1:]

    def this(self, name: str | None = None) -> str:
        """`this card`; without a name the main entity."""
        name = self._main if name is None else name
        return self.others() if name is None else TEXTS["this"].format(noun=self.noun(name))

    def others(self) -> str:
        """`cards`: what is usual of all of them."""
        return TEXTS["all_events"] if self._main is None else self.plural_of_main

    def whose(self, name: str | None = None) -> str:
        """`this card's`."""
        name = self._main if name is None else name
        return TEXTS["whose"].format(noun=self.noun(name or ""))

    # --- values --------------------------------------------------------------------------------------------

    def field(self, name: str) -> ValueField:
        """A field of the schema."""
        return self._fields[name]

    def currency(self, field: ValueField, values: Mapping[str, Any]) -> str | None:
        """Currency of an amount: of another field of the event, or a unit that is one."""
        if field.currency is not None:
            found = values.get(field.currency)
            return None if found is None else printed(found)
        unit = field.unit
        if unit and (_CODE.fullmatch(unit) or any(unicodedata.category(sign) == "Sc" for sign in unit)):
            return unit
        return None

    def is_money(self, field: ValueField, values: Mapping[str, Any]) -> bool:
        """Whether a field's values are amounts of money."""
        return self.currency(field, values) is not None or (field.name == self._exposure and not field.unit)

    def value(self, name: str, value: Any, values: Mapping[str, Any]) -> str:
        """A value of a field, with its unit; `values` are all of the event."""
        field = self._fields[name]
        if value is None:
            return TEXTS["missing"]
        if isinstance(value, int | float) and not isinstance(value, bool):
            if self.is_money(field, values):
                return money(value, self.currency(field, values))
            text = number(value)
        else:
            text = self.labelled(name, str(value))
        return f"{text} {field.unit}" if field.unit else text

    def labelled(self, name: str, value: str) -> str:
        """A value of a field or entity, with its label if it has one: 6011, cash."""
        label = self._labels.get(name, {}).get(value)
        return printed(value) if label is None else TEXTS["named"].format(value=printed(value), label=label)

    def amount(self, value: float, values: Mapping[str, Any]) -> str:
        """An amount of the exposure."""
        if self._exposure is None or self._exposure not in self._fields:
            return number(value)
        return self.value(self._exposure, value, values)

    def exposed(self, values: Mapping[str, Any]) -> str:
        """The exposure of an event, which has one."""
        assert self._exposure is not None
        return self.value(self._exposure, values[self._exposure], values)

    def about(self, value: float, values: Mapping[str, Any]) -> str:
        """An amount of the exposure to two digits."""
        about, field = rounded(value), self._fields.get(self._exposure or "")
        if field is None or not self.is_money(field, values):
            return self.amount(about, values)
        return money(about, self.currency(field, values), whole=abs(about) >= WHOLE_FROM)

    def amounts(self, low: float, high: float, observed: Any, values: Mapping[str, Any]) -> str:
        """A range of amounts of the exposure."""
        assert self._exposure is not None
        return self.range(self._exposure, low, high, observed, values)

    def range(self, name: str, low: float, high: float, observed: Any, values: Mapping[str, Any]) -> str:
        """A range of a field's values, without unit and currency, which the value beside it has."""
        low, high = rounded(low), rounded(high)
        is_money = self.is_money(self._fields[name], values)
        far, size = max(-low, high), abs(observed) if isinstance(observed, float | int) else math.nan
        if far < min(NEAR_ZERO, size / NEAR_ZERO_TIMES):
            return TEXTS["near_zero"]
        # A value of 0 or 1 may be a share: beside it a range has decimals until its end cannot be one.
        whole_numbers = float(size).is_integer() and far >= (1.0 if size >= 2.0 else 2.0)
        if far >= WHOLE_FROM if is_money else whole_numbers:
            low, high = float(round(low)), float(round(high))
        if is_money:
            whole = low.is_integer() and high.is_integer()
            texts = [money(end, None, whole=whole) for end in (low, high)]
        else:
            texts = [number(end) for end in (low, high)]
        form = "up_to" if low == 0.0 < high else "range"
        return texts[0] if low == high else TEXTS[form].format(low=texts[0], high=texts[1])

    def missing(self, name: str) -> str:
        """An entity or a category that an event does not have."""
        return TEXTS["entity_missing"].format(noun=self.noun(name))

    # --- times ---------------------------------------------------------------------------------------------

    def duration(self, seconds: float) -> str:
        """`2 minutes`. Where times are days, all shorter ones are `less than 24 hours`."""
        if seconds < self._resolution_s:
            return TEXTS["less_than"].format(duration=duration(self._resolution_s))
        return duration(seconds)

    def ago(self, seconds: float) -> str:
        """`2 minutes ago`."""
        return TEXTS["ago"].format(duration=self.duration(seconds))

    # --- meetings and rates --------------------------------------------------------------------------------

    def meeting(self, name: str, value: str | None) -> str:
        """`at merchant M1`, `in category 6011, cash`."""
        noun = self.noun(name)
        last = noun.rpartition(" ")[2]
        text = _MEETING.get(noun) or _MEETING.get(last) or WITH
        shown = "" if value is None else self.labelled(name, value)
        if shown.lower().startswith(f"{noun.lower()} "):  # branch 24
            shown = shown[len(noun) + 1 :]
        return text.format(noun=noun, value=shown).strip()

    @property
    def main(self) -> str | None:
        """Name of the main entity; None without one."""
        return self._main

    @property
    def noun_of_main(self) -> str:
        """`card`."""
        return self.noun(self._main or "")

    @property
    def plural_of_main(self) -> str:
        """`cards`."""
        return self.plural(self._main or "")

    def plural(self, name: str) -> str:
        """`merchants`."""
        noun = self.noun(name)
        ending, plural = next(row for row in PLURALS if noun.endswith(row[0]))
        return noun.removesuffix(ending) + plural


def _is_code(word: str) -> bool:
    """Whether a word of a name is a short form in capitals: V12, CVV."""
    return word.isupper() and len(word.rstrip(_DIGITS)) <= 3


def events(count: float) -> str:
    """`3 events`."""
    whole = round(count)
    return TEXTS["event"] if whole == 1 else TEXTS["events"].format(n=number(float(whole)))


def rate(per_s: float) -> str:
    """Events a day, a week or a year, whichever is 1 at least."""
    name, days = _period(per_s)
    return TEXTS[name].format(events=events(rounded(max(per_s * days * DAY_S, 1.0))))


def period_days(per_s: float) -> float:
    """Days of the period that `rate` says."""
    return _period(per_s)[1]


def _period(per_s: float) -> tuple[str, float]:
    periods = (("a_day", 1.0), ("a_week", 7.0), ("a_year", 365.25))
    return next((one for one in periods if per_s * one[1] * DAY_S >= 0.95), periods[-1])


def distance(km: float) -> str:
    """A way over the earth."""
    return TEXTS["km"].format(n=number(round(km) if km >= 10.0 else round(km, 1)))


def speed(km: float, seconds: float) -> str:
    """A speed; empty for times that are too short for one."""
    return TEXTS["km_h"].format(n=number(float(round(km / seconds * 3600.0)))) if seconds >= 60.0 else ""


def is_inside(low: float, high: float, value: Any) -> bool:
    """Whether a value is in a range."""
    return isinstance(value, float | int) and not math.isnan(low) and low <= value <= high


def _lower(text: str) -> str:
    """A label inside of a sentence: `Merchant category` begins small, `MCC` does not."""
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
