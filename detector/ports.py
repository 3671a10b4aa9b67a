"""What the runner needs from the world, as small Protocols.

Shipped implementations: Kafka (`detector.shell.kafka`), files for `replay` (`detector.shell.files`), memory
for tests and simulation (`detector.testing`).

What is deliberately not here: threads, retries, details of the group protocol, serialisation of the model.
Each call of a port returns within a timeout or raises `detector.errors.OutsideError`; none blocks for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from detector.core.records import Headers, Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """The group assigned partitions to this member or took them away."""

    kind: Literal["assigned", "revoked", "lost"]
    partitions: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Poll:
    """The result of one poll."""

    records: Mapping[int, Sequence[Record]]  # per partition, in the order of their offsets
    changes: tuple[Change, ...]  # in the order in which they happened; to be applied before the records
    membership: object  # taken right after the poll; the runner passes it to commits and does not read it
    exhausted: bool = False  # a finite log has been read to its end


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """What the group has committed for one partition."""

    offset: int  # of the next unprocessed record
    metadata: str  # the journal, as text


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A record to publish."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int  # of the input it comes from
    offset: int  # of the input record it comes from; the outputs of one commit are ordered by it


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """One atomic step: outputs, offsets, and journals."""

    messages: Sequence[Message]
    positions: Mapping[int, Committed]
    membership: object


class TopicIds(NamedTuple):
    """Which cluster a topic is in, and which topic of its name it is; empty: there is none, or not known."""

    cluster: str = ""
    topic: str = ""


class Stream(Protocol):
    """The transactions topic, read as a member of a group; outputs go into the same transaction."""

    def poll(self, timeout_ms: int) -> Poll:
        """Wait up to `timeout_ms` for records or group changes.

        Raises
        ------
        BrokerUnavailable
            No answer; poll again later.
        CredentialsError
            The broker refused our credentials.
        """

    def partitions_count(self) -> int:
        """Number of partitions of the transactions topic.

        Raises
        ------
        BrokerUnavailable
        """

    def ids(self) -> TopicIds:
        """Ids of the cluster and of the transactions topic, as a poll or another call has learned them."""

    def committed(self, partitions: Iterable[int]) -> dict[int, Committed | None]:
        """Read what is committed, after waiting for pending transactions (read_committed).

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

    def start(self, partition: int) -> int:
        """Offset at which a partition that was never committed begins, by configuration.

        Raises
        ------
        BrokerUnavailable
        """

    def seek(self, partition: int, offset: int) -> None:
        """Let the next poll continue at `offset`."""

    def position(self, partition: int) -> int:
        """Offset of the next record to be fetched; may be past gaps (transaction markers, compaction).

        Raises
        ------
        BrokerUnavailable
            The partition is not assigned to this member, or the offset is not known.
        """

    def log_end(self, partition: int) -> int:
        """Offset after the last readable record; asks the broker.

        Raises
        ------
        BrokerUnavailable
        """

    def pause(self, partitions: Iterable[int]) -> None:
        """Deliver nothing from these partitions until `resume`."""

    def resume(self, partitions: Iterable[int]) -> None:
        """Undo `pause`."""

    @property
    def commits_in_background(self) -> bool:
        """Whether polls are allowed on this thread while a commit that begins now runs on another thread."""

    def commit(self, commit: Commit) -> None:
        """Publish and commit as one step (exactly_once) or in that order (at_least_once).

        Raises
        ------
        CommitFailed
            The commit was refused, or its outcome is unknown. The stream has a new producer; every shard must
            be restored from what is committed.
        CredentialsError
            We may not write or commit.
        """

    def settled(self) -> bool:
        """Whether the group is stable: this member knows which partitions it has (maybe none)."""

    def close(self) -> None:
        """Leave the group; returns within a timeout and never raises."""


class Archive(Protocol):
    """The transactions topic and the group's offsets, read by an audit from outside the group."""

    def partitions_count(self) -> int:
        """Number of partitions of the transactions topic.

        Raises
        ------
        BrokerUnavailable
        """

    def ids(self) -> TopicIds:
        """Ids of the cluster and of the transactions topic.

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
        """Records in [start, stop), in the order of their offsets, in pieces; up to the log's end at most.

        Raises
        ------
        BrokerUnavailable
            No record came within the request timeout.
        LogGone
            The log begins after `start`.
        """

    def close(self) -> None:
        """Let go of the connection."""


class SideLog(Protocol):
    """A side topic of one partition that every process reads whole; a position is an offset in it."""

    def refresh(self) -> None:
        """Read new records, without waiting for any.

        Raises
        ------
        BrokerUnavailable
        """

    def ids(self) -> TopicIds:
        """Ids of the cluster and of the topic, as another call has learned them."""

    def end(self, event_time: float) -> int:
        """Position after the last record that a shard at `event_time` (s since the epoch) may read.

        Labels wait for event time. In `replay`: the labels with an earlier time. On Kafka: all labels before
        the first one with a later time, where a label's time is its own or its arrival, whichever is earlier;
        a label without a readable time does not hold others back. Messages of peers do not wait.

        The position may be lower than an earlier answer: event time may go back, and processes differ.
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
        """Lowest position still in the topic; asks the broker.

        Raises
        ------
        BrokerUnavailable
        """

    def log_end(self) -> int:
        """Position after the last record in the topic; asks the broker.

        Raises
        ------
        BrokerUnavailable
        """

    def close(self) -> None:
        """Let go of the connection."""


class SchemaSource(Protocol):
    """Schemas by the ids that records name."""

    @property
    def table(self) -> Mapping[int, Any]:
        """The schemas known here, for the event format."""

    def missing(self, records: Sequence[Record]) -> Collection[int]:
        """Ids that must be fetched before a shard may read these records. Does no IO."""

    def fetch(self, ids: Collection[int]) -> None:
        """Fetch them.

        Raises
        ------
        RegistryUnavailable
        CredentialsError
        """


class CheckpointStore(Protocol):
    """Objects by name, in one place that all replicas share."""

    def put(self, name: str, data: bytes) -> None:
        """Write an object whole or not at all; returns once it is durable.

        Raises
        ------
        StoreUnavailable
        """

    def get(self, name: str) -> bytes:
        """Read an object.

        Raises
        ------
        StoreUnavailable
        KeyError
            There is no such object.
        """

    def list(self, prefix: str) -> Sequence[str]:
        """Names that begin with `prefix`, sorted.

        Raises
        ------
        StoreUnavailable
        """

    def delete(self, name: str) -> None:
        """Delete an object, if there is one.

        Raises
        ------
        StoreUnavailable
        """


class Clock(Protocol):
    """Clocks for intervals and latency. The model never reads them."""

    def monotonic(self) -> float:
        """Seconds; never goes back."""

    def time(self) -> float:
        """Seconds since the epoch."""

    def sleep(self, seconds: float) -> None:
        """Wait; may return early if a stop is requested."""


class Log(Protocol):
    """The service's own log: an event's name and its values. Never blocks, never raises."""

    def debug(self, event: str, **values: object) -> None:
        """Log details for a developer."""

    def info(self, event: str, **values: object) -> None:
        """Log what an operator wants to know afterwards."""

    def warning(self, event: str, **values: object) -> None:
        """Log trouble that the service handled, and that somebody should look at."""

    def error(self, event: str, **values: object) -> None:
        """Log that something could not be done."""

    def exception(self, event: str, **values: object) -> None:
        """Log an error, with the exception being handled."""


PartitionState = Literal["restoring", "replaying", "running", "waiting"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionStatus:
    """One line of /readyz."""

    partition: int
    state: PartitionState
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardFigures:
    """What the metrics of a service say of one partition; None: not known."""

    warming_up: bool | None = None
    model_version: int | None = None
    lag_records: float | None = None
    lag_s: float | None = None
    alerts_per_day: float | None = None  # that the alert budget allows
    budget_used: float | None = None  # of the budget's balance, 1: all of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What /readyz shows; the runner's thread replaces it as a whole."""

    ready: bool = False
    reason: str = "starting"
    partitions: tuple[PartitionStatus, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    drift: tuple[str, ...] = ()  # what drifts, a sentence each
