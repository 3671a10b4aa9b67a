"""A number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import ValueField
from detector.core.events.kinds.base import Explanation, FieldKind
from detector.core.events.rejection import Bad
from detector.core.events.values import Column, to_doubles, to_float


class Numeric(FieldKind):
    """A finite number, or text that is one."""

    store = "numerics"

    def parse(self, found: Any) -> float | None:
        if found is None:
            self.missing()
            return None
        return to_number(found, self.field.name)

    def encode(self, value: float | None) -> Sequence[float]:
        return (math.nan if value is None else value,)

    def parse_column(self, column: Column, doubtful: set[int]) -> Column:
        if set(map(type, column)) <= {int, float, NoneType}:
            numbers = to_doubles(column)
            optional = self.field.optional
            odd = np.flatnonzero(~np.isfinite(numbers)).tolist()
            doubtful.update(row for row in odd if column[row] is not None or not optional)
            return numbers  # type: ignore[return-value]
        return super().parse_column(column, doubtful)

    def read_column(self, column: Column, doubtful: set[int], out: NDArray[Any]) -> None:
        out[:, 0] = self.parse_column(column, doubtful)

    @classmethod
    def explain(
        cls, field: ValueField, value: Any, expected: NDArray[np.float64], *, whose: str, familiarity: str
    ) -> Explanation:
        usual = None if np.isnan(expected[0]) else float(f"{expected[0]:.4g}")
        direction = "unusual"
        if value is not None and usual is not None and value != usual:
            direction = "above" if value > usual else "below"
        name = field.display or field.name
        detail = f"{name} is {_spell(value)}, {_spell(usual)} is usual for {whose}"
        return Explanation(value, usual, direction, detail)


def to_number(found: Any, name: str) -> float:
    """Convert a decoded value that is there to a finite number.

    Raises
    ------
    Bad
        It is none; `name` says which field's it is.
    """
    if isinstance(found, str):  # amounts often travel as decimal text
        try:
            number = float(found)
        except ValueError:
            raise Bad("wrong_type", f"field {name}: text {found[:40]!r} is not a number") from None
    elif isinstance(found, bool):
        raise Bad("wrong_type", f"field {name}: a boolean is not a number")
    else:
        number = to_float(found)
    if not math.isfinite(number):
        raise Bad("out_of_range", f"field {name}: not a finite number")
    return number


def _spell(value: float | None) -> str:
    return "missing" if value is None else f"{value:g}"
