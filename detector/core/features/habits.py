"""Habits: what keys usually do in respects that profiles do not follow, each in tables of its own.

    pace    how often a key is usually seen, and how often just now (`pace_table`)
    hours   at which hours and on which days a key is usually seen (`hours_table`)
    places  where a key is usually seen, for each field that is a place (`places_table`)
    moves   where a key was last seen, likewise (`moves_table`)

A habit has a slice of the context row; `layout` says where. To add one: a table with `observe`, a line in
`_table`, its width and keys in `layout`, and columns in `columns`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from detector.config.tree import Features as FeaturesConfig
from detector.core.features.hours_table import HoursTable
from detector.core.features.layout import Layout
from detector.core.features.moves_table import MovesTable
from detector.core.features.pace_table import PaceTable
from detector.core.features.places_table import PlacesTable
from detector.core.features.rows import Rows

TABLES: dict[str, Any] = {
    "pace": PaceTable,
    "hours": HoursTable,
    "places": PlacesTable,
    "moves": MovesTable,
}
"""Tables by the name of the habit."""


class Habits:
    """One table for each habit of a layout.

    `observe` must see events in log order; `reserve` may only be called at the beginning of a block.
    """

    def __init__(self, layout: Layout, config: FeaturesConfig) -> None:
        self._habits = layout.habits
        long_s, keys_max = config.half_lives[-1], config.entities_max
        self._tables = []
        for habit in self._habits:
            of = () if habit.point is None else (habit.point,)
            self._tables.append(TABLES[habit.name](long_s, keys_max, *of))

    def __len__(self) -> int:
        """Keys held, of all habits."""
        return sum(len(table) for table in self._tables)

    def reserve(self, events: int) -> None:
        """Make room for a block."""
        for table in self._tables:
            table.reserve(events)

    def observe(self, rows: Rows) -> None:
        """Fill the habits' columns of `rows.context` and learn from the rows, one after another."""
        everything = np.ones(len(rows), dtype=np.uint64)
        for habit, table in zip(self._habits, self._tables, strict=True):
            key = everything if habit.key is None else rows.entities[:, habit.key]
            table.observe(key, rows, rows.context[:, habit.columns])

    def to_state(self) -> dict[str, Any]:
        return {f"{i:03d}": table.to_state() for i, table in enumerate(self._tables)}

    def load(self, state: Mapping[str, Any]) -> None:
        for i, table in enumerate(self._tables):
            table.load(state[f"{i:03d}"])
