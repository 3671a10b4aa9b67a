"""How a text writes a time, as a pattern of `detector.config.patterns`: a day, a time of day, a zone.

A text is cut into parts from left to right, each of which is read by itself: the day by numbers, by a month
in words or by the signs of Chinese, Japanese and Korean; the time of day; AM or PM; an offset, or the name of
a zone. What stands between them are spaces, signs and few words. So no combination needs to be known.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from detector.config.calendar_words import is_weekday, month_of
from detector.config.infer.vocabulary import word_set
from detector.config.infer.zones import is_place, is_zone
from detector.config.patterns import PATTERN_CHARS_MAX

CHARS_MAX = 64  # of a text that is looked at; the zone in words behind it aside
FIGURES = re.compile(r"(?<!\d)(\d{1,4})([./-])(\d{1,2})\2(\d{4}|\d{2})(?!\d)", re.ASCII)
_COLONS = re.compile(r"(?:19|20)\d\d:(?:0[1-9]|1[0-2]):(?:[0-2]\d|3[01])(?!\d)", re.ASCII)
_MONTHS = re.compile(r"(\d{4})([./-])(\d{1,2})(?![\d./-])|(\d{1,2})([./-])(\d{4})(?![\d./-])", re.ASCII)
_CLOCK = re.compile(
    r"\d{1,2}([:.hH])\d{2}(?!\d)(?:(?:\1|:)(\d{2})(?!\d))?(?:([.,:])\d{1,9}(?!\d))?", re.ASCII
)
_HALF = re.compile(r"\s?(?:[AaPp]\.?\s?[Mm](?:\.|\b|(?=Z\b))|午前|午後|上午|下午|오전|오후)")
_OFFSET = re.compile(r"Z\b|[+-]\d\d(?::?\d\d)?(?!\d)", re.ASCII)
_DIGITS = re.compile(r"\d+", re.ASCII)
_ORDINAL = re.compile(r"(?:st|nd|rd|th|er|º|ª)\b")
_WORD = re.compile(r"[^\W\d_]+")
_PLACE = re.compile(r"[A-Za-z_]+(?:/[A-Za-z0-9_+-]+){1,2}", re.ASCII)
_SIGNS = {"年": "%Y", "년": "%Y", "月": "%m", "월": "%m", "日": "%d", "일": "%d"}
_SIGNS |= {"時": "%H", "时": "%H", "点": "%H", "시": "%H", "分": "%M", "분": "%M", "秒": "%S", "초": "%S"}
_SIGNED = re.compile(rf"(\d{{1,4}})( ?)([{''.join(_SIGNS)}])", re.ASCII)
_REMARK = re.compile(r" \([^()%]{1,60}\)$")  # behind a time: the zone in words
_BETWEEN = re.compile(r"\s+|[][T,.:|/_@·()-]")
_WORDS = word_set("at um à às as a la las alle ore kl klo o de del of uhr h hs hrs min s t г р в о i")
_COMPACT = {  # digits alone, by how many there are; more are a fraction
    8: ("%Y%m%d",),
    12: ("%y%m%d%H%M%S", "%Y%m%d%H%M"),
    14: ("%Y%m%d%H%M%S",),
}
_CLOCKS = {4: "%H%M", 6: "%H%M%S"}  # digits alone behind a day
_YEAR = re.compile(r"(?:19|20)\d\d", re.ASCII)
DAY = "%D"
"""In the pattern of `scan`: three numbers whose order is not seen from one text."""


@dataclass(slots=True)
class Scan:
    """A text that is cut into the parts of a time."""

    text: str
    at: int = 0
    pattern: str = ""
    seen: set[str] = field(default_factory=set)  # directives

    def take(self, length: int, pattern: str) -> bool:
        """Accept so many characters as a part; False: the text has such a part already."""
        found = set(re.findall("%(.)", pattern))
        if found & self.seen:
            return False
        self.seen |= found
        self.pattern += pattern
        self.at += length
        return True

    def has(self, directives: str) -> bool:
        """Whether one of the directives was seen."""
        return not self.seen.isdisjoint(directives)


def scan(text: str) -> Scan | None:
    """Cut a text into the parts of a time; None: it is none, as far as is known.

    Examples
    --------
    >>> scan("Mar. 01, 2026, 06:47 AM EST").pattern
    '%b %d, %Y, %H:%M %p %Z'
    """
    text = text.strip()
    remark = found[0] if (found := _REMARK.search(text)) else ""
    one = Scan(text.removesuffix(remark))
    if len(one.text) > CHARS_MAX or "%" in text:
        return None
    while one.at < len(one.text):
        if not any(step(one) for step in _STEPS):
            return None
    one.pattern += remark
    writable = one.pattern.isprintable() and len(one.pattern) <= PATTERN_CHARS_MAX
    return one if writable and _is_whole(one.seen) else None


def _is_whole(seen: set[str]) -> bool:
    """Whether there is a day of a year, a month of one, or a day and its time of day."""
    month = bool(seen & set("mb"))
    return (
        "D" in seen
        or (month and bool(seen & set("yY")))
        or (month and "d" in seen and bool(seen & set("HI")))
    )


def _space(one: Scan) -> bool:
    found = _BETWEEN.match(one.text, one.at)
    return found is not None and one.take(len(found[0]), " " if found[0].isspace() else found[0])


def _figures(one: Scan) -> bool:
    """Three numbers, or two of which one is a year."""
    if one.has("DdmbyY"):
        return False
    if found := FIGURES.match(one.text, one.at):
        return one.take(len(found[0]), DAY)
    if found := _COLONS.match(one.text, one.at):
        return one.take(len(found[0]), "%Y:%m:%d")
    if found := _MONTHS.match(one.text, one.at):
        first = found[1] is not None
        return one.take(len(found[0]), f"%Y{found[2]}%m" if first else f"%m{found[5]}%Y")
    return False


def _signed(one: Scan) -> bool:
    """2026年3月1日, 6時15分."""
    found = _SIGNED.match(one.text, one.at)
    return found is not None and one.take(len(found[0]), f"{_SIGNS[found[3]]}{found[2]}{found[3]}")


def _clock(one: Scan) -> bool:
    found = None if one.has("HI") else _CLOCK.match(one.text, one.at)
    if found is None or (found[1] == "." and not one.has("Dd")):
        return False
    mark = found[1]
    between = mark if found[2] is None or one.text[found.end(2) - 3] == mark else ":"
    pattern = f"%H{mark}%M" + (f"{between}%S" if found[2] else "") + (f"{found[3]}%f" if found[3] else "")
    if found[3] and not found[2]:
        return False
    return one.take(len(found[0]), pattern)


def _digits(one: Scan) -> bool:
    """Digits of a day, a year, or a day and a time of day without signs."""
    found = _DIGITS.match(one.text, one.at)
    if found is None:
        return False
    digits = found[0]
    if not one.has("DdmbyY"):
        for pattern in _COMPACT.get(len(digits), ()):
            if _in_range(digits, pattern):
                return one.take(len(digits), pattern)
    if len(digits) == 4 and _YEAR.fullmatch(digits) and not one.has("DyY"):
        return one.take(4, "%Y")
    if len(digits) in _CLOCKS and one.has("Dd") and not one.has("HI") and one.pattern[-1] in " T":
        return one.take(len(digits), _CLOCKS[len(digits)])
    if one.has("S") and one.pattern[-3:] in ("%S.", "%S,"):
        return len(digits) <= 9 and one.take(len(digits), "%f")
    if len(digits) > 2 or one.has("D"):
        return False
    if not one.has("d"):
        ordinal = _ORDINAL.match(one.text, found.end())
        return one.take(len(digits) + len(ordinal[0] if ordinal else ""), "%d")
    return len(digits) == 2 and one.has("b") and not one.has("yY") and one.take(2, "%y")


def _in_range(digits: str, pattern: str) -> bool:
    """Whether the month, the day and the hour are some."""
    year = 4 if pattern[1] == "Y" else 2
    parts = [int(digits[at : at + 2] or 0) for at in range(year, len(digits), 2)]
    limits = ((1, 12), (1, 31), (0, 23), (0, 59), (0, 59))
    century = year == 2 or _YEAR.match(digits) is not None
    return century and all(low <= part <= high for part, (low, high) in zip(parts, limits, strict=False))


def _half(one: Scan) -> bool:
    """AM or PM: the hour is one of twelve."""
    found = _HALF.match(one.text, one.at)
    if found is None or one.has("p"):
        return False
    gap = " " if found[0][0].isspace() else ""
    return one.take(len(found[0]), f"{gap}%p")


def _offset(one: Scan) -> bool:
    found = _OFFSET.match(one.text, one.at) if one.has("HI") else None
    return found is not None and one.take(len(found[0]), "%z")


def _word(one: Scan) -> bool:
    """A month, a day of the week, a zone, or one of the words between the parts."""
    if one.has("HI") and (place := _PLACE.match(one.text, one.at)) and is_place(place[0]):
        return one.take(len(place[0]), "%Z")
    found = _WORD.match(one.text, one.at)
    if found is None:
        return False
    word, end = found[0], found.end()
    # A point belongs to what is cut off, unless it stands between two parts.
    cut = one.text[end : end + 1] == "." and not one.text[end + 1 : end + 2].isalnum()
    if not one.has("Dmb") and month_of(word) is not None:
        return one.take(len(word) + cut, "%b")
    if one.has("HI") and word.isupper() and is_zone(word):
        return one.take(len(word), "%Z")
    if not one.has("a") and is_weekday(word) and not one.has("HI"):
        return one.take(len(word) + cut, "%a")
    if word.casefold() in _WORDS and one.pattern:
        one.pattern += word
        one.at = end
        return True
    return False


_STEPS: tuple[Callable[[Scan], bool], ...] = (
    _signed,
    _figures,
    _clock,
    _half,
    _offset,
    _digits,
    _word,
    _space,
)
