"""Two dimensions of an embedding, and how much of it they keep.

principal          the plane that holds most of the variance (PCA): the same points give the same plane
steadied           a layout turned and shifted so that shared points lie where they lay before (Procrustes)
trustworthiness    whether neighbours in the plane are neighbours in truth
continuity         whether true neighbours are neighbours in the plane
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

# Points whose neighbours are compared: each with each, so their number is limited.
COMPARED_MAX = 2048
NEIGHBOURS = 10


class Plane(NamedTuple):
    """Two directions of a space of D dimensions."""

    centre: Points  # (D,)
    axes: Points  # (2, D), orthonormal
    explained: tuple[float, float]  # share of the variance along each
    spread: Points  # (D,) share of the variance along each principal direction, the largest first

    def place(self, points: NDArray[np.floating]) -> Points:
        """Coordinates (n, 2) of points (n, D)."""
        return (points.astype(np.float64) - self.centre) @ self.axes.T


class Motion(NamedTuple):
    """A turn, perhaps with a reflection, then a shift, of a plane."""

    turn: Points  # (2, 2)
    shift: Points  # (2,)

    def move(self, placed: Points) -> Points:
        """Coordinates (n, 2) after it."""
        return placed @ self.turn + self.shift


STILL = Motion(np.eye(2), np.zeros(2))


def principal(points: NDArray[np.floating], weights: NDArray[np.int64]) -> Plane:
    """The plane with most of the weighted variance of n points (n, D), D >= 2.

    The sign of each axis is chosen: its largest component is positive.
    """
    shares = weights.astype(np.float64) / max(float(weights.sum()), 1e-300)
    centre = shares @ points.astype(np.float64)
    centred = points.astype(np.float64) - centre
    values, vectors = np.linalg.eigh((centred * shares[:, None]).T @ centred)
    values, axes = np.maximum(values[::-1], 0.0), vectors.T[::-1][:2].copy()
    largest = np.abs(axes).argmax(axis=1)
    axes *= np.where(axes[np.arange(2), largest] < 0.0, -1.0, 1.0)[:, None]
    spread = values / max(float(values.sum()), 1e-300)
    return Plane(centre, axes, (float(spread[0]), float(spread[1])), spread)


def steadied(placed: Points, before: Points, weights: NDArray[np.int64]) -> Motion:
    """The motion that brings points (m, 2) nearest to where they lay before (m, 2), by weight (m,).

    Orthogonal Procrustes (Schoenemann 1966) with a shift, without a change of scale: distances in the plane
    keep their meaning. Fewer than three points say nothing of a turn.
    """
    if len(placed) < 3:
        return STILL
    shares = weights.astype(np.float64) / float(weights.sum())
    here, there = shares @ placed, shares @ before
    left, _, right = np.linalg.svd(((placed - here) * shares[:, None]).T @ (before - there))
    turn = left @ right
    return Motion(turn, there - here @ turn)


def trustworthiness(points: NDArray[np.floating], placed: Points) -> float:
    """1 minus a penalty for neighbours in the plane that are none in truth (Venna and Kaski 2001).

    Parameters
    ----------
    points : (n, D)
    placed : (n, 2)
        If there are more than `COMPARED_MAX`, evenly spread ones are compared.

    Returns
    -------
    float
        0 to 1; NaN for fewer than four points.
    """
    every = -(-len(points) // COMPARED_MAX) or 1
    true, placed = points[::every].astype(np.float64), placed[::every]
    count = len(true)
    k = min(NEIGHBOURS, (count - 1) // 3)
    if k < 1:
        return float("nan")
    rank, found = _ranks(true), _ranks(placed)
    intruders = (found <= k) & (rank > k)
    penalty = float((rank[intruders] - k).sum())
    return 1.0 - 2.0 * penalty / (count * k * (2 * count - 3 * k - 1))


def continuity(points: NDArray[np.floating], placed: Points) -> float:
    """As `trustworthiness`, for true neighbours that are none in the plane."""
    return trustworthiness(placed, points.astype(np.float64))


def _ranks(points: Points) -> NDArray[np.int64]:
    """Rank (n, n) of each point among the neighbours of each: 1 the nearest, 0 the point itself."""
    squares = np.square(points).sum(axis=1)
    distances = squares[:, None] + squares - 2.0 * points @ points.T
    np.fill_diagonal(distances, -np.inf)
    order = np.argsort(distances, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(len(points))[None, :], axis=1)
    return ranks
