"""The measured tables of docs/explanation/quality.md.

Each is between two comments: `<!-- NAME -->` and `<!-- /NAME -->`.

league      who ranks where over the streams of a league
streams     average precision of every detector on every stream of it
patterns    recall and incidents by pattern of fraud
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.quality import patterns
from benchmarks.quality.inputs import InputError
from benchmarks.quality.league import standings
from benchmarks.quality.report import Row


def tables_of(summary: Sequence[Row], streams: Sequence[str]) -> dict[str, str]:
    """Return the tables that were measured, in Markdown, by name; `streams` are those of the league."""
    found = {}
    members = [row for row in summary if row["stream"] in streams]
    if table := standings(members):
        found["league"], found["streams"] = _league(table), _streams(members, table)
    if rows := [row for row in summary if patterns.kinds_of(row)]:
        found["patterns"] = _markdown(*patterns.cells(rows))
    return found


def write_tables(path: Path, tables: Mapping[str, str]) -> None:
    """Replace the tables in a file, and nothing else.

    Raises
    ------
    InputError
        The file does not have one place for each of them.
    """
    text = path.read_text(encoding="utf-8")
    for name, table in tables.items():
        before, after = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if text.count(before) != 1 or text.count(after) != 1:
            raise InputError(f"{path}: expected one place {before.strip()} ... {after}")
        head, rest = text.split(before)
        text = head + before + table + "\n" + after + rest.split(after)[1]
    path.write_text(text, encoding="utf-8")


def _league(table: Sequence[Row]) -> str:
    heads = ["detector", "mean rank", "wins", "mean AP", "worst ratio to the best peer"]
    streams = table[0]["streams"]
    lines = [
        [
            row["detector"],
            f"{row['rank']:.2f} of {len(table)}",
            f"{row['wins']} of {streams}",
            f"{row['ap']:.3f}",
            "" if math.isnan(row["worst ratio"]) else f"{row['worst ratio']:.2f} ({row['worst stream']})",
        ]
        for row in table
    ]
    return _markdown(heads, lines)


def _streams(summary: Sequence[Row], table: Sequence[Row]) -> str:
    names = [row["detector"] for row in table]
    by_stream: dict[str, dict[str, float]] = {}
    for row in summary:
        name = " ".join(filter(None, [row["detector"], row["columns"]]))
        if name in names and row["labels"] == "none":
            by_stream.setdefault(row["stream"], {})[name] = row.get("ap", math.nan)
    lines = []
    for stream, found in by_stream.items():
        best = max((value for value in found.values() if not math.isnan(value)), default=math.nan)
        cells = [found.get(name, math.nan) for name in names]
        lines.append([stream, *("" if math.isnan(ap) else _bold(ap, best) for ap in cells)])
    return _markdown(["stream", *names], lines)


def _bold(value: float, best: float) -> str:
    return f"**{value:.3f}**" if value == best else f"{value:.3f}"


def _markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
