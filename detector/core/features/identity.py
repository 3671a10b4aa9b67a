"""What only says whose event it is: encoders do not get it.

A job, a city, a place of residence that is the same in all events of a card identifies the card. An encoder
that learns from labels and can tell cards apart learns the known ones by heart: this one had frauds, that one
had none. Frauds end, and other cards are hit. To an encoder without labels such a field says nothing about
this event. A new value in such a field is seen all the same: deviations from the card's own profile,
surprises, and pairs with the card stay.

Measured on pairs of events of the same key, one after the other, among recent events:

    inputs             a value, or its deviation from what is not the key's own profile, is constant where the
                       mean square of the difference of a pair is small against that of any two events
    categories, texts  constant where pairs agree far more often than any two events do

A value that many keys share says what they are, not which one it is. So a category that is constant for an
entity other than the main one (a merchant's category) is taken away only where few keys share a value. For
the main entity it is always taken away, because several such fields together identify a card; the fraud rate
of a value that many cards share stays, so that a segment that is defrauded more often is still seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.core.features.explained import CONSTANT_FROM, mostly_known
from detector.core.features.features import Features
from detector.core.features.layout import Layout
from detector.core.features.rows import Rows

# Pairs of events of the same key below which nothing is known.
PAIRS_MIN = 64
# Keys that share a value, on average, from which on it says more than which key it is.
SHARED_BY = 16
# Sources of inputs that are the event's own values.
VALUES = ("value", "missing", "deviation", "ratio")
COUNTS = ("count", "gap", "new")


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """What says no more than whose event it is."""

    inputs: NDArray[np.bool_]  # (F,)
    slots: NDArray[np.bool_]  # (C + T,) categories, then texts


def find_identity(
    keys: NDArray[np.uint64],
    inputs: NDArray[np.float32],
    grams: NDArray[np.uint32],
    features: Features,
    layout: Layout,
) -> Identity:
    """Find it in n events in log order; nothing where too few keys are seen again.

    Parameters
    ----------
    keys : (n, E + C) uint64
        Of entities and categories, 0: missing.
    inputs : (n, F) float32
    grams : (n, T, G) uint32
        Trigrams of texts.
    """
    entities, categories = len(layout.entities), len(layout.categories)
    hidden = np.zeros(len(features), dtype=np.bool_)
    slots = np.zeros(categories + len(layout.texts), dtype=np.bool_)
    usual = np.arange(len(keys) - 1), np.arange(1, len(keys))  # pairs of any two events
    ranks = {n: _ranks(inputs[:, n]) for n, column in enumerate(features.columns) if column.source in VALUES}
    for entity in range(entities):
        pairs = _pairs(keys[:, entity])
        if len(pairs[0]) < PAIRS_MIN:
            continue
        for number, ranked in ranks.items():
            kind = features.columns[number].kind
            if kind is None or kind.left != entity:
                hidden[number] |= _constant(_square(ranked, pairs), _square(ranked, usual))
        for t in range(len(layout.texts)):
            slots[categories + t] |= _constant(_differ(grams[:, t], pairs), _differ(grams[:, t], usual))
        for c in range(categories):
            values = keys[:, entities + c]
            if not _constant(_differ(values, pairs), _differ(values, usual)):
                continue
            shared = _keys_per_value(keys[:, entity], values) >= SHARED_BY
            slots[c] |= entity == 0 or not shared
            for number, column in enumerate(features.columns):
                about = column.kind is not None and column.kind.left == entities + c
                if about and column.source not in VALUES:
                    hidden[number] |= not shared or (entity == 0 and column.source in COUNTS)
    return Identity(hidden, slots)


def constant_numerics(rows: Rows, layout: Layout, explained: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which numerics are the same in nearly all events of a key, (E, J).

    Only those are looked at of which the entities' means explain nearly all, `explained` (E, J); none where
    most keys come once. Amounts that differ far more between accounts than within one are explained, but are
    not the same.
    """
    found = np.zeros(explained.shape, dtype=np.bool_)
    known = mostly_known(rows, layout)
    for entity in np.flatnonzero(known & (explained >= CONSTANT_FROM).any(axis=1)):
        first, second = _pairs(rows.entities[:, entity])
        for j in np.flatnonzero(explained[entity] >= CONSTANT_FROM) if len(first) >= PAIRS_MIN else ():
            same = rows.numerics[first, j] == rows.numerics[second, j]
            found[entity, j] = same.mean() >= CONSTANT_FROM
    return found


Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def _pairs(keys: NDArray[np.uint64]) -> Pairs:
    """Places of events of the same key, each with the next one."""
    order = np.argsort(keys, kind="stable")
    here = np.flatnonzero((keys[order[1:]] == keys[order[:-1]]) & (keys[order[1:]] != 0))
    return order[here], order[here + 1]


def _ranks(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Ranks in [0, 1], the mean one where values are equal; few far values would decide otherwise."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2.0) / max(len(values), 1)
    ranked: NDArray[np.float64] = ranks[place.reshape(-1)]
    return ranked


def _square(ranked: NDArray[np.float64], pairs: Pairs) -> float:
    """Mean square of the difference."""
    return float(np.square(ranked[pairs[0]] - ranked[pairs[1]]).mean()) if len(pairs[0]) else 0.0


def _differ(values: NDArray[np.uint64] | NDArray[np.uint32], pairs: Pairs) -> float:
    """Share of pairs whose values differ."""
    different = values[pairs[0]] != values[pairs[1]]
    return float((different.any(axis=1) if different.ndim > 1 else different).mean())


def _constant(within: float, usual: float) -> bool:
    """Whether the key explains nearly all variation; not where there is none."""
    return usual > 0.0 and within <= (1.0 - CONSTANT_FROM) * usual


def _keys_per_value(keys: NDArray[np.uint64], values: NDArray[np.uint64]) -> float:
    """Keys that share a value, as an average event sees it."""
    there = (keys != 0) & (values != 0)
    keys, values = keys[there], values[there]
    order = np.lexsort((keys, values))
    keys, values = keys[order], values[order]
    if not len(keys):
        return 0.0
    first = np.append(True, values[1:] != values[:-1])  # of a value
    new = first | np.append(True, keys[1:] != keys[:-1])  # a pair not seen before
    of_value = np.cumsum(first) - 1
    return float(np.median(np.bincount(of_value, weights=new)[of_value]))
