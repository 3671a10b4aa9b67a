"""The model that serves: the parts of the score as they were installed at the last barrier.

What serves is replaced at barriers and does not change in between. Parts without labels are replaced when
their successors (`Promotion`) are ready. All parts are updated at every barrier. So scores never mix
versions.

`PARTS` is the table of parts; `detector.core.model.score_part` says what a part is and how one is added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Model
from detector.core.erasure import Counts, Erased, Keys
from detector.core.features import Features, Layout, Rows
from detector.core.model.calibration import Limit
from detector.core.model.clusters import (
    ENTITIES_SHOWN_MIN,
    EVERYTHING,
    Clusters,
    Core,
    Exemplars,
    Sample,
)
from detector.core.model.embedding import Space, embed
from detector.core.model.encoder import Encoder, Learned
from detector.core.model.habits_part import HabitsPart
from detector.core.model.index import Hnsw, NearestCentres, build, tuned
from detector.core.model.labelled_parts import LabelledPart, TreesPart
from detector.core.model.nearest_normal import NearestNormal
from detector.core.model.robust_distance import SCALES, RobustDistance, varies
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

# Weight of the learned part where values have categories or texts beside them: only this part sees unusual
# combinations. Far out it would hide the shape of normal, so there it is bounded and weighs less; distances
# to an entity's habits it does not hide (docs/explanation/experiments.md).
LEARNED_WEIGHT, LEARNED_WEIGHT_BOUNDED = 0.2, 0.1
# Without numerics nothing is far out.
LEARNED_WEIGHT_WITHOUT_NUMERICS = 0.5
# How the robust part's columns share its weight: both scales, and the nearest core events.
ROBUST_SHARES = (0.45, 0.45, 0.1)
# Least span of the distances to the nearest core events where no value varies: that of one usual spread.
# There, they are as near as the median.
ONE_SPREAD = 0.7
# Core events that the median and span of distances are measured on.
MEASURED_BY = 2048
# Core events whose true neighbours are searched, to choose how wide the graph is searched.
PROBES = 256


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
        self.weight = 1.0 - _learned_weight(setup.layout)
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
        known = self._distance.known(inputs)
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
        points = self._distance.points(fit.inputs, self._distance.known(fit.inputs))
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


class LearnedPart(ScorePart):
    """Logarithm of 1 + the distance to the nearest cluster in the plain encoder's embedding.

    The logarithm, because the contrastive objective lets distances outside its ball grow without limit. It
    works where fields depend on each other. It has no weight while all categories and texts are constant for
    each key: nothing is left to combine. Its clusters also show in alerts what is normal near an event, also
    where its weight is 0.
    """

    name: ClassVar[str] = "learned"

    def __init__(self, setup: PartSetup) -> None:
        config, layout, features = setup.config, setup.layout, setup.features
        self.weight = _learned_weight(layout)
        self.limit = Limit.TANH if shape_decides(layout) else Limit.NONE
        self.columns = 1 if self.weight > 0.0 else 0
        self._config = config
        self._layout = layout
        hashed, texts = len(layout.categories), len(layout.texts)
        self._encoder = Encoder(config.encoder, features.plain_count, hashed, texts, setup.rng)
        self._clusters = Clusters(config.clusters, config.index, config.encoder.dimension)
        self._assigned = np.zeros(0, dtype=np.int64)  # cluster of each row that it was refitted to; -1: none
        self._index: NearestCentres | None = None
        self._exemplars: Exemplars | None = None
        self._varies = True  # whether any field does in the core

    def distances(self, rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        if not self.weight > 0.0:
            return np.zeros((len(inputs), self.columns))
        _, found = self._nearest(rows, inputs)
        return np.log1p(found[:, :1].astype(np.float64))

    def _nearest(
        self, rows: Rows, inputs: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Numbers of the nearest clusters, nearest first, and distances to their centres, (n, k) each."""
        assert self._index is not None
        k = min(self._config.clusters.neighbours, len(self._clusters))
        return self._index.search(self._encoder.encode(inputs, rows), k)

    def placed(self, rows: Rows, inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """Embedding (n, D) of n events, their nearest clusters (n,) and distances (n,); then the clusters'
        centres (K, D), sizes (K,) and radii (K,).
        """
        assert self._index is not None
        embedded, clusters = self._encoder.encode(inputs, rows), self._clusters
        nearest, distances = self._index.search(embedded, 1)
        return embedded, nearest[:, 0], distances[:, 0], clusters.centres, clusters.sizes, clusters.radii

    @property
    def space(self) -> Space:
        assert self._index is not None
        assert self._exemplars is not None
        return Space(self._encoder, self._clusters, self._index, self._exemplars)

    def copy(self) -> Self:
        other = copy(self)
        other._encoder, other._clusters = copy(self._encoder), copy(self._clusters)
        return other

    @property
    def spans_min(self) -> tuple[float, ...]:
        """Infinite where no field varies: there, the embedding shows times and counts only."""
        return (SPAN_MIN if self._varies else np.inf,) * self.columns

    def refit(self, fit: Fit) -> None:
        self._varies = bool(self._layout.texts) or varies(fit.sample.rows)
        self._encoder.serve(fit.learned)
        self.weight = _learned_weight(self._layout, combines=fit.learned.combines)
        embedded = embed(self._encoder, fit.inputs, fit.sample.rows)
        self._assigned = self._clusters.update(fit.sample, embedded, fit.rng)
        k = min(self._config.clusters.neighbours, len(self._clusters))
        self._index = tuned(self._clusters.centres, self._config.index, embedded[fit.measured][:PROBES], k)

    def succeed(self, before: Self, core: Core) -> None:
        core.assign(self._assigned)

    def update(self, update: Update) -> None:
        self._exemplars = Exemplars(update.core, self._layout, len(self._clusters))

    def explain(self, rows: Rows, inputs: NDArray[np.float32], shown: Shown) -> Explained:
        """Nearest cluster, and ranges of near clusters that enough entities share; no ids, no text."""
        assert self._exemplars is not None
        people = self._exemplars.people
        found = [array[0].tolist() for array in self._nearest(rows, inputs)]
        near = list(zip(*found, strict=True))
        shared = [(number, distance) for number, distance in near if people[number] >= ENTITIES_SHOWN_MIN]
        nearest, nearest_distance = near[0]
        typical = shared[0][0] if shared else EVERYTHING
        cluster = {
            "id": nearest,
            "distance": float(nearest_distance),
            "events": int(self._clusters.sizes[nearest]),
            "radius": float(self._clusters.radii[nearest]),
        }
        told = shared[: shown.exemplars_max]
        exemplars = [
            {
                "cluster": number,
                "distance": distance,
                "events": int(self._clusters.sizes[number]),
                "ranges": ranges,
            }
            for (number, distance), ranges in zip(told, self._ranges(told, shown), strict=True)
        ]
        return Explained(
            facts={"exemplars": exemplars, "cluster": cluster},
            typical=self._exemplars.typical(typical),
            ends=shown.units.restore(self._exemplars.ends(typical)),
            shown=typical != EVERYTHING or self._exemplars.everybody >= ENTITIES_SHOWN_MIN,
        )

    def _ranges(self, near: Sequence[tuple[int, float]], shown: Shown) -> list[dict[str, list[float] | None]]:
        """Ranges of near clusters' numerics, in the units of the fields; None: all are missing."""
        assert self._exemplars is not None
        if not near:
            return []
        ends = shown.units.restore(np.stack([self._exemplars.ends(number) for number, _ in near]))
        return [
            {
                place.name: None if math.isnan(low) else [float(f"{low:.6g}"), float(f"{high:.6g}")]
                for place, low, high in zip(self._layout.numerics, lows, highs, strict=True)
                if place.field.echo
            }
            for lows, highs in ends.tolist()
        ]

    @property
    def searches(self) -> tuple[bool, ...]:
        return (isinstance(self._index, Hnsw),) if self.weight > 0.0 else ()

    def gauges(self) -> dict[str, float]:
        return {"clusters": float(len(self._clusters))}

    def to_state(self) -> dict[str, Any]:
        return {
            "encoder": self._encoder.to_state(),
            "clusters": self._clusters.to_state(),
            "weight": self.weight,
            "ef": 0 if self._index is None else self._index.ef,
        }

    def load(self, state: Mapping[str, Any], core: Core) -> None:
        self._encoder.load(state["encoder"])
        self._clusters.load(state["clusters"])
        self.weight = state["weight"]
        self._index = build(self._clusters.centres, self._config.index, state["ef"] or None)
        self._exemplars = Exemplars(core, self._layout, len(self._clusters))


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
    step: int  # of the plain learner whose weights they have
    measured: NDArray[np.float64]  # (m, P) distances of core events evenly spread over the sample
    heat: NDArray[np.float32]  # (m, H) inputs of the same events that say their heat


class ServedModel:
    """The parts of one version; not ready before the first barrier."""

    def __init__(self, config: Model, layout: Layout, features: Features, rng: np.random.Generator) -> None:
        setup = PartSetup(config=config, layout=layout, features=features, rng=rng)
        made = [part for make in PARTS if (part := make(setup)) is not None]
        self._plain = [part for part in made if not part.labelled]
        self._labelled = [part for part in made if part.labelled]
        self._features = features
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
        self, copies: Sequence[ScorePart], sample: Sample, learned: Learned, rng: np.random.Generator
    ) -> Promotion:
        """Refit copies to a sample of the core; changes nothing else."""
        inputs = self._features.compute(sample.rows)
        every = max(-(-len(inputs) // MEASURED_BY), *(part.held_out for part in copies))
        measured = slice(None, None, every)
        fit = Fit(sample=sample, inputs=inputs, measured=measured, learned=learned, rng=rng)
        for part in copies:
            part.refit(fit)
        some = np.ascontiguousarray(inputs[measured])  # kernels are compiled for rows without gaps
        distances = _columns(copies, sample.rows.take(measured), some)
        return Promotion(copies, learned.step, distances, inputs[measured, self._features.heat])

    def install(self, promotion: Promotion, core: Core) -> None:
        """Serve the successors, and assign the core's rows to their clusters."""
        for part, before in zip(promotion.parts, self._plain, strict=True):
            part.succeed(before, core)
        self._plain = list(promotion.parts)
        self.step = promotion.step
        self.ready = True

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


def _columns(parts: Sequence[ScorePart], rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distances (n, P) of all parts, side by side."""
    return np.concatenate([part.distances(rows, inputs) for part in parts], axis=1)


def _learned_weight(layout: Layout, *, combines: bool = True) -> float:
    """0 where there are numerics only: the others say all about them (docs/explanation/experiments.md).

    `combines` is whether any category or text says more than whose event it is.
    """
    if not combines or (not layout.categories and not layout.texts):
        return 0.0 if layout.numerics else LEARNED_WEIGHT_WITHOUT_NUMERICS
    if not layout.numerics:
        return LEARNED_WEIGHT_WITHOUT_NUMERICS
    return LEARNED_WEIGHT_BOUNDED if shape_decides(layout) else LEARNED_WEIGHT
