"""What /readyz and the metrics of the process say: readiness, outages, the state of each partition, warnings.

The loop's thread writes it, in every turn and between the steps of a restore. `StatusReporter.now` may be
called from any thread: it adds what the loop cannot say while it stands still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from detector.core.reporting.standing import Standing
from detector.core.reporting.telemetry import STALLED_S, PartitionTelemetry, Telemetry
from detector.ports import Committed, PartitionStatus, Status
from detector.shell.runner.owned import Owned
from detector.shell.runner.shared import Shared

WarningSource = Callable[[], Sequence[str]]
"""Gives the warnings of now, each one sentence. Called in every turn by the loop's thread: it must not block
and must not raise.
"""

REPEATED_MIN, REPEATED_SHARE_MAX = 100, 0.05  # events that repeat an id: more than retries explain
HANGS_S = 5.0  # a step of a restore that takes longer is said to get no answer


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
        self._clock, self._telemetry, self._log = shared.clock, telemetry, shared.log
        self._sources = (lambda: input_warnings(telemetry), *sources)
        self._step = ("", 0.0)  # what a restore does right now, and since when, monotonic s
        self._ready_s: float | None = None  # when we were last ready; None: not since the last outage
        self._outage = ""  # reason of the outage under way
        self._status = Status()

    def now(self) -> Status:
        """The status of this moment; safe from any thread.

        Where the loop stands still it cannot say so itself: then we are not ready. A step of a restore that
        gets no answer is reported with its duration.
        """
        status, now_s = self._status, self._clock.monotonic()
        age_s = self._telemetry.heartbeat_age_s(now_s)
        if status.ready and age_s is not None and age_s >= STALLED_S:
            return replace(status, ready=False, reason=f"the main loop has made no round for {age_s:.0f} s")
        step, since_s = self._step
        if status.ready or not step or now_s - since_s < HANGS_S:
            return status
        slow = f"{step}, no answer for {now_s - since_s:.0f} s"
        lines = (replace(line, reason=slow) if line.reason == step else line for line in status.partitions)
        return replace(status, reason=status.reason.replace(step, slow), partitions=tuple(lines))

    def preparing(self) -> None:
        """Report that the group is not joined yet."""
        self._status = Status(reason="compiling, before the group is joined")

    def stopped(self) -> None:
        """Report that the loop has ended."""
        self._telemetry.ready = False
        self._status = Status(reason="stopped", warnings=self._status.warnings)

    def restoring(self, number: int, step: str) -> None:
        """Report what the restore of a partition does."""
        self._step = f"partition {number}: {step}", self._clock.monotonic()
        self.update("")

    def read_committed(self, committed: Mapping[int, Committed | None]) -> None:
        """Note what is committed of the partitions that are being restored: their lag counts from there."""
        for number, found in committed.items():
            if found is not None and number in self._assigned:
                self._telemetry.partitions[number].standing.processed = found.offset

    def restored(self) -> None:
        """Forget what was last reported by `restoring`."""
        self._step = "", 0.0

    def update(self, trouble: str) -> None:
        """Replace the status, and what the metrics say of each partition.

        Parameters
        ----------
        trouble
            What is in the way of the whole process; empty: nothing.
        """
        self._note_standings()
        lines = self._lines(trouble)
        unready = (line for line in lines if line.state != "running")
        reasons = (f"partition {line.partition} is {line.state}: {line.reason}" for line in unready)
        reason = trouble or next(reasons, "")
        if not reason and not self._stream.settled():
            reason = "the consumer group is rebalancing"
        self._status = Status(
            ready=not reason,
            reason=reason or "running",
            partitions=tuple(lines),
            warnings=tuple(warning for source in self._sources for warning in source()),
            drift=tuple(self._drift()),
        )
        self._telemetry.ready = not reason
        self._note_outage(trouble, ready=not reason)

    def _drift(self) -> Iterator[str]:
        """What drifts, in words; with several partitions each sentence says where."""
        for number in sorted(self._owned):
            found = self._telemetry.partitions[number].drift
            where = f"partition {number}: " if len(self._owned) > 1 else ""
            yield from (where + sentence for sentence in (() if found is None else found.sentences))

    def _lines(self, trouble: str) -> list[PartitionStatus]:
        reason = trouble or self._step[0] or "not begun yet"
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

    def _note_standings(self) -> None:
        """Update what is known of our partitions, restored or not, and forget those that have left."""
        telemetry, now_s = self._telemetry, self._clock.monotonic()
        ours = frozenset(self._owned) | frozenset(self._assigned)
        for number in telemetry.owned - ours:
            telemetry.partitions[number].leave()
        for number in ours:
            numbers = telemetry.partitions[number]
            if numbers.standing.assigned_s is None:
                since_s = self._assigned.get(number, now_s)
                numbers.standing.assigned_s = numbers.standing.moved_s = since_s
                numbers.checkpoints.since_s = since_s
            owned = self._owned.get(number)
            if owned is None:
                numbers.standing.state, numbers.standing.progress = "restoring", 0.0
            else:
                _follow(numbers.standing, owned, now_s)
                if owned.caught_up and not numbers.gauges:
                    describe(numbers, owned)
        telemetry.owned = ours  # last: who reads it finds its partitions above

    def _note_outage(self, trouble: str, *, ready: bool) -> None:
        """Count an outage from its first sign until we are ready, and say when it is over."""
        outages, now_s = self._telemetry.outages, self._clock.monotonic()
        if self._ready_s is not None and now_s - self._ready_s >= STALLED_S and outages.since_s is None:
            outages.since_s = self._ready_s  # nobody could say so meanwhile
            outages.count += 1
            self._outage = trouble or "the main loop made no round"
        if trouble and outages.since_s is None:
            outages.since_s = now_s if self._ready_s is None else self._ready_s
            outages.count += 1
            self._outage = trouble
        if ready and outages.since_s is not None:
            seconds, outages.since_s = now_s - outages.since_s, None
            outages.durations.observe(seconds)
            self._log.info("ready_again", seconds=round(seconds, 1), reason=self._outage)
        self._ready_s = now_s if ready else None


def describe(numbers: PartitionTelemetry, owned: Owned) -> None:
    """Update a partition's gauges of its model and journal."""
    numbers.gauges, numbers.drift = owned.partition.gauges, owned.partition.drift
    _, _, digits = owned.partition.state_hash.partition(":")
    numbers.barrier = owned.partition.barrier_position, int(digits, 16) if digits else None
    numbers.checkpoints.journal_bytes = len(owned.committed.metadata) if owned.committed is not None else None


def _follow(standing: Standing, owned: Owned, now_s: float) -> None:
    position = owned.partition.position
    standing.state = owned.state
    standing.progress = 1.0 if owned.caught_up else owned.replayed_share
    standing.processed = position if owned.committed is None else owned.committed.offset
    standing.newest_ms = owned.newest_ms or standing.newest_ms
    if position > standing.position:
        if standing.position >= 0:  # else the first one, which is where the restore began
            standing.moved_s = now_s
        standing.position = position


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
