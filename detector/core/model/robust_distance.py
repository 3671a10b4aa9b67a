"""The fixed part of the embedding: how far out values and their deviations from profiles lie.

A column is a numeric's value, its deviation from an entity's profile, or a category's surprise. All of this
is read from the core at a barrier:

centre    the median
scales    two, each the same on both sides: with spreads of their own the long side's extremes would shrink
          and the short side's be made up. *far* is the range from the 1 to the 99 % quantile, *middle* the
          geometric mean of that and the range of the inner half
weights   an entity's deviation counts by the share of the value's variance that its profiles' means explained
          beforehand, the value itself by what none of them explains: a terminal that all kinds of customers
          use says nothing about amounts, and its deviations would only be noise. Of a key without a history
          nothing is explained, so there the value counts in full

A column that is constant in the core has no spread there, as what differs is trimmed if it is rare; it takes
that of *all* recent events, so that a rare value is as strange as it is rare, and no more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detector.core.features import Features, Layout, Rows, explained_shares

Doubles = NDArray[np.float64]

SCALES = 2
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
# The same ranges of a standard normal: deviations are in spreads already, and while profiles are young and
# all near 0, what the core shows is too narrow for those to come. Surprises are in nats; as many of these
# are the least that is far, or the first foreign card of a country would be.
NORMAL_RANGE, NORMAL_INNER = 4.65, 1.35
# More than half of a column may be one value; its inner half is taken as at least this share of the range.
INNER_MIN = 0.03
# A column that was never seen to vary has no spread of its own; this share of the others' keeps it finite.
SPREAD_FLOOR = 1e-3
# Share explained that counts as nothing when entities are compared: of two useless ones none has a say.
EXPLAINED_MIN = 0.05


class FixedPart:
    """Distances to the core's median at two scales.

    Parameters
    ----------
    features : Features
        Its first `fixed_count` inputs are the columns: J values, J deviations per entity, C surprises.
    memory_events : int
        How far back the spread of all events reaches.
    """

    def __init__(self, layout: Layout, features: Features, memory_events: int) -> None:
        self._layout = layout
        self._memory_events = memory_events
        self.columns = features.fixed_count
        self._counts = features.count_columns
        self._moments = np.zeros(
            (3, len(layout.numerics))
        )  # of all events' values: count, sum, sum of squares
        self._centre = np.zeros(self.columns)
        self._scales = np.ones((SCALES, self.columns))
        self._explained = np.zeros((len(layout.entities), len(layout.numerics)))

    def copy(self) -> FixedPart:
        """One that goes its own way from here."""
        other = copy(self)
        other._moments = self._moments.copy()
        return other

    def count_as(self, other: FixedPart) -> None:
        """Take over which events were counted."""
        if other._moments.any():
            self._moments = other._moments

    def learn(self, inputs: NDArray[np.float32]) -> None:
        """Count the values of events, accepted or not."""
        values = inputs[:, : len(self._layout.numerics)].astype(np.float64)
        self._moments *= np.exp(-len(values) / self._memory_events)
        self._moments += np.stack([np.ones_like(values), values, np.square(values)]).sum(axis=1)

    def renew(self, rows: Rows, inputs: NDArray[np.float32]) -> None:
        """Read centre, scales and weights from the core's rows and their inputs."""
        if not self._moments.any():
            self.learn(inputs)
        numerics = len(self._layout.numerics)
        low, lower, self._centre, upper, high = np.quantile(
            inputs[:, : self.columns].astype(np.float64), QUANTILES, axis=0
        )
        far, inner = high - low, upper - lower
        far[numerics:] = np.maximum(far[numerics:], NORMAL_RANGE)
        inner[numerics:] = np.maximum(inner[numerics:], NORMAL_INNER)
        inner = np.maximum(inner, INNER_MIN * far)
        floor = max(SPREAD_FLOOR * float(far.max()), 1e-9)
        count, total, squares = self._moments
        variance = np.maximum(squares / count - np.square(total / count), 0.0)
        constant = np.flatnonzero(far[:numerics] < floor)
        far[constant] = inner[constant] = np.maximum(NORMAL_RANGE * np.sqrt(variance[constant]), floor)
        self._scales = np.stack([far, np.sqrt(far * inner)])
        self._explained = explained_shares(rows, self._layout)

    def distances(self, inputs: NDArray[np.float32]) -> Doubles:
        """Weighted root mean square of the scaled columns, (n, SCALES)."""
        explained = self._explained
        known = -np.expm1(-inputs[:, self._counts].astype(np.float64))  # count / (count + 1)
        deviations = (explained / (explained.sum(axis=0) + EXPLAINED_MIN)).ravel()
        weights = np.concatenate([deviations, np.ones(len(self._layout.categories))])
        distances = np.empty((len(inputs), SCALES))
        _distances(inputs, self._centre, np.square(self._scales), known, explained, weights, distances)
        return distances

    def to_state(self) -> dict[str, Any]:
        return {
            "moments": self._moments.copy(),
            "centre": self._centre,
            "scales": self._scales,
            "explained": self._explained,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._moments = state["moments"]
        self._centre, self._scales, self._explained = state["centre"], state["scales"], state["explained"]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _distances(
    inputs: Any, centre: Any, squared_scales: Any, known: Any, explained: Any, others: Any, out: Any
) -> None:
    """Write distances (n, SCALES); a row's columns are summed from the first to the last.

    Parameters
    ----------
    known : (n, E)
        How far each entity's history counts, in [0, 1].
    explained : (E, J)
    others : (columns - J,)
        Say of the columns behind the values.
    """
    entities, numerics = explained.shape
    for row in range(len(out)):
        for scale in range(len(squared_scales)):
            out[row, scale] = 0.0
        for column in range(len(centre)):
            weight = 1.0
            if column < numerics:
                most = 0.0
                for entity in range(entities):
                    most = max(most, known[row, entity] * explained[entity, column])
                weight -= most
            else:
                weight = others[column - numerics]
            difference = np.float64(inputs[row, column]) - centre[column]
            square = difference * difference * weight
            for scale in range(len(squared_scales)):
                out[row, scale] += square / squared_scales[scale, column]
        for scale in range(len(squared_scales)):
            out[row, scale] = math.sqrt(out[row, scale] / len(centre))
