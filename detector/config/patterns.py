"""Times by a pattern of `%` and plain characters, like `%d.%m.%Y %H:%M:%S`.

The directives are those of `datetime.strptime`, and each reads more of what people and programs write:

    %b %B   a month in words, whole or cut off, of any language in `detector.config.calendar_words`
    %a %A   a word that is not looked at: the day of the week
    %d      also with what makes it the 1st, 2nd, 1er
    %p      AM, pm, a.m., 午後
    %f      up to nine digits; below a microsecond they are dropped
    %z      Z, +01, +0100, +01:00
    %Z      UTC, GMT, Europe/Paris, or an abbreviation that the stream's zone uses

An abbreviation means different offsets in different places: IST is used in India, Israel and Ireland. It is
read as that of `event.time.zone`, and as nothing else: a guess would be wrong by hours for somebody. It is
right also where it contradicts the season (EST in July), and in the hour that a change of the clocks repeats.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from detector.config.calendar_words import month_of

CHARS_MAX = 128
PATTERN_CHARS_MAX = 64
_PATTERNS_MAX = 256  # that are kept compiled
_WORD = r"[^\W\d_]{1,20}\.?"
_READS = {
    "Y": r"\d{4}",
    "y": r"\d\d",
    "m": r"1[0-2]|0[1-9]|[1-9]",
    "b": _WORD,
    "B": _WORD,
    "d": r"3[01]|[12]\d|0[1-9]|[1-9]| [1-9]",
    "j": r"36[0-6]|3[0-5]\d|[12]\d\d|0[1-9]\d|00[1-9]|[1-9]\d|0[1-9]|[1-9]",
    "H": r"2[0-3]|[01]\d|\d",
    "I": r"1[0-2]|0[1-9]|[1-9]",
    "M": r"[0-5]\d|\d",
    "S": r"[0-5]\d|\d",
    "f": r"\d{1,9}",
    "p": r"[AP]\.?[  ]?M\.?|午前|午後|上午|下午|오전|오후",
    "z": r"Z|[+-]\d\d(?::?[0-5]\d(?::?[0-5]\d)?)?",
    "Z": r"[A-Z]{1,6}|[A-Z][A-Z_]{1,20}(?:/[A-Z0-9_+-]{1,20}){1,2}",
    "a": _WORD,
    "A": _WORD,
}
DIRECTIVES = frozenset(_READS) | {"%"}
_BEHIND = {"d": r"(?:(?:st|nd|rd|th|er|º|ª)\b)?"}
_AFTERNOON = ("p", "午後", "下午", "오후")
UNIVERSAL = frozenset({"Z", "UTC", "GMT", "UT"})
_PIVOT = 69  # years of two digits: 69 is 1969, 68 is 2068


class UnknownZone(ValueError):
    """A zone's name that the stream's zone does not use."""


def has_year(pattern: str) -> bool:
    """Whether a pattern says the year."""
    return "%y" in pattern or "%Y" in pattern


def has_clock(pattern: str) -> bool:
    """Whether a pattern says the time of day."""
    return "%H" in pattern or "%I" in pattern


def read_pattern(text: str, pattern: str, year: int, zone: tzinfo = UTC) -> datetime:
    """Read a time by a pattern; one without a year is of this year.

    Digits alone may lack zeros in front, as numbers do: 103 is 0103.

    Parameters
    ----------
    zone
        Whose abbreviations `%Z` reads. A time that states no zone stays without one.

    Raises
    ------
    ValueError
        It is not like the pattern, or no such day.

    Examples
    --------
    >>> read_pattern("103", "%d%m", 2026)
    datetime.datetime(2026, 3, 1, 0, 0)
    >>> read_pattern("1er févr. 2026 6:15 p.m.", "%d %b %Y %I:%M %p", 2026)
    datetime.datetime(2026, 2, 1, 18, 15)
    """
    text = text.strip()
    if not has_year(pattern):
        directives = pattern.count("%")
        if 2 * directives == len(pattern) and text.isdecimal():
            text = text.zfill(2 * directives)
    found = compiled(pattern)(text) if len(text) <= CHARS_MAX else None
    if found is None:
        raise ValueError("not like the pattern")
    parts = found.groupdict()
    moment = datetime(_year(parts, year), _month(parts), int(parts.get("d") or 1), *_clock(parts))
    if "j" in parts:
        moment += timedelta(days=int(parts["j"]) - 1)
    if "z" in parts:
        return moment.replace(tzinfo=_offset(parts["z"]))
    return _in_zone(moment, parts["Z"], zone) if "Z" in parts else moment


@lru_cache(_PATTERNS_MAX)
def compiled(pattern: str) -> Callable[[str], re.Match[str] | None]:
    """What matches texts of a pattern.

    Raises
    ------
    ValueError
        A directive is unknown, or occurs twice.
    """
    whole = []
    for space, directive, plain in re.findall(r"(\s+)|%(.?)|([^%\s]+)", pattern):
        if space:
            whole.append(r"\s+")
        elif plain or directive == "%":
            whole.append(re.escape(plain or "%"))
        elif directive in _READS:
            whole.append(f"(?P<{directive}>{_READS[directive]}){_BEHIND.get(directive, '')}")
        else:
            raise ValueError(f"%{directive} is unknown")
    try:
        return re.compile("".join(whole), re.IGNORECASE).fullmatch
    except re.error as error:
        raise ValueError(str(error)) from None


def _year(parts: dict[str, str], usual: int) -> int:
    if "Y" in parts:
        return int(parts["Y"])
    short = parts.get("y")
    return usual if short is None else int(short) + (1900 if int(short) >= _PIVOT else 2000)


def _month(parts: dict[str, str]) -> int:
    if "m" in parts:
        return int(parts["m"])
    word = parts.get("b") or parts.get("B")
    month = month_of(word) if word else 1
    if month is None:
        raise ValueError("no month")
    return month


def _clock(parts: dict[str, str]) -> tuple[int, int, int, int]:
    hour = int(parts.get("H") or 0)
    if "I" in parts:
        half = (parts.get("p") or "a").lower()
        hour = int(parts["I"]) % 12 + 12 * half.startswith(_AFTERNOON)
    micros = int((parts.get("f") or "0").ljust(6, "0")[:6])
    return hour, int(parts.get("M") or 0), int(parts.get("S") or 0), micros


@lru_cache(_PATTERNS_MAX)
def _offset(text: str) -> tzinfo:
    if text in "Zz":
        return UTC
    digits = text[1:].replace(":", "").ljust(6, "0")
    away = timedelta(hours=int(digits[:2]), minutes=int(digits[2:4]), seconds=int(digits[4:]))
    return timezone(-away if text[0] == "-" else away)


def _in_zone(moment: datetime, name: str, zone: tzinfo) -> datetime:
    if name.upper() in UNIVERSAL:
        return moment.replace(tzinfo=UTC)
    if "/" in name:
        return moment.replace(tzinfo=_place(name))
    for fold in (0, 1):
        local = moment.replace(tzinfo=zone, fold=fold)
        if local.tzname() == name.upper():
            return local
    return moment.replace(tzinfo=_of_year(name.upper(), moment.year, zone))


def _place(name: str) -> tzinfo:
    if (zone := named_zone(name)) is None:
        raise UnknownZone(f"{name!r} is no zone")
    return zone


@lru_cache(_PATTERNS_MAX)
def named_zone(name: str) -> tzinfo | None:
    """A zone of the time zone database; UTC needs none. None: there is no such zone."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


@lru_cache(_PATTERNS_MAX)
def _of_year(name: str, year: int, zone: tzinfo) -> tzinfo:
    """The offset that a zone's abbreviation means in a year, whatever the season."""
    for month in (1, 7):
        local = datetime(year, month, 15, 12, tzinfo=zone)
        if local.tzname() == name and (offset := local.utcoffset()) is not None:
            return timezone(offset, name)
    raise UnknownZone(f"{name!r} is not used in {zone}: set `event.time.zone` to a place that uses it")
