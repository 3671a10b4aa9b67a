"""How far two samples differ, and how far they may differ without drift.

The population stability index of bins with shares p now and q in the reference is sum (p - q) ln(p / q),
which is Jeffreys' divergence. Without drift, and with independent events, it is near a chi-square number of B
- 1 degrees of freedom times (1/n + 1/m) for counts n and m (Yurdakul and Naranjo 2020, "Statistical
properties of the population stability index"). This is its part by chance.

Events of one entity, of one hour and of one day are not independent, so the index is larger than that. What
is beyond chance is learned from the stream itself, with its mean and variance, in blocks of a day: days are
what differs. It is a gamma number (Satterthwaite 1946) whose mean is known from K days only, so its limit is
a quantile of the F law with f and K f degrees of freedom, f by the variance and at least 1. So a young
reference has wide limits, and they narrow by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMOOTH = 0.5  # events that each bin of the reference and of the present gets in addition
LOG_CHANCE = math.log(1e-6)  # of a limit that is exceeded without drift
NORMAL_QUANTILE = 4.75  # of a standard normal number, for the same chance
BLOCK_S = 86_400.0  # of event time
HALF_LIFE_S = 14 * 86_400.0  # of moments, in event time
BEYOND = 4.0  # a plausible number is at most this multiple of the largest one so far
BOUNDED_AFTER = 4.0  # days of learning before that holds: the largest number of fewer days says little
FREEDOM_MIN = 1.0  # of a sum of squares
_STEPS = 24  # of the bisection for a quantile: 5 digits


def psi(now: NDArray[np.float64], usual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Population stability index of counts now (..., B) against shares of the reference (..., B)."""
    bins = now.shape[-1]
    total = now.sum(-1, keepdims=True)
    p = (now + SMOOTH) / (total + SMOOTH * bins)
    # The same events in addition as in `now`: else a bin without any would differ by the sample's size alone.
    q = (usual * total + SMOOTH) / (total + SMOOTH * bins)
    index: NDArray[np.float64] = ((p - q) * np.log(p / q)).sum(-1)
    return index


def freedom(usual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees of freedom of shares (..., B): bins in use less one, at least one."""
    found: NDArray[np.float64] = np.maximum((usual > 1e-6).sum(-1) - 1.0, 1.0)
    return found


def gamma_quantile(mean: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Value that a gamma number of this mean and variance exceeds once in a million.

    By Wilson and Hilferty (1931): the cube root of a gamma number is nearly normal.
    """
    shape = np.maximum(mean, 1e-12) ** 2 / np.maximum(variance, 1e-12)
    ninth = 1.0 / (9.0 * np.maximum(shape, 0.2))
    quantile: NDArray[np.float64] = mean * (1.0 - ninth + NORMAL_QUANTILE * np.sqrt(ninth)) ** 3
    return quantile


def _log_gamma(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([math.lgamma(number) for number in numbers.ravel().tolist()]).reshape(numbers.shape)


def f_quantile(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Value that an F number with these degrees of freedom exceeds once in a million.

    By bisection of the first term of the tail's series, which is near the whole of it so far out.
    """
    a, b = first / 2.0, second / 2.0
    beta = _log_gamma(a) + _log_gamma(b) - _log_gamma(a + b)
    wanted = LOG_CHANCE + beta + np.log(b)
    low = np.log(first / second)
    high = low + 40.0
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        odds = np.logaddexp(0.0, middle)  # ln(1 + u) for u = first x / second
        beyond = (a - 1.0) * (middle - odds) - b * odds > wanted
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    quantile: NDArray[np.float64] = np.exp(high) * second / first
    return quantile


class Moments:
    """What C indices are beyond chance: their law without drift.

    A day teaches nothing before the day after it is over, too. So a drift that comes slowly, or whose first
    window is below the limit, does not raise the limit before it is found; what such days would have taught
    is dropped.

    Parameters
    ----------
    columns
        C.
    """

    def __init__(self, columns: int) -> None:
        # indices learned, mean, mean square without that of chance, largest, complete blocks, block under way
        self.table = np.zeros((columns, 6))
        self.table[:, 5] = -1.0
        # of the block under way, and of the one before it: indices, sum, sum of squares likewise, largest
        self.pending = np.zeros((columns, 2, 4))

    def learn(
        self,
        beyond: NDArray[np.float64],
        by_chance: NDArray[np.float64],
        chosen: NDArray[np.bool_],
        block: int,
    ) -> None:
        """Learn numbers (C,) of the chosen columns (C,), in a block of time.

        `by_chance`: the variance (C,) of the part by chance.
        """
        ended = chosen & (self.table[:, 5] != block)
        self._take(np.flatnonzero(ended & (self.table[:, 5] >= 0.0)))
        self.table[ended, 5] = block
        numbers = np.stack([np.ones(len(beyond)), beyond, beyond**2 - by_chance], axis=1)
        self.pending[chosen, 0, :3] += numbers[chosen]
        self.pending[chosen, 0, 3] = np.maximum(self.pending[chosen, 0, 3], beyond[chosen])

    def drop(self, chosen: NDArray[np.bool_]) -> None:
        """Forget what the last two blocks of the chosen columns (C,) would have taught."""
        self.pending[chosen] = 0.0

    def _take(self, columns: NDArray[np.int64]) -> None:
        """A block of these columns is complete: learn the one before it, or itself if it is the first."""
        first = self.table[columns, 4] == 0.0
        taken = self.pending[columns, np.where(first, 0, 1)]
        self.pending[columns, 1] = np.where(first[:, None], 0.0, self.pending[columns, 0])
        self.pending[columns, 0] = 0.0
        some = taken[:, 0] > 0.0
        columns, taken = columns[some], taken[some]
        kept = 0.5 ** (BLOCK_S / HALF_LIFE_S)
        old = self.table[columns, 0] * kept
        count = old + taken[:, 0]
        self.table[columns, 0] = count
        self.table[columns, 1] = (self.table[columns, 1] * old + taken[:, 1]) / count
        self.table[columns, 2] = (self.table[columns, 2] * old + taken[:, 2]) / count
        self.table[columns, 3] = np.maximum(self.table[columns, 3] * kept, taken[:, 3])
        self.table[columns, 4] = self.table[columns, 4] * kept + 1.0

    @property
    def known(self) -> NDArray[np.bool_]:
        """Columns whose law is known, (C,)."""
        enough: NDArray[np.bool_] = self.table[:, 4] >= 1.0
        return enough

    def limit(
        self, freedom: NDArray[np.float64], columns: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """Largest plausible numbers beyond chance, (c,), of these columns with `freedom` (c,); at least 0."""
        table = self.table if columns is None else self.table[columns]
        mean, blocks = np.maximum(table[:, 1], 1e-9), np.maximum(table[:, 4], 1.0)
        variance = np.maximum(table[:, 2] - table[:, 1] ** 2, 1e-18)
        free = np.clip(2.0 * mean**2 / variance, FREEDOM_MIN, freedom)
        found = mean * f_quantile(free, blocks * free)
        bound = np.where(blocks >= BOUNDED_AFTER, BEYOND * table[:, 3], np.inf)
        return np.where(table[:, 1] > 0.0, np.minimum(found, bound), 0.0)

    def to_state(self) -> dict[str, Any]:
        return {"table": self.table.copy(), "pending": self.pending.copy()}

    def load(self, state: Mapping[str, Any]) -> None:
        self.table, self.pending = state["table"], state["pending"]
