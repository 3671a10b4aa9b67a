"""The model that serves: the parts of the score as they were installed at the last barrier.

What serves is replaced at barriers and does not change in between. Parts without labels are replaced when
their successors (`Promotion`) are ready. All parts are updated at every barrier. So scores never mix
versions.

`PARTS` is the table of parts; `detector.core.model.score_part` says what a part is and how one is added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Model
from detector.core.erasure import Counts, Erased, Keys
from detector.core.features import Features, Layout, Rows, swap
from detector.core.model.clusters import Core, Sample
from detector.core.model.embedding import Space
from detector.core.model.encoder import Learned
from detector.core.model.habits_part import HabitsPart
from detector.core.model.judgement import PROBES, SWAPS, compared
from detector.core.model.labelled_parts import LabelledPart, TreesPart
from detector.core.model.learned_part import Events, LearnedPart, learned_weight
from detector.core.model.nearest_normal import NearestNormal
from detector.core.model.robust_distance import SCALES, RobustDistance
from detector.core.model.score_part import (
    SPAN_MIN,
    Explained,
    Fit,
    PartFactory,
    PartSetup,
    ScorePart,
    Shown,
    Update,
)
from detector.core.model.shape import ShapePart, shape_decides

# How the robust part's columns share its weight: both scales, and the nearest core events.
ROBUST_SHARES = (0.45, 0.45, 0.1)
# Least span of the distances to the nearest core events where no value varies: that of one usual spread.
# There, they are as near as the median.
ONE_SPREAD = 0.7
# Core events that the median and span of distances are measured on.
MEASURED_BY = 2048
# Encoders are judged by how they tell changed events from true ones. This seed draws what is changed.
SWAPPED = 19


class RobustPart(ScorePart):
    """Values and their deviations from profiles: far from the median, and far from all core events.

    Columns: the distance to the median at each of two robust scales (`robust_distance`), and the distance to
    the nearest core events on one of these (`nearest_normal`). It works from the start, and where extremes
    matter.
    """

    name: ClassVar[str] = "robust"
    columns = SCALES + 1
    held_out = 2  # core events are near to themselves

    def __init__(self, setup: PartSetup) -> None:
        self.weight = 1.0 - learned_weight(setup.layout)
        self._distance = RobustDistance(setup.layout, setup.features, setup.config.calibration.memory_events)
        self._nearest = NearestNormal(setup.config.index)

    @property
    def shares(self) -> tuple[float, ...]:
        return ROBUST_SHARES

    @property
    def spans_min(self) -> tuple[float, ...]:
        return (self._distance.span_min,) * SCALES + (ONE_SPREAD if self._distance.constant else SPAN_MIN,)

    @classmethod
    def make(cls, setup: PartSetup) -> Self | None:
        """None where there are neither numerics nor categories, or where the shape of normal decides."""
        there = any(column.robust for column in setup.features.columns)
        return cls(setup) if there and not shape_decides(setup.layout) else None

    def distances(self, rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        known = self._distance.known(rows)
        distances = np.empty((len(inputs), self.columns))
        distances[:, :SCALES] = self._distance.distances(inputs, known)
        distances[:, SCALES] = np.log1p(self._nearest.distances(self._distance.points(inputs, known)))
        return distances

    def learn(self, rows: Rows, inputs: NDArray[np.float32], ordinary: NDArray[np.bool_]) -> None:
        self._distance.learn(inputs)

    def forget(self) -> None:
        self._distance.forget()

    def erase(self, erased: Erased) -> None:
        self._nearest = self._nearest.emptied()  # a graph also keeps what has left the core

    def copy(self) -> Self:
        other = copy(self)
        other._distance, other._nearest = self._distance.copy(), copy(self._nearest)
        return other

    def refit(self, fit: Fit) -> None:
        self._distance.update(fit.sample.rows, fit.inputs)
        moved = self._distance.move(keep=self._nearest.approximate)
        points = self._distance.points(fit.inputs, self._distance.known(fit.sample.rows))
        self._nearest.fit(points[fit.fitted], points[fit.measured], afresh=moved)

    def succeed(self, before: Self, core: Core) -> None:
        self._distance.count_as(before._distance)

    @property
    def searches(self) -> tuple[bool, ...]:
        return (self._nearest.approximate,)

    def gauges(self) -> dict[str, float]:
        return self._nearest.gauges()

    def to_state(self) -> dict[str, Any]:
        return {"distance": self._distance.to_state(), "nearest": self._nearest.to_state()}

    def load(self, state: Mapping[str, Any], core: Core) -> None:
        self._distance.load(state["distance"])
        self._nearest.load(state["nearest"])


PARTS: tuple[PartFactory, ...] = (
    RobustPart.make,
    ShapePart.make,
    LearnedPart,
    HabitsPart.make,
    LabelledPart,
    TreesPart,
)
"""The parts of the score, in the order of their columns."""


@dataclass(frozen=True, slots=True, eq=False)
class Promotion:
    """Successors of the parts without labels."""

    parts: Sequence[ScorePart]
    learned: Learned  # weights of the plain encoder that they have
    figures: Mapping[str, float] | None  # of it, see `judgement`; None: it is the one that served before
    measured: NDArray[np.float64]  # (m, P) distances of core events evenly spread over the sample
    heat: NDArray[np.float32]  # (m, H) inputs of the same events that say their heat


class ServedModel:
    """The parts of one version; not ready before the first barrier."""

    def __init__(self, config: Model, layout: Layout, features: Features, rng: np.random.Generator) -> None:
        setup = PartSetup(config=config, layout=layout, features=features, rng=rng)
        made = [part for make in PARTS if (part := make(setup)) is not None]
        self._plain = [part for part in made if not part.labelled]
        self._labelled = [part for part in made if part.labelled]
        self._layout, self._features = layout, features
        self.version = 0
        self.step = 0  # of the plain learner when its weights were copied
        self.ready = False

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weight of each column without labels, (P,), summing to 1."""
        total = sum(part.weight for part in self._plain)
        return np.concatenate([np.array(part.shares) * (part.weight / total) for part in self._plain])

    @property
    def limits(self) -> NDArray[np.int64]:
        """The `Limit` of each column without labels, (P,)."""
        return np.concatenate([np.full(part.columns, part.limit) for part in self._plain])

    @property
    def spans_min(self) -> NDArray[np.float64]:
        """Least span of each column without labels, (P,)."""
        return np.concatenate([np.array(part.spans_min) for part in self._plain])

    @property
    def encodes(self) -> bool:
        """Whether the plain encoder has a say in scores."""
        return any(part.weight > 0.0 for part in self._plain if isinstance(part, LearnedPart))

    @property
    def knows_labels(self) -> bool:
        """Whether any labelled part knows anything."""
        return any(part.knows for part in self._labelled)

    def placed(self, rows: Rows, inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...] | None:
        """Where n events lie in the embedding, see `LearnedPart.placed`; None: the encoder has no say."""
        learned = (part for part in self._plain if isinstance(part, LearnedPart) and part.weight > 0.0)
        return next((part.placed(rows, inputs) for part in learned), None)

    def respects(self, inputs: NDArray[np.float32]) -> NDArray[np.int64]:
        """In which respect n events are most unusual, see `HabitsPart.respects`; zeros without habits."""
        habits = (part for part in self._plain if isinstance(part, HabitsPart))
        nothing = np.zeros(len(inputs), dtype=np.int64)
        return next((part.respects(inputs) for part in habits), nothing)

    def plain_distances(self, rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Measure n events, given as rows and inputs (n, F): (n, P), a column for each distance."""
        return _columns(self._plain, rows, inputs)

    def labelled_distances(self, rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Mean (n,) of the labelled parts; NaN: none of them knows anything."""
        if not self.knows_labels:
            return np.full(len(inputs), np.nan)
        known, total = np.zeros(len(inputs)), np.zeros(len(inputs))
        for part in self._labelled:
            distance = part.distances(rows, inputs)[:, 0]
            there = ~np.isnan(distance)
            known += there
            total[there] += distance[there]
        return np.where(known > 0, total / np.maximum(known, 1.0), np.nan)

    def explain(self, rows: Rows, inputs: NDArray[np.float32], shown: Shown) -> Explained:
        """Explain one event, given as one row, with the facts of all parts.

        `typical` is that of the first part that has one.
        """
        explained = [part.explain(rows, inputs, shown) for part in (*self._plain, *self._labelled)]
        near = next(part for part in explained if part.typical is not None)
        facts = {name: fact for part in explained for name, fact in part.facts.items()}
        return Explained(facts=facts, typical=near.typical, ends=near.ends, shown=near.shown)

    def near_frauds(self, rows: Rows, inputs: NDArray[np.float32]) -> list[tuple[int, float]]:
        """Confirmed frauds that one event, given as one row, is like: offset and distance, nearest first."""
        return [near for part in self._labelled for near in part.near_frauds(rows, inputs)]

    @property
    def space(self) -> Space:
        """The learned embedding; there is one once the model is ready."""
        return next(part.space for part in self._plain if isinstance(part, LearnedPart))

    def learn(self, rows: Rows, inputs: NDArray[np.float32], ordinary: NDArray[np.bool_]) -> None:
        """Let all parts learn from a block of n events; `ordinary` (n,) are all but the strangest."""
        for part in (*self._plain, *self._labelled):
            part.learn(rows, inputs, ordinary)

    def forget(self) -> None:
        """Let all parts forget what they have counted of all events: the stream has changed."""
        for part in (*self._plain, *self._labelled):
            part.forget()

    def held(self, entities: Keys) -> Counts:
        """Nothing that is not in the core as well, or a number of an event without a name."""
        return {}

    def erase(self, erased: Erased) -> None:
        """Let all parts drop what they keep of single events of these entities."""
        for part in (*self._plain, *self._labelled):
            part.erase(erased)

    def copies(self) -> list[ScorePart]:
        """Copies of the parts without labels, to be refitted."""
        return [part.copy() for part in self._plain]

    def refitted(
        self,
        copies: Sequence[ScorePart],
        sample: Sample,
        learned: Learned,
        rng: np.random.Generator,
        *,
        frauds: Events | None = None,
    ) -> Promotion:
        """Refit copies to a sample of the core; changes nothing else.

        Parameters
        ----------
        frauds
            Confirmed ones, to compare the encoder with the one that serves; None: it is not compared.
        """
        inputs = self._features.compute(sample.rows)
        every = max(-(-len(inputs) // MEASURED_BY), *(part.held_out for part in copies))
        measured = slice(None, None, every)
        fit = Fit(sample=sample, inputs=inputs, measured=measured, learned=learned, rng=rng)
        some = np.ascontiguousarray(inputs[measured])  # kernels are compiled for rows without gaps
        rows = sample.rows.take(measured)
        figures = None
        if frauds is None:
            _refit(copies, fit)
        else:
            few = slice(None, None, -(-len(some) // PROBES) or 1)
            probes = np.ascontiguousarray(some[few]), rows.take(few)
            events = probes, self._changed(probes[1]), frauds
            part = next(each for each in copies if isinstance(each, LearnedPart))
            before = part.seen(*events) if self.ready else None
            _refit(copies, fit)
            figures = {} if before is None else compared(before, part.seen(*events))
        distances = _columns(copies, rows, some)
        return Promotion(copies, learned, figures, distances, inputs[measured, self._features.heat])

    def _changed(self, rows: Rows) -> Events:
        """Events of n rows with one group swapped for another row's, as the encoder learns to tell them."""
        groups = self._layout.swapped
        rng = np.random.default_rng(SWAPPED)  # the same for all encoders
        count = SWAPS * len(rows) if groups else 0
        own = rows.take(np.arange(count) % max(len(rows), 1))
        donors = rows.take(rng.integers(0, max(len(rows), 1), count))
        changed = swap(own, donors, self._layout, rng.integers(0, max(groups, 1), count))
        return self._features.compute(changed), changed

    @property
    def learned(self) -> Learned:
        """Weights of the plain encoder that serves."""
        return next(part.learned(self.step) for part in self._plain if isinstance(part, LearnedPart))

    def install(self, promotion: Promotion, core: Core) -> None:
        """Serve the successors, and assign the core's rows to their clusters."""
        for part, before in zip(promotion.parts, self._plain, strict=True):
            part.succeed(before, core)
        self._plain = list(promotion.parts)
        self.step = promotion.learned.step
        self.ready = True

    def trial(self, promotion: Promotion) -> ServedModel:
        """A model that serves the successors, to look at; this one is not changed."""
        other = copy(self)
        other._plain = list(promotion.parts)
        return other

    def update(self, update: Update) -> None:
        """Begin the next version: bring all parts up to date."""
        self.version += 1
        for part in (*self._plain, *self._labelled):
            part.update(update)

    def gauges(self) -> dict[str, float]:
        """Numbers for the metrics."""
        found = {name: n for part in (*self._plain, *self._labelled) for name, n in part.gauges().items()}
        searches = [hnsw for part in self._plain for hnsw in part.searches]
        found["index_share"] = sum(searches) / max(len(searches), 1)
        return {"version": float(self.version), "encoder_step": float(self.step), **found}

    def to_state(self) -> dict[str, Any]:
        """State right after a barrier; empty before the first one."""
        if not self.ready:
            return {}
        parts = {part.name: part.to_state() for part in (*self._plain, *self._labelled)}
        return {"version": self.version, "step": self.step, "parts": parts}

    def load(self, state: Mapping[str, Any], core: Core) -> None:
        """Restore what `to_state` returned, with the core as it was then."""
        if not state:
            return
        self.version, self.step = state["version"], state["step"]
        for part in (*self._plain, *self._labelled):
            part.load(state["parts"][part.name], core)
        self.ready = True


def _refit(parts: Sequence[ScorePart], fit: Fit) -> None:
    for part in parts:
        part.refit(fit)


def _columns(parts: Sequence[ScorePart], rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distances (n, P) of all parts, side by side."""
    return np.concatenate([part.distances(rows, inputs) for part in parts], axis=1)
