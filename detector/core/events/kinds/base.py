"""What a kind of field is: how its values are parsed, what the model sees of them, how they are explained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import MISSING, EventLimits, ValueField
from detector.core.events.rejection import Bad
from detector.core.events.values import Column, convert_each

Store = Literal["numerics", "categories", "texts", "points"]
"""Arrays that values are kept in. What the model computes from a value follows from its array:

numerics    float64 per place, NaN for missing: the value, its deviations from the profiles of all entities
categories  uint64 hash per place, 0 for missing: a profile, pairs with the main entity, fraud rates, surprise
texts       `TEXT_GRAMS_MAX` uint32 hashes per place, 0 for none: embedding rows
points      two float64 per place, degrees of latitude and longitude, NaN for missing: the way from the usual
            places of the main entity, and speeds since the entities' last events; without entities the
            degrees are numerics
"""
STORES: tuple[Store, ...] = get_args(Store)


class Explanation(NamedTuple):
    """What an alert says of one field."""

    observed: float | str | None
    expected: float | str | None
    direction: str  # above | below | unusual


class FieldKind(ABC):
    """One field of the schema.

    `found` stands for a decoded value: a str, int, float, bool or None. For a kind of several parts it is a
    tuple with one for each part.

    Parameters
    ----------
    field
        Of the schema; what it leaves to the event (`missing`, `number`) is filled in.
    limits
        Bounds of one event.
    key
        Secret key of hashes.
    """

    store: ClassVar[Store]
    usually_missing: ClassVar[tuple[str, ...]] = MISSING
    """Texts that mean missing, unless configured."""

    def __init__(self, field: ValueField, limits: EventLimits, key: bytes) -> None:
        self.field = field
        self.limits = limits
        self.missing_texts = frozenset(self.usually_missing if field.missing is None else field.missing)

    @classmethod
    def places(cls, field: ValueField) -> tuple[str, ...]:
        """Names of the places that a field takes in its store."""
        return (field.name,)

    @abstractmethod
    def parse(self, found: Any) -> Any:
        """Check a decoded value and return it as people read it; None: it is missing.

        Raises
        ------
        Bad
            It is not a value of this kind, or it is missing and required.
        """

    @abstractmethod
    def encode(self, value: Any) -> Sequence[Any]:
        """From what `parse` returned to what the store holds, one entry per place."""

    def parse_column(self, column: Column, doubtful: set[int]) -> Column:
        """`parse` n values. Rows that it may refuse become doubtful; their values have no meaning."""
        return convert_each(self.parse, column, doubtful, None)

    def read_column(self, column: Column, doubtful: set[int], out: NDArray[Any]) -> None:
        """`parse` and `encode` n values into `out`.

        It is (n, places), of `texts` (n, places, TEXT_GRAMS_MAX), of `points` (n, places, 2).
        """
        for row, value in enumerate(self.parse_column(column, doubtful)):
            if row not in doubtful:
                out[row] = self.encode(value)

    @classmethod
    @abstractmethod
    def explain(cls, field: ValueField, value: Any, expected: NDArray[np.float64]) -> Explanation:
        """Give a value and what was expected as numbers, or as texts where people read them so.

        The sentence is made of them by `detector.core.alerts.words`.

        Parameters
        ----------
        value
            What `parse` returned.
        expected : (places,) float64
            Of `numerics`: the expected values in their own units, NaN for none. Empty for other stores.
        """

    def missing(self) -> None:
        """A value is missing.

        Raises
        ------
        Bad
            The field is required.
        """
        if not self.field.optional:
            raise Bad("missing", f"field {self.field.name}")
