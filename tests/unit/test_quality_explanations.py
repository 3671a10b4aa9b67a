"""Explanations are judged by other events' scores: true reasons pass, false ones fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.quality.drive import Driven, configuration, simulated
from benchmarks.quality.explanations import COUNTRIES, RICH, Habits, enrich, judge, tamper
from detector.config.tree import ModelPart
from detector.core.alerts import explain
from detector.demo.simulation.handbook import SimulationConfig

SMALL = {
    "barriers": {"block_events": 64, "every_events": 512, "early_events_min": 512},
    "calibration": {"warm_up_events": 1024, "memory_events": 4096},
    "clusters": {"core_events": 1024, "memory_events": 4096, "count_max": 64},
    "encoder": {"hidden": 16, "dimension": 8},
}


def small(fields: Any = ()) -> ModelPart:
    return configuration(fields, model=SMALL, alerts={"budget": {"share": 0.02}})


def honest(events: int) -> list[dict[str, Any]]:
    config = SimulationConfig(
        seed=2,
        customers=60,
        events=events,
        categories=20,
        amount_limit=float("inf"),
        customer_share_per_day=0.0,
        terminal_share_per_day=0.0,
    )
    made, _ = simulated(config)
    enrich(made)
    return made


@pytest.fixture(scope="module")
def stream() -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Traffic of which one event in 25 has 20 times its amount after the first 1,600."""
    events = honest(2100)
    wrong = {}
    for number in range(1600, len(events), 25):
        events[number]["TX_AMOUNT"] = round(20 * events[number]["TX_AMOUNT"], 2)
        wrong[number] = "amount"
    return events, wrong


def test_true_reasons_pass(stream: tuple[list[dict[str, Any]], dict[int, str]]) -> None:
    verdict = judge(small(), *stream, seed=1)
    assert verdict.alerts > 8
    assert verdict.top_two >= 0.8 * verdict.alerts
    assert verdict.top_one >= 0.9 * verdict.compared
    assert verdict.tampered["amount"] == 20
    assert verdict.alerted["amount"] > 8
    assert verdict.named["amount"] >= 0.8 * verdict.alerted["amount"]


def test_false_reasons_fail(
    stream: tuple[list[dict[str, Any]], dict[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An explainer that names what mattered least first, with the expected values of its own."""
    order = np.argsort
    monkeypatch.setattr(explain.np, "argsort", lambda falls, **named: order(falls, **named)[::-1])
    monkeypatch.setattr(explain.np, "floor", lambda shares: np.maximum(np.ceil(shares), 1.0))
    verdict = judge(small(), *stream, seed=1)
    assert verdict.alerts > 8
    assert verdict.top_one < 0.5 * verdict.compared
    assert verdict.named["amount"] < 0.5 * verdict.alerted["amount"]


def test_scoring_a_possible_event_changes_nothing(
    stream: tuple[list[dict[str, Any]], dict[int, str]],
) -> None:
    events, _ = stream
    asked, left_alone = Driven(small()), Driven(small())
    for driven in (asked, left_alone):
        driven.feed(events[:1700])
    strange = {**events[1700], "TX_AMOUNT": 1e6}
    first, usual, second = asked.would_score([strange, events[1700], strange])
    assert first == second > usual
    assert asked.position == 1700
    np.testing.assert_array_equal(
        asked.feed(events[1700:1900]).score, left_alone.feed(events[1700:1900]).score
    )


def test_one_field_is_tampered_with_and_the_rest_stays() -> None:
    before, events = honest(900), honest(900)
    wrong = tamper(events, start=100, seed=3)
    assert [wrong[number] for number in sorted(wrong)] == ["amount", "category", "country", "time"]
    paths = {
        "amount": "TX_AMOUNT",
        "category": "MERCHANT_CATEGORY",
        "country": "COUNTRY",
        "time": "TX_DATETIME",
    }
    for number, (was, is_) in enumerate(zip(before, events, strict=True)):
        changed = [key for key in was if was[key] != is_[key]]
        assert changed == ([paths[wrong[number]]] if number in wrong else [])
    assert {event["COUNTRY"] for event in events} == set(COUNTRIES)
    assert Driven(small(RICH)).feed(events).score.shape == (900,)


def test_habits_are_the_customers_own() -> None:
    habits = Habits()
    event = {"CUSTOMER_ID": "1", "TERMINAL_ID": "9", "TX_AMOUNT": 50.0, "TX_DATETIME": "2018-04-02T03:00:00Z"}
    assert habits.usual(event, "terminal") == "9"  # nothing is known of this customer
    for terminal, amount, clock in (("1", 5.0, "10:00"), ("2", 7.0, "11:00"), ("2", 6.0, "12:00")):
        time = f"2018-04-01T{clock}:00Z"
        habits.learn({**event, "TERMINAL_ID": terminal, "TX_AMOUNT": amount, "TX_DATETIME": time})
        habits.learn({**event, "CUSTOMER_ID": "2", "TX_AMOUNT": 1e3})
    assert habits.usual(event, "terminal") == "2"
    assert habits.usual(event, "amount") == 6.0
    assert habits.usual(event, "time") == "2018-04-02T11:00:00Z"
