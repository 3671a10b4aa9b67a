"""What is usual: counts of each bin by hour of the week, forgotten with a half-life.

An hour that was seen rarely is completed by the same hour of other days, and that by all hours. So the
present is compared with the same hours, and daily and weekly rhythm is no drift.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.core.drift.bins import BINS, MONDAY_S, SLOT_S, SLOTS
from detector.core.drift.law import freedom, psi

DAY_S = 86_400.0
HOURS = 24
HALF_LIFE_S = 28 * DAY_S
ACCEPTED_HALF_LIFE_S = 2 * DAY_S  # of a column whose drift has lasted long enough to be usual
COMPLETED = 256.0  # events of other hours that complete an hour's own at most


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
        self.high = np.zeros((columns, BINS))  # events among the most anomalous ones
        self.volume = np.zeros((SLOTS, 2))  # events, and hours of event time in which they came
        self.score = np.zeros((SLOTS, 2))  # sum of scores, and events

    def absorb(
        self,
        pane: NDArray[np.int32],
        high: NDArray[np.int64],
        quiet: NDArray[np.bool_],
        accepted: NDArray[np.bool_],
        age_s: float,
    ) -> None:
        """Take in a pane.

        Parameters
        ----------
        pane, high
            Counts (SLOTS, C, BINS) and (C, BINS).
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
        self.high *= kept[:, None]
        self.high += high * taken[:, None]

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
        if taken:
            self.volume *= kept
            self.volume += np.stack([scores[:, 1], hours], axis=1)

    def usual(self, slots: NDArray[np.int64]) -> Usual:
        """What is usual for a pane with so many events in each hour (SLOTS, C)."""
        totals = self.counts.sum(-1)  # (SLOTS, C)
        everything = self.counts.sum(0)
        overall = everything / np.maximum(everything.sum(-1, keepdims=True), 1.0)
        weights = slots / np.maximum(slots.sum(0), 1)
        shares = np.zeros_like(overall)
        spread = np.zeros(len(overall))
        for slot in np.flatnonzero(slots.any(axis=1)).tolist():
            hour = slice(slot % HOURS, None, HOURS)
            of_hour = self.counts[hour].sum(0)
            parent = _completed(of_hour, overall)
            own = _completed(self.counts[slot], parent.shares)
            shares += weights[slot][:, None] * own.shares
            spread += weights[slot] ** 2 / (totals[slot] + own.added)
        return Usual(shares, 1.0 / np.maximum(spread, 1e-12))

    def to_state(self) -> dict[str, Any]:
        return {name: getattr(self, name).copy() for name in _ARRAYS}

    def load(self, state: Mapping[str, Any]) -> None:
        for name in _ARRAYS:
            setattr(self, name, state[name])


_ARRAYS = ("counts", "high", "volume", "score")


class _Completed(NamedTuple):
    shares: NDArray[np.float64]  # (C, BINS)
    added: NDArray[np.float64]  # (C,) events of other hours in it


def _completed(counts: NDArray[np.float64], others: NDArray[np.float64]) -> _Completed:
    """Complete counts (C, BINS) of an hour by the shares of others.

    The more an hour differs from the others, beyond what its size explains, the fewer of them are added: as
    many events as would differ by chance as much as the hour does (the empirical rule of Bayes).
    """
    totals, free = counts.sum(-1), freedom(others)
    beyond = psi(counts, others) - free / np.maximum(totals, 1.0)
    added = np.clip(free / np.maximum(beyond, 1e-6), 1.0, COMPLETED)
    shares = (counts + added[:, None] * others) / (totals + added)[:, None]
    return _Completed(shares, added)


def completed_rates(table: NDArray[np.float64], prior: float) -> NDArray[np.float64]:
    """Quotients of a table (SLOTS, 2) by hour of the week, completed as shares are; (SLOTS,).

    Parameters
    ----------
    prior
        In the unit of the second column: so much of other hours completes an hour's own.
    """
    overall = table[:, 0].sum() / max(table[:, 1].sum(), 1e-9)
    hours = table.reshape(-1, HOURS, 2).sum(0)
    of_hour = (hours[:, 0] + prior * overall) / (hours[:, 1] + prior)
    parent = np.tile(of_hour, SLOTS // HOURS)
    rates: NDArray[np.float64] = (table[:, 0] + prior * parent) / (table[:, 1] + prior)
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
