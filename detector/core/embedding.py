"""The embedding that serves: fixed, learned and labelled parts, each with its distance to normal.

fixed     the event's own values and their deviations from its entities' profiles; distances to the core's
          median at two scales (see `detector.core.fixed`), which count as two parts. Holds where extremes
          matter, from the start.
learned   the plain encoder's output; logarithm of 1 + the distance to the nearest cluster, as the contrastive
          objective lets distances outside its ball grow without limit. Holds where fields depend on each
          other.
labelled  the output of the encoder that learned from labels, once there is one: squared distance from the
          origin, where its objective puts what is legitimate, less half of that to the nearest prototype of
          confirmed fraud, in log-odds. Clusters would not do: frauds that nobody has reported yet are in the
          core and form some (docs/EXPERIMENTS.md).

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
from detector.core.fixed import SCALES, FixedPart
from detector.core.index import NearestCentres, build

# The learned part's say. It orders what is ordinary better than the fixed one, but knows least where there is
# least to learn from: far out. So it is bounded there (docs/EXPERIMENTS.md).
LEARNED_WEIGHT = 0.1
# Without numerics there is no far out, and what is strange may be a combination, which it alone sees.
LEARNED_WEIGHT_WITHOUT_NUMERICS = 0.5
# Nearness to a confirmed fraud counts half of distance from normal: frauds known are few, normal events many.
PROTOTYPE_WEIGHT = 0.5
PROTOTYPES_MAX = 32
# So many core events are looked at for the labelled distance that counts as 0.
CENTRED_BY = 1024
FRAUDS_PER_PROTOTYPE = 4


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """n events in the embedding."""

    parts: NDArray[np.float64]  # (n, P) distance to normal of each part that needs no labels
    labelled: NDArray[np.float64]  # (n,) that of the labelled part; NaN: there is none
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
        self.clusters = Clusters(config.clusters, config.encoder.dimension)
        self._fixed = FixedPart(layout, features, config.calibration.memory_events)
        self._usual = 0.0  # labelled distance of what is normal, without which it would differ by version
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
        """Each of the other parts' say, (P,), summing to 1; of texts alone there is no fixed part."""
        if not self._fixed.columns:
            return np.ones(1)
        learned = LEARNED_WEIGHT if self._layout.numerics else LEARNED_WEIGHT_WITHOUT_NUMERICS
        return np.array([(1.0 - learned) / SCALES] * SCALES + [learned])

    @property
    def bounded(self) -> tuple[int, ...]:
        """Parts that may not outbid the others: the learned one, where there are numerics."""
        return (SCALES,) if self._layout.numerics else ()

    def learn(self, inputs: NDArray[np.float32]) -> None:
        """Count events, accepted or not."""
        self._fixed.learn(inputs)

    def locate(self, rows: Rows, inputs: NDArray[np.float32], count: slice) -> Located:
        """Embed a block of B rows and find the distances of those in `count`."""
        assert self._index is not None
        embedded = self.plain.encode(inputs, rows)[count]
        k = min(self._config.clusters.neighbours, len(self.clusters))
        numbers, distances = self._index.search(embedded, k)
        parts = self._parts(inputs[count], distances[:, 0])
        return Located(parts, self._labelled_distances(rows, inputs)[count], numbers, distances)

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
        if self._fixed.columns:
            self._fixed.renew(rows, inputs)
        embedded = self._encode_blocks(rows, inputs, block_events)
        nearest = self.clusters.renew(core, embedded, rng)
        self._renew_index(core)
        self._usual = 0.0
        if self.knows_labels:
            some = slice(None, None, -(-len(rows) // CENTRED_BY))
            self._usual = float(np.median(self._labelled_distances(rows.take(some), inputs[some])))
        return self._parts(inputs, nearest)

    def _find_prototypes(
        self, inputs: NDArray[np.float32], hashes: Hashes, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        if not len(inputs):
            return self.prototypes[:0]
        count = min(PROTOTYPES_MAX, max(1, len(inputs) // FRAUDS_PER_PROTOTYPE))
        return centres_of(self.labelled.encode(inputs, hashes), count, rng)

    def _labelled_distances(self, rows: Hashes, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        if not self.knows_labels:
            return np.full(len(inputs), np.nan)
        embedded = self.labelled.encode(inputs, rows)
        squares = np.square(embedded).sum(axis=1)
        squares -= PROTOTYPE_WEIGHT * nearest_squares(embedded, self.prototypes)
        scale = self.labelled.weights["link"][0]
        distance: NDArray[np.float64] = (scale * squares / embedded.shape[1]).astype(np.float64)
        return distance - self._usual

    def _parts(self, inputs: NDArray[np.float32], nearest: NDArray[Any]) -> NDArray[np.float64]:
        """Distances of all parts, given those of the learned one to the nearest cluster."""
        learned = np.log1p(nearest.astype(np.float64))[:, None]
        if not self._fixed.columns:
            return learned
        return np.concatenate([self._fixed.distances(inputs), learned], axis=1)

    def _encode_blocks(
        self, rows: Rows, inputs: NDArray[np.float32], block_events: int
    ) -> NDArray[np.float32]:
        """Embed the core in pieces of about a block, which stay in the CPU's cache."""
        return np.concatenate(
            [
                self.plain.encode(
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
            "usual": self._usual,
            "clusters": self.clusters.to_state(),
            "fixed": self._fixed.to_state(),
        }

    def load(self, state: Mapping[str, Any], core: Core) -> None:
        """Take back what `to_state` gave right after a barrier, when the core was as the clusters saw it."""
        self.version, self.step = state["version"], state["step"]
        self.plain.load(state["plain"])
        self.labelled.load(state["labelled"])
        self.prototypes, self._usual = state["prototypes"], state["usual"]
        self.clusters.load(state["clusters"])
        self._fixed.load(state["fixed"])
        self._renew_index(core)
