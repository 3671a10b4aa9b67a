"""How far two samples differ, and how far they may differ without drift.

The population stability index of bins with shares p now and q in the reference is sum (p - q) ln(p / q),
which is Jeffreys' divergence. Without drift, and with independent events, it is near a chi-square number of B
- 1 degrees of freedom times (1/n + 1/m) for counts n and m (Yurdakul and Naranjo 2020, "Statistical
properties of the population stability index"). Events of one entity, and events of one hour, are not
independent: the index is then larger by a factor that depends on the stream. So its mean and variance are
learned from the stream itself, and the law is the gamma law with that mean and variance (Satterthwaite 1946);
where events are independent this is the chi-square law.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SMOOTH = 0.5  # events that each bin of the reference and of the present gets in addition
NORMAL_QUANTILE = 4.75  # of a standard normal number: exceeded once in a million
HALF_LIFE_S = 14 * 86_400.0  # of moments, in event time
BEYOND = 4.0  # a plausible number is at most this multiple of the largest one so far
LEARN_PANES_MIN = 16  # before, a law is not known


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


class Moments:
    """Running mean and mean square of C numbers, one of each column and pane.

    Parameters
    ----------
    columns
        C.
    """

    def __init__(self, columns: int) -> None:
        self.table = np.zeros((columns, 4))  # numbers learned, mean, mean square, largest

    def learn(self, numbers: NDArray[np.float64], chosen: NDArray[np.bool_], age_s: float) -> None:
        """Learn numbers (C,) of the chosen columns (C,), `age_s` after the last ones."""
        count = self.table[:, 0] * 0.5 ** (age_s / HALF_LIFE_S) + 1.0
        step = np.where(chosen, 1.0 / count, 0.0)
        self.table[:, 0] = np.where(chosen, count, self.table[:, 0])
        self.table[:, 1] += step * (numbers - self.table[:, 1])
        self.table[:, 2] += step * (numbers**2 - self.table[:, 2])
        largest = np.maximum(self.table[:, 3] * 0.5 ** (age_s / HALF_LIFE_S), numbers)
        self.table[:, 3] = np.where(chosen, largest, self.table[:, 3])

    @property
    def known(self) -> NDArray[np.bool_]:
        """Columns whose law is known, (C,)."""
        enough: NDArray[np.bool_] = self.table[:, 0] >= LEARN_PANES_MIN
        return enough

    def limit(self, freedom: NDArray[np.float64]) -> NDArray[np.float64]:
        """Largest plausible numbers (C,), at least those of independent events with `freedom` (C,)."""
        mean = np.maximum(self.table[:, 1], freedom)
        seen = np.maximum(self.table[:, 2] - self.table[:, 1] ** 2, 0.0)
        independent = gamma_quantile(freedom, 2.0 * freedom)
        found = gamma_quantile(mean, np.maximum(seen, 2.0 * mean**2 / freedom))
        return np.maximum(np.minimum(found, BEYOND * self.table[:, 3]), independent)

    def to_state(self) -> dict[str, Any]:
        return {"table": self.table.copy()}
