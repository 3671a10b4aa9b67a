"""Simulated cards: same bytes for the same seed, prefixes of longer runs, habits; and each pattern of fraud
does what it says and nothing else."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.demo import simulation
from detector.demo.simulation.cards import (
    ATTRIBUTES,
    KINDS,
    NEW_CATEGORY,
    NIGHT_S,
    CardsConfig,
    CardsDay,
    label_rows,
    simulate,
    to_events,
)
from detector.demo.simulation.patterns import (
    BURST_CARDS,
    BURST_SPAN_S,
    BUST_PAYMENTS,
    JUMP_KM,
    PATTERNS,
    ROUND_AMOUNTS,
    ROUND_PAYMENTS,
    SHARED_CARDS,
    TAKEOVER_PAYMENTS,
    TEST_AMOUNT,
    TEST_PAYMENTS,
    TEST_SPAN_S,
    markdown_table,
)
from detector.demo.simulation.payments import BY_NET, CHANNELS, NO_DEVICE
from detector.demo.simulation.world import CITY_PLACES, DAY_S, SHARES, distance_km

SMALL = CardsConfig(seed=4, customers=120, days=12, pattern_rate=30.0)


def as_bytes(config: CardsConfig) -> bytes:
    return json.dumps([[to_events(day), label_rows(day)] for day in simulate(config)]).encode()


def rows(config: CardsConfig, *, ids: bool = False) -> list[dict[str, Any]]:
    """All events in order, with kind and incident; without ids, which depend on the other events."""
    found = []
    for day in simulate(config):
        labels = {event_id: (kind, incident) for event_id, _, kind, incident in label_rows(day)}
        for event in to_events(day):
            kind, incident = labels.get(str(event["event_id"]), ("", ""))
            found.append({**event, "kind": kind, "incident": incident})
            if not ids:
                del found[-1]["event_id"]
    return found


def paid(config: CardsConfig) -> dict[str, np.ndarray]:
    """All payments as arrays."""
    days = list(simulate(config))
    names = ("second", "card", "merchant", "category", "amount", "channel", "device", "city", "place")
    found = {name: np.concatenate([getattr(day.payments, name) for day in days]) for name in names}
    found |= {name: np.concatenate([getattr(day, name) for day in days]) for name in ("time", "kind")}
    return found


# --- laws ---


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    customers=st.integers(1, 60),
    events=st.integers(0, 400),
    more=st.integers(0, 300),
    rate=st.sampled_from([0.0, 1.0, 100.0]),
)
def test_same_bytes_and_a_shorter_run_is_a_prefix(
    seed: int, customers: int, events: int, more: int, rate: float
) -> None:
    config = CardsConfig(seed=seed, customers=customers, events=events, pattern_rate=rate)
    short = list(rows(config, ids=True))
    assert len(short) == events
    assert as_bytes(config) == as_bytes(config)
    assert rows(replace(config, events=events + more), ids=True)[:events] == short


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_that_is_switched_off_changes_nothing_else(name: str) -> None:
    full = rows(SMALL)
    without = rows(replace(SMALL, patterns=tuple(other for other in PATTERNS if other != name)))
    assert without == [row for row in full if row["kind"] != name]
    assert any(row["kind"] == name for row in full)


def test_times_never_decrease_and_ids_are_consecutive() -> None:
    days = list(simulate(SMALL))
    time = np.concatenate([day.time for day in days])
    assert (np.diff(time) >= 0).all()
    np.testing.assert_array_equal(np.concatenate([day.event_id for day in days]), np.arange(len(time)))
    for day in days:
        assert ((day.time - SMALL.start_time) // DAY_S == day.day).all()


def test_seeds_differ() -> None:
    assert as_bytes(SMALL) != as_bytes(replace(SMALL, seed=5))


# --- habits ---


@cache
def habits() -> tuple[CardsConfig, dict[str, np.ndarray]]:
    config = CardsConfig(seed=2, customers=400, days=90, patterns=(), trip_share=1 / 100)
    return config, paid(config)


def test_volume_amounts_and_channels_are_plausible() -> None:
    _, all_ = habits()
    assert 1.2 < len(all_["time"]) / 400 / 90 < 2.4
    assert (all_["amount"] >= 0.01).all()
    np.testing.assert_array_equal(all_["amount"], np.round(all_["amount"], 2))
    shares = np.bincount(all_["channel"], minlength=len(CHANNELS)) / len(all_["channel"])
    assert (shares > 0.02).all()
    assert np.isfinite(all_["place"]).all()
    online = all_["channel"] == BY_NET
    assert (all_["device"][online] != NO_DEVICE).mean() > 0.7  # fixed monthly payments have none


def test_a_card_keeps_to_its_hours_categories_merchants_and_places() -> None:
    _, all_ = habits()
    concentrations, kinds, merchants, near = [], [], [], []
    for card in range(400):
        mine = all_["card"] == card
        if mine.sum() < 100:
            continue
        angle = all_["second"][mine] / DAY_S * 2 * np.pi
        concentrations.append(np.abs(np.exp(1j * angle).mean()))
        counts = np.sort(np.bincount(all_["category"][mine], minlength=len(SHARES)))[::-1]
        kinds.append(counts[:9].sum() / counts.sum())
        visits = np.sort(np.bincount(all_["merchant"][mine]))[::-1]
        merchants.append(visits[:20].sum() / visits.sum())
        home = np.median(all_["place"][mine], axis=0)
        near.append((distance_km(all_["place"][mine], home) < 60).mean())
    assert len(concentrations) > 100
    assert np.median(concentrations) > 0.4
    assert min(kinds) > 0.9
    assert np.median(merchants) > 0.7
    assert np.median(near) > 0.9
    assert min(near) < 0.9  # some travel


def test_nobody_is_in_two_places_because_of_a_journey() -> None:
    """Between payments in shops of different cities there is time for the way."""
    _, all_ = habits()
    shop = all_["channel"] != BY_NET
    order = np.lexsort((all_["time"][shop], all_["card"][shop]))
    card, time = all_["card"][shop][order], all_["time"][shop][order]
    city = all_["city"][shop][order]
    moved = (card[1:] == card[:-1]) & (city[1:] != city[:-1])
    assert moved.sum() > 50
    way = distance_km(CITY_PLACES[city[1:][moved]], CITY_PLACES[city[:-1][moved]])
    hours = np.diff(time)[moved] / 3_600
    assert (way / np.maximum(hours, 1e-9) <= 601).all()


def test_week_season_and_salary_show() -> None:
    _, all_ = habits()
    day = (all_["time"] // DAY_S).astype(np.int64)
    weekend = (day + 3) % 7 >= 5
    entertainment = all_["category"] == 11
    assert entertainment[weekend].mean() > 1.25 * entertainment[~weekend].mean()
    year = paid(CardsConfig(seed=3, customers=60, days=365, patterns=()))
    month = year["time"].astype("datetime64[s]").astype("datetime64[M]").astype(int) % 12
    counts = np.bincount(month, minlength=12)
    assert counts[11] > 1.1 * counts[1]


def test_new_cards_come_later() -> None:
    _, all_ = habits()
    _, first = np.unique(all_["card"], return_index=True)  # payments are in order of time
    day = (all_["time"][first] - all_["time"].min()) // DAY_S
    assert 0.08 < (day > 20).mean() < 0.3


def test_attributes_are_constant_per_card_and_change_nothing_else() -> None:
    config = CardsConfig(seed=1, customers=30, days=6)
    plain, rich = rows(config), rows(replace(config, attributes=8))
    seen = defaultdict(set)
    for row in rich:
        seen[row["card"]].add(tuple(row.pop(name) for name in ATTRIBUTES))
    assert rich == plain
    assert {len(values) for values in seen.values()} == {1}
    assert len(set.union(*seen.values())) > 20


# --- drift ---


def test_drift_shows_from_its_day_on_and_not_before() -> None:
    config = CardsConfig(seed=6, customers=400, days=16, patterns=())
    calm, shifted = paid(config), paid(replace(config, drift_day=8, drift_night_share=0.3))
    before = calm["time"] < config.start_time + 8 * DAY_S
    for name, values in calm.items():
        np.testing.assert_array_equal(shifted[name][before], values[before])
    assert len(shifted["time"]) == len(calm["time"])
    after = ~before
    assert shifted["amount"][after].sum() == pytest.approx(2 * calm["amount"][after].sum(), rel=1e-3)
    night = [(run["second"][after] < NIGHT_S).mean() for run in (calm, shifted)]
    assert night[1] - night[0] == pytest.approx(0.3 * (1 - night[0]), abs=0.05)
    new = shifted["category"] == NEW_CATEGORY
    assert not new[before].any()
    assert 0.02 < new[after].mean() < 0.25
    assert any(row["category"] == "other" for row in rows(replace(config, drift_day=15)))


# --- patterns ---


@cache
def incidents(name: str) -> tuple[list[CardsDay], list[list[dict[str, Any]]]]:
    """Days with many incidents of one pattern, and the incidents' events."""
    config = CardsConfig(seed=8, customers=400, days=14, patterns=(name,), pattern_rate=40.0)
    days = list(simulate(config))
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows(config, ids=True):
        if row["kind"]:
            found[row["incident"]].append(row)
    assert len(found) >= 10
    return days, list(found.values())


def seconds(events: list[dict[str, Any]]) -> float:
    times = np.array([event["event_time"].rstrip("Z") for event in events], dtype="datetime64[s]")
    return float((times.max() - times.min()).astype(int))


def one_card(events: list[dict[str, Any]]) -> bool:
    return len({event["card"] for event in events}) == 1


SHAPES: dict[str, Callable[[list[dict[str, Any]]], bool]] = {
    "odd_hour": lambda events: len(events) == 1,
    "new_category": lambda events: len(events) == 1,
    "card_testing": lambda events: (
        len(events) == TEST_PAYMENTS
        and one_card(events)
        and len({event["merchant"] for event in events}) == 1
        and seconds(events) <= TEST_SPAN_S
        and all(TEST_AMOUNT[0] <= event["amount"] <= TEST_AMOUNT[1] for event in events)
    ),
    "new_merchant_amount": lambda events: len(events) == 1,
    "far_jump": lambda events: len(events) == 1,
    "merchant_burst": lambda events: (
        len(events) == BURST_CARDS
        and len({event["merchant"] for event in events}) == 1
        and len({event["card"] for event in events}) > BURST_CARDS / 2
        and seconds(events) <= BURST_SPAN_S
    ),
    "round_amounts": lambda events: (
        len(events) == ROUND_PAYMENTS and all(event["amount"] in ROUND_AMOUNTS for event in events)
    ),
    "small_then_large": lambda events: (
        len(events) == 2
        and one_card(events)
        and events[0]["amount"] <= TEST_AMOUNT[1]
        and seconds(events) <= 1_800
    ),
    "category_amount": lambda events: len(events) == 1,
    "large_amount": lambda events: len(events) == 1,
    "account_takeover": lambda events: (
        len(events) == TAKEOVER_PAYMENTS
        and one_card(events)
        and len({event["device"] for event in events}) == 1
    ),
    "shared_device": lambda events: (
        len(events) == SHARED_CARDS and len({event["device"] for event in events}) == 1
    ),
    "bust_out": lambda events: len(events) == BUST_PAYMENTS and one_card(events),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_an_incident_has_the_published_shape(name: str) -> None:
    _, found = incidents(name)
    assert [events for events in found if not SHAPES[name](events)] == []


def test_every_pattern_has_a_shape_and_a_kind() -> None:
    assert SHAPES.keys() == PATTERNS.keys()
    assert ("", *PATTERNS) == KINDS
    assert simulation.SCENARIOS["cards"] == tuple(PATTERNS)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("large_amount", 6.5, 9.5), ("new_merchant_amount", 2.4, 3.6), ("odd_hour", 0.8, 1.2)],
)
def test_amounts_are_multiples_of_the_usual(name: str, low: float, high: float) -> None:
    """Against the usual amount of the card in the category, which the other payments estimate."""
    days, _ = incidents(name)
    kind = np.concatenate([day.kind for day in days])
    card = np.concatenate([day.payments.card for day in days])
    category = np.concatenate([day.payments.category for day in days])
    log_amount = np.log(np.concatenate([day.payments.amount for day in days]))
    ratios = []
    for row in np.flatnonzero(kind):
        usual = log_amount[(kind == 0) & (card == card[row]) & (category == category[row])]
        if len(usual) >= 5:
            ratios.append(log_amount[row] - usual.mean())
    assert len(ratios) > 15
    assert low < np.exp(np.median(ratios)) < high


def test_odd_hours_are_those_at_which_the_card_is_not_used() -> None:
    days, _ = incidents("odd_hour")
    kind = np.concatenate([day.kind for day in days])
    card = np.concatenate([day.payments.card for day in days])
    hour = np.concatenate([day.payments.second for day in days]) // 3_600
    near = [
        np.mean(np.abs((hour[(kind == 0) & (card == card[row])] - hour[row] + 12) % 24 - 12) <= 1)
        for row in np.flatnonzero(kind)
    ]
    assert np.mean(near) < 0.02


def test_a_new_category_is_one_that_the_card_never_used() -> None:
    days, _ = incidents("new_category")
    kind = np.concatenate([day.kind for day in days])
    pair = np.concatenate([day.payments.card * 100 + day.payments.category for day in days])
    assert np.isin(pair[kind > 0], pair[kind == 0]).mean() < 0.05  # but for a stray payment


def test_a_jump_is_from_a_payment_within_the_hour_to_a_far_city() -> None:
    days, _ = incidents("far_jump")
    for day in days:
        for row in np.flatnonzero(day.kind):
            mine = (day.payments.card == day.payments.card[row]) & (day.kind == 0)
            before = mine & (day.time <= day.time[row]) & (day.time >= day.time[row] - 3_600)
            way = distance_km(day.payments.place[before], day.payments.place[row])
            assert way.max() > JUMP_KM - 60


def test_devices_of_a_takeover_were_never_seen() -> None:
    for name in ("account_takeover", "shared_device"):
        days, found = incidents(name)
        normal = {
            event.get("device")
            for day in days
            for event, kind in zip(to_events(day), day.kind, strict=True)
            if not kind
        }
        assert not {event["device"] for events in found for event in events} & normal


def test_frauds_begin_when_habits_are_known() -> None:
    days, _ = incidents("large_amount")
    assert not np.concatenate([day.kind for day in days[:7]]).any()


# --- events, labels, configuration ---


def test_events_and_labels_are_spelled_as_documented() -> None:
    event = rows(replace(SMALL, events=1), ids=True)[0]
    assert event["event_id"] == "0"
    assert event["event_time"].startswith("2025-01-01T0")
    assert list(event)[:4] == ["event_id", "event_time", "card", "merchant"]
    day = next(day for day in simulate(SMALL) if day.kind.any())
    row = label_rows(day)[0]
    assert row[2] in PATTERNS
    assert row[3].startswith(f"{row[2]}-{day.day}-")
    assert [int(row[0]) for row in label_rows(day)] == day.event_id[day.kind > 0].tolist()


def test_traffic_is_written_with_its_labels() -> None:
    events, labels = io.BytesIO(), io.BytesIO()
    simulation.write(
        simulation.traffic("handbook", scenarios=["amount"], seed=1, customers=200, events=20_000),
        events,
        labels,
    )
    assert len(events.getvalue().splitlines()) == 20_000
    kinds = {line.rsplit(b",", 1)[1] for line in labels.getvalue().splitlines()[1:]}
    assert kinds == {b"1"}
    for wrong in (
        {"preset": "banks"},
        {"preset": "cards", "scenarios": ["x"]},
        {"preset": "cards", "radius": 1},
    ):
        with pytest.raises(ValueError, match=r"preset|scenario"):
            simulation.traffic(**wrong)  # type: ignore[arg-type]


def test_the_documentation_has_the_patterns() -> None:
    document = Path(__file__).parents[2] / "docs" / "reference" / "simulation.md"
    assert f"\n{markdown_table()}\n" in document.read_text()


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"customers must be .* not 0; attributes must be") as caught:
        CardsConfig(customers=0, attributes=9, patterns=("luck",), start_time=5)
    assert "no pattern luck" in str(caught.value)
    assert "midnight" in str(caught.value)
