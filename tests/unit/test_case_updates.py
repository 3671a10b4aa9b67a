"""A burst is known to the cent when it happens: the real runner, on a clock of the test."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from tests.unit.runner_world import World, model_config, until

START_S = 1_600_000_000
CARDS, NORMAL = 40, 1500
MINUTE_S = 60.0
BURSTS = {
    "six transfers in 29 minutes": (
        ["2298.89", "1999.99", "1500.10", "1832.02", "1250.00", "1250.00"],
        348.0,
    ),
    "a card test of twelve": (["0.01", "0.02", "1.00", "0.99"] * 3, 20.0),
}


def config() -> Any:
    plain = model_config()
    event = plain.event.model_copy(update={"exposure": "x"})
    alerts = plain.alerts.model_copy(update={"cooldown": 3600.0})
    topics = plain.topics.model_copy(update={"case_updates": "updates"})
    return plain.model_copy(update={"event": event, "alerts": alerts, "topics": topics})


def append(world: World, number: int, time: float, card: int, x: str, y: float) -> None:
    event = f'{{"id": "{number}", "t": {START_S + time}, "card": "c{card}", "x": {x}, "y": {y}}}'
    now_ms = int(world.clock.now_s * 1000)
    world.broker.append(0, event.encode(), key=f"c{card}".encode(), timestamp_ms=now_ms)


def committed(world: World) -> int:
    found = world.broker.committed.get(0)
    return 0 if found is None else found.offset


def messages(world: World, topic: str) -> list[dict[str, Any]]:
    return [json.loads(one.value or b"") for one in world.broker.published if one.topic == topic]


@pytest.mark.parametrize("what", BURSTS)
def test_the_totals_of_a_burst_are_right_to_the_cent_within_two_seconds(what: str) -> None:
    amounts, gap_s = BURSTS[what]
    world = World(config=config(), poll_records_max=200)
    rng = np.random.default_rng(3)
    for n in range(NORMAL):
        append(world, n, MINUTE_S * n, n % CARDS, f"{50 * rng.lognormal(0, 0.3):.2f}", rng.normal())
    runner = world.runner()
    until(lambda: committed(world) >= NORMAL, runner, turns=2000)
    began_s, start_s = world.clock.now_s, MINUTE_S * NORMAL
    for n, amount in enumerate(amounts):
        append(world, NORMAL + n, start_s + gap_s * n, CARDS, amount, 40.0)  # y: nobody has it
    end = NORMAL + len(amounts)
    until(lambda: committed(world) >= end, runner, turns=2000)
    assert world.clock.now_s - began_s <= 2.0
    [alert] = [body for body in messages(world, "alerts") if body["source"]["offset"] >= NORMAL]
    updates = messages(world, "updates")
    case = [body for body in updates if body["case_id"] == alert["case_id"]]
    newest = max(case, key=lambda body: body["number"])
    assert newest["case"] == {
        "number": len(amounts),
        "sum": float(sum(map(Decimal, amounts))),
        "largest": max(map(float, amounts)),
    }
    assert [one["exposure"] for body in case for one in body["held_back"]] == list(map(float, amounts))[1:]
    assert newest["entity"] == {"name": "card", "value": f"c{CARDS}"}
    [record] = [one for one in world.broker.published if one.topic == "updates"][-1:]
    assert record.key == f"c{CARDS}".encode()
    headers = dict(record.headers)
    assert headers["ce_id"].decode() == newest["update_id"]
    assert headers["ce_type"] == b"detector.case.updated.v1"
    assert headers["ce_subject"] == record.key
    assert world.telemetry.partitions[0].case_updates["event"] > 0
