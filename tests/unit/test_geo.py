"""Places of events: what is accepted, how blocks are read, how they are recognised and explained."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.config.infer import infer, render
from detector.config.load import load
from detector.config.tree import Event
from detector.config.tree import Features as FeaturesConfig
from detector.core.alerts.explain import Explainer, Reason, Typical
from detector.core.alerts.known import fastest_move, is_everywhere
from detector.core.alerts.words import Sentences
from detector.core.events import BlockReader, ParsedEvent, Parser, Rejected
from detector.core.features import Layout, Rows, Units, empty_rows
from detector.core.records import Record

KEY = b"a secret of the tests"


def schema(entities: bool = True, **place: Any) -> Event:
    cards = [{"name": "card", "path": "card"}, {"name": "device", "path": "device", "optional": True}]
    fields = [
        {"name": "amount", "path": "amount", "type": "numeric"},
        {"name": "shop", "path": "shop.lat, shop.lon", "type": "geo"} | place,
    ]
    return Event.model_validate(
        {"id": "id", "time": {"path": "time"}, "entities": cards if entities else [], "fields": fields}
    )


def record(shop: Any = None, number: int = 0) -> Record:
    event = {"id": number, "time": 1.7e9, "card": "4711", "amount": 2.0, "shop": shop}
    return Record(number, 0, None, json.dumps(event).encode())


def points(lat: Any, lon: Any, optional: bool = True) -> tuple[float, float] | str:
    """What is read of a place, or why it is refused."""
    parsed = Parser(schema(optional=optional), KEY).parse(record({"lat": lat, "lon": lon}))
    if isinstance(parsed, Rejected):
        return parsed.reason
    return parsed.points[0]


@pytest.mark.parametrize(
    ("lat", "lon", "read"),
    [
        (48.8566, 2.3522, (48.8566, 2.3522)),
        ("48.8566", " 2.3522 ", (48.8566, 2.3522)),
        (-90, 180, (-90.0, 180.0)),
        (90.1, 0, "out_of_range"),
        (1, -180.5, "out_of_range"),
        (1, 1e999, "missing"),
        (1, 10**400, "out_of_range"),
        (True, 2.0, "wrong_type"),
        ("48.8566,2.3522", 2.0, "wrong_type"),
        ("48N", 2.0, "wrong_type"),
        ("nan", 2.0, "missing"),
        ("1e999", 2.0, "out_of_range"),
        ([48.8], 2.0, "wrong_type"),
    ],
)
def test_degrees_are_numbers_in_their_ranges(lat: Any, lon: Any, read: Any) -> None:
    assert points(lat, lon, optional=False) == read
    if isinstance(read, str):
        assert np.isnan(points(lat, lon)).all(), "missing, where it is optional"


@pytest.mark.parametrize(("lat", "lon"), [(None, 2.0), (48.8, None), (None, None), (0, 0), (0.0, "0")])
def test_a_place_is_missing_if_a_part_is_and_at_zero_zero(lat: Any, lon: Any) -> None:
    found = points(lat, lon)
    assert not isinstance(found, str)
    assert np.isnan(found).all()
    assert points(lat, lon, optional=False) == "missing"


@pytest.mark.parametrize("path", ["shop", "shop.lat", "shop.lat, shop.lon, shop.height"])
def test_two_paths_are_needed(path: str) -> None:
    with pytest.raises(ValueError, match="2 field names for latitude, longitude"):
        schema(path=path)


part = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-90, 90),
    st.sampled_from(["48.85", "", "x", "1e999", "0"]),
    st.just(0),
)


@given(st.lists(st.tuples(part, part), min_size=1, max_size=8), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_block_is_read_as_its_records_are(found: list[tuple[Any, Any]], optional: bool) -> None:
    event = schema(optional=optional)
    batch = [record({"lat": lat, "lon": lon}, number) for number, (lat, lon) in enumerate(found)]
    events, rejected = BlockReader(event, KEY).read(batch)
    for row, one in enumerate(batch):
        assert repr(rejected.get(row) or events[row]) == repr(Parser(event, KEY).parse(one))


def test_people_read_which_part_is_which() -> None:
    view = Parser(schema(use="context"), KEY).view(record({"lat": 48.8566, "lon": "2.3522"}))
    assert view.carried == {"shop": {"latitude": 48.8566, "longitude": 2.3522}}


# --- init-config -----------------------------------------------------------------------------------------


def sample(**parts: Any) -> list[bytes]:
    return [
        json.dumps(
            {
                "id": f"e{n}",
                "time": 1.7e9 + n,
                "card": f"c{n % 40}",
                "amount": 2.5 + n % 7,
                **{name: give(n) for name, give in parts.items()},
            }
        ).encode()
        for n in range(200)
    ]


def north(n: int) -> float:
    return 48.0 + n / 1000


def east(n: int) -> float:
    return 2.0 + n / 500


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        (sample(lat=north, lon=east), "lat, lon"),
        (sample(lng=east, lat=north), "lat, lng"),
        (sample(latitude=north, longitude=east), "latitude, longitude"),
        (sample(merchantLat=north, merchantLong=east), "merchantLat, merchantLong"),
        (sample(lat_shop=north, lon_shop=east), "lat_shop, lon_shop"),
        (
            sample(shop=lambda n: {"location": {"longitude": east(n), "latitude": north(n)}}),
            "shop.location.latitude, shop.location.longitude",
        ),
    ],
)
def test_init_config_recognises_places(lines: list[bytes], path: str, tmp_path: Path) -> None:
    inference = infer(lines)
    assert [(one.kind, one.path) for one in inference.fields if one.kind == "geo"] == [("geo", path)]
    file = tmp_path / "inferred.yaml"
    file.write_text(render(inference))
    assert load(file).event.fields[-1].type == "geo"


@pytest.mark.parametrize(
    "lines",
    [
        sample(lat=lambda n: 1000.0 + n, lon=east),
        sample(shop_lat=north, home_lon=east),
        sample(lat=north, length=east),
        sample(platform=north, salon=east),
    ],
)
def test_init_config_leaves_other_numbers_alone(lines: list[bytes]) -> None:
    assert all(one.kind == "numeric" for one in infer(lines).fields)


# --- explanations ----------------------------------------------------------------------------------------

LAYOUT = Layout(schema(), FeaturesConfig(half_lives=(86_400.0,)))
SHOP = {"lat": 48.8566, "lon": 2.3522}


def explained(usual_km: float, *moves: tuple[float, float, float], shop: Any = SHOP) -> Reason:
    """Why an event is strange whose context has a distance and, per entity, a move."""
    event, typical = empty_rows(1, LAYOUT), empty_rows(1, LAYOUT)
    (places,) = (habit for habit in LAYOUT.habits if habit.name == "places")
    event.context[0, places.columns] = 7.0, usual_km
    moved = [habit for habit in LAYOUT.habits if habit.name == "moves"]
    for habit, move in zip(moved, moves, strict=True):
        event.context[0, habit.columns] = move

    def score_rows(rows: Rows) -> np.ndarray:
        return rows.context[:, places.start].astype(np.float64)

    view = Parser(schema(), KEY).view(record(shop))
    nothing = Typical(typical, np.full((2, 1), np.nan), True)
    (reason,) = Explainer(LAYOUT, Units(np.ones(1)), Sentences(schema())).reasons(
        event, nothing, view, 7.0, score_rows, count_max=3
    )
    return reason


NEVER = (0.0, math.nan, math.nan)


def test_an_alert_says_how_far_and_how_fast() -> None:
    reason = explained(412.3, (6.0, 400.0, 2280.0), NEVER)
    assert (reason.field, reason.observed, reason.expected, reason.basis) == (
        "shop",
        "48.857, 2.352",
        None,
        "entity",
    )
    assert reason.detail == (
        "412 km from the usual places of this card; "
        "400 km in 38 minutes since the last event of this card, 632 km/h"
    )


def test_an_ordinary_move_is_not_told() -> None:
    far = "412 km from the usual places of this card"
    assert explained(412.3, (1.0, 400.0, 86_400.0), NEVER).detail == far
    assert explained(412.3, (6.0, 400.0, 36_000.0), NEVER).detail == far  # a drive, however rare
    assert explained(412.3, (6.0, 4.0, 1.0), NEVER).detail == far  # within a town


def test_the_fastest_of_the_entities_is_told() -> None:
    told = explained(3.21, (1.0, 2.0, 7200.0), (9.0, 9000.0, 30.0))
    assert (told.detail, told.code) == ("this device was 9,000 km away 30 seconds before", "place")


def test_a_shop_that_sells_everywhere_has_no_place() -> None:
    """Its customers are far apart, faster than a journey, and most of its events are those of others."""
    event = empty_rows(1, LAYOUT)
    event.entities[:] = [11, 12]
    card, device = (habit for habit in LAYOUT.habits if habit.name == "moves")
    event.context[0, card.columns] = 6.0, 400.0, 600.0
    event.context[0, device.columns] = 9.0, 9000.0, 30.0
    assert not is_everywhere(LAYOUT, event, 0)
    assert fastest_move(LAYOUT, event, 0) == (1, 9000.0, 30.0)
    event.context[0, LAYOUT.kind_of(1).count(-1)] = 500.0
    assert is_everywhere(LAYOUT, event, 0)
    assert fastest_move(LAYOUT, event, 0) is None
    event.context[0, device.columns] = 9.0, 50.0, 30.0
    assert not is_everywhere(LAYOUT, event, 0)
    assert fastest_move(LAYOUT, event, 0) == (0, 400.0, 600.0)


def test_a_usual_place_is_no_distance() -> None:
    assert explained(0.02, (9.0, 1039.0, 3240.0), NEVER).detail == (
        "1,039 km in 54 minutes since the last event of this card: faster than anybody travels; "
        "this place is usual, so the event before is the odd one"
    )
    usual = explained(0.02, NEVER, NEVER)
    assert usual.detail.startswith("no single value is rare, but all together are; most of all this place")
    assert usual.code == "combination"


def test_a_missing_or_first_place_is_told() -> None:
    assert explained(math.nan, NEVER, NEVER, shop=None).detail == "Shop is missing"
    assert explained(math.nan, NEVER, NEVER).detail.endswith("no earlier place of this card is known")


def test_without_entities_it_is_compared_with_events() -> None:
    layout = Layout(schema(entities=False), FeaturesConfig(half_lives=(86_400.0,)))
    event, typical = empty_rows(1, layout), empty_rows(1, layout)
    event.numerics[:], typical.numerics[:] = np.arcsinh([[2.0, 60.0, 3.0]]), np.arcsinh([[2.0, 48.0, 2.0]])

    def score_rows(rows: Rows) -> np.ndarray:
        return np.abs(rows.numerics - typical.numerics).sum(axis=1)

    (reason,) = Explainer(layout, Units(np.ones(3)), Sentences(schema(entities=False))).reasons(
        event,
        Typical(typical, np.full((2, 3), np.nan), True),
        Parser(schema(entities=False), KEY).view(record({"lat": 60.0, "lon": 3.0})),
        float(score_rows(event)[0]),
        score_rows,
        count_max=3,
    )
    assert reason.detail == "Shop 60.000, 3.000; 48.000, 2.000 is usual for events"


def test_an_event_without_entities_has_its_degrees_as_numbers() -> None:
    from detector.core.features import to_rows

    layout = Layout(schema(entities=False), FeaturesConfig(half_lives=(86_400.0,)))
    events, _ = BlockReader(schema(entities=False), KEY).read([record(SHOP), record(None, 1)])
    rows = to_rows(events, layout, Units(np.ones(3)))
    np.testing.assert_allclose(np.sinh(rows.numerics[0]), [2.0, 48.8566, 2.3522])
    assert np.isnan(rows.numerics[1, 1:]).all()
    assert isinstance(events[0], ParsedEvent)
