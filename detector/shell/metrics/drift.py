"""Metrics of drift: fields, new keys, the embedding, scores and labels against the reference of each shard.

Series: `psi`, `threshold`, `weight` and `active` have one series per partition and field while partitions
times fields are at most `SERIES_MAX`. Above it they have one per field: the largest of the process's
partitions, whose label `partition` is `max`. Psi and its threshold are then those of the partition where the
first is the largest multiple of the second. Bins are summed over the process's partitions; sums over
processes are those of a fleet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from math import inf, isfinite
from typing import Any

from detector.core.drifted import BIN_NAMES, SEVERAL, Drift, FieldDrift
from detector.core.reporting.telemetry import Telemetry
from detector.shell.metrics.kinds import Metric, as_tuple
from detector.shell.metrics.kinds import process as _process

SERIES_MAX = 1024
MAX = "max"

_Series = dict[tuple[str, ...], float]


def _known(telemetry: Telemetry) -> list[tuple[str, Drift]]:
    """What is known of drift in the partitions that the process has."""
    known = ((number, telemetry.partitions.get(number)) for number in sorted(telemetry.owned))
    return [(str(number), p.drift) for number, p in known if p is not None and p.drift is not None]


def _fields(telemetry: Telemetry) -> Iterator[tuple[str, str, FieldDrift]]:
    """Label of the partition, field, and what is known of it."""
    known = _known(telemetry)
    single = sum(len(drift.fields) for _, drift in known) <= SERIES_MAX
    farthest: dict[str, FieldDrift] = {}
    for partition, drift in known:
        for name, found in drift.fields.items():
            if single:
                yield partition, name, found
            elif name not in farthest or _multiple(found) > _multiple(farthest[name]):
                farthest[name] = found
    yield from ((MAX, name, found) for name, found in farthest.items())


def _multiple(found: FieldDrift) -> tuple[bool, float]:
    return found.since > 0.0, found.psi / found.threshold if isfinite(found.threshold) else -inf


def _psi(telemetry: Telemetry) -> _Series:
    return {(partition, name): found.psi for partition, name, found in _fields(telemetry)}


def _threshold(telemetry: Telemetry) -> _Series:
    return {(partition, name): found.threshold for partition, name, found in _fields(telemetry)}


def _weight(telemetry: Telemetry) -> _Series:
    return {(partition, name): found.weight for partition, name, found in _fields(telemetry)}


def _bins(telemetry: Telemetry) -> _Series:
    counts: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for _, drift in _known(telemetry):
        for name, found in drift.fields.items():
            counts.setdefault((name, "reference"), []).append(found.usual)
            counts.setdefault((name, "current"), []).append(found.current)
    return {
        (*names, bin_name): sum(of_bin)
        for names, several in counts.items()
        for bin_name, of_bin in zip(BIN_NAMES, zip_longest(*several, fillvalue=0.0), strict=False)
    }


def _each(read: Callable[[Drift], Mapping[Any, float]]) -> Callable[[Telemetry], _Series]:
    """Series of each partition that knows of drift, by what `read` gives numbers for."""

    def series(telemetry: Telemetry) -> _Series:
        return {
            (partition, *as_tuple(names)): value
            for partition, drift in _known(telemetry)
            for names, value in read(drift).items()
        }

    return series


def _score_changes(telemetry: Telemetry) -> _Series:
    return {(partition,): float(drift.score_changes) for partition, drift in _known(telemetry)}


def _active(telemetry: Telemetry) -> _Series:
    active: _Series = {
        (partition, "unseen" if found.unseen and found.since else "feature", name): float(found.since > 0.0)
        for partition, name, found in _fields(telemetry)
    }
    for partition, drift in _known(telemetry):
        for kind in SEVERAL:
            active[partition, kind, ""] = float(drift.since.get(kind, 0.0) > 0.0)
    return active


DRIFT: tuple[Metric, ...] = (
    _process(
        "detector_drift_psi",
        "gauge",
        "",
        "Population stability index of a field's values in the last window, against those that are usual at "
        "these hours; of `time`: of the rate of events.",
        _psi,
        ("partition", "field"),
        alert="`max by (field) (detector_drift_active) > 0`",
    ),
    _process(
        "detector_drift_psi_threshold",
        "gauge",
        "",
        "Index that chance explains; drift from two windows above it on. Infinite: not known yet.",
        _threshold,
        ("partition", "field"),
    ),
    _process(
        "detector_drift_alert_weight",
        "gauge",
        "",
        "The field's part, 0 to 1, in the change of the share of highly anomalous events.",
        _weight,
        ("partition", "field"),
    ),
    _process(
        "detector_drift_bin_events",
        "gauge",
        "events",
        "Events of the last window by bin, and as many as the reference expects; summed over partitions.",
        _bins,
        ("field", "side", "bin"),
    ),
    _process(
        "detector_drift_new_share",
        "gauge",
        "",
        "Share of the events of the last window whose entity, or whose contact of the main entity with it, "
        "was never seen before.",
        _each(lambda drift: {names: share.current for names, share in drift.new_shares.items()}),
        ("partition", "entity", "kind"),
    ),
    _process(
        "detector_drift_new_share_usual",
        "gauge",
        "",
        "The same share as it is usual at these hours.",
        _each(lambda drift: {names: share.usual for names, share in drift.new_shares.items()}),
        ("partition", "entity", "kind"),
    ),
    _process(
        "detector_drift_embedding",
        "gauge",
        "",
        "Where events lie in the embedding, by measure: shift of their mean in spreads, mass that moved "
        "between clusters, effective rank, median distance to normal as a multiple of the usual one.",
        _each(lambda drift: drift.embedding),
        ("partition", "measure"),
    ),
    _process(
        "detector_drift_score_detections_total",
        "counter",
        "changes",
        "Detected changes of the mean score, which the alert budget does not touch (ADWIN).",
        _score_changes,
        ("partition",),
        alert="`increase(detector_drift_score_detections_total[1h]) > 0`",
    ),
    _process(
        "detector_drift_labels",
        "gauge",
        "",
        "Labels of the last day, by measure: share of frauds among them, median delay in seconds, labels "
        "per alert.",
        _each(lambda drift: drift.labels),
        ("partition", "measure"),
    ),
    _process(
        "detector_label_precision",
        "gauge",
        "",
        "Share of frauds among the answered alerts of the last week, by severity.",
        _each(lambda drift: drift.precision),
        ("partition", "severity"),
    ),
    _process(
        "detector_drift_active",
        "gauge",
        "0 or 1",
        "1 while something drifts: the values of a field (feature, or unseen values), new entities or "
        "contacts, the embedding, scores, labels.",
        _active,
        ("partition", "kind", "field"),
        alert="`max by (kind, field) (detector_drift_active) > 0`: `detector status` says what has changed",
    ),
)
