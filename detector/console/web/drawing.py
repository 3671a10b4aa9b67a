"""Drawings as SVG: attributes and classes alone, as the content security policy forbids styles in a page.

Each says in words what it shows; the page has the same numbers in a table beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from detector.console.web.addresses import case_path
from detector.console.web.text import iso, number, seen

NODES_MAX = 40  # cases in a graph
_RANGE_WIDTH, _RANGE_HEIGHT = 360, 46
_TIME_WIDTH, _TIME_HEIGHT = 720, 220


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """An event on the timeline."""

    time_s: float
    amount: float
    kind: str  # earlier, held (back), or alert
    name: str


@dataclass(frozen=True, slots=True)
class _Scale:
    """A linear scale, or one in signed logarithms, from values to places."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool

    def __call__(self, value: float) -> float:
        low, high, inner = (self._bent(v) for v in (self.low, self.high, value))
        share = (inner - low) / (high - low) if high > low else 0.5
        return round(self.start + min(max(share, 0.0), 1.0) * (self.end - self.start), 1)

    def _bent(self, value: float) -> float:
        return math.copysign(math.log1p(abs(value)), value) if self.logarithmic else value


def _scale(values: Sequence[float], start: float, end: float) -> _Scale:
    low, high = min(values), max(values)
    sizes = sorted(abs(v) for v in values if v)
    far = len(sizes) > 1 and sizes[-1] > 30 * sizes[len(sizes) // 2]
    return _Scale(low, high, start, end, far)


def expected_range(
    observed: float, expected: float | None, usual: Sequence[float] | None, unit: str | None
) -> Markup:
    """Draw what is usual as a bar, what is expected as a line, and what was observed as a mark."""
    known = [observed, *([] if expected is None else [expected]), *(usual or ())]
    known = [value for value in known if math.isfinite(value)]
    if len(known) < 2 or not math.isfinite(observed):
        return Markup("")
    at = _scale(known, 14, _RANGE_WIDTH - 14)
    said = f"observed {number(observed)}"
    parts = [Markup('<line class="axis" x1="6" x2="{}" y1="20" y2="20"/>').format(_RANGE_WIDTH - 6)]
    if usual is not None:
        low, high = at(usual[0]), at(usual[1])
        said += f", usual {number(usual[0])} to {number(usual[1])}"
        parts.append(
            Markup('<rect class="usual" x="{}" y="13" width="{}" height="14" rx="2"/>').format(
                low, max(round(high - low, 1), 3)
            )
        )
    if expected is not None and math.isfinite(expected):
        said += f", expected {number(expected)}"
        parts.append(Markup('<line class="expected" x1="{0}" x2="{0}" y1="9" y2="31"/>').format(at(expected)))
    x = at(observed)
    parts.append(Markup('<path class="observed" d="M{} 20 l7 -8 l7 8 l-7 8 z"/>').format(x - 7))
    anchor = "start" if x < _RANGE_WIDTH / 3 else "end" if x > _RANGE_WIDTH * 2 / 3 else "middle"
    label = f"{number(observed)} {unit or ''}".strip()
    parts.append(_text(label, x, 43, anchor, "label strong"))
    if usual is not None:
        middle = (at(usual[0]) + at(usual[1])) / 2
        if abs(middle - x) > 150:
            end = (
                "start" if middle < _RANGE_WIDTH / 3 else "end" if middle > _RANGE_WIDTH * 2 / 3 else "middle"
            )
            parts.append(
                _text(f"usual {number(usual[0])} to {number(usual[1])}", at(usual[0]), 43, end, "label")
            )
    if at.logarithmic:
        said += ", logarithmic"
    return picture(_RANGE_WIDTH, _RANGE_HEIGHT, f"{said} {unit or ''}".strip(), parts, "range")


def timeline(points: Sequence[Point], usual: Sequence[float] | None, unit: str | None) -> Markup:
    """Draw amounts over time: earlier events as dots, alerts as diamonds, the usual amounts as a band."""
    points = [p for p in points if math.isfinite(p.amount) and math.isfinite(p.time_s)]
    if not points:
        return Markup("")
    left, right, top, bottom = 78, _TIME_WIDTH - 16, 14, _TIME_HEIGHT - 34
    x = _Scale(min(p.time_s for p in points), max(p.time_s for p in points), left + 10, right - 10, False)
    y = _scale([0.0, *(p.amount for p in points), *(usual or ())], bottom, top)
    parts = [
        Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(left, right, bottom, bottom)
    ]
    if usual is not None:
        low, high = y(usual[0]), y(usual[1])
        parts.append(
            Markup('<rect class="usual" x="{}" y="{}" width="{}" height="{}"/>').format(
                left, high, right - left, max(round(low - high, 1), 2)
            )
        )
    for value in _ticks(y):
        at = y(value)
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(left, right, at, at)
        )
        parts.append(_text(number(value, 4), left - 6, at + 4, "end", "label"))
    for point in sorted(points, key=lambda p: p.kind == "alert"):
        parts.append(_mark(point, x(point.time_s), y(point.amount), unit))
    ends = {x.low: "start", x.high: "end"}
    for time_s, anchor in ends.items():
        written = iso(time_s)
        place = left if anchor == "start" else right
        shown = f"{written[:10]} {written[11:16]}"
        parts.append(
            Markup('<text class="label" x="{}" y="{}" text-anchor="{}" data-time="{}">{}</text>').format(
                place, _TIME_HEIGHT - 12, anchor, written, shown
            )
        )
    alerts = sum(p.kind == "alert" for p in points)
    said = f"{len(points)} events over time, {alerts} of them alerted, amounts from "
    said += f"{number(min(p.amount for p in points))} to {number(max(p.amount for p in points))} {unit or ''}"
    return picture(_TIME_WIDTH, _TIME_HEIGHT, said.strip(), parts, "timeline")


def _ticks(scale: _Scale) -> list[float]:
    """Up to five round values, that do not stand on each other."""
    if scale.logarithmic:
        found = [0.0] if scale.low <= 0 else []
        found += [10.0**n for n in range(0, 16) if scale.low <= 10.0**n <= scale.high]
    else:
        step = 10 ** math.floor(math.log10(max(scale.high - scale.low, 1e-9)))
        step *= 1 if (scale.high - scale.low) / step <= 4 else 2.5
        found = [step * n for n in range(math.ceil(scale.low / step), math.floor(scale.high / step) + 1)]
    kept: list[float] = []
    for value in found:
        if all(abs(scale(value) - scale(other)) >= 18 for other in kept):
            kept.append(value)
    return kept[:6]


def _mark(point: Point, x: float, y: float, unit: str | None) -> Markup:
    title = Markup("<title>{}</title>").format(
        seen(f"{iso(point.time_s)}: {number(point.amount)} {unit or ''} {point.name}", 200)
    )
    if point.kind == "alert":
        return Markup('<path class="alerted" d="M{} {} l7 -8 l7 8 l-7 8 z">{}</path>').format(x - 7, y, title)
    shape = "held" if point.kind == "held" else "earlier"
    return Markup('<circle class="{}" cx="{}" cy="{}" r="4.5">{}</circle>').format(shape, x, y, title)


def graph(
    centre: str, links: Sequence[tuple[str, str]], names: Mapping[str, str], answers: Mapping[str, str | None]
) -> Markup:
    """Draw cases and what links them: this one in the middle, those one and two steps away around it."""
    steps = {centre: 0}
    for step in (1, 2):
        for a, b in links:
            for here, there in ((a, b), (b, a)):
                if steps.get(here) == step - 1 and there not in steps and len(steps) < NODES_MAX:
                    steps[there] = step
    if len(steps) == 1:
        return Markup("")
    places = _rings(centre, steps)
    parts = [
        Markup('<line class="link" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(*places[a], *places[b])
        for a, b in links
        if a in places and b in places
    ]
    for id_, (x, y) in places.items():
        answer = answers.get(id_)
        kind = (
            "node here"
            if id_ == centre
            else f"node {answer}"
            if answer in ("fraud", "legitimate")
            else "node"
        )
        sign = {"fraud": "F", "legitimate": "L"}.get(answer or "", "")
        dot = Markup('<circle class="{}" cx="{}" cy="{}" r="11"/>').format(kind, x, y)
        dot += _text(sign, x, y + 4, "middle", "sign") + _text(
            names.get(id_, id_), x, y + 26, "middle", "label"
        )

        parts.append(Markup('<a href="{}">{}</a>').format(case_path(id_), dot))
    said = f"this case and {len(steps) - 1} linked ones; F: answered fraud, L: answered legitimate"
    width, height = (round(max(place[axis] for place in places.values()) + 60) for axis in (0, 1))
    return picture(width, height - 20, said, parts, "graph", role="group")


def _rings(centre: str, steps: Mapping[str, int]) -> dict[str, tuple[float, float]]:
    """Place cases on rings around the first one; no wider than they are many."""
    radius = dict.fromkeys((0, 1, 2), 0.0)
    for step in (1, 2):
        many = sum(far == step for far in steps.values())
        radius[step] = radius[step - 1] + (max(70.0, many * 14.0) if many else 0.0)
    middle_x, middle_y = 1.5 * radius[2] + 60, radius[2] + 24
    places = {centre: (round(middle_x, 1), round(middle_y, 1))}
    for step in (1, 2):
        ring = sorted(id_ for id_, far in steps.items() if far == step)
        for at, id_ in enumerate(ring):
            angle = 2 * math.pi * (at / len(ring) + 0.06 * step)
            x, y = middle_x + 1.5 * radius[step] * math.cos(angle), middle_y + radius[step] * math.sin(angle)
            places[id_] = round(x, 1), round(y, 1)
    return places


def _text(text: str, x: float, y: float, anchor: str, kind: str) -> Markup:
    shown = seen(text, 28)
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, shown
    )


def picture(
    width: int, height: int, said: str, parts: Sequence[Markup], kind: str, role: str = "img"
) -> Markup:
    """Put a drawing together; `said` tells it to those who do not see it."""
    return Markup(
        '<svg class="{}" role="{}" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">{}</svg>'
    ).format(kind, role, escape(seen(said)), width, height, width, height, Markup("").join(parts))
