"""What only says whose event it is: the labelled encoder does not get it.

A job, a city, a place of residence that is the same in all events of a card identifies the card. A card with
a known fraud has many events that are not, and frauds end. So an encoder that can tell cards apart learns
known cards by heart, and what it has learned is wrong from the next week on. A new value in such a field is
seen all the same: deviations from the card's own profile and pairs with the card stay.

Measured on pairs of events of the same key, one after the other, among recent events:

    inputs             a value, or its deviation from what is not the key's own profile, is constant where the
                       mean square of the difference of a pair is small against that of any two events
    categories, texts  constant where pairs agree far more often than any two events do

A category that is constant for an entity other than the main one (a merchant's category) is taken away only
where few keys share a value. A value that many keys share says what they are, not which one it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.core.features import Features, Layout

# Share of the variation between any two events that a key must explain: 1 where it is constant for each key.
CONSTANT_FROM = 0.9
# Pairs of events of the same key below which nothing is known.
PAIRS_MIN = 64
# Keys that share a value, on average, from which on it says more than which key it is.
SHARED_BY = 16
# Sources of inputs that are the event's own values.
VALUES = ("value", "missing", "deviation")
COUNTS = ("count", "gap", "new")


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """What says no more than whose event it is."""

    inputs: NDArray[np.bool_]  # (F,)
    slots: NDArray[np.bool_]  # (C + T,) categories, then texts


def find(
    keys: NDArray[np.uint64],
    inputs: NDArray[np.float32],
    grams: NDArray[np.uint32],
    features: Features,
    layout: Layout,
) -> Identity:
    """Find it from n events in log order.

    Parameters
    ----------
    keys : (n, E + C) uint64
        Of entities and categories, 0: missing.
    inputs : (n, F) float32
    grams : (n, T, G) uint32
    """
    entities, categories = len(layout.entities), len(layout.categories)
    found = Identity(
        np.zeros(len(features), dtype=np.bool_), np.zeros(categories + len(layout.texts), dtype=np.bool_)
    )
    rows = np.arange(len(keys))
    usual = rows[:-1], rows[1:]  # any two events
    for entity in range(entities):
        pairs = _pairs(keys[:, entity])
        if len(pairs[0]) < PAIRS_MIN:
            continue
        for number, column in enumerate(features.columns):
            own = column.kind is not None and column.kind.left == entity
            if column.source in VALUES and not own:
                found.inputs[number] |= _constant(
                    _square(inputs[:, number], pairs), _square(inputs[:, number], usual)
                )
        for c in range(categories):
            values = keys[:, entities + c]
            if _constant(_differ(values, pairs), _differ(values, usual)):
                shared = _keys_per_value(keys[:, entity], values) >= SHARED_BY
                found.slots[c] |= entity == 0 or not shared
                for number, column in enumerate(features.columns):
                    if column.kind is None or column.kind.right is not None:
                        continue
                    if column.kind.left == entities + c and (not shared or column.source in COUNTS):
                        found.inputs[number] |= entity == 0 or not shared
        for t in range(len(layout.texts)):
            if _constant(_differ(grams[:, t], pairs), _differ(grams[:, t], usual)):
                found.slots[categories + t] = True
    return found


Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def _pairs(keys: NDArray[np.uint64]) -> Pairs:
    """Places of events of the same key, each with the next one."""
    order = np.argsort(keys, kind="stable")
    here = np.flatnonzero((keys[order[1:]] == keys[order[:-1]]) & (keys[order[1:]] != 0))
    return order[here], order[here + 1]


def _square(values: NDArray[np.float32], pairs: Pairs) -> float:
    """Mean square of the difference of ranks; ranks, because few far values would decide otherwise."""
    distinct, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - counts / 2.0
    ranked = ranks[place.reshape(-1)] / len(values)
    return float(np.square(ranked[pairs[0]] - ranked[pairs[1]]).mean())


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
    pairs = np.unique(np.stack([values[there], keys[there]], axis=1), axis=0)
    distinct, place, keys_of = np.unique(pairs[:, 0], return_inverse=True, return_counts=True)
    return float(np.median(keys_of[np.searchsorted(distinct, values[there])])) if len(pairs) else 0.0
