"""The part of the score that is learned: distance to normal clusters in the plain encoder's embedding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from detector.core.features import Layout, Rows
from detector.core.model.calibration import Limit
from detector.core.model.clusters import (
    ENTITIES_SHOWN_MIN,
    EVERYTHING,
    Clusters,
    Core,
    Exemplars,
)
from detector.core.model.embedding import Space, embed
from detector.core.model.encoder import Encoder, Hashes, Learned
from detector.core.model.index import Hnsw, NearestCentres, build, tuned
from detector.core.model.judgement import Seen
from detector.core.model.robust_distance import varies
from detector.core.model.score_part import SPAN_MIN, Explained, Fit, PartSetup, ScorePart, Shown, Update
from detector.core.model.shape import shape_decides

# Weight of the learned part where values have categories or texts beside them: only this part sees unusual
# combinations. Far out it would hide the shape of normal, so there it is bounded and weighs less; distances
# to an entity's habits it does not hide (docs/explanation/experiments.md).
LEARNED_WEIGHT, LEARNED_WEIGHT_BOUNDED = 0.2, 0.1
# Without numerics nothing is far out.
LEARNED_WEIGHT_WITHOUT_NUMERICS = 0.5
# Core events whose true neighbours are searched, to choose how wide the graph is searched.
TUNED_BY = 256

Events = tuple[NDArray[np.float32], Hashes]
"""Inputs (n, F) of n events, and their hashes."""


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
        self.weight = learned_weight(layout)
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

    def seen(self, sample: Events, changed: Events, frauds: Events) -> Seen:
        """What the encoder makes of core events, changed ones, and confirmed frauds."""
        assert self._index is not None
        points, swapped, others = (self._encoder.encode(*events) for events in (sample, changed, frauds))
        distances = [self._index.search(each, 1)[1][:, 0] for each in (points, others)]
        return Seen(points, swapped, *distances)

    def learned(self, step: int) -> Learned:
        """Weights of the encoder that serves, which the learner had at a step."""
        combines = self.weight == learned_weight(self._layout)
        return Learned(self._encoder.edges, self._encoder.weights, step, combines)

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
        self.weight = learned_weight(self._layout, combines=fit.learned.combines)
        embedded = embed(self._encoder, fit.inputs, fit.sample.rows)
        self._assigned = self._clusters.update(fit.sample, embedded, fit.rng)
        k = min(self._config.clusters.neighbours, len(self._clusters))
        self._index = tuned(self._clusters.centres, self._config.index, embedded[fit.measured][:TUNED_BY], k)

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


def learned_weight(layout: Layout, *, combines: bool = True) -> float:
    """0 where there are numerics only: the others say all about them (docs/explanation/experiments.md).

    `combines` is whether any category or text says more than whose event it is.
    """
    if not combines or (not layout.categories and not layout.texts):
        return 0.0 if layout.numerics else LEARNED_WEIGHT_WITHOUT_NUMERICS
    if not layout.numerics:
        return LEARNED_WEIGHT_WITHOUT_NUMERICS
    return LEARNED_WEIGHT_BOUNDED if shape_decides(layout) else LEARNED_WEIGHT
