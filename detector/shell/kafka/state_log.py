"""Records of `__transaction_state`, the log of Kafka's transaction coordinators.

The format is Kafka's own (`TransactionLogKey.json`, `TransactionLogValue.json` of Apache Kafka 4.3): version
0 with plain fields, version 1 (brokers with `transaction.version` 2) with compact and tagged ones.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

STATES = (
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
)
PREPARED: dict[str, Literal["commit", "abort"]] = {"PrepareCommit": "commit", "PrepareAbort": "abort"}


@dataclass(frozen=True, kw_only=True, slots=True)
class StateEntry:
    """One step of a transactional id."""

    transactional_id: str
    producer_id: int
    producer_epoch: int
    state: str
    partitions: frozenset[tuple[str, int]]
    updated_ms: int


def state_partition(name: str, count: int) -> int:
    """Return the partition of `__transaction_state` that has a transactional id, of `count` ones.

    Offsets of a group are placed in `__consumer_offsets` in the same way: by Java's hash of the name.
    """
    value = 0
    for unit in struct.unpack(f">{len(name.encode('utf-16-be')) // 2}H", name.encode("utf-16-be")):
        value = (31 * value + unit) & 0xFFFFFFFF
    size = min(value, 2**32 - value) & 0x7FFFFFFF  # of the signed number; its lowest one counts as 0
    return size % count


def read_entry(key: bytes | None, value: bytes | None) -> StateEntry | None:
    """Read one record; None: a tombstone, or not about a transactional id.

    Raises
    ------
    struct.error
        A version or shape that is not known.
    """
    if not key or not value:
        return None
    names = _Fields(key)
    if names.number("h") != 0:
        return None
    fields = _Fields(value)
    version = fields.number("h")
    if version not in (0, 1):
        raise struct.error(f"version {version}")
    compact = version == 1
    producer_id, epoch, _timeout_ms, state = (fields.number(kind) for kind in "qhib")
    if not 0 <= state < len(STATES):
        raise struct.error(f"state {state}")
    partitions: set[tuple[str, int]] = set()
    for _ in range(fields.count(compact)):
        topic = fields.text(compact)
        partitions |= {(topic, fields.number("i")) for _ in range(fields.count(compact))}
        fields.skip_tagged(compact)
    return StateEntry(
        transactional_id=names.text(compact=False),
        producer_id=producer_id,
        producer_epoch=epoch,
        state=STATES[state],
        partitions=frozenset(partitions),
        updated_ms=fields.number("q"),
    )


class _Fields:
    """Kafka's primitive types, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def number(self, kind: str) -> int:
        """A big-endian number, by its letter of `struct`."""
        (value,) = struct.unpack_from(f">{kind}", self._data, self._position)
        self._position += struct.calcsize(f">{kind}")
        return int(value)

    def count(self, compact: bool) -> int:
        """Length of an array; a null one has no elements."""
        count = self._varint() - 1 if compact else self.number("i")
        if count > len(self._data):
            raise struct.error(f"an array of {count}")
        return max(0, count)

    def text(self, compact: bool) -> str:
        """A string."""
        size = self._varint() - 1 if compact else self.number("h")
        raw = self._data[self._position : self._position + size]
        if size < 0 or len(raw) != size:
            raise struct.error(f"a string of {size}")
        self._position += size
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise struct.error(str(error)) from None

    def skip_tagged(self, compact: bool) -> None:
        """Go behind tagged fields."""
        for _ in range(self._varint() if compact else 0):
            self._varint()
            self._position += self._varint()

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.number("B")
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 28:
                raise struct.error("a number of more than 5 bytes")
