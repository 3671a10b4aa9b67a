"""All streams of a folder as one table: which detector is best how often.

    rank     mean over streams of the place by AP among the streaming detectors
    wins     streams on which no streaming detector is better
    worst    least AP relative to that of the best other streaming detector, and on which stream

Only streams count on which all of the detectors came through.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.quality.inputs import InputError
from benchmarks.quality.peers import REFERENCE
from benchmarks.quality.report import Row

EVENTS, LABELS = ".jsonl.gz", ".labels.csv.gz"


def streams_of(folder: Path) -> list[str]:
    """Names of the labelled streams of a folder.

    Raises
    ------
    InputError
        There are none.
    """
    names = sorted(path.name.removesuffix(EVENTS) for path in folder.glob(f"*{EVENTS}"))
    labelled = [name for name in names if (folder / f"{name}{LABELS}").is_file()]
    if not labelled:
        raise InputError(f"{folder}: no NAME{EVENTS} beside a NAME{LABELS}")
    return labelled


def standings(summary: Sequence[Row]) -> list[Row]:
    """One row for each detector and its columns, best mean rank first."""
    by_stream: dict[str, dict[str, float]] = {}
    for row in summary:
        if row["detector"] != REFERENCE and row["labels"] == "none" and row["partitions"] == 1:
            name = " ".join(filter(None, [row["detector"], row["columns"]]))
            by_stream.setdefault(row["stream"], {})[name] = row.get("ap", np.nan)
    names = list(dict.fromkeys(name for found in by_stream.values() for name in found))
    complete = {
        stream: np.array([found.get(name, np.nan) for name in names]) for stream, found in by_stream.items()
    }
    complete = {stream: found for stream, found in complete.items() if not np.isnan(found).any()}
    if not complete:
        return []
    table = np.stack(list(complete.values()))  # (streams, detectors)
    ranks = 1 + (table[:, None, :] > table[:, :, None]).sum(axis=2)
    rows = [
        {
            "detector": name,
            "streams": len(table),
            "rank": float(ranks[:, place].mean()),
            "wins": int((ranks[:, place] == 1).sum()),
            "ap": float(table[:, place].mean()),
            **_worst(list(complete), table, place),
        }
        for place, name in enumerate(names)
    ]
    return sorted(rows, key=lambda row: (row["rank"], -row["ap"]))


def _worst(streams: Sequence[str], table: np.ndarray, place: int) -> Row:
    others = np.delete(table, place, axis=1)
    if not others.shape[1]:
        return {"worst ratio": np.nan, "worst stream": ""}
    ratios = table[:, place] / np.maximum(others.max(axis=1), 1e-12)
    return {"worst ratio": float(ratios.min()), "worst stream": streams[int(ratios.argmin())]}


def show(console: Console, rows: Sequence[Row]) -> None:
    """Print the standings."""
    if not rows:
        return
    table = Table(title=f"league of {rows[0]['streams']} streams", title_justify="left", box=None)
    for name in ("detector", "mean rank", "wins", "mean AP", "worst ratio", "on"):
        table.add_column(name, justify="left" if name in ("detector", "on") else "right")
    for row in rows:
        table.add_row(row["detector"], *_cells(row))
    console.print(table)


def _cells(row: Row) -> Iterator[str]:
    yield f"{row['rank']:.2f}"
    yield str(row["wins"])
    yield f"{row['ap']:.3f}"
    yield "" if np.isnan(row["worst ratio"]) else f"{row['worst ratio']:.2f}"
    yield row["worst stream"]
