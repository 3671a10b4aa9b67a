"""The generated parts of `docs/reference/metrics.md`, and the formula of the number of series."""

from __future__ import annotations

from detector.shell.metrics.bounds import (
    PARTITIONS,
    SYMBOLS,
    Terms,
    bounds_of,
    formula_text,
    series_max,
    terms,
)
from detector.shell.metrics.table import INFOS, METRICS


def formula() -> Terms:
    """The most series of a process; see `bounds.series_max`."""
    return terms(METRICS, len(INFOS))


def markdown_table() -> str:
    """The table of all metrics for `docs/reference/metrics.md`."""
    rows = [
        (metric.name, metric.kind, metric.labels, metric.unit, metric.help, metric.alert)
        for metric in METRICS
    ]
    rows += [(info.name, "gauge", info.labels, "", info.help, info.alert) for info in INFOS]
    lines = [
        f"| `{name}` | {kind} | {', '.join(labels)} | {unit} | {help_} | {alert} |"
        for name, kind, labels, unit, help_, alert in rows
    ]
    return "\n".join(
        ["| name | type | labels | unit | meaning | alert when |", "|---|---|---|---|---|---|", *lines]
    )


def bounds_table() -> str:
    """The formula of the number of series, and what bounds each label, for the same page."""
    lines = [f"    series <= {formula_text(formula())}", "", "| letter | number of |", "|---|---|"]
    lines += [f"| {bound.symbol} | {bound.source} |" for bound in SYMBOLS]
    most = series_max(formula(), {"P": 64, "F": 64, "E": 3, "O": 320, "T": 3})
    lines += [
        "",
        f"With 64 partitions, 64 fields (3 of them entities) and five output topics: {most:,}.",
    ]
    lines += ["", "| metric | label | values |", "|---|---|---|"]
    for metric in METRICS:
        for label, bound in bounds_of(metric).items():
            if bound.values:
                lines.append(f"| `{metric.name}` | {label} | {bound.source} |")
            elif bound is not PARTITIONS:
                lines.append(f"| `{metric.name}` | {label} | {bound.source} ({bound.symbol}) |")
    return "\n".join(lines)
