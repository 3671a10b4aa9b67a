"""The `/metrics` page of `detector notify`: numbers by receiver, read at the scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from detector.notify import Counts

OUTCOMES: Mapping[str, Callable[[Counts], int]] = {
    "delivered": lambda counts: counts.delivered,
    "filtered": lambda counts: counts.filtered,
    "refused": lambda counts: counts.refused,
    "unreadable": lambda counts: counts.unreadable,
}


@dataclass(frozen=True, slots=True)
class _Gauge:
    name: str
    help: str
    unit: str
    read: Callable[[Counts, float], float]  # numbers of a receiver, and the time, s since the epoch
    alert: str = ""


MESSAGES = "detector_notify_messages_total"
MESSAGES_HELP = "Alerts and case updates by what became of them; filtered: not for this receiver."
FAILURES = "detector_notify_failures_total"
FAILURES_HELP = "Sendings that failed; they are tried again."
GAUGES = (
    _Gauge(
        "detector_notify_waiting", "Messages in memory that wait.", "messages", lambda c, _: float(c.waiting)
    ),
    _Gauge(
        "detector_notify_oldest_age_seconds",
        "Time since the oldest waiting message was published; 0: none waits.",
        "seconds",
        lambda c, now_s: 0.0 if c.oldest_s is None else max(now_s - c.oldest_s, 0.0),
        "`detector_notify_oldest_age_seconds > 300`: a receiver is away or slow; the log says why",
    ),
    _Gauge(
        "detector_notify_up",
        "0 while the last sending has failed.",
        "0 or 1",
        lambda c, _: float(not c.problem),
    ),
)

NOTIFY_METRICS = (MESSAGES, FAILURES, *(gauge.name for gauge in GAUGES))


class NotifyCollector(Collector):
    """Exports what the deliveries count.

    Parameters
    ----------
    counts
        By name of the receiver.
    clock_s
        The time, s since the epoch.
    """

    def __init__(self, counts: Mapping[str, Counts], clock_s: Callable[[], float]) -> None:
        self._counts, self._clock_s = counts, clock_s

    def collect(self) -> Iterator[Family]:
        """Every metric, for every receiver."""
        messages = CounterMetricFamily(MESSAGES, MESSAGES_HELP, labels=("receiver", "outcome"))
        failures = CounterMetricFamily(FAILURES, FAILURES_HELP, labels=("receiver",))
        for name, counts in self._counts.items():
            for outcome, read in OUTCOMES.items():
                messages.add_metric((name, outcome), read(counts))
            failures.add_metric((name,), counts.failures)
        yield messages
        yield failures
        for gauge in GAUGES:
            family = GaugeMetricFamily(gauge.name, gauge.help, labels=("receiver",))
            for name, counts in self._counts.items():
                family.add_metric((name,), gauge.read(counts, self._clock_s()))
            yield family


def notify_table() -> str:
    """The table of these metrics for `docs/reference/metrics.md`."""
    refused = f'`increase({MESSAGES}{{outcome="refused"}}[1h]) > 0`: the log names the messages'
    rows = [
        (MESSAGES, "counter", "receiver, outcome", "messages", MESSAGES_HELP, refused),
        (FAILURES, "counter", "receiver", "sendings", FAILURES_HELP, ""),
        *((g.name, "gauge", "receiver", g.unit, g.help, g.alert) for g in GAUGES),
    ]
    lines = ["| name | type | labels | unit | meaning | alert when |", "|---|---|---|---|---|---|"]
    return "\n".join(lines + [f"| `{name}` | {' | '.join(rest)} |" for name, *rest in rows])
