"""The columns that are watched: numbers and categories of fields, and kinds of keys that may be new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

RATE = "time"  # the name of the rate of events among the fields


class Values(NamedTuple):
    """n events."""

    numbers: NDArray[np.float64]  # (n, M) raw values, NaN: missing
    categories: NDArray[np.uint64]  # (n, K) hashes, 0: missing
    entities: NDArray[np.uint64]  # (n, E) hashes, 0: missing
    context: NDArray[np.float32]  # (n, W) what was known of their keys before
    times: NDArray[np.float64]  # (n,) event times, s


class Key(NamedTuple):
    """A kind of key: an entity, or the main entity with another one."""

    entity: str
    kind: str  # entities, or contacts
    columns: tuple[int, int, int]  # see `bins.count`


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Numbers (n, M) and categories (n, K) of some events."""

    numbers: NDArray[np.float64]
    categories: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.numbers)

    def joined(self, values: Values, count: int) -> Sample:
        """Add the first events."""
        return Sample(
            np.concatenate([self.numbers, values.numbers[:count]]),
            np.concatenate([self.categories, values.categories[:count]]),
        )

    def put(self, places: NDArray[np.int64], values: Values, rows: NDArray[np.int64]) -> None:
        """Replace events by others; of two for one place the later one stays."""
        for place, row in zip(places.tolist(), rows.tolist(), strict=True):
            self.numbers[place] = values.numbers[row]
            self.categories[place] = values.categories[row]

    def to_state(self) -> dict[str, Any]:
        return {"numbers": self.numbers.copy(), "categories": self.categories.copy()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Sample:
        return cls(state["numbers"], state["categories"])


class Columns:
    """Columns in this order: numbers, categories, repeats of numbers, keys.

    Parameters
    ----------
    numbers, categories
        The field of each column; a field may have several.
    keys
        Kinds of keys.
    things
        What may have a part in a score: fields, entities, the time; all names differ.
    """

    def __init__(
        self,
        numbers: Sequence[str],
        categories: Sequence[str],
        keys: Sequence[Key],
        things: Sequence[str] = (),
    ) -> None:
        self.things = tuple(things)
        self.numbers, self.categories, self.keys_of = tuple(numbers), tuple(categories), tuple(keys)
        self.keys = np.array([key.columns for key in keys], dtype=np.int64).reshape(-1, 3)
        self.repeats = len(self.numbers) + len(self.categories)  # the first column of repeats
        self.fields = self.repeats + len(self.numbers)  # columns of fields
        self.count = self.fields + len(self.keys_of)

    @property
    def rising(self) -> NDArray[np.bool_]:
        """Columns (C,) that drift only where the share of their second bin rises: repeats, new keys."""
        return np.arange(self.count) >= self.repeats

    def by_field(self) -> dict[str, list[int]]:
        """Columns of each field."""
        found: dict[str, list[int]] = {}
        for column, name in enumerate((*self.numbers, *self.categories, *self.numbers)):
            found.setdefault(name, []).append(column)
        return found

    def empty(self) -> Sample:
        """A sample of no events."""
        return Sample(np.zeros((0, len(self.numbers))), np.zeros((0, len(self.categories)), dtype=np.uint64))
