"""Robust distance: how far values, and what they are against what is usual of their keys, are from normal.

Its columns are the inputs marked `robust`: numeric values, their deviations from the profiles of entities,
their ratios to what is usual in each category, and how surprising categories are. At a barrier it reads from
the core:

centre    the median
scales    two, each the same on both sides: with spreads of their own, the long side's extremes would shrink
          and the short side would show extremes where there are none. *far* is the range from the 1 to the
          99 % quantile, *middle* the geometric mean of that and the range of the inner half
weights   a deviation or ratio counts by the share of the value's variance that the means of its key, an
          entity or a category, explained beforehand, the value itself by what none of them explains. A
          terminal that all kinds of customers use says nothing about amounts; its deviations would only be
          noise. What a unit of diesel costs is no price of a car wash. Without a history nothing is
          explained, so the value counts in full. A value that is constant for each key of an entity only says
          which key it is: once there is a history, only deviations from that count; before, only what lies
          beyond the core's range

A value that is missing is no distance, and no value of 0: scales are those of the events that have one.

A column that is constant in the core has no spread there, because rare values are trimmed. It takes the
spread of *all* recent events, so that a rare value is as strange as it is rare, and no more; and at least a
share of its level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detector.core.features import Features, Layout, Rows, constant_numerics, explained_shares
from detector.core.model.moments import Moments
from detector.core.model.scaling import moved

Doubles = NDArray[np.float64]

SCALES = 2
# Values of a column below which they tell no range of their own.
THERE_MIN = 32
# Change of a share explained from which on points are no longer those of before.
EXPLAINED_MOVE_MAX = 0.1
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
# The same ranges of a standard normal, and the least that these columns have. Deviations are in spreads
# already, and while profiles are young and all near 0, the core shows less than what will come. Surprises are
# in nats: with a smaller range the first foreign card of a country would be far away.
NORMAL_RANGE, NORMAL_INNER = 4.65, 1.35
# From the median to the .95 quantile of the length of normal deviates: 1.29 for one, 1.19 for many.
NORMAL_SPAN = 1.17
# More than half of a column may be one value; its inner half is taken as at least this share of the range.
INNER_MIN = 0.03
# A column that never varied has no spread; this share of the largest one keeps it finite.
SPREAD_FLOOR = 1e-3
# A constant value is taken to vary by this share of itself: 10.01 among 10s is no anomaly. Its spread on the
# scale of rows, asinh, is about this share of its hyperbolic tangent.
LEVEL_SPREAD = 0.02
# A category is nearly constant if this share of the core has it.
COMMON = 0.99
# Share explained that counts as nothing when keys are compared: two useless ones both get no weight.
EXPLAINED_MIN = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """The scale at which points are measured; it stays while their index does."""

    centre: Doubles  # (P,)
    spread: Doubles  # (P,)
    inside: Doubles  # (P,)
    explained: Doubles  # (K, J)

    def moved_from(self, before: Space) -> bool:
        """Whether points clearly differ from those of before."""
        explained = np.abs(self.explained - before.explained)
        constant = (self.explained >= 1.0) != (before.explained >= 1.0)
        return bool((constant | (explained > EXPLAINED_MOVE_MAX)).any()) or moved(
            before.centre, before.spread, self.centre, self.spread
        )

    def to_state(self) -> dict[str, Any]:
        return {
            "centre": self.centre,
            "spread": self.spread,
            "inside": self.inside,
            "explained": self.explained,
        }


class RobustDistance:
    """Distances to the core's median at two scales.

    Parameters
    ----------
    memory_events : int
        Memory of the spread of all events.
    """

    def __init__(self, layout: Layout, features: Features, memory_events: int) -> None:
        self._layout = layout
        numbered = [(place, column) for place, column in enumerate(features.columns) if column.robust]
        self.columns = len(numbered)  # P
        self._places = np.array([place for place, _ in numbered], dtype=np.int64)
        # Of each column: its numeric, if it is a value or a comparison; and a comparison's key. -1: none.
        self._is_value = np.array([column.source == "value" for _, column in numbered], dtype=bool)
        compared = np.array([column.source in ("deviation", "ratio") for _, column in numbered], dtype=bool)
        place = np.array([column.place for _, column in numbered], dtype=np.int64)
        key = [-1 if c.kind is None or c.kind.left is None else c.kind.left for _, c in numbered]
        self._numeric = np.where(self._is_value | compared, place, -1)
        self._key = np.where(compared, np.array(key, dtype=np.int64), -1)
        kinds = [layout.kind_of(key) for key in range(layout.compared_keys)]
        self._counts = np.array([kind.count(-1) for kind in kinds], dtype=np.int64)
        there = [
            [kind.there(j) if j < kind.numerics else -1 for j in range(len(layout.numerics))]
            for kind in kinds
        ]
        self._there = np.array(there, dtype=np.int64).reshape(len(kinds), len(layout.numerics))
        self._moments = Moments(len(layout.numerics), memory_events)
        self._centre = np.zeros(self.columns)
        self._inside = np.zeros(self.columns)  # distance from the centre that does not count
        self._values = np.where(self._is_value, self._numeric, -1)
        missing = {c.place: at for at, c in enumerate(features.columns) if c.source == "missing"}
        self._missing = np.array([missing.get(value, -1) for value in self._values.tolist()], dtype=np.int64)
        explained = np.zeros((layout.compared_keys, len(layout.numerics)))
        self._measure_by(np.ones((SCALES, self.columns)), explained)
        self._set_space(None)
        self.constant = False  # whether no value varies in the core

    @property
    def span_min(self) -> float:
        """Span of the distance if columns varied as their scales say.

        That of normal deviates hardly depends on how many of the columns vary.
        """
        return NORMAL_SPAN / NORMAL_RANGE / math.sqrt(self.columns)

    def copy(self) -> RobustDistance:
        """Return a copy; the two learn independently."""
        other = copy(self)
        other._moments = self._moments.copy()
        return other

    def count_as(self, other: RobustDistance) -> None:
        """Take over the moments of another part that went on counting."""
        self._moments.take_over(other._moments)

    def forget(self) -> None:
        """Forget the values of all events."""
        self._moments.forget()

    def learn(self, inputs: NDArray[np.float32]) -> None:
        """Count the values of events, accepted or not."""
        values = np.ascontiguousarray(inputs[:, self._places[self._is_value]], dtype=np.float64)
        self._moments.learn(values, inputs[:, self._missing[self._is_value]] == 0.0)

    def update(self, rows: Rows, inputs: NDArray[np.float32]) -> None:
        """Read centre, scales and weights from the core's rows and their inputs."""
        if self._moments.empty:
            self.learn(inputs)
        low, lower, self._centre, upper, high = self._quantiles(inputs)
        far, inner = high - low, upper - lower
        far = np.where(self._is_value, far, np.maximum(far, NORMAL_RANGE))
        inner = np.where(self._is_value, inner, np.maximum(inner, NORMAL_INNER))
        inner = np.maximum(inner, INNER_MIN * far)
        floor = max(SPREAD_FLOOR * float(far.max()), 1e-9)
        count, total, squares = self._moments.sums
        count = np.maximum(count, 1.0)
        variance = np.maximum(squares / count - np.square(total / count), 0.0)
        least = NORMAL_RANGE * LEVEL_SPREAD * np.tanh(np.abs(self._centre))
        constant = np.flatnonzero(self._is_value & (far < np.maximum(floor, least)))
        spread = NORMAL_RANGE * np.sqrt(variance[self._numeric[constant]])
        spread = np.where(far[constant] < floor, np.maximum(spread, floor), far[constant])
        far[constant] = inner[constant] = np.maximum(spread, least[constant])
        self.constant = len(constant) == np.count_nonzero(self._is_value)
        explained = explained_shares(rows, self._layout)
        entities = len(self._layout.entities)
        same = constant_numerics(rows, self._layout, explained[:entities])
        explained[:entities][same] = 1.0
        self._measure_by(np.stack([far, np.sqrt(far * inner)]), explained)
        told = np.asarray(same.any(axis=0), dtype=np.bool_)  # (J,)
        says_who = np.zeros(self.columns, dtype=np.bool_)
        says_who[self._is_value] = told[self._numeric[self._is_value]]
        self._inside = np.where(says_who, np.maximum(high - self._centre, self._centre - low), 0.0)

    def _quantiles(self, inputs: NDArray[np.float32]) -> Doubles:
        """`QUANTILES` of the columns, (5, P); of a value without the events that have none."""
        columns = inputs[:, self._places].astype(np.float64)
        found: Doubles = np.quantile(columns, QUANTILES, axis=0)
        for place in np.flatnonzero(self._is_value):
            there = inputs[:, self._missing[place]] == 0.0
            if THERE_MIN <= np.count_nonzero(there) < len(there):
                found[:, place] = np.quantile(columns[there, place], QUANTILES)
        return found

    def move(self, *, keep: bool) -> bool:
        """Measure points at the scale of now.

        Parameters
        ----------
        keep
            Go on with the scale of before unless it has clearly moved.

        Returns
        -------
        bool
            Whether points may differ from before.
        """
        space = Space(self._centre, self._scales[1] / NORMAL_RANGE, self._inside, self._explained)
        if keep and self._space is not None and not space.moved_from(self._space):
            return False
        self._set_space(space)
        return True

    def known(self, rows: Rows) -> Doubles:
        """How far the history of each event's keys counts for each numeric, (n, K, J), in [0, 1).

        That is count / (count + 1) of the key's events that had it; 0 where it is not followed.
        """
        counts = rows.context[:, self._counts, None].astype(np.float64)
        seen = np.where(self._there >= 0, counts * rows.context[:, self._there], 0.0)
        known: Doubles = seen / (seen + 1.0)
        return known

    def distances(self, inputs: NDArray[np.float32], known: Doubles) -> Doubles:
        """Weighted root mean square of the scaled columns, (n, SCALES); `known` of the same events."""
        distances = np.empty((len(inputs), SCALES))
        _distances(
            inputs,
            self._places,
            self._centre,
            self._inside,
            self._squared_scales,
            known,
            self._explained,
            self._values,
            self._missing,
            self._weights,
            distances,
        )
        return distances

    def points(self, inputs: NDArray[np.float32], known: Doubles) -> NDArray[np.float32]:
        """Scaled and weighted columns, (n, P): asinh of spreads from the median; `known` of the same events.

        The logarithm far out keeps one extreme column from hiding the others.
        """
        space = self._space
        assert space is not None
        points = np.empty((len(inputs), self.columns), dtype=np.float32)
        _points(
            inputs,
            self._places,
            space.centre,
            space.inside,
            space.spread,
            known,
            space.explained,
            self._values,
            self._missing,
            self._space_weights,
            points,
        )
        return points

    def _weights_by(self, explained: Doubles) -> Doubles:
        """Weights (P,) of columns that are no values: of comparisons their key's share of the explained."""
        weights = np.ones(self.columns)
        compared = np.flatnonzero(self._key >= 0)
        constant = explained >= 1.0
        shares = np.where(constant.any(axis=0) & ~constant, 0.0, explained)
        among = shares / (shares.sum(axis=0) + EXPLAINED_MIN)
        weights[compared] = among[self._key[compared], self._numeric[compared]]
        return weights

    def _measure_by(self, scales: Doubles, explained: Doubles) -> None:
        """Take scales (SCALES, P) and shares explained (K, J), and what follows from them."""
        self._scales, self._explained = scales, explained
        self._squared_scales = np.square(scales)
        self._weights = self._weights_by(explained)

    def _set_space(self, space: Space | None) -> None:
        self._space = space
        self._space_weights = np.ones(self.columns) if space is None else self._weights_by(space.explained)

    def to_state(self) -> dict[str, Any]:
        return {
            "moments": self._moments.sums.copy(),
            "centre": self._centre,
            "scales": self._scales,
            "inside": self._inside,
            "explained": self._explained,
            "space": {} if self._space is None else self._space.to_state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._moments.sums = state["moments"]
        self._centre, self._inside = state["centre"], state["inside"]
        self._measure_by(state["scales"], state["explained"])
        self._set_space(Space(**state["space"]) if state["space"] else None)


def varies(rows: Rows) -> bool:
    """Whether a value or a category of these rows (n) is not nearly constant; True where there are none."""
    found = [_value_varies(column[~np.isnan(column)]) for column in rows.numerics.T]
    most = COMMON * len(rows)
    found += [np.unique(column, return_counts=True)[1].max() < most for column in rows.categories.T]
    return any(found) or not found


def _value_varies(values: Doubles) -> bool:
    if not len(values):
        return False
    low, middle, high = np.quantile(values, (QUANTILES[0], 0.5, QUANTILES[-1]))
    return bool(high - low > NORMAL_RANGE * LEVEL_SPREAD * np.tanh(np.abs(middle)))


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _weight(known: Any, explained: Any, value: int, weight: float) -> float:
    """Weight of one event's column: what no key explains if it is a value, else `weight`."""
    if value < 0:
        return weight
    most = 0.0
    for key in range(len(explained)):
        share = explained[key, value]
        most = max(most, known[key, value] * share)
        if share >= 1.0 and known[key, value] > 0.0:
            return 0.0
    return 1.0 - most


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _beyond(value: Any, centre: float, inside: float) -> float:
    """Difference from the centre, less what does not count."""
    difference = np.float64(value) - centre
    return math.copysign(max(abs(difference) - inside, 0.0), difference)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _distances(
    inputs: Any,
    places: Any,
    centre: Any,
    inside: Any,
    squared_scales: Any,
    known: Any,
    explained: Any,
    values: Any,
    missing: Any,
    weights: Any,
    out: Any,
) -> None:
    """Write distances (n, SCALES); a row's columns are summed from the first to the last.

    Parameters
    ----------
    places : (P,)
        Of the columns among the inputs.
    inside : (P,)
        Distance from the centre that does not count.
    known : (n, K, J)
        How far each key's history counts for each numeric, in [0, 1].
    explained : (K, J)
        1: the value is constant for each key.
    values : (P,)
        Numeric of a column that is a value, else -1.
    missing : (P,)
        Input that says that this value is missing, which is no distance; else -1.
    weights : (P,)
        Of columns that are not.
    """
    for row in range(len(out)):
        for scale in range(len(squared_scales)):
            out[row, scale] = 0.0
        for column in range(len(centre)):
            if missing[column] >= 0 and inputs[row, missing[column]] > 0.0:
                continue
            weight = _weight(known[row], explained, values[column], weights[column])
            difference = _beyond(inputs[row, places[column]], centre[column], inside[column])
            square = difference * difference * weight
            for scale in range(len(squared_scales)):
                out[row, scale] += square / squared_scales[scale, column]
        for scale in range(len(squared_scales)):
            out[row, scale] = math.sqrt(out[row, scale] / len(centre))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _points(
    inputs: Any,
    places: Any,
    centre: Any,
    inside: Any,
    spread: Any,
    known: Any,
    explained: Any,
    values: Any,
    missing: Any,
    weights: Any,
    out: Any,
) -> None:
    """Write scaled and weighted columns (n, P); parameters as above, `spread` (P,)."""
    for row in range(len(out)):
        for column in range(len(centre)):
            if missing[column] >= 0 and inputs[row, missing[column]] > 0.0:
                out[row, column] = 0.0
                continue
            weight = _weight(known[row], explained, values[column], weights[column])
            difference = _beyond(inputs[row, places[column]], centre[column], inside[column])
            out[row, column] = math.asinh(difference / spread[column] * math.sqrt(weight))
