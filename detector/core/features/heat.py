"""Heat of everything and of each entity: how far their earlier events lay beyond normal.

It is the last part of a context row, because it follows from the distances of the events before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Features as FeaturesConfig
from detector.core.erasure import Counts, Erased, Keys
from detector.core.features.heat_table import HeatTable
from detector.core.features.key_table import KeyTable, held_in, load_tables, tables_to_state
from detector.core.features.layout import Layout
from detector.core.features.rows import Rows


class Heat:
    """One table for each heat of a layout; none without entities.

    `observe` must see events in log order; `reserve` may only be called at the beginning of a block.
    """

    def __init__(self, layout: Layout, config: FeaturesConfig) -> None:
        self._heats = layout.heats
        self._tables = [
            HeatTable(layout.heat_half_lives_of(heat), 1 if heat.key is None else config.entities_max)
            for heat in self._heats
        ]

    @property
    def tables(self) -> list[KeyTable]:
        """All tables."""
        return list(self._tables)

    def reserve(self, events: int) -> None:
        """Make room for a block."""
        for table in self._tables:
            table.reserve(events)

    def observe(self, rows: Rows, excess: NDArray[np.float64], *, apart: bool = False) -> None:
        """Fill the heat's columns of `rows.context` and learn from the rows, one after another.

        `excess` (n,) is in nats beyond normal, without heat. With `apart` each row is observed as the next
        event, and nothing is learned.
        """
        everything = np.ones(len(rows), dtype=np.uint64)
        for heat, table in zip(self._heats, self._tables, strict=True):
            key = everything if heat.key is None else rows.entities[:, heat.key]
            if apart:
                table, key = table.apart(key)
            else:
                table.read_ahead(key)
            table.observe(key, rows.times, excess, rows.context[:, heat.columns])

    def held(self, entities: Keys) -> Counts:
        """Rows of the entities."""
        return {"profiles": held_in(self._of_main(), entities)}

    def erase(self, erased: Erased) -> None:
        """Drop these rows."""
        for table in self._of_main():
            table.erase(erased.entities)

    def _of_main(self) -> list[KeyTable]:
        return [table for heat, table in zip(self._heats, self._tables, strict=True) if heat.key == 0]

    def to_state(self) -> dict[str, Any]:
        return tables_to_state(self._tables)

    def load(self, state: Mapping[str, Any]) -> None:
        load_tables(self._tables, state)
