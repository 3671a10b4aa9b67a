"""Values with a meaning beyond their type: decimals, dates and timestamps, as JSON would have them.

    decimal      a number; of scale 0 a whole number of any size
    date         text, YYYY-MM-DD
    timestamp    text, ISO 8601 in UTC, to at most microseconds
    time of day  text, HH:MM:SS, with a fraction if there is one

The same event has the same values in every format, so it has the same score.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from detector.config.clock import DAY_US
from detector.core.events.rejection import Bad

Convert = Callable[[Any], Any]
"""From a value as its format stores it, never None, to one of JSON. Raises Bad."""

SCALE_MAX = 400  # digits behind the point; a double has none beyond
_YEAR_2200_S = 7_258_118_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1)


def decimal(scale: int, found: Any) -> int | float:
    """Convert an unscaled value: a whole number, or its bytes (big-endian, two's complement)."""
    unscaled = int.from_bytes(found, "big", signed=True) if isinstance(found, bytes) else found
    if not isinstance(unscaled, int) or isinstance(unscaled, bool):
        raise Bad("wrong_type", f"a decimal of {type(found).__name__}")
    try:  # the quotient of whole numbers is the nearest double, as a decimal in JSON is
        return unscaled if scale == 0 else unscaled / 10**scale if scale > 0 else unscaled * 10**-scale
    except OverflowError:
        raise Bad("out_of_range", "a decimal beyond the largest double") from None


def base64_decimal(scale: int, found: Any) -> int | float:
    """Convert an unscaled value in base64, as Connect writes it into JSON."""
    if not isinstance(found, str):
        if isinstance(found, (int, float)) and not isinstance(found, bool):
            return found  # decimal.format: numeric
        raise Bad("wrong_type", f"a decimal of {type(found).__name__}")
    try:
        return decimal(scale, binascii.a2b_base64(found, strict_mode=True))
    except (binascii.Error, ValueError):
        raise Bad("wrong_type", f"a decimal that is not base64: {found[:40]!r}") from None


def day(found: Any) -> str:
    """Convert days since 1970."""
    try:
        return (_EPOCH_DAY + timedelta(days=_whole(found))).isoformat()
    except OverflowError:
        raise Bad("out_of_range", "a date after 9999 or before the year 1") from None


def timestamp(per_second: int, found: Any) -> str:
    """Convert a number of units since 1970; nanoseconds are cut to microseconds."""
    micros = _whole(found) * 1_000_000 // per_second
    try:
        moment = _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        raise Bad("out_of_range", "a timestamp after 9999 or before the year 1") from None
    spec = "milliseconds" if per_second <= 1000 else "microseconds"
    return moment.replace(tzinfo=None).isoformat(timespec=spec) + "Z"


def clock(per_second: int, found: Any) -> str:
    """Convert a number of units since midnight; nanoseconds are cut to microseconds."""
    micros = _whole(found) * 1_000_000 // per_second
    if not 0 <= micros < DAY_US:
        raise Bad("out_of_range", "a time of day outside of the day")
    return (_EPOCH + timedelta(microseconds=micros)).time().isoformat()


def timestamps(per_second: int, column: Sequence[Any]) -> list[str] | None:
    """Convert many as `timestamp` does; None: one of them needs a closer look."""
    if set(map(type, column)) != {int}:
        return None
    try:
        return timestamps_of(per_second, np.array(column, dtype=np.int64))
    except OverflowError:
        return None


def timestamps_of(per_second: int, units: NDArray[np.int64]) -> list[str] | None:
    """Convert an array of units since 1970; None: one of them needs a closer look."""
    if units.min() < 0 or units.max() >= _YEAR_2200_S * per_second:
        return None
    form = "ms" if per_second <= 1000 else "us"
    scaled = units // 1000 if per_second == 1_000_000_000 else units
    texts = np.datetime_as_string(scaled.astype(f"datetime64[{form}]"), timezone="UTC")
    return cast(list[str], texts.tolist())


def uuid_text(found: Any) -> str:
    """Convert a UUID: text, or its 16 bytes."""
    if isinstance(found, bytes) and len(found) == 16:
        digits = found.hex()
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    if isinstance(found, str):
        return found
    raise Bad("wrong_type", f"a UUID of {type(found).__name__}")


def _whole(found: Any) -> int:
    if not isinstance(found, int) or isinstance(found, bool):
        raise Bad("wrong_type", f"a time of {type(found).__name__}")
    return found


def or_list(convert: Convert, found: Any) -> Any:
    """Convert, or give a list with what is wrong.

    A value that is not read does not reject its event. One that is read does: it is no single value.
    """
    try:
        return convert(found)
    except Bad as error:
        return [error.rejected.detail]


_NAMED: Mapping[str, Convert] = {
    "org.apache.kafka.connect.data.Date": day,
    "io.debezium.time.Date": day,
    "org.apache.kafka.connect.data.Timestamp": partial(timestamp, 1000),
    "io.debezium.time.Timestamp": partial(timestamp, 1000),
    "io.debezium.time.MicroTimestamp": partial(timestamp, 1_000_000),
    "io.debezium.time.NanoTimestamp": partial(timestamp, 1_000_000_000),
    "org.apache.kafka.connect.data.Time": partial(clock, 1000),
    "io.debezium.time.Time": partial(clock, 1000),
    "io.debezium.time.MicroTime": partial(clock, 1_000_000),
    "io.debezium.time.NanoTime": partial(clock, 1_000_000_000),
}
CONNECT_DECIMAL = "org.apache.kafka.connect.data.Decimal"


def named(name: Any) -> Convert | None:
    """Conversion of a Connect schema name that has no parameters; None: the value is as it is."""
    return _NAMED.get(name) if isinstance(name, str) else None


def checked_scale(scale: Any) -> int:
    """Check the digits behind the point that a schema states; it may be text.

    Raises
    ------
    ValueError
    """
    number = int(scale)
    if abs(number) > SCALE_MAX:
        raise ValueError(f"a decimal of scale {number}")
    return number


def plan_of(schema: Any, path: tuple[str, ...]) -> dict[str, Convert]:
    """Conversions of a Connect schema in a JSON message, by dotted path below `path`.

    Whatever the schema is, this does not raise: what it does not understand is left as it is.
    """
    for name in path:
        schema = next((field for field in _fields(schema) if field.get("field") == name), None)
    found: dict[str, Convert] = {}
    _collect(schema, "", found)
    return found


def _fields(schema: Any) -> list[dict[str, Any]]:
    fields = schema.get("fields") if isinstance(schema, dict) else None
    return [field for field in fields if isinstance(field, dict)] if isinstance(fields, list) else []


def _collect(schema: Any, prefix: str, found: dict[str, Convert]) -> None:
    for field in _fields(schema):
        name = field.get("field")
        if not isinstance(name, str):
            continue
        path = prefix + name
        convert = _conversion(field)
        if convert is not None:
            found[path] = convert
        elif field.get("type") == "struct":
            _collect(field, path + ".", found)


def _conversion(field: Mapping[str, Any]) -> Convert | None:
    if field.get("name") != CONNECT_DECIMAL:
        return named(field.get("name"))
    parameters: Any = field.get("parameters")
    try:
        return partial(base64_decimal, checked_scale(parameters["scale"]))
    except (TypeError, KeyError, ValueError):
        return None
