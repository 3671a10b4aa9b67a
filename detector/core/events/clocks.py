"""Times in several fields: day and time of day, as in the files of many banks (`Datum` and `Uhrzeit`); or
year, month, day and so on, each by itself.

The result is the same double as that of one field with all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.clock import DAY_US, Clock, read_clock
from detector.config.tree import TIME_MAX_S, TimeField
from detector.core.events.rejection import Bad
from detector.core.events.times import TimeReader, zone_of
from detector.core.events.values import Column, shown

_CACHED_MAX = 4096  # times of day, and quarters of hours
_QUARTER_US = 900_000_000  # offsets from UTC change between these
_EPOCH = datetime(1970, 1, 1)


class ClockedTimes(TimeReader):
    """Reads times of one stream from pairs of a day and a time of day; see `TimeReader`."""

    def __init__(self, field: TimeField, missing: frozenset[str]) -> None:
        super().__init__(field.model_copy(update={"zone": "UTC"}), missing)  # days as they are written
        self._own_zone = zone_of(field.zone)
        self._clock_of = lru_cache(_CACHED_MAX)(self._read)
        self._offset_us = lru_cache(_CACHED_MAX)(self._offset)

    def one(self, found: Any) -> float:
        """Convert a day and a time of day to s since the epoch; raises as `TimeReader.one` does."""
        day, at = found
        start_s = super().unbounded(day)
        if not 0.0 <= start_s < TIME_MAX_S:
            raise Bad("out_of_range", f"time: {shown(day)} is not between 1970 and 2200")
        start_us = round(start_s * 1e6)
        if start_us % DAY_US:
            raise Bad("bad_time", f"time: {shown(day)} is no day alone, and event.time.clock is set")
        clock = self._clock(at)
        if clock is None:
            raise Bad("bad_time", f"time: {shown(at)} is no time of day")
        wall = start_us + clock.micros
        away = self._offset_us(wall // _QUARTER_US) if clock.offset_us is None else clock.offset_us
        seconds = (wall - away) / 1e6
        if not 0.0 <= seconds < TIME_MAX_S:
            raise Bad("out_of_range", f"time: {shown(day)} {shown(at)} is not between 1970 and 2200")
        return seconds

    def column(self, column: Column) -> NDArray[np.float64]:
        """Convert n pairs as `one` does; NaN, or out of its bounds: look closer at this one."""
        days, clocks = zip(*column, strict=True)
        seconds = super().column(list(days))
        micros = self._micros(clocks)
        plain = (seconds >= 0.0) & (seconds < TIME_MAX_S) & (micros >= 0)
        starts = np.rint(np.where(plain, seconds, 0.0) * 1e6).astype(np.int64)
        plain &= starts % DAY_US == 0
        walls = starts + micros
        if self._own_zone is not UTC:
            quarters, places = np.unique(walls // _QUARTER_US, return_inverse=True)
            walls -= np.array([self._offset_us(one) for one in quarters.tolist()], dtype=np.int64)[places]
        return np.where(plain, walls / 1e6, np.nan)

    def _micros(self, clocks: Sequence[Any]) -> NDArray[np.int64]:
        """Microseconds since midnight; -1: look closer at this one."""
        if not set(map(type, clocks)) <= {str, int}:
            return np.full(len(clocks), -1)
        found = map(self._clock_of, clocks)
        return np.array(
            [-1 if one is None or one.offset_us is not None else one.micros for one in found], dtype=np.int64
        )

    def _clock(self, found: Any) -> Clock | None:
        if found is None:
            return Clock(0, None)
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        return self._clock_of(found) if type(found) in (str, int) else None

    def _read(self, found: str | int) -> Clock | None:
        if isinstance(found, int):
            return read_clock(f"{found:06d}") if 0 <= found < 1_000_000 else None
        text = found.strip()
        return Clock(0, None) if not text or text in self._missing else read_clock(text)

    def _offset(self, quarter: int) -> int:
        wall = _EPOCH + timedelta(microseconds=quarter * _QUARTER_US)
        away = wall.replace(tzinfo=self._own_zone).utcoffset() or timedelta()
        return round(away / timedelta(microseconds=1))


def put_together(parts: Sequence[Any]) -> str | None:
    """Year, month and day, and hour, minute and second as far as they are there, as ISO 8601.

    Returns
    -------
    str
        What is no date becomes a text that is none. None: a part is missing.

    Examples
    --------
    >>> put_together([2026, "03", 1.0]), put_together([2026, 3, 1, 9, 5])
    ('2026-03-01', '2026-03-01T09:05:00')
    """
    if None in parts:
        return None
    whole = [part if type(part) is int else _whole(part) for part in parts]
    if any(not 0 <= part < 10_000 for part in whole):
        return ", ".join(map(shown, parts))
    year, month, day, *at = whole
    text = f"{year:04}-{month:02}-{day:02}"
    if at:
        hour, minute, second = (*at, 0, 0)[:3]
        text += f"T{hour:02}:{minute:02}:{second:02}"
    return text


def _whole(part: Any) -> int:
    """A whole number, also in text; -1: it is none."""
    if isinstance(part, float) and part.is_integer():
        return int(part)
    text = part.strip() if isinstance(part, str) else ""
    return int(text) if text.isdecimal() and len(text) <= 4 else -1
