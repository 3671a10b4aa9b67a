"""A task: one owned partition, with what is polled, processed and not yet committed of it.

A partition has one of four states:

    restoring   assigned, its model is not built yet (`detector.shell.runner.restore`); there is no task yet
    replaying   records up to the committed offset are processed silently
    running     caught up: records are scored, and their outputs committed
    waiting     held back by something outside: a side topic, or a checkpoint that makes room in the journal

The task itself does no input or output. It belongs to the loop's thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import inf

from detector.config.tree import Topics
from detector.core.records import Outputs, Record
from detector.core.recovery.checkpoint import Snapshot
from detector.core.recovery.committed import Place
from detector.core.recovery.journal import Journal
from detector.core.reporting.outputs import publications
from detector.core.shard.partition import Partition, Step
from detector.errors import BrokerUnavailable
from detector.ports import Committed, Message, PartitionState, Stream


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalText:
    """A journal as text."""

    journal: Journal
    text: str
    bytes_next_max: int  # upper bound of the sealed text's size with one more barrier


@dataclass(kw_only=True, slots=True)
class Checkpointing:
    """Checkpoints of one partition that are under way."""

    started_s: float  # monotonic, when the last write began
    named: str  # the checkpoint that the committed journal names; empty: none
    snapshots: list[Snapshot] = field(default_factory=list)  # not written yet, at most two
    last: Snapshot | None = None  # right after one of the newest barriers, for a stop
    hold_from_s: float = -inf  # monotonic, when `last` may be taken again
    writing: Future[tuple[str, int]] | None = None  # write of the first snapshot: checkpoint's name, bytes
    failed_s: float = -inf  # monotonic, when the last write failed
    outdated: Journal | None = None  # committed; generations before it are to be deleted
    pruning: tuple[Journal, Future[bool]] | None = None  # under way; gives whether it was done
    prune_failed_s: float = -inf  # monotonic


@dataclass(kw_only=True, slots=True)
class Owned:
    """One owned partition; see the module's text."""

    partition: Partition
    topic_partitions: int  # number of the topic's partitions that its wanted configuration is for
    place: Place  # what its journal belongs to
    committed: Committed | None
    checkpoints: Checkpointing
    assigned_s: float  # monotonic
    origin: int  # offset at which its replay began
    lost: int  # offsets that the log dropped before they were processed, until they are committed
    backlog: list[Record] = field(default_factory=list)  # polled, not processed; at most one poll's
    outputs: list[Outputs] = field(default_factory=list)  # processed, not committed
    at_block_end: bool = False  # a barrier may belong here, and is not settled yet
    caught_up: bool = False  # processed up to what was committed when it was restored
    waiting_for: str = ""  # empty: nothing
    paused: bool = False  # the stream delivers nothing of it
    newest_ms: int = 0  # log time of the newest record processed, ms since the epoch
    origin_ms: int = 0  # log time of the first record after the journal's origin; 0: none yet
    mismatches: int = 0  # replayed barriers with a state that differs from the journal, as far as reported
    written: JournalText | None = None  # cache of `journal_text`

    def __post_init__(self) -> None:
        self.at_block_end = self.partition.barrier_here  # the checkpoint may have been taken between two

    @property
    def number(self) -> int:
        """Number of the partition."""
        return self.partition.identity.partition

    @property
    def state(self) -> PartitionState:
        """One of the module's states; never ``restoring``."""
        if self.waiting_for:
            return "waiting"
        return "running" if self.caught_up else "replaying"

    @property
    def progress(self) -> str:
        """How far the replay has come."""
        position, until = self.partition.position, self.partition.until
        return f"at offset {position} of {until} ({self.replayed_share:.0%} of {until - self.origin} offsets)"

    @property
    def replayed_share(self) -> float:
        """Share of the replay's offsets that are processed, 0 to 1."""
        done, whole = self.partition.position - self.origin, self.partition.until - self.origin
        return min(done / whole, 1.0) if whole > 0 else 1.0

    @property
    def done(self) -> bool:
        """Whether everything that was polled is processed."""
        return self.caught_up and not self.backlog and not self.at_block_end

    @property
    def next_to_read(self) -> int:
        """Offset after the last record that was polled."""
        return self.backlog[-1].offset + 1 if self.backlog else self.partition.position

    def offset(self, stream: Stream) -> int | None:
        """Offset of the next unprocessed record; past gaps if every record is processed.

        None when it is not known: the partition was just taken away, and the next poll says so.
        """
        if self.backlog:
            return self.partition.position
        try:
            return max(self.partition.position, stream.position(self.number))
        except BrokerUnavailable:
            return None

    def take(self, records_max: int | None = None) -> Step:
        """Process the backlog, or its first records, at most up to the end of the current block."""
        step = self.partition.take(self.backlog[:records_max])
        self.newest_ms = self.backlog[step.consumed - 1].timestamp_ms
        self.origin_ms = self.origin_ms or self.backlog[0].timestamp_ms
        del self.backlog[: step.consumed]
        if not step.replayed:
            self.outputs.append(step.outputs)
        self.at_block_end = step.block_ended
        return step

    def journal_text(self) -> JournalText:
        """The journal as text, made once per change: in a replay without a store the journal only grows."""
        journal = self.partition.journal
        if self.written is None or self.written.journal is not journal:
            self.written = JournalText(
                journal=journal,
                text=journal.to_text(),
                bytes_next_max=journal.bytes_next_max() + self.place.bytes_max,
            )
        return self.written

    def messages(self, topics: Topics) -> Sequence[Message]:
        """What is to be published of the outputs, in the order of the input's offsets."""
        return sorted(self._messages(topics), key=lambda message: message.offset)

    def hand_over(self) -> tuple[Sequence[Outputs], int]:
        """Give the outputs and the number of lost offsets to a commit, and begin anew."""
        outputs, self.outputs = self.outputs, []
        lost, self.lost = self.lost, 0
        return outputs, lost

    def _messages(self, topics: Topics) -> Iterator[Message]:
        identity = self.partition.identity
        for outputs in self.outputs:
            for topic, offset, key, value, headers in publications(outputs, identity, topics):
                yield Message(
                    topic=topic,
                    key=key,
                    value=value,
                    headers=headers,
                    partition=identity.partition,
                    offset=offset,
                )
