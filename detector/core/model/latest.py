"""The farthest of the latest events: a limit on the threshold that forgets at once.

Decayed histograms forget an old burst, or how far events lay during a shift, over several memories. Until
then they claim that many events lie beyond a threshold that hardly any event reaches now. So the threshold is
also limited by what was seen in the last 1, 2, 4 and 8 blocks: not above a distance beyond which clearly
fewer of them lie than were asked for.

*Clearly* means below the 5 % quantile of a Poisson count: at least 3 are expected and none is seen, or 5 and
at most 1, and so on. So in a steady stream this rarely changes anything, and never by much.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCKS = 8
BEYOND = 1e-6
FARTHEST = 32  # distances kept of each block
# Smallest means of a Poisson count for which 0, 1, 2, ... or fewer have at most 5 % probability.
EXPECTED = (3.00, 4.75, 6.30, 7.76, 9.16, 10.52, 11.85, 13.15, 14.44, 15.71, 16.97, 18.21, 19.45, 20.67)


class Latest:
    """The farthest distances of each of the last blocks, the latest block first."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew: earlier distances say nothing about later ones."""
        self._farthest = np.full((BLOCKS, FARTHEST), -np.inf)
        self._events = np.zeros(BLOCKS, dtype=np.int64)

    def learn(self, distances: NDArray[np.float64]) -> None:
        """Count a block's distances (n,)."""
        self._farthest[1:], self._events[1:] = self._farthest[:-1].copy(), self._events[:-1].copy()
        ordered = np.sort(distances)[::-1][:FARTHEST]
        self._farthest[0] = -np.inf
        self._farthest[0, : len(ordered)] = ordered
        self._events[0] = len(distances)

    def limit(self, share: float) -> float:
        """Lowest distance beyond which clearly fewer than `share` of the latest events lie; inf: none."""
        lowest = np.inf
        for blocks in (1, 2, 4, 8):
            if blocks > 1 and self._events[blocks - 1] == 0:
                break
            expected = share * float(self._events[:blocks].sum())
            allowed = int(np.searchsorted(EXPECTED, expected, side="right")) - 1
            if 0 <= allowed < len(EXPECTED) - 1:
                found = np.sort(self._farthest[:blocks], axis=None)[::-1]
                lowest = min(lowest, float(found[allowed]))
        # Events at this distance are not beyond it, also where many are equally far.
        return lowest + BEYOND * max(abs(lowest), 1.0)

    def to_state(self) -> dict[str, Any]:
        return {"farthest": self._farthest.copy(), "events": self._events.copy()}

    def load(self, state: Mapping[str, Any]) -> None:
        self._farthest, self._events = state["farthest"].copy(), state["events"].copy()
