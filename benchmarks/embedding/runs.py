"""What the commands of this folder share: a stream through a partition, with labels that come late."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from itertools import islice

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.streams import Stream
from detector.config.tree import Event
from detector.core.records import Record
from detector.core.recovery.sides import SideRange
from detector.core.shard.partition import Partition

POLL_RECORDS = 512
Label = tuple[int, bytes]
"""From which offset on a label is there, and its record."""


def first_lines(stream: Stream, events: int) -> list[bytes]:
    """The first events of a stream."""
    with gzip.open(stream.events) as file:
        return [line.rstrip() for line in islice(file, events)]


def value_at(event: Mapping[str, object], path: str) -> object:
    """The value of an event at a dotted path."""
    found: object = event
    for name in path.split("."):
        found = found[name] if isinstance(found, dict) else None
    return found


def anomalous(stream: Stream, lines: Sequence[bytes]) -> NDArray[np.bool_]:
    """Which events are labelled as anomalous, (n,)."""
    known = {name for name, kind in stream.labels.kind.items() if kind}
    path = _id_path(stream.config.event)
    return np.array([str(value_at(msgspec.json.decode(line), path)) in known for line in lines])


def labels_of(frauds: NDArray[np.bool_], delay: int) -> list[Label]:
    """A label for each fraud, `delay` events after it."""
    return labels_at(frauds, np.arange(len(frauds)) + delay)


def labels_at(frauds: NDArray[np.bool_], there: NDArray[np.int64]) -> list[Label]:
    """A label for each fraud, from the offset in `there` (n,) on, which ascends."""
    return [(int(there[offset]), _label(offset)) for offset in np.flatnonzero(frauds).tolist()]


def through(
    lines: Sequence[bytes], partition: Partition, labels: Sequence[Label] = ()
) -> NDArray[np.float64]:
    """Scores (n,) of events that follow one another; what is rejected, or has no score, counts as 0."""
    begun, found = partition.position, np.zeros(len(lines))
    records = [Record(begun + n, 0, None, line) for n, line in enumerate(lines)]
    start = 0
    while start < len(records):
        step = partition.take(records[start : start + POLL_RECORDS])
        start += step.consumed
        for scored in step.outputs.scored:
            found[scored.offsets - begun] = np.nan_to_num(scored.scores)
        there = sum(at <= partition.position for at, _ in labels)
        ends = {"feedback": SideRange(0, there)} if labels else {}
        if step.block_ended and (barrier := partition.due(ends)):
            first, stop = barrier.sides.get("feedback", (0, 0))
            answers = [(n, labels[n][1]) for n in range(first, stop)]
            partition.barrier(barrier, {"feedback": answers} if labels else {})
    return found


def seeds_of(text: str) -> range:
    """Read FIRST or FIRST-LAST."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _id_path(schema: Event) -> str:
    if schema.id is None:
        raise ValueError("events without an id have no labels")
    return schema.id


def _label(offset: int) -> bytes:
    told = {"time": 0, "label": "fraud", "partition": 0, "offset": offset, "actor": str(offset)}
    return json.dumps(told).encode()
