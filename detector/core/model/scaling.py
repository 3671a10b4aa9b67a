"""Numerics and surprises on one scale, for the descriptions of normal that compare columns with each other.

    z = asinh((x - median) / spread)

median and spread are those of the core. The spread is the interquartile range, divided by that of a standard
normal. The logarithm far out keeps one extreme column from hiding the others. A missing value stays NaN.

A column that is mostly one value takes the core's standard deviation. A column that is constant in the core
has no spread there, because rare values are trimmed; it takes a multiple of the spread of *all* recent
events.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detector.core.features import Features, Rows
from detector.core.model.moments import Moments

Doubles = NDArray[np.float64]
Points = NDArray[np.float32]

INNER_OF_NORMAL = 1.35  # interquartile range of a standard normal
# Below this share of the standard deviation the interquartile range says nothing: one value fills it.
INNER_MIN = 0.03
# Spreads of all events that a column takes which is constant in the core.
SPREADS_OF_ALL = 3.0
# A column that never varied has no spread; this share of its size, or of its unit, stands for it.
SPREAD_FLOOR = 1e-2
CONSTANT = 1e-9
# Surprises are in nats already. With a smaller spread the first foreign card of a country would be far away.
SURPRISE_MIN = 1.0
VALUE_MAX = 1e100  # its square is finite
# The scale follows when a centre has moved by this share of its spread, or a spread by this share of itself.
MOVE_MAX = 0.1


class Scaling:
    """The scale of each column: all numerics, then the surprises of all categories, D in all.

    Parameters
    ----------
    memory_events
        Memory of the spread of all events.
    """

    def __init__(self, features: Features, numerics: int, memory_events: int) -> None:
        surprises = [place for place, column in enumerate(features.columns) if column.source == "surprise"]
        self._surprises = np.array(surprises, dtype=np.int64)
        self._moments = Moments(numerics, memory_events)
        self._centre = np.zeros(numerics + len(surprises))
        self._spread = np.ones(numerics + len(surprises))

    def __len__(self) -> int:
        """D."""
        return len(self._centre)

    def copy(self) -> Scaling:
        """Return a copy; the two learn independently."""
        other = copy(self)
        other._moments = self._moments.copy()
        return other

    def count_as(self, other: Scaling) -> None:
        """Take over the moments of another one that went on counting."""
        self._moments.take_over(other._moments)

    def forget(self) -> None:
        """Forget the values of all events."""
        self._moments.forget()

    def learn(self, rows: Rows) -> None:
        """Count the values of events, accepted or not."""
        known = ~np.isnan(rows.numerics)
        self._moments.learn(np.where(known, rows.numerics, 0.0), known)

    def fit(self, rows: Rows, inputs: NDArray[np.float32], *, keep: bool = False) -> bool:
        """Read centre and spread from the core's rows and their inputs (n, F).

        Parameters
        ----------
        keep
            Leave the scale as it is unless it has clearly moved.

        Returns
        -------
        bool
            Whether points may differ from before.
        """
        centre, spread = self._read(rows, inputs)
        if keep and not moved(self._centre, self._spread, centre, spread):
            return False
        self._centre, self._spread = centre, spread
        return True

    def _read(self, rows: Rows, inputs: NDArray[np.float32]) -> tuple[Doubles, Doubles]:
        """Centre and spread of the columns, (D,) each."""
        if self._moments.empty:
            self.learn(rows)
        count, total, squares = self._moments.sums / np.maximum(self._moments.sums[0], 1e-300)
        of_all = np.sqrt(np.maximum(squares - np.square(total), 0.0)) * (count > 0)
        numerics = rows.numerics.shape[1]
        values = np.concatenate([_values(rows.numerics), inputs[:, self._surprises]], axis=1)
        centres, spreads = np.zeros(len(self)), np.ones(len(self))
        for column in range(len(self)):
            known = values[~np.isnan(values[:, column]), column]
            if not len(known):
                continue
            lower, centre, upper = np.quantile(known, [0.25, 0.5, 0.75])
            spread, deviation = (upper - lower) / INNER_OF_NORMAL, float(known.std())
            if spread <= INNER_MIN * deviation:
                spread = deviation
            if column >= numerics:
                spread = max(spread, SURPRISE_MIN)
            elif spread <= CONSTANT * max(1.0, abs(centre)):
                # The moments are on the scale of the rows, asinh; its slope at the centre converts them.
                size = math.hypot(1.0, centre)
                spread = size * max(SPREADS_OF_ALL * of_all[column], SPREAD_FLOOR)
            centres[column], spreads[column] = centre, spread
        return centres, spreads

    def points(self, rows: Rows, inputs: NDArray[np.float32]) -> Points:
        """Scale n events, given as rows and inputs (n, F): (n, D) float32, NaN where a value is missing."""
        points = np.empty((len(inputs), len(self)), dtype=np.float32)
        _scale(rows.numerics, inputs, self._surprises, self._centre, self._spread, points)
        return points

    def to_state(self) -> dict[str, Any]:
        return {"moments": self._moments.sums.copy(), "centre": self._centre, "spread": self._spread}

    def load(self, state: Mapping[str, Any]) -> None:
        self._moments.sums = state["moments"]
        self._centre, self._spread = state["centre"], state["spread"]


def moved(centre: Doubles, spread: Doubles, new_centre: Doubles, new_spread: Doubles) -> bool:
    """Whether any column's new scale clearly differs from the one before; (D,) each."""
    shifted = np.abs(new_centre - centre) > MOVE_MAX * spread
    widened = np.abs(np.log(new_spread / spread)) > math.log1p(MOVE_MAX)
    return bool((shifted | widened).any())


def _values(numerics: Doubles) -> Doubles:
    """Undo the scale of rows, up to the unit; columns keep their order and their missing values."""
    with np.errstate(over="ignore"):
        values: Doubles = np.clip(np.sinh(numerics), -VALUE_MAX, VALUE_MAX)
    return values


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _scale(numerics: Any, inputs: Any, surprises: Any, centre: Any, spread: Any, out: Any) -> None:
    """Write scaled values (n, D)."""
    columns = numerics.shape[1]
    for row in range(len(out)):
        for column in range(len(centre)):
            if column < columns:
                value = min(max(math.sinh(numerics[row, column]), -VALUE_MAX), VALUE_MAX)
                if math.isnan(numerics[row, column]):
                    value = math.nan
            else:
                value = np.float64(inputs[row, surprises[column - columns]])
            out[row, column] = math.asinh((value - centre[column]) / spread[column])
