"""`detector report bias`: scores, events and answers of a service or a replay, gathered for the report."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from detector.config.tree import Config
from detector.core.alerts.score_record import Score, decode_score
from detector.core.events import ParsedEvent, View
from detector.errors import ConfigError, NeedsOperator, Problem
from detector.fairness import EVENTS_MAX, Gathering, report
from detector.shell.auditor import Auditor
from detector.shell.files.outputs import inert
from detector.wiring.audit import ReplayFiles, auditing
from detector.wiring.common import topic_records

LABELS = {"fraud": 1, "legitimate": 0}
Found = tuple[float, bool]  # a score, and whether it gave an alert


@dataclass(frozen=True, kw_only=True, slots=True)
class BiasFiles:
    """Files of a replay."""

    replay: ReplayFiles
    scores: Path
    receipts: Path | None = None  # None: nothing is known of answers


@dataclass(kw_only=True, slots=True)
class _Scores:
    """Scores by place (Kafka) or by the event's id (a replay), as the two write them."""

    by_place: dict[tuple[int, int], Found] = field(default_factory=dict)
    by_id: dict[str, Found] = field(default_factory=dict)
    left_out: int = 0

    def of(self, partition: int, event: ParsedEvent) -> Found | None:
        found = self.by_place.get((partition, event.record.offset))
        return self.by_id.get(inert(event.id)) if found is None else found

    def spans(self) -> dict[int, tuple[int, int]]:
        """Of each partition, the offsets [first, last + 1) that have a score."""
        spans: dict[int, tuple[int, int]] = {}
        for partition, offset in self.by_place:
            first, stop = spans.get(partition, (offset, offset + 1))
            spans[partition] = (min(first, offset), max(stop, offset + 1))
        return spans

    def full(self) -> bool:
        if len(self.by_place) + len(self.by_id) < EVENTS_MAX:
            return False
        self.left_out += 1
        return True


def bias(
    config: Config, environ: Mapping[str, str], *, files: BiasFiles | None, since_s: float | None
) -> dict[str, Any]:
    """Compare how segments are treated; see `detector.fairness.report`.

    Parameters
    ----------
    since_s
        Of topics: what was published since then, s since the epoch; None: all that is there.

    Raises
    ------
    ConfigError
        No field has `use: segment`, or a topic that is needed is not configured.
    NeedsOperator
        There are no scores, a file cannot be read, or the events are gone.
    OutsideError
        Kafka is not available.
    """
    segments = [one.name for one in config.event.fields if one.use == "segment"]
    if not segments:
        allowed = "at least one field with use: segment, which says what is compared"
        raise ConfigError("configuration", [Problem(path="event.fields", value="none", allowed=allowed)])
    if files is None:
        scores, answers = _from_topics(config, environ, since_s)
    else:
        scores, answers = _scores_file(files.scores), _answers_file(files.receipts)
    expected = len(scores.by_place) + len(scores.by_id)
    if not expected:
        raise NeedsOperator("there are no scores to compare: see topics.scores, or replay --scores")
    gathering = Gathering(segments=segments, expected=expected, left_out=scores.left_out)
    with auditing(config, environ, None if files is None else files.replay) as (auditor, archive):
        spans = (
            scores.spans()
            if files is None
            else dict.fromkeys(range(archive.partitions_count()), (0, 1 << 62))
        )
        _gather(config, auditor, spans, scores, answers, gathering)
    gathered = gathering.gathered()
    if not len(gathered.scores):
        raise NeedsOperator("none of the scored events is there any more: the topic keeps them for less time")
    return report(gathered, gathering.left_out)


def _gather(
    config: Config,
    auditor: Auditor,
    spans: Mapping[int, tuple[int, int]],
    scores: _Scores,
    answers: Mapping[tuple[int, int], int],
    gathering: Gathering,
) -> None:
    inputs = [one.name for one in config.event.fields if one.use == "encode"]
    others = [one.name for one in config.event.entities[1:]]
    for partition, (start, stop) in sorted(spans.items()):
        for event, view in auditor.events(partition, start, stop):
            found = scores.of(partition, event)
            if found is None:
                continue
            gathering.add(
                entity=view.main,
                score=found[0],
                alerted=found[1],
                answer=answers.get((partition, event.record.offset), -1),
                segments={name: _text(view.values.get(name)) for name in gathering.segments},
                inputs=_inputs(view, inputs, others),
            )


def _inputs(view: View, inputs: Sequence[str], others: Sequence[str]) -> dict[str, Any]:
    """Values of the model's fields, and of the entities besides the main one."""
    return {
        **{name: view.values.get(name) for name in inputs},
        **{name: view.entities[name] for name in others},
    }


def _text(value: object) -> str:
    return "" if value is None else str(value)


# --- topics ---


def _from_topics(
    config: Config, environ: Mapping[str, str], since_s: float | None
) -> tuple[_Scores, dict[tuple[int, int], int]]:
    if config.topics.scores is None:
        raise ConfigError(
            "configuration",
            [
                Problem(
                    path="topics.scores",
                    value="null",
                    allowed="the topic of scores, which says who has which",
                )
            ],
        )
    scores, answers = _Scores(), dict[tuple[int, int], int]()
    for value in _values(config, environ, config.topics.scores, since_s):
        score = decode_score(value)
        if not scores.full():
            scores.by_place[score.partition, score.offset] = _found(score)
    if config.topics.receipts is not None:
        for value in _values(config, environ, config.topics.receipts, since_s):
            _take(answers, value)
    return scores, answers


def _values(config: Config, environ: Mapping[str, str], topic: str, since_s: float | None) -> Iterator[bytes]:
    for batch in topic_records(config, environ, [topic], since_s):
        yield from (record.value for _, _, record in batch if record.value)


def _found(score: Score) -> Found:
    return score.score, score.alert


# --- files ---


def _scores_file(path: Path) -> _Scores:
    scores = _Scores()
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if not scores.full():
                    scores.by_id[row["event_id"]] = float(row["score"]), row["alert"] == "1"
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise NeedsOperator(f"{path} is no file of replay --scores ({error})") from None
    return scores


def _answers_file(path: Path | None) -> dict[tuple[int, int], int]:
    answers: dict[tuple[int, int], int] = {}
    if path is None:
        return answers
    try:
        with path.open("rb") as file:
            for line in file:
                _take(answers, line)
    except (OSError, msgspec.DecodeError) as error:
        raise NeedsOperator(f"{path} is no file of replay --receipts ({error})") from None
    return answers


def _take(answers: dict[tuple[int, int], int], receipt: bytes) -> None:
    """Note the labels that a receipt says are in force."""
    for one in msgspec.json.decode(receipt).get("events") or ():
        place = one["source"]["partition"], one["source"]["offset"]
        label = LABELS.get(one["label_after"])
        if label is None:
            answers.pop(place, None)
        else:
            answers[place] = label
