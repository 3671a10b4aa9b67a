"""Times of day as text.

A time of day is `10:05`, `10:05:33.5`, `10.05.33`, `10:05 PM`, or digits: `1005` in four characters,
otherwise hours, minutes and seconds without the zeros in front (`93000` is half past nine). It may state an
offset, and have the day in front that spreadsheets write (`1899-12-30 10:05:33`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

_CHARS_MAX = 64
DAY_US = 86_400_000_000
_NO_DAY = r"(?:(?:1899-12-3[01]|1900-01-0[01]|1970-01-01|0001-01-01)[ T]|0 days )?"
_CLOCK = re.compile(
    _NO_DAY + r"([0-9]{1,2})[:.hH]([0-9]{2})(?:[:.]([0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
    r"(?: ?([AaPp])\.?[Mm]\.?)?(?: ?(Z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?))?"
).fullmatch
_DIGITS = re.compile(r"[0-9]{1,6}").fullmatch


class Clock(NamedTuple):
    """A time of day."""

    micros: int  # since midnight
    offset_us: int | None  # from UTC; None: that of the stream's zone


def read_clock(text: str) -> Clock | None:
    """Read a time of day; None: it is none.

    Examples
    --------
    >>> read_clock("9:30 PM").micros // 60_000_000
    1290
    """
    text = text.strip()
    if _DIGITS(text):
        digits = text + "00" if len(text) == 4 else text.zfill(6)
        return _clock(int(digits[:2]), int(digits[2:4]), int(digits[4:]), 0, None)
    found = _CLOCK(text) if len(text) <= _CHARS_MAX else None
    if found is None:
        return None
    hour, minute, second, fraction, half, offset = found.groups()
    hours = int(hour)
    if half:
        if not 1 <= hours <= 12:
            return None
        hours = hours % 12 + 12 * (half in "pP")
    micros = int((fraction or "").ljust(6, "0")[:6])
    return _clock(hours, int(minute), int(second or 0), micros, offset)


def _clock(hours: int, minutes: int, seconds: int, micros: int, offset: str | None) -> Clock | None:
    total = (3600 * hours + 60 * minutes + seconds) * 1_000_000 + micros
    if minutes > 59 or seconds > 59 or total > DAY_US:  # 24:00 is the end of the day
        return None
    if offset is None:
        return Clock(total, None)
    if offset[0] not in "+-":
        return Clock(total, 0)
    digits = offset[1:].replace(":", "").ljust(4, "0")
    away = (60 * int(digits[:2]) + int(digits[2:])) * 60_000_000
    return Clock(total, -away if offset[0] == "-" else away)
