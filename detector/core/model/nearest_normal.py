"""Mean distance to the nearest core events, found through the index.

It needs no shape of normal, and no event stands for others: what matters is whether the same was seen before.
The index is HNSW once the core has thousands of distinct events. Then it follows the core from barrier to
barrier: events that entered are added, events that left are removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Index as IndexConfig
from detector.core.model.index import ChangingIndex

Points = NDArray[np.float32]

NEIGHBOURS = 4
# Core events whose true neighbours are searched at each refit.
PROBES = 256


class NearestNormal:
    """The core's points, to be searched."""

    def __init__(self, config: IndexConfig) -> None:
        self._config = config
        self._index = ChangingIndex(config)

    @property
    def approximate(self) -> bool:
        """Whether HNSW answers."""
        return self._index.approximate

    def emptied(self) -> NearestNormal:
        """One that has no points, to be fitted before it is searched."""
        return NearestNormal(self._config)

    def fit(self, points: Points, probes: Points, *, afresh: bool) -> None:
        """Take core events (n, D), without missing values.

        Parameters
        ----------
        probes : (m, D) float32
            Other core events; evenly spread ones of these choose how widely the graph is searched.
        afresh
            Whether points mean something else than those of the fit before: the scale of a column moved.
        """
        probes = probes[:: -(-len(probes) // PROBES) or 1]
        self._index = self._index.changed_to(points, probes, NEIGHBOURS, afresh=afresh)

    def distances(self, points: Points) -> NDArray[np.float64]:
        """Distances (n,) of events (n, D), without missing values."""
        return self._index.mean_distances(points, NEIGHBOURS)

    def gauges(self) -> dict[str, float]:
        """Numbers for the metrics."""
        index = self._index
        return {
            "index_vectors": float(len(index)),
            "index_recall": index.recall,
            "index_deleted": index.deleted,
        }

    def to_state(self) -> dict[str, Any]:
        return self._index.to_state()

    def load(self, state: Mapping[str, Any]) -> None:
        self._index.load(state)
