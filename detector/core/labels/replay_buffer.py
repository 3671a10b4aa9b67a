"""Labelled examples that training repeats, because labels are rare: confirmed frauds and answered alerts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.labels.event_buffer import Examples

EXAMPLES_MAX = 4096  # of one replay buffer


class ReplayBuffer:
    """Examples by event number; the oldest are dropped first.

    Parameters
    ----------
    empty
        No examples, with the widths of those to come.
    """

    def __init__(self, empty: Examples) -> None:
        self._numbers = np.zeros(0, dtype=np.int64)
        self.offsets = np.zeros(0, dtype=np.int64)  # of each example in the log; -1: in that of a peer
        self.entities = np.zeros(0, dtype=np.uint64)  # main entity of each; 0: none, or not known
        self.examples = empty

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Event number of each example, oldest first."""
        return self._numbers

    def update(
        self,
        removed: NDArray[np.int64],
        added: NDArray[np.int64],
        examples: Examples,
        offsets: NDArray[np.int64] | None = None,
        entities: NDArray[np.uint64] | None = None,
    ) -> None:
        """Remove some events and add others, of which `examples` are the examples.

        An event that is added again is replaced. Those of a peer have neither offsets nor entities.
        """
        kept = np.flatnonzero(~np.isin(self._numbers, np.concatenate([removed, added])))
        kept = kept[max(0, len(kept) + len(added) - EXAMPLES_MAX) :]
        latest = slice(max(0, len(added) - EXAMPLES_MAX), None)
        offsets = np.full(len(added), -1, dtype=np.int64) if offsets is None else offsets
        entities = np.zeros(len(added), dtype=np.uint64) if entities is None else entities
        self.offsets = np.concatenate([self.offsets[kept], offsets[latest]])
        self.entities = np.concatenate([self.entities[kept], entities[latest]])
        self._numbers = np.concatenate([self._numbers[kept], added[latest]])
        self.examples = self.examples.take(kept).joined(examples.take(latest))

    def find(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], Examples]:
        """Those of the events `numbers` that are here, with their examples."""
        here = np.flatnonzero(np.isin(self._numbers, numbers))
        return self._numbers[here], self.examples.take(here)

    def erase(self, entities: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Remove the events of some entities; returns their numbers."""
        gone = np.isin(self.entities, entities)
        removed: NDArray[np.int64] = self._numbers[gone]
        self.update(removed, removed[:0], self.examples.take(slice(0)))
        return removed

    def draw(self, count: int, rng: np.random.Generator) -> Examples:
        """Draw examples at random, with repetition."""
        return self.examples.take(rng.integers(0, len(self), count))

    def to_state(self) -> dict[str, Any]:
        """State; arrays are replaced, never changed in place."""
        columns = {"numbers": self._numbers, "offsets": self.offsets, "entities": self.entities}
        return {**columns, **self.examples.to_state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self._numbers, self.offsets = state["numbers"], state["offsets"]
        self.entities = state["entities"]
        self.examples = Examples.from_state(state)
