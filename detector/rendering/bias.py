"""The report as one HTML page: inline SVG, no script, nothing is fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import log
from typing import Any

from detector.fairness.gathered import MISSING
from detector.fairness.report import FAIR, LEVEL, sentences
from detector.rendering.pages import document, table

WIDTH, ROW, LEFT, RIGHT = 720, 24, 220, 110
LEAST, MOST = 0.25, 4.0  # ratios beyond are drawn at the edge
COLOUR, FLAGGED = "#0072B2", "#D55E00"  # Okabe and Ito (2008); what is flagged also has another shape
_STYLE = (
    "svg{max-width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:#333}"
    "td,th{padding:2px 14px 2px 0;text-align:right}td:first-child,th:first-child{text-align:left}"
    ".flagged{font-weight:600}"
)
_TITLES = {
    "alerts": "Alert rate, against that of all",
    "false_alarms": "False alarms among answered alerts, against those of all",
}


def page(made: Mapping[str, Any]) -> str:
    """Render what `report` returns."""
    said = "".join(f"<li>{escape(text)}</li>" for text in sentences(made))
    cautions = "".join(f"<li>{escape(text)}</li>" for text in made["cautions"])
    left_out = f" {made['left_out']:,} more were left out." if made["left_out"] else ""
    return document(
        "Segments",
        "How segments are treated",
        f"<p>{made['events']:,} events, {made['alerts']:,} alerts, {made['answered']:,} of them answered."
        f"{left_out} Segments are no input of the model. Lines are 95 % intervals; events of one entity "
        f"count together. A group is flagged if its ratio is outside {FAIR[0]:g} to {FAIR[1]:g} and stands "
        f"out among all comparisons (false discovery rate {LEVEL:g}).</p><ul>{said}</ul>"
        f"{''.join(map(_field, made['fields']))}"
        f"<h2>What may not be concluded</h2><ul>{cautions}</ul>",
        _STYLE,
    )


def _field(one: Mapping[str, Any]) -> str:
    parts = [f"<h2>{escape(one['field'])}</h2>"]
    for kind, title in _TITLES.items():
        if one[kind]:
            parts += [f"<h3>{title}</h3>", _plot(title, one[kind]), _rates(one[kind])]
    parts += ["<h3>Scores</h3>", _scores(one["scores"]), "<h3>Inputs that tell the segment</h3>"]
    told = [(name, f"{value:.2f}") for name, value in one["proxies"].items()]
    parts.append(table(("input", "AUC"), told) if told else "<p>None does better than .60 (AUC).</p>")
    return "".join(parts)


def _rates(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ("group", "entities", "events", "hits", "rate", "ratio", "from", "to", "corrected p", "")
    lines = [
        (
            _name(row), f"{row['entities']:,}", f"{row['trials']:,}", f"{row['hits']:,}",
            f"{row['rate']:.3%}",
            f"{row['ratio']:.2f}", f"{row['low']:.2f}", "" if row["high"] is None else f"{row['high']:.2f}",
            f"{row['q']:.3f}", "flagged" if row["flagged"] else "",
        )
        for row in rows
    ]  # fmt: skip
    return table(head, lines, {at for at, row in enumerate(rows) if row["flagged"]})


def _scores(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(rows[0]["quantiles"]) if rows else []
    lines = [
        (
            _name(row),
            *(f"{row['quantiles'][name]:.3f}" for name in names if name in row["quantiles"]),
            "" if row["threshold"] is None else f"{row['threshold']:.3f}",
        )
        for row in rows
    ]
    return table(("group", *(f"quantile {name}" for name in names), "threshold of its own"), lines)


def _plot(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Ratios with their intervals, on a logarithmic axis."""
    height = ROW * (len(rows) + 2)
    shapes = [
        f'<rect x="{_x(FAIR[0]):.1f}" y="0" width="{_x(FAIR[1]) - _x(FAIR[0]):.1f}" height="{height - ROW}" '
        'fill="#eee"/>',
        f'<line x1="{_x(1.0):.1f}" x2="{_x(1.0):.1f}" y1="0" y2="{height - ROW}" stroke="#999"/>',
        *(
            f'<text x="{_x(tick):.1f}" y="{height - 6}" text-anchor="middle">{tick:g}</text>'
            for tick in (0.25, 0.5, 1.0, 2.0, 4.0)
        ),
    ]
    for at, row in enumerate(rows):
        y, colour = ROW * (at + 1), FLAGGED if row["flagged"] else COLOUR
        low, high = _x(row["low"]), _x(MOST if row["high"] is None else row["high"])
        middle = _x(row["ratio"])
        mark = (
            f'<rect x="{middle - 5:.1f}" y="{y - 5}" width="10" height="10" fill="{colour}"/>'
            if row["flagged"]
            else f'<circle cx="{middle:.1f}" cy="{y}" r="4" fill="{colour}"/>'
        )
        said = f"{row['ratio']:.2f}" + (" flagged" if row["flagged"] else "")
        shapes += [
            f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(_name(row)[:32])}</text>',
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>',
            mark,
            f'<text x="{WIDTH - RIGHT + 10}" y="{y + 4}">{said}</text>',
        ]
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">{"".join(shapes)}</svg>'
    )


def _x(ratio: float) -> float:
    inside = min(max(ratio, LEAST), MOST)
    return LEFT + (WIDTH - LEFT - RIGHT) * log(inside / LEAST) / log(MOST / LEAST)


def _name(row: Mapping[str, Any]) -> str:
    return "(missing)" if row["group"] == MISSING else str(row["group"])
