"""Notices when most events no longer fit the model, and tells a change of unit from any other change.

At each block's end, before anything learns from the block, events are counted that lie beyond the trim. In a
steady stream these are 5 %. The count less `ALLOWED` of the events is summed, never below 0 (a CUSUM; Page,
"Continuous inspection schemes", 1954). While the sum is above 0 there is a *suspicion*: the trim that it began
with is kept as the yardstick, because the one in force follows the events, and the events since are kept.

    sum >= UNIT_FROM     a numeric whose distribution is the core's, only multiplied by one factor, has another
                         unit (cents for euros). Events since then fit once values are divided by it
    sum >= SHIFT_FROM    the stream is another one. The model begins again from the events since the change

A burst of 1,000 anomalies in a row sums up to at most 850, and must not become normal. A step after which all
events are strange needs 1,294 events; one after which half of them are, about 3,000.

A suspicion ends when the sum returns to 0. What was found waits for the barrier that follows at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.features import Rows
from detector.core.model.calibration import Calibration

Doubles = NDArray[np.float64]

# Share of events beyond the trim that is no reason for suspicion: three times the usual one.
ALLOWED = 0.15
UNIT_FROM = 200.0
SHIFT_FROM = 1_100.0
# Latest events of a suspicion that are kept.
KEPT_MAX = 4_096
# A smaller factor is a change of prices, not of units; profiles follow it.
FACTOR_MIN = 1.5
# Largest difference between two distributions (Kolmogorov and Smirnov) that counts as none. The core ends at
# the trim quantile, .05; two samples of 512 differ by up to .085 (at 5 %).
DIFFERENCE_MAX = 0.15
# It must fall to this part when values are divided by the factor.
DIFFERENCE_LEFT = 0.5
KNOWN_MIN = 200  # values, and events, that say something
NEVER = 1 << 62


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shift:
    """A change that was found."""

    rows: Rows  # events since it, at most KEPT_MAX
    since: float  # event time of the first of them, s
    factors: Doubles | None  # (J,) of each numeric's unit; None: not explained by units
    calibration: Mapping[str, Any] | None  # state before it; None: other parts of the score serve now
    population: NDArray[np.float32]  # what profiles knew of all events before it


class ShiftWatch:
    """See the module's text.

    Parameters
    ----------
    settled_events
        Events after the start, and after each new beginning, until which nothing is watched: a young model
        changes by itself.
    """

    def __init__(self, settled_events: int) -> None:
        self._settled_events = settled_events
        self.count = 0  # changes found, ever
        self.found: Shift | None = None  # waits for the barrier
        self.since = 0  # events since the start or the last new beginning
        self._population = np.zeros(0, dtype=np.float32)  # as of the end of the last block
        self._clear()

    def _clear(self) -> None:
        self._sum = 0.0
        self._yardstick = np.inf
        self._kept: list[Rows] = []
        self._calibration: Mapping[str, Any] | None = None
        self._before = self._population

    @property
    def settling(self) -> bool:
        """Whether the model is still young."""
        return self.since < self._settled_events

    def learn(
        self,
        rows: Rows,
        distances: Doubles,
        calibration: Calibration,
        population: NDArray[np.float32],
        core: Rows,
    ) -> None:
        """Watch a block, before anything learns from it.

        Parameters
        ----------
        rows
            The block's n events.
        distances : (n,) float64
        population
            What profiles know of all events.
        core
            Accepted events, as they were before the block.
        """
        settled = not self.settling
        self.since += len(rows)
        if settled:
            self._watch(rows, distances, calibration, core)
        self._population = population

    def _watch(self, rows: Rows, distances: Doubles, calibration: Calibration, core: Rows) -> None:
        yardstick = self._yardstick if self._sum > 0.0 else calibration.trim
        beyond = int((distances > yardstick).sum())
        total = self._sum + beyond - ALLOWED * len(rows)
        if total <= 0.0:
            self._clear()
            return
        if self._sum == 0.0:
            self._yardstick, self._before = yardstick, self._population
            self._calibration = calibration.to_state()
        self._sum = total
        self._kept.append(rows.copy())
        while sum(map(len, self._kept)) - len(self._kept[0]) >= KEPT_MAX:
            self._kept.pop(0)
        if total >= UNIT_FROM:
            self._judge(core)

    def _judge(self, core: Rows) -> None:
        rows = Rows.joined(self._kept)
        factors = unit_factors(core.numerics[core.times < rows.times[0]], rows.numerics)
        if not (factors != 1.0).any():
            if self._sum < SHIFT_FROM:
                return
            factors = None
        self.count += 1
        self.found = Shift(
            rows=rows,
            since=float(rows.times[0]),
            factors=factors,
            calibration=self._calibration,
            population=self._before,
        )

    def take(self) -> Shift | None:
        """What was found since the last barrier; the watch begins anew after it."""
        found, self.found = self.found, None
        if found is not None:
            self._clear()
            if found.factors is None:
                self.since = 0
        return found

    def refitted(self) -> None:
        """Other parts of the score serve from here on: what was counted with the old ones is of no use."""
        self._calibration = None

    def to_state(self) -> dict[str, Any]:
        """State right after a barrier."""
        assert self.found is None
        suspicion: dict[str, Any] = {}
        if self._sum > 0.0:
            suspicion = {
                "yardstick": self._yardstick,
                "rows": Rows.joined(self._kept).to_state(),
                "pieces": [len(rows) for rows in self._kept],
                "calibration": self._calibration or {},
                "population": self._before,
            }
        return {
            "count": self.count,
            "since": self.since,
            "sum": self._sum,
            "population": self._population,
            "suspicion": suspicion,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self.count, self.since, self._population = state["count"], state["since"], state["population"]
        self._clear()
        self._sum = state["sum"]
        if self._sum > 0.0:
            suspicion = state["suspicion"]
            self._yardstick, self._before = suspicion["yardstick"], suspicion["population"]
            self._calibration = suspicion["calibration"] or None
            rows, ends = Rows.from_state(suspicion["rows"]), np.cumsum(suspicion["pieces"]).tolist()
            self._kept = [
                rows.take(slice(end - length, end))
                for end, length in zip(ends, suspicion["pieces"], strict=True)
            ]


def unit_factors(before: Doubles, after: Doubles) -> Doubles:
    """Factor of each numeric's unit, (J,), given as scaled values (m, J) and (n, J); 1: the same unit.

    A factor is believed if dividing by it makes the second distribution like the first one. So a burst of
    similar events, or a change in a part of the events, is none.
    """
    factors = np.ones(before.shape[1])
    for column in range(before.shape[1]):
        old, new = (values[~np.isnan(values[:, column]), column] for values in (before, after))
        old, new = np.sinh(np.clip(old, -300, 300)), np.sinh(np.clip(new, -300, 300))
        sizes = [np.abs(values[values != 0.0]) for values in (old, new)]
        if min(map(len, sizes)) < KNOWN_MIN:
            continue
        factor = float(np.median(sizes[1]) / np.median(sizes[0]))
        if max(factor, 1.0 / factor) < FACTOR_MIN:
            continue
        difference = difference_of(old, new / factor)
        if difference <= DIFFERENCE_MAX and difference <= DIFFERENCE_LEFT * difference_of(old, new):
            factors[column] = factor
    return factors


def difference_of(one: Doubles, other: Doubles) -> float:
    """Largest difference between the distributions of (m,) and (n,) values (Kolmogorov and Smirnov)."""
    one, other = np.sort(one), np.sort(other)
    places = np.concatenate([one, other])
    shares = [np.searchsorted(values, places, side="right") / len(values) for values in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def moved_units(before: Doubles, after: Doubles, units: Doubles) -> Doubles:
    """Factors (J,) by which units must follow a shift, given as scaled values (m, J) and (n, J).

    A unit follows if the middle and the upper end of the sizes moved the same way, by `FOLLOWED_FROM` at
    least. Where only a part of the events moved, the logarithmic scale has room for them.
    """
    factors = np.ones(len(units))
    for column in range(len(units)):
        old, new = (
            np.abs(np.sinh(np.clip(values[~np.isnan(values[:, column]), column], -300, 300)))
            for values in (before, after)
        )
        if min(len(old), len(new)) < KNOWN_MIN:
            continue
        ratios = [float(np.quantile(new, q)) / max(float(np.quantile(old, q)), 1e-300) for q in (0.5, 0.95)]
        if min(ratios) >= FOLLOWED_FROM or 0.0 < max(ratios) <= 1.0 / FOLLOWED_FROM:
            factors[column] = ratios[1]
    return factors


FOLLOWED_FROM = 4.0
