"""`Detector`: the shard over data frames."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas
import polars
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector import Detector
from detector.api import Alert
from detector.config.load import load
from detector.core.recovery.generations import store_prefix
from detector.core.recovery.journal import Journal
from detector.demo import simulation
from detector.errors import ConfigError, NeedsOperator, OperatorError, UsageError
from detector.ports import Committed
from detector.shell.store import FsspecStore
from detector.testing import MemoryLog
from detector.wiring.checkpoints import export
from detector.wiring.common import ModelFile, entity_key, read_warm_start
from detector.wiring.file_replay import Replay, replay
from tests.unit.runner_world import World

CONFIG = Path(__file__).parents[2] / "configs" / "simulate.yaml"
COUNT = 6_000


def simulated(count: int) -> Iterator[dict[str, Any]]:
    made = simulation.traffic("cards", seed=3, customers=80)
    return islice(chain.from_iterable(map(made.to_events, made.days)), count)


@pytest.fixture(scope="module")
def events() -> pandas.DataFrame:
    return pandas.DataFrame(list(simulated(COUNT)))


@pytest.fixture(scope="module")
def replayed(events: pandas.DataFrame) -> tuple[Detector, pandas.DataFrame]:
    detector = Detector.from_config(CONFIG)
    return detector, detector.replay(events)


@pytest.fixture(scope="module")
def by_command(events: pandas.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of `detector replay` of the same rows in a file."""
    folder = tmp_path_factory.mktemp("replay")
    events.to_parquet(folder / "events.parquet", index=False)
    run_replay(folder, "events.parquet")
    return folder


def run_replay(folder: Path, events: str, overrides: Sequence[str] = (), **options: Any) -> None:
    plan = Replay(
        events=folder / events,
        scores=folder / "scores.csv",
        alerts=folder / "alerts.jsonl",
        case_updates=folder / "updates.jsonl",
        **options,
    )
    replay(load(CONFIG, overrides), {}, plan, MemoryLog(), lambda size: None)


def read_scores(folder: Path) -> list[tuple[float, float, bool]]:
    rows = (line.split(",") for line in (folder / "scores.csv").read_text().splitlines()[1:])
    return [(float(row[2]), float(row[3]), row[4] == "1") for row in rows]


def listed(result: pandas.DataFrame) -> list[tuple[float, float, bool]]:
    return list(zip(result["score"], result["quantile"], result["alert"], strict=True))


# --- equal to the command ----------------------------------------------------------------------------------


def test_a_replay_equals_that_of_a_file(
    replayed: tuple[Detector, pandas.DataFrame], by_command: Path
) -> None:
    detector, result = replayed
    assert listed(result) == read_scores(by_command)
    alerts = (by_command / "alerts.jsonl").read_bytes().splitlines()
    assert alerts
    assert [alert.json for alert in detector.alerts] == alerts
    updates = (by_command / "updates.jsonl").read_bytes().splitlines()
    assert detector.case_updates == [msgspec.json.decode(update) for update in updates]
    assert result["alert"].sum() == len(alerts)


def test_a_replay_with_labels_equals_that_of_files(events: pandas.DataFrame, tmp_path: Path) -> None:
    labels = pandas.DataFrame(
        {
            "event_id": events["event_id"][200:4000:40],
            "label": ["fraud", "legitimate"] * 47 + ["fraud"],
            "time": events["event_time"][800:4600:40].to_numpy(),
        }
    )[::-1]
    events.to_parquet(tmp_path / "events.parquet", index=False)
    (tmp_path / "labels.jsonl").write_text(labels.to_json(orient="records", lines=True))
    run_replay(tmp_path, "events.parquet", feedback=tmp_path / "labels.jsonl")
    detector = Detector.from_config(CONFIG)
    result = detector.replay(events, feedback=labels)
    assert listed(result) == read_scores(tmp_path)
    assert [alert.json for alert in detector.alerts] == (tmp_path / "alerts.jsonl").read_bytes().splitlines()
    assert detector.labels["applied"] > 50


@settings(max_examples=5, deadline=None)
@given(cuts=st.lists(st.integers(0, 3_000), max_size=6))
def test_cuts_into_calls_change_nothing(
    events: pandas.DataFrame, replayed: tuple[Detector, pandas.DataFrame], cuts: list[int]
) -> None:
    detector = Detector.from_config(CONFIG)
    ends = [0, *sorted(cuts), 3_000]
    pieces = [detector.replay(events[a:b]) for a, b in pairwise(ends)]
    pandas.testing.assert_frame_equal(pandas.concat(pieces), replayed[1][:3_000])


@pytest.mark.parametrize(
    "form",
    [
        polars.from_pandas,
        pyarrow.Table.from_pandas,
        lambda frame: frame.to_dict("records"),
    ],
    ids=["polars", "arrow", "dicts"],
)
def test_tables_of_any_kind_give_the_same(
    events: pandas.DataFrame, replayed: tuple[Detector, pandas.DataFrame], form: Callable[[Any], Any]
) -> None:
    table = form(events[:2_000].astype(object).where(events[:2_000].notna(), None))
    result = Detector.from_config(CONFIG).replay(table)
    if isinstance(result, list):
        result = pandas.DataFrame(result)
    else:
        assert type(result) is type(table)
        result = result.to_pandas()
    assert listed(result) == listed(replayed[1][:2_000])
    wanted = replayed[1][:2_000]["reasons"]
    assert list(result["reasons"].fillna("")) == list(wanted.fillna(""))


def test_learning_is_a_replay_without_outputs(
    events: pandas.DataFrame, replayed: tuple[Detector, pandas.DataFrame]
) -> None:
    detector = Detector.from_config(CONFIG)
    assert detector.learn(events[:3_000]) is None
    assert len(detector.alerts) == 0
    pandas.testing.assert_frame_equal(detector.replay(events[3_000:4_000]), replayed[1][3_000:4_000])


# --- scoring without learning ------------------------------------------------------------------------------


def test_a_score_is_that_of_the_next_event(
    events: pandas.DataFrame, replayed: tuple[Detector, pandas.DataFrame]
) -> None:
    """Also within a block, and whatever else is scored with it."""
    detector = Detector.from_config(CONFIG)
    at = 0
    for cut in (100, 300, 1_500, 2_777, 3_333):
        detector.learn(events[at:cut])
        at = cut
        scored = detector.score(events[cut : cut + 600])
        assert scored["score"][cut] == replayed[1]["score"][cut]
        alone = pandas.concat([detector.score(events[i : i + 1]) for i in range(cut, cut + 5)])
        pandas.testing.assert_frame_equal(alone, scored[:5])
        backwards = detector.score(events[cut : cut + 600][::-1])[::-1]
        pandas.testing.assert_frame_equal(backwards, scored)


def test_scoring_changes_nothing(
    events: pandas.DataFrame, replayed: tuple[Detector, pandas.DataFrame]
) -> None:
    detector = Detector.from_config(CONFIG)
    pieces = []
    for start in range(0, 2_500, 500):
        detector.score(events[::7])
        pieces.append(detector.replay(events[start : start + 500]))
    pandas.testing.assert_frame_equal(pandas.concat(pieces), replayed[1][:2_500])


def test_an_event_far_from_normal_is_explained(replayed: tuple[Detector, pandas.DataFrame]) -> None:
    detector = replayed[0]
    event = next(islice(simulated(COUNT), COUNT - 1, None)) | {"event_id": "new", "amount": 1e6}
    alert = detector.explain(event)
    assert alert is not None
    assert alert.reasons[0].field == "amount"
    (scored,) = detector.score([event])
    assert scored["alert"] is True
    assert scored["reasons"] == "; ".join(reason.text for reason in alert.reasons)
    assert detector.explain(event | {"amount": 20.0}) is None
    with pytest.raises(UsageError, match="rejected, missing: time"):
        detector.explain({"event_id": "new"})


# --- rows that are no events -------------------------------------------------------------------------------


def test_rejected_rows_say_why() -> None:
    rows = list(simulated(20))
    rows[3] = rows[3] | {"amount": "much"}
    rows[5] = rows[4]
    detector = Detector.from_config(CONFIG)
    result = detector.replay(rows)
    assert [i for i, row in enumerate(result) if row["rejected"]] == [3, 5]
    assert result[3]["score"] is None
    assert result[3]["rejected"].startswith("wrong_type: field amount")
    assert result[5]["rejected"].startswith("duplicate: ")
    assert detector.position == 20
    assert [bool(row["rejected"]) for row in detector.score(rows)] == [i == 3 for i in range(20)]


def test_tables_without_rows_or_columns() -> None:
    detector = Detector.from_config(CONFIG)
    assert detector.replay([]) == []
    empty = detector.replay(pandas.DataFrame())
    assert list(empty.columns) == ["score", "quantile", "alert", "reasons", "rejected"]
    assert detector.replay(polars.DataFrame({"event_id": []})).dtypes[2] == polars.Boolean
    assert detector.score([{}])[0]["rejected"] == "missing: id"


def test_columns_of_several_types_and_any_index() -> None:
    rows = list(simulated(30))
    frame = pandas.DataFrame(rows, index=[f"row {i}" for i in range(30)])
    frame["extra"] = [1, "two", None] * 10
    frame["when"] = pandas.Timestamp("2026-01-01", tz="Europe/Paris")
    result = Detector.from_config(CONFIG).replay(frame)
    assert list(result.index) == list(frame.index)
    assert result["rejected"].isna().all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, "got an int, expected a pandas or polars data frame"),
        ("events.csv", "got a str, expected"),
        ({"event_id": "1"}, "got a dict, expected"),
        ([1], "got a list with a int in it"),
        (polars.LazyFrame({"a": [1]}), "lazy frame: call collect"),
        (pandas.DataFrame({"a": ["\ud800", 1]}), "rows 0 to 2 cannot be written as JSON"),
        (pandas.Series([1]), "got a pandas Series"),
        ([{"event_id": {1: {2, 3}}, "x": object()}], None),
        ([{"a": float}, {"a": "\ud800"}], "row 1 cannot be written as JSON"),
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(given: Any, message: str | None) -> None:
    detector = Detector.from_config(CONFIG)
    if message is None:
        assert detector.score(given)[0]["rejected"]
        return
    with pytest.raises(UsageError, match=message) as error:
        detector.score(given)
    assert "\n" not in str(error.value)


def test_a_missing_package_is_named() -> None:
    code = """
import sys
sys.modules["pyarrow"] = None
import polars
from detector import Detector
from detector.errors import UsageError
try:
    Detector.infer(polars.DataFrame({"a": [1]}))
except UsageError as error:
    assert "detector[parquet]" in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# --- configurations ----------------------------------------------------------------------------------------


def test_a_configuration_as_a_dict_with_overrides(events: pandas.DataFrame) -> None:
    event = msgspec.json.decode(load(CONFIG).event.model_dump_json())
    detector = Detector.from_config({"event": event}, ["model.seed=7"])
    assert detector.config.model.seed == 7
    assert "seed: 7" in detector.yaml
    with pytest.raises(ConfigError, match="fieldz"):
        Detector.from_config({"event": {**event, "fieldz": 1}})
    with pytest.raises(ConfigError, match="the file: got nothing"):
        Detector.from_config("nowhere.yaml")
    with pytest.raises(UsageError, match="got a int"):
        Detector.from_config(5)  # type: ignore[arg-type]


def test_formats_and_envelopes_of_the_topic_do_not_matter(events: pandas.DataFrame) -> None:
    config = msgspec.json.decode(load(CONFIG).model_dump_json(include={"event"}))
    config["event"]["envelope"] = {"type": "debezium"}
    assert Detector.from_config(config).replay(events[:50])["rejected"].isna().all()


def test_a_configuration_is_inferred(events: pandas.DataFrame) -> None:
    detector = Detector.infer(events)
    assert detector.config.event.id == "event_id"
    assert detector.config.event.entities[0].name == "card"
    assert "#" in detector.yaml
    assert detector.replay(events[:600])["rejected"].isna().all()
    with pytest.raises(ConfigError, match="'nothing'"):
        Detector.infer(events, id="nothing")
    with pytest.raises(OperatorError):
        Detector.infer([])


# --- labels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", ["event_time", ["event_time", "card"]])
def test_an_index_with_a_name_is_a_column(events: pandas.DataFrame, index: Any) -> None:
    some = events.head(600)
    expected = Detector.from_config(CONFIG).replay(some)["score"].tolist()
    assert Detector.from_config(CONFIG).replay(some.set_index(index))["score"].tolist() == expected


def test_an_index_of_times_is_a_column_and_one_of_numbers_is_not(events: pandas.DataFrame) -> None:
    some = events.head(600).drop(columns="event_time")
    some.index = pandas.to_datetime(events["event_time"].head(600)).array
    assert Detector.infer(some).config.event.time.path == "index"
    assert Detector.infer(some.reset_index(drop=True)).config.event.time.path is None


def test_labels_by_hand_are_applied_at_the_next_barrier(events: pandas.DataFrame) -> None:
    detector = Detector.from_config(CONFIG)
    detector.replay(events[:4_000])
    alert = detector.alerts[0]
    assert detector.feedback(alert, "fraud", actor="anna") == 1
    assert detector.feedback([str(events["event_id"][i]) for i in (5, 6)], "legitimate") == 3
    assert detector.feedback("nobody", "fraud", time="2031-01-01T00:00:00Z") == 4
    assert detector.settle()
    assert detector.labels == {"applied": 3, "unknown_event": 1, "waiting": 0}
    outcomes = [receipt["outcome"] for receipt in detector.receipts()]
    assert outcomes == ["applied"] * 3 + ["unknown_event"]
    assert detector.receipts() == []
    detector.feedback(alert, "retracted")
    assert detector.settle()
    assert detector.labels["retracted"] == 1
    assert not detector.settle()


def test_an_entity_is_erased_at_the_next_barrier(events: pandas.DataFrame) -> None:
    detector = Detector.from_config(CONFIG)
    detector.replay(events[:4_000])
    value = detector.alerts[0].body["entity"]["value"]
    assert detector.erase([value, "nobody"], actor="anna") == 2
    assert detector.settle()
    assert detector.labels == {"erased": 1, "unknown_entity": 1, "waiting": 0}
    receipt, _ = detector.receipts()
    assert receipt["dropped"]["profiles"] > 0
    with pytest.raises(UsageError):
        detector.erase(True)


@pytest.mark.parametrize(
    ("events", "label", "message"),
    [("1", "bad", "got the label 'bad'"), ([2.5], "fraud", "got a float"), (True, "fraud", "got a bool")],
)
def test_wrong_labels_are_refused(events: Any, label: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Detector.from_config(CONFIG).feedback(events, label)


def test_a_table_of_labels_that_is_none(events: pandas.DataFrame) -> None:
    detector = Detector.from_config(CONFIG)
    with pytest.raises(UsageError, match="label 0 cannot be read"):
        detector.replay(events[:10], feedback=[{"event_id": "1"}])
    with pytest.raises(UsageError, match="feedback: got an int"):
        detector.replay(events[:10], feedback=3)


# --- checkpoints -------------------------------------------------------------------------------------------


def test_a_saved_detector_goes_on(events: pandas.DataFrame, tmp_path: Path) -> None:
    detector = Detector.from_config(CONFIG)
    detector.replay(events[:3_100])
    name = detector.save(tmp_path)
    other = Detector.load(tmp_path)
    assert other.position == 3_100
    assert (tmp_path / store_prefix("detector", "transactions") / f"{name}.state").exists()
    pandas.testing.assert_frame_equal(other.score(events[3_100:3_400]), detector.score(events[3_100:3_400]))
    pandas.testing.assert_frame_equal(other.replay(events[3_100:]), detector.replay(events[3_100:]))
    again = detector.save(tmp_path)
    assert Detector.load(tmp_path, checkpoint=name).position == 3_100
    (tmp_path / store_prefix("detector", "transactions") / f"{again}.state").write_bytes(b"")
    assert Detector.load(tmp_path, config=CONFIG).position == 3_100  # the newest whole one


def test_a_checkpoint_of_a_replay_is_loaded(
    events: pandas.DataFrame, replayed: tuple[Detector, pandas.DataFrame], tmp_path: Path
) -> None:
    """A whole interval before it is replayed by both, so that both have the same blocks."""
    events.to_parquet(tmp_path / "events.parquet", index=False)
    run_replay(tmp_path, "events.parquet", ["checkpoints.interval=1ms"], checkpoints=tmp_path / "kept")
    detector = Detector.load(tmp_path / "kept")
    assert 0 < detector.position < COUNT
    result = detector.replay(events[detector.position :])
    pandas.testing.assert_frame_equal(result, replayed[1][COUNT - len(result) :])


def test_a_daemon_goes_on_from_a_checkpoint(events: pandas.DataFrame, tmp_path: Path) -> None:
    """A group whose committed journal names it; and a new group, by `export` and `--warm-start`."""
    lines = [msgspec.json.encode(row) for row in events.replace(np.nan, None).to_dict("records")]
    config = load(CONFIG, [f"checkpoints.url=file://{tmp_path}", "alerts.budget.share=0.02"])
    detector = Detector.from_config(config)
    detector.learn(events[:3_100])
    name = detector.save(config.checkpoints.url)
    world = World(config=config)
    for line in lines:
        world.broker.append(0, line)
    journal = Journal(checkpoint=name, position=3_100, config=detector.config.model_part(1).hash())
    world.broker.committed[0] = Committed(offset=3_100, metadata=journal.to_text())
    world.broker.closed = True
    key = entity_key(None)
    store = FsspecStore(config.checkpoints.url)
    world.runner(group=config.kafka.group_id, entity_key=key, store=store, sides={}).run()
    detector.replay(events[3_100:])
    assert len(detector.alerts) > 10
    assert world.alerts() == [alert.json for alert in detector.alerts]
    exported, model = export(config, 0)
    assert exported == name
    (tmp_path / "model").write_bytes(model)
    assert read_warm_start(ModelFile(tmp_path / "model"), config) is not None


def test_what_cannot_be_loaded_says_why(events: pandas.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found none"):
        Detector.load(tmp_path)
    with pytest.raises(UsageError, match="expected a folder or a URL"):
        Detector.load(3)  # type: ignore[arg-type]
    detector = Detector.from_config(CONFIG)
    detector.learn(events[:600])
    detector.save(tmp_path)
    with pytest.raises(UsageError, match="no checkpoint of partition 7"):
        Detector.load(tmp_path, partition=7)
    with pytest.raises(NeedsOperator, match="no checkpoint can be read"):
        Detector.load(tmp_path, checkpoint="00000/none")
    config = msgspec.json.decode(load(CONFIG).model_dump_json(include={"event"}))
    config["entity_key"] = {"file": str(tmp_path / "key")}
    (tmp_path / "key").write_text("secret")
    with pytest.raises(NeedsOperator, match="entity key"):
        Detector.load(tmp_path, config=config)


def test_an_interrupted_call_is_the_last_one(
    events: pandas.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detector.api.detector.needed", lambda: False)
    detector = Detector.from_config(CONFIG)

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("detector.core.shard.shard.Shard.take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            detector.learn(events[:10])
    with pytest.raises(UsageError, match="interrupted"):
        detector.score(events[:10])


# --- in a process of its own -------------------------------------------------------------------------------


def test_a_process_of_its_own_gives_the_same(
    events: pandas.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for remote in (False, True):
        monkeypatch.setattr("detector.api.detector.needed", lambda remote=remote: remote)
        detector = Detector.from_config(CONFIG, ["alerts.budget.share=0.01"])
        found = [detector.replay(events[:3_000]), detector.score([{}, *simulated(100)])]
        detector.feedback([*detector.alerts, "nobody"], "fraud")
        detector.settle()
        detector.save(tmp_path / str(remote))
        copied = pickle.loads(pickle.dumps(detector))  # noqa: S301
        loaded = Detector.load(tmp_path / str(remote), config=detector.config)
        found += [one.replay(events[3_000:4_000]) for one in (detector, copied, loaded)]
        labels = events[["event_id", "event_time"]][10:2_000:90].rename(columns={"event_time": "time"})
        taught = Detector.from_config(CONFIG)
        found.append(taught.replay(events[:3_000], feedback=labels.assign(label="fraud")))
        facts = detector.gauges, detector.labels, taught.labels, detector.position, detector.threshold
        results.append((found, [alert.json for alert in detector.alerts], facts))
        with pytest.raises(UsageError, match="label 0 cannot be read"):
            detector.replay([], feedback=[{}])
    (here, alerts_here, facts_here), (there, alerts_there, facts_there) = results
    for one, other in zip(here, there, strict=True):
        if isinstance(one, list):
            assert one == other
        else:
            pandas.testing.assert_frame_equal(one, other)
    assert alerts_here == alerts_there
    assert facts_here == facts_there


def test_a_process_that_ended_is_told(events: pandas.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.api.detector.needed", lambda: True)
    detector = Detector.from_config(CONFIG)
    detector._stream._child._process.kill()  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="has ended: make the detector anew"):
        detector.learn(events[:10])
    with pytest.raises(UsageError, match="interrupted"):
        detector.learn(events[:10])
    Detector.from_config(CONFIG).learn(events[:10])


def test_scores_do_not_depend_on_what_was_imported_first() -> None:
    """When numpy is loaded it takes kernels for the processor, unless `detector` was imported before."""
    code = """
{first}
import hashlib, itertools
from detector import Detector
from detector.demo import simulation
made = simulation.traffic("cards", seed=3, customers=80)
rows = list(itertools.islice(itertools.chain.from_iterable(map(made.to_events, made.days)), 1500))
scores = [(row["score"], row["quantile"]) for row in Detector.from_config({config!r}).replay(rows)]
print(hashlib.sha256(repr(scores).encode()).hexdigest())
"""
    environ = {key: value for key, value in os.environ.items() if key != "NPY_DISABLE_CPU_FEATURES"}
    printed = [
        subprocess.run(
            [sys.executable, "-c", code.format(first=first, config=str(CONFIG))],
            check=True,
            timeout=300,
            env=environ,
            stdout=subprocess.PIPE,
        ).stdout
        for first in ("", "import pandas")
    ]
    assert printed[0] == printed[1]


# --- alerts ------------------------------------------------------------------------------------------------


def test_alerts_are_objects(replayed: tuple[Detector, pandas.DataFrame]) -> None:
    detector, result = replayed
    alerts = detector.alerts
    alert = alerts[0]
    assert alert.score >= alert.threshold
    assert 0.0 < alert.quantile < 1.0
    assert alert.entity is not None
    assert list(alerts.of(alert.entity[1])) == [a for a in alerts if a.entity == alert.entity]
    assert (
        alert.explain().splitlines()[0].startswith(f"{alert.severity} alert, event {alert.event_id} of card")
    )
    assert alert.reasons[0].text in alert.explain()
    assert "; ".join(reason.text for reason in alert.reasons) in set(result["reasons"])
    assert repr(alerts) == f"<{len(alerts)} alerts>"
    assert len(alerts[:2]) == 2
    assert detector.threshold < math.inf
    assert np.isfinite(list(detector.gauges.values())).all()


def test_the_notebook_view_is_escaped_and_asks_nobody(replayed: tuple[Detector, pandas.DataFrame]) -> None:
    body = msgspec.json.decode(replayed[0].alerts[0].json)
    attack = "<script>alert(1)</script><img src='http://x/y'>\"'"
    body["event_id"] = body["event"]["city"] = body["reasons"][0]["detail"] = attack
    body["entity"]["value"] = body["severity"] = attack
    body["event"][attack] = {"nested": attack}
    alert = Alert(msgspec.json.encode(body))
    for html in (alert._repr_html_(), type(replayed[0].alerts)([alert])._repr_html_()):
        assert "<script" not in html
        assert "<img" not in html
        assert "&lt;script&gt;" in html
        assert "url(" not in html
