"""From inputs to an embedding: a small network that learns from every block.

Numeric inputs are encoded piecewise-linearly on quantile bins (Gorishniy 2022: this matters more than the
network), categories and text trigrams by rows of a hashed table (Weinberger 2009). One hidden layer follows.

Two networks of this form are trained, each with its own objectives:

    plain       sees no labels, nor anything counted from labels
      contrastive      accepted events are near the origin; the same events with one group swapped for another
                       event's are outside a ball around it (logistic loss on the squared distance)
      reconstructive   a linear map restores the piecewise-linear code from the embedding; off by default
                       (docs/explanation/experiments.md)
    labelled    sees fraud rates as well
      supervised       legitimate events are near the origin, frauds far from it (logistic loss on the squared
                       distance, with a learned scale and offset)

Rules
    - Two speeds: the learner is trained on every block; a copy of it is served, and replaced at barriers
      only.
    - A row's result depends on that row alone, not on other rows or on how many there are (see
      `detector.core.model.encoder_kernels`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Encoder as EncoderConfig
from detector.core.model import encoder_kernels
from detector.core.model.bins import ascending, piecewise_linear

Floats = NDArray[np.float32]

# Share of events outside the outermost edges on each side, so that extremes do not stretch the bins.
EDGE_TAIL = 0.005
MARGIN = 1.0  # squared radius of the ball, per dimension
# Factor of the output layer's first weights. With larger ones, the loss first pulls in events that are far
# out by chance until most hidden units are dead.
OUT_START = 0.3
# Scale and offset from squared distance to the log-odds of fraud; at first every event is unlikely to be one.
LINK_START = np.array([1.0, -3.0], dtype=np.float32)
# The served average covers about the last 100 steps, at first the last eighth of all steps.
AVERAGE_RATE, YOUNG_RATE = 0.01, 8.0
ADAM_BETA_1, ADAM_BETA_2, ADAM_EPSILON = 0.9, 0.999, 1e-8  # Kingma and Ba 2015
ADAM_NUMBERS = (np.float32(1.0 - ADAM_BETA_1), np.float32(1.0 - ADAM_BETA_2), np.float32(ADAM_EPSILON))


class Hashes(Protocol):
    """Hashes that are looked up in the hashed table; `Rows` has them."""

    @property
    def categories(self) -> NDArray[np.uint64]:
        """(n, C) hashes, 0: missing."""

    @property
    def grams(self) -> NDArray[np.uint32]:
        """(n, T, G) hashes, 0: none."""


class Looked(NamedTuple):
    """Hashes without the rest of their rows."""

    categories: NDArray[np.uint64]
    grams: NDArray[np.uint32]


class Pass(NamedTuple):
    """Results of a forward pass over n events, as the backward pass needs them."""

    places: NDArray[np.int8]  # (n, F) bin of each numeric input
    amounts: Floats  # (n, F) value of its code in that bin
    categories: NDArray[np.uint64]
    grams: NDArray[np.uint32]
    means: Floats  # (n, S * hash_width) embedding rows of categories and texts
    hidden: Floats  # (n, H)
    out: Floats  # (n, D)


class Learned(NamedTuple):
    """Copies of a learner's weights, to be served."""

    edges: Floats
    weights: Mapping[str, Floats]
    step: int
    combines: bool = True  # whether it sees any category or text, if there are any


class Encoder:
    """The network with its weights, float32. Embeddings are (n, dimension) float32.

    Parameters
    ----------
    inputs, hashed, texts
        Numbers of numeric inputs (the first columns are taken), of categories and of texts.
    """

    def __init__(
        self, config: EncoderConfig, inputs: int, hashed: int, texts: int, rng: np.random.Generator
    ) -> None:
        self.config = config
        self._inputs = inputs
        self._slots = hashed + texts
        wide = inputs * config.bins + self._slots * config.hash_width
        self.edges = np.tile(np.linspace(-1.0, 1.0, config.bins + 1, dtype=np.float32), (inputs, 1))
        self.weights: dict[str, Floats] = {
            "hidden": _normal(rng, wide, config.hidden),
            "hidden_bias": np.zeros(config.hidden, dtype=np.float32),
            "out": _normal(rng, config.hidden, config.dimension),
            "out_bias": np.zeros(config.dimension, dtype=np.float32),
        }
        if self._slots:
            self.weights["rows"] = 0.1 * rng.standard_normal(
                (config.hash_rows, config.hash_width), dtype=np.float32
            )
        self._update_sums()

    def encode(self, inputs: Floats, rows: Hashes) -> Floats:
        """Embed n events, (n, dimension). A row's result does not depend on the other rows."""
        return self._forward(inputs, rows).out

    def look(self, inputs: Floats, rows: Hashes) -> Pass:
        """What all layers make of n events."""
        return self._forward(inputs, rows)

    def update_edges(self, samples: Iterable[Floats]) -> None:
        """Move each column's bins, from the first on, to the quantiles of a sample of its inputs."""
        ends = np.linspace(EDGE_TAIL, 1.0 - EDGE_TAIL, self.config.bins + 1)
        for column, sample in enumerate(samples):
            self.edges[column] = ascending(np.quantile(sample, ends).astype(np.float32))

    def serve(self, learned: Learned) -> None:
        """Use weights of a learner."""
        self.edges, self.weights = learned.edges, dict(learned.weights)
        self._update_sums()

    def to_state(self) -> dict[str, Any]:
        return {
            "edges": self.edges.copy(),
            "weights": {name: weight.copy() for name, weight in self.weights.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.edges = state["edges"]
        self.weights = dict(state["weights"])
        self._update_sums()

    def _update_sums(self) -> None:
        """Compute what the forward pass derives from the weights; call it whenever they change."""
        self._below = encoder_kernels.sums_below(self.weights["hidden"], self._inputs, self.config.bins)

    def _forward(self, inputs: Floats, rows: Hashes) -> Pass:
        weights, count = self.weights, len(inputs)
        found = Pass(
            places=np.empty((count, self._inputs), dtype=np.int8),
            amounts=np.empty((count, self._inputs), dtype=np.float32),
            categories=np.ascontiguousarray(rows.categories),
            grams=np.ascontiguousarray(rows.grams),
            means=np.empty((count, self._slots * self.config.hash_width), dtype=np.float32),
            hidden=np.empty((count, self.config.hidden), dtype=np.float32),
            out=np.empty((count, self.config.dimension), dtype=np.float32),
        )
        encoder_kernels.locate(np.ascontiguousarray(inputs), self.edges, found.places, found.amounts)
        if self._slots:
            encoder_kernels.look_up(found.categories, found.grams, weights["rows"], found.means)
        encoder_kernels.forward(
            found.places,
            found.amounts,
            found.means,
            self._below,
            weights["hidden"],
            weights["hidden_bias"],
            weights["out"],
            weights["out_bias"],
            found.hidden,
            found.out,
        )
        return found


class Learner(Encoder):
    """An encoder with its optimiser (Adam)."""

    def __init__(
        self, config: EncoderConfig, inputs: int, hashed: int, texts: int, rng: np.random.Generator
    ) -> None:
        super().__init__(config, inputs, hashed, texts, rng)
        self.steps, self._resumed = 0, 0  # the latter: steps before the optimiser began anew
        self._begin_moments()

    def _begin_moments(self) -> None:
        zeros = [{name: np.zeros_like(weight) for name, weight in self.weights.items()} for _ in range(2)]
        self._first, self._second = zeros

    def learned(self) -> Learned:
        """Copy what is to be served."""
        weights = {name: weight.copy() for name, weight in self._to_serve().items()}
        return Learned(self.edges.copy(), weights, self.steps)

    def _to_serve(self) -> dict[str, Floats]:
        return self.weights

    def _rows_of(self, inputs: NDArray[np.bool_], slots: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Rows of the hidden layer's weights that belong to inputs (F,), and to categories and texts (S,)."""
        widths = self.config.bins, self.config.hash_width
        return np.concatenate([np.repeat(inputs, widths[0]), np.repeat(slots, widths[1])])

    def _descend(self, found: Pass, grad: Floats, others: Mapping[str, Floats]) -> None:
        """Take one step against the loss's gradient by the embedding, (n, dimension), and by `others`."""
        weights, bins = self.weights, self.config.bins
        names = ("hidden", "hidden_bias", "out", "out_bias", *(("rows",) if self._slots else ()))
        gradients = {**others, **{name: np.zeros_like(weights[name]) for name in names}}
        grad_hidden = np.empty_like(found.hidden)
        encoder_kernels.backward_out(
            grad, found.hidden, weights["out"], gradients["out"], gradients["out_bias"], grad_hidden
        )
        encoder_kernels.backward_inputs(
            found.places,
            found.amounts,
            found.means,
            grad_hidden,
            bins,
            gradients["hidden"],
            gradients["hidden_bias"],
        )
        if self._slots:
            behind = weights["hidden"][self._inputs * bins :]
            encoder_kernels.backward_rows(
                found.categories, found.grams, grad_hidden, behind, gradients["rows"]
            )
        self._step(gradients)
        self._update_sums()

    def _step(self, gradients: Mapping[str, Floats]) -> None:
        rate = self._next_rate()
        for name, gradient in gradients.items():
            encoder_kernels.adam(
                _flat(self.weights[name]),
                _flat(gradient),
                _flat(self._first[name]),
                _flat(self._second[name]),
                *ADAM_NUMBERS,
                rate,
            )

    def _next_rate(self) -> np.float32:
        """Count one more step and return Adam's rate for it."""
        self.steps += 1
        rate, count = self.config.learning_rate, self.steps - self._resumed
        return np.float32(rate * np.sqrt(1.0 - ADAM_BETA_2**count) / (1.0 - ADAM_BETA_1**count))

    def to_state(self) -> dict[str, Any]:
        moments = {
            f"{name}_{order}": moment.copy()
            for order, moments in (("first", self._first), ("second", self._second))
            for name, moment in moments.items()
        }
        resumed = {"resumed": self._resumed} if self._resumed else {}
        return {**super().to_state(), "steps": self.steps, **resumed, "moments": moments}

    def load(self, state: Mapping[str, Any]) -> None:
        super().load(state)
        self.steps = int(state["steps"])
        self._resumed = min(int(state.get("resumed", 0)), self.steps)
        self._first = {name: state["moments"][f"{name}_first"] for name in self.weights}
        self._second = {name: state["moments"][f"{name}_second"] for name in self.weights}


class PlainLearner(Learner):
    """Learns from events without labels."""

    def __init__(
        self, config: EncoderConfig, inputs: int, hashed: int, texts: int, rng: np.random.Generator
    ) -> None:
        super().__init__(config, inputs, hashed, texts, rng)
        if config.objectives.reconstructive:
            wide = len(self.weights["hidden"])
            self.weights["restore"] = _normal(rng, config.dimension, wide)
            self._begin_moments()
        self.hidden_inputs: NDArray[np.bool_] = np.zeros(inputs, dtype=np.bool_)
        self.hidden_slots: NDArray[np.bool_] = np.zeros(self._slots, dtype=np.bool_)

    def hide(self, inputs: NDArray[np.bool_], slots: NDArray[np.bool_]) -> None:
        """Neither train on nor serve inputs (F,), and categories and texts (S,), from here on."""
        self.hidden_inputs, self.hidden_slots = inputs, slots

    def learned(self) -> Learned:
        learned = super().learned()
        learned.weights["hidden"][self._rows_of(self.hidden_inputs, self.hidden_slots)] = 0.0
        return learned._replace(combines=not self._slots or not self.hidden_slots.all())

    def _blanked(self, inputs: Floats, hashes: Hashes) -> tuple[Floats, Looked]:
        """Inputs (..., F) and hashes without what is hidden."""
        if not (self.hidden_inputs.any() or self.hidden_slots.any()):
            return inputs, Looked(hashes.categories, hashes.grams)
        inputs = np.where(self.hidden_inputs, self.edges[:, 0], inputs[..., : self._inputs])
        count = hashes.categories.shape[-1]
        categories = np.where(self.hidden_slots[:count], np.uint64(0), hashes.categories)
        grams = np.where(self.hidden_slots[count:, None], np.uint32(0), hashes.grams)
        return inputs, Looked(categories, grams)

    def learn(self, inputs: Floats, rows: Hashes, real: NDArray[np.bool_], weight: Floats) -> float:
        """Take one step; returns the loss before it.

        Parameters
        ----------
        inputs, rows
            n events, real and swapped ones.
        real : (n,) bool
        weight : (n,) float32
            0 leaves a row out (padding, and events that were not accepted).
        """
        objectives = self.config.objectives
        inputs, rows = self._blanked(inputs, rows)
        found = self._forward(inputs, rows)
        grad = np.empty_like(found.out)
        loss: float = encoder_kernels.contrast(found.out, real, weight, MARGIN, objectives.contrastive, grad)
        others: dict[str, Floats] = {}
        if objectives.reconstructive:
            restore, wide = self.weights["restore"], self._wide(inputs, found.means)
            error = (found.out @ restore - wide) * (weight * real)[:, None]
            total = max(float(weight.sum()), 1.0)
            error *= np.float32(2.0 * objectives.reconstructive / (total * wide.shape[1]))
            others["restore"] = found.out.T @ error
            grad += error @ restore.T
        self._descend(found, grad, others)
        return loss

    def learn_each(
        self, inputs: Floats, hashes: Looked, real: NDArray[np.bool_], weight: Floats
    ) -> NDArray[np.float64]:
        """Call `learn` for each of S batches, one after another; returns the losses, (S,).

        All steps run in one kernel, so that the interpreter's lock is released once.

        Parameters
        ----------
        inputs, hashes
            (S, n, ...); `real` (n,) and `weight` (S, n).
        """
        if self.config.objectives.reconstructive:
            batches = zip(inputs, map(Looked, *hashes), weight, strict=True)
            return np.array([self.learn(rows, looked, real, each) for rows, looked, each in batches])
        inputs, hashes = self._blanked(inputs, hashes)
        names = ("hidden", "hidden_bias", "out", "out_bias", "rows")
        none = {"rows": np.zeros((0, self.config.hash_width), dtype=np.float32)}
        weights, first, second = ({**none, **of} for of in (self.weights, self._first, self._second))
        losses = np.empty(len(inputs))
        encoder_kernels.train(
            np.ascontiguousarray(inputs),
            np.ascontiguousarray(hashes.categories),
            np.ascontiguousarray(hashes.grams),
            real,
            weight,
            self.edges,
            tuple(weights[name] for name in names),
            tuple(_flat(weights[name]) for name in names),
            tuple(_flat(first[name]) for name in names),
            tuple(_flat(second[name]) for name in names),
            MARGIN,
            self.config.objectives.contrastive,
            ADAM_NUMBERS,
            np.array([self._next_rate() for _ in inputs], dtype=np.float32),
            losses,
        )
        self._update_sums()
        return losses

    def _wide(self, inputs: Floats, means: Floats) -> Floats:
        """The input layer in full: the piecewise-linear code, then rows of the hashed table."""
        code = piecewise_linear(inputs[:, : self._inputs], self.edges)
        return np.concatenate([code.reshape(len(inputs), -1), means], axis=1)

    def to_state(self) -> dict[str, Any]:
        hidden = {"hidden_inputs": self.hidden_inputs.copy(), "hidden_slots": self.hidden_slots.copy()}
        return {**super().to_state(), **hidden}

    def load(self, state: Mapping[str, Any]) -> None:
        super().load(state)
        self.hidden_inputs, self.hidden_slots = state["hidden_inputs"], state["hidden_slots"]


class LabelLearner(Learner):
    """Learns from labels.

    The average of its weights over the last steps is served (Polyak and Juditsky 1992): a batch has few
    frauds, so single steps are noisy.

    Parameters
    ----------
    ends : (R,) float32
        Largest values of the fraud rates, which are the last inputs; their bins cover the range from 0.
    """

    def __init__(
        self,
        config: EncoderConfig,
        inputs: int,
        hashed: int,
        texts: int,
        ends: Floats,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(config, inputs, hashed, texts, rng)
        for column, end in enumerate(ends.tolist(), start=inputs - len(ends)):
            self.edges[column] = end * np.square(np.linspace(0.0, 1.0, config.bins + 1, dtype=np.float32))
        self.weights["out"] *= np.float32(OUT_START)
        self.weights["link"] = LINK_START.copy()
        self._begin_moments()
        self._average = {name: weight.copy() for name, weight in self.weights.items()}
        self._averaged = 0  # steps since the bins were moved
        self._hidden = np.zeros(len(self.weights["hidden"]), dtype=np.bool_)  # rows of weights that stay 0

    def _to_serve(self) -> dict[str, Floats]:
        return self._average

    def update_edges(self, samples: Iterable[Floats]) -> None:
        super().update_edges(samples)
        self._averaged = 0

    @property
    def hidden_inputs(self) -> NDArray[np.bool_]:
        """Inputs (F,) that were taken away from the network."""
        wide = self._hidden[: self._inputs * self.config.bins].reshape(self._inputs, self.config.bins)
        return np.asarray(wide.all(axis=1), dtype=np.bool_)

    def hide(self, inputs: NDArray[np.bool_], slots: NDArray[np.bool_]) -> None:
        """Take inputs (F,), and categories and texts (S,), away from the network: their weights stay 0."""
        self._hidden = self._rows_of(inputs, slots)
        self._blank()

    def _blank(self) -> None:
        for of in (self.weights, self._average, self._first, self._second):
            of["hidden"][self._hidden] = 0.0
        self._update_sums()

    def _step(self, gradients: Mapping[str, Floats]) -> None:
        gradients["hidden"][self._hidden] = 0.0
        super()._step(gradients)

    def adopt(self, edges: Floats, weights: Mapping[str, Floats]) -> None:
        """Replace bins and weights by another learner's, and hide what it hides."""
        self.edges = edges.copy()
        self.weights = {name: weight.copy() for name, weight in weights.items()}
        self._average = {name: weight.copy() for name, weight in weights.items()}
        self._averaged = 0
        self.steps = max(self.steps, 1)
        self._hidden = np.all(self.weights["hidden"] == 0.0, axis=1)
        self._blank()

    def approach(self, weights: Mapping[str, Floats], share: float) -> None:
        """Move the weights towards another learner's by a share of the difference; bins must be equal."""
        for own in (self.weights, self._average):
            for name, weight in weights.items():
                own[name] += np.float32(share) * (weight - own[name])
        self._blank()

    def learn(self, inputs: Floats, rows: Hashes, fraud: Floats, weight: Floats) -> float:
        """Take one step; returns the loss before it.

        Parameters
        ----------
        inputs, rows
            n events.
        fraud : (n,) float32
            1: known fraud, 0: legitimate.
        weight : (n,) float32
        """
        found = self._forward(inputs, rows)
        grad, link = np.empty_like(found.out), np.empty_like(self.weights["link"])
        loss: float = encoder_kernels.log_loss(found.out, fraud, weight, self.weights["link"], grad, link)
        self._descend(found, grad, {"link": link})
        self._averaged += 1
        rate = np.float32(max(AVERAGE_RATE, min(1.0, YOUNG_RATE / self._averaged)))
        for name, own in self.weights.items():
            encoder_kernels.approach(_flat(self._average[name]), _flat(own), rate)
        return loss

    def to_state(self) -> dict[str, Any]:
        average = {name: weight.copy() for name, weight in self._average.items()}
        own = {"average": average, "averaged": self._averaged, "hidden": self._hidden.copy()}
        return {**super().to_state(), **own}

    def load(self, state: Mapping[str, Any]) -> None:
        super().load(state)
        self._average, self._averaged = dict(state["average"]), state["averaged"]
        self._hidden = state["hidden"]


def _flat(array: Floats) -> Floats:
    """Return a view (m,) of a contiguous array."""
    assert array.flags.c_contiguous
    return array.reshape(-1)


def _normal(rng: np.random.Generator, rows: int, columns: int) -> Floats:
    return rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(np.sqrt(2.0 / rows))
