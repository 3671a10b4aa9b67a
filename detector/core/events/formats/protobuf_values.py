"""What Protobuf messages mean, as values that JSON would have.

    enumerations             the value's name; its number, if the schema has no name for it
    bytes                    bytes: no path may lead to them
    int64, uint64            numbers, with every digit
    maps                     objects; keys are texts
    no presence, not written the type's zero, as Protobuf defines it
    presence, not written    missing; the default, if the schema states one (proto2)

Well-known types are what they stand for:

    google.protobuf.Timestamp                 text, ISO 8601 in UTC, to microseconds
    google.protobuf.Duration                  a number of seconds
    google.protobuf.StringValue and the like  the value
    google.protobuf.Struct, Value, ListValue  the JSON value
    google.type.Decimal, confluent.type.Decimal   a number
    google.type.Money                         an object: its own fields, and `value`, the amount as a number
    google.type.Date                          text, YYYY-MM-DD

A type is well-known by its name and its file: the compiler takes these files from their publishers, not from
a schema.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import numpy as np

from detector.core.events.formats.logical import Convert, decimal, or_list, timestamp, timestamps_of
from detector.core.events.rejection import Bad

TEXT, BYTES, ENUM = 9, 12, 14  # types of fields; the numbers are those of descriptor.proto
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_DIGITS_MAX = 400  # of a decimal in text
_SCALE_EXACT = 22  # powers of ten up to here are doubles
_YEAR_9999_S = 253_402_300_799
_BILLION = 1_000_000_000


def _moment(message: Any) -> str:
    return timestamp(1_000_000, message.seconds * 1_000_000 + message.nanos // 1000)


def _moments(seconds: Sequence[int], nanos: Sequence[int]) -> list[str] | None:
    if min(seconds) < 0 or max(seconds) > _YEAR_9999_S:
        return None
    whole, parts = np.array(seconds, dtype=np.int64), np.array(nanos, dtype=np.int64)
    return timestamps_of(1_000_000, whole * 1_000_000 + parts // 1000)


def _seconds(message: Any) -> int | float:
    return decimal(9, message.seconds * _BILLION + message.nanos) if message.nanos else message.seconds


def _money(message: Any) -> Any:
    amount = message.units * _BILLION + message.nanos
    return {
        "currency_code": message.currency_code,
        "units": message.units,
        "nanos": message.nanos,
        "value": decimal(9, amount) if message.nanos else message.units,
    }


def _decimal_text(message: Any) -> int | float:
    return _decimal_of(message.value)


def _decimal_of(text: str) -> int | float:
    if not text:
        return 0  # as google/type/decimal.proto defines it
    if len(text) > _DIGITS_MAX or not _DECIMAL.fullmatch(text):
        raise Bad("wrong_type", f"a decimal that is no number: {text[:40]!r}")
    if text.lstrip("+-").isdigit():
        return int(text)
    number = float(text)
    if math.isinf(number):
        raise Bad("out_of_range", "a decimal beyond the largest double")
    return number


def _decimal_bytes(message: Any) -> int | float:
    if abs(message.scale) > _DIGITS_MAX:
        raise Bad("out_of_range", f"a decimal of scale {message.scale}")
    return decimal(message.scale, message.value)


def _decimals(values: Sequence[bytes], scales: Sequence[int]) -> list[float] | None:
    scale = scales[0]
    if not 0 < scale <= _SCALE_EXACT or len(set(scales)) > 1 or max(map(len, values)) > 8:
        return None
    divisor, whole = 10**scale, int.from_bytes
    return [whole(value, "big", signed=True) / divisor for value in values]


def _decimal_texts(texts: Sequence[str]) -> list[int | float] | None:
    try:
        return [_decimal_of(text) for text in texts]
    except Bad:
        return None


def _day(message: Any) -> str:
    try:
        return date(message.year, message.month, message.day).isoformat()
    except ValueError:
        raise Bad("out_of_range", "a date that is not in the calendar") from None


def _value(message: Any) -> Any:
    return message.value


def _struct(message: Any) -> dict[str, Any]:
    return {name: _json(message.fields[name]) for name in sorted(message.fields)}


def _list(message: Any) -> list[Any]:
    return [_json(item) for item in message.values]


def _json(message: Any) -> Any:
    """Convert a google.protobuf.Value."""
    kind = message.WhichOneof("kind")
    if kind in (None, "null_value"):
        return None
    if kind == "struct_value":
        return _struct(message.struct_value)
    return _list(message.list_value) if kind == "list_value" else getattr(message, kind)


_WRAPPED = ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
_BY_FILE: Mapping[str, Mapping[str, Convert]] = {
    "google/protobuf/timestamp.proto": {"google.protobuf.Timestamp": _moment},
    "google/protobuf/duration.proto": {"google.protobuf.Duration": _seconds},
    "google/protobuf/wrappers.proto": {f"google.protobuf.{name}Value": _value for name in _WRAPPED},
    "google/protobuf/struct.proto": {
        "google.protobuf.Struct": _struct,
        "google.protobuf.ListValue": _list,
        "google.protobuf.Value": _json,
    },
    "google/type/money.proto": {"google.type.Money": _money},
    "google/type/decimal.proto": {"google.type.Decimal": _decimal_text},
    "google/type/date.proto": {"google.type.Date": _day},
    "confluent/type/decimal.proto": {"confluent.type.Decimal": _decimal_bytes},
}


Together = Callable[..., list[Any] | None]
"""Converts many messages of a well-known type, by columns of fields; None: each needs a closer look."""

TOGETHER: Mapping[Convert, tuple[tuple[str, ...], Together, Any]] = {
    _moment: (("seconds", "nanos"), _moments, 0),
    _decimal_bytes: (("value", "scale"), _decimals, b""),
    _decimal_text: (("value",), _decimal_texts, ""),
}
"""By the conversion of one message: which fields, the conversion of many, and the first field's zero.

Both conversions give equal values.
"""


def known_type(descriptor: Any) -> Convert | None:
    """Conversion of a well-known type; None: it is a message like others."""
    return _BY_FILE.get(descriptor.file.name, {}).get(descriptor.full_name)


def is_map(field: Any) -> bool:
    """Whether a field is a map."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


class Field(NamedTuple):
    """How one field of a message is read."""

    name: str
    presence: bool  # it may be missing
    convert: Convert | None  # of a value that is there; None: it is as JSON has it
    scalar: bool  # one value of a plain type
    may_be_bytes: bool  # a text of proto2 need not be UTF-8; then it is bytes

    def read(self, message: Any) -> Any:
        """The value, None if it is missing. One that is not readable is a list of a text."""
        if self.presence and not message.HasField(self.name):
            return None
        found = getattr(message, self.name)
        return found if self.convert is None else or_list(self.convert, found)


class _Names(dict[int, Any]):
    """Names by number; a number without a name stays."""

    def __missing__(self, number: int) -> int:
        return number


class Messages:
    """Conversions of the message types of one schema; types may contain themselves."""

    def __init__(self) -> None:
        self._fields: dict[str, tuple[Field, ...]] = {}

    def fields(self, descriptor: Any) -> tuple[Field, ...]:
        """All fields of a message type."""
        name = descriptor.full_name
        if name not in self._fields:
            self._fields[name] = ()  # it may contain itself
            self._fields[name] = tuple(self.field(field) for field in descriptor.fields)
        return self._fields[name]

    def field(self, field: Any) -> Field:
        """One field of a message type."""
        stated = field.has_default_value and field.containing_oneof is None
        return Field(
            name=field.name,
            presence=field.has_presence and not stated,
            convert=self._converter(field),
            scalar=not field.is_repeated and field.message_type is None,
            may_be_bytes=field.type == TEXT,
        )

    def convert(self, descriptor: Any) -> Convert:
        """Conversion of a whole message to a dict."""
        name = descriptor.full_name
        self.fields(descriptor)
        return lambda message: {field.name: field.read(message) for field in self._fields[name]}

    def _converter(self, field: Any) -> Convert | None:
        if is_map(field):
            value = field.message_type.fields_by_name["value"]
            return _of_map(self._of_single(value))
        single = self._of_single(field)
        return _of_list(single) if field.is_repeated else single

    def _of_single(self, field: Any) -> Convert | None:
        if field.message_type is not None:
            return known_type(field.message_type) or self.convert(field.message_type)
        if field.type == ENUM:
            return _Names(
                {number: value.name for number, value in field.enum_type.values_by_number.items()}
            ).__getitem__
        return None


def _of_list(convert: Convert | None) -> Convert:
    if convert is None:
        return list
    return lambda found: [or_list(convert, item) for item in found]


def _of_map(convert: Convert | None) -> Convert:
    def of_map(found: Any) -> dict[str, Any]:
        keys = sorted(found)
        if convert is None:
            return {_key(key): found[key] for key in keys}
        return {_key(key): or_list(convert, found[key]) for key in keys}

    return of_map


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def has_required(descriptor: Any, seen: set[str] | None = None) -> bool:
    """Whether a message type, or one inside it, has fields that must be written (proto2)."""
    seen = set() if seen is None else seen
    if descriptor.full_name in seen:
        return False
    seen.add(descriptor.full_name)
    return any(
        field.is_required or (field.message_type is not None and has_required(field.message_type, seen))
        for field in descriptor.fields
    )
