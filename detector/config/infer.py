"""A first configuration from a look at some events.

What it does
    Reads the first events of a stream (JSON, one a line), decides what each field is, and writes a
    configuration in which every choice stands beside its reason, for a person to correct.

Rules
    - An id is never missing and never repeats; a time is never missing and always of one format.
    - Without an id, a counter or a time that never repeats stands in, and a comment says what that costs.
    - An entity has a name that says so (a card, a customer, a terminal), or values that come back like a
      key's. People come before devices, devices before places: the first one is the main entity.
    - What cannot be used is left out and listed: lists, constants, counters, identifiers, second times.
    - What the caller names wins over what the sample suggests.
    - Of a text only its first characters are copied: a configuration is no place for card numbers.

Invariant: what `render` writes, `detector.config.load.load` reads.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any

import msgspec

from detector.config.kinds import FEW_EVENTS as FEW
from detector.config.kinds import KINDS, recognise
from detector.config.load import UNREADABLE, nearest, spell
from detector.config.tree import EventLimits
from detector.errors import ConfigError, Problem

SAMPLE_LINES_MAX = 5_000  # enough to see a 0.1 % of missing values, read in a second
SAMPLE_BYTES_MAX = 1 << 26  # all of the sample is held
COLUMNS_MAX = 1_024  # an event with more is a map of values to values; the first ones are looked at
ENTITIES_MAX, FIELDS_MAX, PATH_CHARS_MAX = 8, 128, 256  # of the tree
EXAMPLES_MAX = 3
REPEATED_MAX = 0.01  # share of an id's values that came before: more than retries explain
LIMITS = EventLimits()
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

Kind = str  # id, time, entity, ignored, or the kind of a field, see `detector.config.kinds`


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What one field of the events was taken for, and why."""

    path: str
    kind: Kind
    reason: str
    name: str = ""  # of entities and values
    optional: bool = False
    format: str = ""  # of the time
    distinct: int = 0  # different values in the sample
    missing: float = 0.0  # share of events without it
    examples: tuple[str, ...] = ()  # shortened, quoted, ASCII


@dataclass(frozen=True, kw_only=True, slots=True)
class Inference:
    """What a sample says about its stream."""

    events: int  # looked at
    broken: int  # lines that are no event
    id: Choice
    id_is_own: bool  # as far as can be told: each event has an id of its own, so a repeated one is a repeat
    time: Choice
    entities: tuple[Choice, ...]  # the main one first
    fields: tuple[Choice, ...]
    exposure: str | None  # name of the field that is the amount at stake
    ignored: tuple[Choice, ...]


def infer(
    lines: Iterable[bytes], id: str | None = None, time: str | None = None, entities: Sequence[str] = ()
) -> Inference:
    """Decide what each field of a stream is.

    Parameters
    ----------
    lines
        Events as JSON objects; the first 5,000 lines are looked at.
    id, time
        Dotted paths that the caller already knows; None: found out.
    entities
        Likewise, the main one first; then no others are looked for.

    Raises
    ------
    ConfigError
        No usable line, no id, no time, nothing to learn from, or a name that is not in the sample.
    """
    sample = _Sample(lines)
    chosen_entities = [sample.named("entities", path, _Column.is_key) for path in entities]
    if len(chosen_entities) > ENTITIES_MAX or len(set(entities)) < len(entities):
        raise _error("entities", ", ".join(entities), f"at most {ENTITIES_MAX} different fields")
    chosen_time = sample.named("time", time, _Column.is_some_time) if time else sample.find_time()
    if id:
        chosen_id = sample.named("id", id, _Column.is_key)
        id_reason, id_is_own = "named by you", chosen_id.repeated <= REPEATED_MAX
        if chosen_id.repeated:
            id_reason += f"; {chosen_id.repeated:.1%} of the events repeat one that came before"
    else:
        chosen_id, id_reason, id_is_own = sample.find_id(chosen_time, but=chosen_entities)
    taken = [chosen_id, chosen_time, *chosen_entities]
    rest = [sample.judge(column) for column in sample.columns.values() if column not in taken]
    given = [sample.choice(column, "entity", "named by you") for column in chosen_entities]
    found = sorted((c for c in rest if c.kind == "entity"), key=_main_first)
    used_entities = given or found[:ENTITIES_MAX]
    values = [c for c in rest if c.kind in KINDS]
    if not used_entities and not values:
        raise _error("the sample", "no field that differs", "at least one value or entity to learn from")
    spare = (
        "looks like an entity, but is not among those you named" if given else "more entities than allowed"
    )
    ignored = [c for c in rest if c.kind == "ignored"]
    ignored += [Choice(path=path, kind="ignored", reason=why) for path, why in sample.unnameable.items()]
    ignored += [_ignored(c, spare) for c in found if c not in used_entities]
    ignored += [_ignored(c, f"more than {FIELDS_MAX} fields") for c in values[FIELDS_MAX:]]
    used_entities, fields = _with_names(used_entities, values[:FIELDS_MAX])
    return Inference(
        events=sample.events,
        broken=sample.broken,
        id=sample.choice(chosen_id, "id", id_reason),
        id_is_own=id_is_own,
        time=sample.choice(chosen_time, "time", chosen_time.time_reason("named by you" if time else "")),
        entities=tuple(used_entities),
        fields=tuple(fields),
        exposure=_exposure(fields, sample),
        ignored=tuple(ignored),
    )


def render(inference: Inference) -> str:
    """Write the configuration that an inference means, each choice beside its reason."""
    return "\n".join(_render(inference)) + "\n"


# --- the sample ------------------------------------------------------------------------------------------


@dataclass
class _Column:
    """All values of one field of the sample, in order; an empty text counts as missing, as in the parser."""

    path: str
    events: int = 0  # in the whole sample
    values: list[str | int | float | bool] = field(default_factory=list)
    trouble: str = ""  # why it cannot be used at all

    @cached_property
    def words(self) -> list[str]:
        """`card.holderId`: card, holder, id."""
        return [w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", self.path)]

    @cached_property
    def noun(self) -> str:
        """What it is a property or an identifier of: the last word that is not `id` or the like."""
        return next(
            (word for word in reversed(self.words) if word not in ID_WORDS and not word.isdigit()), ""
        )

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(_text(value) for value in self.values)

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
        """Share of values that came before."""
        return 1.0 - self.distinct / max(1, len(self.values))

    @property
    def unique(self) -> bool:
        return len(self.values) == self.events == self.distinct

    @cached_property
    def spaced(self) -> float:
        """Share of values with a space in them."""
        return sum(" " in _text(value) for value in self.values) / max(1, len(self.values))

    @cached_property
    def ascending(self) -> bool:
        """Whole numbers of which each is above the one before."""
        return self.types == {int} and all(a < b for a, b in zip(self.values, self.values[1:], strict=False))  # type: ignore[operator]

    @cached_property
    def decimal(self) -> bool:
        """Numbers, or texts that are all decimal numbers where a point or the name says so."""
        if self.types <= {int, float}:
            return True
        if self.types != {str} or not all(
            re.fullmatch(r"-?\d{1,15}(\.\d+)?", v, re.ASCII) for v in self.counts
        ):
            return False
        return any("." in value for value in self.counts) or self.noun in AMOUNT_WORDS[:2]

    @cached_property
    def dates(self) -> bool:
        """Days without a time of day."""
        return self.types == {str} and all(map(DAY.fullmatch, self.counts))

    def is_key(self) -> bool:
        """Whether an id or an entity can be read from it: text or whole numbers."""
        return self.types <= {str, int} and all(len(text) <= LIMITS.key_chars_max for text in self.counts)

    def is_some_time(self) -> bool:
        """Whether a time can be read from most values."""
        return bool(self.time_format(plausible=False))

    def time_format(self, *, plausible: bool = True) -> str:
        """The one format of all values, or ""; of numbers, `plausible` ones are in 2000 to 2100."""
        formats = {_time_format(value, plausible=plausible) for value in self.values}
        return formats.pop() if len(formats) == 1 else ""

    def time_reason(self, reason: str) -> str:
        """Why it is the time, and what is assumed."""
        reason = reason or "never missing, always a time"
        if self.time_format(plausible=False) != "iso8601":
            return reason
        if self.dates:
            return f"{reason}; days without a time of day: all events of a day count as of its midnight, UTC"
        bare = sum(datetime.fromisoformat(str(value)).tzinfo is None for value in self.values)
        return f"{reason}; {bare} of {self.events} without a zone: UTC is assumed" if bare else reason


class _Sample:
    """The first events of a stream, by column."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.columns: dict[str, _Column] = {}
        self.events = self.broken = size = 0
        self.unnameable: dict[str, str] = {}  # keys that no path can name, and why
        objects: set[str] = set()
        for line in islice(lines, SAMPLE_LINES_MAX):
            event = _decode(line)
            size += len(line)
            if event is None:
                self.broken += bool(line.strip())
            else:
                self.events += 1
                for path, value in _leaves(event, objects, self.unnameable):
                    self._add(path, value)
            if size > SAMPLE_BYTES_MAX:
                break
        if not self.events:
            raise _error("the sample", f"no event, {self.broken} broken lines", "JSON objects, one a line")
        torn = {path for path in objects if (c := self.columns.get(path)) and (c.values or c.trouble)}
        for path in objects - torn:
            self.columns.pop(path, None)  # an object, or null
        for column in self.columns.values():
            column.events = self.events
            if any(f"{column.path}.".startswith(f"{path}.") for path in torn):
                column.trouble = "an object in some events only"
            elif not column.trouble and not column.values:
                column.trouble = "always null or empty"

    def _add(self, path: str, value: Any) -> None:
        if path not in self.columns and len(self.columns) == COLUMNS_MAX:
            return
        column = self.columns.setdefault(path, _Column(path))
        if isinstance(value, list | dict):
            column.trouble = "a list" if isinstance(value, list) else "nested too deeply"
        elif value is not None and value != "":
            column.values.append(value)

    def usable(self) -> Iterator[_Column]:
        return (column for column in self.columns.values() if not column.trouble)

    def named(self, what: str, path: str, fits: Callable[[_Column], bool]) -> _Column:
        """The column that the caller named."""
        fields = {column.path: column for column in self.usable() if fits(column)}
        if path not in fields:
            meant = nearest(path, fields)
            hint = f"did you mean {meant}? " if meant else ""
            raise _error(what, repr(path), f"{hint}Fields of the sample that can be it: {_listed(fields)}")
        return fields[path]

    def find_time(self) -> _Column:
        """The event's own time: dates last, by name, ISO 8601 before numbers, the first one."""
        ranked = [(rank, column) for column in self.usable() if (rank := _time_rank(column)) is not None]
        if not ranked:
            tried = "no field is always ISO 8601 or an epoch in s or ms"
            raise _error("time", tried, f"name one with --time: {_listed(c.path for c in self.usable())}")
        return min(ranked, key=lambda pair: pair[0])[1]

    def find_id(self, time: _Column, but: Sequence[_Column]) -> tuple[_Column, str, bool]:
        """The event's id, by name, then any text that never repeats, else a stand-in; why; if it is own."""
        ranked = [(rank, c) for c in self.usable() if c is not time and (rank := _id_rank(c)) is not None]
        if ranked:
            return min(ranked, key=lambda pair: pair[0])[1], "never missing, never twice", True
        stand_ins = [c for c in self.usable() if c.unique and c.is_key() and c not in but]
        if not stand_ins:
            tried = "no text or whole number that is never missing and never repeats"
            raise _error("id", tried, f"name one with --id: {_listed(c.path for c in self.usable())}")
        counters = [c for c in stand_ins if c.ascending and c is not time]
        others = sorted(stand_ins, key=lambda c: (c.noun in ENTITY_WORDS, c.decimal))
        chosen = counters[0] if counters else time if time in stand_ins else others[0]
        what = "the time stands" if chosen is time else "it stands"
        reason = (
            f"no field says that it is the id: {what} in, as it never repeats in this sample. "
            "If it does later, a label by id finds only one of those events: better add an id"
        )
        return chosen, reason, False

    def choice(self, column: _Column, kind: Kind, reason: str) -> Choice:
        return Choice(
            path=column.path,
            kind=kind,
            reason=reason,
            optional=column.optional,
            format=column.time_format(plausible=False) if kind == "time" else "",
            distinct=column.distinct,
            missing=column.missing,
            examples=tuple(
                dict.fromkeys(_example(text, kind) for text in islice(column.counts, EXAMPLES_MAX))
            ),
        )

    def judge(self, column: _Column) -> Choice:
        return self.choice(column, *_judge(column))


def _decode(line: bytes) -> dict[str, Any] | None:
    """An event, if the daemon would read it as one."""
    if len(line) > LIMITS.bytes_max:
        return None
    try:
        event = msgspec.json.decode(line)
        line.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _leaves(
    event: dict[str, Any], objects: set[str], unnameable: dict[str, str], prefix: str = "", depth: int = 1
) -> Iterator[tuple[str, Any]]:
    """Paths and values, those of objects into `objects`, keys that no path can name into `unnameable`."""
    for key, value in event.items():
        path = prefix + key
        why = _why_unnameable(key, path)
        if why:
            if len(unnameable) < COLUMNS_MAX:
                unnameable.setdefault(_shortened(path), why)
            continue
        if isinstance(value, dict) and depth < LIMITS.depth_max:
            objects.add(path)
            yield from _leaves(value, objects, unnameable, path + ".", depth + 1)
        else:
            yield path, value


def _why_unnameable(key: str, path: str) -> str:
    if not key:
        return "its name is empty"
    if "." in key:
        return "it has a dot in its name, which a path takes for an object: rename it at the producer"
    if len(path) > PATH_CHARS_MAX:
        return f"its path is longer than {PATH_CHARS_MAX} characters"
    return "it has a quote, a backslash or a control character in its name" if UNREADABLE.search(key) else ""


def _shortened(path: str) -> str:
    return path if len(path) <= PATH_CHARS_MAX else f"{path[: PATH_CHARS_MAX - 3]}..."


# --- what a column is --------------------------------------------------------------------------------------


def _judge(column: _Column) -> tuple[Kind, str]:
    """Kind and reason of a column that is neither the id nor the time."""
    n, distinct = len(column.values), column.distinct
    if column.trouble:
        return "ignored", column.trouble
    if distinct == 1 and column.events >= FEW:
        return "ignored", "constant"
    if _time_rank(column) is not None:
        return "ignored", "another time; only one is the event's"
    if column.is_key() and column.noun in ENTITY_WORDS:
        return "entity", f"by its name ({column.noun})"
    if column.is_key() and _id_rank(column) is not None and column.events >= FEW:
        return "ignored", "could be the id too, never repeats"
    if max(map(len, column.counts)) > LIMITS.text_chars_max:
        return "ignored", f"longer than {LIMITS.text_chars_max} characters"
    comes_back = max(20, 0.01 * n) <= distinct <= 0.9 * n
    if column.is_key() and column.says_id and n >= FEW:
        return ("entity", "an identifier that comes back") if comes_back else ("ignored", "an identifier")
    ((kind, found),) = recognise([column])
    if kind == "numeric" and column.events >= FEW and column.ascending:
        return "ignored", "a counter"
    if kind == "categorical" and column.types == {str}:
        with_digits = sum(any(c.isdigit() for c in text) for text in column.counts)
        if comes_back and distinct >= 50 and column.is_key() and with_digits >= 0.5 * distinct:
            return "entity", "values come back like a key's"
        if n >= FEW and distinct > 0.9 * n:
            return "ignored", "nearly every event has another value"
    return kind, found.reason


def _id_rank(column: _Column) -> int | None:
    """How well it would do as the id, 0 best; None: not at all."""
    if not (column.unique and column.is_key()) or column.noun in ENTITY_WORDS:
        return None
    if column.says_id and (not column.noun or column.noun in EVENT_WORDS):
        return 0
    if column.says_id or EVENT_WORDS & set(column.words):
        return 1
    texts = column.types == {str} and not column.spaced and not column.decimal
    return 2 if texts and not column.time_format() else None


def _time_rank(column: _Column) -> tuple[bool, bool, bool, bool] | None:
    """How well it would do as the time, lowest best; None: not at all."""
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


def _main_first(choice: Choice) -> tuple[int, int]:
    """Order of entities: by what their name says, then the one that comes back most."""
    noun = _Column(choice.path).noun
    return ENTITY_WORDS.get(noun, len(ENTITY_WORDS)), choice.distinct


def _exposure(fields: Sequence[Choice], sample: _Sample) -> str | None:
    """The amount at stake: an amount by its name, never negative."""
    for word in AMOUNT_WORDS:
        for choice in fields:
            column = sample.columns[choice.path]
            if choice.kind == "numeric" and word in column.words and min(map(float, column.counts)) >= 0.0:
                return choice.name
    return None


def _with_names(entities: Sequence[Choice], fields: Sequence[Choice]) -> tuple[list[Choice], list[Choice]]:
    """Give each a name of its own: an entity what it is, a field its path."""
    taken: set[str] = set()

    def named(choice: Choice) -> Choice:
        noun = _Column(choice.path).noun
        wanted = noun if choice.kind == "entity" and noun in ENTITY_WORDS else choice.path
        wanted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", wanted)
        wanted = re.sub(r"[^A-Za-z0-9]+", "_", wanted).strip("_").lower()[:56] or "field"
        wanted = f"f_{wanted}" if wanted[0].isdigit() else wanted
        again = (f"{wanted}_{number}" for number in range(2, 1_000))
        name = wanted if wanted not in taken else next(name for name in again if name not in taken)
        taken.add(name)
        return replace(choice, name=name)

    return [named(choice) for choice in entities], [named(choice) for choice in fields]


def _ignored(choice: Choice, reason: str) -> Choice:
    return replace(choice, kind="ignored", reason=reason)


# --- the text ----------------------------------------------------------------------------------------------


def _render(inference: Inference) -> Iterator[str]:
    yield "# Made by `detector init-config` from a sample: read each reason, correct what is wrong."
    yield f"# {inference.events:,} events were looked at; {inference.broken:,} broken lines were skipped."
    yield "# Everything that is not stated here has its default."
    yield "event:"
    yield f"  # {_why(inference.id)}"
    yield f"  id: {spell(inference.id.path)}"
    if not inference.id_is_own:
        yield "  # It may repeat, so events are not compared by it: one that is delivered twice counts twice."
        yield "  duplicates: null"
    yield f"  # {_why(inference.time)}"
    yield "  time:"
    yield f"    path: {spell(inference.time.path)}"
    yield f"    format: {inference.time.format}"
    yield "    zone: UTC  # of times that state none"
    if inference.entities:
        yield "  # Each has a history of its own. The first is the main entity: key the topic by it."
        yield "  entities:"
    else:
        yield "  # No entity was found: events are judged one by one, without a history."
    for choice in inference.entities:
        yield from _render_item(choice)
    if inference.fields:
        yield "  fields:"
    for choice in inference.fields:
        yield from _render_item(choice)
        yield f"      type: {choice.kind}"
    if inference.exposure is not None:
        yield "  # an amount by its name, never negative"
        yield f"  exposure: {spell(inference.exposure)}"
    if inference.ignored:
        yield "# Not used:"
    for choice in inference.ignored:
        yield f"#   {spell(choice.path)}: {_why(choice)}"


def _render_item(choice: Choice) -> Iterator[str]:
    yield f"    # {_why(choice)}"
    yield f"    - name: {spell(choice.name)}"
    yield f"      path: {spell(choice.path)}"
    yield f"      optional: {str(choice.optional).lower()}"


def _why(choice: Choice) -> str:
    if not choice.distinct:
        return choice.reason
    missing = f"{choice.missing:.1%}" if choice.missing else "none"
    examples = f", e.g. {', '.join(choice.examples)}" if choice.examples else ""
    return f"{choice.reason}; {choice.distinct:,} different, {missing} missing{examples}"


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _example(text: str, kind: Kind) -> str:
    kept = 4 if kind in ("entity", "text", "ignored") else 20
    return ascii(text if len(text) <= kept else f"{text[:kept]}...")


def _listed(paths: Iterable[str]) -> str:
    paths = list(paths)
    return ", ".join(paths[:50]) + (f" and {len(paths) - 50} more" if len(paths) > 50 else "") or "none"


def _error(path: str, value: str, allowed: str) -> ConfigError:
    return ConfigError("the sample", [Problem(path=path, value=value, allowed=allowed)])
