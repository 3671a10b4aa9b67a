"""A short run over made-up events, so that everything is compiled before the first real one.

Kernels are compiled when they are first called: half a minute of CPU time in all, for which a service that
has joined its group would stand still. `rehearse` runs made-up events of the configured schema, with labels
and a peer, through partitions of its own and drops them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np

from detector.config.tree import Event, ModelPart, ValueField
from detector.core.records import Identity, Outputs, Record
from detector.core.recovery.sides import Side, SideRange, SideRecords
from detector.core.shard.partition import Partition

EVENTS = 2_048
POLL = 500  # records; no divisor of a block, so that pieces of blocks are scored, too
LABEL_EVERY = 3  # events; in turn fraud and legitimate
KEYS = 12  # values of each entity and category
STEP_S = 900.0  # between events: labels have time to mature
START_S = 1_767_225_600.0  # 2026-01-01
TOPIC = "rehearsal"


class Member:
    """A partition, and the side topics that it reads."""

    def __init__(self, config: ModelPart, number: int) -> None:
        identity = Identity(topic=TOPIC, group=TOPIC, partition=number, entity_key=bytes(32))
        self.partition = Partition(identity, config, Partition.begin(config, 0), until=0)
        self.sides: dict[Side, list[bytes]] = {"feedback": [], "exchange": []}

    def take(self, records: list[Record]) -> Iterator[Outputs]:
        """Process records, with barriers where they are due."""
        while records:
            step = self.partition.take(records)
            yield step.outputs
            records = records[step.consumed :]
            if step.block_ended:
                yield from self._barrier()

    def _barrier(self) -> Iterator[Outputs]:
        available = {side: SideRange(0, len(values)) for side, values in self.sides.items()}
        barrier = self.partition.due(available)
        if barrier is not None:
            yield self.partition.barrier(
                barrier, {side: self._read(side, at) for side, at in barrier.sides.items()}
            )

    def _read(self, side: Side, at: SideRange) -> SideRecords:
        return [(place, self.sides[side][place]) for place in range(at.start, at.stop)]


def rehearse(config: ModelPart) -> Iterator[int]:
    """Run the made-up events; yields how many were taken so far, after each piece.

    The caller may stop in between. Only what was compiled is left of it.
    """
    config = as_made_up(config)
    members = [Member(config, number) for number in range(2 if config.exchange else 1)]
    records = list(made_up(config.event))
    for start in range(0, EVENTS, POLL):
        piece = records[start : start + POLL]
        for member in members:
            for outputs in member.take(piece):
                for other in members:
                    if other is not member:
                        other.sides["exchange"] += [message.value for message in outputs.peer_messages]
            member.sides["feedback"] += map(_label, piece[::LABEL_EVERY])
        yield start + len(piece)


def as_made_up(config: ModelPart) -> ModelPart:
    """The same configuration for events as `made_up` writes them."""
    time = config.event.time.model_copy(update={"path": "rehearsal_time", "format": "iso8601", "clock": None})
    plain = {"format": "json", "envelope": None, "id": "rehearsal_id", "time": time, "reversals": None}
    event = config.event.model_copy(update=plain)
    return config.model_copy(update={"event": event, "require_key": False})


def made_up(event: Event) -> Iterator[Record]:
    """Make `EVENTS` JSON records of a schema."""
    rng = np.random.default_rng(0)
    for offset in range(EVENTS):
        at = datetime.fromtimestamp(START_S + STEP_S * offset, UTC).isoformat()
        document: dict[str, Any] = {"rehearsal_id": str(offset), "rehearsal_time": at}
        for entity in event.entities:
            _put(document, entity.path, f"key {rng.integers(KEYS)}")
        for field in event.fields:
            for path, value in zip(field.paths, _values(field, rng), strict=False):
                _put(document, path, value)
        yield Record(offset, 0, None, json.dumps(document).encode())


def _values(field: ValueField, rng: np.random.Generator) -> tuple[float | str, ...]:
    """A value of each part. A kind that is not built in gets texts; its field may then be missing."""
    match field.type:
        case "numeric":
            return (round(float(rng.lognormal(3.0)), 2),)
        case "geo":
            return tuple(np.round(rng.uniform(40.0, 50.0, size=2), 5).tolist())
        case _:
            return tuple(f"value {rng.integers(KEYS)}" for _ in field.paths)


def _put(document: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for name in parents:
        document = document.setdefault(name, {})
    document[last] = value


def _label(record: Record) -> bytes:
    """What an analyst says of an event: by turns fraud and legitimate."""
    label = "fraud" if record.offset // LABEL_EVERY % 2 else "legitimate"
    time = START_S + STEP_S * record.offset
    return json.dumps({"event_id": str(record.offset), "label": label, "time": time, "actor": TOPIC}).encode()
