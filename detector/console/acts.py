"""Acts: what an analyst wants becomes feedback records, unless somebody else was faster.

- The actor is the person of the session, the time is ours; a form says neither.
- The id of a record follows from the id of the form and from what it says. A form that is sent twice gives
  the same ids, so its acts are the same; sent again with another choice it gives other ones.
- A page shows a case at a version. Acts of others that came after it are conflicts: nothing is sent for this
  case until the person has seen them and says so again.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from detector.console.database import Connection
from detector.console.derive import ACTS, MESSAGES, OF_CASE, fold_acts, status_of
from detector.console.queries import case_of
from detector.console.reading import DETAIL
from detector.console.views import ANALYST_BULK_MAX, BULK_MAX, UNDO_S, Command, Conflict, Person
from detector.core.alerts.score_record import iso
from detector.core.events import read_time
from detector.core.labels.commands import Malformed, read_command
from detector.errors import DetectorError

DAY_S = 86_400.0
ANALYST_SNOOZE_S = 7 * DAY_S  # longer ones are for leads
UNDO_LATE_S = 2.0  # from the click to us
NAMES = (
    "alert_id",
    "case_id",
    "topic",
    "partition",
    "offset",
    "event_id",
    "entity",
)  # of an event, in `other`
WORDS = {
    "label": "answered",
    "retract_label": "took an answer back",
    "snooze": "snoozed it",
    "unsnooze": "ended its snooze",
    "assign": "assigned it",
    "close": "closed it",
    "erase": "erased its entity",
}


class NotAllowed(DetectorError):
    """This person may not do that, or nobody may. The message is a sentence for them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A feedback record that may be sent."""

    id: str
    case_id: str | None  # whose page it comes from
    record: Mapping[str, Any]

    @property
    def value(self) -> bytes:
        """The record as JSON."""
        return msgspec.json.encode(self.record)


def check_role(person: Person, command: Command, now_s: float) -> None:
    """Refuse what a role may not do.

    Parameters
    ----------
    now_s
        The time of the acts, and the newest event time if that is later.

    Raises
    ------
    NotAllowed
    """
    count = len(command.case_ids) + len(command.alert_ids) + len(command.other)
    if person.role == "viewer":
        raise NotAllowed("A viewer sees everything and changes nothing.")
    if count > BULK_MAX:
        raise NotAllowed(f"At most {BULK_MAX:,} cases or records at once; these are {count:,}.")
    if person.role == "lead":
        return
    if command.kind == "erase":
        raise NotAllowed("Only a lead may erase an entity.")
    if count > ANALYST_BULK_MAX:
        raise NotAllowed(f"Only a lead may act on more than {ANALYST_BULK_MAX} at once; these are {count:,}.")
    until = command.detail.get("until")
    until_s = read_time(until) if isinstance(until, str) else until
    if command.kind == "snooze" and until_s is not None and until_s > now_s + ANALYST_SNOOZE_S:
        raise NotAllowed("Only a lead may snooze for more than 7 days.")


def drafts(person: Person, command: Command, time_s: float) -> list[Draft]:
    """The records of a command, one for each thing that it names.

    Raises
    ------
    NotAllowed
        One of them would not be understood.
    """
    form, detail = command.id or uuid.uuid4().hex, _detail(command)
    made = []
    for case_id, target in _targets(command):
        said = {"kind": command.kind, **target, **detail}
        chosen = {**said, "until": command.lasts} if command.lasts else said
        digest = hashlib.blake2b(
            msgspec.json.encode(chosen, order="deterministic"), digest_size=6
        ).hexdigest()
        record = {**said, "time": iso(time_s), "actor": person.name, "feedback_id": f"{form}-{digest}"}
        draft = Draft(id=f"{form}-{digest}", case_id=case_id, record=record)
        read = read_command(draft.value)
        if isinstance(read, Malformed):
            raise NotAllowed(f"That cannot be sent: {read.why}.")
        made.append(draft)
    return list({draft.id: draft for draft in made}.values())


def known(connection: Connection, id_: str) -> bool:
    """Whether a record of this id was sent before."""
    return connection.execute("SELECT 1 FROM acts WHERE feedback_id = ?", (id_,)).fetchone() is not None


def conflict(
    connection: Connection, person: Person, command: Command, draft: Draft, position: int | None = None
) -> Conflict | None:
    """What somebody else did with a case since the page of the command showed it.

    Parameters
    ----------
    position
        In place of what the page showed: only acts behind this one.
    """
    case_id = draft.case_id
    if case_id is None and draft.record.get("alert_id") is not None:
        case_id = case_of(connection, str(draft.record["alert_id"]))
    if case_id is None or (position is None and case_id not in command.seen):
        return None
    last = command.seen[case_id] // MESSAGES - 1 if position is None else position
    later = connection.execute(
        f"{ACTS.format(which=OF_CASE)} AND acts.id > :last AND acts.actor IS NOT :actor"
        " ORDER BY acts.id DESC",
        {"case": case_id, "last": last, "actor": person.name},
    )
    for act in later:
        if act["kind"] in WORDS and status_of(act) in ("applied", "pending"):
            detail = msgspec.json.decode(act["detail"])
            return Conflict(case_id=case_id, by=act["actor"] or "somebody", what=_sentence(act, detail))
    return None


def undo_command(connection: Connection, person: Person, id_: str, now_s: float) -> tuple[Command, int]:
    """The command that takes back an act of this person, and the act's place.

    An answer that replaced another one becomes that one again.

    Raises
    ------
    NotAllowed
        It is somebody else's, too old, or nothing that can be taken back.
    """
    which = "acts.feedback_id = :id"
    act = connection.execute(ACTS.format(which=which), {"id": id_}).fetchone()
    if act is None or act["actor"] != person.name:
        raise NotAllowed("Only your own answers can be taken back.")
    if now_s - act["time_s"] > UNDO_S + UNDO_LATE_S:
        raise NotAllowed(f"An answer can be taken back for {UNDO_S:g} seconds; give another one instead.")
    if act["kind"] not in ("label", "snooze"):
        raise NotAllowed("Only answers and snoozes can be taken back.")
    detail = msgspec.json.decode(act["detail"])
    target = {"case_ids": (act["case_id"],)} if act["case_id"] else {"alert_ids": (act["alert_id"],)}
    if not act["case_id"] and not act["alert_id"]:
        target = {"other": ({"event_id": act["event_id"]},)}
    before = _label_before(connection, act)
    if act["kind"] == "snooze":
        kind, more = "unsnooze", {"code": detail["code"]} if "code" in detail else {}
    elif before is not None:
        kind, more = "label", {"label": before}
    else:
        kind, more = "retract_label", {}
    return Command(kind=kind, id=f"{id_}-undo", detail=more, **target), act["id"]  # type: ignore[arg-type]


def _label_before(connection: Connection, act: Any) -> str | None:
    """Label that a case or an alert had before an act."""
    case_id = act["case_id"] or (case_of(connection, act["alert_id"]) if act["alert_id"] else None)
    if act["kind"] != "label" or case_id is None:
        return None
    acts = connection.execute(
        f"{ACTS.format(which=OF_CASE)} ORDER BY acts.time_s, acts.feedback_id, acts.id", {"case": case_id}
    ).fetchall()
    alerts = connection.execute("SELECT * FROM alerts WHERE case_id = ?", (case_id,)).fetchall()
    earlier = [one for one in acts if (one["time_s"], one["id"]) < (act["time_s"], act["id"])]
    folded = fold_acts(earlier, alerts)
    found = folded.labels.get(act["alert_id"], folded.whole) if act["alert_id"] else folded.whole
    return None if found is None else found[0]


def _targets(command: Command) -> Iterator[tuple[str | None, Mapping[str, Any]]]:
    """Case, if it is known, and the keys that name each thing."""
    for case_id in dict.fromkeys(command.case_ids):
        yield case_id, {"case_id": case_id}
    for alert_id in dict.fromkeys(command.alert_ids):
        yield None, {"alert_id": alert_id}
    for one in command.other:
        yield None, {name: one[name] for name in NAMES if one.get(name) is not None}


def _detail(command: Command) -> dict[str, Any]:
    detail = {name: command.detail[name] for name in DETAIL if command.detail.get(name) not in (None, "")}
    until = detail.get("until")
    if isinstance(until, int | float) and not isinstance(until, bool):
        detail["until"] = iso(float(until))
    return detail


def _sentence(act: Any, detail: Mapping[str, Any]) -> str:
    what = WORDS[act["kind"]]
    if act["kind"] == "label":
        what = f"answered {detail.get('label')}"
    elif act["kind"] == "assign":
        what = f"assigned it to {detail.get('assignee')}"
    return f"{act['actor'] or 'Somebody'} {what} at {iso(round(act['time_s']))[11:16]} UTC."
