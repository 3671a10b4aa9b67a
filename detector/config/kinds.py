"""Kinds of event fields that a configuration may name, and how `init-config` recognises them.

`detector.core.events.kinds.KINDS` has the code of each: how values are parsed, what the model sees of them
and how they are explained. A new kind is one line here, one line there, and a module of its own
(docs/how-to/extending.md).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

FEW_EVENTS = 100  # in a smaller sample nothing is called constant or always present
PLACE_WORDS = [
    ("latitude", "longitude"),
    ("latitude", "long"),
    ("lat", "lon"),
    ("lat", "lng"),
    ("lat", "long"),
    ("lat", "longitude"),
]
_PLACES = frozenset(itertools.chain.from_iterable(PLACE_WORDS))
TEXTS_DISTINCT_MIN = 20  # fewer different texts are categories


class SampleColumn(Protocol):
    """All values of one path in a sample of events, in order. Missing ones are left out."""

    @property
    def path(self) -> str:
        """Dotted path."""

    @property
    def events(self) -> int:
        """Events of the sample."""

    @property
    def values(self) -> Sequence[str | int | float | bool]:
        """Values as decoded."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each value occurs, by its text."""

    @property
    def types(self) -> set[type]:
        """Python types of the values."""

    @property
    def words(self) -> Sequence[str]:
        """Words of the path, lower case: `card.holderId` has card, holder, id."""

    @property
    def decimal(self) -> bool:
        """Whether the values are numbers, or texts that are decimal numbers."""

    @property
    def numbers(self) -> Sequence[float]:
        """The values of a decimal field as numbers; NaN for texts that mean that there is none."""

    @property
    def coded(self) -> bool:
        """Whether its numbers are whole, and its name is that of a code and not of a measure."""

    @property
    def for_people(self) -> bool:
        """Whether its name is that of a text for people, as a description."""

    @property
    def spaced(self) -> float:
        """Share of values with a space in them."""


class Found(NamedTuple):
    """A field that a kind recognised."""

    columns: Sequence[SampleColumn]  # one per part
    reason: str  # for the comment in the configuration


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldRules:
    """What the configuration needs to know of a kind."""

    summary: str
    tried: int  # place in the order in which `init-config` tries kinds
    find: Callable[[Sequence[SampleColumn]], Iterator[Found]]  # fields of this kind among the columns left
    parts: tuple[str, ...] = ("value",)  # what its paths lead to, in order
    can_be_exposure: bool = False  # whether a value is one number that may be an amount at stake


def single(
    reason_of: Callable[[SampleColumn], str | None],
) -> Callable[[Sequence[SampleColumn]], Iterator[Found]]:
    """Make a `FieldRules.find` for a kind of one part; `reason_of` gives None for columns of other kinds."""

    def find(columns: Sequence[SampleColumn]) -> Iterator[Found]:
        for column in columns:
            if (reason := reason_of(column)) is not None:
                yield Found((column,), reason)

    return find


def _text(column: SampleColumn) -> str | None:
    if column.decimal or column.types != {str} or len(column.counts) <= TEXTS_DISTINCT_MIN:
        return None
    if column.spaced >= 0.5:
        return "words"
    return "by its name" if column.for_people else None


def _categorical(column: SampleColumn) -> str | None:
    if column.decimal:
        if column.coded:
            return "a code by its name"
        few = column.events >= FEW_EVENTS and column.types == {int} and len(column.counts) <= 2
        return "a whole number with two values" if few else None
    if column.types == {str}:
        return "text"
    return "true or false" if column.types == {bool} else "values of several types"


def _numeric(column: SampleColumn) -> str | None:
    if not column.decimal:
        return None
    return "decimal numbers in text" if column.types == {str} else "numbers"


def _geo(columns: Sequence[SampleColumn]) -> Iterator[Found]:
    """Pairs of columns whose paths differ only in their words for the two parts, both in their ranges."""
    places = [column for column in columns if _PLACES & set(column.words)]
    for first, second in itertools.permutations(places, 2):
        for north, east in PLACE_WORDS:
            if north not in first.words or east not in second.words:
                continue
            there = [east if word == north else word for word in first.words]
            if there == list(second.words) and _within(first, 90.0) and _within(second, 180.0):
                yield Found((first, second), "latitude and longitude by their names")


def _within(column: SampleColumn, bound: float) -> bool:
    return column.decimal and all(math.isnan(number) or abs(number) <= bound for number in column.numbers)


KINDS: dict[str, FieldRules] = {
    "numeric": FieldRules(summary="a number", tried=3, find=single(_numeric), can_be_exposure=True),
    "categorical": FieldRules(summary="one of a set of values", tried=2, find=single(_categorical)),
    "text": FieldRules(summary="free text", tried=1, find=single(_text)),
    "geo": FieldRules(summary="a place on the earth", tried=0, find=_geo, parts=("latitude", "longitude")),
}
"""Rules by name, in the order in which they are listed to people."""


def recognise(columns: Sequence[SampleColumn]) -> list[tuple[str, Found]]:
    """Find fields in columns that are neither id, time nor entity: names of kinds, with what they found.

    Kinds are tried in the order of `FieldRules.tried`; a column belongs to the first field that needs it.
    """
    left = {id(column): column for column in columns}
    fields = []
    for name in sorted(KINDS, key=lambda name: KINDS[name].tried):
        for found in KINDS[name].find(tuple(left.values())):
            if all(id(column) in left for column in found.columns):
                fields.append((name, found))
                for column in found.columns:
                    del left[id(column)]
    return fields
