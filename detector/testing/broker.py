"""A broker with one consumer group in memory, its members' streams, and its archive."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from detector.core.records import Headers, Record
from detector.errors import BrokerUnavailable, CommitFailed, LogGone
from detector.ports import Change, Commit, Committed, Message, Poll, TopicIds
from detector.testing.clock import FakeClock
from detector.testing.steps import Hook, no_hook
from detector.testing.store import MemorySideLog

POLL_S = 0.001  # duration of a poll that returns something


@dataclass(kw_only=True, slots=True)
class _Partition:
    """One partition of the input topic."""

    records: list[Record] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)  # of `records`
    begin: int = 0
    end: int = 0  # offset of the next record

    def read(self, position: int, count: int) -> tuple[list[Record], int]:
        """Up to `count` records from `position` on, and the position after them, past any gap."""
        start = bisect_left(self.offsets, position)
        records = self.records[start : start + count]
        more = start + count < len(self.records)
        return records, self.offsets[start + count] if more else self.end


class MemoryBroker:
    """Topics and one consumer group.

    Parameters
    ----------
    partitions
        Number of partitions of the input topic.
    hook
        Called at each step of the members.
    """

    def __init__(self, partitions: int = 1, hook: Hook = no_hook) -> None:
        self.hook = hook
        self.ids = TopicIds()
        self.down = False
        self.closed = False  # nothing more will be produced: members see the end of a finite log
        self.published: list[Message] = []  # what a read_committed reader sees, in order of commits
        self.committed: dict[int, Committed] = {}
        self.applied: list[Commit] = []  # commits that took effect, answered or not
        self.generation = 0
        self.sides: dict[str, MemorySideLog] = {}  # by topic: they take what is published to that topic
        self._log = [_Partition() for _ in range(partitions)]
        self._members: list[MemoryStream] = []  # in the order in which they joined
        self._owners: dict[int, MemoryStream] = {}
        self._failures: list[tuple[bool, float]] = []  # of the next commits: takes effect; delay, s
        self._lock = threading.RLock()

    @property
    def commits(self) -> int:
        """Number of commits that took effect."""
        return len(self.applied)

    @property
    def partitions(self) -> int:
        """Number of partitions of the input topic."""
        return len(self._log)

    def end(self, partition: int) -> int:
        """Offset after the last record."""
        return self._log[partition].end

    def append(
        self,
        partition: int,
        value: bytes | None,
        *,
        key: bytes | None = None,
        timestamp_ms: int = 0,
        headers: Headers = (),
    ) -> int:
        """Produce a record; returns its offset."""
        with self._lock:
            log = self._log[partition]
            offset = log.end
            log.records.append(Record(offset, timestamp_ms, key, value, headers))
            log.offsets.append(offset)
            log.end += 1
            return offset

    def gap(self, partition: int, count: int = 1) -> None:
        """Skip offsets, as a transaction's marker does."""
        self._log[partition].end += count

    def trim(self, partition: int, offset: int) -> None:
        """Remove records below `offset`, as retention does."""
        log = self._log[partition]
        count = bisect_left(log.offsets, offset)
        del log.records[:count], log.offsets[:count]
        log.begin = offset

    def cut(self, partition: int, offset: int) -> None:
        """Remove records from `offset` on, as an unclean leader election does; 0: the topic is recreated."""
        log = self._log[partition]
        count = bisect_left(log.offsets, offset)
        del log.records[count:], log.offsets[count:]
        log.begin, log.end = min(log.begin, offset), offset

    def grow(self, partitions: int) -> None:
        """Add partitions to the input topic."""
        with self._lock:
            self._log += [_Partition() for _ in range(partitions)]

    def records(self, partition: int) -> Sequence[Record]:
        """All records in the log."""
        return tuple(self._log[partition].records)

    def fail_commits(self, count: int = 1, *, applied: bool = False, after_s: float = 0.0) -> None:
        """Fail the next `count` commits after a delay; `applied`: they take effect, the answer is lost."""
        self._failures += [(applied, after_s)] * count

    def heal(self) -> None:
        """End an outage, and let commits succeed."""
        self.down = False
        self._failures.clear()

    def evict(self, stream: MemoryStream) -> None:
        """End a member's session, as after too long a pause; its next poll reports it."""
        with self._lock:
            self._leave(stream)
            stream.lost = True

    def _join(self, stream: MemoryStream) -> None:
        self._members.append(stream)
        self.generation += 1

    def _leave(self, stream: MemoryStream) -> None:
        if stream in self._members:
            self._members.remove(stream)
            self._owners = {p: owner for p, owner in self._owners.items() if owner is not stream}
            self.generation += 1

    def _share(self, stream: MemoryStream) -> set[int]:
        """Partitions that a member should own."""
        number = self._members.index(stream)
        return {p for p in range(len(self._log)) if p % len(self._members) == number}

    def _rebalance(self, stream: MemoryStream) -> list[Change]:
        """One member's part in a rebalance: it gives up partitions first, and takes free ones."""
        share = self._share(stream)
        mine = {p for p, owner in self._owners.items() if owner is stream}
        given_up, free = sorted(mine - share), sorted(p for p in share if p not in self._owners)
        changes: list[Change] = []
        if given_up:
            for partition in given_up:
                del self._owners[partition]
            self.generation += 1  # the next owner takes them one generation later
            changes.append(Change(kind="revoked", partitions=tuple(given_up)))
        if free:
            self._owners |= dict.fromkeys(free, stream)
            changes.append(Change(kind="assigned", partitions=tuple(free)))
        return changes

    def _settled(self, stream: MemoryStream) -> bool:
        return stream in self._members and len(self._owners) == len(self._log)

    def _commit(self, commit: Commit, clock: FakeClock) -> None:
        with self._lock:
            if self.down:
                raise CommitFailed("the broker is away")
            if commit.membership != self.generation:
                raise CommitFailed(f"generation {commit.membership} is not {self.generation}")
            failure = self._failures.pop(0) if self._failures else None
            if failure is None or failure[0]:
                self.published.extend(commit.messages)
                for message in commit.messages:
                    if message.topic in self.sides:
                        self.sides[message.topic].append(message.value or b"")
                self.committed |= commit.positions
                self.applied.append(commit)
            if failure is not None:
                clock.sleep(failure[1])
                raise CommitFailed("injected")


class MemoryArchive:
    """An `Archive`: a `MemoryBroker`, read from outside its group."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def partitions_count(self) -> int:
        """Number of partitions of the input topic."""
        return len(self._broker._log)

    def ids(self) -> TopicIds:
        """As the broker says."""
        return self._broker.ids

    def committed(self, partition: int) -> Committed | None:
        """What the group has committed."""
        return self._broker.committed.get(partition)

    def beginning(self, partition: int) -> int:
        """Lowest offset still in the log."""
        return self._broker._log[partition].begin

    def records(self, partition: int, start: int, stop: int) -> Iterator[Sequence[Record]]:
        """Records in [start, stop), a hundred at a time."""
        if start < self.beginning(partition):
            raise LogGone(f"the log begins at {self.beginning(partition)}, offset {start} is gone")
        while start < stop:
            records, after = self._broker._log[partition].read(start, 100)
            if not records:
                return
            yield [record for record in records if record.offset < stop]
            start = after

    def close(self) -> None:
        """Do nothing."""


class MemoryStream:
    """A `Stream`: one member of a `MemoryBroker`'s group.

    Parameters
    ----------
    broker
        What the members share.
    clock
        Each poll moves it: by the timeout if there is nothing, else by `POLL_S`.
    poll_records_max
        Records of one poll, over all partitions.
    start
        Where a partition that was never committed begins; None: at the log's beginning.
    commits_in_background
        Whether polls may come while a commit is under way.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        clock: FakeClock,
        *,
        poll_records_max: int = 500,
        start: int | None = None,
        commits_in_background: bool = False,
    ) -> None:
        self.poll_records_max = poll_records_max
        self.lost = False  # the broker ended this member's session, and no poll has reported it yet
        self.paused: set[int] = set()
        self.closed = False
        self._broker = broker
        self._clock = clock
        self._start = start
        self.commits_in_background = commits_in_background
        self._positions: dict[int, int] = {}
        self._unreported: list[Change] = []  # because the poll failed
        self._joined = False

    def poll(self, timeout_ms: int) -> Poll:
        """Records and changes of the group; time passes if there are none."""
        broker = self._broker
        broker.hook("poll:before")
        with broker._lock:
            self._check()
            self._unreported += self._changes()
            changes = tuple(self._unreported)
            records: dict[int, Sequence[Record]] = {}
            room = self.poll_records_max
            for partition in sorted(self._positions.keys() - self.paused):
                found, position = broker._log[partition].read(self._positions[partition], room)
                self._positions[partition] = position
                if found:
                    records[partition] = found
                    room -= len(found)
                if room <= 0:
                    break
            ends = all(self._positions[p] >= broker._log[p].end for p in self._positions)
            exhausted = broker.closed and ends and not records and not changes
            membership = broker.generation
        idle = not records and not changes
        self._clock.sleep(timeout_ms / 1000.0 if idle else POLL_S)
        broker.hook("poll:after")
        self._unreported.clear()
        return Poll(records=records, changes=changes, membership=membership, exhausted=exhausted)

    def partitions_count(self) -> int:
        """Number of partitions of the input topic."""
        self._broker.hook("partitions_count")
        self._check()
        return len(self._broker._log)

    def ids(self) -> TopicIds:
        """As the broker says."""
        return self._broker.ids

    def committed(self, partitions: Iterable[int]) -> dict[int, Committed | None]:
        """Read what is committed."""
        self._broker.hook("committed")
        self._check()
        return {partition: self._broker.committed.get(partition) for partition in partitions}

    def beginning(self, partition: int) -> int:
        """Lowest offset still in the log."""
        self._broker.hook("beginning")
        self._check()
        return self._broker._log[partition].begin

    def start(self, partition: int) -> int:
        """Offset at which a partition that was never committed begins."""
        self._broker.hook("start")
        self._check()
        return self._broker._log[partition].begin if self._start is None else self._start

    def seek(self, partition: int, offset: int) -> None:
        """Let the next poll continue at `offset`; ignored for a partition that was taken away."""
        if partition in self._positions:
            self._positions[partition] = offset

    def position(self, partition: int) -> int:
        """Offset of the next record to be fetched."""
        if partition not in self._positions:
            raise BrokerUnavailable(f"partition {partition} is not ours")
        return self._positions[partition]

    def log_end(self, partition: int) -> int:
        """Offset after the last record; asks the broker."""
        self._broker.hook("log_end")
        self._check()
        return self._broker._log[partition].end

    def pause(self, partitions: Iterable[int]) -> None:
        """Deliver nothing from these partitions until `resume`."""
        self.paused |= set(partitions)

    def resume(self, partitions: Iterable[int]) -> None:
        """Undo `pause`."""
        self.paused -= set(partitions)

    def commit(self, commit: Commit) -> None:
        """Publish and commit as one step."""
        self._broker.hook("commit:before")
        self._broker._commit(commit, self._clock)
        self._broker.hook("commit:after")

    def settled(self) -> bool:
        """Whether every partition has an owner."""
        return self._broker._settled(self)

    def close(self) -> None:
        """Leave the group."""
        with self._broker._lock:
            self._broker._leave(self)
        self.closed = True

    def _changes(self) -> list[Change]:
        changes: list[Change] = []
        if self.lost:
            changes.append(Change(kind="lost", partitions=tuple(sorted(self._positions))))
            self.lost = self._joined = False
        if not self._joined:
            self._broker._join(self)
            self._joined = True
        changes += self._broker._rebalance(self)
        for change in changes:
            for partition in change.partitions:
                self._positions.pop(partition, None)
                self.paused.discard(partition)
                if change.kind == "assigned":  # any offset would do: the runner seeks
                    self._positions[partition] = self._broker._log[partition].begin
        return changes

    def _check(self) -> None:
        if self._broker.down:
            raise BrokerUnavailable("the broker is away")
