"""Robust distance: how far values and their deviations from profiles are from normal.

Its columns are the inputs marked `robust`: numeric values, their deviations from the profiles of entities,
and how surprising categories are. At a barrier it reads from the core:

centre    the median
scales    two, each the same on both sides: with spreads of their own, the long side's extremes would shrink
          and the short side would show extremes where there are none. *far* is the range from the 1 to the
          99 % quantile, *middle* the geometric mean of that and the range of the inner half
weights   a deviation from an entity's profile counts by the share of the value's variance that the
          entity's means explained beforehand, the value itself by what none of them explains. A terminal that
          all kinds of customers use says nothing about amounts; its deviations would only be noise. Without a
          history nothing is explained, so the value counts in full. A surprise that the main entity's history
          mostly takes away counts as far as there is a history: where everybody lives at a rare place, the
          first event of a card is not strange

A column that is constant in the core has no spread there, because rare values are trimmed. It takes the
spread of *all* recent events, so that a rare value is as strange as it is rare, and no more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detector.core.features import Features, Layout, Rows, explained_shares, explained_surprises
from detector.core.model.moments import Moments

Doubles = NDArray[np.float64]

SCALES = 2
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
# The same ranges of a standard normal, and the least that these columns have. Deviations are in spreads
# already, and while profiles are young and all near 0, the core shows less than what will come. Surprises are
# in nats: with a smaller range the first foreign card of a country would be far away.
NORMAL_RANGE, NORMAL_INNER = 4.65, 1.35
# More than half of a column may be one value; its inner half is taken as at least this share of the range.
INNER_MIN = 0.03
# A column that never varied has no spread; this share of the largest one keeps it finite.
SPREAD_FLOOR = 1e-3
# Share explained that counts as nothing when entities are compared: two useless ones both get no weight.
EXPLAINED_MIN = 0.05


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
        # Numeric of each value and deviation, entity of each deviation; -1 for others.
        self._is_value = np.array([column.source == "value" for _, column in numbered], dtype=bool)
        compared = np.array([column.source == "deviation" for _, column in numbered], dtype=bool)
        place = np.array([column.place for _, column in numbered], dtype=np.int64)
        entity = [-1 if c.kind is None or c.kind.left is None else c.kind.left for _, c in numbered]
        self._numeric = np.where(self._is_value | compared, place, -1)
        self._entity = np.where(compared, np.array(entity, dtype=np.int64), -1)
        self._counts = [features.count_column(layout.kind_of(e)) for e in range(len(layout.entities))]
        self._moments = Moments(len(layout.numerics), memory_events)
        self._centre = np.zeros(self.columns)
        self._scales = np.ones((SCALES, self.columns))
        self._explained = np.zeros((len(layout.entities), len(layout.numerics)))
        self._surprises = np.flatnonzero([column.source == "surprise" for _, column in numbered])
        self._told = np.zeros(len(layout.categories))  # share of each surprise that the history takes away

    def copy(self) -> RobustDistance:
        """Return a copy; the two learn independently."""
        other = copy(self)
        other._moments = self._moments.copy()
        return other

    def count_as(self, other: RobustDistance) -> None:
        """Take over the moments of another part that went on counting."""
        self._moments.take_over(other._moments)

    def learn(self, inputs: NDArray[np.float32]) -> None:
        """Count the values of events, accepted or not."""
        values = np.ascontiguousarray(inputs[:, self._places[self._is_value]], dtype=np.float64)
        self._moments.learn(values)

    def update(self, rows: Rows, inputs: NDArray[np.float32]) -> None:
        """Read centre, scales and weights from the core's rows and their inputs."""
        if self._moments.empty:
            self.learn(inputs)
        low, lower, self._centre, upper, high = np.quantile(
            inputs[:, self._places].astype(np.float64), QUANTILES, axis=0
        )
        far, inner = high - low, upper - lower
        far = np.where(self._is_value, far, np.maximum(far, NORMAL_RANGE))
        inner = np.where(self._is_value, inner, np.maximum(inner, NORMAL_INNER))
        inner = np.maximum(inner, INNER_MIN * far)
        floor = max(SPREAD_FLOOR * float(far.max()), 1e-9)
        count, total, squares = self._moments.sums
        variance = np.maximum(squares / count - np.square(total / count), 0.0)
        constant = np.flatnonzero(self._is_value & (far < floor))
        spread = np.sqrt(variance[self._numeric[constant]])
        far[constant] = inner[constant] = np.maximum(NORMAL_RANGE * spread, floor)
        self._scales = np.stack([far, np.sqrt(far * inner)])
        self._explained = explained_shares(rows, self._layout)
        self._told = explained_surprises(rows, self._layout)

    def distances(self, inputs: NDArray[np.float32]) -> Doubles:
        """Weighted root mean square of the scaled columns, (n, SCALES)."""
        explained = self._explained
        known = -np.expm1(-inputs[:, self._counts].astype(np.float64))  # count / (count + 1)
        weights = np.ones(self.columns)
        deviates = np.flatnonzero(self._entity >= 0)
        among = explained / (explained.sum(axis=0) + EXPLAINED_MIN)
        weights[deviates] = among[self._entity[deviates], self._numeric[deviates]]
        values = np.where(self._is_value, self._numeric, -1)
        told = np.zeros(self.columns)
        told[self._surprises] = self._told
        distances = np.empty((len(inputs), SCALES))
        _distances(
            inputs,
            self._places,
            self._centre,
            np.square(self._scales),
            known,
            explained,
            values,
            weights,
            told,
            distances,
        )
        return distances

    def to_state(self) -> dict[str, Any]:
        return {
            "moments": self._moments.sums.copy(),
            "centre": self._centre,
            "scales": self._scales,
            "explained": self._explained,
            "told": self._told,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._moments.sums = state["moments"]
        self._centre, self._scales = state["centre"], state["scales"]
        self._explained, self._told = state["explained"], state["told"]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _distances(
    inputs: Any,
    places: Any,
    centre: Any,
    squared_scales: Any,
    known: Any,
    explained: Any,
    values: Any,
    weights: Any,
    told: Any,
    out: Any,
) -> None:
    """Write distances (n, SCALES); a row's columns are summed from the first to the last.

    Parameters
    ----------
    places : (P,)
        Of the columns among the inputs.
    known : (n, E)
        How far each entity's history counts, in [0, 1].
    explained : (E, J)
    values : (P,)
        Numeric of a column that is a value, else -1.
    weights : (P,)
        Of columns that are not.
    told : (P,)
        How far the weight of a column that is a surprise depends on the main entity's history.
    """
    for row in range(len(out)):
        for scale in range(len(squared_scales)):
            out[row, scale] = 0.0
        for column in range(len(centre)):
            weight = weights[column]
            if values[column] >= 0:
                most = 0.0
                for entity in range(len(explained)):
                    most = max(most, known[row, entity] * explained[entity, values[column]])
                weight = 1.0 - most
            elif told[column] > 0.0:
                weight -= told[column] * (1.0 - known[row, 0])
            difference = np.float64(inputs[row, places[column]]) - centre[column]
            square = difference * difference * weight
            for scale in range(len(squared_scales)):
                out[row, scale] += square / squared_scales[scale, column]
        for scale in range(len(squared_scales)):
            out[row, scale] = math.sqrt(out[row, scale] / len(centre))
