"""The whole benchmark over a few hundred events, with a peer that needs no more than the service."""

from __future__ import annotations

import ast
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import benchmarks.quality
from benchmarks.quality.league import standings
from benchmarks.quality.run import main

BENCH_ONLY = {"pysad", "sklearn", "matplotlib"}


@pytest.fixture(autouse=True)
def bench_packages_missing(monkeypatch: pytest.MonkeyPatch, logging_restored: None) -> None:
    for name in BENCH_ONLY:
        monkeypatch.setitem(sys.modules, name, None)


def test_bench_packages_are_imported_where_they_are_used_only() -> None:
    for path in Path(*benchmarks.quality.__path__).glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = (
                    [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                )
                assert not {name.partition(".")[0] for name in names} & BENCH_ONLY, path.name


def folder(path: Path) -> Path:
    """Payments of 20 cards; each 25th after the first barrier is a hundred times the amount."""
    with (
        gzip.open(path / "tiny.jsonl.gz", "wt") as events,
        gzip.open(path / "tiny.labels.csv.gz", "wt") as labels,
    ):
        labels.write("id,label\n")
        for n in range(500):
            fraud = n >= 260 and n % 25 == 24
            amount = (10 + n % 7) * (100 if fraud else 1)
            at = f"2020-01-01T{n // 60:02}:{n % 60:02}:00Z"
            event = {"id": f"e{n}", "at": at, "card": f"c{n % 20}", "amount": amount}
            events.write(json.dumps(event) + "\n")
            if fraud:
                labels.write(f"e{n},{1 + n // 25 % 2}\n")
    (path / "tiny.yaml").write_text(
        """
event:
  id: id
  time: {path: at}
  entities: [{name: card, path: card}]
  fields: [{name: amount, path: amount, type: numeric}]
  exposure: amount
"""
    )
    return path


def run(path: Path, *arguments: str) -> int:
    return main(["--folder", str(path), "--out", str(path / "out"), "--no-pictures", *arguments])


def test_the_service_and_a_peer_over_the_same_orders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--streams", "tiny@2", "--detectors", "detector,hst,loda", "--columns", "compact"]
    assert run(folder(tmp_path), *asked, "--labels", "none,late:0.05") == 0
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    assert document["about"]["packages"].keys() >= {"stream-anomaly-detector", "numpy", "river"}
    assert len(document["runs"]) == 8
    ours, labelled, hst, loda = document["summary"]
    for row in (ours, labelled, hst):
        assert row["failure"] == ""
        assert row["instances"] == ["order 0", "order 1"]
        assert (row["events"], row["anomalies"]) == (450, pytest.approx(9, abs=1))
        asked_for = {"auc", "ap", "ap spread", "precision 0.1%", "recall 0.1%", "precision 1%", "recall 1%"}
        asked_for |= {
            "cp@100",
            "amount caught",
            "cards found",
            "transactions to alert",
            "hours to alert",
            "recall of 1",
        }
        assert row.keys() >= asked_for | {"false per caught", "us per event"}
    assert ours.keys() >= {"alerts", "budget q5", "budget q50", "budget q95", "accepted above .99"}
    assert ours["ap"] > 0.5
    assert ours["ap spread"] > 0
    assert "applied" in labelled["note"] or labelled["note"] == "notes differ, see runs.csv"
    # A peer that cannot run is a row, and stops nobody.
    assert "pysad" in loda["failure"]
    said = capsys.readouterr().out
    assert "tiny: 450 judged events" in said
    assert "mean of order 0, order 1" in said
    for words in ("CP@100", "amount", "hours", "false per caught", "us/event", "above .99"):
        assert words in said
    assert not list((tmp_path / "out").glob("scratch-*"))


def test_a_league_takes_all_streams_of_a_folder_and_prints_the_standings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(tmp_path)
    for path in list(tmp_path.glob("tiny.*")):
        (tmp_path / path.name.replace("tiny", "other")).write_bytes(path.read_bytes())
    (tmp_path / "unlabelled.jsonl.gz").write_bytes(b"")
    asked = ["--league", str(tmp_path), "--out", str(tmp_path / "out"), "--no-pictures"]
    assert main([*asked, "--detectors", "detector,hst"]) == 0
    said = capsys.readouterr().out
    assert "league of 2 streams" in said
    assert "hst plain" in said
    assert main(["--league", str(tmp_path / "out"), "--out", str(tmp_path / "no"), "--no-pictures"]) == 2
    assert "labels.csv.gz" in capsys.readouterr().err


def test_standings_are_ranks_among_streaming_detectors_on_streams_that_all_came_through() -> None:
    def row(stream: str, detector: str, ap: float | None) -> dict[str, Any]:
        found = {"stream": stream, "detector": detector, "columns": "", "labels": "none", "partitions": 1}
        return found if ap is None else {**found, "ap": ap}

    aps = {"a": (0.2, 0.4, 0.9), "b": (0.3, 0.1, 0.9), "c": (0.3, 0.3, 0.9), "d": (0.9, None, 0.9)}
    names = ("detector", "knn", "iforest")
    summary = [
        row(stream, name, ap) for stream, found in aps.items() for name, ap in zip(names, found, strict=True)
    ]
    ours, knn = standings(summary)
    assert (ours["detector"], ours["streams"], ours["wins"]) == ("detector", 3, 2)
    assert (ours["rank"], ours["ap"]) == (pytest.approx(4 / 3), pytest.approx(0.8 / 3))
    assert (ours["worst ratio"], ours["worst stream"]) == (pytest.approx(0.5), "a")
    assert (knn["detector"], knn["wins"], knn["worst stream"]) == ("knn", 2, "b")


def test_analysts_answers_reach_the_service(tmp_path: Path) -> None:
    asked = ["--streams", "tiny", "--detectors", "detector", "--set", "alerts.budget.share=0.05"]
    assert run(folder(tmp_path), *asked, "--labels", "answers:0.01:0.5") == 0
    (row,) = json.loads((tmp_path / "out" / "results.json").read_text())["summary"]
    assert "report" in row["note"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--streams", "elsewhere"], "there are: tiny"),
        (["--streams", "tiny@0"], "1 to 100 orders"),
        (["--streams", "tiny", "--labels", "some"], "not labels"),
        (["--streams", "tiny", "--set", "model.nothing=1"], "nothing"),
        (["--streams", "tiny:week", "--detectors", "detector"], "not the Handbook's stream"),
    ],
)
def test_wrong_arguments_give_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    assert run(folder(tmp_path), *arguments) == 2
    assert problem in capsys.readouterr().err


def test_missing_matplotlib_is_reported_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--streams", "simulate:1", "--out", str(tmp_path / "out")]) == 2
    assert "--no-pictures" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_detector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, "--streams", "tiny", "--detectors", "oracle")
