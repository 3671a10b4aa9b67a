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

import numba
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
        self.last = np.zeros(WINDOW - 1)  # own times of the last events, oldest first
        self.held = np.zeros(1, dtype=np.int64)  # so many of them; an array so that kernels can count

    @property
    def now(self) -> float:
        """Median of the last events; -inf before the first."""
        return float(time_now(self.last, self.held))

    @property
    def latest(self) -> float:
        """Own time of the last event; -inf before the first."""
        return float(time_latest(self.last, self.held))

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
        believed, now = np.empty(len(times)), np.empty(len(times))
        _follow_all(self.last, self.held, times, believed, now)
        return believed, now

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
    """Whether `time` lies more than `seconds` before *now*; the median is at most the highest."""
    bound = time + seconds
    for i in range(held[0]):
        if last[i] > bound:
            return time_now(last, held) > bound
    return False


@numba.njit(cache=True)
def follow(last: Any, held: Any, time: float) -> tuple[float, float]:
    """Follow one event; returns its time, not too far ahead of the others, and now with it."""
    window = np.empty(WINDOW)
    count = held[0]
    window[:count] = last[:count]
    window[count] = time
    window[count + 1 :] = window[0]  # the first stands in for those before it
    if count < WINDOW - 1:
        last[count] = time
        held[0] = count + 1
    else:
        last[:-1] = window[1:-1]
        last[-1] = time
    window.sort()
    now = window[MIDDLE]
    return min(time, now + max(AHEAD_MIN_S, AHEAD_PACES * (now - window[OLDER]))), now


@numba.njit(cache=True)
def _follow_all(last: Any, held: Any, times: Any, believed: Any, now: Any) -> None:
    for i in range(len(times)):
        believed[i], now[i] = follow(last, held, times[i])
