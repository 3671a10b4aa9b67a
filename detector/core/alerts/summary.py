"""An alert for somebody who has half a minute: a headline, and a few sentences, each thing said once.

Rules
    - The weightiest reason comes first, then the facts, then further reasons.
    - What a fact says with more words is no reason beside it: a contact, a pace, heat.
    - Where most of the evidence lies with another entity (a shop with far more events than usual, or with
      other alerted cards), the alert is told as one about that entity.
    - The amount is always compared with something of the main entity's own.
    - Why it is that severe, and the last event, come last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from detector.core.alerts.evidence import Evidence, Fact
from detector.core.alerts.explain import Reason, told_among
from detector.core.alerts.facts import FACTS_MAX, SHORT_WINDOW_S
from detector.core.alerts.known import OFTEN_SHARE, Met
from detector.core.alerts.policy import Published
from detector.core.alerts.severity import SEVERITIES
from detector.core.alerts.signs import signs_of
from detector.core.alerts.words import Sentences, Usual, duration
from detector.core.alerts.words.headlines import Headlines, OwnShare
from detector.core.alerts.words.sentences import USUAL_SHARE

HEAT_MIN = 0.2  # share of the reasons from which unusual events of others are told: nobody sees them here
SENTENCES_MAX = 8  # with why it is that severe and the last event
SHARE_MIN = 2.0 / 3.0  # of the evidence that lies with another entity, to tell it as that one's
# Facts that only describe; those that say of the main entity alone that something is wrong; and those that
# say it at once.
BACKGROUND = ("since_last",)
OWN = ("frauds_there", "answered", "small_then_large", "window", "speed")


REST_MAX = 4  # categories that are told beside the evidence


class Standing(NamedTuple):
    """How an event's score stands among others."""

    score: float
    rarity: float  # share of the last alerts that are as unusual
    fitting: int  # rank of the severity that this has by itself


class Summary:
    """Sums up alerts of one schema."""

    def __init__(self, sentences: Sentences, exposure: str | None) -> None:
        self._say, self._head = sentences, Headlines(sentences.words)
        self._exposure = exposure  # field of the amount, if it is a number that alerts show

    def make(
        self,
        reasons: Sequence[Reason],
        facts: Sequence[Fact],
        of: Evidence,
        own: tuple[float, float] | None,
        decision: Published,
        standing: Standing,
        met: Sequence[Met] = (),
        others: Callable[[], tuple[float, float] | None] = lambda: None,
        shares: Sequence[OwnShare] = (),
        there: tuple[float, float] | None = None,
    ) -> dict[str, Any]:
        """Sum up one alert, as the body's `summary`.

        Parameters
        ----------
        own
            Range of the main entity's amounts; None: unknown.
        met
            The event's other entities.
        others
            Finds the range of everybody's amounts, if it is known; asked where the entity's is not.
        shares
            Categories of the event.
        there
            Range of amounts in the most telling category of the event.
        """
        random, own_things, signs = decision.selection == "exploration", _own_things(met), tuple[str, ...]()
        if not random:
            ends, events = others() if own is None else own, decision.case.events
            signs = signs_of(reasons, facts, of.amount, ends, there, events, own_things)
        facts = facts[:FACTS_MAX]
        focus = self._focus(reasons, facts, of)
        amount = None if math.isnan(of.amount) else of.amount
        headline = self._head.at_risk(
            self._head.who(of.view.main, focus),
            amount,
            (of.earlier.number, of.earlier.sum),
            of.view.values,
        )
        if signs:  # beside which a small amount is no weak evidence
            facts = [fact for fact in facts if not (fact.code == "small" and fact.values.get("alone"))]
        if any(fact.code == "earlier" for fact in facts):  # the same events, told twice
            reasons = [one for one in reasons if one.code != "heat" or one.of not in own_things] or reasons
        severity = self._severity(reasons, decision, standing)
        evidence = _once(
            [*self._evidence(reasons, facts, focus), *self._own_amount(reasons, of, own, others)]
        )
        rest = self._rest(reasons, facts, shares, met, of)
        last = [fact.detail for fact in facts if fact.code in BACKGROUND and not _is_told(of)]
        first = [] if random else [self._head.signs(signs)]
        after = [*rest, severity, *last]
        told = [*first, *evidence[: SENTENCES_MAX - len(first) - len(after)], *after]
        return {
            "headline": headline,
            "sentences": told,
            "severity": severity,
            "signs": list(signs),
            "usual": self._head.as_usual([one for one in shares if one.share >= OFTEN_SHARE]),
            "with": self._head.others(met, of.view.entities),
            "focus": None if focus is None else {"name": focus[0], "value": focus[1]},
        }

    # --- where the evidence lies ---------------------------------------------------------------------------

    def _focus(
        self, reasons: Sequence[Reason], facts: Sequence[Fact], of: Evidence
    ) -> tuple[str, str] | None:
        """The other entity with which most of the evidence lies, and its value; None: the main one."""
        main = self._say.words.main
        if any(fact.code in OWN for fact in facts):
            return None
        shares: dict[str, float] = {}
        for reason in reasons:
            if reason.of is not None and reason.of != main:
                shares[reason.of] = shares.get(reason.of, 0.0) + reason.share
        if not shares:
            return None
        name = max(shares, key=lambda one: shares[one])
        value = of.view.entities.get(name)
        if value is None or shares[name] < SHARE_MIN * sum(reason.share for reason in reasons):
            return None
        return name, value

    # --- what is told --------------------------------------------------------------------------------------

    def _evidence(
        self,
        reasons: Sequence[Reason],
        facts: Sequence[Fact],
        focus: tuple[str, str] | None,
    ) -> list[str]:
        """Sentences, the most telling first."""
        name = None if focus is None else focus[0]
        ordered = sorted(reasons, key=lambda one: one.of != name) if name else reasons
        told = [(reason is ordered[0], detail) for reason, detail in self._reasons(ordered, facts)]
        first = [detail for is_first, detail in told if is_first]
        there = [fact for fact in facts if name is not None and fact.values.get("of") == name]
        shared = [fact.detail for fact in there if fact.code == "shared" and not fact.values["usual"]]
        others = [one for one in facts if one not in there and (name is None or one.code != "small")]
        found = self._facts(others)
        rest = [detail for is_first, detail in told if not is_first]
        if ordered and ordered[0].code == "combination":  # it has no figures, and facts have
            return [*shared, *found, *first, *rest]
        return [*first, *shared, *found, *rest]

    def _facts(self, facts: Sequence[Fact]) -> Iterator[str]:
        """Facts, first contacts of one time together."""
        contacts: dict[str, list[Fact]] = {}
        for fact in facts:
            if fact.code == "first_contact":
                contacts.setdefault(self._time(fact), []).append(fact)
        # A window with nearly all events of a new entity says the same as how new it is.
        counted = {fact.values["events"] for fact in facts if fact.code == "little_history"}
        for fact in facts:
            if fact.code in BACKGROUND or (fact.code == "shared" and fact.values["usual"]):
                continue
            if fact.code == "window" and counted and float(fact.values["window_s"] or 0.0) > SHORT_WINDOW_S:
                continue
            if fact.code == "window" and int(fact.values["events"] or 0) - 1 in counted:
                continue
            if fact.code != "first_contact":
                yield fact.detail
            elif together := contacts.pop(self._time(fact), None):
                yield together[0].detail if len(together) == 1 else self._contacts(together)

    @staticmethod
    def _time(contact: Fact) -> str:
        age_s = contact.values["age_s"]
        return "" if age_s is None else f"{duration(float(age_s))} {contact.values['events']}"

    def _contacts(self, facts: Sequence[Fact]) -> str:
        """Several first contacts of one time, the rarest first."""
        values = facts[0].values
        met = [
            (str(fact.values["of"]), _text(fact.values["value"]), fact.values["seen_by_others"] is not False)
            for fact in facts
        ]
        if values["age_s"] is None:
            return self._say.first_times(met, float(values["one_of"] or 1.0))
        return self._say.first_contacts(met, float(values["age_s"]), float(values["events"] or 1.0))

    def _reasons(self, reasons: Sequence[Reason], facts: Sequence[Fact]) -> Iterator[tuple[Reason, str]]:
        """Reasons that no fact says better, with what is told of them."""
        codes = {fact.code for fact in facts}
        met = {fact.values["of"] for fact in facts if fact.code == "first_contact"}
        shared = {fact.values["of"] for fact in facts if fact.code == "shared" and not fact.values["usual"]}
        total = sum(reason.share for reason in reasons)
        for reason in reasons:
            detail = reason.detail
            if reason.code == "combination" and reason is not reasons[0]:
                continue  # the first one says all of them together
            foreign_heat = reason.code == "heat" and reason.of != self._say.words.main
            if foreign_heat and reason.share < HEAT_MIN * total and len(reasons) > 1:
                continue
            if reason.code == "contact" and reason.of == reason.field:
                detail = detail.split("; ")[0]  # who comes to a busy shop often comes for the first time
            elif (
                (reason.code == "contact" and reason.field in met)
                or (reason.code == "activity" and codes & {"window", "little_history"})
                or (reason.code == "heat" and reason.of in shared)
            ):
                continue
            yield reason, detail

    def _own_amount(
        self,
        reasons: Sequence[Reason],
        of: Evidence,
        own: tuple[float, float] | None,
        others: Callable[[], tuple[float, float] | None],
    ) -> Iterator[str]:
        """The amount beside the main entity's own ones, else everybody's, if no reason says it."""
        name, words, values = self._exposure, self._say.words, of.view.values
        if name is None or words.main is None or math.isnan(of.amount):
            return
        bases = {one.basis for one in reasons if one.field == name and one.code == "value"}
        if "entity" in bases or (own is None and bases):
            return
        if own is not None and own[0] <= of.amount <= own[1]:
            yield self._say.own_amount(name, of.amount, own, values)
            return
        ends = others() if own is None else own
        if ends is None:
            return
        usual = [Usual(words.others() if own is None else words.this(), *ends)]
        said = self._say.number(words.field(name), of.amount, usual, values)
        among = told_among(self._say, of.history, of.amount, usual, of.earlier)
        yield "; ".join(filter(None, (said, among)))

    def _rest(
        self,
        reasons: Sequence[Reason],
        facts: Sequence[Fact],
        shares: Sequence[OwnShare],
        met: Sequence[Met],
        of: Evidence,
    ) -> list[str]:
        """Categories and entities of the event of which nothing is told; as usual is evidence, too."""
        told = {one.field for one in reasons} | {fact.values.get("of") for fact in facts}
        categories = sorted((one for one in shares if one.name not in told), key=lambda one: one.share)
        entities = [one for one in met if one.name not in told]
        text = self._head.rest(categories[:REST_MAX], entities, of.view.entities)
        return [] if text is None else [text]

    # --- why it is that severe -----------------------------------------------------------------------------

    def _severity(self, reasons: Sequence[Reason], decision: Published, standing: Standing) -> str:
        severity = SEVERITIES[decision.severity]
        if decision.selection == "exploration":
            return self._head.random(severity)
        total = sum(reason.share for reason in reasons)
        return self._head.severity(
            severity,
            standing.score,
            rarity=standing.rarity,
            fitting=SEVERITIES[standing.fitting],
            together=all(one.code == "combination" for one in reasons),
            parts=[(self._head.part(one.code, one.field, one.of), one.share / total) for one in reasons],
        )


def _is_told(of: Evidence) -> bool:
    """Whether the last event is among the earlier unusual ones."""
    return len(of.history) > 0 and int(of.history.offsets[0]) in of.earlier.offsets


def _own_things(met: Sequence[Met]) -> set[str]:
    """Other entities that the main one has nearly alone: what happens there is its own."""
    return {one.name for one in met if one.share >= USUAL_SHARE and one.others <= max(one.found.events, 1.0)}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _once(sentences: Sequence[str]) -> list[str]:
    """Each part of a sentence once, and no beginning whose comparison was told already."""
    told: list[str] = []
    known: set[str] = set()
    for text in sentences:
        head, *rest = text.split("; ")
        new = [part for part in rest if part not in known]
        if head not in known and (new or not rest or ": " in head):
            told.append("; ".join([head, *new]))
        elif new:
            told.append("; ".join(new))
        known.update((head, *rest))
    return told
