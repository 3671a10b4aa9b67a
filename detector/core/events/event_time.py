"""The current event time of a shard, robust against single events with a wrong time.

An event dated far ahead (a producer's broken clock, milliseconds taken for seconds) must not move the time of
all others: profiles would decay, budgets refill, labels be applied too early. So *now* is the median of the
last 15 events, and the time of an event is bounded: it counts as at most one day ahead of now, or eight times
the span of the four events before the median if that is more, because in slow streams 15 events span a long
time. After a long pause, now lags behind until eight events agree.

The time is updated event by event, so it does not depend on how polls cut the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

WINDOW = 15
AHEAD_MIN_S = 86_400.0
MIDDLE = WINDOW // 2
OLDER = MIDDLE - 4
AHEAD_PACES = 8.0


class EventTime:
    """Time of one shard, s since the epoch."""

    def __init__(self) -> None:
        self.last = np.zeros(WINDOW - 1)  # times of the last events as sent, oldest first
        self.held = np.zeros(1, dtype=np.int64)  # how many of them; an array so that kernels can count

    @property
    def now(self) -> float:
        """Median of the last events; -inf before the first."""
        return float(time_now(self.last, self.held))

    @property
    def latest(self) -> float:
        """Time of the last event as sent; -inf before the first."""
        return float(time_latest(self.last, self.held))

    def bounded(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bounded times (n,) of n events, each as if it were the next one; nothing changes."""
        return np.array([update_time(self.last.copy(), self.held.copy(), time)[0] for time in times.tolist()])

    def to_state(self) -> dict[str, Any]:
        return {"last": self.last[: self.held[0]].copy()}

    def load(self, state: Mapping[str, Any]) -> None:
        last = state["last"][-len(self.last) :]
        self.last[: len(last)], self.held[0] = last, len(last)


@numba.njit(cache=True)
def time_now(last: Any, held: Any) -> float:
    """See `EventTime.now`."""
    count = held[0]
    if count == 0:
        return -np.inf
    ordered = np.sort(last[:count])
    median: float = (ordered[count // 2] + ordered[count - 1 - count // 2]) / 2.0
    return median


@numba.njit(cache=True)
def time_latest(last: Any, held: Any) -> float:
    """See `EventTime.latest`."""
    return last[held[0] - 1] if held[0] > 0 else -np.inf


@numba.njit(cache=True)
def is_behind(last: Any, held: Any, time: float, seconds: float) -> bool:
    """Whether `time` is more than `seconds` before *now*.

    The median is at most the highest, so it is computed only if some event is that far ahead.
    """
    bound = time + seconds
    for i in range(held[0]):
        if last[i] > bound:
            return time_now(last, held) > bound
    return False


@numba.njit(cache=True)
def update_time(last: Any, held: Any, time: float) -> tuple[float, float]:
    """Update with one event; returns its bounded time, and now including it."""
    window = np.empty(WINDOW)
    count = held[0]
    window[:count] = last[:count]
    window[count] = time
    window[count + 1 :] = window[0]  # the first stands for those before it
    if count < WINDOW - 1:
        last[count] = time
        held[0] = count + 1
    else:
        last[:-1] = window[1:-1]
        last[-1] = time
    window.sort()
    now = window[MIDDLE]
    return min(time, now + max(AHEAD_MIN_S, AHEAD_PACES * (now - window[OLDER]))), now
