"""A book in memory, made of bodies of real alerts: enough for the pages, with times that a test chooses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from detector.console.views import (
    Act,
    Alert,
    AnswersOf,
    CaseView,
    Command,
    Conflict,
    Event,
    Filter,
    Page,
    Person,
    Row,
    Sent,
)
from detector.console.web.text import seconds
from detector.core.alerts.severity import SEVERITIES

DATA = Path(__file__).parents[2] / "data/console"
NOW_S = 1_740_000_000.0


def bodies(name: str = "alerts") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text().splitlines()]


@dataclass
class FakeBook:
    """Keeps alerts and acts; an act is applied when `apply` is called."""

    alerts: list[dict[str, Any]] = field(default_factory=bodies)
    updates: list[dict[str, Any]] = field(default_factory=lambda: bodies("updates"))
    done: list[Act] = field(default_factory=list)
    commands: list[tuple[Person, Command]] = field(default_factory=list)
    now_s: float = NOW_S
    changes: int = 0
    fails: Exception | None = None

    def of(self, case_id: str) -> list[dict[str, Any]]:
        return [body for body in self.alerts if body["case_id"] == case_id]

    def row(self, case_id: str) -> Row:
        found = self.of(case_id)
        newest = found[-1]
        acts = [act for act in self.done if act.case_id == case_id and act.status != "declined"]
        state: Any = "open"
        answer = assignee = None
        for act in acts:
            if act.kind == "label":
                state, answer = "answered", act.detail["label"]
            elif act.kind == "retract_label":
                state, answer = "open", None
            elif act.kind in ("close", "snooze"):
                state = {"close": "closed", "snooze": "snoozed"}[act.kind]
            elif act.kind == "assign":
                assignee = act.detail["assignee"]
        said = [*newest["facts"], *newest["reasons"]]
        times = [seconds(body["event_time"]) or 0.0 for body in found]
        entity = newest["entity"]
        return Row(
            id=case_id,
            entity=None if entity is None else (entity["name"], entity["value"]),
            headline=newest["summary"]["headline"],
            chips=tuple(one["code"].replace("_", " ") for one in said[:2]),
            first_s=min(times),
            last_s=max(times),
            published_s=self.now_s - 600,
            events=newest["case"]["number"],
            sum=newest["case"]["sum"],
            largest=newest["case"]["largest"],
            unit="EUR",
            severity=max(SEVERITIES.index(body["severity"]) for body in found),
            priority=newest["priority"],
            state=state,
            assignee=assignee,
            answer=answer,
            version=len(found) + len(acts),
        )

    def rows(self, asked: Filter) -> list[Row]:
        ids = dict.fromkeys(body["case_id"] for body in self.alerts)
        rows = [row for row in map(self.row, ids) if row.state in asked.states]
        rows = [row for row in rows if row.severity >= asked.severity]
        if asked.assignee is not None:
            rows = [row for row in rows if (row.assignee or "") == asked.assignee]
        if asked.text:
            rows = [row for row in rows if asked.text in f"{row.id} {row.entity}"]
        return sorted(rows, key=lambda row: (row.priority, row.id), reverse=asked.descending)

    # --- what pages ask ------------------------------------------------------------------------------------

    def queue(self, asked: Filter, *, after: str | None = None, limit: int = 50) -> Page:
        rows = self.rows(asked)
        start = int(after) if after and after.isdecimal() else 0
        more = str(start + limit) if len(rows) > start + limit else None
        return Page(rows=rows[start : start + limit], count=len(rows), next=more)

    def case(self, case_id: str, asked: Filter | None = None) -> CaseView | None:
        found = self.of(case_id)
        if not found:
            return None
        ids = [row.id for row in self.rows(asked or Filter())]
        at = ids.index(case_id) if case_id in ids else -1
        related = [one for one in found[-1]["related"] if self.of(one)]
        return CaseView(
            row=self.row(case_id),
            alerts=[
                Alert(id=body["alert_id"], published_s=self.now_s, body=body) for body in reversed(found)
            ],
            updates=[body for body in reversed(self.updates) if body["case_id"] == case_id],
            acts=[act for act in self.done if act.case_id == case_id],
            left_out=0,
            related=[(self.row(one), "same merchant M1") for one in related],
            links=[(case_id, one) for one in related],
            next_id=None
            if asked is None
            else next(iter(ids[at + 1 :] or [i for i in ids if i != case_id]), None),
        )

    def case_of(self, alert_id: str) -> str | None:
        return next((body["case_id"] for body in self.alerts if body["alert_id"] == alert_id), None)

    def selected(self, asked: Filter, limit: int) -> Sequence[str]:
        return [row.id for row in self.rows(asked)][:limit]

    def choices(self) -> Mapping[str, Sequence[str]]:
        people = sorted(
            {row.assignee for row in map(self.row, {b["case_id"] for b in self.alerts}) if row.assignee}
        )
        return {"assignees": people, "codes": ["value", "heat"], "segments": ["channel=online"]}

    def acts(
        self, *, actor: str | None = None, case_id: str | None = None, entity: str | None = None,
        after: str | None = None, limit: int = 100,
    ) -> tuple[Sequence[Act], str | None]:  # fmt: skip
        found = [
            act
            for act in reversed(self.done)
            if actor in (None, act.actor) and case_id in (None, act.case_id) and entity in (None, act.entity)
        ]
        start = int(after or 0)
        return found[start : start + limit], str(start + limit) if len(found) > start + limit else None

    def answered(self) -> Sequence[AnswersOf]:
        one: Any = {
            "answers": 12,
            "per_hour": 6.0,
            "seconds_to_answer": 40.0,
            "precision": [("critical", 3, 4)],
        }
        return [AnswersOf(actor=actor, **one) for actor in (None, "ann", "bob")]

    def find(self, named: Sequence[Mapping[str, Any]]) -> Sequence[str | None]:
        ids = {body["event_id"]: body["alert_id"] for body in self.alerts}
        return [one.get("alert_id") or ids.get(one.get("event_id", "")) for one in named]

    def send(self, person: Person, command: Command, *, anyway: bool = False) -> Sent:
        if self.fails is not None:
            raise self.fails
        conflicts = []
        sent = []
        for number, id_ in enumerate([*command.case_ids, *command.alert_ids, *command.other]):
            feedback_id = f"{command.id}.{number}"
            if any(act.feedback_id == feedback_id for act in self.done):
                sent.append(feedback_id)
                continue
            case_id = id_ if id_ in command.case_ids else self.case_of(str(id_))
            case_id = case_id if isinstance(case_id, str) else None
            seen = command.seen.get(case_id or "")
            if case_id and seen is not None and seen != self.row(case_id).version and not anyway:
                conflicts.append(
                    Conflict(case_id=case_id, by="bob", what="bob answered it fraud a minute ago.")
                )
                continue
            body = self.of(case_id)[-1] if case_id else {}
            self.done.append(
                Act(
                    feedback_id=feedback_id,
                    kind=command.kind,
                    actor=person.name,
                    time_s=self.now_s,
                    case_id=case_id,
                    alert_id=None,
                    event_id=None,
                    entity=(body.get("entity") or {}).get("value"),
                    detail=dict(command.detail),
                    status="pending",
                    outcome=None,
                    text=None,
                    learned=None,
                )
            )
            sent.append(feedback_id)
        self.commands.append((person, command))
        self.changes += 1
        return Sent(feedback_ids=tuple(sent), conflicts=tuple(conflicts))

    def undo(self, person: Person, feedback_ids: Sequence[str]) -> Sent:
        self.done = [
            act for act in self.done if act.feedback_id not in feedback_ids or act.actor != person.name
        ]
        self.changes += 1
        return Sent(feedback_ids=tuple(feedback_ids), conflicts=())

    def originals(self, places: Sequence[tuple[int, int]]) -> Sequence[Event]:
        by_place = {(b["source"]["partition"], b["source"]["offset"]): b["event"] for b in self.alerts}
        return [
            Event(
                partition=p,
                offset=o,
                value=by_place.get((p, o)),
                why="" if (p, o) in by_place else "no longer retained",
            )
            for p, o in places
        ]

    def published(self, since_s: float) -> Mapping[int, int]:
        return Counter(alert["source"]["partition"] for alert in self.alerts)

    def fresh(self) -> tuple[int, float]:
        return self.changes, 0.5

    # --- what a test does ----------------------------------------------------------------------------------

    def apply(self, status: Any = "applied", text: str = "It counts.") -> None:
        learned = {"fraud_share": (0.1, 0.2)} if status == "applied" else None
        self.done = [
            replace(act, status=status, outcome=status, text=text, learned=learned) for act in self.done
        ]
        self.changes += 1
