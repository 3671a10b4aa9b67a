"""The same events in every format: equal scores byte for byte, and equal alerts."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from benchmarks.speed import formats, same_scores
from detector.config.tree import ModelPart
from detector.core.records import Identity
from detector.core.reporting.counting import count
from detector.core.reporting.telemetry import Telemetry
from detector.core.shard.partition import Partition
from tests.unit.test_shard import Run, drive, part

EVENTS = 1000


def settings(codec: formats.Codec) -> ModelPart:
    return part(
        {**formats.TREE, **codec.changes},
        model={"calibration": {"warm_up_events": 256, "memory_events": 1024}},
    )


@cache
def run(name: str) -> Run:
    codec = formats.codecs()[name]
    wanted = settings(codec)
    identity = Identity(
        topic="payments", group="fraud", partition=0, entity_key=b"of the tests", resources=codec.resources
    )
    with threadpool_limits(1):
        partition = Partition(identity, wanted, Partition.begin(wanted, 0), until=0)
        return drive(partition, formats.records(codec, formats.events(EVENTS)), labels=False)


def test_the_events_give_scores_and_alerts() -> None:
    assert sum(len(scored.ids) for scored in run("json").scored) == EVENTS
    assert len(run("json").alerts) > 3


@pytest.mark.parametrize("name", list(formats.codecs())[1:])
def test_scores_and_alerts_are_those_of_json(name: str) -> None:
    plain, other = run("json"), run(name)
    assert other.dead == []
    assert other.scores() == plain.scores()
    for one, same in zip(other.bodies(), plain.bodies(), strict=True):
        assert one.pop("event") == same.pop("event")
        # The configuration is another one, and its hash is in the alert.
        assert json.dumps(one["score"]) == json.dumps(same["score"])
        assert one["reasons"] == same["reasons"]


def test_deletes_and_tombstones_are_counted_and_nothing_else() -> None:
    codec = formats.codecs()["debezium"]
    made = formats.records(codec, formats.events(40))
    delete = b'{"before": {"id": "x"}, "after": null, "op": "d"}'
    sent = [
        record._replace(offset=3 * record.offset + place, value=value)
        for record in made
        for place, value in enumerate((record.value, delete, None))
    ]
    wanted = settings(codec)
    identity = Identity(topic="payments", group="fraud", partition=0, entity_key=b"of the tests")
    step = Partition(identity, wanted, Partition.begin(wanted, 0), until=0).take(sent)
    assert step.consumed == len(sent)
    telemetry = Telemetry()
    count(telemetry, 0, [step.outputs], 0.0)
    totals = telemetry.totals()
    assert (totals.received, totals.scored, totals.irregular["skipped"]) == (40, 40, 80)
    assert step.outputs.dead_letters == ()


SIMULATED = 1500
SMALL: dict[str, Any] = {
    "model": {
        "barriers": {"block_events": 64, "every_events": 512, "early_events_min": 128},
        "calibration": {"warm_up_events": 256, "memory_events": 1024},
    },
    "alerts": {"budget": {"share": 0.02}},
}


@cache
def simulated(name: str) -> same_scores.Outcome:
    with threadpool_limits(1):
        return same_scores.outcome(same_scores.forms()[name], same_scores.simulated(SIMULATED), **SMALL)


@pytest.mark.parametrize("name", list(same_scores.forms()))
def test_simulated_events_have_the_same_scores_from_kafka_and_from_files(name: str) -> None:
    found = simulated(name)
    assert (found.scored, found.rejected) == (SIMULATED, 0)
    assert len(found.alerts) > 3
    assert found == simulated("JSON")
