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
from detector.core.alerts.explain import Explainer, Typical
from detector.core.alerts.words import Sentences
from detector.core.events import BlockReader, Explanation, ParsedEvent, Parser
from detector.core.events.kinds import KINDS
from detector.core.events.kinds.base import FieldKind
from detector.core.events.rejection import Bad
from detector.core.features import Features, Layout, Rows, Units, empty_rows
from detector.core.records import Record

KEY = b"a secret of the tests"


class Span(FieldKind):
    """From one number to another; the model sees the middle and the width."""

    store = "numerics"

    @classmethod
    def places(cls, field: ValueField) -> tuple[str, ...]:
        return tuple(f"{field.name} {part}" for part in ("middle", "width"))

    def parse(self, found: Any) -> list[float] | None:
        if None in found:
            self.missing()
            return None
        if any(isinstance(end, str | bool) for end in found) or not found[0] <= found[1]:
            raise Bad("out_of_range", f"field {self.field.name}: not a span")
        return [float(end) for end in found]

    def encode(self, value: list[float] | None) -> Sequence[float]:
        return (math.nan,) * 2 if value is None else ((value[0] + value[1]) / 2, value[1] - value[0])

    @classmethod
    def explain(cls, field: ValueField, value: Any, expected: NDArray[np.float64]) -> Explanation:
        middle, width = expected.tolist()
        usual = f"{middle - width / 2:.1f} to {middle + width / 2:.1f}"
        observed = None if value is None else f"{value[0]:.1f} to {value[1]:.1f}"
        return Explanation(observed, usual, "unusual")


def find_spans(columns: Sequence[SampleColumn]) -> Iterator[Found]:
    """Pairs of columns whose last words are low and high."""
    for first in columns:
        for second in columns:
            if [*first.words[:-1], "high"] == second.words and first.words[-1] == "low":
                yield Found((first, second), "both ends by their names")


@pytest.fixture(autouse=True)
def _added(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = FieldRules(summary="a span", tried=0, find=find_spans, parts=("low", "high"))
    monkeypatch.setitem(RULES, "span", rules)
    monkeypatch.setitem(KINDS, "span", Span)


def schema(**span: Any) -> Event:
    fields = [
        {"name": "amount", "path": "amount", "type": "numeric"},
        {"name": "quote", "path": "day.low, day.high", "type": "span"} | span,
        {"name": "fee", "path": "fee", "type": "numeric"},
    ]
    entities = [{"name": "card", "path": "card"}]
    return Event.model_validate(
        {"id": "id", "time": {"path": "time"}, "entities": entities, "fields": fields}
    )


def record(number: int = 0, **changes: Any) -> Record:
    event = {"id": number, "time": 1.7e9 + 60 * number, "card": "4711", "amount": 2.0, "fee": 1.0}
    return Record(number, 0, None, json.dumps(event | changes).encode())


CALM = {"low": 52.0, "high": 53.0}


def test_names_in_both_tables_are_the_same() -> None:
    assert RULES.keys() == KINDS.keys()


def test_an_unknown_kind_is_refused_with_the_names_allowed() -> None:
    with pytest.raises(ValidationError, match="one of: numeric, categorical, text, geo, span"):
        ValueField(name="a", path="a", type="money")


@pytest.mark.parametrize("path", ["day.low", "day.low, ", "a, b, c"])
def test_each_part_needs_a_path(path: str) -> None:
    with pytest.raises(ValidationError, match="2 field names for low, high"):
        ValueField(name="quote", path=path, type="span")


def test_a_value_of_several_parts_takes_several_places() -> None:
    parsed = Parser(schema(), KEY).parse(record(day=CALM))
    assert isinstance(parsed, ParsedEvent)
    assert parsed.numerics == (2.0, 52.5, 1.0, 1.0)
    assert Parser(schema(), KEY).view(record(day=CALM)).values["quote"] == [52.0, 53.0]


def test_a_block_is_read_as_its_records_are() -> None:
    for event in (schema(), schema(use="context"), schema(optional=False)):
        batch = [
            record(0, day=CALM),
            record(1, day={"low": 99, "high": 0}),
            record(2),
            record(3, day={"low": 1}),
        ]
        events, rejected = BlockReader(event, KEY).read(batch)
        for row, one in enumerate(batch):
            assert repr(rejected.get(row) or events[row]) == repr(Parser(event, KEY).parse(one))
        if event.fields[1].optional:
            assert events[1].unreadable == ("quote",)
        else:
            assert rejected[1].reason == "out_of_range"


class Column:
    """A column of a sample as `init-config` has it."""

    def __init__(self, path: str, values: list[Any]) -> None:
        self.path, self.values, self.events = path, values, len(values)
        self.counts = {str(value): values.count(value) for value in values}
        self.types = {type(value) for value in values}
        self.words = path.split(".")
        self.decimal = self.types <= {int, float}
        self.numbers = [float(value) for value in self.values] if self.decimal else []
        self.spaced = sum(" " in str(value) for value in values) / len(values)
        self.coded = False


def test_init_config_recognises_it() -> None:
    columns = [
        Column("amount", [1.5, 2.0]),
        Column("day.high", [53.4, 53.5]),
        Column("day.low", [52.5, 52.4]),
        Column("country", ["DE", "FR"]),
    ]
    found = {name: [column.path for column in one.columns] for name, one in recognise(columns)}
    assert found == {"span": ["day.low", "day.high"], "categorical": ["country"], "numeric": ["amount"]}


def sample() -> list[bytes]:
    events = (
        {
            "id": f"e{number}",
            "time": 1.7e9 + number,
            "card": f"c{number % 40}",
            "amount": 2.5 + number,
            "day": {"high": 53.5 + number / 1000, "low": 52.5 + number / 1000},
        }
        for number in range(200)
    )
    return [json.dumps(event).encode() for event in events]


def test_init_config_writes_a_field_with_a_path_for_each_part(tmp_path: Path) -> None:
    inference = infer(sample())
    assert [(field.name, field.kind, field.path) for field in inference.fields] == [
        ("amount", "numeric", "amount"),
        ("day_low_day_high", "span", "day.low, day.high"),
    ]
    assert inference.exposure == "amount"
    file = tmp_path / "inferred.yaml"
    file.write_text(render(inference))
    assert load(file).event.fields[1].paths == ("day.low", "day.high")


def test_columns_that_cannot_be_listed_with_commas_are_not_used() -> None:
    lines = [line.replace(b'"day"', b'"day, main"') for line in sample()]
    inference = infer(lines)
    assert [field.name for field in inference.fields] == ["amount"]
    assert [(choice.path, choice.reason) for choice in inference.ignored] == [
        ("day, main.high", "part of a span field, but a path cannot have commas in its names"),
        ("day, main.low", "part of a span field, but a path cannot have commas in its names"),
    ]


def test_a_column_belongs_to_one_field_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def pairs(columns: Sequence[SampleColumn]) -> Iterator[Found]:
        first, *others = columns
        yield from (Found((first, other), "a pair") for other in others)

    rules = FieldRules(summary="a pair", tried=0, find=pairs, parts=("one", "other"))
    monkeypatch.setitem(RULES, "span", rules)
    columns = [Column(name, [1.5, 2.0]) for name in ("a", "b", "c")]
    found = [(name, [column.path for column in one.columns]) for name, one in recognise(columns)]
    assert found == [("span", ["a", "b"]), ("numeric", ["c"])]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("day, day.high", "a field, not an object: day.high is inside it"),
        ("card, day.high", "a field, not an object: card.id is inside it"),
        ("day., day.high", "field names with single dots"),
        ("day.low, .high", "field names with single dots"),
    ],
)
def test_each_path_of_a_field_is_checked_by_itself(path: str, allowed: str) -> None:
    fields = [{"name": "quote", "path": path, "type": "span"}]
    tree = {"id": "card.id", "time": {"path": "time"}, "fields": fields}
    with pytest.raises(ValidationError, match=allowed):
        Event.model_validate(tree)


def test_a_comma_is_part_of_the_name_of_a_field_of_one_part() -> None:
    assert ValueField(name="a", path="a, b.c", type="numeric").paths == ("a, b.c",)


def test_its_places_are_inputs_and_one_group() -> None:
    layout = Layout(schema(), FeaturesConfig(half_lives=(86_400.0,)))
    assert [place.name for place in layout.numerics] == ["amount", "quote middle", "quote width", "fee"]
    assert {group.name: group.numerics for group in layout.groups}["quote"] == slice(1, 3)
    names = Features(layout).names
    assert {"quote middle", "quote width against card 1d", "quote width missing"} <= set(names)


def test_an_alert_explains_it_in_its_own_terms() -> None:
    layout = Layout(schema(), FeaturesConfig(half_lives=(86_400.0,)))
    units = Units(np.ones(len(layout.numerics)))
    event, typical = empty_rows(1, layout), empty_rows(1, layout)
    sent = Parser(schema(), KEY).parse(record(day={"low": 40.0, "high": 90.0}))
    usual = Parser(schema(), KEY).parse(record(day=CALM))
    assert isinstance(sent, ParsedEvent)
    assert isinstance(usual, ParsedEvent)
    event.numerics[:] = units.scale(np.array([sent.numerics]))
    typical.numerics[:] = units.scale(np.array([usual.numerics]))

    def far_from_calm(rows: Rows) -> NDArray[np.float64]:
        return np.abs(rows.numerics[:, 1:3] - typical.numerics[0, 1:3]).sum(axis=1)

    (reason,) = Explainer(layout, units, Sentences(schema())).reasons(
        event,
        Typical(typical, np.full((2, 4), np.nan), True),
        Parser(schema(), KEY).view(record(day={"low": 40.0, "high": 90.0})),
        float(far_from_calm(event)[0]),
        far_from_calm,
        count_max=3,
    )
    assert (reason.field, reason.observed, reason.expected) == ("quote", "40.0 to 90.0", "52.0 to 53.0")
    assert reason.detail == "Quote 40.0 to 90.0; 52.0 to 53.0 is usual for cards"
