"""What histories tell of events beforehand, measured on rows of the core.

Values by the means of entities and of categories, categories and bins by the main entity's own shares.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.core.features import feature_kernels
from detector.core.features.feature_kernels import HABIT_PRIOR
from detector.core.features.habits import BINS, PERIODS_S
from detector.core.features.layout import Layout
from detector.core.features.profiles import population_shift
from detector.core.features.rows import Rows

# Share of what varies that a key must explain: 1 where it is constant for each key.
CONSTANT_FROM = 0.9
# Share of events whose key must have a history. Where most keys come once, whose event it is says what it is.
KNOWN_FROM = 0.5


def mostly_known(rows: Rows, layout: Layout) -> NDArray[np.bool_]:
    """Whether most events are of keys with a history, by entity, (E,)."""
    counts = [layout.kind_of(entity).count(-1) for entity in range(len(layout.entities))]
    return np.asarray((rows.context[:, counts] > 0).sum(axis=0) >= KNOWN_FROM * len(rows), dtype=np.bool_)


def explained_shares(rows: Rows, layout: Layout) -> NDArray[np.float64]:
    """Share of each numeric's variance explained by a key's mean as known before the event, (K, J).

    K: `Layout.compared_keys`, entities and then categories.

    Means are those of the longest memory; only rows whose key had a history count. The share is 0 without
    such rows, where the mean predicts worse than the average of all, as with short histories, and of values
    that are not followed by category.
    """
    shares = np.zeros((layout.compared_keys, len(layout.numerics)))
    level = rows.numerics - population_shift(rows.context, layout)
    for key, share in enumerate(shares):
        kind = layout.kind_of(key)
        weight = rows.context[:, kind.count(-1)]
        for j in range(kind.numerics):
            mean = rows.context[:, kind.mean(-1, j)]
            known = (weight > 0) & ~np.isnan(mean + level[:, j])
            share[j] = _explained(level[known, j], mean[known])
    return shares


def variance_explained(rows: Rows, layout: Layout, numeric: int) -> dict[int, float]:
    """Share of a numeric's variance explained by the mean of each category, as known before the event.

    By the category's column among all keys. Rows whose category was never seen do not count.
    """
    level = rows.numerics[:, numeric] - population_shift(rows.context, layout)[:, numeric]
    found: dict[int, float] = {}
    for key in range(len(layout.entities), len(layout.entities) + len(layout.categories)):
        mean = rows.context[:, layout.kind_of(key).mean(-1, numeric)]
        known = ~np.isnan(mean + level)
        found[key] = _explained(level[known], mean[known])
    return found


def _explained(values: NDArray[np.float64], means: NDArray[np.float32]) -> float:
    """Share of the variance of values (n,) that means (n,) explain; 0 where they predict worse than none."""
    left = np.square(values - means).sum()
    total = np.square(values - values.mean()).sum() if len(values) else 0.0
    with np.errstate(over="ignore"):  # means that are infinitely worse explain nothing
        return max(0.0, 1.0 - left / total) if total > 0.0 else 0.0


def category_shares(rows: Rows, layout: Layout, category: int) -> NDArray[np.float64]:
    """Shares of a category as known before each event, (n, 2): of all events, of the main entity's."""
    columns = layout.share_columns(category)
    shares = np.empty((len(rows), 2))
    table = np.array([[*columns[:2], -1, -1], columns], dtype=np.int64)
    feature_kernels.shares(rows.context, table, shares)
    return shares


def explained_surprises(rows: Rows, layout: Layout) -> NDArray[np.float64]:
    """Share of each category's surprise that the main entity's history takes away, (C,).

    1 where a category is constant for each key of the main entity, 0 where its history says nothing, where
    most keys come once, and without entities. Only rows whose key had a history count. However constant a
    category is, a history of n events leaves a surprise of up to log(1 + 1 / n), which does not count.
    """
    explained = np.zeros(len(layout.categories))
    if not mostly_known(rows, layout)[:1].any():
        return explained
    main = layout.kind_of(0).count(-1)
    for c in range(len(layout.categories)):
        known = (rows.context[:, main] > 0) & (rows.categories[:, c] != 0)
        if not known.any():
            continue
        before, after = -np.log(category_shares(rows.take(known), layout, c)).T
        left = np.maximum(after - np.log1p(1.0 / rows.context[known, main]), 0.0).sum()
        explained[c] = max(0.0, 1.0 - left / before.sum()) if before.sum() > 0.0 else 0.0
    return explained


def share_gains(rows: Rows, layout: Layout) -> dict[str, float]:
    """What a key's own shares of a bin or category tell beyond everybody's, in nats per event.

    By the name of the column. It is the mean of log(own share / everybody's), both as known before the event.
    0 or less: the key's own history tells nothing. So do hours and days before each of them was seen once: on
    the first Wednesday of a stream nobody has ever been seen on a Wednesday.
    """
    gains = {}
    context = rows.context.astype(np.float64)
    lived_s = _lived(context, layout)
    for own in layout.habits:
        everything = layout.habit_of(own.name, None)
        if own.name not in BINS or own.key is None or everything is None:
            continue
        if lived_s < PERIODS_S.get(own.name, 0.0):
            gains[layout.surprise_of(own)] = 0.0
            continue
        usual = context[:, everything.start] + 1.0 / BINS[own.name]
        usual /= context[:, everything.start + 1] + 1.0
        share = (context[:, own.start] + HABIT_PRIOR * usual) / (context[:, own.start + 1] + HABIT_PRIOR)
        gains[layout.surprise_of(own)] = float(np.log(share / usual).mean())
    for place, category in enumerate(layout.categories if layout.entities else ()):
        there = rows.categories[:, place] != 0
        usual, share = category_shares(rows.take(there), layout, place).T
        gains[f"{category.name} surprise"] = float(np.log(share / usual).mean()) if there.any() else 0.0
    return gains


def _lived(context: NDArray[np.float64], layout: Layout) -> float:
    """How long the stream had been seen before the newest of some rows, s of event time; 0 without habits."""
    pace = layout.habit_of("pace", None)
    if pace is None or not len(context):
        return 0.0
    share = float(context[:, pace.columns.stop - 1].max())  # 1 - exp(-rate * time), see `PaceTable`
    return np.inf if share >= 1.0 else float(-np.log2(1.0 - share) * layout.half_lives_s[-1])
