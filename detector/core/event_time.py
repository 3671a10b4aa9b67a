"""How far event time has come, whatever single events claim.

An event dated far ahead (a producer's broken clock, milliseconds taken for seconds) must not move the time of
everybody else: histories would not fade any more, budgets not fill, labels come before their time. So the
time is the median of the last complete block, and an event counts as at most so far ahead of it as a day, or
four times what the last block took, whichever is more: slow streams take long over a block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

AHEAD_MIN_S = 86_400.0
AHEAD_BLOCKS = 4.0


class EventTime:
    """Time of one shard, s since the epoch; a function of its complete blocks."""

    def __init__(self) -> None:
        self.now = -np.inf  # median of the last complete block, never going back
        self._pace_s = 0.0  # from the block before it

    @property
    def latest(self) -> float:
        """Latest time that is believed; inf before the first block is complete."""
        if np.isinf(self.now):
            return np.inf
        return self.now + max(AHEAD_MIN_S, AHEAD_BLOCKS * self._pace_s)

    def learn(self, times: NDArray[np.float64]) -> None:
        """Follow a complete block."""
        middle = float(np.median(times))
        if np.isfinite(self.now):
            self._pace_s = max(middle - self.now, 0.0)
        self.now = max(self.now, middle)

    def to_state(self) -> dict[str, Any]:
        return {"now": self.now if np.isfinite(self.now) else None, "pace_s": self._pace_s}

    def load(self, state: Mapping[str, Any]) -> None:
        self.now = -np.inf if state["now"] is None else state["now"]
        self._pace_s = state["pace_s"]
