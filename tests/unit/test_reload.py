"""SIGHUP: what is taken at once, what needs a restart, and that a replay repeats the change."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from detector.config.tree import Config
from detector.core.shard.model_shape import shape
from detector.early_stop import HANGUP
from detector.errors import ConfigError, Problem
from detector.testing import MemoryLog
from detector.wiring.reload import Reloader, reloaded
from tests.unit.runner_world import BLOCK, World, config, until

EVENT: dict[str, Any] = {
    "id": "id",
    "time": {"path": "t"},
    "fields": [{"name": "x", "path": "x", "type": "numeric"}],
}


def configured(**changes: Any) -> Config:
    return Config.model_validate({"event": EVENT} | changes)


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({"log": {"level": "debug"}}, "log.level: info -> debug"),
        ({"alerts": {"reasons_max": 2}}, "alerts.reasons_max: 3 -> 2"),
        ({"require_key": False, "alerts": {"budget": {"per_day": 7}}}, "alerts.budget.per_day: None -> 7"),
        ({"event": EVENT | {"duplicates": None}}, "event.duplicates"),
        ({"event": EVENT | {"fields": [EVENT["fields"][0] | {"unit": "EUR"}]}}, "event.fields.0.unit"),
    ],
)
def test_what_keeps_the_model_is_taken(changes: dict[str, Any], taken: str) -> None:
    wanted = configured(**changes)
    found = reloaded(configured(), wanted)
    assert found.config == wanted
    assert any(taken in one for one in found.taken)
    assert found.left == ()


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"kafka": {"group_id": "other"}}, "kafka.group_id"),
        ({"topics": {"feedback": "labels"}}, "topics.feedback"),
        ({"event": EVENT | {"fields": [EVENT["fields"][0] | {"path": "y"}]}}, "event.fields.0.path"),
        ({"event": EVENT | {"format": "avro"}, "registry": {"url": "http://r"}}, "event.format"),
        ({"model": {"seed": 5}}, "model.seed"),
    ],
)
def test_everything_else_needs_a_restart(changes: dict[str, Any], left: str) -> None:
    running = configured()
    found = reloaded(running, configured(**changes, log={"level": "debug"}))
    assert left in found.left
    assert found.taken == ("log.level: info -> debug",)
    assert shape(found.config.model_part(1)) == shape(running.model_part(1))
    assert found.config.event.format == "json"


def test_the_log_and_the_pages_say_what_was_taken() -> None:
    log, applied = MemoryLog(), list[Config]()
    files = [configured(kafka={"group_id": "b"}, alerts={"reasons_max": 2}), configured()]
    reloader = Reloader(configured(), lambda: files.pop(0), applied.append, log)
    reloader.reload()
    assert log.lines == [
        (
            "warning",
            "configuration_reloaded",
            {"taken": ("alerts.reasons_max: 3 -> 2",), "needs_restart": ("kafka.group_id",)},
        )
    ]
    assert reloader.warnings() == ["changed settings need a restart: kafka.group_id"]
    reloader.reload()
    assert reloader.warnings() == []
    assert [one.alerts.reasons_max for one in applied] == [2, 3]


def test_an_invalid_file_changes_nothing() -> None:
    log, applied = MemoryLog(), list[Config]()

    def read() -> Config:
        raise ConfigError("x.yaml", [Problem(path="log.level", value="loud", allowed="info")])

    Reloader(configured(), read, applied.append, log).reload()
    assert applied == []
    assert log.events() == ["configuration_not_reloaded"]
    assert "log.level: got loud" in str(log.lines[0][2]["reason"])


def test_a_hangup_reloads() -> None:
    done = threading.Event()
    before = signal.getsignal(signal.SIGHUP)
    reloader = Reloader(configured(), configured, lambda _: done.set(), MemoryLog())
    with reloader.at_hangup():
        os.kill(os.getpid(), signal.SIGHUP)
        assert done.wait(30)
    assert signal.getsignal(signal.SIGHUP) is before


def test_a_hangup_of_the_start_reloads_as_soon_as_the_service_runs() -> None:
    done = threading.Event()
    HANGUP.set()
    with Reloader(configured(), configured, lambda _: done.set(), MemoryLog()).at_hangup():
        assert done.wait(30)
    assert not HANGUP.is_set()


@pytest.mark.usefixtures("chain")
def test_a_reloaded_configuration_is_journaled_and_replayed() -> None:
    world = World(partitions=2, config=config(checkpoints={"interval": 1e6}))
    world.produce(200)
    runner = world.runner()
    until(lambda: runner.status().ready, runner)
    old = world.config.model_part(2).hash()
    world.config = config(alerts={"budget": {"per_day": 90}}, checkpoints={"interval": 1e6})
    runner.reconfigure(world.config)
    world.clock.sleep(1.0)
    for start in range(200, 200 + 12 * BLOCK, 2 * BLOCK):
        world.produce(2 * BLOCK, start)
        runner.turn()
    runner.stop()
    with world.without_checkpoints():
        runner.run()
    wanted = world.config.model_part(2).hash()
    for number in (0, 1):
        journal = world.journal(number)
        assert [barrier.cause for barrier in journal.barriers].count("config") == 1
        assert (journal.config, journal.config_end) == (old, wanted)
    world.finish()
    assert sum(numbers.replayed for numbers in world.telemetry.partitions.values()) >= 300
    assert all(numbers.state_mismatches == 0 for numbers in world.telemetry.partitions.values())
    scored = [(m.partition, m.offset) for m in world.broker.published if m.topic in ("scores", "dead_letter")]
    assert len(scored) == len(set(scored)) == 200 + 12 * BLOCK
