"""How the events of the last day spread over its hours, against what is usual.

The rate of one window may be uneven by itself. A day as a whole is less so: events that move to other hours
show in it although no single window is far from its usual rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.drift.bins import SLOT_S, SLOTS, slot_of
from detector.core.drift.law import psi

HOURS = 24


class DayProfile:
    """Events and usual events of the last 24 hours of event time."""

    def __init__(self) -> None:
        # Hours since the epoch, each in its place modulo 24
        self._hours = np.full(HOURS, -1, dtype=np.int64)
        self._table = np.zeros((HOURS, 3))  # events, usual events, 1 where these are known

    def note(
        self,
        start: float,
        end: float,
        events: NDArray[np.float64],
        usual: NDArray[np.float64],
        *,
        known: bool,
    ) -> None:
        """Add a pane from event time `start` to `end`, s, with events (SLOTS,) by hour of the week."""
        first, last = int(start // SLOT_S), int(end // SLOT_S)
        for hour in range(max(first, last - HOURS + 1), last + 1):
            place, slot = hour % HOURS, slot_of(hour * SLOT_S) % SLOTS
            if self._hours[place] != hour:
                self._hours[place] = hour
                self._table[place] = 0.0, 0.0, 1.0
            self._table[place, :2] += events[slot], usual[slot]
            self._table[place, 2] *= known

    @property
    def shares(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Shares of the events at each hour of the day, UTC, (24,), and the usual ones."""
        now, usual = self._table[:, :2].T
        return now / max(float(now.sum()), 1e-9), usual / max(float(usual.sum()), 1e-9)

    @property
    def events(self) -> float:
        """Events of the last day."""
        return float(self._table[:, 0].sum())

    def compared(self) -> tuple[float, bool]:
        """The index, and whether all hours of the last day were seen and are known."""
        newest = int(self._hours.max())
        whole = bool(newest >= 0 and (self._hours > newest - HOURS).all())
        if not whole:
            return 0.0, False
        return float(psi(self._table[:, 0], self.shares[1])), bool(self._table[:, 2].all())

    def to_state(self) -> dict[str, Any]:
        return {"hours": self._hours.copy(), "table": self._table.copy()}

    def load(self, state: Mapping[str, Any]) -> None:
        self._hours, self._table = state["hours"], state["table"]
