"""The `/metrics` page: `table` lists every metric and exports them, `kinds` says what a metric is.

`bounds` says how many series there can be, `exposition` writes the page, `document` its reference.
"""

from detector.shell.metrics.bounds import bounds_of, series_max
from detector.shell.metrics.document import bounds_table, formula, markdown_table
from detector.shell.metrics.kinds import Metric
from detector.shell.metrics.notify import NOTIFY_METRICS, NotifyCollector, notify_table
from detector.shell.metrics.table import INFOS, METRICS, TelemetryCollector, renderer

__all__ = [
    "INFOS",
    "METRICS",
    "NOTIFY_METRICS",
    "Metric",
    "NotifyCollector",
    "TelemetryCollector",
    "bounds_of",
    "bounds_table",
    "formula",
    "markdown_table",
    "notify_table",
    "renderer",
    "series_max",
]
