"""What an alert tells: reasons, facts, recent events of the entity, what is usual, what is at risk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.config.tree import ModelPart
from detector.core.alerts.explain import Explainer, Nothing, Reason, Typical
from detector.core.alerts.facts import Answer, Evidence, Facts, Shared, recent_events
from detector.core.alerts.recent import Recent
from detector.core.alerts.score_record import iso
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

    def reasons(
        self,
        row: Rows,
        inputs: NDArray[np.float32],
        view: View,
        score: float,
        scorer: Scorer,
        otherwise: Nothing,
    ) -> tuple[Explained, tuple[Reason, ...]]:
        """What is normal near an event, given as one row with its inputs (1, F), and why it is not."""
        explained = scorer.explain(row, inputs, self._config.exemplars_max)
        assert explained.typical is not None
        assert explained.ends is not None
        typical = Typical(explained.typical, explained.ends, explained.shown)
        explainer = Explainer(scorer.layout, scorer.units, self._sentences)
        return explained, explainer.reasons(
            row,
            typical,
            view,
            score,
            scorer.score_rows,
            count_max=self._config.reasons_max,
            otherwise=otherwise,
        )

    def facts(
        self,
        events: Events,
        i: int,
        row: Rows,
        inputs: NDArray[np.float32],
        view: View,
        scorer: Scorer,
        *,
        apart: bool,
        shared: Sequence[Shared] = (),
        answered: Answer | None = None,
    ) -> dict[str, Any]:
        """Further fields of the alert about event `i` of a piece, whose row and inputs (1, F) are given.

        Parameters
        ----------
        apart
            The piece was not added: each event is the next one.
        shared
            What other alerted entities share with it.
        answered
            The last answer about its main entity.
        """
        layout = scorer.layout
        key = int(row.entities[0, 0]) if layout.entities else 0
        history = self.recent.before(key, float(row.times[0]), None if apart else self._first + i)
        shows = self._exposure is None or self._event.fields[self._exposure[1]].echo
        if not shows:
            history = history.without_amounts()
        amount = float(self._amounts(events)[i]) if shows else np.nan
        facts = Facts(layout, scorer.units, self._sentences)
        evidence = Evidence(
            event=row,
            view=view,
            amount=amount,
            history=history,
            near_frauds=scorer.near_frauds(row, inputs),
            shared=shared,
            answered=answered,
        )
        return {
            "facts": [msgspec.to_builtins(fact) for fact in facts.find(evidence)],
            "recent": [{**one, "time": iso(one["time"])} for one in recent_events(history)],
            "usual": facts.usual(row, view),
            "at_risk": {"event": None if np.isnan(amount) else amount},
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
