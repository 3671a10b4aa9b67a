"""Medians and quantiles of a few rows are those of numpy, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from detector.core.model import medians

numbers = st.floats(-1e6, 1e6, width=32).map(lambda value: value + 0.0)  # no -0.0, which is equal to 0.0
some = numbers | st.sampled_from([0.0, 1.0, 2.0]) | st.just(np.nan)
tables = st.tuples(st.integers(1, 40), st.integers(1, 6))


def rows(dtype: type, elements: st.SearchStrategy[float] = some) -> st.SearchStrategy[NDArray[np.floating]]:
    return tables.flatmap(lambda shape: arrays(dtype, shape, elements=elements))


def plain(columns: list[NDArray[np.floating]], dtype: type) -> list[float]:
    return [np.median(column) if len(column) else dtype(np.nan) for column in columns]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_medians_are_those_of_numpy(dtype: type, data: st.DataObject) -> None:
    table = data.draw(rows(dtype))
    out = np.empty(table.shape[1], dtype=dtype)
    medians.medians(table, False, out)
    np.testing.assert_array_equal(out, np.array(plain(list(table.T), dtype)), strict=True)
    medians.medians(table, True, out)
    known = [column[~np.isnan(column)] for column in table.T]
    np.testing.assert_array_equal(out, np.array(plain(known, dtype), dtype=dtype), strict=True)


@given(table=rows(np.float32), cut=st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_medians_of_those_that_most_are_like(table: NDArray[np.float32], cut: int) -> None:
    width = table.shape[1]
    cut = min(cut, width)
    kinds = [pair for pair in ((0, cut), (cut, width)) if pair[0] < pair[1]]
    expected = np.empty(width, dtype=np.float32)
    for start, stop in kinds:
        never = np.isnan(table[:, start])
        seen = table[~never, start:stop] if never.mean() < 0.5 else table[never, start:stop]
        expected[start:stop] = np.median(seen, axis=0)
    out = np.empty(width, dtype=np.float32)
    medians.seen_medians(table, np.array(kinds, dtype=np.int64), out)
    np.testing.assert_array_equal(out, expected, strict=True)


@given(table=rows(np.float64), shares=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_quantiles_are_those_of_numpy(table: NDArray[np.float64], shares: list[float]) -> None:
    expected = np.full((len(shares), table.shape[1]), np.nan)
    for number, column in enumerate(table.T):
        if (~np.isnan(column)).any():
            expected[:, number] = np.quantile(column[~np.isnan(column)], shares)
    out = np.empty(expected.shape)
    medians.quantiles(table, np.array(shares), out)
    np.testing.assert_array_equal(out, expected, strict=True)


@given(table=tables.flatmap(lambda shape: arrays(np.uint64, shape, elements=st.integers(0, 3))))
@settings(max_examples=40, deadline=None)
def test_the_most_frequent_value_and_the_least_of_several(table: NDArray[np.uint64]) -> None:
    out = np.empty(table.shape[1], dtype=np.uint64)
    medians.most_frequent(table, out)
    for number, column in enumerate(table.T):
        values, counts = np.unique(column, return_counts=True)
        assert out[number] == values[counts.argmax()]
