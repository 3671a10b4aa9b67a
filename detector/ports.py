"""What the runner needs from the world, as small Protocols.

Shipped implementations: Kafka (`detector.shell.kafka.client`), files for `replay` (`detector.shell.files`),
memory for tests and simulation (`detector.testing`).

What is deliberately not here: threads, retries, group protocol details, serialisation of the model. A port's
calls all return within a deadline or raise `detector.errors.OutsideError`; none waits for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from detector.core.records import Headers, Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """The group gave partitions to this member or took them away."""

    kind: Literal["assigned", "revoked", "lost"]
    partitions: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Poll:
    """What one poll brought. `membership` was taken right after it and goes unread into the commit."""

    records: Mapping[int, Sequence[Record]]  # per partition, ascending offsets
    changes: tuple[Change, ...]  # in the order in which they happened; apply before the records
    membership: object
    exhausted: bool = False  # a finite log has been read to its end


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """What the group has committed for one partition."""

    offset: int  # of the next unprocessed record
    metadata: str  # the journal, as text


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One record to publish."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int  # of the input it comes from
    offset: int  # of the input record it comes from: outputs of one commit are ordered by it


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """One atomic step: outputs, how far, and how to compute the state again."""

    messages: Sequence[Message]
    positions: Mapping[int, Committed]
    membership: object


class Stream(Protocol):
    """The transactions topic, as a member of a group, with the outputs in the same transaction."""

    def poll(self, timeout_ms: int) -> Poll:
        """Wait up to `timeout_ms` for records or group changes.

        Raises
        ------
        BrokerUnavailable
            Nothing is known right now; poll again later.
        CredentialsError
            The broker refuses us.
        """

    def partitions_count(self) -> int:
        """Partitions of the transactions topic, over all members."""

    def committed(self, partitions: Iterable[int]) -> dict[int, Committed | None]:
        """Read back what is committed, waiting for pending transactions (read_committed).

        Raises
        ------
        BrokerUnavailable
        """

    def beginning(self, partition: int) -> int:
        """Lowest offset still in the log."""

    def start(self, partition: int) -> int:
        """Where a partition that was never committed begins, by configuration."""

    def seek(self, partition: int, offset: int) -> None:
        """Next poll continues at `offset`."""

    def position(self, partition: int) -> int:
        """Offset of the next record to be fetched; may be past gaps (transaction markers, compaction)."""

    def log_end(self, partition: int) -> int:
        """Offset after the last readable record, asked for now.

        Raises
        ------
        BrokerUnavailable
        """

    def end(self, partition: int) -> int | None:
        """Offset after the last record as last heard from the broker; None when not known yet.

        For telling a lag: it may count records that cannot be read yet (open transactions).
        """

    def pause(self, partitions: Iterable[int]) -> None:
        """Deliver nothing from these partitions until `resume`."""

    def resume(self, partitions: Iterable[int]) -> None:
        """Undo `pause`."""

    @property
    def commits_beside(self) -> bool:
        """Whether polls may come on this thread while a commit that begins now is made on another one."""

    def commit(self, commit: Commit) -> None:
        """Publish and commit as one step (exactly_once) or in that order (at_least_once).

        Raises
        ------
        CommitFailed
            Refused, overdue or unknown. The stream has renewed its producer; every shard must be rebuilt from
            what is committed.
        CredentialsError
            Not allowed to write or commit.
        """

    def settled(self) -> bool:
        """Whether the group is stable, that is, this member knows which partitions it has (maybe none)."""

    def close(self) -> None:
        """Leave; returns within a deadline and never raises."""


class Archive(Protocol):
    """The transactions topic and the group's offsets for whoever looks back: no member of the group."""

    def partitions_count(self) -> int:
        """Partitions of the transactions topic.

        Raises
        ------
        BrokerUnavailable
        """

    def committed(self, partition: int) -> Committed | None:
        """What the group has committed.

        Raises
        ------
        BrokerUnavailable
        """

    def beginning(self, partition: int) -> int:
        """Lowest offset still in the log.

        Raises
        ------
        BrokerUnavailable
        """

    def records(self, partition: int, start: int, stop: int) -> Iterator[Sequence[Record]]:
        """Records in [start, stop), ascending, in pieces; ends at the log's end if that comes first.

        Raises
        ------
        BrokerUnavailable
            None came for a whole deadline.
        LogGone
            The log begins after `start`.
        """

    def close(self) -> None:
        """Let go of the connection."""


class SideLog(Protocol):
    """A side topic of one partition that every process reads whole: positions are its offsets."""

    def refresh(self) -> None:
        """Read what has come since, without waiting."""

    def end(self, event_time: float) -> int:
        """Position after the last record that a shard at `event_time` (s) may see.

        Of labels in `replay` those that carry an earlier time; on Kafka all before the first one whose own
        time, or arrival if that was earlier, is later; what has no readable time hides nothing. May be lower
        than what was seen before, when the time went back or another process is asked. What shards tell each
        other waits for no time.
        """

    def read(self, start: int, stop: int) -> Sequence[tuple[int, bytes]]:
        """Position and value of the records in [start, stop).

        Raises
        ------
        BrokerUnavailable
            They cannot be read right now.
        NeedsOperator
            They are no longer in the topic.
        """

    def beginning(self) -> int:
        """Lowest position still in the topic, as it is now."""

    def log_end(self) -> int:
        """Position after the last record in the topic, as it is now.

        Raises
        ------
        BrokerUnavailable
        """

    def close(self) -> None:
        """Let go of the connection."""


class CheckpointStore(Protocol):
    """Objects by name in one place that all replicas share."""

    def put(self, name: str, data: bytes) -> None:
        """Write whole or not at all; returns once durable.

        Raises
        ------
        StoreUnavailable
        """

    def get(self, name: str) -> bytes:
        """Read one object.

        Raises
        ------
        StoreUnavailable
        KeyError
            There is no such object.
        """

    def list(self, prefix: str) -> Sequence[str]:
        """Names that begin with `prefix`, ascending."""

    def delete(self, name: str) -> None:
        """Remove if it is there."""


class Clock(Protocol):
    """Wall time for intervals and latency. The model never sees it."""

    def monotonic(self) -> float:
        """Seconds, never going back."""

    def time(self) -> float:
        """Seconds since the epoch."""

    def sleep(self, seconds: float) -> None:
        """Wait; may return early on a request to stop."""


class Log(Protocol):
    """Our own log: an event's name and the values that belong to it. Never waits, never raises."""

    def debug(self, event: str, **values: object) -> None:
        """For whoever looks into this process."""

    def info(self, event: str, **values: object) -> None:
        """Something an operator wants to have read afterwards."""

    def warning(self, event: str, **values: object) -> None:
        """It goes on, but somebody should look."""

    def error(self, event: str, **values: object) -> None:
        """Something was not done."""

    def exception(self, event: str, **values: object) -> None:
        """`error` with the exception being handled."""


PartitionState = Literal["restoring", "replaying", "running", "waiting"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionStatus:
    """One line of /readyz."""

    partition: int
    state: PartitionState
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What /readyz tells; replaced as a whole by the runner's thread."""

    ready: bool = False
    reason: str = "starting"
    partitions: tuple[PartitionStatus, ...] = ()
    warnings: tuple[str, ...] = field(default=())
