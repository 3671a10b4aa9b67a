"""The `/metrics` page: `METRICS` lists every metric, `TelemetryCollector` exports them.

To add a metric, add a field to `detector.core.reporting.telemetry` (or a number to `Shard.gauges`) and a row
to `METRICS`. `make docs` makes the table of `docs/reference/metrics.md` from it; a test compares the two.

Counters of deliveries are exported for every partition that this process has had, because a counter must not
go back. Gauges, and counters that are part of a model's state, are exported for the partitions that it has
now: another replica exports the rest. All numbers are read at the scrape, so exporting costs the loop
nothing. `vitals` has the metrics of whether the service works.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import nan
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from detector.core.reporting.telemetry import Histogram, PartitionTelemetry, Telemetry
from detector.shell.metrics.drift import DRIFT
from detector.shell.metrics.exposition import write
from detector.shell.metrics.kinds import Metric, Moment, as_tuple
from detector.shell.metrics.kinds import delivery as _delivery
from detector.shell.metrics.kinds import model as _model
from detector.shell.metrics.kinds import summed as _summed
from detector.shell.metrics.vitals import VITALS

METRICS: tuple[Metric, ...] = (
    # --- what was delivered ---
    _delivery(
        "detector_events_received_total",
        "events",
        "Events received from the transactions topic.",
        lambda p: p.received,
        alert="`sum(rate(detector_events_received_total[10m])) == 0` while producers run",
    ),
    _delivery("detector_events_scored_total", "events", "Events scored.", lambda p: p.scored),
    _summed(
        "detector_events_rejected_total",
        "events",
        "Events not scored and sent to the dead letter topic, by reason.",
        lambda p: p.rejected,
        "reason",
        alert="`sum(rate(detector_events_rejected_total[10m])) / "
        "sum(rate(detector_events_received_total[10m])) > 0.01`",
    ),
    _delivery(
        "detector_events_replayed_total",
        "events",
        "Events processed again to restore a model; no other counter includes them.",
        lambda p: p.replayed,
    ),
    _delivery(
        "detector_state_mismatches_total",
        "barriers",
        "Replayed barriers after which the state differed from the journal.",
        lambda p: p.state_mismatches,
        alert="`increase(detector_state_mismatches_total[1h]) > 0`: replicas compute different numbers "
        "(other CPU or library versions)",
    ),
    _delivery(
        "detector_events_lost_total",
        "offsets",
        "Offsets that the log deleted before they were processed (on_data_loss: skip).",
        lambda p: p.lost,
        alert="`increase(detector_events_lost_total[1h]) > 0`",
    ),
    _delivery(
        "detector_alerts_total",
        "alerts",
        "Alerts published, by severity.",
        lambda p: p.alerts,
        "severity",
        alert="`sum(increase(detector_alerts_total[1d]))` above twice the budget",
        exemplars=lambda t: t.latest_alerts,
    ),
    _delivery(
        "detector_alerts_suppressed_total",
        "events",
        "Events above the threshold that gave no alert, by reason.",
        lambda p: p.suppressed,
        "reason",
    ),
    _summed(
        "detector_case_updates_total",
        "updates",
        "Updates of cases, by cause.",
        lambda p: p.case_updates,
        "cause",
    ),
    _summed(
        "detector_labels_total",
        "labels",
        "Labels of the feedback topic, by outcome; each one counts once, over all partitions.",
        lambda p: p.labels,
        "outcome",
        alert='`sum(increase(detector_labels_total{outcome="read"}[1d])) - '
        'sum(increase(detector_labels_total{outcome!="read"}[1d])) > 0`: labels of unknown events',
    ),
    _summed(
        "detector_receipts_total",
        "receipts",
        "Receipts of feedback records, by status.",
        lambda p: p.receipts,
        "status",
        alert='`increase(detector_receipts_total{status="malformed"}[1h]) > 0`: some feedback is not '
        "understood; the receipts say why",
    ),
    _summed(
        "detector_exchange_messages_total",
        "messages",
        "Messages published to peers and received from them, by outcome.",
        lambda p: p.exchange,
        "outcome",
        alert='`increase(detector_exchange_messages_total{outcome=~"malformed\\|too_large"}[1h]) > 0`: '
        "something else writes to the topic, or a model is too large to publish",
    ),
    _delivery(
        "detector_key_mismatches_total",
        "events",
        "Events whose record key differs from their main entity.",
        lambda p: p.key_mismatches,
        alert="`rate(detector_key_mismatches_total[10m]) > 0`: the topic is not keyed as the schema says",
    ),
    _summed(
        "detector_events_irregular_total",
        "events",
        "Events out of order, late or repeated, scored or rejected, and records skipped, by kind.",
        lambda p: p.irregular,
        "kind",
        alert='`sum(rate(detector_events_irregular_total{kind="duplicate"}[10m])) / '
        "sum(rate(detector_events_received_total[10m])) > 0.05`: ids are not unique, or a producer repeats "
        "events",
    ),
    _summed(
        "detector_values_unreadable_total",
        "values",
        "Values of scored events that could not be read and count as missing, by entity or field.",
        lambda p: p.unreadable,
        "field",
        alert="`sum by (field) (rate(detector_values_unreadable_total[10m])) > 0`: a producer writes this "
        "field in another way; `event.number` and `event.missing` say how values are written",
    ),
    # --- the model ---
    _model("detector_model_events", "events", "events", "Events accepted since the model began."),
    _model("detector_warming_up", "warm_up", "0 or 1", "1 while the model is warming up: its alerts say so."),
    _model(
        "detector_model_version", "version", "version", "Number of times that a new encoder began to serve."
    ),
    _model("detector_encoder_steps_total", "encoder_step", "steps", "Training steps of the serving encoder."),
    _model(
        "detector_encoder_version",
        "encoder_version",
        "version",
        "Version of the encoder that serves (`detector model list`); 0: what a model file brought, or none.",
    ),
    _model(
        "detector_promotions_refused_total",
        "promotions_refused",
        "encoders",
        "New encoders that were judged worse than the one that serves and did not replace it.",
        alert="`increase(detector_promotions_refused_total[1d]) > 0`: the log line `promotion_refused` says "
        "why; more than one: the learner does not recover",
    ),
    _model(
        "detector_promotions_held",
        "promotions_held",
        "0 or 1",
        "1 while an operator holds the encoder that serves (`detector model hold` or `rollback`).",
    ),
    _model("detector_encoder_loss", "encoder_loss", "", "Training loss of the encoder, a moving average."),
    _model(
        "detector_index_vectors",
        "index_vectors",
        "vectors",
        "Distinct core events that are searched for the nearest ones of an event.",
    ),
    _model(
        "detector_index_recall_ratio",
        "index_recall",
        "ratio",
        "Share of an event's 4 nearest core events that HNSW finds, measured on a sample at the last refit; "
        "1 where search is exact.",
        alert="`detector_index_recall_ratio < 0.95`: raise `model.index.ef`",
    ),
    _model(
        "detector_index_deleted_ratio",
        "index_deleted",
        "ratio",
        "Share of the HNSW graph's vectors that have left the core; it is built anew before half have.",
    ),
    _model(
        "detector_index_hnsw_ratio",
        "index_share",
        "ratio",
        "Share of the searches for scores that HNSW answers; the others are exact.",
    ),
    _model("detector_shifts_total", "shifts", "shifts", "Changes of the stream that the model has followed."),
    _model("detector_clusters", "clusters", "clusters", "Clusters of normal events that serve."),
    _model(
        "detector_core_events", "core_events", "events", "Accepted events in the sample of normal events."
    ),
    _model("detector_profiles", "profiles", "profiles", "Profiles of entities and pairs of entities."),
    _model(
        "detector_alert_threshold_score",
        "threshold",
        "score",
        "Lowest score that gives an alert now; 0 until there is a threshold.",
    ),
    _model(
        "detector_trim_threshold_score",
        "trim",
        "score",
        "Score above which an event is not accepted as normal; 0 until the first barrier.",
    ),
    _model("detector_events_per_day", "events_per_day", "events per day", "Rate of events, in event time."),
    _model(
        "detector_answerable_events",
        "answerable",
        "events",
        "Events that a label can refer to: recent ones, alerted and labelled older ones, and a sample.",
    ),
    _model(
        "detector_answerable_sample_ratio",
        "answerable_share",
        "ratio",
        "Share of the events without an alert that are still answerable once they are no longer recent.",
    ),
    _model(
        "detector_answerable_dropped_total",
        "answerable_dropped",
        "events",
        "Alerted or labelled events dropped, for want of space, before model.labels.answerable_for was over.",
        alert="`increase(detector_answerable_dropped_total[1h]) > 0`: raise `model.labels.buffer_bytes_max`, "
        "or lower the alert budget or `answerable_for`",
    ),
    _model("detector_labels_held", "labels", "labels", "Events with a label in force."),
    _model(
        "detector_label_weight_ratio",
        "label_weight",
        "0 to 1",
        "Weight of the labelled part in the score, as earned by its skill.",
    ),
    _model("detector_fraud_rate_keys", "fraud_keys", "keys", "Entities and categories with a known fraud."),
    _model(
        "detector_alert_budget_per_day",
        "budget",
        "alerts per day",
        "Alerts a day that the alert budget allows; sum it over all partitions.",
    ),
    _model(
        "detector_alert_budget_used_ratio",
        "budget_used",
        "ratio",
        "Used part of the alert budget's balance: 0.5 while alerts are published as they are earned, 1 when "
        "there is no room for one more alert that is not critical.",
        alert="`detector_alert_budget_used_ratio >= 1` for an hour: candidates are held back",
    ),
    _model(
        "detector_budget_overdrafts_total",
        "overdrafts",
        "alerts",
        "Critical alerts published beyond the alert budget.",
    ),
    _model("detector_cases_open", "open_cases", "cases", "Open cases."),
    _model(
        "detector_exchange_changes_dropped_total",
        "changes_dropped",
        "changes",
        "Changes of fraud rates that were too many to publish to peers.",
    ),
    _model("detector_peer_frauds", "peer_frauds", "frauds", "Confirmed frauds received from peers and kept."),
    _model(
        "detector_exploration_answers",
        "explored_answers",
        "answers",
        "Answered exploration alerts among the last 16384 alerts.",
    ),
    _model(
        "detector_missed_frauds",
        "missed_frauds",
        "frauds",
        "Estimated frauds that gave no alert for their score.",
    ),
    _model(
        "detector_missed_frauds_standard_error",
        "missed_frauds_error",
        "frauds",
        "Standard error of detector_missed_frauds.",
    ),
    _model(
        "detector_recall_ratio",
        "recall",
        "0 to 1",
        "Estimated share of frauds that gave an alert for their score.",
    ),
    _model(
        "detector_recall_standard_error_ratio",
        "recall_error",
        "0 to 1",
        "Standard error of detector_recall_ratio.",
    ),
    *DRIFT,
    *VITALS,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Info:
    """A metric that is always 1; its labels are facts about the process."""

    name: str
    help: str
    labels: tuple[str, ...]
    alert: str


BUILD_INFO = Info(
    name="detector_build_info",
    help="Version of the detector and of Python; always 1.",
    labels=("version", "python"),
    alert="`count(count by (version) (detector_build_info)) > 1` for longer than a roll-out",
)
CONFIG_INFO = Info(
    name="detector_config_info",
    help="Hash of the active model configuration, the delivery mode, and the name of a shadow; always 1.",
    labels=("model", "delivery", "shadow"),
    alert='`count(count by (model) (detector_config_info{shadow=""})) > 1` for longer than a roll-out',
)

# OpenMetrics allows an exemplar 128 characters; names, partition and offset take up to 49.
_EXEMPLAR_TOPIC_CHARS_MAX = 79
INFOS = (BUILD_INFO, CONFIG_INFO)
_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}


class TelemetryCollector(Collector):
    """Reads `Telemetry` at each scrape, from any thread.

    Parameters
    ----------
    telemetry
        Numbers that the loop writes.
    build
        Labels of `BUILD_INFO`: version, python.
    config_info
        Labels of `CONFIG_INFO`: model (hash of the settings that alerts depend on), delivery, shadow. Read
        each time.
    topic
        Name of the transactions topic, for exemplars.
    monotonic, wall
        Clocks, s: that of the loop, and the time since the epoch.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        build: Mapping[str, str],
        config_info: Mapping[str, str],
        *,
        topic: str = "",
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._telemetry = telemetry
        self._topic = topic if len(topic) <= _EXEMPLAR_TOPIC_CHARS_MAX else ""
        self._clocks = monotonic, wall
        self._infos = ((BUILD_INFO, dict(build)), (CONFIG_INFO, config_info))

    def collect(self) -> Iterator[Family]:
        """Every metric in the order of the table, also those without a sample yet."""
        telemetry, moment = self._telemetry, Moment(*(clock() for clock in self._clocks))
        owned = telemetry.owned
        seen = dict(telemetry.partitions)  # atomic under the interpreter's lock: the loop may add to it
        seen |= {partition: PartitionTelemetry() for partition in owned if partition not in seen}
        mine = {partition: numbers for partition, numbers in seen.items() if partition in owned}
        for metric in METRICS:
            family = _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)
            partitions = mine if metric.scope == "model" else seen
            for labels, value in _samples(metric, telemetry, partitions, moment):
                if isinstance(value, Histogram):
                    family.add_metric(labels, *_buckets(value))
                else:
                    family.add_metric(labels, value)
            if metric.exemplars is not None:
                self._add_exemplars(family, metric.exemplars(telemetry))
            yield family
        for info, values in self._infos:
            gauge = GaugeMetricFamily(info.name, info.help, labels=info.labels)
            gauge.add_metric([values[label] for label in info.labels], 1)
            yield gauge

    def _add_exemplars(self, family: Family, latest: Mapping[tuple[int, str], tuple[int, float]]) -> None:
        """Name the last event of each series by its coordinates, as `detector explain` takes them."""
        topic = {"topic": self._topic} if self._topic else {}
        for number, sample in enumerate(family.samples):
            partition, value = sample.labels.values()
            found = latest.get((int(partition), value))
            if found is not None:
                labels = {**topic, "partition": partition, "offset": str(found[0])}
                family.samples[number] = sample._replace(exemplar=Exemplar(labels, 1.0, found[1]))


def renderer(*collectors: Collector) -> Callable[[bool], tuple[bytes, str]]:
    """Put `collectors` on a registry of their own, with `process_*`: memory, CPU, open files, start time.

    Returns
    -------
    callable
        Gives one scrape: the exposition and its content type; True: as OpenMetrics. The HTTP server needs
        nothing else from here.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    for collector in collectors:
        registry.register(collector)
    return lambda openmetrics: write(registry.collect(), openmetrics=openmetrics)


def _samples(
    metric: Metric, telemetry: Telemetry, partitions: Mapping[int, PartitionTelemetry], moment: Moment
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Label values with numbers or histograms."""
    sources: Iterable[tuple[tuple[str, ...], object]] = (
        [((), telemetry)]
        if metric.scope == "process"
        else [((str(partition),), numbers) for partition, numbers in sorted(partitions.items())]
    )
    for labels, source in sources:
        value = metric.read(source, moment) if metric.timed else metric.read(source)
        if metric.label is not None:
            for label, number in sorted(dict(value).items()):
                yield (*labels, *map(str, as_tuple(label))), number
        elif value is not None or metric.always:
            yield labels, nan if value is None else value


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    total = histogram.sum  # read before the counts: at most one batch behind them
    counts: Iterable[int] = histogram.counts.copy().cumsum().tolist()
    bounds = [*map(str, histogram.bounds.tolist()), "+Inf"]
    return list(zip(bounds, counts, strict=True)), total
