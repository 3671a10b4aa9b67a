"""Parts of sentences: what is usual by itself, where no single thing is the reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from detector.config.tree import ValueField
from detector.core.alerts.contacts import MetBefore
from detector.core.alerts.earlier import Before
from detector.core.alerts.known import Newcomers, Repeat
from detector.core.alerts.words.english import LAST, TEXTS
from detector.core.alerts.words.numbers import number, one_in, rounded
from detector.core.alerts.words.words import Words, rate
from detector.core.codes import RESPECTS
from detector.core.events import View

TOLD_FALL_MIN = 0.2  # of a score: without that an event would be 1.6 times as usual

Values = Mapping[str, Any]
"""All values of an event, by field."""


class Phrases:
    """Phrases in the words of one schema."""

    def __init__(self, words: Words) -> None:
        self._words = words

    def many(self, names: Sequence[str], score: float, left: float) -> str:
        """Many things lower the score, each a little; these most. `left`: the score without them."""
        text = TEXTS["many"].format(names=", ".join(self._words.label(name) for name in names))
        return self._without(text, score, left)

    def joint(self, parts: Sequence[str], score: float, left: float) -> str:
        """Things that are unusual together, or one with the rest of the event; `left` as in `many`."""
        which = "joint_one" if len(parts) == 1 else "joint_two" if len(parts) == 2 else "joint"
        return self._without(TEXTS[which].format(parts=listed(parts)), score, left)

    @staticmethod
    def _without(text: str, score: float, left: float) -> str:
        """A sentence about what is usual by itself, with what it makes of the score."""
        if score - left < TOLD_FALL_MIN:
            return text
        return TEXTS["without"].format(text=text, left=one_in(left), n=one_in(score))

    def at_hour(self, time: str) -> str:
        """A time of day."""
        return TEXTS["at_hour"].format(time=time)

    def after_heat(self, name: str) -> str:
        """Soon after unusual events of an entity."""
        return TEXTS["after_heat"].format(this=self._words.this(name))

    def with_pace(self, per_s: float | None) -> str:
        """How many events the main entity usually has; None: unknown."""
        this = self._words.this()
        return TEXTS["so_young"] if per_s is None else TEXTS["with_rate"].format(this=this, rate=rate(per_s))

    def met(self, name: str, value: str | None) -> str:
        """An entity that the event has or lacks."""
        return self._words.missing(name) if value is None else self._words.meeting(name, value)

    def has(self, field: ValueField, values: Values, *, place: bool) -> str:
        """A field of the event."""
        if place:
            return TEXTS["at_this_place"]
        label = self._words.label(field.name)
        if not field.echo:
            return label
        return TEXTS["value"].format(
            label=label, value=self._words.value(field.name, values[field.name], values)
        )

    def repeated(self, found: Repeat, name: str, view: View, met: MetBefore) -> str:
        """The event's amount, which an entity had before; `met`: what the main one's event then met."""
        shown = self._words.exposed(view.values)
        this, meeting = self._words.this(name), self._words.meeting(name, view.entities[name])
        text = TEXTS["repeated_there" if found.entity else "repeated"]
        ago = self._words.ago(found.gap_s) + ("" if found.entity else self.beside(met, whole=True))
        text = text.format(amount=shown, this=this, meeting=meeting, ago=ago)
        return TEXTS["repeated_seldom"].format(text=text, events=number(rounded(max(found.one_of, 1.0))))

    def changed(self, name: str, value: str | None, other: str, one_of: float) -> str:
        """An entity comes with another one than usual."""
        return TEXTS["changed"].format(
            label=self._words.label(name),
            value="" if value is None else self._words.labelled(name, value),
            noun=self._words.noun(other),
            events=number(rounded(max(one_of, 1.0))),
        )

    def newcomers(self, found: Newcomers, name: str, value: str | None, met: str) -> str:
        """Entities that one entity has met for the first time just now."""
        words = self._words
        shown = "" if value is None else words.labelled(name, value)
        text = TEXTS["newcomers_there" if found.entity else "newcomers"].format(
            n=number(round(found.events)),
            things=words.plural(met),
            this=words.this(name),
            noun=words.noun(name),
            value=shown,
            window=LAST[found.window_s],
        )
        if not found.usual:
            return text
        return TEXTS["newcomers_usual"].format(
            text=text, duration=words.duration(found.window_s / found.usual)
        )

    def beside(self, met: MetBefore, *, whole: bool = False) -> str:
        """What an earlier event met: `, same device, new payee`; empty where nothing is known.

        `whole`: also categories that differ.
        """
        parts = {
            "same": [name for name in met.same if name not in met.usual],
            "new": [name for name in met.other if name in met.new],
            "other": [name for name in met.other if name not in met.new],
        }
        found = ""
        for which, names in parts.items():
            all_ = whole and which != "same"
            nouns = [self._words.noun(name) for name in names if all_ or name in self._words.things]
            found += TEXTS[f"beside_{which}"].format(nouns=listed(nouns)) if nouns else ""
        return found

    def shared(
        self,
        name: str,
        value: str | None,
        others: int,
        *,
        since_s: float,
        latest_s: float,
        amounts: Sequence[float],
        values: Values,
        usual: bool,
    ) -> str:
        """Other alerted entities that an entity of the event has met.

        `amounts` are those of their latest events there; `usual`: chance explains so many of them.
        """
        words, known = self._words, [amount for amount in amounts if not math.isnan(amount)]
        text = TEXTS["shared_one" if others == 1 else "shared"].format(
            n=others,
            main=words.noun_of_main,
            mains=words.plural_of_main,
            meeting=words.meeting(name, value),
            days=words.duration(since_s),
            ago=words.ago(latest_s),
        )
        if known:
            shown = listed([words.amount(amount, values) for amount in known])
            which = "shared_latest" if others > len(known) > 1 else "shared_for"
            text = TEXTS[which].format(shared=text, amounts=shown)
        return TEXTS["shared_usual"].format(shared=text) if usual else text

    @staticmethod
    def why(one: Before) -> str:
        """Why an earlier event was unusual; empty: not known."""
        if one.why in RESPECTS and not one.events:
            return TEXTS["earlier_respect"].format(respect=respect(one.why)) if one.why else ""
        return TEXTS[f"earlier_{one.why}"].format(n=one.events)

    def nothing(self, which: str) -> str:
        """No single thing is the reason."""
        return TEXTS[which]


def respect(code: str) -> str:
    """In which respect an event was unusual, by its code in `RESPECTS`."""
    return TEXTS[f"respect_{code}"]


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(parts) < 2:
        return "".join(parts)
    first = parts[0]
    for part in parts[1:-1]:
        first = TEXTS["and"].format(first=first, second=part)
    return TEXTS["last_and"].format(first=first, second=parts[-1])
