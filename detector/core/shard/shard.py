"""One partition's complete model: a pure function of its log and its journal's barriers.

    record ─ parse, admit ─> rows ─ profiles ─> context ─ features ─> inputs ─ embedding ─> distances
                                                                                       │
    alert <─ explain <─ policy <─ threshold <─────────── score <─ calibration <────────┘

Rules
    - Events fill blocks of B rows, counted from the last barrier; fewer where a regular one comes within. A
      piece of a block is scored at once; a row's result depends on no other row, nor on how many there are,
      so not on how polls cut the log.
    - Learning (calibration, core, learner) happens when a block is complete: events are scored before
      anything learns from them. Only profiles follow event by event, and each event sees them as they were
      before it.
    - What serves (embedding, index, thresholds' shift and span) is replaced at barriers only.
    - No clock, no global random: time is the event's, chance is `self._rng`, kept in state.
    - The learner's steps and what the next barrier installs are made beside scoring, on lanes. They are
      given and awaited at fixed places of the log, so it does not matter when they ran; after a barrier none
      is left.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import ModelPart
from detector.core.alerts.alert import alert_id, make_alert
from detector.core.alerts.explain import Explainer
from detector.core.alerts.exploration import BY_SCORE, Exploration
from detector.core.alerts.policy import Policy, Published, Suppressed
from detector.core.events import Admission, BlockReader, Events, EventTime, ParsedEvent, Rejected
from detector.core.features import DAY_S, Features, Layout, Profiles, Rows, Units, empty_rows, to_rows
from detector.core.jobs import AT_ONCE, Lanes
from detector.core.labels.event_buffer import Memory
from detector.core.labels.feedback import LabelBook
from detector.core.labels.peer_messages import Exchange
from detector.core.labels.peers import Sharing
from detector.core.labels.supervision import Supervision
from detector.core.model.calibration import Calibration
from detector.core.model.clusters import ENTITIES_SHOWN_MIN, EVERYTHING, Core
from detector.core.model.serving import Embedding, Located, Promotion
from detector.core.model.training import Trainer
from detector.core.records import Alert, DeadLetter, Identity, Lap, Outputs, Record, Scored, no_lap
from detector.core.state import copied

# Events that the learner is given at once, at most: each time the interpreter's lock goes to and fro.
TRAINED_AT_ONCE = 2048
# Times so many that may wait to be learned beside scoring; further ones wait for the first of them.
TRAININGS_WAITING_MAX = 4
# Whose chance a generator is, besides the shard's own.
TRAINED, PROMOTED = 1, 2
# Multiples of it lie apart from each other modulo 1, however many there are (Knuth 6.4).
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
# Share of the interval that a promotion has: more makes what serves older, less makes barriers wait for it.
LEAD = 0.75
# No alert before so many events: a threshold needs a distribution.
ALERT_EVENTS_MIN = 512
# A few records cost nearly as much to read as one: where a block lacks less, some are read in vain.
READ_MIN = 16
# Memories of the calibration after which an event's weight is gone.
RECOUNTED = 4


class Inquired(NamedTuple):
    """Why an event that was asked for gave no alert."""

    fate: str
    threshold: float  # inf: none yet
    alert: Alert | None  # what would have been told; None without a threshold


class Shard:
    """See the module's text. Not thread safe."""

    def __init__(
        self,
        config: ModelPart,
        identity: Identity,
        *,
        position: int,
        labels_end: int,
        told_end: int = 0,
        lap: Lap = no_lap,
        lanes: Lanes = AT_ONCE,
    ) -> None:
        self._identity = identity
        self._lap = lap
        self._lanes = lanes
        self.position = position
        self.labels_end = labels_end
        self.told_end = told_end
        self.exchange = Exchange(identity)
        self._accepted = 0  # events ever; a new model begins to count its own
        self.inquiry: int | None = None  # offset of an event to be explained whether it is alerted or not
        self.inquired: Inquired | None = None
        self._admission = Admission(config.event)
        self._equip(config)
        self._build()

    def _equip(self, config: ModelPart) -> None:
        """Make what goes around the model, whatever it has learned."""
        self.config = config
        self._config_hash = config.hash()
        self._layout = Layout(config.event, config.model.features)
        self._reader = BlockReader(
            config.event,
            self._identity.entity_key,
            require_key=config.require_key,
            resources=self._identity.resources,
        )
        self.entity_key_id = self._reader.parser.entity_key_id
        self._policy = Policy(config.alerts, config.partitions)
        self._exploration = Exploration(config.model.seed, self._identity.partition)

    def _build(self) -> None:
        """Make an untrained model."""
        model = self.config.model
        self._features = Features(self._layout)
        self._seed = model.seed, self._identity.partition
        self._rng = np.random.Generator(np.random.PCG64(self._seed))
        layout = self._layout
        self._set_units(Units(np.ones(len(layout.numerics))))
        self._profiles = Profiles(layout, model.features)
        trained = np.random.Generator(np.random.PCG64([*self._seed, TRAINED]))
        self._trainer = Trainer(model, layout, self._features, self._rng, trained)
        self._untrained: list[tuple[Rows, NDArray[np.float32], NDArray[np.bool_]]] = []  # blocks, accepted
        self._trainings: deque[Callable[[], None]] = deque()  # under way
        self._promotion: Callable[[], Promotion] | None = None  # under way, or made and not installed
        self._core = Core(model.clusters, layout)
        self._embedding = Embedding(model, layout, self._features, self._rng)
        self._calibration = Calibration(model.calibration, self._embedding.weights, self._embedding.bounded)
        self._supervise()
        self._last_row = empty_rows(1, layout)
        self._begin_block()
        self._time = EventTime()
        self.events = 0  # accepted since the model began
        self.since_barrier = 0
        self._since_promotion = 0
        self._threshold = np.inf  # lowest score of a candidate
        self._events_per_day = 1.0

    def _begin_block(self) -> None:
        """Make room for a block."""
        block = self.config.model.barriers.block_events
        self._block = empty_rows(block, self._layout)
        self._inputs = np.zeros((block, len(self._features)), dtype=np.float32)
        self._distances = np.zeros(block)
        self._believed = np.zeros(block)  # event time of each row, as believed
        self._now = np.zeros(block)  # how far event time had come with it
        self._filled = 0

    def _supervise(self) -> None:
        model, identity = self.config.model, self._identity
        memory = Memory(model.labels, self._layout, len(self._features))
        self._book = LabelBook(model.labels, identity.topic, identity.partition, memory)
        self._supervision = Supervision(
            model,
            self._layout,
            self._features,
            self._book,
            memory,
            self._rng,
            shares=self.config.exchange,
        )
        self._sharing = Sharing(self._supervision, self._layout, shape(self.config), identity.partition)

    # --- what the partition asks -------------------------------------------------------------------------

    @property
    def interval(self) -> int:
        """Events from the last barrier to the next regular one.

        The first usual one is shorter, by partition: else partitions that are equally busy would have their
        barriers at the same time, for ever.
        """
        barriers, version = self.config.model.barriers, self._embedding.version
        usual = barriers.interval(version)
        if version == 0 or barriers.young(version) or not barriers.young(version - 1):
            return usual
        blocks = self._identity.partition * GOLDEN % 1.0 * (usual // barriers.block_events)
        return usual - int(blocks) * barriers.block_events

    @property
    def _block_end(self) -> int:
        """Rows of a whole block: fewer where a regular barrier comes within it, as the first one does."""
        left = self.interval - self.since_barrier
        return left if 0 < left < len(self._block) else len(self._block)

    @property
    def pending(self) -> int:
        """Events of the block that is not complete yet."""
        return self._filled

    @property
    def event_time(self) -> float:
        """How far event time has come, s since the epoch; -inf before the first event."""
        return self._time.now

    @property
    def warming_up(self) -> bool:
        return self._warms_up(self.events)

    def _warms_up(self, event: int) -> bool:
        return event < self.config.model.calibration.warm_up_events

    def gauges(self) -> dict[str, float]:
        """Numbers for people."""
        return {
            "events": float(self.events),
            "warm_up": float(self.warming_up),
            "version": float(self._embedding.version),
            "encoder_step": float(self._embedding.step),
            "encoder_loss": self._trainer.loss,
            "clusters": float(len(self._embedding.clusters)),
            "core_events": float(len(self._core)),
            "profiles": float(len(self._profiles)),
            "threshold": float(self._threshold) if np.isfinite(self._threshold) else 0.0,
            "trim": self._calibration.trim_score if self._embedding.ready else 0.0,
            "events_per_day": self._events_per_day,
            "labels": float(len(self._book.labels)),
            "label_weight": self._calibration.label_weight,
            "fraud_keys": float(len(self._supervision.risks)),
            "overdrafts": float(self._policy.overdrafts),
            **self._sharing.gauges(),
            **self._exploration.estimates,
        }

    # --- records in, outputs out ---------------------------------------------------------------------------

    def take(self, records: Sequence[Record], *, silent: bool) -> tuple[int, Outputs, bool]:
        """Process records up to the end of the block.

        Returns
        -------
        consumed, outputs, block_ended
            With `silent` the outputs are empty: they were published before.
        """
        events, dead, consumed = self._parse(records)
        irregular = self._admission.collect()
        self.position = records[consumed - 1].offset + 1 if consumed else self.position
        self._lap("parse")
        outputs = Outputs(dead_letters=tuple(dead), irregular=irregular)
        if len(events):
            outputs = self._score(events, outputs, silent=silent)
        block_ended = self._filled == self._block_end
        if block_ended:
            self._learn()
            self._lap("learn")
        return consumed, Outputs() if silent else outputs, block_ended

    def _parse(self, records: Sequence[Record]) -> tuple[Events, list[DeadLetter], int]:
        """Read records up to the end of the block; event time follows those that enter."""
        pieces: list[Events] = []
        dead: list[DeadLetter] = []
        consumed, filled = 0, self._filled
        while consumed < len(records) and (room := self._block_end - filled):
            piece = records[consumed : consumed + max(room, READ_MIN)]
            events, rejected = self._reader.read(piece)
            admitted = self._admission.admit(events, rejected, self._time, room)
            entered = slice(filled, filled + len(admitted.rows))
            self._believed[entered], self._now[entered] = admitted.bounded_times, admitted.now
            pieces.append(events.take(admitted.rows))
            dead += [self._dead_letter(piece[row], why) for row, why in admitted.refused.items()]
            consumed, filled = consumed + admitted.consumed, entered.stop
        return Events.joined(pieces or [self._reader.read([])[0]]), dead, consumed

    def _dead_letter(self, record: Record, rejected: Rejected) -> DeadLetter:
        facts = {
            "detector_reason": rejected.reason,
            "detector_detail": rejected.detail[:1024],
            "detector_topic": self._identity.topic,
            "detector_partition": str(self._identity.partition),
            "detector_offset": str(record.offset),
        }
        headers = tuple((name, text.encode(errors="replace")) for name, text in facts.items())
        return DeadLetter(
            offset=record.offset,
            key=record.key,
            value=record.value,
            headers=record.headers + headers,
            reason=rejected.reason,
            detail=rejected.detail,
        )

    def _score(self, events: Events, outputs: Outputs, *, silent: bool) -> Outputs:
        """Score what entered; returns `outputs` with all that it gave."""
        count = slice(self._filled, self._filled + len(events))
        self._fill(events, count)
        self._lap("features")
        located = None
        distances, labelled = np.zeros(len(events)), np.full(len(events), np.nan)
        plain = distances
        if self._embedding.ready:
            located = self._embedding.locate(self._block, self._inputs, count)
            plain, labelled = self._calibration.combine(located.parts), located.labelled
            distances = self._calibration.mix(plain, labelled)
        self._distances[count] = distances
        scores = self._calibration.scores(distances) if located else np.zeros(len(events))
        self._lap("score")
        alerts, alerted, suppressed = self._alert(events, located, scores, count.start, silent=silent)
        rows = self._block.take(count)
        if self.config.feedback:
            self._supervision.remember(
                events.id_hashes, events.offsets, rows, self._inputs[count], plain, labelled, alerted
            )
        self._lap("alert")
        self.events += len(events)
        self._accepted += len(events)
        self._filled = count.stop
        if silent:
            return Outputs()
        scored = Scored(
            offsets=events.offsets,
            times=events.times,
            scores=scores,
            quantiles=1.0 - 10.0**-scores,
            alerted=alerted,
            timestamps_ms=np.array([record.timestamp_ms for record in events.records], dtype=np.int64),
            ids=events.ids,
            keys=[record.key for record in events.records],
            model_version=self._embedding.version,
        )
        return replace(
            outputs,
            scored=(scored,),
            alerts=tuple(alerts),
            suppressed=suppressed,
            key_mismatches=int((~events.key_matches).sum()),
        )

    def _fill(self, events: Events, count: slice) -> None:
        if count.start == 0:
            self._profiles.reserve(len(self._block))
        self._block.put(count, to_rows(events, self._layout, self._units))
        self._block.times[count] = self._believed[count]
        taken = self._block.take(count)
        self._profiles.observe(taken)
        self._supervision.risks.read(taken)
        self._inputs[count] = self._features.compute(taken)

    # --- alerts --------------------------------------------------------------------------------------------

    def _alert(
        self,
        events: Events,
        located: Located | None,
        scores: NDArray[np.float64],
        start: int,
        *,
        silent: bool,
    ) -> tuple[list[Alert], NDArray[np.bool_], dict[str, int]]:
        """Returns alerts (none with `silent`), which events were alerted (n,), and candidates held back."""
        alerts: list[Alert] = []
        alerted = np.zeros(len(events), dtype=bool)
        suppressed: dict[str, int] = {}
        asked = next(iter(np.flatnonzero(events.offsets == self.inquiry).tolist()), None)
        if located is None or not np.isfinite(self._threshold):
            if asked is not None:
                self.inquired = Inquired("there is no threshold yet", self._threshold, None)
            return alerts, alerted, suppressed
        explored = self._policy.explore_probability(self._events_per_day)
        drawn = self._exploration.draw(self._accepted + np.arange(len(events)), explored)
        for i in np.flatnonzero((scores >= self._threshold) | drawn).tolist():
            event, score = events[i], float(scores[i])
            severity = self._policy.severity(score)
            id_, probability = alert_id(self._identity, event.record.offset), BY_SCORE
            decision: Published | Suppressed | None = None
            if score >= self._threshold:
                decision = self._policy.decide(
                    id_,
                    event.entities[0] if event.entities else 0,
                    severity,
                    event=self._accepted + i,
                    time=float(self._block.times[start + i]),
                    now=float(self._now[start + i]),
                    events_per_day=self._events_per_day,
                )
            if drawn[i] and not isinstance(decision, Published):
                decision, probability = Published(id_, 0, "exploration"), explored
            if isinstance(decision, Suppressed):
                suppressed[decision.reason] = suppressed.get(decision.reason, 0) + 1
                if i == asked:
                    self._inquire(event, located, i, start, score, f"held back: {decision.reason}")
                continue
            assert decision is not None
            alerted[i] = True
            self._exploration.publish(event.record.offset, probability)
            if not silent:
                row = self._block.take(slice(start + i, start + i + 1))
                alerts.append(self._explained(event, row, located, i, score, severity, decision))
        if asked is not None and self.inquired is None and not alerted[asked]:
            score = float(scores[asked])
            self._inquire(events[asked], located, asked, start, score, "below the threshold")
        return alerts, alerted, suppressed

    def _inquire(
        self, event: ParsedEvent, located: Located, i: int, start: int, score: float, fate: str
    ) -> None:
        """Explain an event that gave no alert as if it had given one."""
        row = self._block.take(slice(start + i, start + i + 1))
        severity = self._policy.severity(score)
        alert = self._explained(event, row, located, i, score, severity, Published("", 0))
        self.inquired = Inquired(fate, self._threshold, alert)

    def _explained(
        self,
        event: ParsedEvent,
        row: Rows,
        located: Located,
        i: int,
        score: float,
        severity: int,
        decision: Published,
    ) -> Alert:
        embedding, alerts = self._embedding, self.config.alerts
        assert embedding.exemplars is not None
        view = self._reader.parser.view(event.record)
        nearest = int(located.clusters[i, 0])
        shared = self._shared(located, i)
        reasons = self._explainer.reasons(
            row,
            embedding.exemplars.typical(shared),
            view,
            score,
            self._score_rows,
            count_max=alerts.reasons_max,
            tellable=shared != EVERYTHING or embedding.exemplars.everybody >= ENTITIES_SHOWN_MIN,
        )
        schema = self.config.event
        exposure = None if schema.exposure is None else view.values[schema.exposure]
        return make_alert(
            self._identity,
            event,
            view,
            decision,
            severity=severity,
            exposure=exposure,
            main_name=schema.entities[0].name if schema.entities else None,
            score={
                "raw": score,
                "quantile": 1.0 - 10.0**-score,
                "threshold": self._threshold,
                "warm_up": self._warms_up(self.events + i),
            },
            reasons=reasons,
            exemplars=self._exemplars(located, i),
            cluster={
                "id": nearest,
                "distance": float(located.distances[i, 0]),
                "events": int(embedding.clusters.sizes[nearest]),
                "radius": float(embedding.clusters.radii[nearest]),
            },
            model={
                "version": embedding.version,
                "encoder_step": embedding.step,
                "config": self._config_hash,
            },
        )

    def _shared(self, located: Located, i: int) -> int:
        """Nearest cluster whose medians may be told: those of few people are their transactions."""
        assert self._embedding.exemplars is not None
        people = self._embedding.exemplars.people
        near = (number for number in located.clusters[i].tolist() if people[number] >= ENTITIES_SHOWN_MIN)
        return next(near, EVERYTHING)

    def _exemplars(self, located: Located, i: int) -> list[dict[str, Any]]:
        """Medians of the nearest clusters that enough people share; no ids, no text."""
        embedding = self._embedding
        assert embedding.exemplars is not None
        shown: list[dict[str, Any]] = []
        for number, distance in zip(located.clusters[i].tolist(), located.distances[i].tolist(), strict=True):
            if len(shown) == self.config.alerts.exemplars_max:
                break
            if embedding.exemplars.people[number] < ENTITIES_SHOWN_MIN:
                continue
            values = self._units.restore(embedding.exemplars.typical(number).numerics)[0]
            medians = {
                field.name: None if np.isnan(value) else float(f"{value:.6g}")
                for field, value in zip(self._layout.numerics, values, strict=True)
            }
            events = int(embedding.clusters.sizes[number])
            shown.append({"cluster": number, "distance": distance, "events": events, "medians": medians})
        return shown

    def _score_rows(self, rows: Rows) -> NDArray[np.float64]:
        inputs = self._features.compute(rows)
        located = self._embedding.locate(rows, inputs, slice(None))
        plain = self._calibration.combine(located.parts)
        return self._calibration.scores(self._calibration.mix(plain, located.labelled))

    # --- learning ------------------------------------------------------------------------------------------

    def _learn(self) -> None:
        """Learn from the block; it is complete unless a barrier comes within it."""
        filled = np.arange(len(self._block)) < self._filled
        if not filled.all():  # what lies behind is of an earlier block, or of none after a restore
            rest = slice(self._filled, None)
            self._block.put(rest, empty_rows(len(self._block) - self._filled, self._layout))
            self._inputs[rest] = 0.0
        accepted = filled
        if self._embedding.ready:
            accepted = filled & self._calibration.accepts(self._distances)
            self._calibration.learn(self._distances[filled], accepted[filled])
            self._embedding.learn(self._inputs[filled])
            self._keep_to_train(accepted)
        self._core.learn(self._block, np.flatnonzero(accepted), self._rng)
        self._last_row = self._block.take(slice(self._filled - 1, self._filled)).copy()
        self._profiles.update_priors(self._last_row)
        self.since_barrier += self._filled
        self._since_promotion += self._filled
        self._filled = 0
        if self._embedding.ready and self._since_promotion >= self.interval - self._lead:
            self._prepare()
        self._renew_threshold()

    def _keep_to_train(self, accepted: NDArray[np.bool_]) -> None:
        """Let the learner have the block: fewer at once the nearer a barrier is, which waits for the last."""
        self._untrained.append((self._block.copy(), self._inputs.copy(), accepted))
        waiting = len(self._untrained) * len(self._block)
        to_barrier = self.interval - self._since_promotion - len(self._block)
        if waiting >= TRAINED_AT_ONCE or waiting > to_barrier:
            self._train_waiting()

    def _train_waiting(self) -> None:
        if not self._untrained:
            return
        if len(self._trainings) == TRAININGS_WAITING_MAX:
            self._trainings.popleft()()
        trainer, blocks, self._untrained = self._trainer, self._untrained, []

        def learn() -> None:
            rows, inputs, accepted = zip(*blocks, strict=True)
            trainer.learn(Rows.joined(rows), np.concatenate(inputs), np.concatenate(accepted))

        self._trainings.append(self._lanes.training(learn))

    @property
    def _lead(self) -> int:
        """How many events before a regular barrier its promotion is begun; whole blocks.

        A young model is too far behind already: its barriers wait.
        """
        barriers = self.config.model.barriers
        if barriers.young(self._embedding.version):
            return 0
        return int(barriers.every_events * LEAD) // len(self._block) * len(self._block)

    def _prepare(self) -> None:
        """Begin to make what the next barrier installs, unless that is begun already."""
        if self._promotion is not None:
            return
        self._train_waiting()
        trainer, embedding, lanes = self._trainer, self._embedding, self._lanes
        fixed, sample, version = embedding.fixed.copy(), self._core.sample(), embedding.version
        rng = np.random.Generator(np.random.PCG64([*self._seed, PROMOTED, version]))
        learned = lanes.training(lambda: trainer.rehearse(sample, version))
        self._promotion = lanes.promotion(lambda: embedding.successor(learned(), fixed, sample, rng))

    def _renew_threshold(self) -> None:
        everything = self._layout.kinds[0]
        per_half_life = float(self._last_row.context[0, everything.start + 1])
        self._events_per_day = max(
            per_half_life * math.log(2.0) * DAY_S / float(self._layout.half_lives_s[0]), 1.0
        )
        if not self._embedding.ready or self.events < ALERT_EVENTS_MIN:
            return
        share = self._policy.next_share(
            event=self._accepted,
            now=self._time.now,
            events_per_day=self._events_per_day,
            block_events=len(self._block),
        )
        far = self._calibration.quantile(1.0 - share)
        self._threshold = float(self._calibration.scores(np.array([far]))[0])

    # --- barriers ------------------------------------------------------------------------------------------

    def barrier(
        self,
        labels: Sequence[tuple[int, bytes]],
        labels_end: int,
        told: Sequence[tuple[int, bytes]] = (),
        told_end: int = 0,
    ) -> dict[str, int]:
        """Install what is due, apply labels and what siblings told, learn from them, tell siblings.

        Returns labels counted by outcome; what is to be told waits in `exchange`.
        """
        if self._filled:
            self._learn()
        self._settle()
        self._promote()
        outcomes = self._apply(labels)
        self.labels_end = labels_end
        self.exchange.hear(told, self._hear)
        self.told_end = told_end
        if self._embedding.ready:
            self._supervision.train(self._supervision.mature(self.event_time))
            frauds = self._supervision.frauds
            self._embedding.renew(self._supervision.learner, (frauds.inputs, frauds), self._core, self._rng)
            self._weigh_labels()
        self._renew_threshold()
        self.since_barrier = 0
        if self.config.exchange:  # also in a silent replay: to tell may change what is told next
            self.exchange.tell(self.position, self._tell())
        return outcomes

    def _settle(self) -> None:
        """Await the learner."""
        self._train_waiting()
        while self._trainings:
            self._trainings.popleft()()

    def _promote(self) -> None:
        """Install what was prepared; nothing at a barrier that comes before it was begun."""
        first = not self._embedding.ready
        if first and len(self._core):
            self._choose_units()
        if len(self._core) and (first or self._since_promotion >= self.interval):
            self._prepare()
        if self._promotion is None:
            return
        promotion, self._promotion = self._promotion(), None
        self._core.assign(promotion.assigned)
        self._embedding.install(promotion)
        self._calibration.renew_parts(promotion.parts)
        if self.warming_up or first:
            self._calibration.restart(self._calibration.combine(promotion.parts))
        self._since_promotion = 0

    def _apply(self, labels: Sequence[tuple[int, bytes]]) -> dict[str, int]:
        """Take in feedback records; returns counts by outcome."""
        outcomes, answers = self._book.apply(labels)
        self._supervision.apply(answers)
        self._exploration.answer({answer.offset: answer.label for answer in answers})
        times, keys = self._supervision.events_of(answers, "fraud")
        self._core.forget(times, keys[:, : len(self._layout.entities)])
        pardoned = self._supervision.pardoned(answers)
        if pardoned is not None:
            self._core.admit(pardoned, self._rng)
        return outcomes

    def _weigh_labels(self) -> None:
        """Let the labelled part have the say it has earned, and count recent events as if it always had.

        None while warming up: then the core alone is counted, and a model file may know labels that its shard
        does not. None without a prototype: the frauds were taken back.
        """
        before = self._calibration.label_weight
        told = self._embedding.knows_labels and not self.warming_up
        self._calibration.label_weight = self._supervision.weigh(before) if told else 0.0
        if self._calibration.label_weight != before and not self.warming_up:
            recent = self._supervision.recent_distances(
                RECOUNTED * self.config.model.calibration.memory_events
            )
            self._calibration.recount(self._calibration.mix(*recent))

    def _hear(self, kind: str, arrays: Mapping[str, NDArray[Any]]) -> bool:
        """Take what a sibling told; False, with nothing changed, if it is of no use here.

        The arrays are read-only and may be of any name, shape and value (also not finite).
        """
        return self._sharing.hear(kind, arrays, self.event_time)

    def _tell(self) -> list[tuple[str, Mapping[str, NDArray[Any]]]]:
        """What siblings should hear from this barrier, within the bounds of `Exchange.tell`."""
        return self._sharing.tell()

    def _choose_units(self) -> None:
        """Read units from the first events, which the core holds, and let profiles begin again on them."""
        rows = self._core.filled()
        values = self._units.restore(rows.numerics)
        self._set_units(Units.read(values))
        rows.numerics[:] = self._units.scale(values)
        self._profiles = Profiles(self._layout, self.config.model.features)
        self._profiles.reserve(len(rows))
        self._profiles.observe(rows)
        self._profiles.update_priors(rows)

    def _set_units(self, units: Units) -> None:
        self._units = units
        self._explainer = Explainer(self._layout, units)

    def reconfigure(self, config: ModelPart) -> None:
        """Take another configuration; where the model depends on what changed, begin a new one.

        Budget, cases and estimates go on in any case, and which labels were given and which events came: they
        do not depend on the model.
        """
        self._settle()
        if self._promotion is not None:
            promotion = self._promotion()
            self._promotion = lambda: promotion
        before, policy, labels = self.config, self._policy.to_state(), copied(self._supervision.to_state())
        exploration, admission = self._exploration.to_state(), self._admission.to_state()
        self._equip(config)
        self._admission = Admission(config.event)
        self._admission.load(admission)
        self._policy.load(policy)
        self._exploration.load(exploration)
        if shape(config) != shape(before):
            self._build()
            self._book.load(labels["book"])
        else:
            self._begin_block()
            self._trainer.barriers = config.model.barriers
            self._supervise()
            self._supervision.load(labels)
        self._set_units(self._units)

    # --- state ---------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """Everything that the future depends on, right after a barrier or before any event.

        Good until the next one; `copied` for longer.
        """
        assert self._filled == 0
        assert self._promotion is None
        assert not self._trainings
        return {
            "time": self._time.to_state(),
            "admission": self._admission.to_state(),
            "events": self.events,
            "accepted": self._accepted,
            "since_barrier": self.since_barrier,
            "since_promotion": self._since_promotion,
            "threshold": self._threshold if np.isfinite(self._threshold) else None,
            "events_per_day": self._events_per_day,
            "units": self._units.units.copy(),
            "rng": self._rng.bit_generator.state,
            "profiles": self._profiles.to_state(),
            **self._trainer.to_state(),
            "core": self._core.to_state(),
            "embedding": self._embedding.to_state() if self._embedding.ready else {},
            "calibration": self._calibration.to_state(),
            "policy": self._policy.to_state(),
            "exploration": self._exploration.to_state(),
            "supervision": self._supervision.to_state(),
            "exchange": self.exchange.to_state(),
            "sharing": self._sharing.to_state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what `to_state` gave."""
        self._time.load(state["time"])
        self._admission.load(state.get("admission", {}))
        self.events, self.since_barrier = state["events"], state["since_barrier"]
        self._accepted = state["accepted"]
        self._threshold = np.inf if state["threshold"] is None else state["threshold"]
        self._events_per_day = state["events_per_day"]
        self._since_promotion = state.get("since_promotion", 0)
        self._set_units(Units(state["units"]))
        self._rng.bit_generator.state = state["rng"]
        self._profiles.load(state["profiles"])
        self._trainer.load(state)
        self._core.load(state["core"])
        if state.get("embedding"):
            self._embedding.load(state["embedding"], self._core)
        self._calibration.load(state["calibration"])
        self._policy.load(state["policy"])
        self._exploration.load(state["exploration"])
        self._supervision.load(state["supervision"])
        self.exchange.load(state.get("exchange", {}))
        self._sharing.load(state.get("sharing", {}))


def shape(config: ModelPart) -> dict[str, Any]:
    """What a model in training depends on, as plain values.

    Not how alerts are made and spelled, nor which events enter, nor when it learns.
    """
    event = config.event.model_dump(
        exclude={
            "format": True,
            "exposure": True,
            "limits": True,
            "duplicates": True,
            "reversals": True,
            "time": {"late"},
        }
    )
    for value in event["fields"]:
        del value["display"], value["unit"]
    return {"event": event, "model": config.model.model_dump(exclude={"labels", "barriers"})}
