"""Medians, quantiles and most frequent values of the columns of a few rows, as numpy computes them.

An alert needs them of a cluster's rows, some twenty with a hundred columns. A call of numpy for each column
would take longer than everything else that is found out for the alert.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

_compiled = numba.njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def _place(values: Any, count: int, place: int) -> None:
    """Put the value that has `place` in ascending order there, smaller ones before it (Hoare 1961)."""
    low, high = 0, count - 1
    while low < high:
        pivot = values[place]
        left, right = low, high
        while left <= right:
            while values[left] < pivot:
                left += 1
            while pivot < values[right]:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if right < place:
            low = left
        if place < left:
            high = right


@_compiled
def _median(values: Any, count: int) -> Any:
    """Median of the first `count` values, which are moved; NaN of none, and where one is NaN."""
    if count == 0:
        return values.dtype.type(np.nan)
    for n in range(count):
        if np.isnan(values[n]):
            return values[n]
    middle = count // 2
    _place(values, count, middle)
    if count % 2:
        return values[middle]
    below = values[0]
    for n in range(1, middle):
        below = max(below, values[n])
    return values.dtype.type((below + values[middle]) / values.dtype.type(2.0))


@_compiled
def medians(rows: Any, skips_missing: bool, out: Any) -> None:
    """Write the median of each column of rows (n, W) to `out` (W,), floats of the same type.

    A column with a NaN has no median (NaN), unless missing values are skipped.
    """
    values = np.empty(len(rows), dtype=rows.dtype)
    for column in range(rows.shape[1]):
        count = 0
        for n in range(len(rows)):
            value = rows[n, column]
            if not (skips_missing and np.isnan(value)):
                values[count] = value
                count += 1
        out[column] = _median(values, count)


@_compiled
def seen_medians(rows: Any, kinds: Any, out: Any) -> None:
    """Write medians of the columns of rows (n, W) to `out` (W,), for each kind of key of those rows that
    most of them are like: the ones in which the key was seen, or those in which it never was.

    `kinds` (K, 2) int64 has the columns of each kind, from the first to before the second; a NaN in the first
    one says that the key was never seen.
    """
    values = np.empty(len(rows), dtype=rows.dtype)
    for kind in range(len(kinds)):
        first = kinds[kind, 0]
        never = 0
        for n in range(len(rows)):
            never += np.isnan(rows[n, first])
        skipped = 2 * never < len(rows)
        for column in range(first, kinds[kind, 1]):
            count = 0
            for n in range(len(rows)):
                if np.isnan(rows[n, first]) != skipped:
                    values[count] = rows[n, column]
                    count += 1
            out[column] = _median(values, count)


@_compiled
def quantiles(rows: Any, shares: Any, out: Any) -> None:
    """Write quantiles (Q, W) of each column of rows (n, W), float64, without missing values.

    `shares` (Q,) are between 0 and 1. Between two values they are linear (Hyndman and Fan's seventh kind);
    NaN where all are missing.
    """
    values = np.empty(len(rows))
    for column in range(rows.shape[1]):
        count = 0
        for n in range(len(rows)):
            if not np.isnan(rows[n, column]):
                values[count] = rows[n, column]
                count += 1
        known = np.sort(values[:count])
        for q in range(len(shares)):
            if count == 0:
                out[q, column] = np.nan
                continue
            place = (count - 1) * shares[q]
            below = int(place)
            low, high = known[below], known[min(below + 1, count - 1)]
            part = place - below
            step = high - low
            out[q, column] = high - step * (1.0 - part) if part >= 0.5 else low + step * part


@_compiled
def most_frequent(rows: Any, out: Any) -> None:
    """Write the most frequent value of each column of rows (n, W) to `out` (W,); the least of several."""
    for column in range(rows.shape[1]):
        values = np.sort(rows[:, column])
        best, most, first = values[0], 0, 0
        for n in range(len(values)):
            if values[n] != values[first]:
                first = n
            if n + 1 - first > most:
                best, most = values[n], n + 1 - first
        out[column] = best
