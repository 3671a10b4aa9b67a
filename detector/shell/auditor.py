"""Looks back: what a shard did is computed again from its log, its journal and a checkpoint, and compared.

    verify      every barrier since some checkpoint, by the hash of the state that was noted after it
    explain     one event, as it met the model that scored it
    rollback    the model of an older checkpoint, where the group stands now

It reads what the daemon reads, from outside the group, and may run beside it. Only `rollback` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from detector.config.tree import Config, ModelPart
from detector.core.records import Alert, DeadLetter, Identity
from detector.core.recovery.checkpoint import Manifest
from detector.core.recovery.generations import (
    Origin,
    check_side,
    find_origin,
    moved,
    read_checkpoint,
    read_configs,
    read_journal,
    read_manifest_of,
    store_prefix,
    write,
)
from detector.core.recovery.journal import SIDES, Journal, Side
from detector.core.shard.partition import Partition
from detector.core.shard.replay import Passed, follow
from detector.core.state import differing
from detector.errors import CheckpointDamaged, NeedsOperator
from detector.ports import Archive, CheckpointStore, Committed, SideLog

Progress = Callable[[int, int], None]
"""Told how many offsets of how many have been replayed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One barrier, then and now."""

    position: int
    cause: str
    noted: str  # hash of the state then; empty: it was not noted
    found: str  # now

    @property
    def equal(self) -> bool | None:
        """None where nothing was noted, or by a version with another format."""
        form, _, _ = self.noted.partition(":")
        return self.noted == self.found if self.found.startswith(f"{form}:") else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What a replay of one partition came to."""

    partition: int
    origin: str  # the checkpoint it began at; empty: the log's beginning
    start: int
    stop: int
    barriers: tuple[Compared, ...]
    differing: tuple[str, ...]  # parts of the state at the first checkpoint that is not the same
    damages: tuple[str, ...]  # checkpoints that could not be used

    @property
    def equal(self) -> bool:
        """Whether no barrier differs."""
        return all(barrier.equal is not False for barrier in self.barriers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """What became of one event."""

    fate: str  # "alert", "rejected: REASON", or why it gave no alert
    origin: str  # as of `Verified`
    replayed: int  # offsets from there to the event
    score: float | None = None
    threshold: float | None = None
    alert: Alert | None = None  # as it was published; what would have been told, for one that was not
    rejected: DeadLetter | None = None


class Auditor:
    """Looks back at the shards of one group.

    Parameters
    ----------
    config, topic, group, entity_key
        As the daemon's.
    archive, store, sides
        What it reads.
    """

    def __init__(
        self,
        *,
        config: Config,
        topic: str,
        group: str,
        entity_key: bytes,
        archive: Archive,
        store: CheckpointStore,
        sides: Mapping[Side, SideLog],
    ) -> None:
        self._config, self._topic, self._group, self._entity_key = config, topic, group, entity_key
        self._archive, self._store, self._sides = archive, store, sides
        self._prefix = store_prefix(group, topic)

    def verify(self, partition: int, *, generations: int, progress: Progress) -> Verified:
        """Replay one partition from `generations` checkpoints before the newest one to what is committed.

        From the oldest one that is kept where there are fewer.

        Raises
        ------
        NeedsOperator
            It cannot be replayed: nothing is committed, or the log or the checkpoints are gone.
        OutsideError
            The world is away.
        """
        committed = self._committed(partition)
        journal = read_journal(committed.metadata, partition=partition, group=self._group)
        written: dict[int, str] = {}
        for _ in range(generations):
            if not journal.checkpoint:
                break
            manifest = self._manifest(journal.checkpoint)
            if manifest.position != journal.position or not self._kept(manifest.since, partition):
                break
            written[manifest.position] = manifest.name
            journal = manifest.since.joined(journal)
        replayed, origin = self._open(partition, journal, until=committed.offset, told_until=committed.offset)
        barriers: list[Compared] = []
        different: tuple[str, ...] = ()
        for passed in self._follow(replayed, progress):
            if passed.barrier is None:
                continue
            position, noted = passed.barrier.position, passed.barrier.state
            compared = Compared(
                position=position, cause=passed.barrier.cause, noted=noted, found=passed.state_hash
            )
            barriers.append(compared)
            if compared.equal is False and not different and position in written:
                different = self._differing(written[position], replayed)
        return Verified(
            partition=partition,
            origin=origin.journal.checkpoint,
            start=origin.journal.position,
            stop=committed.offset,
            barriers=tuple(barriers),
            differing=different,
            damages=origin.damages,
        )

    def explain(self, partition: int, offset: int, progress: Progress) -> Explained:
        """Compute one event again, from the nearest checkpoint before it.

        Raises
        ------
        NeedsOperator
            The group has not come to it, or what is needed is gone, or no event is there.
        OutsideError
            The world is away.
        """
        committed = self._committed(partition)
        if offset >= committed.offset:
            raise NeedsOperator(
                f"partition {partition}: offset {offset} is not processed yet, the group stands at "
                f"{committed.offset}"
            )
        journal = read_journal(committed.metadata, partition=partition, group=self._group)
        while journal.position > offset:
            if not journal.checkpoint:
                raise NeedsOperator(
                    f"partition {partition}: offset {offset} was never processed, the group began at "
                    f"{journal.position}"
                )
            manifest = self._manifest(journal.checkpoint)
            if manifest.position <= offset:
                raise NeedsOperator(
                    f"partition {partition}: the model that processed offset {offset} is gone, the group "
                    f"went on at {journal.position} with that of {manifest.name} (rollback or on_data_loss)"
                )
            journal = manifest.since
        replayed, origin = self._open(partition, journal, until=offset + 1, told_until=offset)
        replayed.inquire(offset)
        explained = Explained(
            fate="alert", origin=origin.journal.checkpoint, replayed=offset - origin.journal.position
        )
        for passed in self._follow(replayed, progress):
            if passed.outputs.dead_letters:
                [rejected] = passed.outputs.dead_letters
                return replace(explained, fate=f"rejected: {rejected.reason}", rejected=rejected)
            if passed.outputs.scored:
                [scored] = passed.outputs.scored
                explained = replace(explained, score=float(scored.scores[0]))
                if passed.outputs.alerts:
                    return replace(explained, alert=passed.outputs.alerts[0])
                inquired = replayed.inquired
                assert inquired is not None
                return replace(
                    explained, fate=inquired.fate, threshold=inquired.threshold, alert=inquired.alert
                )
        raise NeedsOperator(f"partition {partition}: there is no record at offset {offset}")

    def rolled_back(self, partition: int, name: str) -> Committed:
        """Write a checkpoint that has the model of `name` and stands where the group stands now.

        Returns
        -------
        Committed
            What the group has to commit for it to count; until then nothing has changed.

        Raises
        ------
        NeedsOperator
            There is no such whole checkpoint of this partition, or nothing is committed.
        OutsideError
            The world is away.
        """
        committed = self._committed(partition)
        try:
            manifest, state = read_checkpoint(name, self._get)
        except CheckpointDamaged as error:
            raise NeedsOperator(f"checkpoint {name}: {error}") from error
        if manifest.partition != partition or manifest.position > committed.offset:
            raise NeedsOperator(
                f"checkpoint {name} is of partition {manifest.partition} at {manifest.position}, not of "
                f"partition {partition} before {committed.offset}"
            )
        snapshot = moved(manifest, state, committed.offset)
        journal = replace(snapshot.since, checkpoint=write(snapshot, self._put))
        return Committed(offset=committed.offset, metadata=journal.to_text())

    def predecessor(self, partition: int) -> str:
        """Name of the checkpoint before the one that is committed.

        Raises
        ------
        NeedsOperator
            There is none.
        OutsideError
            The world is away.
        """
        metadata = self._committed(partition).metadata
        newest = read_journal(metadata, partition=partition, group=self._group).checkpoint
        before = self._manifest(newest).since.checkpoint if newest else ""
        if not before:
            raise NeedsOperator(f"partition {partition} has no checkpoint before the newest one")
        return before

    # --- inside --------------------------------------------------------------------------------------------

    def _committed(self, partition: int) -> Committed:
        committed = self._archive.committed(partition)
        if committed is None:
            raise NeedsOperator(f"partition {partition}: group {self._group!r} has committed nothing")
        return committed

    def _open(
        self, number: int, journal: Journal, *, until: int, told_until: int
    ) -> tuple[Partition, Origin]:
        """A shard at the journal's origin, with the journal's barriers ahead."""
        origin = find_origin(journal, self._get, partition=number, beginning=self._archive.beginning(number))
        for side in SIDES:
            log = self._sides.get(side)
            beginning = None if log is None else log.beginning()
            check_side(origin.journal, side, partition=number, beginning=beginning)
        wanted = self._config.model_part(self._archive.partitions_count())
        configs: dict[str, ModelPart] = read_configs(origin, wanted, self._get)
        partition = Partition(
            Identity(topic=self._topic, group=self._group, partition=number, entity_key=self._entity_key),
            wanted,
            origin.journal,
            until=until,
            told_until=told_until,
            configs=configs,
            restored=origin.restored,
        )
        return partition, origin

    def _follow(self, partition: Partition, progress: Progress) -> Iterator[Passed]:
        number, start, stop = partition.identity.partition, partition.position, partition.until
        records = self._archive.records(number, start, stop)
        for passed in follow(partition, records, self._read_side):
            progress(partition.position - start, stop - start)
            yield passed

    def _read_side(self, side: Side, start: int, stop: int) -> Sequence[tuple[int, bytes]]:
        return self._sides[side].read(start, stop) if start < stop else ()

    def _differing(self, name: str, replayed: Partition) -> tuple[str, ...]:
        assert replayed.state is not None
        try:
            return tuple(differing(read_checkpoint(name, self._get)[1], replayed.state))
        except CheckpointDamaged as error:
            return (f"unknown: {error}",)

    def _kept(self, journal: Journal, partition: int) -> bool:
        """Whether its origin is still there, in the store and in the log."""
        if journal.position < self._archive.beginning(partition):
            return False
        try:
            return not journal.checkpoint or bool(read_manifest_of(journal.checkpoint, self._get))
        except CheckpointDamaged:
            return False

    def _manifest(self, name: str) -> Manifest:
        try:
            return read_manifest_of(name, self._get)
        except CheckpointDamaged as error:
            raise NeedsOperator(
                f"checkpoint {name}: {error}; the generations kept (checkpoints.keep) go back no further"
            ) from error

    def _get(self, name: str) -> bytes:
        return self._store.get(self._prefix + name)

    def _put(self, name: str, data: bytes) -> None:
        self._store.put(self._prefix + name, data)
