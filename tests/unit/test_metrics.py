"""The exported metrics agree with docs/reference/metrics.md, from the start and while the loop writes."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from itertools import pairwise
from math import isnan
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from detector.core.alerts.cases import CAUSES
from detector.core.alerts.policy import SUPPRESSED_REASONS
from detector.core.alerts.severity import SEVERITIES
from detector.core.labels.peer_messages import OUTCOMES as EXCHANGE_OUTCOMES
from detector.core.records import IRREGULARITIES, REASONS
from detector.core.reporting.standing import FAILURES, STATES
from detector.core.reporting.telemetry import CHANGES, LABEL_COUNTS, STAGES, WAIT_BOUNDS, Telemetry
from detector.shell.metrics import (
    METRICS,
    NOTIFY_METRICS,
    Metric,
    TelemetryCollector,
    markdown_table,
    renderer,
)

ROOT = Path(__file__).parents[2]
OF_PARTITIONS = {metric.name for metric in METRICS if metric.scope == "model"}
DOCUMENT = ROOT / "docs" / "reference" / "metrics.md"
BUILD = {"version": "1.2.3", "python": "3.11"}
NOW_S = 100.0  # monotonic, of the scrape
TOPIC = "transactions"
CONFIG = {"model": "0123456789ab", "delivery": "exactly_once", "shadow": ""}


def busy() -> Telemetry:
    """Telemetry in which every number of partition 3 has a value."""
    telemetry = Telemetry()
    telemetry.owned = frozenset({3})
    numbers = telemetry.partitions[3]
    numbers.received, numbers.scored, numbers.replayed, numbers.key_mismatches = 10, 8, 5, 1
    numbers.rejected["malformed"] += 2
    numbers.alerts["high"] += 4
    telemetry.latest_alerts[3, "high"] = 4711, 1_700_000_000.25
    numbers.suppressed["budget"] += 6
    numbers.labels["applied"] += 7
    numbers.irregular["late"] += 3
    numbers.standing.processed, numbers.standing.assigned_s, numbers.standing.moved_s = 100, 0.0, 30.0
    numbers.standing.state, numbers.standing.progress = "running", 1.0
    numbers.log.note(40.0, 100, 100)
    numbers.log.note(NOW_S - 1.5, 111, 100)
    numbers.checkpoints.since_s, numbers.checkpoints.bytes = 20.0, 5000
    numbers.checkpoints.failures["full"] += 1
    numbers.checkpoints.journal_bytes = 300
    numbers.barrier = 4096, 0xABC
    numbers.gauges = {"clusters": 64.0, "encoder_step": 7.0}
    telemetry.latency.observe_all(np.array([0.004, 0.005, 0.3, 1e6]))
    telemetry.stages["score"].observe(0.01)
    telemetry.commits.observe(0.02)
    telemetry.restores.observe(2.0)
    telemetry.commit_failures = 2
    telemetry.ready, telemetry.heartbeat = True, NOW_S - 0.25
    telemetry.outages.count, telemetry.outages.since_s = 2, NOW_S - 7
    telemetry.outages.durations.observe(41.0)
    telemetry.changes["assigned"] += 1
    telemetry.checkpoints.observe(0.5)
    telemetry.store_free_bytes, telemetry.memory_limit_bytes = 10**9, 2**31
    telemetry.retention_s, telemetry.recovery_s = {TOPIC: 604_800.0}, 345_600.0
    telemetry.stable_offset_ages = {("alerts", 0): 31.5, ("alerts", 1): 0.0}
    telemetry.transactions_ended["hanging"] += 1
    return telemetry


def render(telemetry: Telemetry) -> Callable[[bool], tuple[bytes, str]]:
    return renderer(TelemetryCollector(telemetry, BUILD, CONFIG, topic=TOPIC, monotonic=lambda: NOW_S))


def scrape(telemetry: Telemetry) -> dict[str, Family]:
    """Families as a Prometheus server reads them, by their full name."""
    page, content_type = render(telemetry)(False)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(page.decode()))
    found = {f.name + "_total" * (f.type == "counter"): f for f in families}
    assert found["process_resident_memory_bytes"].samples[0].value > 0
    return {name: family for name, family in found.items() if not name.startswith("process_")}


def values(families: dict[str, Family], name: str) -> dict[tuple[str, ...], float]:
    """Samples called `name`, by their label values in order of size."""
    family = name if name in families else re.sub("_(bucket|sum|count)$", "", name)
    return {tuple(sorted(s.labels.values())): s.value for s in families[family].samples if s.name == name}


def test_the_documentation_has_the_table_of_the_metrics() -> None:
    assert f"\n{markdown_table()}\n" in DOCUMENT.read_text()


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("Outcomes of labels", LABEL_COUNTS),
        ("Outcomes of exchange messages", EXCHANGE_OUTCOMES),
        ("Kinds of irregular events", IRREGULARITIES),
    ],
)
def test_the_documentation_explains_every_value_of_a_label(heading: str, names: tuple[str, ...]) -> None:
    section = DOCUMENT.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(names)


def test_the_documentation_names_no_other_metric() -> None:
    """Also not in a query of an alert, or a part of a histogram."""
    known = (
        {metric.name for metric in METRICS}
        | set(NOTIFY_METRICS)
        | {"detector_build_info", "detector_config_info"}
    )
    headers = {f"detector_{name}" for name in ("reason", "detail", "topic", "partition", "offset")}
    examples = ROOT / "docs" / "how-to" / "extending.md"
    for path in {ROOT / "README.md", *(ROOT / "docs").rglob("*.md")} - {examples}:
        for name in re.findall(r"\bdetector_[a-z_]+", path.read_text()):
            base = re.sub("_(bucket|sum|count)$", "", name)
            assert base in known | headers or "_cut" in name, (path.name, name)


def test_the_table_and_the_exporter_agree() -> None:
    exported = scrape(busy())
    assert [metric.name for metric in METRICS] == [name for name in exported if not name.endswith("_info")]
    for metric in METRICS:
        family = exported[metric.name]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), metric.name


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_rules_of_prometheus(metric: Metric) -> None:
    """https://prometheus.io/docs/practices/naming/"""
    assert re.fullmatch(r"detector_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    for unit, suffix in {
        "seconds": "_seconds",
        "bytes": "_bytes",
        "0 to 1": "_ratio",
        "score": "_score",
    }.items():
        assert (metric.unit == unit) <= metric.name.endswith(suffix)
    assert metric.help.endswith(".")
    assert "|" not in metric.help


def test_every_family_is_there_before_anything_happened() -> None:
    assert scrape(Telemetry()).keys() == scrape(busy()).keys()


def test_numbers_arrive_as_they_were_written() -> None:
    families = scrape(busy())
    for name, expected in {
        "detector_events_received_total": {("3",): 10},
        "detector_events_scored_total": {("3",): 8},
        "detector_events_rejected_total": {(reason,): 2 * (reason == "malformed") for reason in REASONS},
        "detector_events_replayed_total": {("3",): 5},
        "detector_alerts_suppressed_total": {
            ("3", reason): 6 * (reason == "budget") for reason in SUPPRESSED_REASONS
        },
        "detector_labels_total": {(outcome,): 7 * (outcome == "applied") for outcome in LABEL_COUNTS},
        "detector_key_mismatches_total": {("3",): 1},
        "detector_events_irregular_total": {(kind,): 3 * (kind == "late") for kind in IRREGULARITIES},
        "detector_partition_lag_records": {("3",): 11},
        "detector_partition_lag_seconds": {("3",): 1.5},
        "detector_partition_lag_age_seconds": {("3",): 1.5},
        "detector_partition_newest_record_age_seconds": {("3",): 1.5},
        "detector_partition_event_age_seconds": {("3",): 70},
        "detector_partition_state": {("3", state): int(state == "running") for state in STATES},
        "detector_restore_progress_ratio": {("3",): 1},
        "detector_checkpoint_age_seconds": {("3",): 80},
        "detector_checkpoint_bytes": {("3",): 5000},
        "detector_checkpoint_failures_total": {("3", kind): int(kind == "full") for kind in FAILURES},
        "detector_checkpoint_store_free_bytes": {(): 1e9},
        "detector_ready": {(): 1},
        "detector_loop_heartbeat_age_seconds": {(): 0.25},
        "detector_rebalances_total": {(kind,): int(kind == "assigned") for kind in CHANGES},
        "detector_outages_total": {(): 2},
        "detector_outage_seconds": {(): 7},
        "detector_outage_duration_seconds_sum": {(): 41},
        "detector_journal_bytes": {("3",): 300},
        "detector_clusters": {("3",): 64},
        "detector_encoder_steps_total": {("3",): 7},
        "detector_commit_failures_total": {(): 2},
        "detector_stage_duration_seconds_count": {(stage,): int(stage == "score") for stage in STAGES},
        "detector_restore_duration_seconds_sum": {(): 2.0},
        "detector_build_info": {("1.2.3", "3.11"): 1},
        "detector_config_info": {("", "0123456789ab", "exactly_once"): 1},
    }.items():
        assert values(families, name) == expected, name


def test_histograms_are_cumulative_with_inclusive_bounds() -> None:
    families = scrape(busy())
    buckets = values(families, "detector_event_latency_seconds_bucket")
    assert buckets[("0.005",)] == 2
    assert buckets[("0.2",)] == 2
    assert buckets[("0.3",)] == 3
    assert buckets[("3600.0",)] == 3
    assert buckets[("+Inf",)] == 4
    assert values(families, "detector_event_latency_seconds_count") == {(): 4}
    assert values(families, "detector_event_latency_seconds_sum") == {(): pytest.approx(1e6 + 0.309)}


def test_an_owned_partition_counts_from_zero_before_its_first_event() -> None:
    telemetry = Telemetry()
    telemetry.owned = frozenset({0, 7})
    families = scrape(telemetry)
    assert values(families, "detector_events_received_total") == {("0",): 0, ("7",): 0}
    for name, labels in {
        "detector_alerts_total": SEVERITIES,
        "detector_alerts_suppressed_total": SUPPRESSED_REASONS,
    }.items():
        assert values(families, name) == {(p, label): 0 for p in ("0", "7") for label in labels}, name
    assert values(families, "detector_case_updates_total") == {(cause,): 0 for cause in CAUSES}
    assert values(families, "detector_events_rejected_total") == {(reason,): 0 for reason in REASONS}
    assert dict(telemetry.partitions) == {}  # looking changes nothing


def test_gauges_and_counters_of_the_model_leave_with_the_partition_and_other_counters_stay() -> None:
    telemetry = busy()
    telemetry.owned = frozenset()
    families = scrape(telemetry)
    assert values(families, "detector_events_received_total") == {("3",): 10}
    for name, family in families.items():
        if name in OF_PARTITIONS and family.type == "gauge":
            assert family.samples == [], name
    assert values(families, "detector_encoder_steps_total") == {}


def test_what_is_not_known_is_no_number() -> None:
    telemetry = Telemetry()
    telemetry.owned = frozenset({0})
    assert isnan(values(scrape(telemetry), "detector_partition_lag_records")[("0",)])
    assert values(scrape(telemetry), "detector_clusters") == {}


def test_a_time_is_read_at_most_twice_as_long_as_it_was() -> None:
    """Prometheus interpolates within a bucket: from edges 10, 60, 600 it read 594 s for what took 70."""
    assert all(after <= 2 * before for before, after in pairwise(WAIT_BOUNDS))
    assert WAIT_BOUNDS[0] <= 0.005
    assert WAIT_BOUNDS[-1] >= 3600


def test_scrapes_are_whole_while_the_loop_writes() -> None:
    telemetry = Telemetry()
    write = render(telemetry)
    done = threading.Event()

    def loop() -> None:
        try:
            for turn in range(400):
                telemetry.owned = frozenset({turn % 50})
                numbers = telemetry.partitions[turn]
                numbers.rejected[f"reason {turn}"] += 1
                numbers.gauges["clusters"] = turn
                telemetry.stages[f"stage {turn}"].observe(turn)
                telemetry.latency.observe_all(np.full(3, float(turn)))
        finally:
            done.set()

    writer = threading.Thread(target=loop)
    writer.start()
    while not done.is_set():
        page, _ = write(False)
        families = {f.name: f for f in text_string_to_metric_families(page.decode())}
        samples = {s.name: s.value for s in families["detector_event_latency_seconds"].samples}
        assert samples["detector_event_latency_seconds_count"] % 3 == 0
    writer.join()
    assert telemetry.latency.counts.sum() == 3 * 400
