"""How far event time has come, whatever single events claim.

An event dated far ahead (a producer's broken clock, milliseconds taken for seconds) must not move the time of
everybody else: histories would fade, budgets fill, labels come before their time. So *now* is the median of
the last 15 events, and an event counts as at most so far ahead of it as a day, or eight times what the four
events before the median took, whichever is more: slow streams take long over 15 events. After a silence the
time is behind until eight events agree.

It goes event by event, so it does not depend on how the log was cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = 15
AHEAD_MIN_S = 86_400.0
MIDDLE = WINDOW // 2
OLDER = MIDDLE - 4
AHEAD_PACES = 8.0

Doubles = NDArray[np.float64]


class EventTime:
    """Time of one shard, s since the epoch."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=WINDOW - 1)  # own times of the last events
        self._highest = -np.inf  # none of these is above it, so neither is their median

    @property
    def now(self) -> float:
        """Median of the last events; -inf before the first."""
        ordered = sorted(self._last)
        middle = len(ordered) // 2
        return (ordered[middle] + ordered[~middle]) / 2.0 if ordered else -np.inf

    @property
    def latest(self) -> float:
        """Own time of the last event; -inf before the first."""
        return self._last[-1] if self._last else -np.inf

    def is_behind(self, time: float, seconds: float) -> bool:
        """Whether `time` lies more than `seconds` before *now*."""
        bound = time + seconds
        return self._highest > bound and self.now > bound

    def follow(self, time: float) -> tuple[float, float]:
        """Follow one event; returns its time, not too far ahead of the others, and now with it."""
        past = self._last
        window = [*past, time]
        if len(window) < WINDOW:  # the first stands in for those before it
            window += [window[0]] * (WINDOW - len(window))
        window.sort()
        now = window[MIDDLE]
        past.append(time)
        self._highest = window[-1]
        return min(time, now + max(AHEAD_MIN_S, AHEAD_PACES * (now - window[OLDER]))), now

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
        both = np.array([self.follow(time) for time in times.tolist()]).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def to_state(self) -> dict[str, Any]:
        return {"last": np.array(self._last, dtype=np.float64)}

    def load(self, state: Mapping[str, Any]) -> None:
        self._last = deque(state["last"].tolist(), maxlen=WINDOW - 1)
        self._highest = max(self._last, default=-np.inf)
