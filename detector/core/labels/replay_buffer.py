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
    ) -> None:
        """Remove some events and add others, of which `examples` are the examples.

        An event that is added again is replaced.
        """
        kept = np.flatnonzero(~np.isin(self._numbers, np.concatenate([removed, added])))
        kept = kept[max(0, len(kept) + len(added) - EXAMPLES_MAX) :]
        latest = slice(max(0, len(added) - EXAMPLES_MAX), None)
        offsets = np.full(len(added), -1, dtype=np.int64) if offsets is None else offsets
        self.offsets = np.concatenate([self.offsets[kept], offsets[latest]])
        self._numbers = np.concatenate([self._numbers[kept], added[latest]])
        self.examples = self.examples.take(kept).joined(examples.take(latest))

    def find(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], Examples]:
        """Those of the events `numbers` that are here, with their examples."""
        here = np.flatnonzero(np.isin(self._numbers, numbers))
        return self._numbers[here], self.examples.take(here)

    def draw(self, count: int, rng: np.random.Generator) -> Examples:
        """Draw examples at random, with repetition."""
        return self.examples.take(rng.integers(0, len(self), count))

    def to_state(self) -> dict[str, Any]:
        """State; arrays are replaced, never changed in place."""
        return {"numbers": self._numbers, "offsets": self.offsets, **self.examples.to_state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self._numbers, self.offsets = state["numbers"], state["offsets"]
        self.examples = Examples.from_state(state)
