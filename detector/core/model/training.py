"""What learns beside scoring: the plain learner's steps.

    some blocks      learn       one contrastive step on each, some on large ones
    before a barrier rehearse    steps on a sample of the core; what is served next is the learner after them

Everything here runs on a `Lane`, in order, with a generator of its own, on copies of what the shard goes on
changing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Model
from detector.core.features import Features, Layout, Rows, swap
from detector.core.model.clusters import Sample
from detector.core.model.encoder import Learned, Looked, PlainLearner

# Steps on the core before each promotion: most of what a young encoder learns, little to an old one.
REHEARSED, REHEARSED_YOUNG = 4, 16
# Share of the newest loss in the one that is told.
LOSS_RATE = 0.05


class Trainer:
    """The plain learner of one shard. `rng` initialises it, `own` is what it draws from later."""

    def __init__(
        self,
        model: Model,
        layout: Layout,
        features: Features,
        rng: np.random.Generator,
        own: np.random.Generator,
    ) -> None:
        self._layout = layout
        self._features = features
        self.barriers = model.barriers
        self._rng = own
        self.learner = PlainLearner(
            model.encoder, features.plain_count, len(layout.categories), len(layout.texts), rng
        )
        self.loss = 0.0

    def learn(self, rows: Rows, inputs: NDArray[np.float32], accepted: NDArray[np.bool_]) -> None:
        """Contrastive steps on the rows, some whole ones: against themselves with one group swapped."""
        groups, size = self._layout.groups, self.barriers.step_events
        if not groups:
            return
        starts = range(0, len(rows), size)
        drawn = [(self._rng.integers(0, len(groups), size), self._rng.permutation(size)) for _ in starts]
        chosen = np.concatenate([group for group, _ in drawn])
        donors = np.concatenate([start + order for start, (_, order) in zip(starts, drawn, strict=True)])
        swapped = swap(rows, rows.take(donors), self._layout, chosen)

        def paired(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
            blocks = len(starts), size, *one.shape[1:]
            return np.concatenate([one.reshape(blocks), other.reshape(blocks)], axis=1)

        weight = accepted.astype(np.float32)
        losses = self.learner.learn_each(
            paired(inputs, self._features.compute(swapped)),
            Looked(paired(rows.categories, swapped.categories), paired(rows.grams, swapped.grams)),
            np.arange(2 * size) < size,
            paired(weight, weight),
        )
        for loss in losses.tolist():
            self.loss += LOSS_RATE * (loss - self.loss)

    def rehearse(self, sample: Sample, version: int) -> Learned:
        """Steps on a sample of the core, for the barrier after `version` others; returns what is to serve."""
        if version & (version - 1) == 0:  # ever rarer: moving the bins sets the learner back a little
            self.learner.renew_edges(self._features.compute(sample.rows)[:, : self._features.plain_count].T)
        steps = REHEARSED_YOUNG if self.barriers.young(version) else REHEARSED
        rows = sample.rows.take(sample.draw(steps * self.barriers.step_events, self._rng))
        self.learn(rows, self._features.compute(rows), np.ones(len(rows), dtype=bool))
        return self.learner.learned()

    def to_state(self) -> dict[str, Any]:
        return {
            "learner": self.learner.to_state(),
            "loss": self.loss,
            "training_rng": self._rng.bit_generator.state,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what `to_state` gave; before format 4 there was no generator."""
        self.learner.load(state["learner"])
        self.loss = state["loss"]
        if "training_rng" in state:
            self._rng.bit_generator.state = state["training_rng"]
