"""What is changed in a stream, and which field must be named."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.drift.streams import DAY_S, START_S, Change, Piece

AMOUNT, SENSOR, COUNT, RARE = range(4)


def prices(piece: Piece, rng: np.random.Generator) -> None:
    """All amounts double."""
    piece.numbers[:, AMOUNT] *= 2.0
    _surprise(piece, np.ones(len(piece.times), dtype=bool), 0.5)


def category(piece: Piece, rng: np.random.Generator) -> None:
    """A tenth of the events get a category that was never there."""
    moved = rng.random(len(piece.times)) < 0.1
    piece.categories[moved, 0] = np.uint64(12_345)
    _surprise(piece, moved, 2.0)


def null(piece: Piece, rng: np.random.Generator) -> None:
    """A field is missing."""
    piece.numbers[:, COUNT] = np.nan
    _surprise(piece, np.ones(len(piece.times), dtype=bool), 1.0)


def stuck(piece: Piece, rng: np.random.Generator) -> None:
    """A sensor always says the same, which is nothing unusual by itself."""
    piece.numbers[:, SENSOR] = 20.25


def one_percent(piece: Piece, rng: np.random.Generator) -> None:
    """Amounts rise by 1 % a day."""
    piece.numbers[:, AMOUNT] *= 1.01 ** ((piece.times[0] - START_S) / DAY_S - 12.3)


def _surprise(piece: Piece, who: NDArray[np.bool_], step: float) -> None:
    """What a model would say of it: higher scores."""
    piece.scores[who] += step


def night(time: float) -> float:
    """Six of ten events come between 0 and 6 o'clock: the factor on the usual rate."""
    return 2.4 if time / 3600.0 % 24.0 < 6.0 else 0.53


def unchanged(piece: Piece, rng: np.random.Generator) -> None:
    """Only when events come has changed."""


FAULTS: dict[str, tuple[Change, str]] = {
    "prices": (prices, "amount"),
    "category": (category, "kind"),
    "null": (null, "count"),
    "stuck": (stuck, "sensor"),
    "night": (unchanged, "time"),
    "one_percent": (one_percent, "amount"),
}
