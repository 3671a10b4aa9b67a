"""From scores to alerts: the threshold, policy, exploration, and the explanation of each alert.

scores ─> threshold ─> policy ─────────┐
every event ─> exploration (a random few) ─> alert, explained
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import ModelPart
from detector.core.alerts.alert import alert_id, make_alert
from detector.core.alerts.explain import Nothing
from detector.core.alerts.exploration import BY_SCORE, Exploration
from detector.core.alerts.policy import Policy, Published, Suppressed
from detector.core.events import Events, Parser
from detector.core.features import DAY_S, Layout, Rows
from detector.core.model.calibration import Calibration
from detector.core.records import Alert, Identity
from detector.core.shard.scoring import Scorer
from detector.core.shard.telling import Telling

# Events before the first alert: a threshold needs a distribution.
ALERT_EVENTS_MIN = 512


class Inquired(NamedTuple):
    """Why an event gave no alert, for an event that `Shard.take` was asked to explain."""

    fate: str
    threshold: float  # inf: none yet
    alert: Alert | None  # the alert it would have given; None without a threshold


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Piece:
    """n consecutive scored events of a block."""

    events: Events
    rows: Rows
    inputs: NDArray[np.float32]  # (n, F)
    scores: NDArray[np.float64]  # (n,)
    cold: NDArray[np.float64]  # (n,) scores without heat
    now: NDArray[np.float64]  # (n,) event time of the shard as of each event, s
    number: int  # of the first event, counted since the shard began
    warm_up_left: int  # number of these events that are still in warm-up; may be negative


@dataclass(kw_only=True, slots=True)
class Decided:
    """Alerts and decisions of a piece."""

    alerted: NDArray[np.bool_]  # (n,)
    alerts: list[Alert] = field(default_factory=list)  # none when silent
    suppressed: dict[str, int] = field(default_factory=dict)  # candidates without an alert, by reason
    inquired: Inquired | None = None


class Alerting:
    """Decides which events become alerts, and makes them."""

    def __init__(self, config: ModelPart, identity: Identity, parser: Parser) -> None:
        self._identity = identity
        self._telling = Telling(config)
        self._configure(config, parser)
        self.restart()

    def _configure(self, config: ModelPart, parser: Parser) -> None:
        self._event, self._config = config.event, config.alerts
        self._config_hash = config.hash()
        self._parser = parser
        self._policy = Policy(config.alerts, config.partitions)
        self._exploration = Exploration(config.model.seed, self._identity.partition)

    def restart(self) -> None:
        """Forget the threshold, for a new model; budget, cases and estimates stay."""
        self._threshold = np.inf  # lowest score of a candidate
        self._events_per_day = 1.0

    def reconfigure(self, config: ModelPart, parser: Parser) -> None:
        """Use another configuration; budget, cases and estimates stay."""
        policy, exploration = self._policy.to_state(), self._exploration.to_state()
        self._configure(config, parser)
        self._telling.reconfigure(config)
        self._policy.load(policy)
        self._exploration.load(exploration)

    def gauges(self) -> dict[str, float]:
        """Numbers for the metrics."""
        budget, used = self._policy.budget(self._events_per_day)
        return {
            "budget": budget,
            "budget_used": used,
            "threshold": float(self._threshold) if np.isfinite(self._threshold) else 0.0,
            "events_per_day": self._events_per_day,
            "overdrafts": float(self._policy.overdrafts),
            **self._exploration.estimates,
        }

    # --- decisions -----------------------------------------------------------------------------------------

    def decide(self, piece: Piece, scorer: Scorer, *, silent: bool, explain: int | None) -> Decided:
        """Decide about n events.

        Parameters
        ----------
        silent
            Make no alerts; decisions and state are the same.
        explain
            Offset of an event to explain although it gives no alert.
        """
        decided = Decided(alerted=np.zeros(len(piece.events), dtype=bool))
        self._telling.remember(piece.events, piece.rows, piece.scores)
        asked = next(iter(np.flatnonzero(piece.events.offsets == explain).tolist()), None)
        if not np.isfinite(self._threshold):
            if asked is not None:
                decided.inquired = Inquired("there is no threshold yet", self._threshold, None)
            return decided
        probability = self._policy.explore_probability(self._events_per_day)
        drawn = self._exploration.draw(piece.number + np.arange(len(piece.events)), probability)
        fate = "below the threshold"  # of the event to explain
        for i in np.flatnonzero((piece.scores >= self._threshold) | drawn).tolist():
            decision, chance = self._decision(piece, i), BY_SCORE
            offset = piece.events[i].record.offset
            if drawn[i] and not isinstance(decision, Published):
                decision, chance = Published(alert_id(self._identity, offset), 0, "exploration"), probability
            if isinstance(decision, Suppressed):
                decided.suppressed[decision.reason] = decided.suppressed.get(decision.reason, 0) + 1
                fate = f"held back: {decision.reason}" if i == asked else fate
                continue
            assert decision is not None
            decided.alerted[i] = True
            self._exploration.record(offset, chance)
            if not silent:
                decided.alerts.append(self._alert(piece, i, scorer, decision))
        if asked is not None and not decided.alerted[asked]:
            alert = self._alert(piece, asked, scorer, Published("", 0))
            decided.inquired = Inquired(fate, self._threshold, alert)
        return decided

    def candidates(self, piece: Piece, scorer: Scorer) -> dict[int, Alert]:
        """Alerts of the events of a piece whose score reaches the threshold, by place; nothing changes."""
        found = np.flatnonzero(piece.scores >= self._threshold).tolist()
        offsets = {i: int(piece.events.offsets[i]) for i in found}
        return {
            i: self._alert(piece, i, scorer, Published(alert_id(self._identity, offset), 0), apart=True)
            for i, offset in offsets.items()
        }

    def _decision(self, piece: Piece, i: int) -> Published | Suppressed | None:
        """What the policy says of event i; None below the threshold."""
        event, score, cold = piece.events[i], float(piece.scores[i]), float(piece.cold[i])
        if score < self._threshold:
            return None
        return self._policy.decide(
            alert_id(self._identity, event.record.offset),
            event.entities[0] if event.entities else 0,
            self._policy.severity(score),
            cold=self._policy.severity(cold) if cold >= self._threshold else None,
            above=score - self._threshold,
            event=piece.number + i,
            time=float(piece.rows.times[i]),
            now=float(piece.now[i]),
            events_per_day=self._events_per_day,
        )

    def _alert(
        self, piece: Piece, i: int, scorer: Scorer, decision: Published, *, apart: bool = False
    ) -> Alert:
        """Explain event i and make its alert; with `apart` it is none of the recent events."""
        event, score = piece.events[i], float(piece.scores[i])
        row, inputs = piece.rows.take(slice(i, i + 1)), piece.inputs[i : i + 1]
        view = self._parser.view(event.record)
        otherwise: Nothing = "random" if decision.selection == "exploration" else "combination"
        explained, reasons = self._telling.reasons(row, inputs, view, score, scorer, otherwise)
        facts = self._telling.facts(piece.events, i, row, inputs, view, scorer, apart=apart)
        schema, served = self._event, scorer.served
        return make_alert(
            self._identity,
            event,
            view,
            decision,
            severity=self._policy.severity(score),
            exposure=None if schema.exposure is None else view.values.get(schema.exposure),
            main_name=schema.entities[0].name if schema.entities else None,
            score={
                "raw": score,
                "quantile": 1.0 - 10.0**-score,
                "threshold": self._threshold,
                "warm_up": i < piece.warm_up_left,
            },
            echo=self._config.echo,
            reasons=reasons,
            facts={**facts, **explained.facts},
            model={
                "version": served.version,
                "encoder_step": served.step,
                "config": self._config_hash,
            },
        )

    # --- learning ------------------------------------------------------------------------------------------

    def apply(self, answers: Mapping[int, str]) -> None:
        """Apply labels, by the event's offset, to the estimates of missed frauds."""
        self._exploration.apply(answers)

    def measure_rate(self, last: Rows, layout: Layout) -> None:
        """Read the number of events per day from the context of the last event, one row."""
        everything = layout.kinds[0]
        per_half_life = float(last.context[0, everything.start + 1])
        self._events_per_day = max(per_half_life * math.log(2.0) * DAY_S / float(layout.half_lives_s[0]), 1.0)

    def forgive(self) -> None:
        """Cancel overdrawn alerts, after a shift of the stream."""
        self._policy.forgive()

    def update_threshold(
        self, calibration: Calibration, *, event: int, now: float, block_events: int
    ) -> None:
        """Set the threshold to what the budget allows from here on.

        Parameters
        ----------
        event
            Number of the next event, counted since the shard began.
        now
            Event time of the shard, s.
        """
        share = self._policy.next_share(
            event=event, now=now, events_per_day=self._events_per_day, block_events=block_events
        )
        far = calibration.threshold(share)
        self._threshold = float(calibration.scores(np.array([far]))[0])

    # --- state ---------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """State right after a barrier."""
        return {
            "threshold": self._threshold if np.isfinite(self._threshold) else None,
            "events_per_day": self._events_per_day,
            "policy": self._policy.to_state(),
            "exploration": self._exploration.to_state(),
            "recent": self._telling.to_state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self._threshold = np.inf if state["threshold"] is None else state["threshold"]
        self._events_per_day = state["events_per_day"]
        self._policy.load(state["policy"])
        self._exploration.load(state["exploration"])
        self._telling.load(state["recent"])
