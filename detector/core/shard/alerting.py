"""From scores to alerts: the threshold, severity, policy, cases, exploration, and each alert's explanation.

scores ─> threshold ─> severity ─> policy ─┬─> alert, explained
every event ─> exploration (a random few) ─┘      │
                                   held back ─> case ─> updates
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import ModelPart
from detector.core.alerts.alert import make_alert
from detector.core.alerts.case_record import make_update
from detector.core.alerts.case_rows import Candidate, Totals
from detector.core.alerts.cases import Cases
from detector.core.alerts.evidence import Evidence, Fact
from detector.core.alerts.explain import Nothing, Reason
from detector.core.alerts.exploration import BY_SCORE, Exploration
from detector.core.alerts.facts import FACTS_MAX
from detector.core.alerts.links import Links, related
from detector.core.alerts.links import Shared as Linked
from detector.core.alerts.policy import Policy, Published, Suppressed
from detector.core.alerts.priority import Priority, priority
from detector.core.alerts.recent import ALERTED, HELD
from detector.core.alerts.segments import Segments
from detector.core.alerts.severity import SEVERITIES, Severity
from detector.core.alerts.snoozes import Snoozes
from detector.core.alerts.summary import Standing
from detector.core.erasure import Holder
from detector.core.events import Parser, View
from detector.core.features import DAY_S, Layout, Rows
from detector.core.labels.feedback import AppliedLabels
from detector.core.model.calibration import Calibration
from detector.core.model.score_part import Explained
from detector.core.records import Alert, CaseUpdate, Identity, Record
from detector.core.shard.pieces import Decided, Inquired, Piece
from detector.core.shard.scoring import Scorer
from detector.core.shard.telling import LastAnswerOf, Telling

# Events before the first alert: a threshold needs a distribution.
ALERT_EVENTS_MIN = 512


class Alerting:
    """Decides which events become alerts, and makes them."""

    def __init__(self, config: ModelPart, identity: Identity, parser: Parser) -> None:
        self._identity = identity
        self._telling = Telling(config)
        self._configure(config, parser)
        self.restart()

    def know_answers(self, last_answer: LastAnswerOf) -> None:
        """Tell of answers from here on."""
        self._telling.last_answer = last_answer

    def _configure(self, config: ModelPart, parser: Parser) -> None:
        self._event, self._config = config.event, config.alerts
        self._config_hash = config.hash()
        self._parser = parser
        self._policy = Policy(config.alerts, config.partitions)
        self._severity = Severity(config.alerts)
        self.cases = Cases(config.alerts, self._identity.entity_key)
        self._links = Links(config.alerts)
        self._priority, self._snoozes = Priority(), Snoozes()
        self._exploration = Exploration(config.model.seed, self._identity.partition)
        field = config.alerts.budget.per_segment
        self._segments = None if field is None else Segments(parser.hashes(field))

    def restart(self) -> None:
        """Forget the threshold, for a new model; budget, cases and estimates stay."""
        self._threshold = np.inf  # lowest score of a candidate
        self._events_per_day = 1.0

    def reconfigure(self, config: ModelPart, parser: Parser) -> None:
        """Use another configuration; budget, cases and estimates stay."""
        self._telling.reconfigure(config)
        state = self._parts_state()
        self._configure(config, parser)
        self._load_parts(state)

    @property
    def threshold(self) -> float:
        """Lowest score of a candidate; infinite: there is no threshold yet."""
        return float(self._threshold)

    @property
    def unusual(self) -> float:
        """Score from which on profiles do not keep an event. It does not depend on segments."""
        if self._segments is None or not np.isfinite(self._threshold):
            return self.threshold
        return self._segments.base

    def gauges(self) -> dict[str, float]:
        """Numbers for the metrics."""
        budget, used = self._policy.budget(self._events_per_day)
        return {
            "budget": budget,
            "budget_used": used,
            "threshold": float(self._threshold) if np.isfinite(self._threshold) else 0.0,
            "events_per_day": self._events_per_day,
            "overdrafts": float(self._policy.overdrafts),
            "open_cases": float(len(self.cases)),
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
        strange = piece.scores >= self.unusual
        decided = Decided(alerted=np.zeros(len(piece.events), dtype=bool), strange=strange)
        self._telling.remember(piece, scorer)
        asked = next(iter(np.flatnonzero(piece.events.offsets == explain).tolist()), None)
        if not np.isfinite(self._threshold):
            self._go_on(piece, slice(0, len(piece.events)))
            if asked is not None:
                decided.inquired = Inquired("there is no threshold yet", self._threshold, None)
            decided.updates = self.updates(silent=silent)
            return decided
        probability = self._policy.explore_probability(self._events_per_day)
        drawn = self._exploration.draw(piece.number + np.arange(len(piece.events)), probability)
        fate, done = "below the threshold", 0  # of the event to explain; events whose dues are told
        for i in np.flatnonzero(self._reached(piece) | drawn).tolist():
            self._go_on(piece, slice(done, i + 1))
            done = i + 1
            view, linked = self._parser.view(piece.events[i].record), self._linked(piece, i, scorer.layout)
            decision, chance = self._decision(piece, i, scorer, view, linked), BY_SCORE
            if isinstance(decision, Suppressed):
                decided.held[int(piece.events.offsets[i])] = decision.reason
                fate = f"held back: {decision.reason}" if i == asked else fate
            if drawn[i] and not isinstance(decision, Published):
                decision, chance = self._alone(piece, i, view, linked, "exploration"), probability
            if not isinstance(decision, Published):
                continue
            decided.alerted[i], decided.ranks[i] = True, decision.severity
            entity = piece.events[i].entities
            self._exploration.record(int(piece.events.offsets[i]), chance, (*entity, 0)[0])
            if not silent:
                decided.alerts.append(self._alert(piece, i, scorer, decision, view, linked))
        self._go_on(piece, slice(done, len(piece.events)))
        decided.updates = self.updates(silent=silent)
        if asked is not None and not decided.alerted[asked]:
            alert = self._alert_alone(piece, asked, scorer)
            decided.inquired = Inquired(fate, self._threshold, alert)
        return decided

    def _go_on(self, piece: Piece, part: slice) -> None:
        """Count events in their groups; tell of cases whose cooldown ends at one of them, at that event."""
        start = part.start
        if self._segments is not None:
            self._segments.count(piece.events.records[part], piece.number + start)
        while self.cases.next_due <= piece.now[start : part.stop].max(initial=-np.inf):
            start += int(np.argmax(piece.now[start : part.stop] >= self.cases.next_due))
            self.cases.tell_due(int(piece.events.offsets[start]))

    def updates(self, *, silent: bool = False) -> list[CaseUpdate]:
        """Take what was told of cases since the last call."""
        updates = self.cases.collect()
        main = self._event.entities[0].name if self._event.entities else ""
        if silent:
            return []
        chances = [self._chance(update.score) for update in updates]
        return [
            make_update(self._identity, update, main, priority(chance, update.totals.sum))
            for update, chance in zip(updates, chances, strict=True)
        ]

    def candidates(self, piece: Piece, scorer: Scorer) -> dict[int, Alert]:
        """Alerts of the events of a piece whose score reaches the threshold, by place; nothing changes."""
        alerts = {}
        for i in np.flatnonzero(self._reached(piece)).tolist():
            alerts[i] = self._alert_alone(piece, i, scorer, apart=True)
        return alerts

    def _reached(self, piece: Piece) -> NDArray[np.bool_]:
        """Which events (n,) are candidates."""
        if self._segments is None:
            return piece.scores >= self._threshold
        reached = piece.scores >= self._threshold - self._segments.highest
        for i in np.flatnonzero(reached).tolist():
            reached[i] = piece.scores[i] >= self._lowest(piece.events.records[i])
        return reached

    def _lowest(self, record: Record) -> float:
        """Lowest score with which an event is a candidate."""
        return self.threshold if self._segments is None else self._threshold - self._segments.lift(record)

    def _alert_alone(self, piece: Piece, i: int, scorer: Scorer, *, apart: bool = False) -> Alert:
        """The alert of event i as a case of its own; with `apart` it is none of the recent events."""
        view, linked = self._parser.view(piece.events[i].record), self._linked(piece, i, scorer.layout)
        alone = self._alone(piece, i, view, linked)
        return self._alert(piece, i, scorer, alone, view, linked, apart=apart)

    def _alone(
        self,
        piece: Piece,
        i: int,
        view: View,
        linked: Sequence[Linked],
        selection: Literal["score", "exploration"] = "score",
    ) -> Published:
        """Event i as a case of its own."""
        exposure = self._exposure(view)
        totals = Totals.of_one(int(piece.events.offsets[i]), exposure, related(linked))
        score = float(piece.scores[i])
        expected = priority(self._chance(score), exposure)
        return Published(totals, self._rank(score), expected, selection, self._severity.rarity(score))

    def _exposure(self, view: View) -> float | None:
        return None if self._event.exposure is None else view.values.get(self._event.exposure)

    def _rank(self, score: float) -> int:
        """Severity; low for what is no candidate."""
        return self._severity.rank(score) if score >= self._threshold else 0

    def _chance(self, score: float) -> float:
        return self._priority.chance(self._severity.excess(score))

    def _linked(self, piece: Piece, i: int, layout: Layout) -> list[Linked]:
        """What each entity of event i but the main one shares with others."""
        keys = piece.rows.entities[i].tolist()
        if len(keys) < 2:
            return []
        context = piece.rows.context[i]
        everything = max(float(context[layout.kinds[0].count(-1)]), 1.0)
        shares = [float(context[layout.kind_of(e).count(-1)]) / everything for e in range(1, len(keys))]
        return self._links.shared(keys[1:], keys[0], float(piece.rows.times[i]), shares)

    def _decision(
        self, piece: Piece, i: int, scorer: Scorer, view: View, linked: Sequence[Linked]
    ) -> Published | Suppressed | None:
        """What becomes of event i, which is counted in its entity's case; None below the threshold."""
        event, score, cold = piece.events[i], float(piece.scores[i]), float(piece.cold[i])
        lowest = self._lowest(event.record)
        if score < lowest:
            return None
        candidate = Candidate(
            entity=event.entities[0] if event.entities else 0,
            value=view.main or "",
            offset=event.record.offset,
            time=float(piece.rows.times[i]),
            now=float(piece.now[i]),
            exposure=self._exposure(view),
            severity=self._rank(score),
            score=score,
            related=related(linked),
        )
        cold_rank = self._rank(cold) if cold >= lowest else None
        if self._is_snoozed(piece, i, scorer, view, linked, cold_rank or 0):
            held: Suppressed | None = Suppressed("snooze")
        else:
            held = self._policy.decide(
                self.cases.last_alert(candidate.entity),
                candidate.severity,
                cold=cold_rank,
                above=score - lowest,
                event=piece.number + i,
                time=candidate.time,
                now=candidate.now,
                events_per_day=self._events_per_day,
            )
        if candidate.entity:
            self._telling.mark(i, ALERTED if held is None else HELD)
        if held is not None:
            self.cases.hold(candidate, held.reason)
            totals = self.cases.totals(candidate.entity)
        else:
            rarity = self._severity.rarity(score)
            self._severity.note(score, candidate.severity)
            if self._segments is not None:
                self._segments.note(event.record)
            totals = self.cases.alert(candidate)
        if totals is not None and candidate.entity:
            self._links.add(
                event.entities[1:],
                candidate.entity,
                case=totals.case,
                offset=candidate.offset,
                time=candidate.time,
                amount=math.nan if candidate.exposure is None else candidate.exposure,
            )
        if held is not None:
            return held
        assert totals is not None
        expected = priority(self._chance(score), candidate.exposure)
        self._priority.record(candidate.offset, self._severity.excess(score), candidate.entity)
        return Published(totals, candidate.severity, expected, rarity=rarity)

    def _is_snoozed(
        self, piece: Piece, i: int, scorer: Scorer, view: View, linked: Sequence[Linked], rank: int
    ) -> bool:
        """Whether somebody asked not to see this alert, whose severity without heat is `rank`."""
        entity, now = (*piece.events[i].entities, 0)[0], float(piece.now[i])
        if not entity or self._snoozes.until(entity, now) is None:
            return False
        codes: set[str] = set()
        if self._snoozes.asks(entity, now):
            _, _, reasons, facts = self._told(piece, i, scorer, view, linked, "combination")
            codes = {reason.code for reason in reasons} | {fact.code for fact in facts[:FACTS_MAX]}
        return self._snoozes.holds(entity, codes, rank, now)

    def _told(
        self,
        piece: Piece,
        i: int,
        scorer: Scorer,
        view: View,
        linked: Sequence[Linked],
        otherwise: Nothing,
        *,
        counted: int | None = None,
        apart: bool = False,
    ) -> tuple[Evidence, Explained, tuple[Reason, ...], tuple[Fact, ...]]:
        """What is known of event i, what is normal near it, why it is not, and facts.

        `counted` is the case in which it counts already. With `apart` it is none of the recent events.
        """
        inputs, entity = piece.inputs[i : i + 1], (*piece.events[i].entities, 0)[0]
        case = self.cases.before(entity, counted, self._exposure(view))
        known = self._telling.about(
            piece.events,
            i,
            piece.rows,
            view,
            case,
            scorer,
            linked=linked,
            answer_of=self._priority.answer,
            apart=apart,
        )
        score = float(piece.scores[i])
        explained, reasons = self._telling.reasons(known, inputs, score, scorer, otherwise)
        return known, explained, reasons, self._telling.facts(known, inputs, scorer)

    def _alert(
        self,
        piece: Piece,
        i: int,
        scorer: Scorer,
        decision: Published,
        view: View,
        linked: Sequence[Linked],
        *,
        apart: bool = False,
    ) -> Alert:
        """Explain event i and make its alert; with `apart` it is none of the recent events."""
        event, score = piece.events[i], float(piece.scores[i])
        otherwise: Nothing = "random" if decision.selection == "exploration" else "combination"
        known, explained, reasons, facts = self._told(
            piece, i, scorer, view, linked, otherwise, counted=decision.case.case, apart=apart
        )
        schema, served = self._event, scorer.served
        fitting = self._severity.fitting(decision.rarity)
        standing = Standing(score, decision.rarity, fitting)
        body = self._telling.body(known, scorer, reasons, facts, decision, standing)
        return make_alert(
            self._identity,
            event,
            view,
            decision,
            exposure=self._exposure(view),
            main_name=schema.entities[0].name if schema.entities else None,
            score={
                "raw": score,
                "quantile": 1.0 - 10.0**-score,
                "threshold": self._lowest(event.record),
                "warm_up": i < piece.warm_up_left,
                "rarity": decision.rarity,
                "fitting": SEVERITIES[fitting],
            },
            echo=self._config.echo,
            reasons=reasons,
            facts={**body, **explained.facts},
            model={
                "version": served.version,
                "encoder_step": served.step,
                "config": self._config_hash,
            },
        )

    # --- learning ------------------------------------------------------------------------------------------

    def apply(self, applied: AppliedLabels) -> None:
        """Apply labels to the estimates of missed frauds, to priorities, and to what entities share."""
        self._exploration.apply(applied.by_offset)
        self._priority.apply(applied.by_offset)
        for answer, time, keys in zip(applied.answers, applied.times, applied.keys, strict=True):
            main, *others = keys[: len(self._event.entities)].tolist() or [0]
            fraud = answer.label == "fraud"
            self._links.confirm(others, main, offset=answer.offset, time=float(time), fraud=fraud)

    # --- what people ask of cases and entities --------------------------------------------------------------

    def snooze(self, entity: int, code: str | None, until: float, now: float) -> float:
        """Hold back alerts of an entity (hash), of one reason code or all; returns until when, s.

        A severity above the highest of its case so far breaks it.
        """
        return self._snoozes.set(entity, code, until, now, self.cases.highest(entity))

    def unsnooze(self, entity: int, code: str | None = None) -> bool:
        """End snoozes of an entity; returns whether there was one."""
        return self._snoozes.clear(entity, code)

    @property
    def holders(self) -> tuple[Holder, ...]:
        """The parts that hold something of single entities."""
        parts = self.cases, self._links, self._priority, self._snoozes, self._exploration
        return *parts, self._telling.recent

    # --- the threshold --------------------------------------------------------------------------------------

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
        usual = self._policy.usual_share(self._events_per_day)
        far = np.array([calibration.threshold(share), calibration.threshold(usual)])
        self._threshold, base = calibration.scores(far).tolist()
        self._severity.follow(base, 7.0 * usual * self._events_per_day)
        if self._segments is not None:
            self._segments.follow(base, event, usual * block_events)

    # --- state ---------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """State right after a barrier."""
        return {
            "threshold": self._threshold if np.isfinite(self._threshold) else None,
            "events_per_day": self._events_per_day,
            **self._parts_state(),
            "recent": self._telling.to_state(),
        }

    def _parts_state(self) -> dict[str, Any]:
        return {name: part.to_state() for name, part in self._parts().items()}

    def _load_parts(self, state: Mapping[str, Any]) -> None:
        for name, part in self._parts().items():
            if name in state:  # a budget per segment may have come with another configuration
                part.load(state[name])

    def _parts(
        self,
    ) -> dict[str, Policy | Severity | Cases | Links | Priority | Snoozes | Exploration | Segments]:
        segments = {} if self._segments is None else {"segments": self._segments}
        return {
            "policy": self._policy,
            "severity": self._severity,
            "cases": self.cases,
            "links": self._links,
            "priority": self._priority,
            "snoozes": self._snoozes,
            "exploration": self._exploration,
            **segments,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self._threshold = np.inf if state["threshold"] is None else state["threshold"]
        self._events_per_day = state["events_per_day"]
        self._load_parts(state)
        self._telling.load(state["recent"])
