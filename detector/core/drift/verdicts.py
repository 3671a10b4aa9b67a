"""Which columns drift, since when, and what part each has in the change of alerts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.core.drift import law
from detector.core.drift.bins import BINS, NEW_KEY
from detector.core.drift.embedding import SAMPLE
from detector.core.drift.law import Moments, freedom, gamma_quantile
from detector.core.drift.reference import DAY_S, Reference, Usual

LEARNED_AFTER_S = 7 * DAY_S  # every hour of a week was seen: from here on the law of a column is learned
JUDGED_AFTER_S = 8 * DAY_S  # the law of every hour of a day was seen
PSI_FLOOR = 0.1  # smaller differences are real, perhaps, but none that matters
RATE_FLOOR = 0.25  # of the rate of events: 1.6 times as many, or 0.6 times
SHIFT_FLOOR = 0.25  # of the mean in the embedding: half a spread
RATE, EMBEDDED = -2, -1  # columns
BEGINS_AFTER, ENDS_AFTER = 2, 3  # panes above the threshold, and below it
ACCEPTED_AFTER_S = 7 * DAY_S  # a change that has lasted a week is usual
SURE = 4.0  # standard errors of a change in the share of high events that is more than chance
RATIO_MIN = 1e-3
BOUND = 1.0  # an odd pane teaches no more than this multiple of the threshold


class Comparison(NamedTuple):
    """A pane against the reference: V = C + 2 columns, the last for the rate of events and the embedding."""

    counts: NDArray[np.float64]  # (C, BINS)
    shares: NDArray[np.float64]  # (C, BINS) usual ones
    psi: NDArray[np.float64]  # (V,) population stability indices
    freedom: NDArray[np.float64]  # (V,) degrees of freedom
    size: NDArray[np.float64]  # (V,) events; of the rate: expected events
    support: NDArray[np.float64]  # (V,) events that the reference is as sure as
    up: NDArray[np.bool_]  # (V,) whether the difference goes in a direction that counts
    ratio: float  # events to those expected at the usual rate
    events: int  # of the pane; 0: there was none yet
    time: float  # event time at its end, s

    @classmethod
    def of(
        cls,
        counts: NDArray[np.float64],
        usual: Usual,
        *,
        rising: NDArray[np.bool_],
        events: int,
        expected: float,
        shift: float,
        time: float,
    ) -> Comparison:
        """Compare counts (C, BINS) with the usual shares.

        `expected`: events at the usual rate; `shift` of the mean in the embedding, in spreads.
        """
        index = law.psi(counts, usual.shares)
        sizes = np.maximum(counts.sum(-1), 1.0)
        ratio = max(events / expected, RATIO_MIN) if expected > 0.0 else 1.0
        up = ~rising | (counts[:, NEW_KEY] / sizes > usual.shares[:, NEW_KEY])
        return cls(
            counts,
            usual.shares,
            # Jeffreys' divergence, of two rates, and of two normal laws with equal spreads
            np.append(index, [(ratio - 1.0) * np.log(ratio), shift**2]),
            np.append(freedom(usual.shares), [1.0, 1.0]),
            np.append(sizes, [max(expected, 1.0), SAMPLE]),
            np.append(usual.support, [np.inf, np.inf]),
            np.append(up, [True, True]),
            ratio,
            events,
            time,
        )

    @classmethod
    def none(cls, columns: int) -> Comparison:
        """Of no pane."""
        zeros, one = np.zeros((columns, BINS)), np.zeros(columns + 2)
        return cls(zeros, zeros, one, one, one, one, one > 0.0, 1.0, 0, 0.0)

    def to_state(self) -> dict[str, Any]:
        return {
            name: value.copy() if isinstance(value, np.ndarray) else value
            for name, value in self._asdict().items()
        }


class Verdicts:
    """The law and the state of V columns."""

    def __init__(self, columns: int) -> None:
        self.moments = Moments(columns)
        self.index = np.zeros(columns)
        self.thresholds = np.full(columns, np.inf)  # infinite: not judged yet
        self.weights = np.zeros(columns)
        self.began = np.zeros(columns)  # event time at which a drift began; 0: there is none
        self._since = np.zeros(columns)  # of the first pane above the threshold
        self._above = np.zeros(columns, dtype=np.int64)  # panes in a row
        self._below = np.zeros(columns, dtype=np.int64)
        self._held = np.zeros(columns)  # what the last pane would have taught, had it not been above
        self.young = True  # nothing is judged yet, and everything is taken in

    @property
    def quiet(self) -> NDArray[np.bool_]:
        """Columns that neither drift nor may begin to, (V,)."""
        found: NDArray[np.bool_] = ((self.began == 0.0) & (self._above == 0)) | self.young
        return found

    def accepted(self, now: float) -> NDArray[np.bool_]:
        """Columns whose drift has lasted so long that it is usual, (V,)."""
        found: NDArray[np.bool_] = (self.began > 0.0) & (now - self.began >= ACCEPTED_AFTER_S)
        return found

    def judge(self, compared: Comparison, start: float, age_s: float) -> None:
        """Judge a pane that began at `start`, s; then learn from it what is normal.

        `age_s`: event time since the watch began.
        """
        now, ready = compared.time, age_s >= JUDGED_AFTER_S
        self.young = not ready
        floor = np.full(len(compared.psi), PSI_FLOOR)
        floor[RATE:] = RATE_FLOOR, SHIFT_FLOOR
        by_pane = self.moments.limit(compared.freedom) / compared.size
        by_reference = gamma_quantile(compared.freedom, 2.0 * compared.freedom) / compared.support
        limit = by_pane + by_reference
        judged = self.moments.known & ready
        self.index = compared.psi
        self.thresholds = np.where(judged, np.maximum(floor, limit), np.inf)
        above = judged & compared.up & (self.index > self.thresholds)
        self._since = np.where(above & (self._above == 0), start, self._since)
        self._above = np.where(above, self._above + 1, 0)
        self._below = np.where(above, 0, self._below + 1)
        begins = (self.began == 0.0) & (self._above >= BEGINS_AFTER)
        ends = (self.began > 0.0) & (self._below >= ENDS_AFTER)
        self.began = np.where(begins, self._since, np.where(ends, 0.0, self.began))
        usual = ((self.began == 0.0) | self.accepted(now)) & (age_s >= LEARNED_AFTER_S)
        # A pane above the threshold is learned from once the next one is not: then it was an odd one.
        odd = ~above & (self._held > 0.0)
        seen = np.maximum(compared.psi * compared.size, np.where(odd, self._held, 0.0))
        self._held = np.where(above, np.minimum(seen, BOUND * limit * compared.size), 0.0)
        self.moments.learn(seen, usual & ~above, max(now - start, 0.0))

    def to_state(self) -> dict[str, Any]:
        arrays = {name: getattr(self, name).copy() for name in _ARRAYS}
        return {"moments": self.moments.to_state(), "young": self.young, **arrays}

    def load(self, state: Mapping[str, Any]) -> None:
        self.moments.table, self.young = state["moments"]["table"], state["young"]
        for name in _ARRAYS:
            setattr(self, name, state[name])


_ARRAYS = ("index", "thresholds", "weights", "began", "_since", "_above", "_below", "_held")


def weights(
    compared: Comparison, high: NDArray[np.int64], reference: Reference, fields: int
) -> NDArray[np.float64]:
    """Part of each column in the change of the share of high events, (C,), 0 to 1.

    The change is divided as usual in the study of rates (Kitagawa 1955): what follows from the column's
    shares, at the rates of now, and the rest. High events are the most anomalous ones, whether the alert
    budget lets them become alerts or not. Only the first `fields` columns get a part.
    """
    found = np.zeros(len(high))
    now_high, now_all = high.sum(-1), compared.counts.sum(-1)
    usual_high, usual_all = reference.high.sum(-1), reference.counts.sum((0, 2))
    if not fields or not now_all[0] or not usual_all[0]:
        return found
    before, now = usual_high[0] / usual_all[0], now_high[0] / now_all[0]
    change = now - before
    pooled = max((now_high[0] + usual_high[0]) / (now_all[0] + usual_all[0]), 1e-9)
    if abs(change) < SURE * np.sqrt(pooled * (1.0 / now_all[0] + 1.0 / usual_all[0])):
        return found
    of_reference = reference.counts.sum(0)
    earlier = (reference.high + before) / (of_reference + 1.0)
    rates = np.where(compared.counts > 0, high / np.maximum(compared.counts, 1.0), earlier)
    moved = compared.counts / np.maximum(now_all, 1.0)[:, None] - compared.shares
    parts = np.clip((moved * rates).sum(-1)[:fields] / change, 0.0, 1.0)
    found[:fields] = parts / max(parts.sum(), 1.0)
    return found
