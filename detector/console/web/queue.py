"""The queue of cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from starlette.responses import JSONResponse, Response

from detector.console import filters
from detector.console.views import Filter, Row
from detector.console.web.acts import CLOSED, LEGITIMATE, snooze_choices
from detector.console.web.visit import Visit
from detector.core.alerts.severity import SEVERITIES

ROWS = 50  # of one page
COLUMNS = (("sum", "At risk"), ("severity", "Severity"), ("time", "Last event"), ("events", "Events"))


def queue(visit: Visit) -> Response:
    """Show a page of the queue."""
    asked = _asked(visit.query)
    after = visit.query.get("after") or None
    found = visit.book.queue(asked, after=after, limit=ROWS)
    return visit.render(
        "queue.html",
        page=found,
        asked=asked,
        after=after,
        query=filters.write(asked),
        choices=visit.book.choices(),
        columns=COLUMNS,
        views=_views(visit),
        severities=SEVERITIES,
        legitimate=LEGITIMATE,
        closed=CLOSED,
        snoozes=snooze_choices(visit),
        bulk_max=visit.bulk_max,
        filtered=_filtered(asked),
        hidden=values_of(found.rows),
    )


def _asked(query: Mapping[str, str]) -> Filter:
    """Read the address. Its form says `who`, as an empty `assignee` is nobody: - nobody, =NAME somebody."""
    who = query.get("who", "")
    asked = filters.read(query)
    if who.startswith("="):
        return replace(asked, assignee=who[1:201])
    return replace(asked, assignee="") if who == "-" else asked


def fresh(visit: Visit) -> Response:
    """Tell the script whether anything changed."""
    number, age_s = visit.book.fresh()
    return JSONResponse({"number": number, "age_s": round(age_s, 1)})


def values_of(rows: Iterable[Row]) -> list[str]:
    """Give the entities' values that rows show."""
    return [row.entity[1] for row in rows if row.entity]


def _views(visit: Visit) -> list[tuple[str, Filter]]:
    """Give the queues that most people want."""
    return [
        ("Open", Filter()),
        ("Mine", Filter(assignee=visit.person.name)),
        ("Nobody's", Filter(assignee="")),
        ("Critical", Filter(severity=len(SEVERITIES) - 1)),
        ("Snoozed", Filter(states=("snoozed",))),
        ("Answered", Filter(states=("answered", "closed"), order="time")),
    ]


def _filtered(asked: Filter) -> bool:
    """Whether more than the state and the order are asked for."""
    plain = Filter(states=asked.states, order=asked.order, descending=asked.descending)
    return asked != plain
