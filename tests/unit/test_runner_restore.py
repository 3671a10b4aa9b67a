"""Restoring: what a start refuses, and what it goes on with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from detector.core.recovery.checkpoint import read_manifest, state_hash
from detector.core.recovery.generations import read_manifest_of, store_prefix
from detector.core.recovery.journal import METADATA_BYTES_MAX, Journal
from detector.errors import NeedsOperator
from detector.ports import Committed, TopicIds
from detector.shell.objects import Objects
from detector.shell.runner.loop import Runner
from detector.testing import MemoryStore
from tests.chain import ChainShard
from tests.unit.runner_world import (
    BLOCK,
    World,
    config,
    until,
)

pytestmark = pytest.mark.usefixtures("chain")


def test_offsets_of_another_consumer_are_refused() -> None:
    world = World()
    world.broker.committed[0] = Committed(offset=7, metadata="")
    with pytest.raises(NeedsOperator, match="something else committed it"):
        world.runner().run()


def test_a_log_that_lost_what_recovery_needs_is_refused() -> None:
    world = World()
    world.produce(100)
    with world.without_checkpoints():
        world.finish()
    world.broker.trim(0, 50)
    with pytest.raises(NeedsOperator, match=r"partition 0: recovery needs the log from offset 0, .* 50"):
        world.runner().run()


def test_labels_that_expired_before_they_were_read_are_skipped() -> None:
    world = World()
    for _ in range(40):
        world.feedback.append(b"label")
    world.produce(100)
    runner = world.runner(sides={})
    until(lambda: 0 in world.broker.committed, runner)
    runner.stop()
    runner.run()
    world.feedback.trim(30)
    world.produce(100, start=100)
    world.finish()
    assert world.telemetry.partitions[0].labels["applied"] == 10


def test_feedback_that_lost_what_recovery_needs_is_refused() -> None:
    world = World(config=config(checkpoints={"interval": 1e6}))
    world.feedback.append(b"label")
    world.produce(100)
    with world.without_checkpoints():
        world.finish()
    world.feedback.trim(1)
    with pytest.raises(NeedsOperator, match=r"feedback topic from offset 0, .* 1 now"):
        world.runner().run()
    with pytest.raises(NeedsOperator, match=r"set topics\.feedback again"):
        world.runner(sides={}).run()


def test_another_configuration_takes_effect_at_a_barrier_and_is_journaled() -> None:
    world = World(poll_records_max=20, config=config(checkpoints={"interval": 1e6}))
    world.produce(200)
    runner = world.runner()
    until(lambda: world.broker.committed.get(0, Committed(offset=0, metadata="")).offset > 60, runner)
    runner.stop()
    old = world.config.model_part(1).hash()
    with world.without_checkpoints():
        runner.run()
        world.config = config(alerts={"reasons_max": 2}, checkpoints={"interval": 1e6})
        world.finish()
    assert [b.cause for b in world.journal().barriers].count("config") == 1
    assert world.journal().configs == {old, world.config.model_part(1).hash()}
    world.produce(100, 200)
    with world.without_checkpoints():
        world.finish()
    received = [
        (m.partition, m.offset) for m in world.broker.published if m.topic in ("scores", "dead_letter")
    ]
    assert len(received) == len(set(received)) == 300
    del world.store.objects[world.path(f"config/{old}.json")]
    with pytest.raises(NeedsOperator, match="names configurations"):
        world.runner().run()


def restarted(world: World, **changes: Any) -> Runner:
    """Runner of a world that goes on with another configuration."""
    world.produce(200)
    world.finish()
    world.config, world.broker.closed = config(**changes), False
    runner = world.runner()
    until(lambda: runner.status().ready, runner)
    return runner


def test_a_configuration_that_keeps_the_model_is_logged_and_shown() -> None:
    world = World()
    runner = restarted(world, alerts={"reasons_max": 2})
    (logged,) = [values for _, event, values in world.log.lines if event == "configuration_changed"]
    assert logged["changed"] == ["alerts.reasons_max: 3 -> 2"]
    assert logged["before"] != logged["now"] == world.config.model_part(1).hash()
    (warning,) = runner.status().warnings
    assert "partition 0: another configuration than before, its model stays (alerts.reasons_max" in warning
    world.clock.sleep(86_400.0)
    runner.turn()
    assert runner.status().warnings == ()


def test_a_model_that_begins_anew_is_logged_and_shown() -> None:
    world = World(partitions=2)
    fields = [{"name": name, "path": name, "type": "numeric"} for name in "xy"]
    runner = restarted(world, event=world.config.event.model_dump() | {"fields": fields})
    logged = [values for _, event, values in world.log.lines if event == "model_begins_anew"]
    assert [values["partition"] for values in logged] == [0, 1]
    assert logged[0]["changed"] == ["event.fields: [x] -> [x, y]"]
    (warning,) = runner.status().warnings
    assert warning.startswith("partitions 0, 1: another configuration than before, its model begins anew")


def test_the_same_configuration_says_nothing() -> None:
    world = World()
    assert restarted(world).status().warnings == ()
    assert not {"configuration_changed", "model_begins_anew"} & set(world.log.events())


def test_offsets_that_were_deleted_while_the_store_has_models_are_logged_and_shown() -> None:
    world = World()
    runner = world.runner()
    for start in range(0, 400, 100):
        world.produce(100, start)
        for _ in range(20):
            runner.turn()
        world.clock.sleep(1.0)
    assert world.newest()
    runner.stop()
    runner.run()
    world.broker.committed.clear()
    runner = world.runner()
    until(lambda: runner.status().ready, runner)
    assert "model_begins_anew" in world.log.events()
    assert "were the group's offsets deleted" in runner.status().warnings[0]


def test_the_number_of_partitions_is_asked_for_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.produce(100)
    runner = world.runner()
    until(lambda: runner.status().ready, runner)
    asked: list[float] = []
    monkeypatch.setattr(
        world.stream, "partitions_count", lambda: asked.append(world.clock.monotonic()) or world.partitions
    )
    began_s = world.clock.monotonic()
    for _ in range(50):
        runner.turn()
    assert 2 <= len(asked) <= world.clock.monotonic() - began_s + 1


@pytest.mark.parametrize("left", [0, 30])
def test_a_log_that_ends_below_what_is_committed_is_refused(left: int) -> None:
    world = World()
    world.produce(100)
    world.finish()
    until = world.broker.committed[0].offset
    world.broker.cut(0, left)
    message = (
        rf"partition 0: .* committed offset {until}, .* ends at {left} now: .* delete the group's offsets"
    )
    with pytest.raises(NeedsOperator, match=message):
        world.runner().run()


def test_added_partitions_change_the_configuration_of_the_others() -> None:
    world = World(config=config(checkpoints={"interval": 1e6}, alerts={"budget": {"per_day": 90}}))
    world.produce(100)
    runner = world.runner()
    until(lambda: runner.status().ready, runner)
    world.broker.grow(2)
    world.store.fail = 10**9
    wanted = world.config.model_part(3).hash()

    def known() -> bool:
        journal = Journal.from_text(world.broker.committed[0].metadata)
        kept = [name for name in world.store.objects if "/config/" in name]
        assert all(any(used in name for name in kept) for used in journal.configs)
        return journal.config_end == wanted

    def give(count: int) -> None:
        for _ in range(count):
            for number in range(2 * BLOCK):
                world.broker.append(0, b"more %d" % number)
            runner.turn()
            known()

    give(20)
    world.clock.sleep(2.0)
    give(20)
    assert not known()
    assert "configuration_not_stored" in world.log.events()
    world.store.fail = 0
    until(lambda: len(runner.status().partitions) == 3 and runner.status().ready, runner)
    world.clock.sleep(1.0)
    give(3)
    assert known()
    world.broker.closed = True
    runner.stop()
    runner.run()
    world.finish()
    assert world.journal().config_end == wanted


# --- what belongs elsewhere ---------------------------------------------------------------------------------


def processed(**ids: str) -> World:
    """A world in which 200 events are processed, with checkpoints."""
    world = World(config=config(checkpoints={"interval": 1e-6}))
    world.broker.ids = TopicIds(cluster=ids.get("cluster", "a"), topic=ids.get("topic", "t"))
    world.feedback.topic_ids = TopicIds(cluster="a", topic="f")
    for _ in range(20):
        world.feedback.append(b"label")
    world.produce(200)
    world.finish()
    assert world.newest()
    return world


def refused(world: World) -> str:
    with pytest.raises(NeedsOperator) as caught:
        world.runner().run()
    return str(caught.value)


def test_a_world_that_is_the_same_is_not_refused() -> None:
    world = processed()
    world.produce(50, 200)
    world.finish()
    assert len(world.broker.committed[0].metadata) < METADATA_BYTES_MAX


@pytest.mark.parametrize("moved", [-100, -1, 1])
def test_an_offset_that_was_moved_with_its_journal_is_refused(moved: int) -> None:
    world = processed()
    world.produce(50, 200)
    committed = world.broker.committed[0]
    published = len(world.broker.published)
    world.broker.committed[0] = replace(committed, offset=committed.offset + moved)
    assert f"was committed with offset {committed.offset}" in refused(world)
    assert len(world.broker.published) == published


def test_the_offsets_of_a_mirrored_cluster_are_refused() -> None:
    world = processed()
    world.broker.ids = TopicIds(cluster="b", topic="t")
    world.store = MemoryStore()
    assert "journal of cluster a, but this is cluster b" in refused(world)


def test_a_topic_that_was_created_anew_is_noticed() -> None:
    world = processed()
    world.broker.ids = TopicIds(cluster="a", topic="another")
    assert "the topic was created anew" in refused(world)


def test_a_side_topic_that_was_created_anew_is_noticed() -> None:
    world = processed()
    world.feedback.topic_ids = TopicIds(cluster="a", topic="another")
    assert "another topics.feedback of the same name" in refused(world)


def test_a_changed_entity_key_is_noticed_without_any_checkpoint() -> None:
    world = World()
    world.produce(40)
    runner = world.runner(store=None)
    until(lambda: 0 in world.broker.committed, runner)
    runner.stop()
    runner.run()
    with pytest.raises(NeedsOperator, match="use the same entity_key"):
        world.runner(store=None, entity_key=b"another").run()


def test_two_clusters_with_one_store_have_folders_of_their_own() -> None:
    """One cluster's pruning had removed the other's only checkpoint."""
    world = processed()
    ours = {name for name in world.store.objects if name.startswith(world.path(""))}
    assert ours == world.store.objects.keys()
    other = World(config=config(checkpoints={"interval": 1e-6}))
    other.store, other.broker.ids = world.store, TopicIds(cluster="b", topic="t")
    other.produce(2000)
    other.finish()
    assert other.newest()
    assert ours < world.store.objects.keys()
    assert not any(name.startswith(world.path("")) for name in world.store.objects.keys() - ours)
    world.produce(400, 200)
    world.finish()
    assert world.log.events().count("restored") == 2
    assert "checkpoint_damaged" not in world.log.events()


def test_tools_read_the_only_cluster_of_a_store() -> None:
    world = processed()
    objects = Objects(world.store, group="group/1", topic="transactions")
    objects.enter_only_cluster()
    assert read_manifest_of(world.newest(), objects.get).name == world.newest()
    world.store.objects[store_prefix("group/1", "transactions", "b") + "config/x"] = b""
    with pytest.raises(NeedsOperator, match=r"several clusters \(a, b\)"):
        objects.enter_only_cluster()


def test_a_state_that_cannot_be_loaded_costs_one_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    world = processed()
    undisturbed = processed()
    newest, load = world.newest(), ChainShard.load
    broken = read_manifest(world.store.objects[world.path(f"{newest}.json")]).state_hash

    def strict(shard: ChainShard, state: Any) -> None:
        if state_hash(state) == broken:
            raise IndexError("index 7 is out of bounds")
        load(shard, state)

    monkeypatch.setattr(ChainShard, "load", strict)
    for one in (world, undisturbed):
        one.produce(100, 200)
    world.finish()
    monkeypatch.setattr(ChainShard, "load", load)
    undisturbed.finish()
    assert world.alerts() == undisturbed.alerts()
    damaged = [entry for entry in world.log.lines if entry[1] == "checkpoint_damaged"]
    assert "IndexError: index 7" in str(damaged)
