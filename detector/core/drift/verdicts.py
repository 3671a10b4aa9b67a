"""Which columns drift, since when, and what part each has in the change of alerts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.core.drift import law
from detector.core.drift.bins import BINS, NEW_KEY, OTHER, UNSEEN
from detector.core.drift.embedding import SAMPLE
from detector.core.drift.law import BLOCK_S, Moments, freedom, gamma_quantile
from detector.core.drift.profile import HOURS
from detector.core.drift.reference import DAY_S, Usual

PSI_FLOOR = 0.1  # smaller differences are real, perhaps, but none that matters
RATE_FLOOR = 0.25  # of the rate of events: 1.6 times as many, or 0.6 times
SHIFT_FLOOR = 0.25  # of the mean in the embedding: half a spread
RATE, PROFILE, EMBEDDED = -3, -2, -1  # columns
BEGINS_AFTER, ENDS_AFTER = 2, 3  # panes above the threshold, and below it
ACCEPTED_AFTER_S = 7 * DAY_S  # a change that has lasted a week is usual
RATIO_MIN = 1e-3
BOUND = 1.0  # an odd pane teaches no more than this multiple of the threshold


class Comparison(NamedTuple):
    """A pane against the reference, in V = C + 3 columns.

    The last ones are for the rate of events, for the hours of the day at which they come, and for the
    embedding.
    """

    counts: NDArray[np.float64]  # (C, BINS)
    shares: NDArray[np.float64]  # (C, BINS) usual ones
    psi: NDArray[np.float64]  # (V,) population stability indices
    freedom: NDArray[np.float64]  # (V,) degrees of freedom
    size: NDArray[np.float64]  # (V,) events; of the rate: expected events
    support: NDArray[np.float64]  # (V,) events that the reference is as sure as
    up: NDArray[np.bool_]  # (V,) whether the difference goes in a direction that counts
    known: NDArray[np.bool_]  # (V,) whether what is usual is known
    ratio: float  # events to those expected at the usual rate
    events: int  # of the pane; 0: there was none yet
    time: float  # event time at its end, s
    days: float  # of event time that the reference has seen

    @classmethod
    def of(
        cls,
        counts: NDArray[np.float64],
        usual: Usual,
        *,
        rising: NDArray[np.bool_],
        events: int,
        expected: float,
        profile: tuple[float, float, bool],
        shift: float,
        known: bool,
        time: float,
        days: float,
    ) -> Comparison:
        """Compare counts (C, BINS) with the usual shares.

        `expected`: events at the usual rate; `profile` of the last day: index, events, and whether it is
        known; `shift` of the mean in the embedding, in spreads; `known`: whether what is usual at these hours
        is.
        """
        sizes = np.maximum(counts.sum(-1), 1.0)
        shares = _known_by_now(usual.shares, counts / sizes[:, None])
        index = law.psi(counts, shares)
        ratio = max(events / expected, RATIO_MIN) if expected > 0.0 else 1.0
        up = ~rising | (counts[:, NEW_KEY] / sizes > shares[:, NEW_KEY])
        return cls(
            counts,
            shares,
            # Jeffreys' divergence, of two rates, and of two normal laws with equal spreads
            np.append(index, [(ratio - 1.0) * np.log(ratio), profile[0], shift**2]),
            np.append(freedom(shares), [1.0, HOURS - 1.0, 1.0]),
            np.append(sizes, [max(expected, 1.0), max(profile[1], 1.0), SAMPLE]),
            np.append(usual.support, [np.inf, np.inf, np.inf]),
            np.append(up, [True, True, True]),
            np.append(np.full(len(counts), known), [known, profile[2], True]),
            ratio,
            events,
            time,
            days,
        )

    @classmethod
    def none(cls, columns: int) -> Comparison:
        """Of no pane."""
        zeros, one = np.zeros((columns, BINS)), np.zeros(columns + 3)
        return cls(zeros, zeros, one, one, one, one, one > 0.0, one > 0.0, 1.0, 0, 0.0, 0.0)

    def to_state(self) -> dict[str, Any]:
        return {
            name: value.copy() if isinstance(value, np.ndarray) else value
            for name, value in self._asdict().items()
        }


def _known_by_now(usual: NDArray[np.float64], current: NDArray[np.float64]) -> NDArray[np.float64]:
    """Usual shares (C, BINS) in which categories count as others that were new then and are not new now.

    What came for the first time on a weekend is known on the next one. So fewer new categories are no drift.
    """
    shares = usual.copy()
    shares[:, UNSEEN] = np.minimum(usual[:, UNSEEN], current[:, UNSEEN])
    shares[:, OTHER] += usual[:, UNSEEN] - shares[:, UNSEEN]
    return shares


class Verdicts:
    """The law and the state of V columns."""

    def __init__(self, columns: int) -> None:
        self.moments = Moments(columns)
        self.index = np.zeros(columns)
        self.thresholds = np.full(columns, np.inf)  # infinite: not judged yet
        self.began = np.zeros(columns)  # event time at which a drift began; 0: there is none
        self._since = np.zeros(columns)  # of the first pane above the threshold
        self._above = np.zeros(columns, dtype=np.int64)  # panes in a row
        self._below = np.zeros(columns, dtype=np.int64)
        self._held = np.zeros(columns)  # what the last pane would have taught, had it not been above

    @property
    def quiet(self) -> NDArray[np.bool_]:
        """Columns that neither drift nor may begin to, (V,)."""
        found: NDArray[np.bool_] = (self.began == 0.0) & (self._above == 0)
        return found

    def accepted(self, now: float) -> NDArray[np.bool_]:
        """Columns whose drift has lasted so long that it is usual, (V,)."""
        found: NDArray[np.bool_] = (self.began > 0.0) & (now - self.began >= ACCEPTED_AFTER_S)
        return found

    def judge(self, compared: Comparison, start: float, age_s: float) -> None:
        """Judge a pane that began at `start`, s; then learn from it what is normal.

        `age_s`: event time since the reference began.
        """
        now = compared.time
        floor = np.full(len(compared.psi), PSI_FLOOR)
        floor[RATE], floor[EMBEDDED] = RATE_FLOOR, SHIFT_FLOOR
        scale = 1.0 / compared.size + 1.0 / compared.support
        limit = gamma_quantile(compared.freedom, 2.0 * compared.freedom) * scale
        limit += self.moments.limit(compared.freedom)
        judged = self.moments.known & compared.known
        self.index = compared.psi
        self.thresholds = np.where(judged, np.maximum(floor, limit), np.inf)
        above = judged & compared.up & (self.index > self.thresholds)
        self._since = np.where(above & (self._above == 0), start, self._since)
        self._below = np.where(judged, np.where(above, 0, self._below + 1), self._below)
        self._above = np.where(judged, np.where(above, self._above + 1, 0), self._above)
        begins = (self.began == 0.0) & (self._above >= BEGINS_AFTER)
        ends = (self.began > 0.0) & (self._below >= ENDS_AFTER)
        self.began = np.where(begins, self._since, np.where(ends, 0.0, self.began))
        usual = ((self.began == 0.0) | self.accepted(now)) & compared.known
        # A pane above the threshold is learned from once the next one is not: then it was an odd one.
        odd = ~above & (self._held > 0.0)
        beyond = compared.psi - compared.freedom * scale
        seen = np.maximum(beyond, np.where(odd, self._held, -np.inf))
        self._held = np.where(above, np.minimum(beyond, BOUND * limit), 0.0)
        by_chance = 2.0 * compared.freedom * scale**2
        self.moments.learn(seen, by_chance, usual & ~above, int(age_s // BLOCK_S))
        self.moments.drop(begins)

    def to_state(self) -> dict[str, Any]:
        arrays = {name: getattr(self, name).copy() for name in _ARRAYS}
        return {"moments": self.moments.to_state(), **arrays}

    def load(self, state: Mapping[str, Any]) -> None:
        self.moments.load(state["moments"])
        for name in _ARRAYS:
            setattr(self, name, state[name])


_ARRAYS = ("index", "thresholds", "began", "_since", "_above", "_below", "_held")
