"""A case on the map of the embedding: where its alerts lie among normal and other unusual events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from starlette.responses import Response

from detector.console import filters
from detector.console.views import CaseView, EmbeddingPicture
from detector.console.web.drawing import picture
from detector.console.web.queue import values_of
from detector.console.web.text import number
from detector.console.web.visit import Visit

WIDTH, HEIGHT, EDGE = 720, 480, 24
RADIUS_MIN, RADIUS_MAX = 2.5, 15.0
DOTS_MAX = 400  # of other alerts, and as many frauds: more would hide each other
LABELS_MAX = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class OnMap:
    """An alert of the case."""

    id: str
    time: str
    number: int  # on the map, from 1; 0: it is not there


def of_case(visit: Visit) -> Response:
    """Show the alerts of a case on the map of their partition."""
    id_, asked = visit.request.path_params["id"], filters.read(visit.query.get("queue") or "")
    view = visit.book.case(id_)
    if view is None or not view.alerts:
        return visit.sorry(404, "No such case", "It may be older than what the console keeps, or erased.")
    partition = int(view.alerts[0].body["source"]["partition"])
    if visit.console.maps is None:
        shown = EmbeddingPicture(
            why="No map is drawn here. The setting console.map_every says how often it may be."
        )
    else:
        shown = visit.console.maps(partition)
    alerts = _on_map(view, partition, shown)
    return visit.render(
        "map.html",
        view=view,
        row=view.row,
        query=filters.write(asked),
        partition=partition,
        shown=shown,
        alerts=alerts,
        drawn=draw(shown, _places(view, partition)) if shown.clusters else "",
        hidden=values_of([view.row]),
    )


def _places(view: CaseView, partition: int) -> list[int]:
    """Offsets of the case's alerts, the oldest first."""
    sources = [alert.body["source"] for alert in reversed(view.alerts)]
    return [int(source["offset"]) for source in sources if source["partition"] == partition]


def _on_map(view: CaseView, partition: int, shown: EmbeddingPicture) -> list[OnMap]:
    numbers = {offset: n for n, offset in enumerate(_there(_places(view, partition), shown), start=1)}
    return [
        OnMap(
            id=alert.id,
            time=str(alert.body.get("event_time")),
            number=numbers.get(int(alert.body["source"]["offset"]), 0),
        )
        for alert in reversed(view.alerts)
    ]


def _there(offsets: Sequence[int], shown: EmbeddingPicture) -> list[int]:
    return [offset for offset in offsets if offset in shown.alerts or offset in shown.frauds]


def draw(shown: EmbeddingPicture, offsets: Sequence[int]) -> Markup:
    """Draw a map: clusters as circles by size and age, others' alerts and frauds as marks, the case's own by
    numbers.
    """
    frame = _Frame([(one.x, one.y) for one in shown.clusters])
    most = max(one.events for one in shown.clusters)
    parts = []
    for one in sorted(shown.clusters, key=lambda spot: -spot.events):
        radius = RADIUS_MIN + (RADIUS_MAX - RADIUS_MIN) * math.sqrt(one.events / most)
        parts.append(
            Markup(
                '<circle class="cluster a{}" cx="{}" cy="{}" r="{}"><title>{} normal events</title></circle>'
            ).format(one.rank, *frame(one.x, one.y), round(radius, 1), number(one.events))
        )
    own = _there(offsets, shown)
    parts += _marks(frame, shown.alerts, own, "M{} {}m-4 0h8m-4 -4v8", "other")
    parts += _marks(frame, shown.frauds, own, "M{} {}m-4 -4l8 8m0 -8l-8 8", "confirmed")
    for n, offset in reversed(list(enumerate(own, start=1))):
        x, y = frame(*(shown.alerts.get(offset) or shown.frauds[offset]))
        parts.append(Markup('<path class="alerted" d="M{} {}m-9 0l9 -10l9 10l-9 10z"/>').format(x, y))
        if n <= LABELS_MAX:
            parts.append(
                Markup('<text class="label strong" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                    x, y - 14, n
                )
            )
    said = (
        f"{len(shown.clusters)} groups of normal events, {len(shown.alerts)} alerts, {len(own)} of this case"
    )
    return picture(WIDTH, HEIGHT, said, parts, "map")


def _marks(
    frame: _Frame, dots: Mapping[int, tuple[float, float]], own: Sequence[int], shape: str, kind: str
) -> list[Markup]:
    others = [place for offset, place in sorted(dots.items(), reverse=True) if offset not in own]
    made = (shape.format(*frame(*place)) for place in others[:DOTS_MAX])
    return [Markup('<path class="{}" d="{}"/>').format(kind, path) for path in made]


class _Frame:
    """Where a point of the plane is drawn. One unit is as long in both directions; what lies far outside of
    the clusters is at the edge.
    """

    def __init__(self, places: Sequence[tuple[float, float]]) -> None:
        lows, highs = ([pick(place[axis] for place in places) for axis in (0, 1)] for pick in (min, max))
        extent = max(high - low for low, high in zip(lows, highs, strict=True)) or 1.0
        self._middle = [(low + high) / 2 for low, high in zip(lows, highs, strict=True)]
        self._scale = min((WIDTH - 2 * EDGE) / (1.5 * extent), (HEIGHT - 2 * EDGE) / (1.2 * extent))

    def __call__(self, x: float, y: float) -> tuple[float, float]:
        right = WIDTH / 2 + (x - self._middle[0]) * self._scale
        down = HEIGHT / 2 - (y - self._middle[1]) * self._scale
        return (
            round(min(max(right, EDGE), WIDTH - EDGE), 1),
            round(min(max(down, EDGE), HEIGHT - EDGE), 1),
        )
