"""What daemons published, beside what the core gives for the same log and nobody disturbing it.

Two references, as a shard is a function of its log and its journal:

- *its log alone*, without side inputs: barriers come where the configuration has them;
- *its log and its journal*, with labels or exchange: the whole journal, put together from the committed one
  and what each checkpoint holds of it, says where barriers were and what they applied.

Outputs are compared by what they are about (kind, partition, offset): key, headers and bytes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from threadpoolctl import threadpool_limits

from detector.config.load import load
from detector.config.tree import Config
from detector.core.records import Headers, Identity, Outputs, Record
from detector.core.recovery.checkpoint import read_manifest
from detector.core.recovery.journal import Barrier, Journal
from detector.core.reporting.counting import publications
from detector.core.shard.shard import Shard
from detector.errors import CheckpointDamaged
from detector.wiring import entity_key
from tests.kafka.daemons import Deployment
from tests.kafka.topics import read_all

About = tuple[str, int, int]
"""Kind of output (`alerts`, `rejected`, `scores`, `exchange`), partition and offset of its event."""

Copy = tuple[bytes | None, Headers, bytes | None]
"""Key, headers, value."""

Seen = dict[About, list[Copy]]
SideRecords = Sequence[tuple[int, bytes]]


@dataclass(kw_only=True, slots=True)
class Difference:
    """How what was published differs from the reference; examples are the first few."""

    lost: list[About] = field(default_factory=list)
    surplus: list[About] = field(default_factory=list)
    twice: list[About] = field(default_factory=list)
    different: list[About] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.surplus or self.twice or self.different)


def compare(published: Seen, reference: Seen) -> Difference:
    """Hold what was published against the reference."""
    both = published.keys() & reference.keys()
    return Difference(
        lost=sorted(reference.keys() - published.keys()),
        surplus=sorted(published.keys() - reference.keys()),
        twice=sorted(about for about, copies in published.items() if len(copies) > 1),
        different=sorted(about for about in both if published[about][0] != reference[about][0]),
    )


def published(deployment: Deployment, kinds: Iterable[str] = ("alerts", "dead_letter", "scores")) -> Seen:
    """All that a read_committed consumer sees, by what it is about."""
    found: Seen = defaultdict(list)
    for kind in kinds:
        for record in deployment.published(kind):
            found[kind, *_about(kind, record)].append((record.key, tuple(record.headers), record.value))
    return dict(found)


def log_of(deployment: Deployment) -> dict[int, list[Record]]:
    """The input log by partition, as far as the broker still has it."""
    log: dict[int, list[Record]] = {number: [] for number in range(deployment.partitions)}
    for record in deployment.published("transactions"):
        log[record.partition].append(to_record(record))
    return log


def to_record(record: ConsumerRecord) -> Record:
    """A record as shards take it."""
    headers = tuple((name, value or b"") for name, value in record.headers)
    return Record(record.offset, record.timestamp, record.key, record.value, headers)


def side_records(bootstrap: str, topic: str | None) -> SideRecords:
    """A side topic whole."""
    return [] if topic is None else [(r.offset, r.value) for r in read_all(bootstrap, topic)]


def undisturbed(
    deployment: Deployment,
    log: dict[int, list[Record]],
    *,
    sides: bool = False,
    shard_type: type[Shard] = Shard,
) -> tuple[Seen, list[bytes]]:
    """What the daemons had to publish, and what their shards had to tell each other.

    Parameters
    ----------
    log
        From the first offset on.
    sides
        Follow the journal (the module's text); every checkpoint that the group wrote must still be there.
    """
    config = load(deployment.config, [])
    labels = side_records(deployment.bootstrap, config.topics.feedback)
    messages = side_records(deployment.bootstrap, config.topics.exchange)
    kinds = {name: kind for kind, name in deployment.topics.items()}
    reference: Seen = {}
    told: list[bytes] = []
    for number, records in log.items():
        identity = Identity(
            topic=deployment.topics["transactions"],
            group=deployment.group,
            partition=number,
            entity_key=entity_key(None),
        )
        journal = whole_journal(deployment, number) if sides else None
        with threadpool_limits(1):
            for outputs in _live(records, config, identity, journal, labels, messages, shard_type, told):
                for topic, offset, key, value, headers in publications(outputs, identity, config.topics):
                    reference[kinds[topic], number, offset] = [(key, headers, value)]
    return reference, told


def _live(
    records: list[Record],
    config: Config,
    identity: Identity,
    journal: Journal | None,
    labels: SideRecords,
    messages: SideRecords,
    shard_type: type[Shard],
    told: list[bytes],
) -> Iterator[Outputs]:
    wanted = config.model_part(1)
    position = 0 if journal is None else journal.position
    labels_end = 0 if journal is None else journal.labels
    shard = shard_type(wanted, identity, position=position, labels_end=labels_end)
    if journal is not None:
        assert journal.config == wanted.hash()
        shard.told_end = journal.exchange
    plan = [] if journal is None else list(journal.barriers)
    at = 0
    while at < len(records):
        batch = records[at : at + wanted.model.barriers.block_events]
        if plan:  # a barrier may stand within a block
            batch = [record for record in batch if record.offset < plan[0].position]
        consumed, outputs, ended = shard.take(batch, silent=False)
        at += consumed
        yield outputs
        if journal is None:
            if ended and shard.since_barrier >= shard.interval:
                shard.barrier((), 0, (), 0)
        elif plan and plan[0].position == shard.position:
            _apply(shard, plan.pop(0), labels, messages)
            told += shard.exchange.collect()[0]
    assert not plan, f"the journal of partition {identity.partition} goes on behind the log: {plan[0]}"


def _apply(shard: Shard, barrier: Barrier, labels: SideRecords, messages: SideRecords) -> None:
    assert barrier.config is None
    start, stop = barrier.start("labels", shard.labels_end), barrier.labels
    heard_from, heard_to = barrier.start("exchange", shard.told_end), barrier.exchange
    applied = [entry for entry in labels if start <= entry[0] < stop]
    heard = [entry for entry in messages if heard_from <= entry[0] < heard_to]
    shard.barrier(applied, stop, heard, heard_to)


def committed_journal(deployment: Deployment, number: int) -> Journal:
    """What stands beside the committed offset of a partition."""
    at = TopicPartition(deployment.topics["transactions"], number)
    with closing(
        KafkaConsumer(
            bootstrap_servers=deployment.bootstrap,
            group_id=deployment.group,
            enable_auto_commit=False,
            isolation_level="read_committed",
        )
    ) as consumer:
        return Journal.from_text(consumer.committed(at, metadata=True).metadata)


def whole_journal(deployment: Deployment, number: int) -> Journal:
    """From the bare start, through every checkpoint's own part of it."""
    journal = committed_journal(deployment, number)
    while journal.checkpoint:
        journal = _since(deployment, journal.checkpoint).joined(journal)
    return journal


def _since(deployment: Deployment, name: str) -> Journal:
    """The journal that a checkpoint holds; one copy of its manifest may be damaged."""
    for path in deployment.checkpoints.rglob(f"{name.rpartition('/')[2]}.json"):
        try:
            manifest = read_manifest(path.read_bytes())
        except CheckpointDamaged:
            continue
        if manifest.name == name:
            return manifest.since
    raise LookupError(f"no readable manifest of {name}")


def _about(kind: str, record: ConsumerRecord) -> tuple[int, int]:
    if kind == "dead_letter":
        headers = dict(record.headers)
        return int(headers["detector_partition"]), int(headers["detector_offset"])
    body = json.loads(record.value)
    source = body["source"] if kind == "alerts" else body
    return source["partition"], source["offset"]
