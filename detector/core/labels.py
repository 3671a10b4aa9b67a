"""Analysts' answers: read, checked, found, kept.

A feedback record names an event by its id, or by the topic, partition and offset of its alert. It is applied
at a barrier by the shard whose bounded memory still holds that event; every other shard counts it as unknown.
A record with a `feedback_id` is applied once. What is kept is a function of the records and of the log.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Labels as LabelsConfig

OUTCOMES = ("applied", "retracted", "repeated", "unknown_event", "unknown_kind", "malformed")
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


class LabelBook:
    """Recent events that a label can find, and the labels found."""

    def __init__(self, config: LabelsConfig, topic: str, partition: int) -> None:
        self._config = config
        self._topic = topic
        self._partition = partition
        self._ids = np.zeros(config.events_max, dtype=np.uint64)  # ring by event number
        self._offsets = np.full(config.events_max, -1, dtype=np.int64)
        self._events = 0
        self.labels: OrderedDict[int, str] = OrderedDict()  # offset of the event -> label; oldest first
        self.latest: dict[int, str] = {}  # by offset, what the last `apply` took, retractions too
        self._applied: OrderedDict[str, None] = OrderedDict()  # feedback ids

    def remember(self, ids: Sequence[str], offsets: NDArray[np.int64]) -> None:
        """Hold events for labels to come; the oldest go."""
        places = (self._events + np.arange(len(ids))) % len(self._ids)
        self._ids[places] = [_digest(id_) for id_ in ids]
        self._offsets[places] = offsets
        self._events += len(ids)

    def apply(self, records: Sequence[tuple[int, bytes]]) -> dict[str, int]:
        """Apply feedback records in order; returns counts by outcome."""
        self.latest = {}
        outcomes = dict.fromkeys(OUTCOMES, 0)
        for _, raw in records:
            outcomes[self._apply(raw)] += 1
        return {outcome: count for outcome, count in outcomes.items() if count}

    def _apply(self, raw: bytes) -> str:
        feedback = read_feedback(raw)
        if feedback is None:
            return "malformed"
        if feedback.kind != "label":
            return "unknown_kind"
        if feedback.feedback_id is not None and feedback.feedback_id in self._applied:
            return "repeated"
        offset = self._find(feedback)
        if offset is None:
            return "unknown_event"  # the same record may come again when the event is there
        if feedback.feedback_id is not None:
            _push(self._applied, feedback.feedback_id, None, self._config.labels_max)
        assert feedback.label is not None
        self.latest[offset] = feedback.label
        if feedback.label == "retracted":
            self.labels.pop(offset, None)
            return "retracted"
        _push(self.labels, offset, feedback.label, self._config.labels_max)
        return "applied"

    def _find(self, feedback: Feedback) -> int | None:
        if feedback.event_id is not None:
            found = np.flatnonzero(self._ids == _digest(str(feedback.event_id)))
            found = found[self._offsets[found] >= 0]
            return int(self._offsets[found].max()) if len(found) else None
        here = feedback.topic in (None, self._topic) and feedback.partition == self._partition
        known = here and bool(np.any(self._offsets == feedback.offset))
        return feedback.offset if known else None

    def _places(self, count: int) -> NDArray[np.int64]:
        """Where the last so many events lie in the ring, oldest first."""
        return (self._events - count + np.arange(count)) % len(self._ids)

    def to_state(self) -> dict[str, Any]:
        used = min(self._events, len(self._ids))
        return {
            "ids": self._ids[self._places(used)],
            "offsets": self._offsets[self._places(used)],
            "events": self._events,
            "labels": list(self.labels.items()),
            "applied": list(self._applied),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._events = state["events"]
        used = min(len(state["ids"]), len(self._ids))  # the ring may be shorter than it was
        places = self._places(used)
        self._ids[places] = state["ids"][len(state["ids"]) - used :]
        self._offsets[places] = state["offsets"][len(state["offsets"]) - used :]
        self.labels = OrderedDict((offset, label) for offset, label in state["labels"])
        self._applied = OrderedDict.fromkeys(state["applied"])


def _push(table: OrderedDict[Any, Any], key: Any, value: Any, limit: int) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > limit:
        table.popitem(last=False)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
