"""After an entity was erased no older checkpoint stays, and every moment can be recovered from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.core.recovery.checkpoint import Manifest
from detector.core.recovery.generations import read_manifest_of
from detector.shell.runner.loop import Runner
from detector.shell.store import FsspecStore
from tests.chain import ERASE
from tests.unit.runner_world import BLOCK, Crash, World, config, names, until

pytestmark = pytest.mark.usefixtures("chain")

EVENTS = 30 * BLOCK


class Listed(FsspecStore):
    """A real store, whose objects can be looked at as those of a `MemoryStore`."""

    @property
    def objects(self) -> dict[str, bytes]:
        return {name: self.get(name) for name in self.list("")}


def world_with_generations(events: int = EVENTS, store: Any = None) -> World:
    """Everything is processed, and there are several generations."""
    world = World(poll_records_max=40, config=config(checkpoints={"interval": 0.001, "keep": 3}))
    world.store = store or world.store
    world.produce(events)
    runner = world.runner(live=True)
    until(lambda: processed(world) and len(names(world)) > 2, runner)
    runner.stop()
    runner.run()
    return world


def processed(world: World, partition: int = 0) -> bool:
    committed = world.broker.committed.get(partition)
    return committed is not None and committed.offset > world.broker.records(partition)[-1].offset


def manifests(world: World) -> list[Manifest]:
    prefix = world.path("")
    found = [
        name.removeprefix(prefix).removesuffix(".json") for name in world.store.objects if ".json" in name
    ]
    stems = {name for name in found if name.startswith("0000")}
    return [
        read_manifest_of(stem, lambda place: world.store.get(world.path(place))) for stem in sorted(stems)
    ]


def erased_only(world: World) -> bool:
    """Whether one generation is left, and it is the one without what was erased."""
    left = manifests(world)
    return [manifest.erases for manifest in left] == [True] and len(names(world)) == 1


def turned(world: World, runner: Runner) -> bool:
    """A turn, a second later."""
    world.clock.sleep(1.0)
    runner.turn()
    return True


def erase(world: World, runner: Runner) -> None:
    """Let time pass until only the generation without what was erased is left."""
    until(lambda: turned(world, runner) and erased_only(world))


class Killer:
    """Ends the process at its call number `left` into the world."""

    def __init__(self, world: World, left: int) -> None:
        self.world, self.left = world, left

    def __call__(self, step: str) -> None:
        self.left -= 1
        if self.left < 0:
            self.world.hook = lambda step: None
            raise Crash(step)


@pytest.mark.parametrize("kind", ["", "file", "memory"])
def test_only_the_checkpoint_after_an_erasure_is_left(kind: str, tmp_path: Path) -> None:
    """Also in a folder and in a store of objects."""
    world = world_with_generations(store=Listed(f"{kind}://{tmp_path}/store") if kind else None)
    before = {manifest.name for manifest in manifests(world)}
    assert len(before) > 1
    world.feedback.append(ERASE)
    runner = world.runner(live=True)
    erase(world, runner)
    (left,) = manifests(world)
    assert (left.number, left.layers, left.before) == (0, (), "")
    assert left.name not in before
    assert world.newest() == left.name
    assert all(name.startswith((left.name, f"manifests/{left.name}")) for name in objects(world))


@pytest.mark.parametrize("word", ["a", "b", "c", "d", "e", "f"])
def test_older_checkpoints_of_the_same_offset_go_too(word: str) -> None:
    """Barriers by command have one offset. Names have hashes, so any of them may come last."""
    world = world_with_generations()
    runner = world.runner(live=True)
    for number in range(4):
        world.feedback.append(f"label {word}{number}".encode())
        until(lambda number=number: world.journal().end("feedback") == number + 1, runner)  # type: ignore[misc]
        for _ in range(5):
            turned(world, runner)
    newest = max(manifest.position for manifest in manifests(world))
    assert sum(manifest.position == newest for manifest in manifests(world)) > 2
    world.feedback.append(ERASE)
    erase(world, runner)
    (left,) = manifests(world)
    assert left.position == newest


def objects(world: World) -> list[str]:
    prefix = world.path("")
    return [n.removeprefix(prefix) for n in world.store.objects if not n.startswith(f"{prefix}config/")]


def test_later_generations_build_on_it_again() -> None:
    world = world_with_generations()
    world.feedback.append(ERASE)
    runner = world.runner(live=True)
    erase(world, runner)
    (first,) = manifests(world)
    world.produce(EVENTS, start=EVENTS)
    until(lambda: processed(world), runner)
    runner.stop()
    runner.run()
    left = manifests(world)
    assert len(left) > 2
    assert [manifest.erases for manifest in left if manifest.name != first.name] == [False] * (
        len(left) - (first in left)
    )
    assert all(manifest.name >= first.name for manifest in left)


def steps_of(world: World) -> int:
    """Number of calls into the world until only the erased checkpoint is left."""
    count = 0

    def counted(step: str) -> None:
        nonlocal count
        count += 1

    world.hook = counted
    runner = world.runner(live=True)
    erase(world, runner)
    world.hook = lambda step: None
    return count


def undisturbed_alerts() -> tuple[list[bytes], int]:
    world = world_with_generations()
    world.feedback.append(ERASE)
    count = steps_of(world)
    world.produce(4 * BLOCK, start=EVENTS)
    world.finish()
    return world.alerts(), count


@pytest.mark.parametrize("part", range(6))
def test_a_kill_at_any_step_loses_nothing_and_leaves_nothing(part: int) -> None:
    wanted, count = undisturbed_alerts()
    for at in range(part, count, 6):
        world = world_with_generations()
        world.feedback.append(ERASE)
        world.hook = Killer(world, at)
        runner = world.runner(live=True)
        with pytest.raises(Crash):
            erase(world, runner)
        world.broker.evict(world.stream)
        again = world.runner(live=True)
        erase(world, again)
        world.produce(4 * BLOCK, start=EVENTS)
        world.finish()
        assert world.alerts() == wanted, f"killed at step {at}"


def test_what_a_store_refuses_is_tried_again() -> None:
    """Writes, then deletions; also where no event and no barrier comes any more."""
    world = world_with_generations()
    runner = world.runner(live=True)
    until(lambda: runner.status().ready, runner)
    world.feedback.append(ERASE)
    failing: dict[str, int] = {"put:before": 3, "delete": 2, "list": 2}

    def fail(step: str) -> None:
        if failing.get(step, 0) > 0:
            failing[step] -= 1
            world.store.fail = 1

    world.hook = fail
    erase(world, runner)
    assert sum(failing.values()) == 0
    assert {"checkpoint_failed", "prune_failed"} <= set(world.log.events())


def test_a_damaged_checkpoint_without_the_erased_keeps_the_older_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is deleted until it could be read back: a recovery goes on from the older ones."""
    world = world_with_generations()
    before = {manifest.name for manifest in manifests(world)}
    world.feedback.append(ERASE)
    put: Callable[[str, bytes], None] = world.store.put

    def torn(name: str, data: bytes) -> None:
        put(name, data[: len(data) // 2] if name.endswith(".state") else data)

    monkeypatch.setattr(world.store, "put", torn)
    runner = world.runner(live=True)
    until(lambda: turned(world, runner) and world.newest() not in before)
    for _ in range(10):
        turned(world, runner)
    assert before <= {manifest.name for manifest in manifests(world)}
    monkeypatch.setattr(world.store, "put", put)
    world.broker.evict(world.stream)
    again = world.runner(live=True)
    until(lambda: turned(world, again) and processed(world))
    assert "checkpoint_damaged" in world.log.events()
