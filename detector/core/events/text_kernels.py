"""Columns of text in one pass each: limits of JSON documents, ISO 8601 times, hashed trigrams.

What is not of the usual form is reported, never guessed; the caller reads it one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

_HOUR_US = 3_600_000_000
_EXACT_MAX = 1 << 53  # whole numbers below are doubles
# Hours whose offsets from UTC are cached; the events of a stream are usually within a few.
_HOURS_MAX = 4096
_EPOCH, _HOUR, _US = datetime(1970, 1, 1), timedelta(hours=1), timedelta(microseconds=1)
_ODD, _LOCAL, _ZONED = range(3)  # forms of a time
_YEAR, _MONTH, _DAY, _HOUR_, _MINUTE, _SECOND, _MICRO, _SHORT_YEAR, _NAME = range(1, 10)  # steps of a pattern
_DIRECTIVES = {
    "Y": _YEAR,
    "m": _MONTH,
    "d": _DAY,
    "H": _HOUR_,
    "M": _MINUTE,
    "S": _SECOND,
    "f": _MICRO,
    "y": _SHORT_YEAR,
    "b": _NAME,
    "%": 0,
}
_MONTHS = np.frombuffer(b"JanFebMarAprMayJunJulAugSepOctNovDec", np.uint8)


def beyond(
    documents: Sequence[bytes],
    depth_max: int,
    members_max: int | None,
    name_bytes_max: int | None,
    digits_max: int,
) -> list[int]:
    """Find rows that may exceed a limit or are not UTF-8. Other rows, if they are JSON, are within limits.

    Parameters
    ----------
    depth_max, members_max
        Levels; fields and items of all objects and lists (an empty one may count as one).
    name_bytes_max, digits_max
        Length of a field's name as written; length of a run of digits.
    """
    joined = b"\n".join(documents)
    lengths = np.fromiter(map(len, documents), dtype=np.int64, count=len(documents))
    odd = np.zeros(len(documents), dtype=np.bool_)
    _measure(
        np.frombuffer(joined, np.uint8),
        lengths,
        depth_max,
        len(joined) if members_max is None else members_max,
        len(joined) if name_bytes_max is None else name_bytes_max,
        digits_max,
        odd,
    )
    if not joined.isascii() and not _is_utf8(joined):
        odd |= np.array([not _is_utf8(document) for document in documents])
    rows: list[int] = np.flatnonzero(odd).tolist()
    return rows


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


@numba.njit(cache=True)
def _measure(
    text: Any,
    lengths: Any,
    depth_max: int,
    members_max: int,
    name_bytes_max: int,
    digits_max: int,
    odd: Any,
) -> None:
    """Scan documents, one byte of separator after each. Of strings only the length counts."""
    start = 0
    for row in range(len(lengths)):
        stop = start + lengths[row]
        depth = deepest = members = name = opened = string = 0
        inside = escaped = False
        for at in range(start, stop):
            byte = text[at]
            if escaped:
                escaped = False
            elif inside:
                if byte == 34:  # "
                    inside = False
                    string = at - opened - 1
                elif byte == 92:  # \
                    escaped = True
            elif byte == 34:
                inside = True
                opened = at
            elif byte == 58:  # : after a name
                name = max(name, string)
            elif byte == 44:  # ,
                members += 1
            elif byte == 123 or byte == 91:  # { [
                members += 1
                depth += 1
                deepest = max(deepest, depth)
            elif byte == 125 or byte == 93:  # } ]
                depth -= 1
        odd[row] = (
            deepest > depth_max
            or members > members_max
            or name > name_bytes_max
            or (stop - start > digits_max and _longest_digits(text, start, stop) > digits_max)
        )
        start = stop + 1


@numba.njit(cache=True)
def _longest_digits(text: Any, start: int, stop: int) -> int:
    longest = digits = 0
    for at in range(start, stop):
        digits = digits + 1 if 48 <= text[at] <= 57 else 0
        longest = max(longest, digits)
    return longest


class IsoTimes:
    """Reads times like `2024-03-01T12:00:00Z`; a time without an offset is a local time of `zone`."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone

    def read(self, column: Sequence[str]) -> NDArray[np.float64]:
        """Return s since the epoch as `datetime.fromisoformat` and `timestamp` do; NaN: not of the usual
        form.

        The usual form is a date since 1970; or that, `T` or a space, h:min:s, optionally three or six digits
        of a second, optionally `Z`, ` UTC` or ±h:min. The microseconds must be exact in a double.
        """
        return _read_times(column, self._zone, _read_iso)


class PatternTimes:
    """Reads times of a pattern of numbers, like `%d.%m.%Y %H:%M:%S`; they are local times of a zone.

    Parameters
    ----------
    pattern
        As `detector.config.patterns` reads them.
    """

    def __init__(self, pattern: str, zone: tzinfo) -> None:
        self._zone = zone
        self._program: NDArray[np.int64] | None = None
        steps = re.findall(r"%(.)|([^%])", pattern)
        if all(directive in _DIRECTIVES or literal.isascii() for directive, literal in steps):
            codes = [(_DIRECTIVES.get(directive, 0), ord(literal or "%")) for directive, literal in steps]
            if all(directive in _DIRECTIVES for directive, literal in steps if not literal):
                self._program = np.array(codes, dtype=np.int64)

    def read(self, column: Sequence[str]) -> NDArray[np.float64]:
        """Return s since the epoch as `read_pattern` does; NaN: not of the usual form.

        The usual form has all digits: four of the year, six of %f, two of each other number; months as Jan.
        """
        program = self._program
        if program is None:
            return np.full(len(column), np.nan)
        return _read_times(
            column, self._zone, lambda text, *arrays: _read_pattern(text, program, _MONTHS, *arrays)
        )


def _read_times(column: Sequence[str], zone: tzinfo, read: Callable[..., None]) -> NDArray[np.float64]:
    """Read times with a kernel that writes micros and forms; NaN: not of its form, or not exact."""
    joined = "".join(column)
    if not joined.isascii():
        return np.full(len(column), np.nan)
    lengths = np.fromiter(map(len, column), dtype=np.int64, count=len(column))
    micros, forms = np.zeros(len(column), dtype=np.int64), np.zeros(len(column), dtype=np.int8)
    read(np.frombuffer(joined.encode(), np.uint8), lengths, micros, forms)
    local = np.flatnonzero(forms == _LOCAL)
    if len(local):
        hours, which = np.unique(micros[local] // _HOUR_US, return_inverse=True)
        offsets = [_offset_us(zone, hour) for hour in hours.tolist()]
        micros[local] -= np.array([offset or 0 for offset in offsets], dtype=np.int64)[which]
        forms[local[np.array([offset is None for offset in offsets])[which]]] = _ODD
    usual = (forms != _ODD) & (micros >= 0) & (micros < _EXACT_MAX)
    return np.where(usual, micros / 1e6, np.nan)


@lru_cache(maxsize=_HOURS_MAX)
def _offset_us(zone: tzinfo, hour: int) -> int | None:
    """Offset of local time from UTC throughout a local hour since 1970; None: it changes within the hour.

    No zone changes its offset twice within an hour, so comparing both ends is enough.
    """
    try:
        start = _EPOCH + hour * _HOUR
        first, last = (moment.replace(tzinfo=zone).utcoffset() for moment in (start, start + _HOUR - _US))
    except OverflowError:  # a year out of range
        return None
    return None if first is None or first != last else first // _US


@numba.njit(cache=True)
def _number(text: Any, start: int, digits: int) -> int:
    """Return the number that is written in `digits` digits; -1: not all are digits."""
    number = 0
    for at in range(start, start + digits):
        digit = int(text[at]) - 48
        if digit < 0 or digit > 9:
            return -1
        number = 10 * number + digit
    return number


@numba.njit(cache=True)
def _read_iso(text: Any, lengths: Any, micros: Any, forms: Any) -> None:
    """Write micros since 1970, local ones for a time without an offset, and the form of each time."""
    stop = 0
    for row in range(len(lengths)):
        start, stop = stop, stop + lengths[row]
        if lengths[row] < 19 and lengths[row] != 10:
            continue
        year, month, day = _number(text, start, 4), _number(text, start + 5, 2), _number(text, start + 8, 2)
        if text[start + 4] != 45 or text[start + 7] != 45:  # -
            continue
        if year < 1 or month < 1 or month > 12 or day < 1 or day > _month_days(year, month):
            continue
        if lengths[row] == 10:
            micros[row], forms[row] = 86_400_000_000 * _days(year, month, day), _LOCAL
            continue
        hour, minute = _number(text, start + 11, 2), _number(text, start + 14, 2)
        second = _number(text, start + 17, 2)
        if text[start + 10] != 84 and text[start + 10] != 32:  # T
            continue
        if text[start + 13] != 58 or text[start + 16] != 58:  # :
            continue
        if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
            continue
        fraction, after = 0, start + 19
        if after < stop and text[after] == 46:  # .
            for digits in (3, 6):
                end = after + 1 + digits
                if end == stop or (end < stop and (text[end] < 48 or text[end] > 57)):
                    fraction = _number(text, after + 1, digits) * (1000 if digits == 3 else 1)
                    after = end
                    break
            if fraction < 0 or after == start + 19:
                continue
        offset, form = 0, _ODD
        if after == stop:
            form = _LOCAL
        elif after + 1 == stop and text[after] == 90:  # Z
            form = _ZONED
        elif after + 4 == stop and text[after] == 32 and text[after + 1] == 85 and text[after + 2] == 84:
            form = _ZONED if text[after + 3] == 67 else _ODD  # UTC after a space
        elif after + 6 == stop and (text[after] == 43 or text[after] == 45) and text[after + 3] == 58:  # + -
            hours, minutes = _number(text, after + 1, 2), _number(text, after + 4, 2)
            if 0 <= hours <= 23 and 0 <= minutes <= 59:
                form = _ZONED
                offset = (60 * hours + minutes) * (1 if text[after] == 43 else -1)
        seconds = 86400 * _days(year, month, day) + 3600 * hour + 60 * (minute - offset) + second
        micros[row], forms[row] = 1_000_000 * seconds + fraction, form


@numba.njit(cache=True)
def _read_pattern(text: Any, program: Any, months: Any, lengths: Any, micros: Any, forms: Any) -> None:
    """Write micros since 1970 of local time, and the form of each time.

    The program has a row per step: what is read, and the byte of what stands for itself.
    """
    found = np.zeros(10, dtype=np.int64)
    stop = 0
    for row in range(len(lengths)):
        at, stop = stop, stop + lengths[row]
        found[:] = 0
        found[_MONTH] = found[_DAY] = 1
        right = True
        for step in range(len(program)):
            code = program[step, 0]
            width = (
                1 if code == 0 else 4 if code == _YEAR else 6 if code == _MICRO else 3 if code == _NAME else 2
            )
            if at + width > stop:
                right = False
                break
            if code == 0:
                right = text[at] == program[step, 1]
            elif code == _NAME:
                found[_MONTH] = 0
                for month in range(12):
                    if (
                        text[at] == months[3 * month]
                        and text[at + 1] == months[3 * month + 1]
                        and text[at + 2] == months[3 * month + 2]
                    ):
                        found[_MONTH] = month + 1
            else:
                found[code] = _number(text, at, width)
                if code == _SHORT_YEAR and found[code] >= 0:
                    found[_YEAR] = found[code] + (2000 if found[code] < 69 else 1900)
            if not right:
                break
            at += width
        if not right or at != stop or found.min() < 0:
            continue
        year, month, day = found[_YEAR], found[_MONTH], found[_DAY]
        if year < 1 or month < 1 or month > 12 or day < 1 or day > _month_days(year, month):
            continue
        if found[_HOUR_] > 23 or found[_MINUTE] > 59 or found[_SECOND] > 59:
            continue
        seconds = (
            86400 * _days(year, month, day) + 3600 * found[_HOUR_] + 60 * found[_MINUTE] + found[_SECOND]
        )
        micros[row], forms[row] = 1_000_000 * seconds + found[_MICRO], _LOCAL


@numba.njit(cache=True)
def _month_days(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


@numba.njit(cache=True)
def _days(year: int, month: int, day: int) -> int:
    """Days since 1970. Years are counted from March, so that a leap day is the last of its year."""
    years = year - 1 if month <= 2 else year
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return 365 * years + years // 4 - years // 100 + years // 400 + of_year - 719_468


def split_grams(padded: Sequence[str], salt: int, grams: NDArray[np.uint32]) -> None:
    """Write the lowest hashed trigrams of texts, ascending, then 0. The hash is CRC-32 of the UTF-8 from
    `salt`.

    Parameters
    ----------
    padded
        n texts; an empty one has none, any other at least one.
    grams : (n, G) uint32
        Written.
    """
    characters = np.frombuffer("".join(padded).encode("utf-32-le"), dtype=np.uint32)
    lengths = np.fromiter(map(len, padded), dtype=np.int64, count=len(padded))
    _split_grams(characters, lengths, np.uint32(salt), _CRC_TABLE, grams)


def _crc_table() -> NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, np.uint32(0xEDB88320) ^ (table >> 1), table >> 1).astype(np.uint32)
    return table


_CRC_TABLE = _crc_table()


@numba.njit(cache=True)
def _crc(crc: Any, byte: Any, table: Any) -> Any:
    return table[(crc ^ byte) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))


@numba.njit(cache=True)
def _crc_character(crc: Any, character: Any, table: Any) -> Any:
    """Update with the UTF-8 of a character."""
    low, more = np.uint32(0x3F), np.uint32(0x80)
    if character < 0x80:
        return _crc(crc, character, table)
    if character < 0x800:
        crc = _crc(crc, np.uint32(0xC0) | (character >> np.uint32(6)), table)
        return _crc(crc, more | (character & low), table)
    if character < 0x10000:
        crc = _crc(crc, np.uint32(0xE0) | (character >> np.uint32(12)), table)
    else:
        crc = _crc(crc, np.uint32(0xF0) | (character >> np.uint32(18)), table)
        crc = _crc(crc, more | ((character >> np.uint32(12)) & low), table)
    crc = _crc(crc, more | ((character >> np.uint32(6)) & low), table)
    return _crc(crc, more | (character & low), table)


@numba.njit(cache=True)
def _split_grams(characters: Any, lengths: Any, salt: Any, table: Any, grams: Any) -> None:
    stop = 0
    for row in range(len(lengths)):
        start, stop = stop, stop + lengths[row]
        found = grams[row]
        found[:] = 0
        held = 0
        for first in range(start, max(stop - 2, min(start + 1, stop))):
            crc = salt ^ np.uint32(0xFFFFFFFF)
            for at in range(first, min(first + 3, stop)):
                crc = _crc_character(crc, characters[at], table)
            crc = max(crc ^ np.uint32(0xFFFFFFFF), np.uint32(1))  # 0 means none
            place = np.searchsorted(found[:held], crc)
            if place == len(found) or (place < held and found[place] == crc):
                continue
            held = min(held + 1, len(found))
            for after in range(held - 1, place, -1):
                found[after] = found[after - 1]
            found[place] = crc
