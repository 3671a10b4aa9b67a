"""Counters, gauges and histograms of one process: plain numbers, updated once per batch.

One thread writes; any thread may read, and sees each number as of a recent moment. All label values come from
fixed sets (severities, stages, reasons, outcomes), except partitions, which are those of the topic.
`detector.shell.metrics` exports these numbers; `docs/reference/metrics.md` lists them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from detector.core.alerts.policy import SEVERITIES, SUPPRESSED_REASONS
from detector.core.events import IRREGULARITIES, REASONS
from detector.core.labels.feedback import OUTCOMES
from detector.core.labels.peer_messages import OUTCOMES as EXCHANGE_OUTCOMES

SECONDS_BOUNDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
ENDED_CAUSES = ("dead_member", "hanging")
LATENCY_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0)


class Histogram:
    """Counts per bucket.

    Parameters
    ----------
    bounds
        Inclusive upper bounds of the buckets, ascending, in the unit of the observed values. One more bucket
        has no upper bound.

    Examples
    --------
    >>> histogram = Histogram([0.1, 1.0])
    >>> histogram.observe_all(np.array([0.1, 0.5, 7.0]))
    >>> histogram.counts.tolist()
    [1, 1, 1]
    """

    def __init__(self, bounds: Iterable[float] = SECONDS_BOUNDS) -> None:
        self.bounds = np.asarray(tuple(bounds), dtype=np.float64)
        self._ascending = self.bounds.tolist()
        self.counts: NDArray[np.int64] = np.zeros(len(self.bounds) + 1, dtype=np.int64)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Add one value."""
        self.counts[bisect_left(self._ascending, value)] += 1
        self.sum += value

    def observe_all(self, values: NDArray[np.float64]) -> None:
        """Add values (n,)."""
        self.counts += np.bincount(np.searchsorted(self.bounds, values), minlength=len(self.counts))
        self.sum += float(values.sum())


def _from_zero(names: Iterable[str]) -> dict[str, int]:
    """Counters that exist before the first count: a rate over a series that appears at 1 misses that one."""
    return defaultdict(int, dict.fromkeys(names, 0))


@dataclass(kw_only=True, slots=True)
class PartitionTelemetry:
    """Numbers of one partition: counters (int and dict[str, int]), and gauges, which are None until known."""

    received: int = 0
    scored: int = 0
    replayed: int = 0
    state_mismatches: int = 0
    lost: int = 0
    rejected: dict[str, int] = field(default_factory=lambda: _from_zero(REASONS))  # by reason
    alerts: dict[str, int] = field(default_factory=lambda: _from_zero(SEVERITIES))  # by severity
    suppressed: dict[str, int] = field(default_factory=lambda: _from_zero(SUPPRESSED_REASONS))  # by reason
    labels: dict[str, int] = field(default_factory=lambda: _from_zero(OUTCOMES))  # by outcome
    exchange: dict[str, int] = field(default_factory=lambda: _from_zero(EXCHANGE_OUTCOMES))  # by outcome
    drift: dict[str, int] = field(default_factory=lambda: _from_zero(()))  # detected changes, by signal
    key_mismatches: int = 0
    irregular: dict[str, int] = field(default_factory=lambda: _from_zero(IRREGULARITIES))  # by kind
    unreadable: dict[str, int] = field(default_factory=lambda: _from_zero(()))  # values, by field
    lag_records: int | None = None
    lag_seconds: float | None = None
    checkpoint_timestamp: float | None = None  # s since the epoch
    journal_bytes: int | None = None
    # position of the last barrier, and 48 bits of the hash of the state right after it
    barrier: tuple[int | None, int | None] = (None, None)
    gauges: dict[str, float] = field(default_factory=dict)  # of the model, see `Shard.gauges`


class Telemetry:
    """All numbers of one process."""

    def __init__(self) -> None:
        self.partitions: dict[int, PartitionTelemetry] = defaultdict(PartitionTelemetry)
        self.owned: frozenset[int] = frozenset()  # gauges are exported for these only
        self.latency = Histogram(LATENCY_BOUNDS)
        self.stages: dict[str, Histogram] = defaultdict(Histogram)
        self.commits = Histogram()
        self.restores = Histogram()
        self.commit_failures = 0
        self.stable_offset_ages: dict[tuple[str, int], float] = {}  # s, by output topic and partition
        self.transactions_ended: dict[str, int] = _from_zero(
            ENDED_CAUSES
        )  # others' or hanging ones, by cause
        self.heartbeat: float | None = None  # monotonic seconds of the loop's last turn

    def totals(self) -> PartitionTelemetry:
        """Counters summed over all partitions; gauges stay None.

        Examples
        --------
        >>> telemetry = Telemetry()
        >>> telemetry.partitions[0].received = 2
        >>> telemetry.partitions[1].received = 3
        >>> telemetry.totals().received
        5
        """
        totals = PartitionTelemetry()
        for partition in list(self.partitions.values()):
            for counter in fields(PartitionTelemetry):
                name, value = counter.name, getattr(partition, counter.name)
                if counter.type == "int":
                    setattr(totals, name, getattr(totals, name) + value)
                elif counter.type == "dict[str, int]":
                    counts = getattr(totals, name)
                    for key, count in list(value.items()):
                        counts[key] += count
        return totals
