"""Side inputs: topics beside the transactions whose records enter a shard at barriers only.

Every process reads a side topic whole (assigned, without a group). A barrier names the positions that it
applies of each one, and the journal records them, so a replay applies the same records at the same places.

To add a side input:

1. an entry at the end of `SIDES`,
2. a handler of its records in `Shard.side_handlers`,
3. a setting of the same name in `topics`; wiring opens the topic that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from detector.config.tree import ModelPart

Side = str
"""Name of a side input: a key of `SIDES`, and of the setting in `topics`."""

SideRecords = Sequence[tuple[int, bytes]]
"""Position and value of records of a side topic, ascending."""


class SideRange(NamedTuple):
    """Positions [start, stop) of a side topic."""

    start: int
    stop: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SideInput:
    """How barriers apply a side topic."""

    records_max: Callable[[ModelPart], int]  # at one barrier, the rest waits; 0: the input is off
    bytes_max: int | None = None  # at one barrier, but at least one record; None: no limit of its own
    causes_barriers: bool = False  # waiting records may cause a barrier before the regular one
    starts_at_end: bool = False  # a partition without a committed offset skips what the topic already holds


# At most as many records of the exchange as labels by default: some for each of hundreds of peers.
_PEER_MESSAGES_MAX = 1024

SIDES: dict[Side, SideInput] = {
    # A partition that starts anew skips older messages: they may be its own, from before its reset.
    "exchange": SideInput(
        records_max=lambda config: _PEER_MESSAGES_MAX if config.exchange else 0,
        bytes_max=8 << 20,  # takes well under a second to read
        starts_at_end=True,
    ),
    "feedback": SideInput(
        records_max=lambda config: config.model.labels.per_barrier_max,
        causes_barriers=True,
    ),
}
"""Side inputs in the order in which a journal's text lists them: only ever append.

The exchange comes first because it moves at nearly every barrier, which keeps the text short.
"""
