"""What pages show, read from the database: the queue, a case, acts, links, statistics.

A snooze ends by the clock, `now_s`, as people who set it expect: neither a queue without new cases nor one
event from the future changes that. The queue is paged by key: the cursor holds the last row's place in the
order, so that no row is shown twice or left out because others came or went before it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from detector.console import views
from detector.console.database import Connection
from detector.console.database import Row as Found
from detector.console.derive import ACTS, OF_CASE, status_of
from detector.console.fold import unpack
from detector.console.views import Act, Alert, CaseView, Filter, Page, State
from detector.core.events import read_time

ROWS_MAX = 500  # of a page
SHOWN_MAX = 50  # alerts, and as many updates, of a case
ACTS_MAX = 500  # of a case; the newest
RELATED_MAX = 20
SHARED_MAX = 50  # cases: what more of them share tells nothing
GRAPH_MAX = 40  # cases of the graph
CURSOR_CHARS_MAX = 2048
FIND_S = 86_400.0  # a time that somebody reports may be so far from the event's

_COLUMN = {
    "priority": "priority",
    "severity": "severity",
    "time": "last_s",
    "sum": "money",
    "events": "events",
}
_STATES: Mapping[State, str] = {
    "open": "(state = 'open' AND snoozed_s <= :now)",
    "snoozed": "(state = 'open' AND snoozed_s > :now)",
    "answered": "state = 'answered'",
    "closed": "state = 'closed'",
}


# --- the queue ---------------------------------------------------------------------------------------------


def queue(connection: Connection, asked: Filter, after: str | None, limit: int, now_s: float) -> Page:
    """A page of the queue."""
    where, values = _where(asked, now_s)
    (count,) = connection.execute(f"SELECT count(*) FROM cases WHERE {where}", values).fetchone()
    limit = min(max(limit, 1), ROWS_MAX)
    place = _read_cursor(asked, after)
    found = _rows(connection, asked, where, values, place, limit + 1)
    rows = [row_of(one, now_s) for one in found[:limit]]
    following = _cursor(asked, found[limit - 1]) if len(found) > limit else None
    return Page(rows=rows, count=count, next=following)


def selected(connection: Connection, asked: Filter, limit: int, now_s: float) -> list[str]:
    """Ids of the cases that a filter takes, in its order."""
    where, values = _where(asked, now_s)
    return [row["id"] for row in _rows(connection, asked, where, values, None, limit)]


def following(connection: Connection, asked: Filter, case: Found, now_s: float) -> str | None:
    """The case after this one in a queue, where it may be no more; behind the last comes the first."""
    where, values = _where(asked, now_s)
    place = (case[_COLUMN[asked.order]], case["id"])
    for begin in (place, None):
        for row in _rows(connection, asked, where, values, begin, 2):
            if row["id"] != case["id"]:
                return str(row["id"])
    return None


def row_of(found: Found, now_s: float) -> views.Row:
    """A row of `cases` as pages show it."""
    state: State = "snoozed" if found["state"] == "open" and found["snoozed_s"] > now_s else found["state"]
    return views.Row(
        id=found["id"],
        entity=None if found["kind"] is None else (found["kind"], found["value"]),
        headline=found["headline"],
        chips=tuple(msgspec.json.decode(found["chips"])),
        first_s=found["first_s"],
        last_s=found["last_s"],
        published_s=found["published_s"],
        events=found["events"],
        sum=found["sum"],
        largest=found["largest"],
        unit=found["unit"],
        severity=found["severity"],
        priority=found["priority"],
        state=state,
        assignee=found["assignee"],
        answer=found["answer"],
        version=found["version"],
    )


def now_of(connection: Connection) -> float:
    """The newest event time, s since the epoch; 0 without cases."""
    (newest,) = connection.execute("SELECT max(last_s) FROM cases").fetchone()
    return 0.0 if newest is None else float(newest)


def _rows(
    connection: Connection,
    asked: Filter,
    where: str,
    values: Mapping[str, Any],
    place: tuple[float, str] | None,
    limit: int,
) -> list[Found]:
    column, way, sign = _COLUMN[asked.order], *(("DESC", "<") if asked.descending else ("ASC", ">"))
    values = {**values, "limit": limit}
    if place is not None:
        where = f"({where}) AND ({column}, id) {sign} (:key, :id)"
        values |= {"key": place[0], "id": place[1]}
    return connection.execute(
        f"SELECT * FROM cases WHERE {where} ORDER BY {column} {way}, id {way} LIMIT :limit", values
    ).fetchall()


def _where(asked: Filter, now_s: float) -> tuple[str, dict[str, Any]]:
    """The condition of a filter, and the values of its names."""
    values: dict[str, Any] = {"now": now_s}
    parts = []
    if 0 < len(set(asked.states)) < len(_STATES):
        parts.append("(" + " OR ".join(_STATES[state] for state in dict.fromkeys(asked.states)) + ")")
    marked = "id IN (SELECT case_id FROM marks_of_cases WHERE kind = '{kind}' AND text = :{kind})"
    conditions: tuple[tuple[str, Any, str], ...] = (
        ("severity", asked.severity or None, "severity >= :severity"),
        ("assignee", asked.assignee or None, "assignee = :assignee"),
        ("code", asked.code, marked.format(kind="code")),
        (
            "segment",
            None if asked.segment is None else "=".join(asked.segment),
            marked.format(kind="segment"),
        ),
        ("least", asked.amount_min, "sum >= :least"),
        ("most", asked.amount_max, "sum <= :most"),
        ("since", asked.since_s, "last_s >= :since"),
        ("until", asked.until_s, "last_s <= :until"),
        ("text", _like(asked.text), _TEXT),
    )
    for name, value, condition in conditions:
        if value is not None:
            values[name] = value
            parts.append(condition)
    if asked.assignee == "":
        parts.append("assignee IS NULL")
    return " AND ".join(parts) or "1", values


_TEXT = """(value LIKE :text ESCAPE '\\' OR id LIKE :text ESCAPE '\\'
  OR id IN (SELECT case_id FROM alerts WHERE event_id LIKE :text ESCAPE '\\'))"""


def _like(text: str) -> str | None:
    if not text:
        return None
    for sign in "\\%_":
        text = text.replace(sign, f"\\{sign}")
    return f"%{text}%"


def _cursor(asked: Filter, row: Found) -> str:
    return _encoded([asked.order, asked.descending, row[_COLUMN[asked.order]], row["id"]])


def _read_cursor(asked: Filter, text: str | None) -> tuple[float, str] | None:
    """Place of a cursor; None: there is none, or it is not ours, or of another order."""
    match _decoded(text):
        case [asked.order, asked.descending, int() | float() as key, str() as id_]:
            return key, id_
        case _:
            return None


def _encoded(place: Sequence[Any]) -> str:
    """A cursor that `_decoded` reads."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _decoded(text: str | None) -> Any:
    if text is None or len(text) > CURSOR_CHARS_MAX:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, msgspec.DecodeError, UnicodeError, ValueError, RecursionError):
        return None


# --- one case ----------------------------------------------------------------------------------------------


def case(connection: Connection, case_id: str, asked: Filter | None, now_s: float) -> CaseView | None:
    """All that the page of a case shows."""
    found = connection.execute("SELECT * FROM cases WHERE id = ?", (case_id,)).fetchone()
    if found is None:
        return None
    told = {
        table: connection.execute(
            f"SELECT {table}.id, at_s, body FROM {table} JOIN bodies ON bodies.id = {table}.id"
            f" WHERE case_id = ? ORDER BY at_s DESC, {order} DESC, {table}.id DESC LIMIT ?",
            (case_id, SHOWN_MAX),
        ).fetchall()
        for table, order in (("alerts", "time_s"), ("updates", "number"))
    }
    (all_,) = connection.execute(
        "SELECT (SELECT count(*) FROM alerts WHERE case_id = :case)"
        " + (SELECT count(*) FROM updates WHERE case_id = :case)",
        {"case": case_id},
    ).fetchone()
    acts = connection.execute(
        f"{ACTS.format(which=OF_CASE)}"
        " ORDER BY acts.time_s DESC, acts.feedback_id DESC, acts.id DESC LIMIT :limit",
        {"case": case_id, "limit": ACTS_MAX},
    ).fetchall()
    related = _related(connection, found)
    return CaseView(
        row=row_of(found, now_s),
        alerts=[
            Alert(id=one["id"], published_s=one["at_s"], body=unpack(one["body"])) for one in told["alerts"]
        ],
        updates=[unpack(one["body"]) for one in told["updates"]],
        acts=[act_of(act, case_id) for act in reversed(acts)],
        left_out=all_ - sum(map(len, told.values())),
        related=[(row_of(other, now_s), what) for other, what in related],
        links=_links(connection, case_id),
        next_id=None if asked is None else following(connection, asked, found, now_s),
    )


def _related(connection: Connection, found: Found) -> list[tuple[Found, str]]:
    """Other cases and what they share: those of the same entity, the newest first, then its neighbours."""
    shared: dict[str, str] = {}
    same = connection.execute(
        "SELECT id FROM cases WHERE value = ? AND kind = ? AND id <> ? ORDER BY last_s DESC, id LIMIT ?",
        (found["value"], found["kind"], found["id"], RELATED_MAX),
    )
    for (id_,) in same:
        shared[id_] = f"the same {found['kind']}"
    for id_, what in _neighbours(connection, found["id"]):
        shared.setdefault(id_, what)
    rows = []
    for id_, what in shared.items():
        row = connection.execute("SELECT * FROM cases WHERE id = ?", (id_,)).fetchone()
        if row is not None:
            rows.append((row, what))
    return rows[:RELATED_MAX]


def _neighbours(connection: Connection, case_id: str) -> list[tuple[str, str]]:
    """Cases that share an entity that few share, or that the detector has linked; and what it is."""
    found: dict[str, list[str]] = {}
    marks = connection.execute(
        "SELECT text FROM marks_of_cases WHERE case_id = ? AND kind = 'entity' ORDER BY text", (case_id,)
    ).fetchall()
    for (text,) in marks:
        others = connection.execute(
            "SELECT case_id FROM marks_of_cases WHERE kind = 'entity' AND text = ? ORDER BY case_id LIMIT ?",
            (text, SHARED_MAX + 1),
        ).fetchall()
        if len(others) > SHARED_MAX:
            continue
        for (other,) in others:
            if other != case_id:
                found.setdefault(other, []).append(" ".join(text.split("=", 1)))
    linked = connection.execute(
        "SELECT text FROM marks_of_cases WHERE case_id = :case AND kind = 'related'"
        " UNION SELECT case_id FROM marks_of_cases WHERE kind = 'related' AND text = :case ORDER BY 1",
        {"case": case_id},
    ).fetchall()
    for (other,) in linked:
        if other != case_id:
            found.setdefault(other, [])
    ordered = sorted(found.items(), key=lambda one: (-len(one[1]), one[0]))
    return [(other, ", ".join(what) or "linked by the detector") for other, what in ordered]


def _links(connection: Connection, case_id: str) -> list[tuple[str, str]]:
    """Edges within two hops, each once, bounded."""
    seen, edges, ring = {case_id}, set(), [case_id]
    for _ in range(2):
        following_ring = []
        for one in ring:
            for other, _what in _neighbours(connection, one)[:RELATED_MAX]:
                if other not in seen and len(seen) < GRAPH_MAX:
                    seen.add(other)
                    following_ring.append(other)
                if other in seen:
                    edges.add((min(one, other), max(one, other)))
        ring = following_ring
    return sorted(edges)


def case_of(connection: Connection, alert_id: str) -> str | None:
    """Id of the case of an alert."""
    row = connection.execute("SELECT case_id FROM alerts WHERE id = ?", (alert_id,)).fetchone()
    return None if row is None else str(row[0])


# --- acts --------------------------------------------------------------------------------------------------


def act_of(act: Found, case_id: str | None) -> Act:
    """A feedback record as pages show it."""
    return Act(
        feedback_id=act["feedback_id"] or f"record {act['id']}",
        kind=act["kind"],
        actor=act["actor"],
        time_s=act["time_s"],
        case_id=case_id,
        alert_id=act["alert_id"],
        event_id=act["event_id"],
        entity=act["entity"],
        detail=msgspec.json.decode(act["detail"]),
        status=status_of(act),  # type: ignore[arg-type]
        outcome=act["outcome"],
        text=act["text"] or act["wrong"],
        learned=None if act["learned"] is None else msgspec.json.decode(act["learned"]),
    )


def acts(
    connection: Connection,
    *,
    actor: str | None,
    case_id: str | None,
    entity: str | None,
    after: str | None,
    limit: int,
) -> tuple[list[Act], str | None]:
    """What was done, the newest first, and the cursor of the next page."""
    limit = min(max(limit, 1), ROWS_MAX)
    parts = ["1"]
    values: dict[str, Any] = {"actor": actor, "case": case_id, "entity": entity, "limit": limit + 1}
    if actor is not None:
        parts.append("acts.actor = :actor")
    if case_id is not None:
        parts.append(OF_CASE)
    if entity is not None:
        parts.append(_OF_ENTITY)
    match _decoded(after):
        case [int() | float() as time_s, int() as id_] if abs(id_) < 1 << 62:
            parts.append("(acts.time_s, acts.id) < (:time, :id)")
            values |= {"time": time_s, "id": id_}
    found = connection.execute(
        f"{ACTS.format(which=' AND '.join(parts))} ORDER BY acts.time_s DESC, acts.id DESC LIMIT :limit",
        values,
    ).fetchall()
    shown = found[:limit]
    cursor = _encoded([shown[-1]["time_s"], shown[-1]["id"]]) if len(found) > limit else None
    return [act_of(act, act["case_id"] or _case_of_act(connection, act)) for act in shown], cursor


_OF_ENTITY = """(acts.entity = :entity OR acts.case_id IN (SELECT id FROM cases WHERE value = :entity)
  OR acts.alert_id IN (SELECT id FROM alerts WHERE value = :entity)
  OR acts.event_id IN (SELECT event_id FROM alerts WHERE value = :entity))"""


def _case_of_act(connection: Connection, act: Found) -> str | None:
    if act["alert_id"] is not None:
        return case_of(connection, act["alert_id"])
    row = connection.execute(
        "SELECT case_id FROM alerts WHERE event_id = ? ORDER BY time_s DESC, id LIMIT 1", (act["event_id"],)
    ).fetchone()
    return None if row is None else str(row[0])


def find(connection: Connection, named: Sequence[Mapping[str, Any]], topic: str) -> Iterator[str | None]:
    """Of events that somebody reports, the alert of each, where there was one."""
    for one in named:
        yield _find(connection, one, topic)


def _find(connection: Connection, one: Mapping[str, Any], topic: str) -> str | None:
    if one.get("alert_id") is not None or one.get("partition") is not None:
        id_ = one.get("alert_id") or f"{one.get('topic') or topic}-{one.get('partition')}-{one.get('offset')}"
        row = connection.execute("SELECT id FROM alerts WHERE id = ?", (str(id_),)).fetchone()
    elif one.get("event_id") is not None:
        row = connection.execute(
            "SELECT id FROM alerts WHERE event_id = ? ORDER BY time_s DESC, id LIMIT 1",
            (str(one["event_id"]),),
        ).fetchone()
    else:
        time_s = one.get("time_s", read_time(one["time"]) if isinstance(one.get("time"), str) else None)
        if one.get("entity") is None or time_s is None:
            return None
        row = connection.execute(
            "SELECT id FROM alerts WHERE value = ? AND time_s BETWEEN ? AND ?"
            " ORDER BY abs(time_s - ?), id LIMIT 1",
            (str(one["entity"]), time_s - FIND_S, time_s + FIND_S, time_s),
        ).fetchone()
    return None if row is None else str(row[0])
