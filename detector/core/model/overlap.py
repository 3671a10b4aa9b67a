"""How far the columns of habits say the same, as recent events show.

A payment in a far city is strange by its country, its city, its place and its speed. A payment at a strange
hour is strange by nothing else. In a plain sum the first kind counts four times, also where each of the four
is only a little strange by chance, and that hides the second kind.

    cosine of two columns   of their nats beyond what is usual, over all recent events
    weight of a column      1 / sum of its cosines with all columns, itself among them

So columns that are always far together weigh as one. Weights are divided by their median: one column alone
then has the say that it would have without others. All events count, accepted or not, because what is far
together shows in far events; none counts more than `NATS_MAX`.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

NATS_MAX = 10.0


class Overlap:
    """Decayed second moments of the columns.

    Parameters
    ----------
    columns : int
        U.
    memory_events : int
        Events after which an event's weight has decayed to 1/e.
    """

    def __init__(self, columns: int, memory_events: int) -> None:
        self._memory_events = memory_events
        self._moments: Doubles = np.zeros((columns, columns))

    def copy(self) -> Self:
        """Return a copy; the two learn independently."""
        return copy(self)  # moments are replaced, never changed

    def learn(self, beyond: Doubles) -> None:
        """Decay, then count nats beyond what is usual, (n, U)."""
        bounded = np.minimum(beyond[beyond.any(axis=1)], NATS_MAX)
        self._moments = self._moments * np.exp(-len(beyond) / self._memory_events) + bounded.T @ bounded

    def weights(self, useful: Doubles) -> Doubles:
        """Weights (U,) of columns of which these shares, (U,), count.

        1 is the median of those that do, and what a column has that was never beyond.
        """
        size = np.sqrt(np.diag(self._moments))
        there = size > 0.0
        cosines = self._moments / np.outer(np.where(there, size, 1.0), np.where(there, size, 1.0))
        weights: Doubles = 1.0 / np.maximum(cosines @ useful, 1.0)
        counted = there & (useful > 0.0)
        if not counted.any():
            return np.ones(len(useful))
        return np.where(there, weights / np.median(weights[counted]), 1.0)

    def to_state(self) -> dict[str, Any]:
        return {"moments": self._moments}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self._moments = state["moments"]
