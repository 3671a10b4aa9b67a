"""Which of the columns of habits tell something, as the core shows.

Each column compares an event with something that could be known of it beforehand. Where that explains nothing
of the core's own events, a deviation from it means nothing either.

    hours, days, zeros, categories   by what the key's own shares tell beyond everybody's, in nats. How round
                                     amounts are is known of the main entity and of each category: only the
                                     key that tells most counts
    amounts by category              by the variance that the means of a category explain. Only the category
                                     that explains most counts, alone and in pairs with the main entity. One
                                     that is constant for each key of the main entity does not: its means are
                                     those of a few keys, and say what the keys' own means say
    others                           in full
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detector.core.features import (
    CONSTANT_FROM,
    Column,
    Layout,
    Rows,
    explained_surprises,
    share_gains,
    variance_explained,
)

# A column that tells this much counts in full, one that tells nothing not at all.
GAIN_FULL = 0.1
EXPLAINED_MIN = 0.02
# Fewer rows tell nothing; then all columns count.
ROWS_MIN = 256


class Useful:
    """Weights of columns.

    Parameters
    ----------
    columns
        U columns.
    """

    def __init__(self, layout: Layout, columns: Sequence[Column]) -> None:
        self._layout = layout
        self._columns = columns

    def weights(self, rows: Rows) -> NDArray[np.float64]:
        """Weights (U,), in [0, 1], by rows of the core."""
        weights = np.ones(len(self._columns))
        if len(rows) < ROWS_MIN:
            return weights
        gains = self._gains(rows)
        best = self._best_categories(rows)
        for place, column in enumerate(self._columns):
            if column.source == "ratio":
                assert column.kind is not None
                key = column.kind.left if column.kind.right is None else column.kind.right
                weights[place] = float(best.get(column.place) == key)
            elif column.name in gains:
                weights[place] = min(max(gains[column.name] / GAIN_FULL, 0.0), 1.0)
        return weights

    def _gains(self, rows: Rows) -> dict[str, float]:
        """What shares tell, by column; of how round amounts are, 0 but for the key that tells most."""
        gains = share_gains(rows, self._layout)
        zeros = [h for h in self._layout.habits if h.name == "zeros" and h.key is not None]
        told = {name: gains[name] for name in map(self._layout.surprise_of, zeros)}
        most = max(told.values(), default=0.0)
        return gains | {name: gain if gain == most else 0.0 for name, gain in told.items()}

    def _best_categories(self, rows: Rows) -> dict[int, int]:
        """Key of the category that explains most of each numeric, where one explains enough."""
        found: dict[int, int] = {}
        entities = len(self._layout.entities)
        varied = explained_surprises(rows, self._layout) < CONSTANT_FROM
        for numeric in {c.place for c in self._columns if c.source == "ratio"}:
            explained = variance_explained(rows, self._layout, numeric)
            explained = {key: share for key, share in explained.items() if varied[key - entities]}
            key = max(explained, key=lambda key: explained[key], default=-1)
            if key >= 0 and explained[key] >= EXPLAINED_MIN:
                found[numeric] = key
        return found
