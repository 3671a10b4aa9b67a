"""One metric of the `/metrics` page, and how the kinds of metrics are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from detector.core.reporting.telemetry import PartitionTelemetry, Telemetry


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One metric. Its name follows Prometheus' rules: one quantity, with its unit; `_total` for counters."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    read: Callable[[Any], Any]  # see `scope`; a number, None (not known), or numbers by value of `label`
    scope: Literal["partition", "model", "process"] = "partition"
    # partition: `read` gets each `PartitionTelemetry`; model: likewise, but of the partitions owned now;
    # process: `read` gets the `Telemetry`
    label: str | tuple[str, ...] | None = None  # `partition` comes before it where there are partitions
    unit: str = ""
    alert: str = ""  # when to alert, Markdown

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
) -> Metric:
    """Make a counter of what was delivered."""
    return Metric(name=name, kind="counter", help=help_, read=read, label=label, unit=unit, alert=alert)


def state(
    name: str, unit: str, help_: str, read: Callable[[PartitionTelemetry], Any], *, alert: str = ""
) -> Metric:
    """Make a gauge of a model."""
    return Metric(name=name, kind="gauge", help=help_, read=read, scope="model", unit=unit, alert=alert)


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
    read: Callable[[Telemetry], Any],
    label: str | tuple[str, ...] | None = None,
    *,
    alert: str = "",
) -> Metric:
    """Make a metric of the process."""
    return Metric(
        name=name, kind=kind, help=help_, read=read, scope="process", label=label, unit=unit, alert=alert
    )


def as_tuple(label: str | tuple[Any, ...]) -> tuple[Any, ...]:
    """Label names, or values, as a tuple."""
    return label if isinstance(label, tuple) else (label,)
