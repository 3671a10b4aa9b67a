"""How analysts answer, and what can be filtered by: counted over everything that is known."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from detector.console.database import Connection
from detector.console.views import AnswersOf
from detector.core.alerts.severity import SEVERITIES

HOUR_S = 3600.0
CHOICES_MAX = 500  # of each kind
PEOPLE_MAX = 200


def choices(connection: Connection) -> Mapping[str, Sequence[str]]:
    """Assignees, codes of facts and reasons, and segments (FIELD=VALUE), each in order."""
    asked = {
        "assignee": "SELECT DISTINCT assignee FROM cases WHERE assignee IS NOT NULL",
        "code": "SELECT DISTINCT text FROM marks_of_cases WHERE kind = 'code'",
        "segment": "SELECT DISTINCT text FROM marks_of_cases WHERE kind = 'segment'",
    }
    return {
        name: [row[0] for row in connection.execute(f"{query} ORDER BY 1 LIMIT {CHOICES_MAX}")]
        for name, query in asked.items()
    }


def published(connection: Connection, since_s: float) -> Mapping[int, int]:
    """Alerts since a time, s since the epoch, by partition, which their ids name (TOPIC-PARTITION-OFFSET)."""
    found: Counter[int] = Counter()
    for (id_,) in connection.execute("SELECT id FROM alerts WHERE at_s >= ?", (since_s,)):
        partition = id_.rsplit("-", 2)[-2:-1]
        if partition and partition[0].isdecimal() and len(partition[0]) < 10:
            found[int(partition[0])] += 1
    return found


class _Answer(NamedTuple):
    act: int
    case_id: str
    actor: str | None
    label: str
    time_s: float
    waited_s: float
    severity: int


def answered(connection: Connection) -> Sequence[AnswersOf]:
    """All together first, then each, the one with the most answers first.

    Together a case counts once, by its last answer.
    """
    rows = [_Answer(*row) for row in connection.execute("SELECT * FROM answers ORDER BY time_s, act")]
    codes: dict[str, list[str]] = defaultdict(list)
    for case_id, code in connection.execute(
        "SELECT case_id, text FROM marks_of_cases"
        " WHERE kind = 'code' AND case_id IN (SELECT case_id FROM answers)"
        " ORDER BY text"
    ):
        codes[case_id].append(code)
    by_actor: dict[str, list[_Answer]] = defaultdict(list)
    for row in rows:
        if row.actor is not None:
            by_actor[row.actor].append(row)
    people = sorted(by_actor.items(), key=lambda one: (-len(one[1]), one[0]))[:PEOPLE_MAX]
    return [_counted(None, rows, codes), *(_counted(actor, own, codes) for actor, own in people)]


def _counted(actor: str | None, rows: Sequence[_Answer], codes: Mapping[str, Sequence[str]]) -> AnswersOf:
    hours = {int(row.time_s // HOUR_S) for row in rows}
    last = {row.case_id: row for row in rows}  # rows come in the order of their times
    by_severity = _shares((SEVERITIES[row.severity], row.label) for row in last.values())
    by_code = _shares((code, row.label) for row in last.values() for code in codes.get(row.case_id, ()))
    ordered = [(name, *by_severity[name]) for name in reversed(SEVERITIES) if name in by_severity]
    ordered += [
        (name, *found) for name, found in sorted(by_code.items(), key=lambda one: (-one[1][1], one[0]))
    ]
    return AnswersOf(
        actor=actor,
        answers=len(rows),
        per_hour=len(rows) / len(hours) if hours else 0.0,
        seconds_to_answer=median(row.waited_s for row in rows) if rows else None,
        precision=ordered,
    )


def _shares(answers: Iterable[tuple[str, str]]) -> dict[str, tuple[int, int]]:
    """Frauds and all answers, by name."""
    found: dict[str, tuple[int, int]] = {}
    for name, label in answers:
        frauds, all_ = found.get(name, (0, 0))
        found[name] = frauds + (label == "fraud"), all_ + 1
    return found
