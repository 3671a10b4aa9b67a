"""Checks at the end of a simulation."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from unittest.mock import patch

from detector.config.tree import ModelPart
from detector.core.records import Identity, Outputs, PeerMessage
from detector.core.recovery.checkpoint import state_hash
from detector.core.recovery.generations import folders, state_name
from detector.core.recovery.journal import Journal
from detector.core.reporting.outputs import publications
from detector.core.reporting.telemetry import Telemetry
from detector.core.shard import partition as partition_module
from detector.ports import Message
from detector.shell.runner.loop import Runner
from detector.testing import FakeClock, InlineExecutor, MemoryBroker, MemoryLog, MemoryStore, MemoryStream
from tests.simulation.world import GROUP, KEY, PREFIX, TOPIC, Simulation, shard_of

ACCEPTED, REJECTED, ALERTS = "scores", "dead_letter", "alerts"


Done = tuple[int, tuple[int, ...]]
"""A barrier: its position, and how far it had read each side topic. Several may be at one position."""


def check(simulation: Simulation) -> None:
    """Run all checks of this module.

    Raises
    ------
    Violation
        One of them failed.
    """
    check_commits(simulation)
    check_once(simulation)
    check_receipts(simulation)
    check_counts(simulation)
    check_generations(simulation)
    _compare(simulation, "the replay of log and journal", replayed(simulation))
    if simulation.plan.golden:
        _compare(simulation, "the undisturbed run", undisturbed(simulation))


def check_commits(simulation: Simulation) -> None:
    """Offsets never go back, journals fit, and a commit publishes what it moves past, in order."""
    offsets: Counter[int] = Counter()
    for commit in simulation.broker.applied:
        for number, committed in commit.positions.items():
            if committed.offset < offsets[number]:
                simulation.fail(f"partition {number}: {committed.offset} committed after {offsets[number]}")
            if len(committed.metadata) > simulation.plan.metadata_bytes_max:
                simulation.fail(f"partition {number}: a journal of {len(committed.metadata)} bytes")
        of: Counter[int] = Counter()
        for message in commit.messages:
            number, offset = message.partition, message.offset
            first = offsets[number]
            if message.topic in (
                "exchange",
                "receipts",
            ):  # at a barrier, maybe right after the committed offset
                first = _last_before(simulation, number, first)
            if not first <= offset < commit.positions[number].offset:
                simulation.fail(f"partition {number}: {message.topic} of {offset} in a commit not its own")
            if offset < of[number]:
                simulation.fail(f"partition {number}: outputs are out of order at {offset}")
            of[number] = offset
        offsets.update({n: committed.offset - offsets[n] for n, committed in commit.positions.items()})


def _last_before(simulation: Simulation, number: int, offset: int) -> int:
    """Offset of a partition's last record before `offset`; the committed offset may be past a gap."""
    records = simulation.broker.records(number)
    place = bisect_left(records, offset, key=lambda record: record.offset)
    return records[place - 1].offset if place else offset - 1


def check_receipts(simulation: Simulation) -> None:
    """Every feedback record that was read has one receipt, or waits for other shards; none has two."""
    found = Counter(
        message.key if not simulation.plan.real else _receipt(message)
        for message in simulation.broker.published
        if message.topic == "receipts"
    )
    if twice := [name for name, count in found.items() if count > 1]:
        simulation.fail(f"receipts came twice: {twice[:5]}")
    if found and not simulation.plan.real:
        read = Journal.from_text(simulation.broker.committed[0].metadata).end("feedback")
        if found.keys() != {b"%d" % position for position in range(read)}:
            simulation.fail(f"{read} feedback records were read, {len(found)} have a receipt")


def _receipt(message: Message) -> object:
    """What must come once. Cards are on all partitions here, and every shard that knows one answers."""
    receipt = json.loads(message.value or b"{}")
    return receipt["receipt_id"], message.partition if receipt["feedback"]["kind"] == "erase" else None


def check_once(simulation: Simulation) -> None:
    """Every record of the log was scored or rejected, exactly once."""
    broker = simulation.broker
    found = [(m.partition, m.offset) for m in broker.published if m.topic in (ACCEPTED, REJECTED)]
    expected = [
        (number, record.offset) for number in range(broker.partitions) for record in broker.records(number)
    ]
    if sorted(found) != expected:
        twice = [place for place, count in Counter(found).items() if count > 1]
        lost = sorted(set(expected) - set(found))
        simulation.fail(f"lost: {lost[:5]} ({len(lost)}), twice: {twice[:5]} ({len(twice)})")


def check_counts(simulation: Simulation) -> None:
    """Each process counted what its commits published, as far as it got their answers."""
    for member in simulation.members:
        totals = member.telemetry.totals()
        if totals.state_mismatches or totals.lost:
            simulation.fail(f"member {member.number} has another state than before, or lost records")
        counted = {
            ACCEPTED: totals.scored,
            REJECTED: sum(totals.rejected.values()),
            ALERTS: sum(totals.alerts.values()),
            "exchange": totals.exchange["published"],
        }
        most = Counter(message.topic for commit in member.counted for message in commit.messages)
        least = most.copy()
        if member.crashed and member.counted:  # maybe before it had counted its whole last commit
            least -= Counter(message.topic for message in member.counted[-1].messages)
        if any(not least[topic] <= count <= most[topic] for topic, count in counted.items()):
            simulation.fail(f"member {member.number} published {dict(most)}, counted {counted}")


def check_generations(simulation: Simulation) -> None:
    """Before the committed generation there are those that are to be kept, and no others."""
    keeps = [config.checkpoints.keep for config in simulation.plan.configs]
    store, keep = simulation.store, max(keeps)
    for number, committed in simulation.broker.committed.items():
        newest = Journal.from_text(committed.metadata).checkpoint
        if not newest:
            simulation.fail(f"partition {number}: there is no checkpoint")
        chain = [newest]
        while chain[-1]:
            if chain[-1] not in store.manifests:
                simulation.fail(f"partition {number}: {chain[-1]} was never written")
            erases = store.manifests[chain[-1]].erases  # older ones hold what was erased: none is kept
            chain.append("" if erases else store.manifests[chain[-1]].since.checkpoint)
        horizon = newest.partition("-")[0]
        manifests = [
            store.manifests[name] for name in (*chain[:keep], store.manifests[newest].before) if name
        ]
        states = {state_name(layer.name) for manifest in manifests for layer in manifest.all_layers}
        for manifest in manifests[: min(keeps)]:
            for layer in manifest.all_layers:
                if layer.name not in store.damaged and PREFIX + state_name(layer.name) not in store.objects:
                    simulation.fail(f"partition {number}: {layer.name} is gone, {manifest.name} needs it")
        oldest = manifests[0].before or manifests[0].all_layers[0].name
        for name in (name for folder in folders(number) for name in store.list(PREFIX + folder)):
            place = name.removeprefix(PREFIX)
            generation = place.removeprefix("manifests/").rpartition(".")[0]
            kept = place in states or (not place.endswith(".state") and generation >= oldest)
            if generation < horizon and generation not in chain[1:keep] and not kept:
                simulation.fail(f"partition {number}: {place} is there, {chain[:keep]} are kept")


def replayed(simulation: Simulation) -> list[Message]:
    """What a replay of log and journal publishes: bare start, every `since`, the committed journal."""
    plan = simulation.plan
    parts = [
        config.model_part(n) for config in plan.configs for n in range(1, 1 + simulation.broker.partitions)
    ]
    configs = {part.hash(): part for part in parts}
    messages: list[Message] = []
    for number, committed in sorted(simulation.broker.committed.items()):
        journal = Journal.from_text(committed.metadata)
        states: dict[Done, str] = {}  # barrier -> hash of the state written there
        while journal.checkpoint:
            manifest = simulation.store.manifests[journal.checkpoint]
            states[manifest.position, tuple(manifest.since.ends.values())] = manifest.state_hash
            journal = manifest.since.joined(journal)
        identity = Identity(topic=TOPIC, group=GROUP, partition=number, entity_key=KEY)
        for outputs in _replay(simulation, journal, identity, configs, states):
            for topic, offset, key, value, headers in publications(outputs, identity, plan.configs[0].topics):
                messages.append(
                    Message(
                        topic=topic, key=key, value=value, headers=headers, partition=number, offset=offset
                    )
                )
    return messages


def _replay(
    simulation: Simulation,
    journal: Journal,
    identity: Identity,
    configs: dict[str, ModelPart],
    states: dict[Done, str],
) -> Iterator[Outputs]:
    """One partition's outputs, from a bare start; its states must equal those that were written."""
    shard = shard_of(simulation.plan)(
        configs[journal.config],
        identity,
        position=journal.position,
    )
    records = simulation.broker.records(identity.partition)
    plan, taken, done = list(journal.barriers), 0, replace(journal, barriers=())
    while taken < len(records):
        stop = plan[0].position if plan else records[-1].offset + 1
        before = bisect_left(records, stop, lo=taken, key=lambda record: record.offset)
        piece = shard.take(records[taken:before], silent=False)
        taken += piece.consumed
        yield piece.outputs
        found = bool(plan) and plan[0].position == shard.position
        if piece.block_ended and shard.since_barrier >= shard.interval and not found:
            simulation.fail(f"partition {identity.partition}: no barrier at {shard.position}")
        while plan and plan[0].position == shard.position:
            barrier = plan.pop(0)
            done = done.extended(barrier)
            if barrier.config is not None:
                shard.reconfigure(configs[barrier.config])
            shard.barrier(
                {side: simulation.sides[side].read(*wanted) for side, wanted in barrier.sides.items()}
            )
            messages, _ = shard.exchange.collect()
            hashed = state_hash(shard.to_state())
            if barrier.state not in ("", hashed):
                simulation.fail(f"partition {identity.partition}: another hash at {shard.position}")
            here = shard.position, tuple(done.ends.values())
            if states.get(here, hashed) != hashed:
                simulation.fail(f"partition {identity.partition}: another state at {shard.position}")
            yield Outputs(
                receipts=shard.desk.collect(),
                peer_messages=tuple(PeerMessage(shard.position - 1, message) for message in messages),
            )
    if plan:
        simulation.fail(f"partition {identity.partition}: the log has no place for {plan[0]}")


def undisturbed(simulation: Simulation) -> list[Message]:
    """What one process publishes if no fault happens to it."""
    plan, clock = simulation.plan, FakeClock()
    broker = MemoryBroker(simulation.broker.partitions)
    for number in range(broker.partitions):
        for record in simulation.broker.records(number):
            broker.gap(number, record.offset - broker.end(number))
            broker.append(number, record.value, key=record.key, timestamp_ms=record.timestamp_ms)
    broker.closed = True
    runner = Runner(
        config=plan.configs[0],
        topic=TOPIC,
        group=GROUP,
        entity_key=KEY,
        stream=MemoryStream(broker, clock),
        store=MemoryStore(),
        sides={},
        clock=clock,
        log=MemoryLog(),
        telemetry=Telemetry(),
        executor=InlineExecutor(),
    )
    with patch.object(partition_module, "Shard", shard_of(plan)):
        runner.run()
    return broker.published


def _compare(simulation: Simulation, name: str, expected: Iterable[Message]) -> None:
    ours, theirs = _sorted(simulation.broker.published), _sorted(expected)
    if ours == theirs:
        return
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            simulation.fail(f"published differs from {name}:\n  {one}\n  {other}")
    simulation.fail(f"published {len(ours)} messages, {name} {len(theirs)}")


def _sorted(messages: Iterable[Message]) -> list[Message]:
    return sorted(messages, key=lambda m: (m.topic, m.partition, m.offset, m.key or b"", m.value or b""))
