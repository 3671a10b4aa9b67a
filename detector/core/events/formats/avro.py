"""Avro with the frame of a schema registry: the writer's schema is the one that the record names.

Each record is read with its own schema, so a schema may change at any record. Fields are found by name.
Values are those that JSON would have (`logical`); so are alerts. fastavro reads; where a block is plain, a
kernel finds the same values sooner (`avro_blocks`).

Some schemas are refused, because hostile bytes could use them: those that contain themselves (nesting without
end) and lists whose items take no bytes (billions of items in a few bytes).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import Any

from detector.config.extras import missing_extra
from detector.config.tree import EventLimits
from detector.core.events.formats.avro_blocks import BlockPlan
from detector.core.events.formats.base import Format, OddPathError, scatter, without
from detector.core.events.formats.logical import (
    Convert,
    checked_scale,
    clock,
    day,
    decimal,
    named,
    or_list,
    timestamp,
    timestamps,
    uuid_text,
)
from detector.core.events.formats.schemas import FRAME_BYTES, find_schema, schema_id
from detector.core.events.rejection import Bad
from detector.core.events.values import Column
from detector.core.records import Headers, Record

LOGICAL = "detector.logical"  # in place of logicalType: fastavro then leaves the value as it is stored
READERS_MAX = 256  # schemas that a shard holds ready
_TIMES = {"millis": 1000, "micros": 1_000_000, "nanos": 1_000_000_000}
_PLAIN = {
    "boolean": bool,
    "int": int,
    "long": int,
    "float": float,
    "double": float,
    "string": str,
    "enum": str,
}
_TYPES = _PLAIN | {"bytes": bytes, "fixed": bytes, "record": dict, "error": dict, "map": dict, "array": list}


class Avro(Format):
    """See the module's text. It needs the package fastavro (the extra `avro`)."""

    def __init__(self, paths: Sequence[str], limits: EventLimits, resources: Mapping[str, Any]) -> None:
        super().__init__(paths, limits, resources)
        try:
            import fastavro
        except ImportError:
            raise missing_extra("avro") from None
        self._parse, self._read = fastavro.parse_schema, fastavro.schemaless_reader
        self._by_schema: dict[int, _Reader] = {}

    def decode(self, value: bytes, key: bytes | None, headers: Headers) -> Any:
        reader = self._reader(schema_id(value))
        event = self._event(reader, value)
        return event if reader.convert is None else reader.convert(event)

    def _event(self, reader: _Reader, value: bytes) -> Any:
        """Read a record's bytes; logical types are left as they are stored."""
        buffer = BytesIO(value)
        buffer.seek(FRAME_BYTES)
        try:
            event = self._read(buffer, reader.schema, None)
        except Exception as error:  # noqa: BLE001 - fastavro has no error of its own for corrupt bytes
            # Its texts name objects by address; a dead letter is the same at every replay.
            raise Bad("malformed", f"not of its schema ({type(error).__name__})") from None
        if buffer.tell() != len(value):
            raise Bad("malformed", f"{len(value) - buffer.tell()} bytes after the event")
        return event

    def _reader(self, number: int) -> _Reader:
        reader = self._by_schema.get(number)
        if reader is None:
            found = find_schema(self.resources, number, "AVRO")
            try:
                reader = _Reader(self._parse, found.text, found.references, self.paths)
            except Exception as error:  # noqa: BLE001 - a schema may be wrong in any way
                raise Bad("malformed", f"schema {number}: {type(error).__name__} {error}"[:200]) from None
            if len(self._by_schema) >= READERS_MAX:
                self._by_schema.clear()
            self._by_schema[number] = reader
        return reader

    def columns(self, records: Sequence[Record]) -> tuple[list[Column], set[int]]:
        rows_of: dict[bytes, list[int]] = {}
        doubtful: set[int] = set()
        for row, record in enumerate(records):
            value = record.value
            if value is None or not FRAME_BYTES < len(value) <= self.limits.bytes_max or value[0]:
                doubtful.add(row)
            else:
                rows_of.setdefault(value[:FRAME_BYTES], []).append(row)
        columns: list[list[Any]] = [[None] * len(records) for _ in self.paths]
        for frame, rows in rows_of.items():
            try:
                reader = self._reader(schema_id(frame + b"."))
            except Bad:
                doubtful.update(rows)
                continue
            if reader.columns is None:
                return super().columns(records)
            values: list[Any] = [records[row].value for row in rows]
            parts, wrong = self._read_block(reader, values)
            doubtful.update(rows[place] for place in wrong)
            if len(rows) == len(records):
                columns = parts
                continue
            scatter(columns, rows, parts)
        return without(columns, doubtful, len(records))

    def _read_block(self, reader: _Reader, values: Sequence[bytes]) -> tuple[list[list[Any]], set[int]]:
        """Values of each path, and the rows that are not plainly right."""
        if reader.plan is not None:
            found, wrong = reader.plan.read(values, reader.places)
        else:
            wrong, events = set(), []
            for row, value in enumerate(values):
                try:
                    events.append(self._event(reader, value))
                except Bad:
                    events.append(None)
                    wrong.add(row)
            found = reader.pick(events)
        return reader.converted(found, wrong), wrong


class _Reader:
    """What is prepared for one writer's schema."""

    def __init__(
        self,
        parse: Callable[..., Any],
        text: str,
        references: Sequence[tuple[str, str]],
        paths: Sequence[str],
    ) -> None:
        self._named: dict[str, Any] = {}
        for _, reference in references:
            parse(_without_logical(json.loads(reference)), named_schemas=self._named)
        self.schema = parse(_without_logical(json.loads(text)), named_schemas=self._named)
        if _kind(self._resolved(self.schema)) != "record":
            raise ValueError("an event is a record")
        self.convert = self._converter(self.schema, ())
        try:
            self.columns: list[tuple[list[str], Convert | None]] | None = [
                (path.split("."), self._leaf_of(path.split("."))) for path in paths
            ]
        except OddPathError:
            self.columns = None
        self.plan: BlockPlan | None
        try:
            self.plan = BlockPlan(self.schema, self._resolved)
            self.places = [self.plan.steps.get(path) for path in paths]
        except ValueError:
            self.plan = None

    def pick(self, events: Sequence[Any]) -> list[list[Any]]:
        """Values of each path in events as fastavro gives them."""
        assert self.columns is not None
        found = []
        for (*folders, leaf), _ in self.columns:
            parents = events
            for folder in folders:
                parents = [None if parent is None else parent.get(folder) for parent in parents]
            found.append([None if parent is None else parent.get(leaf) for parent in parents])
        return found

    def converted(self, found: Sequence[list[Any]], wrong: set[int]) -> list[list[Any]]:
        """Convert the values of each path; rows with one that is refused go into `wrong`."""
        assert self.columns is not None
        return [
            column if convert is None else _converted(column, convert, wrong)
            for (_, convert), column in zip(self.columns, found, strict=True)
        ]

    def _resolved(self, schema: Any) -> Any:
        """Follow names."""
        while True:
            if isinstance(schema, str) and schema in self._named:
                schema = self._named[schema]
            elif isinstance(schema, dict) and isinstance(schema["type"], (dict, list)):
                schema = schema["type"]
            else:
                return schema

    def _leaf_of(self, path: list[str]) -> Convert | None:
        """Conversion of the value that a path leads to.

        Raises
        ------
        OddPathError
            Not plainly one value, or there is a union of several types on the way.
        """
        schema = self._resolved(self.schema)
        for step in path:
            if isinstance(schema, list):
                branches = [branch for branch in schema if _kind(self._resolved(branch)) != "null"]
                if len(branches) != 1:
                    raise OddPathError
                schema = self._resolved(branches[0])
            if _kind(schema) != "record":
                raise OddPathError
            field = next((field for field in schema["fields"] if field["name"] == step), None)
            if field is None:
                return None  # written before the field was added, or after it was removed
            schema = self._resolved(field["type"])
        convert = self._converter(schema, ())
        branches = schema if isinstance(schema, list) else [schema]
        kinds = {_kind(self._resolved(branch)) for branch in branches} - {"null"}
        if convert is None and kinds <= _PLAIN.keys():
            return None
        if (
            convert is None
            or (len(kinds) > 1 and not kinds <= _PLAIN.keys())
            or kinds & {"record", "array", "map"}
        ):
            raise OddPathError
        return convert

    def _converter(self, schema: Any, within: tuple[str, ...]) -> Convert | None:
        """Conversion of everything below a schema; None: values are as JSON has them."""
        schema = self._resolved(schema)
        if isinstance(schema, list):
            return self._of_union(schema, within)
        kind = _kind(schema)
        if kind in ("record", "error"):
            if schema["name"] in within:
                raise ValueError(f"{schema['name']} contains itself")
            inner = (*within, schema["name"])
            parts = {field["name"]: self._converter(field["type"], inner) for field in schema["fields"]}
            wanted = {name: convert for name, convert in parts.items() if convert is not None}
            return partial(_convert_fields, wanted) if wanted else None
        if kind in ("array", "map"):
            below = schema["items" if kind == "array" else "values"]
            if kind == "array" and self._takes_nothing(below):
                raise ValueError("a list of items that take no bytes")
            convert = self._converter(below, within)
            return None if convert is None else partial(_convert_items, convert)
        return _of_leaf(schema, kind) if isinstance(schema, dict) else None

    def _of_union(self, branches: list[Any], within: tuple[str, ...]) -> Convert | None:
        parts = [(_TYPES.get(_kind(self._resolved(b))), self._converter(b, within)) for b in branches]
        by_type: dict[Any, Convert] = {}
        for type_, convert in parts:
            if convert is not None:
                if sum(other is type_ for other, _ in parts) > 1:
                    raise ValueError("a union whose types cannot be told apart")
                by_type[type_] = convert
        return partial(_convert_by_type, by_type) if by_type else None

    def _takes_nothing(self, schema: Any) -> bool:
        schema = self._resolved(schema)
        if isinstance(schema, list):
            return False
        kind = _kind(schema)
        if kind == "record":
            return all(self._takes_nothing(field["type"]) for field in schema["fields"])
        return kind == "null" or (kind == "fixed" and schema["size"] == 0)


def _kind(schema: Any) -> str:
    if isinstance(schema, list):
        return "union"
    return schema if isinstance(schema, str) else str(schema["type"])


def _without_logical(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_logical(item) for item in node]
    if not isinstance(node, dict):
        return node
    renamed = {LOGICAL if name == "logicalType" else name: value for name, value in node.items()}
    return {name: _without_logical(value) for name, value in renamed.items()}


def _of_leaf(schema: Mapping[str, Any], kind: str) -> Convert | None:
    logical = schema.get(LOGICAL)
    if logical == "decimal" and kind in ("bytes", "fixed"):
        return partial(decimal, checked_scale(schema.get("scale", 0)))
    if logical == "date" and kind == "int":
        return day
    if logical == "uuid" and kind in ("string", "fixed"):
        return uuid_text if kind == "fixed" else None
    if (logical, kind) in (("time-millis", "int"), ("time-micros", "long")):
        return partial(clock, 1000 if kind == "int" else 1_000_000)
    if kind == "long" and isinstance(logical, str):
        prefix, _, unit = logical.rpartition("-")
        if unit in _TIMES and prefix == "timestamp":
            return partial(timestamp, _TIMES[unit])
        if unit in _TIMES and prefix == "local-timestamp":
            return partial(_local, _TIMES[unit])
    return named(schema.get("connect.name")) if kind in ("int", "long") else None


def _local(per_second: int, found: Any) -> str:
    """A local time: no zone, so `event.time.zone` counts."""
    return timestamp(per_second, found)[:-1]


def _converted(column: Sequence[Any], convert: Convert, wrong: set[int]) -> list[Any]:
    fast = convert.func is timestamp if isinstance(convert, partial) else False
    if fast and (texts := timestamps(convert.args[0], column)) is not None:  # type: ignore[attr-defined]
        return texts
    values: list[Any] = []
    for row, found in enumerate(column):
        try:
            values.append(None if found is None else convert(found))
        except Bad:
            values.append(None)
            wrong.add(row)
    return values


def _convert_fields(wanted: Mapping[str, Convert], record: dict[str, Any]) -> dict[str, Any]:
    for name, convert in wanted.items():
        if record[name] is not None:
            record[name] = or_list(convert, record[name])
    return record


def _convert_items(convert: Convert, found: Any) -> Any:
    if isinstance(found, dict):
        return {name: None if item is None else or_list(convert, item) for name, item in found.items()}
    return [None if item is None else or_list(convert, item) for item in found]


def _convert_by_type(by_type: Mapping[Any, Convert], found: Any) -> Any:
    convert = by_type.get(type(found))
    return found if convert is None or found is None else convert(found)
