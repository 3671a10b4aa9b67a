"""How far event time has come, whatever single events claim.

An event dated far ahead (a producer's broken clock, milliseconds taken for seconds) must not move the time of
everybody else: histories would fade, budgets fill, labels come before their time. So *now* is the median of
the last 15 events, and an event counts as at most so far ahead of it as a day, or eight times what the four
events before the median took, whichever is more: slow streams take long over 15 events. After a silence the
time is behind until eight events agree.

It goes event by event, so it does not depend on how the log was cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = 15
AHEAD_MIN_S = 86_400.0
OLDER = WINDOW // 2 - 4
AHEAD_PACES = 8.0

Doubles = NDArray[np.float64]


class EventTime:
    """Time of one shard, s since the epoch."""

    def __init__(self) -> None:
        self._last: Doubles = np.zeros(0)  # own times of the last events, at most WINDOW - 1

    @property
    def now(self) -> float:
        """Median of the last events; -inf before the first."""
        return float(np.median(self._last)) if len(self._last) else -np.inf

    def believe(self, times: Doubles) -> tuple[Doubles, Doubles]:
        """Follow events in log order.

        Parameters
        ----------
        times : (n,) float64
            What the events claim.

        Returns
        -------
        believed, now : (n,) float64
            Each event's time, not too far ahead of the others, and how far time had come with it.
        """
        missing = WINDOW - 1 - len(self._last)
        seen = np.concatenate([self._last, times])
        past = np.concatenate([np.full(missing, seen[0]), seen])  # the first stands in for those before it
        windows = np.sort(np.lib.stride_tricks.sliding_window_view(past, WINDOW), axis=1)
        now = windows[:, WINDOW // 2]
        pace = now - windows[:, OLDER]
        self._last = seen[-(WINDOW - 1) :]
        return np.minimum(times, now + np.maximum(AHEAD_MIN_S, AHEAD_PACES * pace)), now

    def to_state(self) -> dict[str, Any]:
        return {"last": self._last.copy()}

    def load(self, state: Mapping[str, Any]) -> None:
        self._last = state["last"]
