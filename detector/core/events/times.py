"""Times of events, as `event.time` says they are written, become seconds since 1970.

What a number means under `auto` follows from its size. The bounds are far from any time that a stream has:

    below 1e11    seconds       (up to the year 5138)
    below 1e14    milliseconds  (from 1973)
    below 1e17    microseconds
    else          nanoseconds

But 20260301, 202603011030 and 20260301103000 are calendar days and times of `event.time.zone`: as seconds or
milliseconds they would lie in 1970 or 1976, or after 2200. One that is no valid date is an error.

A text is ISO 8601, with a space for T, `UTC`, `GMT` or a zone's name in brackets as people and programs write
it, or a number in quotes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.patterns import UnknownZone, has_clock, has_year, named_zone, read_pattern
from detector.config.tree import EPOCHS, TIME_MAX_S, TimeField
from detector.core.events.rejection import Bad
from detector.core.events.text_kernels import IsoTimes, PatternTimes
from detector.core.events.values import EXACT_MAX, Column, shown, to_doubles, to_float

_BOUNDS = (1e11, 1e14, 1e17)  # between these units
# Years 1970 to 2199 as the first digits of YYYYMMDD, YYYYMMDDhhmm and YYYYMMDDhhmmss.
_CALENDAR = (
    (19_700_101, 21_991_232),
    (197_001_010_000, 219_912_320_000),
    (19_700_101_000_000, 21_991_232_000_000),
)
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?").fullmatch
_NET = re.compile(
    r"/Date\((-?[0-9]{1,15})(?:[+-][0-9]{4})?\)/"
).fullmatch  # ms since 1970, as .NET writes them
_IN_BRACKETS = re.compile(r"\[!?([^\]=]{1,64})\](?:\[[^\]]*\])*$")
_ZERO = re.compile(r" ?(?:UTC|GMT|UT|Z)$", re.IGNORECASE)
_DAY_OF_ZONE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}) ?(Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2})").fullmatch
_SLASHES = re.compile(r"([0-9]{4})([/.])([0-9]{2})\2([0-9]{2})(?![0-9])")
_ISO_CHARS_MAX = 128
_SPACE_BEFORE_OFFSET = re.compile(r" (?=[+-][0-9:]{2,8}$)")
DIGITS_MAX = 32  # of a whole number in text that is read as such; times need 19
_DAYS_MAX = 4096  # calendar numbers whose times are kept


class TimeReader:
    """Reads times of one stream.

    Parameters
    ----------
    missing
        Texts that mean missing.
    """

    def __init__(self, field: TimeField, missing: frozenset[str]) -> None:
        self._form = field.format
        self._zone = zone_of(field.zone)
        self._missing = missing
        self._iso = IsoTimes(self._zone)
        self._pattern = PatternTimes(field.format, self._zone)
        self._step = field.step
        origin = datetime.fromisoformat(field.origin)
        self._year = origin.year  # of patterns without a year
        self._origin = _timestamp(origin, UTC)
        self._of_calendar = lru_cache(_DAYS_MAX)(self._calendar)
        self._from_text, self._from_number = self._converters()

    def _converters(self) -> tuple[Callable[[str], float], Callable[[Any], float]]:
        form = self._form
        if "%" in form:
            return self._by_pattern, lambda number: self._by_pattern(_digits(number))
        if form == "date":
            return self._date, lambda number: self._date(_digits(number))
        if form == "steps":
            return lambda text: self._stepped(_number(text)), self._stepped
        if form in EPOCHS:
            return lambda text: self._epoch(_number(text)), self._epoch
        if form == "iso8601":
            return self._iso8601, _not_a_number
        return self._auto, self._epoch

    # --- one time ------------------------------------------------------------------------------------------

    def one(self, found: Any) -> float:
        """Convert a decoded value to s since the epoch.

        Raises
        ------
        Bad
            It is missing, is no time of the configured format, or lies outside 1970 to 2200.
        """
        seconds = self.unbounded(found)
        if not 0.0 <= seconds < TIME_MAX_S:
            raise Bad("out_of_range", f"time: {shown(found)}{self._reading(found)}")
        return seconds

    def unbounded(self, found: Any) -> float:
        """Convert as `one` does, whatever the year."""
        if found is None or (isinstance(found, str) and found.strip() in self._missing):
            raise Bad("missing", "time")
        if isinstance(found, float) and not math.isfinite(found):
            raise Bad("missing", f"time: {found}")
        if isinstance(found, bool):
            raise Bad("wrong_type", "time: a boolean")
        return self._from_text(found) if isinstance(found, str) else self._from_number(found)

    def of_record(self, timestamp_ms: int, offset: int) -> float:
        """Time of an event that has none of its own: its record's, or its number in a file."""
        if timestamp_ms == 0:
            return self._origin + offset * self._step
        seconds = timestamp_ms / 1000.0
        if not 0.0 <= seconds < TIME_MAX_S:
            raise Bad("missing", f"time: the record's timestamp is {timestamp_ms}")
        return seconds

    def _epoch(self, number: Any) -> float:
        value = to_float(number)
        if self._form == "auto" and _is_calendar(value):
            return self._of_calendar(value)
        unit = _unit(value) if self._form == "auto" else self._form
        if unit == "epoch_ns" and isinstance(number, int) and math.isfinite(value):
            return number // 1000 / 1e6  # to microseconds, as a timestamp in text is
        return value / EPOCHS[unit]

    def _stepped(self, number: Any) -> float:
        return self._origin + to_float(number) * self._step

    def _auto(self, text: str) -> float:
        if _NUMBER(text.strip()):
            return self._epoch(_number(text))
        found = _NET(text.strip())
        return self._iso8601(text) if found is None else int(found[1]) / 1000.0

    def _iso8601(self, text: str) -> float:
        try:
            return _timestamp(*_iso(text, self._zone))
        except (ValueError, OverflowError):
            raise Bad("bad_time", f"time: {text[:40]!r} is not ISO 8601") from None

    def _date(self, text: str) -> float:
        digits = text.strip()
        if len(digits) in (8, 12, 14) and digits.isascii() and digits.isdigit():
            return self._of_calendar(float(digits))
        return self._iso8601(text)

    def _calendar(self, number: float) -> float:
        digits = _digits(number)
        form = "%Y%m%d%H%M%S"[: {8: 6, 12: 10}.get(len(digits), 12)]
        try:
            return _timestamp(datetime.strptime(digits, form), self._zone)
        except (ValueError, OverflowError):
            raise Bad("bad_time", f"time: {digits} is no date {form}, and no time since 1970") from None

    def _by_pattern(self, text: str) -> float:
        try:
            return _timestamp(read_pattern(text, self._form, self._year, self._zone), self._zone)
        except UnknownZone as error:
            raise Bad("bad_time", f"time: {text[:40]!r}: {error}") from None
        except (ValueError, OverflowError):
            raise Bad("bad_time", f"time: {text[:40]!r} is not like {self._form}") from None

    def _reading(self, found: Any) -> str:
        """Say how a time was read that is out of range, and what else it may be."""
        unit, value = self._form, to_float(found) if isinstance(found, (int, float)) else None
        if unit == "auto" and value is not None:
            unit = _unit(value)
        said = f", read as {unit}," if value is not None and unit in EPOCHS else ""
        text = f"{said} is not between 1970 and 2200"
        other = None if value is None or self._form not in EPOCHS else _unit(value)
        return f"{text}; it looks like {other}" if other not in (None, unit) else text

    # --- many times ----------------------------------------------------------------------------------------

    def column(self, column: Column) -> NDArray[np.float64]:
        """Convert n values as `one` does; NaN, or out of its bounds: look closer at this one."""
        types, form = set(map(type, column)), self._form
        if types == {str} and form in ("auto", "iso8601", "date"):
            return self._iso.read(column)
        if types and types <= {str, int} and "%" in form and has_year(form):
            return self._pattern.read(column if types == {str} else list(map(str, column)))
        if types <= {int, float} and form in ("auto", "steps", *EPOCHS):
            numbers = to_doubles(column)
            if form == "steps":
                return np.asarray(self._origin + numbers * self._step)
            if form == "epoch_ns" or (form == "auto" and (np.abs(numbers) >= _BOUNDS[-1]).any()):
                return np.full(len(column), np.nan) if types != {int} else self._whole(column, numbers)
            if form != "auto":
                return np.asarray(numbers / EPOCHS[form])
            return np.where(_any_calendar(numbers), np.nan, numbers / _divisors(numbers))
        return np.full(len(column), np.nan)

    def _whole(self, column: Column, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Whole numbers, all of them nanoseconds; NaN for others."""
        seconds = to_doubles([number // 1000 for number in column]) / 1e6
        return seconds if self._form == "epoch_ns" else np.where(numbers >= _BOUNDS[-1], seconds, np.nan)

    def of_records(self, timestamps_ms: Sequence[int], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
        """Times of n events that have none of their own; out of bounds as `column` says."""
        stamps = np.array(timestamps_ms, dtype=np.int64)
        return np.where(stamps == 0, self._origin + offsets * self._step, stamps / 1000.0)


def zone_of(name: str) -> tzinfo:
    """A time zone that the configuration accepted."""
    zone = named_zone(name)
    assert zone is not None
    return zone


def resolution_s(field: TimeField) -> float:
    """Time within which the order of events is not known, s: `resolution`, else a day, a step or 0."""
    if field.resolution is not None:
        return field.resolution
    if field.format == "steps":
        return field.step
    days = field.format == "date" or (field.format == "apart" and len(field.parts) == 3)
    days |= "%" in field.format and not has_clock(field.format)
    return 86_400.0 if days and field.clock is None else 0.0


def read_time(found: Any) -> float | None:
    """Read a finite time of a label as `auto` does, in UTC and of any year; None: it is none."""
    try:
        seconds = _PLAIN.unbounded(found)
    except Bad:
        return None
    return seconds if math.isfinite(seconds) else None


def _unit(number: float) -> str:
    return list(EPOCHS)[sum(abs(number) >= bound for bound in _BOUNDS)]


def _divisors(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    units = np.searchsorted(_BOUNDS, np.abs(numbers), side="right")
    return np.array(list(EPOCHS.values()))[units]


def _is_calendar(number: float) -> bool:
    return any(low <= number < high for low, high in _CALENDAR)


def _any_calendar(numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.any(
        [(low <= numbers) & (numbers < high) for low, high in _CALENDAR], axis=0
    )
    return inside


def _timestamp(moment: datetime, zone: tzinfo) -> float:
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).timestamp()


def _iso(text: str, zone: tzinfo) -> tuple[datetime, tzinfo]:
    """Read ISO 8601 as it is met; gives the zone that counts where the time states no offset.

    Raises
    ------
    ValueError
    """
    day = _DAY_OF_ZONE(text)
    if day is not None:  # as in XML; Python would read the offset as a time of day
        text = f"{day[1]}T00:00:00{day[2]}"
    try:
        return datetime.fromisoformat(text), zone
    except ValueError:
        pass
    if len(text) > _ISO_CHARS_MAX:
        raise ValueError("too long")
    text = text.strip()
    if (named := _IN_BRACKETS.search(text)) is not None:  # RFC 9557; a stated offset counts more
        text = text[: named.start()]
        found = named_zone(named[1])
        if found is None:
            raise ValueError("an unknown time zone")
        zone = found
    text = _ZERO.sub("+00:00", text) if _ZERO.search(text) else text
    text = _SPACE_BEFORE_OFFSET.sub("", text)
    text = _SLASHES.sub(r"\1-\3-\4", text, count=1)
    return datetime.fromisoformat(text), zone


def _digits(number: Any) -> str:
    """A whole number as text; another one as it is."""
    whole = isinstance(number, int) or (number.is_integer() and abs(number) < EXACT_MAX)
    return shown(int(number)) if whole else shown(number)


def _number(text: str) -> int | float:
    try:
        return int(text) if text.isdecimal() and len(text) <= DIGITS_MAX else float(text)
    except ValueError:
        raise Bad("bad_time", f"time: {text[:40]!r} is not a number") from None


def _not_a_number(number: Any) -> float:
    raise Bad("wrong_type", "time: a number, expected ISO 8601 text")


_PLAIN = TimeReader(TimeField(path="time"), frozenset())
