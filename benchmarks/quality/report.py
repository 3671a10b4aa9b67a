"""Rows to tables and files.

A row is one run: a detector on one stream. Rows of the same stream name, detector, columns, labels and
partitions are averaged over its instances (seeds, orders); the spread of the AP is their standard deviation.
A gap to the service's AP without labels that is within the wider of the two spreads is called a tie.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.quality.judge import BUDGETS, OWN
from benchmarks.quality.metrics import FloatArray

OURS = "detector"
KEY = ("stream", "detector", "columns", "labels", "partitions")

Row = dict[str, Any]
"""KEY, instance, config, note, failure, and figures by name."""

_RANKING = {
    "auc": "AUC",
    "precision 0.1%": "P .1%",
    "recall 0.1%": "R .1%",
    "precision 1%": "P 1%",
    "recall 1%": "R 1%",
    "cp@100": "CP@100",
}
_EFFECT = {
    "amount caught": "amount",
    "recall of 1": "kind 1",
    "recall of 2": "kind 2",
    "recall of 3": "kind 3",
    "cards found": "cards found",
    "transactions to alert": "transactions",
    "hours to alert": "hours",
    "false per caught": "false per caught",
}
_ALERTS = {
    "alerts": "alerts",
    "precision_of_alerts": "precision",
    "recall_of_alerts": "recall",
    **{f"{OWN}{name}": words for name, words in _EFFECT.items()},
}
_SERVICE = {
    "budget q5": "budget 5 %",
    "budget q50": "median",
    "budget q95": "95 %",
    "accepted above .99": "above .99",
}


def summarise(rows: Sequence[Row]) -> list[Row]:
    """Average rows over instances, in the order in which they first occur."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in KEY), []).append(row)
    return [_averaged(group) for group in groups.values()]


def add_verdicts(summary: Sequence[Row]) -> None:
    """Say of each row whether its AP is ahead of the service's without labels, behind it, or tied."""
    ours = {row["stream"]: row for row in reversed(summary) if _is_base(row)}
    for row in summary:
        base = ours.get(row["stream"])
        if base is not None and base is not row and "ap" in row and "ap" in base:
            row["verdict"] = verdict(row["ap"], row["ap spread"], base["ap"], base["ap spread"])
            row["time of ours"] = row["us per event"] / base["us per event"]


def verdict(value: float, spread: float, base: float, base_spread: float) -> str:
    """Compare two means; spreads are NaN where there was one run, and then there are no ties but equality."""
    gap = value - base
    spreads = [s for s in (spread, base_spread) if not math.isnan(s)]
    if abs(gap) <= max(spreads, default=0.0):
        return "tie"
    return "ahead" if gap > 0 else "behind"


def show(console: Console, summary: Sequence[Row]) -> None:
    """Print the tables, stream by stream."""
    for stream in dict.fromkeys(row["stream"] for row in summary):
        rows = [row for row in summary if row["stream"] == stream]
        first = next((row for row in rows if "events" in row), {})
        events, anomalies = first.get("events", 0), first.get("anomalies", 0)
        title = f"{stream}: {events:,.0f} judged events, {anomalies:,.0f} anomalous"
        if len(first.get("instances", [])) > 1:
            title += f"; mean of {', '.join(first['instances'])}"
        names = ["AP", "+-", "to ours", *_RANKING.values(), "us/event", "note"]
        ranking = _table(f"{title}\nranking", names)
        for row in rows:
            cells = [
                _number(row.get("ap")),
                _number(row.get("ap spread")),
                row.get("verdict", ""),
                *(_number(row.get(name)) for name in _RANKING),
                _number(row.get("us per event"), 0),
                row["failure"] or row["note"],
            ]
            ranking.add_row(*_head(row), *cells)
        console.print(ranking)
        _show_part(console, f"the highest {BUDGETS[-1]:.0%} of scores", rows, _EFFECT)
        ours = [row for row in rows if row["detector"] == OURS]
        _show_part(console, "the service's own alerts", ours, _ALERTS)
        _show_part(console, f"alerts over the budget, per {_windows(ours)}; calibration", ours, _SERVICE)


def write(folder: Path, rows: Sequence[Row], summary: Sequence[Row], about: Mapping[str, Any]) -> None:
    """Write runs.csv, summary.csv and results.json, which holds both and what they were measured on."""
    for name, table in (("runs", rows), ("summary", summary)):
        fields = list(dict.fromkeys(field for row in table for field in row))
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fields, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
    document = _plain({"about": about, "summary": summary, "runs": rows})
    (folder / "results.json").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


# --- leaves ----------------------------------------------------------------------------------------------


def _is_base(row: Row) -> bool:
    return bool(row["detector"] == OURS and row["labels"] == "none" and row["partitions"] == 1)


def _averaged(group: Sequence[Row]) -> Row:
    good = [row for row in group if not row["failure"]]
    notes = dict.fromkeys(row["note"] for row in group if row["note"])
    failures = dict.fromkeys(f"{row['instance']}: {row['failure']}" for row in group if row["failure"])
    out: Row = {name: group[0][name] for name in KEY}
    out |= {"instances": [row["instance"] for row in good], "failure": "; ".join(failures)}
    out["note"] = next(iter(notes), "") if len(notes) < 2 else "notes differ, see runs.csv"
    fields = dict.fromkeys(
        f for row in good for f in row if isinstance(row[f], (int, float)) and f not in KEY
    )
    for name in fields:
        values = np.array([row.get(name, math.nan) for row in good], dtype=float)
        out[name] = _mean(values)
        if name == "ap":
            out["ap spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    if windows := _windows(good):
        out["budget window"] = windows
    return out


def _mean(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _show_part(console: Console, title: str, rows: Iterable[Row], names: Mapping[str, str]) -> None:
    rows = [row for row in rows if "ap" in row]
    there = [name for name in names if any(name in row for row in rows)]
    if not there:
        return
    table = _table(title, [names[name] for name in there])
    for row in rows:
        table.add_row(*_head(row), *(_number(row.get(name)) for name in there))
    console.print(table)


def _windows(rows: Iterable[Row]) -> str:
    return ", ".join(dict.fromkeys(row["budget window"] for row in rows if "budget window" in row))


def _table(title: str, names: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("detector", "columns", "labels"):
        table.add_column(name)
    for name in names:
        table.add_column(name, justify="left" if name in ("note", "to ours") else "right")
    return table


def _head(row: Row) -> tuple[str, str, str]:
    partitions = "" if row["partitions"] == 1 else f" x{row['partitions']}"
    return f"{row['detector']}{partitions}", row["columns"], row["labels"]


def _number(value: Any, digits: int | None = None) -> str:
    if value is None or math.isnan(value):
        return ""
    if digits is None:
        digits = 3 if abs(value) < 10 else 1
    return f"{value:,.{digits}f}"


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
