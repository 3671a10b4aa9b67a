"""Learning from labels: fraud rates, labelled encoder and trees, and the labelled parts' weight in the score.

At a barrier, in this order:

    1. apply     labels change the flags of their events; frauds enter fraud rates and the replay buffer
    2. mature    old events count as judged (see `maturity`): known frauds as frauds, the others as legitimate
    3. train     the labelled encoder learns from judged events and from the replay buffers; once enough
                 events have been judged since they were grown, trees are grown anew from the same
    4. weigh     the labelled parts' weight moves towards the one that would have ranked judged events best

Rules
    - Learning is prequential: the event buffer stores inputs and distances as they were when an event was
      scored.
    - Labels must not make the score worse: labelled parts without skill of their own have weight 0.
    - Everything is limited: the event buffer, the replay buffers, the steps of a barrier.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Model
from detector.core.erasure import Counts, Erased, Keys, counted
from detector.core.features import FRAUD as COUNT_FRAUD
from detector.core.features import MATURED as COUNT_MATURED
from detector.core.features import RETRACTED as COUNT_RETRACTED
from detector.core.features import Changes, Features, FraudRates, Layout, Rows, find_identity
from detector.core.labels.event_buffer import ALERTED, FRAUD, LEGITIMATE, EventBuffer, Examples
from detector.core.labels.feedback import AppliedLabels
from detector.core.labels.label_weight import EVENTS_MAX as WEIGHED_EVENTS_MAX
from detector.core.labels.label_weight import best_weight, moved
from detector.core.labels.maturity import Maturity
from detector.core.labels.replay_buffer import ReplayBuffer
from detector.core.model.encoder import LabelLearner
from detector.core.model.trees import Trees

# Known frauds below which nothing is trained: few frauds teach more about themselves than about fraud.
FRAUDS_MIN = 8
# Judged events of a training step, and how many frauds and answered alerts are replayed with them.
BATCH = 256
REPLAYED_FRAUDS, REPLAYED_ANSWERS = 64, 8
# Judged events that the encoder's bins are placed on, and that show what only says whose event it is. For
# fraud rates the bins are placed on keys that had a fraud, and one key that had none for every
# KNOWN_PER_UNKNOWN of them; with fewer than KNOWN_MIN the bins stay.
EDGE_EVENTS = 16_384
KNOWN_MIN, KNOWN_PER_UNKNOWN = 32, 8
UNKNOWN_WITHIN = 0.01  # rounding of half floats
# Steps for each batch of newly judged events: one on it, the others on older ones
# (docs/explanation/experiments.md).
STEPS_PER_BATCH = 4
STEPS_MAX = 128
# A shard with peers has few events of its own, but the frauds of all shards: while its encoder has fewer than
# YOUNG_STEPS steps, it takes at least SHARED_STEPS_MIN steps at a barrier (docs/explanation/experiments.md).
SHARED_STEPS_MIN, YOUNG_STEPS = 48, 4096
# Replayed frauds weigh as much as frauds do among judged events, but at least this share of a batch.
FRAUD_SHARE_MIN = 0.01
# Known frauds below which no trees are grown: from few they rank far worse than the encoder. They are grown
# anew after so many judged events, or a part of those that are stored: growing costs as much as scoring some
# ten thousand events.
GROWN_FRAUDS_MIN = 256
GROWN_EVERY_MIN, GROWN_PART = 16_384, 8
# Judged legitimate events that trees are grown from, evenly spread.
GROWN_LEGITIMATE_MAX = 8192
# Recent events are counted again in pieces of so many; judged ones are left out where there are so large a
# part of the wanted ones without them.
PIECE, UNJUDGED_PART = 4096, 8


@dataclass(slots=True)
class Unpublished:
    """What peers have not been sent yet; emptied at every barrier."""

    changes: Changes  # of fraud rates
    frauds: list[int] = field(default_factory=list)  # numbers of events newly confirmed as fraud
    retracted: list[int] = field(default_factory=list)  # numbers of events that are no longer frauds
    delays: list[float] = field(default_factory=list)  # of fraud labels, s

    def to_state(self) -> dict[str, Any]:
        """State as arrays and plain values."""
        return {
            "changes": self.changes.to_state(),
            "frauds": list(self.frauds),
            "retracted": list(self.retracted),
            "delays": list(self.delays),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Unpublished:
        """Restore what `to_state` returned."""
        changes = Changes.from_state(state["changes"])
        return cls(changes, list(state["frauds"]), list(state["retracted"]), list(state["delays"]))


class Supervision:
    """What a shard learns from labels: its own and, with `shares`, those of its peers.

    Parameters
    ----------
    buffer
        The shard's recent events; labels name events by their numbers there.
    rng
        The shard's generator; used to initialise the learner and to draw examples.
    """

    def __init__(
        self,
        config: Model,
        layout: Layout,
        features: Features,
        buffer: EventBuffer,
        rng: np.random.Generator,
        *,
        shares: bool = False,
    ) -> None:
        self._layout = layout
        self._features = features
        self._buffer = buffer
        self._rng = rng
        self._shares = shares
        self.fraud_rates = FraudRates(layout, config.features)
        self.learner = LabelLearner(
            config.encoder,
            len(features),
            len(layout.categories),
            len(layout.texts),
            layout.fraud_rate_ends,
            rng,
        )
        nothing = buffer.examples(np.zeros(0, dtype=np.int64))
        self.confirmed, self._answers = ReplayBuffer(nothing), ReplayBuffer(nothing)
        self._peer_frauds = ReplayBuffer(nothing)
        self._maturity = Maturity(buffer, config.labels.maturity_delay)
        self._unpublished = self._nothing_unpublished()
        self._trees = Trees()
        self._grown = 0  # number of the first event that had not matured when they were grown
        self._trainings = 0
        self.bins = 0  # how often the labelled encoder's bins were placed

    @property
    def frauds(self) -> Examples:
        """Confirmed frauds to make prototypes from; none before the encoder has learned."""
        examples = self.confirmed.examples.joined(self._peer_frauds.examples)
        return examples if self.learner.steps else examples.take(slice(0))

    @property
    def fraud_offsets(self) -> NDArray[np.int64]:
        """Where each of `frauds` is in the log; -1: in that of a peer."""
        offsets = np.concatenate([self.confirmed.offsets, self._peer_frauds.offsets])
        return offsets if self.learner.steps else offsets[:0]

    @property
    def trees(self) -> Trees:
        """Trees that the latest judged events were grown to; none without confirmed frauds."""
        return self._trees if len(self.confirmed) + len(self._peer_frauds) else Trees()

    @property
    def peer_frauds(self) -> int:
        """Number of peers' confirmed frauds that are stored."""
        return len(self._peer_frauds)

    def replayed(self) -> dict[str, float]:
        """Examples of this shard that training repeats."""
        return {"replayed_frauds": float(len(self.confirmed)), "replayed_answers": float(len(self._answers))}

    @property
    def trainings(self) -> int:
        """Number of barriers at which the labelled encoder learned."""
        return self._trainings

    # Step 1
    def apply(self, applied: AppliedLabels) -> None:
        """Apply labels that were matched with their events."""
        counted: list[tuple[int, int]] = []
        changed: dict[int, int] = {}  # flags by number of the events that got a label
        for answer, time in zip(applied.answers, applied.times.tolist(), strict=True):
            here = np.array([answer.number])
            before = changed.get(answer.number, int(self._buffer.column("flags", here)[0]))
            after = _relabelled(before, answer.label)
            if after & FRAUD and not before & FRAUD:
                counted.append((answer.number, COUNT_FRAUD))
                self._observe_delay(max(answer.time - time, 0.0), alerted=bool(before & ALERTED))
            if before & FRAUD and not after & FRAUD:
                counted.append((answer.number, COUNT_RETRACTED))
            self._buffer.put_flags(answer.number, after)
            changed[answer.number] = after
        self._count(counted)
        self._update_replay(changed)

    def _observe_delay(self, delay_s: float, *, alerted: bool) -> None:
        self._maturity.observe_delay(delay_s, alerted=alerted)
        if self._shares:
            self._unpublished.delays.append(delay_s)

    def _count(self, counted: Sequence[tuple[int, int]]) -> None:
        """Count frauds and retractions, given as event number and kind of change, in fraud rates."""
        if not counted:
            return
        numbers, statuses = np.array(counted, dtype=np.int64).T
        before = self._features.counts_before(self._buffer.column("inputs", numbers))
        # A mature event is in its own key's count already.
        matured = (numbers < self._maturity.end).astype(np.float64)[:, None]
        changes = self.fraud_rates.count(
            self._buffer.column("keys", numbers),
            self._buffer.column("times", numbers),
            statuses.astype(np.int8),
            [counts + matured for counts in before],
            self._buffer.weights(numbers),
        )
        self._publish_later(changes)

    def _publish_later(self, changes: Changes) -> None:
        if self._shares:
            self._unpublished.changes = self._unpublished.changes.joined(changes)

    def _update_replay(self, changed: Mapping[int, int]) -> None:
        for replay, wanted in ((self.confirmed, FRAUD), (self._answers, ALERTED | LEGITIMATE)):
            added = np.array([n for n, flags in changed.items() if flags & wanted == wanted], dtype=np.int64)
            removed = np.array(
                [n for n, flags in changed.items() if flags & wanted != wanted], dtype=np.int64
            )
            offsets = self._buffer.column("offsets", added)
            main = self._buffer.main(added)
            replay.update(removed, added, self._buffer.examples(added), offsets, main)
            if self._shares and replay is self.confirmed:
                self._unpublished.frauds += added.tolist()
                self._unpublished.retracted += removed.tolist()

    # --- what is held of single entities
    def held(self, entities: Keys) -> Counts:
        """Fraud rates of the entities, and examples that training repeats."""
        examples = np.concatenate([self.confirmed.entities, self._answers.entities])
        return {**self.fraud_rates.held(entities), "examples": counted(entities, examples)}

    def erase(self, erased: Erased) -> None:
        """Drop these; peers are told to drop theirs. The event buffer must still have the events."""
        self.fraud_rates.erase(erased)
        self._answers.erase(erased.entities)
        numbers = self._buffer.numbers_of(erased.entities)
        frauds = numbers[self._buffer.column("flags", numbers) & FRAUD != 0]
        frauds = np.union1d(frauds, self.confirmed.erase(erased.entities))
        unpublished, gone = self._unpublished, set(frauds.tolist())
        unpublished.frauds = [number for number in unpublished.frauds if number not in gone]
        if self._shares:
            unpublished.retracted += frauds.tolist()

    def take_over(self, before: Supervision) -> None:
        """Tell peers what another one was to tell them to drop."""
        self._unpublished.retracted = before._unpublished.retracted

    # What peers published, between steps 1 and 2
    def add_changes(self, received: Changes, now: float) -> None:
        """Add fraud rates that a peer counted; keys that it began to follow are followed here, too."""
        for kind, keys in self.fraud_rates.add(received, now):
            history = self._history(kind, keys)
            self.fraud_rates.add(history, now)
            self._publish_later(history)

    def _history(self, kind: int, keys: NDArray[np.uint64]) -> Changes:
        """Judged events of keys that are new to this shard, which it has not counted yet."""
        rates = self.fraud_rates
        held = self._buffer.stored()
        column = self._buffer.column("keys", held)[:, rates.column(kind)]
        here = np.isin(column, keys)
        numbers, of_event = held[here], column[here]
        times = self._buffer.column("times", numbers)
        since = rates.followed_from(kind, keys)[np.searchsorted(keys, of_event)]
        mature = (numbers < self._maturity.end) & self._maturity.is_judged(numbers)
        counted = (times < since) | mature
        times, of_event = times[counted], of_event[counted]
        statuses = np.full(len(times), COUNT_MATURED, dtype=np.int8)
        weights = self._buffer.weights(numbers[counted])
        counts = np.repeat(weights[:, None], rates.memories, axis=1)
        changes = rates.changes(kind, of_event, times, counts, statuses, weights * (times >= since[counted]))
        return rates.merged(changes)

    def add_frauds(
        self,
        removed: NDArray[np.int64],
        added: NDArray[np.int64],
        examples: Examples,
        delays: NDArray[np.float64],
    ) -> None:
        """Add and remove a peer's frauds, by the peer's event numbers, and add its label delays."""
        self._peer_frauds.update(removed, added, examples)
        self._maturity.observe_peer_delays(delays.tolist())

    def take_unpublished(self) -> tuple[Unpublished, NDArray[np.int64], Examples]:
        """What is new since the last call, with numbers and examples of its frauds that are still known."""
        unpublished, self._unpublished = self._unpublished, self._nothing_unpublished()
        return (unpublished, *self.confirmed.find(np.array(unpublished.frauds, dtype=np.int64)))

    def _nothing_unpublished(self) -> Unpublished:
        return Unpublished(Changes.none(self.fraud_rates.memories))

    # Step 2
    def mature(self, now: float) -> NDArray[np.int64]:
        """Count events that are judged from event time `now` on; returns their numbers (m,)."""
        fresh = self._maturity.advance(now)
        held = self._buffer.stored(end=self._maturity.end)
        weights = self._buffer.weights(held)
        self.fraud_rates.expect(
            judged=float(weights.sum()),
            unjudged=self._buffer.events - self._maturity.end,
            frauds=float(weights[self._buffer.column("flags", held) & FRAUD != 0].sum()),
        )
        if len(fresh) and len(self.fraud_rates):
            memories = [np.zeros((len(fresh), n)) for n in self._features.fraud_rate_memories]
            changes = self.fraud_rates.count(
                self._buffer.column("keys", fresh),
                self._buffer.column("times", fresh),
                np.full(len(fresh), COUNT_MATURED, dtype=np.int8),
                memories,
                self._buffer.weights(fresh),
            )
            self._publish_later(changes)
        return fresh

    # Step 3
    def train(self, fresh: NDArray[np.int64]) -> None:
        """Learn from newly judged events, older ones and the replay buffers."""
        held = self._buffer.stored(end=self._maturity.end)
        if len(self.confirmed) + len(self._peer_frauds) < FRAUDS_MIN or not len(fresh) or not len(held):
            return
        placed = self._trainings.bit_length() + 1
        if self._trainings & (self._trainings - 1) == 0 and placed > self.bins:
            self.bins = placed
            self._place_bins(held[-EDGE_EVENTS:])
        self._trainings += 1
        weights = self._buffer.weights(held)
        passed = np.cumsum(weights)
        share = float(weights[self._buffer.column("flags", held) & FRAUD != 0].sum() / passed[-1])
        batches, whole = max(1, int(self._buffer.weights(fresh).sum()) // BATCH), len(fresh) // BATCH
        steps = STEPS_PER_BATCH * batches
        if self._shares and self.learner.steps < YOUNG_STEPS:
            steps = max(steps, SHARED_STEPS_MIN)
        for step in range(min(steps, STEPS_MAX)):
            drawn = self._rng.integers(0, int(passed[-1]), BATCH)
            numbers = held[np.searchsorted(passed, drawn, side="right")]
            likely = np.ones(BATCH)
            if step < whole and batches <= STEPS_MAX:
                numbers = fresh[step * BATCH : (step + 1) * BATCH]
                likely = self._buffer.weights(numbers)
            self._train_step(numbers, likely / likely.mean(), max(share, FRAUD_SHARE_MIN))
        if not len(self._trees) or self._maturity.end - self._grown >= max(
            GROWN_EVERY_MIN, len(held) // GROWN_PART
        ):
            self._grow(held)

    def _place_bins(self, judged: NDArray[np.int64]) -> None:
        """Place the encoder's bins on judged events, and find what only says whose event it is."""
        buffer = self._buffer
        inputs = buffer.column("inputs", judged).astype(np.float32)
        self.learner.update_edges(self._samples(inputs))
        if judged[0] < buffer.oldest:  # a sample has too few pairs of events of the same key
            judged = np.arange(max(buffer.oldest, buffer.events - EDGE_EVENTS), buffer.events)
            inputs = buffer.column("inputs", judged).astype(np.float32)
        keys, grams = buffer.column("keys", judged), buffer.column("grams", judged)
        found = find_identity(keys, inputs, grams, self._features, self._layout)
        self.learner.hide(found.inputs, found.slots)

    def _grow(self, held: NDArray[np.int64]) -> None:
        """Grow trees from judged events among mature ones and the replay buffers."""
        flags, weights = self._buffer.column("flags", held), self._buffer.weights(held)
        legitimate = np.flatnonzero(self._maturity.is_judged(held) & (flags & FRAUD == 0))
        frauds = self.confirmed.examples.joined(self._peer_frauds.examples).inputs
        if len(frauds) < GROWN_FRAUDS_MIN or not len(legitimate):
            return
        self._grown = self._maturity.end
        share = max(float(weights[flags & FRAUD != 0].sum() / weights.sum()), FRAUD_SHARE_MIN)
        passed = np.cumsum(weights[legitimate])
        spread = np.arange(0, passed[-1], -(-passed[-1] // GROWN_LEGITIMATE_MAX))
        chosen = held[legitimate[np.searchsorted(passed, spread, side="right")]]
        inputs = np.concatenate([frauds, self._buffer.examples(chosen).inputs, self._answers.examples.inputs])
        fraud = np.arange(len(inputs)) < len(frauds)
        weights = np.ones(len(inputs))
        weights[~fraud] = len(frauds) * (1.0 - share) / share / (len(inputs) - len(frauds))
        self._trees = Trees.grow(inputs, fraud, weights, ~self.learner.hidden_inputs, self._rng)

    def _samples(self, inputs: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Values that each input's bins are placed on, input by input.

        Few keys ever had a fraud. So the bins of fraud rates are placed on those that had one.
        """
        plain = self._features.plain_count
        yield from inputs[:, :plain].T
        unknown = self._layout.fraud_rates_unknown[: self._layout.doubt]
        end = plain + len(unknown)
        rates = inputs[:, plain:end]
        for columns in (kind.columns for kind in self._layout.fraud_rate_kinds):
            known = rates[np.any(np.abs(rates[:, columns] - unknown[columns]) > UNKNOWN_WITHIN, axis=1)]
            if len(known) < KNOWN_MIN:
                yield from self.learner.edges[plain:][columns]
                continue
            others = np.repeat(unknown[None], len(known) // KNOWN_PER_UNKNOWN, axis=0)
            yield from np.concatenate([known, others])[:, columns].T
        yield from inputs[:, end:].T

    def _train_step(
        self, numbers: NDArray[np.int64], likely: NDArray[np.float64], fraud_share: float
    ) -> None:
        """Learn from mature events `numbers` (m,), each of weight `likely` (m,), and from replayed ones."""
        flags = self._buffer.column("flags", numbers)
        used = self._maturity.is_judged(numbers) & (flags & FRAUD == 0)
        legitimate = numbers[used]
        examples = self._buffer.examples(legitimate).joined(self._draw_frauds())
        weights = [
            likely[used],
            np.full(REPLAYED_FRAUDS, fraud_share * len(legitimate) / REPLAYED_FRAUDS),
        ]
        if len(self._answers):
            examples = examples.joined(self._answers.draw(REPLAYED_ANSWERS, self._rng))
            weights.append(np.ones(REPLAYED_ANSWERS))
        fraud = np.zeros(len(examples), dtype=np.float32)
        fraud[len(legitimate) : len(legitimate) + REPLAYED_FRAUDS] = 1.0
        self.learner.learn(examples.inputs, examples, fraud, np.concatenate(weights).astype(np.float32))

    def _draw_frauds(self) -> Examples:
        """Draw frauds of this shard and of its peers, with repetition."""
        places = self._rng.integers(0, len(self.confirmed) + len(self._peer_frauds), REPLAYED_FRAUDS)
        own = places[places < len(self.confirmed)]
        others = places[places >= len(self.confirmed)] - len(self.confirmed)
        return self.confirmed.examples.take(own).joined(self._peer_frauds.examples.take(others))

    # Step 4
    def weigh(self, label_weight: float) -> float:
        """Return the labelled parts' weight, moved one step towards the best one."""
        numbers = self._buffer.stored(end=self._maturity.end)[-WEIGHED_EVENTS_MAX:]
        labelled = self._buffer.column("labelled", numbers)
        numbers = numbers[self._maturity.is_judged(numbers) & ~np.isnan(labelled)]
        best = best_weight(
            self._buffer.column("plain", numbers).astype(np.float64),
            self._buffer.column("labelled", numbers).astype(np.float64),
            self._buffer.column("flags", numbers) & FRAUD != 0,
            self._buffer.weights(numbers),
        )
        return moved(label_weight, best)

    def recent(self, count: int) -> Iterator[tuple[NDArray[np.float64], Rows, NDArray[np.float32]]]:
        """Yield the latest events, at most `count`, in pieces in log order.

        Judged ones, which the labelled parts have learned from, only where there are hardly any others.

        Each piece has distances without labels (n,), rows with what labelled parts read of them, and inputs
        (n, F).
        """
        end, buffer = self._buffer.events, self._buffer
        first = max(end - count, min(self._maturity.end, end - count // UNJUDGED_PART))
        held = buffer.stored(max(first, buffer.oldest))
        for start in range(0, len(held), PIECE):
            numbers = held[start : start + PIECE]
            inputs = buffer.column("inputs", numbers).astype(np.float32)
            rows = buffer.rows(numbers, self._layout)
            counts = self._features.counts_before(inputs)
            for rated, before in zip(self._layout.fraud_rate_kinds, counts, strict=True):
                rows.context[:, rated.kind.count(-1)] = before[:, -1]
            self.fraud_rates.read(rows)
            yield buffer.column("plain", numbers).astype(np.float64), rows, inputs

    @property
    def versions(self) -> tuple[int, int]:
        """What labelled distances depend on abruptly: the encoder's bins, and the trees."""
        return self.bins, self._grown

    def to_state(self) -> dict[str, Any]:
        """State right after a barrier; without that of the event buffer."""
        return {
            "fraud_rates": self.fraud_rates.to_state(),
            "learner": self.learner.to_state(),
            "frauds": self.confirmed.to_state(),
            "answers": self._answers.to_state(),
            "peer_frauds": self._peer_frauds.to_state(),
            "maturity": self._maturity.to_state(),
            "unpublished": self._unpublished.to_state(),
            "trees": self._trees.to_state(),
            "grown": self._grown,
            "trainings": self._trainings,
            "bins": self.bins,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self.fraud_rates.load(state["fraud_rates"])
        self.learner.load(state["learner"])
        self.confirmed.load(state["frauds"])
        self._answers.load(state["answers"])
        self._peer_frauds.load(state["peer_frauds"])
        self._maturity.load(state["maturity"])
        self._unpublished = Unpublished.from_state(state["unpublished"])
        self._trees, self._grown = Trees.from_state(state["trees"]), state["grown"]
        self._trainings, self.bins = state["trainings"], state["bins"]


def _relabelled(flags: int, label: str) -> int:
    alerted = flags & ALERTED
    return alerted | {"fraud": FRAUD, "legitimate": LEGITIMATE, "retracted": 0}[label]
