"""How many bytes a partition takes after what it has seen: a prediction, beside the bound of `sizing`.

    tables      grow by doubling, for the different keys that came; then they are full
    labels      the ring of recent events and the archive of older ones fill up
    the rest    is as large as the configuration says once the model has learned

A snapshot has the keys that are there, not the empty slots. One is held of each partition all the time: it is
that of the newest barrier, which a stop writes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from detector.config.tree import ModelPart
from detector.core.alerts.cases import CASE_BYTES
from detector.core.features import Features, Layout
from detector.core.labels.event_buffer import ALERTED_MAX, OLDER_BYTES, ring_of
from detector.core.labels.event_buffer import sizes as label_sizes
from detector.core.shard.sizing import (
    LABEL_BYTES,
    ROW_OBJECTS_BYTES,
    Sizes,
    fitted,
    fixed_parts,
    tables_of,
)

KEYS_UNKNOWN = 1_000


class Seen(NamedTuple):
    """What a partition has seen so far."""

    events: int
    keys: Mapping[str, int]
    """Different keys of each entity and categorical field, by name; `KEYS_UNKNOWN` of one that is missing."""
    labels: int = 0


def expected(config: ModelPart, seen: Seen) -> Sizes:
    """Bytes that a partition takes after what it has seen.

    Pairs are counted as if each event had met another one, as far as there are so many.

    Returns
    -------
    Sizes
        Its `state`, and the bytes of one snapshot of it.
    """
    model = fitted(config)
    layout = Layout(config.event, model.features)
    keys, parts, copied = _keys(config, layout, seen), dict[str, int](), 0
    for name, tables in tables_of(layout, model).items():
        parts[name] = 0
        for table, count in zip(tables, keys[name], strict=True):
            slots, held = table.expected(count, model.barriers.block_events)
            parts[name] += slots * table.row_bytes
            copied += held * (table.row_bytes + 8)
    sizes = fixed_parts(config, model, layout)
    fixed = {name: (part.usual, min(part.copied, part.usual)) for name, part in sizes.items()}
    alerted = _alerted(config, seen)
    cases = min(config.alerts.cases_max, alerted) * CASE_BYTES
    fixed["cases"] = cases, cases
    if config.feedback:
        buffer = label_sizes(model.labels, layout, len(Features(layout)))
        recent = ring_of(seen.events, buffer.recent)
        older = min(max(seen.events - recent, 0), buffer.sampled + min(buffer.kept, alerted + seen.labels))
        held = recent * buffer.row_bytes + older * (buffer.row_bytes + OLDER_BYTES)
        fixed["label memory"] = held, held
        rows = min(alerted, ALERTED_MAX) * ROW_OBJECTS_BYTES
        labels = min(seen.labels, model.labels.labels_max) * LABEL_BYTES
        fixed["labels"] = labels + rows, labels + rows
    parts |= {name: held for name, (held, _) in fixed.items()}
    return Sizes(parts, copied + sum(saved for _, saved in fixed.values()))


def _keys(config: ModelPart, layout: Layout, seen: Seen) -> dict[str, list[int]]:
    """Different keys of each table, in the order of `tables_of`."""
    names = [*layout.entities, *(place.name for place in layout.categories)]
    of = [min(seen.keys.get(name, KEYS_UNKNOWN), seen.events) for name in names]

    def keys(left: int | None, right: int | None = None) -> int:
        if left is None:
            return 1
        return of[left] if right is None else min(of[left] * of[right], seen.events)

    habits = [
        (habit.point is not None, seen.events if habit.name == "repeats" else keys(habit.key))
        for habit in layout.habits
    ]
    judged = int(config.feedback and seen.labels > 0)
    return {
        "profiles": [keys(kind.left, kind.right) for kind in layout.kinds],
        "habits": [count for place, count in habits if not place],
        "places": [count for place, count in habits if place],
        "heat": [keys(heat.key) for heat in layout.heats],
        "fraud rates": [judged * keys(rated.column) for rated in layout.fraud_rate_kinds],
    }


def _alerted(config: ModelPart, seen: Seen) -> int:
    """Events that gave alerts, at most: what the budget allows."""
    budget = config.alerts.budget
    return seen.events if budget.share is None else math.ceil(budget.share * seen.events)
