"""`detector similar`: what an event is near to, in the embedding of a partition's newest checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detector.config.tree import Config
from detector.core.events import Rejected, id_hash
from detector.core.records import Record
from detector.core.shard.embedded import Embedded
from detector.core.shard.partition import Partition
from detector.core.shard.space import Among, Neighbour, SearchedSpace
from detector.errors import ConfigError, NeedsOperator, Problem
from detector.shell.auditor import Restored
from detector.wiring.audit import ReplayFiles, auditing, check_partition


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """An event, named in one way: by its offset, its id, or as a record that the shard has not seen."""

    offset: int | None = None
    event_id: str | None = None
    record: bytes | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Similar:
    """What was found."""

    partition: int
    checkpoint: str
    offset: int | None  # of the event; None: it was given as a record
    remembered: bool  # else it is placed as if it came next, with what is known of its entities now
    near: Mapping[Among, Sequence[Neighbour]]
    values: Mapping[int, Mapping[str, Any]]  # of the events named here, as alerts may show them, by offset


def similar(
    config: Config,
    environ: Mapping[str, str],
    wanted: Wanted,
    *,
    partition: int | None,
    among: Sequence[Among],
    count: int,
    files: ReplayFiles | None,
) -> Similar:
    """Find what one event is near to.

    Parameters
    ----------
    partition
        The event's; None: all are asked for an event named by its id, else the first one.
    count
        Neighbours of each kind at most.

    Raises
    ------
    ConfigError
        The record is no event of the schema, or there is no such partition.
    NeedsOperator
        There is no checkpoint, no model in it, or no partition remembers the event.
    OutsideError
        Kafka or the store is not available.
    """
    with auditing(config, environ, files) as (auditor, archive):
        partitions = range(archive.partitions_count())
        if partition is not None:
            check_partition(partition, len(partitions))
        if partition is None and wanted.event_id is None:
            partition = 0
        for number in partitions if partition is None else (partition,):
            if partition is None and archive.committed(number) is None:
                continue
            restored = auditor.restored(number)
            embedded_in(restored)
            found, remembered = nearby(restored.partition, wanted, among, count), True
            if found is None and wanted.offset is not None:
                record, remembered = auditor.record(number, wanted.offset), False
                found = None if record is None else as_next(restored.partition, record, among, count)
            if found is None:
                continue
            if isinstance(found, Rejected):
                raise _rejected(wanted, found)
            offset, near = found if remembered else (wanted.offset, found[1])
            others = [one.offset for kind in near.values() for one in kind]
            offsets = sorted({one for one in (offset, *others) if one is not None})
            views = auditor.originals(restored, offsets)
            return Similar(
                partition=number,
                checkpoint=restored.name,
                offset=offset,
                remembered=remembered,
                near=near,
                values={at: {**view.entities, **view.values} for at, view in views.items()},
            )
    raise _unknown(wanted, partition)


def _rejected(wanted: Wanted, found: Rejected) -> ConfigError:
    named = "--file" if wanted.record is not None else f"offset {wanted.offset}"
    allowed = f"an event of the schema: {found.detail}"
    return ConfigError("command line", [Problem(path=named, value=found.reason, allowed=allowed)])


def _unknown(wanted: Wanted, partition: int | None) -> NeedsOperator:
    if wanted.offset is not None:
        return NeedsOperator(
            f"partition {partition} has no record at offset {wanted.offset}: it was deleted, has not come "
            "yet, or belongs to another partition"
        )
    where = "no partition remembers" if partition is None else f"partition {partition} does not remember"
    return NeedsOperator(
        f"{where} event {wanted.event_id!r}: it came after the newest checkpoint, is older than what is kept "
        "for labels (labels.answerable_for) or was not sampled, or nothing is kept (no feedback topic). Give "
        "its place with --offset, or the event itself with --file"
    )


def embedded_in(restored: Restored) -> Embedded:
    """The embedding of a shard.

    Raises
    ------
    NeedsOperator
        It has no model yet.
    """
    embedded = restored.partition.embedded
    if not embedded.ready:
        raise NeedsOperator(no_model(restored.name))
    return embedded


def no_model(checkpoint: str) -> str:
    """What to say of a checkpoint without a model."""
    return f"checkpoint {checkpoint} has no model yet: wait until a thousand events have come"


def nearby(
    partition: Partition, wanted: Wanted, among: Sequence[Among], count: int
) -> tuple[int | None, dict[Among, list[Neighbour]]] | Rejected | None:
    """Offset of the event (None: it was given as a record) and what it is near to. Nothing changes.

    Returns
    -------
    tuple, Rejected or None
        None: the shard does not remember the event, or has no model yet.
    """
    if wanted.record is not None:
        return as_next(partition, Record(0, 0, None, wanted.record), among, count)
    if not partition.embedded.ready:
        return None
    space = SearchedSpace(partition.embedded)
    key = partition.identity.entity_key
    hashed = None if wanted.event_id is None else id_hash(wanted.event_id, key)
    known = space.event(offset=wanted.offset, id_hash=hashed)
    if known is None:
        return None
    offset, event = known
    return offset, {kind: space.similar(event, kind, count=count, without=offset) for kind in among}


def as_next(
    partition: Partition, record: Record, among: Sequence[Among], count: int
) -> tuple[None, dict[Among, list[Neighbour]]] | Rejected | None:
    """As `nearby`, for a record as if it came next."""
    if not partition.embedded.ready:
        return None
    looked = partition.look([record._replace(offset=partition.position)])
    if looked.rejected:
        return looked.rejected[0]
    assert looked.examples is not None
    space = SearchedSpace(partition.embedded)
    return None, {kind: space.similar(looked.examples, kind, count=count) for kind in among}
