"""A kind of field can be added from outside: by its rules in one table and its class in another."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from detector.config.infer import infer, render
from detector.config.kinds import KINDS as RULES
from detector.config.kinds import FieldRules, Found, SampleColumn, recognise
from detector.config.load import load
from detector.config.tree import Event, ValueField
from detector.config.tree import Features as FeaturesConfig
from detector.core.alerts.explain import Explainer
from detector.core.events import BlockReader, Explanation, ParsedEvent, Parser, Rejected
from detector.core.events.kinds import KINDS
from detector.core.events.kinds.base import FieldKind
from detector.core.events.rejection import Bad
from detector.core.features import Features, Layout, Rows, Units, empty_rows
from detector.core.records import Record

KEY = b"a secret of the tests"


class Geo(FieldKind):
    """A place on the earth; the model sees three coordinates, in which near places are near."""

    store = "numerics"

    @classmethod
    def places(cls, field: ValueField) -> tuple[str, ...]:
        return tuple(f"{field.name} {axis}" for axis in "xyz")

    def parse(self, found: Any) -> list[float] | None:
        if None in found:
            self.missing()
            return None
        for degrees, bound in zip(found, (90.0, 180.0), strict=True):
            if isinstance(degrees, str | bool) or not abs(degrees) <= bound:
                raise Bad("out_of_range", f"field {self.field.name}: not a place")
        return [float(degrees) for degrees in found]

    def encode(self, value: list[float] | None) -> Sequence[float]:
        if value is None:
            return (math.nan,) * 3
        latitude, longitude = map(math.radians, value)
        across = math.cos(latitude)
        return across * math.cos(longitude), across * math.sin(longitude), math.sin(latitude)

    @classmethod
    def explain(
        cls, field: ValueField, value: Any, expected: NDArray[np.float64], *, whose: str, familiarity: str
    ) -> Explanation:
        x, y, z = expected.tolist()
        usual = f"{math.degrees(math.atan2(z, math.hypot(x, y))):.1f}, {math.degrees(math.atan2(y, x)):.1f}"
        observed = None if value is None else f"{value[0]:.1f}, {value[1]:.1f}"
        detail = f"{field.name} is {observed}, {usual} is usual for {whose}"
        return Explanation(observed, usual, "unusual", detail)


def find_places(columns: Sequence[SampleColumn]) -> Iterator[Found]:
    """Pairs of columns whose last words are lat and lon."""
    for first in columns:
        for second in columns:
            if [*first.words[:-1], "lon"] == second.words and first.words[-1] == "lat":
                yield Found((first, second), "latitude and longitude by their names")


@pytest.fixture(autouse=True)
def _added(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = FieldRules(summary="a place", tried=0, find=find_places, parts=("latitude", "longitude"))
    monkeypatch.setitem(RULES, "geo", rules)
    monkeypatch.setitem(KINDS, "geo", Geo)


def schema(**place: Any) -> Event:
    fields = [
        {"name": "amount", "path": "amount", "type": "numeric"},
        {"name": "place", "path": "shop.lat, shop.lon", "type": "geo"} | place,
        {"name": "fee", "path": "fee", "type": "numeric"},
    ]
    entities = [{"name": "card", "path": "card"}]
    return Event.model_validate(
        {"id": "id", "time": {"path": "time"}, "entities": entities, "fields": fields}
    )


def record(number: int = 0, **changes: Any) -> Record:
    event = {"id": number, "time": 1.7e9 + 60 * number, "card": "4711", "amount": 2.0, "fee": 1.0}
    return Record(number, 0, None, json.dumps(event | changes).encode())


BERLIN = {"lat": 52.5, "lon": 13.4}


def test_names_in_both_tables_are_the_same() -> None:
    assert RULES.keys() == KINDS.keys()


def test_an_unknown_kind_is_refused_with_the_names_allowed() -> None:
    with pytest.raises(ValidationError, match="one of: numeric, categorical, text, geo"):
        ValueField(name="a", path="a", type="money")


@pytest.mark.parametrize("path", ["shop.lat", "shop.lat, ", "a, b, c"])
def test_each_part_needs_a_path(path: str) -> None:
    with pytest.raises(ValidationError, match="2 field names for latitude, longitude"):
        ValueField(name="place", path=path, type="geo")


def test_a_value_of_several_parts_takes_several_places() -> None:
    parsed = Parser(schema(), KEY).parse(record(shop=BERLIN))
    assert isinstance(parsed, ParsedEvent)
    assert len(parsed.numerics) == 5
    assert parsed.numerics[0] == 2.0
    assert sum(x * x for x in parsed.numerics[1:4]) == pytest.approx(1.0)
    assert parsed.numerics[4] == 1.0
    assert Parser(schema(), KEY).view(record(shop=BERLIN)).values["place"] == [52.5, 13.4]


def test_a_block_is_read_as_its_records_are() -> None:
    for event in (schema(), schema(use="context"), schema(optional=False)):
        batch = [
            record(0, shop=BERLIN),
            record(1, shop={"lat": 99, "lon": 0}),
            record(2),
            record(3, shop={"lat": 1}),
        ]
        events, rejected = BlockReader(event, KEY).read(batch)
        for row, one in enumerate(batch):
            assert repr(rejected.get(row) or events[row]) == repr(Parser(event, KEY).parse(one))
        refused = rejected[1]
        assert isinstance(refused, Rejected)
        assert refused.reason == "out_of_range"


class Column:
    """A column of a sample as `init-config` has it."""

    def __init__(self, path: str, values: list[Any]) -> None:
        self.path, self.values, self.events = path, values, len(values)
        self.counts = {str(value): values.count(value) for value in values}
        self.types = {type(value) for value in values}
        self.words = path.split(".")
        self.decimal = self.types <= {int, float}
        self.spaced = sum(" " in str(value) for value in values) / len(values)


def test_init_config_recognises_it() -> None:
    columns = [
        Column("amount", [1.5, 2.0]),
        Column("shop.lon", [13.4, 13.5]),
        Column("shop.lat", [52.5, 52.4]),
        Column("country", ["DE", "FR"]),
    ]
    found = {name: [column.path for column in one.columns] for name, one in recognise(columns)}
    assert found == {"geo": ["shop.lat", "shop.lon"], "categorical": ["country"], "numeric": ["amount"]}


def sample() -> list[bytes]:
    events = (
        {
            "id": f"e{number}",
            "time": 1.7e9 + number,
            "card": f"c{number % 40}",
            "amount": 2.5 + number,
            "shop": {"lon": 13.4 + number / 1000, "lat": 52.5 + number / 1000},
        }
        for number in range(200)
    )
    return [json.dumps(event).encode() for event in events]


def test_init_config_writes_a_field_with_a_path_for_each_part(tmp_path: Path) -> None:
    inference = infer(sample())
    assert [(field.name, field.kind, field.path) for field in inference.fields] == [
        ("amount", "numeric", "amount"),
        ("shop_lat_shop_lon", "geo", "shop.lat, shop.lon"),
    ]
    assert inference.exposure == "amount"
    file = tmp_path / "inferred.yaml"
    file.write_text(render(inference))
    assert load(file).event.fields[1].paths == ("shop.lat", "shop.lon")


def test_columns_that_cannot_be_listed_with_commas_are_not_used() -> None:
    lines = [line.replace(b'"shop"', b'"shop, main"') for line in sample()]
    inference = infer(lines)
    assert [field.name for field in inference.fields] == ["amount"]
    assert [(choice.path, choice.reason) for choice in inference.ignored] == [
        ("shop, main.lon", "part of a geo field, but a path cannot have commas in its names"),
        ("shop, main.lat", "part of a geo field, but a path cannot have commas in its names"),
    ]


def test_a_column_belongs_to_one_field_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def pairs(columns: Sequence[SampleColumn]) -> Iterator[Found]:
        first, *others = columns
        yield from (Found((first, other), "a pair") for other in others)

    rules = FieldRules(summary="a pair", tried=0, find=pairs, parts=("one", "other"))
    monkeypatch.setitem(RULES, "geo", rules)
    columns = [Column(name, [1.5, 2.0]) for name in ("a", "b", "c")]
    found = [(name, [column.path for column in one.columns]) for name, one in recognise(columns)]
    assert found == [("geo", ["a", "b"]), ("numeric", ["c"])]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("shop, shop.lon", "a field, not an object: shop.lon is inside it"),
        ("card, shop.lon", "a field, not an object: card.id is inside it"),
        ("shop., shop.lon", "field names with single dots"),
        ("shop.lat, .lon", "field names with single dots"),
    ],
)
def test_each_path_of_a_field_is_checked_by_itself(path: str, allowed: str) -> None:
    fields = [{"name": "place", "path": path, "type": "geo"}]
    tree = {"id": "card.id", "time": {"path": "time"}, "fields": fields}
    with pytest.raises(ValidationError, match=allowed):
        Event.model_validate(tree)


def test_a_comma_is_part_of_the_name_of_a_field_of_one_part() -> None:
    assert ValueField(name="a", path="a, b.c", type="numeric").paths == ("a, b.c",)


def test_its_places_are_inputs_and_one_group() -> None:
    layout = Layout(schema(), FeaturesConfig(half_lives=(86_400.0,)))
    assert [place.name for place in layout.numerics] == ["amount", "place x", "place y", "place z", "fee"]
    assert {group.name: group.numerics for group in layout.groups}["place"] == slice(1, 4)
    names = Features(layout).names
    assert {"place x", "place y against card 1d", "place z missing"} <= set(names)


def test_an_alert_explains_it_in_its_own_terms() -> None:
    layout = Layout(schema(), FeaturesConfig(half_lives=(86_400.0,)))
    units = Units(np.ones(len(layout.numerics)))
    event, typical = empty_rows(1, layout), empty_rows(1, layout)
    sent = Parser(schema(), KEY).parse(record(shop={"lat": -33.9, "lon": 151.2}))
    usual = Parser(schema(), KEY).parse(record(shop=BERLIN))
    assert isinstance(sent, ParsedEvent)
    assert isinstance(usual, ParsedEvent)
    event.numerics[:] = units.scale(np.array([sent.numerics]))
    typical.numerics[:] = units.scale(np.array([usual.numerics]))

    def far_from_berlin(rows: Rows) -> NDArray[np.float64]:
        return np.abs(rows.numerics[:, 1:4] - typical.numerics[0, 1:4]).sum(axis=1)

    (reason,) = Explainer(layout, units).reasons(
        event,
        typical,
        Parser(schema(), KEY).view(record(shop={"lat": -33.9, "lon": 151.2})),
        float(far_from_berlin(event)[0]),
        far_from_berlin,
        count_max=3,
        show_typical=True,
    )
    assert (reason.field, reason.observed, reason.expected) == ("place", "-33.9, 151.2", "52.5, 13.4")
    assert reason.detail == "place is -33.9, 151.2, 52.5, 13.4 is usual for events like it"
