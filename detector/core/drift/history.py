"""The last two weeks by the hour: the farthest window of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

HOURS, HOUR_S = 14 * 24, 3600.0


class History:
    """Indices and thresholds of V columns.

    Parameters
    ----------
    columns
        V.
    """

    def __init__(self, columns: int) -> None:
        # Hours since the epoch, each in its place modulo HOURS
        self._hours = np.full(HOURS, -1, dtype=np.int64)
        self._psi = np.zeros((HOURS, columns), dtype=np.float32)
        self._thresholds = np.zeros((HOURS, columns), dtype=np.float32)

    def note(self, time: float, psi: NDArray[np.float64], thresholds: NDArray[np.float64]) -> None:
        """Note a window that ended at event time `time`, s."""
        hour = int(time // HOUR_S)
        place = hour % HOURS
        if self._hours[place] != hour:
            self._hours[place] = hour
            self._psi[place] = 0.0
        farther = psi >= self._psi[place]
        self._psi[place, farther] = psi[farther]
        self._thresholds[place, farther] = thresholds[farther]

    def between(
        self, start: float, end: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """Hours (h,) since the epoch, ascending, indices and thresholds (h, V), from `start` to `end`, s."""
        chosen = np.flatnonzero(
            (self._hours >= 0) & (self._hours * HOUR_S >= start - HOUR_S) & (self._hours * HOUR_S <= end)
        )
        chosen = chosen[np.argsort(self._hours[chosen])]
        return self._hours[chosen], self._psi[chosen], self._thresholds[chosen]

    def to_state(self) -> dict[str, Any]:
        return {"hours": self._hours.copy(), "psi": self._psi.copy(), "thresholds": self._thresholds.copy()}

    def load(self, state: Mapping[str, Any]) -> None:
        self._hours, self._psi, self._thresholds = state["hours"], state["psi"], state["thresholds"]
