"""Intervals of shares."""

from __future__ import annotations

import math

Z = 1.959964  # of a 95 % interval


def wilson(right: int, of: int) -> tuple[float, float]:
    """95 % interval of the share of `right` among `of`, at least 1 (Wilson 1927)."""
    share, square = right / of, Z * Z / of
    middle = (share + square / 2.0) / (1.0 + square)
    half = Z * math.sqrt(share * (1.0 - share) / of + square / (4.0 * of)) / (1.0 + square)
    return middle - half, middle + half
