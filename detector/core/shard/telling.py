"""What an alert tells: reasons, facts, recent events of the entity, what is usual, what is at risk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.config.tree import ModelPart
from detector.core.alerts.earlier import unusual_before
from detector.core.alerts.explain import Explainer, Nothing, Reason, Typical
from detector.core.alerts.facts import Evidence, Fact, Facts, recent_events
from detector.core.alerts.policy import Published
from detector.core.alerts.recent import Recent
from detector.core.alerts.score_record import iso
from detector.core.alerts.summary import Standing, Summary
from detector.core.alerts.words import Sentences
from detector.core.events import Events, View
from detector.core.features import Layout, Rows
from detector.core.model.score_part import Explained
from detector.core.shard.scoring import Scorer


class Telling:
    """Keeps the recent events of a shard, and tells what is known of one event."""

    def __init__(self, config: ModelPart) -> None:
        self._event, self._config = config.event, config.alerts
        self._sentences = Sentences(config.event)
        self.recent = Recent(config.alerts.recent_events_max, config.model.barriers.block_events)
        self._exposure = _place_of_exposure(config)
        self._first = 0  # number of the first event of the piece that was added last

    def reconfigure(self, config: ModelPart) -> None:
        """Use another configuration; recent events stay."""
        recent = self.recent
        self.__init__(config)  # type: ignore[misc]
        self.recent.take_over(recent)

    def remember(self, events: Events, rows: Rows, scores: NDArray[np.float64]) -> None:
        """Add a piece of n scored events."""
        self._first = self.recent.count
        if rows.entities.shape[1]:
            self.recent.feed(rows.entities[:, 0], events.offsets, rows.times, self._amounts(events), scores)

    def about(
        self,
        events: Events,
        i: int,
        rows: Rows,
        view: View,
        alerted: Sequence[int],
        *,
        apart: bool,
    ) -> Evidence:
        """Gather what is known of event `i` of a piece.

        Parameters
        ----------
        rows
            The piece's.
        alerted
            Offsets of alerts of its main entity.
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
        return Evidence(
            event=row,
            view=view,
            amount=float(self._amounts(events)[i]) if shows else np.nan,
            history=history,
            earlier=unusual_before(history, time, since_s, alerted),
            earlier_s=since_s,
            last_alerted=len(history) > 0 and int(history.offsets[0]) in alerted,
        )

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
            earlier_s=of.earlier_s,
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
        summary = Summary(self._sentences, exposure).make(reasons, facts, of, own, decision, standing)
        amount = None if np.isnan(of.amount) else of.amount
        earlier = None if amount is None else round(amount + (of.earlier.sum or 0.0), 9)
        return {
            "summary": summary,
            "facts": [msgspec.to_builtins(fact) for fact in facts],
            "recent": [{**one, "time": iso(one["time"])} for one in recent_events(of.history)],
            "usual": found.usual(of.event, of.view),
            "at_risk": {"event": amount, "with_earlier": earlier},
        }

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


def _place_of_exposure(config: ModelPart) -> tuple[int, int] | None:
    """Where the exposure is among the numerics of events, and among the fields; None: it is not encoded."""
    event = config.event
    layout = Layout(event, config.model.features)
    if layout.exposure is None:
        return None
    return layout.exposure, next(n for n, field in enumerate(event.fields) if field.name == event.exposure)
