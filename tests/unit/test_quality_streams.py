"""Streams by name, how they are read, and the labels that come with them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.answers import ANSWER_S, Answers, LabelPlan, parse_labels, write_feedback
from benchmarks.quality.columns import prepare
from benchmarks.quality.inputs import InputError
from benchmarks.quality.metrics import DAY_S
from benchmarks.quality.streams import Facts, Plan, make, parse_plans
from detector.demo.simulation import SCENARIOS
from detector.ports import Commit, Message

# --- names ---


def test_a_name_may_stand_for_several_streams() -> None:
    assert parse_plans("simulate:7") == [Plan(name="simulate", source="simulate", number=7)]
    assert parse_plans("cards+8:3") == [Plan(name="cards+8", source="cards", number=3, attributes=8)]
    assert [plan.instance for plan in parse_plans("simulate:7-9")] == ["seed 7", "seed 8", "seed 9"]
    assert parse_plans("http") == [Plan(name="http", source="http")]
    assert [plan.instance for plan in parse_plans("my.set-1@2")] == ["order 0", "order 1"]
    assert parse_plans("handbook:week") == [Plan(name="handbook:week", source="handbook", week=True)]


@pytest.mark.parametrize(
    "text", ["", "simulate:9-7", "simulate:0-100", "a@0", "a@101", "a:day", "../a", "a@x"]
)
def test_an_unknown_stream_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"seeds|orders|not a stream"):
        parse_plans(text)


@pytest.mark.parametrize(
    ("text", "mode", "days", "share", "count"),
    [
        ("none", "none", 0, 1.0, None),
        ("late:7", "late", 7, 1.0, None),
        ("late:1.5:0.3", "late", 1.5, 0.3, None),
        ("late:7:200", "late", 7, 1.0, 200),
        ("late:7:1", "late", 7, 1.0, None),  # a share of 1, not a count
        ("answers:30:0.1", "answers", 30, 0.1, None),
    ],
)
def test_label_plans(text: str, mode: str, days: float, share: float, count: int | None) -> None:
    plan = parse_labels(text)
    assert plan == LabelPlan(text=text, mode=mode, delay_s=days * DAY_S, share=share, count=count)


@pytest.mark.parametrize(
    "text", ["", "late", "late:", "late:7:0", "late:7:1.5", "answers:7:5", "late:-1", "all"]
)
def test_an_unknown_kind_of_labels_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not labels"):
        parse_labels(text)


# --- streams of a folder ---


def folder(path: Path, events: int = 20) -> Path:
    """A stream of one number; the third event is anomalous, the fifth cannot be read."""
    with gzip.open(path / "tiny.jsonl.gz", "wt") as file:
        for n in range(events):
            id_ = "e" * 300 if n == 4 else f"e{n}"
            at = f"2020-01-01T00:00:{n:02}Z"
            file.write(json.dumps({"event_id": id_, "event_time": at, "v": float(n)}) + "\n")
    with gzip.open(path / "tiny.labels.csv.gz", "wt") as file:
        file.write("event_id,label\ne2,1\n")
    (path / "tiny.yaml").write_text(
        "event: {id: event_id, time: {path: event_time}, fields: [{name: v, path: v, type: numeric}]}\n"
    )
    return path


def test_a_stream_is_read_once_into_facts_and_columns(tmp_path: Path) -> None:
    stream = make(Plan(name="tiny", source="tiny"), folder(tmp_path), tmp_path)
    assert stream.config_from == "tiny.yaml"
    facts, matrices = prepare(stream, tmp_path, ("plain", "compact", "features"))
    assert facts.ids == [f"e{n}" for n in range(20) if n != 4]  # the judge knows what the service accepts
    assert facts.kind.tolist() == [int(n == 2) for n in range(19)]
    assert np.diff(facts.time).tolist() == [1, 1, 1, 2, *[1] * 14]
    assert facts.card is None
    assert facts.amount is None
    assert matrices.keys() == {"plain", "features"}  # compact rests on entities
    assert matrices["plain"][:, 0].tolist() == [float(n) for n in range(20) if n != 4]
    assert np.isfinite(matrices["features"]).all()


def test_orders_move_events_and_leave_times(tmp_path: Path) -> None:
    plans = parse_plans("tiny@3")
    read = [prepare(make(plan, folder(tmp_path), tmp_path), tmp_path)[0] for plan in plans]
    given, first, second = (facts.ids for facts in read)
    assert sorted(given) == sorted(first) == sorted(second)
    assert given != first
    assert first != second
    for facts in read:
        assert facts.ids[int(np.argmax(facts.kind))] == "e2"
        assert (np.diff(facts.time) > 0).all()
    again = prepare(make(plans[1], tmp_path, tmp_path), tmp_path)[0]
    assert again.ids == first


def test_a_stream_can_be_shortened_and_settings_changed(tmp_path: Path) -> None:
    plan = Plan(name="tiny", source="tiny")
    stream = make(plan, folder(tmp_path), tmp_path, events_max=8, overrides=["alerts.budget.share=0.25"])
    assert stream.config.alerts.budget.share == 0.25
    assert prepare(stream, tmp_path)[0].ids == [f"e{n}" for n in range(8) if n != 4]
    with pytest.raises(InputError, match="none of the labelled events"):
        prepare(make(plan, tmp_path, tmp_path, events_max=2), tmp_path)


def test_without_a_configuration_a_preset_that_reads_all_fields_is_taken(tmp_path: Path) -> None:
    stream = make(parse_plans("simulate:1")[0], None, tmp_path, events_max=300)
    assert stream.config_from == "preset handbook"
    cards = make(parse_plans("cards:1")[0], None, tmp_path, days=9)
    assert cards.config_from == "preset simulate"
    assert cards.config.alerts.budget.share == 0.01
    facts, matrices = prepare(cards, tmp_path, ("plain", "compact"))
    assert facts.incident is not None
    assert ((facts.incident >= 0) == (facts.kind > 0)).all()
    assert set(facts.kinds.values()) <= set(SCENARIOS["cards"])
    assert matrices.keys() == {"plain", "compact"}
    rich = make(parse_plans("cards+8:1")[0], None, tmp_path, days=9)
    assert [field.name for field in rich.config.event.fields[-3:]] == ["income", "segment", "branch"]
    assert prepare(rich, tmp_path)[0].ids == facts.ids
    (folder(tmp_path) / "tiny.yaml").unlink()
    assert make(Plan(name="tiny", source="tiny"), tmp_path, tmp_path).config_from == "inferred"


def test_a_missing_stream_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are: tiny"):
        make(Plan(name="other", source="other"), folder(tmp_path), tmp_path)
    with pytest.raises(InputError, match="--folder"):
        make(Plan(name="other", source="other"), None, tmp_path)


# --- labels ---


def stream_facts(frauds: int, normal: int = 0) -> Facts:
    """One event a day, the frauds first."""
    n = frauds + normal
    return Facts(
        ids=[f"e{i}" for i in range(n)],
        time=DAY_S * np.arange(n, dtype=float),
        kind=np.repeat([3, 0], [frauds, normal]),
        card=None,
        amount=None,
    )


def feedback(path: Path, text: str, facts: Facts) -> list[dict[str, object]]:
    count = write_feedback(path / "feedback.jsonl", parse_labels(text), facts)
    lines = [json.loads(line) for line in (path / "feedback.jsonl").read_text().splitlines()]
    assert len(lines) == count
    return lines


def test_late_labels_are_frauds_only_each_after_its_delay(tmp_path: Path) -> None:
    assert feedback(tmp_path, "late:7", stream_facts(2, normal=10)) == [
        {"time": 7 * DAY_S, "event_id": "e0", "label": "fraud", "feedback_id": "fraud-e0"},
        {"time": 8 * DAY_S, "event_id": "e1", "label": "fraud", "feedback_id": "fraud-e1"},
    ]


def test_a_share_and_a_count_of_the_frauds_can_be_labelled(tmp_path: Path) -> None:
    facts = stream_facts(1_000, normal=10)
    assert 250 < len(feedback(tmp_path, "late:7:0.3", facts)) < 350
    labels = feedback(tmp_path, "late:900:50", facts)
    assert len(labels) == 50
    assert [line["time"] for line in labels] == sorted(line["time"] for line in labels)
    # A count is of labels that arrive before the end of the stream.
    assert all(line["time"] < facts.time[-1] for line in labels)
    assert len(feedback(tmp_path, "late:900:200", facts)) == 109


def alerted(*rows: int) -> Commit:
    """A commit with alerts about these events of `stream_facts`."""
    start = np.datetime64("1970-01-01T00:00:00.000")

    def message(topic: str, n: int) -> Message:
        alert = {"event_id": f"e{n}", "event_time": f"{start + np.timedelta64(n, 'D')}Z", "score": 3.0}
        value = json.dumps(alert).encode()
        return Message(topic=topic, key=None, value=value, headers=(), partition=0, offset=n)

    messages = [message("alerts", n) for n in rows] + [message("scores", n) for n in range(5)]
    return Commit(messages=messages, positions={}, membership=None)


def test_answers_come_a_day_after_alerts_and_the_rest_late() -> None:
    answers = Answers(parse_labels("answers:3"), stream_facts(2, normal=3), "alerts")
    answers.watch(alerted(0, 2))
    assert ANSWER_S == DAY_S
    assert answers.end(DAY_S) == 0  # an answer at that time is not earlier than it
    assert answers.end(DAY_S + 1) == 1
    assert answers.end(3.5 * DAY_S) == 2
    # e0 is answered, so it is not reported again; e1 had no alert.
    assert answers.end(5 * DAY_S) == 3
    said = [(line["event_id"], line["label"]) for line in (json.loads(v) for _, v in answers.read(0, 3))]
    assert said == [("e0", "fraud"), ("e2", "legitimate"), ("e1", "fraud")]
    assert answers.counts == {"fraud": 1, "legitimate": 1, "report": 1}
    assert [number for number, _ in answers.read(1, 3)] == [1, 2]
