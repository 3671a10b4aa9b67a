"""Schemas of a registry, and the frame that names them: a zero byte, four bytes of the id, then the message.

The shell fetches the schemas that records name before a shard reads the records. Formats find them in the
resource `schemas`, by id; a text in place of a schema says why there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from detector.core.events.rejection import Bad
from detector.core.records import Record

FRAME_BYTES = 5


class Schema(NamedTuple):
    """One schema of a registry."""

    kind: str  # AVRO, PROTOBUF or JSON
    text: str
    references: tuple[tuple[str, str], ...] = ()  # name and text, each after those that it refers to
    compiled: bytes = b""  # of a Protobuf schema: a FileDescriptorSet, the schema's file last


Schemas = Mapping[int, Schema | str]
"""By id; a text says why there is none."""


def schema_id(value: bytes) -> int:
    """Read the id from a record's value.

    Raises
    ------
    Bad
        It has no frame.
    """
    if value[:1] != b"\0" or len(value) <= FRAME_BYTES:
        raise Bad(
            "malformed", "no frame of a schema registry: a zero byte, then four bytes of the schema's id"
        )
    return int.from_bytes(value[1:FRAME_BYTES], "big")


def schema_ids(records: Sequence[Record]) -> set[int]:
    """Ids that records name; those without a frame name none."""
    frames = {record.value[:FRAME_BYTES] for record in records if record.value is not None}
    return {
        int.from_bytes(frame[1:], "big")
        for frame in frames
        if frame[:1] == b"\0" and len(frame) == FRAME_BYTES
    }


def find_schema(resources: Mapping[str, Any], number: int, kind: str) -> Schema:
    """Find a schema of the wanted kind.

    Raises
    ------
    Bad
        There is none.
    """
    schemas: Schemas = resources.get("schemas", {})
    found = schemas.get(number, "there is no registry")
    if isinstance(found, str):
        raise Bad("malformed", f"schema {number}: {found}")
    if found.kind != kind:
        raise Bad("malformed", f"schema {number} is of kind {found.kind[:20]}, expected {kind}")
    return found
