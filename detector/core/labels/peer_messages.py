"""Messages between shards: how they are packed, who sent them, and which of them are new.

One partition alone has little data. At a barrier a shard may publish messages for its peers, the shards of
the other partitions. They are published with the outputs of that barrier's commit, and every peer receives
them at a barrier of its own.

    shard A, barrier ─ publish, pack ─> exchange topic ─> unpack, filter, receive ─> shard B, later barrier

Rules
    - A message names its shard (topic, group, partition), the position of its barrier and its number there.
      Where no event came between barriers they have the same position, and the numbers go on. Of each peer
      the highest (position, number) received is stored. A message that does not come after it is a duplicate,
      as at-least-once delivery makes them, and is ignored.
    - Whoever may write to the topic can send anything. A message is arrays of plain numbers, limited in size,
      never code. What cannot be read is counted and changes nothing. `receive` decides whether kind, shapes
      and values make sense.
    - Peers may run other versions and configurations, so an unknown kind is not an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.core.records import Identity

VERSION = 1
# Below Kafka's default limit for a record (1 MB), with its frame.
MESSAGE_BYTES_MAX = 900_000
PUBLISHED_MAX = 64  # messages of one barrier: one noisy shard must not use up what all others receive
ARRAYS_MAX = 64  # of one message
DIMENSIONS_MAX = 4

RECEIVED_OUTCOMES = ("applied", "own", "foreign", "duplicate", "unfit", "malformed")
PUBLISHED_OUTCOMES = ("published", "too_large")
OUTCOMES = PUBLISHED_OUTCOMES + RECEIVED_OUTCOMES
"""What becomes of a message."""

Arrays = Mapping[str, NDArray[Any]]
Receive = Callable[[str, Arrays], bool]
"""Applies kind and arrays of a new message; returns False, with nothing changed, if they are of no use."""

_Dtype = Literal["<f2", "<f4", "<f8", "<i4", "<i8", "<u4", "<u8", "|u1"]
_Name = Annotated[str, msgspec.Meta(max_length=64)]
_Natural = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]


class _Array(msgspec.Struct, frozen=True, array_like=True):
    dtype: _Dtype
    shape: Annotated[tuple[_Natural, ...], msgspec.Meta(max_length=DIMENSIONS_MAX)]
    data: bytes


class _Message(msgspec.Struct, frozen=True, array_like=True):
    version: int
    topic: Annotated[str, msgspec.Meta(max_length=249)]  # of the transactions, not of the exchange
    group: Annotated[str, msgspec.Meta(max_length=200)]
    partition: Annotated[int, msgspec.Meta(ge=0, lt=1 << 16)]  # limits the number of peers stored
    position: _Natural  # of the barrier
    number: _Natural  # among the messages of barriers at that position
    kind: _Name
    arrays: Annotated[dict[_Name, _Array], msgspec.Meta(max_length=ARRAYS_MAX)]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Message)


class Exchange:
    """One shard's side of the exchange topic.

    Parameters
    ----------
    identity
        The shard. Its messages carry it, and its own messages are not applied.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        # Partition -> (position, number) of its last message; also of the last one published here.
        self._last: dict[int, tuple[int, int]] = {}
        self._outcomes: Counter[str] = Counter()
        self._packed: list[bytes] = []

    def receive(self, records: Iterable[tuple[int, bytes]], receive: Receive) -> None:
        """Pass every new message of a peer to `receive`, in the order of the topic."""
        self._outcomes.update(self._outcome(value, receive) for _, value in records)

    def _outcome(self, value: bytes, receive: Receive) -> str:
        message = _read(value)
        if message is None:
            return "malformed"
        identity = self._identity
        if (message.topic, message.group) != (identity.topic, identity.group):
            return "foreign"
        if message.partition == identity.partition:
            return "own"
        place = message.position, message.number
        if place <= self._last.get(message.partition, (-1, -1)):
            return "duplicate"
        try:
            arrays = {name: _unpacked(array) for name, array in message.arrays.items()}
        except ValueError:
            return "malformed"
        self._last[message.partition] = place
        known = message.version == VERSION
        return "applied" if known and receive(message.kind, arrays) else "unfit"

    def publish(self, position: int, messages: Iterable[tuple[str, Arrays]]) -> None:
        """Pack the messages (kind, arrays) of the barrier at `position`; too large ones are dropped.

        Raises
        ------
        ValueError
            More than `PUBLISHED_MAX` messages, or an array that cannot be packed: a bug of the caller.
        """
        identity = self._identity
        before, last = self._last.get(identity.partition, (-1, -1))
        first = last + 1 if before == position else 0
        for number, (kind, arrays) in enumerate(messages, first):
            if number - first >= PUBLISHED_MAX:
                raise ValueError(f"more than {PUBLISHED_MAX} messages at one barrier")
            self._last[identity.partition] = position, number
            message = _Message(
                version=VERSION,
                topic=identity.topic,
                group=identity.group,
                partition=identity.partition,
                position=position,
                number=number,
                kind=kind,
                arrays={name: _packed(array) for name, array in arrays.items()},
            )
            value = _encoder.encode(message)
            fits = len(value) <= MESSAGE_BYTES_MAX
            self._outcomes["published" if fits else "too_large"] += 1
            if fits:
                self._packed.append(value)

    def collect(self) -> tuple[tuple[bytes, ...], dict[str, int]]:
        """Messages to publish, and messages counted by outcome, since the last call."""
        messages, outcomes = tuple(self._packed), dict(self._outcomes)
        self._packed.clear()
        self._outcomes.clear()
        return messages, outcomes

    def to_state(self) -> dict[str, Any]:
        """State: the last message of each shard."""
        rows = [(partition, *place) for partition, place in sorted(self._last.items())]
        return {"last": np.array(rows, dtype=np.int64).reshape(-1, 3)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        rows = state["last"].tolist()
        self._last = {partition: (position, number) for partition, position, number in rows}


def _read(value: bytes) -> _Message | None:
    """Decode a message; None if it is malformed."""
    if len(value) > MESSAGE_BYTES_MAX:
        return None
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _packed(array: NDArray[Any]) -> _Array:
    dtype = array.dtype.newbyteorder("<")
    known = next((name for name in get_args(_Dtype) if name == dtype.str), None)
    if known is None or array.ndim > DIMENSIONS_MAX:
        raise ValueError(f"an array of {array.ndim} dimensions of {array.dtype} cannot be packed")
    return _Array(dtype=known, shape=array.shape, data=array.astype(dtype, copy=False).tobytes())


def _unpacked(array: _Array) -> NDArray[Any]:
    """Make a read-only array; ValueError if shape and bytes do not match."""
    flat = np.frombuffer(array.data, dtype=array.dtype) if array.data else np.zeros(0, dtype=array.dtype)
    return flat.reshape(array.shape)
