"""Count the outputs of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from detector.core.records import Outputs
from detector.core.reporting.telemetry import Telemetry


def count(telemetry: Telemetry, partition: int, batch: Sequence[Outputs], now_s: float) -> None:
    """Count the outputs of one commit. Afterwards received = scored + rejected.

    Parameters
    ----------
    partition
        Number of the partition that `batch` comes from.
    now_s
        When the commit was done, s since the epoch.
    """
    numbers = telemetry.partitions[partition]
    logged = [scored.timestamps_ms for outputs in batch for scored in outputs.scored]
    if logged:
        times = np.concatenate(logged)
        telemetry.latency.observe_all(np.maximum(now_s - times[times > 0] / 1000.0, 0.0))
    for outputs in batch:
        numbers.scored += sum(len(scored.offsets) for scored in outputs.scored)
        for dead in outputs.dead_letters:
            numbers.rejected[dead.reason] += 1
        for alert in outputs.alerts:
            numbers.alerts[alert.severity] += 1
            telemetry.latest_alerts[partition, alert.severity] = alert.offset, now_s
        for update in outputs.case_updates:
            numbers.case_updates[update.cause] += 1
        _add(numbers.suppressed, outputs.suppressed)
        numbers.key_mismatches += outputs.key_mismatches
        _add(numbers.irregular, outputs.irregular)
        _add(numbers.unreadable, outputs.unreadable)
        numbers.received += sum(len(scored.offsets) for scored in outputs.scored) + len(outputs.dead_letters)
        _count_labels(numbers.labels, outputs.side_outcomes.get("feedback", {}), first=partition == 0)
        _add(numbers.exchange, outputs.side_outcomes.get("exchange", {}))


class StageTimer:
    """Measures the stages of a batch: each stage lasts from the end of the previous one.

    Parameters
    ----------
    monotonic
        Gives seconds that never go back; the core has no clock of its own.
    """

    def __init__(self, telemetry: Telemetry, monotonic: Callable[[], float]) -> None:
        self._telemetry = telemetry
        self._monotonic = monotonic
        self._last_s = monotonic()

    def start(self) -> None:
        """Start the first stage of a batch."""
        self._last_s = self._monotonic()

    def __call__(self, stage: str) -> None:
        """Record that `stage` has ended."""
        now_s = self._monotonic()
        self._telemetry.stages[stage].observe(now_s - self._last_s)
        self._last_s = now_s


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for name, number in more.items():
        counts[name] += number


def _count_labels(counts: dict[str, int], outcomes: Mapping[str, int], *, first: bool) -> None:
    """Count records once, although every shard reads them: the first one counts what was read."""
    for outcome, number in outcomes.items():
        if first or outcome != "read":
            counts[outcome] += number
