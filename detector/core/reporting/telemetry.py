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

from detector.core.alerts.cases import CAUSES
from detector.core.alerts.policy import SUPPRESSED_REASONS
from detector.core.alerts.severity import SEVERITIES
from detector.core.drifted import Drift
from detector.core.labels.peer_messages import OUTCOMES as EXCHANGE_OUTCOMES
from detector.core.labels.receipts import OUTCOMES, STATUSES
from detector.core.records import IRREGULARITIES, REASONS
from detector.core.reporting.standing import CheckpointNumbers, LogEnd, Standing

SECONDS_BOUNDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
# Each at most twice the one before: what is read between two of them is at most twice what it was.
WAIT_BOUNDS = (
    0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 2400.0, 3600.0,
)  # fmt: skip
ENDED_CAUSES = ("dead_member", "hanging")
STAGES = ("parse", "features", "score", "alert", "learn", "barrier", "hash", "snapshot", "commit")
CHANGES = ("assigned", "revoked", "lost")
STALLED_S = 10.0  # age of the heartbeat from which on the loop stands still; a turn takes less than a second

LABEL_COUNTS = ("read", *OUTCOMES)
"""How feedback records are counted, each of them once, by the shard that answers it. Where no shard can tell
that an event is unknown (several partitions without receipts), those are `read` less all others.
"""


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
    case_updates: dict[str, int] = field(default_factory=lambda: _from_zero(CAUSES))  # by cause
    labels: dict[str, int] = field(default_factory=lambda: _from_zero(LABEL_COUNTS))  # see LABEL_COUNTS
    exchange: dict[str, int] = field(default_factory=lambda: _from_zero(EXCHANGE_OUTCOMES))  # by outcome
    key_mismatches: int = 0
    irregular: dict[str, int] = field(default_factory=lambda: _from_zero(IRREGULARITIES))  # by kind
    unreadable: dict[str, int] = field(default_factory=lambda: _from_zero(()))  # values, by field
    standing: Standing = field(default_factory=Standing)
    log: LogEnd = field(default_factory=LogEnd)
    checkpoints: CheckpointNumbers = field(default_factory=CheckpointNumbers)
    # position of the last barrier, and 48 bits of the hash of the state right after it
    barrier: tuple[int | None, int | None] = (None, None)
    gauges: dict[str, float] = field(default_factory=dict)  # of the model, see `Shard.gauges`
    drift: Drift | None = None

    @property
    def receipts(self) -> dict[str, int]:
        """Receipts by status."""
        counts = dict.fromkeys(STATUSES.values(), 0)
        for outcome, status in STATUSES.items():
            counts[status] += self.labels[outcome]
        return counts

    def leave(self) -> None:
        """Forget what another process knows better from now on; counters stay."""
        self.standing, self.log = Standing(), LogEnd()
        checkpoints = self.checkpoints
        checkpoints.since_s = checkpoints.bytes = checkpoints.journal_bytes = None
        checkpoints.largest = 0
        self.barrier, self.gauges, self.drift = (None, None), {}, None


class Outages:
    """Times in which something outside kept the process from work, from the first sign until it was ready."""

    def __init__(self) -> None:
        self.count = 0
        self.since_s: float | None = None  # monotonic, of the one under way
        self.durations = Histogram(WAIT_BOUNDS)

    def lasting_s(self, now_s: float) -> float:
        """Seconds that the one under way has lasted at monotonic `now_s`; 0 when there is none."""
        since_s = self.since_s
        return 0.0 if since_s is None else max(now_s - since_s, 0.0)


class Telemetry:
    """All numbers of one process."""

    def __init__(self) -> None:
        self.partitions: dict[int, PartitionTelemetry] = defaultdict(PartitionTelemetry)
        self.owned: frozenset[int] = frozenset()  # assigned to us; gauges are exported for these only
        self.ready = False
        self.outages = Outages()
        self.changes: dict[str, int] = _from_zero(CHANGES)  # of the group, by kind
        self.checkpoints = Histogram(WAIT_BOUNDS)
        self.store_free_bytes: int | None = None
        self.memory_limit_bytes: int | None = None  # of this process
        self.retention_s: dict[str, float] = {}  # by topic that is read; inf: everything is kept
        self.recovery_s: float | None = None  # how long these topics must be kept
        self.latency = Histogram(WAIT_BOUNDS)
        self.stages: dict[str, Histogram] = defaultdict(Histogram, {stage: Histogram() for stage in STAGES})
        self.commits = Histogram()
        self.restores = Histogram(WAIT_BOUNDS)
        self.refits = Histogram(WAIT_BOUNDS)
        self.commit_failures = 0
        self.stable_offset_ages: dict[tuple[str, int], float] = {}  # s, by output topic and partition
        self.transactions_ended: dict[str, int] = _from_zero(
            ENDED_CAUSES
        )  # others' or hanging ones, by cause
        # Offset of the last alert by partition and severity, and when it was published, s since the epoch.
        self.latest_alerts: dict[tuple[int, str], tuple[int, float]] = {}
        self.heartbeat: float | None = None  # monotonic seconds of the loop's last turn

    def heartbeat_age_s(self, now_s: float) -> float | None:
        """Seconds since the loop's last sign of life, at monotonic `now_s`; None before the first one."""
        return None if self.heartbeat is None else max(now_s - self.heartbeat, 0.0)

    def works(self, now_s: float) -> bool:
        """Whether we are ready, and the loop does not stand still."""
        return self.ready and (self.heartbeat_age_s(now_s) or 0.0) < STALLED_S

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

    def label_outcomes(self) -> dict[str, int]:
        """Feedback by outcome, over all partitions. For a process that has all partitions of the topic."""
        counts = dict(self.totals().labels)
        read, unknown = counts.pop("read"), counts.pop("unknown_event")
        return counts | {"unknown_event": max(read - sum(counts.values()), unknown)}
