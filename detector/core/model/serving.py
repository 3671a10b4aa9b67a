"""The embedding that serves: fixed, learned and labelled parts, each with its distance to normal.

fixed     the event's own values and their deviations from its entities' profiles; distances to the core's
          median at two scales (see `robust_distance`), which count as two parts. Holds where extremes
          matter, from the start.
learned   the plain encoder's output; logarithm of 1 + the distance to the nearest cluster, as the contrastive
          objective lets distances outside its ball grow without limit. Holds where fields depend on each
          other.
labelled  the output of the encoder that learned from labels, once there is one: squared distance from the
          origin, where its objective puts what is legitimate, less half of that to the nearest prototype of
          confirmed fraud, in log-odds. Clusters would not do: frauds that nobody has reported yet are in the
          core and form some (docs/EXPERIMENTS.md).

What serves is replaced at barriers and never changes in between: the labelled part at each, the others when
their successor (`Promotion`) is ready.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Model
from detector.core.features import Features, Layout, Rows
from detector.core.model.clusters import Clusters, Core, Exemplars, Sample, centres_of, nearest_squares
from detector.core.model.encoder import Encoder, Hashes, LabelLearner, Learned
from detector.core.model.index import NearestCentres, build, tuned
from detector.core.model.robust_distance import SCALES, FixedPart

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
# Distances of so many core events say what is usual.
MEASURED_BY = 2048
EMBEDDED_AT_ONCE = 8192
# Core events whose true neighbours are looked for, to choose how wide the graph is searched.
PROBES = 256
FRAUDS_PER_PROTOTYPE = 4


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """n events in the embedding."""

    parts: NDArray[np.float64]  # (n, P) distance to normal of each part that needs no labels
    labelled: NDArray[np.float64]  # (n,) that of the labelled part; NaN: there is none
    clusters: NDArray[np.int64]  # (n, k) nearest clusters, nearest first
    distances: NDArray[np.float32]  # (n, k) to their centres


@dataclass(frozen=True, slots=True, eq=False)
class Promotion:
    """Successors of the parts that need no labels, made of a sample of the core of n rows."""

    plain: Encoder
    step: int  # of the plain learner
    fixed: FixedPart
    clusters: Clusters
    index: NearestCentres
    assigned: NDArray[np.int64]  # (n,) cluster of each row, -1: none
    parts: NDArray[np.float64]  # (m, P) distances of rows spread evenly over the sample, all if they are few


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
        self.clusters = Clusters(config.clusters, config.index, config.encoder.dimension)
        self.fixed = FixedPart(layout, features, config.calibration.memory_events)
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
        if not self.fixed.columns:
            return np.ones(1)
        learned = LEARNED_WEIGHT if self._layout.numerics else LEARNED_WEIGHT_WITHOUT_NUMERICS
        return np.array([(1.0 - learned) / SCALES] * SCALES + [learned])

    @property
    def bounded(self) -> tuple[int, ...]:
        """Parts that may not outbid the others: the learned one, where there are numerics."""
        return (SCALES,) if self._layout.numerics else ()

    def learn(self, inputs: NDArray[np.float32]) -> None:
        """Count events, accepted or not."""
        self.fixed.learn(inputs)

    def locate(self, rows: Rows, inputs: NDArray[np.float32], count: slice) -> Located:
        """Embed rows of a block, those in `count`, and find their distances."""
        assert self._index is not None
        rows, inputs = rows.take(count), inputs[count]
        embedded = self.plain.encode(inputs, rows)
        k = min(self._config.clusters.neighbours, len(self.clusters))
        numbers, distances = self._index.search(embedded, k)
        parts = _parts(self.fixed, inputs, distances[:, 0])
        return Located(parts, self._labelled_distances(rows, inputs), numbers, distances)

    def successor(
        self, learned: Learned, fixed: FixedPart, sample: Sample, rng: np.random.Generator
    ) -> Promotion:
        """Make what is to serve next; changes nothing but `fixed`, a copy of the fixed part."""
        plain, clusters = copy(self.plain), copy(self.clusters)
        plain.serve(learned)
        inputs = self._features.compute(sample.rows)
        if fixed.columns:
            fixed.update(sample.rows, inputs)
        embedded = self._encode_blocks(plain, sample.rows, inputs)
        assigned = clusters.update(sample, embedded, rng)
        measured = slice(None, None, -(-len(embedded) // MEASURED_BY))
        points, k = embedded[measured], min(self._config.clusters.neighbours, len(clusters))
        index = tuned(clusters.centres, self._config.index, points[:PROBES], k)
        return Promotion(
            plain=plain,
            step=learned.step,
            fixed=fixed,
            clusters=clusters,
            index=index,
            assigned=assigned,
            parts=_parts(fixed, inputs[measured], index.search(points, 1)[1][:, 0]),
        )

    def install(self, promotion: Promotion) -> None:
        """Serve what was prepared, with all events counted that came meanwhile."""
        self.plain, self.step = promotion.plain, promotion.step
        self.clusters, self._index = promotion.clusters, promotion.index
        promotion.fixed.count_as(self.fixed)
        self.fixed = promotion.fixed

    def renew(
        self,
        labelled: LabelLearner,
        frauds: tuple[NDArray[np.float32], Hashes],
        core: Core,
        rng: np.random.Generator,
    ) -> None:
        """Serve what was learned from labels, and show the core as it is now.

        Parameters
        ----------
        frauds
            Inputs (m, F) and hashes of confirmed frauds; none while nothing was learned from labels.
        """
        self.version += 1
        self.labelled.serve(labelled.learned())
        self.prototypes = self._find_prototypes(*frauds, rng)
        self.exemplars = Exemplars(core, self._layout, len(self.clusters))
        self._usual = 0.0
        if self.knows_labels:
            rows = core.filled().take(slice(None, None, -(-len(core) // CENTRED_BY)))
            self._usual = float(np.median(self._labelled_distances(rows, self._features.compute(rows))))

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

    def _encode_blocks(self, plain: Encoder, rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed the core in pieces, as layers take far more memory than what comes out of them."""
        pieces = [slice(start, start + EMBEDDED_AT_ONCE) for start in range(0, len(rows), EMBEDDED_AT_ONCE)]
        return np.concatenate([plain.encode(inputs[piece], rows.take(piece)) for piece in pieces])

    def to_state(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "step": self.step,
            "plain": self.plain.to_state(),
            "labelled": self.labelled.to_state(),
            "prototypes": self.prototypes,
            "usual": self._usual,
            "ef": 0 if self._index is None else self._index.ef,
            "clusters": self.clusters.to_state(),
            "fixed": self.fixed.to_state(),
        }

    def load(self, state: Mapping[str, Any], core: Core) -> None:
        """Take back what `to_state` gave right after a barrier, with the core as it was then."""
        self.version, self.step = state["version"], state["step"]
        self.plain.load(state["plain"])
        self.labelled.load(state["labelled"])
        self.prototypes, self._usual = state["prototypes"], state["usual"]
        self.clusters.load(state["clusters"])
        self.fixed.load(state["fixed"])
        self._index = build(self.clusters.centres, self._config.index, state.get("ef") or None)
        self.exemplars = Exemplars(core, self._layout, len(self.clusters))


def _parts(fixed: FixedPart, inputs: NDArray[np.float32], nearest: NDArray[Any]) -> NDArray[np.float64]:
    """Distances of all parts, given those of the learned one to the nearest cluster."""
    learned = np.log1p(nearest.astype(np.float64))[:, None]
    if not fixed.columns:
        return learned
    return np.concatenate([fixed.distances(inputs), learned], axis=1)
