"""What an alert tells: reasons, facts, recent events of the entity, what is usual, what is at risk."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Event, ModelPart
from detector.core.alerts.case_rows import CaseBefore, Total
from detector.core.alerts.contacts import Contacts, MetBefore
from detector.core.alerts.earlier import (
    RECENT_SHOWN,
    UNUSUAL,
    AnswerOf,
    recent_events,
    unlisted,
    unusual_before,
)
from detector.core.alerts.evidence import Answer, Evidence, Fact, Shared
from detector.core.alerts.explain import Explainer, Nothing, Reason, Typical
from detector.core.alerts.facts import FACTS_MAX, Facts
from detector.core.alerts.known import Ranges, met, own_shares
from detector.core.alerts.links import Shared as Linked
from detector.core.alerts.policy import Published
from detector.core.alerts.recent import Recent
from detector.core.alerts.score_record import iso
from detector.core.alerts.summary import Standing, Summary
from detector.core.alerts.words import Sentences
from detector.core.alerts.words.headlines import OwnShare
from detector.core.alerts.words.sentences import USUAL_SHARE
from detector.core.events import Events, View
from detector.core.features import Layout, Rows
from detector.core.model.score_part import Explained
from detector.core.shard.pieces import Piece
from detector.core.shard.scoring import Scorer

LastAnswerOf = Callable[[int], tuple[str, float] | None]
"""Gives label and time (s) of the last answer about a main entity (hash); None: there is none."""


class Telling:
    """Keeps the recent events of a shard, and tells what is known of one event."""

    def __init__(self, config: ModelPart) -> None:
        self._event, self._config, self._feedback = config.event, config.alerts, config.feedback
        self._sentences = Sentences(config.event)
        layout = Layout(config.event, config.model.features)
        self._contacts = Contacts(layout)
        alerts, barriers = config.alerts, config.model.barriers
        self.recent = Recent(alerts.recent_events_max, barriers.block_events, self._contacts.numbers)
        self._exposure = _place_of_exposure(config.event, layout)
        self.last_answer: LastAnswerOf = lambda entity: None
        self._first = 0  # number of the first event of the piece that was added last

    def reconfigure(self, config: ModelPart) -> None:
        """Use another configuration; recent events stay."""
        recent, last_answer = self.recent, self.last_answer
        self.__init__(config)  # type: ignore[misc]
        self.last_answer = last_answer
        self.recent.take_over(recent)

    def remember(self, piece: Piece, scorer: Scorer) -> None:
        """Add a piece of scored events."""
        self._first = self.recent.count
        rows, unusual = piece.rows, np.flatnonzero(piece.scores >= UNUSUAL)
        if not rows.entities.shape[1]:
            return
        amounts, met = self._amounts(piece.events), self._contacts.numbered(rows)
        respects = np.zeros(len(piece.scores), dtype=np.int64)
        if len(unusual):
            respects[unusual] = scorer.served.respects(piece.inputs[unusual])
        keys, offsets = rows.entities[:, 0], piece.events.offsets
        self.recent.feed(keys, offsets, rows.times, amounts, piece.scores, met, respects)

    def about(
        self,
        events: Events,
        i: int,
        rows: Rows,
        view: View,
        case: CaseBefore | None,
        scorer: Scorer,
        *,
        linked: Sequence[Linked],
        answer_of: AnswerOf,
        apart: bool,
    ) -> Evidence:
        """Gather what is known of event `i` of a piece.

        Parameters
        ----------
        rows
            The piece's.
        case
            Its main entity's, without this event.
        linked
            What its other entities share with other main ones.
        answer_of
            Answers to alerts.
        apart
            The piece was not added: each event is the next one.
        """
        row = rows.take(slice(i, i + 1))
        key, time = int(row.entities[0, 0]) if row.entities.shape[1] else 0, float(row.times[0])
        history = self.recent.before(key, time, None if apart else self._first + i)
        shows = self._exposure is None or self._event.fields[self._exposure[1]].echo
        if not shows:
            history = history.without_amounts()
        since_s = self._config.case_idle_timeout
        answer = self.last_answer(key) if key else None
        amount = float(self._amounts(events)[i]) if shows else math.nan
        answers = answer_of if self._feedback else None
        usual = {one.name for one in met(scorer.layout, row) if one.share >= USUAL_SHARE}
        own = self._contacts.numbered(row)[0]

        def beside(places: NDArray[np.intp]) -> tuple[MetBefore, ...]:
            return self._contacts.beside(own, history.met[places], usual) if key and len(places) else ()

        history = history.with_beside(beside, amount, RECENT_SHOWN)
        return Evidence(
            event=row,
            view=view,
            amount=amount,
            history=history,
            earlier=unusual_before(history, time, since_s, case, answers, amount, beside),
            case=case,
            ranges=Ranges(scorer.layout, scorer.units, row),
            answered=None if answer is None else Answer(*answer),
            shared=[
                Shared(
                    entity.name,
                    one.alerted,
                    since_s,
                    max(0.0, time - one.latest),
                    not one.related,
                    one.amounts if shows else (),
                )
                for entity, one in zip(self._event.entities[1:], linked, strict=False)
                if one.alerted
            ],
        )

    def mark(self, i: int, fate: int) -> None:
        """Say what became of event `i` of the piece that was added last."""
        self.recent.mark(self._first + i, fate)

    def reasons(
        self,
        of: Evidence,
        inputs: NDArray[np.float32],
        score: float,
        scorer: Scorer,
        otherwise: Nothing,
    ) -> tuple[Explained, tuple[Reason, ...]]:
        """What is normal near an event with inputs (1, F), and why it is not."""
        explained = scorer.explain(of.event, inputs, self._config.exemplars_max)
        assert explained.typical is not None
        assert explained.ends is not None
        typical = Typical(explained.typical, explained.ends, explained.shown)
        explainer = Explainer(scorer.layout, scorer.units, self._sentences)
        return explained, explainer.reasons(
            of.event,
            typical,
            of.view,
            score,
            scorer.score_rows,
            count_max=self._config.reasons_max,
            otherwise=otherwise,
            earlier=of.earlier,
            history=of.history,
            ranges=of.ranges,
        )

    def facts(self, of: Evidence, inputs: NDArray[np.float32], scorer: Scorer) -> tuple[Fact, ...]:
        """Facts about an event with inputs (1, F)."""
        known = replace(of, near_frauds=scorer.near_frauds(of.event, inputs))
        return Facts(scorer.layout, scorer.units, self._sentences).find(known)

    def body(
        self,
        of: Evidence,
        scorer: Scorer,
        reasons: Sequence[Reason],
        facts: Sequence[Fact],
        decision: Published,
        standing: Standing,
    ) -> dict[str, Any]:
        """Further fields of an alert's body: its summary, and what is known beside the reasons."""
        found = Facts(scorer.layout, scorer.units, self._sentences)
        exposure = self._event.exposure if self._exposure is not None else None
        own = found.own_range(of)
        summary = Summary(self._sentences, exposure).make(
            reasons,
            facts,
            of,
            own,
            decision,
            standing,
            met(scorer.layout, of.event),
            lambda: found.range_of_all(of),
            self._own_shares(of, scorer.layout),
            found.range_there(of),
        )
        size = None if np.isnan(of.amount) else abs(of.amount)
        earlier = None if size is None else Total.of([size, of.earlier.sum or 0.0])
        case = of.case if of.case is not None and of.case.first == decision.case.case else None
        recent = recent_events(of.history, case)
        listed = [
            math.nan if one["amount"] is None else one["amount"] for one in recent if one["case"] != "none"
        ]
        number, total = unlisted(case, listed)
        return {
            "summary": summary,
            "facts": [msgspec.to_builtins(fact) for fact in facts[:FACTS_MAX]],
            "recent": [{**one, "time": iso(one["time"])} for one in recent],
            "usual": found.usual(of),
            "at_risk": {"event": size, "with_earlier": earlier},
            "case": {"unlisted": {"number": number, "sum": total}},
        }

    @staticmethod
    def _own_shares(of: Evidence, layout: Layout) -> list[OwnShare]:
        """Categories of the event, and how many of its main entity's events have them."""
        shares = own_shares(layout, of.event)
        fields = [(layout.categories[category].field, share) for category, share in shares]
        return [
            OwnShare(field.name, str(of.view.values[field.name]), share)
            for field, share in fields
            if field.echo
        ]

    def _amounts(self, events: Events) -> NDArray[np.float64]:
        """Exposures (n,); NaN: missing."""
        if self._exposure is None:
            return np.full(len(events), np.nan)
        return np.asarray(events.numerics[:, self._exposure[0]], dtype=np.float64)

    def to_state(self) -> dict[str, Any]:
        """State right after a barrier."""
        return self.recent.to_state()

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self.recent.load(state)


def _place_of_exposure(event: Event, layout: Layout) -> tuple[int, int] | None:
    """Where the exposure is among the numerics of events, and among the fields; None: it is not encoded."""
    if layout.exposure is None:
        return None
    return layout.exposure, next(n for n, field in enumerate(event.fields) if field.name == event.exposure)
