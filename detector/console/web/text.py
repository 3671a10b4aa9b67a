"""What pages write, made safe to read: one function for all texts, and how numbers, amounts and times look.

A text of an event is somebody else's. Jinja2 escapes markup; `seen` does the rest: a sign that is not seen,
that turns the direction of writing, or that stacks on others is written as its code. So texts that look alike
are alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from detector.core.intervals import wilson

CHARS_MAX = 2000  # of one text on a page
MARKS_MAX = 3  # accents on one sign
_UNSEEN = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp", "Zs"}  # controls, directions, unassigned, odd spaces
_BLANK = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}  # letters and marks without ink
_PLAIN = re.compile(
    r"[ -~\u00a1-\u00ac\u00ae-\u02ff]*"
)  # nothing to look for: Latin, without the soft hyphen


def seen(value: object, chars_max: int = CHARS_MAX) -> str:
    """Write a value with every sign visible: invisible ones as their code, the rest as it is.

    Examples
    --------
    >>> seen("pay\\u202egnp"), seen("a" + chr(10) + "b"), seen(None)
    ('pay⟨U+202E⟩gnp', 'a⟨↵⟩b', '')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        value = ", ".join(f"{name} {seen(part)}" for name, part in value.items())
    text = str(value)
    left_out = len(text) - chars_max
    text = text[:chars_max]
    if not _PLAIN.fullmatch(text):
        text = _marked(text)
    return text if left_out <= 0 else f"{text} … ({left_out:,} more characters)"


def _marked(text: str) -> str:
    written: list[str] = []
    marks = 0
    for sign in text:
        kind, code = unicodedata.category(sign), ord(sign)
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        hidden = code in _BLANK or 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF
        if sign == "\n":
            written.append("⟨↵⟩")
        elif hidden or marks > MARKS_MAX or (kind in _UNSEEN and sign != " "):
            written.append(f"⟨U+{code:04X}⟩")
        else:
            written.append(sign)
    return "".join(written)


def exact(value: object) -> Markup:
    """Escape a value and change nothing else, for fields that are sent back."""
    return escape("" if value is None else str(value))


def number(value: float | int | None, digits: int = 6) -> str:
    """Write a number with thousands apart, at most `digits` digits behind them.

    Examples
    --------
    >>> number(1234567), number(0.012345678), number(1234.5), number(None)
    ('1,234,567', '0.0123457', '1,234.5', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, int) or value == int_or_none(value):
        return f"{int(value):,}"
    whole = f"{value:,.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"
    return whole


def int_or_none(value: float) -> int | None:
    """Give the whole number that a float is, below 1e15; else None."""
    return int(value) if abs(value) < 1e15 and value == int(value) else None


def amount(value: float | None, unit: str | None = None) -> str:
    """Write an amount with two decimals and its unit.

    Examples
    --------
    >>> amount(1234.5, "EUR"), amount(None)
    ('1,234.50 EUR', '–')
    """
    if value is None:
        return "–"
    return f"{value:,.2f} {unit}" if unit else f"{value:,.2f}"


def iso(time_s: float) -> str:
    """Write a time, s since the epoch, in UTC; one out of bounds is the nearest that can be written."""
    bounded = min(max(time_s, 0.0), 253402300799.0)
    return datetime.fromtimestamp(bounded, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text: object) -> float | None:
    """Read an ISO time as seconds since the epoch; None if it is none."""
    try:
        parsed = datetime.fromisoformat(str(text).strip().replace("Z", "+00:00"))
    except ValueError:
        return None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def when(time_s: float | str | None) -> Markup:
    """Write a moment. Without a script it is in UTC; the script writes it in the zone of the reader."""
    value = seconds(time_s) if isinstance(time_s, str) else time_s
    if value is None:
        return Markup("–") if time_s is None else escape(seen(time_s, 40))
    written = iso(value)
    shown = f"{written[:10]} {written[11:19]}"
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(written, shown, shown)


def age(duration_s: float) -> str:
    """Write how long something lasts, in one unit.

    Examples
    --------
    >>> age(12), age(200), age(7200), age(200_000)
    ('12 s', '3 min', '2 h', '2 d')
    """
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if duration_s >= size:
            return f"{int(duration_s / size):,} {unit}"
    return f"{max(int(duration_s), 0)} s"


def share(part: int, whole: int) -> str:
    """Write a share in percent with its 95 % interval by Wilson, so that few answers look like few."""
    if whole == 0:
        return "–"
    low, high = wilson(part, whole)
    return f"{part / whole:.0%} ({max(low, 0):.0%} to {min(high, 1):.0%})"


def words(value: Any) -> str:
    """Write a name of a program, such as a code, in words."""
    return seen(value).replace("_", " ")
