"""Profiles of all kinds of keys, and what they say of the population as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Features as FeaturesConfig
from detector.core.features import feature_kernels
from detector.core.features.habits import Habits
from detector.core.features.layout import Layout
from detector.core.features.profile_table import ProfileTable
from detector.core.features.rows import Rows


class Profiles:
    """One table for each kind of key.

    `observe` must see events in log order; `reserve` may only be called at the beginning of a block.
    """

    def __init__(self, layout: Layout, config: FeaturesConfig) -> None:
        self._layout = layout
        self._tables = []
        for kind in layout.kinds:
            half_lives = layout.half_lives_of(kind)
            keys_max = config.pairs_max if kind.right is not None else config.entities_max
            self._tables.append(ProfileTable(half_lives, kind.numerics, keys_max, config.clip_spreads))
        self._habits = Habits(layout, config)
        self._priors = np.ones((2, len(layout.numerics)))  # variances: upper, then lower

    def __len__(self) -> int:
        """Profiles held, of all kinds."""
        return sum(len(table) for table in self._tables) + len(self._habits)

    def reserve(self, events: int) -> None:
        """Make room for a block."""
        for table in self._tables:
            table.reserve(events)
        self._habits.reserve(events)

    def observe(self, rows: Rows) -> None:
        """Fill `rows.context` and learn from the rows, one after another."""
        keys = rows.keys()
        everything = np.ones(len(rows), dtype=np.uint64)
        for kind, table in zip(self._layout.kinds, self._tables, strict=True):
            if kind.left is None:
                key = everything
            elif kind.right is None:
                key = keys[:, kind.left]
            else:
                key = _mix(keys[:, kind.left], keys[:, kind.right])
            values = rows.numerics[:, : kind.numerics]
            if kind.left is not None and kind.numerics:
                values = values - population_shift(rows.context, self._layout)[:, : kind.numerics]
            table.observe(
                key,
                rows.times,
                values,
                self._priors[:, : kind.numerics].ravel(),
                rows.context[:, kind.columns],
            )
        self._habits.observe(rows)

    def update_priors(self, rows: Rows) -> None:
        """Take the population's variances as seen by the block's last row; profiles are shrunk to them."""
        if self._priors.size:
            variances = population_variances(rows.context[-1:], self._layout)[0]
            self._priors = variances.astype(np.float64).reshape(2, -1)

    def to_state(self) -> dict[str, Any]:
        tables = {f"{i:03d}": table.to_state() for i, table in enumerate(self._tables)}
        return {"priors": self._priors.copy(), "tables": tables, "habits": self._habits.to_state()}

    def load(self, state: Mapping[str, Any]) -> None:
        self._priors = state["priors"]
        for i, table in enumerate(self._tables):
            table.load(state["tables"][f"{i:03d}"])
        self._habits.load(state["habits"])


def population_variances(context: NDArray[np.float32], layout: Layout) -> NDArray[np.float32]:
    """Variances of the numerics of all events in the longest memory, (n, 2 J): upper, then lower.

    They are 1 before there is history.
    """
    variances = np.empty((len(context), 2 * len(layout.numerics)), dtype=np.float32)
    feature_kernels.variances(context, *layout.population.variances, variances)
    return variances


def explained_shares(rows: Rows, layout: Layout) -> NDArray[np.float64]:
    """Share of each numeric's variance explained by an entity's mean as known before the event, (E, J).

    Means are those of the longest memory; only rows whose key had a history count. The share is 0 without
    such rows, and where the mean predicts worse than the average of all, as with short histories.
    """
    numerics = len(layout.numerics)
    shares = np.zeros((len(layout.entities), numerics))
    level = rows.numerics - population_shift(rows.context, layout)
    for share, kind in zip(shares, layout.kinds[1:], strict=False):
        weight = rows.context[:, kind.count(-1)]
        for j in range(numerics):
            mean = rows.context[:, kind.mean(-1, j)]
            known = (weight > 0) & ~np.isnan(mean + level[:, j])
            values = level[known, j]
            left = np.square(values - mean[known]).sum()
            total = np.square(values - values.mean()).sum() if len(values) else 0.0
            share[j] = max(0.0, 1.0 - left / total) if total > 0.0 else 0.0
    return shares


def variance_explained(rows: Rows, layout: Layout, numeric: int) -> dict[int, float]:
    """Share of a numeric's variance explained by the mean of each category, as known before the event.

    By the category's column among all keys. Rows whose category was never seen do not count.
    """
    level = rows.numerics[:, numeric] - population_shift(rows.context, layout)[:, numeric]
    found: dict[int, float] = {}
    for key in range(len(layout.entities), len(layout.entities) + len(layout.categories)):
        mean = rows.context[:, layout.kind_of(key).mean(-1, numeric)]
        known = ~np.isnan(mean + level)
        values = level[known]
        total = np.square(values - values.mean()).sum() if len(values) else 0.0
        left = np.square(values - mean[known]).sum()
        found[key] = max(0.0, 1.0 - left / total) if total > 0.0 else 0.0
    return found


def population_shift(context: NDArray[np.float32], layout: Layout) -> NDArray[np.float64]:
    """Recent change of the population's means, (n, J): mean in the shortest less mean in the longest memory.

    Entities' profiles learn values less this shift. When all prices rise, no customer's habits have changed,
    and few customers pay often enough for their profiles to learn a new level within days. As the long memory
    follows, the shift returns to 0 and the profiles take over at their own pace.
    """
    shift = np.empty((len(context), len(layout.numerics)))
    feature_kernels.shifts(context, layout.population.means, shift)
    return shift


def _mix(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Combine two keys into one (finalizer of SplitMix64, Steele 2014); 0 if one of them is missing."""
    z = left * np.uint64(0x9E3779B97F4A7C15) + right
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.where((left == 0) | (right == 0), np.uint64(0), np.maximum(z, np.uint64(1)))
