"""Bins of inputs, and the piecewise-linear code on them (Gorishniy and others 2022)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def piecewise_linear(inputs: Floats, edges: Floats) -> Floats:
    """Piecewise-linear code (n, F, bins) of (n, F) inputs; logarithmic outside the outermost edges."""
    position = (inputs[:, :, None] - edges[:, :-1]) / np.diff(edges, axis=1)
    code: Floats = np.clip(position, 0.0, 1.0)
    code[:, :, 0] -= np.log1p(np.maximum(-position[:, :, 0], 0.0))
    code[:, :, -1] += np.log1p(np.maximum(position[:, :, -1] - 1.0, 0.0))
    return code


def ascending(quantiles: Floats) -> Floats:
    """Make strictly ascending edges from quantiles that may repeat (flags, constants, counts)."""
    distinct = np.unique(quantiles)
    if len(distinct) == 1:
        distinct = distinct + np.array([-0.5, 0.5], dtype=np.float32)
    spread = np.interp(np.linspace(0, len(distinct) - 1, len(quantiles)), range(len(distinct)), distinct)
    steps = np.maximum(np.diff(spread), 1e-6 * max(1.0, float(np.abs(spread).max())))
    edges: Floats = (spread[0] + np.concatenate([[0.0], np.cumsum(steps)])).astype(np.float32)
    return edges
