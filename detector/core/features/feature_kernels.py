"""The arithmetic of features as compiled loops: row by row, written straight into the inputs.

    deviation  (value - mean) / spread * sqrt(weight / (weight + 1)), the spread shrunk to the population's
    shift      population's mean of a numeric in the shortest memory less that in the longest
    share      of a category among the main entity's events, each share shrunk to the next wider one

Doubles in between, one rounding at the end. Logarithms, sines and cosines are numpy's, over whole columns:
faster there than one by one. No fast-math and no threads: equal bytes on equal machines.

A context row and its kinds are those of `detector.core.features.features`; `kinds` is (K, 3) int64: where a
kind's columns start, its memories H and its numerics J.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from detector.core.features.profiles import PRIOR_WEIGHT

# A deviation in spreads beyond this says no more; keeps float32 inputs finite.
DEVIATION_MAX = 1e4
# Spread below which a profile counts as constant: 0.1 % of a unit.
SPREAD_MIN = 1e-3
# Events of the population before which its variances mean nothing.
POPULATION_MIN = 2.0
# Events that a category never seen before counts as.
SURPRISE_PRIOR = 0.5
# A division that is checked for 0 is not made a vector instruction; nothing here divides by 0.
_compiled = numba.njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def fill(
    numerics: Any,
    context: Any,
    risk: Any,
    kinds: Any,
    entities: int,
    surprises: Any,
    counts: Any,
    gaps: Any,
    sines: Any,
    cosines: Any,
    out: Any,
) -> None:
    """Write inputs (n, F), in the order of `Features.names`.

    Parameters
    ----------
    surprises : (n, C)
    counts : (n, sum of H), gaps : (n, K - 1)
        Of all kinds but the first, as logarithms.
    sines, cosines : (n, number of cycles)
    """
    numbers, memories = numerics.shape[1], kinds[0, 1]
    shift, prior = np.empty((1, numbers)), np.empty((1, 2 * numbers), dtype=np.float32)
    still = np.zeros(numbers)
    for row in range(len(out)):
        shifts(context[row : row + 1], kinds, shift)
        variances(context[row : row + 1], kinds, prior)
        values, known, to = numerics[row], context[row], out[row]
        at = 0
        for j in range(numbers):
            to[at + j] = 0.0 if math.isnan(values[j]) else values[j]
        at += numbers
        if numbers:
            for kind in range(1, 1 + entities):
                at = _deviate(values, shift[0], prior[0], known, kinds[kind], memories - 1, memories, to, at)
        at = _copy(surprises[row], to, at)
        if numbers:
            for kind in range(1, 1 + entities):
                at = _deviate(values, shift[0], prior[0], known, kinds[kind], 0, memories - 1, to, at)
            at = _deviate(values, still, prior[0], known, kinds[0], 0, memories, to, at)
        for j in range(numbers):
            to[at + j] = 1.0 if math.isnan(values[j]) else 0.0
        at += numbers
        first = 0
        for kind in range(1, len(kinds)):
            last = first + kinds[kind, 1]
            at = _copy(counts[row, first:last], to, at)
            to[at] = gaps[row, kind - 1]
            to[at + 1] = 1.0 if math.isnan(known[kinds[kind, 0]]) else 0.0
            at, first = at + 2, last
        at = _copy(sines[row], to, at)
        at = _copy(cosines[row], to, at)
        at = _copy(risk[row], to, at)


@_compiled
def _copy(values: Any, to: Any, at: int) -> int:
    for i in range(len(values)):
        to[at + i] = values[i]
    return at + len(values)


@_compiled
def _deviate(
    values: Any,
    shift: Any,
    prior: Any,
    known: Any,
    kind: Any,
    from_memory: int,
    to_memory: int,
    to: Any,
    at: int,
) -> int:
    """Write deviations from one profile in some of its memories; returns the next column."""
    memories, numbers = kind[1], kind[2]
    for h in range(from_memory, to_memory):
        weight = np.float64(known[kind[0] + 1 + h])
        for j in range(numbers):
            mean_at = kind[0] + 1 + memories + h * numbers + j
            difference = values[j] - shift[j] - np.float64(known[mean_at])
            side = 0 if difference > 0.0 else 1
            variance = np.float64(known[mean_at + (1 + side) * memories * numbers])
            shrunk = (weight * variance + PRIOR_WEIGHT * np.float64(prior[side * numbers + j])) / (
                weight + PRIOR_WEIGHT
            )
            spread = math.sqrt(shrunk)
            deviation = difference / (SPREAD_MIN if spread < SPREAD_MIN else spread)
            if weight > 0.0 and not math.isnan(deviation):
                deviation *= math.sqrt(weight / (weight + 1.0))
                to[at] = min(max(deviation, -DEVIATION_MAX), DEVIATION_MAX)
            else:
                to[at] = 0.0
            at += 1
    return at


@_compiled
def shifts(context: Any, kinds: Any, out: Any) -> None:
    """Write how far each numeric's mean in the shortest memory lies above that in the longest, (n, J)."""
    first, memories, numbers = kinds[0, 0] + 1 + kinds[0, 1], kinds[0, 1], out.shape[1]
    for row in range(len(out)):
        for j in range(numbers):
            short = np.float64(context[row, first + j])
            shift = short - np.float64(context[row, first + (memories - 1) * numbers + j])
            out[row, j] = 0.0 if math.isnan(shift) else shift


@_compiled
def variances(context: Any, kinds: Any, out: Any) -> None:
    """Write the population's variances in the longest memory, (n, 2 J): upper, then lower."""
    memories, numbers = kinds[0, 1], out.shape[1] // 2
    least = np.float32(SPREAD_MIN * SPREAD_MIN)
    for row in range(len(out)):
        known = context[row, kinds[0, 0] + memories] >= POPULATION_MIN
        for side in range(2):
            first = kinds[0, 0] + 1 + memories + (memories * (2 + side) - 1) * numbers
            for j in range(numbers):
                variance = context[row, first + j] if known else np.float32(1.0)
                out[row, side * numbers + j] = least if variance < least else variance


@_compiled
def shares(context: Any, kinds: Any, entities: int, out: Any) -> None:
    """Write each category's share, (n, C), of the main entity's events, without entities of all events."""
    categories = out.shape[1]
    own = entities + max(entities - 1, 0) + 1  # kinds: all, entities, their pairs, categories, their pairs
    for row in range(len(out)):
        everything = _longest(context[row], kinds[0])
        for c in range(categories):
            share = (_longest(context[row], kinds[own + c]) + SURPRISE_PRIOR) / (everything + 1.0)
            if entities:
                both = _longest(context[row], kinds[own + categories + c])
                share = (both + share) / (_longest(context[row], kinds[1]) + 1.0)
            out[row, c] = min(share, 1.0)


@_compiled
def _longest(known: Any, kind: Any) -> float:
    return np.float64(known[kind[0] + kind[1]])


@_compiled
def swap(
    what: Any,
    chosen: Any,
    numerics: Any,
    other_numerics: Any,
    categories: Any,
    other_categories: Any,
    grams: Any,
    other_grams: Any,
    entities: Any,
    other_entities: Any,
    clocks: Any,
    other_clocks: Any,
    context: Any,
    other_context: Any,
    risk: Any,
    other_risk: Any,
) -> None:
    """Overwrite in each row one group of columns, `chosen` (n,), with the other's.

    `what` is (G, 7 + 2 S) int64: columns of numerics, categories, grams and entities (-1: none), whether the
    clock, first and last column of the risk, and of S pieces of the context.
    """
    for row in range(len(chosen)):
        group = what[chosen[row]]
        if group[0] >= 0:
            numerics[row, group[0]] = other_numerics[row, group[0]]
        if group[1] >= 0:
            categories[row, group[1]] = other_categories[row, group[1]]
        if group[2] >= 0:
            grams[row, group[2]] = other_grams[row, group[2]]
        if group[3] >= 0:
            entities[row, group[3]] = other_entities[row, group[3]]
        if group[4] > 0:
            clocks[row] = other_clocks[row]
        for column in range(group[5], group[6]):
            risk[row, column] = other_risk[row, column]
        for piece in range(7, len(group), 2):
            for column in range(group[piece], group[piece + 1]):
                context[row, column] = other_context[row, column]
