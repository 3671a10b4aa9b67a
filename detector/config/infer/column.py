"""The values of one field in the sample, and what they look like."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from detector.config.infer.numbers import Written, symbol_of, value_of, written
from detector.config.infer.times import (
    TimeForm,
    counts_time,
    day_number,
    day_without_year,
    in_order,
    is_clock,
    time_form,
    years_between,
)
from detector.config.infer.vocabulary import (
    ATTRIBUTE_WORDS,
    CODE_WORDS,
    CONCEPTS,
    CURRENCY_CODES,
    DAY_WORDS,
    ENTITY_RANKS,
    ID_WORDS,
    IN_WORDS,
    KNOWN,
    LOGIN_WORDS,
    MEASURE_WORDS,
    OUT_WORDS,
    PAID_OUT_WORDS,
    SHEET_WORDS,
    TEXT_WORDS,
    concept,
    words_of,
)
from detector.config.kinds import FEW_EVENTS as FEW
from detector.config.tree import MISSING, EventLimits

LIMITS = EventLimits()
PATH_CHARS_MAX = 256  # of the tree
KEY_DISTINCT_MIN = 10  # fewer different values are categories, whatever their name
FILLER_SHARE_MIN = 0.2  # of the values, of one that stands for none, as NOTPROVIDED
RECURRING_DISTINCT_MIN = 20  # of a key that has no name of one
WHOLE_MAX = 1e15  # below, a float that is whole is written as a whole number
LONG_DIGITS_MIN = 7  # of a number that may be a key without a name of one
ONCE_EVENTS_MIN = 500  # of which all keys differ: keys of events, or of so many that none has a history
SIDES = frozenset({"payee", "merchant", "payer"})  # of a payment
RUNS_APART_MAX = 0.02  # of documents, those whose lines are in two places: a short number came twice
SPACED_MAX = 0.1  # share of values with a space in them; more are descriptions
CHANCE_MIN = 20.0  # differing pairs that chance would give; fewer prove nothing
STREAM_YEARS_MAX = 5  # of the events of a sample; births and contracts lie further apart
CHANCE_SHARE_MAX = 0.02  # of these that may be seen: people move, and cards are renewed
RANDOM_KEY = re.compile(r"[0-9a-f]{16,}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
MISSING_TEXTS = frozenset(MISSING) | frozenset(
    f"{sign}{word}" for sign in ("", "+", "-") for word in ("inf", "Inf", "infinity", "Infinity")
)
"""Texts of a number that are missing anyway."""
_TELLING = CONCEPTS["card"] | CONCEPTS["account"] | {"name", "nm"}  # what both sides of a payment have
_WORDS = re.compile(r"[^\W\d_][^\s\d]* ")  # T. Tester 7, no DE12 3456
_DIGITS = re.compile(r"\d{1,40}", re.ASCII)
_BRACKETS = re.compile(r"\s*[(\[][^()\[\]]*[)\]]\s*$")
_NAMELESS = re.compile(r"column_(\d{1,4})", re.ASCII)  # as readers of files call them
_CODED = re.compile(r"(?=.*[A-Za-z])([A-Za-z]{1,5})?[-_ ]?(\d{1,40})([A-Za-z]{1,5})?$", re.ASCII)


@dataclass
class Column:
    """All values of one field, in order. An empty text counts as missing, as in the parser."""

    path: str
    events: int = 0  # in the sample
    values: list[str | int | float | bool] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)  # number of the event of each value
    trouble: str = ""  # why it cannot be used
    called: str = ""  # what it is called in a standard; "": its own name says it
    of_envelope: bool = False  # not of the event
    is_first: bool = False  # of the fields

    # --- its name -------------------------------------------------------------------------------------------

    @cached_property
    def words(self) -> list[str]:
        """`card.holderId`: card, holder, id. Of what it is in, `data` says nothing: it is no Italian date."""
        words, own = words_of(self.called or _bare(self.path)), len(self.last_words)
        return [word for word in words[:-own] if word != "data"] + words[-own:]

    @cached_property
    def last_words(self) -> list[str]:
        """Words of the last part of the path."""
        return words_of(self.called or _bare(self.path.rpartition(".")[2]))

    @cached_property
    def noun(self) -> str:
        """What the field belongs to: the last word that is not `id` or the like."""
        return next((w for w in reversed(self.words) if w not in ID_WORDS and not w.isdigit()), "")

    @cached_property
    def entity(self) -> str:
        """The concept of an entity that it identifies by its name; "": none."""
        last = set(self.last_words)
        if not self.words or last & MEASURE_WORDS or last & (ATTRIBUTE_WORDS - {"name", "nm"}):
            return ""
        if "name" in last and last & LOGIN_WORDS and last <= LOGIN_WORDS | {"name"}:  # userName
            return "customer"
        sides = self._sides
        found = concept(self.noun)
        if found in ENTITY_RANKS and (self.says_id or not last & {"name", "nm"}):
            return self._of_side(found, sides)
        if self.noun in _TELLING:  # a name says who it is, if nothing else does
            return self._of_side("", sides)
        if found in ("payer", "payee") and last & {"name", "nm"}:
            return found  # nameOrig
        keys = self.recurs and not self.in_runs and (self.numbered_texts or self.long_numbers)
        if self.noun not in KNOWN and keys:
            return self._of_side("", sides)  # payer.vpa
        return ""

    @property
    def _sides(self) -> set[str]:
        """The sides that it is of, by the last part of its path that says one: not FIToFI.DbtrAcct."""
        if self.called:
            return _sides_of(self.words)
        parts = (words_of(part) for part in reversed(_bare(self.path).split(".")))
        return next(filter(None, map(_sides_of, parts)), set())

    def _of_side(self, found: str, sides: set[str]) -> str:
        if found in ("", "card", "account", "customer", "payer", "email"):
            for side in ("payee", "merchant"):
                if side in sides:
                    return side
        if found in ("", "customer") and "payer" in sides:
            return "payer"
        return found

    @cached_property
    def is_name(self) -> bool:
        """Whether it is a name of somebody and not an id: it is called so, or its values are words."""
        first, last = self.last_words[:1], self.last_words[-1:]
        called = last in (["name"], ["nm"]) or first in (["nom"], ["nombre"], ["nome"])
        return called or self.worded

    @cached_property
    def is_amount(self) -> bool:
        """Whether its name is that of an amount."""
        return self.is_side or any(concept(word) == "amount" for word in self.words)

    @property
    def is_side(self) -> bool:
        """Whether its name is that of one of the two columns of a statement, and of nothing else."""
        words = set(self.last_words)
        rest = words - OUT_WORDS - IN_WORDS - {"money"} - CURRENCY_CODES  # Debit (GBP)
        sides = words & (OUT_WORDS | IN_WORDS) - (set() if "money" in words else {"in", "out"})
        return bool(sides) and not rest

    @cached_property
    def nameless(self) -> int:
        """Number of a column of a file without a header, from 1; 0: it has a name."""
        return int(found[1]) if (found := _NAMELESS.fullmatch(self.path)) else 0

    @cached_property
    def coded(self) -> bool:
        """Whether its numbers are whole, and its name is that of a code, a kind or a key: no measure."""
        last = self.last_words
        if not last or not self.decimal or not self.whole_numbers:
            return False
        if next((word for word in reversed(last) if word != "id"), "") in CODE_WORDS:
            return True
        return not set(last) & MEASURE_WORDS and (self.says_id or concept(self.noun) in ENTITY_RANKS)

    @property
    def for_people(self) -> bool:
        """Whether its name is that of a text for people, as a description."""
        return not TEXT_WORDS.isdisjoint(self.words[-1:])

    @property
    def says_id(self) -> bool:
        return bool(self.words) and self.words[-1] in ID_WORDS

    @property
    def numbered(self) -> bool:
        """Whether the name ends in a number, as card2."""
        return bool(self.words) and self.words[-1].isdigit()

    # --- its values -----------------------------------------------------------------------------------------

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(text_of(value) for value in self.values)

    @cached_property
    def types(self) -> set[type]:
        """Types of the values; texts that are written numbers count as they are."""
        return {type(value) for value in self.values}

    @property
    def distinct(self) -> int:
        return len(self.counts)

    @property
    def missing(self) -> float:
        return 1.0 - len(self.values) / self.events

    @property
    def repeated(self) -> float:
        """Share of values that occurred before."""
        return 1.0 - self.distinct / max(1, len(self.values))

    @property
    def recurs(self) -> bool:
        """Whether values come back like those of a key: many different ones, most of them repeatedly.

        One that is very frequent is left out: it stands for none.
        """
        n, distinct = len(self.values), self.distinct
        most = max(self.counts.values(), default=0)
        if most > FILLER_SHARE_MIN * n:
            n, distinct = n - most, distinct - 1
        return max(RECURRING_DISTINCT_MIN, 0.01 * n) <= distinct <= 0.9 * n

    @cached_property
    def in_runs(self) -> bool:
        """Whether nearly all events of a value are neighbours, as the lines of a document are."""
        runs = sum(1 for _ in itertools.groupby(map(text_of, self.values)))
        return runs <= (1.0 + RUNS_APART_MAX) * self.distinct and self.distinct < len(self.values)

    @cached_property
    def numbered_texts(self) -> bool:
        """Whether its values are single words, most of them with digits, as keys are."""
        with_digits = sum(any(letter.isdigit() for letter in text) for text in self.counts)
        return self.types == {str} and with_digits >= 0.5 * self.distinct and self.spaced <= SPACED_MAX

    @cached_property
    def long_numbers(self) -> bool:
        """Whether its values are whole numbers with as many digits as a telephone's."""
        return self.whole and min(map(len, self.counts)) >= LONG_DIGITS_MIN

    @cached_property
    def same_length(self) -> bool:
        """Whether all values have as many characters, as those of a key that a system gives."""
        return len(set(map(len, self.counts))) == 1

    @property
    def unique(self) -> bool:
        return len(self.values) == self.events == self.distinct

    @cached_property
    def spaced(self) -> float:
        """Share of values with a space in them."""
        return sum(" " in text_of(value) for value in self.values) / max(1, len(self.values))

    @cached_property
    def worded(self) -> bool:
        """Whether many of its values are words with spaces between them, the first one without digits."""
        worded = sum(bool(_WORDS.match(text_of(value))) for value in self.values)
        return worded > SPACED_MAX * len(self.values)

    @cached_property
    def whole(self) -> bool:
        """Whether the values are whole numbers, also as 12.0."""
        return self.types <= {int, float} and all(
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            for value in self.values
        )

    @cached_property
    def whole_numbers(self) -> bool:
        """Whether its numbers are whole, also in texts as 12.0."""
        return self.whole or (
            self.types == {str} and all(math.isnan(n) or n.is_integer() for n in self.numbers)
        )

    @cached_property
    def priced(self) -> bool:
        """Whether its texts are numbers with a currency or a fraction: no keys."""
        if self.types != {str} or not self.decimal:
            return False
        return bool(self.symbol) or not self.whole_numbers

    @cached_property
    def ascending(self) -> bool:
        """Whether the values are whole numbers, also as digits in text, each above the one before."""
        if self.types == {str} and all(map(_DIGITS.fullmatch, self.counts)):
            return all(int(a) < int(b) for a, b in itertools.pairwise(map(str, self.values)))
        return self.whole and all(a < b for a, b in itertools.pairwise(self.values))  # type: ignore[operator]

    @property
    def is_counter(self) -> bool:
        """Whether its numbers rise in small steps, as those of rows."""
        return self.ascending and self.numbers[-1] - self.numbers[0] < 2 * len(self.values)

    @property
    def counts_rows(self) -> bool:
        """Whether it says 1, 2, 3 and so on."""
        return self.ascending and [int(self.values[0]), int(self.values[-1])] == [1, len(self.values)]

    @cached_property
    def digits(self) -> bool:
        """Whether all values are numbers, or digits in texts."""
        return self.types <= {int, float} or all(map(_DIGITS.fullmatch, self.counts))

    @cached_property
    def sorted(self) -> bool:
        """Whether no number is below the one before, also of digits in texts."""
        if self.types == {str} and all(map(_DIGITS.fullmatch, self.counts)):
            return all(int(a) <= int(b) for a, b in itertools.pairwise(map(str, self.values)))
        numbers = [value for value in self.values if not isinstance(value, str)]
        return all(a <= b for a, b in itertools.pairwise(numbers))

    @cached_property
    def written(self) -> Written | None:
        """How its numbers are written, if they are texts."""
        return written(self.counts.items(), MISSING_TEXTS) if self.types == {str} else None

    @cached_property
    def decimal(self) -> bool:
        """Whether the values are numbers, or texts that a sign or their name shows to be numbers."""
        if self.types <= {int, float}:
            return True
        if self.written is None:
            return False
        if self.written.dressed and not self._zero_led and not self._coded:
            return True
        return concept(self.noun) in ("amount", "value") and not self.random

    @cached_property
    def _zero_led(self) -> bool:
        """Whether texts of digits begin with zeros, as codes do."""
        return any(len(t) > 1 and t[0] == "0" and _DIGITS.fullmatch(t) for t in self.counts)

    @cached_property
    def _coded(self) -> bool:
        """Whether digits have letters beside them like a currency's, but are whole: T000123, ABC-7, 7XYZ.

        Letters that are a currency's code are taken for it, unless a zero is in front of the digits.
        """
        found = [one for text in self.counts if (one := _CODED.match(text))]
        return len(found) == len(self.counts) and any(
            one[2][:1] == "0" or (one[1] or one[3]).lower() not in CURRENCY_CODES for one in found
        )

    @cached_property
    def numbers(self) -> list[float]:
        """The values of a decimal field as numbers; NaN for texts that mean that there is none."""
        if self.types <= {int, float}:
            return [as_float(value) for value in self.values if not isinstance(value, str)]
        assert self.written is not None
        form, none = self.written.forms[0], {*self.written.tokens, *MISSING_TEXTS}
        return [
            math.nan if str(text).strip() in none or text in none else value_of(str(text), form)
            for text in self.values
        ]

    @cached_property
    def symbol(self) -> str:
        """The currency that all its texts name."""
        return symbol_of(self.counts) if self.types == {str} and self.decimal else ""

    @cached_property
    def random(self) -> bool:
        """Whether the values are drawn like UUIDs: never the same twice."""
        keys = self.types == {str} and all(map(RANDOM_KEY.fullmatch, self.counts))
        return keys and not all(map(_DIGITS.fullmatch, self.counts))

    def is_key(self) -> bool:
        """Whether the values can be an id or an entity: texts or whole numbers."""
        return (self.types <= {str} or self.whole) and all(
            len(text) <= LIMITS.key_chars_max for text in self.counts
        )

    # --- as a time ------------------------------------------------------------------------------------------

    @cached_property
    def time(self) -> TimeForm | None:
        """Its format, with numbers in the years 2000 to 2100."""
        found = time_form(self.values)
        if found is None and not self.missing:
            names = set(self.last_words)
            parts = self.types == {float} and not self.whole  # days with a time of day
            if names & DAY_WORDS or (parts and names & SHEET_WORDS):
                found = day_number(self.values)
            # A message of ISO 8583 has no year, but its record's time.
            if found is None and names & DAY_WORDS and not self.called:
                found = day_without_year(self.values)
        return found

    @cached_property
    def step(self) -> str:
        """What it counts, if it counts time since the stream began."""
        if self.nameless in (1, 2) and self.whole and not self.missing and not self.unique:
            return counts_time(self.values, "time")  # nothing else never goes back
        return counts_time(self.values, self.words[-1]) if self.words and not self.missing else ""

    @cached_property
    def time_or_steps(self) -> TimeForm | None:
        """Its format, with numbers of any year; a number that counts time counts from the beginning."""
        if self.time is None and self.step:
            note = f"it counts from the stream's beginning, in steps of {self.step}"
            return TimeForm("steps", note, step=self.step)
        return self.time or time_form(self.values, plausible=False)

    def is_some_time(self) -> bool:
        """Whether the values can be a time."""
        return self.time_or_steps is not None

    @cached_property
    def clock(self) -> bool:
        """Whether all values are times of day."""
        return not self.missing and is_clock(self.values)

    @cached_property
    def years(self) -> int:
        """Calendar years between the first and the last of its times."""
        return 0 if self.time is None else years_between(self.values, self.time)

    @cached_property
    def in_order(self) -> bool:
        """Whether its times hardly ever go back."""
        return self.time is not None and in_order(self.values, self.time)

    def time_reason(self, reason: str) -> str:
        """Why this is the time, and what is assumed."""
        note = self.time_or_steps.note if self.time_or_steps is not None else ""
        return "; ".join(filter(None, (reason or "never missing, always a time", note)))


def _bare(name: str) -> str:
    """A name without what is said in brackets behind it: `KWH/hh (per half hour)`."""
    return _BRACKETS.sub("", name) or name


def text_of(value: Any) -> str:
    """A value as the parser's text of it; a float that is whole is the whole number."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind is float and value.is_integer() and abs(value) < WHOLE_MAX:
        return str(int(value))
    return str(value).lower() if kind is bool else str(value)


def as_float(number: float) -> float:
    """A number as a float; infinity for a whole number beyond all floats."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _sides_of(words: list[str]) -> set[str]:
    paid_out = {"payee"} if PAID_OUT_WORDS & set(words) else set()
    return {concept(word) for word in words} & SIDES | paid_out


def is_constant_in(column: Column, main: Column, differ_max: float = CHANCE_SHARE_MAX) -> bool:
    """Whether each value of `main` always comes with the same value of this column.

    Compared with pairs of events drawn by chance, nearly no event may differ from the first one of the same
    key; and so many would differ by chance that it is none.
    """
    first: dict[str, str] = {}
    keys = dict(zip(main.rows, map(text_of, main.values), strict=True))
    pairs = differ = 0
    for row, value in zip(column.rows, map(text_of, column.values), strict=True):
        key = keys.get(row)
        if key is None:
            continue
        if key in first:
            pairs += 1
            differ += first[key] != value
        else:
            first[key] = value
    n = len(column.values)
    by_chance = pairs * (1.0 - sum((count / n) ** 2 for count in column.counts.values()))
    return by_chance >= CHANCE_MIN and differ <= differ_max * by_chance


def enough(column: Column) -> bool:
    """Whether it has so many different values that each can have a history."""
    return column.events < FEW or column.distinct >= KEY_DISTINCT_MIN
