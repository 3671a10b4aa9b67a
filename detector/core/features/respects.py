"""In which respect an event is unusual, by the column of the habits' distance that is farthest."""

from __future__ import annotations

from detector.core.codes import RESPECTS
from detector.core.features.column import Column

_BY_SOURCE = {
    "novelty": "new",
    "surprise": "rare",
    "whereabouts": "place",
    "meeting": "newcomers",
    "repeat": "repeated",
    "change": "changed",
}


def respect_of(column: Column) -> int:
    """Number in `RESPECTS` of what a column of the habits' distance says."""
    return RESPECTS.index(_named(column))


def _named(column: Column) -> str:
    if column.source == "ratio":
        return "large_there" if column.side > 0 else "small_there"
    if column.source == "bins":
        assert column.habit is not None
        return "round" if column.habit.name == "zeros" else "hour"
    if column.source == "pace":
        assert column.habit is not None
        return "many" if column.habit.key == 0 else "busy_there"
    return _BY_SOURCE[column.source]
