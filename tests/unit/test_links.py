"""Alerted entities that share a rare value are found; a busy value relates nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.config.tree import Alerts as AlertsConfig
from detector.core.alerts.links import AMOUNTS_MAX, CASES_MAX, CHAIN_MAX, EVENTS_MAX, NONE, Links
from detector.core.erasure import Erased
from detector.core.features import DAY_S
from detector.core.state import pack, unpack

START_S = 1_700_000_000.0
DEVICE, SHOP = 1001, 1002


def links() -> Links:
    return Links(AlertsConfig())


def test_alerted_entities_share_a_device_for_days() -> None:
    made = links()
    made.add([DEVICE, SHOP], 5, case=10, offset=10, time=START_S)
    made.add([DEVICE, 0], 5, case=10, offset=12, time=START_S)
    device, missing = made.shared([DEVICE, 0], 6, START_S + DAY_S, [1e-6, 0.0])
    assert (device.alerted, device.frauds, device.cases, device.related) == (1, 0, (10,), True)
    assert (missing.alerted, missing.cases, missing.related) == (0, (), False)
    assert made.shared([DEVICE], 5, START_S, [1e-6])[0].alerted == 0  # its own
    assert made.shared([DEVICE], 6, START_S + 8 * DAY_S, [1e-6])[0].alerted == 0  # too long ago
    assert not made.shared([DEVICE], 6, START_S)[0].related  # its share of the traffic is not known


def test_a_busy_shop_relates_nothing_until_it_has_more_than_its_share() -> None:
    made = links()
    for n in range(100):
        made.add([SHOP if n % 20 == 0 else 2000 + n], 100 + n, case=n, offset=n, time=START_S + n)
    assert not made.shared([SHOP], 5, START_S + 100, [0.05])[0].related
    assert made.shared([SHOP], 5, START_S + 100, [0.001])[0].related
    found = made.shared([SHOP], 5, START_S + 100, [0.001])[0]
    assert found.alerted == 5
    assert found.cases == (80, 60, 40, 20, 0)


def test_confirmed_frauds_are_counted_until_they_are_retracted() -> None:
    made = links()
    made.add([SHOP], 5, case=10, offset=10, time=START_S)
    made.confirm([SHOP], 5, offset=10, time=START_S, fraud=True)
    made.confirm([SHOP, 0], 7, offset=3, time=START_S, fraud=True)  # it gave no alert
    [found] = made.shared([SHOP], 6, START_S)
    assert (found.alerted, found.frauds) == (1, 2)
    made.confirm([SHOP], 5, offset=10, time=START_S, fraud=False)
    made.confirm([SHOP], 8, offset=4, time=START_S, fraud=False)
    [found] = made.shared([SHOP], 6, START_S)
    assert (found.alerted, found.frauds) == (1, 1)


def test_links_are_bounded() -> None:
    made = links()
    for n in range(EVENTS_MAX + 10):
        made.add([n + 1], 5, case=n, offset=n, time=START_S)
    assert len(made) == EVENTS_MAX
    assert made.shared([10], 6, START_S)[0].alerted == 0
    assert made.shared([11], 6, START_S)[0].alerted == 1
    assert len(made._newest) == EVENTS_MAX
    for n in range(CHAIN_MAX + 50):
        made.add([SHOP], 100 + n, case=n, offset=n, time=START_S)
    [found] = made.shared([SHOP], 6, START_S)
    assert (found.alerted, len(found.cases)) == (CHAIN_MAX, CASES_MAX)


def test_a_forgotten_entity_is_not_known() -> None:
    made = links()
    made.add([SHOP], 5, case=10, offset=10, time=START_S)
    made.add([SHOP], 6, case=11, offset=11, time=START_S)
    made.erase(Erased(np.array([5], dtype=np.uint64), np.zeros(0, dtype=np.int64)))
    assert made.shared([SHOP], 7, START_S)[0].cases == (11,)
    assert (made.to_state()["entity"] != 5).all()
    assert 10 not in made.to_state()["offset"]


steps = st.lists(
    st.tuples(st.integers(1, 6), st.integers(10, 14), st.floats(0, 9e5), st.booleans()), max_size=40
)


def run(made: Links, given_steps: list[Any], start: int = 0) -> list[Any]:
    found = []
    for n, (key, entity, time, fraud) in enumerate(given_steps, start=start):
        made.add([key, key + 1], entity, case=n // 2, offset=n, time=START_S + time, amount=time)
        if fraud:
            made.confirm([key], entity, offset=n - 1, time=START_S + time, fraud=True)
        found.append(made.shared([key, key + 1], 10, START_S + time, [0.01, 0.2]))
    return found


@given(first=steps, second=steps)
@settings(max_examples=20, deadline=None)
def test_links_go_on_from_their_state(first: list[Any], second: list[Any]) -> None:
    one, other = links(), links()
    run(one, first)
    saved = pack(one.to_state())
    other.load(unpack(saved))
    assert run(one, second, 100) == run(other, second, 100)
    assert pack(one.to_state()) == pack(other.to_state())


def plainly(
    rows: list[dict[str, Any]], key: int, entity: int, since: float
) -> tuple[int, int, tuple[int, ...], tuple[float, ...]]:
    """What a plain loop says: entities with an alert, frauds, cases and amounts, the newest first."""
    mine = [row for row in rows if row["key"] == key][:CHAIN_MAX]
    mine = [row for row in mine if row["entity"] != entity and row["time"] >= since]
    cases = dict.fromkeys(row["case"] for row in mine if row["case"] != NONE)
    amounts: dict[int, float] = {}  # of the newest event of each
    for row in mine:
        if row["case"] != NONE:
            amounts.setdefault(row["entity"], row["amount"])
    told = tuple(amounts.values())[:AMOUNTS_MAX]
    return len(amounts), sum(row["fraud"] for row in mine), tuple(cases)[:CASES_MAX], told


@given(given_steps=st.lists(steps.filter(len), min_size=1, max_size=4), days=st.floats(0, 14))
@settings(max_examples=20, deadline=None)
def test_what_a_chain_says_is_what_a_plain_loop_says(given_steps: list[list[Any]], days: float) -> None:
    made = links()
    for number, some in enumerate(given_steps):
        run(made, some, 40 * number)
    made.erase(Erased(np.array([12], dtype=np.uint64), np.zeros(0, dtype=np.int64)))
    state = made.to_state()
    names = ("key", "entity", "case", "time", "fraud", "amount")
    columns = zip(*(state[name].tolist() for name in names), strict=True)
    rows = [dict(zip(names, row, strict=True)) for row in columns][::-1]
    now = START_S + days * DAY_S
    for key in range(1, 8):
        for entity in (10, 14):
            [found] = made.shared([key], entity, now)
            since = now - AlertsConfig().case_idle_timeout
            told = found.alerted, found.frauds, found.cases, found.amounts
            assert told == plainly(rows, key, entity, since)
            assert {type(found.alerted), type(found.frauds), *map(type, found.cases)} == {int}
