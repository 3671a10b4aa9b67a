"""Severity: bands of rarity that hold their share of the alerts, however old the model is.

An alert's *excess* is its score less the score that the budget's share of all events reaches. Its *rarity*
is the share of the last `MEMORY` alerts whose excess is at least as high. A score of 1 more is ten times as
rare, so `PRIOR` imagined alerts, a tenth of which has an excess of 1, a hundredth one of 2, stand for those
that a young shard has not seen yet.

A band has the alerts whose rarity is at most its share (`alerts.severity`, with those of the bands above it).
The share in force follows what the band is *owed*: its share of all alerts so far less those it got. With as
much as its *limit* it gets the next alert, with as little as the negative limit it gets none, and in between

    share in force = share ** (1 - owed / limit)
    limit          = OWED_MAX * max(1, sqrt(share / SHARE)), and WEEK_SHARE of its alerts of a week at least

So in any run of alerts each band has its share of them, give or take 2 * limit + 1. Chance moves a number of
alerts by its root: a band with more of them may owe more. And what may move is the share of a week: where
there are many alerts, the score decides nearly alone. Scores may mean something else after labels, shifts or
years; the share of critical alerts does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Alerts as AlertsConfig

SEVERITIES = ("low", "medium", "high", "critical")
MEMORY = 64  # alerts; more say what was usual, not what is
PRIOR = 16.0  # imagined alerts; as many as tell a share of a tenth within a factor of two
OWED_MAX = 1.1  # alerts; with it no share moves by more than a factor of 1.5 between weeks of 70 alerts
SHARE = 0.1  # of a band whose limit that is; no limit is smaller
WEEK_SHARE = 0.07


class Severity:
    """Ranks alerts of one shard, as numbers of SEVERITIES."""

    def __init__(self, config: AlertsConfig) -> None:
        bands = config.severity
        self._shares = np.cumsum([bands.critical, bands.high, bands.medium])[::-1]  # of medium and above ...
        self._owed = np.zeros(len(self._shares))
        self._excesses: NDArray[np.float64] = np.zeros(0)  # of the last alerts, the oldest first
        self._base = 0.0  # score that the budget's share of events reaches
        self._per_week = 0.0  # alerts

    def follow(self, base: float, per_week: float = 0.0) -> None:
        """Set the score that the budget's share of events reaches, and the alerts of a week."""
        self._base, self._per_week = base, per_week

    @property
    def limits(self) -> NDArray[np.float64]:
        """Alerts that each band, from medium and above, may be owed."""
        few = OWED_MAX * np.sqrt(np.maximum(self._shares / SHARE, 1.0))
        return np.maximum(few, WEEK_SHARE * self._shares * self._per_week)

    def excess(self, score: float) -> float:
        """How far a score is above the one that the budget's share of events reaches."""
        return score - self._base

    def rank(self, score: float) -> int:
        """Rank of an alert with this score, if it were the next one."""
        limits = self.limits
        shares = self._shares ** (1.0 - self._owed / limits)
        reached = (self.rarity(score) <= shares) & (self._owed - 1.0 >= -limits)
        return int(np.flatnonzero(reached)[-1]) + 1 if reached.any() else 0

    def fitting(self, rarity: float) -> int:
        """Rank of a rarity where no band is owed anything."""
        return int(np.count_nonzero(rarity <= self._shares))

    def rarity(self, score: float) -> float:
        """Share of alerts that are at least as far above the usual threshold, 0 to 1."""
        excess = self.excess(score)
        imagined = PRIOR * 10.0 ** -max(excess, 0.0)
        seen = int(np.count_nonzero(self._excesses >= excess))
        return float((imagined + seen) / (PRIOR + len(self._excesses)))

    def note(self, score: float, rank: int) -> None:
        """Count an alert that was published for its score."""
        self._excesses = np.append(self._excesses, self.excess(score))[-MEMORY:]
        self._owed += self._shares
        self._owed[:rank] -= 1.0

    def to_state(self) -> dict[str, Any]:
        """State, as copies."""
        return {
            "owed": self._owed.copy(),
            "excesses": self._excesses.copy(),
            "base": self._base,
            "per_week": self._per_week,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self._owed, self._excesses = state["owed"].copy(), state["excesses"].copy()
        self._base, self._per_week = state["base"], state["per_week"]
