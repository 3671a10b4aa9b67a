"""Normal of any shape: several descriptions of the core, side by side.

Columns of the part, with their weights:

    nearest               distance to the nearest core events of all (`nearest_normal`)
    groups of 16, 64      distance to the nearest core event in random groups of that size (`nearest_groups`)
    grids                 emptiness of cells in random grids over random columns (`grids`)
    histograms, tails     surprise of each column by itself (`histograms`, `tails`), half each
    centre                distance to the median, where it earns a weight

The centre earns its weight where normal has one peak: there, it orders core events as the nearest of small
groups do, and it describes better what lies far out. Where normal has several peaks or a bend, it is
misleading (docs/explanation/experiments.md).

They see numerics and surprises of categories on one scale (`scaling`). None of them assumes that normal has
one centre. The part is for streams without entities; with entities, how far an event lies from an entity's
own habits says more (docs/explanation/experiments.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from detector.core.features import Layout, Rows
from detector.core.model.calibration import Limit
from detector.core.model.clusters import Core
from detector.core.model.grids import Grids
from detector.core.model.histograms import Histograms
from detector.core.model.nearest_groups import NearestGroups
from detector.core.model.nearest_normal import NearestNormal
from detector.core.model.scaling import Scaling
from detector.core.model.score_part import Fit, PartSetup, ScorePart
from detector.core.model.tails import Tails

GROUP_SIZES = (16, 64)
WEIGHTS = (1.0, *(1.0 for _ in GROUP_SIZES), 1.0, 0.5, 0.5)
# The centre's weight grows from 0 to this while the rank correlation grows from the first to the second.
CENTRE_WEIGHT = 5.0
AGREEMENT = 0.9, 0.95
# Core events are near to themselves. So at most every other one is measured, and those are not fitted to.
# Otherwise accepted events come out too far while the core is small: up to 7 % of them above quantile .99.
HELD_OUT = 2


def shape_decides(layout: Layout) -> bool:
    """Whether the score of a schema comes from the shape of normal: it has numerics and no entities."""
    return bool(layout.numerics) and not layout.entities


class ShapePart(ScorePart):
    """See the module's text."""

    name: ClassVar[str] = "shape"
    columns = len(WEIGHTS) + 1
    limit = Limit.LOGARITHM
    held_out = HELD_OUT

    def __init__(self, setup: PartSetup) -> None:
        numerics, memory = len(setup.layout.numerics), setup.config.calibration.memory_events
        self._scaling = Scaling(setup.features, numerics, memory)
        self._nearest = NearestNormal(setup.config.index)
        self._groups = [NearestGroups(size) for size in GROUP_SIZES]
        self._grids, self._histograms, self._tails = Grids(), Histograms(), Tails()
        self._agreement = 0.0  # rank correlation, over the core, of the centre with the smallest groups

    @property
    def shares(self) -> tuple[float, ...]:
        """How its columns share its weight, (C,), as of the last refit."""
        low, high = AGREEMENT
        earned = min(max((self._agreement - low) / (high - low), 0.0), 1.0)
        weights = (*WEIGHTS, CENTRE_WEIGHT * earned)
        return tuple(weight / sum(weights) for weight in weights)

    @classmethod
    def make(cls, setup: PartSetup) -> Self | None:
        """None where the shape of normal does not decide."""
        return cls(setup) if shape_decides(setup.layout) else None

    def distances(self, rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        points = self._scaling.points(rows, inputs)
        filled = _filled(points)
        found = [self._nearest.distances(filled), *(groups.distances(filled) for groups in self._groups)]
        found += [self._grids.distances(filled), self._histograms.distances(points)]
        return np.stack([*found, self._tails.distances(points), _from_centre(filled)], axis=1)

    def learn(self, rows: Rows, inputs: NDArray[np.float32], ordinary: NDArray[np.bool_]) -> None:
        self._scaling.learn(rows)

    def forget(self) -> None:
        self._scaling.forget()

    def copy(self) -> Self:
        other = copy(self)
        other._scaling = self._scaling.copy()
        other._nearest = copy(self._nearest)
        other._groups = [copy(groups) for groups in self._groups]
        other._grids, other._histograms, other._tails = Grids(), Histograms(), Tails()
        return other

    def refit(self, fit: Fit) -> None:
        keep = self._nearest.approximate  # a graph serves longer if its points stay
        moved = self._scaling.fit(fit.sample.rows, fit.inputs, keep=keep)
        points = self._scaling.points(fit.sample.rows, fit.inputs)
        measured = _filled(points[fit.measured])
        points = points[fit.fitted]
        filled = _filled(points)
        self._nearest.fit(filled, measured, afresh=moved)
        for groups in self._groups:
            groups.fit(filled, fit.rng)
        self._grids.fit(filled, fit.rng)
        self._histograms.fit(points)
        self._tails.fit(points)
        self._agreement = _rank_correlation(self._groups[0].distances(measured), _from_centre(measured))

    def succeed(self, before: Self, core: Core) -> None:
        self._scaling.count_as(before._scaling)

    @property
    def searches(self) -> tuple[bool, ...]:
        return (self._nearest.approximate,)

    def gauges(self) -> dict[str, float]:
        return self._nearest.gauges()

    def to_state(self) -> dict[str, Any]:
        return {
            "scaling": self._scaling.to_state(),
            "nearest": self._nearest.to_state(),
            "groups": {
                str(size): groups.to_state() for size, groups in zip(GROUP_SIZES, self._groups, strict=True)
            },
            "grids": self._grids.to_state(),
            "histograms": self._histograms.to_state(),
            "tails": self._tails.to_state(),
            "agreement": self._agreement,
        }

    def load(self, state: Mapping[str, Any], core: Core) -> None:
        self._scaling.load(state["scaling"])
        self._nearest.load(state["nearest"])
        for size, groups in zip(GROUP_SIZES, self._groups, strict=True):
            groups.load(state["groups"][str(size)])
        self._grids.load(state["grids"])
        self._histograms.load(state["histograms"])
        self._tails.load(state["tails"])
        self._agreement = state["agreement"]


def _filled(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points with missing values at the median, 0."""
    filled: NDArray[np.float32] = np.where(np.isnan(points), np.float32(0.0), points)
    return filled


def _from_centre(filled: NDArray[np.float32]) -> NDArray[np.float64]:
    """Root mean square of the columns, (n,)."""
    distances: NDArray[np.float64] = np.sqrt(np.square(filled, dtype=np.float64).mean(axis=1))
    return distances


def _rank_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Spearman's, of two distances (n,); ties count in their order. 0 for fewer than two events."""
    if len(one) < 2:
        return 0.0
    first, second = (
        np.argsort(np.argsort(distances, kind="stable")).astype(np.float64) for distances in (one, other)
    )
    middle = (len(one) - 1) / 2.0
    return float(((first - middle) * (second - middle)).sum() / np.square(first - middle).sum())
