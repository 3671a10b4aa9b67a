"""The first reason is the field that was tampered with, in words and units that people know."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from detector.config.tree import Event, ModelPart
from detector.config.tree import Features as FeaturesConfig
from detector.core.alerts.earlier import Earlier
from detector.core.alerts.explain import Explainer, Reason, Typical, told_among
from detector.core.alerts.falls import expected_of
from detector.core.alerts.recent import History
from detector.core.alerts.words import Sentences, Usual
from detector.core.events import View
from detector.core.features import DAY_S, Layout, Rows, Units, empty_rows
from detector.core.records import Alert, Identity, Record
from detector.core.shard.partition import Partition
from detector.demo.simulation.handbook import SimulationConfig, simulate, to_events

# --- on traffic --------------------------------------------------------------------------------------------

TAMPERED_EVERY, TAMPERED_FROM = 61, 3000
FACTOR = 20


@cache
def alerts() -> tuple[dict[str, Any], ...]:
    """Bodies of `made`."""
    return tuple(json.loads(alert.body) for alert in made())


@cache
def made() -> tuple[Alert, ...]:
    """Alerts about simulated payments, some of which have 20 times the customer's amount."""
    wanted = ModelPart.model_validate(
        {
            "event": {
                "id": "TRANSACTION_ID",
                "time": {"path": "TX_DATETIME"},
                "entities": [
                    {"name": "customer", "path": "CUSTOMER_ID"},
                    {"name": "terminal", "path": "TERMINAL_ID"},
                ],
                "fields": [
                    {
                        "name": "amount",
                        "path": "TX_AMOUNT",
                        "type": "numeric",
                        "unit": "EUR",
                        "display": "Amount",
                    }
                ],
                "exposure": "amount",
            },
            "model": {
                "barriers": {"block_events": 64, "every_events": 512, "early_events_min": 512},
                "calibration": {"warm_up_events": 1024, "memory_events": 4096},
                "clusters": {"core_events": 1024, "memory_events": 4096, "count_max": 64},
                "encoder": {"hidden": 16, "dimension": 8},
            },
            "alerts": {"budget": {"share": 0.05}, "reasons_max": 5},
        }
    )
    simulation = SimulationConfig(
        seed=2,
        customers=120,
        events=6000,
        amount_limit=1e9,
        customer_share_per_day=0,
        terminal_share_per_day=0,
    )
    records = []
    for n, event in enumerate(event for day in simulate(simulation) for event in to_events(day)):
        if n >= TAMPERED_FROM and n % TAMPERED_EVERY == 0:
            amount = event["TX_AMOUNT"]
            assert isinstance(amount, float)
            event["TX_AMOUNT"] = round(amount * FACTOR, 2)
        records.append(Record(n, 0, None, json.dumps(event).encode()))
    identity = Identity(topic="t", group="g", partition=0, entity_key=b"k")
    driven = Partition(identity, wanted, Partition.begin(wanted, 0), until=0)
    found: list[Alert] = []
    while records:
        step = driven.take(records[:500])
        records = records[step.consumed :]
        found += step.outputs.alerts
        if step.block_ended and (barrier := driven.due({})) is not None:
            driven.barrier(barrier, {})
    return tuple(found)


def tampered(body: Mapping[str, Any]) -> bool:
    number = int(body["event_id"])
    return number >= TAMPERED_FROM and number % TAMPERED_EVERY == 0


def test_a_tampered_amount_is_found_and_named_first() -> None:
    about = [body for body in alerts() if tampered(body)]
    made = len(range(TAMPERED_FROM, 6000)) // TAMPERED_EVERY
    assert len(about) > 0.6 * made
    first = [body["reasons"][0]["field"] for body in about]
    assert first.count("amount") > 0.85 * len(first)


def test_the_expected_amount_is_the_customers_own() -> None:
    ratios, others = [], 0
    for body in alerts():
        for reason in body["reasons"]:
            if tampered(body) and reason["field"] == "amount":
                assert reason["observed"] == body["event"]["amount"]
                assert reason["direction"] == "above"
                assert (reason["unit"], reason["display"]) == ("EUR", "Amount")
                if reason["basis"] == "cluster":  # a customer without history
                    others += 1
                    continue
                ratios.append(reason["observed"] / reason["expected"])
    assert len(ratios) > max(20, 5 * others)
    assert 10 < np.median(ratios) < 40


def test_reasons_have_shares_of_the_fall_largest_first() -> None:
    seen = 0
    for body in alerts():
        shares = [reason["share"] for reason in body["reasons"]]
        assert shares == sorted(shares, reverse=True)
        assert all(0 < share <= 1 for share in shares)
        assert sum(shares) <= 1 + 1e-9
        fields = [reason["field"] for reason in body["reasons"]]
        assert len(set(fields)) == len(fields)
        assert set(fields) <= {"amount", "customer", "customer heat", "terminal heat", "terminal", "time"}
        seen += len(shares)
    assert seen > 100


def test_other_fields_are_explained_in_their_own_terms() -> None:
    reasons = {}
    for body in alerts():
        for reason in body["reasons"]:
            reasons.setdefault(reason["field"], []).append((body, reason))
    for body, reason in reasons["terminal"]:
        assert reason["observed"] == body["entities"]["terminal"]
        assert reason["expected"] is None
    for body, reason in reasons.get("time", ()):
        assert reason["observed"] == body["event_time"][11:16]
        assert len(reason["expected"]) == 5
    for _, reason in reasons["customer"]:
        assert reason["unit"] == "events a day"
        assert reason["expected"] is None


# --- by hand -----------------------------------------------------------------------------------------------

SCHEMA = Event.model_validate(
    {
        "id": "id",
        "time": {"path": "t"},
        "entities": [{"name": "card", "path": "card"}, {"name": "shop", "path": "shop"}],
        "fields": [
            {"name": "amount", "path": "amount", "type": "numeric", "unit": "EUR"},
            {"name": "items", "path": "items", "type": "numeric"},
            {"name": "country", "path": "country", "type": "categorical", "display": "Country"},
            {"name": "note", "path": "note", "type": "text"},
        ],
    }
)
LAYOUT = Layout(SCHEMA, FeaturesConfig(half_lives=(DAY_S,)))
UNITS = Units(np.array([100.0, 3.0]))
VIEW = View(
    main="4711",
    entities={"card": "4711", "shop": "corner"},
    values={"amount": 250.0, "items": None, "country": "DE", "note": "hello"},
    carried={},
    traces=(),
    document=b"{}",
)


def event(history: float = 0.0, mean: float = 80.0) -> Rows:
    rows = empty_rows(1, LAYOUT)
    rows.times[:] = rows.clocks[:] = 10 * DAY_S + 3 * 3600 + 25 * 60
    rows.entities[:] = [11, 12]
    rows.numerics[:] = UNITS.scale(np.array([[250.0, np.nan]]))
    rows.categories[:] = 5
    for kind in LAYOUT.kinds:
        rows.context[:, kind.start] = np.nan
    own = LAYOUT.kinds[1]
    if history:
        rows.context[:, own.start] = 60.0
        rows.context[:, own.start + 1] = history
        scaled = UNITS.scale(np.array([[mean, 1.0]]))
        rows.context[:, own.start + 2 : own.start + 4] = scaled
        rows.context[:, own.there(0) : own.there(own.numerics)] = 1.0
    return rows


def typical() -> Rows:
    rows = empty_rows(1, LAYOUT)
    rows.times[:] = rows.clocks[:] = 13 * 3600
    rows.numerics[:] = UNITS.scale(np.array([[40.0, 2.0]]))
    rows.categories[:] = 6
    for kind in LAYOUT.kinds:
        rows.context[:, kind.start] = 3600.0
        rows.context[:, kind.start + 1] = 4.0
    for habit in LAYOUT.habits:
        rows.context[:, habit.columns] = 1.0
    return rows


EXPLAINER = Explainer(LAYOUT, UNITS, Sentences(SCHEMA))
TYPICAL = Typical(typical(), np.array([[20.0, 1.0], [60.0, 4.0]]), True)


def explain(
    rows: Rows, falls: Mapping[str, float], score: float = 5.0, count_max: int = 16
) -> dict[str, Reason]:
    """Reasons of an event whose score falls so far when a field is as expected."""
    names = [group.name for group in LAYOUT.groups]

    def score_rows(variants: Rows) -> np.ndarray:
        if len(variants) != len(names):  # several of them as expected
            return np.full(len(variants), score)
        return np.array([score - falls.get(name, 0.0) for name in names])

    found = EXPLAINER.reasons(rows, TYPICAL, VIEW, score, score_rows, count_max=count_max)
    assert list(found) == sorted(found, key=lambda reason: -reason.share)
    assert sum(reason.share for reason in found) <= 1 + 1e-9
    return {reason.field: reason for reason in found}


def test_a_value_that_is_usual_by_itself_is_no_reason_beside_another() -> None:
    rows = event()
    rows.numerics[:] = UNITS.scale(np.array([[250.0, 2.0]]))
    view = replace(VIEW, values={**VIEW.values, "items": 2.0})

    def reasons(falls: Mapping[str, float]) -> list[tuple[str, str]]:
        def score_rows(variants: Rows) -> np.ndarray:
            if len(variants) != len(LAYOUT.groups):
                return np.full(len(variants), 5.0)
            return np.array([5.0 - falls.get(group.name, 0.0) for group in LAYOUT.groups])

        found = EXPLAINER.reasons(rows, TYPICAL, view, 5.0, score_rows, count_max=16)
        return [(reason.field, reason.code) for reason in found]

    assert reasons({"items": 2.0, "amount": 1.0}) == [("amount", "value")]
    assert reasons({"items": 2.0}) == [("items", "combination")]


def test_a_share_is_the_fields_part_in_all_falls() -> None:
    found = explain(event(), {"amount": 3.0, "shop": 1.0, "items": -2.0})
    assert {name: reason.share for name, reason in found.items()} == {"amount": 0.75, "shop": 0.25}
    assert list(explain(event(), {"amount": 3.0, "shop": 1.0}, count_max=1)) == ["amount"]
    assert explain(event(), {"amount": 3.0, "shop": 1.0}, count_max=1)["amount"].share == 0.75


@pytest.mark.parametrize("falls", [{}, {"amount": 1e-9, "shop": 1e-8}], ids=["none", "rounding"])
def test_where_nothing_lowers_the_score_the_reason_is_the_combination(falls: dict[str, float]) -> None:
    found = explain(event(), falls)
    assert list(found) == ["combination"]
    assert found["combination"].share == 1.0
    assert "combination" in found["combination"].detail


@pytest.mark.parametrize(("heat", "when"), [((9.0, 9.5), "hours"), ((0.1, 5.0), "days")])
def test_heat_is_a_reason_of_its_own_and_none_is_expected(heat: tuple[float, float], when: str) -> None:
    hot = event()
    columns = LAYOUT.heats[1].columns
    hot.context[:, columns] = heat
    reason = explain(hot, {"card heat": 2.0, "amount": 1.0})["card heat"]
    assert reason.detail == f"earlier events of this card were a little unusual in the last {when}"
    assert reason.of == "card"
    expected, _ = expected_of(LAYOUT, hot, typical(), 5.0)
    assert not expected.context[:, columns].any()


WITHOUT = "without that about 1 event in 100 would be as unusual, not 1 in 100,000"
JOINT = [
    (
        ("amount", "country"),
        "Amount EUR 60.00 and Country DE: neither is unusual by itself, together they are rare",
    ),
    (
        ("country", "time"),
        "Country DE and at 03:25 UTC: neither is unusual by itself, together they are rare",
    ),
    (
        ("amount", "items", "country"),
        "Amount EUR 60.00, Items 2 and Country DE: none of these is unusual by itself, "
        "together they are rare",
    ),
]


def ordinary_event() -> tuple[Rows, View]:
    """Numbers that are usual."""
    rows = event()
    rows.numerics[:] = UNITS.scale(np.array([[60.0, 2.5]]))
    return rows, replace(VIEW, values={**VIEW.values, "amount": 60.0, "items": 2.0})


def as_expected(rows: Rows, variants: Rows) -> list[set[str]]:
    """Fields of each variant that are not the event's."""
    found = []
    for n in range(len(variants)):
        changed = {
            group.name
            for group in LAYOUT.groups
            if (variants.numerics[n, group.numerics] != rows.numerics[0, group.numerics]).any()
            or (variants.categories[n, group.categories] != rows.categories[0, group.categories]).any()
            or (group.clock and variants.clocks[n] != rows.clocks[0])
        }
        found.append(changed)
    return found


@pytest.mark.parametrize(("together", "detail"), JOINT)
def test_things_that_lower_the_score_only_together_are_named(together: Sequence[str], detail: str) -> None:
    rows, view = ordinary_event()

    def score_rows(variants: Rows) -> np.ndarray:
        return np.array([2.0 if one >= set(together) else 5.0 for one in as_expected(rows, variants)])

    found = EXPLAINER.reasons(rows, TYPICAL, view, 5.0, score_rows, count_max=5)
    assert {one.field for one in found} == set(together)
    assert {one.code for one in found} == {"combination"}
    assert found[0].detail == f"{detail}; {WITHOUT}"
    assert sum(one.share for one in found) <= 1.0


def test_a_value_that_alone_lowers_the_score_and_is_usual_is_rare_with_the_rest() -> None:
    rows, view = ordinary_event()

    def score_rows(variants: Rows) -> np.ndarray:
        return np.array([2.0 if "amount" in one else 5.0 for one in as_expected(rows, variants)])

    (found,) = EXPLAINER.reasons(rows, TYPICAL, view, 5.0, score_rows, count_max=5)
    assert (found.field, found.code) == ("amount", "combination")
    assert found.detail == (
        f"no single value is rare, but all together are; most of all Amount EUR 60.00; {WITHOUT}"
    )


def test_many_small_falls_are_one_reason() -> None:
    names = [f"v{n}" for n in range(30)]
    fields = [{"name": name, "path": name, "type": "numeric"} for name in names]
    schema = Event.model_validate({"id": "id", "time": {"path": "t"}, "fields": fields})
    layout = Layout(schema, FeaturesConfig(half_lives=(DAY_S,), cycles=()))
    row = empty_rows(1, layout)
    values = replace(VIEW, main=None, entities={}, values=dict.fromkeys(names, 1.0))
    falls = 5.0 - np.linspace(0.9, 1.0, len(layout.groups))
    (reason,) = Explainer(layout, Units(np.ones(30)), Sentences(schema)).reasons(
        row, Typical(row, np.ones((2, 30)), True), values, 5.0, lambda rows: falls, count_max=3
    )
    assert (reason.field, reason.share) == ("combination", 1.0)
    assert reason.detail == (
        "many values are a little unusual, none of them much: V29, V28, V27; without that about 1 event in "
        "13,000 would be as unusual, not 1 in 100,000"
    )


@pytest.mark.parametrize("count", [2, 3, 6, 7])
@pytest.mark.parametrize("rest", [1e-7, 1e-5, 1 / 3, 0.7])
def test_shares_are_above_0_and_never_sum_to_more_than_1(count: int, rest: float) -> None:
    names = [group.name for group in LAYOUT.groups][:count]
    falls = {name: 1.0 + n * rest if n else rest for n, name in enumerate(names)}
    found = explain(event(), falls)
    assert all(0.05 <= reason.share <= 1 for reason in found.values())
    assert sum(round(reason.share * 10_000) for reason in found.values()) <= 10_000


def test_with_history_the_entitys_own_mean_is_expected_else_the_clusters_median() -> None:
    own = explain(event(history=20.0), {"amount": 1.0})["amount"]
    assert (own.observed, own.expected, own.basis, own.direction) == (
        250.0,
        pytest.approx(80.0),
        "entity",
        "above",
    )
    young = explain(event(history=2.0), {"amount": 1.0})["amount"]
    assert (young.expected, young.basis) == (pytest.approx(40.0), "cluster")
    assert young.unit == "EUR"
    dear = explain(event(history=20.0, mean=3000.0), {"amount": 1.0})["amount"]
    assert dear.direction == "below"
    assert dear.detail == "Amount EUR 250.00; this card usually 2,000 to 4,400"
    assert dear.range == pytest.approx((2040.0, 4412.0), rel=0.01)


def test_a_missing_value_is_said_to_be_missing() -> None:
    found = explain(event(), {"items": 1.0})["items"]
    assert found.observed is None
    assert found.direction == "unusual"
    assert found.expected == pytest.approx(2.0)
    assert found.detail == "Items is missing; cards usually 1 to 4"


def test_entities_and_categories_are_explained_by_their_familiarity() -> None:
    new = explain(event(), {"shop": 2.0, "country": 1.0, "note": 0.5})
    assert new["shop"].observed == "corner"
    assert new["shop"].detail == "first time at shop corner for anybody"
    assert (new["country"].observed, new["country"].display) == ("DE", "Country")
    assert new["note"].observed == "hello"
    rows = event()
    pair = next(kind for kind in LAYOUT.kinds if kind.name == "card+shop")
    rows.context[:, pair.start] = 3 * DAY_S
    rows.context[:, pair.age] = 90 * DAY_S
    detail = explain(rows, {"shop": 1.0})["shop"].detail
    assert detail == (
        "no single value is rare, but all together are; most of all at shop corner; "
        "without that about 1 event in 10,000 would be as unusual, not 1 in 100,000"
    )


def test_times_are_explained_as_times_of_day() -> None:
    found = explain(event(), {"time": 1.0})["time"]
    assert (found.observed, found.expected) == ("03:25", "13:00")


def test_only_the_fields_own_columns_are_replaced() -> None:
    """What is scored is the event with one thing as expected and nothing else changed."""
    rows, seen = event(history=20.0), []
    for heat in LAYOUT.heats:
        rows.context[:, heat.columns] = 1.0

    def score_rows(variants: Rows) -> np.ndarray:
        seen.append(variants.copy())
        return np.zeros(len(variants))

    EXPLAINER.reasons(rows, TYPICAL, VIEW, 5.0, score_rows, count_max=3)
    (variants,) = seen
    for row, group in enumerate(LAYOUT.groups):
        one = variants.take(slice(row, row + 1))
        assert one.entities.tolist() == rows.entities.tolist()
        changed = {
            "numerics": group.numerics.stop > 0,
            "categories": group.categories.stop > 0,
            "context": bool(group.context),
            "clocks": group.clock,
        }
        for name, may_change in changed.items():
            same = np.array_equal(getattr(one, name), getattr(rows, name), equal_nan=True)
            assert same != may_change, (group.name, name)


# --- habits ----------------------------------------------------------------------------------------------


def habit(rows: Rows, name: str, key: int | None, values: list[float]) -> None:
    found = LAYOUT.habit_of(name, key)
    assert found is not None
    rows.context[:, found.columns] = values


def test_a_run_of_events_is_told_with_what_is_usual() -> None:
    rows = event(history=60.0)
    habit(rows, "pace", None, [100.0, 1200.0, 1_000_000.0, 1.0])
    habit(rows, "pace", 0, [8.0, 11.0, 60.0, 1.0])
    assert "11 events in the last hour" in explain(rows, {"card": 1.0})["card"].detail
    habit(rows, "pace", 0, [0.0, 0.0, 60.0, 1.0])
    assert "last hour" not in explain(rows, {"card": 1.0})["card"].detail
    habit(rows, "pace", 1, [20.0, 25.0, 60.0, 1.0])
    habit(rows, "pace", 1, [20.0, 25.0, 60.0, 1.0])
    rows.context[:, LAYOUT.kinds[2].start] = 60.0
    busy = explain(rows, {"shop": 1.0})["shop"]
    assert busy.detail.startswith("Shop corner is busy: 25 events in the last hour, usually ")
    assert (busy.of, busy.code) == ("shop", "contact")
    assert explain(rows, {"amount": 1.0})["amount"].of == "card"


def test_an_hour_that_is_not_the_entitys_own_is_told() -> None:
    rows = event(history=60.0)
    habit(rows, "hours", 0, [0.0, 60.0])
    assert "less than 1 % of this card’s events" in explain(rows, {"time": 1.0})["time"].detail
    habit(rows, "hours", 0, [0.0, 1.0])  # too few to tell
    assert "of this card’s events" not in explain(rows, {"time": 1.0})["time"].detail


def test_something_new_is_told_with_how_rare_that_is() -> None:
    rows = event(history=60.0)
    contacts = [kind.name for kind in LAYOUT.contacts]
    counts = [60.0, *(0.3 if name == "card+country" else 30.0 for name in contacts)]
    habit(rows, "novelty", 0, counts)
    assert "this happens in 1 of 60 events of this card" in explain(rows, {"country": 1.0})["country"].detail


PAST = History(
    np.array([9, 8, 7]),
    np.array([50.0, 40.0, 30.0]),
    np.array([900.0, 30.0, 40.0]),
    np.array([1.8, 0.2, 0.1]),
    -np.inf,
    np.zeros(3, dtype=np.int64),
)


def test_an_amount_is_told_beside_the_last_ones() -> None:
    """Readers found an amount in the list of earlier events that was as large as the unusual one."""
    usual = [Usual("this card", 20.0, 60.0)]

    def told(amount: float) -> str | None:
        return told_among(Sentences(SCHEMA), PAST, amount, usual)

    assert told(250.0) == "this card had as much in 1 of its last 3 events"
    assert told(1000.0) == "this card had less in each of its last 3 events"
    assert told(5.0) == "this card had more in each of its last 3 events"
    assert told(15.0) == "this card had more in each of its last 3 events"
    assert told(40.0) is None
    earlier = Earlier(1, (), 900.0, None, others=np.array([30.0, 40.0]))
    assert told_among(Sentences(SCHEMA), PAST, 250.0, usual, earlier) == (
        "this card had less in each of its last 2 events, without the unusual ones"
    )
    assert told_among(Sentences(SCHEMA), PAST.newest(1), 250.0, usual) is None
    assert told_among(Sentences(SCHEMA), None, 250.0, usual) is None


def test_what_was_a_little_unusual_has_its_figure() -> None:
    hot = event()
    hot.context[:, LAYOUT.heats[1].columns] = 9.0, 9.5

    def score_rows(variants: Rows) -> np.ndarray:
        return np.array([5.0 - 2.0 * (group.name == "card heat") for group in LAYOUT.groups])

    (reason,) = EXPLAINER.reasons(hot, TYPICAL, VIEW, 5.0, score_rows, count_max=1, history=PAST)
    assert reason.detail.endswith("unusual in the last hours, at most 1 event in 63 is as unusual")
