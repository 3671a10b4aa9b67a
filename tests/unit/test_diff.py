"""`detector diff`: which alerts of two runs differ, and why."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from detector.errors import ConfigError
from detector.ports import Committed
from detector.wiring.diff import BELOW, HELD, UNKNOWN, diff, why
from detector.wiring.diff_sides import Topics, diff_files, shared_spans
from tests.unit.test_cli import HANDBOOK, Detector, detector, elsewhere, events, refused

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
        assert len(diff_files(some, empty).only_a) == 1


def test_alerts_of_one_run_alone_are_told_with_why_the_other_gave_none(tmp_path: Path) -> None:
    a = write(tmp_path / "a" / "alerts.jsonl", *map(alert, (1, 2, 3, 4))).parent
    changed = alert(4, severity="high", reasons=[{"field": "merchant", "code": "contact"}])
    b = write(tmp_path / "b" / "alerts.jsonl.gz", changed, alert(9)).parent
    (b / "scores.csv").write_text(
        "event_id,event_time,score,quantile,alert\n"
        '"e,1",2026-03-01T00:00:00Z,1.0,0.5,0\n"e,2",2026-03-01T00:00:00Z,4.0,0.9995,0\n'
    )
    found = diff_files(a, b)
    assert [one.alert_id for one in found.only_a] == ["t-0-1", "t-0-2", "t-0-3"]
    below, held, unscored = map(found.b.why_not, found.only_a)
    assert "below" in below
    assert "held back" in held
    assert unscored == "it has no score"
    assert dict(why(found.only_b, found.a)) == {"its scores are not given": 1}
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
        diff_files(good, bad)


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
    assert dict(diff_files(a, b).b.quantiles) == {"e,1": 0.5, "e,2": 0.5}


# --- two services ---


@dataclass
class Group:
    """A group's positions in a log whose records are a second apart."""

    offsets: list[int | None]

    def partitions_count(self) -> int:
        return len(self.offsets)

    def committed(self, partition: int) -> Committed | None:
        offset = self.offsets[partition]
        return None if offset is None else Committed(offset=offset, metadata="")

    def beginning(self, partition: int) -> int:
        return 2

    def offset_at(self, partition: int, time_s: float) -> int:
        return int(time_s)


def live(name: str, published: dict[str, list[dict[str, Any]]], spans: dict[int, range]) -> Topics:
    def values(topic: str) -> Iterator[bytes]:
        return iter([json.dumps(row).encode() for row in published[topic]])

    return Topics(name, "alerts", "scores" if "scores" in published else None, values, spans)


def score(offset: int, quantile: float) -> dict[str, Any]:
    return {
        "event_id": f"e,{offset}", "event_time": "2026-03-01T00:00:00Z", "score": 1.0, "quantile": quantile,
        "alert": False, "held": None, "model_version": 1, "topic": "t", "partition": 0, "offset": offset,
    }  # fmt: skip


def test_only_events_are_compared_that_both_services_have_committed() -> None:
    groups = Group([90, 5, None]), Group([70, 9, 4])
    spans = shared_spans(groups, None)
    assert [(one.start, one.stop) for one in spans.values()] == [(2, 70), (2, 5), (2, 0)]
    assert shared_spans(groups, 60.0)[0] == range(60, 70)


def test_two_services_are_compared_by_their_topics() -> None:
    spans = {0: range(2, 7)}
    a = live("A", {"alerts": [alert(1), alert(3), alert(4), alert(5), alert(8)]}, spans)
    scores = [score(3, 0.5), score(4, 0.9995)]
    b = live("B", {"alerts": [alert(5, severity="high"), alert(6)], "scores": scores}, spans)
    found = diff(a, b, 5)
    assert [one.alert_id for one in found.only_a] == ["t-0-3", "t-0-4"]  # 1 and 8 are not compared
    assert list(map(found.b.why_not, found.only_a)) == [BELOW, HELD]
    assert dict(why(found.only_b, found.a)) == {UNKNOWN: 1}
    assert (len(found.both), found.severities, found.events) == (1, 1, 5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "set shadow in one"),
        ({"shadow": "v2", "topics": {"transactions": "others"}}, "the one of A, transactions"),
    ],
)
def test_two_configurations_are_those_of_two_services_over_the_same_events(
    detector: Detector, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    event = {"id": "id", "time": {"path": "t"}, "entities": [{"name": "card", "path": "card"}]}
    for name, more in (("a", {}), ("b", settings)):
        (tmp_path / f"{name}.yaml").write_text(json.dumps({"event": event, **more}))
    refused(detector("diff", tmp_path / "a.yaml", tmp_path / "b.yaml"), said)


def test_a_service_is_not_compared_with_a_file(detector: Detector, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", alert(1))
    refused(detector("diff", file, HANDBOOK), "A: got", "a configuration, as B is one")
    refused(detector("diff", file, file, "--since", "2h"), "files are compared as a whole")
