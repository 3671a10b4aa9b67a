"""Feedback: analysts' answers and late reports, read, checked and matched with their events.

A feedback record names an event by its id, or by the topic, partition and offset of its alert. The shard
whose event buffer still holds that event applies the record at a barrier. A shard that had the event, by its
offset, and no longer holds it counts the record as forgotten. Every other shard counts it as unknown. What is
applied is a function of the records and of the log.

A label goes one way: the book turns the records of a barrier into `AppliedLabels`, and the shard gives that
value to each part that learns from it (see `detector.core.shard.shard.Shard.barrier`).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Labels as LabelsConfig
from detector.core.events import key_text, read_time
from detector.core.features import DAY_S, Rows
from detector.core.labels.event_buffer import EventBuffer

OUTCOMES = (
    "applied",
    "retracted",
    "duplicate",
    "rate_limited",
    "forgotten",
    "unknown_event",
    "unknown_kind",
    "malformed",
)
"""What becomes of a feedback record."""

ACTORS_MAX = 1024  # actors whose labels of a day are counted; all others share one count
TEXT_CHARS_MAX = 1024  # of an id or a name
RECORD_BYTES_MAX = 64 * TEXT_CHARS_MAX
_LABELS = ("fraud", "legitimate")
_OTHERS = 0  # stands for all actors without a name or a count of their own
# Alerted events answered as legitimate that one barrier adds to the core of normal events.
CLEARED_MAX = 32


Text = Annotated[str, msgspec.Meta(max_length=TEXT_CHARS_MAX)]


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """One feedback record. Unknown keys are ignored, because producers add fields of their own."""

    time: str | int | float
    label: Literal["fraud", "legitimate", "retracted"] | None = None
    kind: str = "label"
    event_id: Text | int | float | None = None
    topic: Text | None = None
    partition: int | None = None
    offset: Annotated[int, msgspec.Meta(ge=0)] | None = None
    feedback_id: Text | None = None
    entities: dict[str, str | int] | None = None
    actor: Text | None = None
    reason: str | None = None
    until: str | int | float | None = None


_decoder = msgspec.json.Decoder(Feedback)


def read_feedback(raw: bytes) -> Feedback | None:
    """Parse one record; None if it is malformed."""
    if len(raw) > RECORD_BYTES_MAX:
        return None
    try:
        feedback = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if feedback.kind != "label":
        return feedback
    named = key_text(feedback.event_id) is not None or (
        feedback.partition is not None and feedback.offset is not None
    )
    return feedback if named and feedback.label is not None and _seconds(feedback.time) is not None else None


def feedback_time(raw: bytes) -> float | None:
    """Time of a feedback record, s since the epoch; None if it is missing or malformed."""
    try:
        return _seconds(msgspec.json.decode(raw)["time"])
    except (msgspec.DecodeError, RecursionError, LookupError, TypeError, ValueError):
        return None


def _seconds(time: Any) -> float | None:
    return read_time(time) if isinstance(time, str | int | float) else None


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


class LabelBook:
    """The labels in force, and the limits on how many anyone may give.

    Rules
        - A record with a `feedback_id` is applied once.
        - At most `per_entity_max` frauds of one main entity are in force, and at most `per_actor_max` labels
          of one actor are applied per day. So no single card and no single account decides what a fraud is.
          Labels without an actor count as those of one actor.
        - What a record says of its time moves nothing beyond the present: days are those of event time when
          the record is applied, and a label from the future counts as given now.
        - Of ids and actors only hashes are kept, so nobody else decides how large the state is.

    Parameters
    ----------
    id_hash
        Of event ids, as in the buffer.
    """

    def __init__(
        self,
        config: LabelsConfig,
        topic: str,
        partition: int,
        buffer: EventBuffer,
        id_hash: Callable[[str], int],
    ) -> None:
        self._config = config
        self._id_hash = id_hash
        self._topic = topic
        self._partition = partition
        self._buffer = buffer
        self.labels: OrderedDict[int, str] = OrderedDict()  # offset of the event -> label; oldest first
        self._entities: dict[int, int] = {}  # offset -> main entity, of the frauds among them
        self._frauds: dict[int, int] = {}  # main entity -> frauds in force
        self._applied: OrderedDict[int, None] = OrderedDict()  # hashes of feedback ids
        self._day = 0  # of event time, since the epoch; it never goes back
        self._actors: dict[int, int] = {}  # hash of the actor -> labels on that day

    def apply(self, records: Sequence[tuple[int, bytes]], now: float) -> AppliedLabels:
        """Apply feedback records, given as position and value, in order.

        Parameters
        ----------
        now
            Event time of the shard, s since the epoch.
        """
        if now // DAY_S > self._day:
            self._day, self._actors = int(now // DAY_S), {}
        outcomes = dict.fromkeys(OUTCOMES, 0)
        answers: list[Answer] = []
        read = [read_feedback(raw) for _, raw in records]
        labels = [one for one in read if one is not None and one.kind == "label"]
        by_id = self._buffer.find("ids", [self._hash_of(one) for one in labels if one.event_id is not None])
        by_offset = self._buffer.find("offsets", [one.offset for one in labels if one.offset is not None])
        for feedback in read:
            outcome = "malformed"
            if feedback is not None:
                number = self._number(feedback, by_id, by_offset)
                outcome = self._apply(feedback, number, now, answers)
            outcomes[outcome] += 1
        counted = {outcome: count for outcome, count in outcomes.items() if count}
        return AppliedLabels.make(answers, self._buffer, counted)

    def _apply(self, feedback: Feedback, number: int | None, now: float, answers: list[Answer]) -> str:
        """Apply one record and append its answer; returns its outcome."""
        if feedback.kind != "label":
            return "unknown_kind"
        record = None if feedback.feedback_id is None else self._id_hash(feedback.feedback_id)
        if record in self._applied:
            return "duplicate"
        if number is None:
            # The same feedback id may be applied later, when the event is known.
            return "forgotten" if self._was_here(feedback) else "unknown_event"
        time = _seconds(feedback.time)
        assert feedback.label is not None
        assert time is not None
        here = np.array([number])
        offset = int(self._buffer.column("offsets", here)[0])
        keys = self._buffer.column("keys", here)[0]
        entity = int(keys[0]) if len(keys) else 0
        if feedback.label != "retracted" and self._exceeds(feedback, offset, entity):
            return "rate_limited"
        if record is not None:
            self._applied[record] = None
            if len(self._applied) > self._config.labels_max:
                self._applied.popitem(last=False)
        self._forget(offset)
        answers.append(Answer(number, offset, feedback.label, min(time, now)))
        if feedback.label == "retracted":
            return "retracted"
        self.labels[offset] = feedback.label
        if feedback.label == "fraud" and entity:
            self._entities[offset] = entity
            self._frauds[entity] = self._frauds.get(entity, 0) + 1
        while len(self.labels) > self._config.labels_max:
            self._forget(next(iter(self.labels)))
        return "applied"

    def _number(
        self, feedback: Feedback, by_id: Mapping[int, int], by_offset: Mapping[int, int]
    ) -> int | None:
        """Number of the event that a record names; None if it is not in the buffer."""
        if key_text(feedback.event_id) is not None:
            return by_id.get(self._hash_of(feedback))
        if feedback.offset is None or not self._is_here(feedback):
            return None
        return by_offset.get(feedback.offset)

    def _is_here(self, feedback: Feedback) -> bool:
        """Whether a record names this partition."""
        return feedback.topic in (None, self._topic) and feedback.partition == self._partition

    def _was_here(self, feedback: Feedback) -> bool:
        """Whether a record names, perhaps beside an id, the place of an event that was stored once."""
        offset = feedback.offset
        return offset is not None and self._is_here(feedback) and self._buffer.was_here(offset)

    def _hash_of(self, feedback: Feedback) -> int:
        return self._id_hash(key_text(feedback.event_id) or "")

    def _exceeds(self, feedback: Feedback, offset: int, entity: int) -> bool:
        """Whether a label exceeds a limit; otherwise it is counted for its actor."""
        new = feedback.label == "fraud" and offset not in self._entities
        if new and self._frauds.get(entity, 0) >= self._config.per_entity_max:
            return True
        actor = self._id_hash(feedback.actor) if feedback.actor else _OTHERS
        if actor not in self._actors and len(self._actors) >= ACTORS_MAX:
            actor = _OTHERS
        count = self._actors.get(actor, 0)
        if count >= self._config.per_actor_max:
            return True
        self._actors[actor] = count + 1
        return False

    def _forget(self, offset: int) -> None:
        self.labels.pop(offset, None)
        entity = self._entities.pop(offset, None)
        if entity is not None:
            self._frauds[entity] -= 1
            if not self._frauds[entity]:
                del self._frauds[entity]

    def to_state(self) -> dict[str, Any]:
        """State as arrays and plain values."""
        return {
            "offsets": np.array(list(self.labels), dtype=np.int64),
            "labels": np.array([_LABELS.index(label) for label in self.labels.values()], dtype=np.uint8),
            "fraud_offsets": np.array(list(self._entities), dtype=np.int64),
            "entities": np.array(list(self._entities.values()), dtype=np.uint64),
            "applied": np.array(list(self._applied), dtype=np.uint64),
            "day": self._day,
            "actors": np.array(list(self._actors), dtype=np.uint64),
            "counts": np.array(list(self._actors.values()), dtype=np.int64),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        labels = [_LABELS[number] for number in state["labels"].tolist()]
        self.labels = OrderedDict(zip(state["offsets"].tolist(), labels, strict=True))
        frauds = state["fraud_offsets"].tolist()
        self._entities = dict(zip(frauds, state["entities"].tolist(), strict=True))
        self._frauds = dict(Counter(self._entities.values()))
        self._applied = OrderedDict.fromkeys(state["applied"].tolist())
        self._day = state["day"]
        self._actors = dict(zip(state["actors"].tolist(), state["counts"].tolist(), strict=True))
