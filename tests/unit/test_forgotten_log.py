"""Labels for events that are gone are logged, at most once a minute for each partition."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any, cast

from detector.core.reporting.telemetry import Telemetry
from detector.shell.runner.process import FORGOTTEN_EVERY_S, Processor


def test_forgotten_labels_are_logged_once_a_minute() -> None:
    now, lines, gauges = [0.0], [], {"answerable_dropped": 0.0}
    telemetry = Telemetry()
    log = SimpleNamespace(warning=lambda name, **fields: lines.append((name, fields)))
    shared = defaultdict(lambda: None)
    shared |= {
        "telemetry": telemetry, "log": log, "clock": SimpleNamespace(monotonic=lambda: now[0]),
        "owned": {}, "stream": None, "calls": None, "timer": None,
    }  # fmt: skip
    nothing = cast(Any, None)
    made = Processor(cast(Any, SimpleNamespace(**shared)), nothing, nothing, nothing, nothing, None)
    owned = cast(Any, SimpleNamespace(number=3, partition=SimpleNamespace(gauges=gauges)))
    made._report_forgotten(owned)
    assert not lines
    telemetry.partitions[3].labels["forgotten"] = 2
    made._report_forgotten(owned)
    telemetry.partitions[3].labels["forgotten"] = 5
    made._report_forgotten(owned)
    assert [(name, fields["labels"]) for name, fields in lines] == [("labels_forgotten", 2)]
    now[0] = FORGOTTEN_EVERY_S
    gauges["answerable_dropped"] = 4.0
    made._report_forgotten(owned)
    made._report_forgotten(owned)
    assert [(f["labels"], f["alerted_events"]) for _, f in lines] == [(2, 0), (5, 4)]
