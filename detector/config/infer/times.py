"""How times are written: ISO 8601, numbers of seconds, dates, patterns, steps since a beginning."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from detector.config.clock import DAY_US, read_clock
from detector.config.infer.forms import DAY, FIGURES, Scan, scan
from detector.config.infer.zones import place_of
from detector.config.patterns import UNIVERSAL, compiled, has_clock, has_year, read_pattern
from detector.config.tree import EPOCHS, TIME_MAX_S

# What a number since 1970 may mean: the years 2000 to 2100 in each unit lie apart.
_FROM, _TO = 946_684_800.0, 4_102_444_800.0
_NUMBER = re.compile(r"\d{1,19}(\.\d{1,9})?", re.ASCII)
_ISO = re.compile(
    r"(\d{4}-?\d\d-?\d\d)(?:[T ](\d\d(?::?\d\d(?::?\d\d(?:[.,]\d{1,9})?)?)?)"
    r"( ?(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?(\[[\w/+-]+\])?)?",
    re.ASCII,
)
_COMPACT = re.compile(
    r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])([0-2]\d[0-5]\d[0-5]\d)?", re.ASCII
)
_DIGITS_OF = {
    "%y": r"[0-6]\d",
    "%Y": r"20\d\d",
    "%m": r"(?:0[1-9]|1[0-2])",
    "%d": r"(?:0[1-9]|[12]\d|3[01])",
    "%H": r"(?:[01]\d|2[0-3])",
    "%M": r"[0-5]\d",
    "%S": r"[0-5]\d",
}
_PACKED = {
    form: re.compile("".join(_DIGITS_OF[form[n : n + 2]] for n in range(0, len(form), 2)), re.ASCII)
    for form in ("%y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d%H", "%y%m%d%H%M", "%y%m%d%H")
}
FIRST_TEXTS = 8  # different texts of which each may show the pattern
_CLOCKS_MIN = 20  # different times of day in digits without a name
_PACKED_DISTINCT_MIN = 10  # so many different numbers are hardly all of this form by chance
_USUAL_YEARS = range(1970, 2200)
_YEARS = range(1700, 2200)  # of the calendar that is read; births are among them
SOME_YEAR = 2000  # of times that say none: the default of `event.time.origin`, which has a 29 February
_NO_YEAR = f"they say no year: {SOME_YEAR} is assumed; `origin` has another"
_YEARLESS = ("%d%m", "%m%d", "%d.%m.", "%d.%m", "%d/%m", "%m/%d")  # days, by a name that says so
_NET = re.compile(r"/Date\(-?\d{1,15}(?:[+-]\d{4})?\)/", re.ASCII)
STEPS = {
    "step": "1h",  # as in PaySim
    "steps": "1h",
    "tick": "1s",
    "hour": "1h",
    "hours": "1h",
    "minute": "1m",
    "minutes": "1m",
    "min": "1m",
    "second": "1s",
    "seconds": "1s",
    "sec": "1s",
    "elapsed": "1s",
    "offset": "1s",
    "time": "1s",
    "t": "1s",
    "timestamp": "1s",
    "dt": "1s",
    "timedelta": "1s",
    "delta": "1s",
    "millis": "1ms",
    "ms": "1ms",
    "day": "1d",
    "days": "1d",
}
"""What a number that counts time counts, by the last word of its name."""
_STEP_S = {"1ms": 0.001, "1s": 1.0, "1m": 60.0, "1h": 3_600.0, "1d": 86_400.0}
CLOCK_DIGITS_MAX = 6  # of hours, minutes and seconds
ASCENDING_SHARE = 0.99  # of neighbours, of a number that counts time
ORDERED_VALUES_MAX = 2_000  # that are looked at to see whether times are in order
_SHEET_FROM, _SHEET_TO = 36_526, 73_051  # the years 2000 to 2100 as days since 1899-12-30


CALENDAR = (
    ("year", "jahr", "annee", "ano", "anno", "yyyy"),
    ("month", "monat", "mois", "mes", "mese", "mm"),
    ("day", "tag", "jour", "dia", "giorno", "dd"),
    ("hour", "stunde", "heure", "hora", "ora", "hh"),
    ("minute", "min", "minuto", "mi"),
    ("second", "sec", "sekunde", "seconde", "segundo", "ss"),
)
"""Last words of fields that have one part of a time each."""
_CALENDAR_BOUNDS = ((1970, 2199), (1, 12), (1, 31), (0, 23), (0, 59), (0, 59))


class TimeForm(NamedTuple):
    """How all values of a field are written as times."""

    format: str  # as in `event.time.format`
    note: str = ""  # what was decided or assumed
    days: bool = False  # without a time of day
    step: str = ""  # of steps
    origin: str = ""  # of steps, if not the default
    zone: str = "UTC"  # of times that state none; whose abbreviations are read


def time_form(values: Sequence[Any], *, plausible: bool = True) -> TimeForm | None:
    """The one format of all values; None: they are no times.

    Parameters
    ----------
    plausible
        Numbers must be in the years 2000 to 2100.
    """
    if not values or any(isinstance(value, bool) for value in values):
        return None
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values):
        return None if texts else _of_numbers(values, plausible)
    if all(map(_NUMBER.fullmatch, texts)):
        return _of_numbers([float(text) if "." in text else int(text) for text in texts], plausible)
    first = texts[0].strip()
    if _ISO.fullmatch(first):
        return _iso(texts)
    if all(_NET.fullmatch(text.strip()) for text in texts):
        return TimeForm("auto", "milliseconds since 1970 within /Date()/")
    return _pattern(texts)


def _of_numbers(values: Sequence[Any], plausible: bool) -> TimeForm | None:
    whole = all(isinstance(value, int) or value.is_integer() for value in values)
    if whole and all(map(_COMPACT.fullmatch, (str(int(value)) for value in values))):
        lengths = {len(str(int(value))) for value in values}
        if lengths == {8}:
            return TimeForm("date", "days without a time of day", days=True)
        if lengths == {14}:
            return TimeForm("auto", "digits of a date and a time of day; UTC is assumed")
    if whole and len(texts := {str(int(value)) for value in values}) >= _PACKED_DISTINCT_MIN:
        for form, digits in _PACKED.items():
            if all(map(digits.fullmatch, texts)):
                return TimeForm(form, "digits of a date and a time of day; UTC is assumed")
    for format, scale in EPOCHS.items():
        # With a name given by a person, also other years.
        low, high = (_FROM, _TO) if plausible or scale > 1.0 else (0.0, TIME_MAX_S)
        if all(low * scale <= value < high * scale for value in values):
            return TimeForm(format)
    return None


def day_number(values: Sequence[Any]) -> TimeForm | None:
    """The form of numbers that are days, by a name that says so: 260301, or a spreadsheet's 46082.5.

    Six digits are a date only if all of them are one and the sample is in order in that reading.
    """
    if not values or not all(type(value) in (int, float) for value in values):
        return None
    if all(_SHEET_FROM <= value < _SHEET_TO for value in values) and len(set(values)) > 1:
        whole = all(float(value).is_integer() for value in values)
        note = "a spreadsheet's number of days since 1899-12-30"
        return TimeForm("steps", note, days=whole, step="1d", origin="1899-12-30T00:00:00Z")
    texts = [str(value) for value in values]
    if all(len(text) == 7 and text.isdigit() for text in texts) and len(set(texts)) > 1:
        for form, words in (("%Y%j", "year and day of the year"), ("1%y%m%d", "century, year, month, day")):
            usual = form[0] == "1" or all(int(text[:4]) in _USUAL_YEARS for text in texts)
            if usual and in_order(texts, TimeForm(form, days=True)):
                return TimeForm(form, f"digits of {words}; days without a time of day", days=True)
    if all(len(text) == 6 and text.isdigit() for text in texts):
        for form, words in (("%y%m%d", "year, month, day"), ("%d%m%y", "day, month, year")):
            if in_order(texts, TimeForm(form, days=True)) and len(set(texts)) > 1:
                return TimeForm(form, f"digits of {words}; days without a time of day", days=True)
    return None


def day_without_year(values: Sequence[Any]) -> TimeForm | None:
    """The form of days without a year, by a name that says so: 0103, 01.03.; 103 for the first of March.

    They are days only if all of them are some and the sample is in order in that reading.
    """
    if any(type(value) not in (int, str) for value in values) or len(set(values)) < 2:
        return None
    for form in _YEARLESS:
        if (form[2] == "%") != all(str(value).isdecimal() and len(str(value)) in (3, 4) for value in values):
            continue
        try:
            for value in set(values):
                _by_pattern(form, value)
        except ValueError:
            continue
        if in_order(values, TimeForm(form)):
            return TimeForm(form, f"{_NO_YEAR}; days without a time of day", days=True)
    return None


def in_order(values: Sequence[Any], form: TimeForm) -> bool:
    """Whether hardly any of the times comes before the one in front of it."""
    moments = _moments(values, form)
    pairs = list(itertools.pairwise(moments))
    forward = sum(1 for a, b in pairs if a <= b)
    return bool(moments) and forward >= ASCENDING_SHARE * len(pairs)


def years_between(values: Sequence[Any], form: TimeForm) -> int:
    """Calendar years between the first and the last of the times; 0 for numbers since 1970."""
    years = [
        moment.year if isinstance(moment, datetime) else int(moment.strip()[:4])
        for moment in _moments(values, form)
        if not isinstance(moment, float) and (isinstance(moment, datetime) or moment.strip()[:4].isdecimal())
    ]
    return max(years) - min(years) if years else 0


def _moments(values: Sequence[Any], form: TimeForm) -> list[Any]:
    """The first times of a field, so that they can be compared; empty: one is none."""
    read: Callable[[Any], Any] = str
    if "%" in form.format:
        read = partial(_by_pattern, form.format, zone=ZoneInfo(form.zone))
    elif not isinstance(values[0], str):
        read = float
    try:
        return [read(value) for value in values[:ORDERED_VALUES_MAX]]
    except ValueError:
        return []


def _by_pattern(pattern: str, value: Any, zone: tzinfo = UTC) -> datetime:
    return read_pattern(str(value), pattern, SOME_YEAR, zone)


def _iso(texts: Sequence[str]) -> TimeForm | None:
    days = bare = 0
    for text in texts:
        found = _ISO.fullmatch(text.strip())
        if found is None or not _is_day(found[1]) or (found[2] is not None and int(found[2][:2]) > 24):
            return None
        days += found[2] is None
        bare += found[2] is not None and found[3] is None and found[4] is None
    if days == len(texts):
        note = "days without a time of day: all events of a day are at midnight UTC"
        return TimeForm("iso8601", note, days=True)
    note = f"{bare:,} of {len(texts):,} have no time zone: UTC is assumed" if bare else ""
    return TimeForm("iso8601", note)


def _is_day(text: str) -> bool:
    try:
        return 1970 <= datetime.fromisoformat(text).year < 2200
    except ValueError:
        return False


def _pattern(texts: Sequence[str]) -> TimeForm | None:
    """The pattern of one of the first texts, if all texts can be read by it."""
    few = list(dict.fromkeys(texts))[:FIRST_TEXTS]  # the first may be ambiguous: mar. is a day and a month
    return next(filter(None, (_pattern_of(scan(text), texts) for text in few)), None)


def _pattern_of(first: Scan | None, texts: Sequence[str]) -> TimeForm | None:
    if first is None:
        return None
    pattern, note = first.pattern, ""
    if DAY in pattern:
        order = _order([FIGURES.search(text) for text in texts], half_days="p" in first.seen)
        if order is None:
            return None
        day, note = order
        pattern = pattern.replace(DAY, day)
    tried = [pattern.replace("%H", "%I"), pattern] if "p" in first.seen else [pattern]  # 15:05 PM
    return next(filter(None, (_read_by(one, texts, note) for one in tried)), None)


def _read_by(pattern: str, texts: Sequence[str], note: str) -> TimeForm | None:
    """A pattern, if all texts are read by it, with the zone whose abbreviations they have."""
    place = ("UTC", "")
    try:
        matches = compiled(pattern)
    except ValueError:
        return None
    if "%Z" in pattern:
        found = [matches(text.strip()) for text in texts]
        words = {one["Z"] for one in found if one is not None and "/" not in one["Z"]}
        if len(words) == 1 and words <= UNIVERSAL:
            pattern = pattern.replace("%Z", words.pop())
        elif (some := place_of(words)) is not None:
            place = some
        else:
            return None
    try:
        moments = [read_pattern(text, pattern, SOME_YEAR, ZoneInfo(place[0])) for text in texts]
    except ValueError:
        return None
    if not all(moment.year in _YEARS for moment in moments):
        return None
    days = not has_clock(pattern)
    zoned = days or "%z" in pattern or "%Z" in pattern
    notes = [note, "" if has_year(pattern) else _NO_YEAR, place[1]]
    notes += ["days without a time of day" * days, "UTC is assumed" * (not zoned)]
    return TimeForm(pattern, "; ".join(filter(None, notes)), days=days, zone=place[0])


def _order(matches: Sequence[re.Match[str] | None], *, half_days: bool) -> tuple[str, str] | None:
    """The order of day, month and year, as the values show it, with what is said of it."""
    found = [one for one in matches if one]
    if len(found) < len(matches) or len({one[2] for one in found}) > 1:
        return None
    separator = found[0][2]
    if all(len(one[1]) == 4 for one in found):
        right = all(1 <= int(one[3]) <= 12 and 1 <= int(one[4]) <= 31 for one in found)
        return (f"%Y{separator}%m{separator}%d", "") if right else None
    if all(len(one[1]) == len(one[4]) == 2 for one in found) and _year_first(found):
        return f"%y{separator}%m{separator}%d", "the year is first, as it seems"
    years = {len(one[4]) for one in found}
    if years not in ({2}, {4}) or any(len(one[1]) > 2 for one in found):
        return None
    order = _day_first([(int(one[1]), int(one[3])) for one in found], separator, half_days)
    if order is None:
        return None
    parts = ("%d", "%m") if order[0] else ("%m", "%d")
    return separator.join((*parts, "%Y" if years == {4} else "%y")), order[1]


def _year_first(found: Sequence[re.Match[str]]) -> bool:
    """Whether three numbers of two digits are year, month and day: days change more often than years do."""
    triples = [(int(one[1]), int(one[3]), int(one[4])) for one in found]
    if not all(1 <= month <= 12 and 1 <= day <= 31 for _, month, day in triples):
        return False
    moves = [sum(a[n] != b[n] for a, b in itertools.pairwise(triples)) for n in (0, 2)]
    return moves[1] > moves[0]


def _day_first(pairs: Sequence[tuple[int, int]], separator: str, half_days: bool) -> tuple[bool, str] | None:
    """Whether the day comes before the month, with what is said of it; None: neither is possible."""
    firsts, seconds = max(first for first, _ in pairs), max(second for _, second in pairs)
    if firsts > 31 or seconds > 31 or (firsts > 12 and seconds > 12):
        return None
    if firsts > 12:
        return True, "the day is before the month: some first numbers are above 12"
    if seconds > 12:
        return False, "the month is before the day: some second numbers are above 12"
    # A sample in order moves on by days: the number that changes more often is the day.
    moves = [sum(a[n] != b[n] for a, b in itertools.pairwise(pairs)) for n in (0, 1)]
    if moves[0] != moves[1]:
        first = moves[0] > moves[1]
        why = "the first" if first else "the second"
        return first, (
            f"the {'day is before the month' if first else 'month is before the day'}, as it seems: "
            f"{why} number changes more often, and no number is above 12"
        )
    first = not (separator == "/" and half_days)
    return first, (
        f"whether the day or the month is first cannot be seen: {'the day' if first else 'the month'} is "
        "assumed. Check it"
    )


def is_clock(values: Sequence[Any]) -> bool:
    """Whether all values are times of day: texts with signs, or hours, minutes and seconds in digits.

    Digits could also be hours and minutes: they are times of day only if the sample shows what they are.
    """
    if not values or any(isinstance(value, bool) for value in values):
        return False
    texts = [value.strip() if isinstance(value, str) else _whole_text(value) for value in values]
    if not all(texts):
        return False
    digits = [text.isdecimal() for text in texts]  # int() takes no ²
    if all(digits):
        if any(len(text) > CLOCK_DIGITS_MAX for text in texts):
            return False
        sure = all(len(text) == 4 for text in texts) or max(map(int, texts)) > 2400
        mixed = {len(text) == 4 for text in texts} == {True, False} and any(text[0] == "0" for text in texts)
        return sure and not mixed and all(read_clock(text) for text in _padded(texts, values))
    return not any(digits) and all(read_clock(text) is not None for text in texts)


def covers_hours(texts: Collection[str]) -> bool:
    """Whether so many times of day, so far apart, are none by chance, as numbers of one range may be."""
    clocks = {found.micros for text in texts if (found := read_clock(text)) is not None}
    return len(clocks) >= _CLOCKS_MIN and max(clocks) - min(clocks) >= DAY_US // 2


def _padded(texts: Sequence[str], values: Sequence[Any]) -> list[str]:
    return [text if isinstance(v, str) else text.zfill(6) for text, v in zip(texts, values, strict=True)]


def _whole_text(value: Any) -> str:
    return str(int(value)) if 0 <= value < 1_000_000 and float(value).is_integer() else ""


def is_part(values: Sequence[Any], part: int) -> bool:
    """Whether all values can be one part of a time, as numbered in `CALENDAR`."""
    low, high = _CALENDAR_BOUNDS[part]
    texts = {str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in values}
    return all(text.isdecimal() and len(text) <= 4 and low <= int(text) <= high for text in texts)


def counts_time(values: Sequence[Any], word: str) -> str:
    """The step of a number that counts time since the stream began, as `1h`; "" if it does not.

    Parameters
    ----------
    word
        The last word of the field's name.
    """
    if word not in STEPS or not all(isinstance(value, int | float) for value in values):
        return ""
    most = TIME_MAX_S / _STEP_S[STEPS[word]]
    if any(isinstance(value, bool) or not 0 <= value < most for value in values) or len(set(values)) < 2:
        return ""
    pairs = list(itertools.pairwise(values))
    return STEPS[word] if sum(a <= b for a, b in pairs) >= ASCENDING_SHARE * len(pairs) else ""
