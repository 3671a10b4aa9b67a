"""Learning from labels: what they teach the encoder, the fraud shares and the mix of the score.

At a barrier, in this order:

    1. apply     labels find their events in the memory; frauds go into fraud shares and the bank
    2. mature    events old enough count as judged: a known fraud as one, silence as legitimate
    3. train     the labelled encoder, on what has matured and on the bank
    4. weigh     the labelled part's say in the score: what would have ranked the judged events best

Rules
    - Silence is not legitimacy: nothing is judged by it before the .95 quantile of the delays that labels of
      unalerted events had, nor before `maturity_delay`; an unanswered alert is never judged.
    - What is learned was scored before (prequential): the memory keeps inputs and distances as they were.
    - Labels must not make it worse: a labelled part without skill of its own has no say.
    - Everything is bounded: the memory, the bank, the steps of a barrier.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Model
from detector.core.features import FRAUD as COUNT_FRAUD
from detector.core.features import MATURED as COUNT_MATURED
from detector.core.features import RETRACTED as COUNT_RETRACTED
from detector.core.features import Changes, Features, FraudRates, Layout, Rows
from detector.core.labels.event_buffer import ALERTED, FRAUD, LEGITIMATE, Examples, Memory, halves
from detector.core.labels.feedback import Answer, LabelBook
from detector.core.model.calibration import mixed
from detector.core.model.encoder import LabelLearner

# Confirmed frauds (and as many answered alerts that were none) kept for replay.
BANK_MAX = 4096
# Alerted events kept whole, for an answer that makes them normal, and how many answers do so at a barrier.
ALERTS_MAX = 4096
PARDONED_MAX = 32
# Fewer frauds teach more about themselves than about fraud.
FRAUDS_MIN = 8
# Events a step learns from, besides those replayed from the bank.
BATCH = 256
REPLAYED_FRAUDS, REPLAYED_ANSWERS = 64, 8
# Matured events that the bins are laid over; in fraud shares, keys without a fraud are one in so many there.
EDGE_EVENTS = 16_384
KNOWN_MIN, KNOWN_PER_UNKNOWN = 32, 8
UNKNOWN_WITHIN = 0.01  # what half floats may change
# Steps for each batch that has matured: one on it, the others on older ones (docs/EXPERIMENTS.md).
STEPS_PER_BATCH = 4
STEPS_MAX = 128
# A shard among siblings has few events of its own, but all shards' frauds: while its encoder is young it
# takes at least so many steps at a barrier (docs/EXPERIMENTS.md).
SHARED_STEPS_MIN, YOUNG_STEPS = 48, 4096
# Frauds replayed weigh as many as there are, but at least this share of a batch.
FRAUD_SHARE_MIN = 0.01
# Delays of labels remembered, and the quantile that counts as "nobody will report this any more".
DELAYS_MAX = 1024
DELAY_QUANTILE = 0.95
# Judged events that the mix is chosen by; of the legitimate ones so many are looked at.
WEIGHED_EVENTS = 65_536
WEIGHED_LEGITIMATE = 8192
WEIGHTS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)
# It has a say only if that is better than none by so much: what it replaces needs no labels and cannot be
# misled. Of weights that differ by less than the second the heaviest is taken, so that noise moves none.
BETTER_BY, AS_GOOD = 1.02, 1.01
# The mix moves by at most so much at a barrier: alerts should not change their ways from one to the next.
WEIGHT_STEP = 0.25


class Bank:
    """Labelled examples kept for replay, by event number; the oldest go."""

    def __init__(self, empty: Examples) -> None:
        self._numbers = np.zeros(0, dtype=np.int64)
        self.examples = empty

    def __len__(self) -> int:
        return len(self._numbers)

    def renew(self, gone: NDArray[np.int64], coming: NDArray[np.int64], examples: Examples) -> None:
        """Take some events out and others, of which there are `examples`, in."""
        kept = np.flatnonzero(~np.isin(self._numbers, np.concatenate([gone, coming])))
        kept = kept[max(0, len(kept) + len(coming) - BANK_MAX) :]
        latest = slice(max(0, len(coming) - BANK_MAX), None)
        self._numbers = np.concatenate([self._numbers[kept], coming[latest]])
        self.examples = self.examples.take(kept).joined(examples.take(latest))

    def those_of(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], Examples]:
        """The events among `numbers` that are here."""
        here = np.flatnonzero(np.isin(self._numbers, numbers))
        return self._numbers[here], self.examples.take(here)

    def draw(self, count: int, rng: np.random.Generator) -> Examples:
        """Draw at random, with repetition."""
        return self.examples.take(rng.integers(0, len(self), count))

    def to_state(self) -> dict[str, Any]:
        return {"numbers": self._numbers, **self.examples.to_state()}

    def load(self, state: Mapping[str, Any]) -> None:
        self._numbers, self.examples = state["numbers"], Examples.from_state(state)


@dataclass(slots=True)
class News:
    """What siblings were not told yet; emptied at every barrier."""

    changes: Changes
    frauds: list[int] = field(default_factory=list)  # numbers of events that are known as fraud since
    retracted: list[int] = field(default_factory=list)  # or no longer
    delays: list[float] = field(default_factory=list)  # of fraud labels, s

    def to_state(self) -> dict[str, Any]:
        return {
            "changes": self.changes.to_state(),
            "frauds": list(self.frauds),
            "retracted": list(self.retracted),
            "delays": list(self.delays),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> News:
        changes = Changes.from_state(state["changes"])
        return cls(changes, list(state["frauds"]), list(state["retracted"]), list(state["delays"]))


class Supervision:
    """All that a shard knows through labels, its own and, with `shares`, its siblings'."""

    def __init__(
        self,
        config: Model,
        layout: Layout,
        features: Features,
        book: LabelBook,
        memory: Memory,
        rng: np.random.Generator,
        *,
        shares: bool = False,
    ) -> None:
        self._config = config.labels
        self._shares = shares
        self._risk_columns = [risk.columns for risk in layout.fraud_rate_kinds]
        self._unknown = layout.fraud_rates_unknown
        self._features = features
        self._book = book
        self._memory = memory
        self._rng = rng
        self.risks = FraudRates(layout, config.features)
        self.learner = LabelLearner(
            config.encoder,
            len(features),
            len(layout.categories),
            len(layout.texts),
            layout.fraud_rate_ends,
            rng,
        )
        nothing = memory.examples(np.zeros(0, dtype=np.int64))
        self._frauds, self._answers = Bank(nothing), Bank(nothing)
        self._told_frauds = Bank(nothing)  # siblings'
        self.news = News(Changes.none(self.risks.memories))
        self._judged = 0  # number of the first event that has not matured
        self._trainings = 0
        self.bins = 0  # how often the labelled encoder's bins were laid
        self._alerts: OrderedDict[int, Rows] = OrderedDict()  # by event number, one row each; the oldest goes
        # Delays of fraud labels, s: of events that had not been alerted, of all, and siblings'.
        self._delays: dict[str, list[float]] = {"unalerted": [], "all": []}
        self._told_delays: list[float] = []

    @property
    def frauds(self) -> Examples:
        """Confirmed frauds to make prototypes of; none before anything was learned."""
        examples = self._frauds.examples.joined(self._told_frauds.examples)
        return examples if self.learner.steps else examples.take(slice(0))

    @property
    def told_frauds(self) -> int:
        """Siblings' confirmed frauds that are kept."""
        return len(self._told_frauds)

    @property
    def trainings(self) -> int:
        """Barriers at which the labelled encoder learned."""
        return self._trainings

    def remember(
        self,
        ids: NDArray[np.uint64],
        offsets: NDArray[np.int64],
        rows: Rows,
        inputs: NDArray[np.float32],
        plain: NDArray[np.float64],
        labelled: NDArray[np.float64],
        alerted: NDArray[np.bool_],
    ) -> None:
        """Hold n scored events, ids as hashes, for labels to come."""
        self._memory.remember(
            ids=ids,
            offsets=offsets,
            times=rows.times,
            keys=rows.keys(),
            inputs=halves(inputs),
            grams=rows.grams,
            plain=plain,
            labelled=labelled,
            flags=np.where(alerted, np.uint8(ALERTED), np.uint8(0)),
        )
        first = self._memory.events - len(ids)
        for i in np.flatnonzero(alerted).tolist():
            self._alerts[first + i] = rows.take(slice(i, i + 1)).copy()
        while len(self._alerts) > ALERTS_MAX:
            self._alerts.popitem(last=False)

    # Step 1
    def apply(self, answers: Sequence[Answer]) -> None:
        """Take in labels that found their events."""
        counted: list[tuple[int, int]] = []
        changed: dict[int, int] = {}  # flags of events that got a label
        for answer in answers:
            here = np.array([answer.number])
            before = changed.get(answer.number, int(self._memory.column("flags", here)[0]))
            after = _relabelled(before, answer.label)
            if after & FRAUD and not before & FRAUD:
                counted.append((answer.number, COUNT_FRAUD))
                self._observe_delay(answer, alerted=bool(before & ALERTED))
            if before & FRAUD and not after & FRAUD:
                counted.append((answer.number, COUNT_RETRACTED))
            self._memory.put_flags(answer.number, after)
            changed[answer.number] = after
        self._count(counted)
        self._renew_banks(changed)

    def pardoned(self, answers: Sequence[Answer]) -> Rows | None:
        """Rows of alerted events that were answered as legitimate, at most PARDONED_MAX; None without any."""
        rows = [
            self._alerts[a.number] for a in answers if a.label == "legitimate" and a.number in self._alerts
        ]
        return Rows.joined(rows[:PARDONED_MAX]) if rows else None

    def events_of(
        self, answers: Sequence[Answer], label: str
    ) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
        """Times (m,) and keys (m, E + C) of the events that were answered so."""
        numbers = np.array([answer.number for answer in answers if answer.label == label], dtype=np.int64)
        return self._memory.column("times", numbers), self._memory.column("keys", numbers)

    def _observe_delay(self, answer: Answer, *, alerted: bool) -> None:
        delay = answer.time - float(self._memory.column("times", np.array([answer.number]))[0])
        for kind in ["all"] if alerted else ["all", "unalerted"]:
            self._delays[kind] = [*self._delays[kind], max(delay, 0.0)][-DELAYS_MAX:]
        if self._shares:
            self.news.delays.append(max(delay, 0.0))

    def _count(self, counted: Sequence[tuple[int, int]]) -> None:
        if not counted:
            return
        numbers, what = np.array(counted, dtype=np.int64).T
        before = self._features.counts_before(self._memory.column("inputs", numbers))
        matured = (numbers < self._judged).astype(np.float64)[:, None]  # then they count themselves already
        changes = self.risks.count(
            self._memory.column("keys", numbers),
            self._memory.column("times", numbers),
            what.astype(np.int8),
            [counts + matured for counts in before],
        )
        self._note(changes)

    def _note(self, changes: Changes) -> None:
        if self._shares:
            self.news.changes = self.news.changes.joined(changes)

    def _renew_banks(self, changed: Mapping[int, int]) -> None:
        for bank, wanted in ((self._frauds, FRAUD), (self._answers, ALERTED | LEGITIMATE)):
            coming = np.array([n for n, flags in changed.items() if flags & wanted == wanted], dtype=np.int64)
            gone = np.array([n for n, flags in changed.items() if flags & wanted != wanted], dtype=np.int64)
            bank.renew(gone, coming, self._memory.examples(coming))
            if self._shares and bank is self._frauds:
                self.news.frauds += coming.tolist()
                self.news.retracted += gone.tolist()

    # What siblings told, between steps 1 and 2
    def add_changes(self, told: Changes, now: float) -> None:
        """Add fraud shares that a sibling counted; what it began to follow is followed here, too."""
        for kind, keys in self.risks.add(told, now):
            history = self._history(kind, keys)
            self.risks.add(history, now)
            self._note(history)

    def _history(self, kind: int, keys: NDArray[np.uint64]) -> Changes:
        """What this shard did not count of keys that are new to it: their events that count as judged."""
        held = np.arange(self._memory.oldest, self._memory.events)
        column = self._memory.column("keys", held)[:, self.risks.column(kind)]
        here = np.isin(column, keys)
        numbers, of_event = held[here], column[here]
        times = self._memory.column("times", numbers)
        since = self.risks.followed_from(kind, keys)[np.searchsorted(keys, of_event)]
        counted = (times < since) | ((numbers < self._judged) & self._is_judged(numbers))
        times, of_event = times[counted], of_event[counted]
        what = np.full(len(times), COUNT_MATURED, dtype=np.int8)
        changes = self.risks.changes(kind, of_event, times, np.ones((len(times), self.risks.memories)), what)
        changes.events[:] = times >= since[counted]
        return self.risks.merged(changes)

    def add_frauds(
        self,
        gone: NDArray[np.int64],
        coming: NDArray[np.int64],
        examples: Examples,
        delays: NDArray[np.float64],
    ) -> None:
        """Learn from frauds of a sibling, by numbers that it gave them, and no longer from others."""
        self._told_frauds.renew(gone, coming, examples)
        self._told_delays = [*self._told_delays, *delays.tolist()][-DELAYS_MAX:]

    def take_news(self) -> tuple[News, NDArray[np.int64], Examples]:
        """What is new since the last call; of its frauds those still known, by number."""
        news, self.news = self.news, News(Changes.none(self.risks.memories))
        return (news, *self._frauds.those_of(np.array(news.frauds, dtype=np.int64)))

    # Step 2
    def mature(self, now: float) -> NDArray[np.int64]:
        """Count events that are old enough to be judged; returns their numbers."""
        held = np.arange(max(self._judged, self._memory.oldest), self._memory.events)
        young = np.flatnonzero(self._memory.column("times", held) > now - self._silence())
        fresh = held[: young[0]] if len(young) else held
        self._judged = int(fresh[-1]) + 1 if len(fresh) else int(held[0]) if len(held) else self._judged
        fresh = fresh[self._is_judged(fresh)]
        if len(fresh) and len(self.risks):
            memories = [np.zeros((len(fresh), n)) for n in self._features.fraud_rate_memories]
            changes = self.risks.count(
                self._memory.column("keys", fresh),
                self._memory.column("times", fresh),
                np.full(len(fresh), COUNT_MATURED, dtype=np.int8),
                memories,
            )
            self._note(changes)
        return fresh

    def _silence(self) -> float:
        """How old an unreported event must be; s."""
        delays = self._delays["unalerted"]
        if len(delays) < FRAUDS_MIN:
            delays = self._delays["all"] + self._told_delays
        if not delays:
            return np.inf
        return max(self._config.maturity_delay, float(np.quantile(delays, DELAY_QUANTILE)))

    def _is_judged(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether old events count: an alert that nobody answered does not."""
        flags = self._memory.column("flags", numbers)
        judged: NDArray[np.bool_] = ((flags & ALERTED) == 0) | ((flags & (FRAUD | LEGITIMATE)) != 0)
        return judged

    # Step 3
    def train(self, fresh: NDArray[np.int64]) -> None:
        """Learn from what has matured, older events and the bank."""
        start = self._memory.oldest
        if len(self._frauds) + len(self._told_frauds) < FRAUDS_MIN or not len(fresh) or self._judged <= start:
            return
        laid = self._trainings.bit_length() + 1
        if self._trainings & (self._trainings - 1) == 0 and laid > self.bins:
            self.bins = laid
            recent = np.arange(max(start, self._judged - EDGE_EVENTS), self._judged)
            inputs = self._memory.column("inputs", recent).astype(np.float32)
            self.learner.update_edges(self._samples(inputs))
        self._trainings += 1
        held = np.arange(start, self._judged)
        share = float(np.mean(self._memory.column("flags", held) & FRAUD != 0))
        batches = max(1, len(fresh) // BATCH)
        steps = STEPS_PER_BATCH * batches
        if self._shares and self.learner.steps < YOUNG_STEPS:
            steps = max(steps, SHARED_STEPS_MIN)
        for step in range(min(steps, STEPS_MAX)):
            numbers = self._rng.integers(start, self._judged, BATCH)
            if step < batches <= STEPS_MAX and len(fresh) >= BATCH:
                numbers = fresh[step * BATCH : (step + 1) * BATCH]
            self._train_step(numbers, max(share, FRAUD_SHARE_MIN))

    def _samples(self, inputs: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """What each column's bins are laid over; few keys ever had a fraud, so theirs over those that had."""
        plain = self._features.plain_count
        yield from inputs[:, :plain].T
        risk, unknown = inputs[:, plain:], self._unknown
        for columns in self._risk_columns:
            known = risk[np.any(np.abs(risk[:, columns] - unknown[columns]) > UNKNOWN_WITHIN, axis=1)]
            if len(known) < KNOWN_MIN:
                yield from self.learner.edges[plain:][columns]
                continue
            others = np.repeat(unknown[None], len(known) // KNOWN_PER_UNKNOWN, axis=0)
            yield from np.concatenate([known, others])[:, columns].T

    def _train_step(self, numbers: NDArray[np.int64], fraud_share: float) -> None:
        flags = self._memory.column("flags", numbers)
        legitimate = numbers[self._is_judged(numbers) & (flags & FRAUD == 0)]
        examples = self._memory.examples(legitimate).joined(self._draw_frauds())
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
        """Draw for replay, with repetition, from own and siblings'."""
        places = self._rng.integers(0, len(self._frauds) + len(self._told_frauds), REPLAYED_FRAUDS)
        own = places[places < len(self._frauds)]
        told = places[places >= len(self._frauds)] - len(self._frauds)
        return self._frauds.examples.take(own).joined(self._told_frauds.examples.take(told))

    # Step 4
    def weigh(self, label_weight: float) -> float:
        """Return the labelled part's say, moved towards what would have ranked judged events best."""
        best = self._best_weight()
        return label_weight + min(max(best - label_weight, -WEIGHT_STEP), WEIGHT_STEP)

    def _best_weight(self) -> float:
        start = max(self._memory.oldest, self._judged - WEIGHED_EVENTS)
        numbers = np.arange(start, self._judged)
        labelled = self._memory.column("labelled", numbers).astype(np.float64)
        numbers = numbers[self._is_judged(numbers) & ~np.isnan(labelled)]
        fraud = self._memory.column("flags", numbers) & FRAUD != 0
        if fraud.sum() < FRAUDS_MIN or fraud.all():
            return 0.0
        legitimate = np.flatnonzero(~fraud)
        every = -(-len(legitimate) // WEIGHED_LEGITIMATE)
        chosen = np.concatenate([np.flatnonzero(fraud), legitimate[::every]])
        plain = self._memory.column("plain", numbers[chosen]).astype(np.float64)
        labelled = self._memory.column("labelled", numbers[chosen]).astype(np.float64)
        skills = [
            _average_precision(mixed(plain, labelled, weight), int(fraud.sum()), every) for weight in WEIGHTS
        ]
        if max(skills) <= BETTER_BY * skills[0]:
            return 0.0
        return max(w for w, skill in zip(WEIGHTS, skills, strict=True) if AS_GOOD * skill >= max(skills))

    def recent_distances(self, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Distances without labels and labelled ones of the last events, in log order."""
        numbers = np.arange(max(self._memory.oldest, self._memory.events - count), self._memory.events)
        return (
            self._memory.column("plain", numbers).astype(np.float64),
            self._memory.column("labelled", numbers).astype(np.float64),
        )

    def to_state(self) -> dict[str, Any]:
        return {
            "book": self._book.to_state(),
            "memory": self._memory.to_state(),
            "risks": self.risks.to_state(),
            "learner": self.learner.to_state(),
            "frauds": self._frauds.to_state(),
            "answers": self._answers.to_state(),
            "told_frauds": self._told_frauds.to_state(),
            "news": self.news.to_state(),
            "bins": self.bins,
            "alerts": {
                "numbers": np.array(list(self._alerts), dtype=np.int64),
                "rows": Rows.joined(list(self._alerts.values())).to_state() if self._alerts else {},
            },
            "judged": self._judged,
            "trainings": self._trainings,
            "delays": {kind: list(delays) for kind, delays in self._delays.items()},
            "told_delays": list(self._told_delays),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what `to_state` gave."""
        self._book.load(state["book"])
        self._memory.load(state["memory"])
        self.risks.load(state.get("risks", {}))  # nothing without keys, and packing drops what is empty
        self.learner.load(state["learner"])
        self._frauds.load(state["frauds"])
        self._answers.load(state["answers"])
        self._told_frauds.load(state["told_frauds"])
        self.news = News.from_state(state["news"])
        self.bins = state["bins"]
        numbers = state["alerts"]["numbers"].tolist()
        if numbers:
            rows = Rows.from_state(state["alerts"]["rows"])
            self._alerts = OrderedDict((n, rows.take(slice(i, i + 1))) for i, n in enumerate(numbers))
        self._judged, self._trainings = state["judged"], state["trainings"]
        self._delays = {kind: list(delays) for kind, delays in state["delays"].items()}
        self._told_delays = list(state["told_delays"])


def _relabelled(flags: int, label: str) -> int:
    alerted = flags & ALERTED
    return alerted | {"fraud": FRAUD, "legitimate": LEGITIMATE, "retracted": 0}[label]


def _average_precision(distances: NDArray[np.float64], frauds: int, every: int) -> float:
    """Average precision; the first `frauds` are frauds, each of the others stands for `every`."""
    order = np.argsort(-distances, kind="stable")
    fraud = order < frauds
    found = np.cumsum(fraud)
    passed = found + every * np.cumsum(~fraud)
    return float((found[fraud] / passed[fraud]).mean())
