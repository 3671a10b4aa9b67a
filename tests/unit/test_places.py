"""Usual places and moves of keys: what an event sees of them, and what is learned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.config.tree import Event
from detector.config.tree import Features as FeaturesConfig
from detector.core.features import DAY_S, Layout, Rows, empty_rows
from detector.core.features.levels import LEVELS, count, level_of, share_of_all, share_of_own
from detector.core.features.place_tables import PLACES, SLACK_S, MovesTable, PlacesTable, square, way_km
from detector.core.features.rows import to_vectors
from detector.core.state import copied, differing, digest

MONTH_S = 30 * DAY_S
START_S = 1.7e9
PARIS, LYON, SYDNEY = (48.8566, 2.3522), (45.7640, 4.8357), (-33.8688, 151.2093)
NOWHERE = (math.nan, math.nan)
SCHEMA = Event.model_validate(
    {
        "id": "id",
        "time": {"path": "time"},
        "entities": [{"name": "card", "path": "card"}, {"name": "device", "path": "device"}],
        "fields": [{"name": "shop", "path": "lat, lon", "type": "geo"}],
    }
)
LAYOUT = Layout(SCHEMA, FeaturesConfig(half_lives=(DAY_S, MONTH_S)))
Seen = NDArray[np.float32]


def rows_of(times: list[float], points: list[tuple[float, float]]) -> Rows:
    rows = empty_rows(len(times), LAYOUT)
    rows.times[:] = times
    rows.points[:] = to_vectors(np.reshape(points, (-1, 1, 2)))
    return rows


def seen(
    table: PlacesTable | MovesTable, keys: list[int], times: list[float], points: list[Any]
) -> NDArray[np.float32]:
    context = np.full((len(keys), 2 if isinstance(table, PlacesTable) else 3), -1.0, dtype=np.float32)
    table.reserve(len(keys))
    rows = rows_of(times, points)
    table.observe(np.array(keys, dtype=np.uint64), rows.times, rows.points[:, 0], context)
    return context


def places() -> PlacesTable:
    return PlacesTable(MONTH_S, 1000)


def moves() -> MovesTable:
    return MovesTable(MONTH_S, 1000)


def hours(*numbers: float) -> list[float]:
    return [START_S + 3600.0 * number for number in numbers]


# --- distances and levels --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "km"),
    [(PARIS, LYON, 392), (PARIS, SYDNEY, 16960), ((0, 179.9), (0, -179.9), 22.24), ((90, 0), (90, 120), 0)],
)
def test_a_way_is_the_way_over_the_earth(
    one: tuple[float, float], other: tuple[float, float], km: float
) -> None:
    first, second = to_vectors(np.array([[one], [other]]))[:, 0]
    found = way_km(square(first, 0, second, 0))
    assert found == pytest.approx(km, rel=0.01, abs=0.01)


sizes = st.floats(0.0, 30_000.0)


@given(st.lists(sizes, max_size=50), sizes, sizes)
def test_what_is_farther_is_rarer(known: list[float], one: float, other: float) -> None:
    counts, everyone = np.zeros(LEVELS, dtype=np.float32), np.zeros(LEVELS + 1)
    for size in known:
        count(counts, level_of(size))
        count(everyone, level_of(size))
    near, far = sorted((one, other))
    shares = [share_of_all(everyone, level_of(size), size) for size in (near, far)]
    own = [
        share_of_own(counts, level_of(size), share) for size, share in zip((near, far), shares, strict=True)
    ]
    assert 0.0 < shares[1] <= shares[0] <= 1.0
    assert 0.0 < own[1] <= own[0] + 1e-12 <= 1.0 + 1e-9


# --- usual places ----------------------------------------------------------------------------------------


def test_a_key_never_seen_is_not_far_from_anything() -> None:
    context = seen(places(), [7, 8], hours(0, 1), [PARIS, SYDNEY])
    assert context[:, 0].tolist() == [0.0, 0.0]
    assert np.isnan(context[:, 1]).all()


def test_an_event_far_from_the_usual_places_is_rare() -> None:
    context = seen(places(), [7] * 21, hours(*range(21)), [PARIS] * 20 + [LYON])
    assert context[:20, 0].max() < 0.1
    assert context[20, 1] == pytest.approx(392, abs=2)
    assert context[20, 0] > 3.0


def test_a_place_is_usual_from_its_second_event_on() -> None:
    context = seen(places(), [7] * 13, hours(*range(13)), [PARIS] * 10 + [LYON] * 3)
    far = pytest.approx(392, abs=2)
    assert context[10:, 1].tolist() == [far, far, pytest.approx(0.0, abs=0.01)]


def test_the_same_way_is_common_for_a_traveller() -> None:
    towns = [(45.0 + number % 7, 4.0 + number % 5) for number in range(40)]
    table = places()
    seen(table, [1] * 40, hours(*range(40)), towns)
    seen(table, [2] * 40, hours(*range(40)), [PARIS] * 40)
    away = (40.0, -3.0)
    surprise = seen(table, [1, 2], hours(41, 41), [away, away])[:, 0]
    assert surprise[1] > surprise[0] + 1.5


def test_a_few_places_are_kept_and_the_least_used_gives_way() -> None:
    table = places()
    towns = [(float(10 * number), 0.0) for number in range(PLACES + 1)]
    points = [town for town in towns[: PLACES - 1] for _ in range(5)] + [towns[PLACES - 1]]
    points += [towns[PLACES]] * 3
    seen(table, [7] * len(points), hours(*range(len(points))), points)
    context = seen(table, [7] * (PLACES + 1), hours(*[60] * (PLACES + 1)), towns)
    assert (context[:, 1] < 1.0).tolist() == [True] * (PLACES - 1) + [False, True]


def test_shops_of_a_town_do_not_drive_out_another_town() -> None:
    rng = np.random.default_rng(0)
    around = [(48.85 + x, 2.35 + y) for x, y in rng.normal(0.0, 0.03, (200, 2))]
    points = [LYON] * 5 + around
    table = places()
    seen(table, [7] * len(points), hours(*range(len(points))), points)
    assert seen(table, [7], hours(300), [LYON])[0, 1] < 1.0


# --- moves -----------------------------------------------------------------------------------------------


def test_a_move_has_its_way_and_time() -> None:
    context = seen(moves(), [7, 7, 8], hours(0, 0.5, 0.5), [PARIS, LYON, LYON])
    assert context[1, 1:].tolist() == [pytest.approx(392, abs=2), 1800.0]
    assert np.isnan(context[[0, 2], 1:]).all()
    assert context[[0, 2], 0].tolist() == [0.0, 0.0]


def test_what_nobody_does_is_rare() -> None:
    table = moves()
    days = [24.0 * number for number in range(200)]
    seen(table, [7] * 200, hours(*days), [PARIS, LYON] * 100)
    slow, fast = (
        seen(table, [key] * 2, hours(5000, 5000 + gap), [PARIS, LYON])[1, 0]
        for key, gap in ((8, 24), (9, 0.2))
    )
    assert slow < 1.0
    assert fast > 4.0


def test_events_at_the_same_time_have_a_speed() -> None:
    context = seen(moves(), [7, 7, 8, 8], hours(0, 0, 0, SLACK_S / 3600.0), [PARIS, LYON] * 2)
    assert context[1, 0] > 0.0
    assert np.isfinite(context[1]).all()


def test_a_late_event_moves_nothing() -> None:
    table = moves()
    seen(table, [7], hours(10), [PARIS])
    late = seen(table, [7], hours(9), [LYON])
    assert late[0, 1:].tolist() == [pytest.approx(392, abs=2), 3600.0]
    assert seen(table, [7], hours(11), [PARIS])[0, 1:].tolist() == [0.0, 3600.0]


# --- both ------------------------------------------------------------------------------------------------

degrees = st.tuples(st.floats(-90, 90), st.floats(-180, 180)) | st.sampled_from([PARIS, LYON, NOWHERE])
events = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, (1 << 64) - 1]), st.floats(0, 7e9), degrees), min_size=1, max_size=40
)


@given(events, st.data())
@settings(max_examples=40, deadline=None)
def test_how_the_log_is_cut_changes_nothing(given_events: list[Any], data: st.DataObject) -> None:
    keys, times, points = map(list, zip(*given_events, strict=True))
    cut = data.draw(st.integers(0, len(keys)))
    for make in (places, moves):
        whole, parts = make(), make()
        one = seen(whole, keys, times, points)
        two = [seen(parts, keys[at], times[at], points[at]) for at in (slice(0, cut), slice(cut, None))]
        assert one.tobytes() == np.concatenate(two).tobytes()
        assert digest(whole.to_state()) == digest(parts.to_state())


@given(events)
@settings(max_examples=40, deadline=None)
def test_what_is_seen_is_finite_and_the_hash_is_that_of_the_rows(given_events: list[Any]) -> None:
    keys, times, points = map(list, zip(*given_events, strict=True))
    for make in (places, moves):
        table, other = make(), make()
        context = seen(table, keys, times, points)
        assert (context[:, 0] >= 0.0).all()
        assert (context[:, 0] < 30.0).all()
        unknown = [key == 0 or math.isnan(point[0]) for key, point in zip(keys, points, strict=True)]
        assert not context[unknown, 0].any()
        other.load(copied(table.to_state()))
        assert other.hashed == table.hashed
        assert not differing(table.to_state(), other.to_state())


def test_an_event_without_a_place_changes_nothing() -> None:
    for make in (places, moves):
        table = make()
        seen(table, [7] * 3, hours(0, 1, 2), [PARIS] * 3)
        before = digest(table.to_state())
        seen(table, [7, 0], hours(3, 4), [NOWHERE, LYON])
        assert digest(table.to_state()) == before


@given(st.floats(-180, 180))
@settings(max_examples=20, deadline=None)
def test_turning_the_earth_changes_nothing(turn: float) -> None:
    points = [PARIS] * 5 + [LYON, SYDNEY, PARIS]
    turned = [(north, (east + turn + 180.0) % 360.0 - 180.0) for north, east in points]
    for make in (places, moves):
        one, other = (seen(make(), [7] * 8, hours(*range(8)), some) for some in (points, turned))
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=0.01)


# --- in a schema -----------------------------------------------------------------------------------------


def test_a_place_has_its_own_columns_and_group() -> None:
    assert [(h.name, h.key, h.point) for h in LAYOUT.habits if h.point is not None] == [
        ("places", 0, 0),
        ("moves", 0, 0),
        ("moves", 1, 0),
    ]
    (group,) = (group for group in LAYOUT.groups if group.name == "shop")
    assert group.points == slice(0, 1)
    assert group.context == tuple(h.columns for h in LAYOUT.habits if h.point == 0)
    assert not LAYOUT.numerics


def test_without_entities_degrees_are_numbers() -> None:
    plain = Layout(SCHEMA.model_copy(update={"entities": ()}), FeaturesConfig())
    assert [place.name for place in plain.numerics] == ["shop latitude", "shop longitude"]
    assert not plain.points
    (group,) = (group for group in plain.groups if group.name == "shop")
    assert group.numerics == slice(0, 2)
