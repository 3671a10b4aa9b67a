"""What a detector shows of its embedding, in Python: as the command, without changing anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest

from detector import Detector
from detector.config.load import load
from detector.core.shard.space import AMONG
from detector.demo import simulation
from detector.errors import UsageError
from detector.rendering import report_json
from detector.testing import MemoryLog
from detector.wiring.audit import ReplayFiles
from detector.wiring.file_replay import Replay, replay
from detector.wiring.similar import Wanted, similar

CONFIG = Path(__file__).parents[2] / "configs" / "simulate.yaml"
COUNT = 3_000


def simulated(count: int) -> Iterator[dict[str, Any]]:
    made = simulation.traffic("cards", seed=3, customers=80)
    return islice(chain.from_iterable(map(made.to_events, made.days)), count)


@pytest.fixture(scope="module")
def detector() -> Detector:
    taught = Detector.from_config(CONFIG)
    taught.replay(list(simulated(COUNT)))
    taught.feedback([event["event_id"] for event in simulated(60)], "fraud")
    taught.settle()
    return taught


def test_neighbours_equal_those_of_the_command(tmp_path: Path) -> None:
    """Both read the newest checkpoint of a replay."""
    events = list(simulated(COUNT))
    times = [event["event_time"] for event in events]
    labels = [
        {"event_id": event["event_id"], "label": "fraud", "time": times[500]} for event in events[:300:9]
    ]
    for name, rows in (("events", events), ("labels", labels)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = ReplayFiles(
        events=tmp_path / "events.jsonl", feedback=tmp_path / "labels.jsonl", folder=tmp_path / "kept"
    )
    config = load(CONFIG, ["checkpoints.interval=1ms"])
    plan = Replay(
        events=files.events, feedback=files.feedback, checkpoints=files.folder, scores=tmp_path / "s.csv"
    )
    replay(config, {}, plan, MemoryLog(), lambda size: None)
    loaded = Detector.load(files.folder, config=config)
    for event in (events[100], events[loaded.position - 1]):
        found = similar(
            config,
            {},
            Wanted(event_id=event["event_id"]),
            partition=None,
            among=AMONG,
            count=5,
            files=files,
        )
        near = loaded.similar(event["event_id"])
        assert {kind: [asdict(one) for one in ones] for kind, ones in near.items()} == {
            kind: [asdict(one) for one in ones] for kind, ones in found.near.items()
        }
        assert len(near["normal"]) == len(near["recent"]) == 5


def test_looking_changes_nothing(tmp_path: Path) -> None:
    """Also in the middle of a block: later scores and the checkpoint's bytes are as without it."""
    events = list(simulated(COUNT))
    names, scores = [], []
    for looked in (False, True):
        taught = Detector.from_config(CONFIG)
        taught.learn(events[:2_345])
        if looked:
            look(taught, events)
        scores.append([row["score"] for row in taught.replay(events[2_345:])])
        if looked:
            look(taught, events)
        names.append(taught.save(tmp_path / str(looked)))  # it holds a hash of the content
    assert scores[0] == scores[1]
    assert names[0] == names[1]


def look(detector: Detector, events: list[dict[str, Any]]) -> None:
    detector.similar(events[7]["event_id"])
    detector.similar(events[0] | {"event_id": "new"})
    detector.embedding_map(entity=events[0]["card"])
    detector.embedding_report()


def test_neighbours_are_the_same_in_a_process_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    events, results = list(simulated(COUNT)), []
    for remote in (False, True):
        monkeypatch.setattr("detector.api.detector.needed", lambda remote=remote: remote)
        taught = Detector.from_config(CONFIG)
        taught.replay(events[:1_500])
        results.append(
            (taught.similar(events[70]["event_id"]), taught.similar(events[1_600], k=2, among=["recent"]))
        )
        with pytest.raises(UsageError, match="not remembered"):
            taught.similar("nobody")
        first = taught.embedding_map(entity=events[0]["card"], start=events[100]["event_time"])
        taught.learn(events[1_500:2_500])
        later = taught.embedding_map(before=first)
        assert later.drawn.steadied is not None
        results[-1] += (first.drawn, later.drawn, report_json(taught.embedding_report()))
    assert results[0] == results[1]


def test_what_is_asked_wrongly_is_said(detector: Detector) -> None:
    for wrong, words in (
        (lambda: detector.similar("nobody"), "not remembered"),
        (lambda: detector.similar({}), "rejected"),
        (lambda: detector.similar(1.5), "expected an alert"),  # type: ignore[arg-type]
        (lambda: detector.similar("x", among=["some"]), "expected normal, frauds, recent"),  # type: ignore[list-item]
        (lambda: detector.similar("x", k=0), "expected 1 to 1000"),
        (lambda: Detector.from_config(CONFIG).similar("x"), "no model yet"),
        (lambda: detector.embedding_map(method="some"), "expected pca, tsne or umap"),  # type: ignore[arg-type]
        (lambda: detector.embedding_map(start="some day"), "expected a time"),
        (lambda: detector.embedding_map().save("map.pdf"), "expected a name that ends in"),
        (lambda: Detector.from_config(CONFIG).embedding_map(), "no model yet"),
    ):
        with pytest.raises(UsageError, match=words):
            wrong()


def test_an_event_is_near_to_its_like(detector: Detector) -> None:
    near = detector.similar(list(simulated(COUNT))[-1]["event_id"])
    assert near["normal"]
    assert near["recent"]
    assert near["frauds"]
    assert all("fraud" in one.said for one in near["frauds"])


@pytest.mark.parametrize("suffix", [".html", ".svg", ".png"])
def test_a_map_is_written_twice_with_equal_bytes(detector: Detector, tmp_path: Path, suffix: str) -> None:
    made = []
    for name in "ab":
        place = tmp_path / f"{name}{suffix}"
        detector.embedding_map(entity="C18").save(place)
        made.append(place.read_bytes())
    assert made[0] == made[1]
    assert len(made[0]) > 1000


def test_a_map_shows_its_picture_in_a_notebook(detector: Detector) -> None:
    shown = detector.embedding_map()._repr_html_()
    assert shown.startswith("<svg")
    assert "<script" not in shown
