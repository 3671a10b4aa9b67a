"""A place on the earth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import EventLimits, NumberForm, ValueField
from detector.core.events.kinds.base import Explanation, FieldKind
from detector.core.events.numbers import NumberTexts, to_number
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

    def __init__(self, field: ValueField, limits: EventLimits, key: bytes) -> None:
        super().__init__(field, limits, key)
        self._texts = NumberTexts(field.number or NumberForm())

    def parse(self, found: Any) -> dict[str, float] | None:
        degrees = [self._degrees(part, one) for part, one in zip(BOUNDS, found, strict=True)]
        latitude, longitude = degrees
        if latitude is None or longitude is None or not any(degrees):
            self.missing()
            return None
        return {"latitude": latitude, "longitude": longitude}

    def _degrees(self, part: str, found: Any) -> float | None:
        if found is None or (isinstance(found, str) and found.strip() in self.missing_texts):
            return None
        name = f"{self.field.name}: {part}"
        if isinstance(found, bool):
            raise Bad("wrong_type", f"field {name}: a boolean is not a number")
        number = to_number(found, name, self._texts)
        if number is not None and not abs(number) <= BOUNDS[part]:
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
            degrees[row] = np.nan
            missing = None in column[row] or not any(column[row])
            right = all(f is None or abs(f) <= b for f, b in zip(column[row], BOUNDS.values(), strict=True))
            if not (self.field.optional and missing and right):
                doubtful.add(row)
        out[:, 0] = degrees

    @classmethod
    def explain(
        cls, field: ValueField, value: dict[str, float] | None, expected: NDArray[np.float64]
    ) -> Explanation:
        observed = None if value is None else _spell(*value.values())
        known = len(expected) and not np.isnan(expected).any()
        return Explanation(observed, _spell(*expected.tolist()) if known else None, "unusual")


def _spell(latitude: float, longitude: float) -> str:
    """Degrees to 100 m."""
    return f"{latitude:.3f}, {longitude:.3f}"
