"""From a record's bytes to an event, or to the reason why it is none.

Nothing that a record contains can raise: whatever is wrong with it becomes a `Rejected` with one of
`REASONS`. Entity values, categories and text leave this file only as hashes; what people need to read is
looked up again in the original bytes when an alert is made (`Parser.view`).
"""

from __future__ import annotations

import hashlib
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from detector.config.tree import Event, TimeField
from detector.core.records import Headers, Record

REASONS = (
    "tombstone",  # no value at all: a delete marker of a compacted topic
    "empty",
    "too_large",
    "too_deep",
    "not_json",  # includes bytes that are not UTF-8 and the token NaN, which JSON does not have
    "not_an_object",
    "missing",  # id, time, a required entity or a required field
    "wrong_type",
    "bad_time",
    "out_of_range",  # not finite, or a time outside 1970 to 2200
    "too_long",
    "key_mismatch",  # only with require_key
    "too_many",  # fields and items
    "reversal",  # takes back another event, see event.reversals
    "duplicate",  # its id came before, see event.duplicates
    "late",  # see event.time.late
)

# Values whose hashes are remembered, per entity and categorical field: at most so many of at most so many
# characters, some 5 MB; longer ones hardly come back. Texts are not remembered: free text never repeats.
CACHE_VALUES_MAX = 32_768
CACHE_CHARS_MAX = 64
TEXT_GRAMS_MAX = 32
# Python's json reads no whole number of more than 4,300 digits, and alerts carry the whole event to people.
DIGITS_MAX = 4000
TIME_MAX_S = 7_258_118_400.0  # 2200-01-01; a later time is a unit mistake (ms or us taken for s)
EPOCH_MS_FROM = 1e11  # as seconds this is the year 5138, as milliseconds 1973
_BRACKETS = re.compile(rb"[\[\]{}]")
_DIGITS = re.compile(rb"(?<![0-9])[0-9]{%d}" % DIGITS_MAX)
_OPENED = re.compile(rb"\{(?!\s*\})|\[(?!\s*\])")  # an object or list that is not empty


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a record is no event."""

    reason: str  # one of REASONS
    detail: str  # for people: which field, which bound
    original: str | None = None  # id of the event that a reversal takes back


class ParsedEvent(NamedTuple):
    """One event as the model sees it, with what is needed to find its original again."""

    record: Record
    id: str
    time: float  # s since the epoch
    entities: tuple[int, ...]  # keyed hashes, 0 for a missing one
    numerics: tuple[float, ...]  # raw values, NaN for a missing one
    categories: tuple[int, ...]  # hashes, 0 for a missing one
    grams: tuple[tuple[int, ...], ...]  # hashed character trigrams of each text
    key_matches: bool  # the record's key is the main entity's value (or one of them is missing)
    id_hash: int  # of the id; 64 bits, without a key


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """An event's original values, for an alert."""

    main: str | None  # the main entity's value
    entities: Mapping[str, str | None]
    values: Mapping[str, Any]  # every field of the schema: number, text or None
    carried: Mapping[str, Any]  # of these the ones that the model does not see (use: context, segment)
    traces: Headers  # the record's own W3C trace context


class _Bad(Exception):
    """Carries a Rejected from a leaf to `Parser.parse`."""

    def __init__(self, reason: str, detail: str, original: str | None = None) -> None:
        self.rejected = Rejected(reason, detail, original)


class Parser:
    """Reads events of one schema.

    Parameters
    ----------
    schema
        Which fields there are.
    entity_key
        Secret key of the hashes that stand for entity values, at most 64 bytes.
    require_key
        Reject what is not keyed by the main entity.
    """

    def __init__(self, schema: Event, entity_key: bytes, *, require_key: bool = False) -> None:
        self.schema = schema
        self.entity_key_id = hashlib.blake2b(b"entity key id", key=entity_key, digest_size=4).hexdigest()
        self._require_key = require_key
        self._limits = schema.limits
        leaves = [schema.id, schema.time.path]
        leaves += [entity.path for entity in schema.entities] + [value.path for value in schema.fields]
        reversals = schema.reversals
        if reversals is not None:
            leaves += [reversals.path] + ([] if reversals.original is None else [reversals.original])
        self._decoder = msgspec.json.Decoder(type=_structure(leaves))
        self._read_id = _getter(schema.id)
        self._reversals = frozenset(() if reversals is None else reversals.values)
        self._read_kind = _getter(schema.id if reversals is None else reversals.path)
        self._read_original = (
            _getter(reversals.original) if reversals is not None and reversals.original else _nothing
        )
        self._read_time = _getter(schema.time.path)
        self._to_time = _time_reader(schema.time)
        self._entities = [
            (entity, _getter(entity.path), _hasher(entity_key, entity.name)) for entity in schema.entities
        ]
        self._checked = [(value, _getter(value.path)) for value in schema.fields if value.use != "encode"]
        encoded = [value for value in schema.fields if value.use == "encode"]
        self._numerics = [(v, _getter(v.path)) for v in encoded if v.type == "numeric"]
        self._categories = [
            (v, _getter(v.path), _hasher(entity_key, v.name)) for v in encoded if v.type == "categorical"
        ]
        self._texts = [(v, _getter(v.path), _grams(entity_key, v.name)) for v in encoded if v.type == "text"]

    def parse(self, record: Record) -> ParsedEvent | Rejected:
        """Read one record."""
        try:
            event = self._decode(record.value)
            return self._event(record, event)
        except _Bad as bad:
            return bad.rejected

    def main_key(self, value: bytes) -> bytes | None:
        """Main entity's value of an event, as the bytes that a record's key should be; None without one."""
        try:
            return self._main(self._decode(value))
        except _Bad:
            return None

    def view(self, record: Record) -> View:
        """Original values of an event that `parse` accepted."""
        event = self._decode(record.value)
        main = self._main(event)
        fields = [*self._checked, *self._numerics]
        fields += [(value, read) for value, read, _ in (*self._categories, *self._texts)]
        values = {value.name: self._check(value, read(event)) for value, read in fields}
        return View(
            main=None if main is None else main.decode(),
            entities={entity.name: _plain(read(event)) for entity, read, _ in self._entities},
            values=values,
            carried={value.name: values[value.name] for value, _ in self._checked},
            traces=tuple(h for h in record.headers if h[0].lower() in ("traceparent", "tracestate")),
        )

    def _decode(self, raw: bytes | None) -> Any:
        if raw is None:
            raise _Bad("tombstone", "the record has no value")
        if not raw.strip():
            raise _Bad("empty", "the value has no content")
        if len(raw) > self._limits.bytes_max:
            raise _Bad("too_large", f"{len(raw)} bytes, at most {self._limits.bytes_max} are read")
        self._measure(raw)
        try:
            if not raw.isascii():
                raw.decode()  # msgspec does not look into what it skips, and alerts echo the whole event
            return self._decoder.decode(raw)
        except msgspec.ValidationError as error:
            if raw.lstrip()[:1] != b"{":
                raise _Bad("not_an_object", str(error)) from None
            reason = "out_of_range" if "out of range" in str(error) else "wrong_type"
            raise _Bad(reason, str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Bad("not_json", str(error)) from None
        except RecursionError:
            raise _Bad("too_deep", "nested too deeply to be read") from None

    def _measure(self, raw: bytes) -> None:
        """Check depth and numbers; first by bounds that cost next to nothing."""
        limits = self._limits
        opened = raw.count(b"{") + raw.count(b"[")
        if opened > limits.depth_max:
            depth = _depth(raw)
            if depth > limits.depth_max:
                raise _Bad("too_deep", f"nested {depth} levels, at most {limits.depth_max} are read")
        if limits.members_max is not None and opened + raw.count(b",") > limits.members_max:
            members = _members(raw)
            if members > limits.members_max:
                raise _Bad("too_many", f"{members} fields and items, at most {limits.members_max} are read")
        if len(raw) > DIGITS_MAX and _DIGITS.search(raw) and _DIGITS.search(_outside(raw)):
            raise _Bad("out_of_range", f"a number of {DIGITS_MAX} digits or more")
        if limits.name_chars_max is not None and len(raw) > limits.name_chars_max:
            chars = _longest_name(raw, limits.name_chars_max)
            if chars > limits.name_chars_max:
                raise _Bad(
                    "too_long", f"a field's name of {chars} characters, at most {limits.name_chars_max}"
                )

    def _check_reversal(self, event: Any) -> None:
        kind = _plain(self._read_kind(event))
        if kind in self._reversals:
            original = _plain(self._read_original(event))
            if not original or len(original) > self._limits.key_chars_max:
                raise _Bad("reversal", "takes back an event that it does not name")
            raise _Bad("reversal", f"takes back event {original[:40]!r}", original)

    def _event(self, record: Record, event: Any) -> ParsedEvent:
        if self._reversals:
            self._check_reversal(event)
        id_ = self._text("id", self._read_id(event), self._limits.key_chars_max)
        if id_ is None:
            raise _Bad("missing", "id")
        time = self._read_time(event)
        if time is None:
            raise _Bad("missing", "time")
        seconds = self._to_time(time)
        entities: list[int] = []
        main = None
        for entity, read, digest in self._entities:
            text = self._text(entity.name, read(event), self._limits.key_chars_max)
            if text is None and not entity.optional:
                raise _Bad("missing", f"entity {entity.name}")
            if not entities:
                main = text
            entities.append(0 if text is None else digest(text))
        matches = main is None or record.key is None or record.key == main.encode()
        if self._require_key and main is not None and record.key != main.encode():
            raise _Bad("key_mismatch", f"the record's key is not the value of {self._entities[0][0].name}")
        for value, read in self._checked:
            self._check(value, read(event))
        numerics = []
        for value, read in self._numerics:
            found = self._check(value, read(event))
            numerics.append(math.nan if found is None else found)
        categories = []
        for value, read, digest in self._categories:
            found = self._check(value, read(event))
            categories.append(0 if found is None else digest(found))
        grams = []
        for value, read, split in self._texts:
            found = self._check(value, read(event))
            grams.append(() if found is None else split(found))
        return ParsedEvent(
            record,
            id_,
            seconds,
            tuple(entities),
            tuple(numerics),
            tuple(categories),
            tuple(grams),
            matches,
            id_hash(id_),
        )

    def _main(self, event: Any) -> bytes | None:
        if not self._entities:
            return None
        entity, read, _ = self._entities[0]
        text = self._text(entity.name, read(event), self._limits.key_chars_max)
        return None if text is None else text.encode()

    def _check(self, value: Any, found: Any) -> Any:
        if found is None:
            if not value.optional:
                raise _Bad("missing", f"field {value.name}")
            return None
        if value.type == "numeric":
            return self._number(value.name, found)
        text = _plain(found)
        if len(text) > self._limits.text_chars_max:
            raise _Bad(
                "too_long",
                f"field {value.name}: {len(text)} characters, at most {self._limits.text_chars_max}",
            )
        return text

    @staticmethod
    def _number(name: str, found: Any) -> float:
        if isinstance(found, str):  # amounts often travel as decimal text
            try:
                number = float(found)
            except ValueError:
                raise _Bad("wrong_type", f"field {name}: text {found[:40]!r} is not a number") from None
        elif isinstance(found, bool):
            raise _Bad("wrong_type", f"field {name}: a boolean is not a number")
        else:
            number = _float(found)
        if not math.isfinite(number):
            raise _Bad("out_of_range", f"field {name}: not a finite number")
        return number

    @staticmethod
    def _text(name: str, found: Any, chars_max: int) -> str | None:
        """Ids and entity values: text or whole numbers."""
        if found is None or found == "":
            return None
        if isinstance(found, bool) or not isinstance(found, (str, int)):
            raise _Bad("wrong_type", f"{name}: {type(found).__name__}, text or a whole number is needed")
        text = str(found)
        if len(text) > chars_max:
            raise _Bad("too_long", f"{name}: {len(text)} characters, at most {chars_max}")
        return text


def _float(number: int | float) -> float:
    try:
        return float(number)
    except OverflowError:  # JSON's whole numbers have no bound
        return math.inf


def _plain(found: Any) -> Any:
    if found is None or isinstance(found, str):
        return found
    return str(found).lower() if isinstance(found, bool) else str(found)


def id_hash(text: str) -> int:
    """64 bits that stand for an event's id."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _quoted(raw: bytes) -> list[bytes]:
    """Text outside and inside of strings by turns; inside, what is escaped has its length only.

    Backslashes are in strings only, so pairs of them begin where a run begins.
    """
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    return raw.split(b'"')


def _outside(raw: bytes) -> bytes:
    """Text outside of strings."""
    return b"".join(_quoted(raw)[::2])


def _members(raw: bytes) -> int:
    """Fields of all objects and items of all lists."""
    outside = _outside(raw)
    return outside.count(b",") + len(_OPENED.findall(outside))


def _longest_name(raw: bytes, enough: int) -> int:
    """Length of the longest field's name as it is written, in characters; of those beyond `enough` bytes."""
    parts = _quoted(raw)
    names = (
        len(part.decode(errors="replace"))
        for part, after in zip(parts[1::2], parts[2::2], strict=False)
        if len(part) > enough and after.lstrip()[:1] == b":"
    )
    return max(names, default=0)


def _depth(raw: bytes) -> int:
    depth = deepest = 0
    for bracket in _BRACKETS.findall(_outside(raw)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _structure(paths: Sequence[str]) -> type[msgspec.Struct]:
    """Build the struct type that reads exactly these dotted paths; everything else is skipped unread."""
    tree: dict[str, Any] = {}
    for path in paths:
        *folders, leaf = path.split(".")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
            if node is None:
                raise ValueError(f"{path}: one part of it is also a field of its own")
        if node.setdefault(leaf, None) is not None:
            raise ValueError(f"{path}: a field of its own has parts")
    return _struct("Event", tree)


def _struct(name: str, tree: Mapping[str, Any]) -> type[msgspec.Struct]:
    leaf = str | int | float | bool | None
    fields: list[tuple[str, Any, Any]] = []
    names = {}
    for index, (key, below) in enumerate(tree.items()):
        attribute = f"f{index}"  # keys may be anything, attribute names may not
        names[attribute] = key
        fields.append((attribute, leaf if below is None else _struct(key, below) | None, None))
    return msgspec.defstruct(name, fields, rename=names, frozen=True, gc=False)


def _nothing(event: Any) -> Any:
    return None


def _getter(path: str) -> Callable[[Any], Any]:
    keys = path.split(".")

    def read(event: Any) -> Any:
        for key in keys:
            if event is None:
                return None
            structure: Any = type(event)
            event = getattr(event, _attributes(structure)[key])
        return event

    return read


@lru_cache(maxsize=4096)
def _attributes(structure: Any) -> Mapping[str, str]:
    return dict(zip(structure.__struct_encode_fields__, structure.__struct_fields__, strict=True))


def _hasher(key: bytes, purpose: str) -> Callable[[str], int]:
    person = hashlib.blake2b(purpose.encode(), digest_size=16).digest()

    def digest(text: str) -> int:
        raw = hashlib.blake2b(text.encode(), key=key, digest_size=8, person=person).digest()
        return int.from_bytes(raw, "little") or 1  # 0 means missing

    remembered = lru_cache(maxsize=CACHE_VALUES_MAX)(digest)
    return lambda text: remembered(text) if len(text) <= CACHE_CHARS_MAX else digest(text)


def _grams(key: bytes, purpose: str) -> Callable[[str], tuple[int, ...]]:
    salt = int.from_bytes(hashlib.blake2b(purpose.encode(), key=key, digest_size=4).digest(), "little")

    def split(text: str) -> tuple[int, ...]:
        padded = f" {' '.join(text.lower().split())} "
        found = {zlib.crc32(padded[i : i + 3].encode(), salt) or 1 for i in range(max(1, len(padded) - 2))}
        return tuple(sorted(found)[:TEXT_GRAMS_MAX])

    return split


def _time_reader(field: TimeField) -> Callable[[Any], float]:
    zone = ZoneInfo(field.zone)

    def read(found: Any) -> float:
        if isinstance(found, bool):
            raise _Bad("wrong_type", "time: a boolean")
        if isinstance(found, str):
            iso = field.format in ("auto", "iso8601")
            seconds = _iso(found) if iso else _epoch(_time_number(found))
        elif field.format == "iso8601":
            raise _Bad("wrong_type", "time: a number, ISO 8601 text is expected")
        else:
            seconds = _epoch(_float(found))
        if not 0.0 <= seconds < TIME_MAX_S:
            raise _Bad("out_of_range", f"time: {found!r:.40} is not between 1970 and 2200")
        return seconds

    def _iso(text: str) -> float:
        try:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=zone)
            return moment.timestamp()
        except (ValueError, OverflowError):
            raise _Bad("bad_time", f"time: {text[:40]!r} is not ISO 8601") from None

    def _epoch(number: float) -> float:
        in_ms = field.format == "epoch_ms" or (field.format == "auto" and abs(number) > EPOCH_MS_FROM)
        return number / 1000.0 if in_ms else number

    return read


def _time_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise _Bad("bad_time", f"time: {text[:40]!r} is not a number") from None
