"""What is exported is what docs/METRICS.md says, right from the start, and while the loop writes."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from detector.core.alerts.policy import SEVERITIES, SUPPRESSED_REASONS
from detector.core.events.admission import IRREGULARITIES
from detector.core.events.parser import REASONS
from detector.core.labels.feedback import OUTCOMES
from detector.core.reporting.telemetry import Telemetry
from detector.shell.metrics import TelemetryCollector, renderer

TABLE = Path(__file__).parents[2] / "docs" / "METRICS.md"
BUILD = {"version": "1.2.3", "python": "3.11"}
CONFIG = {"model": "0123456789ab", "delivery": "exactly_once"}


def busy() -> Telemetry:
    """Telemetry in which every number of partition 3 has a value."""
    telemetry = Telemetry()
    telemetry.owned = frozenset({3})
    numbers = telemetry.partitions[3]
    numbers.received, numbers.scored, numbers.replayed, numbers.key_mismatches = 10, 8, 5, 1
    numbers.rejected["not_json"] += 2
    numbers.alerts["high"] += 4
    numbers.suppressed["budget"] += 6
    numbers.labels["applied"] += 7
    numbers.drift["score_mean"] += 9
    numbers.irregular["late"] += 3
    numbers.lag_records, numbers.lag_seconds = 11, 1.5
    numbers.checkpoint_timestamp, numbers.journal_bytes = 1e9, 300
    numbers.barrier_position, numbers.state_hash = 4096, 0xABC
    numbers.gauges["clusters"] = 64.0
    telemetry.latency.observe_all(np.array([0.004, 0.005, 0.3, 1e6]))
    telemetry.stages["score"].observe(0.01)
    telemetry.commits.observe(0.02)
    telemetry.restores.observe(2.0)
    telemetry.commit_failures = 2
    telemetry.stable_offset_ages = {("alerts", 0): 31.5, ("alerts", 1): 0.0}
    telemetry.transactions_ended["hanging"] += 1
    return telemetry


def scrape(telemetry: Telemetry) -> dict[str, Metric]:
    """Families as a Prometheus server reads them, by their full name."""
    page, content_type = renderer(TelemetryCollector(telemetry, BUILD, CONFIG))()
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(page.decode()))
    return {f.name + "_total" * (f.type == "counter"): f for f in families}


def values(families: dict[str, Metric], name: str) -> dict[tuple[str, ...], float]:
    """Samples called `name`, by their label values in order of size."""
    family = name if name in families else re.sub("_(bucket|sum|count)$", "", name)
    return {tuple(sorted(s.labels.values())): s.value for s in families[family].samples if s.name == name}


def rows() -> Iterable[tuple[str, str, frozenset[str], str]]:
    for line in TABLE.read_text().splitlines():
        if match := re.match(r"\| `(\w+)` \| (\w+) \| ([\w, ]*?) ?\| [^|]*\| ([^|]+?) \|", line):
            name, kind, labels, meaning = match.groups()
            yield name, kind, frozenset(re.findall(r"\w+", labels)), meaning


def test_the_table_and_the_exporter_agree_exactly() -> None:
    exported = {
        (name, family.type, label_names(family), family.documentation)
        for name, family in scrape(busy()).items()
    }
    table = list(rows())
    assert set(table) == exported
    assert len(table) == len(exported)


def label_names(family: Metric) -> frozenset[str]:
    (names,) = {frozenset(sample.labels) - {"le"} for sample in family.samples}
    return names


def test_every_family_is_there_before_anything_happened() -> None:
    assert scrape(Telemetry()).keys() == scrape(busy()).keys()


def test_numbers_arrive_as_they_were_written() -> None:
    families = scrape(busy())
    for name, expected in {
        "detector_events_received_total": {("3",): 10},
        "detector_events_scored_total": {("3",): 8},
        "detector_events_rejected_total": {("3", reason): 2 * (reason == "not_json") for reason in REASONS},
        "detector_events_replayed_total": {("3",): 5},
        "detector_alerts_suppressed_total": {
            ("3", reason): 6 * (reason == "budget") for reason in SUPPRESSED_REASONS
        },
        "detector_labels_total": {("3", outcome): 7 * (outcome == "applied") for outcome in OUTCOMES},
        "detector_key_mismatches_total": {("3",): 1},
        "detector_events_irregular_total": {("3", kind): 3 * (kind == "late") for kind in IRREGULARITIES},
        "detector_drift_total": {("3", "score_mean"): 9},
        "detector_partition_lag_records": {("3",): 11},
        "detector_partition_lag_seconds": {("3",): 1.5},
        "detector_checkpoint_timestamp_seconds": {("3",): 1e9},
        "detector_journal_bytes": {("3",): 300},
        "detector_model": {("3", "clusters"): 64},
        "detector_commit_failures_total": {(): 2},
        "detector_stage_duration_seconds_count": {("score",): 1},
        "detector_restore_duration_seconds_sum": {(): 2.0},
        "detector_build_info": {("1.2.3", "3.11"): 1},
        "detector_config_info": {("0123456789ab", "exactly_once"): 1},
    }.items():
        assert values(families, name) == expected, name


def test_histograms_are_cumulative_with_inclusive_bounds() -> None:
    families = scrape(busy())
    buckets = values(families, "detector_event_latency_seconds_bucket")
    assert buckets[("0.005",)] == 2
    assert buckets[("0.25",)] == 2
    assert buckets[("0.5",)] == 3
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
        "detector_events_rejected_total": REASONS,
        "detector_alerts_suppressed_total": SUPPRESSED_REASONS,
    }.items():
        assert values(families, name) == {(p, label): 0 for p in ("0", "7") for label in labels}, name
    assert dict(telemetry.partitions) == {}  # looking changes nothing


def test_gauges_leave_with_the_partition_and_counters_stay() -> None:
    telemetry = busy()
    telemetry.owned = frozenset()
    families = scrape(telemetry)
    assert values(families, "detector_events_received_total") == {("3",): 10}
    for name, family in families.items():
        if family.type == "gauge" and not name.endswith("_info") and "_output_" not in name:
            assert family.samples == [], name


def test_what_is_not_known_yet_is_not_shown() -> None:
    telemetry = Telemetry()
    telemetry.owned = frozenset({0})
    assert values(scrape(telemetry), "detector_partition_lag_records") == {}


def test_scrapes_are_whole_while_the_loop_writes() -> None:
    telemetry = Telemetry()
    render = renderer(TelemetryCollector(telemetry, BUILD, CONFIG))
    done = threading.Event()

    def loop() -> None:
        try:
            for turn in range(400):
                telemetry.owned = frozenset({turn % 50})
                numbers = telemetry.partitions[turn]
                numbers.rejected[f"reason {turn}"] += 1
                numbers.gauges[f"gauge {turn}"] = turn
                telemetry.stages[f"stage {turn}"].observe(turn)
                telemetry.latency.observe_all(np.full(3, float(turn)))
        finally:
            done.set()

    writer = threading.Thread(target=loop)
    writer.start()
    while not done.is_set():
        page, _ = render()
        families = {f.name: f for f in text_string_to_metric_families(page.decode())}
        samples = {s.name: s.value for s in families["detector_event_latency_seconds"].samples}
        assert samples["detector_event_latency_seconds_count"] % 3 == 0
    writer.join()
    assert telemetry.latency.counts.sum() == 3 * 400
