"""The `/metrics` page: `table` lists every metric and exports them, `kinds` says what a metric is."""

from detector.shell.metrics.kinds import Metric
from detector.shell.metrics.notify import NOTIFY_METRICS, NotifyCollector, notify_table
from detector.shell.metrics.table import METRICS, TelemetryCollector, markdown_table, renderer

__all__ = [
    "METRICS",
    "NOTIFY_METRICS",
    "Metric",
    "NotifyCollector",
    "TelemetryCollector",
    "markdown_table",
    "notify_table",
    "renderer",
]
