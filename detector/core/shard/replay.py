"""What a shard did, done again: a journal followed with its outputs, for verification and for explanations.

    origin (a checkpoint, or a bare start) ── the log's records, the journal's barriers ──> the same outputs

Nothing is published or committed. The caller reads the world; what it hands in must begin at the origin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from detector.core.records import Outputs, Record
from detector.core.recovery.journal import Barrier, Side
from detector.core.shard.partition import Partition

ReadSide = Callable[[Side, int, int], Sequence[tuple[int, bytes]]]
"""Reads positions [start, stop) of a side topic."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Passed:
    """What one step gave."""

    outputs: Outputs
    barrier: Barrier | None = None  # that was made, with the hash that was noted the first time
    state_hash: str = ""  # after it, now


def follow(
    partition: Partition, records: Iterable[Sequence[Record]], read_side: ReadSide
) -> Iterator[Passed]:
    """Take records below `partition.until`, and make the journal's barriers where they were made.

    Parameters
    ----------
    partition
        At its journal's origin.
    records
        Ascending from there on, in pieces of any size.

    Raises
    ------
    NeedsOperator
        The log no longer has events that the journal counted.
    """
    for piece in records:
        backlog = [record for record in piece if record.offset < partition.until]
        while backlog:
            step = partition.take(backlog)
            del backlog[: step.consumed]
            yield Passed(outputs=step.outputs)
            if step.block_ended:
                yield from _barriers(partition, read_side)


def _barriers(partition: Partition, read_side: ReadSide) -> Iterator[Passed]:
    while (barrier := partition.due(0)) is not None:
        labels = read_side("labels", *partition.labels_range(barrier))
        told = read_side("exchange", *partition.exchange_range(barrier))
        outputs = partition.barrier(barrier, labels, told)
        yield Passed(outputs=outputs, barrier=barrier, state_hash=partition.state_hash)
