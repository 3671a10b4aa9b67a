"""`detector diff`: which alerts of two runs differ, and why."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from detector import wiring
from detector.errors import ConfigError
from tests.unit.test_cli import HANDBOOK, Detector, detector, elsewhere, events

__all__ = ["detector", "elsewhere", "events"]  # fixtures


def alert(offset: int, **changes: Any) -> dict[str, Any]:
    body = {
        "alert_id": f"t-0-{offset}",
        "event_id": f"e,{offset}",
        "severity": "low",
        "event_time": "2026-03-01T00:00:00Z",
        "score": {"quantile": 0.999, "raw": 4.0},
        "model": {"version": 3, "config": "aa"},
        "entity": {"name": "card", "value": "C1"},
        "reasons": [{"field": "amount", "code": "value"}],
    }
    return body | changes


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def test_a_run_without_alerts_is_one(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "alerts.jsonl").touch()
    some = write(tmp_path / "some.jsonl", alert(1))
    for empty in (tmp_path / "none", tmp_path / "none" / "alerts.jsonl"):
        assert len(wiring.diff(some, empty).only_a) == 1


def test_alerts_of_one_run_alone_are_told_with_why_the_other_gave_none(tmp_path: Path) -> None:
    a = write(tmp_path / "a" / "alerts.jsonl", *map(alert, (1, 2, 3, 4))).parent
    changed = alert(4, severity="high", reasons=[{"field": "merchant", "code": "contact"}])
    b = write(tmp_path / "b" / "alerts.jsonl.gz", changed, alert(9)).parent
    (b / "scores.csv").write_text(
        "event_id,event_time,score,quantile,alert\n"
        '"e,1",2026-03-01T00:00:00Z,1.0,0.5,0\n"e,2",2026-03-01T00:00:00Z,4.0,0.9995,0\n'
    )
    found = wiring.diff(a, b)
    assert [one.alert_id for one in found.only_a] == ["t-0-1", "t-0-2", "t-0-3"]
    below, held, unscored = map(found.b.why_not, found.only_a)
    assert "below" in below
    assert "held back" in held
    assert unscored == "it has no score"
    assert dict(wiring.why(found.only_b, found.a)) == {"its scores are not given": 1}
    assert (len(found.both), found.severities, found.reasons) == (1, 1, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"some": "thing"}\n', "a file of alerts"),
        (b'{"alert_id": "t-0-1"}\n', "line 1"),
        (json.dumps(alert(1)).encode() + b"\n{\n", "line 2"),
    ],
)
def test_what_is_no_file_of_alerts_is_said(tmp_path: Path, text: bytes, said: str) -> None:
    good = write(tmp_path / "good.jsonl", alert(1))
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(text)
    with pytest.raises(ConfigError, match=said):
        wiring.diff(good, bad)


def test_two_replays_of_the_same_events(detector: Detector, events: Path, tmp_path: Path) -> None:
    for name, budget in (("a", 0.02), ("b", 0.005)):
        (tmp_path / name).mkdir()
        written = [f"--{kind}={tmp_path / name / kind}" for kind in ("alerts", "scores")]
        budgeted = f"alerts.budget={{share: {budget}}}"
        detector("replay", "--config", HANDBOOK, "--events", events, *written, "--set", budgeted)
    told = detector("diff", tmp_path / "a", tmp_path / "b").out
    assert "only in A" in told
    as_json = json.loads(detector("diff", tmp_path / "a", tmp_path / "b", "--json").out)
    only = as_json["a"]["only"]
    assert only
    assert all("no score" not in one["there"] for one in only)
    assert as_json["both"]["alerts"] + len(only) == as_json["a"]["alerts"]


def test_a_folder_may_hold_several_files_of_scores(tmp_path: Path) -> None:
    a = write(tmp_path / "a" / "alerts.jsonl", alert(1), alert(2)).parent
    b = write(tmp_path / "b" / "alerts.jsonl", alert(9)).parent
    for number in (1, 2):
        row = f'"e,{number}",2026-03-01T00:00:00Z,1.0,0.5,0'
        (b / f"scores-{number}.csv").write_text(f"event_id,event_time,score,quantile,alert\n{row}\n")
    assert dict(wiring.diff(a, b).b.quantiles) == {"e,1": 0.5, "e,2": 0.5}
