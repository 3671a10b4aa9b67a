"""Which labels reach the service, and when.

    none               none
    late:7             every fraud, 7 days after it; no other labels
    late:7:0.3         30 % of the frauds, drawn at random
    late:7:200         200 of the frauds whose labels arrive before the stream ends
    answers:30:0.1     analysts answer the service's own alerts, fraud or legitimate, a day later; of the
                       frauds without an alert 10 % are reported 30 days after them

Late labels are a feedback file. Answers are a side log that sees the run's own alerts when they are
committed. Like a file of feedback, it has all records with an earlier time.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.quality.inputs import InputError
from benchmarks.quality.metrics import DAY_S
from benchmarks.quality.streams import Facts
from detector.ports import Commit, TopicIds

ANSWER_S = DAY_S  # from an alert to its answer


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelPlan:
    """Which labels there will be."""

    text: str  # as it was given
    mode: str  # "none", "late" or "answers"
    delay_s: float = 0.0
    share: float = 1.0  # of the frauds
    count: int | None = None  # at most so many


def parse_labels(text: str) -> LabelPlan:
    """Read one of the forms above.

    Raises
    ------
    InputError
        It has none of these forms.
    """
    if text == "none":
        return LabelPlan(text=text, mode="none")
    found = re.fullmatch(r"(late|answers):(\d+(?:\.\d+)?)(?::(\d+(?:\.\d+)?))?", text)
    part = 1.0 if found is None or found[3] is None else float(found[3])
    if found is None or not part or (part > 1.0 and (part % 1 or found[1] == "answers")):
        raise InputError(f"{text}: not labels; give none, late:DAYS[:SHARE or COUNT] or answers:DAYS[:SHARE]")
    counted = part > 1.0
    return LabelPlan(
        text=text,
        mode=found[1],
        delay_s=float(found[2]) * DAY_S,
        share=1.0 if counted else part,
        count=int(part) if counted else None,
    )


def write_feedback(path: Path, plan: LabelPlan, facts: Facts, seed: int = 0) -> int:
    """Write the feedback file of late labels; returns how many."""
    rows = _reported(plan, facts, seed)
    with path.open("wb") as file:
        for row in rows:
            file.write(_record(float(facts.time[row]) + plan.delay_s, facts.ids[row], "fraud") + b"\n")
    return len(rows)


class Answers:
    """A `detector.ports.SideLog`: answers to the service's own alerts, late reports of other frauds."""

    def __init__(self, plan: LabelPlan, facts: Facts, alerts_topic: str, seed: int = 0) -> None:
        self._topic = alerts_topic
        self._kind = dict(zip(facts.ids, facts.kind.tolist(), strict=True))
        self._answered: set[str] = set()
        self._coming: list[tuple[float, str, str]] = [
            (float(facts.time[row]) + plan.delay_s, facts.ids[row], "report")
            for row in _reported(plan, facts, seed)
        ]
        heapq.heapify(self._coming)
        self._values: list[bytes] = []
        self.counts = {"fraud": 0, "legitimate": 0, "report": 0}
        self._decoder = msgspec.json.Decoder(_Alert)

    def watch(self, commit: Commit) -> None:
        """Receive the alerts of a commit."""
        for message in commit.messages:
            if message.topic == self._topic and message.value is not None:
                alert = self._decoder.decode(message.value)
                label = "fraud" if self._kind[alert.event_id] else "legitimate"
                self._answered.add(alert.event_id)
                heapq.heappush(self._coming, (alert.seconds + ANSWER_S, alert.event_id, label))

    def ids(self) -> TopicIds:
        """Nothing: there is no cluster."""
        return TopicIds()

    def refresh(self) -> None:
        """Nothing to do: alerts come through `watch`."""

    def end(self, event_time: float) -> int:
        """Number of records with an earlier time; their positions do not change."""
        while self._coming and self._coming[0][0] < event_time:
            time, event_id, label = heapq.heappop(self._coming)
            if label == "report" and event_id in self._answered:
                continue
            self.counts[label] += 1
            self._values.append(_record(time, event_id, "fraud" if label == "report" else label))
        return len(self._values)

    def read(self, start: int, stop: int) -> Sequence[tuple[int, bytes]]:
        """Records [start, stop)."""
        return list(enumerate(self._values[start:stop], start))

    def beginning(self) -> int:
        """The first record."""
        return 0

    def close(self) -> None:
        """Nothing to close."""


class _Alert(msgspec.Struct):
    event_id: str
    event_time: str

    @property
    def seconds(self) -> float:
        return float(np.datetime64(self.event_time.removesuffix("Z"), "ms").astype(np.int64)) / 1000.0


def _reported(plan: LabelPlan, facts: Facts, seed: int) -> list[int]:
    """Rows of the frauds that are reported, in order of time."""
    frauds = np.flatnonzero(facts.kind > 0)
    rng = np.random.default_rng(seed)
    if plan.count is None:
        return [int(row) for row in frauds[rng.random(len(frauds)) < plan.share]]
    in_time = frauds[facts.time[frauds] + plan.delay_s < facts.time[-1]]
    return [int(row) for row in np.sort(rng.permutation(in_time)[: plan.count])]


def _record(time: float, event_id: str, label: str) -> bytes:
    feedback_id = f"{label}-{event_id}"
    return msgspec.json.encode(
        {"time": time, "event_id": event_id, "label": label, "feedback_id": feedback_id}
    )
