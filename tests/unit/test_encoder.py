"""The encoder: gradients are those of its loss, it learns, and what was learned is served exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from detector.config.tree import Encoder as EncoderConfig
from detector.config.tree import Objectives
from detector.core.events import TEXT_GRAMS_MAX
from detector.core.features import Rows
from detector.core.model.bins import piecewise_linear
from detector.core.model.encoder import (
    MARGIN,
    Encoder,
    Floats,
    LabelLearner,
    Looked,
    PlainLearner,
)
from detector.core.state import pack, unpack

INPUTS, HASHED, TEXTS = 3, 2, 1


def config(contrastive: float = 1.0, reconstructive: float = 0.0, **changes: Any) -> EncoderConfig:
    return EncoderConfig(
        dimension=8,
        hidden=12,
        bins=4,
        hash_rows=64,
        hash_width=3,
        objectives=Objectives(contrastive=contrastive, reconstructive=reconstructive),
        **changes,
    )


def learner(
    settings_: EncoderConfig, seed: int = 0, hashed: int = HASHED, texts: int = TEXTS
) -> PlainLearner:
    return PlainLearner(settings_, INPUTS, hashed, texts, np.random.default_rng(seed))


def batch(count: int = 24, seed: int = 1, hashed: int = HASHED, texts: int = TEXTS) -> tuple[Floats, Rows]:
    rng = np.random.default_rng(seed)
    grams = rng.integers(1, 1 << 32, (count, texts, TEXT_GRAMS_MAX)).astype(np.uint32)
    grams[:, :, 5:] = 0
    categories = rng.integers(1, 1 << 63, (count, hashed)).astype(np.uint64)
    if count > 1:
        grams[0] = 0
        categories[1] = 0
    rows = Rows(
        times=np.zeros(count),
        clocks=np.zeros(count),
        entities=np.zeros((count, 0), dtype=np.uint64),
        numerics=np.zeros((count, 0)),
        categories=categories,
        grams=grams,
        points=np.zeros((count, 0, 3), dtype=np.float32),
        context=np.zeros((count, 0), dtype=np.float32),
        fraud_rates=np.zeros((count, 0), dtype=np.float32),
        zeros=np.zeros(count, dtype=np.int8),
    )
    return rng.normal(0, 1.5, (count, INPUTS)).astype(np.float32), rows


Doubles = NDArray[np.float64]


def wide_of(model: Encoder, inputs: Floats, rows: Rows, table: Doubles | None = None) -> Doubles:
    """The input layer written out: code of each input, row of each category, mean row of each text."""
    inputs = inputs[:, : len(model.edges)]
    parts = [piecewise_linear(inputs.astype(np.float64), model.edges).reshape(len(inputs), -1)]
    if table is None and "rows" in model.weights:
        table = model.weights["rows"].astype(np.float64)
    if table is not None:
        for category in rows.categories.T:
            parts.append((category != 0)[:, None] * table[category % np.uint64(len(table))])
        for t in range(rows.grams.shape[1]):
            present = rows.grams[:, t] != 0
            found = present[:, :, None] * table[rows.grams[:, t] % np.uint32(len(table))]
            parts.append(found.sum(axis=1) / np.maximum(present.sum(axis=1), 1)[:, None])
    return np.concatenate(parts, axis=1)


def embedded_by(
    model: Encoder, weights: dict[str, Doubles], inputs: Floats, rows: Rows
) -> tuple[Doubles, Doubles]:
    """Input layer and embedding by these weights, in double precision."""
    wide = wide_of(model, inputs, rows, weights.get("rows"))
    hidden = np.maximum(wide @ weights["hidden"] + weights["hidden_bias"], 0)
    return wide, hidden @ weights["out"] + weights["out_bias"]


def in_double(model: Encoder) -> dict[str, Doubles]:
    return {name: array.astype(np.float64) for name, array in model.weights.items()}


@pytest.mark.parametrize("count", [1, 3, 64, 65, 200])
@pytest.mark.parametrize(("hashed", "texts"), [(0, 0), (2, 0), (0, 1), (HASHED, TEXTS)])
@pytest.mark.parametrize(("hidden", "dimension", "bins"), [(8, 4, 2), (64, 16, 8), (33, 64, 5)])
def test_kernels_do_what_the_network_says(
    count: int, hashed: int, texts: int, hidden: int, dimension: int, bins: int
) -> None:
    config_ = EncoderConfig(hidden=hidden, dimension=dimension, bins=bins, hash_rows=64)
    encoder = Encoder(config_, INPUTS, hashed, texts, np.random.default_rng(0))
    inputs, rows = batch(count, hashed=hashed, texts=texts)
    encoder.update_edges(np.random.default_rng(1).normal(0, 1, (INPUTS, 100)).astype(np.float32))
    inputs[0] = 1e4, -1e4, encoder.edges[2, 1]  # far outliers, and right on an edge
    inputs[-1, 1:] = encoder.edges[1, 0], encoder.edges[2, -1]
    expected = embedded_by(encoder, in_double(encoder), inputs, rows)[1]
    np.testing.assert_allclose(encoder.encode(inputs, rows), expected, rtol=1e-4, atol=1e-5)


def loss_of(
    model: PlainLearner,
    weights: dict[str, Doubles],
    target: Doubles,
    inputs: Floats,
    rows: Rows,
    real: NDArray[np.bool_],
    weight: Floats,
) -> float:
    """The objectives as the module's text states them."""
    _, out = embedded_by(model, weights, inputs, rows)
    total = max(weight.sum(), 1.0)
    sign = np.where(real, 1.0, -1.0)
    objectives = model.config.objectives
    loss = (weight * np.logaddexp(0, sign * (np.square(out).mean(axis=1) - MARGIN))).sum() / total
    loss *= objectives.contrastive
    if objectives.reconstructive:
        # The code is the target, so it is held still while the embedding rows below it move.
        error = np.square(out @ weights["restore"] - target).mean(axis=1)
        loss += objectives.reconstructive * (weight * real * error).sum() / total
    return float(loss)


class Caught(PlainLearner):
    """Keeps the gradients instead of stepping."""

    def _step(self, gradients: Any) -> None:
        self.gradients = {name: gradient.copy() for name, gradient in gradients.items()}


def check_gradients(
    gradients: dict[str, Floats],
    weights: dict[str, Doubles],
    loss: Callable[[], float],
    rng: np.random.Generator,
) -> int:
    """Compare some of each array with the loss's own slope; returns how many."""
    step, checked = 1e-5, 0
    for name, gradient in gradients.items():
        array = weights[name]
        places = np.flatnonzero(gradient) if name == "rows" else np.arange(array.size)
        for place in rng.choice(places, min(12, len(places)), replace=False):
            kept = array.flat[place]
            array.flat[place] = kept + step
            up = loss()
            array.flat[place] = kept - step
            down = loss()
            array.flat[place] = kept
            assert gradient.flat[place] == pytest.approx((up - down) / (2 * step), rel=2e-3, abs=2e-6), name
            checked += 1
    return checked


@pytest.mark.parametrize(
    ("contrastive", "reconstructive"),
    [(1.0, 0.0), (0.0, 1.0), (0.7, 2.0)],
    ids=["contrast", "restore", "both"],
)
@pytest.mark.parametrize(("hashed", "texts"), [(HASHED, TEXTS), (0, 0), (1, 0)])
def test_gradients_are_those_of_the_loss(
    contrastive: float, reconstructive: float, hashed: int, texts: int
) -> None:
    rng = np.random.default_rng(5)
    model = Caught(config(contrastive, reconstructive), INPUTS, hashed, texts, rng)
    inputs, rows = batch(hashed=hashed, texts=texts)
    real = rng.random(len(inputs)) < 0.5
    weight = (rng.random(len(inputs)) < 0.8).astype(np.float32)
    weights, target = in_double(model), wide_of(model, inputs, rows)

    def loss() -> float:
        return loss_of(model, weights, target, inputs, rows, real, weight)

    reported = model.learn(inputs, rows, real, weight)
    if not reconstructive:
        assert reported == pytest.approx(loss(), rel=1e-5)
    assert check_gradients(model.gradients, weights, loss, rng) >= 40
    assert set(model.gradients) == set(model.weights)
    if hashed:
        assert np.count_nonzero(model.gradients["rows"]) > 0


def test_rows_of_weight_zero_teach_nothing() -> None:
    inputs, rows = batch()
    other_inputs, other_rows = batch(seed=9)
    real = np.arange(len(inputs)) % 2 == 0
    weight = (np.arange(len(inputs)) < 16).astype(np.float32)
    mixed = inputs.copy()
    mixed[16:] = other_inputs[16:]
    mixed_rows = rows.copy()
    mixed_rows.put(slice(16, None), other_rows.take(slice(16, None)))
    one, two = learner(config(1.0, 1.0)), learner(config(1.0, 1.0))
    one.learn(inputs, rows, real, weight)
    two.learn(mixed, mixed_rows, real, weight)
    for name, array in one.weights.items():
        np.testing.assert_allclose(array, two.weights[name], rtol=1e-4, atol=1e-5)


def test_a_batch_without_any_weight_keeps_weights_finite() -> None:
    model = learner(config(1.0, 1.0))
    inputs, rows = batch()
    model.learn(inputs, rows, np.ones(len(inputs), dtype=bool), np.zeros(len(inputs), dtype=np.float32))
    assert all(np.isfinite(array).all() for array in model.weights.values())


@pytest.mark.parametrize("reconstructive", [0.0, 1.0])
@pytest.mark.parametrize("hashed", [0, HASHED])
def test_steps_taken_at_once_are_the_steps_taken_one_by_one(hashed: int, reconstructive: float) -> None:
    texts = TEXTS if hashed else 0
    batches = [batch(seed=seed, hashed=hashed, texts=texts) for seed in range(5)]
    real = np.arange(24) % 3 == 0
    weight = (np.arange(5 * 24).reshape(5, 24) % 7 > 0).astype(np.float32)
    one, other = (learner(config(1.0, reconstructive), hashed=hashed, texts=texts) for _ in range(2))
    losses = [
        one.learn(inputs, rows, real, each) for (inputs, rows), each in zip(batches, weight, strict=True)
    ]
    looked = Looked(
        np.stack([rows.categories for _, rows in batches]), np.stack([rows.grams for _, rows in batches])
    )
    inputs = np.stack([inputs for inputs, _ in batches])
    assert other.learn_each(inputs, looked, real, weight).tolist() == losses
    assert pack(one.to_state()) == pack(other.to_state())
    assert one.encode(*batches[0]).tobytes() == other.encode(*batches[0]).tobytes()


def dependent(rng: np.random.Generator, count: int) -> tuple[Floats, Rows, NDArray[np.bool_]]:
    """The second value follows the first; in the other half it is another event's."""
    inputs, rows = batch(2 * count, seed=int(rng.integers(1 << 30)), hashed=1, texts=0)
    first = rng.normal(0, 1, count)
    inputs[:, 0] = np.tile(first, 2)
    inputs[:count, 1] = first
    inputs[count:, 1] = rng.permutation(first)
    inputs[:, 2] = 0.0
    rows.categories[:] = 7
    return inputs, rows, np.arange(2 * count) < count


@pytest.mark.parametrize("reconstructive", [0.0, 1.0])
def test_learning_separates_real_from_swapped_events(reconstructive: float) -> None:
    rng = np.random.default_rng(2)
    settings_ = config(1.0, reconstructive, learning_rate=0.01)
    model = learner(settings_, hashed=1, texts=0)
    inputs, _, _ = dependent(rng, 512)
    model.update_edges(inputs.T)
    weight = np.ones(256, dtype=np.float32)
    losses = []
    for _ in range(300):
        inputs, rows, real = dependent(rng, 128)
        losses.append(model.learn(inputs, rows, real, weight))
    assert np.mean(losses[-30:]) < 0.8 * np.mean(losses[:10])
    inputs, rows, real = dependent(rng, 500)
    distance = np.square(model.encode(inputs, rows)).sum(axis=1)
    wrong = ~real & (np.abs(inputs[:, 0] - inputs[:, 1]) > 1)
    assert np.median(distance[wrong]) > 2 * np.median(distance[real])


def test_learning_lowers_the_reconstruction_error() -> None:
    model = learner(config(0.0, 1.0, learning_rate=0.01))
    inputs, rows = batch(128)
    real, weight = np.ones(128, dtype=bool), np.ones(128, dtype=np.float32)

    def error() -> float:
        wide = wide_of(model, inputs, rows)
        return float(np.square(model.encode(inputs, rows) @ model.weights["restore"] - wide).mean())

    before = error()
    for _ in range(100):
        model.learn(inputs, rows, real, weight)
    assert error() < 0.5 * before


@given(
    columns=arrays(
        np.float32,
        st.tuples(st.integers(1, 40), st.just(INPUTS)),
        elements=st.floats(-1e4, 1e4, width=32) | st.sampled_from([0.0, 1.0, -1e4, 1e4, 1e-30]),
    ),
    bins=st.integers(2, 32),
)
@settings(max_examples=120, deadline=None)
def test_edges_of_bins_ascend_strictly(columns: Floats, bins: int) -> None:
    encoder = Encoder(EncoderConfig(bins=bins, hidden=8), INPUTS, 0, 0, np.random.default_rng(0))
    encoder.update_edges(columns.T)
    assert encoder.edges.shape == (INPUTS, bins + 1)
    assert encoder.edges.dtype == np.float32
    assert (np.diff(encoder.edges, axis=1) > 0).all()
    _, rows = batch(len(columns), hashed=0, texts=0)
    for value in (columns, np.full_like(columns, 1e4), np.full_like(columns, -1e4)):
        assert np.isfinite(encoder.encode(value, rows)).all()


def test_bins_are_where_most_values_are() -> None:
    rng = np.random.default_rng(0)
    columns = np.concatenate([rng.normal(0, 1, (10_000, INPUTS)), [[1e4] * INPUTS]]).astype(np.float32)
    encoder = Encoder(config(), INPUTS, 0, 0, rng)
    encoder.update_edges(columns.T)
    assert np.abs(encoder.edges).max() < 3.5
    shares = [
        np.mean((columns[:, 0] > a) & (columns[:, 0] <= b))
        for a, b in zip(encoder.edges[0], encoder.edges[0][1:], strict=False)
    ]
    np.testing.assert_allclose(shares, 0.99 / 4, atol=0.01)


def test_codes_of_extremes_still_differ() -> None:
    """Beyond the outermost bins the code goes on, or extremes would all look alike."""
    encoder = Encoder(config(), INPUTS, 0, 0, np.random.default_rng(0))
    values = np.array([2.0, 5.0, 50.0, 500.0, 5000.0], dtype=np.float32)
    inputs = np.zeros((10, INPUTS), dtype=np.float32)
    inputs[:, 0] = np.concatenate([values, -values])
    _, rows = batch(10, hashed=0, texts=0)
    code = wide_of(encoder, inputs, rows)
    assert (np.diff(np.abs(code[:5]).sum(axis=1)) > 0).all()
    assert (np.diff(np.abs(code[5:]).sum(axis=1)) > 0).all()


def test_a_rows_embedding_does_not_depend_on_the_others_nor_on_their_number() -> None:
    encoder = Encoder(config(), INPUTS, HASHED, TEXTS, np.random.default_rng(0))
    inputs, rows = batch(32)
    whole = encoder.encode(inputs, rows)
    for some in (slice(11, 12), slice(3, 32), slice(0, 17)):
        assert encoder.encode(inputs[some], rows.take(some)).tobytes() == whole[some].tobytes()
    other_inputs, other_rows = batch(32, seed=8)
    other_inputs[11], other_rows.categories[11], other_rows.grams[11] = (
        inputs[11],
        rows.categories[11],
        rows.grams[11],
    )
    assert encoder.encode(other_inputs, other_rows)[11].tobytes() == whole[11].tobytes()


def test_categories_and_texts_matter_and_missing_ones_are_silent() -> None:
    encoder = Encoder(config(), INPUTS, HASHED, TEXTS, np.random.default_rng(0))
    inputs, rows = batch(4)
    inputs[:] = inputs[0]
    rows.categories[:], rows.grams[:] = 0, 0
    rows.categories[1, 0] = 5
    rows.grams[2, 0, 0] = 5
    embedded = encoder.encode(inputs, rows)
    assert embedded[3].tobytes() == embedded[0].tobytes()
    assert not np.array_equal(embedded[1], embedded[0])
    assert not np.array_equal(embedded[2], embedded[0])


def test_served_weights_equal_the_learners_and_do_not_change() -> None:
    model = learner(config(1.0, 1.0))
    inputs, rows = batch(64)
    real, weight = np.arange(64) < 32, np.ones(64, dtype=np.float32)
    model.update_edges(inputs.T)
    model.learn(inputs, rows, real, weight)
    served = Encoder(model.config, INPUTS, HASHED, TEXTS, np.random.default_rng(77))
    served.serve(model.learned())
    then = model.encode(inputs, rows).tobytes()
    assert served.encode(inputs, rows).tobytes() == then
    for _ in range(3):
        model.learn(inputs, rows, real, weight)
    model.update_edges(inputs.T * 2)
    assert served.encode(inputs, rows).tobytes() == then != model.encode(inputs, rows).tobytes()


@pytest.mark.parametrize("reconstructive", [0.0, 0.5])
def test_a_learner_continues_from_its_state(reconstructive: float) -> None:
    settings_ = config(1.0, reconstructive)
    first, second = learner(settings_, seed=0), learner(settings_, seed=1)
    inputs, rows = batch(64)
    real, weight = np.arange(64) < 32, np.ones(64, dtype=np.float32)
    for _ in range(3):
        first.learn(inputs, rows, real, weight)
    first.update_edges(inputs.T)
    snapshot = first.to_state()
    saved = pack(snapshot)
    second.load(unpack(saved))
    for model in (first, second):
        for _ in range(3):
            model.learn(inputs, rows, real, weight)
    assert pack(first.to_state()) == pack(second.to_state())
    assert pack(snapshot) == saved  # what was snapshot does not learn on
    assert first.steps == 6


# --- labels ------------------------------------------------------------------------------------------------

ENDS = np.array([1.0, 6.0], dtype=np.float32)


def label_learner(settings_: EncoderConfig, seed: int = 0, hashed: int = HASHED) -> LabelLearner:
    return LabelLearner(settings_, INPUTS, hashed, TEXTS, ENDS, np.random.default_rng(seed))


class CaughtLabels(LabelLearner):
    """Keeps the gradients instead of stepping."""

    def _step(self, gradients: Any) -> None:
        self.gradients = {name: gradient.copy() for name, gradient in gradients.items()}


def label_loss_of(
    model: LabelLearner,
    weights: dict[str, Doubles],
    inputs: Floats,
    rows: Rows,
    fraud: Floats,
    weight: Floats,
) -> float:
    """Weighted log loss of the chance that scale and offset make of the squared distance."""
    _, out = embedded_by(model, weights, inputs, rows)
    logit = weights["link"][0] * np.square(out).mean(axis=1) + weights["link"][1]
    losses = np.where(fraud > 0, np.logaddexp(0, -logit), np.logaddexp(0, logit))
    return float((weight * losses).sum() / weight.sum())


def test_gradients_by_labels_are_those_of_the_loss() -> None:
    rng = np.random.default_rng(5)
    model = CaughtLabels(config(), INPUTS, HASHED, TEXTS, ENDS, rng)
    inputs, rows = batch()
    fraud = (rng.random(len(inputs)) < 0.4).astype(np.float32)
    weight = rng.random(len(inputs)).astype(np.float32)
    weights = in_double(model)

    def loss() -> float:
        return label_loss_of(model, weights, inputs, rows, fraud, weight)

    reported = model.learn(inputs, rows, fraud, weight)
    assert reported == pytest.approx(loss(), rel=1e-5)
    assert set(model.gradients) == set(model.weights)
    check_gradients(model.gradients, weights, loss, rng)


def test_steps_are_adams() -> None:
    """Kingma and Ba 2015, in the form of their section 2; and what is served is the average."""
    model, caught = (
        label_learner(config()),
        CaughtLabels(config(), INPUTS, HASHED, TEXTS, ENDS, np.random.default_rng(0)),
    )
    inputs, rows = batch(64)
    fraud, weight = (np.arange(64) < 8).astype(np.float32), np.ones(64, dtype=np.float32)
    weights, average = in_double(model), in_double(model)
    first = {name: np.zeros_like(array) for name, array in weights.items()}
    second = {name: np.zeros_like(array) for name, array in weights.items()}
    for step in range(1, 4):
        caught.load(model.to_state())
        caught.learn(inputs, rows, fraud, weight)
        model.learn(inputs, rows, fraud, weight)
        for name, gradient in caught.gradients.items():
            first[name] += 0.1 * (gradient - first[name])
            second[name] += 0.001 * (np.square(gradient.astype(np.float64)) - second[name])
            rate = 0.002 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            weights[name] -= rate * first[name] / (np.sqrt(second[name]) + 1e-8)
            np.testing.assert_allclose(model.weights[name], weights[name], atol=1e-5)
            weights[name] = model.weights[name].astype(np.float64)
            average[name] += max(0.01, min(1.0, 8.0 / step)) * (weights[name] - average[name])
            np.testing.assert_allclose(model.learned().weights[name], average[name], atol=1e-6)


def test_labels_put_frauds_far_from_the_origin_and_the_legitimate_near_it() -> None:
    model = label_learner(config(learning_rate=0.01), hashed=0)
    inputs, rows = batch(256, hashed=0)
    fraud = (inputs[:, 0] > 1.0).astype(np.float32)
    weight = np.ones(256, dtype=np.float32)
    losses = [model.learn(inputs, rows, fraud, weight) for _ in range(200)]
    assert losses[-1] < 0.3 * losses[0]
    distance = np.square(model.encode(inputs, rows)).sum(axis=1)
    assert np.quantile(distance[fraud > 0], 0.1) > np.quantile(distance[fraud == 0], 0.9)


def test_an_example_of_no_weight_teaches_nothing() -> None:
    inputs, rows = batch(24)
    fraud = (np.arange(24) % 3 == 0).astype(np.float32)
    weight = (np.arange(24) < 16).astype(np.float32)
    other_inputs, other_fraud = inputs.copy(), fraud.copy()
    other_inputs[16:], other_fraud[16:] = 3.0, 1.0 - fraud[16:]
    one, two = label_learner(config()), label_learner(config())
    one.learn(inputs, rows, fraud, weight)
    two.learn(other_inputs, rows, other_fraud, weight)
    for name, array in one.weights.items():
        np.testing.assert_allclose(array, two.weights[name], rtol=1e-4, atol=1e-5)
    one.learn(inputs, rows, fraud, np.zeros(24, dtype=np.float32))
    assert all(np.isfinite(array).all() for array in one.weights.values())


def test_bins_of_fraud_rates_are_between_0_and_their_largest_value() -> None:
    model = label_learner(config())
    for edges, end in zip(model.edges[-len(ENDS) :], ENDS, strict=True):
        assert (edges[0], edges[-1]) == (0.0, end)
        assert (np.diff(edges) > 0).all()
        assert edges[1] < end / config().bins  # finer where most keys are
    assert (model.edges[0, 0], model.edges[0, -1]) == (-1.0, 1.0)


def test_a_label_learner_continues_from_its_state() -> None:
    first, second = label_learner(config(), seed=0), label_learner(config(), seed=1)
    inputs, rows = batch(64)
    fraud, weight = (np.arange(64) < 8).astype(np.float32), np.ones(64, dtype=np.float32)
    for _ in range(3):
        first.learn(inputs, rows, fraud, weight)
    second.load(unpack(pack(first.to_state())))
    for model in (first, second):
        model.learn(inputs, rows, fraud, weight)
    assert pack(first.to_state()) == pack(second.to_state())


def test_an_encoder_sees_its_first_inputs_only() -> None:
    encoder = Encoder(config(), INPUTS, HASHED, TEXTS, np.random.default_rng(0))
    inputs, rows = batch(8)
    wider = np.concatenate([inputs, np.full((8, 2), 9.0, dtype=np.float32)], axis=1)
    assert encoder.encode(wider, rows).tobytes() == encoder.encode(inputs, rows).tobytes()
