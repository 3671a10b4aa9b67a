"""What columns are that are neither the id nor the time: labels, entities, fields, or nothing of use."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from detector.config.infer.choice import Choice, Kind
from detector.config.infer.column import (
    KEY_DISTINCT_MIN,
    LIMITS,
    LONG_DIGITS_MIN,
    ONCE_EVENTS_MIN,
    PATH_CHARS_MAX,
    RECURRING_DISTINCT_MIN,
    SPACED_MAX,
    Column,
    enough,
    is_constant_in,
)
from detector.config.infer.ranks import id_rank, time_rank
from detector.config.infer.vocabulary import (
    ATTRIBUTE_WORDS,
    CLOCK_WORDS,
    EVENT_WORDS,
    INSTRUMENT_WORDS,
    MEASURE_WORDS,
    NEVER_TIME_WORDS,
    TEXT_WORDS,
    THING_WORDS,
    TIME_WORDS,
    concept,
    word_set,
)
from detector.config.kinds import FEW_EVENTS as FEW
from detector.config.kinds import KINDS, recognise
from detector.config.tree import split_path

LAST_DIGITS = 4  # of a card's number, where no more of it is shown: many cards have the same
KEYS_DISTINCT_MIN = 50  # different values of a key that neither its name nor its type tells
SOMEBODY_MIN = 2  # see `_likely_somebody`
SOMEBODIES_MIN = 4  # different values
WORDS_REPEATED_MIN = 0.8  # share of values that are repeated, of words that may say who it is
SPREAD_MAX = 16.0  # times the median, of numbers that are keys
KEYS_FIRST = 3  # columns without names that may be keys by their place
ENTITY_MISSING_MAX = 0.97  # share of events without it
OFTEN_MIN = 4.0  # events of each value of an identifier that is a category
UNNAMED_MISSING_MAX = 0.5
ROUND_SHARE_MAX = 0.2  # of such numbers that end in 00; by chance one in a hundred does
AMOUNTS = ("amount", "value", "total")
REFERENCES = word_set("ref refs reference references order")  # that may be of an event, not of somebody
LONG_STEPS = word_set("month months week weeks quarter year years")


class Judgement(NamedTuple):
    """What columns are, and why."""

    columns: Sequence[Column]  # one per part of a field; else one
    kind: Kind
    reason: str


def judge(columns: Sequence[Column]) -> list[Judgement]:
    """Decide what columns are, in the order of their first columns.

    Kinds of fields are asked about all columns that are left at once: a field may have several parts.
    """
    place = {id(column): index for index, column in enumerate(columns)}
    named = _named_entities(columns)
    judged = []
    for column in columns:
        other = _not_a_field(column, named)
        if other is not None:
            judged.append(Judgement((column,), *other))
    decided = {id(one.columns[0]) for one in judged}
    left = {id(column): column for column in columns if id(column) not in decided}
    for kind, found in recognise(list(left.values())):
        parts = [left.pop(id(column)) for column in found.columns]
        judged += _judge_field(parts, kind, found.reason)
    judged += [Judgement((column,), "ignored", "of no kind of field") for column in left.values()]
    return sorted(judged, key=lambda one: place[id(one.columns[0])])


def with_somebody(choices: list[Choice], columns: Mapping[str, Column]) -> list[Choice]:
    """Where no field is an entity, make one of the field that most likely says who or what it is about."""
    if any(choice.kind == "entity" for choice in choices):
        return choices
    ranked = [
        (-likely, place)
        for place, choice in enumerate(choices)
        if choice.kind in KINDS and choice.path in columns
        if (likely := _likely_somebody(columns[choice.path])) >= SOMEBODY_MIN
    ]
    nameless = {place for _, place in ranked if columns[choices[place].path].nameless}
    best = nameless or {place for _, place in sorted(ranked)[:1]}
    reason = "nothing else says who it is, and its values come back"
    return [
        replace(choice, kind="entity", reason=reason) if place in best else choice
        for place, choice in enumerate(choices)
    ]


def _likely_somebody(column: Column) -> int:
    """How likely a field says who or what an event is about, though it is not named like a key.

    Counted are what its name says (one of two sides, what is traded, a text for people; against it: what
    somebody has, how much it is) and what its values do (come back as those of a key, are words with digits,
    are few).
    """
    names = set(column.last_words)
    if (
        names & ((ATTRIBUTE_WORDS - TEXT_WORDS) | MEASURE_WORDS | CLOCK_WORDS)
        or column.in_runs
        or not column.is_key()
    ):
        return 0
    if column.missing > UNNAMED_MISSING_MAX or column.time is not None or concept(column.noun) == "currency":
        return 0
    if column.types == {str} and not column.decimal and not _is_number_like(column):
        named = 3 * bool(column.entity or names & INSTRUMENT_WORDS) or bool(names & TEXT_WORDS)
        often = column.recurs and (column.spaced <= SPACED_MAX or column.repeated >= WORDS_REPEATED_MIN)
        values = 2 * often + column.numbered_texts - (column.distinct < KEY_DISTINCT_MIN)
        return named + values if SOMEBODIES_MIN <= column.distinct <= 0.9 * len(column.values) else 0
    if not 0 < column.nameless <= KEYS_FIRST or not column.whole or not column.recurs or column.sorted:
        return 0
    # Keys are in front of measures, and spread evenly; a few measures are far larger than others.
    return 3 * (max(column.numbers) <= SPREAD_MAX * abs(statistics.median(column.numbers)))


def _is_number_like(column: Column) -> bool:
    """Whether texts are digits alone, fewer than keys have: at most four, or not all equally many."""
    lengths = {len(text) for text in column.counts}
    few = max(lengths) <= LAST_DIGITS or (len(lengths) > 1 and min(lengths) < LONG_DIGITS_MIN)
    return column.digits and few


def _named_entities(columns: Sequence[Column]) -> dict[int, str]:
    """Columns that identify an entity by their names, with the entity.

    Of card1, card2 ... only the one with most different values is one. A name is one only where nothing else
    says who it is.
    """
    found: dict[int, str] = {}
    fits = [c for c in columns if c.entity and not c.trouble and c.values and _can_be_entity(c)]
    for column in fits:
        alike = [c for c in fits if c.entity == column.entity and c is not column]
        if column.is_name and any(not c.is_name for c in alike):
            continue
        if column.is_name and (key := _key_beside(column, columns)) is not None:
            found[id(key)] = key.entity = column.entity  # Sender UPI ID beside Sender Name
            continue
        family = [c for c in alike if c.numbered and c.noun == column.noun]
        if column.numbered and any((-c.distinct, c.path) < (-column.distinct, column.path) for c in family):
            continue
        last = next((word for word in reversed(column.words) if not word.isdigit()), "")
        once = column.distinct > 0.9 * len(column.values)
        if last in REFERENCES and (once or column.in_runs) and len(column.values) > FEW:
            continue  # of one event, or of the lines of one
        found[id(column)] = column.entity
    return found


def _key_beside(name: Column, columns: Sequence[Column]) -> Column | None:
    """The identifier of the one whose name a column has: it has the same words, and each key one name."""
    about = set(name.words) - {"name", "nm"}
    return next(
        (
            c
            for c in columns
            if c.says_id and not c.trouble and c.values and about < set(c.words) and c.noun not in EVENT_WORDS
            if _can_be_entity(c) and is_constant_in(name, c)
        ),
        None,
    )


def _can_be_entity(column: Column) -> bool:
    if not column.is_key() or not enough(column) or column.missing > ENTITY_MISSING_MAX:
        return False
    if (column.time is not None and not column.digits) or column.priced:
        return False
    if column.unique and column.events >= ONCE_EVENTS_MIN:
        return False
    return column.distinct > 1 or column.events < FEW


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


def _not_a_field(column: Column, named: dict[int, str]) -> tuple[Kind, str] | None:
    """What a column is that cannot be a field, and why."""
    n, distinct = len(column.values), column.distinct
    if column.trouble:
        return "ignored", column.trouble
    if distinct == 1 and column.events >= FEW:
        return "ignored", "constant"
    if column.of_envelope:
        return "ignored", "of the envelope"
    entity = named.get(id(column))
    if entity and (column.time is None or not set(column.words) & TIME_WORDS):
        return "entity", f"by its name ({entity})"
    if other := _some_time(column):
        return "ignored", other
    if column.clock and set(column.words) & CLOCK_WORDS:
        return "ignored", "a time of day without its day"
    if column.is_key() and id_rank(column) is not None and column.events >= FEW:
        return "ignored", "never repeats, could be the id"
    if max(map(len, column.counts)) > LIMITS.text_chars_max:
        return "ignored", f"longer than {LIMITS.text_chars_max} characters"
    if column.is_key() and column.says_id and column.events >= FEW and column.spaced <= SPACED_MAX:
        if column.sorted and distinct >= RECURRING_DISTINCT_MIN and column.digits:
            return "ignored", "a counter"
        of_event = column.words[-1] == "code" or column.noun in EVENT_WORDS or column.in_runs
        of_event = of_event or not THING_WORDS.isdisjoint({column.noun, *column.last_words})
        often = distinct >= RECURRING_DISTINCT_MIN and n >= OFTEN_MIN * distinct
        if (column.recurs or often) and column.missing <= ENTITY_MISSING_MAX and not of_event:
            return "entity", "an identifier that recurs"
        if distinct > 0.9 * n:
            return "ignored", "an identifier"
        if column.words[-1] not in ("code", "key", "ref", "reference") and distinct >= RECURRING_DISTINCT_MIN:
            few = often and not column.in_runs
            return ("categorical", "an identifier of few things") if few else ("ignored", "an identifier")
    return None


def _some_time(column: Column) -> str:
    """Why a column is a time, though not the event's; "" if it is none."""
    names = set(column.words)
    if time_rank(column) is not None or (
        column.time is not None
        and (names & TIME_WORDS or column.time.format == "iso8601" or "%" in column.time.format)
    ):
        return "another time; an event has only one"
    if names & NEVER_TIME_WORDS and column.time_or_steps is not None and not column.whole:
        return "another time; an event has only one"
    moves_on = column.whole and not column.missing and column.sorted
    if moves_on and column.words[-1:] and column.words[-1] in LONG_STEPS and column.events >= FEW:
        return "counts time in steps that are too long for the time of an event"
    return ""


def _not_a_value(column: Column, kind: Kind) -> tuple[Kind, str] | None:
    """What a column is that looks like a field of this kind, but is not one, and why."""
    n, distinct = len(column.values), column.distinct
    if kind == "numeric" and column.events >= FEW and column.ascending:
        return "ignored", "a counter"
    if kind == "numeric" and _is_long_key(column):
        return "entity", "long whole numbers that recur like those of a key"
    if kind == "categorical" and column.types == {str}:
        keyed = column.recurs and distinct >= KEYS_DISTINCT_MIN and column.is_key() and not column.in_runs
        other = MEASURE_WORDS | THING_WORDS | (ATTRIBUTE_WORDS - {"name", "nm"})
        present = column.missing <= UNNAMED_MISSING_MAX and not set(column.last_words) & other
        keyed = keyed and column.numbered_texts and not _is_number_like(column)
        if keyed and present and concept(column.noun) != "currency":
            return "entity", "values recur like those of a key"
        if column.events >= FEW and n >= KEY_DISTINCT_MIN and distinct > 0.9 * n:
            return "ignored", "nearly every event has a different value"
    return None


def _is_long_key(column: Column) -> bool:
    """Whether numbers are those of a key, as of a telephone: a measure of so many digits hardly comes back.

    Numbers that are mostly round may be amounts of a currency with large ones.
    """
    if not column.whole or not column.recurs or column.in_runs or column.distinct < KEYS_DISTINCT_MIN:
        return False
    named = set(column.words) & MEASURE_WORDS or any(concept(w) in AMOUNTS for w in column.words)
    round_ones = sum(text.endswith("00") for text in column.counts)
    return (
        not named
        and column.missing <= UNNAMED_MISSING_MAX
        and min(map(len, column.counts)) >= LONG_DIGITS_MIN
        and round_ones <= ROUND_SHARE_MAX * column.distinct
    )
