"""Parts of the score that learn from labels: a distance in the embedding, and boosted trees.

Both give log-odds of fraud, less their median over normal events, so that versions are comparable. Neither
accuses events of a key that has become another one than labels have judged (`FraudRates.expect`): its frauds
say nothing about what it does now.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detector.core.features import Rows
from detector.core.model.clusters import Core, centres_of, nearest_squares
from detector.core.model.encoder import Encoder
from detector.core.model.score_part import PartSetup, ScorePart, Update
from detector.core.model.trees import Trees

# Nearness to a confirmed fraud counts half of the distance from normal: few frauds are known, many normal
# events.
PROTOTYPE_WEIGHT = 0.5
PROTOTYPES_MAX = 32
FRAUDS_PER_PROTOTYPE = 4
NEAR_FRAUDS_MAX = 2  # that an alert names
# Core events whose median labelled distance counts as 0.
CENTRED_BY = 1024


class OddsPart(ScorePart):
    """What labelled parts share; see the module's text. Subclasses compute the log-odds."""

    labelled: ClassVar[bool] = True

    def __init__(self, setup: PartSetup) -> None:
        self._features = setup.features
        self._doubt = setup.layout.doubt
        self._usual = 0.0  # log-odds of normal events

    @abstractmethod
    def _log_odds(self, rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log-odds (n,) of fraud; only called once anything is known."""

    def distances(self, rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        if not self.knows:
            return np.full((len(inputs), 1), np.nan)
        distance = self._log_odds(rows, inputs) - self._usual
        doubtful = rows.fraud_rates[:, self._doubt] > 0.0
        distance[doubtful] = np.minimum(distance[doubtful], 0.0)
        return distance[:, None]

    def _centre(self, core: Core) -> None:
        """Let the median of core events be 0."""
        self._usual = 0.0
        if self.knows:
            rows = core.filled().take(slice(None, None, -(-len(core) // CENTRED_BY)))
            self._usual = float(np.median(self.distances(rows, self._features.compute(rows))))


class LabelledPart(OddsPart):
    """Log-odds of fraud from the embedding of the encoder that learned from labels, once there is one.

    Squared distance from the origin, where its objective puts legitimate events, less half of that to the
    nearest prototype of confirmed fraud. Clusters would not do: frauds that nobody has reported yet are in
    the core and form some (docs/explanation/experiments.md).
    """

    name: ClassVar[str] = "labelled"

    def __init__(self, setup: PartSetup) -> None:
        super().__init__(setup)
        config, layout = setup.config.encoder, setup.layout
        hashed, texts = len(layout.categories), len(layout.texts)
        self._encoder = Encoder(config, len(setup.features), hashed, texts, setup.rng)
        self._prototypes = np.zeros((0, config.dimension), dtype=np.float32)  # of confirmed frauds
        self._frauds = self._prototypes  # (f, D) those of this shard's log
        self._offsets = np.zeros(0, dtype=np.int64)  # (f,)

    @property
    def knows(self) -> bool:
        return len(self._prototypes) > 0

    def _log_odds(self, rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        embedded = self._encoder.encode(inputs, rows)
        squares = np.square(embedded).sum(axis=1)
        squares -= PROTOTYPE_WEIGHT * nearest_squares(embedded, self._prototypes)
        scale = self._encoder.weights["link"][0]
        found: NDArray[np.float64] = (scale * squares / embedded.shape[1]).astype(np.float64)
        return found

    def near_frauds(self, rows: Rows, inputs: NDArray[np.float32]) -> Sequence[tuple[int, float]]:
        """Frauds nearer than the origin, where normal events lie; a distance of 1 is as far as that."""
        if not len(self._frauds):
            return ()
        embedded = self._encoder.encode(inputs, rows)[0]
        squares = np.square(self._frauds - embedded).sum(axis=1) / max(float(embedded @ embedded), 1e-12)
        nearest = np.argsort(squares, kind="stable")[:NEAR_FRAUDS_MAX]
        return [(int(self._offsets[n]), float(np.sqrt(squares[n]))) for n in nearest if squares[n] < 1.0]

    def update(self, update: Update) -> None:
        self._encoder.serve(update.learner.learned())
        embedded = self._prototypes[:0]
        if len(update.fraud_inputs):
            embedded = self._encoder.encode(update.fraud_inputs, update.fraud_hashes)
        own = update.fraud_offsets >= 0
        self._frauds, self._offsets = embedded[own], update.fraud_offsets[own]
        self._prototypes = self._find_prototypes(embedded, update.rng)
        self._centre(update.core)

    def _find_prototypes(
        self, embedded: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        if not len(embedded):
            return embedded
        return centres_of(embedded, min(PROTOTYPES_MAX, max(1, len(embedded) // FRAUDS_PER_PROTOTYPE)), rng)

    def to_state(self) -> dict[str, Any]:
        return {
            "encoder": self._encoder.to_state(),
            "prototypes": self._prototypes,
            "frauds": self._frauds,
            "offsets": self._offsets,
            "usual": self._usual,
        }

    def load(self, state: Mapping[str, Any], core: Core) -> None:
        self._encoder.load(state["encoder"])
        self._prototypes, self._usual = state["prototypes"], state["usual"]
        self._frauds, self._offsets = state["frauds"], state["offsets"]


class TreesPart(OddsPart):
    """Log-odds of fraud from boosted trees over the inputs, once enough frauds are known.

    Trees find conditions on few inputs together, from which an embedding is far in no direction. The two err
    on different events, so their mean ranks better than either (docs/explanation/experiments.md).
    """

    name: ClassVar[str] = "trees"

    def __init__(self, setup: PartSetup) -> None:
        super().__init__(setup)
        self._trees = Trees()

    @property
    def knows(self) -> bool:
        return len(self._trees) > 0

    def _log_odds(self, rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._trees.log_odds(inputs)

    def update(self, update: Update) -> None:
        self._trees = update.trees
        self._centre(update.core)

    def to_state(self) -> dict[str, Any]:
        return {"trees": self._trees.to_state(), "usual": self._usual}

    def load(self, state: Mapping[str, Any], core: Core) -> None:
        self._trees, self._usual = Trees.from_state(state["trees"]), state["usual"]
