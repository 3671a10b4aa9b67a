"""Audit: computes again what a shard did, from its log, its journal and a checkpoint.

    verify      compares the state after every barrier since some checkpoint with its recorded hash
    explain     explains one event, with the model that scored it
    restored    a shard as its newest checkpoint has it
    rollback    makes a checkpoint with an older model at the current position
    begin       makes a journal of a new model at the current position

It reads what the daemon reads, from outside the group, and may run at the same time. Only `rollback` and
`begin` write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from detector.config.tree import Config, ModelPart
from detector.core.events import ParsedEvent, Parser, View
from detector.core.records import Alert, DeadLetter, Identity, Record
from detector.core.recovery.checkpoint import Manifest
from detector.core.recovery.committed import NOWHERE, check_side, place_of, read_journal, seal
from detector.core.recovery.generations import (
    Origin,
    config_name,
    find_origin,
    move_checkpoint,
    read_checkpoint,
    read_configs,
    read_manifest_of,
    write,
)
from detector.core.recovery.journal import Journal
from detector.core.recovery.sides import SIDES, Side, SideRange, SideRecords
from detector.core.shard.partition import Partition
from detector.core.shard.replay import Passed, follow
from detector.core.shard.warm_start import Model, first_checkpoint
from detector.core.state import differing
from detector.errors import CheckpointDamaged, NeedsOperator
from detector.ports import Archive, CheckpointStore, Committed, SchemaSource, SideLog
from detector.shell.objects import Objects

Progress = Callable[[int, int], None]
"""Called with the number of offsets replayed so far, and their total."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """State hashes of one barrier."""

    position: int
    cause: str
    noted: str  # as recorded when it was made; empty: not recorded
    found: str  # computed now

    @property
    def equal(self) -> bool | None:
        """None if no hash of the same format was recorded."""
        form, _, _ = self.noted.partition(":")
        return self.noted == self.found if self.found.startswith(f"{form}:") else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """Result of a replay of one partition."""

    partition: int
    origin: str  # the checkpoint it started from; empty: a bare start
    start: int
    stop: int
    barriers: tuple[Compared, ...]
    differing: tuple[str, ...]  # paths in the state that differ, at the first checkpoint that differs
    damages: tuple[str, ...]  # checkpoints that could not be used

    @property
    def equal(self) -> bool:
        """False if a barrier differs."""
        return all(barrier.equal is not False for barrier in self.barriers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """Result of one event."""

    fate: str  # "alert", "rejected: REASON", or why it gave no alert
    origin: str  # see `Verified`
    replayed: int  # offsets from there to the event
    score: float | None = None
    threshold: float | None = None
    alert: Alert | None = None  # as published, or as it would have been published
    rejected: DeadLetter | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Restored:
    """A shard at a checkpoint."""

    partition: Partition
    name: str  # of the checkpoint
    config: ModelPart  # in force then
    state: Mapping[str, Any]


class Auditor:
    """Audits the shards of one group.

    Parameters
    ----------
    config, topic, group, entity_key
        The same as the daemon's.
    archive, store, sides
        The transactions topic, the checkpoint store, and the side topics.
    schemas
        Schemas of records; None: the format has none.
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
        schemas: SchemaSource | None = None,
    ) -> None:
        self._config, self._topic, self._group, self._entity_key = config, topic, group, entity_key
        self._archive, self._sides, self._schemas = archive, sides, schemas
        self.objects = Objects(store, group=group, topic=topic)

    def verify(self, partition: int, *, generations: int, progress: Progress) -> Verified:
        """Replay one partition to its committed offset and compare the state after each barrier.

        Parameters
        ----------
        generations
            Start so many checkpoints before the newest one, or at the oldest one that is kept.

        Raises
        ------
        NeedsOperator
            Nothing is committed, or the log or the checkpoints are gone.
        OutsideError
            Kafka or the store is not available.
        """
        committed = self._committed(partition)
        journal = read_journal(
            committed.metadata, partition=partition, group=self._group, offset=committed.offset
        )
        written: dict[int, str] = {}
        for _ in range(generations):
            if not journal.checkpoint:
                break
            manifest = self._manifest(journal.checkpoint)
            if manifest.position != journal.position or not self._kept(manifest.since, partition):
                break
            written[manifest.position] = manifest.name
            journal = manifest.since.joined(journal)
        replayed, origin = self._open(partition, journal, until=committed.offset)
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
            The group has not processed it, the log or a checkpoint is gone, or no event has this offset.
        OutsideError
            Kafka or the store is not available.
        """
        committed = self._committed(partition)
        if offset >= committed.offset:
            raise NeedsOperator(
                f"partition {partition}: offset {offset} is not processed yet, the group is at "
                f"{committed.offset}"
            )
        journal = read_journal(
            committed.metadata, partition=partition, group=self._group, offset=committed.offset
        )
        while journal.position > offset:
            if not journal.checkpoint:
                raise NeedsOperator(
                    f"partition {partition}: offset {offset} was never processed, the group started at "
                    f"{journal.position}"
                )
            manifest = self._manifest(journal.checkpoint)
            if manifest.position <= offset:
                raise NeedsOperator(
                    f"partition {partition}: the model that processed offset {offset} is gone, the group "
                    f"continued at {journal.position} with that of {manifest.name} (rollback or on_data_loss)"
                )
            journal = manifest.since
        replayed, origin = self._open(partition, journal, until=offset + 1, silent_until=offset)
        explained = Explained(
            fate="alert", origin=origin.journal.checkpoint, replayed=offset - origin.journal.position
        )
        for passed in self._follow(replayed, progress, explain=offset):
            if passed.outputs.dead_letters:
                [rejected] = passed.outputs.dead_letters
                return replace(explained, fate=f"rejected: {rejected.reason}", rejected=rejected)
            if passed.outputs.scored:
                [scored] = passed.outputs.scored
                explained = replace(explained, score=float(scored.scores[0]))
                if passed.outputs.alerts:
                    return replace(explained, alert=passed.outputs.alerts[0])
                inquired = passed.inquired
                assert inquired is not None
                return replace(
                    explained, fate=inquired.fate, threshold=inquired.threshold, alert=inquired.alert
                )
        raise NeedsOperator(f"partition {partition}: there is no record at offset {offset}")

    def restored(self, partition: int) -> Restored:
        """Read a shard as its newest undamaged checkpoint has it.

        Raises
        ------
        NeedsOperator
            There is no checkpoint.
        OutsideError
            Kafka or the store is not available.
        """
        committed = self._committed(partition)
        journal = read_journal(
            committed.metadata, partition=partition, group=self._group, offset=committed.offset
        )
        restored, origin = self._open(partition, journal, until=journal.position)
        if origin.restored is None:
            raise NeedsOperator(
                f"partition {partition} has no checkpoint yet: the first one is written when a model has "
                "learned from some hundred events, at `checkpoints.interval` or at a stop"
            )
        manifest, state = origin.restored
        return Restored(
            partition=restored,
            name=manifest.name,
            config=ModelPart.from_canonical(manifest.config_json),
            state=state,
        )

    def checkpoint(self, partition: int, name: str) -> tuple[ModelPart, Mapping[str, Any]]:
        """Configuration and state of one checkpoint of a partition.

        Raises
        ------
        NeedsOperator
            It is gone, damaged, or of another partition.
        OutsideError
            The store is not available.
        """
        self._committed(partition)
        try:
            manifest, state = read_checkpoint(name, self.objects.get)
        except CheckpointDamaged as error:
            raise NeedsOperator(f"checkpoint {name}: {error}; is it kept (checkpoints.keep)?") from error
        if manifest.partition != partition:
            raise NeedsOperator(f"checkpoint {name} is of partition {manifest.partition}, not {partition}")
        return ModelPart.from_canonical(manifest.config_json), state

    def record(self, partition: int, offset: int) -> Record | None:
        """Read one record again; None: the topic does not hold it any more, or not yet.

        Raises
        ------
        OutsideError
            Kafka or a registry is not available.
        """
        return next(self._records_at(partition, [offset]), None)

    def _records_at(self, partition: int, offsets: Sequence[int]) -> Iterator[Record]:
        """Yield the records at these offsets that are still there."""
        kept = self._archive.beginning(partition)
        for offset in (one for one in offsets if one >= kept):
            for records in map(self._with_schemas, self._archive.records(partition, offset, offset + 1)):
                yield from records

    def originals(self, restored: Restored, offsets: Sequence[int]) -> dict[int, View]:
        """Read events again, as alerts may show them; without those that the topic does not hold any more.

        Parameters
        ----------
        offsets
            Of records that the shard took as events.
        """
        identity = restored.partition.identity
        parser = Parser(restored.config.event, identity.entity_key, resources=identity.resources)
        return {one.offset: parser.view(one) for one in self._records_at(identity.partition, offsets)}

    def events(self, partition: int, start: int, stop: int) -> Iterator[tuple[ParsedEvent, View]]:
        """Yield the events at offsets in [start, stop), with their values as they came, masks left away.

        Raises
        ------
        OutsideError
            Kafka or a registry is not available.
        """
        source = self._identity(partition)
        parser = Parser(
            self._config.event,
            self._entity_key,
            resources=source.resources,
            source=(self._topic, partition),
        )
        start = max(start, self._archive.beginning(partition))
        for records in map(self._with_schemas, self._archive.records(partition, start, stop)):
            for record in records:
                event = parser.parse(record)
                if isinstance(event, ParsedEvent):
                    yield event, parser.view(record, shown=False)

    def rolled_back(self, partition: int, name: str) -> Committed:
        """Write a checkpoint with the model of `name` at the committed offset.

        Returns
        -------
        Committed
            What the group has to commit; until then nothing changes.

        Raises
        ------
        NeedsOperator
            The checkpoint is damaged or of another partition, or nothing is committed.
        OutsideError
            Kafka or the store is not available.
        """
        committed = self._committed(partition)
        try:
            manifest, state = read_checkpoint(name, self.objects.get)
        except CheckpointDamaged as error:
            raise NeedsOperator(f"checkpoint {name}: {error}") from error
        if manifest.partition != partition or manifest.position > committed.offset:
            raise NeedsOperator(
                f"checkpoint {name} is of partition {manifest.partition} at {manifest.position}, not of "
                f"partition {partition} before {committed.offset}"
            )
        snapshot = move_checkpoint(manifest, state, committed.offset)
        journal = replace(snapshot.since, checkpoint=write(snapshot, self.objects.put))
        place = place_of(committed.metadata)
        return Committed(offset=committed.offset, metadata=seal(journal.to_text(), committed.offset, place))

    def begun(self, partition: int, wanted: ModelPart, model: Model | None) -> Committed | None:
        """Write what a new model at the committed offset needs, whatever was committed with it.

        Parameters
        ----------
        model
            What it begins with; None: with nothing.

        Returns
        -------
        Committed
            What the group has to commit; until then nothing changes. None: nothing is committed.

        Raises
        ------
        OutsideError
            Kafka or the store is not available.
        """
        committed = self._archive.committed(partition)
        if committed is None:
            return None
        self.objects.enter(self._archive.ids().cluster)  # what was committed may name another one
        starts = {
            side: log.log_end() if SIDES[side].starts_at_end else log.beginning()
            for side, log in self._sides.items()
        }
        journal = Partition.begin(wanted, committed.offset, starts)
        self.objects.put(config_name(journal.config), wanted.canonical())
        if model is not None:
            snapshot = first_checkpoint(model, wanted, self._identity(partition), journal)
            journal = replace(journal, checkpoint=write(snapshot, self.objects.put))
        # The first commit of a member says where the journal belongs.
        return Committed(offset=committed.offset, metadata=seal(journal.to_text(), committed.offset, NOWHERE))

    def predecessor(self, partition: int) -> str:
        """Name of the checkpoint before the committed one.

        Raises
        ------
        NeedsOperator
            There is none.
        OutsideError
            Kafka or the store is not available.
        """
        committed = self._committed(partition)
        newest = read_journal(
            committed.metadata, partition=partition, group=self._group, offset=committed.offset
        ).checkpoint
        before = self._manifest(newest).since.checkpoint if newest else ""
        if not before:
            raise NeedsOperator(f"partition {partition} has no checkpoint before the newest one")
        return before

    def _identity(self, partition: int) -> Identity:
        return Identity(
            topic=self._topic,
            group=self._group,
            partition=partition,
            entity_key=self._entity_key,
            resources={} if self._schemas is None else {"schemas": self._schemas.table},
        )

    def _committed(self, partition: int) -> Committed:
        committed = self._archive.committed(partition)
        if committed is None:
            raise NeedsOperator(f"partition {partition}: group {self._group!r} has committed nothing")
        self.objects.enter(place_of(committed.metadata).cluster)
        return committed

    def _open(
        self, number: int, journal: Journal, *, until: int, silent_until: int | None = None
    ) -> tuple[Partition, Origin]:
        """Restore a shard at the journal's origin, with all its barriers planned."""
        origin = find_origin(
            journal, self.objects.get, partition=number, beginning=self._archive.beginning(number)
        )
        for side in SIDES:
            log = self._sides.get(side)
            check_side(
                origin.journal, side, partition=number, beginning=None if log is None else log.beginning()
            )
        wanted = self._config.model_part(self._archive.partitions_count())
        configs: dict[str, ModelPart] = read_configs(origin, wanted, self.objects.get)
        partition = Partition(
            self._identity(number),
            wanted,
            origin.journal,
            until=until,
            silent_until=silent_until,
            configs=configs,
            restored=origin.restored,
        )
        return partition, origin

    def _follow(
        self, partition: Partition, progress: Progress, *, explain: int | None = None
    ) -> Iterator[Passed]:
        number, start, stop = partition.identity.partition, partition.position, partition.until
        records = map(self._with_schemas, self._archive.records(number, start, stop))
        for passed in follow(partition, records, self._read_side, explain=explain):
            progress(partition.position - start, stop - start)
            yield passed

    def _with_schemas(self, records: Sequence[Record]) -> Sequence[Record]:
        """Fetch the schemas that records name, before a shard reads them."""
        if self._schemas is not None and (ids := self._schemas.missing(records)):
            self._schemas.fetch(ids)
        return records

    def _read_side(self, side: Side, wanted: SideRange) -> SideRecords:
        start, stop = wanted
        return self._sides[side].read(start, stop) if start < stop else ()

    def _differing(self, name: str, replayed: Partition) -> tuple[str, ...]:
        assert replayed.state is not None
        try:
            return tuple(differing(read_checkpoint(name, self.objects.get)[1], replayed.state))
        except CheckpointDamaged as error:
            return (f"unknown: {error}",)

    def _kept(self, journal: Journal, partition: int) -> bool:
        """Whether the store and the log still have its origin."""
        if journal.position < self._archive.beginning(partition):
            return False
        try:
            return not journal.checkpoint or bool(read_manifest_of(journal.checkpoint, self.objects.get))
        except CheckpointDamaged:
            return False

    def _manifest(self, name: str) -> Manifest:
        try:
            return read_manifest_of(name, self.objects.get)
        except CheckpointDamaged as error:
            raise NeedsOperator(
                f"checkpoint {name}: {error}; older generations were deleted (checkpoints.keep)"
            ) from error
