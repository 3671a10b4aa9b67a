"""What simulated traffic must be: the same for the same seed, in order, a prefix of longer runs, with the
shares of fraud that its parameters say, and shifted from the drift's day on and not before."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.demo.simulation import traffic, write
from detector.demo.simulation.handbook import (
    AMOUNT,
    CUSTOMER,
    DAY_S,
    LABEL_FIELDS,
    NIGHT_S,
    TERMINAL,
    SimulatedDay,
    SimulationConfig,
    label_rows,
    simulate,
    to_events,
)

ARRAYS = ("event_id", "time", "customer", "terminal", "amount", "scenario")
SMALL = SimulationConfig(seed=3, customers=400, days=20)


def run(config: SimulationConfig) -> dict[str, np.ndarray]:
    days = list(simulate(config))
    return {name: np.concatenate([getattr(day, name) for day in days]) for name in ARRAYS}


def as_bytes(config: SimulationConfig) -> bytes:
    return repr([(to_events(day), label_rows(day)) for day in simulate(config)]).encode()


@pytest.fixture(scope="module")
def handbook() -> dict[str, np.ndarray]:
    """Sixty days of the default population: some 580,000 transactions."""
    return run(SimulationConfig(seed=1, days=60))


# --- same seed, same bytes ---


def test_same_seed_gives_same_bytes_and_another_seed_does_not() -> None:
    assert as_bytes(SMALL) == as_bytes(SMALL)
    assert as_bytes(SMALL) != as_bytes(replace(SMALL, seed=4))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**64),
    customers=st.integers(1, 60),
    events=st.integers(1, 600),
    more=st.integers(0, 300),
)
def test_a_shorter_run_is_a_prefix_of_a_longer_one(seed: int, customers: int, events: int, more: int) -> None:
    config = SimulationConfig(seed=seed, customers=customers, daily_transactions_max=20.0, days=40)
    short, long = (run(replace(config, events=n)) for n in (events, events + more))
    assert len(short["time"]) <= events
    for name in ARRAYS:
        np.testing.assert_array_equal(short[name], long[name][: len(short[name])])
    if len(long["time"]) >= events:
        assert len(short["time"]) == events


def test_no_events_is_no_day() -> None:
    assert list(simulate(SimulationConfig(events=0))) == []


def test_fewer_days_are_a_prefix_and_events_cut_within_a_day() -> None:
    whole = run(SMALL)
    few = run(replace(SMALL, days=7))
    cut = run(replace(SMALL, days=None, events=len(few["time"]) + 5))
    for name in ARRAYS:
        np.testing.assert_array_equal(few[name], whole[name][: len(few[name])])
        np.testing.assert_array_equal(cut[name], whole[name][: len(few[name]) + 5])


def test_without_a_limit_it_runs_the_handbooks_183_days() -> None:
    days = list(simulate(SimulationConfig(customers=1, daily_transactions_max=0.0)))
    assert len(days) == 183
    assert sum(map(len, days)) == 0


def test_switching_a_scenario_off_leaves_the_rest_as_it_was() -> None:
    base = run(SMALL)
    no_terminals = run(replace(SMALL, terminal_share_per_day=0.0))
    assert not (no_terminals["scenario"] == TERMINAL).any()
    for name in ("time", "customer", "terminal", "amount"):
        np.testing.assert_array_equal(base[name], no_terminals[name])
    np.testing.assert_array_equal(base["scenario"] == CUSTOMER, no_terminals["scenario"] == CUSTOMER)

    no_customers = run(replace(SMALL, customer_share_per_day=0.0))
    untouched = base["scenario"] != CUSTOMER
    assert not (no_customers["scenario"] == CUSTOMER).any()
    for name in ARRAYS:
        np.testing.assert_array_equal(base[name][untouched], no_customers[name][untouched])


# --- order and shape ---


def test_events_come_day_by_day_in_time_order_with_ascending_ids() -> None:
    config = replace(SMALL, daily_transactions_max=500.0, days=3)  # 100,000 a day: many equal seconds
    expected_id = 0
    for number, day in enumerate(simulate(config)):
        assert day.day == number
        assert (np.diff(day.time) >= 0).all()
        assert (np.diff(day.time) == 0).any()
        np.testing.assert_array_equal(day.event_id, np.arange(expected_id, expected_id + len(day)))
        expected_id += len(day)
        start = config.start_time + number * DAY_S
        assert (day.time >= start).all()
        assert (day.time < start + DAY_S).all()
        np.testing.assert_array_equal(day.time, np.floor(day.time))


def test_arrays_have_the_promised_types_and_ranges(handbook: dict[str, np.ndarray]) -> None:
    assert {name: handbook[name].dtype.name for name in ARRAYS} == {
        "event_id": "int64",
        "time": "float64",
        "customer": "int64",
        "terminal": "int64",
        "amount": "float64",
        "scenario": "int8",
    }
    assert handbook["customer"].min() >= 0
    assert handbook["customer"].max() < 5_000
    assert handbook["terminal"].min() >= 0
    assert handbook["terminal"].max() < 10_000
    assert handbook["amount"].min() >= 0
    np.testing.assert_array_equal(handbook["amount"], np.round(handbook["amount"], 2))
    assert set(np.unique(handbook["scenario"])) == {0, AMOUNT, TERMINAL, CUSTOMER}


# --- customers and terminals ---


def test_customers_use_a_stable_set_of_near_terminals() -> None:
    # 4,000 transactions a customer against a mean of 2 * 300 * pi * 25 / 10,000 = 4.7 terminals within reach.
    traffic = run(SimulationConfig(seed=5, customers=300, daily_transactions_max=400.0, days=20))
    used = [len(np.unique(traffic["terminal"][traffic["customer"] == customer])) for customer in range(300)]
    assert 3.0 < np.mean(used) < 5.5
    assert max(used) < 20


def test_a_customer_without_a_terminal_within_reach_uses_the_nearest() -> None:
    config = SimulationConfig(
        seed=6, customers=50, terminals=40, radius=0.0, daily_transactions_max=50.0, days=20
    )
    lonely = run(config)
    pairs = np.unique(np.stack([lonely["customer"], lonely["terminal"]]), axis=1)
    assert len(np.unique(pairs[0])) == pairs.shape[1] >= 45
    # The nearest stays within reach, so with a wider radius all of these pairs occur again, among others.
    wide = run(replace(config, radius=30.0, daily_transactions_max=400.0))
    wide_pairs = set(zip(wide["customer"].tolist(), wide["terminal"].tolist(), strict=True))
    assert set(zip(*pairs.tolist(), strict=True)) <= wide_pairs
    assert len(wide_pairs) > 3 * pairs.shape[1]


def test_a_radius_over_the_whole_world_reaches_every_terminal() -> None:
    config = SimulationConfig(customers=3, terminals=5, radius=150.0, daily_transactions_max=200.0, days=10)
    traffic = run(config)
    assert len(np.unique(traffic["customer"] * 5 + traffic["terminal"])) == 15


# --- amounts, times, numbers ---


def test_volume_times_and_amounts_follow_the_description(handbook: dict[str, np.ndarray]) -> None:
    inside = math.erf(DAY_S / 2 / 20_000 / math.sqrt(2))  # times beyond the day are dropped
    assert len(handbook["time"]) / 60 == pytest.approx(5_000 * 2 * inside, rel=0.04)
    second = handbook["time"] % DAY_S
    assert second.mean() == pytest.approx(DAY_S / 2, abs=100)
    assert 17_000 < second.std() < 20_000  # cut normal
    normal = handbook["scenario"] == 0
    # Half the means' mean of 52.5, a little more for the negative amounts drawn again.
    assert handbook["amount"][normal].mean() == pytest.approx(53.5, rel=0.03)
    amount, customer = handbook["amount"][normal], handbook["customer"][normal]
    count = np.maximum(np.bincount(customer, minlength=5_000), 1)
    mean = np.bincount(customer, amount, minlength=5_000) / count
    spread = np.sqrt(np.bincount(customer, (amount - mean[customer]) ** 2, minlength=5_000) / count)
    busy = count > 60
    assert np.median(spread[busy] / mean[busy]) == pytest.approx(0.47, abs=0.03)
    assert mean[busy].min() > 4
    assert mean[busy].max() < 120


# --- fraud ---


def test_shares_of_the_scenarios_are_those_expected(handbook: dict[str, np.ndarray]) -> None:
    settled = handbook["time"] >= SimulationConfig().start_time + 28 * DAY_S
    share = np.bincount(handbook["scenario"][settled], minlength=4) / settled.sum()
    means = np.linspace(5, 100, 2_001)
    above = np.mean([0.5 * math.erfc((220 - m) / (m / 2) / math.sqrt(2)) for m in means])
    assert share[AMOUNT] == pytest.approx(above, rel=0.25)
    assert share[TERMINAL] == pytest.approx(28 * 2 / 10_000, rel=0.25)
    assert share[CUSTOMER] == pytest.approx(14 * 3 / 5_000 / 3, rel=0.25)


def test_a_smaller_population_keeps_the_shares() -> None:
    traffic = run(SimulationConfig(seed=2, customers=500, days=300))  # 0.2 terminals and 0.3 customers a day
    share = np.bincount(traffic["scenario"], minlength=4) / len(traffic["scenario"])
    assert share[TERMINAL] == pytest.approx(28 * 2 / 10_000, rel=0.4)
    assert share[CUSTOMER] == pytest.approx(14 * 3 / 5_000 / 3, rel=0.4)


def test_scenario_1_is_every_amount_above_the_limit(handbook: dict[str, np.ndarray]) -> None:
    amount, scenario = handbook["amount"], handbook["scenario"]
    assert (amount[scenario == AMOUNT] > 220).all()
    assert (amount[scenario == 0] <= 220).all()
    without = run(replace(SMALL, amount_limit=math.inf))
    assert not (without["scenario"] == AMOUNT).any()


def test_scenario_2_takes_all_of_a_terminal_for_28_days() -> None:
    config = SimulationConfig(
        seed=8, customers=200, terminals=100, days=60, customer_share_per_day=0.0, terminal_share_per_day=1e-2
    )
    traffic = run(config)
    day = ((traffic["time"] - config.start_time) // DAY_S).astype(int)
    compromised = np.zeros((100, 60), dtype=bool)
    compromised[traffic["terminal"], day] |= traffic["scenario"] == TERMINAL
    theirs = compromised[traffic["terminal"], day]
    assert (traffic["scenario"][theirs] == TERMINAL).all()  # all or none of a day
    newly = np.flatnonzero(compromised[:, 0])
    assert len(newly) <= 1
    assert 15 <= compromised[:, 40].sum() <= 28  # one a day for 28 days, less repeats and idle terminals


def test_scenario_3_multiplies_a_third_of_a_customers_amounts() -> None:
    config = SimulationConfig(
        seed=9, customers=100, daily_transactions_max=200.0, days=14, amount_limit=math.inf
    )
    config = replace(config, terminal_share_per_day=0.0, customer_share_per_day=3e-2)
    tampered = run(config)
    clean = run(replace(config, customer_share_per_day=0.0))
    fraud = tampered["scenario"] == CUSTOMER
    np.testing.assert_array_equal(tampered["amount"][~fraud], clean["amount"][~fraud])
    np.testing.assert_allclose(tampered["amount"][fraud], 5 * clean["amount"][fraud], atol=0.006)
    victims = np.unique(tampered["customer"][(tampered["time"] < config.start_time + DAY_S) & fraud])
    assert 1 <= len(victims) <= 3
    theirs = np.isin(tampered["customer"], victims)  # compromised on day 0, so for all of these 14 days
    assert fraud[theirs].mean() == pytest.approx(1 / 3, abs=0.04)


def test_compromise_ends() -> None:
    config = replace(SMALL, days=30, customer_share_per_day=1.0, terminal_share_per_day=0.0, customer_days=1)
    one_day = run(replace(config, customer_share_per_day=1.0))
    assert (one_day["scenario"] == CUSTOMER).mean() == pytest.approx(1 / 3, abs=0.03)
    none = run(replace(config, customer_days=0))
    assert not (none["scenario"] == CUSTOMER).any()


# --- drift ---


def test_drift_shows_from_its_day_on_and_not_before() -> None:
    calm = run(replace(SMALL, customers=1_000))
    config = replace(SMALL, customers=1_000, drift_day=10, drift_price_factor=2.0, drift_night_share=0.3)
    shifted = run(config)
    boundary = config.start_time + 10 * DAY_S
    before = calm["time"] < boundary
    assert before.sum() == (shifted["time"] < boundary).sum()
    for name in ARRAYS:
        np.testing.assert_array_equal(shifted[name][before], calm[name][before])
    assert len(shifted["time"]) == len(calm["time"])

    assert shifted["amount"][~before].sum() == pytest.approx(2 * calm["amount"][~before].sum(), rel=1e-3)
    at_night = [(run_["time"][~before] % DAY_S < NIGHT_S).mean() for run_ in (calm, shifted)]
    moved = 0.3 * (1 - at_night[0])
    assert at_night[1] - at_night[0] == pytest.approx(moved, abs=0.02)
    # The limit of scenario 1 follows prices: the same transactions are frauds, only their order differs.
    np.testing.assert_array_equal(np.bincount(shifted["scenario"]), np.bincount(calm["scenario"]))
    assert (np.diff(shifted["time"]) >= 0).all()


def test_a_drift_without_effect_changes_nothing() -> None:
    still = replace(SMALL, drift_day=0, drift_price_factor=1.0, drift_night_share=0.0)
    assert as_bytes(still) == as_bytes(SMALL)


def test_categories_are_those_of_terminals_and_change_nothing_else() -> None:
    plain, rich = run(SMALL), list(simulate(replace(SMALL, categories=20)))
    for name in ARRAYS:
        np.testing.assert_array_equal(np.concatenate([getattr(day, name) for day in rich]), plain[name])
    category = np.concatenate([day.category for day in rich if day.category is not None])
    pairs = np.unique(np.stack([plain["terminal"], category]), axis=1)
    assert len(pairs[0]) == len(np.unique(plain["terminal"]))  # one category each
    assert set(category.tolist()) == set(range(20))
    assert (category == 0).mean() > 3 * (category == 9).mean()
    assert [event["MERCHANT_CATEGORY"] for event in to_events(rich[0])[:9]] == [f"C{n}" for n in category[:9]]
    assert "MERCHANT_CATEGORY" not in to_events(next(simulate(SMALL)))[0]


def test_a_drift_brings_a_new_category_to_a_share_of_the_terminals() -> None:
    config = replace(
        SMALL,
        categories=20,
        drift_day=10,
        drift_price_factor=1.0,
        drift_night_share=0,
        drift_category_share=0.3,
    )
    for day, calm in zip(simulate(config), simulate(replace(config, drift_day=None)), strict=True):
        assert day.category is not None
        assert calm.category is not None
        new = day.category == 20
        assert new.mean() == (pytest.approx(0.3, abs=0.1) if day.day >= 10 else 0)
        np.testing.assert_array_equal(day.category[~new], calm.category[~new])
        np.testing.assert_array_equal(day.amount, calm.amount)


# --- events and labels ---


def test_events_and_labels_are_spelled_as_in_the_handbook() -> None:
    day = SimulatedDay(
        day=0,
        event_id=np.array([7, 8, 9]),
        time=np.array([1_522_540_831.0, 1_522_540_831.0, 1_522_627_199.0]),
        customer=np.array([596, 4_961, 2]),
        terminal=np.array([3_156, 3_412, 1_365]),
        amount=np.array([57.16, 146.0, 220.01]),
        scenario=np.array([0, 2, 1], dtype=np.int8),
    )
    events = to_events(day)
    assert list(events[0].items()) == [
        ("TRANSACTION_ID", "7"),
        ("TX_DATETIME", "2018-04-01T00:00:31Z"),
        ("CUSTOMER_ID", "596"),
        ("TERMINAL_ID", "3156"),
        ("TX_AMOUNT", 57.16),
    ]
    assert [event["TX_AMOUNT"] for event in events] == [57.16, 146.0, 220.01]
    assert all(type(event["TX_AMOUNT"]) is float for event in events)
    assert LABEL_FIELDS == ("event_id", "event_time", "scenario")
    assert label_rows(day) == [("8", "2018-04-01T00:00:31Z", 2), ("9", "2018-04-01T23:59:59Z", 1)]


def test_labels_name_exactly_the_frauds() -> None:
    for day in simulate(SMALL):
        assert [int(row[0]) for row in label_rows(day)] == day.event_id[day.scenario > 0].tolist()


# --- configuration ---


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"customers must be .* not 0; radius must be .* not nan") as caught:
        SimulationConfig(customers=0, radius=math.nan, mean_amount_min=9.0, mean_amount_max=8.0)
    assert "mean_amount_max must not be below mean_amount_min" in str(caught.value)


@pytest.mark.parametrize(
    ("settings_", "problem"),
    [
        ({"customers": 100_000}, "terminals within radius"),
        ({"customers": 4_000, "daily_transactions_max": 10_000.0}, "transactions, the limit is"),
    ],
)
def test_a_simulation_that_would_not_fit_in_memory_is_refused(
    settings_: dict[str, float], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        SimulationConfig(**settings_)  # type: ignore[arg-type]


@pytest.mark.parametrize("preset", ["cards", "handbook"])
def test_csv_has_the_values_of_the_json(preset: str) -> None:
    as_json, as_csv = io.BytesIO(), io.BytesIO()
    write(traffic(preset, events=300, seed=3), as_json)
    write(traffic(preset, events=300, seed=3), as_csv, as_csv=True)
    events = [msgspec.json.decode(line) for line in as_json.getvalue().splitlines()]
    rows = list(csv.DictReader(io.StringIO(as_csv.getvalue().decode())))
    fields = set().union(*events)
    assert rows == [{name: str(event.get(name, "")) for name in fields} for event in events]
