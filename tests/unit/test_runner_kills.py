"""Answers, snoozes, updates, receipts and erasures flow while the process is killed again and again."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from detector.core.recovery.checkpoint import read_manifest
from detector.core.recovery.generations import read_checkpoint
from detector.core.state import pack
from tests.unit.runner_world import Crash, World, until
from tests.unit.test_receipts import EVENTS, processed, receipts, record, world

KILLS = 50
TOPICS = ("alerts", "case_updates", "receipts", "scores")


def flowing(partitions: int) -> World:
    """All events and all feedback are there from the start, so only the log says where barriers are."""
    made = world(partitions, per_barrier_max=3)
    topics = made.config.topics.model_copy(update={"case_updates": "case_updates"})
    checkpoints = made.config.checkpoints.model_copy(update={"interval": 0.001})
    made.config = made.config.model_copy(update={"topics": topics, "checkpoints": checkpoints})
    return made


def finished(made: World) -> World:
    made.broker.closed = True
    made.finish()
    return made


def feedback(partitions: int) -> list[bytes]:
    """Every kind, about the alerts of a run without feedback; a third of them are about what is erased."""
    alerts = [json.loads(body) for body in finished(flowing(partitions)).alerts()]
    made: list[dict[str, Any]] = []
    for n, alert in enumerate(alerts[:12]):
        named = {"alert_id": alert["alert_id"], "actor": f"a{n % 3}", "feedback_id": f"f-{n - n % 4}-{n % 3}"}
        made.append(named | {"label": ("fraud", "legitimate")[n % 2]})
        made.append(named | {"kind": "snooze", "until": "2020-09-20T00:00:00Z", "feedback_id": f"s-{n}"})
        if n % 3 == 0:
            card = alert["entity"]["value"]
            by = ({"entity": card}, {"alert_id": alert["alert_id"]})[n % 2]
            made.append({"kind": "erase", "feedback_id": f"e-{n}", **by})
            made.append(named | {"label": "fraud", "feedback_id": f"late-{n}"})
    made += [{"kind": "erase", "entity": "nobody"}, {"kind": "erase", "entity": "c39"}, {"kind": "erase"}]
    return [record({"time": "2020-09-13T12:00:00Z", **one}) for one in made]


def published(made: World) -> dict[str, list[Any]]:
    found = [message for message in made.broker.published if message.topic in TOPICS]
    return {
        topic: sorted((m.partition, m.offset, m.key, m.value) for m in found if m.topic == topic)
        for topic in TOPICS
    }


@pytest.mark.parametrize("partitions", [1])
def test_fifty_kills_change_nothing_that_is_published(partitions: int) -> None:
    lines = feedback(partitions)
    runs = []
    for kills in (0, KILLS):
        made = flowing(partitions)
        for line in lines:
            made.feedback.append(line)
        made.broker.closed = True
        for number in range(kills):
            steps = [4 + number * 7 % 23]

            def hook(step: str, left: list[int] = steps) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise Crash

            made.hook = hook
            runner = made.runner()
            try:
                until(lambda: False, runner)
            except Crash:
                made.hook = lambda step: None
                made.broker.evict(made.stream)
            else:
                raise AssertionError("it was done before all kills")
        made.finish()
        runs.append(made)
    one, other = map(published, runs)
    assert one == other
    said = receipts(runs[1])
    assert sorted(receipt["feedback"]["position"] for receipt in said) == list(range(len(lines)))
    assert Counter(receipt["outcome"] for receipt in said)["erased"] >= 3
    assert [committed.offset for committed in runs[1].broker.committed.values()] == [EVENTS] * partitions
    states = [
        pack(read_checkpoint(made.newest(), lambda name, made=made: made.store.get(made.path(name)))[1])
        for made in runs
    ]
    assert states[0] == states[1]


@pytest.mark.parametrize(("partitions", "at_once"), [(1, 256), (2, 256), (2, 1)])
def test_erasing_gets_one_receipt_whichever_shard_knows_the_entity(partitions: int, at_once: int) -> None:
    """Also where each record has a barrier of its own, all at one position."""
    made = world(partitions, per_barrier_max=at_once)
    until(lambda: processed(made), made.runner())
    alerts = [json.loads(body) for body in made.alerts()]
    made.broker.evict(made.stream)
    first, second = alerts[0], next(a for a in alerts if a["entity"] != alerts[0]["entity"])
    cards = [f"c{n}" for n in range(40) if f"c{n}" not in {a["entity"]["value"] for a in (first, second)}]
    wanted = [
        ({"kind": "erase", "entity": cards[0], "feedback_id": "x"}, "erased"),
        ({"kind": "erase", "entity": cards[0], "feedback_id": "x"}, "duplicate"),
        ({"kind": "erase", "entity": cards[0]}, "unknown_entity"),
        ({"kind": "Erase", "entity": cards[1]}, "erased"),
        ({"kind": "erase", "alert_id": first["alert_id"]}, "erased"),
        ({"kind": "erase", "case_id": second["case_id"]}, "erased"),
        ({"kind": "erase", "entity": "nobody"}, "unknown_entity"),
        ({"kind": "erase", "event_id": "nobody"}, "unknown_entity"),
        ({"kind": "erase", "entity": 1.5}, "malformed"),
        ({"kind": "erase"}, "malformed"),
        # Of what an earlier barrier erased not even the offset is known.
        ({"label": "fraud", "alert_id": first["alert_id"]}, "forgotten" if at_once > 1 else "unknown_event"),
    ]
    for content, _ in wanted:
        made.feedback.append(record(content))
    finished(made)
    found = {receipt["feedback"]["position"]: receipt["outcome"] for receipt in receipts(made)}
    assert found == {n: outcome for n, (_, outcome) in enumerate(wanted)}
    assert len(receipts(made)) == len(wanted)


def test_no_checkpoint_in_the_store_has_what_was_erased() -> None:
    made = flowing(1)
    made.feedback.append(record({"kind": "erase", "entity": "c7"}))
    made.broker.closed = True
    made.finish()
    (receipt,) = receipts(made)
    position = receipt["decided"]["offset"]
    prefix = made.path("")
    for name, data in made.store.objects.items():
        if name.endswith(".json") and name.removeprefix(prefix)[0] == "0":
            manifest = read_manifest(data)
            assert manifest.position >= position
            assert (manifest.position == position) == manifest.erases or manifest.position > position
