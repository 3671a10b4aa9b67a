"""From a record's bytes to an event, or to the reason why it is none.

`Parser` takes one record and tells exactly what is wrong with it;
`detector.core.events.block_reader` takes many and leaves to it what is not plain.

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
from operator import attrgetter
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from detector.config.tree import EntityField, Event, TimeField, ValueField
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
    grams: tuple[tuple[int, ...], ...]  # hashed character trigrams of each text, ascending
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


class Bad(Exception):
    """Carries a Rejected from a leaf to `Parser.parse`."""

    def __init__(self, reason: str, detail: str, original: str | None = None) -> None:
        self.rejected = Rejected(reason, detail, original)


class Leaf(NamedTuple):
    """One entity or field and where it lies in a decoded event."""

    field: Any  # EntityField or ValueField
    path: str  # of attributes, dotted
    read: Callable[[Any], Any]  # its value in a decoded event, None if it or an object around it is missing
    digest: Any  # what the model sees of a text


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
        self.require_key = require_key
        self.limits = schema.limits
        paths = [schema.id, schema.time.path]
        paths += [entity.path for entity in schema.entities] + [value.path for value in schema.fields]
        reversals = schema.reversals
        if reversals is not None:
            paths += [reversals.path] + ([] if reversals.original is None else [reversals.original])
        tree = _tree(paths)
        self.decoder = msgspec.json.Decoder(type=_struct("Event", tree))

        def leaf(field: Any, path: str, digest: Any = None) -> Leaf:
            attributes = _attributes(tree, path)
            return Leaf(field, attributes, _getter(attributes), digest)

        self.id = leaf(None, schema.id)
        self.time = leaf(schema.time, schema.time.path)
        self.zone = ZoneInfo(schema.time.zone)
        self.to_time = _time_reader(schema.time, self.zone)
        self.reversals = frozenset(() if reversals is None else reversals.values)
        self.kind = leaf(None, schema.id if reversals is None else reversals.path)
        named = reversals is not None and reversals.original
        self._read_original = leaf(None, named).read if named else _nothing
        self.entities = [leaf(e, e.path, _hasher(entity_key, e.name)) for e in schema.entities]
        self.checked = [leaf(value, value.path) for value in schema.fields if value.use != "encode"]
        encoded = [value for value in schema.fields if value.use == "encode"]
        self.numerics = [leaf(v, v.path) for v in encoded if v.type == "numeric"]
        self.categories = [
            leaf(v, v.path, _hasher(entity_key, v.name)) for v in encoded if v.type == "categorical"
        ]
        self.texts = [leaf(v, v.path, TextGrams(entity_key, v.name)) for v in encoded if v.type == "text"]

    def parse(self, record: Record) -> ParsedEvent | Rejected:
        """Read one record."""
        try:
            event = self._decode(record.value)
            return self._event(record, event)
        except Bad as bad:
            return bad.rejected

    def main_key(self, value: bytes) -> bytes | None:
        """Main entity's value of an event, as the bytes that a record's key should be; None without one."""
        try:
            return self._main(self._decode(value))
        except Bad:
            return None

    def view(self, record: Record) -> View:
        """Original values of an event that `parse` accepted."""
        event = self._decode(record.value)
        main = self._main(event)
        leaves = [*self.checked, *self.numerics, *self.categories, *self.texts]
        values = {leaf.field.name: self.check(leaf.field, leaf.read(event)) for leaf in leaves}
        return View(
            main=None if main is None else main.decode(),
            entities={leaf.field.name: plain(leaf.read(event)) for leaf in self.entities},
            values=values,
            carried={leaf.field.name: values[leaf.field.name] for leaf in self.checked},
            traces=tuple(h for h in record.headers if h[0].lower() in ("traceparent", "tracestate")),
        )

    def _decode(self, raw: bytes | None) -> Any:
        if raw is None:
            raise Bad("tombstone", "the record has no value")
        if not raw.strip():
            raise Bad("empty", "the value has no content")
        if len(raw) > self.limits.bytes_max:
            raise Bad("too_large", f"{len(raw)} bytes, at most {self.limits.bytes_max} are read")
        self._measure(raw)
        try:
            if not raw.isascii():
                raw.decode()  # msgspec does not look into what it skips, and alerts echo the whole event
            return self.decoder.decode(raw)
        except msgspec.ValidationError as error:
            if raw.lstrip()[:1] != b"{":
                raise Bad("not_an_object", str(error)) from None
            reason = "out_of_range" if "out of range" in str(error) else "wrong_type"
            raise Bad(reason, str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Bad("not_json", str(error)) from None
        except RecursionError:
            raise Bad("too_deep", "nested too deeply to be read") from None

    def _measure(self, raw: bytes) -> None:
        """Check depth and numbers; first by bounds that cost next to nothing."""
        limits = self.limits
        opened = raw.count(b"{") + raw.count(b"[")
        if opened > limits.depth_max:
            depth = _depth(raw)
            if depth > limits.depth_max:
                raise Bad("too_deep", f"nested {depth} levels, at most {limits.depth_max} are read")
        if limits.members_max is not None and opened + raw.count(b",") > limits.members_max:
            members = _members(raw)
            if members > limits.members_max:
                raise Bad("too_many", f"{members} fields and items, at most {limits.members_max} are read")
        if len(raw) > DIGITS_MAX and _DIGITS.search(raw) and _DIGITS.search(_outside(raw)):
            raise Bad("out_of_range", f"a number of {DIGITS_MAX} digits or more")
        if limits.name_chars_max is not None and len(raw) > limits.name_chars_max:
            chars = _longest_name(raw, limits.name_chars_max)
            if chars > limits.name_chars_max:
                raise Bad(
                    "too_long", f"a field's name of {chars} characters, at most {limits.name_chars_max}"
                )

    def _check_reversal(self, event: Any) -> None:
        if plain(self.kind.read(event)) in self.reversals:
            original = plain(self._read_original(event))
            if not original or len(original) > self.limits.key_chars_max:
                raise Bad("reversal", "takes back an event that it does not name")
            raise Bad("reversal", f"takes back event {original[:40]!r}", original)

    def _event(self, record: Record, event: Any) -> ParsedEvent:
        if self.reversals:
            self._check_reversal(event)
        id_ = self.id_text(self.id.read(event))
        time = self.seconds(self.time.read(event))
        texts = [self.key_text(leaf.field, leaf.read(event)) for leaf in self.entities]
        main = texts[0] if texts else None
        matches = main is None or record.key is None or record.key == main.encode()
        if self.require_key and main is not None and record.key != main.encode():
            raise Bad("key_mismatch", f"the record's key is not the value of {self.entities[0].field.name}")
        for leaf in self.checked:
            self.check(leaf.field, leaf.read(event))
        numerics = [self.number(leaf, leaf.read(event)) for leaf in self.numerics]
        categories = [self.category(leaf, leaf.read(event)) for leaf in self.categories]
        grams = [leaf.digest(self.check(leaf.field, leaf.read(event))) for leaf in self.texts]
        return ParsedEvent(
            record,
            id_,
            time,
            tuple(
                0 if text is None else leaf.digest(text)
                for leaf, text in zip(self.entities, texts, strict=True)
            ),
            tuple(numerics),
            tuple(categories),
            tuple(grams),
            matches,
            id_hash(id_),
        )

    def _main(self, event: Any) -> bytes | None:
        if not self.entities:
            return None
        leaf = self.entities[0]
        text = self._text(leaf.field.name, leaf.read(event))
        return None if text is None else text.encode()

    # --- leaves: each takes what was decoded and gives a value, or raises Bad ------------------------------

    def id_text(self, found: Any) -> str:
        text = self._text("id", found)
        if text is None:
            raise Bad("missing", "id")
        return text

    def seconds(self, found: Any) -> float:
        if found is None:
            raise Bad("missing", "time")
        return self.to_time(found)

    def key_text(self, entity: EntityField, found: Any) -> str | None:
        text = self._text(entity.name, found)
        if text is None and not entity.optional:
            raise Bad("missing", f"entity {entity.name}")
        return text

    def entity(self, leaf: Leaf, found: Any) -> int:
        text = self.key_text(leaf.field, found)
        return 0 if text is None else leaf.digest(text)

    def number(self, leaf: Leaf, found: Any) -> float:
        number = self.check(leaf.field, found)
        return math.nan if number is None else number

    def category(self, leaf: Leaf, found: Any) -> int:
        text = self.check(leaf.field, found)
        return 0 if text is None else leaf.digest(text)

    def check(self, value: ValueField, found: Any) -> Any:
        """A number or text of the schema as it is; None: missing."""
        if found is None:
            if not value.optional:
                raise Bad("missing", f"field {value.name}")
            return None
        if value.type == "numeric":
            return self._number(value.name, found)
        text = plain(found)
        if len(text) > self.limits.text_chars_max:
            raise Bad(
                "too_long",
                f"field {value.name}: {len(text)} characters, at most {self.limits.text_chars_max}",
            )
        return text

    @staticmethod
    def _number(name: str, found: Any) -> float:
        if isinstance(found, str):  # amounts often travel as decimal text
            try:
                number = float(found)
            except ValueError:
                raise Bad("wrong_type", f"field {name}: text {found[:40]!r} is not a number") from None
        elif isinstance(found, bool):
            raise Bad("wrong_type", f"field {name}: a boolean is not a number")
        else:
            number = to_float(found)
        if not math.isfinite(number):
            raise Bad("out_of_range", f"field {name}: not a finite number")
        return number

    def _text(self, name: str, found: Any) -> str | None:
        """Ids and entity values: text or whole numbers."""
        if found is None or found == "":
            return None
        if isinstance(found, bool) or not isinstance(found, (str, int)):
            raise Bad("wrong_type", f"{name}: {type(found).__name__}, text or a whole number is needed")
        text = str(found)
        if len(text) > self.limits.key_chars_max:
            raise Bad("too_long", f"{name}: {len(text)} characters, at most {self.limits.key_chars_max}")
        return text


def to_float(number: int | float) -> float:
    """The nearest double; inf beyond the largest."""
    try:
        return float(number)
    except OverflowError:  # JSON's whole numbers have no bound
        return math.inf


def plain(found: Any) -> Any:
    """What was decoded, as text; None stays."""
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


def _tree(paths: Sequence[str]) -> dict[str, Any]:
    """The objects that these dotted paths go through; a leaf is None."""
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
    return tree


def _struct(name: str, tree: Mapping[str, Any]) -> type[msgspec.Struct]:
    """Build the struct type that reads exactly the leaves; everything else is skipped unread."""
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


def _attributes(tree: Mapping[str, Any], path: str) -> str:
    """Where a path's leaf lies in the struct."""
    attributes = []
    for key in path.split("."):
        attributes.append(f"f{list(tree).index(key)}")
        tree = tree[key]
    return ".".join(attributes)


def _getter(attributes: str) -> Callable[[Any], Any]:
    whole = attrgetter(attributes)

    def read(event: Any) -> Any:
        try:
            return whole(event)
        except AttributeError:  # an object on the way is None
            return None

    return read


def _hasher(key: bytes, purpose: str) -> Callable[[str], int]:
    person = hashlib.blake2b(purpose.encode(), digest_size=16).digest()

    def digest(text: str) -> int:
        raw = hashlib.blake2b(text.encode(), key=key, digest_size=8, person=person).digest()
        return int.from_bytes(raw, "little") or 1  # 0 means missing

    return digest


class TextGrams:
    """Hashes of a text's character trigrams, whatever its case and spacing: the `TEXT_GRAMS_MAX` lowest."""

    def __init__(self, key: bytes, purpose: str) -> None:
        digest = hashlib.blake2b(purpose.encode(), key=key, digest_size=4).digest()
        self.salt = int.from_bytes(digest, "little")

    @staticmethod
    def padded(text: str) -> str:
        """What is split into trigrams."""
        return f" {' '.join(text.lower().split())} "

    def __call__(self, text: str | None) -> tuple[int, ...]:
        if text is None:
            return ()
        whole = self.padded(text)
        grams = (whole[i : i + 3].encode() for i in range(max(1, len(whole) - 2)))
        return tuple(sorted({zlib.crc32(gram, self.salt) or 1 for gram in grams})[:TEXT_GRAMS_MAX])


def _time_reader(field: TimeField, zone: ZoneInfo) -> Callable[[Any], float]:
    def read(found: Any) -> float:
        if isinstance(found, bool):
            raise Bad("wrong_type", "time: a boolean")
        if isinstance(found, str):
            iso = field.format in ("auto", "iso8601")
            seconds = _iso(found) if iso else float(from_epoch(_time_number(found), field.format))
        elif field.format == "iso8601":
            raise Bad("wrong_type", "time: a number, ISO 8601 text is expected")
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
    """Return s for a number, or an array of them, that is s or ms as `TimeField.format` says."""
    in_ms = form == "epoch_ms" or (abs(number) > EPOCH_MS_FROM if form == "auto" else False)
    return np.where(in_ms, number / 1000.0, number)


def _time_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Bad("bad_time", f"time: {text[:40]!r} is not a number") from None
