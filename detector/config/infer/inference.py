"""Infer a first configuration from a sample of events.

What it does
    Reads the first events of a stream (one JSON object per line) and decides what each field is. `render`
    writes the configuration with a reason beside every choice, so that a person can correct it.

Rules
    - A label (fraud, chargeback, class, target ...) is never an input.
    - An id is never missing and never repeats. Only one that is named like the event's id is compared with
      earlier ones; without an id, the place of the event in its topic or file is its id.
    - A time is never missing and always has one format. Without one, the record's own timestamp is the time.
    - An entity has a name that says so (card, customer, terminal), or values that recur like those of a key.
      Where nothing else is one, the first text that comes back like a key is.
      People come before devices, devices before places; the first one is the main entity. A field that is
      mostly missing, or whose values never come back, is not; one that some events lack comes after one
      that hardly any lacks.
    - What always has the same value for the same main entity says who it is: it is copied into alerts only.
    - Fields that cannot be used are listed with a reason: lists, constants, counters, identifiers, further
      times.
    - What the caller names overrides what the sample suggests.
    - Only the first characters of a text are copied: card numbers do not belong in a configuration.

Invariant: `detector.config.load.load` accepts what `render` writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from detector.config.infer.choice import Choice, Inference, Label
from detector.config.infer.column import SPACED_MAX, Column, is_constant_in
from detector.config.infer.envelope import Open
from detector.config.infer.fields import amount_at_stake, described, stream_number, with_names
from detector.config.infer.labels import FRAUD_TEXTS, find_label
from detector.config.infer.looks import hidden_events, hidden_lists, rarely_missing
from detector.config.infer.roles import LAST_DIGITS, with_somebody
from detector.config.infer.sample import Sample, sample_error
from detector.config.infer.vocabulary import (
    CODE_WORDS,
    ENTITY_RANKS,
    PEOPLE,
    PERSON_WORDS,
    STAFF_WORDS,
    concept,
)
from detector.config.kinds import FEW_EVENTS, KINDS
from detector.config.words import cut

ENTITIES_MAX = 8  # of the tree
FIELDS_MAX = 128  # of the tree
REPEATED_MAX = 0.01  # repeated share of an id's values; a larger one is not due to retries
DAY_PARTS = 3  # fields of a time without a time of day
FEWEST_MAX = 1.2  # times the fewest different values, of keys that have about as few
MAIN_MISSING_MAX = 0.5  # share of events without the main entity
GAPS_MAX = 0.1  # the same, if somebody else of the event is missing less often
OWN_DIFFER_MAX = 0.1  # events with another account than the shop's first one, in those that chance would give
# A key of which 20,000 events show no repetition has some hundred million values or more: no history.
ONCE_EVENTS_MIN = 2_000
ONCE_REPEATED_MAX = 0.0005


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What the caller knows; it overrides what the sample suggests. Paths are dotted."""

    id: str | None = None  # "": there is none
    time: str | None = None  # "": there is none
    entities: Sequence[str] = ()  # the main one first; no others are inferred then
    amount: str | None = None  # "": there is none
    labels: Sequence[str] = ()  # beside those that are found
    ignored: Sequence[str] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)  # path -> kind of field; context; "": any kind


def infer(
    lines: Iterable[bytes],
    id: str | None = None,
    time: str | None = None,
    entities: Sequence[str] = (),
    *,
    open_envelope: Open | None = None,
) -> Inference:
    """Decide what each field of a stream is; see `decide`, which takes more wishes."""
    return decide(Sample(lines, open_envelope), Wishes(id=id, time=time, entities=entities))


def decide(sample: Sample, wishes: Wishes) -> Inference:
    """Decide what each field of a sample is.

    Raises
    ------
    ConfigError
        No usable line, nothing to learn from, or a name that is not in the sample.
    """
    chosen_entities = [sample.named("entities", path, Column.is_key) for path in wishes.entities]
    if len(chosen_entities) > ENTITIES_MAX or len(set(wishes.entities)) < len(wishes.entities):
        raise sample_error("entities", ", ".join(wishes.entities), f"at most {ENTITIES_MAX} different fields")
    labels = _labels(sample, wishes, but=chosen_entities)
    taken = [*chosen_entities, *(sample.columns[label.path] for label in labels)]
    dropped = [sample.named("ignored", path, lambda _: True) for path in wishes.ignored]
    time_columns, time = _time(sample, wishes, but=[*taken, *dropped])
    taken += time_columns
    taken += [sample.columns[time.clock]] if time.clock else []
    id_column, id_, id_is_own = _id(sample, wishes, but=[*taken, *dropped])
    taken += [id_column] if id_column is not None else []
    rest = [_wished(choice, sample, wishes) for choice in sample.judge(but=taken)]
    given = [sample.choice(column, "entity", "named by you") for column in chosen_entities]
    rest = rest if given else with_somebody(rest, sample.columns)
    ranked = _main_first([c for c in rest if c.kind == "entity"], sample)
    if not given:
        rest, ranked = _less_names(rest, ranked, sample)
    used_entities = given or ranked[:ENTITIES_MAX]
    values = [described(c, sample) for c in rest if c.kind in KINDS]
    if not used_entities and not values:
        found = f"no field with different values{hidden_lists(sample.columns.values())}"
        raise sample_error("the sample", found, "at least one value or entity to learn from")
    values, crowded = _most_informative(values, sample)
    values = [_who(choice, used_entities, sample) for choice in values]
    spare = "looks like an entity, but you named others" if given else "more entities than allowed"
    ignored = [c for c in rest if c.kind == "ignored" and not _is_meta(c, sample)]
    ignored += [Choice(path=path, kind="ignored", reason=why) for path, why in sample.unnameable.items()]
    ignored += [replace(c, kind="ignored", reason=spare) for c in ranked if c not in used_entities]
    ignored += crowded
    if not used_entities and all(choice.use != "encode" for choice in values):
        values = [replace(choice, use="encode") for choice in values]
    number = stream_number(values, sample)
    named_entities, fields = with_names(used_entities, values, sample, number)
    return Inference(
        events=sample.events,
        broken=sample.broken,
        envelope=sample.envelope,
        id=id_,
        id_is_own=id_is_own,
        time=time,
        entities=tuple(named_entities),
        fields=tuple(fields),
        exposure=amount_at_stake(fields, sample, wishes.amount),
        labels=tuple(labels),
        ignored=tuple(ignored),
        number=number,
        notes=tuple(_notes(sample, time, used_entities, crowded)),
    )


def _labels(sample: Sample, wishes: Wishes, but: Sequence[Column]) -> list[Label]:
    labels = []
    for column in list(sample.usable()):
        forced = column.path in wishes.labels
        kept = column.path in (wishes.id, wishes.time, *wishes.kinds) or column in but
        if column.of_envelope or (kept and not forced):
            continue
        found = find_label(column)
        if found is None and not forced:
            continue
        if found is None or (forced and not found.frauds):
            frauds = {text for text in column.counts if text.lower() in FRAUD_TEXTS}
            reason, sure = "a label, named by you", True
        else:
            frauds, reason, sure = set(found.frauds), found.reason, found.sure
        choice = sample.choice(column, "label", reason)
        labels.append(Label(path=column.path, frauds=frozenset(frauds), choice=choice, sure=sure))
    unknown = set(wishes.labels) - {label.path for label in labels}
    for path in sorted(unknown):
        sample.named("labels", path, lambda _: True)
    return labels


def _time(sample: Sample, wishes: Wishes, but: Sequence[Column]) -> tuple[list[Column], Choice]:
    """The fields of the time, the time of day aside, and what is said of them."""
    if wishes.time:
        column: Column | None = sample.named("time", wishes.time, Column.is_some_time)
    else:
        column = None if wishes.time == "" else sample.find_time(but)
    if (column is None or column.time is None) and wishes.time is None:
        parts = sample.find_calendar(but)
        if parts:
            why = "year, month, day and so on in fields of their own; UTC is assumed"
            choice = replace(sample.choice(parts, "time", why), format="apart", step="", origin="")
            days = len(parts) == DAY_PARTS
            return parts, _with_clock(choice, parts[0] if days else None, sample, [*but, *parts])
    if column is None:
        return [], Choice(
            path="",
            kind="time",
            reason="no field is always a time: in Kafka the record's timestamp is the time; in a file events "
            "are a second apart",
        )
    reason = column.time_reason("named by you" if wishes.time else "")
    if column.of_envelope:
        reason = f"no field of the event is always a time; this is the envelope's. {reason}"
    days = column.time_or_steps is not None and column.time_or_steps.days
    choice = sample.choice(column, "time", reason)
    named = "named by you; " if wishes.time else ""
    return [column], _with_clock(choice, column if days else None, sample, [*but, column], named)


def _with_clock(
    choice: Choice, day: Column | None, sample: Sample, but: Sequence[Column], named: str = ""
) -> Choice:
    """Add the time of day, if it has a field of its own."""
    clock = None if day is None else sample.find_clock(day, but)
    if clock is None:
        return choice
    why = f"{named}always a day, and {cut(clock.path)} is always a time of day; UTC is assumed"
    return replace(choice, reason=why, clock=clock.path)


def _id(sample: Sample, wishes: Wishes, but: Sequence[Column]) -> tuple[Column | None, Choice, bool]:
    """The id's column, what is said of it, and whether a repeated id is a repeated event."""
    if wishes.id:
        column = sample.named("id", wishes.id, Column.is_key)
        reason = "named by you"
        if column.repeated:
            reason += f"; {column.repeated:.1%} of the events repeat an earlier id"
        return column, sample.choice(column, "id", reason), column.repeated <= REPEATED_MAX
    found = None if wishes.id == "" else sample.find_id(but)
    if found is None:
        reason = (
            "no field names an event: its id is topic-partition-offset; in a file the offset is its number, "
            "from 0"
        )
        return None, Choice(path="", kind="id", reason=reason), True
    column, rank = found
    reason = "never missing, never repeats"
    own = rank in (0, 3) or column.random
    if not own:
        reason += " in this sample, but its name does not say that it is the event's id"
    return column, sample.choice(column, "id", reason), own


def _wished(choice: Choice, sample: Sample, wishes: Wishes) -> Choice:
    """Apply what the caller said of a field."""
    if choice.path in wishes.ignored:
        return replace(choice, kind="ignored", reason="left out by you")
    wanted = wishes.kinds.get(choice.path)
    column = sample.columns.get(choice.path)
    if wanted is None or column is None or column.trouble:
        return choice
    if wanted in ("", "context"):
        kind = choice.kind if choice.kind in KINDS else "numeric" if column.decimal else "categorical"
        return replace(choice, kind=kind, use=wanted or "encode", reason="named by you")
    if wanted == "numeric" and not column.decimal:
        raise sample_error("numeric", repr(choice.path), "a field of numbers")
    return replace(choice, kind=wanted, reason="named by you")


def _is_meta(choice: Choice, sample: Sample) -> bool:
    column = sample.columns.get(choice.path)
    return column is not None and column.of_envelope


def _main_first(choices: Sequence[Choice], sample: Sample) -> list[Choice]:
    """Sort entities: those that can be the main one, by what the name says; then the better filled.

    Of people, those that few events lack come first: a customer before the card that cash has not.
    Of one kind the first in the event is first, if it has a tenth of the different values of the others; of
    those of no known kind the one with the fewest.
    """
    columns = {choice.path: sample.columns[choice.path] for choice in choices}
    most: dict[str, int] = {}
    for column in columns.values():
        most[column.entity] = max(most.get(column.entity, 0), column.distinct)
    unnamed = [column.distinct for column in columns.values() if not column.entity]
    few = FEWEST_MAX * min((n for n in unnamed if 10 * n >= most[""]), default=0)
    place = {path: index for index, path in enumerate(sample.columns)}

    shops = [one for one in columns.values() if one.entity == "merchant" and one.missing <= GAPS_MAX]

    def kind_of(column: Column) -> str:
        """What it stands for. An account that each shop has is the shop's: it is paid to."""
        accounts = (is_constant_in(column, shop, OWN_DIFFER_MAX) for shop in shops)
        own = column.entity == "account" and any(accounts)
        return "payee" if own else column.entity

    def key(choice: Choice) -> tuple[Any, ...]:
        column = columns[choice.path]
        kind = kind_of(column)
        once = column.events >= ONCE_EVENTS_MIN and column.repeated <= ONCE_REPEATED_MAX
        rank = ENTITY_RANKS.get(kind, len(ENTITY_RANKS))
        somebody = kind in PEOPLE and STAFF_WORDS.isdisjoint(column.words)
        gaps = somebody and column.missing > GAPS_MAX
        named = column.is_name or column.spaced > SPACED_MAX  # keys before names
        last4 = column.entity == "card" and max(map(len, column.counts)) <= LAST_DIGITS
        thing = column.entity == "" and not CODE_WORDS.isdisjoint(column.last_words)  # itemid
        poor = named, last4, thing, column.missing > 0.05, 10 * column.distinct < most[column.entity]
        order = column.distinct if column.entity == "" and column.distinct > few else 0
        return (
            column.missing > MAIN_MISSING_MAX,
            once,
            not somebody,
            gaps,
            rank,
            *poor,
            order,
            place[choice.path],
        )

    return sorted(choices, key=key)


def _less_names(
    rest: list[Choice], ranked: list[Choice], sample: Sample
) -> tuple[list[Choice], list[Choice]]:
    """Make fields of entities that only describe the main one, or say the same as one before them."""
    kept: list[Choice] = []
    plain: dict[str, Choice] = {}
    for choice in ranked:
        column, before = sample.columns[choice.path], [sample.columns[one.path] for one in kept]
        same = next((other for other in before if _is_same(column, other, main=before[0])), None)
        if same is not None:
            why = f"it says the same as {cut(same.path)}"
            plain[choice.path] = replace(choice, kind="categorical", use="context", reason=why)
        elif before and (column.is_name or not column.entity) and is_constant_in(column, before[0]):
            plain[choice.path] = replace(choice, kind="categorical", reason="text")
        else:
            kept.append(choice)
    return [plain.get(choice.path, choice) for choice in rest], kept


def _is_same(column: Column, other: Column, main: Column) -> bool:
    """Whether it always has the value of another key, or is that key's name or another number of it.

    A further number is only left out of the main entity: a payee that has another account is news.
    """
    if column.rows == other.rows and column.values == other.values:
        return True
    further = column.says_id or concept(column.noun) in ENTITY_RANKS
    alike = column.is_name or (column.entity in ("", other.entity) and (other is main or not further))
    return alike and is_constant_in(column, other) and is_constant_in(other, column)


def _most_informative(values: list[Choice], sample: Sample) -> tuple[list[Choice], list[Choice]]:
    """The fields that a configuration may have, and the others."""
    if len(values) <= FIELDS_MAX:
        return values, []
    from detector.config.infer.informative import most_informative

    known = [n for n, choice in enumerate(values) if _is_known(choice, sample)]
    others = [n for n in range(len(values)) if n not in set(known)]
    parts = [sample.parts(values[n].path) for n in others]
    chosen = most_informative(parts, max(0, FIELDS_MAX - len(known)))
    kept = {*known[:FIELDS_MAX], *(others[index] for index in chosen)}
    why = f"tells less than the {FIELDS_MAX} fields that a configuration may have"
    crowded = [replace(c, kind="ignored", reason=why) for n, c in enumerate(values) if n not in kept]
    return [choice for n, choice in enumerate(values) if n in kept], crowded


def _is_known(choice: Choice, sample: Sample) -> bool:
    """Whether a field is known by name, as an amount or a place, and so is not one of many alike."""
    return choice.kind == "geo" or any(
        column.is_amount and not column.numbered for column in sample.parts(choice.path)
    )


def _who(choice: Choice, entities: Sequence[Choice], sample: Sample) -> Choice:
    """Mark a field that only says who the main entity is."""
    if not entities or choice.use != "encode" or sample.events < FEW_EVENTS:
        return choice
    main = sample.columns[entities[0].path]
    parts = sample.parts(choice.path)
    if all(is_constant_in(part, main) for part in parts):
        reason = f"{choice.reason}; the same in all events of one {cut(main.path)}: it only says who that is"
        return replace(choice, use="context", reason=reason)
    if any(set(part.last_words) & PERSON_WORDS for part in parts):
        return replace(choice, use="context", reason=f"{choice.reason}; it says who a person is")
    return choice


def _notes(sample: Sample, time: Choice, entities: Sequence[Choice], crowded: Sequence[Choice]) -> list[str]:
    nobody = not entities
    notes = [note for c in sample.columns.values() if (note := hidden_events(c, nobody=nobody))][:3]
    if not time.path:
        notes += [note for column in sample.columns.values() if (note := rarely_missing(column))][:1]
    if sample.skipped:
        notes.append(
            f"{sample.skipped:,} of the messages are not events (deletes and the like): they are skipped"
        )
    if entities:
        main = sample.columns[entities[0].path]
        if main.missing:
            notes.append(f"{main.missing:.1%} of the events have no {cut(main.path)}: they have no history")
        if main.events >= ONCE_EVENTS_MIN and main.repeated <= ONCE_REPEATED_MAX:
            notes.append(
                f"hardly any {cut(main.path)} comes back in the sample: name a better main entity with "
                "--entity, if there is one"
            )
    if crowded:
        notes.append(
            f"{len(crowded)} fields are left out, because a configuration has at most {FIELDS_MAX}: those "
            "that are mostly missing, have few different values, or say the same as another field"
        )
    return notes
