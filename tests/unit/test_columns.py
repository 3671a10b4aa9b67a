"""Inputs follow from one specification: a column added there has a name, a place and a value everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from detector.config.tree import Event
from detector.config.tree import Features as FeaturesConfig
from detector.core.features import DAY_S, Features, Layout, Rows, empty_rows
from detector.core.features import columns as specification
from detector.core.features.column import Column
from detector.core.features.columns import Fill, Floats
from detector.core.model.robust_distance import RobustDistance

LAYOUT = Layout(
    Event.model_validate(
        {
            "id": "id",
            "time": {"path": "time"},
            "entities": [{"name": "card", "path": "card"}],
            "fields": [
                {"name": "amount", "path": "amount", "type": "numeric"},
                {"name": "fee", "path": "fee", "type": "numeric"},
                {"name": "country", "path": "country", "type": "categorical"},
                {"name": "shop", "path": "lat, lon", "type": "geo"},
            ],
        }
    ),
    FeaturesConfig(half_lives=(DAY_S, 7 * DAY_S)),
)


def _products(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
    """A value times the next one."""

    def fill(rows: Rows, inputs: Floats) -> None:
        for number, column in zip(places, columns, strict=True):
            inputs[:, number] = rows.numerics[:, column.place] * rows.numerics[:, column.place + 1]

    return fill


def events(count: int) -> Rows:
    rng = np.random.default_rng(0)
    rows = empty_rows(count, LAYOUT)
    rows.numerics[:] = rng.normal(0.0, 1.0, rows.numerics.shape)
    rows.categories[:] = rng.integers(1, 3, rows.categories.shape)
    rows.context[:] = rng.exponential(2.0, rows.context.shape)
    return rows


def test_a_new_column_is_one_line_and_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    before, rows = Features(LAYOUT), events(50)
    robust = specification._robust

    def with_product(layout: Layout) -> Iterator[Column]:
        yield Column(name="amount times fee", source="product", robust=True)
        yield from robust(layout)

    monkeypatch.setitem(specification.SOURCES, "product", _products)
    monkeypatch.setattr(specification, "_robust", with_product)
    after = Features(LAYOUT)
    assert after.names == ("amount times fee", *before.names)
    assert after.plain_count == before.plain_count + 1
    inputs = after.compute(rows)
    np.testing.assert_array_equal(inputs[:, 0], np.prod(rows.numerics, axis=1).astype(np.float32))
    np.testing.assert_array_equal(inputs[:, 1:], before.compute(rows))
    for one, other in zip(after.counts_before(inputs), before.counts_before(inputs[:, 1:]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert RobustDistance(LAYOUT, after, 1000).columns == RobustDistance(LAYOUT, before, 1000).columns + 1


def test_each_column_comes_from_a_known_source_and_what_is_not_encoded_is_last() -> None:
    columns = Features(LAYOUT).columns
    without = {"meeting", "change", "repeat"}  # with one entity, and no exposure
    assert {column.source for column in columns} == specification.SOURCES.keys() - without
    encoded = [column.encoded for column in columns]
    assert encoded == sorted(encoded, reverse=True)
    others = [column.source for column in columns if not column.encoded]
    assert set(others) == {"fraud rate", "heat"}
    assert others.count("fraud rate") == LAYOUT.doubt
    assert others.count("heat") == 1 + len(LAYOUT.entities)


def test_the_order_in_which_columns_are_listed_changes_no_value() -> None:
    """Sources take their columns wherever these are."""
    listed = specification.columns_of(LAYOUT)
    order = np.random.default_rng(1).permutation(len(listed))
    rows = events(50)
    usual, other = np.empty((50, len(listed)), np.float32), np.empty((50, len(listed)), np.float32)
    for fill in specification.fills_of(LAYOUT, listed):
        fill(rows, usual)
    for fill in specification.fills_of(LAYOUT, [listed[place] for place in order]):
        fill(rows, other)
    np.testing.assert_array_equal(other, usual[:, order])
