"""A stop commits what is done and does not wait for a broker or store that hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from detector.errors import BrokerUnavailable
from detector.shell.runner.loop import Runner
from tests.unit.runner_world import (
    World,
    config,
    until,
)

pytestmark = pytest.mark.usefixtures("chain")


def test_a_stop_commits_what_is_processed_and_leaves_the_group() -> None:
    world = World(poll_records_max=200)
    world.produce(200)
    runner = world.runner()

    def stop(step: str) -> None:
        if step == "commit:after" and world.broker.committed[0].offset > 0:
            runner.stop()

    world.hook = stop
    runner.run()
    assert world.stream.closed
    assert 0 < world.broker.committed[0].offset < 200
    assert runner.status().reason == "stopped"


class Frozen:
    """A call that hangs until `thaw`, and requests a stop."""

    def __init__(self, world: World) -> None:
        self.stopped_s = -1.0
        self._world = world
        self._over = threading.Event()

    def __call__(self, runner: Runner) -> None:
        self.stopped_s = self._world.clock.monotonic()
        runner.stop()
        self._world.clock.sleep(3.5)
        self._over.wait()

    def thaw(self) -> None:
        self._over.set()


@pytest.mark.parametrize(
    ("call", "times"),
    [("poll", 0), ("commit", 3), ("committed", 0), ("beginning", 0), ("log_end", 0), ("store", 0)],
)
def test_a_stop_does_not_wait_for_a_call_that_hangs(
    call: str, times: int, monkeypatch: pytest.MonkeyPatch, undisturbed: Callable[..., list[bytes]]
) -> None:
    world = World(partitions=2, poll_records_max=20, config=config(checkpoints={"interval": 0.001}))
    world.produce(400)
    first = world.runner()
    until(lambda: len(world.broker.committed) == 2 and bool(world.newest()), first)
    assert world.broker.committed[0].offset < 150
    world.broker.evict(world.stream)
    runner, frozen, left = world.runner(), Frozen(world), times
    target, name = (world.store, "get") if call == "store" else (world.stream, call)
    answer = getattr(target, name)

    def freeze(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            frozen(runner)
            raise BrokerUnavailable("nobody waits for this any more")
        return answer(*arguments)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(target, name, freeze)
            runner.run()
    finally:
        frozen.thaw()
    assert world.clock.monotonic() - frozen.stopped_s < 10
    assert world.stream.closed
    assert ("final_commit_failed" in world.log.events()) == (call == "commit")
    world.finish()
    assert world.alerts() == undisturbed(400, 2)


def test_a_stop_ends_a_restore_after_its_current_step() -> None:
    world = World(partitions=3, poll_records_max=20, config=config(checkpoints={"interval": 0.001}))
    world.produce(600)
    world.finish()
    runner = world.runner()
    steps: list[str] = []

    def stop(step: str) -> None:
        if step == "get":
            steps.append(step)
            runner.stop()

    world.hook = stop
    runner.run()
    assert len(steps) == 1
