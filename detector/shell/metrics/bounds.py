"""What bounds the labels of each metric, and with it the number of series of a process.

A value of a label comes from a fixed set of the code or from the configuration (topics and their partitions,
entities and fields, receivers). No value comes from an event: traffic cannot make series.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from detector.core.alerts.cases import CAUSES
from detector.core.alerts.policy import SUPPRESSED_REASONS
from detector.core.alerts.severity import SEVERITIES
from detector.core.drifted import BIN_NAMES, KINDS, SEVERAL
from detector.core.labels.peer_messages import OUTCOMES as EXCHANGE_OUTCOMES
from detector.core.labels.receipts import STATUSES
from detector.core.records import IRREGULARITIES, REASONS
from detector.core.reporting.standing import FAILURES, STATES
from detector.core.reporting.telemetry import (
    CHANGES,
    ENDED_CAUSES,
    LABEL_COUNTS,
    SECONDS_BOUNDS,
    STAGES,
    WAIT_BOUNDS,
)
from detector.shell.metrics.drift import MAX, SERIES_MAX
from detector.shell.metrics.kinds import Metric

PROCESS_METRICS = (
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
)


@dataclass(frozen=True, slots=True)
class Bound:
    """All values that a label may have."""

    symbol: str  # the factor in the formula: a letter, or the number of `values`
    source: str  # where the values come from, Markdown
    values: tuple[str, ...] = ()  # if the code fixes them


def _fixed(values: Iterable[str]) -> Bound:
    values = tuple(values)
    return Bound(str(len(values)), ", ".join(f"`{value}`" for value in values), values)


PARTITIONS = Bound("P", "the partitions of the transactions topic that the process has, or has had")
FIELDS = Bound("F", "entities and fields of `event`, and its time")
ENTITIES = Bound("E", "entities of `event`")
OUTPUTS = Bound("O", "all partitions of the output topics")
READ = Bound("T", "the topics that are read: transactions, feedback, exchange")
EACH_FIELD = Bound(
    "D", f"P F, the fields of each partition, up to {SERIES_MAX:,}; beyond it F, with the partition `{MAX}`"
)
ONE = Bound("1", "counted with the label before")

SYMBOLS = (PARTITIONS, FIELDS, ENTITIES, EACH_FIELD, OUTPUTS, READ)
_MEASURES = ("mean_shift", "mass_shift", "effective_rank", "distance")
_OF_LABELS = tuple(
    f"{name}{week}" for name in ("share", "delay_seconds", "coverage") for week in ("", "_before")
)

Terms = Mapping[tuple[str, ...], int]
"""A sum: factors by the symbols that they are multiplied with."""

BOUNDS: Mapping[tuple[str, str], Bound] = {
    ("detector_events_rejected_total", "reason"): _fixed(REASONS),
    ("detector_alerts_total", "severity"): _fixed(SEVERITIES),
    ("detector_alerts_suppressed_total", "reason"): _fixed(SUPPRESSED_REASONS),
    ("detector_case_updates_total", "cause"): _fixed(CAUSES),
    ("detector_labels_total", "outcome"): _fixed(LABEL_COUNTS),
    ("detector_receipts_total", "status"): _fixed(dict.fromkeys(STATUSES.values())),
    ("detector_exchange_messages_total", "outcome"): _fixed(EXCHANGE_OUTCOMES),
    ("detector_events_irregular_total", "kind"): _fixed(IRREGULARITIES),
    ("detector_values_unreadable_total", "field"): FIELDS,
    **{
        (f"detector_drift_{name}", label): bound
        for name in ("psi", "psi_threshold", "alert_weight")
        for label, bound in {"partition": EACH_FIELD, "field": ONE}.items()
    },
    ("detector_drift_bin_events", "field"): FIELDS,
    ("detector_drift_bin_events", "side"): _fixed(("reference", "current")),
    ("detector_drift_bin_events", "bin"): _fixed(BIN_NAMES),
    **{
        (f"detector_drift_{name}", label): bound
        for name in ("new_share", "new_share_usual")
        for label, bound in {
            "partition": PARTITIONS,
            "entity": ENTITIES,
            "kind": _fixed(("entities", "contacts")),
        }.items()
    },
    ("detector_drift_embedding", "partition"): PARTITIONS,
    ("detector_drift_embedding", "measure"): _fixed(_MEASURES),
    ("detector_drift_score_detections_total", "partition"): PARTITIONS,
    ("detector_drift_labels", "partition"): PARTITIONS,
    ("detector_drift_labels", "measure"): _fixed(_OF_LABELS),
    ("detector_label_precision", "partition"): PARTITIONS,
    ("detector_label_precision", "severity"): _fixed(SEVERITIES),
    ("detector_drift_active", "partition"): PARTITIONS,
    ("detector_drift_active", "kind"): _fixed(KINDS),
    ("detector_drift_active", "field"): FIELDS,
    ("detector_partition_state", "state"): _fixed(STATES),
    ("detector_checkpoint_failures_total", "kind"): _fixed(FAILURES),
    ("detector_rebalances_total", "kind"): _fixed(CHANGES),
    ("detector_stage_duration_seconds", "stage"): _fixed(STAGES),
    ("detector_output_stable_offset_age_seconds", "topic"): OUTPUTS,
    ("detector_output_stable_offset_age_seconds", "partition"): ONE,  # counted with the topic
    ("detector_transactions_ended_total", "cause"): _fixed(ENDED_CAUSES),
    ("detector_topic_retention_seconds", "topic"): READ,
}
"""By metric and label. `partition` of the metrics of partitions is not listed: it is `PARTITIONS`."""

_BUCKETS = {
    "detector_stage_duration_seconds": SECONDS_BOUNDS,
    "detector_commit_duration_seconds": SECONDS_BOUNDS,
}


def bounds_of(metric: Metric) -> dict[str, Bound]:
    """What bounds each label of a metric, in order."""
    first = {} if metric.scope == "process" else {"partition": PARTITIONS}
    own = [label for label in metric.labels if label not in first]
    return first | {label: BOUNDS[metric.name, label] for label in own}


def terms_of(metric: Metric) -> Terms:
    """The most series of a metric."""
    if metric.name == "detector_drift_active":  # a field drifts in one way; the other kinds have no field
        return {(EACH_FIELD.symbol,): 1, (PARTITIONS.symbol,): len(SEVERAL)}
    factors = [bound.symbol for bound in bounds_of(metric).values()]
    number = prod(int(factor) for factor in factors if factor.isdecimal())
    if metric.kind == "histogram":
        number *= len(_BUCKETS.get(metric.name, WAIT_BOUNDS)) + 3  # the buckets and +Inf, sum and count
    return {tuple(factor for factor in factors if not factor.isdecimal()): number}


def terms(metrics: Iterable[Metric], others: int) -> Terms:
    """The formula. `others`: series of metrics that are not in the table."""
    found: Counter[tuple[str, ...]] = Counter({(): others + len(PROCESS_METRICS)})
    for metric in metrics:
        found.update(terms_of(metric))
    return dict(found)


def series_max(formula: Terms, sizes: Mapping[str, int]) -> int:
    """The most series that a process exports.

    Parameters
    ----------
    formula
        From `terms`.
    sizes
        By symbol; see `SYMBOLS`. That of `EACH_FIELD` follows from others.
    """
    single = sizes[PARTITIONS.symbol] * sizes[FIELDS.symbol]
    sizes = {**sizes, EACH_FIELD.symbol: single if single <= SERIES_MAX else sizes[FIELDS.symbol]}
    return sum(number * prod(sizes[symbol] for symbol in symbols) for symbols, number in formula.items())


def formula_text(formula: Terms) -> str:
    """The formula as people read it, e.g. `300 + 90 P + 2 F`."""
    ordered = sorted(formula.items(), key=lambda term: (len(term[0]), term[0]))
    texts = [
        " ".join([*([str(number)] if number > 1 or not symbols else []), *symbols])
        for symbols, number in ordered
    ]
    return " + ".join(texts)
