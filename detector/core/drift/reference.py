"""What is usual: counts of each bin by hour of the week, forgotten with a half-life.

An hour that was seen rarely is completed by the same hour of other days, and that by all hours. So the
present is compared with the same hours, and daily and weekly rhythm is no drift.

In the first week most hours of the week were not seen yet. Those between Monday noon and Thursday evening,
UTC, are working hours of working days everywhere on Earth, so they are known once the same hour of another
such day was seen. Friday, Saturday and Sunday may each be a day of rest somewhere: they are known once they
were seen themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.core.drift.bins import BINS, MONDAY_S, SLOT_S, SLOTS
from detector.core.drift.law import freedom, psi
from detector.core.drift.profile import DayProfile

DAY_S = 86_400.0
HOURS = 24
HALF_LIFE_S = 28 * DAY_S
ACCEPTED_HALF_LIFE_S = 2 * DAY_S  # of a column whose drift has lasted long enough to be usual
COMPLETED = 256.0  # events of other hours that complete an hour's own at most
SEEN_H = 0.5  # hours of event time after which an hour of the week was seen
WORKING = slice(0, 4 * HOURS)  # Monday to Thursday
ALIKE = slice(12, 3 * HOURS + 18)  # the part of it that lies in these days in all zones
DIFFERENT = 0.1  # of what completes an hour: of all hours, to complete those of one hour of the day
DAY_PRIOR = 4.0  # multiples of what completes an hour: they complete a day's level
SCORE_PRIOR = 2_048.0  # events of other hours that complete an hour's mean score
RATE_PRIOR_H = 1.0  # hours that complete an hour's rate of events


class Usual(NamedTuple):
    """What the reference expects of a pane."""

    shares: NDArray[np.float64]  # (C, BINS)
    support: NDArray[np.float64]  # (C,) events that the shares are as sure as


class Reference:
    """Counts of C columns.

    Parameters
    ----------
    columns
        C.
    """

    def __init__(self, columns: int) -> None:
        self.counts = np.zeros((SLOTS, columns, BINS))
        self.volume = np.zeros((SLOTS, 2))  # events, and hours of event time in which they came
        self.score = np.zeros((SLOTS, 2))  # sum of scores, and events
        self.seen = np.zeros(SLOTS)  # hours of event time
        self.usual_scores = np.zeros(SLOTS)  # mean score at each hour
        self.profile = DayProfile()

    def absorb(
        self,
        pane: NDArray[np.int32],
        quiet: NDArray[np.bool_],
        accepted: NDArray[np.bool_],
        age_s: float,
    ) -> None:
        """Take in a pane.

        Parameters
        ----------
        pane
            Counts (SLOTS, C, BINS).
        quiet : (C,)
            Columns without drift: those of others are left out.
        accepted : (C,)
            Columns whose drift is the usual from now on: what was before is forgotten fast.
        age_s
            Event time since the last pane.
        """
        half_life = np.where(accepted, ACCEPTED_HALF_LIFE_S, HALF_LIFE_S)
        taken = quiet | accepted
        kept = np.where(taken, 0.5 ** (age_s / half_life), 1.0)
        self.counts *= kept[:, None]
        self.counts += pane * taken[:, None]

    def follow_rates(
        self,
        hours: NDArray[np.float64],
        scores: NDArray[np.float64],
        *,
        taken: bool,
        age_s: float,
    ) -> None:
        """Take in how often events came, and their scores.

        Parameters
        ----------
        hours : (SLOTS,)
            Hours of event time that the pane covers, by hour of the week.
        scores : (SLOTS, 2)
            Sum of scores, and events, likewise.
        taken
            Whether the rate of events is taken in: it has no drift, or one that is usual from now on.
        """
        kept = 0.5 ** (age_s / HALF_LIFE_S)
        self.score *= kept
        self.score += scores
        self.seen += hours
        if taken:
            self.volume *= kept
            self.volume += np.stack([scores[:, 1], hours], axis=1)
        self.usual_scores = completed_rates(self.score, SCORE_PRIOR)

    def usual(self, slots: NDArray[np.int64]) -> Usual:
        """What is usual for a pane with so many events in each hour (SLOTS, C)."""
        everything = self.counts.sum(0)
        overall = everything / np.maximum(everything.sum(-1, keepdims=True), 1.0)
        chosen = np.flatnonzero(slots.any(axis=1))
        others = np.stack([self.counts[alike(slot)].sum(0) for slot in chosen.tolist()])
        parents = _completed(others, overall, 1.0 / everything.sum(-1).clip(1.0))
        own = _completed(self.counts[chosen], parents.shares, parents.spread)
        weights = slots[chosen] / np.maximum(slots.sum(0), 1)  # (H, C)
        shares = (weights[..., None] * own.shares).sum(0)
        spread = (weights**2 * own.spread).sum(0)
        return Usual(shares, 1.0 / np.maximum(spread, 1e-12))

    def knows(self, slots: NDArray[np.bool_]) -> bool:
        """Whether what is usual is known in all of these hours of the week (SLOTS,)."""
        seen = self.seen >= SEEN_H
        known = seen.copy()
        known[ALIKE] |= np.tile(seen[WORKING].reshape(-1, HOURS).any(0), 4)[ALIKE]
        return bool(known[slots].all())

    def rates(self) -> NDArray[np.float64]:
        """Usual events per hour, by hour of the week, (SLOTS,)."""
        return completed_rates(self.volume, RATE_PRIOR_H)

    def to_state(self) -> dict[str, Any]:
        arrays = {name: getattr(self, name).copy() for name in _ARRAYS}
        return {"profile": self.profile.to_state(), **arrays}

    def load(self, state: Mapping[str, Any]) -> None:
        self.profile.load(state["profile"])
        for name in _ARRAYS:
            setattr(self, name, state[name])


_ARRAYS = ("counts", "volume", "score", "seen")


def alike(slot: int) -> slice:
    """The hours of the week that complete an hour: the same hour of working days, or of all days."""
    return slice(slot % HOURS, WORKING.stop if slot < WORKING.stop else None, HOURS)


class _Completed(NamedTuple):
    shares: NDArray[np.float64]  # (H, C, BINS)
    spread: NDArray[np.float64]  # (H, C) one divided by the events that the shares are as sure as


def _completed(
    counts: NDArray[np.float64], others: NDArray[np.float64], spread: NDArray[np.float64]
) -> _Completed:
    """Complete counts (H, C, BINS) of H hours by the shares of others, which have a spread.

    The more an hour differs from the others, beyond what its size explains, the fewer of them are added: as
    many events as would differ by chance as much as the hour does (the empirical rule of Bayes).
    """
    totals, free = counts.sum(-1), freedom(others)
    beyond = psi(counts, others) - free / np.maximum(totals, 1.0)
    added = np.clip(free / np.maximum(beyond, 1e-6), 1.0, COMPLETED)
    shares = (counts + added[..., None] * others) / (totals + added)[..., None]
    return _Completed(shares, (totals + added**2 * spread) / (totals + added) ** 2)


def completed_rates(table: NDArray[np.float64], prior: float) -> NDArray[np.float64]:
    """Quotients of a table (SLOTS, 2) by hour of the week, completed as shares are; (SLOTS,).

    Parameters
    ----------
    prior
        In the unit of the second column: so much of other hours completes an hour's own. They are those of
        the same hour on other days, times the day's own level.
    """
    overall = table[:, 0].sum() / max(table[:, 1].sum(), 1e-9)
    days = table.reshape(-1, HOURS, 2)
    working = days[: WORKING.stop // HOURS]
    parent = np.zeros(days.shape[:2])
    for rows, part in ((slice(None), days.sum(0)), (slice(len(working)), working.sum(0))):
        if part[:, 1].any():
            few = DIFFERENT * prior  # hours of the day differ far more than the same hour of several days
            parent[rows] = (part[:, 0] + few * overall) / (part[:, 1] + few)
    # A day as a whole may have more or fewer events than others.
    expected = (parent * days[:, :, 1]).sum(1)
    few = DAY_PRIOR * prior * overall
    parent *= ((days[:, :, 0].sum(1) + few) / np.maximum(expected + few, 1e-9))[:, None]
    rates: NDArray[np.float64] = (table[:, 0] + prior * parent.ravel()) / (table[:, 1] + prior)
    return rates


def hours_between(start: float, end: float) -> NDArray[np.float64]:
    """Hours of event time in each hour of the week, from `start` to `end` (s), (SLOTS,)."""
    covered = np.zeros(SLOTS)
    weeks, rest = divmod(max(end - start, 0.0), SLOTS * SLOT_S)
    covered += weeks
    at = start
    while rest > 0.0:
        slot = int((at - MONDAY_S) // SLOT_S)
        step = min((slot + 1) * SLOT_S + MONDAY_S - at, rest)
        if step <= 0.0:
            break
        covered[slot % SLOTS] += step / SLOT_S
        at, rest = at + step, rest - step
    return covered
