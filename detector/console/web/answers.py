"""What people did: my answers with what they taught, and the audit of everybody's."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from starlette.responses import Response, StreamingResponse

from detector.console.reading import DETAIL
from detector.console.views import Act
from detector.console.web.text import iso
from detector.console.web.visit import Visit
from detector.notify.texts import cell

ROWS = 100
EXPORT_MAX = 100_000  # rows of an export
EXPORTED_AT_ONCE = 1000
COLUMNS = (
    "time", "actor", "kind", "case_id", "alert_id", "event_id", "entity", *DETAIL, "status", "outcome",
    "text", "feedback_id",
)  # fmt: skip


def mine(visit: Visit) -> Response:
    """Show the answers of the person; a lead sees those of others too."""
    asked = visit.query.get("actor", "").strip()[:200]
    if asked and asked != visit.person.name and not visit.may("lead"):
        return visit.sorry(403, "Not allowed", "Only a lead sees the answers of others here.")
    actor = asked or visit.person.name
    acts, after = visit.book.acts(actor=actor, after=visit.query.get("after") or None, limit=ROWS)
    everyone = visit.book.answered()
    shown = [one for one in everyone if visit.may("lead") or one.actor in (None, visit.person.name)]
    return visit.render(
        "answers.html", actor=actor, acts=acts, after=after, statistics=shown, hidden=_entities(acts)
    )


def audit(visit: Visit) -> Response:
    """Show who did what and when."""
    asked = _asked(visit)
    acts, after = _acts(visit, asked, visit.query.get("after") or None, ROWS)
    return visit.render("audit.html", acts=acts, after=after, asked=asked, hidden=_entities(acts))


def audit_csv(visit: Visit) -> Response:
    """Export the audit. Cells that a spreadsheet would run are texts."""
    asked = _asked(visit)
    hidden = visit.person.role in visit.console.masked
    headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
    return StreamingResponse(
        _lines(visit, asked, hidden), media_type="text/csv; charset=utf-8", headers=headers
    )


def _asked(visit: Visit) -> dict[str, str]:
    return {name: visit.query.get(name, "").strip()[:300] for name in ("actor", "case", "entity")}


def _acts(
    visit: Visit, asked: dict[str, str], after: str | None, limit: int
) -> tuple[Sequence[Act], str | None]:
    return visit.book.acts(
        actor=asked["actor"] or None,
        case_id=asked["case"] or None,
        entity=asked["entity"] or None,
        after=after,
        limit=limit,
    )


def _lines(visit: Visit, asked: dict[str, str], hidden: bool) -> Iterator[str]:
    yield _line(COLUMNS)
    after: str | None = None
    for _ in range(EXPORT_MAX // EXPORTED_AT_ONCE):
        acts, after = _acts(visit, asked, after, EXPORTED_AT_ONCE)
        for act in acts:
            entity = "…" if hidden and act.entity else act.entity
            named = [iso(act.time_s), act.actor, act.kind, act.case_id, act.alert_id, act.event_id, entity]
            detail = [act.detail.get(name) for name in DETAIL]
            yield _line([*named, *detail, act.status, act.outcome, act.text, act.feedback_id])
        if after is None:
            return


def _line(values: Sequence[object]) -> str:
    written = io.StringIO()
    csv.writer(written).writerow([cell(value) for value in values])
    return written.getvalue()


def _entities(acts: Sequence[Act]) -> list[str]:
    return [act.entity for act in acts if act.entity]
