"""The learned embedding at one moment, with the events that are known in it: what is searched, drawn, judged.

    a checkpoint's state ─┐
                          ├─> Embedded ─┬─ SearchedSpace   what an event is near to
    a shard that runs ────┘             ├─ embedding_map   two dimensions of it
                                        └─ judged          whether it is any good

Nothing here changes the shard. One that runs is looked at between two events; a checkpoint's stands still.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import ModelPart
from detector.core.features import Features, Layout, Rows, Units
from detector.core.labels.event_buffer import EventBuffer, Examples
from detector.core.labels.replay_buffer import ReplayBuffer
from detector.core.model.clusters import Core
from detector.core.model.embedding import HashedRows, Space, embed
from detector.core.model.serving import ServedModel
from detector.core.model.versions import Versions
from detector.core.shard.learning import Learning
from detector.core.shard.scoring import Scorer
from detector.core.shard.sizing import fitted


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Embedded:
    """See the module's text."""

    layout: Layout
    features: Features
    units: Units
    served: ServedModel
    core: Core
    buffer: EventBuffer
    frauds: ReplayBuffer  # confirmed ones of this partition
    versions: Versions

    @classmethod
    def of_state(cls, config: ModelPart, state: Mapping[str, Any]) -> Embedded:
        """That of a checkpoint, given its configuration and state."""
        model = fitted(config)
        layout = Layout(config.event, model.features)
        features = Features(layout)
        core = Core(model.clusters, layout)
        core.load(state["core"])
        served = ServedModel(model, layout, features, np.random.default_rng(model.seed))
        served.load(state["served"], core)
        buffer = EventBuffer(model.labels, layout, len(features))
        buffer.load(state["buffer"])
        frauds = ReplayBuffer(buffer.examples(np.zeros(0, dtype=np.int64)))
        frauds.load(state["supervision"]["frauds"])
        versions = Versions()
        if served.ready:
            versions.load(state["versions"], served.learned)
        return cls(
            layout=layout,
            features=features,
            units=Units(state["units"]),
            served=served,
            core=core,
            buffer=buffer,
            frauds=frauds,
            versions=versions,
        )

    @property
    def ready(self) -> bool:
        """Whether there is a model yet."""
        return self.served.ready

    @property
    def space(self) -> Space:
        """Encoder, clusters, index and exemplars that serve."""
        return self.served.space

    def embed(self, examples: Examples) -> NDArray[np.float32]:
        """Embeddings (n, D) of n events that the shard remembers."""
        return self.embed_inputs(examples.inputs, examples)

    def embed_rows(self, rows: Rows) -> NDArray[np.float32]:
        """Embeddings (n, D) of n rows."""
        return self.embed_inputs(self.features.compute(rows), rows)

    def embed_inputs(self, inputs: NDArray[np.float32], hashes: HashedRows) -> NDArray[np.float32]:
        """Embeddings (n, D) of inputs (n, F) with their hashes."""
        return embed(self.space.encoder, inputs, hashes)


def embedded(scorer: Scorer, learning: Learning, buffer: EventBuffer, frauds: ReplayBuffer) -> Embedded:
    """That of a shard that runs, given its parts."""
    return Embedded(
        layout=scorer.layout,
        features=scorer.features,
        units=scorer.units,
        served=scorer.served,
        core=learning.core,
        buffer=buffer,
        frauds=frauds,
        versions=learning.versions,
    )
