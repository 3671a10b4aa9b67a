"""A budget per segment moves alerts between groups. Scores do not depend on segments, nor alerts on cuts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from detector.config.load import load_mapping
from detector.config.tree import ModelPart
from detector.core.alerts.segments import GROUPS_MAX, LIFT_MAX, LIMIT_MIN, SAMPLED, Segments
from detector.core.records import Identity, Record
from detector.core.shard.shard import Shard
from detector.core.state import copied, digest
from detector.errors import ConfigError
from tests.unit.test_checkpoint_formats import SMALL

IDENTITY = Identity(topic="t", group="g", partition=0, entity_key=b"of the tests")
EVENTS = 6_000


def group(record: Record) -> int:
    return int(record.value or b"0")


def records(*groups: int) -> list[Record]:
    return [Record(number, 0, None, str(one).encode()) for number, one in enumerate(groups)]


def counted(shares: dict[int, int]) -> Segments:
    """Segments that have counted so many events of each group."""
    segments, nothing = Segments(group), Segments(group).to_state()
    owed = np.zeros(len(shares))
    keys, counts = np.array(list(shares), dtype=np.uint64), np.array(list(shares.values()), dtype=float)
    segments.load(nothing | {"groups": keys, "counts": counts, "owed": owed})
    segments.follow(3.0, 1, 1.0)
    return segments


def test_who_is_alerted_more_often_than_its_share_needs_higher_scores() -> None:
    segments = counted({1: 75, 2: 25})
    [a, b] = records(1, 2)
    for _ in range(8):
        segments.note(b)
    segments.follow(3.0, 1600, 1.0)
    assert segments.lift(b) == pytest.approx(-LIFT_MAX * 6.0 / LIMIT_MIN)
    assert segments.lift(a) == pytest.approx(LIFT_MAX * 6.0 / LIMIT_MIN) == segments.highest


def test_shares_are_counted_from_a_sample_also_of_a_stream_with_a_period() -> None:
    segments = Segments(group)
    segments.count(records(*[1, 2, 2, 2] * 4_000), 5)
    counts = dict(zip(*(segments.to_state()[key].tolist() for key in ("groups", "counts")), strict=True))
    assert sum(counts.values()) == pytest.approx(16_000 / SAMPLED, rel=0.1)
    assert counts[1] / sum(counts.values()) == pytest.approx(0.25, abs=0.05)


def test_small_groups_count_as_one() -> None:
    segments = counted({1: 980, 2: 10, 3: 10})
    [_, b, c, unseen] = records(1, 2, 3, 4)
    segments.note(b)
    segments.follow(3.0, 16_000, 1.0)
    assert segments.lift(b) == segments.lift(c) == segments.lift(unseen) < 0.0


def test_what_is_owed_has_a_limit_and_so_have_groups() -> None:
    segments = counted(dict.fromkeys(range(1, GROUPS_MAX + 50), 1) | {999: 400})
    for _ in range(200):
        segments.note(records(999)[0])
    segments.follow(3.0, 9_000, 1.0)
    assert segments.lift(records(999)[0]) == -LIFT_MAX
    assert segments.highest == LIFT_MAX
    assert len(segments.to_state()["groups"]) == GROUPS_MAX


def test_what_is_restored_goes_on_alike() -> None:
    segments, again = counted({1: 75, 2: 25}), Segments(group)
    segments.note(records(2)[0])
    segments.follow(3.0, 1700, 1.0)
    again.load(segments.to_state())
    for one in (segments, again):
        one.count(records(1, 2, 2), 1712)
        one.note(records(1)[0])
        one.follow(3.1, 1800, 1.0)
    left, right = segments.to_state(), again.to_state()
    assert all(np.array_equal(left[key], right[key]) for key in left)


def config(per_segment: str | None) -> ModelPart:
    event = SMALL["event"]
    fields = [*event["fields"], {"name": "region", "path": "region", "type": "categorical", "use": "segment"}]
    budget = {"share": 0.02, "per_segment": per_segment}
    return ModelPart.model_validate(
        SMALL
        | {"event": event | {"fields": fields}, "feedback": False, "exchange": False}
        | {"alerts": {"budget": budget, "exploration_share": 0.0}}
    )


def events(regions: str) -> Iterator[Record]:
    rng = np.random.default_rng(3)
    for number in range(EVENTS):
        region = regions[number * 7919 % len(regions)]
        irregular = 0.12 if number * 7919 % 4 == 0 else 0.03  # a quarter spends less regularly
        odd = rng.lognormal(0.0, 1.0) if rng.random() < irregular else 1.0
        body: dict[str, Any] = {
            "TRANSACTION_ID": f"t{number}",
            "TX_DATETIME": f"2026-03-{1 + number // 1440:02}T{number // 60 % 24:02}:{number % 60:02}:00Z",
            "CUSTOMER_ID": f"c{number * 7919 % 40}",
            "TERMINAL_ID": f"m{rng.integers(20)}",
            "TX_AMOUNT": round(50.0 * float(odd) * rng.lognormal(0.0, 0.3), 2),
            "region": region,
        }
        yield Record(number, 0, None, json.dumps(body).encode())


def run(of: ModelPart, regions: str, cut: int = 64) -> tuple[list[float], dict[int, str], Shard]:
    """Scores, groups of alerts by offset, and the shard."""
    shard = Shard(of, IDENTITY, position=0)
    left, scores, alerts = list(events(regions)), list[float](), dict[int, str]()
    while left:
        taken = shard.take(left[:cut], silent=False)
        left = left[taken.consumed :]
        scores += [score for scored in taken.outputs.scored for score in scored.scores.tolist()]
        for alert in taken.outputs.alerts:
            body = json.loads(alert.body)
            alerts[alert.offset] = body["context"]["region"]
            assert body["score"]["raw"] >= body["score"]["threshold"]
        if taken.block_ended and shard.since_barrier >= shard.interval:
            shard.barrier({})
    return scores, alerts, shard


@pytest.fixture(scope="module")
def shared() -> tuple[list[float], dict[int, str], Shard]:
    return run(config("region"), "BAAA")


def test_each_group_has_its_share_of_the_alerts(shared: tuple[list[float], dict[int, str], Shard]) -> None:
    def share_of_b(alerts: dict[int, str]) -> float:
        late = [region for offset, region in alerts.items() if offset > EVENTS // 3]
        return late.count("B") / len(late)

    _, whole, _ = run(config(None), "BAAA")
    assert share_of_b(whole) > 0.4
    assert abs(share_of_b(shared[1]) - 0.25) < abs(share_of_b(whole) - 0.25) / 2
    assert abs(len(shared[1]) - len(whole)) < 0.15 * len(whole)  # the budget as a whole


def test_scores_do_not_depend_on_segments(shared: tuple[list[float], dict[int, str], Shard]) -> None:
    scores, alerts, _ = run(config("region"), "AABA")
    assert scores == shared[0]
    assert alerts.keys() != shared[1].keys()


@pytest.mark.parametrize("cut", [7, 23, 400])
def test_alerts_do_not_depend_on_how_the_log_was_cut(
    shared: tuple[list[float], dict[int, str], Shard], cut: int
) -> None:
    """Groups were counted a poll at a time: an alert saw events after its own."""
    assert run(config("region"), "BAAA", cut=cut)[:2] == shared[:2]


def test_a_checkpoint_goes_on_alike(shared: tuple[list[float], dict[int, str], Shard]) -> None:
    again = Shard(config("region"), IDENTITY, position=EVENTS)
    shared[2].barrier({})
    again.load(copied(shared[2].to_state()))
    assert digest(again.to_state()) == digest(shared[2].to_state())


def test_it_can_be_turned_on_and_off_while_the_service_runs() -> None:
    _, _, shard = run(config(None), "BAAA")
    for wanted, has in (("region", True), (None, False)):
        shard.barrier({})
        shard.reconfigure(config(wanted))
        assert ("segments" in shard.to_state()["alerting"]) == has
        taken = shard.take(list(events("BAAA"))[:16], silent=False)
        assert taken.consumed


def test_without_it_settings_and_state_are_as_before() -> None:
    without = config(None)
    assert b"per_segment" not in without.canonical()
    assert ModelPart.from_canonical(config("region").canonical()) == config("region")
    assert without.hash() != config("region").hash()


def test_the_field_is_a_segment() -> None:
    event = SMALL["event"]
    with pytest.raises(ConfigError, match="a field with use: segment"):
        load_mapping({"event": event, "alerts": {"budget": {"share": 0.01, "per_segment": "amount"}}})
