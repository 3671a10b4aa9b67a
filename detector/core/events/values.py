"""Conversions of decoded values, one at a time and by columns.

A decoded value is a str, an int of any size, a float, a bool or None (missing).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.events.rejection import Bad

# Bounds of the memory of hashes of one entity or categorical field. Longer values hardly repeat. Hashes of
# free text are not kept: it never repeats.
CACHE_VALUES_MAX = 32_768
CACHE_CHARS_MAX = 64
# Python hashes whole numbers modulo this prime, without a key: larger ones could all be made to collide.
CACHE_NUMBER_MAX = (1 << 61) - 1

Column = Sequence[Any]
"""n decoded values of one field."""


def plain(found: Any) -> Any:
    """Return a decoded value as text; None stays None."""
    if found is None or isinstance(found, str):
        return found
    return str(found).lower() if isinstance(found, bool) else str(found)


def to_float(number: int | float) -> float:
    """Return the nearest double; inf beyond the largest."""
    try:
        return float(number)
    except OverflowError:  # whole numbers in JSON have no bound
        return math.inf


def to_doubles(column: Column) -> NDArray[np.float64]:
    """Convert numbers to doubles: NaN for None, inf beyond the largest double."""
    try:
        return np.array(column, dtype=np.float64)
    except OverflowError:
        return np.array([np.nan if number is None else to_float(number) for number in column])


def are_texts(column: Column, chars_max: int) -> bool:
    """Whether all values are texts of at most `chars_max` characters."""
    return set(map(type, column)) == {str} and max(map(len, column)) <= chars_max


def convert_each(convert: Callable[[Any], Any], column: Column, doubtful: set[int], blank: Any) -> Column:
    """Convert value by value. Where `convert` raises Bad, give `blank` and add the row to `doubtful`."""
    try:
        return list(map(convert, column))
    except Bad:
        pass
    values = []
    for row, found in enumerate(column):
        try:
            values.append(convert(found))
        except Bad:
            values.append(blank)
            doubtful.add(row)
    return values


def hasher(key: bytes, purpose: str) -> Callable[[str], int]:
    """Make a keyed hash of texts, 64 bits and never 0, which stands for a missing value.

    Hashes of different purposes are unrelated.
    """
    person = hashlib.blake2b(purpose.encode(), digest_size=16).digest()

    def digest(text: str) -> int:
        raw = hashlib.blake2b(text.encode(), key=key, digest_size=8, person=person).digest()
        return int.from_bytes(raw, "little") or 1

    return digest


class HashCache(dict[Any, int]):
    """Hashes of the recent values of one entity or field. What it holds never changes a result.

    Parameters
    ----------
    convert
        From a decoded value to its hash; may raise Bad.
    digest
        The same for a text whose length is between 1 and `chars_max`.
    """

    def __init__(self, convert: Callable[[Any], int], digest: Callable[[str], int], chars_max: int) -> None:
        self._convert = convert
        self._digest = digest
        self._chars_max = chars_max

    def hash_column(self, column: Column, doubtful: set[int]) -> NDArray[np.uint64]:
        """Hash n values; 0 for a missing one and for one that is refused, whose row becomes doubtful."""
        # In a dict, True and 1.0 are the key 1, but their texts differ.
        cacheable = set(map(type, column)) <= {str, int, NoneType}
        hashes = convert_each(self.__getitem__ if cacheable else self._convert, column, doubtful, 0)
        return np.array(hashes, dtype=np.uint64)

    def __missing__(self, found: Any) -> int:
        plain_text = type(found) is str and 0 < len(found) <= self._chars_max
        hashed = self._digest(found) if plain_text else self._convert(found)
        if len(self) >= CACHE_VALUES_MAX:
            self.clear()
        small = abs(found) < CACHE_NUMBER_MAX if type(found) is int else len(str(found)) <= CACHE_CHARS_MAX
        if small:
            self[found] = hashed
        return hashed
