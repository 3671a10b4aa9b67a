"""Envelopes: the event is inside of a message that says more than the event does.

An envelope reads its message through another format, so it works over each of them. Paths of the
configuration lead into the event; what the envelope itself says has names of its own:

    debezium      `after` is the event; `__op`, `__ts_ms`, `__source.table` are of the envelope
    connect       `payload` is the event; `__op` and `__deleted` are fields that Debezium may have added to it
    cloudevents   the data are the event; `ce_id`, `ce_time`, `ce_source` ... are the context attributes
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from detector.config.tree import Envelope, EventLimits
from detector.core.events.formats.base import Format, without
from detector.core.events.formats.json import Json
from detector.core.events.formats.logical import Convert, plan_of
from detector.core.events.rejection import SKIPPED, Bad
from detector.core.events.values import Column
from detector.core.records import Headers, Record

PLANS_MAX = 64  # schemas in messages whose conversions are kept
_FIELDS = msgspec.json.Decoder(type=dict[str, msgspec.Raw])
_NO_PLAN: Mapping[str, Convert] = {}
Read = Callable[[Any], Any]


class _Opened:
    """A message whose event is known to be wanted."""

    __slots__ = ("layout", "message", "plan")

    def __init__(self, message: Any, layout: int, plan: Mapping[str, Convert]) -> None:
        self.message, self.layout, self.plan = message, layout, plan


class Changes(Format):
    """Change events: what Debezium and Connect write.

    Subclasses say where things are. A message has one of `layouts`, each with the path to its parts.
    """

    skips_tombstones = True
    layouts: tuple[tuple[str, ...], ...]  # paths that lead to the change event
    event: tuple[str, ...]  # from there to the event
    operation: str  # path of the operation, from the change event
    deleted: str | None = None  # path of a mark of deleted rows, from the change event
    needs_schema = False  # a message in JSON without `schema` is none of this envelope

    def __init__(
        self,
        kind: type[Format],
        settings: Envelope,
        paths: Sequence[str],
        limits: EventLimits,
        resources: Mapping[str, Any],
    ) -> None:
        super().__init__(paths, limits, resources)
        self._operations = frozenset(settings.operations)
        self._json = issubclass(kind, Json)
        self._layouts = self.layouts if self._json else ((),)
        marks = [self._marks(layout) for layout in self._layouts]
        wanted = [self._inside(path, layout) for layout in self._layouts for path in paths]
        inner = [*(path for mark in marks for path in mark), *wanted]
        if self._json:
            self._inner: Format = Json([*inner, "schema"], limits, resources, raw=("schema",))
            self._read_schema = self._inner.reader("schema")
        else:
            self._inner = kind(inner, limits, resources)
        self._marked = [[self._inner.reader(path) for path in mark] for mark in marks]
        self._plans: dict[bytes, tuple[Mapping[str, Convert], ...]] = {}

    # --- where things are -----------------------------------------------------------------------------------

    def _marks(self, layout: tuple[str, ...]) -> list[str]:
        """Paths of what says whether a message is an event: the operation, then the mark of deleted rows."""
        marks = [self.operation] if self.deleted is None else [self.operation, self.deleted]
        return [".".join((*layout, mark)) for mark in marks]

    def _inside(self, path: str, layout: tuple[str, ...]) -> str:
        """Where a path of the configuration leads to in a message."""
        if path.startswith("__") and self.event:
            return ".".join((*layout, path[2:]))
        return ".".join((*layout, *self.event, path))

    def reader(self, path: str) -> Read:
        readers = [self._inner.reader(self._inside(path, layout)) for layout in self._layouts]

        def read(opened: _Opened) -> Any:
            found = readers[opened.layout](opened.message)
            convert = opened.plan.get(path)
            return found if convert is None or found is None else convert(found)

        return read

    # --- one record -----------------------------------------------------------------------------------------

    def decode(self, value: bytes, key: bytes | None, headers: Headers) -> Any:
        message = self._inner.decode(value, key, headers)
        for layout, readers in enumerate(self._marked):
            operation, *deleted = [read(message) for read in readers]
            if self._is_event(operation, *deleted):
                schema = bytes(self._read_schema(message)) if self._json else b""
                return _Opened(message, layout, self._plan(schema, layout))
        return self._refuse(value, message)

    def _is_event(self, operation: Any, deleted: Any = None) -> bool:
        return isinstance(operation, str) and operation in self._operations

    def _refuse(self, value: bytes, message: Any) -> Any:
        for readers in self._marked:
            operation = readers[0](message)
            if operation is not None:
                raise Bad(SKIPPED, f"operation {str(operation)[:40]!r}")
        if self._json and b"payload" in value and _payload_is_null(self._inner.to_json(value, None, ())):
            raise Bad(SKIPPED, "the payload is null")
        raise Bad("malformed", "not a change event of Debezium: it has no op")

    def _plan(self, schema: bytes, layout: int) -> Mapping[str, Convert]:
        """Conversions that a schema in the message asks for."""
        if not schema or schema == b"null":
            return _NO_PLAN
        plans = self._plans.get(schema)
        if plans is None:
            try:
                tree = msgspec.json.decode(schema)
            except (msgspec.DecodeError, RecursionError):
                tree = None
            of_event = plan_of(tree, self.event)
            of_rest = {f"__{name}": convert for name, convert in plan_of(tree, ()).items()}
            plans = ({**of_rest, **of_event} if self.event else of_event,) * len(self._layouts)
            if len(self._plans) >= PLANS_MAX:
                self._plans.clear()
            self._plans[schema] = plans
        return plans[layout]

    def to_json(self, value: bytes, key: bytes | None, headers: Headers) -> bytes:
        opened = self.decode(value, key, headers)
        where = (*self._layouts[opened.layout], *self.event)
        event = self._inner.part_as_json(value, key, headers, where)
        return _converted(event, opened.plan) if opened.plan else event

    # --- many records ---------------------------------------------------------------------------------------

    def columns(self, records: Sequence[Record]) -> tuple[list[Column], set[int]]:
        found, doubtful = self._inner.columns(records)
        n = len(records)
        if len(doubtful) == n:
            return [], doubtful
        layouts, width = len(self._layouts), len(self._marked[0])
        marks = [found[layout * width : (layout + 1) * width] for layout in range(layouts)]
        chosen = [-1] * n
        for layout in reversed(range(layouts)):
            kinds = {mark: self._is_event(*mark) for mark in set(zip(*marks[layout], strict=True))}
            if all(kinds.values()):
                chosen = [layout] * n
            elif any(kinds.values()):
                here = zip(*marks[layout], strict=True)
                chosen = [layout if kinds[mark] else other for mark, other in zip(here, chosen, strict=True)]
        doubtful |= {row for row, layout in enumerate(chosen) if layout < 0}
        if len(doubtful) == n:
            return [], doubtful
        values = found[layouts * width :]
        width = len(self.paths)
        plain = [values[layout * width : (layout + 1) * width] for layout in range(layouts)]
        one = set(chosen) - {-1}
        if len(one) == 1:
            columns = [list(column) for column in plain[one.pop()]]
        else:
            columns = [
                [column[layout][row] for row, layout in enumerate(chosen)]
                for column in zip(*plain, strict=True)
            ]
        if self._json:
            schemas = [bytes(schema) for schema in found[-1]]
            if self.needs_schema:
                doubtful |= {row for row, schema in enumerate(schemas) if not schema}
            self._convert(columns, schemas, chosen, doubtful)
        return without(columns, doubtful, n)

    def _convert(
        self, columns: list[list[Any]], schemas: list[bytes], chosen: list[int], doubtful: set[int]
    ) -> None:
        """Apply the conversions that the messages' own schemas ask for."""
        if not any(schemas):
            return
        pairs = list(zip(schemas, chosen, strict=True))
        for pair in set(pairs):
            plan = self._plan(*pair)
            for path, column in zip(self.paths, columns, strict=True):
                convert = plan.get(path)
                if convert is None:
                    continue
                for row, found in enumerate(column):
                    if found is not None and pairs[row] == pair and row not in doubtful:
                        try:
                            column[row] = convert(found)
                        except Bad:
                            doubtful.add(row)


class Debezium(Changes):
    """Change events as Debezium writes them, bare or with their schema (`schema`, `payload`)."""

    layouts = ((), ("payload",))
    event = ("after",)
    operation = "op"


class Connect(Changes):
    """Rows as Connect writes them with their schema; also those that Debezium unwrapped."""

    layouts = (("payload",),)
    event = ()
    operation = "__op"
    deleted = "__deleted"
    needs_schema = True

    def _is_event(self, operation: Any, deleted: Any = None) -> bool:
        if deleted is not None and str(deleted).lower() == "true":
            return False
        return operation is None or super()._is_event(operation)

    def decode(self, value: bytes, key: bytes | None, headers: Headers) -> Any:
        opened = super().decode(value, key, headers)
        if self._json and not bytes(self._read_schema(opened.message)):
            raise Bad("malformed", "not a message of Connect: it has no schema beside its payload")
        if self._json and _payload_is_null(self._inner.to_json(value, None, ())):
            raise Bad(SKIPPED, "the payload is null")
        return opened

    def _refuse(self, value: bytes, message: Any) -> Any:
        raise Bad(SKIPPED, "a deleted row, or an operation that is not asked for")

    def columns(self, records: Sequence[Record]) -> tuple[list[Column], set[int]]:
        columns, doubtful = super().columns(records)
        if not columns:
            return columns, doubtful
        # A row without any value may have no payload.
        empty = {row for row, values in enumerate(zip(*columns, strict=True)) if not any(values)}
        if empty - doubtful:
            doubtful |= empty
            return without([list(column) for column in columns], doubtful, len(records))
        return columns, doubtful


class CloudEvents(Format):
    """CloudEvents 1.0 over Kafka: binary mode (attributes in headers) and structured mode (JSON)."""

    def __init__(
        self,
        kind: type[Format],
        settings: Envelope,
        paths: Sequence[str],
        limits: EventLimits,
        resources: Mapping[str, Any],
    ) -> None:
        super().__init__(paths, limits, resources)
        self._data_paths = [path for path in self.paths if not path.startswith("ce_")]
        self._binary = kind(self._data_paths, limits, resources)
        self._structured: Json | None = None
        if issubclass(kind, Json):
            inside = [self._inside(path) for path in self.paths]
            self._structured = Json([*inside, "specversion", "data_base64"], limits, resources)
            self._read_version = self._structured.reader("specversion")
            self._read_base64 = self._structured.reader("data_base64")

    @staticmethod
    def _inside(path: str) -> str:
        """Where a path of the configuration leads to in structured mode."""
        return path[3:] if path.startswith("ce_") else f"data.{path}"

    def reader(self, path: str) -> Read:
        structured = None if self._structured is None else self._structured.reader(self._inside(path))
        attribute = path.startswith("ce_")
        binary = None if attribute else self._binary.reader(path)

        def read(opened: tuple[Any, Mapping[str, Any] | None]) -> Any:
            event, attributes = opened
            if attributes is None:
                assert structured is not None
                return structured(event)
            return attributes.get(path) if binary is None else binary(event)

        return read

    def decode(self, value: bytes, key: bytes | None, headers: Headers) -> Any:
        if _is_binary(headers):
            return self._binary.decode(value, key, headers), _attributes(headers)
        event, data = self._open(value, key, headers)
        if data is None:
            return event, None
        assert self._structured is not None
        message = self._structured.to_json(value, key, headers)
        fields = {name: bytes(raw) for name, raw in _FIELDS.decode(message).items()}
        attributes = {
            f"ce_{name}": msgspec.json.decode(raw, type=str)
            for name, raw in fields.items()
            if raw[:1] == b'"' and name != "data_base64"
        }
        return self._binary.decode(data, key, ()), attributes

    def _open(self, value: bytes, key: bytes | None, headers: Headers) -> tuple[Any, bytes | None]:
        """Read a message in structured mode, and its data if they are in base64."""
        if self._structured is None:
            raise Bad("malformed", "not a CloudEvent in binary mode: it has no header ce_specversion")
        event = self._structured.decode(value, key, headers)
        if self._read_version(event) is None:
            raise Bad("malformed", "not a CloudEvent: no header ce_specversion, and no specversion")
        encoded = self._read_base64(event)
        if encoded is None:
            return event, None
        try:
            return event, binascii.a2b_base64(str(encoded), strict_mode=True)
        except (binascii.Error, ValueError):
            raise Bad("malformed", "data_base64 is not base64") from None

    def to_json(self, value: bytes, key: bytes | None, headers: Headers) -> bytes:
        if _is_binary(headers):
            return self._binary.to_json(value, key, headers)
        _, data = self._open(value, key, headers)
        if data is not None:
            return self._binary.to_json(data, key, ())
        assert self._structured is not None
        return self._structured.part_as_json(value, key, headers, ("data",))

    def columns(self, records: Sequence[Record]) -> tuple[list[Column], set[int]]:
        n = len(records)
        binary = [row for row, record in enumerate(records) if _is_binary(record.headers)]
        if len(binary) == n:
            return self._binary_columns(records)
        if not binary:
            return self._structured_columns(records)
        return super().columns(records)  # one by one: a topic in both modes is rare

    def _binary_columns(self, records: Sequence[Record]) -> tuple[list[Column], set[int]]:
        found, doubtful = self._binary.columns(records)
        if len(doubtful) == len(records):
            return [], doubtful
        attributes: list[Mapping[str, str]] = []
        for row, record in enumerate(records):
            try:
                attributes.append(_attributes(record.headers))
            except Bad:
                doubtful.add(row)
                attributes.append({})
        data = iter(found)
        columns = [
            [each.get(path) for each in attributes] if path.startswith("ce_") else list(next(data))
            for path in self.paths
        ]
        return without(columns, doubtful, len(records))

    def _structured_columns(self, records: Sequence[Record]) -> tuple[list[Column], set[int]]:
        if self._structured is None:
            return [], set(range(len(records)))
        found, doubtful = self._structured.columns(records)
        if len(doubtful) == len(records):
            return [], doubtful
        *columns, versions, encoded = found
        doubtful |= {row for row, version in enumerate(versions) if version is None}
        doubtful |= {row for row, text in enumerate(encoded) if text is not None}
        return without([list(column) for column in columns], doubtful, len(records))


def _is_binary(headers: Headers) -> bool:
    return any(name == "ce_specversion" for name, _ in headers)


def _attributes(headers: Headers) -> dict[str, str]:
    try:
        return {name: text.decode() for name, text in headers if name.startswith("ce_")}
    except (UnicodeDecodeError, AttributeError):  # a header may have no value
        raise Bad("malformed", "a CloudEvents attribute that is not UTF-8") from None


def _payload_is_null(message: bytes) -> bool:
    try:
        fields = _FIELDS.decode(message)
    except (msgspec.DecodeError, RecursionError):
        return False
    return "payload" in fields and bytes(fields["payload"]) == b"null"


def _converted(event: bytes, plan: Mapping[str, Convert]) -> bytes:
    """Apply conversions to an event in JSON. What cannot be converted, and was not read, is as it was."""
    fields: dict[str, Any] = dict(_FIELDS.decode(event))
    below: dict[str, dict[str, Convert]] = {}
    for path, convert in plan.items():
        name, _, rest = path.partition(".")
        if name not in fields:
            continue
        if rest:
            below.setdefault(name, {})[rest] = convert
            continue
        try:
            found = msgspec.json.decode(fields[name])
            if found is not None:
                fields[name] = convert(found)
        except (Bad, msgspec.DecodeError, RecursionError):
            continue
    for name, inner in below.items():
        raw = bytes(fields[name])
        if raw[:1] == b"{":
            fields[name] = msgspec.Raw(_converted(raw, inner))
    return msgspec.json.encode(fields)


ENVELOPES: dict[str, type[Changes] | type[CloudEvents]] = {
    "debezium": Debezium,
    "connect": Connect,
    "cloudevents": CloudEvents,
}
"""By the name in the configuration."""
