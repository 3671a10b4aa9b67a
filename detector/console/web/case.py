"""One case: what it shows, and what is done with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from detector.console import filters
from detector.console.views import UNDO_S, CaseView, Command, Filter, Sent
from detector.console.web.acts import (
    CLOSED,
    LEGITIMATE,
    MOVES_ON,
    UNDOABLE,
    Wrong,
    note_beside,
    read_command,
    said,
    snooze_choices,
)
from detector.console.web.addresses import case_path
from detector.console.web.evidence import band, events, known_frauds, others, reasons
from detector.console.web.queue import values_of
from detector.console.web.visit import Visit
from detector.core.alerts.severity import SEVERITIES

ORIGINALS_MAX = 50  # events that are read at once
ALERTS_PICKED_MAX = 200  # of one form
IDS_TOLD_MAX = 20  # feedback ids that an address carries
NOTHING = {"case": "", "who": "", "ids": [], "until_s": 0.0}  # of what was done, where nothing can be undone


def case(visit: Visit) -> Response:
    """Show a case."""
    view, asked, query = _asked(visit, visit.request.path_params["id"], visit.query.get("queue"))
    if view is None:
        return _unknown(visit)
    return _page(visit, view, asked, query)


def _asked(visit: Visit, case_id: str, query: str | None) -> tuple[CaseView | None, Filter, str]:
    """Read a case, within the queue from which it was opened."""
    asked = filters.read(query or "")
    return visit.book.case(case_id, asked), asked, filters.write(asked)


def _unknown(visit: Visit) -> Response:
    return visit.sorry(
        404,
        "No such case",
        "It may be older than what the console keeps, or its address is not whole.",
        "The search of the queue finds cases by a part of an entity, a case's id or an event's id.",
    )


def _page(
    visit: Visit, view: CaseView, asked: Filter, query: str, *, status: int = 200, trouble: str = ""
) -> Response:
    body = view.alerts[0].body if view.alerts else {}
    unit = view.row.unit
    return visit.render(
        "case.html",
        status=status,
        view=view,
        row=view.row,
        body=body,
        asked=asked,
        query=query,
        unit=unit,
        trouble=trouble,
        severities=SEVERITIES,
        reasons=reasons(body),
        events=events(view),
        band=band(body),
        others=others(body),
        frauds=known_frauds(view),
        legitimate=LEGITIMATE,
        closed=CLOSED,
        snoozes=snooze_choices(visit),
        names={row.id: row.entity[1] for row, _ in view.related if row.entity}
        | {view.row.id: view.row.entity[1] if view.row.entity else view.row.id},
        answers={row.id: row.answer for row, _ in view.related} | {view.row.id: view.row.answer},
        hidden=[*values_of([view.row, *(row for row, _ in view.related)]), *_values(view)],
    )


def _values(view: CaseView) -> list[str]:
    """Give the values of all entities that the alerts name."""
    found = (value for alert in view.alerts for value in (alert.body.get("entities") or {}).values())
    return [str(value) for value in found if value is not None]


# --- acts ---------------------------------------------------------------------------------------------------


def act(visit: Visit) -> Response:
    """Do with a case, or with some of its alerts, what the form says; an answer opens the next case."""
    case_id = visit.one("case")
    view, asked, query = _asked(visit, case_id, visit.one("queue", 4000))
    if view is None:
        return _unknown(visit)
    if visit.one("act") == "erase":
        return visit.sorry(
            422,
            "Not erased",
            "Erasing is confirmed on a page of its own: use the button of the case.",
            "Nothing was sent.",
        )
    alerts = [one for one in visit.form.get("alert", ()) if one in {alert.id for alert in view.alerts}]
    command = read_command(visit, cases=[case_id], alerts=alerts[:ALERTS_PICKED_MAX], last_s=view.row.last_s)
    if isinstance(command, Wrong):
        return _page(visit, view, asked, query, status=422, trouble=command.sentence)
    version = visit.one("version")
    command = replace(
        command, seen={case_id: int(version)} if version.isdecimal() and len(version) < 18 else {}
    )
    sent = _send(visit, command)
    if sent.conflicts:
        return visit.render(
            "conflict.html", status=409, view=view, row=view.row, query=query, sent=sent, said=said(command),
            form=_again(visit), hidden=values_of([view.row]),
        )  # fmt: skip
    beside = note_beside(visit, command)
    if beside is not None:
        visit.book.send(visit.person, beside, anyway=True)
    return _go_on(visit, view, command, sent, query)


def _send(visit: Visit, command: Command) -> Sent:
    return visit.book.send(visit.person, command, anyway=visit.one("anyway") == "1")


def _again(visit: Visit) -> list[tuple[str, str]]:
    """Give the fields of a form, to send it again."""
    names = ("act", "case", "alert", "queue", "note", "days", "assignee", "legitimate_code", "close_code")
    return [(name, value) for name in names for value in visit.form.get(name, ())[:ALERTS_PICKED_MAX]]


def _go_on(visit: Visit, view: CaseView, command: Command, sent: Sent, query: str) -> Response:
    done = {
        "text": said(command),
        "case": view.row.id,
        "who": view.row.entity[1] if view.row.entity else view.row.id,
        "ids": list(sent.feedback_ids[:IDS_TOLD_MAX]),
        "until_s": visit.console.now_s() + UNDO_S if command.kind in UNDOABLE else 0.0,
    }
    if command.kind not in MOVES_ON or command.alert_ids:
        return visit.redirect(*_address(view.row.id, query), done=done)
    if view.next_id is None:
        return visit.redirect("/cases", query, done=done)
    return visit.redirect(*_address(view.next_id, query), done=done)


def _address(case_id: str, query: str) -> tuple[str, str]:
    return case_path(case_id).unescape(), urlencode({"queue": query}) if query else ""


def undo(visit: Visit) -> Response:
    """Take back what was done just now, and go back to its case."""
    done = visit.signed("done", visit.form.get("done", ("",))[-1], 2 * UNDO_S)
    if done is None:
        return visit.sorry(
            409,
            "Too late to undo",
            f"An answer can be undone for {UNDO_S:.0f} seconds. Open the case and give the right one.",
            "Of two answers of yours the later one counts.",
        )
    sent = visit.book.undo(visit.person, done["ids"])
    if sent.conflicts:
        return visit.sorry(409, "Not undone", *(conflict.what for conflict in sent.conflicts))
    if not done["case"]:
        return visit.redirect("/cases", done={"text": f"{len(sent.feedback_ids):,} undone", **NOTHING})
    back = {"text": "undone", "case": done["case"], "who": done["who"], "ids": [], "until_s": 0.0}
    return visit.redirect(
        *_address(done["case"], filters.write(filters.read(visit.one("queue", 4000)))), done=back
    )


# --- originals ----------------------------------------------------------------------------------------------


def originals(visit: Visit) -> Response:
    """Show events of a case as they are in the topic of transactions."""
    view, _, query = _asked(visit, visit.request.path_params["id"], visit.query.get("queue"))
    if view is None:
        return _unknown(visit)
    places = [(event.partition, event.offset) for event in events(view)][:ORIGINALS_MAX]
    found = visit.book.originals(places)
    names: dict[str, None] = {}
    for event in found:
        names |= dict.fromkeys(map(str, (event.value or {})))
    columns = list(names)[:30]
    alerted = {place for place in (_place(alert.body) for alert in view.alerts) if place is not None}
    return visit.render(
        "originals.html", view=view, row=view.row, query=query, found=found, columns=columns, alerted=alerted,
        left_out=max(len(names) - len(columns), 0), hidden=[*values_of([view.row]), *_values(view)],
    )  # fmt: skip


def _place(body: Mapping[str, Any]) -> tuple[int, int] | None:
    source = body.get("source")
    return (source["partition"], source["offset"]) if isinstance(source, Mapping) else None
