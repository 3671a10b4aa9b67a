"""The `/metrics` page: `table` lists every metric and exports them, `kinds` says what a metric is."""

from detector.shell.metrics.kinds import Metric
from detector.shell.metrics.table import METRICS, TelemetryCollector, markdown_table, renderer

__all__ = ["METRICS", "Metric", "TelemetryCollector", "markdown_table", "renderer"]
