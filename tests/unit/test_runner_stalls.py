"""Barriers of a live stream wait beside the other partitions, and change nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chain import ChainShard
from tests.unit.runner_world import BLOCK, World, audited, config, in_order, until

pytestmark = pytest.mark.usefixtures("chain")

INTERVAL = 4 * BLOCK


def barriers(world: World) -> int:
    return sum(len(world.journal(number).barriers) for number in world.broker.committed)


def plain(partitions: int) -> World:
    """A world whose barriers come where the log says, with more records in a poll than an interval."""
    settings = config(topics={"scores": "scores"}, checkpoints={"interval": 1e6})
    return World(partitions=partitions, config=settings, poll_records_max=10_000)


def test_a_turn_makes_one_barrier_at_most() -> None:
    world = plain(partitions=4)
    runner = world.runner(live=True, commit_interval_s=0.0)
    world.produce(4 * 2 * INTERVAL + 4 * BLOCK)  # some are malformed
    made, before = [], 0
    for _ in range(20):
        runner.turn()
        made.append(barriers(world) - before)
        before += made[-1]
    assert max(made) == 1
    assert before == 8


def test_a_barrier_waits_for_background_jobs_beside_other_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    world = plain(partitions=2)
    busy = True

    def settles(shard: ChainShard) -> bool:
        return not (busy and shard._identity.partition == 0)

    monkeypatch.setattr(ChainShard, "settles", settles)
    runner = world.runner(live=True, commit_interval_s=0.0)
    world.produce(2 * 3 * INTERVAL)
    for _ in range(10):
        runner.turn()
    ends = [world.broker.end(number) for number in (0, 1)]
    assert world.broker.committed[1].offset == ends[1]
    assert world.broker.committed[0].offset < ends[0] / 2
    busy = False
    until(lambda: world.broker.committed[0].offset == ends[0], runner)


def test_early_barriers_come_when_no_background_job_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(poll_records_max=BLOCK)
    monkeypatch.setattr(ChainShard, "settled", False)
    world.feedback.append(b"label")
    runner = world.runner(live=True, commit_interval_s=0.0)
    world.produce(3 * BLOCK)
    until(lambda: runner._owned[0].done if 0 in runner._owned else False, runner)
    assert world.journal().barriers == ()
    monkeypatch.setattr(ChainShard, "settled", True)
    world.produce(BLOCK - 1, start=3 * BLOCK)
    until(lambda: bool(world.journal().barriers), runner)
    assert world.journal().barriers[0].cause == "side_input"


def test_alerts_are_those_of_a_run_that_does_not_wait(undisturbed: Callable[..., list[bytes]]) -> None:
    worlds = plain(partitions=3), plain(partitions=3)
    for world, live in zip(worlds, (False, True), strict=True):
        world.produce(1000)
        world.broker.closed = True
        world.runner(live=live).run()
        assert sorted(audited(world)) == sorted(world.alerts())
    assert in_order(worlds[0]) == in_order(worlds[1])
