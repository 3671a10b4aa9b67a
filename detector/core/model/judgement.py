"""Whether a candidate, a newly learned encoder, is worse than the encoder that serves.

    before the barrier   `compared`    both embed the same core events and confirmed frauds
    at the barrier       `objections`  and what it does to scores; any figure past its limit refuses it

Nothing is judged before the model is warm, or while it follows a shift: there is no version to keep then.

Figures
    contrast     how well core events are told from the same events with one group swapped for that of
                 another one, which is what the encoder learns: area under the curve of the distance from
                 the origin, .5 by chance; `contrast_before` by the encoder that serves
    order        rank correlation of the distances between core events by both encoders, 0 by chance; only
                 where the one that serves has learned nothing that could be lost: a healthy encoder may lay
                 out its space anew
    directions   effective rank of the embedding of core events; `directions_before` by the encoder that
                 serves. A broken learner loses most of it, also where the order stays
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
from detector.core.model.quality_of_space import contrast, effective_rank, shares_of_variance

PROBES = 256  # core events that are compared, at most
PROBES_MIN = 64  # fewer say nothing
SWAPS = 2  # changed events for each of them
FRAUDS_MIN, FRAUDS_MAX = 32, 256  # confirmed ones, the newest

CHANCE = 0.5
LEARNED = 0.525
"""Least contrast of an encoder that has learned something."""
CONTRAST_MIN = 0.5
"""Least contrast beyond chance, in that of the encoder that serves."""
ORDER_MIN = 0.2
"""Least correlation, where the encoder that serves has learned nothing."""
DIGITS = 6
DIRECTIONS_MIN = 0.5
"""Least effective rank, in that of the encoder that serves."""
BEYOND_MARGIN, ALERTS_MARGIN = 0.10, 0.02
"""By how much more a share may be than that of the version that serves when it was promoted.

Twice as much after each refusal in a row: what goes on is what the stream has become.
"""
PRECISION_MARGIN = 0.15
"""By how much less precision may be, and by two standard errors of it at least."""


BROKEN: Mapping[str, float] = {"order": 0.0}
"""Figures of an encoder that is not `finite`."""


class Seen(NamedTuple):
    """What an encoder makes of the same events."""

    points: NDArray[np.float32]  # (n, D) of core events
    changed: NDArray[np.float32]  # (s, D) of such events with one group swapped; s may be 0
    distances: NDArray[np.float32]  # (n,) to the nearest cluster
    frauds: NDArray[np.float32]  # (m,) the same of confirmed frauds


def finite(learned: Learned) -> bool:
    """Whether all weights are numbers, none of them infinite."""
    return all(bool(np.isfinite(weight).all()) for weight in (learned.edges, *learned.weights.values()))


def compared(before: Seen, after: Seen) -> dict[str, float]:
    """Figures of both encoders; none where there are too few events."""
    figures = {}
    if len(after.points) >= PROBES_MIN:
        both = before, after
        if len(after.changed):
            figures["contrast_before"], figures["contrast"] = map(_contrast, both)
        if figures.get("contrast_before", CHANCE) < LEARNED:
            figures["order"] = _order(before.points, after.points)
        figures["directions_before"], figures["directions"] = map(_directions, both)
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
    if (before := figures.get("contrast_before", CHANCE)) >= LEARNED:
        least = CHANCE + CONTRAST_MIN * (before - CHANCE)
        if figures["contrast"] < least:
            found.append(
                f"contrast of changed events falls from {before:.3f} to {figures['contrast']:.3f}, "
                f"at least {least:.3f} must be left"
            )
    elif figures.get("order", 1.0) < ORDER_MIN:
        found.append(
            f"distances between core events correlate with those before by {figures['order']:.2f}, "
            f"at least {ORDER_MIN:g} must be left"
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


def _contrast(seen: Seen) -> float:
    return round(contrast(seen.points, seen.changed), DIGITS)


def _order(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Mean of the rank correlations of the distances of each point to all others (Spearman 1904)."""
    one, other = _ranks(before), _ranks(after)
    return round(float((one * other).mean() / max(float((one * one).mean()), 1e-12)), DIGITS)


def _ranks(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of the distances (n, n - 1) of each point to the others, around 0."""
    doubles = points.astype(np.float64)
    squares = np.square(doubles[:, None] - doubles[None]).sum(axis=2)
    others = squares[~np.eye(len(points), dtype=np.bool_)].reshape(len(points), -1)
    ranks = np.argsort(np.argsort(others, axis=1, kind="stable"), axis=1, kind="stable").astype(np.float64)
    ranks -= (others.shape[1] - 1) / 2.0
    return ranks


def _directions(seen: Seen) -> float:
    # It is a part of the state, and the last bits of eigenvalues depend on the CPU.
    return round(effective_rank(shares_of_variance(seen.points.astype(np.float64))), DIGITS)


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
