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
EXACT_MAX = 1 << 53  # whole numbers below are doubles
BITS_MAX = 13_000  # Python spells no whole number of more than 4,300 digits
# Python hashes whole numbers modulo this prime, without a key: larger ones could all be made to collide.
CACHE_NUMBER_MAX = (1 << 61) - 1

Column = Sequence[Any]
"""n decoded values of one field."""


def plain(found: Any) -> Any:
    """Return a decoded value as text; None stays None, NaN and infinities are missing.

    Numbers that are equal have the same text: 12.0 is "12".

    Raises
    ------
    Bad
        A whole number of more digits than Python spells.
    """
    if found is None or isinstance(found, str):
        return found
    if isinstance(found, bool):
        return str(found).lower()
    if isinstance(found, float):
        if not math.isfinite(found):
            return None
        return str(int(found)) if found.is_integer() else str(found)
    if found.bit_length() > BITS_MAX:
        raise Bad("too_long", "a whole number of thousands of digits")
    return str(found)


def key_of(found: Any) -> Any:
    """Return an id or an entity's value as text: None if it is missing.

    A number counts by its value, so 12.0 and 1.2e1 are "12", in whatever format they come.

    Raises
    ------
    Bad
        It is a truth value, has a fraction, or is a decimal of 2^53 or more, whose last digits are lost.
    """
    kind = type(found)
    if kind is str or found is None:
        return found
    if kind is float:
        if math.isfinite(found) and not (found.is_integer() and abs(found) < EXACT_MAX):
            raise Bad("wrong_type", f"{found!r}, expected text or a whole number")
    elif kind is not int:
        raise Bad("wrong_type", f"{kind.__name__}, expected text or a whole number")
    return plain(found)


def key_text(found: Any) -> str | None:
    """`key_of`; None also for what is no key."""
    try:
        return key_of(found) or None
    except Bad:
        return None


def shown(found: Any) -> str:
    """Write a decoded value for people, shortened."""
    if isinstance(found, int) and found.bit_length() > BITS_MAX:
        return "a whole number of thousands of digits"
    return f"{found!r:.40}"


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


class Plain:
    """Finds columns in which all values are texts that mean themselves.

    Parameters
    ----------
    missing
        Texts that mean missing.
    chars_max
        Length of the longest text.
    """

    def __init__(self, missing: frozenset[str], chars_max: int) -> None:
        self.missing = missing
        self.chars_max = chars_max
        self._missing_chars_max = max(map(len, missing), default=-1)

    def holds(self, column: Column) -> bool:
        """Whether all values are texts, within the length, and none means missing."""
        if set(map(type, column)) != {str}:
            return False
        lengths = list(map(len, column))
        if max(lengths) > self.chars_max:
            return False
        return min(lengths) > self._missing_chars_max or self.missing.isdisjoint(column)

    def one(self, found: Any) -> bool:
        """The same for one value."""
        return type(found) is str and len(found) <= self.chars_max and found not in self.missing


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
        The same for a text that means itself.
    texts
        Which ones do.
    """

    def __init__(self, convert: Callable[[Any], int], digest: Callable[[str], int], texts: Plain) -> None:
        self._convert = convert
        self._digest = digest
        self._texts = texts

    def hash_column(self, column: Column, doubtful: set[int]) -> NDArray[np.uint64]:
        """Hash n values; 0 for a missing one and for one that is refused, whose row becomes doubtful."""
        # In a dict, True and 1.0 are the key 1. Decimals are rare where they are no numbers.
        cacheable = set(map(type, column)) <= {str, int, NoneType}
        hashes = convert_each(self.__getitem__ if cacheable else self._convert, column, doubtful, 0)
        return np.array(hashes, dtype=np.uint64)

    def __missing__(self, found: Any) -> int:
        hashed = self._digest(found) if self._texts.one(found) else self._convert(found)
        if len(self) >= CACHE_VALUES_MAX:
            self.clear()
        small = abs(found) < CACHE_NUMBER_MAX if type(found) is int else len(str(found)) <= CACHE_CHARS_MAX
        if small and found == found:  # NaN is no key
            self[found] = hashed
        return hashed
