"""Replay of a journal with outputs, for verification and for explanations.

    origin (a checkpoint, or a bare start) ── the log's records, the journal's barriers ──> the same outputs

Nothing is published or committed. The caller does all IO; its records must begin at the origin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from detector.core.records import Outputs, Record
from detector.core.recovery.journal import Barrier
from detector.core.recovery.sides import Side, SideRange, SideRecords
from detector.core.shard.partition import Partition
from detector.core.shard.pieces import Inquired

ReadSide = Callable[[Side, SideRange], SideRecords]
"""Reads positions of a side topic."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Passed:
    """Result of one step."""

    outputs: Outputs
    inquired: Inquired | None = None  # see `Step`
    barrier: Barrier | None = None  # the one made in this step, with the recorded hash
    state_hash: str = ""  # computed now, after that barrier


def follow(
    partition: Partition,
    records: Iterable[Sequence[Record]],
    read_side: ReadSide,
    *,
    explain: int | None = None,
) -> Iterator[Passed]:
    """Process records below `partition.until`, and apply the journal's barriers where they were made.

    Parameters
    ----------
    partition
        At its journal's origin.
    records
        Ascending from there on, in pieces of any size.
    explain
        Offset of an event to explain, see `Partition.take`.

    Raises
    ------
    NeedsOperator
        The log no longer has events that the journal counted.
    """
    yield from _barriers(partition, read_side)  # where the journal begins, there may be some
    for piece in records:
        backlog = [record for record in piece if record.offset < partition.until]
        while backlog:
            step = partition.take(backlog, explain=explain)
            del backlog[: step.consumed]
            yield Passed(outputs=step.outputs, inquired=step.inquired)
            if step.block_ended:
                yield from _barriers(partition, read_side)


def _barriers(partition: Partition, read_side: ReadSide) -> Iterator[Passed]:
    while (barrier := partition.due({})) is not None:
        applied = {side: read_side(side, wanted) for side, wanted in barrier.sides.items()}
        outputs = partition.barrier(barrier, applied)
        yield Passed(outputs=outputs, barrier=barrier, state_hash=partition.state_hash)
