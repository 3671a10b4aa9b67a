"""The runner's numbers in Prometheus' words. `docs/METRICS.md` is the contract; a test compares the two.

Counters are shown for every partition this process has ever had, as they must not go back; gauges for those
it has now, as another replica tells the rest. All is read at the scrape from copies of what the loop writes:
the loop pays nothing for being watched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from detector.core.reporting.telemetry import Histogram, PartitionTelemetry, Telemetry

Number = int | float | None
OfPartition = Callable[[PartitionTelemetry], "Number | Mapping[str, int] | Mapping[str, float]"]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric of one partition: its name, what it means, where it comes from."""

    name: str
    meaning: str
    read: OfPartition  # a number, or numbers by the value of `label`
    label: str | None = None  # beside `partition`

    @property
    def labels(self) -> tuple[str, ...]:
        """All label names, in order."""
        return ("partition",) if self.label is None else ("partition", self.label)


COUNTERS = (
    Family("detector_events_received_total", "Events taken from the log.", lambda p: p.received),
    Family("detector_events_scored_total", "Events scored.", lambda p: p.scored),
    Family(
        "detector_events_rejected_total",
        "Events that could not be read or may not enter, sent to the dead-letter topic.",
        lambda p: p.rejected,
        "reason",
    ),
    Family(
        "detector_events_replayed_total",
        "Events handled again in silence to restore a model; in no other counter.",
        lambda p: p.replayed,
    ),
    Family(
        "detector_state_differences_total",
        "Barriers replayed after which the model was not the same as the first time.",
        lambda p: p.state_differences,
    ),
    Family(
        "detector_events_lost_total",
        "Offsets that the log had dropped before they were processed (on_data_loss: skip).",
        lambda p: p.lost,
    ),
    Family("detector_alerts_total", "Alerts published.", lambda p: p.alerts, "severity"),
    Family(
        "detector_alerts_suppressed_total",
        "Events above the threshold that gave no alert.",
        lambda p: p.suppressed,
        "reason",
    ),
    Family("detector_labels_total", "Labels read, by what became of them.", lambda p: p.labels, "outcome"),
    Family(
        "detector_exchange_messages_total",
        "Messages between shards, by what became of them.",
        lambda p: p.exchange,
        "outcome",
    ),
    Family(
        "detector_key_mismatches_total",
        "Events whose record key is not their main entity.",
        lambda p: p.key_mismatches,
    ),
    Family(
        "detector_events_irregular_total",
        "Events out of order, late or repeated, whether scored or rejected.",
        lambda p: p.irregular,
        "kind",
    ),
    Family(
        "detector_drift_total",
        "Changes detected in the distribution of a signal.",
        lambda p: p.drift,
        "signal",
    ),
)
GAUGES = (
    Family(
        "detector_partition_lag_records",
        "Records in the log that are not processed yet.",
        lambda p: p.lag_records,
    ),
    Family(
        "detector_partition_lag_seconds",
        "How far behind the newest processed record is in the log's time.",
        lambda p: p.lag_seconds,
    ),
    Family(
        "detector_checkpoint_timestamp_seconds",
        "When the newest durable checkpoint was written.",
        lambda p: p.checkpoint_timestamp,
    ),
    Family(
        "detector_journal_bytes",
        "Size of the journal beside the committed offset; the broker allows 4096.",
        lambda p: p.journal_bytes,
    ),
    Family(
        "detector_barrier_position",
        "Offset of the last barrier, where detector_state_hash was taken.",
        lambda p: p.barrier_position,
    ),
    Family(
        "detector_state_hash",
        "48 bits of a hash of the model right after the last barrier.",
        lambda p: p.state_hash,
    ),
    Family("detector_model", "State of the model, by name.", lambda p: p.gauges, "name"),
)


class TelemetryCollector(Collector):
    """Reads `Telemetry` when asked, from any thread.

    Parameters
    ----------
    telemetry
        What the loop writes.
    build
        Labels of `detector_build_info`: version, python.
    config_info
        Labels of `detector_config_info`: model (the hash of what the alerts depend on), delivery.
    """

    def __init__(
        self, telemetry: Telemetry, build: Mapping[str, str], config_info: Mapping[str, str]
    ) -> None:
        self._telemetry = telemetry
        self._build = dict(build)
        self._config_info = dict(config_info)

    def collect(self) -> Iterator[Metric]:
        """Every family of the contract, in its order, also those without a sample yet."""
        telemetry = self._telemetry
        owned = telemetry.owned
        seen = dict(telemetry.partitions)  # one step under the interpreter's lock: the loop may add to it
        seen |= {partition: PartitionTelemetry() for partition in owned if partition not in seen}
        mine = {partition: numbers for partition, numbers in seen.items() if partition in owned}

        for family in COUNTERS:
            counter = CounterMetricFamily(family.name, family.meaning, labels=family.labels)
            for labels, value in _samples(family, seen):
                counter.add_metric(labels, value)
            yield counter
        for family in GAUGES:
            gauge = GaugeMetricFamily(family.name, family.meaning, labels=family.labels)
            for labels, value in _samples(family, mine):
                gauge.add_metric(labels, value)
            yield gauge

        yield _histogram(
            "detector_event_latency_seconds",
            "From an event's time in the log until its outputs were committed.",
            telemetry.latency,
        )
        stages = HistogramMetricFamily(
            "detector_stage_duration_seconds",
            "Time one batch spent in a stage of the loop.",
            labels=("stage",),
        )
        for stage, histogram in sorted(dict(telemetry.stages).items()):
            stages.add_metric((stage,), *_buckets(histogram))
        yield stages
        yield _histogram("detector_commit_duration_seconds", "Time one commit took.", telemetry.commits)
        yield CounterMetricFamily(
            "detector_commit_failures_total",
            "Commits that failed or whose fate was unknown; each rebuilt every shard.",
            telemetry.commit_failures,
        )
        yield _histogram(
            "detector_restore_duration_seconds",
            "Time from being assigned a partition until its model was there.",
            telemetry.restores,
        )
        ages = GaugeMetricFamily(
            "detector_output_stable_offset_age_seconds",
            "How long the last stable offset has stood still behind the end of an output partition.",
            labels=("topic", "partition"),
        )
        for (topic, partition), age_s in sorted(telemetry.stable_offset_ages.items()):
            ages.add_metric((topic, str(partition)), age_s)
        yield ages
        ended = CounterMetricFamily(
            "detector_transactions_ended_total",
            "Transactions that nobody else ended, of dead members or hanging.",
            labels=("cause",),
        )
        for cause, number in sorted(telemetry.transactions_ended.items()):
            ended.add_metric((cause,), number)
        yield ended
        yield _info("detector_build_info", "What is running; always 1.", self._build)
        yield _info("detector_config_info", "What it was told; always 1.", self._config_info)


def renderer(*collectors: Collector) -> Callable[[], tuple[bytes, str]]:
    """Put `collectors` on a registry of their own.

    Returns
    -------
    callable
        Gives one scrape: the exposition and its content type. What serves pages needs nothing else from here.
    """
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return lambda: (generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)


def _samples(
    family: Family, partitions: Mapping[int, PartitionTelemetry]
) -> Iterator[tuple[tuple[str, ...], int | float]]:
    for partition, numbers in sorted(partitions.items()):
        value = family.read(numbers)
        if isinstance(value, Mapping):
            for label, number in sorted(dict(value).items()):
                yield (str(partition), label), number
        elif value is not None:
            yield (str(partition),), value


def _histogram(name: str, meaning: str, histogram: Histogram) -> HistogramMetricFamily:
    buckets, total = _buckets(histogram)
    return HistogramMetricFamily(name, meaning, buckets=buckets, sum_value=total)


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    total = histogram.sum  # read before the counts: at most one batch behind them
    counts: Iterable[int] = histogram.counts.copy().cumsum().tolist()
    bounds = [*map(str, histogram.bounds.tolist()), "+Inf"]
    return list(zip(bounds, counts, strict=True)), total


def _info(name: str, meaning: str, values: Mapping[str, str]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, meaning, labels=tuple(values))
    gauge.add_metric(tuple(values.values()), 1)
    return gauge
