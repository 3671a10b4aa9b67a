"""`detector embedding`, over a replay with several checkpoints."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from detector.api.checkpoints import read
from detector.errors import StoreUnavailable
from detector.shell.objects import Objects
from tests.unit.test_cli import HANDBOOK, Detector, detector, elsewhere, events, refused

__all__ = ["detector", "elsewhere", "events"]  # fixtures


def replayed(detector: Detector, events: Path) -> tuple[str, ...]:
    """Options of a replay that ended in two parts, so that it has a checkpoint and one before it."""
    Path("labels.jsonl").write_text(json.dumps({"event_id": "t60", "label": "fraud"}))
    kept = ("-c", HANDBOOK, "--events", str(events), "--feedback", "labels.jsonl", "--checkpoint-dir", "kept")
    assert detector("replay", *kept, "--set", "checkpoints.interval=1ms").code == 0
    return kept


def test_a_map_is_drawn_and_the_next_one_lies_as_it(detector: Detector, events: Path) -> None:
    draw = partial(detector, "embedding", "map", *replayed(detector, events))
    first = draw("--out", "a.html", "--entity", "c3")
    assert first.code == 0
    assert "trustworthiness" in first.out
    assert draw("--out", "b.html", "--entity", "c3").code == 0
    assert Path("a.html").read_bytes() == Path("b.html").read_bytes()
    later = draw("--out", "c.svg", "--before", "a.html")
    assert later.code == 0
    assert "moved by 0.00" in later.out
    assert draw("--out", "d.png").code == 0
    refused(draw("--out", "a.html"), "--out", "a.html")
    refused(draw("--out", "e.pdf"), "--out", ".html, .svg, .png")
    refused(draw("--out", "e.svg", "--method", "some"), "--method", "pca, tsne or umap")
    refused(draw("--out", "e.svg", "--partition", "7"), "--partition", "0 to 0")
    refused(draw("--out", "e.svg", "--before", "labels.jsonl"), "--before", "labels.jsonl")
    refused(draw("--out", "e.svg", "--from", "some day"), "--from", "some day")
    assert draw("--out", "e.svg", "--before", "00000/nothing").code == 3


def test_a_report_says_what_is_wrong(detector: Detector, events: Path) -> None:
    judge = partial(detector, "embedding", "report", *replayed(detector, events))
    printed = judge()
    assert printed.code == 0
    assert "effective rank" in printed.out
    assert judge("--out", "r.html").code == judge("--out", "r.json").code == 0
    found = json.loads(Path("r.json").read_text())
    name = read("kept", group=None, topic=None, partition=0, name=None).manifest.name
    assert found["name"] == name
    both = judge("--compare", name, name)
    assert both.code == 0
    assert "no figure changed" in both.out
    refused(judge("--out", "r.txt"), "--out", ".html or .json")
    assert judge("--compare", name, "00000/nothing").code == 3


def test_a_report_is_kept_and_compared_by_its_version(detector: Detector, events: Path) -> None:
    options = replayed(detector, events)
    judge = partial(detector, "embedding", "report", *options)
    assert judge("--out", "r.json").code == 0
    printed = json.loads(Path("r.json").read_text())
    [kept] = Path("kept").rglob(f"reports/00000/{printed['version']:020d}.json")
    number = str(printed["version"])
    assert judge("--compare", number, number, "--out", "both.json").code == 0
    assert json.loads(Path("both.json").read_text())["second"] == printed
    written = json.loads(kept.read_text())
    assert "no figure changed" in judge("--compare", printed["name"], number).out
    written["intrinsic"]["contrast"] = 0.123  # what is kept is what is compared
    kept.write_text(json.dumps(written))
    assert "contrast fell" in judge("--compare", printed["name"], number).out
    gone = judge("--compare", number, "777")
    assert gone.code == 3
    assert "no report of encoder version 777" in gone.err
    options = detector("checkpoint", "list", "-c", HANDBOOK, "--set", "checkpoints.url=file://./kept")
    assert "report" not in options.out  # it is no checkpoint


def test_a_report_is_shown_where_it_cannot_be_kept(
    detector: Detector, events: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = partial(detector, "embedding", "report", *replayed(detector, events))

    def put(self: Objects, name: str, data: bytes) -> None:
        raise StoreUnavailable("no write permission")

    monkeypatch.setattr(Objects, "put", put)
    done = judge()
    assert done.code == 0
    assert "effective rank" in done.out
    assert "is not kept: no write permission" in " ".join(done.err.split())


def test_a_model_that_is_not_there_is_said(detector: Detector, events: Path) -> None:
    Path("few.jsonl").write_text("".join(events.read_text().splitlines(keepends=True)[:50]))
    kept = ("-c", HANDBOOK, "--events", "few.jsonl", "--checkpoint-dir", "kept")
    assert detector("replay", *kept).code == 0
    done = detector("embedding", "report", *kept)
    assert done.code == 3
    assert "checkpoint" in done.err
