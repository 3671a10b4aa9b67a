"""How far the columns of habits say the same, as recent events show.

A payment in a far city is strange by its country, its city, its place and its speed. A payment at a strange
hour is strange by nothing else. In a plain sum the first kind counts four times, also where each of the four
is only a little strange by chance, and that hides the second kind.

    cosine of two columns   of their nats beyond what is usual, over all recent events
    weight of a column      1 / sum of its cosines with the columns that come first, and itself; of one that
                            comes second with all columns

So columns that are always far together weigh as one. What comes second takes nothing from the others: it adds
what they do not say. Weights are divided by the median of the first ones: one column alone then has the say
that it would have without others. All events count, accepted or not, because what is far together shows in
far events.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


class Overlap:
    """Decayed second moments of the columns.

    Parameters
    ----------
    second : (U,) bool
        Which columns come second.
    memory_events : int
        Events after which an event's weight has decayed to 1/e.
    """

    def __init__(self, second: NDArray[np.bool_], memory_events: int) -> None:
        self._memory_events = memory_events
        self._second = second
        self._moments: Doubles = np.zeros((len(second), len(second)))

    def copy(self) -> Self:
        """Return a copy; the two learn independently."""
        return copy(self)  # moments are replaced, never changed

    def learn(self, beyond: Doubles) -> None:
        """Decay, then count nats beyond what is usual, (n, U)."""
        far = beyond[beyond.any(axis=1)]
        kept = np.exp(-len(beyond) / self._memory_events)
        # Not `@`: BLAS adds in another order on another CPU.
        self._moments = self._moments * kept + np.einsum("ij,ik->jk", far, far)

    def weights(self, useful: Doubles) -> Doubles:
        """Weights (U,) of columns of which these shares, (U,), count.

        1 is the median of those that do, and what a column has that was never beyond.
        """
        size = np.sqrt(np.diag(self._moments))
        there = size > 0.0
        cosines = self._moments / np.outer(np.where(there, size, 1.0), np.where(there, size, 1.0))
        cosines[np.ix_(~self._second, self._second)] = 0.0
        weights: Doubles = 1.0 / np.maximum(np.einsum("ij,j->i", cosines, useful), 1.0)
        counted = there & (useful > 0.0) & ~self._second
        if not counted.any():
            return np.ones(len(useful))
        return np.where(there, weights / np.median(weights[counted]), 1.0)

    def to_state(self) -> dict[str, Any]:
        return {"moments": self._moments}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self._moments = state["moments"]
