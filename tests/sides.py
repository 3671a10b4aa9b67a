"""Side records for barriers in tests."""

from __future__ import annotations

from collections.abc import Mapping

from detector.core.recovery.journal import Barrier
from detector.core.recovery.sides import Side, SideRecords


def named(barrier: Barrier, topics: Mapping[Side, SideRecords]) -> dict[Side, SideRecords]:
    """Records that a barrier names, of whole side topics."""
    return {
        side: [record for record in topics[side] if start <= record[0] < stop]
        for side, (start, stop) in barrier.sides.items()
    }
