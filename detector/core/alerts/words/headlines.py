"""Sentences about a whole alert: its headline, and why it is that severe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detector.core.alerts.words.english import TEXTS
from detector.core.alerts.words.numbers import number, percent, rounded
from detector.core.alerts.words.sentences import listed
from detector.core.alerts.words.words import Words, events

Values = Mapping[str, Any]
LARGER = 1.25  # a sum with earlier events is so many times larger
MAIN_SHARE = 0.8  # of the score, from which one thing alone is said to carry it
RARE_MAX = 1e9  # events of which one is as unusual, at most told


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
        own = TEXTS["nobody"] if main is None or name is None else self.one(name, main)
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
        case: tuple[int, float | None],
        earlier: tuple[int, float | None],
        values: Values,
    ) -> str:
        """Whose alert, and what is at risk: of the event, of its case, or with unusual events before it.

        `case` and `earlier` are numbers of events with the sum of their amounts; earlier ones without this.
        """
        if amount is None:
            return who
        shown, case_sum = self._words.amount(amount, values), case[1] or 0.0
        before = amount + (earlier[1] or 0.0)
        if earlier[0] and before > LARGER * max(case_sum, amount):
            text = TEXTS["unusual_one" if earlier[0] == 1 else "unusual_events"]
            count, total = text.format(n=number(float(earlier[0]))), self._words.amount(before, values)
            return TEXTS["at_risk_earlier"].format(who=who, amount=shown, sum=total, events=count)
        if case[0] > 1 and case[1] is not None:
            total = self._words.amount(case_sum, values)
            return TEXTS["at_risk_case"].format(who=who, amount=shown, sum=total, events=events(case[0]))
        return TEXTS["at_risk"].format(who=who, amount=shown)

    def part(self, code: str, field: str, of: str | None) -> str:
        """What carries a part of the score: `the amount`."""
        label = TEXTS["the"].format(noun=self._words.noun(field))
        return TEXTS[f"part_{code}"].format(label=label, this=self._words.this(of))

    def severity(
        self, severity: str, score: float, *, rarity: float, moved: int, parts: Sequence[tuple[str, float]]
    ) -> str:
        """Why an alert is that severe.

        Parameters
        ----------
        score
            -log10 of the share of events that are as unusual.
        rarity
            Share of the last alerts that are as unusual.
        moved
            1, -1: the severity is above or below what the rarity has by itself.
        parts
            What carries the score, with its share of it, the largest first.
        """
        most = [parts[0]] if parts[0][1] >= MAIN_SHARE else parts
        text = TEXTS["severity"].format(
            severity=severity,
            n=number(round(rounded(min(10.0 ** max(score, 0.0), RARE_MAX)))),
            share=percent(1.0 - rarity),
            parts=listed([what for what, _ in most]),
        )
        if moved:
            text += TEXTS["severity_raised" if moved > 0 else "severity_lowered"]
        return text

    def random(self, severity: str) -> str:
        """An alert that was chosen at random."""
        return TEXTS["severity_random"].format(severity=severity)
