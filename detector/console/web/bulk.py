"""One act for many cases: first a page that says what it will do, then the sending."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.responses import Response

from detector.console import filters
from detector.console.access import FORM_S
from detector.console.views import ANALYST_BULK_MAX, BULK_MAX, UNDO_S, ActKind, Command
from detector.console.web.acts import UNDOABLE, Wrong, read_command, said
from detector.console.web.queue import values_of
from detector.console.web.visit import FIELDS_MAX, Visit

SHOWN = 25  # cases that the preview names


def preview(visit: Visit) -> Response:
    """Say what an act would do, and sign it."""
    asked = filters.read(visit.one("queue", 4000))
    most = visit.bulk_max
    seen = _picked(visit)
    whole = visit.one("all") == "1"
    ids = list(visit.book.selected(asked, BULK_MAX + 1)) if whole else list(seen)
    if not ids:
        return visit.sorry(
            422, "Nothing is selected", "Go back and select cases with their boxes, or by the key x."
        )
    if len(ids) > most:
        who = "A lead may do more at once" if most == ANALYST_BULK_MAX else "Filter the queue into parts"
        return visit.sorry(
            403, "Too many cases", f"These are more than {most:,} cases. {who}. Nothing was done."
        )
    views = [view for view in (visit.book.case(id_) for id_ in ids[:SHOWN]) if view is not None]
    last_s = max((view.row.last_s for view in views), default=visit.console.now_s())
    command = read_command(visit, cases=ids, alerts=(), last_s=last_s)
    if isinstance(command, Wrong):
        return visit.sorry(422, "Not clear what to do", command.sentence)
    rows = [view.row for view in views]
    return visit.render(
        "preview.html",
        said=said(command),
        rows=rows,
        count=len(ids),
        sum=sum(row.sum or 0.0 for row in rows) if len(rows) == len(ids) else None,
        unit=next((row.unit for row in rows if row.unit), None),
        others=sum(row.assignee not in (None, "", visit.person.name) for row in rows),
        answered=sum(row.answer is not None for row in rows),
        query=filters.write(asked),
        command=visit.sign("bulk", _packed(command, seen)),
        hidden=values_of(rows),
    )


def send(visit: Visit) -> Response:
    """Send what the preview said."""
    packed = visit.signed("bulk", visit.form.get("command", ("",))[-1], FORM_S)
    if packed is None:
        return visit.sorry(403, "Not sent", "The preview is older than a day. Select the cases again.")
    command = replace(_unpacked(packed), id=visit.form_id)
    sent = visit.book.send(visit.person, command, anyway=visit.one("anyway") == "1")
    again = {conflict.case_id: command.seen.get(conflict.case_id, 0) for conflict in sent.conflicts}
    done = {"ids": list(sent.feedback_ids), "case": "", "who": "", "until_s": visit.console.now_s() + UNDO_S}
    return visit.render(
        "sent.html",
        undo=visit.sign("done", done) if command.kind in UNDOABLE and sent.feedback_ids else None,
        until_s=done["until_s"],
        status=409 if sent.conflicts else 200,
        said=said(command),
        sent=sent,
        query=filters.write(filters.read(visit.one("queue", 4000))),
        command=visit.sign("bulk", _packed(replace(command, case_ids=tuple(again)), again)),
    )


def _picked(visit: Visit) -> dict[str, int]:
    """Read the selected cases, with the versions that the page showed."""
    found = {}
    for text in visit.form.get("pick", ())[:FIELDS_MAX]:
        id_, _, version = text.rpartition(" ")
        if id_ and version.isdecimal() and len(version) < 18:
            found[id_] = int(version)
    return found


def _packed(command: Command, seen: dict[str, int]) -> dict[str, Any]:
    return {"kind": command.kind, "cases": command.case_ids, "detail": dict(command.detail), "seen": seen}


def _unpacked(packed: dict[str, Any]) -> Command:
    kind: ActKind = packed["kind"]
    return Command(kind=kind, case_ids=tuple(packed["cases"]), detail=packed["detail"], seen=packed["seen"])
