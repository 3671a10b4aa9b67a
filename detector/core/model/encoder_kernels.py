"""The encoder's arithmetic as compiled loops: forward, backward, losses, optimiser.

The piecewise-linear code of an input is a thermometer: bins below the value's bin are 1, the value's bin
holds an amount, bins above are 0. So the code is never written out:

    hidden  = max(0, bias + sum over inputs (below[input, bin] + amount * weights[input, bin])
                          + terms of categories and texts)
    below   = sums of an input's weights over its lower bins, computed once for given weights
    amount  = position of the value in its bin, in [0, 1]; -log(1 + ...) below the first bin and
              1 + log(1 + ...) above the last, in widths of that bin

In the backward pass each event adds its gradient in two places per input: to the sum of the bins below its
bin, and, times the amount, to its bin. Sums over the bins above then give the gradient of every weight.

Rules
    - The innermost loop is over independent elements, mostly the hidden dimension, so that the compiler can
      vectorise it; nothing is summed within a vector. No fast-math and no threads: equal bytes on equal
      machines.
    - A row's result depends on that row alone, and not on how many rows there are. Gradients are summed in
      the order of the rows.
    - Kernels release the interpreter's lock; their arrays must not be changed meanwhile.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

# Rows that go through all inputs together, so that their hidden layers stay in the CPU's cache.
PIECE = 64
# With a check for division by 0, loops are not vectorised; nothing here divides by 0.
_compiled = numba.njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def sums_below(weights: Any, inputs: int, bins: int) -> Any:
    """Sums of each input's weights over its lower bins, (F, B, H)."""
    width = weights.shape[1]
    below = np.zeros((inputs, bins, width), dtype=weights.dtype)
    for i in range(inputs):
        for b in range(1, bins):
            for h in range(width):
                below[i, b, h] = below[i, b - 1, h] + weights[i * bins + b - 1, h]
    return below


@_compiled
def locate(inputs: Any, edges: Any, places: Any, amounts: Any) -> None:
    """Write the bin of each of the first F inputs, (n, F), and the amount in it."""
    last = edges.shape[1] - 2
    for row in range(len(inputs)):
        for i in range(len(edges)):
            value = inputs[row, i]
            place = 0
            while place < last and value >= edges[i, place + 1]:
                place += 1
            amount = (value - edges[i, place]) / (edges[i, place + 1] - edges[i, place])
            if amount < 0.0:
                amount = -math.log1p(-amount)
            elif amount > 1.0:
                amount = math.log1p(amount - 1.0) + 1.0
            places[row, i] = place
            amounts[row, i] = amount


@_compiled
def look_up(categories: Any, grams: Any, table: Any, means: Any) -> None:
    """Write one row of the hashed table per category, the mean of its trigrams' rows per text; 0 if missing.

    `means` is (n, (C + T) W).
    """
    width = table.shape[1]
    count = len(table)
    for row in range(len(means)):
        means[row, :] = 0.0
        for c in range(categories.shape[1]):
            if categories[row, c] != 0:
                slot = np.int64(categories[row, c] % np.uint64(count))
                means[row, c * width : (c + 1) * width] = table[slot]
        for t in range(grams.shape[1]):
            share = _share(grams[row, t])
            first = (categories.shape[1] + t) * width
            for g in range(grams.shape[2]):
                if grams[row, t, g] != 0:
                    slot = np.int64(grams[row, t, g] % np.uint32(count))
                    for w in range(width):
                        means[row, first + w] += share * table[slot, w]


@_compiled
def _share(grams: Any) -> Any:
    present = 0
    for gram in grams:
        present += gram != 0
    return np.float32(1.0) / np.float32(max(present, 1))


@_compiled
def forward(
    places: Any,
    amounts: Any,
    means: Any,
    below: Any,
    weights: Any,
    bias: Any,
    out: Any,
    out_bias: Any,
    hidden: Any,
    embedded: Any,
) -> None:
    """Write the hidden layer (n, H) and the embedding (n, D)."""
    bins, width = below.shape[1], below.shape[2]
    first = len(below) * bins
    for start in range(0, len(places), PIECE):
        stop = min(start + PIECE, len(places))
        for row in range(start, stop):
            for h in range(width):
                hidden[row, h] = bias[h]
        for i in range(len(below)):
            for row in range(start, stop):
                place, amount = places[row, i], amounts[row, i]
                for h in range(width):
                    hidden[row, h] += below[i, place, h] + amount * weights[i * bins + place, h]
        for row in range(start, stop):
            for w in range(means.shape[1]):
                mean = means[row, w]
                for h in range(width):
                    hidden[row, h] += mean * weights[first + w, h]
            for h in range(width):
                hidden[row, h] = max(hidden[row, h], np.float32(0.0))
        _product(hidden[start:stop], out, out_bias, embedded[start:stop])


@_compiled
def _product(left: Any, right: Any, bias: Any, product: Any) -> None:
    """Write `bias` + `left` @ `right` for a piece. Rows are the innermost loop, as `right` is narrow."""
    rows, width, columns = len(left), len(right), len(bias)
    across, sums = np.empty((width, rows), dtype=right.dtype), np.empty((columns, rows), dtype=right.dtype)
    across[:] = left.T
    for column in range(columns):
        for row in range(rows):
            sums[column, row] = bias[column]
        for h in range(width):
            for row in range(rows):
                sums[column, row] += right[h, column] * across[h, row]
    product[:] = sums.T


@_compiled
def backward_out(
    grad: Any, hidden: Any, out: Any, grad_out: Any, grad_out_bias: Any, grad_hidden: Any
) -> None:
    """Compute gradients of the output layer from the loss's gradient by the embedding, (n, D).

    Adds to `grad_out` and `grad_out_bias`, which must be zero. Writes `grad_hidden` (n, H), by the hidden
    layer before its maximum with 0.
    """
    across = np.ascontiguousarray(out.T)
    sums = np.zeros_like(across)
    width = hidden.shape[1]
    for row in range(len(grad)):
        for h in range(width):
            grad_hidden[row, h] = 0.0
        for d in range(len(across)):
            slope = grad[row, d]
            grad_out_bias[d] += slope
            for h in range(width):
                sums[d, h] += slope * hidden[row, h]
                grad_hidden[row, h] += slope * across[d, h]
        for h in range(width):
            if hidden[row, h] <= 0.0:
                grad_hidden[row, h] = 0.0
    grad_out[:] = sums.T


@_compiled
def backward_inputs(
    places: Any, amounts: Any, means: Any, grad_hidden: Any, bins: int, grad_weights: Any, grad_bias: Any
) -> None:
    """Compute gradients of the hidden layer's weights and bias, added to arrays that must be zero."""
    inputs, width = places.shape[1], grad_hidden.shape[1]
    first = inputs * bins
    under = np.zeros((inputs, bins, width), dtype=grad_weights.dtype)  # of the sum of the bins below
    for start in range(0, len(places), PIECE):
        stop = min(start + PIECE, len(places))
        for i in range(inputs):
            for row in range(start, stop):
                place, amount = places[row, i], amounts[row, i]
                for h in range(width):
                    under[i, place, h] += grad_hidden[row, h]
                    grad_weights[i * bins + place, h] += amount * grad_hidden[row, h]
        for row in range(start, stop):
            for h in range(width):
                grad_bias[h] += grad_hidden[row, h]
            for w in range(means.shape[1]):
                for h in range(width):
                    grad_weights[first + w, h] += means[row, w] * grad_hidden[row, h]
    for i in range(inputs):
        for b in range(bins - 2, -1, -1):
            for h in range(width):
                under[i, b, h] += under[i, b + 1, h]
                grad_weights[i * bins + b, h] += under[i, b + 1, h]


@_compiled
def backward_rows(categories: Any, grams: Any, grad_hidden: Any, weights: Any, grad_table: Any) -> None:
    """Compute the gradient of the hashed table, added to an array that must be zero.

    `weights` are the rows of the hidden layer's weights after those of the numeric inputs, ((C + T) W, H).
    """
    across, still = np.ascontiguousarray(weights.T), np.zeros(len(weights), dtype=weights.dtype)
    grad = np.empty((len(grad_hidden), len(weights)), dtype=weights.dtype)
    for start in range(0, len(grad), PIECE):
        stop = min(start + PIECE, len(grad))
        _product(grad_hidden[start:stop], across, still, grad[start:stop])
    count, width = grad_table.shape
    for row in range(len(grad)):
        for c in range(categories.shape[1]):
            if categories[row, c] != 0:
                slot = np.int64(categories[row, c] % np.uint64(count))
                for w in range(width):
                    grad_table[slot, w] += grad[row, c * width + w]
        for t in range(grams.shape[1]):
            share = _share(grams[row, t])
            first = (categories.shape[1] + t) * width
            for g in range(grams.shape[2]):
                if grams[row, t, g] != 0:
                    slot = np.int64(grams[row, t, g] % np.uint32(count))
                    for w in range(width):
                        grad_table[slot, w] += share * grad[row, first + w]


@_compiled
def contrast(embedded: Any, real: Any, weight: Any, margin: float, strength: float, grad: Any) -> float:
    """Mean logistic loss of the squared distance against the margin; writes `strength` times its gradient."""
    total = max(_sum(weight), 1.0)
    loss = 0.0
    for row in range(len(embedded)):
        sign = 1.0 if real[row] else -1.0
        logit = sign * (_mean_square(embedded[row]) - margin)
        loss += weight[row] * _softplus(logit)
        slope = strength * weight[row] * sign * _chance(logit) / total
        _scale(embedded[row], slope * 2.0 / embedded.shape[1], grad[row])
    return loss / total


@_compiled
def log_loss(embedded: Any, fraud: Any, weight: Any, link: Any, grad: Any, grad_link: Any) -> float:
    """Mean logistic loss of link[0] * squared distance + link[1]; writes its gradients."""
    total = max(_sum(weight), 1e-9)
    loss, by_scale, by_offset = 0.0, 0.0, 0.0
    for row in range(len(embedded)):
        distance = _mean_square(embedded[row])
        logit = link[0] * distance + link[1]
        loss += weight[row] * (_softplus(logit) - fraud[row] * logit)
        slope = weight[row] * (_chance(logit) - fraud[row]) / total
        by_scale += slope * distance
        by_offset += slope
        _scale(embedded[row], link[0] * slope * 2.0 / embedded.shape[1], grad[row])
    grad_link[0], grad_link[1] = by_scale, by_offset
    return loss / total


@_compiled
def adam(
    weight: Any, gradient: Any, first: Any, second: Any, keep_1: Any, keep_2: Any, epsilon: Any, rate: Any
) -> None:
    """Take one step of Adam (Kingma and Ba 2015), all arrays (m,) and all numbers of the same type."""
    for i in range(len(weight)):
        first[i] += keep_1 * (gradient[i] - first[i])
        second[i] += keep_2 * (gradient[i] * gradient[i] - second[i])
        weight[i] -= rate * first[i] / (math.sqrt(second[i]) + epsilon)


@_compiled
def train(
    inputs: Any,
    categories: Any,
    grams: Any,
    real: Any,
    weight: Any,
    edges: Any,
    weights: Any,
    flat: Any,
    first: Any,
    second: Any,
    margin: float,
    strength: float,
    adam_numbers: Any,
    rates: Any,
    losses: Any,
) -> None:
    """Take one step against the contrastive loss on each batch of n rows, one after another.

    Parameters
    ----------
    inputs, categories, grams
        (S, n, ...) of S batches; `weight` (S, n), `real` (n,).
    weights
        Hidden layer, its bias, output layer, its bias, hashed table (empty without categories and texts);
        `flat` are the same as (m,) views, `first` and `second` their moments.
    adam_numbers
        keep_1, keep_2 and epsilon of `adam`; `rates` (S,).
    losses : (S,)
        Output: the loss before each step.
    """
    count, bins = inputs.shape[1], edges.shape[1] - 1
    hidden, hidden_bias, out, out_bias, table = weights
    places = np.empty((count, len(edges)), dtype=np.int8)
    amounts = np.empty((count, len(edges)), dtype=hidden.dtype)
    behind = hidden[len(edges) * bins :]
    means = np.empty((count, len(behind)), dtype=hidden.dtype)
    layer = np.empty((count, len(out)), dtype=out.dtype)
    embedded = np.empty((count, len(out_bias)), out.dtype)
    grad, grad_layer = np.empty_like(embedded), np.empty_like(layer)
    grad_hidden, grad_hidden_bias = np.empty_like(hidden), np.empty_like(hidden_bias)
    grad_out, grad_out_bias, grad_table = np.empty_like(out), np.empty_like(out_bias), np.empty_like(table)
    gradients = (
        grad_hidden.reshape(-1),
        grad_hidden_bias,
        grad_out.reshape(-1),
        grad_out_bias,
        grad_table.reshape(-1),
    )
    keep_1, keep_2, epsilon = adam_numbers
    for step in range(len(inputs)):
        below = sums_below(hidden, len(edges), bins)
        locate(inputs[step], edges, places, amounts)
        if len(behind):
            look_up(categories[step], grams[step], table, means)
        forward(places, amounts, means, below, hidden, hidden_bias, out, out_bias, layer, embedded)
        losses[step] = contrast(embedded, real, weight[step], margin, strength, grad)
        for gradient in gradients:
            gradient[:] = 0.0
        backward_out(grad, layer, out, grad_out, grad_out_bias, grad_layer)
        backward_inputs(places, amounts, means, grad_layer, bins, grad_hidden, grad_hidden_bias)
        if len(behind):
            backward_rows(categories[step], grams[step], grad_layer, behind, grad_table)
        for i in range(len(flat)):
            adam(flat[i], gradients[i], first[i], second[i], keep_1, keep_2, epsilon, rates[step])


@_compiled
def approach(average: Any, weight: Any, share: Any) -> None:
    """Move a share of the way, all arrays (m,) and the share of the same type."""
    for i in range(len(weight)):
        average[i] += share * (weight[i] - average[i])


@_compiled
def _sum(values: Any) -> float:
    total = 0.0
    for value in values:
        total += value
    return total


@_compiled
def _mean_square(values: Any) -> float:
    total = 0.0
    for value in values:
        total += np.float64(value) * value
    return total / len(values)


@_compiled
def _scale(values: Any, factor: float, scaled: Any) -> None:
    for i in range(len(values)):
        scaled[i] = factor * values[i]


@_compiled
def _softplus(logit: float) -> float:
    return max(logit, 0.0) + math.log1p(math.exp(-abs(logit)))


@_compiled
def _chance(logit: float) -> float:
    """Logistic function, without overflow."""
    return 0.5 * (1.0 + math.tanh(0.5 * logit))
