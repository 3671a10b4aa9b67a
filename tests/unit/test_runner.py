"""Whatever happens to the runner, every alert comes out once, and as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.core.shard import partition as partition_module
from detector.core.shard.shard import Shard
from detector.errors import BrokerUnavailable
from detector.ports import Message
from tests.unit.runner_world import (
    TIGHT,
    Crash,
    World,
    audited,
    config,
    crash_after,
    in_order,
    model_config,
    until,
)

pytestmark = pytest.mark.usefixtures("chain")


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_alerts_do_not_depend_on_how_polls_cut_the_log(
    cuts: list[int], undisturbed: Callable[..., list[bytes]]
) -> None:
    world = World()
    world.produce(400)
    runner = world.runner()
    for cut in cuts:
        world.stream.poll_records_max = cut
        runner.turn()
    runner.stop()
    runner.run()
    world.finish()
    assert world.alerts() == undisturbed(400)


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_crash_at_any_step_changes_nothing(
    partitions: int, undisturbed: Callable[..., list[bytes]]
) -> None:
    steps = 0
    while True:
        world = World(partitions=partitions)
        world.produce(400)
        world.hook = crash_after(steps)
        runner = world.runner()
        world.broker.closed = True
        try:
            while not runner.turn():
                pass
        except Crash:
            world.broker.evict(world.stream)
            world.finish()
            assert world.alerts() == undisturbed(400, partitions)
            steps += 1
        else:
            break
    assert steps > 30


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_after_crashes_lost_answers_and_damage_a_replay_gives_the_published_alerts(
    data: st.DataObject,
) -> None:
    """The journal tells it all: a fresh replay of log and journal gives the alerts that were published."""
    keep_all = config(checkpoints={"interval": 0.5, "keep": 1000})
    world = World(partitions=2, metadata_bytes_max=TIGHT, config=keep_all)
    produced = 0
    for _ in range(data.draw(st.integers(1, 8))):
        hook = crash_after(data.draw(st.integers(0, 60)))
        runner = world.runner()
        world.hook = hook
        try:
            for _ in range(data.draw(st.integers(1, 12))):
                count = data.draw(st.integers(0, 90))
                world.produce(count, produced)
                produced += count
                if data.draw(st.booleans()):
                    world.feedback.append(b"label %d" % produced)
                if data.draw(st.integers(0, 5)) == 0:
                    world.broker.fail_commits(applied=data.draw(st.booleans()))
                if data.draw(st.integers(0, 5)) == 0:
                    world.store.fail = data.draw(st.integers(1, 4))
                runner.turn()
        except Crash:
            pass
        world.hook = lambda step: None
        world.broker.evict(world.stream)
    world.store.fail = 0
    world.broker.heal()
    world.finish()
    received = [
        (m.partition, m.offset) for m in world.broker.published if m.topic in ("scores", "dead_letter")
    ]
    expected = [(p, r.offset) for p in range(2) for r in world.broker.records(p)]
    assert sorted(received) == expected
    assert audited(world) == world.alerts()


def test_a_commit_with_an_old_membership_publishes_nothing(
    undisturbed: Callable[..., list[bytes]],
) -> None:
    world = World(partitions=2)
    world.produce(400)
    first = world.runner()
    until(lambda: world.broker.commits > 2, first)
    published: list[Message] = []

    def overtake(step: str) -> None:
        if step == "commit:before":  # the first one pauses right here, and loses its session
            world.hook = lambda step: None
            world.broker.evict(zombie)
            until(lambda: world.broker.commits > 6, second)
            published.extend(world.broker.published)

    zombie, second = world.stream, world.runner()
    world.hook = overtake
    until(lambda: bool(published), first)
    assert world.broker.published == published
    assert world.telemetry.commit_failures == 1
    world.broker.closed = True
    second.run()
    assert world.alerts() == undisturbed(400, 2)


def test_partitions_move_between_members(undisturbed: Callable[..., list[bytes]]) -> None:
    world = World(partitions=3, poll_records_max=10)
    world.produce(400)
    revoked: list[int] = []
    runners = [world.runner(on_revoked=revoked.append)]
    until(lambda: world.broker.commits > 4, *runners)
    runners.append(world.runner())
    until(lambda: bool(runners[1].status().partitions), *runners)
    until(lambda: all(runner.status().ready for runner in runners), *runners)
    assert [len(runner.status().partitions) for runner in runners] == [2, 1]
    assert revoked == [1]
    runners[0].stop()
    runners[0].run()
    runners.append(world.runner())
    runners.append(world.runner())
    runners.append(world.runner())
    for _ in range(10):
        for runner in runners[1:]:
            runner.turn()
    idle = runners[-1].status()
    assert idle.ready
    assert idle.partitions == ()
    world.broker.closed = True
    for runner in runners[1:]:
        runner.run()
    assert world.alerts() == undisturbed(400, 3)


def test_the_runner_waits_for_a_broker_that_is_away(undisturbed: Callable[..., list[bytes]]) -> None:
    world = World(poll_records_max=20)
    world.produce(400)
    runner = world.runner()
    until(lambda: world.broker.commits > 3, runner)
    assert runner.status().ready
    world.broker.down = True
    slept_s = world.clock.slept_s
    for _ in range(12):
        runner.turn()
        assert runner.status().reason == "the broker is away"
        assert not runner.status().ready
    assert 20 < world.clock.slept_s - slept_s < 60  # exponential with a cap
    assert world.telemetry.heartbeat is not None
    assert world.clock.monotonic() - world.telemetry.heartbeat <= 0.5
    world.broker.down = False
    until(lambda: runner.status().ready, runner, turns=2)
    world.broker.closed = True
    runner.run()
    assert world.alerts() == undisturbed(400)


def test_records_of_a_poll_that_failed_are_read_again(undisturbed: Callable[..., list[bytes]]) -> None:
    world = World(partitions=2, poll_records_max=20)
    world.produce(400)
    runner = world.runner()
    calls = 0

    def hook(step: str) -> None:
        nonlocal calls
        if step == "poll:after":
            calls += 1
            if calls % 3 == 0:
                raise BrokerUnavailable("the answer came too late")

    world.hook = hook
    world.broker.closed = True
    runner.run()
    assert world.alerts() == undisturbed(400, 2)


def test_feedback_that_is_away_holds_back_the_barrier() -> None:
    world = World(poll_records_max=20)
    world.produce(200)
    world.feedback.append(b"label")
    world.feedback.down = True
    runner = world.runner()
    until(lambda: runner.status().reason == "the side topic is away", runner)
    assert world.broker.committed[0].offset < 64
    world.feedback.down = False
    world.broker.closed = True
    runner.run()
    assert world.journal().end("feedback") == 1
    assert world.telemetry.partitions[0].labels["applied"] == 1
    assert audited(world) == world.alerts()


def test_the_model_is_restored_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real shard: crashes, damage, labels and failed commits change no byte of any alert or score."""
    monkeypatch.setattr(partition_module, "Shard", Shard)
    rng = np.random.default_rng(7)
    events = [
        {"id": str(n), "t": 1_600_000_000 + 60 * n, "card": f"c{n % 40}", "x": float(x), "y": float(y)}
        for n, (x, y) in enumerate(np.exp(rng.normal(size=(2500, 2)) + 4 * (rng.random((2500, 1)) < 0.01)))
    ]
    label = b'{"time": 1, "label": "fraud", "event_id": "70"}'

    def world() -> World:
        made = World(partitions=2, poll_records_max=120, config=model_config())
        for n, event in enumerate(events):
            value = b"{" if n % 97 == 13 else json.dumps(event).encode()
            made.broker.append(n % 2, value, key=b"c%d" % (n % 40))
        made.feedback.append(label)
        return made

    undisturbed = world()
    undisturbed.finish()
    assert len(undisturbed.alerts()) > 10

    disturbed = world()
    steps = iter(rng.integers(5, 60, 8).tolist())
    for number, left in enumerate(steps):
        runner = disturbed.runner()
        disturbed.hook = crash_after(left)
        with pytest.raises(Crash):
            until(lambda: False, runner)
        disturbed.hook = lambda step: None
        disturbed.broker.evict(disturbed.stream)
        if number == 5:
            disturbed.store.corrupt(disturbed.path(f"{disturbed.newest()}.state"), 1000)
        if number == 6:
            disturbed.broker.fail_commits(2, applied=True)
    disturbed.finish()
    assert "checkpoint_damaged" in disturbed.log.events()
    assert in_order(disturbed) == in_order(undisturbed)
