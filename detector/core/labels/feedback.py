"""Labels in force: analysts' answers and late reports, with the limits on how many anyone may give.

A label goes one way: the desk (`detector.core.labels.desk`) matches the records of a barrier with their
events, this book decides about each of them, and the shard gives the `AppliedLabels` of the barrier to each
part that learns from them (see `detector.core.shard.shard.Shard.barrier`).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Labels as LabelsConfig
from detector.core.erasure import Counts, Erased, Keys, counted
from detector.core.features import DAY_S, Rows
from detector.core.labels.event_buffer import EventBuffer

ACTORS_MAX = 1024  # actors whose labels of a day are counted; all others share one count
NAME_CHARS_MAX = 64  # of an actor, as it is kept for receipts
_LABELS = ("fraud", "legitimate")
_OTHERS = 0  # stands for all actors without a name or a count of their own
# Alerted events answered as legitimate that one barrier adds to the core of normal events.
CLEARED_MAX = 32


class Answer(NamedTuple):
    """A label that was matched with its event."""

    number: int  # of the event, see `EventBuffer`
    offset: int  # of the event's record
    label: str  # fraud, legitimate or retracted
    time: float  # of the feedback, s since the epoch; never after the event time at which it was applied


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AppliedLabels:
    """The labels of one barrier; m of them."""

    answers: tuple[Answer, ...]  # in the order of the topic
    times: NDArray[np.float64]  # (m,) event time of each answer's event
    keys: NDArray[np.uint64]  # (m, E + C) its entities and categories
    cleared: Rows | None  # alerted events answered as legitimate, at most CLEARED_MAX; None without any
    outcomes: Mapping[str, int] = field(default_factory=dict)  # feedback records by outcome; no zeros

    @classmethod
    def make(
        cls, answers: Sequence[Answer], buffer: EventBuffer, outcomes: Mapping[str, int] | None = None
    ) -> AppliedLabels:
        """Look up the answers' events, which must be in the buffer."""
        numbers = np.array([answer.number for answer in answers], dtype=np.int64)
        legitimate = [answer.number for answer in answers if answer.label == "legitimate"]
        cleared = buffer.alerted_rows(legitimate)[:CLEARED_MAX]
        return cls(
            answers=tuple(answers),
            times=buffer.column("times", numbers),
            keys=buffer.column("keys", numbers),
            cleared=Rows.joined(cleared) if cleared else None,
            outcomes=outcomes or {},
        )

    @property
    def fraud_events(self) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
        """Event times (f,) and keys (f, E + C) of the events that were answered as fraud."""
        fraud = np.flatnonzero([answer.label == "fraud" for answer in self.answers])
        return self.times[fraud], self.keys[fraud]

    @property
    def by_offset(self) -> dict[int, str]:
        """Offset of the event's record -> its latest label."""
        return {answer.offset: answer.label for answer in self.answers}


class Given(NamedTuple):
    """Who gave the label that an event has, and when."""

    actor: int  # hash; 0: nobody said
    time: float  # s since the epoch


class Decision(NamedTuple):
    """What became of one label for one event."""

    outcome: str
    before: str | None  # the event's label before; None: it had none
    rival: str = ""  # name of another actor whose different answer was in force; empty: none
    rival_time: float = 0.0  # when that was given, s since the epoch


class LastAnswer(NamedTuple):
    """The last answer about an entity."""

    label: str  # fraud or legitimate
    time: float  # when it was given, s since the epoch


class LabelBook:
    """The labels in force, and the limits on how many anyone may give.

    Rules
        - A record with a `feedback_id` is applied once.
        - At most `per_entity_max` frauds of one main entity are in force, and at most `per_actor_max` labels
          of one actor are applied per day. So no single card and no single account decides what a fraud is.
          Labels without an actor count as those of one actor.
        - Where two actors contradict each other, the answer with the later time counts, or that of one of
          `senior_actors`.
        - What a record says of its time moves nothing beyond the present: days are those of event time when
          the record is applied, and a label from the future counts as given now.
        - Of ids only hashes are kept, and of actors the beginnings of at most ACTORS_MAX names, so nobody
          else decides how large the state is.

    Parameters
    ----------
    id_hash
        Of feedback ids and actors.
    """

    def __init__(self, config: LabelsConfig, id_hash: Callable[[str], int]) -> None:
        self._config = config
        self._id_hash = id_hash
        self._seniors = frozenset(id_hash(name) for name in config.senior_actors)
        self.labels: OrderedDict[int, str] = OrderedDict()  # offset of the event -> label; oldest first
        self._given: dict[int, Given] = {}  # offset -> who gave it
        self._entities: dict[int, int] = {}  # offset -> main entity (hash; 0: none)
        self._frauds: dict[int, int] = {}  # main entity -> frauds in force
        self._applied: OrderedDict[int, None] = OrderedDict()  # hashes of feedback ids
        self._day = 0  # of event time, since the epoch; it never goes back
        self._actors: dict[int, int] = {}  # hash of the actor -> labels on that day
        self._names: OrderedDict[int, str] = OrderedDict()  # hash of an actor -> beginning of the name
        # Main entity -> offset, label and time of its last answer; the one answered longest ago first.
        self._last: OrderedDict[int, tuple[int, str, float]] = OrderedDict()

    def begin(self, now: float) -> None:
        """Begin a barrier at event time `now`, s since the epoch."""
        if now // DAY_S > self._day:
            self._day, self._actors = int(now // DAY_S), {}

    def counts(self) -> dict[str, int]:
        """Number of labels in force, by label."""
        counted = Counter(self.labels.values())
        return {label: counted[label] for label in _LABELS}

    def is_applied(self, feedback_id: str | None) -> bool:
        """Whether a record with this id was applied."""
        return feedback_id is not None and self._id_hash(feedback_id) in self._applied

    def mark_applied(self, feedback_id: str | None) -> None:
        """Note that a record with this id was applied."""
        if feedback_id is None:
            return
        self._applied[self._id_hash(feedback_id)] = None
        if len(self._applied) > self._config.labels_max:
            self._applied.popitem(last=False)

    def last_answer(self, entity: int) -> LastAnswer | None:
        """What was answered last about a main entity, given by its hash; None: nothing that is known."""
        found = self._last.get(entity)
        return None if found is None else LastAnswer(found[1], found[2])

    def decide(self, label: str, offset: int, entity: int, actor: str | None, time: float) -> Decision:
        """Apply a label to one event, or decline it.

        Parameters
        ----------
        label
            fraud, legitimate or retracted.
        offset, entity
            Of the event: its record, and the hash of its main entity; 0 without one.
        time
            When the label was given, s since the epoch; not in the future.
        """
        before = self.labels.get(offset)
        who = self._id_hash(actor) if actor else _OTHERS
        rival, rival_time = self._rival(label, offset, who)
        if rival and self._prevails(offset, who, time):
            return Decision("contradicts", before, rival, rival_time)
        if label != "retracted" and self._exceeds(label, offset, entity, who):
            return Decision("rate_limited", before)
        self._forget(offset)
        if label == "retracted":
            if entity in self._last and self._last[entity][0] == offset:
                del self._last[entity]
            return Decision("retracted", before, rival, rival_time)
        self.labels[offset], self._given[offset] = label, Given(who, time)
        self._name(who, actor)
        self._entities[offset] = entity
        if label == "fraud" and entity:
            self._frauds[entity] = self._frauds.get(entity, 0) + 1
        if entity:
            self._last.pop(entity, None)
            self._last[entity] = offset, label, time
        while len(self.labels) > self._config.labels_max:
            self._forget(next(iter(self.labels)))
        while len(self._last) > self._config.labels_max:
            self._last.popitem(last=False)
        return Decision("applied", before, rival, rival_time)

    def _rival(self, label: str, offset: int, who: int) -> tuple[str, float]:
        """Another actor whose answer a label contradicts, and when it was given; empty: there is none."""
        given = self._given.get(offset)
        if given is None or given.actor == who or self.labels[offset] == label:
            return "", 0.0
        nobody = "somebody without a name" if given.actor == _OTHERS else "another actor"
        return self._names.get(given.actor, nobody), given.time

    def _prevails(self, offset: int, who: int, time: float) -> bool:
        """Whether the label that an event has outweighs that of another actor."""
        given = self._given[offset]
        there, here = given.actor in self._seniors, who in self._seniors
        return there if there != here else time < given.time

    def _name(self, who: int, actor: str | None) -> None:
        if not actor:
            return
        self._names.pop(who, None)
        self._names[who] = actor[:NAME_CHARS_MAX]
        if len(self._names) > ACTORS_MAX:
            self._names.popitem(last=False)

    def _exceeds(self, label: str, offset: int, entity: int, actor: int) -> bool:
        """Whether a label exceeds a limit; otherwise it is counted for its actor."""
        new = label == "fraud" and self.labels.get(offset) != "fraud"
        if new and self._frauds.get(entity, 0) >= self._config.per_entity_max:
            return True
        if actor not in self._actors and len(self._actors) >= ACTORS_MAX:
            actor = _OTHERS
        count = self._actors.get(actor, 0)
        if count >= self._config.per_actor_max:
            return True
        self._actors[actor] = count + 1
        return False

    def _forget(self, offset: int) -> None:
        label, entity = self.labels.pop(offset, None), self._entities.pop(offset, 0)
        self._given.pop(offset, None)
        if label == "fraud" and entity:
            self._frauds[entity] -= 1
            if not self._frauds[entity]:
                del self._frauds[entity]

    def held(self, entities: Keys) -> Counts:
        """Labels in force for events of the entities, and their last answers."""
        labels, last = (
            np.array(list(keys), dtype=np.uint64) for keys in (self._entities.values(), self._last)
        )
        return {"labels": counted(entities, labels), "answers": counted(entities, last)}

    def erase(self, erased: Erased) -> None:
        """Drop these labels, and the last answers. What actors gave that day stays counted."""
        gone = set(erased.entities.tolist())
        for offset in [offset for offset, entity in self._entities.items() if entity in gone]:
            self._forget(offset)
        for entity in gone:
            self._last.pop(entity, None)

    def to_state(self) -> dict[str, Any]:
        """State as arrays and plain values."""
        given = [self._given[offset] for offset in self.labels]
        last = list(self._last.values())
        return {
            "offsets": np.array(list(self.labels), dtype=np.int64),
            "labels": np.array([_LABELS.index(label) for label in self.labels.values()], dtype=np.uint8),
            "given_by": np.array([one.actor for one in given], dtype=np.uint64),
            "given_times": np.array([one.time for one in given], dtype=np.float64),
            "entities": np.array([self._entities[offset] for offset in self.labels], dtype=np.uint64),
            "applied": np.array(list(self._applied), dtype=np.uint64),
            "day": self._day,
            "actors": np.array(list(self._actors), dtype=np.uint64),
            "counts": np.array(list(self._actors.values()), dtype=np.int64),
            "named": np.array(list(self._names), dtype=np.uint64),
            "names": list(self._names.values()),
            "answered": np.array(list(self._last), dtype=np.uint64),
            "answered_offsets": np.array([offset for offset, _, _ in last], dtype=np.int64),
            "answered_labels": np.array([_LABELS.index(label) for _, label, _ in last], dtype=np.uint8),
            "answered_times": np.array([time for _, _, time in last], dtype=np.float64),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        offsets = state["offsets"].tolist()
        labels = [_LABELS[number] for number in state["labels"].tolist()]
        self.labels = OrderedDict(zip(offsets, labels, strict=True))
        given = zip(state["given_by"].tolist(), state["given_times"].tolist(), strict=True)
        self._given = dict(zip(offsets, (Given(*one) for one in given), strict=True))
        self._entities = dict(zip(offsets, state["entities"].tolist(), strict=True))
        pairs = zip(self._entities.values(), labels, strict=True)
        self._frauds = dict(Counter(entity for entity, label in pairs if entity and label == "fraud"))
        self._applied = OrderedDict.fromkeys(state["applied"].tolist())
        self._day = state["day"]
        self._actors = dict(zip(state["actors"].tolist(), state["counts"].tolist(), strict=True))
        self._names = OrderedDict(zip(state["named"].tolist(), state["names"], strict=True))
        answered = [_LABELS[number] for number in state["answered_labels"].tolist()]
        rows = zip(
            state["answered_offsets"].tolist(), answered, state["answered_times"].tolist(), strict=True
        )
        self._last = OrderedDict(zip(state["answered"].tolist(), rows, strict=True))
