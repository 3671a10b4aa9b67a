"""What follows from the records of one case: its row in the queue.

State, answer and assignee are those of its acts in the order of their times (then of their ids), never in the
order in which they arrived. Acts that were declined or not understood do not count; those without a receipt
do, as pending.

    answered   each of its alerts has a label in force: its own, or the case's. A label of the case is about
               the alerts that were published before it (give or take `CLOCKS_S`): a later one opens the case
               again
    closed     somebody closed it, or erased its entity
    snoozed    the whole entity is snoozed, until a time
    assignee   whom it was assigned to last; else who was the first to answer, snooze, note or close
    version    the place of its last act and the number of its messages in one number, which rises with both
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from detector.console.database import Connection, Row

CLOCKS_S = 5.0  # clocks of the daemon's and the console's machines may differ by so much
MESSAGES = 1 << 21  # messages of a case that a version tells apart
TAKES = (
    "label",
    "retract_label",
    "snooze",
    "unsnooze",
    "note",
    "close",
)  # acts by which somebody takes a case

# Acts of a case, by each way to name it, the oldest first. Of acts with one id the first in the topic counts.
ACTS = """
SELECT acts.*, receipts.status, receipts.outcome, receipts.text, receipts.learned FROM acts
  LEFT JOIN receipts ON receipts.id = (
    SELECT id FROM receipts WHERE act = acts.id
      ORDER BY CASE status WHEN 'applied' THEN 0 WHEN 'declined' THEN 1 ELSE 2 END, id LIMIT 1)
  WHERE {which} AND (acts.feedback_id IS NULL OR NOT EXISTS (
    SELECT 1 FROM acts AS first WHERE first.feedback_id = acts.feedback_id AND first.id < acts.id))
"""
OF_CASE = """acts.id IN (
  SELECT id FROM acts WHERE case_id = :case
  UNION SELECT acts.id FROM alerts JOIN acts ON acts.alert_id = alerts.id WHERE alerts.case_id = :case
  UNION SELECT acts.id FROM alerts JOIN acts ON acts.event_id = alerts.event_id
    WHERE alerts.case_id = :case)"""
_ACTS = ACTS.format(which=OF_CASE) + " ORDER BY acts.time_s, acts.feedback_id, acts.id"


def status_of(act: Row) -> str:
    """Status of an act: that of its receipt, else pending, or malformed where we see that it is."""
    return act["status"] or ("pending" if act["wrong"] is None else "malformed")


def derive(connection: Connection, case: str) -> None:
    """Write the rows of a case anew, or remove them if nothing is left of it."""
    for statement in (
        "DELETE FROM cases WHERE id = ?",
        "DELETE FROM marks_of_cases WHERE case_id = ?",
        "DELETE FROM answers WHERE case_id = ?",
    ):
        connection.execute(statement, (case,))
    alerts = connection.execute(
        "SELECT * FROM alerts WHERE case_id = ? ORDER BY at_s, id", (case,)
    ).fetchall()
    updates = connection.execute("SELECT * FROM updates WHERE case_id = ?", (case,)).fetchall()
    if not alerts and not updates:
        return
    acts = connection.execute(_ACTS, {"case": case}).fetchall()
    folded = fold_acts(acts, alerts)
    row = _row(case, alerts, updates, acts, folded)
    connection.execute(f"INSERT INTO cases VALUES ({', '.join('?' * len(row))})", row)
    connection.execute(
        "INSERT INTO marks_of_cases SELECT DISTINCT marks.kind, marks.text, alerts.case_id"
        " FROM alerts JOIN marks ON marks.id = alerts.id WHERE alerts.case_id = ?",
        (case,),
    )
    severity = max(one["severity"] for one in (*alerts, *updates))
    answers = [
        (act["id"], case, act["actor"], label, act["time_s"], _waited_s(act, alerts), severity)
        for act, label in folded.answers.values()
    ]
    connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", answers)


@dataclass(kw_only=True, slots=True)
class Folded:
    """What the acts of a case come to."""

    labels: dict[str, tuple[str, float]] = field(default_factory=dict)  # of single alerts, with their times
    whole: tuple[str, float] | None = None  # label of the case
    answer: str | None = None
    assignee: str | None = None
    taken_by: str | None = None
    snoozed_s: float = 0.0
    closed: bool = False
    answers: dict[str | None, tuple[Row, str]] = field(default_factory=dict)  # by actor: the last label

    def state(self, alerts: Sequence[Row]) -> str:
        """State of the case, apart from its snooze, which ends by itself."""
        if self.closed:
            return "closed"
        answered = [self._has_label(alert) for alert in alerts] or [self.whole is not None]
        return "answered" if all(answered) else "open"

    def _has_label(self, alert: Row) -> bool:
        return alert["id"] in self.labels or (
            self.whole is not None and alert["at_s"] <= self.whole[1] + CLOCKS_S
        )


def fold_acts(acts: Sequence[Row], alerts: Sequence[Row]) -> Folded:
    """Fold acts, the oldest first, of a case with these alerts."""
    by_event = {alert["event_id"]: alert["id"] for alert in alerts}
    folded = Folded()
    for act in acts:
        if status_of(act) not in ("applied", "pending"):
            continue
        detail = msgspec.json.decode(act["detail"])
        alert = act["alert_id"] or by_event.get(act["event_id"])
        if act["kind"] in TAKES and folded.taken_by is None:
            folded.taken_by = act["actor"]
        match act["kind"]:
            case "label":
                _label(folded, act, alert, str(detail.get("label")))
            case "retract_label":
                _retract(folded, act, alert)
            case "assign":
                folded.assignee = str(detail.get("assignee"))
            case "snooze" if "code" not in detail:
                folded.snoozed_s = float(detail["until"])
            case "unsnooze" if "code" not in detail:
                folded.snoozed_s = 0.0
            case "close" | "erase":
                folded.closed = True
    return folded


def _label(folded: Folded, act: Row, alert: str | None, label: str) -> None:
    folded.answers.pop(act["actor"], None)
    folded.answers[act["actor"]] = act, label
    if alert is None:
        folded.whole = label, act["time_s"]
        folded.labels.clear()
    else:
        folded.labels[alert] = label, act["time_s"]
    folded.answer = label


def _retract(folded: Folded, act: Row, alert: str | None) -> None:
    """Take labels back: one alert's, or all of the case."""
    folded.answers.pop(act["actor"], None)
    if alert is None or (folded.whole is not None and not folded.labels):
        folded.whole = None
        folded.labels.clear()
    else:
        folded.labels.pop(alert, None)
    left = [*folded.labels.values(), *(() if folded.whole is None else (folded.whole,))]
    folded.answer = max(left, key=lambda one: one[1])[0] if left else None


def _row(
    case: str, alerts: Sequence[Row], updates: Sequence[Row], acts: Sequence[Row], folded: Folded
) -> tuple[Any, ...]:
    """Values as the columns of `cases`. The message with the highest number of events tells the totals."""
    whole = max((*alerts, *updates), key=lambda one: (one["number"], one["at_s"], one["id"]))
    shown: Mapping[str, Any] | None = None
    if alerts:
        shown = dict(max(alerts, key=lambda one: (one["number"], one["time_s"], one["id"])))
    named = shown or dict(whole)
    heads = shown or {"headline": " ".join(filter(None, (whole["kind"], whole["value"]))), "chips": "[]"}
    published_s = min(one["at_s"] for one in alerts or updates)
    receipts = sum(act["status"] is not None for act in acts)
    position = max((act["id"] + 1 for act in acts), default=0)
    return (
        case,
        named["kind"],
        named["value"],
        heads["headline"],
        heads["chips"],
        min([one["time_s"] for one in alerts] + [one["first_s"] for one in updates]),
        max([one["time_s"] for one in alerts] + [one["last_s"] for one in updates]),
        published_s,
        whole["number"],
        whole["sum"],
        whole["largest"],
        next((one["unit"] for one in reversed(alerts) if one["unit"] is not None), None),
        max(one["severity"] for one in (*alerts, *updates)),
        whole["priority"],
        folded.state(alerts),
        folded.snoozed_s,
        folded.assignee or folded.taken_by,
        folded.answer,
        position * MESSAGES + min(len(alerts) + len(updates) + receipts, MESSAGES - 1),
        0.0 if whole["sum"] is None else whole["sum"],
    )


def _waited_s(act: Row, alerts: Sequence[Row]) -> float:
    """From the publication of what was answered, the alert or the case's last one before, to the answer."""
    named = [alert["at_s"] for alert in alerts if alert["id"] == act["alert_id"]]
    before = [alert["at_s"] for alert in alerts if alert["at_s"] <= act["time_s"]]
    since_s = named[0] if named else max(before, default=act["time_s"])
    return float(max(act["time_s"] - since_s, 0.0))
