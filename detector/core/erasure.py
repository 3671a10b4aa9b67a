"""Erasing entities: what a part of the state does that holds something of single ones.

A part that holds rows, numbers or names of single entities or of their events is a `Holder`. All of them are
listed in `detector.core.shard.erasing.holders`, and a test looks for what was erased in the whole state.

What counts many entities together is no such thing: histograms, cluster centres, weights, trees. Nor are the
hashes of the latest event ids: without them an event that is written twice would bring back what was erased.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Alert = TypeVar("Alert", tuple[int, int, int], tuple[float, int, int])
Keys = NDArray[np.uint64]
"""Hashes of main entities (n,): ascending, distinct, none is 0."""
Counts = Mapping[str, NDArray[np.int64]]
"""How much is held of each entity (n,), by the name that receipts have for it."""


@dataclass(frozen=True, slots=True, eq=False)
class Erased:
    """The entities that one barrier erases."""

    entities: Keys
    offsets: NDArray[np.int64]  # (m,) of their events in the log, as far as they are stored; ascending


class Holder(Protocol):
    """See the module's text."""

    def held(self, entities: Keys) -> Counts:
        """What it holds of each entity."""

    def erase(self, erased: Erased) -> None:
        """Drop all of it."""


def counted(entities: Keys, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How often each entity (n,) is among `keys` (m,)."""
    places = np.minimum(np.searchsorted(entities, keys), len(entities) - 1)
    return np.bincount(places[entities[places] == keys], minlength=len(entities))


def without(alerts: Mapping[int, Alert], erased: Erased) -> OrderedDict[int, Alert]:
    """Leave out alerts, by offset, whose third number is an erased entity; the order stays."""
    gone = set(erased.entities.tolist())
    return OrderedDict((offset, alert) for offset, alert in alerts.items() if alert[2] not in gone)
