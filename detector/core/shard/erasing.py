"""What a barrier erases of its entities: everything that the shard holds of single ones.

    1. each `Holder` drops its rows: profiles, contacts, events, examples, labels, cases, ...
    2. the parts of the score are refitted to what is left of the core, from nothing but that: an index also
       keeps events that have left the core
    3. where nothing is left of the core, the model begins anew (`Shard.barrier`)

All entities of a barrier are erased together, so many of them cost hardly more than one. What the barrier
does after that, it does without them. So a state after it is that of a replay, and every checkpoint made from
there on has nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from detector.core.erasure import Counts, Erased, Holder, Keys
from detector.core.events import Parser
from detector.core.labels.event_buffer import EventBuffer
from detector.core.labels.feedback import LabelBook
from detector.core.labels.supervision import Supervision
from detector.core.shard.alerting import Alerting
from detector.core.shard.learning import Learning
from detector.core.shard.scoring import Scorer


def holders(
    scorer: Scorer,
    learning: Learning,
    alerting: Alerting,
    supervision: Supervision,
    book: LabelBook,
    buffer: EventBuffer,
) -> tuple[Holder, ...]:
    """All parts of a shard's state that hold something of single entities.

    The event buffer comes last: the others look up there which events were the entities'.
    """
    scoring = scorer.profiles, scorer.heat, scorer.served, scorer.shifts, scorer.drift.labels, learning.core
    return *scoring, *alerting.holders, supervision, book, buffer


class Erasing:
    """What the desk asks, see `detector.core.labels.desk`.

    Attributes
    ----------
    parts
        Gives `holders`. The desk's book is one of them, so it is set once there is a desk. It must not know
        the shard, which owns this: in a circle the arrays of a shard that is given up are not freed at once.
    """

    def __init__(self, parser: Parser, buffer: EventBuffer) -> None:
        self._parser, self._buffer = parser, buffer
        self.parts: Callable[[], Sequence[Holder]] = tuple

    def hash_of(self, value: str) -> int:
        """Hash of a value of the main entity; 0: the schema has none."""
        return self._parser.main_hash(value)

    def known(self, entities: Sequence[int]) -> Collection[int]:
        """Which of these entities (hashes) anything is held of."""
        keys = _keys(entity for entity in entities if entity)
        if not len(keys):
            return ()
        total = np.sum(list(held(self.parts(), keys).values()), axis=0)
        return set(keys[total > 0].tolist())

    def drop(self, entities: Sequence[int]) -> Counts:
        """Drop all that is held of entities (hashes); returns how much that was, by ascending entity."""
        keys, parts = _keys(entities), self.parts()
        counts = held(parts, keys)
        offsets = np.unique(self._buffer.column("offsets", self._buffer.numbers_of(keys)))
        for part in parts:
            part.erase(Erased(keys, offsets))
        return counts


def held(parts: Sequence[Holder], entities: Keys) -> Counts:
    """How much all parts hold of each entity (n,), by what it is."""
    total: dict[str, NDArray[np.int64]] = {}
    for part in parts:
        for name, numbers in part.held(entities).items():
            total[name] = total.get(name, 0) + numbers
    return total


def _keys(entities: Iterable[int]) -> Keys:
    return np.array(sorted(set(entities)), dtype=np.uint64)
