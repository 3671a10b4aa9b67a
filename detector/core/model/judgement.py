"""Whether a candidate, a newly learned encoder, is worse than the encoder that serves.

    before the barrier   `compared`    both embed the same core events and confirmed frauds
    at the barrier       `objections`  and what it does to scores; any figure past its limit refuses it

Nothing is judged before the model is warm, or while it follows a shift: there is no version to keep then.

Figures
    neighbours   share of the nearest core events of core events that are the same by both encoders
    directions   effective rank of the embedding of core events; `directions_before` by the encoder that
                 serves. A broken learner loses most of it, also where many neighbours stay by chance
    beyond       share of core events, which were all accepted, that would not be accepted any more
    alerts       share of core events whose scores would be those of alerts
    precision    share of frauds among as many of the farthest events as there are frauds, among core events
                 and confirmed frauds; `precision_before` by the encoder that serves. Only with enough frauds

docs/explanation/embedding.md has the figures of healthy streams that the limits were chosen by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.core.model.encoder import Learned
from detector.core.model.index import Exact
from detector.core.model.quality_of_space import effective_rank, shares_of_variance

PROBES = 256  # core events that are compared, at most
PROBES_MIN = 64  # fewer say nothing
NEIGHBOURS = 10
FRAUDS_MIN, FRAUDS_MAX = 32, 256  # confirmed ones, the newest

NEIGHBOURS_MIN = 0.1
"""Least share of neighbours that stay."""
DIGITS = 6  # of an effective rank
DIRECTIONS_MIN = 0.5
"""Least effective rank, in that of the encoder that serves."""
BEYOND_MARGIN, ALERTS_MARGIN = 0.10, 0.02
"""By how much more a share may be than that of the version that serves when it was promoted.

Twice as much after each refusal in a row: what goes on is what the stream has become.
"""
PRECISION_MARGIN = 0.15
"""By how much less precision may be, and by two standard errors of it at least."""


BROKEN: Mapping[str, float] = {"neighbours": 0.0}
"""Figures of an encoder that is not `finite`."""


class Seen(NamedTuple):
    """What an encoder makes of the same events."""

    points: NDArray[np.float32]  # (n, D) of core events
    distances: NDArray[np.float32]  # (n,) to the nearest cluster
    frauds: NDArray[np.float32]  # (m,) the same of confirmed frauds


def finite(learned: Learned) -> bool:
    """Whether all weights are numbers, none of them infinite."""
    return all(bool(np.isfinite(weight).all()) for weight in (learned.edges, *learned.weights.values()))


def compared(before: Seen, after: Seen) -> dict[str, float]:
    """Figures of both encoders; none where there are too few events."""
    figures = {}
    if len(after.points) >= PROBES_MIN:
        figures["neighbours"] = _shared(before.points, after.points)
        figures["directions_before"], figures["directions"] = map(_directions, (before.points, after.points))
        if len(after.frauds) >= FRAUDS_MIN:
            figures["precision_before"] = _precision(before)
            figures["precision"] = _precision(after)
            figures["frauds"] = float(len(after.frauds))
    return figures


def objections(figures: Mapping[str, float], served: Mapping[str, float], again: int = 0) -> list[str]:
    """What is wrong with a candidate, in words; none: nothing.

    Parameters
    ----------
    served
        Figures of the version that serves, when it was promoted.
    again
        Candidates that were refused since then.
    """
    found = []
    if figures.get("neighbours", 1.0) < NEIGHBOURS_MIN:
        found.append(
            f"{figures['neighbours']:.0%} of the nearest core events stay, at least {NEIGHBOURS_MIN:.0%} must"
        )
    if figures.get("directions", math.inf) < DIRECTIONS_MIN * figures.get("directions_before", 0.0):
        found.append(
            f"of {figures['directions_before']:.1f} directions in use {figures['directions']:.1f} are left, "
            f"at least {DIRECTIONS_MIN:.0%} must be"
        )
    for name, margin, what in (
        ("beyond", BEYOND_MARGIN, "would not be accepted"),
        ("alerts", ALERTS_MARGIN, "would give alerts"),
    ):
        limit = served.get(name, 0.0) + margin * 2.0**again
        if figures.get(name, 0.0) > limit:
            found.append(f"{figures[name]:.1%} of normal events {what}, at most {limit:.1%} may")
    if "precision" in figures:
        before, after = figures["precision_before"], figures["precision"]
        error = math.sqrt((before * (1.0 - before) + after * (1.0 - after)) / figures["frauds"])
        if before - after > max(PRECISION_MARGIN, 2.0 * error):
            found.append(f"precision on confirmed frauds falls from {before:.2f} to {after:.2f}")
    return found


def _shared(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    near = np.zeros((len(before), len(before)), dtype=np.bool_)
    rows = np.arange(len(before))[:, None]
    near[rows, _neighbours(before)] = True
    return float(near[rows, _neighbours(after)].mean())


def _directions(points: NDArray[np.float32]) -> float:
    # It is a part of the state, and the last bits of eigenvalues depend on the CPU.
    return round(effective_rank(shares_of_variance(points.astype(np.float64))), DIGITS)


def _neighbours(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """Numbers of the nearest other points of each, (n, k)."""
    return Exact(points).search(points, NEIGHBOURS + 1)[0][:, 1:]


def _precision(seen: Seen) -> float:
    distances: NDArray[Any] = np.concatenate([seen.frauds, seen.distances])
    farthest = np.argsort(-distances, kind="stable")[: len(seen.frauds)]
    # Events at the same distance as the last one count by their share: an encoder that tells nothing is
    # not taken for a good one by their order.
    last = distances[farthest[-1]]
    sure, tied = distances > last, distances == last
    fraud = np.arange(len(distances)) < len(seen.frauds)
    places = len(seen.frauds) - int(sure.sum())
    return float((fraud[sure].sum() + places * fraud[tied].mean()) / len(seen.frauds))
