"""A batch's outputs as what is published, as what is counted, and as signals of drift."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from detector.config.tree import Topics
from detector.core.alerts.score_record import HEADERS, encode_scores
from detector.core.records import Headers, Identity, Outputs
from detector.core.reporting.telemetry import PartitionTelemetry, Telemetry

Publication = tuple[str, int, bytes | None, bytes | None, Headers]
"""Topic, offset of the input record, key, value, headers."""


def publications(outputs: Outputs, identity: Identity, topics: Topics) -> Iterator[Publication]:
    """Everything to publish; not in the order of offsets."""
    for alert in outputs.alerts:
        yield topics.alerts, alert.offset, alert.key, alert.body, alert.headers
    for dead in outputs.dead_letters:
        yield topics.dead_letter, dead.offset, dead.key, dead.value, dead.headers
    if topics.scores is not None:
        for scored in outputs.scored:
            for offset, key, body in encode_scores(scored, identity):
                yield topics.scores, offset, key, body, HEADERS
    if topics.exchange is not None:
        for message in outputs.peer_messages:
            yield topics.exchange, message.offset, None, message.value, ()


def count(telemetry: Telemetry, partition: int, batch: Sequence[Outputs], now_s: float) -> None:
    """Count what was committed at `now_s` (s since the epoch): received = scored + rejected."""
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
        _add(numbers.suppressed, outputs.suppressed)
        numbers.key_mismatches += outputs.key_mismatches
        _add(numbers.irregular, outputs.irregular)
        numbers.received += sum(len(scored.offsets) for scored in outputs.scored) + len(outputs.dead_letters)
        _add(numbers.labels, outputs.side_outcomes.get("feedback", {}))
        _add(numbers.exchange, outputs.side_outcomes.get("exchange", {}))


def measure_lag(
    numbers: PartitionTelemetry, *, end: int | None, committed: int, newest_ms: int, now_s: float
) -> None:
    """Tell how far behind the log a partition is.

    Parameters
    ----------
    end
        Offset after the log's last record; None when not known.
    committed
        Offset of the next record to process.
    newest_ms
        Log time of the newest record processed; 0 when not known.
    """
    if end is None:
        return
    numbers.lag_records = max(end - committed, 0)
    if numbers.lag_records == 0:
        numbers.lag_seconds = 0.0
    elif newest_ms > 0:
        numbers.lag_seconds = max(now_s - newest_ms / 1000.0, 0.0)


def block_signals(block: Sequence[Outputs]) -> dict[str, float]:
    """Aggregates of one block for the drift monitor; empty when nothing was scored."""
    parts = [scored.scores for outputs in block for scored in outputs.scored]
    if not parts:
        return {}
    scores = np.concatenate(parts)
    rejected = sum(len(outputs.dead_letters) for outputs in block)
    return {"score_mean": float(scores.mean()), "rejected_share": rejected / (rejected + len(scores))}


class StageTimer:
    """Time between laps, by the stage that ends there.

    Parameters
    ----------
    monotonic
        Seconds that never go back; the core has no clock.
    """

    def __init__(self, telemetry: Telemetry, monotonic: Callable[[], float]) -> None:
        self._telemetry = telemetry
        self._monotonic = monotonic
        self._last_s = monotonic()

    def start(self) -> None:
        """The next lap counts from here."""
        self._last_s = self._monotonic()

    def __call__(self, stage: str) -> None:
        """`stage` is done."""
        now_s = self._monotonic()
        self._telemetry.stages[stage].observe(now_s - self._last_s)
        self._last_s = now_s


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for name, number in more.items():
        counts[name] += number
