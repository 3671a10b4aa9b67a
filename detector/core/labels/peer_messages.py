"""What shards tell each other: messages, whom they come from, and which of them are new.

A partition alone is data-poor. At a barrier a shard may tell its siblings something: its messages are
published with the outputs of that barrier's commit, and every sibling hears them at a barrier of its own.

    shard A, barrier ─ tell ─> pack ─> exchange topic ─> unpack ─ sift ─ hear ─> shard B, some later barrier

Rules
    - A message names its shard (topic, group, partition), the barrier (position) and its number there. Of
      each sibling the highest (position, number) heard is kept: what does not come after it is a repeat, as
      at-least-once delivery makes them, and ignored.
    - A message may be anything: whoever may write to the topic can send it. It is arrays of plain numbers,
      bounded in size, never code; what cannot be read is counted and changes nothing. Whether kind, shapes
      and values make sense is for `hear` to judge.
    - Siblings may run other versions and configurations. A kind that is not known is no mistake.
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
# A message fits where Kafka's default limit (1 MB) does, with its frame.
MESSAGE_BYTES_MAX = 900_000
TOLD_MAX = 64  # messages of one barrier: one noisy shard must not fill what all others hear
ARRAYS_MAX = 64  # of one message
DIMENSIONS_MAX = 4

HEARD_OUTCOMES = ("heard", "own", "foreign", "repeated", "unfit", "malformed")
TOLD_OUTCOMES = ("told", "too_large")
OUTCOMES = TOLD_OUTCOMES + HEARD_OUTCOMES

Arrays = Mapping[str, NDArray[Any]]
Hear = Callable[[str, Arrays], bool]
"""Takes kind and arrays of a new message; False, with nothing changed, if it can make nothing of it."""

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
    partition: Annotated[int, msgspec.Meta(ge=0, lt=1 << 16)]  # bounds how many siblings are kept in mind
    position: _Natural  # of the barrier
    number: _Natural  # among the messages of that barrier
    kind: _Name
    arrays: Annotated[dict[_Name, _Array], msgspec.Meta(max_length=ARRAYS_MAX)]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Message)


class Exchange:
    """One shard's part in the exchange.

    Parameters
    ----------
    identity
        Who tells, and so whose own messages are not heard.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._heard: dict[int, tuple[int, int]] = {}  # sibling -> (position, number) of its last message
        self._outcomes: Counter[str] = Counter()
        self._told: list[bytes] = []

    def hear(self, records: Iterable[tuple[int, bytes]], hear: Hear) -> None:
        """Give every new message of a sibling to `hear`, in the order of the topic."""
        self._outcomes.update(self._listen(value, hear) for _, value in records)

    def _listen(self, value: bytes, hear: Hear) -> str:
        message = _read(value)
        if message is None:
            return "malformed"
        identity = self._identity
        if (message.topic, message.group) != (identity.topic, identity.group):
            return "foreign"
        if message.partition == identity.partition:
            return "own"
        place = message.position, message.number
        if place <= self._heard.get(message.partition, (-1, -1)):
            return "repeated"
        try:
            arrays = {name: _unpacked(array) for name, array in message.arrays.items()}
        except ValueError:
            return "malformed"
        self._heard[message.partition] = place
        known = message.version == VERSION
        return "heard" if known and hear(message.kind, arrays) else "unfit"

    def tell(self, position: int, messages: Iterable[tuple[str, Arrays]]) -> None:
        """Pack what is to be published with the barrier at `position`; what is too large is left out.

        Raises
        ------
        ValueError
            More than `TOLD_MAX` messages, or an array of a type that cannot be told: our own mistake.
        """
        identity = self._identity
        for number, (kind, arrays) in enumerate(messages):
            if number >= TOLD_MAX:
                raise ValueError(f"more than {TOLD_MAX} messages at one barrier")
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
            self._outcomes["told" if fits else "too_large"] += 1
            if fits:
                self._told.append(value)

    def collect(self) -> tuple[tuple[bytes, ...], dict[str, int]]:
        """Take what is to be published, and counts by outcome, since the last call."""
        told, outcomes = tuple(self._told), dict(self._outcomes)
        self._told.clear()
        self._outcomes.clear()
        return told, outcomes

    def to_state(self) -> dict[str, Any]:
        """What the future depends on."""
        rows = [(partition, *place) for partition, place in sorted(self._heard.items())]
        return {"heard": np.array(rows, dtype=np.int64).reshape(-1, 3)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what `to_state` gave."""
        rows = state["heard"].tolist()
        self._heard = {partition: (position, number) for partition, position, number in rows}


def _read(value: bytes) -> _Message | None:
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
        raise ValueError(f"an array of {array.ndim} dimensions of {array.dtype} cannot be told")
    return _Array(dtype=known, shape=array.shape, data=array.astype(dtype, copy=False).tobytes())


def _unpacked(array: _Array) -> NDArray[Any]:
    """Read-only; ValueError if shape and bytes do not fit each other."""
    flat = np.frombuffer(array.data, dtype=array.dtype) if array.data else np.zeros(0, dtype=array.dtype)
    return flat.reshape(array.shape)
