"""One of a set of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import EventLimits, ValueField
from detector.core.events.kinds.base import Explanation, FieldKind
from detector.core.events.rejection import Bad
from detector.core.events.values import Column, HashCache, Plain, hasher, plain


class Words(FieldKind):
    """Base of kinds whose values are short texts; numbers and booleans count as their text."""

    usually_missing = ("",)  # NA may be Namibia

    def __init__(self, field: ValueField, limits: EventLimits, key: bytes) -> None:
        super().__init__(field, limits, key)
        self.texts = Plain(self.missing_texts, limits.text_chars_max)

    def parse(self, found: Any) -> str | None:
        text: str | None = plain(found)
        if text is None or text in self.missing_texts:
            self.missing()
            return None
        if len(text) > self.limits.text_chars_max:
            raise Bad(
                "too_long",
                f"field {self.field.name}: {len(text)} characters, at most {self.limits.text_chars_max}",
            )
        return text

    def parse_column(self, column: Column, doubtful: set[int]) -> Column:
        if self.texts.holds(column):
            return column
        return super().parse_column(column, doubtful)

    @classmethod
    def explain(cls, field: ValueField, value: Any, expected: NDArray[np.float64]) -> Explanation:
        return Explanation(value, None, "unusual")


class Categorical(Words):
    """The model sees a keyed hash."""

    store = "categories"

    def __init__(self, field: ValueField, limits: EventLimits, key: bytes) -> None:
        super().__init__(field, limits, key)
        self._digest = hasher(key, field.name)
        self.cache = HashCache(self._hash, self._digest, self.texts)

    def encode(self, value: str | None) -> Sequence[int]:
        return (0 if value is None else self._digest(value),)

    def read_column(self, column: Column, doubtful: set[int], out: NDArray[Any]) -> None:
        out[:, 0] = self.cache.hash_column(column, doubtful)

    def _hash(self, found: Any) -> int:
        return self.encode(self.parse(found))[0]
