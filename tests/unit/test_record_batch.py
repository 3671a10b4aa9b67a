"""Records are read as kafka-python reads them, and malformed bytes raise a ValueError."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from detector.core.records import Record
from detector.shell.kafka.record_batch import read_records

Entry = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]
TEXTS = st.none() | st.binary(max_size=300)
ENTRIES: st.SearchStrategy[list[Entry]] = st.lists(
    st.tuples(
        st.integers(0, 1 << 40),
        TEXTS,
        TEXTS,
        st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=200)), max_size=4),
    ),
    min_size=1,
    max_size=30,
)


class Raw(str):
    """A header name that is not UTF-8, as producers in other languages may write it."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return super().encode("latin-1")


def batch_of(entries: list[Any]) -> DefaultRecordBatch:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 24)
    for offset, (time, key, value, headers) in enumerate(entries):
        builder.append(offset, time, key, value, headers)
    return DefaultRecordBatch(bytes(builder.build()))


def payload_of(batch: DefaultRecordBatch) -> bytes:
    return bytes(batch._buffer[batch._pos :])


def read(batch: DefaultRecordBatch, payload: bytes, base_offset: int = 0) -> list[Record]:
    return read_records(
        payload,
        batch.records_count,
        base_offset=base_offset,
        base_timestamp_ms=batch.first_timestamp,
        append_time=False,
    )


@given(entries=ENTRIES)
@settings(max_examples=100, deadline=None)
def test_records_are_what_the_client_reads(entries: list[Entry]) -> None:
    batch = batch_of(entries)
    payload = payload_of(batch)
    expected = [
        Record(r.offset, r.timestamp, r.key, r.value, tuple((name, text or b"") for name, text in r.headers))
        for r in batch
    ]
    found = read(batch, payload)
    assert found == expected
    assert all(type(record) is Record for record in found)
    assert [record.offset for record in read(batch, payload, 1 << 41)] == [
        r.offset + (1 << 41) for r in expected
    ]


def test_the_broker_may_set_the_times() -> None:
    batch = batch_of([(5, None, b"", []), (9, b"", None, [])])
    found = read_records(payload_of(batch), 2, base_offset=0, base_timestamp_ms=77, append_time=True)
    assert found == [Record(0, 77, None, b""), Record(1, 77, b"", None)]


def test_header_names_that_are_not_utf_8_are_repaired() -> None:
    names = ["a", Raw("\xff"), "b", Raw("c\xe9")]
    batch = batch_of([(0, None, b"\xff" * 200, [(name, b"\xff"), ("ok", None)]) for name in names])
    found = [record.headers for record in read(batch, payload_of(batch))]
    assert found == [((name, b"\xff"), ("ok", b"")) for name in ("a", "?", "b", "c?")]


@given(entries=ENTRIES, data=st.data())
@settings(max_examples=200, deadline=None)
def test_malformed_bytes_raise_a_value_error_and_nothing_else(
    entries: list[Entry], data: st.DataObject
) -> None:
    batch = batch_of(entries)
    payload = bytearray(payload_of(batch))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    payload = payload[: data.draw(st.integers(0, len(payload)))] + data.draw(st.binary(max_size=12))
    try:
        found = read(batch, bytes(payload))
    except ValueError:
        return
    assert len(found) == batch.records_count


@pytest.mark.parametrize(
    "payload", [b"", b"\xff" * 30, b"\x80" * 30, b"\x00", b"\x02\x00", b"\x0c" + b"\x00" * 5 + b"\x02"]
)
def test_wrong_lengths_raise(payload: bytes) -> None:
    with pytest.raises(ValueError, match="record"):
        read_records(payload, 1, base_offset=0, base_timestamp_ms=0, append_time=False)


@pytest.mark.parametrize("count", [-1, 2, 1 << 40])
def test_a_wrong_count_raises(count: int) -> None:
    payload = payload_of(batch_of([(0, None, b"value", [])]))
    with pytest.raises(ValueError, match="record"):
        read_records(payload, count, base_offset=0, base_timestamp_ms=0, append_time=False)
