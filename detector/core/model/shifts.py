"""Notices when the stream has changed, and tells a change of unit from any other change.

At each block's end, before anything learns from the block, two questions are asked:

    other unit?     A numeric's values in the block are distributed as in the core, only multiplied by one
                    factor: cents for euros, or a general rise of prices. Then everything fits again once
                    values are divided by it
    other stream?   Events are counted that lie beyond the trim. In a steady stream these are 5 %. A *run* are
                    blocks in a row with `RUN_SHARE` of them at least, measured by the trim with which it
                    began, because the one in force follows the events. After `LONG_RUN` events, or after
                    `SHORT_RUN` if nearly all of them lie beyond, the model begins again from the run

A burst of 1,000 anomalies in a row must not become normal: it lies in three blocks of 512, of which it is two
thirds. A step after which all events are strange needs up to 2,047 events, one in a part of them up to 3,071.

What was found waits for the barrier that follows at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.core.erasure import Counts, Erased, Keys, counted
from detector.core.features import Layout, Rows
from detector.core.model.calibration import Calibration

Doubles = NDArray[np.float64]

# Share of a block beyond the trim that belongs to a run: four times the usual one.
RUN_SHARE = 0.2
LONG_RUN = 2_560
SHORT_RUN, SHORT_RUN_SHARE = 1_536, 0.75
# Blocks that an other unit may be noticed late: the one with the change, the next one, and two for chance.
BLOCKS = 4
# A numeric is looked at closely if the share of its sizes above the core's median is so far from a half.
MEDIAN_MOVED = 0.2
# A smaller factor is nothing that profiles could not follow.
FACTOR_MIN = 1.5
# Largest difference between two distributions (Kolmogorov and Smirnov) that counts as none. The core ends at
# the trim quantile, .05; a sample of 512 differs by up to .06 (at 5 %).
DIFFERENCE_MAX = 0.1
# It must fall to this part when values are divided by the factor.
DIFFERENCE_LEFT = 1.0 / 3.0
KNOWN_MIN = 200  # values that say something
# Both ends of a distribution must have moved by this factor for a unit to follow another shift.
FOLLOWED_FROM = 4.0


class Before(NamedTuple):
    """What was known before a block."""

    time: float  # of its first event, s
    calibration: Mapping[str, Any] | None  # None: other parts of the score serve now
    population: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shift:
    """A change that was found."""

    rows: Rows  # events since it
    before: Before
    factors: Doubles | None  # (J,) of each numeric's unit; None: not explained by units

    def earlier(self, core: Rows) -> NDArray[np.bool_]:
        """Which events of the core are from before it."""
        return _earlier(core, self.before, self.rows)


def in_words(shift: Shift, layout: Layout) -> str:
    """What was found, for the log."""
    if shift.factors is None:
        return f"most events no longer fit: the model begins again from the last {len(shift.rows)} events"
    pairs = zip(layout.numerics, shift.factors.tolist(), strict=True)
    units = ", ".join(f"{place.name} x {factor:.4g}" for place, factor in pairs if factor != 1.0)
    return f"other units, everything else is as before: {units}"


class ShiftWatch:
    """See the module's text.

    Parameters
    ----------
    settled_events
        Events after the start, and after each new beginning, during which no other stream is noticed: a young
        model changes by itself.
    """

    def __init__(self, settled_events: int) -> None:
        self._settled_events = settled_events
        self.count = 0  # changes found, ever
        self.found: Shift | None = None  # waits for the barrier
        self.since = 0  # events since the start or the last new beginning
        self.comparable = 0  # events since the last change of any kind: their distances mean the same
        self._population = np.zeros(0, dtype=np.float32)  # as of the end of the last block
        self._middles = np.zeros(0)  # (J,) medians of sizes in the core, as of the last refit
        self._clear()

    def _clear(self) -> None:
        self._run: list[Rows] = []  # its blocks
        self._beyond = 0  # events of it
        self._yardstick = np.inf
        self._before: list[Before] = []  # of the last blocks

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
        """Watch a block, before anything but profiles learns from it.

        Parameters
        ----------
        rows
            The block's n events.
        distances : (n,) float64
        population
            What profiles know of all events, after the block.
        core
            Accepted events, as they were before the block.
        """
        self.since += len(rows)
        self.comparable += len(rows)
        if not self.settling:
            self._add(rows, distances, calibration.trim)
        self._before = [
            *self._before[1 - BLOCKS :],
            Before(float(rows.times[0]), calibration.to_state(), self._population),
        ]
        self._population = population
        moved = moved_columns(self._middles, rows.numerics)
        factors = np.ones(rows.numerics.shape[1])
        if len(moved):
            known = core.numerics[_earlier(core, self._before[0], rows)]
            factors[moved] = unit_factors(known[:, moved], rows.numerics[:, moved])
        if (factors != 1.0).any():
            self._find(rows, self._before[0], factors)
        elif self._run_long_enough():
            # The first block may be from both sides of the change.
            self._find(Rows.joined(self._run[1:]), self._before[0], None)

    def _add(self, rows: Rows, distances: Doubles, trim: float) -> None:
        """Let a block go on with the run, begin one, or end it."""
        if not self._run:
            self._yardstick = trim
        beyond = int((distances > self._yardstick).sum())
        if beyond < RUN_SHARE * len(rows):
            self._run, self._beyond = [], 0
        else:
            self._run.append(rows.copy())
            self._beyond += beyond

    def _run_long_enough(self) -> bool:
        events = sum(map(len, self._run))
        return events >= LONG_RUN or (events >= SHORT_RUN and self._beyond >= SHORT_RUN_SHARE * events)

    def _find(self, rows: Rows, before: Before, factors: Doubles | None) -> None:
        self.count += 1
        self.found = Shift(rows=rows, before=before, factors=factors)

    def take(self) -> Shift | None:
        """What was found since the last barrier; the watch begins anew after it."""
        found, self.found = self.found, None
        if found is not None:
            self._clear()
            self.comparable = 0
            if found.factors is None:
                self.since = 0
        return found

    def held(self, entities: Keys) -> Counts:
        """Rows of the entities in a run."""
        zero = np.zeros(len(entities), dtype=np.int64)
        return {"events": sum((counted(entities, rows.main()) for rows in self._run), zero)}

    def erase(self, erased: Erased) -> None:
        """Drop these rows: the run is shorter then."""
        self._run = [rows.take(np.flatnonzero(~np.isin(rows.main(), erased.entities))) for rows in self._run]

    def refitted(self, core: Rows) -> None:
        """Other parts of the score serve from here on, fitted to this core; old counts are of no use."""
        self._middles = middles_of(core.numerics)
        self._before = [before._replace(calibration=None) for before in self._before]

    def to_state(self) -> dict[str, Any]:
        """State right after a barrier."""
        assert self.found is None
        return {
            "count": self.count,
            "since": self.since,
            "comparable": self.comparable,
            "beyond": self._beyond,
            "yardstick": self._yardstick if np.isfinite(self._yardstick) else None,
            "run": {f"{i:03d}": rows.to_state() for i, rows in enumerate(self._run)},
            "population": self._population,
            "middles": self._middles,
            "before": {
                f"{i:03d}": {
                    "time": before.time,
                    "calibration": before.calibration or {},
                    "population": before.population,
                }
                for i, before in enumerate(self._before)
            },
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self.count, self.since, self._beyond = state["count"], state["since"], state["beyond"]
        self.comparable = state["comparable"]
        self._yardstick = np.inf if state["yardstick"] is None else state["yardstick"]
        self._run = [Rows.from_state(rows) for _, rows in sorted(state["run"].items())]
        self._population, self._middles = state["population"], state["middles"]
        self._before = [
            Before(before["time"], before["calibration"] or None, before["population"])
            for _, before in sorted(state["before"].items())
        ]


def _earlier(core: Rows, before: Before, rows: Rows) -> NDArray[np.bool_]:
    """Which events of the core came before the last blocks, which end with `rows`.

    Those of a model file are from another stream, whose clock may be ahead of these.
    """
    earlier: NDArray[np.bool_] = (core.times < before.time) | (core.times > rows.times.max())
    return earlier


def middles_of(values: Doubles) -> Doubles:
    """Median of the sizes of each numeric, (J,), of (n, J) scaled values; NaN: too few are known."""
    middles = np.full(values.shape[1], np.nan)
    for column in range(values.shape[1]):
        sizes = _sizes(values[:, column])
        if len(sizes) >= KNOWN_MIN:
            middles[column] = np.median(sizes)
    return middles


def moved_columns(middles: Doubles, after: Doubles) -> NDArray[np.int64]:
    """Numerics whose sizes, of (n, J) scaled values, lie mostly on one side of their former middle."""
    if not len(middles):
        return np.zeros(0, dtype=np.int64)
    sizes = np.abs(after)
    known = (sizes > 0.0).sum(axis=0)
    above = (sizes > middles).sum(axis=0) / np.maximum(known, 1)
    return np.flatnonzero((known >= KNOWN_MIN) & (np.abs(above - 0.5) >= MEDIAN_MOVED) & (middles > 0.0))


def unit_factors(before: Doubles, after: Doubles) -> Doubles:
    """Factor of each numeric's unit, (J,), given as scaled values (m, J) and (n, J); 1: the same unit.

    A factor is believed if dividing by it makes the second distribution like the first one. So a burst of
    similar events, or a change in a part of the events, is none.
    """
    factors = np.ones(before.shape[1])
    for column in range(before.shape[1]):
        old, new = (values[~np.isnan(values[:, column]), column] for values in (before, after))
        sizes = _sizes(old), _sizes(new)
        if min(map(len, sizes)) < KNOWN_MIN:
            continue
        factor = float(_values(np.median(sizes[1])) / _values(np.median(sizes[0])))
        if max(factor, 1.0 / factor) < FACTOR_MIN:
            continue
        old, new = _values(old), _values(new)
        difference = difference_of(old, new / factor)
        if difference <= DIFFERENCE_MAX and difference <= DIFFERENCE_LEFT * difference_of(old, new):
            factors[column] = factor
    return factors


def _sizes(scaled: Doubles) -> Doubles:
    """Sizes of the values that are known and not 0."""
    sizes = np.abs(scaled)
    return sizes[sizes > 0.0]  # NaN is not


def _values(scaled: Any) -> Any:
    """Undo the scale of rows, up to the unit."""
    return np.sinh(np.clip(scaled, -300.0, 300.0))


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
            np.abs(_values(values[~np.isnan(values[:, column]), column])) for values in (before, after)
        )
        if min(len(old), len(new)) < KNOWN_MIN:
            continue
        middle, end = ((float(np.quantile(old, q)), float(np.quantile(new, q))) for q in (0.5, 0.95))
        ratios = [now / max(then, 1e-300) for then, now in (middle, end)]
        if min(ratios) >= FOLLOWED_FROM or 0.0 < max(ratios) <= 1.0 / FOLLOWED_FROM:
            factors[column] = ratios[1] if end[0] > 0.0 else end[1]  # after zeros as in `Units.read`
    return factors
