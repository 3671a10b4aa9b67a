"""The loop: from polls to committed outputs, one shard per partition.

    loop            the turn: membership, and the order of everything below
    restore         what is committed -> a task at the beginning of its replay
    process         a task's polled records -> outputs, barrier by barrier
    committer       outputs, offsets and journals -> one atomic step
    checkpointer    snapshots -> checkpoints in the store
    configs         the model configuration, which follows the number of the topic's partitions
    quiet           barriers by command, where feedback waits and no events come
    status          readiness, lag, warnings
    owned           the task: one owned partition
    objects         its group's objects in the checkpoint store
    stopping        blocking calls that a stop does not wait for
    shared          what all of these share

One turn, in this order (docs/explanation/architecture.md says why):

    1. Poll. The membership that came with the poll is the one that the next commits carry.
    2. Apply the group's changes: a partition that was taken away is dropped and nothing of it committed (its
       next owner redoes at most one commit interval); a partition that was assigned waits for step 4.
    3. Hand the records to the tasks. Records of other partitions are dropped; they are read again.
    4. Restore assigned partitions: read what is committed, find the origin, seek. The others follow the
       number of the topic's partitions.
    5. Process, barrier by barrier.
    6. Commit outputs, offsets and journals as one step. Where the stream allows it the commit is made in a
       background thread during the next turns, up to the next commit.

After a failed commit, or one with an unknown outcome, only what is committed counts: every task is dropped
and restored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from concurrent.futures import Executor

from detector.config.tree import Config
from detector.core.jobs import AT_ONCE, Lanes
from detector.core.records import Identity
from detector.core.recovery.journal import METADATA_BYTES_MAX
from detector.core.recovery.sides import Side
from detector.core.reporting.counting import StageTimer
from detector.core.reporting.telemetry import Telemetry
from detector.core.shard.warm_start import Model
from detector.errors import CommitFailed, LogGone, OutsideError
from detector.ports import Change, CheckpointStore, Clock, Log, Poll, SchemaSource, SideLog, Status, Stream
from detector.shell import calls
from detector.shell.objects import Objects
from detector.shell.runner.checkpointer import Checkpointer
from detector.shell.runner.committer import Committer
from detector.shell.runner.configs import ModelConfigs
from detector.shell.runner.process import Processor, SideInputs
from detector.shell.runner.quiet import QuietTopics
from detector.shell.runner.restore import Restorer
from detector.shell.runner.shared import Shared
from detector.shell.runner.status import StatusReporter, WarningSource
from detector.shell.runner.stopping import LEAVE_S, StoppableCalls, Stopped

POLL_TIMEOUT_MAX_MS = 100  # also the delay until a stop, a finished checkpoint or a new label is noticed
BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 5.0
SLEEP_MAX_S = 0.5  # between two heartbeats
LOG_AGAIN_S = 60.0  # between two log lines with the same reason
REASONS_MAX = 4  # different reasons that are logged in this time; the others are counted
CHECKPOINTS_WAIT_S = 2.0  # at a stop, for checkpoints under way; they only make the next start faster
CHECKPOINTS_LOOK_S = 0.02

OnRevoked = Callable[[int], None]
"""Called with a partition that was revoked or lost."""


class Runner:
    """Runs the shards of one process; see the module's text.

    Parameters
    ----------
    config, topic, group, entity_key
        What to compute, and who we are.
    stream, store, sides, clock, log, executor
        The world. Without `store` there are no checkpoints. A side input that `sides` lacks is not read.
        `executor` writes checkpoints in the background. The runner closes `stream` and the side topics,
        nothing else.
    telemetry
        Where numbers are kept.
    lanes
        Where shards train in the background.
    commit_interval_s
        None: as configured. 0: a commit in every turn.
    metadata_bytes_max
        Maximum size of a journal's text, which is kept beside the committed offset.
    on_revoked
        Called with each partition that is revoked or lost.
    warm_start
        The model that partitions which were never committed begin with, by way of `store`; None: with
        nothing.
    schemas
        Schemas of records; None: the format has none.
    warning_sources
        Give warnings, asked for in every turn; shown by `status`.
    live
        As in `Processor`.
    prepare
        Called in a thread before the group is joined, e.g. to compile: a member that holds partitions works.
    """

    def __init__(
        self,
        *,
        config: Config,
        topic: str,
        group: str,
        entity_key: bytes,
        stream: Stream,
        store: CheckpointStore | None,
        sides: Mapping[Side, SideLog],
        clock: Clock,
        telemetry: Telemetry,
        log: Log,
        executor: Executor,
        lanes: Lanes = AT_ONCE,
        commit_interval_s: float | None = None,
        metadata_bytes_max: int = METADATA_BYTES_MAX,
        on_revoked: OnRevoked | None = None,
        warm_start: Model | None = None,
        schemas: SchemaSource | None = None,
        warning_sources: Sequence[WarningSource] = (),
        prepare: Callable[[], object] | None = None,
        live: bool = False,
    ) -> None:
        self._sides, self._prepare, self._stops_on_data_loss = sides, prepare, config.on_data_loss == "stop"
        self._stream, self._clock, self._telemetry, self._log = stream, clock, telemetry, log
        self._on_revoked, self._connected = on_revoked, False  # connected: a poll has been answered
        self._calls = StoppableCalls(clock, telemetry)
        shared = Shared(
            stream=stream,
            objects=Objects(store, group=group, topic=topic),
            executor=executor,
            calls=self._calls,
            clock=clock,
            telemetry=telemetry,
            timer=StageTimer(telemetry, clock.monotonic),
            log=log,
        )
        self._owned, self._assigned = shared.owned, shared.assigned
        self._backoff = Backoff(shared)
        self._configs = ModelConfigs(shared, config)
        self._status = StatusReporter(shared, (self._configs.warnings, *warning_sources))
        self._restorer = Restorer(
            shared,
            config,
            self._configs,
            self._status,
            identity_of=lambda number: Identity(
                topic=topic,
                group=group,
                partition=number,
                entity_key=entity_key,
                resources={} if schemas is None else {"schemas": schemas.table},
            ),
            sides=self._sides,
            lanes=lanes,
            warm_start=warm_start,
        )
        self._checkpointer = Checkpointer(shared, config.checkpoints, metadata_bytes_max)
        self._committer = Committer(
            shared,
            self._checkpointer,
            topics=config.topics,
            interval_s=config.commit_interval_ms / 1000.0 if commit_interval_s is None else commit_interval_s,
            metadata_bytes_max=metadata_bytes_max,
        )
        parts = SideInputs(self._sides, self._calls, clock), self._checkpointer, self._committer
        quiet = QuietTopics(shared, self._sides, live=live, answers_all=config.topics.receipts is not None)
        self._processor = Processor(shared, *parts, quiet, schemas, live=live)

    def run(self) -> None:
        """Turn until `stop`, or until a finite log is at its end; then commit and leave.

        Raises
        ------
        OperatorError
            Only a person can go on; everything is closed.
        """
        try:
            if self._prepare is not None:
                self._status.preparing()
                self._calls.ask_patiently(self._prepare)
            while not self._calls.stopping and not self.turn():
                pass
            self._finish()
        finally:
            self._status.stopped()
            self._close()

    def stop(self) -> None:
        """Ask `run` to return, within `STOP_S`; safe from threads and signal handlers."""
        self._calls.stop()

    def reconfigure(self, config: Config) -> None:
        """Use another configuration's settings of the model, from each partition's next block on.

        The change is a barrier of the journal, as after a restart. Other settings are ignored. Safe from
        threads.
        """
        self._configs.reconfigure(config)

    def status(self) -> Status:
        """Whether we are ready, and why not."""
        return self._status.now()

    def turn(self) -> bool:
        """Do one turn of the loop (module's text); `run` does nothing else.

        Returns
        -------
        bool
            Whether a finite log has been processed to its end.
        """
        trouble, exhausted = "", False
        self._calls.beat()
        try:
            # Step 1
            poll = self._poll()
            # Step 2
            for change in poll.changes:
                self._apply(change)
            # Step 3
            for number in poll.records.keys() & self._owned.keys():
                self._owned[number].backlog.extend(poll.records[number])
            # Step 4
            trouble = self._restore_assigned()
            self._configs.follow_topic()
            # Step 5
            trouble = self._processor.process(ended=poll.exhausted and not trouble) or trouble
            # Step 6
            answered = self._processor.quiet.answered
            if answered and poll.exhausted:  # others may wait for what it says
                self._committer.hurry()
            self._committer.commit_if_due()
            exhausted = poll.exhausted and not trouble and self._all_done() and not answered
        except CommitFailed as error:
            trouble = str(error)
            self._committer.failing = True
            self._telemetry.commit_failures += 1
            self._backoff.tell("commit_failed", trouble, partitions=sorted(self._owned))
            self._rebuild()
        except LogGone as error:
            if self._stops_on_data_loss:
                raise
            trouble = str(error)
            self._rebuild()
        except OutsideError as error:
            trouble = str(error)
        except Stopped:
            return False
        self._status.update(trouble)
        if trouble:
            self._backoff.wait(trouble)
        elif not self._committer.failing:  # else every failed commit would be followed by a restore at once
            self._backoff.reset()
        return exhausted

    def _poll(self) -> Poll:
        """Poll; after an error seek back, as the poll may have dropped records."""
        try:
            timeout_ms = self._committer.poll_timeout_ms(POLL_TIMEOUT_MAX_MS)
            timeout_ms = self._processor.poll_timeout_ms(timeout_ms)
            if self._connected:  # it takes seconds at most then, and comes too often for a thread each
                poll = self._stream.poll(timeout_ms)
            else:
                poll = self._calls.ask(lambda: self._stream.poll(timeout_ms))
        except OutsideError:
            for number, owned in self._owned.items():
                self._stream.seek(number, owned.next_to_read)
            raise
        self._committer.membership, self._connected = poll.membership, True
        return poll

    def _apply(self, change: Change) -> None:
        """Drop what was taken away, with its outputs; note what was assigned."""
        for number in change.partitions:
            if (owned := self._owned.pop(number, None)) is not None:
                self._checkpointer.drop(owned)
            self._assigned.pop(number, None)
            if change.kind == "assigned":
                self._assigned[number] = self._clock.monotonic()
            elif self._on_revoked is not None:
                self._on_revoked(number)
        self._telemetry.changes[change.kind] += 1
        self._log.info(f"partitions_{change.kind}", partitions=list(change.partitions))

    def _restore_assigned(self) -> str:
        """Restore what was assigned; returns what is in the way of the rest."""
        if not self._assigned:
            return ""
        self._committer.end()
        return self._restorer.restore()

    def _rebuild(self) -> None:
        """Drop every task, and let it be restored: only what is committed counts."""
        self._assigned |= dict.fromkeys(self._owned, self._clock.monotonic())
        for owned in self._owned.values():
            self._checkpointer.drop(owned)
        self._owned.clear()

    def _all_done(self) -> bool:
        return not self._assigned and all(owned.done for owned in self._owned.values())

    def _finish(self) -> None:
        """Do what is cheap to do before leaving, as long as a stop has time for it.

        1. Begin to write the newest barriers' checkpoints, and commit what is processed.
        2. Give checkpoints under way a moment, and name those that are written.
        """
        try:
            # Step 1
            for owned in self._owned.values():
                self._checkpointer.write_last(owned)
            self._committer.commit()
            self._committer.end()
            # Step 2
            deadline_s = min(self._clock.monotonic() + CHECKPOINTS_WAIT_S, self._calls.deadline_s)
            while any(self._checkpointer.writing(owned) for owned in self._owned.values()):
                if self._clock.monotonic() >= deadline_s:
                    break
                self._calls.beat()
                self._clock.sleep(CHECKPOINTS_LOOK_S)
            for owned in self._owned.values():
                self._processor.collect_checkpoint(owned)
            self._committer.commit()
            self._committer.end()
        except (OutsideError, Stopped) as error:  # the next start does it again
            self._log.warning("final_commit_failed", reason=str(error))

    def _close(self) -> None:
        """Leave all topics at the same time, as each may take as long as `LEAVE_S`."""
        until_s = self._clock.monotonic() + LEAVE_S
        leaving = [calls.start(log.close, name="close") for log in self._sides.values()]
        self._stream.close()
        futures.wait(leaving, max(until_s - self._clock.monotonic(), 0.0))


class Backoff:
    """Waits longer the longer the broker or the store is away.

    The heartbeat goes on, and a stop ends the wait.
    """

    def __init__(self, shared: Shared) -> None:
        self._calls, self._clock, self._log = shared.calls, shared.clock, shared.log
        self._retries = 0
        self._logged: dict[str, float] = {}  # reasons logged in the last `LOG_AGAIN_S`, and when (monotonic)
        self._left_out = 0  # reasons that were not logged since the last that was

    def reset(self) -> None:
        """Begin with the shortest wait again. What was logged stays so: trouble may come and go."""
        self._retries = 0

    def wait(self, reason: str) -> None:
        """Wait before the next turn, and log why, at most so often (`LOG_AGAIN_S`, `REASONS_MAX`)."""
        wait_s = min(BACKOFF_MIN_S * 2.0 ** min(self._retries, 16), BACKOFF_MAX_S)
        self._retries += 1
        now_s = self._clock.monotonic()
        self.tell("not_ready", reason, retries=self._retries)
        until_s = now_s + wait_s
        while not self._calls.stopping and (left_s := until_s - self._clock.monotonic()) > 0:
            self._calls.beat()
            self._clock.sleep(min(left_s, SLEEP_MAX_S))

    def tell(self, event: str, reason: str, **values: object) -> None:
        """Log trouble, unless its reason was logged a short time ago, or many others were."""
        now_s = self._clock.monotonic()
        self._logged = {said: at_s for said, at_s in self._logged.items() if now_s - at_s < LOG_AGAIN_S}
        if reason in self._logged:
            return
        if len(self._logged) >= REASONS_MAX:
            self._left_out += 1
            return
        more = {"left_out": self._left_out} if self._left_out else {}
        self._log.warning(event, reason=reason, **values, **more)
        self._logged[reason], self._left_out = now_s, 0
