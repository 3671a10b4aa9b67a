"""What a line looks like that is no event, and the command that makes events of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from detector.config.infer.column import Column
from detector.config.infer.times import time_form
from detector.config.infer.vocabulary import NEVER_TIME_WORDS, TIME_WORDS
from detector.config.words import cut

_DATE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}")
_LIKE_TIME = re.compile(
    r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{1,2}:\d\d"
    r"|\d{1,2}[ ./-]{1,2}(?:de )?[^\W\d_]{3,12}\.?[ ./-]{1,2}(?:de )?(?:\d{2}){1,2}\b"
)
_YEAR = re.compile(r"\b\d{4}\b")
_OTHER_YEARS = {*range(1300, 1500), *range(2400, 2700)}  # of the Persian, the Islamic, the Buddhist calendar
TEXTS_MAX = 2_000  # of a time, among which one is looked for that is unlike the others
RARELY_MISSING_MAX = 0.05  # share of events without a time that would be the event's
FEW_EVENTS_MAX = 3  # a file with so few events may hold them in a list


def looks_like(line: bytes) -> str:
    """What a broken line seems to be, with a way out; "" if that is not known.

    Examples
    --------
    >>> looks_like(b"{'id': 7}")
    ", which look like Python's dictionaries, not JSON: write them with json.dumps"
    """
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return ", which are not UTF-8: iconv -f windows-1252 -t utf-8 FILE > events.jsonl"
    if text.startswith("["):
        return (
            ", which are lists without names: give each value one: jq -c '{id: .[0], time: .[1]}' FILE > "
            "events.jsonl"
        )
    if text.startswith('"') and _is_object(text):
        return ", which are JSON inside of a text: jq -c fromjson FILE > events.jsonl"
    if re.match(r"b['\"]\{", text):
        return ", which are bytes as Python prints them: write what is in them, with .decode()"
    if re.match(r"\{\s*'", text):
        return ", which look like Python's dictionaries, not JSON: write them with json.dumps"
    if re.match(r"\{\s*\w+\s*[:=]", text):
        return ", whose names have no quotes: write them as JSON"
    if text.startswith("{"):
        return f", which are no JSON: {_trouble(line)}"
    if "{" in text and text.endswith("}"):
        return ", which have something in front of the JSON: sed 's/^[^{]*//' FILE > events.jsonl"
    return ", which are texts of another kind: write their values as CSV or JSON" if text else ""


def _trouble(line: bytes) -> str:
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        return str(error)
    return "an object that is too large"


def _is_object(text: str) -> bool:
    try:
        inside = msgspec.json.decode(text)
        return isinstance(inside, str) and isinstance(msgspec.json.decode(inside), dict)
    except (msgspec.DecodeError, RecursionError):
        return False


def rarely_missing(column: Column) -> str:
    """What to do about a time that a few events do not have; "" if it is no such time."""
    usual = set(column.words) & TIME_WORDS and not set(column.words) & NEVER_TIME_WORDS
    if not usual or not 0.0 < column.missing <= RARELY_MISSING_MAX or column.time is None:
        return ""
    path = cut(column.path)
    return (
        f"{path} would be the time, but {column.missing:.2%} of the events have none: --time {path} takes "
        "it, and these events are rejected"
    )


def hidden_lists(columns: Iterable[Column]) -> str:
    """What to do with events that hold nothing but lists; "" if there are none."""
    lists = [column for column in columns if column.trouble == "a list"]
    if len(lists) > 1:
        return f"; {cut(', '.join(column.path for column in lists))} are lists: write one object per row"
    return f"; {_taken_out(lists[0])}" if lists else ""


def _taken_out(column: Column) -> str:
    return (
        f"{cut(column.path)} is a list: if its items are the events, take them out: "
        f"jq -c '.{cut(column.path)}[]' FILE > events.jsonl"
    )


def hidden_events(column: Column, *, nobody: bool = False) -> str:
    """Where the events may be, if a column holds them; "" otherwise.

    Parameters
    ----------
    nobody
        Nothing outside of lists says whose events these are.
    """
    if column.trouble == "a list" and (nobody or column.events <= FEW_EVENTS_MAX):
        return _taken_out(column)
    texts = [value for value in column.values if isinstance(value, str)]
    if texts and len(texts) == len(column.values) and all(map(_looks_like_object, texts)):
        return (
            f"{cut(column.path)} holds JSON in a text: if that is the event, take it out: "
            f"jq -c '.{cut(column.path)} | fromjson' FILE > events.jsonl"
        )
    if texts and set(column.words) & TIME_WORDS and (other := _other_calendar(texts)):
        return (
            f"{cut(column.path)} has years of another calendar, as {other}: write them as those of the "
            "common one, or it is no time"
        )
    if _is_odd_time(column, texts):
        return (
            f"{cut(column.path)} looks like a time, but not all its values are of one form that is read: "
            f"write it as 2026-03-01T10:00:00Z; it has {cut(_odd_one(texts))!r}"
        )
    if column.trouble == "a list" and set(column.last_words) & TIME_WORDS:
        return f"{cut(column.path)} is a list, perhaps a time by its parts: write it as 2026-03-01T10:00:00Z"
    return ""


def _is_odd_time(column: Column, texts: Sequence[str]) -> bool:
    """Whether a field with the name of a time has dates or times of day in it that are not read."""
    named = set(column.words) & TIME_WORDS and not set(column.words) & NEVER_TIME_WORDS
    unread = column.time is None and not column.clock and not column.missing
    return bool(texts and named and unread and all(map(_LIKE_TIME.search, texts)))


def _odd_one(texts: Sequence[str]) -> str:
    """One of the texts of a time that are not like most others, or any if all are alike."""
    forms = [None if (form := time_form([text])) is None else form.format for text in texts[:TEXTS_MAX]]
    usual = Counter(forms).most_common(1)[0][0]
    return next((text for text, form in zip(texts, forms, strict=False) if form != usual), texts[0])


def _other_calendar(texts: Sequence[str]) -> str:
    """A year that all texts of dates show to be none of the common calendar; "" if they do not."""
    years = [found[0] for text in texts if (found := _YEAR.search(text))]
    if len(years) < len(texts) or not all(int(year) in _OTHER_YEARS for year in years):
        return ""
    return years[0] if all(_DATE.match(text.strip()) for text in texts) else ""


def _looks_like_object(text: str) -> bool:
    return text.startswith("{") and text.endswith("}") and ":" in text
