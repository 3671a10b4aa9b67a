"""What changes so slowly that the reference gets used to it: the last week against one weeks ago.

Whole days are kept for nine weeks, by event time. At the end of each day the last seven days are compared
with the oldest seven, at most eight weeks before them. Both have the same days of the week, so weekly rhythm
is no drift.

The law without drift comes from each day against the same day a week before: in a week, a slow change moves
next to nothing. The index is convex, so that of two weeks is at most about the mean index of their days, and
a limit for days holds for weeks.

A column that drifts fast is told already, and its slow comparison begins anew afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.core.drift.bins import BINS, MONDAY_S, OTHER, REPEATED, UNSEEN
from detector.core.drift.law import Moments, freedom, gamma_quantile, psi

DAY_S = 86_400.0
WEEK = 7
DAYS = 9 * WEEK + 1  # and the one under way
FLOOR = 0.1  # as for windows
PAIRS_MIN = 5  # days of a week that both weeks must have
EVENTS_MIN = 2_048  # of each week, without the values that are missing
BEGINS_AFTER, ENDS_AFTER = 2, 3  # days above the limit, and below it


class Slow(NamedTuple):
    """What a slow comparison of one column found."""

    psi: float
    limit: float
    days: int  # between the two weeks
    since: float  # end of the week that it is compared with, event time, s; 0: no slow drift
    now: NDArray[np.float64]  # (BINS,) events of the last week
    usual: NDArray[np.float64]  # (BINS,) events of the week it is compared with


class Seasons:
    """Counts of C columns by day.

    Parameters
    ----------
    rising : (C,)
        Columns that drift only where the share of their second bin rises.
    """

    def __init__(self, rising: NDArray[np.bool_]) -> None:
        columns = len(rising)
        self._rising = rising
        self.counts = np.zeros((DAYS, columns, BINS), dtype=np.int32)  # of each day, in its place modulo DAYS
        self.newest = -1  # day that is under way, since Monday, 5 January 1970; -1: there was none yet
        self.judged = -1  # last day of the last week that was compared
        self.first = np.zeros(columns, dtype=np.int64)  # first day of each column's comparison
        self.moments = Moments(columns)
        self.index = np.zeros(columns)
        self.limits = np.full(columns, np.inf)
        self.lag = np.zeros(columns, dtype=np.int64)  # days between the two weeks; 0: not compared
        self.active = np.zeros(columns, dtype=bool)
        self._above = np.zeros(columns, dtype=np.int64)  # days in a row
        self._below = np.zeros(columns, dtype=np.int64)

    def note(self, now: float, pane: NDArray[np.int32], fast: NDArray[np.bool_]) -> None:
        """Add a pane that ends at event time `now`, s. Where a day has ended, judge it.

        Parameters
        ----------
        pane
            Counts (SLOTS, C, BINS) by hour of the week.
        fast : (C,)
            Columns that drift fast.
        """
        day = int((now - MONDAY_S) // DAY_S)
        by_day = pane.reshape(WEEK, len(pane) // WEEK, *pane.shape[1:]).sum(1)  # columns may be none
        ended = self.newest if 0 <= self.newest < day else -1
        self._turn(day)
        for weekday in np.flatnonzero(by_day.any(axis=(1, 2))).tolist():
            at = day - (day - weekday) % WEEK
            if at > self.newest - DAYS:
                self.counts[at % DAYS] += by_day[weekday]
        self.first[fast] = day + 1
        if ended >= 0:
            self._judge(ended)
        self.active &= ~fast

    def _turn(self, day: int) -> None:
        """Let a day begin: what lies in the places up to it is too old."""
        if self.newest < 0:
            self.newest = day
            self.first[:] = day
        for passed in range(max(self.newest + 1, day - DAYS + 1), day + 1):
            self.counts[passed % DAYS] = 0
        self.newest = max(self.newest, day)

    def _judge(self, ended: int) -> None:
        oldest = np.maximum(self.first, self.newest - DAYS + 1)
        weeks = np.maximum((ended - WEEK + 1 - oldest) // WEEK, 0)
        self.judged, self.lag = ended, weeks * WEEK
        self.limits[:] = np.inf
        above = np.zeros(len(self.limits), dtype=bool)
        for lag in np.unique(self.lag[self.lag > 0]).tolist():
            columns = np.flatnonzero(self.lag == lag)
            above[columns] = self._compare(columns, *self._weeks(lag, columns))
        self._learn(ended, weeks > 0)
        judged = np.isfinite(self.limits)
        self._above = np.where(judged, np.where(above, self._above + 1, 0), 0)
        self._below = np.where(above, 0, self._below + 1)
        self.active = (self.active | (self._above >= BEGINS_AFTER)) & (self._below < ENDS_AFTER)

    def _compare(
        self, columns: NDArray[np.int64], now: NDArray[np.float64], usual: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Compare two weeks (c, BINS) of these columns; which of them are above their limit."""
        sizes = np.minimum(now.sum(-1), usual.sum(-1))
        shares = usual / np.maximum(usual.sum(-1, keepdims=True), 1.0)
        free = freedom(shares)
        scale = 1.0 / now.sum(-1).clip(1.0) + 1.0 / usual.sum(-1).clip(1.0)
        limit = gamma_quantile(free, 2.0 * free) * scale + self.moments.limit(free, columns)
        known = self.moments.known[columns] & (sizes >= EVENTS_MIN)
        self.index[columns] = psi(now, shares)
        self.limits[columns] = np.where(known, np.maximum(FLOOR, limit), np.inf)
        rise = now[:, REPEATED] / now.sum(-1).clip(1.0) > shares[:, REPEATED]
        above: NDArray[np.bool_] = (self.index > self.limits)[columns] & (rise | ~self._rising[columns])
        return above

    def _weeks(self, lag: int, columns: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Events of the week that was judged and of the one `lag` days before, on the days both have."""
        days = np.arange(self.judged - WEEK + 1, self.judged + 1)
        now = _merged(self.counts[days % DAYS][:, columns])
        usual = _merged(self.counts[(days - lag) % DAYS][:, columns])
        both = (now.sum(-1) > 0) & (usual.sum(-1) > 0)  # (WEEK, columns)
        both &= both.sum(0) >= PAIRS_MIN
        return (now * both[..., None]).sum(0), (usual * both[..., None]).sum(0)

    def _learn(self, ended: int, chosen: NDArray[np.bool_]) -> None:
        """Learn from the day that has ended, against the same day a week before."""
        now, usual = _merged(self.counts[ended % DAYS]), _merged(self.counts[(ended - WEEK) % DAYS])
        sizes, sizes_before = now.sum(-1), usual.sum(-1)
        shares = usual / np.maximum(sizes_before[:, None], 1.0)
        free = freedom(shares)
        scale = 1.0 / sizes.clip(1.0) + 1.0 / sizes_before.clip(1.0)
        taken = chosen & (sizes > 0) & (sizes_before > 0)
        self.moments.learn(psi(now, shares) - free * scale, 2.0 * free * scale**2, taken, ended)

    def found(self, column: int) -> Slow:
        """What the last comparison of a column says."""
        lag = int(self.lag[column])
        now, usual = self._weeks(lag, np.array([column]))
        since = MONDAY_S + (self.judged - lag + 1.0) * DAY_S if self.active[column] else 0.0
        index, limit = float(self.index[column]), float(self.limits[column])
        return Slow(index, limit, lag, since, now[0], usual[0])

    def to_state(self) -> dict[str, Any]:
        arrays = {name: getattr(self, name).copy() for name in _ARRAYS}
        return {"days": [self.newest, self.judged], "moments": self.moments.to_state(), **arrays}

    def load(self, state: Mapping[str, Any]) -> None:
        self.newest, self.judged = state["days"]
        self.moments.load(state["moments"])
        for name in _ARRAYS:
            setattr(self, name, state[name])


_ARRAYS = ("counts", "first", "index", "limits", "lag", "active", "_above", "_below")


def _merged(counts: NDArray[np.int32]) -> NDArray[np.float64]:
    """Counts (..., BINS), of which unseen categories are rare ones: with time they become known."""
    found = counts.astype(np.float64)
    found[..., OTHER] += found[..., UNSEEN]
    found[..., UNSEEN] = 0.0
    return found
