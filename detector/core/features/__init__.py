"""From events to inputs of the encoder.

What other rooms use is exported here; modules of this room import each other directly.
"""

from __future__ import annotations

from detector.core.features.features import (
    DAY_S,
    Features,
    Group,
    Layout,
    Profiles,
    Risks,
    Rows,
    Units,
    empty_rows,
    explained_shares,
    population_shift,
    swap,
    to_rows,
)

__all__ = [
    "DAY_S",
    "Features",
    "Group",
    "Layout",
    "Profiles",
    "Risks",
    "Rows",
    "Units",
    "empty_rows",
    "explained_shares",
    "population_shift",
    "swap",
    "to_rows",
]
