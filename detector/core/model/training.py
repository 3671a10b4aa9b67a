"""Training of the plain encoder, in a background thread.

    blocks             learn      one contrastive step per 256 events
    before a barrier   rehearse   steps on a sample of the core; the encoder after them is served next

The jobs run in order, with a random generator of their own, on copies of whatever the shard goes on changing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Model
from detector.core.features import Features, Group, Layout, Rows, find_identity, mostly_known, swap
from detector.core.model.clusters import Sample
from detector.core.model.encoder import Learned, Looked, PlainLearner

# Steps on the core before each promotion. A young encoder learns most from them, an old one little.
REHEARSED, REHEARSED_YOUNG = 4, 16
# Share of the newest loss in the published average.
LOSS_RATE = 0.05


class Trainer:
    """Trains the plain learner of one shard.

    Parameters
    ----------
    rng
        Initialises the weights.
    own
        Generator of everything drawn later.
    """

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
        """Take contrastive steps on rows: real events against the same events with one group swapped.

        Parameters
        ----------
        rows, inputs
            A multiple of the step size, with their inputs (n, F).
        accepted : (n,) bool
            Others are left out.
        """
        groups, size = self._swapped(), self.barriers.step_events
        if not len(groups):
            return
        starts = range(0, len(rows), size)
        drawn = [(self._rng.integers(0, len(groups), size), self._rng.permutation(size)) for _ in starts]
        chosen = groups[np.concatenate([group for group, _ in drawn])]
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
        """Take steps on a sample of the core, before barrier `version` + 1; returns what it serves."""
        if version & (version - 1) == 0:  # 0, 1, 2, 4, ...: moving the bins sets the learner back a little
            self.learner.update_edges(self._features.compute(sample.rows)[:, : self._features.plain_count].T)
        if version & (version - 1) == 0 or self.barriers.young(version):
            self._hide(sample.rows)
        steps = REHEARSED_YOUNG if self.barriers.young(version) else REHEARSED
        rows = sample.rows.take(sample.draw(steps * self.barriers.step_events, self._rng))
        self.learn(rows, self._features.compute(rows), np.ones(len(rows), dtype=bool))
        return self.learner.learned()

    def resume(self, learned: Learned) -> None:
        """Go on from weights that were served; the optimiser begins anew, with its first steps corrected."""
        state = self.learner.to_state()
        moments = {name: np.zeros_like(moment) for name, moment in state["moments"].items()}
        weights = {name: weight.copy() for name, weight in learned.weights.items()}
        anew = {"resumed": state["steps"], "moments": moments}
        self.learner.load({**state, "edges": learned.edges.copy(), "weights": weights, **anew})

    def _hide(self, rows: Rows) -> None:
        """Take away from the learner what only says whose event it is."""
        inputs, layout = self._features.compute(rows), self._layout
        found = find_identity(rows.keys(), inputs, rows.grams, self._features, layout)
        known = bool(mostly_known(rows, layout)[:1].any())
        self.learner.hide(found.inputs[: self._features.plain_count] & known, found.slots & known)

    def _swapped(self) -> NDArray[np.int64]:
        """Numbers of the groups that swaps take: not fields that the learner does not see."""
        hidden, values = self.learner.hidden_slots, self._values()
        categories = len(self._layout.categories)

        def seen(group: Group) -> bool:
            texts = slice(categories + group.texts.start, categories + group.texts.stop)
            own = [values[group.numerics], hidden[group.categories], hidden[texts]]
            return not any(len(each) and each.all() for each in own)

        groups = self._layout.groups[: self._layout.swapped]
        return np.array([number for number, group in enumerate(groups) if seen(group)], dtype=np.int64)

    def _values(self) -> NDArray[np.bool_]:
        """Which numerics (J,) the learner does not see."""
        hidden = np.zeros(len(self._layout.numerics), dtype=bool)
        for column, own in zip(self._features.columns, self.learner.hidden_inputs, strict=False):
            if column.source == "value":
                hidden[column.place] = own
        return hidden

    def to_state(self) -> dict[str, Any]:
        return {
            "learner": self.learner.to_state(),
            "loss": self.loss,
            "training_rng": self._rng.bit_generator.state,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Load what `to_state` returned."""
        self.learner.load(state["learner"])
        self.loss = state["loss"]
        self._rng.bit_generator.state = state["training_rng"]
