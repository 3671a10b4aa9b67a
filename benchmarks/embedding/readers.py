"""Readers: how well a field can be read back from what somebody sees of an event.

A reader learns from events of one half of the entities and reads those of the other half. *Linear* is a
ridge regression, *trees* are boosted trees. Both say what share of a guess's errors they put right:

    numbers      1 - squared error / variance (R2); the guess is the mean
    categories   1 - errors / errors of the guess; the guess is the most frequent one

0: no better than the guess; 1: read exactly. Below 0: worse than the guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from detector.core.model.quality_of_space import area

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

RIDGE = 1e-3  # of the number of events
CLASSES_MAX = 10  # the most frequent values; all others are one
ROUNDS = 60  # of boosting
PAIRS_MAX = 4000  # of events of one entity
NUMBERS_MAX = 4  # of one text
SEED = 19


def linear(view: Floats, wanted: Floats, train: Flags) -> Floats:
    """What a ridge regression reads of the rows that it does not learn from (m, J); `wanted` is (n, J)."""
    filled = np.concatenate([np.nan_to_num(view), np.isnan(view)], axis=1)
    centre, spread = filled[train].mean(axis=0), filled[train].std(axis=0)
    seen = (filled - centre) / np.where(spread > 1e-12, spread, 1.0)
    seen = np.clip(np.where(spread > 1e-12, seen, 0.0), -20.0, 20.0)
    mean = wanted[train].mean(axis=0)
    gram = seen[train].T @ seen[train] + RIDGE * train.sum() * np.eye(seen.shape[1])
    weights = np.linalg.solve(gram, seen[train].T @ (wanted[train] - mean))
    found: Floats = seen[~train] @ weights + mean
    return found


def number_read(view: Floats, values: Floats, train: Flags) -> tuple[float, float]:
    """R2 of both readers for a number (n,)."""
    known = np.isfinite(values)
    view, values, train = view[known], values[known], train[known]
    truth = values[~train]
    guess = float(np.square(truth - values[train].mean()).sum())
    trees = HistGradientBoostingRegressor(max_iter=ROUNDS, early_stopping=False, random_state=SEED)
    found = (
        linear(view, values[:, None], train)[:, 0],
        trees.fit(view[train], values[train]).predict(view[~train]),
    )
    one, other = (1.0 - float(np.square(truth - read).sum()) / guess for read in found)
    return one, other


def category_read(view: Floats, values: Sequence[Any], train: Flags) -> tuple[float, float]:
    """Share of the majority guess's errors that both readers put right, for a category of n events."""
    names, place, counts = np.unique(
        [str(value) for value in values], return_inverse=True, return_counts=True
    )
    frequent = np.argsort(-counts, kind="stable")[: CLASSES_MAX - 1]
    number = np.full(len(names), len(frequent))
    number[frequent] = np.arange(len(frequent))
    classes = number[place]
    truth = classes[~train]
    wrong = float((truth != np.bincount(classes[train]).argmax()).mean())
    if not wrong:
        return 0.0, 0.0
    trees = HistGradientBoostingClassifier(max_iter=ROUNDS, early_stopping=False, random_state=SEED)
    found = (
        linear(view, np.eye(len(frequent) + 1)[classes], train).argmax(axis=1),
        trees.fit(view[train], classes[train]).predict(view[~train]),
    )
    one, other = (1.0 - float((truth != read).mean()) / wrong for read in found)
    return one, other


def linked(view: Floats, entities: NDArray[np.uint64]) -> float:
    """AUC of telling two events of one entity from two of different ones, by their distance."""
    filled = np.nan_to_num(view)
    spread = filled.std(axis=0)
    seen = filled / np.where(spread > 1e-12, spread, 1.0)
    order = np.argsort(entities, kind="stable")
    first, second = order[:-1], order[1:]
    same = (entities[first] == entities[second]) & (entities[first] != 0)
    first, second = first[same][:PAIRS_MAX], second[same][:PAIRS_MAX]
    other = np.roll(second, 1)
    different = entities[first] != entities[other]
    apart = [np.linalg.norm(seen[first] - seen[second], axis=1)]
    apart += [np.linalg.norm(seen[first[different]] - seen[other[different]], axis=1)]
    return area(-np.concatenate(apart), np.arange(sum(map(len, apart))) < len(apart[0]))


def flattened(bodies: Sequence[Mapping[str, Any]], columns_max: int = 120) -> Floats:
    """All numbers of JSON objects, also those in texts, a column for each place (n, J); NaN: not there.

    Where a text is one of few, whether it is there is a column, too.
    """
    found = [dict(_leaves(body, "")) for body in bodies]
    counts: dict[str, int] = {}
    for each in found:
        for name in each:
            counts[name] = counts.get(name, 0) + 1
    frequent = sorted(counts, key=lambda name: (-counts[name], name))[:columns_max]
    places = {name: column for column, name in enumerate(frequent)}
    view = np.full((len(found), len(places)), np.nan)
    for row, each in enumerate(found):
        for name, value in each.items():
            if name in places:
                view[row, places[name]] = value
    return view[
        :, [len(np.unique(column[np.isfinite(column)])) > 1 or np.isnan(column).any() for column in view.T]
    ]


def _leaves(value: Any, path: str) -> Iterator[tuple[str, float]]:
    match value:
        case dict():
            for name, inner in value.items():
                yield from _leaves(inner, f"{path}.{name}")
        case list():
            for number, inner in enumerate(value):
                yield from _leaves(inner, f"{path}.{number}")
        case bool() | int() | float():
            yield path, float(value)
        case str():
            numbers = re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", value)[:NUMBERS_MAX]
            for number, text in enumerate(numbers):
                yield f"{path} number {number}", float(text.replace(",", ""))
            yield f"{path} is {re.sub(r'[0-9.,]+', '#', value)[:80]}", 1.0
