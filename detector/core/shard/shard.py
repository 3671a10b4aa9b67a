"""One partition's complete model: a pure function of its log and its journal's barriers.

A shard is the order in which an event meets the parts of the model:

    record ─ intake ─> event ─ scorer ─> score ─ alerting ─> alert
                                 │                  ^
                       block ─ learning           labels

Rules
    - Events fill blocks of B rows, counted from the last barrier; a block is shorter where a regular
      barrier comes within it. A piece of a block is scored at once. A row's result depends on no other row,
      nor on the number of rows, so it does not depend on how polls cut the log.
    - Learning (calibration, core, learner) happens when a block is complete: events are scored before
      anything learns from them. Only profiles follow event by event, and each event sees them as they were
      before it.
    - What serves (the parts of the score, the spans that scale them) is replaced at barriers only.
    - No clock and no global random generator: time is event time, and the generator is kept in state.
    - The learner's steps and the refit for the next barrier run in background threads. They are started and
      awaited at fixed places of the log, so results do not depend on when they ran. After a barrier none is
      under way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from numpy.typing import NDArray

from detector.config.tree import ModelPart
from detector.core.drifted import Drift
from detector.core.events import Events, Parser
from detector.core.features import Features, Layout
from detector.core.jobs import AT_ONCE, Lanes
from detector.core.labels.case_alerts import CaseAlerts
from detector.core.labels.desk import Desk
from detector.core.labels.event_buffer import EventBuffer
from detector.core.labels.peer_messages import Exchange
from detector.core.labels.peers import Message, Peers
from detector.core.labels.receipts import Barrier
from detector.core.labels.routing import KIND as FEEDBACK
from detector.core.labels.routing import Routing
from detector.core.labels.supervision import Supervision
from detector.core.records import CaseUpdate, Identity, Lap, Outputs, Record, no_lap
from detector.core.recovery.sides import Side, SideRecords
from detector.core.shard.alerting import ALERT_EVENTS_MIN, Alerting
from detector.core.shard.block import Block
from detector.core.shard.embedded import Embedded, embedded
from detector.core.shard.erasing import Erasing, holders
from detector.core.shard.following import follow
from detector.core.shard.intake import Intake
from detector.core.shard.learning import Learning
from detector.core.shard.looking import Looked, look
from detector.core.shard.model_shape import shape
from detector.core.shard.pieces import Decided, Piece
from detector.core.shard.publishing import Taken, with_scored
from detector.core.shard.scoring import Scorer, Scores
from detector.core.shard.sizing import fitted
from detector.core.shard.teaching import learn_from_labels, learned, routed, standing
from detector.core.state import copied, misfit


class Shard:
    """See the module's text. Not thread safe.

    Parameters
    ----------
    position
        Offset of the first record.
    lap
        Called after each stage, to measure it.
    lanes
        Run jobs in the background.
    expects_labels
        Keep events for labels also while `config.feedback` is off; the outputs are the same.
    """

    def __init__(
        self,
        config: ModelPart,
        identity: Identity,
        *,
        position: int,
        lap: Lap = no_lap,
        lanes: Lanes = AT_ONCE,
        expects_labels: bool = False,
    ) -> None:
        self.config, self.position = config, position
        self.exchange = Exchange(identity)
        self._identity, self._lap, self._lanes = identity, lap, lanes
        self._expects_labels = expects_labels
        self._accepted = 0  # events accepted, ever; a new model does not restart it
        self.followed = ""  # the shift that the last barrier followed, in words; empty: none
        self._intake = Intake(config, identity)
        self._alerting = Alerting(config, identity, self._intake.parser)
        self._build()

    def _build(self) -> None:
        """Make an untrained model. The order matters: each part draws from the generator."""
        model = fitted(self.config)
        layout = Layout(self.config.event, model.features)
        features = Features(layout)
        self._learning = Learning(model, layout, features, self._identity.partition, self._lanes)
        self._scorer = Scorer(model, layout, features, self._learning.rng)
        self._block = Block(model.barriers.block_events, layout, len(features))
        self._make_labels()
        self._intake.restart_time()
        self._alerting.restart()
        self.events = 0  # accepted since the model began
        self.since_barrier = 0  # events of complete blocks

    def _make_labels(self) -> None:
        """Make the parts that learn from labels, knowing nothing."""
        model, identity = fitted(self.config), self._identity
        layout, features = self._scorer.layout, self._scorer.features
        self._buffer = EventBuffer(model.labels, layout, len(features))
        erasing = Erasing(self._intake.parser, self._buffer)
        self.desk = Desk(
            model.labels,
            identity,
            self._buffer,
            self._intake.parser.id_hash,
            Routing(*routed(self.config, identity.partition, alone=self._expects_labels)),
            CaseAlerts(self._buffer, self.config.alerts.case_idle_timeout, self._alerting.cases),
            self._alerting,
            erasing,
            self._learning.versions,
        )
        self._alerting.know_answers(self.desk.book.last_answer)
        self._supervision = Supervision(
            model, layout, features, self._buffer, self._learning.rng, shares=self.config.exchange
        )
        parts = self._scorer, self._learning, self._alerting, self._supervision
        erasing.parts = partial(holders, *parts, self.desk.book, self._buffer)
        self._learning.frauds = self._supervision.confirmed
        self._peers = Peers(self._supervision, layout, shape(self.config), identity.partition)

    # --- what the partition asks ---------------------------------------------------------------------------

    @property
    def entity_key_id(self) -> str:
        """Names the key of the hashes that stand for entity values."""
        return self._intake.parser.entity_key_id

    @property
    def interval(self) -> int:
        """Events from the last barrier to the next regular one; 0 once a shift was found: it comes now."""
        if self._scorer.shifts.found is not None:
            return 0
        return self._learning.interval(self._scorer.served.version)

    @property
    def _block_end(self) -> int:
        """Rows of a whole block: fewer where a regular barrier comes within it, as the first one does."""
        left = self.interval - self.since_barrier
        return left if 0 < left < len(self._block) else len(self._block)

    @property
    def pending(self) -> int:
        """Events of the block that is not complete yet."""
        return self._block.filled

    @property
    def event_time(self) -> float:
        """Event time of the shard, s since the epoch; -inf before the first event."""
        return self._intake.time.now

    @property
    def warming_up(self) -> bool:
        """Whether the next event is still in warm-up."""
        return self.events < self.config.model.calibration.warm_up_events

    @property
    def refused(self) -> str:
        """Why the last barrier refused a new encoder, in words; empty: it did not."""
        return self._learning.versions.refusal

    @property
    def drift(self) -> Drift | None:
        """What is known of drift; None: nothing yet."""
        return self._scorer.drift.found

    @property
    def _young(self) -> bool:
        return self.warming_up or self._scorer.shifts.settling

    def gauges(self) -> dict[str, float]:
        """Numbers for the metrics."""
        return {
            "events": float(self.events),
            "warm_up": float(self.warming_up),
            **self._learning.gauges(),
            "labels": float(len(self.desk.book.labels)),
            "fraud_keys": float(len(self._supervision.fraud_rates)),
            **self._buffer.gauges(),
            **self._scorer.gauges(),
            **self._alerting.gauges(),
            **self._peers.gauges(),
        }

    # --- records in, outputs out ---------------------------------------------------------------------------

    def take(self, records: Sequence[Record], *, silent: bool, explain: int | None = None) -> Taken:
        """Process records up to the end of the block.

        Parameters
        ----------
        silent
            Give no outputs: they were published before.
        explain
            Offset of an event whose explanation is wanted also if it gives no alert.
        """
        admitted = self._intake.read(records, self._block, self._block_end)
        consumed = admitted.consumed
        self.position = records[consumed - 1].offset + 1 if consumed else self.position
        self._lap("parse")
        outputs = Outputs() if silent else admitted.outputs()
        inquired = None
        if len(admitted.events):
            scores, decided = self._score(admitted.events, silent=silent, explain=explain)
            inquired = decided.inquired
            if not silent:
                made = scores, decided, self._scorer, self.config.alerts
                outputs = with_scored(outputs, admitted.events, *made)
        if block_ended := (self._block.filled == self._block_end):
            self._learn()
            self._lap("learn")
        return Taken(consumed=consumed, outputs=outputs, block_ended=block_ended, inquired=inquired)

    def look(self, records: Sequence[Record]) -> Looked:
        """Score records, each as if it were the next one; nothing changes."""
        parts = self._intake, self._scorer, self._supervision.fraud_rates, self._alerting
        return look(records, *parts, number=self._accepted, warm_up=self.warming_up)

    @property
    def parser(self) -> Parser:
        """Reads records and values."""
        return self._intake.parser

    @property
    def embedded(self) -> Embedded:
        """The embedding, to be looked at until the next event."""
        return embedded(self._scorer, self._learning, self._buffer, self._supervision.confirmed)

    def _score(self, events: Events, *, silent: bool, explain: int | None) -> tuple[Scores, Decided]:
        """Score admitted events, decide about alerts, and remember the events for labels."""
        block, scorer = self._block, self._scorer
        piece = slice(block.filled, block.filled + len(events))
        scorer.fill(block, events, piece, self._supervision.fraud_rates)
        self._lap("features")
        rows, inputs = block.rows.take(piece), block.inputs[piece]
        scores = scorer.score(rows, inputs)
        block.distances[piece] = scores.distances
        self._lap("score")
        scored = Piece(
            events=events,
            rows=rows,
            inputs=inputs,
            scores=scores.scores,
            cold=scores.cold,
            now=block.now[piece],
            number=self._accepted,
            warm_up_left=self.config.model.calibration.warm_up_events - self.events,
        )
        decided = self._alerting.decide(scored, scorer, silent=silent, explain=explain)
        block.strange[piece] = decided.strange
        if self.config.feedback or self._expects_labels:
            self._buffer.remember(
                ids=events.id_hashes,
                offsets=events.offsets,
                rows=rows,
                inputs=inputs,
                plain=scores.plain,
                labelled=scores.labelled,
                alerted=decided.alerted,
            )
        scorer.watch(events, rows, inputs, scores.scores, decided.ranks)
        self._lap("alert")
        self.events += len(events)
        self._accepted += len(events)
        block.filled = piece.stop
        return scores, decided

    def _learn(self) -> None:
        """Learn from the block; it is complete unless a barrier comes within it."""
        block, scorer = self._block, self._scorer
        block.clear_rest()
        accepted = scorer.learn(block, self._learning.core)
        self.since_barrier += block.filled
        last = block.row(block.filled - 1).copy()
        self._learning.learn(block, accepted, scorer.served)
        scorer.profiles.withdraw(block.rows.take(block.used), block.strange[block.used])
        scorer.profiles.update_priors(last)
        block.filled = 0
        self._alerting.measure_rate(last, scorer.layout)
        self._update_threshold()

    def _update_threshold(self) -> None:
        if self._scorer.served.ready and self.events >= ALERT_EVENTS_MIN:
            calibration, now, size = self._scorer.calibration, self.event_time, len(self._block)
            self._alerting.update_threshold(calibration, event=self._accepted, now=now, block_events=size)

    # --- barriers ------------------------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Whether no background job is under way: a barrier would not wait."""
        return self._learning.settled

    def settles(self) -> bool:
        """Whether the barrier that comes before the next event would not wait; its jobs begin now."""
        if not self._block.filled:  # else the barrier learns from the block's rest before
            self._learning.begin_to_settle()
        return self._learning.settled

    def side_handlers(self) -> dict[Side, Callable[[SideRecords], Mapping[str, int]]]:
        """What applies the records of each side input, in this order; each returns counts by outcome."""
        return {"feedback": self._apply, "exchange": self._receive}

    def case_updates(self) -> tuple[CaseUpdate, ...]:
        """Updates of cases since the last call."""
        return tuple(self._alerting.updates())

    def barrier(self, records: Mapping[Side, SideRecords]) -> dict[Side, Mapping[str, int]]:
        """Make the next version of the model, in this order:

        1. learn from an incomplete block, wait for the learner, follow a shift of the stream, install
           refitted parts
        2. apply the records of the side inputs: labels (see `_apply`), then messages of peers
        3. train on labels, update the parts of the score, weigh the labelled ones
        4. set the threshold; look for drift
        5. pack messages for peers; they wait in `exchange`, with the counts of its messages
        6. write receipts; they wait in `desk`

        Returns
        -------
        dict
            Records by outcome, for each side input.
        """
        # Step 1
        if self._block.filled:
            self._learn()
        self._learning.settle()
        self.followed = follow(self._scorer, self._learning)
        if self.followed:
            self._alerting.forgive()
        self._learning.promote(self._scorer, self._young or bool(self.followed), self._alerting.unusual)
        # Step 2
        before = self._standing()
        outcomes = {side: apply(records.get(side, ())) for side, apply in self.side_handlers().items()}
        outcomes["feedback"] = Counter(outcomes["feedback"]) + Counter(self.desk.settle())
        # Step 3
        if self._scorer.served.ready:
            learn_from_labels(
                self._supervision,
                self._scorer,
                self._learning,
                now=self.event_time,
                memory=self.config.model.calibration.memory_events,
                warming_up=self.warming_up,
            )
        # Step 4
        self._update_threshold()
        self._scorer.look_for_drift(self.event_time, self._alerting.threshold)
        self.since_barrier = 0
        # Step 5
        if self.config.exchange:  # also in a silent replay, because publishing changes state
            self.exchange.publish(self.position, self._publish())
        # Step 6
        changes = learned(before, self._standing())
        self.desk.write(Barrier(position=self.position, event_time=self.event_time, learned=changes))
        return outcomes

    def _standing(self) -> dict[str, float]:
        return standing(self.desk.book, self._supervision, self._learning, self._scorer)

    def _apply(self, labels: SideRecords) -> dict[str, int]:
        """Apply feedback records; returns counts by outcome, and of all that were read.

        A label goes one way, in this order; nothing goes back:

        1. desk              finds the event, checks limits, and makes the value that the others get
        2. supervision       flags, fraud rates, replay buffers
        3. alerting          estimates of missed frauds
        4. learning, scorer  frauds leave the core of normal events; cleared alerts enter it and profiles
        5. learning          follows what is asked of the encoder
        6. all of them       what is held of the entities to erase goes
        """
        self._buffer.expire(self.event_time)
        applied = self.desk.apply(labels, self.event_time, self.position - 1)
        for part in (self._supervision, self._alerting, self._learning, self._scorer):
            part.apply(applied)
        self._learning.govern(self._scorer, restart=self._young)
        if self.desk.erased:
            self.desk.drop_erased()
            self._forget_erased()
        return {"read": len(labels), **applied.outcomes} if labels else {}

    def _forget_erased(self) -> None:
        """Fit the parts of the score to what is left; where nothing is, begin anew."""
        if len(self._learning.core):
            self._learning.refit(self._scorer, restart=self._young)
        elif self._scorer.served.ready:
            desk, book = self.desk, self.desk.to_state()
            supervision = self._supervision
            self._build()
            self.desk.load(book)
            self.desk.take_over(desk)
            self._supervision.take_over(supervision)

    def _publish(self) -> list[Message]:
        return [*self._peers.publish(), *self.desk.routing.publish()]

    def _receive(self, messages: SideRecords) -> dict[str, int]:
        """Apply messages of peers; their counts wait in `exchange`."""
        self.exchange.receive(messages, self._receive_message)
        return {}

    def _receive_message(self, kind: str, arrays: Mapping[str, NDArray[Any]]) -> bool:
        """Apply one message; False, with nothing changed, if it is of no use here.

        The arrays are read-only and may be of any name, shape and value (also not finite).
        """
        if kind == FEEDBACK:
            return self.desk.routing.receive(arrays)
        return self._peers.receive(kind, arrays, self.event_time)

    def reconfigure(self, config: ModelPart) -> None:
        """Use another configuration; where the model depends on what changed, begin a new one.

        Budget, cases, estimates, the labels in force and the known event ids stay in any case, because they
        do not depend on the model.
        """
        self._learning.settle_all()
        before, self.config = self.config, config
        labels = copied(self._labels_state())
        self._intake.reconfigure(config)
        self._alerting.reconfigure(config, self._intake.parser)
        if shape(config) != shape(before):
            self._build()
            self.desk.load(labels["book"])
            return
        model, scorer = fitted(config), self._scorer
        scorer.layout = Layout(config.event, model.features)
        scorer.bound_tables(model)
        self._block = Block(model.barriers.block_events, scorer.layout, len(scorer.features))
        self._learning.reconfigure(model)
        self._make_labels()
        self._load_labels(labels)

    # --- state ---------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """Everything that the future depends on, right after a barrier or before any event.

        Valid until the next event; use `copied` to keep it.
        """
        assert not self._block.filled
        return {
            "events": self.events,
            "accepted": self._accepted,
            "since_barrier": self.since_barrier,
            **self._intake.to_state(),
            **self._learning.to_state(),
            **self._scorer.to_state(),
            "alerting": self._alerting.to_state(),
            **self._labels_state(),
            "exchange": self.exchange.to_state(),
            "peers": self._peers.to_state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned, into a shard that has seen nothing.

        A state of another form raises ValueError.
        """
        if wrong := misfit(state, self.to_state()):
            raise ValueError(wrong)
        self.events, self._accepted = state["events"], state["accepted"]
        self.since_barrier = state["since_barrier"]
        self._intake.load(state)
        self._learning.load(state)
        self._scorer.load(state, self._learning.core)
        self._alerting.load(state["alerting"])
        self._load_labels(state)
        self.exchange.load(state["exchange"])
        self._peers.load(state["peers"])

    def _of_labels(self) -> dict[str, EventBuffer | Desk | Supervision]:
        return {"buffer": self._buffer, "book": self.desk, "supervision": self._supervision}

    def _labels_state(self) -> dict[str, Any]:
        return {name: part.to_state() for name, part in self._of_labels().items()}

    def _load_labels(self, state: Mapping[str, Any]) -> None:
        for name, part in self._of_labels().items():
            part.load(state[name])
