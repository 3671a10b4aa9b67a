"""What the runner publishes, counts and reports."""

from __future__ import annotations

import json
from itertools import count

import pytest

from detector.core.alerts.score_record import decode_score
from detector.core.reporting.telemetry import STAGES
from detector.errors import BrokerUnavailable
from detector.shell.runner.loop import REASONS_MAX
from tests.unit.runner_world import (
    World,
    config,
    until,
)

pytestmark = pytest.mark.usefixtures("chain")


TOPICS = ("alerts", "dead_letter", "scores")


def test_numbers_add_up_and_messages_are_in_order() -> None:
    world = World(partitions=2, config=config(checkpoints={"interval": 0.001}))
    world.produce(400)
    runner = world.runner()
    while not runner.turn():
        for numbers in world.telemetry.partitions.values():
            assert numbers.received == numbers.scored + sum(numbers.rejected.values())
        world.broker.closed = True
        world.clock.sleep(0.02)
    world.ends.look()
    published = world.broker.published
    for number, numbers in world.telemetry.partitions.items():
        of = {topic: sum(m.topic == topic and m.partition == number for m in published) for topic in TOPICS}
        assert numbers.received == 200
        assert numbers.scored == of["scores"]
        assert numbers.rejected["empty"] == of["dead_letter"] > 0
        assert numbers.alerts["high"] == of["alerts"] > 0
        assert numbers.replayed == 0
        assert numbers.log.lag(numbers.standing.processed) == 0
        assert numbers.checkpoints.journal_bytes == len(world.broker.committed[number].metadata)
        assert numbers.gauges["version"] > 0
    assert int(world.telemetry.latency.counts.sum()) == sum(m.topic == "scores" for m in published)
    moved = {name for name, stage in world.telemetry.stages.items() if stage.counts.sum()}
    assert moved == {"score", "barrier", "hash", "snapshot", "commit"}  # the shard of this test has no others
    assert set(world.telemetry.stages) == set(STAGES)
    assert world.telemetry.owned == {0, 1}


def test_a_score_has_all_fields() -> None:
    world = World()
    world.produce(3)
    world.finish()
    message = next(m for m in world.broker.published if m.topic == "scores" and m.offset == 3)
    assert json.loads(message.value or b"") == {
        "event_id": "3",
        "event_time": "1970-01-01T00:00:03Z",
        "score": 3 / 7,
        "quantile": 0.0,
        "alert": False,
        "held": None,
        "model_version": 0,
        "topic": "transactions",
        "partition": 0,
        "offset": 3,
    }
    assert message.headers == (("content-type", b"application/json"),)


def test_a_score_says_whether_there_is_an_alert() -> None:
    world = World(partitions=2)
    world.produce(400)
    world.finish()
    alerted = {(m.partition, m.offset) for m in world.broker.published if m.topic == "alerts"}
    scores = [decode_score(m.value or b"") for m in world.broker.published if m.topic == "scores"]
    assert {(score.partition, score.offset) for score in scores if score.alert} == alerted
    assert 0 < len(alerted) < len(scores)


def test_warnings_of_further_sources_are_shown_as_long_as_they_last() -> None:
    world = World()
    found = ["Topic alerts: 3 records are hidden."]
    runner = world.runner(warning_sources=(lambda: ["from start-up"], lambda: found))
    until(lambda: runner.status().ready, runner)
    assert runner.status().warnings == ("from start-up", "Topic alerts: 3 records are hidden.")
    found.clear()
    runner.turn()
    assert runner.status().warnings == ("from start-up",)


def test_ids_that_are_not_unique_cause_a_warning() -> None:
    world = World()
    runner = world.runner()
    numbers = world.telemetry.partitions[0]
    numbers.received, numbers.irregular["duplicate"] = 2000, 200
    until(lambda: runner.status().ready, runner)
    assert runner.status().warnings == ()
    numbers.irregular["duplicate"] = 201
    runner.turn()
    (warning,) = runner.status().warnings
    assert "201 of 2000 events" in warning
    assert "event.duplicates: null" in warning
    runner.stop()
    runner.run()


def test_the_heartbeat_goes_on_between_the_steps_of_a_restore() -> None:
    world = World(partitions=3, poll_records_max=20, config=config(checkpoints={"interval": 0.001}))
    world.produce(600)
    world.finish()
    runner = world.runner()
    ages: list[float] = []

    def slow(step: str) -> None:
        if step in ("get", "put:before"):
            beat = world.telemetry.heartbeat
            assert beat is not None
            ages.append(world.clock.monotonic() - beat)
            world.clock.sleep(25.0)

    world.hook = slow
    until(lambda: runner.status().ready, runner)
    assert len(ages) > 6
    assert max(ages) < 1.0


def test_the_same_reason_is_logged_once_a_minute() -> None:
    world = World()
    world.broker.down = True
    runner, began_s = world.runner(), world.clock.now_s
    for _ in range(100):
        runner.turn()
    logged = world.log.events().count("not_ready")
    assert 2 <= logged <= 1 + (world.clock.now_s - began_s) // 60


def test_reasons_that_change_with_every_turn_give_few_lines() -> None:
    world = World()
    turns = count()

    def fail(step: str) -> None:
        if step == "poll:before":
            raise BrokerUnavailable(f"attempt {next(turns)} failed")

    world.hook = fail
    runner, began_s = world.runner(), world.clock.now_s
    for _ in range(100):
        runner.turn()
    minutes = 1 + (world.clock.now_s - began_s) // 60
    logged = [values for _, event, values in world.log.lines if event == "not_ready"]
    assert 4 <= len(logged) <= REASONS_MAX * minutes
    assert sum(int(str(values.get("left_out", 0))) for values in logged) > len(logged)


def test_trouble_that_comes_and_goes_gives_few_lines() -> None:
    world = World()
    runner, began_s = world.runner(), world.clock.now_s
    for number in range(200):
        world.broker.down = number % 2 == 0
        runner.turn()
    logged = world.log.events().count("not_ready")
    assert 1 <= logged <= 1 + (world.clock.now_s - began_s) // 60
