"""What the encoder sees of an event: its own values, and how they compare with the history of its keys.

Two steps are kept apart, so that any value can be replaced and everything derived from it computed again, as
explanations and contrastive swaps do:

    Profiles.observe   events -> context rows (stateful, event by event)
    FraudRates.read    events -> fraud rate rows (what labels say of its keys; changes at barriers only)
    Features.compute   (values, context, fraud rates) -> inputs (pure, row by row; see `columns`)

Heat alone comes later, because it follows from distances: `Features.add_heat` writes its inputs again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.features.column import LONGEST
from detector.core.features.columns import columns_of, fills_of
from detector.core.features.layout import KeyKind, Layout
from detector.core.features.rows import Rows


class Features:
    """Numeric inputs of the encoder, computed row by row from `Rows` and nothing else."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.columns = columns_of(layout)
        self.names = tuple(column.name for column in self.columns)
        # The plain encoder sees the first `plain_count` columns.
        self.plain_count = sum(column.encoded for column in self.columns)
        self.fraud_rate_memories = [rated.memories for rated in layout.fraud_rate_kinds]
        self._counts = {
            (column.kind.name, column.memory): place
            for place, column in enumerate(self.columns)
            if column.source == "count" and column.kind is not None
        }
        self._fills = fills_of(layout, self.columns)
        heat = [place for place, column in enumerate(self.columns) if column.source == "heat"]
        self.heat = slice(heat[0], heat[-1] + 1) if heat else slice(0, 0)
        self._fill_heat = fills_of(layout, self.columns, {"heat"})

    def __len__(self) -> int:
        return len(self.columns)

    def compute(self, rows: Rows) -> NDArray[np.float32]:
        """Compute inputs (n, F) float32, all finite."""
        inputs = np.empty((len(rows), len(self)), dtype=np.float32)
        for fill in self._fills:
            fill(rows, inputs)
        return inputs

    def add_heat(self, rows: Rows, inputs: NDArray[np.float32]) -> None:
        """Write the columns `heat` of inputs (n, F) again, because the context has changed."""
        for fill in self._fill_heat:
            fill(rows, inputs)

    def count_column(self, kind: KeyKind, memory: int = LONGEST) -> int:
        """Input that holds log(1 + decayed events of a kind's key in a memory)."""
        return self._counts[kind.name, memory % kind.memories]

    def counts_before(self, inputs: NDArray[Any]) -> list[NDArray[np.float64]]:
        """Read the decayed counts of earlier events from (n, F) inputs: (n, H) per kind with fraud rates."""
        counts = []
        for rated in self._layout.fraud_rate_kinds:
            columns = [self.count_column(rated.kind, h) for h in range(rated.memories)]
            counts.append(np.expm1(inputs[:, columns].astype(np.float64)))
        return counts
