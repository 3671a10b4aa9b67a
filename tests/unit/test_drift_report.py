"""The report on drift, and the status of a running service, as people ask for them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest

from detector.api.checkpoints import save
from detector.config.tree import Config
from detector.core.drift.columns import Columns, Key, Values
from detector.core.drift.watch import DriftWatch, bytes_max
from detector.core.drifted import BIN_NAMES, Drift, FieldDrift, ShareDrift
from detector.core.features import Layout
from detector.core.records import Identity
from detector.core.recovery.journal import Barrier
from detector.core.reporting.telemetry import Telemetry
from detector.core.shard.partition import Partition
from detector.core.shard.watched import columns
from detector.core.state import pack
from detector.errors import CredentialsError, NeedsOperator
from detector.ports import ShardFigures, Status
from detector.rendering.drift import page
from detector.shell.http import HttpServer
from detector.shell.metrics.drift import DRIFT, SERIES_MAX
from detector.shell.status_page import read_figures, read_status
from detector.wiring.drift_report import described, drift_report

COLUMNS = Columns(("amount <b>",), ("kind",), (Key("card", "entities", (0, -1, 0)),))


def watched(days: float = 9.5, columns: Columns = COLUMNS) -> DriftWatch:
    rng, watch, time, n = np.random.default_rng(0), DriftWatch(columns), 1_700_000_000.0, 4096
    for _ in range(int(days * 12)):
        times = np.linspace(time, time + 7200.0, n)
        context, ones = np.zeros((n, 1), dtype=np.float32), np.ones((n, 1), dtype=np.uint64)
        numbers = rng.lognormal(3.0, 1.0, (n, 1))
        watch.add(Values(numbers, ones, ones, context, times), rng.exponential(0.43, n))
        time = float(times[-1])
        watch.end_block(time)
        watch.barrier(time, 2.5)
    return watch


def test_a_report_is_whole_and_fetches_nothing() -> None:
    watch = watched()
    report = {"made_from": "a & b", "bins": list(BIN_NAMES)}
    report["partitions"] = [{"partition": 0, "checkpoint": "c", **described(watch, -inf, inf)}]
    text = page(json.loads(json.dumps(report, allow_nan=False)))
    assert "http" not in text.replace("http://www.w3.org", "")
    assert "<script" not in text
    assert "amount &lt;b&gt;" in text
    assert text.count("<svg") == 5  # by the hour, and bins; of the rate of events no bins
    ET.fromstring(text.removeprefix("<!doctype html>").replace('<meta charset="utf-8">', ""))
    assert len(described(watch, 1_700_000_000.0, 1_700_700_000.0)["fields"][0]["hours"]) < len(
        described(watch, -inf, inf)["fields"][0]["hours"]
    )


def test_a_state_is_no_larger_than_was_said() -> None:
    assert len(pack(watched(0.3).to_state())) < bytes_max(COLUMNS) + 32_768  # the archive's own headers


@pytest.mark.parametrize(("partitions", "fields"), [(1, 3), (64, 15), (64, 16), (64, 64)])
def test_series_are_as_many_as_the_formula_says(partitions: int, fields: int) -> None:
    telemetry = Telemetry()
    telemetry.owned = frozenset(range(partitions))
    one = FieldDrift(psi=0.5, threshold=0.1, weight=0.2, since=1.0, usual=(1.0,) * 13, current=(1.0,) * 13)
    none = FieldDrift(psi=0.0, threshold=inf, weight=0.0, since=0.0)
    for number in range(partitions):
        telemetry.partitions[number].drift = Drift(
            time=0.0,
            events=1,
            fields={f"f{n}": one for n in range(fields)} | {"time": none},
            new_shares={("card", "entities"): ShareDrift(current=0.0, usual=0.0, since=0.0)},
            embedding={},
            labels={},
            precision={},
            score_changes=number,
            since={},
        )
    series = {metric.name: metric.read(telemetry) for metric in DRIFT}
    single = partitions * (fields + 1) <= SERIES_MAX
    for name in ("psi", "psi_threshold", "alert_weight"):
        assert len(series[f"detector_drift_{name}"]) == (partitions if single else 1) * (fields + 1)
    assert ("0" if single else "max", "f0") in series["detector_drift_psi"]
    assert len(series["detector_drift_bin_events"]) == 26 * fields
    assert series["detector_drift_bin_events"]["f0", "current", "3"] == partitions  # they add
    assert (
        len(series["detector_drift_active"]) == (partitions if single else 1) * (fields + 1) + 4 * partitions
    )
    assert sum(map(len, series.values())) < 10_000


def test_a_running_service_says_what_it_does() -> None:
    status = Status(ready=True, reason="running", drift=("amount has doubled",))
    server = HttpServer("127.0.0.1:0", lambda: status, lambda: 0.0, lambda: (b"", ""), token="secret")
    server.start()
    try:
        assert read_status(server.url, ca_file=None, token="secret") == status
        with pytest.raises(CredentialsError, match=r"refuses http\.token"):
            read_status(server.url, ca_file=None, token="other")
    finally:
        server.stop()
    with pytest.raises(NeedsOperator, match="no status from there"):
        read_status("http://127.0.0.1:1", ca_file=None, token=None)


def test_a_running_service_says_how_its_partitions_do() -> None:
    page = b"""# HELP detector_model_version x
detector_model_version{partition="3"} 6
detector_warming_up{partition="3"} 1
detector_partition_lag_records{partition="3"} NaN
detector_partition_lag_seconds{partition="3"} 2.5
detector_alert_budget_per_day{partition="3"} 20.25
detector_alert_budget_used_ratio{partition="12"} 0.5
detector_alerts_total{partition="3",severity="low"} 7
detector_model_version{partition="x"} 6
detector_model_version{partition="4"} six
"""
    server = HttpServer("127.0.0.1:0", Status, lambda: 0.0, lambda _: (page, "text/plain"), token="secret")
    server.start()
    try:
        assert read_figures(server.url, ca_file=None, token="secret") == {
            3: ShardFigures(warming_up=True, model_version=6, lag_s=2.5, alerts_per_day=20.25),
            12: ShardFigures(budget_used=0.5),
        }
        with pytest.raises(CredentialsError, match=r"refuses http\.token"):
            read_figures(server.url, ca_file=None, token="other")
    finally:
        server.stop()


def test_a_report_is_made_from_the_newest_checkpoint(tmp_path: Path) -> None:
    fields = [
        {"name": "amount", "path": "amount", "type": "numeric"},
        {"name": "kind", "path": "kind", "type": "categorical"},
    ]
    entities = [{"name": "card", "path": "card"}]
    event = {"id": "id", "time": {"path": "t"}, "fields": fields, "entities": entities}
    config = Config.model_validate({"event": event})
    wanted = config.model_part(partitions=1)
    identity = Identity(topic="transactions", group="detector", partition=0, entity_key=b"key")
    partition = Partition(identity, wanted, Partition.begin(wanted, 0), until=0)
    partition.barrier(Barrier(position=0, cause="every"), {})
    empty = partition.snapshot()
    save(tmp_path, empty, group="detector", topic="transactions")
    with pytest.raises(NeedsOperator, match="says anything of drift yet"):
        drift_report(config, folder=tmp_path)
    layout = Layout(wanted.event, wanted.model.features)
    full = replace(empty, state={**empty.state, "drift": watched(2.0, columns(layout)).to_state()})
    save(tmp_path / "full", full, group="detector", topic="transactions")
    (found,) = drift_report(config, folder=tmp_path / "full")["partitions"]
    assert [one["field"] for one in found["fields"]] == ["amount", "kind", "time"]
    assert found["fields"][0]["threshold"] is None  # not judged yet
