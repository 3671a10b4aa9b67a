"""One metric of the `/metrics` page, and how the kinds of metrics are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from detector.core.reporting.telemetry import PartitionTelemetry, Telemetry


@dataclass(frozen=True, slots=True)
class Moment:
    """When a scrape takes place."""

    monotonic_s: float
    wall_s: float  # since the epoch


Exemplars = Callable[[Telemetry], Mapping[tuple[int, str], tuple[int, float]]]
"""By partition and value of the label: offset of the last event that counted, and when, s since the epoch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One metric. Its name follows Prometheus' rules: one quantity, with its unit; `_total` for counters."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    read: Callable[..., Any]  # see `scope`; a number, None (not known), or numbers by value of `label`
    scope: Literal["partition", "model", "process"] = "partition"
    # partition: `read` gets each `PartitionTelemetry`; model: likewise, but of the partitions owned now;
    # process: `read` gets the `Telemetry`
    label: str | tuple[str, ...] | None = None  # `partition` comes before it where there are partitions
    unit: str = ""
    timed: bool = False  # `read` also gets the `Moment`
    always: bool = False  # what is not known is exported as NaN: there is a series for every partition
    alert: str = ""  # when to alert, Markdown
    exemplars: Exemplars | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """All label names, in order."""
        first = () if self.scope == "process" else ("partition",)
        return first + (() if self.label is None else as_tuple(self.label))


def delivery(
    name: str,
    unit: str,
    help_: str,
    read: Callable[[PartitionTelemetry], Any],
    label: str | tuple[str, ...] | None = None,
    *,
    alert: str = "",
    exemplars: Exemplars | None = None,
) -> Metric:
    """Make a counter of what was delivered."""
    return Metric(
        name=name,
        kind="counter",
        help=help_,
        read=read,
        label=label,
        unit=unit,
        alert=alert,
        exemplars=exemplars,
    )


def summed(
    name: str,
    unit: str,
    help_: str,
    read: Callable[[PartitionTelemetry], Mapping[str, int]],
    label: str,
    *,
    alert: str = "",
) -> Metric:
    """Make a counter of what was delivered, over all partitions: nobody asks in which one it was.

    With 64 partitions these counters would be two thirds of all series.
    """

    def total(telemetry: Telemetry) -> dict[str, int]:
        counts = dict(read(PartitionTelemetry()))
        for partition in list(telemetry.partitions.values()):
            for value, count in dict(read(partition)).items():
                counts[value] = counts.get(value, 0) + count
        return counts

    return process(name, "counter", unit, help_, total, label, alert=alert)


def state(
    name: str,
    unit: str,
    help_: str,
    read: Callable[..., Any],
    *,
    label: str | None = None,
    timed: bool = False,
    always: bool = False,
    alert: str = "",
) -> Metric:
    """Make a gauge of a partition."""
    return Metric(
        name=name,
        kind="gauge",
        help=help_,
        read=read,
        scope="model",
        label=label,
        unit=unit,
        timed=timed,
        always=always,
        alert=alert,
    )


def timed(
    name: str, help_: str, read: Callable[[PartitionTelemetry, Moment], float | None], *, alert: str = ""
) -> Metric:
    """Make a gauge of a partition, in seconds, that goes on while nothing happens."""
    return state(name, "seconds", help_, read, timed=True, always=True, alert=alert)


def age(
    name: str, help_: str, since_s: Callable[[PartitionTelemetry], float | None], *, alert: str = ""
) -> Metric:
    """Make a gauge of the time since a moment of a partition; `since_s`: that moment, monotonic."""

    def read(partition: PartitionTelemetry, moment: Moment) -> float | None:
        began_s = since_s(partition)
        return None if began_s is None else max(moment.monotonic_s - began_s, 0.0)

    return timed(name, help_, read, alert=alert)


def model(name: str, gauge: str, unit: str, help_: str, *, alert: str = "") -> Metric:
    """Make a gauge or counter of a model; `gauge`: its key in `PartitionTelemetry.gauges`."""
    kind: Literal["counter", "gauge"] = "counter" if name.endswith("_total") else "gauge"
    return Metric(
        name=name,
        kind=kind,
        help=help_,
        read=lambda p: p.gauges.get(gauge),
        scope="model",
        unit=unit,
        alert=alert,
    )


def process(
    name: str,
    kind: Literal["counter", "gauge", "histogram"],
    unit: str,
    help_: str,
    read: Callable[..., Any],
    label: str | tuple[str, ...] | None = None,
    *,
    timed: bool = False,
    always: bool = False,
    alert: str = "",
) -> Metric:
    """Make a metric of the process; `read` gets the `Telemetry`."""
    return Metric(
        name=name,
        kind=kind,
        help=help_,
        read=read,
        scope="process",
        label=label,
        unit=unit,
        timed=timed,
        always=always,
        alert=alert,
    )


def as_tuple(label: str | tuple[Any, ...]) -> tuple[Any, ...]:
    """Label names, or values, as a tuple."""
    return label if isinstance(label, tuple) else (label,)
