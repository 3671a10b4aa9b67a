"""Recent events as the encoder saw them, so that a late label finds its input.

A ring by event number. It grows by doubling up to its bound; then the oldest events go, and a label for one
of them finds nothing.

Rules
    - Inputs are kept as they were when the event was scored: what a label teaches must not know what came
      after the event.
    - Inputs are half floats: eleven bits are more than eight bins can tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Labels as LabelsConfig
from detector.core.events import TEXT_GRAMS_MAX
from detector.core.features import Layout

ALERTED, FRAUD, LEGITIMATE = 1, 2, 4
"""What is known of an event, as flags."""

_GROWS_FROM = 4096
HALF_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """n events to learn from."""

    inputs: NDArray[np.float32]  # (n, F)
    categories: NDArray[np.uint64]  # (n, C)
    grams: NDArray[np.uint32]  # (n, T, G)

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, index: Any) -> Examples:
        """Select rows, as numpy's indexing does."""
        return Examples(self.inputs[index], self.categories[index], self.grams[index])

    def to_state(self) -> dict[str, Any]:
        return {"inputs": self.inputs, "categories": self.categories, "grams": self.grams}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Examples:
        return cls(state["inputs"], state["categories"], state["grams"])

    def joined(self, other: Examples) -> Examples:
        return Examples(
            np.concatenate([self.inputs, other.inputs]),
            np.concatenate([self.categories, other.categories]),
            np.concatenate([self.grams, other.grams]),
        )


class Memory:
    """The ring; events are numbered from 0 in log order.

    Parameters
    ----------
    inputs
        F, columns of the encoder's inputs.
    """

    def __init__(self, config: LabelsConfig, layout: Layout, inputs: int) -> None:
        self._entities = len(layout.entities)
        columns = len(layout.entities) + len(layout.categories)
        self._kinds: dict[str, tuple[tuple[int, ...], Any, Any]] = {
            "offsets": ((), np.int64, -1),
            "ids": ((), np.uint64, 0),
            "times": ((), np.float64, 0.0),
            "keys": ((columns,), np.uint64, 0),
            "inputs": ((inputs,), np.float16, 0.0),
            "grams": ((len(layout.texts), TEXT_GRAMS_MAX), np.uint32, 0),
            "plain": ((), np.float32, 0.0),
            "labelled": ((), np.float32, np.nan),
            "flags": ((), np.uint8, 0),
        }
        row_bytes = sum(
            np.dtype(kind).itemsize * int(np.prod(shape)) for shape, kind, _ in self._kinds.values()
        )
        self.capacity = max(1024, min(config.buffer_events_max, config.buffer_bytes_max // row_bytes))
        self.events = 0  # ever remembered
        self._first = 0  # number of the first event that this ring was given; a smaller one lost those before
        self._allocate(min(_GROWS_FROM, self.capacity))

    def _allocate(self, size: int) -> None:
        self._arrays = {
            name: np.full((size, *shape), empty, dtype=kind)
            for name, (shape, kind, empty) in self._kinds.items()
        }

    @property
    def size(self) -> int:
        return len(self._arrays["ids"])

    @property
    def oldest(self) -> int:
        """Number of the oldest event that is still here."""
        return max(self._first, self.events - self.size)

    def remember(self, **columns: NDArray[Any]) -> None:
        """Hold n events, given as one array (n, ...) per kind of value; the oldest go."""
        count = len(columns["ids"])
        self._reserve(count)
        places = self._places(np.arange(self.events, self.events + count))
        for name, values in columns.items():
            self._arrays[name][places] = values
        self.events += count

    def column(self, name: str, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Values of one kind of the events `numbers`, which must be here."""
        values: NDArray[Any] = self._arrays[name][self._places(numbers)]
        return values

    def examples(self, numbers: NDArray[np.int64]) -> Examples:
        """What the encoder saw of the events `numbers`."""
        return Examples(
            self.column("inputs", numbers).astype(np.float32),
            self.column("keys", numbers)[:, self._entities :],
            self.column("grams", numbers),
        )

    def put_flags(self, number: int, flags: int) -> None:
        self._arrays["flags"][number % self.size] = flags

    def find(self, name: str, wanted: Sequence[int]) -> dict[int, int]:
        """Find the latest event for each of the wanted ids or offsets: value -> number."""
        held = np.arange(self.oldest, self.events)
        values = self.column(name, held)
        possible = [value for value in wanted if value <= np.iinfo(values.dtype).max]
        hits = np.flatnonzero(np.isin(values, np.array(possible, dtype=values.dtype)))
        return dict(zip(values[hits].tolist(), held[hits].tolist(), strict=True))

    def _places(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return numbers % self.size

    def _reserve(self, count: int) -> None:
        size = self.size
        while self.events + count > size and size < self.capacity:
            size = min(2 * size, self.capacity)
        if size > self.size:
            self._resize(size)

    def _resize(self, size: int) -> None:
        held = np.arange(max(self.oldest, self.events - size), self.events)
        kept = {name: self.column(name, held) for name in self._arrays}
        self._allocate(size)
        for name, values in kept.items():
            self._arrays[name][self._places(held)] = values

    def to_state(self) -> dict[str, Any]:
        held = np.arange(self.oldest, self.events)
        return {"events": self.events, **{name: self.column(name, held) for name in self._arrays}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what `to_state` gave, as far as it fits."""
        count = min(len(state["ids"]), self.capacity)
        self.events = self._first = int(state["events"]) - count
        size = min(_GROWS_FROM, self.capacity)
        while size < count:
            size = min(2 * size, self.capacity)
        self._allocate(size)
        self.remember(**{name: state[name][len(state[name]) - count :] for name in self._arrays})


def halves(inputs: NDArray[np.float32]) -> NDArray[np.float16]:
    """Inputs as they are kept; finite."""
    return np.clip(inputs, -HALF_MAX, HALF_MAX).astype(np.float16)
