"""ADWIN on arrays: has the mean of a sequence changed?

The window holds the numbers since the last change, as an exponential histogram: buckets of 1, 2, 4, ...
numbers, `BUCKETS` of each size. Where the means of an older and a newer part differ by more than chance and
more than `floor`, the older part is dropped.

References
----------
Bifet and Gavalda (2007), "Learning from time-changing data with adaptive windowing".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

BUCKETS, LEVELS = 5, 32
DELTA = 1e-7  # chance of a change that is none
EACH_PART_MIN = 8  # numbers of both parts
CHECK_EVERY = 8


class AdaptiveWindow:
    """See the module's text.

    Parameters
    ----------
    floor
        Smallest difference of means that is a change, in the unit of the numbers.
    """

    def __init__(self, floor: float) -> None:
        self._floor = floor
        self._sums = np.zeros((LEVELS, BUCKETS + 1))  # the oldest of a level first
        self._used = np.zeros(LEVELS, dtype=np.int64)
        self._added = 0
        self._moments = np.zeros(3)  # numbers, mean and sum of squared deviations of the window
        self.changes = 0
        self.step = 0.0  # difference of means of the last change, newer less older

    def add(self, value: float) -> bool:
        """Learn one finite number; returns whether the mean has changed."""
        self._added += 1
        self._put(0, value)
        count, mean, squares = self._moments.tolist()
        count += 1.0
        gap = value - mean
        mean += gap / count
        self._moments[:] = count, mean, squares + gap * (value - mean)
        return self._added % CHECK_EVERY == 0 and self._cut()

    def _put(self, level: int, total: float) -> None:
        self._sums[level, self._used[level]] = total
        self._used[level] += 1
        if self._used[level] > BUCKETS:
            if level + 1 < LEVELS:
                self._put(level + 1, float(self._sums[level, 0] + self._sums[level, 1]))
            self._sums[level, : BUCKETS - 1] = self._sums[level, 2 : BUCKETS + 1].copy()
            self._used[level] -= 2

    def _cut(self) -> bool:
        """Drop what came before a change."""
        found = False
        while (place := self._change()) is not None:
            found = True
            level, used = place
            self._used[level + 1 :] = 0
            left = int(self._used[level]) - used
            self._sums[level, :left] = self._sums[level, used : used + left].copy()
            self._used[level] = left
            self._recount()
        self.changes += found
        return found

    def _recount(self) -> None:
        spread = self._moments[2] / max(self._moments[0], 1.0)
        buckets = [(2.0**level, total) for level in range(LEVELS) for total in self._level(level)]
        count = sum(size for size, _ in buckets)
        self._moments[:] = count, sum(total for _, total in buckets) / max(count, 1.0), spread * count

    def _level(self, level: int) -> list[float]:
        totals: list[float] = self._sums[level, : self._used[level]].tolist()
        return totals

    def _change(self) -> tuple[int, int] | None:
        """The last bucket of the older part: its level, and how many of the level are older."""
        count, mean, squares = self._moments.tolist()
        if count < 2 * EACH_PART_MIN:
            return None
        whole, variance = count * mean, squares / count
        chance = math.log(2.0 * math.log(count) / DELTA)
        older, older_sum = 0.0, 0.0
        for level in range(LEVELS - 1, -1, -1):
            for number, total in enumerate(self._level(level)):
                older, older_sum = older + 2.0**level, older_sum + total
                newer = count - older
                if older < EACH_PART_MIN or newer < EACH_PART_MIN:
                    continue
                gap = (whole - older_sum) / newer - older_sum / older
                size = 1.0 / (1.0 / older + 1.0 / newer)
                bound = math.sqrt(2.0 * variance * chance / size) + 2.0 * chance / (3.0 * size) * math.sqrt(
                    variance
                )
                if abs(gap) > max(bound, self._floor):
                    self.step = gap
                    return level, number + 1
        return None

    def to_state(self) -> dict[str, Any]:
        return {
            "sums": self._sums.copy(),
            "used": self._used.copy(),
            "added": self._added,
            "moments": self._moments.copy(),
            "changes": self.changes,
            "step": self.step,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        if state["used"].min() < 0 or state["used"].max() > BUCKETS:
            raise ValueError("a window with more buckets than it holds")
        self._sums, self._used, self._added = state["sums"], state["used"], state["added"]
        self._moments, self.changes, self.step = state["moments"], state["changes"], state["step"]
