"""Read all records of one batch of Kafka's log (message format 2) at once.

    Record  = length, attributes, timestamp delta, offset delta, key, value, headers
    Header  = name, value                                    (all lengths and deltas are zigzag varints)

See https://kafka.apache.org/documentation/#recordbatch. A compiled pass over the bytes finds the place
of every part and checks that it lies within its record. Then the parts are cut out.

Header names may be any bytes, as brokers and other clients do not check them. In a record with a name that is
not UTF-8, `?` replaces every byte of a name that is not ASCII.
"""

from __future__ import annotations

from itertools import repeat
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detector.core.records import Headers, Record

_VARINT_BYTES_MAX = 10
# Columns of what `_locate` finds for a record: the two deltas, start and end of key and value (start -1:
# null), and the number of headers.
_TIME, _OFFSET, _KEY, _KEY_END, _VALUE, _VALUE_END, _HEADERS = range(7)


def read_records(
    payload: bytes, count: int, *, base_offset: int, base_timestamp_ms: int, append_time: bool
) -> list[Record]:
    """Read the uncompressed records of a batch.

    Parameters
    ----------
    payload
        The batch without its header.
    count
        Number of records according to the batch's header.
    base_offset, base_timestamp_ms
        The offset and time (ms since the epoch) to which a record's deltas are added.
    append_time
        Whether `base_timestamp_ms` is the time of all records.

    Raises
    ------
    ValueError
        The bytes are not `count` records.
    """
    data = np.frombuffer(payload, dtype=np.uint8)
    if not 0 <= count <= len(data):
        raise ValueError(f"{count} records in {len(data)} bytes")
    found = np.empty((count, 7), dtype=np.int64)
    end = _locate(data, found)
    if end != len(data):
        raise ValueError(f"a record is malformed, or {len(data)} bytes are not all records")
    if append_time:
        found[:, _TIME] = 0
    offsets = (found[:, _OFFSET] + base_offset).tolist()
    times = (found[:, _TIME] + base_timestamp_ms).tolist()
    keys, values = (_cut(payload, found[:, at], found[:, at + 1]) for at in (_KEY, _VALUE))
    headers = _read_headers(payload, data, found)
    return list(map(tuple.__new__, repeat(Record), zip(offsets, times, keys, values, headers, strict=True)))


def rehearse_batch() -> None:
    """Read a made-up batch, so that the loops of this module are compiled: a null key, one header."""
    record = bytes((0, 0, 0, 1, 2, ord("v"), 2, 2, ord("h"), 2, ord("w")))
    batch = bytes((2 * len(record),)) + record
    read_records(batch, 1, base_offset=0, base_timestamp_ms=0, append_time=False)


def _cut(payload: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> list[bytes | None]:
    if not len(starts) or starts.min() >= 0:
        return [payload[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return [
        None if start < 0 else payload[start:end]
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]


def _read_headers(payload: bytes, data: NDArray[np.uint8], found: NDArray[np.int64]) -> list[Headers]:
    counts = found[:, _HEADERS]
    total = int(counts.sum())
    if not total:
        return [()] * len(counts)
    places = np.empty((total, 4), dtype=np.int64)
    _locate_headers(data, found, places)
    names = [payload[start:end] for start, end in places[:, :2].tolist()]
    values = [payload[start:end] for start, end in places[:, 2:].tolist()]
    read: list[Headers] = []
    at = 0
    for count in counts.tolist():
        mine = slice(at, at + count)
        read.append(tuple(zip(_texts(names[mine]), values[mine], strict=True)))
        at += count
    return read


def _texts(names: list[bytes]) -> list[str]:
    try:
        return [name.decode() for name in names]
    except UnicodeDecodeError:
        return [bytes(byte if byte < 128 else ord("?") for byte in name).decode() for name in names]


@numba.njit(cache=True, nogil=True)
def _varint(data: Any, at: int, end: int) -> Any:
    """Return the value and the place after it; (0, -1) if it does not end before `end`."""
    value = np.uint64(0)
    for number in range(_VARINT_BYTES_MAX):
        if at + number >= end:
            break
        byte = data[at + number]
        value |= np.uint64(byte & 0x7F) << np.uint64(7 * number)
        if byte < 0x80:
            return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1)), at + number + 1
    return 0, -1


@numba.njit(cache=True, nogil=True)
def _sized(data: Any, at: int, end: int) -> Any:
    """Return start (-1: null) and end of a length-prefixed part; (0, -1) if it does not end before `end`."""
    size, at = _varint(data, at, end)
    if at < 0 or size > end - at:
        return 0, -1
    return (at, at + size) if size >= 0 else (-1, at)


@numba.njit(cache=True, nogil=True)
def _locate(data: Any, found: Any) -> Any:
    """Find the parts of all records; return the place after the last one, or -1 if one is malformed."""
    at = 0
    for record in range(len(found)):
        at, end = _sized(data, at, len(data))
        if at < 0 or at >= end:
            return -1
        at += 1  # attributes
        for column in (_TIME, _OFFSET):
            found[record, column], at = _varint(data, at, end)
            if at < 0:
                return -1
        for column in (_KEY, _VALUE):
            found[record, column], at = _sized(data, at, end)
            if at < 0:
                return -1
            found[record, column + 1] = at
        count, at = _varint(data, at, end)
        if at < 0 or count < 0 or count > end - at:
            return -1
        found[record, _HEADERS] = count
        for _ in range(count):
            name, at = _sized(data, at, end)
            if at < 0 or name < 0:
                return -1
            _, at = _sized(data, at, end)
            if at < 0:
                return -1
        if at != end:
            return -1
    return at


@numba.njit(cache=True, nogil=True)
def _locate_headers(data: Any, found: Any, places: Any) -> None:
    """Find start and end of names and values of all headers, in records that `_locate` has checked."""
    header = 0
    for record in range(len(found)):
        if found[record, _HEADERS] == 0:
            continue
        at = found[record, _VALUE_END]
        _, at = _varint(data, at, len(data))
        for _ in range(found[record, _HEADERS]):
            for part in (0, 2):
                start, at = _sized(data, at, len(data))
                places[header, part] = max(start, 0)
                places[header, part + 1] = at if start >= 0 else 0
            header += 1
