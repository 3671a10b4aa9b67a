"""A burst is known to the cent when it happens: the real runner, on a clock of the test."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from detector.config.tree import Config
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


def test_a_takeover_is_told_with_its_new_device_and_beneficiary() -> None:
    plain = model_config()
    names = ("card", "device", "beneficiary")
    event = {
        "id": "id",
        "time": {"path": "t"},
        "entities": [{"name": name, "path": name} for name in names],
        "fields": [{"name": "x", "path": "x", "type": "numeric", "unit": "EUR"}],
        "exposure": "x",
    }
    changed = {"event": event, "topics": {"case_updates": "updates"}}
    world = World(
        config=Config.model_validate(plain.model_dump(exclude={"event", "topics"}) | changed),
        poll_records_max=200,
    )
    rng = np.random.default_rng(3)

    def pay(number: int, time: float, card: int, device: str, to: str, x: str) -> None:
        made = {
            "id": str(number),
            "t": START_S + time,
            "card": f"c{card}",
            "device": device,
            "beneficiary": to,
        }
        value = json.dumps(made)[:-1] + f', "x": {x}}}'
        world.broker.append(0, value.encode(), key=b"k", timestamp_ms=int(world.clock.now_s * 1000))

    victim, end = 7, 2 * NORMAL
    for n in range(end):
        card = n % CARDS  # the victim never gives a candidate
        amount = 50 * (1.0 if card == victim else rng.lognormal(0, 0.3))
        pay(n, MINUTE_S * n, card, f"d{card}", f"b{card}-{n // CARDS % 3}", f"{amount:.2f}")
    runner, start_s = world.runner(), MINUTE_S * end
    until(lambda: committed(world) >= end, runner, turns=4000)
    pay(end, start_s, victim, "thief", f"b{victim}-1", "1.00")  # tries the account two minutes before
    amounts = ["2298.89", "1999.99", "1500.10", "1832.02", "1250.00", "1250.00"]
    for n, amount in enumerate(amounts, start=1):
        pay(end + n, start_s + 120.0 + 300.0 * n, victim, "thief", "mule", amount)
    until(lambda: committed(world) >= end + 7, runner, turns=2000)
    told = [body for body in messages(world, "alerts") if body["source"]["offset"] > end]
    assert told[0]["source"]["offset"] == end + 1
    contacts = {fact["values"]["of"]: fact for fact in told[0]["facts"] if fact["code"] == "first_contact"}
    assert contacts["device"]["values"]["age_s"] == pytest.approx(420.0)
    assert "7 minutes ago" in contacts["device"]["detail"]
    assert contacts["beneficiary"]["values"]["age_s"] is None
    assert "mule" in contacts["beneficiary"]["detail"]
    case = told[0]["case_id"]
    mine = [body for body in (*messages(world, "updates"), *told) if body["case_id"] == case]
    late = max(mine, key=lambda body: body["case"]["number"])
    tried = sum(body["source"]["offset"] == end for body in messages(world, "alerts"))
    assert late["case"]["number"] == len(amounts) + tried
    assert late["case"]["sum"] == float(sum(map(Decimal, amounts)) + tried)
