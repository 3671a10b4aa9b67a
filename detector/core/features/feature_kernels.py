"""The arithmetic of features as compiled loops over rows.

    deviation  (value - mean) / spread * sqrt(weight / (weight + 1)), the spread shrunk to the population's
    shift      population's mean of a numeric in the shortest memory less that in the longest
    share      of a category among the main entity's events, each share shrunk to the next wider one

Kernels get the columns of a context row that they read as tables of numbers, made by `columns` and
`profiles`. They compute in doubles and round once, at the end. Logarithms, sines and cosines are left to
numpy, which is faster over whole columns. No fast-math and no threads: equal bytes on equal machines.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba.extending import register_jitable

from detector.core.features.profile_table import PRIOR_WEIGHT

# A larger deviation, in spreads, says no more; the bound keeps float32 inputs finite.
DEVIATION_MAX = 1e4
# Spread below which a profile counts as constant: 0.1 % of a unit.
SPREAD_MIN = 1e-3
# What is usual in one respect mostly varies by half of itself: so much is one spread of a ratio's logarithm.
RATIO_SPREAD = 0.5
# Smaller sizes, in units, are alike.
SIZE_MIN = 1e-2
# A profile that is constant is taken to vary by this share of its level, see `robust_distance`.
LEVEL_SPREAD = 0.02
# Events of the population before which its variances mean nothing.
POPULATION_MIN = 2.0
# Events that a category never seen before counts as.
SURPRISE_PRIOR = 0.5
# Events that what everybody does counts as, in what a key does.
HABIT_PRIOR = 2.0
# Shape of the negative binomial of counts: their rate varies by half.
PACE_SHAPE = 4.0
# Time, in half-lives of the long memory, in which a key that was never seen before is expected once.
PACE_TIME = 1.0 / 60.0
# The same where only events are counted that meet an entity for the first time.
MEETING_TIME = 1.0 / 4.0
# With a check for division by 0, loops are not vectorised; nothing here divides by 0.
_compiled = numba.njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def deviations(
    numerics: Any, context: Any, shift: Any, prior: Any, table: Any, places: Any, inputs: Any
) -> None:
    """Write deviations of values from profiles into columns `places` (D,) of `inputs`.

    Parameters
    ----------
    numerics : (n, J) float64
    context : (n, width) float32
    shift : (n, J) float64
        Of the population's means.
    prior : (n, 2 J) float32
        The population's variances: upper, then lower.
    table : (D, 7) int64
        Column of numerics; columns of context: weight, mean, upper and lower variance; whether to subtract
        the shift; column of the share of that weight which had the numeric.
    """
    numbers = numerics.shape[1]
    for row in range(len(inputs)):
        for d in range(len(table)):
            j = table[d, 0]
            weight = np.float64(context[row, table[d, 1]]) * np.float64(context[row, table[d, 6]])
            level = shift[row, j] if table[d, 5] else 0.0
            difference = numerics[row, j] - level - np.float64(context[row, table[d, 2]])
            side = 0 if difference > 0.0 else 1
            variance = np.float64(context[row, table[d, 3 + side]])
            shrunk = (weight * variance + PRIOR_WEIGHT * np.float64(prior[row, side * numbers + j])) / (
                weight + PRIOR_WEIGHT
            )
            spread = math.sqrt(shrunk)
            if spread < LEVEL_SPREAD:  # else it is above all floors
                mean = np.float64(context[row, table[d, 2]])
                level = abs(mean) / math.sqrt(1.0 + mean * mean)  # on the scale of rows, about
                spread = max(spread, SPREAD_MIN, LEVEL_SPREAD * level)
            deviation = difference / spread
            if weight > 0.0 and not math.isnan(deviation):
                deviation *= math.sqrt(weight / (weight + 1.0))
                inputs[row, places[d]] = min(max(deviation, -DEVIATION_MAX), DEVIATION_MAX)
            else:
                inputs[row, places[d]] = 0.0


@_compiled
def ratios(numerics: Any, context: Any, shift: Any, table: Any, places: Any, inputs: Any) -> None:
    """Write how many times as large or small as usual values are, into columns `places` (D,) of `inputs`.

    That is the logarithm of the ratio of a value to a profile's mean, in spreads of `RATIO_SPREAD`; of one
    side alone 0 on the other. The spreads of a young profile are everybody's, and those of dear things: what
    costs little varies by a few units and yet by the same factor.

    Parameters
    ----------
    numerics : (n, J) float64
    context : (n, width) float32
    shift : (n, J) float64
        Of the population's means.
    table : (D, 5) int64
        Column of numerics; columns of context: weight, mean; 1: how much larger, -1: how much smaller, 0:
        both, smaller is negative; column of the share of that weight which had the numeric. Rows of one mean
        follow each other.
    """
    for row in range(len(inputs)):
        value_of, mean_of, value, ratio = -1, -1, 0.0, 0.0
        for d in range(len(table)):
            j, mean_at = table[d, 0], table[d, 2]
            if j != value_of:
                value_of, value = j, _log_size(numerics[row, j] - shift[row, j])
            if mean_at != mean_of:
                mean_of, weight = mean_at, np.float64(context[row, table[d, 1]])
                weight *= np.float64(context[row, table[d, 4]])
                ratio = 0.0
                if weight > 0.0:
                    ratio = value - _log_size(np.float64(context[row, mean_at]))
                    ratio *= math.sqrt(weight / (weight + 1.0)) / RATIO_SPREAD
            side = table[d, 3]
            far = ratio * side if side else abs(ratio)
            far = min(far, DEVIATION_MAX) if far > 0.0 else 0.0  # NaN is not
            inputs[row, places[d]] = far if side else math.copysign(far, ratio)


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _log_size(scaled: float) -> float:
    """Logarithm of a value's size, up to a constant, with its sign: linear below `SIZE_MIN`."""
    return math.asinh(math.sinh(min(max(scaled, -300.0), 300.0)) / SIZE_MIN)


@_compiled
def shifts(context: Any, table: Any, out: Any) -> None:
    """Write how far each numeric's mean in the shortest memory is above that in the longest, (n, J).

    `table` (J, 2) int64 has the columns of these means.
    """
    for row in range(len(out)):
        for j in range(len(table)):
            shift = np.float64(context[row, table[j, 0]]) - np.float64(context[row, table[j, 1]])
            out[row, j] = 0.0 if math.isnan(shift) else shift


@_compiled
def variances(context: Any, weight_at: int, columns: Any, out: Any) -> None:
    """Write the population's variances, (n, 2 J), from `columns` (2 J,); 1 before there is history."""
    least = np.float32(SPREAD_MIN * SPREAD_MIN)
    for row in range(len(out)):
        known = context[row, weight_at] >= POPULATION_MIN
        for i in range(len(columns)):
            variance = context[row, columns[i]] if known else np.float32(1.0)
            out[row, i] = least if variance < least else variance


@_compiled
def shares(context: Any, table: Any, out: Any) -> None:
    """Write each category's share, (n, C), of the main entity's events, without entities of all events.

    `table` (C, 4) int64 has columns of counts: of everything, of the category, of the main entity, of the
    pair of both; the last two are -1 without entities.
    """
    for row in range(len(out)):
        for c in range(len(table)):
            everything = np.float64(context[row, table[c, 0]])
            share = (np.float64(context[row, table[c, 1]]) + SURPRISE_PRIOR) / (everything + 1.0)
            if table[c, 2] >= 0:
                both = np.float64(context[row, table[c, 3]])
                share = (both + share) / (np.float64(context[row, table[c, 2]]) + 1.0)
            out[row, c] = min(share, 1.0)


@_compiled
def swap(
    table: Any,
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
    rates: Any,
    other_rates: Any,
    points: Any,
    other_points: Any,
) -> None:
    """Overwrite in each row one group of columns, `chosen` (n,), with the other's.

    `table` is (G, 12 + 2 S) int64: column of entities (-1: none), whether the clock; then first and last
    column of numerics, categories, grams, fraud rates, points, and of S pieces of the context.
    """
    for row in range(len(chosen)):
        group = table[chosen[row]]
        if group[0] >= 0:
            entities[row, group[0]] = other_entities[row, group[0]]
        if group[1] > 0:
            clocks[row] = other_clocks[row]
        for column in range(group[2], group[3]):
            numerics[row, column] = other_numerics[row, column]
        for column in range(group[4], group[5]):
            categories[row, column] = other_categories[row, column]
        for text in range(group[6], group[7]):
            grams[row, text] = other_grams[row, text]
        for column in range(group[8], group[9]):
            rates[row, column] = other_rates[row, column]
        for point in range(group[10], group[11]):
            points[row, point] = other_points[row, point]
        for piece in range(12, len(group), 2):
            for column in range(group[piece], group[piece + 1]):
                context[row, column] = other_context[row, column]


@_compiled
def paces(context: Any, table: Any, ratios: Any, time: float, places: Any, inputs: Any) -> None:
    """Write how far short counts are above what the keys' rates let expect, into columns `places` (D,).

    The expected count is the key's rate in the long memory times the short memory, times how much busier
    all others are now than usual: all shops are busy at noon. Both rates are shrunk to one event. What is
    written is the square root of the deviance of a negative binomial with shape `PACE_SHAPE`, 0 for fewer
    events than expected: about a normal deviate, and wide enough for counts that come in runs.

    Parameters
    ----------
    table : (D, 3) int64
        First column of the key's pace and of that of everything; number of the short memory.
    ratios : (memories,) float64
        Short half-lives over the long one.
    time
        In which a key that was never seen before is expected once, in half-lives of the long memory.
    """
    shorts = len(ratios)
    for row in range(len(inputs)):
        for d in range(len(table)):
            own, everything, memory = table[d, 0], table[d, 1], table[d, 2]
            expected = _expected(context, row, own, memory, ratios, time)
            usual = _expected(context, row, everything, memory, ratios, time)
            count = np.float64(context[row, own + memory])
            others = max(np.float64(context[row, everything + memory]) - count, 0.0)
            share = context[row, own + shorts] / max(context[row, everything + shorts], np.float32(1.0))
            usual = max((1.0 - share) * usual, 0.0)
            inputs[row, places[d]] = _above(count, expected * (others + 1.0) / (usual + 1.0))


@_compiled
def bins(context: Any, table: Any, even: Any, places: Any, inputs: Any) -> None:
    """Write how rare the bin of each event is for its key, in nats, into columns `places` (D,) of `inputs`.

    The key's share of the bin is shrunk to everybody's share, which counts as `HABIT_PRIOR` events, and that
    to an even one.

    Parameters
    ----------
    table : (D, 2) int64
        First column of the key's bins and of those of everything.
    even : (D,) float64
        Share of a bin if all had the same.
    """
    for row in range(len(inputs)):
        for d in range(len(table)):
            own, everything = table[d, 0], table[d, 1]
            usual = np.float64(context[row, everything]) + even[d]
            usual /= np.float64(context[row, everything + 1]) + 1.0
            both = np.float64(context[row, own]) + HABIT_PRIOR * usual
            inputs[row, places[d]] = -math.log(both / (np.float64(context[row, own + 1]) + HABIT_PRIOR))


@_compiled
def novelties(context: Any, there: Any, table: Any, places: Any, inputs: Any) -> None:
    """Write how rarely the key meets something new, in nats, into columns `places` (D,) of `inputs`.

    0 where the event met nothing new. The key's share is shrunk to everybody's.

    Parameters
    ----------
    there : (n, D) bool
        Whether the event has such a contact.
    table : (D, 4) int64
        First column of the key's novelty and of that of everything; the contact's column in both; the gap of
        the pair, NaN if it is new.
    """
    for row in range(len(inputs)):
        for d in range(len(table)):
            own, everything, contact, gap = table[d, 0], table[d, 1], table[d, 2], table[d, 3]
            if not there[row, d] or not math.isnan(context[row, gap]):
                inputs[row, places[d]] = 0.0
                continue
            usual = np.float64(context[row, everything + contact]) + 1.0
            usual /= np.float64(context[row, everything]) + 1.0
            met = np.float64(context[row, own + contact]) + HABIT_PRIOR * usual
            inputs[row, places[d]] = -math.log(met / (np.float64(context[row, own]) + HABIT_PRIOR))


@_compiled
def repeats(context: Any, table: Any, places: Any, inputs: Any) -> None:
    """Write how rarely the key repeats an amount as soon, in nats, into columns `places` (D,) of `inputs`.

    0 where the event repeats none. The key's share of repeats is shrunk to everybody's.

    Parameters
    ----------
    table : (D, 2) int64
        First columns of what the event repeats (`RepeatsTable`), and of how often the key does.
    """
    for row in range(len(inputs)):
        for d in range(len(table)):
            repeat, own = table[d, 0], table[d, 1]
            nats, usual = np.float64(context[row, repeat]), np.float64(context[row, repeat + 2])
            events, repeated = np.float64(context[row, own]), np.float64(context[row, own + 1])
            rarity = repeat_nats(nats, usual, events, repeated)
            inputs[row, places[d]] = 0.0 if math.isnan(context[row, repeat + 1]) else rarity


@register_jitable
def repeat_nats(nats: float, usual: float, events: float, repeats: float) -> float:
    """How rare a repeat is for a key, in nats; 0 where nothing was ever repeated.

    Parameters
    ----------
    nats, usual
        -log of the share of all repeats that came as soon; share of all events that are repeats.
    events, repeats
        Decayed ones of the key.
    """
    share = (repeats + HABIT_PRIOR * usual) / (events + HABIT_PRIOR)
    return nats - math.log(min(share, 1.0)) if share > 0.0 else 0.0


@_compiled
def heats(context: Any, table: Any, places: Any, inputs: Any) -> None:
    """Write how much hotter keys are than their number of events lets expect, into columns `places` (D,).

    That is log((1 + heat) / (1 + expected)), at least 0. Expected is the heat of everything, times the share
    that the key usually has of all events. So neither a busy shop is always hot, nor is everybody after a
    shift.

    Parameters
    ----------
    table : (D, 4) int64
        Columns of the key's heat and of that of everything, in one memory; first columns of both paces.
    """
    ratios = np.ones(2)
    for row in range(len(inputs)):
        for d in range(len(table)):
            heat = np.float64(context[row, table[d, 0]])
            if heat <= 0.0:
                inputs[row, places[d]] = 0.0
                continue
            share = _expected(context, row, table[d, 2], 0, ratios, PACE_TIME)
            share /= _expected(context, row, table[d, 3], 0, ratios, PACE_TIME)
            expected = np.float64(context[row, table[d, 1]]) * min(share, 1.0)
            inputs[row, places[d]] = max(math.log((1.0 + heat) / (1.0 + expected)), 0.0)


@_compiled
def _expected(context: Any, row: int, start: int, memory: int, ratios: Any, time: float) -> Any:
    """Count that a short memory would hold at the rate of the long one."""
    shorts = len(ratios)
    count = np.float64(context[row, start + shorts])
    observed = np.float64(context[row, start + shorts + 1])
    return usual_rate(count, observed, time) * ratios[memory]


@register_jitable
def usual_rate(count: float, observed: float, time: float) -> float:
    """Events of a key in a half-life of the long memory, shrunk to one in `time` half-lives.

    Parameters
    ----------
    count, observed
        Decayed events, and the decayed time in which they came, in half-lives; see `PaceTable`.
    """
    return (count + 1.0) / (observed + time)


@_compiled
def _above(count: float, expected: float) -> float:
    if count <= expected:
        return 0.0
    shape = PACE_SHAPE
    both = (count + shape) * math.log((count + shape) / (expected + shape))
    return math.sqrt(2.0 * max(count * math.log(count / expected) - both, 0.0))
