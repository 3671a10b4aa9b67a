"""From a record to an event, or to the reason why it is not one.

`Parser` reads one record and names exactly what is wrong with it. `detector.core.events.block_reader` reads
many and leaves to `Parser` every record that is not plainly right.

Nothing that a record contains can raise: whatever is wrong with it becomes a `Rejected` with one of
`REASONS`. A value that cannot be read rejects the event only if it is required: the id, the time, and
entities and fields that are not `optional`. Any other counts as missing, and the event names it
(`unreadable`).

Entity values, categories and text leave this file only as hashes. What people need to read is looked up again
in the original bytes when an alert is made (`Parser.view`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypedDict

from detector.config.tree import MISSING, EntityField, Event, ValueField
from detector.core.events.clocks import ClockedTimes, put_together
from detector.core.events.formats import make_format
from detector.core.events.kinds import KINDS, STORES, FieldKind, Store
from detector.core.events.rejection import SKIPPED, Bad, Rejected
from detector.core.events.times import TimeReader
from detector.core.events.values import Plain, hasher, key_of, plain
from detector.core.records import Headers, Record, entity_key_id

NO_RESOURCES: Mapping[str, Any] = MappingProxyType({})
NO_SOURCE = ("events", 0)

Read = Callable[[Any], Any]
"""Returns a value of a decoded event; None: it is missing."""


class ParsedEvent(NamedTuple):
    """One event as the model sees it, with what is needed to find its original again."""

    record: Record
    id: str
    time: float  # s since the epoch
    entities: tuple[int, ...]  # keyed hashes, 0 for a missing one
    numerics: tuple[float, ...]  # raw values, NaN for a missing one
    categories: tuple[int, ...]  # hashes, 0 for a missing one
    grams: tuple[tuple[int, ...], ...]  # hashed character trigrams of each text, ascending
    points: tuple[tuple[float, float], ...]  # latitude and longitude, degrees, NaN for a missing place
    key_matches: bool  # the record's key is the main entity's value (or one of them is missing)
    id_hash: int  # keyed, of the id; 64 bits
    unreadable: tuple[str, ...] = ()  # optional entities and fields whose values could not be read


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """An event's original values, for an alert."""

    main: str | None  # the main entity's value
    entities: Mapping[str, str | None]
    values: Mapping[str, Any]  # every field of the schema, as its kind gives it to people; None: missing
    carried: Mapping[str, Any]  # of these the ones that the model does not see (use: context, segment)
    traces: Headers  # the record's own W3C trace context
    document: bytes  # the whole event as JSON


class IdHashing(TypedDict):
    """Settings of BLAKE2b."""

    digest_size: int
    key: bytes
    person: bytes


class Entity(NamedTuple):
    """One entity of the schema."""

    field: EntityField
    read: Read
    digest: Callable[[str], int]
    texts: Plain  # which texts are plainly values


class Value(NamedTuple):
    """One field of the schema."""

    kind: FieldKind
    read: Read
    mask: Callable[[Any], Any] | None  # what alerts have in place of a value; None: nothing
    digest: Callable[[str], int]  # keyed hash

    @property
    def name(self) -> str:
        return self.kind.field.name


class Parser:
    """Reads events of one schema.

    Parameters
    ----------
    schema
        Which fields there are.
    entity_key
        Secret key of the hashes that stand for entity values, at most 64 bytes.
    require_key
        Reject records whose key is not the main entity's value.
    resources
        For the event format, see `Format`.
    source
        Topic and partition that the records come from. Events without an id are named by them.
    """

    def __init__(
        self,
        schema: Event,
        entity_key: bytes,
        *,
        require_key: bool = False,
        resources: Mapping[str, Any] = NO_RESOURCES,
        source: tuple[str, int] = NO_SOURCE,
    ) -> None:
        self.schema = schema
        self.id_hashing = id_hashing(entity_key)
        self.entity_key_id = entity_key_id(entity_key)
        self.require_key = require_key
        self.limits = schema.limits
        self.id_prefix = f"{source[0]}-{source[1]}-"
        keys_missing = MISSING if schema.missing is None else schema.missing
        self.id_texts = self._key_texts(schema.missing or ())
        clocked = schema.time.clock is not None
        time = schema.time
        if time.format == "apart":
            time = time.model_copy(update={"format": "iso8601"})
        self.times = (ClockedTimes if clocked else TimeReader)(time, frozenset(keys_missing))
        reversals = schema.reversals
        self.reversals = frozenset(() if reversals is None else reversals.values)
        encoded = [field for field in schema.fields if field.use == "encode"]
        fields = [field for field in schema.fields if field.use != "encode"]
        for store in STORES:
            fields += [field for field in encoded if KINDS[field.type].store == store]
        values = [entity.path for entity in schema.entities]
        values += [path for field in fields for path in field.paths]
        first, *others = schema.time.parts or (None,)
        heads = [schema.id, first]
        heads += [None, None] if reversals is None else [reversals.path, reversals.original]
        heads += [*([schema.time.clock] if clocked else []), *others]
        # The order of the format's columns, too: see `BlockReader`. In place of a path that is not
        # configured there is another one, whose values are not used.
        paths = [values[0] if path is None else path for path in heads] + values
        self.format = make_format(schema, paths, resources)
        self._read_id, self._read_time, self._read_kind, self._read_original = map(
            self.format.reader, paths[:4]
        )
        if others:
            parts = [self.format.reader(path) for path in schema.time.parts]
            self._read_time = lambda event: put_together([read(event) for read in parts])
        if clocked:
            day, clock = self._read_time, self.format.reader(paths[4])
            self._read_time = lambda event: (day(event), clock(event))
        self._names_original = reversals is not None and reversals.original is not None
        self.entities = [
            Entity(
                entity,
                self.format.reader(entity.path),
                hasher(entity_key, entity.name),
                self._key_texts(keys_missing if entity.missing is None else entity.missing),
            )
            for entity in schema.entities
        ]
        self.values = [
            Value(
                KINDS[field.type](self._filled(field), schema.limits, entity_key),
                self._reader(field),
                _mask(field, entity_key),
                hasher(entity_key, field.name),
            )
            for field in fields
        ]
        self.widths = _widths(encoded)
        self.checked = self.values[: len(fields) - len(encoded)]
        self.encoded = self.values[len(fields) - len(encoded) :]

    def _key_texts(self, missing: Iterable[str]) -> Plain:
        return Plain(frozenset(missing) | {""}, self.limits.key_chars_max)

    def _filled(self, field: ValueField) -> ValueField:
        """Fill in what a field leaves to the event."""
        schema = self.schema
        missing = schema.missing if field.missing is None else field.missing
        return field.model_copy(update={"missing": missing, "number": field.number or schema.number})

    def _reader(self, field: ValueField) -> Read:
        readers = [self.format.reader(path) for path in field.paths]
        return readers[0] if len(readers) == 1 else lambda event: tuple(read(event) for read in readers)

    def parse(self, record: Record) -> ParsedEvent | Rejected:
        """Read one record."""
        try:
            return self._event(record, self._decode(record.value, record.key, record.headers))
        except Bad as bad:
            return bad.rejected

    def id_hash(self, text: str) -> int:
        """Return 64 bits that stand for an event's id."""
        return _hashed(text, self.id_hashing)

    def main_hash(self, text: str) -> int:
        """Return the hash of a value of the main entity; 0: the schema has none, or it means missing."""
        main = next(iter(self.entities), None)
        return 0 if main is None or text in main.texts.missing else main.digest(text)

    def main_key(self, value: bytes) -> bytes | None:
        """Return the main entity's value as the bytes that a record's key should be; None: there is none."""
        try:
            event = self._decode(value, None, ())
            text = self._entity(self.entities[0], event, []) if self.entities else None
        except Bad:
            return None
        return None if text is None else text.encode()

    def view(self, record: Record, *, shown: bool = True) -> View:
        """Return the original values of an event that `parse` accepted.

        With `shown` as alerts may have them: without fields of `echo: false`, and with keyed hashes in place
        of what has a `pseudonym`.
        """
        assert record.value is not None
        event = self._decode(record.value, record.key, record.headers)
        texts = [self._entity(entity, event, []) for entity in self.entities]
        values = {value.name: self._value(value, event, []) for value in self.values}
        if shown:
            texts = [
                f"{entity.digest(text):016x}" if text is not None and entity.field.pseudonym else text
                for entity, text in zip(self.entities, texts, strict=True)
            ]
            values = {
                value.name: value.mask(values[value.name]) for value in self.values if value.mask is not None
            }
        return View(
            main=texts[0] if texts else None,
            entities={entity.field.name: text for entity, text in zip(self.entities, texts, strict=True)},
            values=values,
            carried={value.name: values[value.name] for value in self.checked if value.name in values},
            traces=tuple(h for h in record.headers if h[0].lower() in ("traceparent", "tracestate")),
            document=self.format.to_json(record.value, record.key, record.headers),
        )

    def hashes(self, name: str) -> Callable[[Record], int]:
        """Make what reads a field of events that `parse` accepted, as a keyed hash; 0: it is missing."""
        [value] = [one for one in self.values if one.name == name]

        def read(record: Record) -> int:
            found = self._value(value, self._decode(record.value, record.key, record.headers), [])
            return 0 if found is None else value.digest(str(found))

        return read

    def _decode(self, raw: bytes | None, key: bytes | None, headers: Headers) -> Any:
        if raw is None:
            reason = SKIPPED if self.format.skips_tombstones else "tombstone"
            raise Bad(reason, "the record has no value")
        if not raw.strip():
            raise Bad("empty", "the value has no content")
        if len(raw) > self.limits.bytes_max:
            raise Bad("too_large", f"{len(raw)} bytes, at most {self.limits.bytes_max} are read")
        return self.format.decode(raw, key, headers)

    def _check_reversal(self, event: Any) -> None:
        if plain(self._read_kind(event)) in self.reversals:
            original = plain(self._read_original(event)) if self._names_original else None
            if not original or len(original) > self.limits.key_chars_max:
                raise Bad("reversal", "takes back an event that it does not name")
            raise Bad("reversal", f"takes back event {original[:40]!r}", original)

    def _event(self, record: Record, event: Any) -> ParsedEvent:
        if self.reversals:
            self._check_reversal(event)
        id_, time = self._id(record, event), self._time(record, event)
        unreadable: list[str] = []
        texts = [self._entity(entity, event, unreadable) for entity in self.entities]
        main = texts[0] if texts else None
        matches = main is None or record.key is None or record.key == main.encode()
        if self.require_key and main is not None and record.key != main.encode():
            raise Bad("key_mismatch", f"the record's key is not the value of {self.entities[0].field.name}")
        for value in self.checked:
            self._value(value, event, unreadable)
        stores: dict[str, list[Any]] = {store: [] for store in STORES}
        for value in self.encoded:
            stores[value.kind.store] += value.kind.encode(self._value(value, event, unreadable))
        return ParsedEvent(
            record,
            id_,
            time,
            tuple(
                0 if text is None else entity.digest(text)
                for entity, text in zip(self.entities, texts, strict=True)
            ),
            tuple(stores["numerics"]),
            tuple(stores["categories"]),
            tuple(stores["texts"]),
            tuple(stores["points"]),
            matches,
            self.id_hash(id_),
            tuple(unreadable),
        )

    def _id(self, record: Record, event: Any) -> str:
        return self.own_id(record.offset) if self.schema.id is None else self.id_text(self._read_id(event))

    def _time(self, record: Record, event: Any) -> float:
        if self.schema.time.path is None:
            return self.times.of_record(record.timestamp_ms, record.offset)
        return self.times.one(self._read_time(event))

    def _entity(self, entity: Entity, event: Any, unreadable: list[str]) -> str | None:
        """Read an entity's value; None: it is missing, or optional and added to `unreadable`."""
        try:
            return self.key_text(entity, entity.read(event))
        except Bad as bad:
            if not entity.field.optional:
                raise _named(bad, f"entity {entity.field.name}") from None
            unreadable.append(entity.field.name)
            return None

    def _value(self, value: Value, event: Any, unreadable: list[str]) -> Any:
        """Read a field's value; None: it is missing, or optional and added to `unreadable`."""
        try:
            return value.kind.parse(value.read(event))
        except Bad as bad:
            if not value.kind.field.optional:
                raise _named(bad, f"field {value.name}") from None
            unreadable.append(value.name)
            return None

    # --- leaves: each checks a decoded value and converts it, or raises Bad --------------------------------

    def own_id(self, offset: int) -> str:
        """Id of an event that brings none."""
        return f"{self.id_prefix}{offset}"

    def id_text(self, found: Any) -> str:
        """Check an id."""
        text = self._text("id", self.id_texts, found)
        if text is None:
            raise Bad("missing", "id")
        return text

    def key_text(self, entity: Entity, found: Any) -> str | None:
        """Check an entity's value; None: it is missing."""
        name = f"entity {entity.field.name}"
        text = self._text(name, entity.texts, found)
        if text is None and not entity.field.optional:
            raise Bad("missing", name)
        return text

    def _text(self, name: str, texts: Plain, found: Any) -> str | None:
        """Check an id or entity value: text or a whole number."""
        try:
            text: str | None = key_of(found)
        except Bad as bad:
            raise Bad(bad.rejected.reason, f"{name}: {bad.rejected.detail}") from None
        if text is None or text in texts.missing:
            return None
        if len(text) > texts.chars_max:
            raise Bad("too_long", f"{name}: {len(text)} characters, at most {texts.chars_max}")
        return text


def _widths(encoded: Iterable[ValueField]) -> dict[Store, int]:
    """Columns of each store."""
    widths = dict.fromkeys(STORES, 0)
    for field in encoded:
        widths[KINDS[field.type].store] += len(KINDS[field.type].places(field))
    return widths


def _mask(field: ValueField, key: bytes) -> Callable[[Any], Any] | None:
    """What alerts have in place of a field's value: the value, a keyed hash of it, or nothing."""
    if not field.echo:
        return None
    if not field.pseudonym:
        return lambda value: value
    digest = hasher(key, field.name)
    return lambda value: None if value is None else f"{digest(str(value)):016x}"


def _named(bad: Bad, name: str) -> Bad:
    """Say which value was wrong, unless it is said."""
    why = bad.rejected
    return bad if name in why.detail else Bad(why.reason, f"{name}: {why.detail}", why.original)


def id_hash(text: str, key: bytes) -> int:
    """Return 64 bits that stand for an event's id.

    Without the key nobody finds ids that share a place in a hash table, which would make each look-up slow.
    """
    return _hashed(text, id_hashing(key))


def _hashed(text: str, hashing: IdHashing) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), **hashing).digest(), "little")


def id_hashing(key: bytes) -> IdHashing:
    """Return the settings of BLAKE2b for ids. No field and no entity can have this purpose."""
    return {"digest_size": 8, "key": key, "person": b"event id"}
