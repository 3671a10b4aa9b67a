"""What each input of the encoder is about, as people name it: a field, an entity, or the time."""

from __future__ import annotations

from collections.abc import Sequence

from detector.core.features.column import Column
from detector.core.features.layout import KeyKind, Layout

TIME = "time"
_OF_NUMERICS = frozenset({"value", "missing", "deviation", "ratio"})
_OF_TIME = frozenset({"sine", "cosine"})


def subjects_of(layout: Layout, columns: Sequence[Column]) -> tuple[str, ...]:
    """Name what each column is about.

    A deviation of an amount from what a card usually pays is about the amount; how often the card is seen is
    about the card; how well it knows a merchant is about the merchant.
    """
    return tuple(_subject(layout, column) for column in columns)


def _subject(layout: Layout, column: Column) -> str:
    if column.source in _OF_NUMERICS:
        return layout.numerics[column.place].name
    if column.source in _OF_TIME:
        return TIME
    if column.source == "surprise":
        return layout.categories[column.place].name
    habit = column.habit
    if habit is not None and habit.point is not None:
        return layout.points[habit.point].name
    if habit is not None and habit.contact is not None:
        return layout.entities[habit.contact]
    if habit is not None and habit.name in ("zeros", "repeats"):
        assert layout.exposure is not None
        return layout.numerics[layout.exposure].name
    if column.kind is not None:
        return _key(layout, column.kind)
    if habit is not None and habit.name not in {"hours", "days"} and habit.key is not None:
        return layout.entities[habit.key]
    return TIME


def _key(layout: Layout, kind: KeyKind) -> str:
    """The key of a kind; of a pair the second one."""
    number = kind.left if kind.right is None else kind.right
    if number is None:
        return TIME
    return layout.key_name(number)
