"""The benchmarks of speed that need no server run on few events and measure what they claim."""

from __future__ import annotations

import argparse

import pytest

from benchmarks.speed import alerts, common, core, growth
from benchmarks.speed.common import configuration, first_records

BLOCK = 256


@pytest.fixture(scope="module")
def options() -> argparse.Namespace:
    arguments = ["--events", f"{4 * BLOCK}", "--rounds", "1"]
    return common.parser(None, events=0, rounds=0).parse_args(arguments)


def test_stages_cover_the_run_and_parts_their_stages(options: argparse.Namespace) -> None:
    config, log = configuration(), first_records(options)
    one, other = (core.measure(config, log) for _ in range(2))
    assert not one.missing
    assert (one.alerts, one.alerts_hash, one.state_hash) == (
        other.alerts,
        other.alerts_hash,
        other.state_hash,
    )
    stages = {stage for stage, part in one.us if not part}
    assert {"parse", "learn", "barrier"} <= stages
    for stage in stages:
        parts = sum(us for (owner, part), us in one.us.items() if owner == stage and part)
        assert parts <= one.us[stage, ""]
    assert core.table([one, other])[-1][0] == "all"


def test_a_part_within_a_part_counts_once() -> None:
    laps = core.Laps()
    inner = laps.timed("inner", lambda: None)
    laps.timed("outer", inner)()
    laps("stage")
    assert laps.seconds.keys() == {("stage", ""), ("stage", "outer")}


def test_the_price_of_alerts_is_that_of_polls_with_one_alone(options: argparse.Namespace) -> None:
    config = configuration([*alerts.SETTINGS, *alerts.SIDES, "alerts.budget.share=0.1"])
    polls = alerts.measure(config, first_records(options), 5, labels=True)
    assert len(polls[alerts.NOTHING]) > len(polls[alerts.ALERT]) > 1
    assert [row[0] for row in alerts.rows_of(polls)] == [alerts.NOTHING, alerts.HELD, alerts.ALERT]
    assert all(scoring > 0.0 < alerting for kind in polls.values() for scoring, alerting in kind)


def test_a_model_can_be_given_more_clusters(options: argparse.Namespace) -> None:
    subject = growth.with_clusters(options, 256, base_events=3 * BLOCK)
    gauges = subject.partition.gauges
    assert gauges["clusters"] == 256
    assert gauges["core_events"] == 16 * 256
    assert subject.feed(BLOCK) > 0.0


def test_a_model_knows_as_many_entities_as_it_is_given() -> None:
    options = common.parser(None, events=0, rounds=0).parse_args([])
    subject = growth.with_entities(options, 2 * 2 * BLOCK, events_min=0)
    held = growth.tables(subject)
    assert held["customer"][0] == held["terminal"][0] == 2 * BLOCK
    assert growth.per_key(held, ["customer", "terminal"]) > 0.0
    taken = growth.checkpoint(subject)
    assert taken.size_bytes > 0


def test_ratios_are_those_of_the_rounds() -> None:
    assert common.ratio([1.0, 4.0, 9.0], [1.0, 2.0, 3.0]) == 2.0
