"""The page of a scrape: formats, exemplars, and as many series as the formula says."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from detector.core.alerts.severity import SEVERITIES
from detector.core.drifted import BIN_NAMES, Drift, FieldDrift, ShareDrift
from detector.core.reporting.telemetry import Telemetry
from detector.shell.http.request import Request, read_request
from detector.shell.metrics import METRICS, TelemetryCollector, bounds_of, formula, renderer, series_max
from detector.shell.metrics.bounds import terms_of
from detector.shell.metrics.exposition import write
from tests.promql import FIXED
from tests.unit.test_metrics import BUILD, CONFIG, busy, render

SIZES = {"P": 5, "F": 7, "E": 2, "O": 12, "T": 3}


class Known(dict[str, float]):
    """Gauges of a model of which every number is known."""

    def get(self, name: str, default: Any = None) -> Any:
        return 1.5


def drift(fields: int, entities: int) -> Drift:
    """Drift of which everything is known."""
    bins = (1.0,) * len(BIN_NAMES)
    found = FieldDrift(psi=0.5, threshold=0.2, weight=0.3, since=1.0, usual=bins, current=bins)
    share = ShareDrift(current=0.2, usual=0.1, since=0.0)
    kinds = FIXED["detector_drift_new_share", "kind"]
    values = FIXED["detector_drift_embedding", "measure"], FIXED["detector_drift_labels", "measure"]
    return Drift(
        time=1.0,
        events=10,
        fields={f"field-{number}": found for number in range(fields)},
        new_shares={(f"entity-{n}", kind): share for n in range(entities) for kind in kinds},
        embedding=dict.fromkeys(values[0], 1.0),
        labels=dict.fromkeys(values[1], 1.0),
        precision=dict.fromkeys(SEVERITIES, 0.5),
        score_changes=1,
        since={},
    )


def full(p: int, f: int, e: int, o: int, t: int) -> Telemetry:
    """Telemetry in which every series exists; by the letters of the formula."""
    telemetry = busy()
    one = telemetry.partitions[3]
    one.gauges = Known()
    one.drift = drift(f, e)
    one.standing.feedback_pending = 0
    one.unreadable = {f"field-{number}": 1 for number in range(f)}
    for number in range(p):
        telemetry.partitions[number] = deepcopy(one)
    telemetry.owned = frozenset(range(p))
    telemetry.stable_offset_ages = {("alerts", number): 0.0 for number in range(o)}
    telemetry.retention_s = {f"topic-{number}": 1.0 for number in range(t)}
    return telemetry


def series(telemetry: Telemetry) -> list[str]:
    page, _ = render(telemetry)(False)
    return [line for line in page.decode().splitlines() if not line.startswith("#")]


# --- how many series ---


def test_every_label_has_a_bound() -> None:
    for metric in METRICS:
        assert tuple(bounds_of(metric)) == metric.labels


def test_a_full_scrape_has_as_many_series_as_the_formula_says() -> None:
    telemetry = full(**{name.lower(): size for name, size in SIZES.items()})
    assert len(series(telemetry)) == series_max(formula(), SIZES)
    by_metric = {metric.name: 0 for metric in METRICS}
    for line in series(telemetry):
        name = re.split("[{ ]", line)[0]
        base = name if name in by_metric else re.sub("_(bucket|sum|count)$", "", name)
        by_metric[base] = by_metric.get(base, 0) + 1
    for metric in METRICS:
        assert by_metric[metric.name] == series_max(terms_of(metric), SIZES), metric.name


def test_a_fresh_process_has_fewer() -> None:
    telemetry = Telemetry()
    telemetry.owned = frozenset(range(5))
    assert 0 < len(series(telemetry)) < series_max(formula(), SIZES)


def test_64_partitions_and_64_fields_stay_below_10_000_series() -> None:
    for partitions in (1, 16, 64):  # up to 16, drift has a series for each field of each partition
        sizes = {"P": partitions, "F": 64, "E": 3, "O": 5 * 64, "T": 3}
        assert series_max(formula(), sizes) < 10_000


def test_beyond_a_thousand_fields_of_partitions_drift_has_one_series_for_each_field() -> None:
    sizes = {"P": 40, "F": 26, "E": 1, "O": 2, "T": 1}  # 1040
    assert len(series(full(**{name.lower(): size for name, size in sizes.items()}))) == series_max(
        formula(), sizes
    )


def test_values_of_labels_that_the_code_fixes_are_the_only_ones() -> None:
    page, _ = render(full(2, 3, 1, 2, 1))(False)
    found = {f.name + "_total" * (f.type == "counter"): f for f in families(page)}
    for metric in METRICS:
        for label, bound in bounds_of(metric).items():
            values = {sample.labels[label] for sample in found[metric.name].samples}
            assert not bound.values or values <= set(bound.values), (metric.name, label)


# --- formats ---


def families(page: bytes) -> list[Family]:
    return list(text_string_to_metric_families(page.decode()))


class Odd(Collector):
    """Every kind of metric, with texts and numbers that have to be written with care."""

    def collect(self) -> list[Family]:
        counter = CounterMetricFamily("odd_things_total", 'a "help" with \\ and\na line', labels=["name"])
        counter.add_metric(['a "b"\\c\nd'], 3)
        counter.add_metric(["ü"], 1e21)
        gauge = GaugeMetricFamily("odd_gauge", "Help.")
        gauge.add_metric([], float("nan"))
        infinite = GaugeMetricFamily("odd_infinite", "Help.", labels=["sign"])
        infinite.add_metric(["+"], float("inf"))
        infinite.add_metric(["-"], float("-inf"))
        histogram = HistogramMetricFamily("odd_seconds", "Help.")
        histogram.add_metric([], [("0.5", 1), ("+Inf", 2)], 1.25)
        return [counter, gauge, infinite, histogram]


def _said(page: bytes) -> list[str]:
    return [repr((f.name, f.type, f.documentation, f.samples)) for f in families(page)]


def test_the_text_format_says_what_the_library_writes() -> None:
    registry = CollectorRegistry()
    registry.register(Odd())
    page, content_type = write(registry.collect(), openmetrics=False)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert _said(page) == _said(generate_latest(registry))


def test_the_whole_page_says_what_the_library_writes() -> None:
    registry = CollectorRegistry()
    registry.register(TelemetryCollector(full(2, 3, 1, 2, 1), BUILD, CONFIG, monotonic=lambda: 100.0))
    page, _ = write(registry.collect(), openmetrics=False)
    assert _said(page) == _said(generate_latest(registry))


@pytest.mark.parametrize("collector", [Odd(), TelemetryCollector(full(2, 3, 1, 2, 1), BUILD, CONFIG)])
def test_openmetrics_is_read_by_a_strict_parser(collector: Collector) -> None:
    page, content_type = renderer(collector)(True)
    assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    read = list(openmetrics_parser.text_string_to_metric_families(page.decode()))
    assert len(read) > 4
    assert page.endswith(b"# EOF\n")


# --- exemplars ---


def exemplars(telemetry: Telemetry, topic: str = "payments") -> dict[tuple[str, str], Any]:
    collector = TelemetryCollector(telemetry, BUILD, CONFIG, topic=topic)
    page, _ = renderer(collector)(True)
    found = openmetrics_parser.text_string_to_metric_families(page.decode())
    samples = next(family for family in found if family.name == "detector_alerts").samples
    return {
        (sample.labels["partition"], sample.labels["severity"]): sample.exemplar
        for sample in samples
        if sample.exemplar is not None
    }


def test_an_alert_counter_names_its_last_event() -> None:
    [(where, exemplar)] = exemplars(busy()).items()
    assert where == ("3", "high")
    assert exemplar.labels == {"topic": "payments", "partition": "3", "offset": "4711"}
    assert (exemplar.value, float(exemplar.timestamp)) == (1.0, 1_700_000_000.25)


def test_an_exemplar_stays_within_the_limit_of_openmetrics() -> None:
    """Beyond 128 characters Prometheus drops it; a topic may have 249."""
    telemetry = busy()
    telemetry.partitions[2_147_483_647].alerts["critical"] = 1
    telemetry.latest_alerts[2_147_483_647, "critical"] = 2**63 - 1, 1_700_000_000.0
    for length in (79, 80, 249):
        for exemplar in exemplars(telemetry, "t" * length).values():
            assert sum(len(name) + len(value) for name, value in exemplar.labels.items()) <= 128
            assert ("topic" in exemplar.labels) == (length <= 79)


# --- who gets which ---


def accepts(value: str) -> bool:
    request = read_request(f"GET /metrics HTTP/1.1\r\nAccept: {value}\r\n\r\n".encode())
    assert isinstance(request, Request)
    return request.openmetrics


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            True,
        ),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", True),
        ("Application/OpenMetrics-Text", True),
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6", True),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;version=1.0.0;q=0", False),
        ("application/openmetrics-text;version=1.0.0;q=0.000", False),
        ("text/plain;version=0.0.4", False),
        ("text/html,*/*", False),
        (";;,=,", False),
        ("", False),
    ],
)
def test_openmetrics_is_for_those_who_take_it(value: str, expected: bool) -> None:
    assert accepts(value) == expected
