"""The embedding that serves: three parts, each with its distance to normal.

fixed     the event's own values and their deviations from its entities' profiles, scaled by what the core
          shows far out (1 to 99 %); distance to the core's median. Holds where extremes matter, from the
          start.
learned   the plain encoder's output; logarithm of 1 + the distance to the nearest cluster, as the contrastive
          objective lets distances outside its ball grow without limit. Holds where fields depend on each
          other.
labelled  the output of the encoder that learned from labels, once there is one: distance to the core's median,
          less half of that to the nearest prototype of confirmed fraud. To the median, as frauds that nobody
          has reported yet are in the core and form clusters (docs/EXPERIMENTS.md).

What serves is replaced as a whole at barriers and never changes in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Model
from detector.core.clusters import Clusters, Core, Exemplars, centres_of, nearest_squares
from detector.core.encoder import Encoder, Hashes, LabelLearner, PlainLearner
from detector.core.features import Features, Layout, Rows
from detector.core.index import NearestCentres, build

FAR = (0.01, 0.99)
# A column whose core is constant has no spread of its own; this share of the others' keeps it finite.
SPREAD_FLOOR = 1e-3
# The same quantiles of a standard normal: deviations are in spreads already, and while profiles are young and
# all near 0, what the core shows is too narrow for those to come.
NORMAL_FAR = 2.33
# The learned part's say. It orders what is ordinary better than the fixed one, but knows least where there is
# least to learn from: far out. So it is bounded there (docs/EXPERIMENTS.md).
LEARNED_WEIGHT = 0.1
# Nearness to a confirmed fraud counts half of distance from normal: frauds known are few, normal events many.
PROTOTYPE_WEIGHT = 0.5
PROTOTYPES_MAX = 32
FRAUDS_PER_PROTOTYPE = 4


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """n events in the embedding."""

    parts: NDArray[np.float64]  # (n, P) distance to normal of each part
    clusters: NDArray[np.int64]  # (n, k) nearest clusters, nearest first
    distances: NDArray[np.float32]  # (n, k) to their centres


class Embedding:
    """Encoders, clusters and index of one version; not ready before the first barrier."""

    def __init__(self, config: Model, layout: Layout, features: Features, rng: np.random.Generator) -> None:
        self._config = config
        self._layout = layout
        self._features = features
        self.version = 0
        self.step = 0  # of the plain learner when it was copied
        hashed, texts = len(layout.categories), len(layout.texts)
        self.plain = Encoder(config.encoder, features.plain_count, hashed, texts, rng)
        self.labelled = Encoder(config.encoder, len(features), hashed, texts, rng)
        self.prototypes = np.zeros((0, config.encoder.dimension), dtype=np.float32)  # of confirmed frauds
        self._middle = np.zeros(
            config.encoder.dimension, dtype=np.float32
        )  # of the core's labelled coordinates
        self.clusters = Clusters(config.clusters, config.encoder.dimension)
        self._centre = np.zeros(features.fixed_count)
        self._scale = np.ones((2, features.fixed_count))  # below and above the centre
        self._index: NearestCentres | None = None
        self.exemplars: Exemplars | None = None

    @property
    def ready(self) -> bool:
        return self._index is not None

    @property
    def knows_labels(self) -> bool:
        """Whether there is a labelled part; it begins with the first prototypes."""
        return len(self.prototypes) > 0

    @property
    def weights(self) -> NDArray[np.float64]:
        """Say of each part but the labelled one, summing to 1; the fixed part exists only with numerics."""
        return np.array([1.0 - LEARNED_WEIGHT, LEARNED_WEIGHT] if self._features.fixed_count else [1.0])

    @property
    def bounded(self) -> tuple[int, ...]:
        """Parts that may not outbid the others: the learned one, beside a fixed one."""
        return (1,) if self._features.fixed_count else ()

    def locate(self, rows: Rows, inputs: NDArray[np.float32], count: slice) -> Located:
        """Embed a block of B rows and find the distances of those in `count`."""
        assert self._index is not None
        embedded = self.plain.encode(inputs, rows)[count]
        k = min(self._config.clusters.neighbours, len(self.clusters))
        numbers, distances = self._index.search(embedded, k)
        parts = [self._fixed(inputs[count])] if self._features.fixed_count else []
        parts.append(_learned(distances[:, 0]))
        if self.knows_labels:
            parts.append(self._labelled(self.labelled.encode(inputs, rows)[count]))
        return Located(np.stack(parts, axis=1), numbers, distances)

    def promote(
        self,
        plain: PlainLearner,
        labelled: LabelLearner,
        frauds: tuple[NDArray[np.float32], Hashes],
        core: Core,
        rng: np.random.Generator,
        block_events: int,
    ) -> NDArray[np.float64]:
        """Serve what was learned; returns the parts' distances (n, P) of the core.

        Parameters
        ----------
        frauds
            Inputs (m, F) and hashes of confirmed frauds; none while nothing was learned from labels.
        """
        self.version += 1
        self.step = plain.steps
        self.plain.copy_weights(plain)
        self.labelled.copy_weights(labelled)
        self.prototypes = self._find_prototypes(*frauds, rng)
        rows = core.filled()
        inputs = self._features.compute(rows)
        self._renew_scales(inputs[:, : self._features.fixed_count].astype(np.float64))
        embedded = self._encode_blocks(self.plain, rows, inputs, block_events)
        parts = [self._fixed(inputs)] if self._features.fixed_count else []
        parts.append(_learned(self.clusters.renew(core, embedded, rng)))
        self._renew_index(core)
        if self.knows_labels:
            embedded = self._encode_blocks(self.labelled, rows, inputs, block_events)
            self._middle = np.median(embedded, axis=0).astype(np.float32)
            parts.append(self._labelled(embedded))
        return np.stack(parts, axis=1)

    def _labelled(self, embedded: NDArray[np.float32]) -> NDArray[np.float64]:
        normal = np.sqrt(np.square(embedded - self._middle).sum(axis=1))
        fraud = np.sqrt(nearest_squares(embedded, self.prototypes))
        distance: NDArray[np.float64] = (normal - PROTOTYPE_WEIGHT * fraud).astype(np.float64)
        return distance

    def _find_prototypes(
        self, inputs: NDArray[np.float32], hashes: Hashes, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        if not len(inputs):
            return self.prototypes[:0]
        count = min(PROTOTYPES_MAX, max(1, len(inputs) // FRAUDS_PER_PROTOTYPE))
        return centres_of(self.labelled.encode(inputs, hashes), count, rng)

    def _renew_scales(self, fixed: NDArray[np.float64]) -> None:
        if not fixed.shape[1]:
            return
        low, self._centre, high = np.quantile(fixed, [FAR[0], 0.5, FAR[1]], axis=0)
        spreads = np.stack([self._centre - low, high - self._centre])
        spreads = np.maximum(spreads, 0.5 * (high - low))  # one side may be a single value
        floor = np.full(fixed.shape[1], NORMAL_FAR)
        floor[: len(self._layout.numerics)] = max(SPREAD_FLOOR * float(spreads.max()), 1e-9)
        self._scale = np.maximum(spreads, floor)

    def _fixed(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        difference = inputs[:, : self._features.fixed_count].astype(np.float64) - self._centre
        scaled = difference / np.where(difference > 0, self._scale[1], self._scale[0])
        distance: NDArray[np.float64] = np.sqrt(np.square(scaled).mean(axis=1))
        return distance

    def _encode_blocks(
        self, encoder: Encoder, rows: Rows, inputs: NDArray[np.float32], block_events: int
    ) -> NDArray[np.float32]:
        """Embed the core in pieces of about a block, which stay in the CPU's cache."""
        return np.concatenate(
            [
                encoder.encode(
                    inputs[start : start + block_events], rows.take(slice(start, start + block_events))
                )
                for start in range(0, len(rows), block_events)
            ]
        )

    def _renew_index(self, core: Core) -> None:
        self._index = build(self.clusters.centres, self._config.index)
        self.exemplars = Exemplars(core, self._layout)

    def to_state(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "step": self.step,
            "plain": self.plain.to_state(),
            "labelled": self.labelled.to_state(),
            "prototypes": self.prototypes,
            "middle": self._middle,
            "clusters": self.clusters.to_state(),
            "centre": self._centre,
            "scale": self._scale,
        }

    def load(self, state: Mapping[str, Any], core: Core) -> None:
        """Take back what `to_state` gave right after a barrier, when the core was as the clusters saw it."""
        self.version, self.step = state["version"], state["step"]
        self.plain.load(state["plain"])
        self.labelled.load(state["labelled"])
        self.prototypes, self._middle = state["prototypes"], state["middle"]
        self.clusters.load(state["clusters"])
        self._centre, self._scale = state["centre"], state["scale"]
        self._renew_index(core)


def _learned(distances: NDArray[Any]) -> NDArray[np.float64]:
    return np.log1p(distances.astype(np.float64))
