"""What /readyz and the lag metrics say: readiness, the state of each partition, lag, warnings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from detector.core.reporting.counting import measure_lag
from detector.core.reporting.telemetry import Telemetry
from detector.ports import PartitionStatus, Status
from detector.shell.runner.shared import Shared

WarningSource = Callable[[], Sequence[str]]
"""Gives the warnings of now, each one sentence. Called in every turn by the loop's thread: it must not block
and must not raise.
"""

REPEATED_MIN, REPEATED_SHARE_MAX = 100, 0.05  # events that repeat an id: more than retries explain


class StatusReporter:
    """Keeps the status of one process up to date.

    Parameters
    ----------
    sources
        Warnings, as they come and go.
    """

    def __init__(self, shared: Shared, sources: Sequence[WarningSource]) -> None:
        telemetry = shared.telemetry
        self._owned, self._assigned, self._stream = shared.owned, shared.assigned, shared.stream
        self._clock, self._telemetry = shared.clock, telemetry
        self._sources = (lambda: input_warnings(telemetry), *sources)
        self._step = ""  # what a restore does right now
        self.status = Status()

    def preparing(self) -> None:
        """Report that the group is not joined yet."""
        self.status = Status(reason="compiling, before the group is joined")

    def stopped(self) -> None:
        """Report that the loop has ended."""
        self.status = Status(reason="stopped", warnings=self.status.warnings)

    def restoring(self, number: int, step: str) -> None:
        """Report what the restore of a partition does."""
        self._step = f"partition {number}: {step}"
        self.update("")

    def restored(self) -> None:
        """Forget what was last reported by `restoring`."""
        self._step = ""

    def update(self, trouble: str) -> None:
        """Replace the status, and update the gauges that follow the clock.

        Parameters
        ----------
        trouble
            What is in the way of the whole process; empty: nothing.
        """
        lines = self._lines(trouble)
        self._telemetry.owned = frozenset(self._owned)
        self._measure_lags()
        unready = (line for line in lines if line.state != "running")
        reasons = (f"partition {line.partition} is {line.state}: {line.reason}" for line in unready)
        reason = trouble or next(reasons, "")
        if not reason and not self._stream.settled():
            reason = "the consumer group is rebalancing"
        self.status = Status(
            ready=not reason,
            reason=reason or "running",
            partitions=tuple(lines),
            warnings=tuple(warning for source in self._sources for warning in source()),
        )

    def _lines(self, trouble: str) -> list[PartitionStatus]:
        reason = trouble or self._step or "not begun yet"
        lines = [
            PartitionStatus(partition=number, state="restoring", reason=reason) for number in self._assigned
        ]
        for number, owned in self._owned.items():
            state = owned.state
            reasons = {"waiting": owned.waiting_for, "running": ""}
            lines.append(
                PartitionStatus(partition=number, state=state, reason=reasons.get(state, owned.progress))
            )
        return sorted(lines, key=lambda line: line.partition)

    def _measure_lags(self) -> None:
        for number, owned in self._owned.items():
            if owned.committed is not None:
                measure_lag(
                    self._telemetry.partitions[number],
                    end=self._stream.end(number),
                    committed=owned.committed.offset,
                    newest_ms=owned.newest_ms,
                    now_s=self._clock.time(),
                )


def input_warnings(telemetry: Telemetry) -> Sequence[str]:
    """Warnings about a schema or a producer that may be wrong."""
    partitions = list(telemetry.partitions.values())
    found = []
    mismatches = sum(numbers.key_mismatches for numbers in partitions)
    if mismatches:
        found.append(f"{mismatches} events had a record key that is not the value of their main entity")
    received = sum(numbers.received for numbers in partitions)
    repeated = sum(numbers.irregular["duplicate"] for numbers in partitions)
    if repeated > REPEATED_MIN + REPEATED_SHARE_MAX * received:
        found.append(
            f"{repeated} of {received} events had the id of an earlier event: if event.id does not identify "
            "an event, set event.duplicates: null"
        )
    return found
