"""JSON: one object per record, UTF-8, with or without the frame of a schema registry.

msgspec decodes straight into a struct that has exactly the paths that are read; everything else is skipped.
Two things that it refuses are read again with more patience: the tokens NaN and Infinity, which are not JSON
but which Python writes, are null; and where a value is a list or an object, or too large a number, only that
value is wrong (`_Loose`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from detector.config.tree import EventLimits
from detector.core.events.formats.base import Format
from detector.core.events.rejection import Bad
from detector.core.events.text_kernels import beyond
from detector.core.events.values import Column
from detector.core.records import Headers, Record

# Python's json reads no whole number of more than 4,300 digits, and alerts carry the whole event to people.
DIGITS_MAX = 4000
_BRACKETS = re.compile(rb"[\[\]{}]")
_DIGITS = re.compile(rb"(?<![0-9])[0-9]{%d}" % DIGITS_MAX)
FRAME = b"\x00"  # then 4 bytes of the schema's id
FRAME_BYTES = 5
Leaf = str | int | float | bool | None
_LEAF = msgspec.json.Decoder(type=Leaf)
_RAW_FIELDS = msgspec.json.Decoder(type=dict[str, msgspec.Raw])
# A string, or a token that is not JSON. A string without an end goes to the end, so the work is linear.
_NO_NUMBERS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[-+]?\b(?:NaN|nan|Infinity|inf)\b', re.DOTALL)
_OPENED = re.compile(rb"\{(?!\s*\})|\[(?!\s*\])")  # an object or list that is not empty


class _Loose(dict[str, Any]):
    """An event by paths. A value that is wrong is the Bad that reading it raises."""


class Json(Format):
    """Decoded events are structs; see `Format`.

    A value that begins with a zero byte has the frame of a schema registry: that byte and four of the
    schema's id. JSON never begins so. The frame is dropped; JSON needs no schema to be read.

    Parameters
    ----------
    raw
        Of `paths`, those that are read as they are written (`msgspec.Raw`), whatever they hold.
    """

    def __init__(
        self,
        paths: Sequence[str],
        limits: EventLimits,
        resources: Mapping[str, Any],
        *,
        raw: Collection[str] = (),
    ) -> None:
        super().__init__(paths, limits, resources)
        self._raw = frozenset(raw)
        self._tree = _tree(paths)
        self._decoder = msgspec.json.Decoder(type=_struct("Event", self._tree, raw))
        self._attributes = [_attributes(self._tree, path) for path in self.paths]
        self._row = attrgetter(*self._attributes)  # a tuple, as an event has an id and a time

    def reader(self, path: str) -> Callable[[Any], Any]:
        whole = attrgetter(_attributes(self._tree, path))

        def read(event: Any) -> Any:
            try:
                return whole(event)
            except AttributeError:
                if type(event) is not _Loose:  # an object on the way is None
                    return None
            found = event[path]
            if isinstance(found, Bad):
                raise found
            return found

        return read

    def decode(self, value: bytes, key: bytes | None, headers: Headers) -> Any:
        value = _unframed(value)
        self._check_limits(value)
        try:
            if not value.isascii():
                value.decode()  # msgspec does not check what it skips, and alerts carry the whole event
            try:
                return self._decoder.decode(value)
            except msgspec.ValidationError:
                return self._loose(value)
            except msgspec.DecodeError as error:
                standard = _standard(value)
                if standard == value:
                    raise Bad("malformed", str(error)) from None
                return self.decode(standard, key, headers)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Bad("malformed", str(error)) from None
        except RecursionError:
            raise Bad("too_deep", "nested too deeply to be read") from None

    def _loose(self, value: bytes) -> _Loose:
        """Read an event of which some value is not of a type that is read.

        Raises
        ------
        msgspec.DecodeError
            It is not JSON.
        """
        if value.lstrip()[:1] != b"{":
            raise Bad("not_an_object", "an event is an object")
        event = _Loose()
        objects: dict[tuple[str, ...], Any] = {(): _RAW_FIELDS.decode(_standard(value))}
        for path in self.paths:
            *folders, leaf = path.split(".")
            event[path] = self._of_loose(objects, tuple(folders), leaf, path in self._raw)
        return event

    def _of_loose(
        self, objects: dict[tuple[str, ...], Any], folders: tuple[str, ...], leaf: str, raw: bool
    ) -> Any:
        """Value at a path, or what is wrong with it; `objects` has what was read on the way to others."""
        above: Any = objects[()]
        for steps in range(1, len(folders) + 1):
            within = folders[:steps]
            if within not in objects:
                part = None if above is None else above.get(within[-1])
                if part is None or bytes(part) == b"null":
                    objects[within] = None
                elif bytes(part)[:1] == b"{":
                    objects[within] = _RAW_FIELDS.decode(part)
                else:
                    objects[within] = Bad("wrong_type", f"{'.'.join(within)}: expected an object")
            above = objects[within]
            if isinstance(above, Bad):
                return above
        part = None if above is None else above.get(leaf)
        if raw:
            return msgspec.Raw(b"") if part is None else part
        if part is None:
            return None
        try:
            return _LEAF.decode(part)
        except msgspec.ValidationError as error:
            reason = "out_of_range" if "out of range" in str(error) else "wrong_type"
            return Bad(reason, str(error))

    def to_json(self, value: bytes, key: bytes | None, headers: Headers) -> bytes:
        return _standard(_unframed(value).strip())

    def part_as_json(self, value: bytes, key: bytes | None, headers: Headers, path: tuple[str, ...]) -> bytes:
        part = self.to_json(value, key, headers)
        for step in path:
            part = bytes(_RAW_FIELDS.decode(part)[step])
        return part

    def columns(self, records: Sequence[Record]) -> tuple[list[Column], set[int]]:
        decoded, doubtful = self._decode_all([record.value for record in records])
        if len(doubtful) == len(records):
            return [], doubtful
        try:
            return list(zip(*map(self._row, decoded), strict=True)), doubtful
        except AttributeError:  # an object within some event is missing
            return [_column(decoded, attributes) for attributes in self._attributes], doubtful

    def _decode_all(self, values: Sequence[bytes | None]) -> tuple[list[Any], set[int]]:
        """Decode what is within the limits. The other rows are doubtful, and hold another row's event."""
        limits, decode = self.limits, self._decoder.decode
        raws = [b"" if raw is None or len(raw) > limits.bytes_max else raw for raw in values]
        if raws and raws[0][:1] == FRAME:  # others than the first by themselves
            raws = list(map(_unframed, raws))
        doubtful = set(
            beyond(raws, limits.depth_max, limits.members_max, limits.name_chars_max, DIGITS_MAX - 1)
        )
        if not doubtful:
            try:
                return list(map(decode, raws)), doubtful
            except msgspec.DecodeError:
                pass
        decoded: dict[int, Any] = {}
        for row, raw in enumerate(raws):
            if row not in doubtful:
                try:
                    try:
                        decoded[row] = decode(raw)
                    except msgspec.ValidationError:
                        doubtful.add(row)
                    except msgspec.DecodeError:
                        decoded[row] = decode(_standard(raw))
                except msgspec.DecodeError:
                    doubtful.add(row)
        some = next(iter(decoded.values()), None)
        return [decoded.get(row, some) for row in range(len(raws))], doubtful

    def _check_limits(self, raw: bytes) -> None:
        """Check depth, members, names and digits; first by bounds that cost next to nothing."""
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


def _standard(value: bytes) -> bytes:
    """Replace the tokens NaN and Infinity, which are not JSON, by null."""
    return _NO_NUMBERS.sub(_null, value)


def _null(found: re.Match[bytes]) -> bytes:
    return found[0] if found[0][:1] == b'"' else b"null"


def _unframed(value: bytes) -> bytes:
    return value[FRAME_BYTES:] if value[:1] == FRAME else value


def _column(decoded: Column, attributes: str) -> Column:
    """Values of one path where objects on the way may be missing."""
    column = decoded
    for attribute in attributes.split("."):
        column = [None if parent is None else getattr(parent, attribute) for parent in column]
    return column


def _quoted(raw: bytes) -> list[bytes]:
    """Split into text outside and inside of strings, alternately.

    Inside, each escaped character is replaced by two others. Backslashes occur in strings only, so pairs of
    them begin where a run begins.
    """
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    return raw.split(b'"')


def _outside(raw: bytes) -> bytes:
    """Text outside of strings."""
    return b"".join(_quoted(raw)[::2])


def _members(raw: bytes) -> int:
    """Count the fields of all objects and the items of all lists."""
    outside = _outside(raw)
    return outside.count(b",") + len(_OPENED.findall(outside))


def _longest_name(raw: bytes, bytes_min: int) -> int:
    """Characters of the longest field name as written, among names of more than `bytes_min` bytes."""
    parts = _quoted(raw)
    names = (
        len(part.decode(errors="replace"))
        for part, after in zip(parts[1::2], parts[2::2], strict=False)
        if len(part) > bytes_min and after.lstrip()[:1] == b":"
    )
    return max(names, default=0)


def _depth(raw: bytes) -> int:
    depth = deepest = 0
    for bracket in _BRACKETS.findall(_outside(raw)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _tree(paths: Sequence[str]) -> dict[str, Any]:
    """The objects that dotted paths lead through, as nested dicts; a leaf is None."""
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


def _struct(
    name: str, tree: Mapping[str, Any], raw: Collection[str] = (), prefix: str = ""
) -> type[msgspec.Struct]:
    """Build the struct type that has exactly the leaves; `prefix` is the path of `tree`."""
    fields: list[tuple[str, Any, Any]] = []
    names = {}
    for index, (key, below) in enumerate(tree.items()):
        attribute = f"f{index}"  # keys may be anything, attribute names may not
        names[attribute] = key
        if prefix + key in raw:
            fields.append((attribute, msgspec.Raw, msgspec.Raw(b"")))
        elif below is None:
            fields.append((attribute, Leaf, None))
        else:
            fields.append((attribute, _struct(key, below, raw, f"{prefix}{key}.") | None, None))
    return msgspec.defstruct(name, fields, rename=names, frozen=True, gc=False)


def _attributes(tree: Mapping[str, Any], path: str) -> str:
    """Where a path's leaf is in the struct."""
    attributes = []
    for key in path.split("."):
        attributes.append(f"f{list(tree).index(key)}")
        tree = tree[key]
    return ".".join(attributes)
