"""Which fields tell most, where there are more than a configuration may have."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detector.config.infer.column import Column

BINS = 16  # of equal counts, of numbers
ALIKE = 0.99  # rank correlation from which the second of two fields tells nothing more
ROWS_MAX = 2_000  # of the sample that correlations are computed from


def most_informative(fields: Sequence[Sequence[Column]], count: int) -> set[int]:
    """Indices of the fields that tell most.

    What a field tells is the entropy of its values in bits (numbers in bins of equal counts; missing counts
    as a value of its own, but tells less) times the share of events that have it. A field that has nearly the
    ranks of one that was taken before waits until all others are taken.
    """
    order = sorted(range(len(fields)), key=lambda n: (-max(map(_bits, fields[n])), n))
    ranks = {n: _ranks(fields[n][0]) for n in order if fields[n][0].decimal}
    taken: list[int] = []
    waiting: list[int] = []
    others: list[NDArray[np.float64]] = []
    for n in order:
        mine = ranks.get(n)
        if mine is not None and others and np.abs(np.stack(others) @ mine).max() >= ALIKE:
            waiting.append(n)
            continue
        taken.append(n)
        if mine is not None:
            others.append(mine)
        if len(taken) == count:
            break
    return set((taken + waiting)[:count])


def _bits(column: Column) -> float:
    n = len(column.values)
    if column.decimal and column.distinct > BINS:
        numbers = np.array(column.numbers)
        edges = np.unique(np.nanquantile(numbers, np.linspace(0.0, 1.0, BINS + 1)[1:-1]))
        counts = np.bincount(np.searchsorted(edges, numbers, side="right")).tolist()
    else:
        counts = [count for _, count in Counter(column.counts).most_common(4 * BINS)]
    shares = [count / n for count in counts if count]
    entropy = -math.fsum(share * math.log2(share) for share in shares)
    return n / column.events * entropy


def _ranks(column: Column) -> NDArray[np.float64]:
    """Ranks of the values of the first events, centred, of length one; missing ones in the middle."""
    rows = np.array(column.rows)
    here = rows < ROWS_MAX
    numbers = np.array(column.numbers)[here]
    _, ranks, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
    middle = (np.cumsum(sizes) - (sizes - 1) / 2.0)[ranks]
    out = np.zeros(min(ROWS_MAX, column.events))
    if len(middle):
        out[rows[here]] = middle - middle.mean()
    length = float(np.linalg.norm(out))
    return out / length if length else out
