"""Writes a scrape: Prometheus' text format 0.0.4, or OpenMetrics 1.0.0 with exemplars.

Written here because a scrape of 10,000 series shares a core with the loop:
`prometheus_client.generate_latest` takes four times as long for the same page. A test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from math import isfinite, isnan

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Exemplar

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

LABELS_MAX = 16_384  # texts kept from one scrape to the next: a process has fewer than 10,000 series

_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_HELP_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n"})


def write(families: Iterable[Family], *, openmetrics: bool) -> tuple[bytes, str]:
    """One page and its content type.

    Parameters
    ----------
    families
        Counters, gauges and histograms. The names of their samples are valid.
    openmetrics
        OpenMetrics, which also has the exemplars.

    References
    ----------
    https://prometheus.io/docs/instrumenting/exposition_formats,
    https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
    """
    lines: list[str] = []
    for family in families:
        full = family.name + "_total" * (family.type == "counter" and not openmetrics)
        escapes = _ESCAPES if openmetrics else _HELP_ESCAPES
        lines.append(f"# HELP {full} {family.documentation.translate(escapes)}")
        lines.append(f"# TYPE {full} {family.type}")
        for name, labels, value, _, exemplar, *_ in family.samples:
            line = f"{name}{_kept(tuple(labels.items()))} {_number(value)}"
            lines.append(line + _exemplar(exemplar) if openmetrics and exemplar is not None else line)
    if openmetrics:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode(), OPENMETRICS if openmetrics else TEXT


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    texts = [f'{name}="{value.translate(_ESCAPES)}"' for name, value in sorted(labels)]
    return f"{{{','.join(texts)}}}"


_kept = lru_cache(LABELS_MAX)(_labels)


def _number(value: float) -> str:
    number = float(value)
    if isfinite(number):
        return repr(number)
    return "NaN" if isnan(number) else "+Inf" if number > 0 else "-Inf"


def _exemplar(exemplar: Exemplar) -> str:
    at = "" if exemplar.timestamp is None else f" {float(exemplar.timestamp):.3f}"
    labels = _labels(tuple(exemplar.labels.items()))  # offsets change: these are not kept
    return f" # {labels or '{}'} {_number(exemplar.value)}{at}"
