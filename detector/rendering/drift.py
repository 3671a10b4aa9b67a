"""The report on drift as one HTML page: inline SVG, no script, nothing is fetched.

Colours are those of Okabe and Ito (2008), which are told apart by people who see colours otherwise; lines and
bars also differ in shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from detector.rendering.pages import document, table

NOW, USUAL, LIMIT = "#0072B2", "#E69F00", "#000000"
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 480, 160, 42, 24, 24
_STYLE = (
    "svg{margin-right:16px}text{font:11px system-ui,sans-serif;fill:#333}"
    "td,th{padding:2px 12px 2px 0;text-align:left}.drift{font-weight:600}"
)


def page(report: Mapping[str, Any]) -> str:
    """Render what `drift_report` returns."""
    parts = "".join(_partition(part, report["bins"]) for part in report["partitions"])
    return document(
        "Drift",
        "Drift",
        f"<p>From {escape(report['made_from'])}. Each window of events is compared with what is usual "
        "at the same hours of the week. A field drifts where its index (PSI) is above the limit in two "
        f"windows.</p>{parts}",
        _STYLE,
    )


def _partition(part: Mapping[str, Any], bins: Sequence[str]) -> str:
    sentences = "".join(f'<li class="drift">{escape(text)}</li>' for text in part["sentences"])
    parts = [
        f"<h2>Partition {part['partition']}, {escape(part['time'])}</h2>",
        f"<ul>{sentences}</ul>" if sentences else "<p>Nothing drifts.</p>",
        *(_field(one, bins) for one in part["fields"]),
        _table("New entities and contacts", ("", "now", "usual"), _new_rows(part)),
        _table("Embedding", ("measure", "value"), _rows(part["embedding"])),
        _table("Labels", ("measure", "value"), _rows(part["labels"])),
        _table("Precision of alerts", ("severity", "share of frauds"), _rows(part["precision"])),
    ]
    return "".join(parts)


def _new_rows(part: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (f"{one['entity']} ({one['kind']})", f"{one['current']:.2%}", f"{one['usual']:.2%}")
        for one in part["new"]
    ]


def _rows(values: Mapping[str, float]) -> list[tuple[str, ...]]:
    return [(name, f"{value:.4g}") for name, value in values.items()]


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return f"<h3>{escape(title)}</h3>{table(head, rows)}" if rows else ""


def _field(one: Mapping[str, Any], bins: Sequence[str]) -> str:
    limit = "not known yet" if one["threshold"] is None else f"{one['threshold']:g}"
    said = f"PSI {one['psi']:g}, limit {limit}, {one['weight'] or 0.0:.0%} of the change in alerts"
    since = f', <span class="drift">drifts since {escape(one["since"])}</span>' if one["since"] else ""
    bars = _bars(one["usual"], one["current"], bins) if one["usual"] else ""
    return f"<h3>{escape(one['field'])}</h3><div>{said}{since}</div>{_line(one['hours'])}{bars}"


def _frame(title: str, shapes: Sequence[str], top: float) -> str:
    """A plot with its vertical axis from 0 to `top`."""
    ticks = "".join(
        f'<text x="{LEFT - 4}" y="{_y(share * top, top) + 4:.1f}" text-anchor="end">{share * top:.2g}</text>'
        for share in (0.0, 0.5, 1.0)
    )
    axis = f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - 4}" fill="none" stroke="#999"/>'
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{axis}{ticks}{''.join(shapes)}</svg>"
    )


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - min(value / top, 1.0) * (HEIGHT - BOTTOM - TOP)


def _line(hours: Sequence[Sequence[Any]]) -> str:
    """The index by the hour, and its limit."""
    if not hours:
        return ""
    known = [value for _, *values in hours for value in values if value is not None]
    top, step = max(known, default=1.0) * 1.05 or 1.0, (WIDTH - LEFT - 8) / max(len(hours) - 1, 1)
    shapes = []
    for column, colour, dash in ((1, NOW, ""), (2, LIMIT, ' stroke-dasharray="5 4"')):
        points = [(LEFT + n * step, one[column]) for n, one in enumerate(hours) if one[column] is not None]
        path = " ".join(f"{x:.1f},{_y(value, top):.1f}" for x, value in points)
        shapes.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>')
    first, last = escape(hours[0][0][:16]), escape(hours[-1][0][:16])
    shapes.append(f'<text x="{LEFT}" y="{HEIGHT - 8}">{first}</text>')
    shapes.append(f'<text x="{WIDTH - 4}" y="{HEIGHT - 8}" text-anchor="end">{last}</text>')
    shapes.append(f'<text x="{LEFT + 6}" y="16">PSI by the hour (line), limit (dashes)</text>')
    return _frame("PSI by the hour, and its limit", shapes, top)


def _bars(usual: Sequence[float], current: Sequence[float], bins: Sequence[str]) -> str:
    """Shares of events by bin, now and usually."""
    total = max(sum(current), 1.0)
    top = max(*usual, *current, 1.0) / total * 1.05
    width = (WIDTH - LEFT - 8) / len(bins)
    shapes = []
    for n, name in enumerate(bins):
        x = LEFT + 3 + n * width
        for value, shift, look in (
            (usual[n] / total, 0.0, f'fill="none" stroke="{USUAL}" stroke-width="2"'),
            (current[n] / total, 0.45, f'fill="{NOW}"'),
        ):
            y = _y(value, top)
            shapes.append(
                f'<rect x="{x + shift * width:.1f}" y="{y:.1f}" width="{0.4 * width:.1f}" '
                f'height="{HEIGHT - BOTTOM - y:.1f}" {look}><title>{escape(name)}: {value:.2%}</title></rect>'
            )
        shapes.append(f'<text x="{x}" y="{HEIGHT - 8}" style="font-size:9px">{escape(name)}</text>')
    shapes.append(f'<text x="{LEFT + 6}" y="16">share by bin: usual (outline), now (filled)</text>')
    return _frame("Share of events by bin, usually and now", shapes, top)
