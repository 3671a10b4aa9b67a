"""The measured tables of docs/explanation/quality.md: what is written, and that nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.quality.inputs import InputError
from benchmarks.quality.publish import tables_of, write_tables

DOCUMENT = Path(__file__).parents[2] / "docs" / "explanation" / "quality.md"


def row(stream: str, detector: str, ap: float, **more: float) -> dict[str, Any]:
    key = {"stream": stream, "detector": detector, "columns": "", "labels": "none", "partitions": 1}
    return {**key, "ap": ap, **more}


PATTERNS = {
    "recall: odd_hour": 0.5,
    "incidents: odd_hour": 0.25,
    "events of odd_hour": 4,
    "incidents of odd_hour": 3,
}
SUMMARY = [
    row("a", "detector", 0.5),
    row("a", "knn", 0.25),
    row("b", "detector", 0.1),
    row("b", "knn", 0.2),
    row("cards", "detector", 0.4, **PATTERNS),
]


def test_tables_of_a_league_and_of_patterns() -> None:
    tables = tables_of(SUMMARY, ["a", "b"])
    assert tables["league"].splitlines()[2:] == [
        "| detector | 1.50 of 2 | 1 of 2 | 0.300 | 0.50 (b) |",
        "| knn | 1.50 of 2 | 1 of 2 | 0.225 | 0.50 (a) |",
    ]
    assert tables["streams"].splitlines()[2:] == ["| a | **0.500** | 0.250 |", "| b | 0.100 | **0.200** |"]
    assert tables["patterns"].splitlines()[2:] == [
        "| odd hour | 4 | 3 | 0.50 / 0.25 |",
        "| average precision |  |  | 0.400 |",
    ]
    assert tables_of(SUMMARY[:4], []) == {}


def test_only_the_place_between_the_markers_changes(tmp_path: Path) -> None:
    path = tmp_path / "x.md"
    places = "before\n<!-- league -->\n{}<!-- /league -->\nafter\n<!-- patterns -->\n{}<!-- /patterns -->\n"
    path.write_text(places.format("old\n", ""))
    write_tables(path, {"league": "new", "patterns": "p"})
    write_tables(path, {"league": "newer"})
    assert path.read_text() == places.format("newer\n", "p\n")
    with pytest.raises(InputError, match="streams"):
        write_tables(path, {"streams": "x"})


def test_the_document_has_a_place_for_each_table(tmp_path: Path) -> None:
    copy = tmp_path / "quality.md"
    copy.write_text(DOCUMENT.read_text())
    write_tables(copy, tables_of(SUMMARY, ["a", "b"]))
