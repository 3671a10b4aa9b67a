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
from weakref import WeakMethod

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

    Parameters
    ----------
    parts
        Gives `holders`. It belongs to the shard, which owns this: a reference that counts would be a circle,
        and the arrays of a shard that is given up would wait for Python's collector of circles.
    """

    def __init__(self, parser: Parser, parts: WeakMethod[Callable[[], Sequence[Holder]]]) -> None:
        self._parser, self._parts = parser, parts

    def hash_of(self, value: str) -> int:
        """Hash of a value of the main entity; 0: the schema has none."""
        return self._parser.main_hash(value)

    def known(self, entities: Sequence[int]) -> Collection[int]:
        """Which of these entities (hashes) anything is held of."""
        keys = _keys(entity for entity in entities if entity)
        if not len(keys):
            return ()
        parts = self._parts()
        assert parts is not None, "the shard owns this"
        total = np.sum(list(held(parts(), keys).values()), axis=0)
        return set(keys[total > 0].tolist())


def held(parts: Sequence[Holder], entities: Keys) -> Counts:
    """How much all parts hold of each entity (n,), by what it is."""
    total: dict[str, NDArray[np.int64]] = {}
    for part in parts:
        for name, numbers in part.held(entities).items():
            total[name] = total.get(name, 0) + numbers
    return total


def erase(entities: Sequence[int], parts: Sequence[Holder], buffer: EventBuffer) -> Counts:
    """Drop all that is held of entities (hashes); returns how much that was, by ascending entity."""
    keys = _keys(entities)
    counts = held(parts, keys)
    offsets = np.unique(buffer.column("offsets", buffer.numbers_of(keys)))
    for part in parts:
        part.erase(Erased(keys, offsets))
    return counts


def _keys(entities: Iterable[int]) -> Keys:
    return np.array(sorted(set(entities)), dtype=np.uint64)
