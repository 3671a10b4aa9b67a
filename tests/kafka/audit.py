"""Compares what daemons published with what the core computes from the same log without disturbance.

A shard is a function of its log and its journal, so there are two references:

- *its log alone*, without side inputs: barriers come where the configuration puts them;
- *its log and its journal*, with side inputs: the whole journal, joined from the committed one and those in
  the checkpoints, says where barriers were and what they applied.

Outputs are matched by kind, partition and offset; key, headers and bytes are compared.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from threadpoolctl import threadpool_limits

from detector.config.load import load
from detector.config.tree import ModelPart
from detector.core.records import Headers, Identity, Outputs, Record
from detector.core.recovery.checkpoint import read_manifest
from detector.core.recovery.journal import Journal
from detector.core.recovery.sides import SIDES, Side, SideRecords
from detector.core.reporting.outputs import publications
from detector.core.shard.shard import Shard
from detector.errors import CheckpointDamaged
from detector.wiring.common import entity_key
from tests.kafka.daemons import Deployment
from tests.kafka.topics import read_all
from tests.sides import named

About = tuple[str, int, int]
"""Kind of output (`alerts`, `rejected`, `scores`, `exchange`), partition and offset of its event."""

Copy = tuple[bytes | None, Headers, bytes | None]
"""Key, headers, value."""

Seen = dict[About, list[Copy]]


@dataclass(kw_only=True, slots=True)
class Difference:
    """Differences between the published outputs and the reference."""

    lost: list[About] = field(default_factory=list)
    surplus: list[About] = field(default_factory=list)
    twice: list[About] = field(default_factory=list)
    different: list[About] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.surplus or self.twice or self.different)


def compare(published: Seen, reference: Seen) -> Difference:
    """Compare the published outputs with the reference."""
    both = published.keys() & reference.keys()
    return Difference(
        lost=sorted(reference.keys() - published.keys()),
        surplus=sorted(published.keys() - reference.keys()),
        twice=sorted(about for about, copies in published.items() if len(copies) > 1),
        different=sorted(about for about in both if published[about][0] != reference[about][0]),
    )


def first_copies(seen: Seen) -> tuple[Seen, int, list[About]]:
    """Leave out repeats, which `at_least_once` allows.

    Returns
    -------
    firsts, repeated, mixed
        The first copy of each output; the number of repeats; outputs whose copies differ.
    """
    mixed = sorted(about for about, copies in seen.items() if any(copy != copies[0] for copy in copies))
    repeated = sum(len(copies) - 1 for copies in seen.values())
    return {about: copies[:1] for about, copies in seen.items()}, repeated, mixed


def published(deployment: Deployment, kinds: Iterable[str] = ("alerts", "dead_letter", "scores")) -> Seen:
    """All outputs that a read_committed consumer sees, by kind, partition and offset."""
    found: Seen = defaultdict(list)
    for kind in kinds:
        for record in deployment.published(kind):
            found[kind, *_about(kind, record)].append((record.key, tuple(record.headers), record.value))
    return dict(found)


def published_again(deployment: Deployment, timeout_s: float) -> Seen:
    """All outputs of one daemon over the same log, without faults."""
    deployment.forget_group()
    deployment.rename_outputs("-undisturbed")
    daemon = deployment.start("commit_interval_ms=1000")
    deployment.await_done(timeout_s)
    daemon.stop()
    return published(deployment)


def times_accounted(seen: Seen) -> Counter[tuple[int, int]]:
    """How often each record of the log, by partition and offset, was scored or rejected."""
    times: Counter[tuple[int, int]] = Counter()
    for (kind, partition, offset), copies in seen.items():
        if kind != "alerts":
            times[partition, offset] += len(copies)
    return times


def places(log: Mapping[int, Iterable[Record]]) -> set[tuple[int, int]]:
    """Partition and offset of each record of a log."""
    return {(number, record.offset) for number, records in log.items() for record in records}


def log_of(deployment: Deployment) -> dict[int, list[Record]]:
    """The input log by partition, as far as the broker still has it."""
    log: dict[int, list[Record]] = {number: [] for number in range(deployment.partitions)}
    for record in deployment.published("transactions"):
        log[record.partition].append(to_record(record))
    return log


def to_record(record: ConsumerRecord) -> Record:
    """Convert a consumed record to the core's type."""
    headers = tuple((name, value or b"") for name, value in record.headers)
    return Record(record.offset, record.timestamp, record.key, record.value, headers)


def side_records(bootstrap: str, topic: str | None) -> SideRecords:
    """A whole side topic."""
    return [] if topic is None else [(r.offset, r.value) for r in read_all(bootstrap, topic)]


def undisturbed(
    deployment: Deployment,
    log: dict[int, list[Record]],
    *,
    sides: bool = False,
    shard_type: type[Shard] = Shard,
    others: list[tuple[str, Copy]] | None = None,
) -> tuple[Seen, list[bytes]]:
    """Outputs that the daemons must publish, and messages between their shards.

    Parameters
    ----------
    log
        From the first offset on.
    sides
        Follow the journal (see the module's text); no checkpoint of the group may have been deleted.
    others
        Takes case updates and receipts, by kind: several are about one record of the log.
    """
    config = load(deployment.config, [])
    wanted = config.model_part(deployment.partitions)
    topics = {side: side_records(deployment.bootstrap, getattr(config.topics, side)) for side in SIDES}
    kinds = {name: kind for kind, name in deployment.topics.items()}
    reference: Seen = {}
    messages: list[bytes] = []
    for number, records in log.items():
        identity = Identity(
            topic=deployment.topics["transactions"],
            group=deployment.group,
            partition=number,
            entity_key=entity_key(None),
        )
        journal = whole_journal(deployment, number) if sides else None
        with threadpool_limits(1):
            for outputs in _live(records, wanted, identity, journal, topics, shard_type, messages):
                for topic, offset, key, value, headers in publications(outputs, identity, config.topics):
                    copy = key, headers, value
                    if kinds[topic] in ("case_updates", "receipts"):
                        assert others is not None
                        others.append((kinds[topic], copy))
                    else:
                        reference[kinds[topic], number, offset] = [copy]
    return reference, messages


def _live(
    records: list[Record],
    wanted: ModelPart,
    identity: Identity,
    journal: Journal | None,
    topics: Mapping[Side, SideRecords],
    shard_type: type[Shard],
    messages: list[bytes],
) -> Iterator[Outputs]:
    position = 0 if journal is None else journal.position
    shard = shard_type(wanted, identity, position=position)
    assert journal is None or journal.config == wanted.hash()
    plan = [] if journal is None else list(journal.barriers)
    at = 0
    while at < len(records) or plan:  # a barrier by command may come after the last event
        batch = records[at : at + wanted.model.barriers.block_events]
        if plan:  # a barrier may be within a block
            batch = [record for record in batch if record.offset < plan[0].position]
        taken = shard.take(batch, silent=False)
        at += taken.consumed
        yield taken.outputs
        due = bool(plan) and plan[0].position == shard.position
        assert taken.consumed or due, f"partition {identity.partition}: the log has no place for {plan[0]}"
        if journal is None:
            if taken.block_ended and shard.since_barrier >= shard.interval:
                shard.barrier({})
        elif due:
            barrier = plan.pop(0)
            assert barrier.config is None
            shard.barrier(named(barrier, topics))
            messages += shard.exchange.collect()[0]
            yield Outputs(case_updates=shard.case_updates(), receipts=shard.desk.collect())


def committed_journal(deployment: Deployment, number: int) -> Journal:
    """Journal beside the committed offset of a partition."""
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
    """Journal from the bare start on, joined over all checkpoints."""
    journal = committed_journal(deployment, number)
    while journal.checkpoint:
        journal = _since(deployment, journal.checkpoint).joined(journal)
    return journal


def kept(folder: Path) -> Path:
    """Folder of the manifests that were deleted; see `tests.kafka.dies_in_transaction`."""
    return folder / "deleted"


def _since(deployment: Deployment, name: str) -> Journal:
    """The journal that a checkpoint holds; one copy of its manifest may be damaged, or kept (`kept`)."""
    file = f"{name.rpartition('/')[2]}.json"
    for path in chain.from_iterable(
        folder.rglob(file) for folder in (deployment.checkpoints, kept(deployment.folder))
    ):
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
