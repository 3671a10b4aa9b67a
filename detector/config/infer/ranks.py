"""How good a column is as the id, the time, the time of day: what its name says and what its values do.

A rank is compared with those of other columns, the lowest is best; None means that it cannot be that.
"""

from __future__ import annotations

from typing import Any

from detector.config.infer.column import ONCE_EVENTS_MIN, STREAM_YEARS_MAX, Column
from detector.config.infer.times import covers_hours
from detector.config.infer.vocabulary import (
    ATTRIBUTE_WORDS,
    CLOCK_WORDS,
    ENTITY_RANKS,
    EVENT_WORDS,
    ID_WORDS,
    KNOWN,
    MEASURE_WORDS,
    NEVER_TIME_WORDS,
    OTHER_TIME_WORDS,
    TEXT_WORDS,
    TIME_WORDS,
    concept,
)
from detector.config.patterns import has_year
from detector.config.tree import EPOCHS


def id_rank(column: Column) -> int | None:
    """Rank as the id, 0 is best; None: it cannot be the id."""
    if not (column.unique and column.is_key()):
        return None
    if concept(column.noun) in ENTITY_RANKS or column.entity:
        return 4 if column.says_id and column.events >= ONCE_EVENTS_MIN else None
    if column.nameless == 1 and column.whole and column.time is None and not column.is_counter:
        return 2
    if column.of_envelope:
        return 3 if column.says_id else None
    about = set(column.words) & EVENT_WORDS
    if about and column.words[0] in ID_WORDS and _only_events(column):
        return 0  # idTransaccion
    if column.says_id and (not column.noun or column.noun in EVENT_WORDS or _only_events(column)):
        return 0
    if column.counts_rows and "id" not in column.words:
        return None  # Radnummer: the next file has the same
    plain = not column.decimal or (column.ascending and not set(column.words) & MEASURE_WORDS)
    if column.says_id or (about and not column.time and plain and not column.spaced):
        return 1
    if plain and not column.spaced and _is_number_of(column):
        return 1
    described = set(column.last_words) & (ATTRIBUTE_WORDS - TEXT_WORDS)  # a channel
    if column.types != {str} or column.spaced or column.decimal or column.time or column.clock or described:
        return None
    # Its name says nothing: its values must be made to tell events apart, not only happen to differ.
    if column.random:
        return 1
    return 2 if column.same_length or column.is_first else None


def _only_events(column: Column) -> bool:
    """Whether the words of the name beside `id` are of the event, its envelope or its parts."""
    plain = {"data", "object", "payload", "body", "src", "my", "row", "line", "end", "to", "psp", "unique"}
    return all(
        word in ID_WORDS or word in EVENT_WORDS or word in plain or word.isdigit() for word in column.words
    )


def _is_number_of(column: Column) -> bool:
    """Whether the name is an identifier of something unknown: číslo PU, JPKID."""
    if not column.words or column.noun in KNOWN:
        return False
    first, last = column.words[0], column.words[-1]
    return first in ID_WORDS or (last not in KNOWN and last.endswith("id"))


def time_rank(column: Column) -> tuple[Any, ...] | None:
    """Rank as the time, the lowest is best; None: it cannot be the time."""
    names = set(column.words)
    if len(column.values) < column.events or names & NEVER_TIME_WORDS:
        return None
    around = {"value"} - set(column.last_words)  # a record's value, not a value date
    other = bool(names & OTHER_TIME_WORDS - around) and not names & EVENT_WORDS
    if column.time is None:
        return (column.of_envelope, False, False, False, True, True, False) if column.step else None
    names_time = bool(TIME_WORDS & names)
    iso = column.time.format in ("iso8601", "auto")  # auto: the digits of a date and a time of day
    dated = "%" in column.time.format or column.time.format == "date"
    # By its values alone: ten digits may also be a number of documents.
    sure = column.nameless or column.time.format != "epoch_s" or not column.whole
    by_values = sure and column.time.format in EPOCHS and not names & (ID_WORDS | EVENT_WORDS)
    by_values = by_values and column.in_order and column.distinct > 1
    if not (names_time or iso or dated or column.time.origin or by_values):
        return None
    if other and not (names_time or iso or column.time.origin or column.in_order):
        return None
    # Of times that say the same, one of this stream's few years, in which the events are in order.
    plain = not EVENT_WORDS & names, not names_time, not iso, column.years > STREAM_YEARS_MAX
    yearless = "%" in column.time.format and not has_year(column.time.format)
    # The day of something, in no order, is no better than the exact time at which its record came.
    loose = (other or column.time.days) and not column.in_order
    first = column.of_envelope, yearless, loose, other, column.time.days
    return *first, *plain, not column.in_order, not names & {"created"}


def clock_rank(column: Column, day: Column) -> tuple[Any, ...] | None:
    """Rank as the time of day that belongs to a day, the lowest is best; None: it cannot be that."""
    names, of_day = set(column.words), set(day.words)
    if not column.clock or column.distinct < 2 or column.of_envelope != day.of_envelope:
        return None
    telling = bool(names & CLOCK_WORDS)
    signed = all(isinstance(value, str) and ":" in value for value in column.values)
    if not telling and not signed and (column.entity or not covers_hours(column.counts)):
        return None
    if names & (OTHER_TIME_WORDS | NEVER_TIME_WORDS) - of_day:
        return None
    return -len(names & of_day), not telling
