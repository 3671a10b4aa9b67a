"""The block that is being filled: B events at most, scored piece by piece and learned from as a whole."""

from __future__ import annotations

import numpy as np

from detector.core.features import Layout, Rows, empty_rows


class Block:
    """Arrays of B rows, of which the first `filled` are in use.

    Parameters
    ----------
    size
        B.
    inputs
        F, the number of the encoder's inputs.
    """

    def __init__(self, size: int, layout: Layout, inputs: int) -> None:
        self._layout = layout
        self.rows = empty_rows(size, layout)
        self.inputs = np.zeros((size, inputs), dtype=np.float32)
        self.distances = np.zeros(size)
        self.times = np.zeros(size)  # event time of each row, limited to a day ahead of the others
        self.now = np.zeros(size)  # event time of the shard as of each row
        self.strange = np.zeros(size, dtype=np.bool_)  # rows that reach the alert threshold
        self.filled = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def used(self) -> slice:
        """The rows in use."""
        return slice(0, self.filled)

    def clear_rest(self) -> None:
        """Empty the rows that are not in use: they hold an earlier block, or nothing after a restore."""
        if self.filled < len(self):
            rest = slice(self.filled, None)
            self.rows.put(rest, empty_rows(len(self) - self.filled, self._layout))
            self.inputs[rest] = 0.0

    def row(self, at: int) -> Rows:
        """One row, by its place."""
        return self.rows.take(slice(at, at + 1))
