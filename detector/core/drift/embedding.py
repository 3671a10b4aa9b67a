"""Where events lie in the embedding, against the clusters of normal events.

The served encoder changes at barriers, so what is usual is not remembered: it is read from the clusters,
which say where the core's events are in the same version of the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

GROUPS = 10  # clusters are joined to so many groups of about equal mass
SAMPLE = 128  # events of a block that are embedded
EVENTS_MIN = 16


class Placed(NamedTuple):
    """n events and K clusters in an embedding of D dimensions."""

    embedded: NDArray[np.float32]  # (n, D)
    nearest: NDArray[np.int64]  # (n,) cluster of each event
    distances: NDArray[np.float32]  # (n,) to its centre
    centres: NDArray[np.float32]  # (K, D)
    sizes: NDArray[np.int64]  # (K,) core events in each
    radii: NDArray[np.float32]  # (K,) root mean square distance of these to the centre


def measures(placed: Placed) -> Mapping[str, float]:
    """Measures of one sample.

    Returns
    -------
    dict
        mean_shift: distance of the mean from that of the core, in spreads of the core.
        mass_shift: mass that would have to move between clusters, 0 to 1.
        effective_rank: number of directions in which the events vary (Roy and Vetterli 2007).
        distance: median distance to the nearest cluster, in radii of clusters.
    """
    if len(placed.embedded) < EVENTS_MIN or not placed.sizes.sum():
        return {}
    points, centres = placed.embedded.astype(np.float64), placed.centres.astype(np.float64)
    weights = placed.sizes / placed.sizes.sum()
    mean = weights @ centres
    inside = weights @ placed.radii.astype(np.float64) ** 2
    spread = np.sqrt(max(inside + weights @ np.square(centres - mean).sum(1), 1e-12))
    parts = np.maximum(np.linalg.eigvalsh(np.cov(points.T)), 0.0)
    shares = parts / max(parts.sum(), 1e-12)
    entropy = -float(np.sum(shares * np.log(np.maximum(shares, 1e-12))))
    order = np.argsort(-weights, kind="stable")
    group = np.empty(len(weights), dtype=np.int64)
    before = np.cumsum(weights[order]) - weights[order]
    group[order] = np.minimum(before * GROUPS, GROUPS - 1).astype(np.int64)
    now = np.bincount(group[placed.nearest], minlength=GROUPS) / len(points)
    usual = np.bincount(group, weights=weights, minlength=GROUPS)
    return {
        "mean_shift": float(np.linalg.norm(points.mean(0) - mean) / spread),
        "mass_shift": float(np.abs(now - usual).sum() / 2.0),
        "effective_rank": float(np.exp(entropy)),
        "distance": float(np.median(placed.distances) / max(np.sqrt(inside), 1e-6)),
    }
