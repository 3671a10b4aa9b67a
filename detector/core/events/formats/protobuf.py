"""Protobuf with the frame of a schema registry: the writer's schema is the one that the record names.

After the frame come the indexes of the message's type in its file, then the message. Each record is read
with its own schema, so a schema may change at any record. Fields have the names of the .proto file; values
are those that JSON would have (`protobuf_values`), and so are alerts. The package protobuf reads; fields that
a schema does not have are skipped, as Protobuf defines it.

Hostile bytes are bounded by the size of an event, and by protobuf's limit of 100 levels of messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from detector.config.extras import missing_extra
from detector.config.tree import EventLimits
from detector.core.events.formats.base import (
    SCALARS,
    Format,
    OddPathError,
    scatter,
    without,
)
from detector.core.events.formats.logical import Convert
from detector.core.events.formats.protobuf_values import (
    BYTES,
    TOGETHER,
    Field,
    Messages,
    Together,
    has_required,
    is_map,
    known_type,
)
from detector.core.events.formats.schemas import FRAME_BYTES, find_schema, schema_id
from detector.core.events.rejection import Bad
from detector.core.events.values import Column
from detector.core.records import Headers, Record

READERS_MAX = 256  # message types that a shard holds ready
INDEXES_MAX = 16  # levels of a message type inside others
Kind = tuple[int, tuple[int, ...]]  # the schema's id, and the indexes of the type


class Protobuf(Format):
    """See the module's text. It needs the package protobuf (the extra `protobuf`)."""

    def __init__(self, paths: Sequence[str], limits: EventLimits, resources: Mapping[str, Any]) -> None:
        super().__init__(paths, limits, resources)
        try:
            from google.protobuf.message import DecodeError
        except ImportError:
            raise missing_extra("protobuf") from None
        self._error = DecodeError
        self._readers_of: dict[Kind, _Reader] = {}
        self._files: dict[int, _File | str] = {}  # by the schema's id; a text says what is wrong with it

    def decode(self, value: bytes, key: bytes | None, headers: Headers) -> Any:
        kind, begin = _kind_of(value)
        reader = self._reader(kind)
        message = reader.parse(value[begin:])
        return reader.convert(message)

    def _reader(self, kind: Kind) -> _Reader:
        reader = self._readers_of.get(kind)
        if reader is None:
            number, indexes = kind
            descriptor = self._file(number).message_type(indexes)
            reader = _Reader(descriptor, self.paths, self._error)
            if len(self._readers_of) >= READERS_MAX:
                self._readers_of.clear()
            self._readers_of[kind] = reader
        return reader

    def _file(self, number: int) -> _File:
        schema = find_schema(self.resources, number, "PROTOBUF")
        file = self._files.get(number)
        if file is None:
            try:
                file = _File(schema.compiled)
            except Exception as error:  # noqa: BLE001 - a schema may be wrong in any way
                file = f"schema {number}: {type(error).__name__} {error}"[:200]
            if len(self._files) >= READERS_MAX:
                self._files.clear()
            self._files[number] = file
        if isinstance(file, str):
            raise Bad("malformed", file)
        return file

    def columns(self, records: Sequence[Record]) -> tuple[list[Column], set[int]]:
        bodies, rows_of, doubtful = self._sort(records)
        columns: list[list[Any]] = []
        for kind, rows in rows_of.items():
            try:
                reader = self._reader(kind)
            except Bad:
                doubtful.update(rows)
                continue
            if reader.paths is None:
                return super().columns(records)
            parts, wrong = reader.read([bodies[row] for row in rows] if len(rows) < len(bodies) else bodies)
            doubtful.update(rows[place] for place in wrong)
            if len(rows) == len(records):
                columns = parts
                break
            columns = columns or [[None] * len(records) for _ in self.paths]
            scatter(columns, rows, parts)
        return without(columns, doubtful, len(records))

    def _sort(self, records: Sequence[Record]) -> tuple[list[bytes], dict[Kind, Sequence[int]], set[int]]:
        """The messages, the rows of each type, and the rows that have none."""
        size_max, begin = self.limits.bytes_max, FRAME_BYTES + 1
        values = [record.value or b"" for record in records]
        head = values[0][:begin] if values else b""
        if len(head) == begin and head[0] == head[-1] == 0:  # of one type, the file's first: as usual
            bodies = [value[begin:] for value in values if value.startswith(head)]
            if len(bodies) == len(values) and max(map(len, values)) <= size_max:
                return bodies, {_kind_of(head)[0]: range(len(values))}, set()
        bodies, rows_of, doubtful = [b""] * len(values), dict[Kind, list[int]](), set[int]()
        for row, value in enumerate(values):
            try:
                kind, begin = _kind_of(value if len(value) <= size_max else b"")
            except Bad:
                doubtful.add(row)
                continue
            bodies[row] = value[begin:]
            rows_of.setdefault(kind, []).append(row)
        return bodies, {**rows_of}, doubtful


def _kind_of(value: bytes) -> tuple[Kind, int]:
    """Read the frame and the indexes; returns them and where the message begins.

    Raises
    ------
    Bad
    """
    number = schema_id(value)
    count, at = _varint(value, FRAME_BYTES)
    if count == 0:
        return (number, (0,)), at
    if not 0 < count <= INDEXES_MAX:
        raise Bad("malformed", f"{count} indexes of a message's type, at most {INDEXES_MAX}")
    indexes = []
    for _ in range(count):
        index, at = _varint(value, at)
        indexes.append(index)
    return (number, tuple(indexes)), at


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """Read a zig-zag number of at most 32 bits; returns it and where it ends."""
    number = 0
    for shift in range(0, 35, 7):
        if at >= len(value):
            break
        byte = value[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return (number >> 1) ^ -(number & 1), at
    raise Bad("malformed", "the indexes of the message's type are not readable")


class _File:
    """The message types of one schema."""

    def __init__(self, compiled: bytes) -> None:
        from google.protobuf import descriptor_pb2, descriptor_pool

        files = descriptor_pb2.FileDescriptorSet.FromString(compiled).file
        self._pool = descriptor_pool.DescriptorPool()
        for file in files:
            self._pool.AddSerializedFile(file.SerializeToString())
        self._file = files[-1]

    def message_type(self, indexes: tuple[int, ...]) -> Any:
        """The descriptor of the type at these indexes.

        Raises
        ------
        Bad
        """
        types, names = self._file.message_type, [self._file.package] if self._file.package else []
        for index in indexes:
            if not 0 <= index < len(types):
                raise Bad("malformed", f"its schema has no message type {list(indexes)}")
            names.append(types[index].name)
            types = types[index].nested_type
        return self._pool.FindMessageTypeByName(".".join(names))


class _Reader:
    """What is prepared for one message type."""

    def __init__(self, descriptor: Any, paths: Sequence[str], error: type[Exception]) -> None:
        from google.protobuf import message_factory

        self._parse = message_factory.GetMessageClass(descriptor).FromString
        self._error = error
        self._required = has_required(descriptor)
        messages = Messages()
        self.convert = messages.convert(descriptor)
        self.paths: list[_Path] | None
        try:
            places: dict[str, _Path] = {
                path: _Path(path, descriptor, messages) for path in dict.fromkeys(paths)
            }
        except OddPathError:
            self.paths = None
            return
        self.paths = [places[path] for path in paths]
        self._different = list(places.values())

    def parse(self, body: bytes) -> Any:
        """Read a message.

        Raises
        ------
        Bad
        """
        try:
            message = self._parse(body)
        except self._error:
            raise Bad("malformed", "not of its schema") from None
        if self._required and not message.IsInitialized():
            raise Bad("malformed", "not of its schema: a required field is not written")
        return message

    def read(self, bodies: Sequence[bytes]) -> tuple[list[list[Any]], set[int]]:
        """Values of each path, and the rows that are not plainly right: their values are any others."""
        assert self.paths is not None
        wrong: set[int] = set()
        messages = self._parsed(bodies)
        if messages is None:
            found = [self._or_none(body) for body in bodies]
            wrong = {row for row, message in enumerate(found) if message is None}
            if len(wrong) == len(bodies):
                return [[None] * len(bodies) for _ in self.paths], wrong
            good = next(message for message in found if message is not None)
            messages = [good if message is None else message for message in found]
        columns = {id(path): path.values(messages, wrong) for path in self._different}
        return [columns[id(path)] for path in self.paths], wrong

    def _parsed(self, bodies: Sequence[bytes]) -> list[Any] | None:
        """All messages; None: each needs a closer look."""
        if self._required:
            return None
        try:
            return list(map(self._parse, bodies))
        except self._error:
            return None

    def _or_none(self, body: bytes) -> Any:
        try:
            return self.parse(body)
        except Bad:
            return None


class _Path:
    """Where the value of a path is in messages of one type.

    First through messages, then, below a value that is converted (a map, a Struct), through the result. A
    message that is not there has zeros: who finds one asks whether it is there.
    """

    def __init__(self, path: str, descriptor: Any, messages: Messages) -> None:
        self._get: Callable[[Any], Any] | None = None  # value or inner message; None: each message is asked
        self._parts: list[Callable[[Any], Any]] = []  # of the inner message, if it is read by `_together`
        self._folders: list[str] = []
        self._leaf: Field | None = None  # None: the schema does not have it
        self._rest: list[str] = []
        self._together: Together | None = None
        self._absent: Any = None  # value, or first part, where there is none; None: never absent
        steps = path.split(".")
        for place, step in enumerate(steps):
            field = descriptor.fields_by_name.get(step)
            if field is None:
                return
            inner, rest = field.message_type, steps[place + 1 :]
            known = None if inner is None else known_type(inner)
            if inner is not None and known is None and rest and not field.is_repeated:
                self._folders.append(step)
                descriptor = inner
                continue
            self._leaf, self._rest = messages.field(field), rest
            plain = inner is None or known is not None or is_map(field)
            many = field.is_repeated and not is_map(field)
            if not plain or many or (self._leaf.scalar and rest) or field.type == BYTES:
                raise OddPathError
            self._prepare(".".join(steps[: place + 1]), field, known)
            return

    def _prepare(self, whole: str, field: Any, known: Convert | None) -> None:
        """Find out how columns are read, if they can be."""
        assert self._leaf is not None
        if self._leaf.scalar and field.default_value == field.default_value:  # not the default NaN
            self._get = attrgetter(whole)
            if self._folders or self._leaf.presence:
                self._absent = field.default_value
        elif known is not None and known in TOGETHER and not self._rest and not field.is_repeated:
            names, self._together, self._absent = TOGETHER[known]
            self._get, self._parts = attrgetter(whole), list(map(attrgetter, names))

    def values(self, messages: Sequence[Any], wrong: set[int]) -> list[Any]:
        """Values in all messages, None where they are missing. Rows not plainly right are added."""
        leaf = self._leaf
        if leaf is None:
            return [None] * len(messages)
        if self._get is None:
            return self._one_by_one(messages, leaf, wrong)
        column = list(map(self._get, messages))
        parts = [list(map(part, column)) for part in self._parts] or [column]
        missing: list[int] = []
        if self._absent is not None and self._absent in parts[0]:
            zeros = [row for row, found in enumerate(parts[0]) if found == self._absent]
            missing = [row for row in zeros if not self._is_there(messages[row], leaf)]
        if self._together is None:
            values = column if leaf.convert is None else list(map(leaf.convert, column))
            if leaf.may_be_bytes and bytes in set(map(type, values)):
                wrong.update(row for row, found in enumerate(values) if isinstance(found, bytes))
            for row in missing:
                values[row] = None
            return values
        if not missing:
            return self._together(*parts) or self._one_by_one(messages, leaf, wrong)
        values, there = [None] * len(messages), sorted(set(range(len(messages))) - set(missing))
        if there:
            found = self._together(*([part[row] for row in there] for part in parts))
            if found is None:
                return self._one_by_one(messages, leaf, wrong)
            for row, value in zip(there, found, strict=True):
                values[row] = value
        return values

    def _is_there(self, message: Any, leaf: Field) -> bool:
        for folder in self._folders:
            if not message.HasField(folder):
                return False
            message = getattr(message, folder)
        return not leaf.presence or bool(message.HasField(leaf.name))

    def _one_by_one(self, messages: Sequence[Any], leaf: Field, wrong: set[int]) -> list[Any]:
        values = []
        for row, message in enumerate(messages):
            found: Any = message
            for folder in self._folders:
                found = getattr(found, folder) if found is not None and found.HasField(folder) else None
            found = None if found is None else leaf.read(found)
            for step in self._rest:
                if found is None:
                    break
                found = found.get(step) if isinstance(found, dict) else [found]
            if not isinstance(found, SCALARS):
                wrong.add(row)
            values.append(found)
        return values
