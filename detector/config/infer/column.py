"""The values of one field in the sample, and what kind of field it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from detector.config.infer.choice import Kind
from detector.config.kinds import FEW_EVENTS as FEW
from detector.config.kinds import KINDS, recognise
from detector.config.tree import EventLimits, split_path

LIMITS = EventLimits()
PATH_CHARS_MAX = 256  # of the tree
DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ID_WORDS = _words("id uuid guid key ref reference number no nr num token hash rrn stan address")
EVENT_WORDS = _words("event transaction txn tx trx message msg record payment transfer order")
AMOUNT_WORDS = ("amount", "amt", "value", "total", "price", "sum")
TIME_WORDS = _words("time datetime date ts timestamp at epoch when created occurred")
ENTITY_WORDS = {
    word: rank
    for rank, words in enumerate(
        (
            "card pan",
            "account acct iban",
            "customer client user member holder cardholder payer sender subscriber",
            "device phone msisdn email ip",
            "merchant acceptor payee beneficiary receiver seller counterparty",
            "terminal pos atm store shop branch",
        )
    )
    for word in _words(words)
}


@dataclass
class Column:
    """All values of one field, in order. An empty text counts as missing, as in the parser."""

    path: str
    events: int = 0  # in the sample
    values: list[str | int | float | bool] = field(default_factory=list)
    trouble: str = ""  # why it cannot be used

    @cached_property
    def words(self) -> list[str]:
        """`card.holderId`: card, holder, id."""
        return [w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", self.path)]

    @cached_property
    def noun(self) -> str:
        """What the field belongs to: the last word that is not `id` or the like."""
        return next(
            (word for word in reversed(self.words) if word not in ID_WORDS and not word.isdigit()), ""
        )

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(text_of(value) for value in self.values)

    @cached_property
    def types(self) -> set[type]:
        return {type(value) for value in self.values}

    @property
    def distinct(self) -> int:
        return len(self.counts)

    @property
    def missing(self) -> float:
        return 1.0 - len(self.values) / self.events

    @property
    def optional(self) -> bool:
        return len(self.values) < self.events or self.events < FEW

    @property
    def says_id(self) -> bool:
        return bool(self.words) and self.words[-1] in ID_WORDS

    @property
    def repeated(self) -> float:
        """Share of values that occurred before."""
        return 1.0 - self.distinct / max(1, len(self.values))

    @property
    def recurs(self) -> bool:
        """Whether values come back like those of a key: many different ones, most of them repeatedly."""
        return max(20, 0.01 * len(self.values)) <= self.distinct <= 0.9 * len(self.values)

    @property
    def unique(self) -> bool:
        return len(self.values) == self.events == self.distinct

    @cached_property
    def spaced(self) -> float:
        """Share of values with a space in them."""
        return sum(" " in text_of(value) for value in self.values) / max(1, len(self.values))

    @cached_property
    def ascending(self) -> bool:
        """Whether the values are whole numbers, each above the one before."""
        return self.types == {int} and all(a < b for a, b in zip(self.values, self.values[1:], strict=False))  # type: ignore[operator]

    @cached_property
    def decimal(self) -> bool:
        """Whether the values are numbers, or texts that the name or a decimal point shows to be numbers."""
        if self.types <= {int, float}:
            return True
        if self.types != {str} or not all(
            re.fullmatch(r"-?\d{1,15}(\.\d+)?", v, re.ASCII) for v in self.counts
        ):
            return False
        return any("." in value for value in self.counts) or self.noun in AMOUNT_WORDS[:2]

    @cached_property
    def dates(self) -> bool:
        """Whether the values are days without a time of day."""
        return self.types == {str} and all(map(DAY.fullmatch, self.counts))

    def is_key(self) -> bool:
        """Whether the values can be an id or an entity: texts or whole numbers."""
        return self.types <= {str, int} and all(len(text) <= LIMITS.key_chars_max for text in self.counts)

    def is_some_time(self) -> bool:
        """Whether the values can be a time."""
        return bool(self.time_format(plausible=False))

    def time_format(self, *, plausible: bool = True) -> str:
        """The one format of all values, or "". With `plausible`, numbers are in the years 2000 to 2100."""
        formats = {_time_format(value, plausible=plausible) for value in self.values}
        return formats.pop() if len(formats) == 1 else ""

    def time_reason(self, reason: str) -> str:
        """Why this is the time, and what is assumed."""
        reason = reason or "never missing, always a time"
        if self.time_format(plausible=False) != "iso8601":
            return reason
        if self.dates:
            return f"{reason}; days without a time of day: all events of a day are at midnight UTC"
        bare = sum(datetime.fromisoformat(str(value)).tzinfo is None for value in self.values)
        return f"{reason}; {bare} of {self.events} have no time zone: UTC is assumed" if bare else reason


class Judgement(NamedTuple):
    """What columns are, and why."""

    columns: Sequence[Column]  # one per part of a field; else one
    kind: Kind
    reason: str


def judge(columns: Sequence[Column]) -> list[Judgement]:
    """Decide what columns are that are neither the id nor the time; in the order of their first columns.

    Kinds of fields are asked about all columns that are left at once: a field may have several parts.
    """
    place = {id(column): index for index, column in enumerate(columns)}
    judged = [Judgement((c,), *other) for c in columns if (other := _not_a_field(c)) is not None]
    decided = {id(one.columns[0]) for one in judged}
    left = {id(column): column for column in columns if id(column) not in decided}
    for kind, found in recognise(list(left.values())):
        parts = [left.pop(id(column)) for column in found.columns]
        judged += _judge_field(parts, kind, found.reason)
    judged += [Judgement((column,), "ignored", "of no kind of field") for column in left.values()]
    return sorted(judged, key=lambda one: place[id(one.columns[0])])


def _judge_field(parts: Sequence[Column], kind: Kind, reason: str) -> Iterator[Judgement]:
    """Accept what a kind recognised, if it is not a counter, a key or the like and a path can name it."""
    if len(parts) == 1:
        yield Judgement(parts, *(_not_a_value(parts[0], kind) or (kind, reason)))
        return
    paths = tuple(column.path for column in parts)
    path = ", ".join(paths)
    if split_path(path, KINDS[kind].parts) != paths:
        reason = f"part of a {kind} field, but a path cannot have commas in its names"
    elif len(path) > PATH_CHARS_MAX:
        reason = f"part of a {kind} field, but the paths together are longer than {PATH_CHARS_MAX} characters"
    else:
        yield Judgement(parts, kind, reason)
        return
    yield from (Judgement((column,), "ignored", reason) for column in parts)


def _not_a_field(column: Column) -> tuple[Kind, str] | None:
    """What a column is that cannot be a field, and why."""
    n, distinct = len(column.values), column.distinct
    if column.trouble:
        return "ignored", column.trouble
    if distinct == 1 and column.events >= FEW:
        return "ignored", "constant"
    if time_rank(column) is not None:
        return "ignored", "another time; an event has only one"
    if column.is_key() and column.noun in ENTITY_WORDS:
        return "entity", f"by its name ({column.noun})"
    if column.is_key() and id_rank(column) is not None and column.events >= FEW:
        return "ignored", "never repeats, could be the id"
    if max(map(len, column.counts)) > LIMITS.text_chars_max:
        return "ignored", f"longer than {LIMITS.text_chars_max} characters"
    if column.is_key() and column.says_id and n >= FEW:
        recurs = column.recurs
        return ("entity", "an identifier that recurs") if recurs else ("ignored", "an identifier")
    return None


def _not_a_value(column: Column, kind: Kind) -> tuple[Kind, str] | None:
    """What a column is that looks like a field of this kind, but is not one, and why."""
    n, distinct = len(column.values), column.distinct
    if kind == "numeric" and column.events >= FEW and column.ascending:
        return "ignored", "a counter"
    if kind == "categorical" and column.types == {str}:
        with_digits = sum(any(c.isdigit() for c in text) for text in column.counts)
        if column.recurs and distinct >= 50 and column.is_key() and with_digits >= 0.5 * distinct:
            return "entity", "values recur like those of a key"
        if n >= FEW and distinct > 0.9 * n:
            return "ignored", "nearly every event has a different value"
    return None


def id_rank(column: Column) -> int | None:
    """Rank as the id, 0 is best; None: it cannot be the id."""
    if not (column.unique and column.is_key()) or column.noun in ENTITY_WORDS:
        return None
    if column.says_id and (not column.noun or column.noun in EVENT_WORDS):
        return 0
    if column.says_id or EVENT_WORDS & set(column.words):
        return 1
    texts = column.types == {str} and not column.spaced and not column.decimal
    return 2 if texts and not column.time_format() else None


def time_rank(column: Column) -> tuple[bool, bool, bool, bool] | None:
    """Rank as the time, the lowest is best; None: it cannot be the time."""
    kind = column.time_format()
    names_time = bool(TIME_WORDS & set(column.words))
    if len(column.values) < column.events or not kind or not (names_time or kind == "iso8601"):
        return None
    return column.dates, not EVENT_WORDS & set(column.words), not names_time, kind != "iso8601"


def _time_format(value: Any, *, plausible: bool) -> str:
    if isinstance(value, bool):
        return ""
    if isinstance(value, str) and not re.fullmatch(r"\d{1,13}(\.\d{1,9})?", value, re.ASCII):
        return "iso8601" if _is_iso(value) else ""
    number = float(value) if isinstance(value, str) else value  # a whole number may exceed any float
    low, high = (946_684_800.0, 4_102_444_800.0) if plausible else (0.0, 7_258_118_400.0)
    if low <= number < high:
        return "epoch_s"
    return "epoch_ms" if low * 1e3 <= number < high * 1e3 else ""


def _is_iso(text: str) -> bool:
    try:
        moment = datetime.fromisoformat(text)
        return (len(text) > 10 or DAY.fullmatch(text) is not None) and 0 <= moment.timestamp() < 7_258_118_400
    except (ValueError, OverflowError):
        return False


def text_of(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
