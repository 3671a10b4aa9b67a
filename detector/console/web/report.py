"""Frauds that nobody was alerted of: by id, place, entity and time, or a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from detector.console.access import FORM_S
from detector.console.views import BULK_MAX, Command
from detector.console.web.case import NOTHING
from detector.console.web.text import iso, seconds
from detector.console.web.visit import Visit

SHOWN = 50  # rows that the preview shows
CELL_CHARS_MAX = 1024
NAMES = {
    "event_id": ("event_id", "id", "transaction_id", "transaction"),
    "alert_id": ("alert_id", "alert"),
    "partition": ("partition",),
    "offset": ("offset",),
    "entity": ("entity", "card", "account", "customer"),
    "time": ("time", "event_time", "timestamp", "date"),
}
_OF = {other: name for name, others in NAMES.items() for other in others}


class Unreadable(Exception):
    """A report cannot be read; says why in a sentence."""


def ask(visit: Visit) -> Response:
    """Show the forms."""
    return visit.render("report.html", trouble="", given={}, most=visit.bulk_max)


def preview(visit: Visit) -> Response:
    """Say what of a report is known, and what would be sent."""
    given = {name: visit.one(name) for name in NAMES}
    try:
        named = _read(visit, given)
    except Unreadable as error:
        return visit.render("report.html", status=422, trouble=str(error), given=given, most=visit.bulk_max)
    if len(named) > visit.bulk_max:
        trouble = f"These are {len(named):,}; you may report {visit.bulk_max:,} at once, a lead {BULK_MAX:,}."
        return visit.render("report.html", status=403, trouble=trouble, given={}, most=visit.bulk_max)
    found = visit.book.find(named)
    rows = [(one, alert, _sendable(one, alert)) for one, alert in zip(named, found, strict=True)]
    sendable = [(one, alert) for one, alert, ok in rows if ok]
    packed: dict[str, list[Any]] = {
        "alerts": list(dict.fromkeys(alert for _, alert in sendable if alert)),
        "other": [one for one, alert in sendable if not alert],
    }
    return visit.render(
        "matched.html",
        rows=rows[:SHOWN],
        count=len(rows),
        known=sum(alert is not None for _, alert in sendable),
        unknown=len(packed["other"]),
        lost=len(rows) - len(sendable),
        sending=len(packed["alerts"]) + len(packed["other"]),
        report=visit.sign("report", packed),
        hidden=[str(one["entity"]) for one in named if "entity" in one],
    )


def send(visit: Visit) -> Response:
    """Send the frauds that the preview showed."""
    packed = visit.signed("report", visit.form.get("report", ("",))[-1], FORM_S)
    if packed is None:
        return visit.sorry(403, "Not sent", "The preview is older than a day. Report the frauds again.")
    command = Command(
        kind="label",
        id=visit.form_id,
        alert_ids=tuple(packed["alerts"]),
        other=tuple(packed["other"]),
        detail={"label": "fraud"},
    )
    sent = visit.book.send(visit.person, command, anyway=True)
    done = {"text": f"{len(sent.feedback_ids):,} reported as fraud", **NOTHING}
    return visit.redirect("/answers", done=done)


def _sendable(named: Mapping[str, Any], alert: str | None) -> bool:
    """Whether a record can name it: by entity and time alone only what was alerted."""
    return alert is not None or "event_id" in named or "offset" in named


def _read(visit: Visit, given: Mapping[str, str]) -> list[dict[str, Any]]:
    uploaded = visit.files.get("file", b"")
    pasted = visit.form.get("rows", ("",))[-1]
    if uploaded:
        try:
            return _table(uploaded.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise Unreadable(
                "The file is no text in UTF-8. Save it as CSV (UTF-8), then upload it again."
            ) from None
    if pasted.strip():
        return _table(pasted)
    if not any(given.values()):
        raise Unreadable(
            "Write an event's id, its partition and offset, or an entity and a time; or give a list."
        )
    return [_named(given, 1)]


def _table(text: str) -> list[dict[str, Any]]:
    """Read a table with names in its first row; a single column without a name has ids of events."""
    first = text.lstrip().splitlines()[0] if text.strip() else ""
    sign = max(",;\t", key=first.count)
    rows: list[Sequence[str]] = []
    try:
        for row in csv.reader(io.StringIO(text), delimiter=sign):
            if any(value.strip() for value in row):
                rows.append(row)
            if len(rows) > BULK_MAX + 1:
                raise Unreadable(f"The list has more than {BULK_MAX:,} rows. Report it in parts.")
    except csv.Error as error:
        raise Unreadable(f"Line {len(rows) + 1} of the list cannot be read: {error}.") from None
    if not rows:
        raise Unreadable("The list is empty.")
    names = [_OF.get(value.strip().lower().replace(" ", "_")) for value in rows[0]]
    if not any(names):
        if len(rows[0]) > 1:
            allowed = ", ".join(NAMES)
            raise Unreadable(f"The first row of the list must name its columns, some of {allowed}.")
        names, body, line = ["event_id"], rows, 1
    else:
        body, line = rows[1:], 2
    if not body:
        raise Unreadable("The list has names of columns, and no row.")
    return [
        _named({name: value for name, value in zip(names, row, strict=False) if name}, line + at)
        for at, row in enumerate(body)
    ]


def _named(given: Mapping[str, str], line: int) -> dict[str, Any]:
    """Read how one event is named.

    Raises
    ------
    Unreadable
        It is not named, or a part of its name is wrong.
    """
    text = {name: value.strip()[:CELL_CHARS_MAX] for name, value in given.items() if value and value.strip()}
    if "alert_id" in text:
        return {"alert_id": text["alert_id"]}
    if "event_id" in text:
        return {"event_id": text["event_id"]}
    if "partition" in text and "offset" in text:
        if not all(text[name].isdecimal() and len(text[name]) < 19 for name in ("partition", "offset")):
            raise Unreadable(f"Row {line}: partition and offset must be whole numbers.")
        return {"partition": int(text["partition"]), "offset": int(text["offset"])}
    if "entity" in text and "time" in text:
        time_s = seconds(text["time"])
        if time_s is None:
            raise Unreadable(
                f"Row {line}: the time must look like 2026-03-01T08:00:00Z, got {text['time'][:60]!r}."
            )
        return {"entity": text["entity"], "time": iso(time_s)}
    raise Unreadable(f"Row {line}: needs an event_id, or partition and offset, or entity and time.")
