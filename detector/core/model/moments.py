"""Decayed moments of all events' values, accepted or not, for columns that are constant in the core."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


class Moments:
    """Count, sum and sum of squares of J columns.

    Parameters
    ----------
    memory_events : int
        Events after which a value's weight has fallen to 1/e.
    """

    def __init__(self, columns: int, memory_events: int) -> None:
        self._memory_events = memory_events
        self.sums: Doubles = np.zeros((3, columns))

    def copy(self) -> Moments:
        """Return a copy; the two learn independently."""
        other = Moments(self.sums.shape[1], self._memory_events)
        other.sums = self.sums.copy()
        return other

    def forget(self) -> None:
        """Forget everything."""
        self.sums = np.zeros_like(self.sums)

    @property
    def empty(self) -> bool:
        """Whether nothing was learned yet."""
        return not self.sums.any()

    def take_over(self, other: Moments) -> None:
        """Go on with the sums of another one that went on learning, if it has learned anything."""
        if not other.empty:
            self.sums = other.sums

    def learn(self, values: Doubles, known: NDArray[np.bool_] | None = None) -> None:
        """Count a block of values (n, J); where `known` (n, J) is False the value is missing, and 0."""
        counts = np.ones_like(values) if known is None else known
        self.sums *= np.exp(-len(values) / self._memory_events)
        self.sums += np.stack([counts, values, np.square(values)]).sum(axis=1)
