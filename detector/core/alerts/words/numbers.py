"""Numbers, money, times and values of events as people read them."""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime

from detector.core.alerts.words.english import (
    AN_INSTANT,
    DATE,
    DECIMAL,
    DURATIONS,
    MONTHS,
    TEXTS,
    THOUSANDS,
)

DIGITS = 4  # of a number that is no whole one
RANGE_DIGITS = 2  # of the ends of a range
WHOLE_MAX = 1e15  # larger numbers are written with an exponent
RARE_MAX = 1e9  # events of which one is as unusual, at most told
VALUE_CHARS_MAX = 60  # of a value in a sentence
_HIDDEN = ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp")  # control, format (bidi), private, unassigned


def number(value: float, digits: int = DIGITS) -> str:
    """Write a number with signs between thousands: whole ones as they are, others to so many digits."""
    size = abs(value)
    if not size < WHOLE_MAX or 0.0 < size < 1e-6:
        return f"{value:.{digits - 1}e}" if math.isfinite(value) else TEXTS["missing"]
    if value == int(value):
        return _signed(f"{value:,.0f}")
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    text = f"{value:,.{decimals}f}"
    return _signed(text.rstrip("0").rstrip(".") if "." in text else text)


def money(value: float, currency: str | None, *, whole: bool = False) -> str:
    """Write an amount with two decimals, or none if `whole`, and its currency in front."""
    written = f"{value:,.0f}" if whole else f"{value:,.2f}"
    text = _signed(written) if abs(value) < WHOLE_MAX else number(value)
    return f"{currency} {text}" if currency else text


def rounded(value: float) -> float:
    """Round an end of a range: nobody's habit has more digits. What is finite stays finite."""
    found = float(f"{value:.{RANGE_DIGITS}g}") if math.isfinite(value) else value
    return value if math.isinf(found) else found


def short(value: float) -> float:
    """Round a number for programs."""
    return float(f"{value:.{DIGITS}g}")


def one_in(score: float) -> str:
    """Write of how many events one scores as high."""
    return number(round(rounded(min(10.0 ** max(score, 0.0), RARE_MAX))))


def about(count: float) -> float:
    """A number of events, to two digits."""
    return float(f"{round(count):.2g}")


def duration(seconds: float) -> str:
    """Write a time in the largest unit of which there are two."""
    if not seconds >= 0.5:
        return AN_INSTANT
    unit, one, several = next((row for row in DURATIONS if seconds >= 2.0 * row[0]), DURATIONS[-1])
    count = round(seconds / unit)
    return (one if count == 1 else several).format(n=_signed(f"{count:,}"))


def date(time_s: float) -> str:
    """Write a day, UTC; the time is s since the epoch."""
    day = datetime.fromtimestamp(time_s, UTC)
    return DATE.format(day=day.day, month=MONTHS[day.month - 1], year=day.year)


def percent(share: float) -> str:
    """Write a share."""
    if share < 0.005:
        return TEXTS["below_percent"]
    return TEXTS["percent"].format(n=f"{100.0 * share:.0f}")


def printed(value: object) -> str:
    """Write a value of an event so that it cannot disturb a page, a terminal or the sentence around it.

    Characters that are not seen (control characters, bidirectional marks) become �; a long value is cut.
    """
    text = str(value)
    cut = text if len(text) <= VALUE_CHARS_MAX else f"{text[: VALUE_CHARS_MAX - 1]}…"
    return "".join("�" if unicodedata.category(sign) in _HIDDEN else sign for sign in cut)


def _signed(text: str) -> str:
    """Use the language's signs in a number with commas and a point."""
    return text if (THOUSANDS, DECIMAL) == (",", ".") else text.translate({44: THOUSANDS, 46: DECIMAL})
