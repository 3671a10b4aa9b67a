"""What the watch for drift sees of the events: their values as they came, and which of their keys are new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from detector.config.tree import ModelPart
from detector.core.alerts.severity import SEVERITIES
from detector.core.drift.columns import Columns, Key, Values
from detector.core.drift.watch import DriftWatch
from detector.core.events import Events
from detector.core.features import Layout, Rows
from detector.core.state import misfit


def columns(layout: Layout) -> Columns:
    """The columns of a schema.

    Numeric fields; the degrees of places; the number of trigrams of texts; categories; entities, and the
    other entities as contacts of the main one.
    """
    numbers = [place.field.name for place in layout.numerics]
    numbers += [place.field.name for place in layout.points for _ in range(2)]
    numbers += [place.field.name for place in layout.texts]
    categories = [place.field.name for place in layout.categories]
    keys = [Key(name, "entities", (e, -1, layout.kind_of(e).gap)) for e, name in enumerate(layout.entities)]
    keys += [
        Key(layout.entities[e], "contacts", (0, e, layout.kind_of(0, e).gap))
        for e in range(1, len(layout.entities))
    ]
    return Columns(numbers, categories, keys, [group.name for group in layout.groups])


def watch_in(config: ModelPart, state: Mapping[str, Any]) -> DriftWatch:
    """The watch for drift in a shard's state.

    Raises
    ------
    ValueError
        The state is not one of this configuration.
    """
    watch = DriftWatch(columns(Layout(config.event, config.model.features)), SEVERITIES)
    if wrong := misfit(state["drift"], watch.to_state()):
        raise ValueError(wrong)
    watch.load(state["drift"])
    return watch


def values(events: Events, rows: Rows) -> Values:
    """The values of n events, whose rows know their keys."""
    numbers = [events.numerics]
    if events.points.shape[1]:
        numbers.append(events.points.reshape(len(events), -1))
    if events.grams.shape[1]:
        grams = np.count_nonzero(events.grams, axis=2).astype(np.float64)
        numbers.append(np.where(grams > 0, grams, np.nan))
    return Values(
        numbers=np.concatenate(numbers, axis=1) if len(numbers) > 1 else events.numerics,
        categories=events.categories,
        entities=events.entities,
        context=rows.context,
        times=rows.times,
    )
