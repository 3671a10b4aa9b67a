"""Learning from labels: fraud rates, the labelled encoder, and the weight of the labelled parts in the score.

At a barrier, in this order:

    1. apply     labels change the flags of their events; frauds enter fraud rates and the replay buffer
    2. mature    old events count as judged (see `maturity`): known frauds as frauds, the others as legitimate
    3. train     the labelled encoder learns from judged events and from the replay buffers
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
from detector.core.features import FRAUD as COUNT_FRAUD
from detector.core.features import MATURED as COUNT_MATURED
from detector.core.features import RETRACTED as COUNT_RETRACTED
from detector.core.features import Changes, Features, FraudRates, Layout
from detector.core.labels import identity
from detector.core.labels.event_buffer import ALERTED, FRAUD, LEGITIMATE, EventBuffer, Examples
from detector.core.labels.feedback import AppliedLabels
from detector.core.labels.label_weight import EVENTS_MAX as WEIGHED_EVENTS_MAX
from detector.core.labels.label_weight import best_weight, moved
from detector.core.labels.maturity import Maturity
from detector.core.labels.replay_buffer import ReplayBuffer
from detector.core.model.encoder import LabelLearner

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
        self._frauds, self._answers = ReplayBuffer(nothing), ReplayBuffer(nothing)
        self._peer_frauds = ReplayBuffer(nothing)
        self._maturity = Maturity(buffer, config.labels.maturity_delay)
        self._unpublished = self._nothing_unpublished()
        self._trainings = 0
        self.bins = 0  # how often the labelled encoder's bins were placed

    @property
    def frauds(self) -> Examples:
        """Confirmed frauds to make prototypes from; none before the encoder has learned."""
        examples = self._frauds.examples.joined(self._peer_frauds.examples)
        return examples if self.learner.steps else examples.take(slice(0))

    @property
    def peer_frauds(self) -> int:
        """Number of peers' confirmed frauds that are stored."""
        return len(self._peer_frauds)

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
        )
        self._publish_later(changes)

    def _publish_later(self, changes: Changes) -> None:
        if self._shares:
            self._unpublished.changes = self._unpublished.changes.joined(changes)

    def _update_replay(self, changed: Mapping[int, int]) -> None:
        for replay, wanted in ((self._frauds, FRAUD), (self._answers, ALERTED | LEGITIMATE)):
            added = np.array([n for n, flags in changed.items() if flags & wanted == wanted], dtype=np.int64)
            removed = np.array(
                [n for n, flags in changed.items() if flags & wanted != wanted], dtype=np.int64
            )
            replay.update(removed, added, self._buffer.examples(added))
            if self._shares and replay is self._frauds:
                self._unpublished.frauds += added.tolist()
                self._unpublished.retracted += removed.tolist()

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
        held = np.arange(self._buffer.oldest, self._buffer.events)
        column = self._buffer.column("keys", held)[:, rates.column(kind)]
        here = np.isin(column, keys)
        numbers, of_event = held[here], column[here]
        times = self._buffer.column("times", numbers)
        since = rates.followed_from(kind, keys)[np.searchsorted(keys, of_event)]
        mature = (numbers < self._maturity.end) & self._maturity.is_judged(numbers)
        counted = (times < since) | mature
        times, of_event = times[counted], of_event[counted]
        statuses = np.full(len(times), COUNT_MATURED, dtype=np.int8)
        changes = rates.changes(kind, of_event, times, np.ones((len(times), rates.memories)), statuses)
        changes.events[:] = times >= since[counted]
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
        return (unpublished, *self._frauds.find(np.array(unpublished.frauds, dtype=np.int64)))

    def _nothing_unpublished(self) -> Unpublished:
        return Unpublished(Changes.none(self.fraud_rates.memories))

    # Step 2
    def mature(self, now: float) -> NDArray[np.int64]:
        """Count events that are judged from event time `now` on; returns their numbers (m,)."""
        fresh = self._maturity.advance(now)
        held = np.arange(self._buffer.oldest, self._maturity.end)
        self.fraud_rates.expect(
            judged=len(held),
            unjudged=self._buffer.events - self._maturity.end,
            frauds=int(np.count_nonzero(self._buffer.column("flags", held) & FRAUD)),
        )
        if len(fresh) and len(self.fraud_rates):
            memories = [np.zeros((len(fresh), n)) for n in self._features.fraud_rate_memories]
            changes = self.fraud_rates.count(
                self._buffer.column("keys", fresh),
                self._buffer.column("times", fresh),
                np.full(len(fresh), COUNT_MATURED, dtype=np.int8),
                memories,
            )
            self._publish_later(changes)
        return fresh

    # Step 3
    def train(self, fresh: NDArray[np.int64]) -> None:
        """Learn from newly judged events, older ones and the replay buffers."""
        start, end = self._buffer.oldest, self._maturity.end
        if len(self._frauds) + len(self._peer_frauds) < FRAUDS_MIN or not len(fresh) or end <= start:
            return
        placed = self._trainings.bit_length() + 1
        if self._trainings & (self._trainings - 1) == 0 and placed > self.bins:
            self.bins = placed
            recent = np.arange(max(start, end - EDGE_EVENTS), end)
            inputs = self._buffer.column("inputs", recent).astype(np.float32)
            self.learner.update_edges(self._samples(inputs))
            keys, grams = self._buffer.column("keys", recent), self._buffer.column("grams", recent)
            found = identity.find(keys, inputs, grams, self._features, self._layout)
            self.learner.hide(found.inputs, found.slots)
        self._trainings += 1
        held = np.arange(start, end)
        share = float(np.mean(self._buffer.column("flags", held) & FRAUD != 0))
        batches = max(1, len(fresh) // BATCH)
        steps = STEPS_PER_BATCH * batches
        if self._shares and self.learner.steps < YOUNG_STEPS:
            steps = max(steps, SHARED_STEPS_MIN)
        for step in range(min(steps, STEPS_MAX)):
            numbers = self._rng.integers(start, end, BATCH)
            if step < batches <= STEPS_MAX and len(fresh) >= BATCH:
                numbers = fresh[step * BATCH : (step + 1) * BATCH]
            self._train_step(numbers, max(share, FRAUD_SHARE_MIN))

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

    def _train_step(self, numbers: NDArray[np.int64], fraud_share: float) -> None:
        flags = self._buffer.column("flags", numbers)
        legitimate = numbers[self._maturity.is_judged(numbers) & (flags & FRAUD == 0)]
        examples = self._buffer.examples(legitimate).joined(self._draw_frauds())
        weights = [
            np.ones(len(legitimate)),
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
        places = self._rng.integers(0, len(self._frauds) + len(self._peer_frauds), REPLAYED_FRAUDS)
        own = places[places < len(self._frauds)]
        others = places[places >= len(self._frauds)] - len(self._frauds)
        return self._frauds.examples.take(own).joined(self._peer_frauds.examples.take(others))

    # Step 4
    def weigh(self, label_weight: float) -> float:
        """Return the labelled parts' weight, moved one step towards the best one."""
        end = self._maturity.end
        numbers = np.arange(max(self._buffer.oldest, end - WEIGHED_EVENTS_MAX), end)
        labelled = self._buffer.column("labelled", numbers)
        numbers = numbers[self._maturity.is_judged(numbers) & ~np.isnan(labelled)]
        best = best_weight(
            self._buffer.column("plain", numbers).astype(np.float64),
            self._buffer.column("labelled", numbers).astype(np.float64),
            self._buffer.column("flags", numbers) & FRAUD != 0,
        )
        return moved(label_weight, best)

    def recent_distances(self, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Distances without labels and labelled distances of the last `count` events, in log order."""
        numbers = np.arange(max(self._buffer.oldest, self._buffer.events - count), self._buffer.events)
        return (
            self._buffer.column("plain", numbers).astype(np.float64),
            self._buffer.column("labelled", numbers).astype(np.float64),
        )

    def to_state(self) -> dict[str, Any]:
        """State right after a barrier; without that of the event buffer."""
        return {
            "fraud_rates": self.fraud_rates.to_state(),
            "learner": self.learner.to_state(),
            "frauds": self._frauds.to_state(),
            "answers": self._answers.to_state(),
            "peer_frauds": self._peer_frauds.to_state(),
            "maturity": self._maturity.to_state(),
            "unpublished": self._unpublished.to_state(),
            "trainings": self._trainings,
            "bins": self.bins,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self.fraud_rates.load(state["fraud_rates"])
        self.learner.load(state["learner"])
        self._frauds.load(state["frauds"])
        self._answers.load(state["answers"])
        self._peer_frauds.load(state["peer_frauds"])
        self._maturity.load(state["maturity"])
        self._unpublished = Unpublished.from_state(state["unpublished"])
        self._trainings, self.bins = state["trainings"], state["bins"]


def _relabelled(flags: int, label: str) -> int:
    alerted = flags & ALERTED
    return alerted | {"fraud": FRAUD, "legitimate": LEGITIMATE, "retracted": 0}[label]
