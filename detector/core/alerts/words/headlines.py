"""Sentences about a whole alert: its headline, and why it is that severe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from detector.core.alerts.case_rows import Total
from detector.core.alerts.known import OFTEN_SHARE, Met
from detector.core.alerts.words.english import TEXTS
from detector.core.alerts.words.numbers import number, one_in, percent
from detector.core.alerts.words.phrases import Values, listed
from detector.core.alerts.words.sentences import USUAL_SHARE
from detector.core.alerts.words.words import DAY_S, Words

MAIN_SHARE = 0.8  # of the score, from which one thing alone is said to carry it
ALL_MAX = 0.005  # a smaller share is none


class OwnShare(NamedTuple):
    """A category of an event, and its share of the main entity's earlier events."""

    name: str
    value: str
    share: float


class Headlines:
    """Headlines in the words of one schema."""

    def __init__(self, words: Words) -> None:
        self._words = words

    def one(self, name: str, value: str) -> str:
        """`card C17`."""
        return TEXTS["one"].format(noun=self._words.noun(name), value=self._words.labelled(name, value))

    def who(self, main: str | None, focus: tuple[str, str] | None) -> str:
        """Whose alert it is. `focus`: the other entity with which the evidence lies, and its value."""
        name = self._words.main
        if name is None:
            own = TEXTS["nobody"]
        elif main is None:
            own = TEXTS["nobody_of"].format(noun=self._words.noun(name))
        else:
            own = self.one(name, main)
        return (
            own
            if focus is None
            else TEXTS["wave"].format(
                noun=self._words.noun(focus[0]), value=self._words.labelled(*focus), main=own
            )
        )

    def at_risk(
        self,
        who: str,
        amount: float | None,
        earlier: tuple[int, float | None],
        values: Values,
    ) -> str:
        """Whose alert, and what is at risk: of the event, and with the unusual events before it.

        `earlier`: number of events, without this one, and the sum of their sizes.
        """
        if amount is None:
            return who
        shown = self._words.amount(abs(amount), values)
        if earlier[0] and earlier[1] is not None:
            text = TEXTS["unusual_one" if earlier[0] == 1 else "unusual_events"]
            count = text.format(n=number(float(earlier[0])))
            total = self._words.amount(Total.of([abs(amount), earlier[1]]), values)
            return TEXTS["at_risk_earlier"].format(who=who, amount=shown, sum=total, events=count)
        return TEXTS["at_risk"].format(who=who, amount=shown) if amount else who

    def others(self, met: Sequence[Met], entities: Values) -> str | None:
        """Other entities of the event, and whether the main one knows them; None without any."""
        told = self._met(met, entities)
        return listed(told) if told else None

    def rest(self, categories: Sequence[OwnShare], met: Sequence[Met], entities: Values) -> str | None:
        """Categories and entities of the event beside its evidence, the usual ones last; None without any."""
        new = [one for one in met if one.found.new or one.found.age_s < DAY_S]
        known = [one for one in met if one not in new]
        seldom = [one for one in categories if one.share < OFTEN_SHARE]
        told = self._met(new, entities) + [
            TEXTS["rest_share" if place else "rest_first"].format(
                one=self.one(one.name, one.value), share=percent(one.share)
            )
            for place, one in enumerate(seldom)
        ]
        usual = [self.one(one.name, one.value) for one in categories if one not in seldom]
        usual += self._met(known, entities)
        parts = {"rest": listed(told), "rest_usual": listed(usual)}
        said = [TEXTS[text].format(things=things) for text, things in parts.items() if things]
        return (
            TEXTS["rest_both"].format(rest=said[0], usual=said[1]) if len(said) > 1 else "".join(said) or None
        )

    def _met(self, met: Sequence[Met], entities: Values) -> list[str]:
        return [
            TEXTS["met"].format(one=self.one(one.name, str(value)), known=self._known(one))
            for one in met
            if (value := entities.get(one.name)) is not None
        ]

    def _known(self, one: Met) -> str:
        contact, this = one.found, self._words.this()
        if contact.new:
            return TEXTS["met_new" if contact.ever else "met_never"].format(this=this)
        if contact.age_s < DAY_S:
            return TEXTS["met_today"].format(this=this, ago=self._words.ago(contact.age_s))
        shared = one.others > max(contact.events, 1.0)
        most = one.share >= USUAL_SHARE
        known = self._words.duration(contact.age_s)
        text = TEXTS["met_most" if most else "met_known"].format(this=this, known=known)
        return text if shared else TEXTS["met_own"].format(known=text)

    def part(self, code: str, field: str, of: str | None) -> str:
        """What carries a part of the score: `the amount`."""
        label = TEXTS["the"].format(noun=self._words.noun(field))
        return TEXTS[f"part_{code}"].format(label=label, this=self._words.this(of))

    def severity(
        self,
        severity: str,
        score: float,
        *,
        rarity: float,
        fitting: str,
        together: bool,
        parts: Sequence[tuple[str, float]],
    ) -> str:
        """Why an alert is that severe.

        Parameters
        ----------
        score
            -log10 of the share of events that are as unusual.
        rarity
            Share of the last alerts that are as unusual.
        fitting
            The severity that the rarity has by itself.
        together
            No part by itself carries the score.
        parts
            What carries the score, with its share of it, the largest first.
        """
        most = [parts[0]] if parts[0][1] >= MAIN_SHARE and not together else parts
        named = listed([what for what, _ in most])
        said = "fits" if fitting == severity else "moved"
        return TEXTS["severity"].format(
            severity=TEXTS[f"severity_{said}"].format(
                severity=severity, fitting=fitting, rank=self._rank(rarity)
            ),
            n=one_in(score),
            parts=TEXTS["together" if len(most) > 1 else "with_rest"].format(parts=named)
            if together
            else named,
        )

    @staticmethod
    def _rank(rarity: float) -> str:
        """Where it stands among the last alerts."""
        if rarity < ALL_MAX:
            return TEXTS["rank_first"]
        if 1.0 - rarity < ALL_MAX:
            return TEXTS["rank_last"]
        if rarity <= 0.5:
            return TEXTS["rank_above"].format(share=percent(1.0 - rarity))
        return TEXTS["rank_below"].format(share=percent(rarity))

    def signs(self, codes: Sequence[str]) -> str:
        """What it looks like."""
        if not codes:
            return TEXTS["no_signs"]
        if {"large", "large_there"} <= set(codes):  # one sentence for both
            codes = ["large_both" if code == "large" else code for code in codes if code != "large_there"]
        told = [TEXTS[f"sign_{code}"].format(this=self._words.this()) for code in codes]
        return TEXTS["signs"].format(signs=listed(told))

    def as_usual(self, things: Sequence[OwnShare]) -> str | None:
        """What is usual for the main entity; None: nothing."""
        if not things:
            return None
        told = [self.one(one.name, one.value) for one in things]
        return TEXTS["as_usual_for"].format(this=self._words.this(), things=listed(told))

    def random(self, severity: str) -> str:
        """An alert that was chosen at random."""
        return TEXTS["severity_random"].format(severity=severity)
