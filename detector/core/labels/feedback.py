"""Analysts' answers: read, checked, found, kept.

A feedback record names an event by its id, or by the topic, partition and offset of its alert. It is applied
at a barrier by the shard whose bounded memory still holds that event; every other shard counts it as unknown.
What is kept is a function of the records and of the log.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np

from detector.config.tree import Labels as LabelsConfig
from detector.core.events import id_hash
from detector.core.features import DAY_S
from detector.core.labels.event_buffer import Memory

OUTCOMES = ("applied", "retracted", "repeated", "limited", "unknown_event", "unknown_kind", "malformed")
ACTORS_MAX = 1024
TEXT_CHARS_MAX = 1024


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """One line of feedback; unknown keys are ignored, as producers add to theirs."""

    time: str | int | float
    label: Literal["fraud", "legitimate", "retracted"] | None = None
    kind: str = "label"
    event_id: str | int | None = None
    topic: str | None = None
    partition: int | None = None
    offset: Annotated[int, msgspec.Meta(ge=0)] | None = None
    feedback_id: Annotated[str, msgspec.Meta(max_length=TEXT_CHARS_MAX)] | None = None
    entities: dict[str, str | int] | None = None
    actor: str | None = None
    reason: str | None = None
    until: str | int | float | None = None


_decoder = msgspec.json.Decoder(Feedback)


def read_feedback(raw: bytes) -> Feedback | None:
    """Read one record; None if it is none."""
    if len(raw) > 64 * TEXT_CHARS_MAX:
        return None
    try:
        feedback = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if feedback.kind != "label":
        return feedback
    named = feedback.event_id is not None or (feedback.partition is not None and feedback.offset is not None)
    return feedback if named and feedback.label is not None and _seconds(feedback.time) is not None else None


def feedback_time(raw: bytes) -> float | None:
    """Time of a feedback record, s since the epoch; None if it has none that can be read."""
    try:
        return _seconds(msgspec.json.decode(raw)["time"])
    except (msgspec.DecodeError, RecursionError, LookupError, TypeError, ValueError):
        return None


def _seconds(time: Any) -> float | None:
    try:
        if isinstance(time, str):
            moment = datetime.fromisoformat(time)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        seconds = float(time)
        return (seconds / 1000.0 if seconds > 1e11 else seconds) if math.isfinite(seconds) else None
    except (TypeError, ValueError, OverflowError):
        return None


class Answer(NamedTuple):
    """A label that found its event."""

    number: int  # of the event, see `Memory`
    offset: int  # of the event's record
    label: str  # fraud, legitimate or retracted
    time: float  # of the feedback, s since the epoch


class LabelBook:
    """The labels that found an event, and what keeps anyone from having too much of a say.

    Rules
        - A record with a `feedback_id` is applied once.
        - At most `per_entity_max` frauds of one main entity are in force, and at most `per_actor_max` labels
          of one named actor a day of feedback time: no card and no account decides alone what a fraud is.
    """

    def __init__(self, config: LabelsConfig, topic: str, partition: int, memory: Memory) -> None:
        self._config = config
        self._topic = topic
        self._partition = partition
        self._memory = memory
        self.labels: OrderedDict[int, str] = OrderedDict()  # offset of the event -> label; oldest first
        self._entities: dict[int, int] = {}  # offset -> main entity, of the frauds among them
        self._frauds: dict[int, int] = {}  # main entity -> frauds in force
        self._applied: OrderedDict[str, None] = OrderedDict()  # feedback ids
        self._actors: OrderedDict[str, tuple[int, int]] = OrderedDict()  # actor -> day, labels on that day

    def apply(self, records: Sequence[tuple[int, bytes]]) -> tuple[dict[str, int], list[Answer]]:
        """Apply feedback records in order; returns counts by outcome, and what is to be learned."""
        outcomes = dict.fromkeys(OUTCOMES, 0)
        answers: list[Answer] = []
        read = [read_feedback(raw) for _, raw in records]
        labels = [one for one in read if one is not None and one.kind == "label"]
        by_id = self._memory.find("ids", [_named(one) for one in labels if one.event_id is not None])
        by_offset = self._memory.find("offsets", [one.offset for one in labels if one.offset is not None])
        for feedback in read:
            outcome = "malformed"
            if feedback is not None:
                number = self._number(feedback, by_id, by_offset)
                outcome = self._apply(feedback, number, answers)
            outcomes[outcome] += 1
        return {outcome: count for outcome, count in outcomes.items() if count}, answers

    def _apply(self, feedback: Feedback, number: int | None, answers: list[Answer]) -> str:
        if feedback.kind != "label":
            return "unknown_kind"
        if feedback.feedback_id is not None and feedback.feedback_id in self._applied:
            return "repeated"
        if number is None:
            return "unknown_event"  # the same record may come again when the event is there
        time = _seconds(feedback.time)
        assert feedback.label is not None
        assert time is not None
        here = np.array([number])
        offset = int(self._memory.column("offsets", here)[0])
        keys = self._memory.column("keys", here)[0]
        entity = int(keys[0]) if len(keys) else 0
        if feedback.label != "retracted" and self._limited(feedback, offset, entity, time):
            return "limited"
        if feedback.feedback_id is not None:
            _push(self._applied, feedback.feedback_id, None, self._config.labels_max)
        self._forget(offset)
        answers.append(Answer(number, offset, feedback.label, time))
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
        if feedback.event_id is not None:
            return by_id.get(_named(feedback))
        here = feedback.topic in (None, self._topic) and feedback.partition == self._partition
        return by_offset.get(feedback.offset) if here and feedback.offset is not None else None

    def _limited(self, feedback: Feedback, offset: int, entity: int, time: float) -> bool:
        new = feedback.label == "fraud" and offset not in self._entities
        if new and self._frauds.get(entity, 0) >= self._config.per_entity_max:
            return True
        if feedback.actor is None:
            return False
        today = int(time // DAY_S)
        day, count = self._actors.get(feedback.actor, (today, 0))
        count = count + 1 if today <= day else 1
        if count > self._config.per_actor_max:
            return True
        _push(self._actors, feedback.actor, (max(day, today), count), ACTORS_MAX)
        return False

    def _forget(self, offset: int) -> None:
        self.labels.pop(offset, None)
        entity = self._entities.pop(offset, None)
        if entity is not None:
            self._frauds[entity] -= 1
            if not self._frauds[entity]:
                del self._frauds[entity]

    def to_state(self) -> dict[str, Any]:
        return {
            "labels": list(self.labels.items()),
            "entities": [[offset, str(entity)] for offset, entity in self._entities.items()],
            "applied": list(self._applied),
            "actors": [[actor, day, count] for actor, (day, count) in self._actors.items()],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.labels = OrderedDict((offset, label) for offset, label in state["labels"])
        self._entities = {offset: int(entity) for offset, entity in state["entities"]}
        self._frauds = dict(Counter(self._entities.values()))
        self._applied = OrderedDict.fromkeys(state["applied"])
        self._actors = OrderedDict((actor, (day, count)) for actor, day, count in state["actors"])


def _push(table: OrderedDict[Any, Any], key: Any, value: Any, limit: int) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > limit:
        table.popitem(last=False)


def _named(feedback: Feedback) -> int:
    return id_hash(str(feedback.event_id))
