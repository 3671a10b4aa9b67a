"""The service over a stream, by the code of `detector replay`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.quality.answers import Answers, LabelPlan, write_feedback
from benchmarks.quality.evaluate import WARM_UP
from benchmarks.quality.inputs import InputError, read_scores
from benchmarks.quality.metrics import BoolArray, FloatArray
from benchmarks.quality.streams import Facts, Stream
from detector.core.model.calibration import Calibration
from detector.shell import logs
from detector.wiring.file_replay import Replay, replay

ACCEPTED_SCORE = 2.0  # quantile .99


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Replayed:
    """Results of a run."""

    score: FloatArray  # (n,)
    alert: BoolArray  # (n,)
    cpu_s: float  # everything: reading, parsing, features, scoring, learning, explaining alerts, writing
    accepted_above: float  # share of accepted events above quantile .99, after the first tenth
    note: str  # labels given, by outcome


def run(stream: Stream, facts: Facts, labels: LabelPlan, scratch: Path, *, partitions: int = 1) -> Replayed:
    """Replay a stream of n accepted events.

    Raises
    ------
    InputError
        The service accepted other events than the judge.
    OperatorError
        The replay was refused.
    """
    scores = scratch / "scores.csv"
    feedback = scratch / "feedback.jsonl" if labels.mode == "late" else None
    if feedback is not None:
        write_feedback(feedback, labels, facts)
    answers = Answers(labels, facts, stream.config.topics.alerts) if labels.mode == "answers" else None
    plan = Replay(events=stream.events, feedback=feedback, partitions=partitions, scores=scores)
    began = time.process_time()
    with _watching_accepted(int(WARM_UP * len(facts.ids))) as accepted:
        replayed = replay(
            stream.config,
            {},
            plan,
            logs.get_logger("detector"),
            lambda _: None,
            feedback=answers,
            watch=None if answers is None else answers.watch,
        )
    cpu_s = time.process_time() - began
    found = read_scores(scores)
    if list(found.row_of) != facts.ids:
        raise InputError("the service scored other events than the judge knows")
    outcomes = {name: count for name, count in replayed.telemetry.label_outcomes().items() if count}
    if answers is not None:
        outcomes = answers.counts | outcomes
    note = ", ".join(f"{count:,} {name}" for name, count in outcomes.items())
    return Replayed(
        score=found.score, alert=found.alert, cpu_s=cpu_s, accepted_above=accepted.above, note=note
    )


class _Accepted:
    """Counts accepted events, and those of them above the quantile."""

    def __init__(self, warm_up: int) -> None:
        self._warm_up = warm_up
        self._seen = self._count = self._above = 0

    def add(self, scores: FloatArray, accepted: BoolArray) -> None:
        """Take one block as it was scored."""
        self._seen += len(scores)
        if self._seen > self._warm_up:
            self._count += int(accepted.sum())
            self._above += int((scores[accepted] > ACCEPTED_SCORE).sum())

    @property
    def above(self) -> float:
        return self._above / self._count if self._count else math.nan


@contextmanager
def _watching_accepted(warm_up: int) -> Iterator[_Accepted]:
    """Observe the calibration, as the events that it accepts are not published."""
    found, learn, restart = _Accepted(warm_up), Calibration.learn, Calibration.restart

    def watched(self: Calibration, distances: FloatArray, accepted: BoolArray) -> None:
        found.add(self.scores(distances), accepted)
        learn(self, distances, accepted)

    def unwatched(self: Calibration, distances: FloatArray) -> None:
        """Do not count: it learns from the core again, not from events of the stream."""
        patched.learn = learn
        try:
            restart(self, distances)
        finally:
            patched.learn = watched

    patched: Any = Calibration
    patched.learn, patched.restart = watched, unwatched
    try:
        yield found
    finally:
        patched.learn, patched.restart = learn, restart
