"""A number."""

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
from detector.core.events.values import Column, to_doubles


class Numeric(FieldKind):
    """A finite number, or text that is one; true is 1 and false is 0. NaN and infinities mean missing."""

    store = "numerics"

    def __init__(self, field: ValueField, limits: EventLimits, key: bytes) -> None:
        super().__init__(field, limits, key)
        self._texts = NumberTexts(field.number or NumberForm())
        numbers = map(self._texts, self.missing_texts)
        self._missing_numbers = sorted({n for n in numbers if n is not None and math.isfinite(n)})

    def parse(self, found: Any) -> float | None:
        number = None
        if found is not None and not (isinstance(found, str) and found.strip() in self.missing_texts):
            number = to_number(found, self.field.name, self._texts)
        if number is None or number in self._missing_numbers:
            self.missing()
            return None
        return number

    def encode(self, value: float | None) -> Sequence[float]:
        return (math.nan if value is None else value,)

    def parse_column(self, column: Column, doubtful: set[int]) -> Column:
        if not set(map(type, column)) <= {int, float, bool, NoneType}:
            return super().parse_column(column, doubtful)
        numbers = to_doubles(column)
        if self._missing_numbers:
            numbers[np.isin(numbers, self._missing_numbers)] = np.nan
        odd = np.flatnonzero(~np.isfinite(numbers)).tolist()
        if odd:
            optional = self.field.optional
            doubtful.update(row for row in odd if not optional or type(column[row]) is int)
            numbers[odd] = np.nan
        return numbers  # type: ignore[return-value]

    def read_column(self, column: Column, doubtful: set[int], out: NDArray[Any]) -> None:
        out[:, 0] = self.parse_column(column, doubtful)

    @classmethod
    def explain(cls, field: ValueField, value: Any, expected: NDArray[np.float64]) -> Explanation:
        usual = None if np.isnan(expected[0]) else float(f"{expected[0]:.4g}")
        direction = "unusual"
        if value is not None and usual is not None and value != usual:
            direction = "above" if value > usual else "below"
        return Explanation(value, usual, direction)
