"""From a record to an event, or to the reason why it is not one.

`Parser` reads one record and names exactly what is wrong with it. `detector.core.events.block_reader` reads
many and leaves to `Parser` every record that is not plainly right.

Nothing that a record contains can raise: whatever is wrong with it becomes a `Rejected` with one of
`REASONS`. Entity values, categories and text leave this file only as hashes. What people need to read is
looked up again in the original bytes when an alert is made (`Parser.view`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, TypedDict
from zoneinfo import ZoneInfo

import numpy as np

from detector.config.tree import EntityField, Event, TimeField, ValueField
from detector.core.events.formats import make_format
from detector.core.events.kinds import KINDS, STORES, FieldKind
from detector.core.events.rejection import SKIPPED, Bad, Rejected
from detector.core.events.values import hasher, plain, to_float
from detector.core.records import Headers, Record, entity_key_id

TIME_MAX_S = 7_258_118_400.0  # 2200-01-01; a later time is a unit mistake (ms or us taken for s)
EPOCH_MS_FROM = 1e11  # in seconds this is the year 5138, in milliseconds 1973
NO_RESOURCES: Mapping[str, Any] = MappingProxyType({})

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


class Value(NamedTuple):
    """One field of the schema."""

    kind: FieldKind
    read: Read

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
    """

    def __init__(
        self,
        schema: Event,
        entity_key: bytes,
        *,
        require_key: bool = False,
        resources: Mapping[str, Any] = NO_RESOURCES,
    ) -> None:
        self.schema = schema
        self.id_hash = partial(id_hash, key=entity_key)
        self.id_hashing = id_hashing(entity_key)
        self.entity_key_id = entity_key_id(entity_key)
        self.require_key = require_key
        self.limits = schema.limits
        self.zone = ZoneInfo(schema.time.zone)
        self._to_time = _time_reader(schema.time, self.zone)
        reversals = schema.reversals
        self.reversals = frozenset(() if reversals is None else reversals.values)
        encoded = [field for field in schema.fields if field.use == "encode"]
        fields = [field for field in schema.fields if field.use != "encode"]
        for store in STORES:
            fields += [field for field in encoded if KINDS[field.type].store == store]
        kind_path = schema.id if reversals is None else reversals.path
        original_path = schema.id if reversals is None or reversals.original is None else reversals.original
        # The order of the format's columns, too: see `BlockReader`.
        paths = [schema.id, schema.time.path, kind_path, original_path]
        paths += [entity.path for entity in schema.entities]
        paths += [path for field in fields for path in field.paths]
        self.format = make_format(schema, paths, resources)
        self._read_id, self._read_time, self._read_kind, self._read_original = map(
            self.format.reader, paths[:4]
        )
        self._names_original = reversals is not None and reversals.original is not None
        self.entities = [
            Entity(entity, self.format.reader(entity.path), hasher(entity_key, entity.name))
            for entity in schema.entities
        ]
        self.values = [
            Value(KINDS[field.type](field, schema.limits, entity_key), self._reader(field))
            for field in fields
        ]
        self.widths = {
            store: sum(
                len(KINDS[field.type].places(field)) for field in encoded if KINDS[field.type].store == store
            )
            for store in STORES
        }
        self.checked = self.values[: len(fields) - len(encoded)]
        self.encoded = self.values[len(fields) - len(encoded) :]

    def _reader(self, field: ValueField) -> Read:
        readers = [self.format.reader(path) for path in field.paths]
        return readers[0] if len(readers) == 1 else lambda event: tuple(read(event) for read in readers)

    def parse(self, record: Record) -> ParsedEvent | Rejected:
        """Read one record."""
        try:
            return self._event(record, self._decode(record.value, record.key, record.headers))
        except Bad as bad:
            return bad.rejected

    def main_key(self, value: bytes) -> bytes | None:
        """Return the main entity's value as the bytes that a record's key should be; None: there is none."""
        try:
            return self._main(self._decode(value, None, ()))
        except Bad:
            return None

    def view(self, record: Record) -> View:
        """Return the original values of an event that `parse` accepted."""
        assert record.value is not None
        event = self._decode(record.value, record.key, record.headers)
        main = self._main(event)
        values = {value.name: value.kind.parse(value.read(event)) for value in self.values}
        return View(
            main=None if main is None else main.decode(),
            entities={entity.field.name: plain(entity.read(event)) for entity in self.entities},
            values=values,
            carried={value.name: values[value.name] for value in self.checked},
            traces=tuple(h for h in record.headers if h[0].lower() in ("traceparent", "tracestate")),
            document=self.format.to_json(record.value, record.key, record.headers),
        )

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
        id_ = self.id_text(self._read_id(event))
        time = self.seconds(self._read_time(event))
        texts = [self.key_text(entity.field, entity.read(event)) for entity in self.entities]
        main = texts[0] if texts else None
        matches = main is None or record.key is None or record.key == main.encode()
        if self.require_key and main is not None and record.key != main.encode():
            raise Bad("key_mismatch", f"the record's key is not the value of {self.entities[0].field.name}")
        for value in self.checked:
            value.kind.parse(value.read(event))
        stores: dict[str, list[Any]] = {store: [] for store in STORES}
        for value in self.encoded:
            stores[value.kind.store] += value.kind.encode(value.kind.parse(value.read(event)))
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
        )

    def _main(self, event: Any) -> bytes | None:
        if not self.entities:
            return None
        main = self.entities[0]
        text = self._text(main.field.name, main.read(event))
        return None if text is None else text.encode()

    # --- leaves: each checks a decoded value and converts it, or raises Bad --------------------------------

    def id_text(self, found: Any) -> str:
        """Check an id."""
        text = self._text("id", found)
        if text is None:
            raise Bad("missing", "id")
        return text

    def seconds(self, found: Any) -> float:
        """Convert an event's time to s since the epoch."""
        if found is None:
            raise Bad("missing", "time")
        return self._to_time(found)

    def key_text(self, entity: EntityField, found: Any) -> str | None:
        """Check an entity's value; None: it is missing."""
        text = self._text(entity.name, found)
        if text is None and not entity.optional:
            raise Bad("missing", f"entity {entity.name}")
        return text

    def _text(self, name: str, found: Any) -> str | None:
        """Check an id or entity value: text or a whole number."""
        if found is None or found == "":
            return None
        if isinstance(found, bool) or not isinstance(found, (str, int)):
            raise Bad("wrong_type", f"{name}: {type(found).__name__}, expected text or a whole number")
        text = str(found)
        if len(text) > self.limits.key_chars_max:
            raise Bad("too_long", f"{name}: {len(text)} characters, at most {self.limits.key_chars_max}")
        return text


def id_hash(text: str, key: bytes) -> int:
    """Return 64 bits that stand for an event's id.

    Without the key nobody finds ids that share a place in a hash table, which would make each look-up slow.
    """
    return int.from_bytes(hashlib.blake2b(text.encode(), **id_hashing(key)).digest(), "little")


def id_hashing(key: bytes) -> IdHashing:
    """Return the settings of BLAKE2b for ids. No field and no entity can have this purpose."""
    return {"digest_size": 8, "key": key, "person": b"event id"}


def _time_reader(field: TimeField, zone: ZoneInfo) -> Callable[[Any], float]:
    def read(found: Any) -> float:
        if isinstance(found, bool):
            raise Bad("wrong_type", "time: a boolean")
        if isinstance(found, str):
            iso = field.format in ("auto", "iso8601")
            seconds = _iso(found) if iso else float(from_epoch(_time_number(found), field.format))
        elif field.format == "iso8601":
            raise Bad("wrong_type", "time: a number, expected ISO 8601 text")
        else:
            seconds = float(from_epoch(to_float(found), field.format))
        if not 0.0 <= seconds < TIME_MAX_S:
            raise Bad("out_of_range", f"time: {found!r:.40} is not between 1970 and 2200")
        return seconds

    def _iso(text: str) -> float:
        try:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=zone)
            return moment.timestamp()
        except (ValueError, OverflowError):
            raise Bad("bad_time", f"time: {text[:40]!r} is not ISO 8601") from None

    return read


def from_epoch(number: Any, form: str) -> Any:
    """Convert a number, or an array of them, to s; `form` is `TimeField.format`: s, ms, or either."""
    in_ms = form == "epoch_ms" or (abs(number) > EPOCH_MS_FROM if form == "auto" else False)
    return np.where(in_ms, number / 1000.0, number)


def _time_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Bad("bad_time", f"time: {text[:40]!r} is not a number") from None
