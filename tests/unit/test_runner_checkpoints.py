"""Checkpoints of the runner: written in the background, used, waited for, and pruned."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable

import pytest

from detector.core.recovery.checkpoint import Manifest, Snapshot
from detector.core.recovery.generations import read_checkpoint, read_manifest_of
from detector.core.shard.partition import Partition
from detector.core.shard.sizing import SNAPSHOTS
from detector.errors import NeedsOperator
from detector.ports import Committed
from detector.shell.runner.checkpointer import HOLD_SHARE, Checkpointer
from detector.shell.runner.owned import Owned
from detector.shell.runner.stopping import STOP_S
from tests.unit.runner_world import (
    BLOCK,
    TIGHT,
    World,
    config,
    names,
    until,
)

pytestmark = pytest.mark.usefixtures("chain")


@pytest.mark.parametrize("what", ["state", "json"])
@pytest.mark.parametrize("fault", ["tear", "corrupt", "lose"])
def test_a_damaged_checkpoint_costs_only_a_longer_replay(
    what: str, fault: str, undisturbed: Callable[..., list[bytes]]
) -> None:
    world = World(poll_records_max=20, config=config(checkpoints={"interval": 0.001}))
    world.produce(400)
    runner = world.runner()
    until(lambda: world.broker.committed.get(0, Committed(offset=0, metadata="")).offset > 300, runner)
    assert len(names(world)) >= 2
    runner.stop()
    runner.run()
    newest = world.newest()
    getattr(world.store, fault)(world.path(f"{newest}.{what}"))
    world.finish()
    assert world.alerts() == undisturbed(400)
    assert ("checkpoint_damaged" in world.log.events()) == (what == "state")


def test_with_all_checkpoints_damaged_the_replay_begins_at_the_bare_start(
    undisturbed: Callable[..., list[bytes]],
) -> None:
    world = World(poll_records_max=20, config=config(checkpoints={"interval": 0.001, "keep": 1000}))
    world.produce(400)
    runner = world.runner()
    until(lambda: world.broker.committed.get(0, Committed(offset=0, metadata="")).offset > 300, runner)
    for name in list(world.store.objects):
        if name.endswith(".state"):
            world.store.lose(name)
    world.broker.evict(world.stream)
    world.finish()
    assert world.alerts() == undisturbed(400)


def test_no_usable_checkpoint_needs_an_operator() -> None:
    world = World(poll_records_max=20, config=config(checkpoints={"interval": 0.001}))
    world.produce(400)
    runner = world.runner()
    until(lambda: bool(names(world) and world.journal().checkpoint), runner)
    world.store.objects.clear()
    world.broker.evict(world.stream)
    again = world.runner()
    with pytest.raises(NeedsOperator, match="no usable checkpoint"):
        again.run()
    assert world.stream.closed


def test_a_restore_that_was_overtaken_needs_no_operator(undisturbed: Callable[..., list[bytes]]) -> None:
    """It stood still while others went on, and what it was about to read is no longer kept."""
    world = World(poll_records_max=20, config=config(checkpoints={"interval": 0.001, "keep": 2}))
    world.produce(400)
    first = world.runner()
    until(lambda: 0 in world.broker.committed and bool(world.newest()), first)
    first.stop()
    first.run()
    state = world.path(f"{world.newest()}.state")
    slow, frozen = world.runner(), world.stream
    second = world.runner()

    def overtake(step: str) -> None:
        if step == "get":
            world.hook = lambda step: None
            world.broker.evict(frozen)
            until(lambda: state not in world.store.objects, second)

    world.hook = overtake
    slow.turn()
    assert state not in world.store.objects
    until(lambda: slow.status().ready and second.status().ready, slow, second)
    world.broker.closed = True
    for runner in (second, slow):
        runner.run()
    assert world.alerts() == undisturbed(400)


def test_generations_beyond_those_kept_are_deleted() -> None:
    world = World(poll_records_max=20, config=config(checkpoints={"interval": 0.001, "keep": 2}))
    world.produce(1000)
    world.finish()
    newest = manifest(world, world.newest())
    kept = [newest, manifest(world, newest.since.checkpoint), manifest(world, newest.before)]
    assert set(names(world)) == {world.path(layer.name) for one in kept for layer in one.all_layers}
    assert len(names(world)) < 8
    oldest = world.path(newest.before)
    for name in world.store.list(world.path("00000/")):
        assert name.endswith(".state") or name >= oldest


def manifest(world: World, name: str) -> Manifest:
    return read_manifest_of(name, lambda place: world.store.get(world.path(place)))


def test_a_full_journal_waits_for_the_checkpoint_and_changes_nothing(
    undisturbed: Callable[..., list[bytes]],
) -> None:
    world = World(metadata_bytes_max=TIGHT, poll_records_max=20)
    world.produce(1500)
    world.executor.held = True
    runner = world.runner()
    until(lambda: any(line.state == "waiting" for line in runner.status().partitions), runner)
    assert not runner.status().ready
    stuck = world.broker.committed[0]
    for _ in range(20):
        runner.turn()
    assert world.broker.committed[0] == stuck
    assert world.stream.paused == {0}
    world.executor.held = False
    world.executor.release()
    until(lambda: runner.status().ready, runner, turns=4)
    world.broker.closed = True
    runner.run()
    assert world.alerts() == undisturbed(1500)
    assert max(len(c.metadata) for c in world.broker.committed.values()) <= TIGHT


def test_a_journal_that_has_room_has_room_under_its_first_checkpoint(
    undisturbed: Callable[..., list[bytes]],
) -> None:
    """Its name takes what barriers just left, while no snapshot is taken that could make room again."""
    for turns in range(8, 22):
        world = World(
            metadata_bytes_max=340, poll_records_max=50, config=config(checkpoints={"interval": 0.001})
        )
        world.produce(1000)
        world.executor.held = True
        runner = world.runner()
        for _ in range(turns):
            runner.turn()
        world.executor.held = False
        world.executor.release()
        world.broker.closed = True
        runner.run()
        assert world.alerts() == undisturbed(1000)


def snapshots() -> list[Snapshot]:
    return [found for found in gc.get_objects() if isinstance(found, Snapshot)]


def test_a_store_that_hangs_keeps_no_snapshots_of_revoked_partitions() -> None:
    before = {id(found): found for found in snapshots()}  # other tests' worlds
    world = World(poll_records_max=200)
    world.executor.held = True
    runner = world.runner()
    for number in range(20):
        world.produce(150)
        world.clock.sleep(1.0)
        until(lambda: runner.status().ready, runner)
        runner.turn()
        if number % 2:
            world.broker.fail_commits()
    gc.collect()
    assert len([found for found in snapshots() if id(found) not in before]) <= 1
    world.executor.held = False
    world.executor.release()

    def named() -> bool:
        world.clock.sleep(1.0)
        world.produce(150)
        return bool(world.newest())

    until(named, runner)


def test_a_failed_checkpoint_write_is_retried(undisturbed: Callable[..., list[bytes]]) -> None:
    world = World(metadata_bytes_max=TIGHT, poll_records_max=20)
    world.produce(1500)
    runner = world.runner()
    runner.turn()
    world.store.fail = 10**9
    until(lambda: "checkpoint_failed" in world.log.events(), runner)
    until(lambda: not runner.status().ready, runner)
    world.store.fail = 0
    world.broker.closed = True
    runner.run()
    assert world.alerts() == undisturbed(1500)


def test_a_quiet_partition_renews_its_origin_before_the_log_forgets() -> None:
    world = World()
    world.produce(10)
    runner = world.runner()
    until(lambda: 0 in world.broker.committed, runner)
    assert not world.newest()
    world.clock.sleep(2 * 86_400.0)
    until(lambda: bool(world.newest()), runner)
    assert world.journal().position == world.broker.records(0)[-1].offset + 1
    runner.stop()
    runner.run()
    world.broker.trim(0, world.journal().position)
    world.produce(10, start=10)
    world.finish()
    numbers = world.telemetry.partitions[0]
    assert numbers.scored + sum(numbers.rejected.values()) == numbers.received == 20


def test_every_checkpoint_of_one_position_can_be_read() -> None:
    """Barriers by command have no events between them, so the names of their checkpoints have no order."""
    world = World(config=config(checkpoints={"interval": 0.001, "keep": 100}))
    world.produce(30 * BLOCK)
    runner = world.runner(live=True)
    until(lambda: 0 in world.broker.committed and world.newest() != "", runner)
    for number in range(12):
        world.feedback.append(b"label %d" % number)
        until(lambda number=number: world.journal().end("feedback") == number + 1, runner)  # type: ignore[misc]
        world.clock.sleep(1.0)
    runner.stop()
    runner.run()

    def get(name: str) -> bytes:
        return world.store.get(world.path(name))

    prefix = world.path("0")
    there = [name[len(prefix) - 1 : -5] for name in world.store.objects if name.startswith(prefix)]
    found = [
        read_manifest_of(name, get) for name in there if world.path(f"{name}.json") in world.store.objects
    ]
    assert max(Counter(manifest.position for manifest in found).values()) > 3
    assert any(layer.name[:27] == manifest.name[:27] for manifest in found for layer in manifest.layers)
    assert all(read_checkpoint(manifest.name, get)[0] == manifest for manifest in found)


def test_without_a_store_alerts_are_the_same(undisturbed: Callable[..., list[bytes]]) -> None:
    world = World()
    world.produce(400)
    world.broker.closed = True
    world.runner(store=None, metadata_bytes_max=10**9, commit_interval_s=0.0).run()
    assert world.alerts() == undisturbed(400)


def stopped(world: World) -> float:
    """Process what there is without a regular checkpoint, and stop; returns how long the stop took, s."""
    runner = world.runner()
    while not runner._owned or runner._owned[0].next_to_read < world.broker.end(0):
        runner.turn()
        world.clock.sleep(1.0)
    began_s = world.clock.monotonic()
    runner.stop()
    runner.run()
    return world.clock.monotonic() - began_s


def without_regular_checkpoints() -> World:
    return World(config=config(checkpoints={"interval": 1e6}))


def test_a_stop_writes_the_checkpoint_of_the_last_barrier(undisturbed: Callable[..., list[bytes]]) -> None:
    world = without_regular_checkpoints()
    world.produce(500)
    stopped(world)
    journal = world.journal()
    assert journal.checkpoint
    assert journal.barriers == ()
    assert 0 < world.broker.committed[0].offset - journal.position < 5 * BLOCK  # an interval, and gaps
    world.produce(500, start=500)
    world.finish()
    assert world.alerts() == undisturbed(1000)
    assert 0 < world.telemetry.totals().replayed < 5 * BLOCK


def test_a_stop_writes_no_other_checkpoint_that_saves_nothing() -> None:
    world = without_regular_checkpoints()
    world.produce(5 * BLOCK)  # one barrier
    stopped(world)
    first = world.newest()
    assert first
    world.produce(5 * BLOCK, start=5 * BLOCK)
    stopped(world)
    assert len(world.journal().barriers) == 1
    assert world.newest() == first


def test_a_stop_does_not_wait_for_a_checkpoint_that_takes_long(
    undisturbed: Callable[..., list[bytes]],
) -> None:
    world = without_regular_checkpoints()
    world.produce(500)
    world.executor.held = True
    assert stopped(world) < STOP_S
    assert world.newest() == ""
    world.executor.release()  # the write goes on, and nothing names what it has written
    world.executor.held = False
    world.produce(500, start=500)
    world.finish()
    assert world.alerts() == undisturbed(1000)


def test_barriers_that_come_fast_are_copied_for_a_small_share_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, copies, barriers = without_regular_checkpoints(), 0, 0
    snapshot, hold = Partition.snapshot, Checkpointer.hold

    def slow(self: Partition) -> Snapshot:
        nonlocal copies
        copies += 1
        world.clock.sleep(0.1)
        return snapshot(self)

    def counted(self: Checkpointer, owned: Owned) -> None:
        nonlocal barriers
        barriers += 1
        hold(self, owned)

    monkeypatch.setattr(Partition, "snapshot", slow)
    monkeypatch.setattr(Checkpointer, "hold", counted)
    world.produce(500)
    began_s = world.clock.monotonic()
    world.finish()
    elapsed_s = world.clock.monotonic() - began_s
    assert barriers > 2
    assert copies <= 1 + elapsed_s * HOLD_SHARE / 0.1


def test_a_short_log_that_ends_leaves_a_checkpoint() -> None:
    """Such as a small file: what reads a replay's folder reads checkpoints."""
    world = without_regular_checkpoints()
    world.produce(5 * BLOCK)
    world.finish()
    assert world.newest()


def test_two_snapshots_of_a_partition_are_held_at_most(
    monkeypatch: pytest.MonkeyPatch, undisturbed: Callable[..., list[bytes]]
) -> None:
    """While one is written and another one waits, that of a newer barrier takes the place of the latter."""
    counts, hold = set[int](), Checkpointer.hold

    def counted(self: Checkpointer, owned: Owned) -> None:
        if owned.checkpoints.writing is not None and len(owned.checkpoints.snapshots) == 1:
            owned.checkpoints.snapshots.append(owned.partition.snapshot())  # one that waits
        hold(self, owned)
        kept = [*owned.checkpoints.snapshots, owned.checkpoints.last]
        counts.add(len({id(snapshot) for snapshot in kept if snapshot is not None}))

    monkeypatch.setattr(Checkpointer, "hold", counted)
    world = World(poll_records_max=20, config=config(checkpoints={"interval": 0.001}))
    world.produce(1500)
    runner = world.runner()
    for turn in range(60):
        world.executor.held = turn % 8 != 7
        world.clock.sleep(1.0)
        runner.turn()
        if not world.executor.held:
            world.executor.release()
    world.broker.closed = True
    runner.run()
    assert max(counts) == SNAPSHOTS
    assert world.alerts() == undisturbed(1500)
