"""A place on the earth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import ValueField
from detector.core.events.kinds.base import Explanation, FieldKind
from detector.core.events.kinds.numeric import to_number
from detector.core.events.rejection import Bad
from detector.core.events.values import Column, to_doubles

BOUNDS = {"latitude": 90.0, "longitude": 180.0}
"""Largest degrees of each part, north or south, east or west."""


class Geo(FieldKind):
    """Latitude and longitude in degrees, north and east positive; numbers, or texts that are numbers.

    The place is missing if one of the two is, and if both are 0: that point lies in the sea, and systems
    write it for a place that they do not know.
    """

    store = "points"

    def parse(self, found: Any) -> dict[str, float] | None:
        latitude, longitude = found
        if latitude is None or longitude is None:
            self.missing()
            return None
        place = {
            "latitude": self._degrees("latitude", latitude),
            "longitude": self._degrees("longitude", longitude),
        }
        if not any(place.values()):
            self.missing()
            return None
        return place

    def _degrees(self, part: str, found: Any) -> float:
        number = to_number(found, f"{self.field.name}: {part}")
        if not abs(number) <= BOUNDS[part]:
            bound = BOUNDS[part]
            raise Bad(
                "out_of_range",
                f"field {self.field.name}: {part} {number:g} is not between {-bound:g} and {bound:g}",
            )
        return number

    def encode(self, value: dict[str, float] | None) -> Sequence[Sequence[float]]:
        return ((math.nan, math.nan) if value is None else tuple(value.values()),)

    def read_column(self, column: Column, doubtful: set[int], out: NDArray[Any]) -> None:
        parts = list(zip(*column, strict=True))
        if any(not set(map(type, part)) <= {int, float, NoneType} for part in parts):
            super().read_column(column, doubtful, out)
            return
        degrees = np.stack([to_doubles(part) for part in parts], axis=1)
        inside = (np.abs(degrees) <= list(BOUNDS.values())).all(axis=1) & degrees.any(axis=1)
        for row in np.flatnonzero(~inside).tolist():
            missing = None in column[row] or not any(column[row])
            degrees[row] = np.nan
            if not (missing and self.field.optional):
                doubtful.add(row)
        out[:, 0] = degrees

    @classmethod
    def explain(
        cls,
        field: ValueField,
        value: dict[str, float] | None,
        expected: NDArray[np.float64],
        *,
        whose: str,
        familiarity: str,
    ) -> Explanation:
        name, observed = field.display or field.name, None if value is None else _spell(*value.values())
        if len(expected) and not np.isnan(expected).any():
            usual = _spell(*expected.tolist())
            detail = f"{name} is {observed or 'missing'}, {usual} is usual for {whose}"
            return Explanation(observed, usual, "unusual", detail)
        detail = f"{name} is missing" if observed is None else f"{name} is {observed}: {familiarity}"
        return Explanation(observed, None, "unusual", detail)


def _spell(latitude: float, longitude: float) -> str:
    """Degrees to 100 m."""
    return f"{latitude:.3f}, {longitude:.3f}"
