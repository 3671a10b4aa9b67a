"""The loop: from polls to committed outputs, one shard per partition.

One turn, in this order (DESIGN, "Rebalances"):

    1. poll; the membership that came with it is the one the next commits carry, never a fresher one: the
       broker checks the generation, not who owns a partition
    2. apply the group's changes: what was taken away is dropped and nothing of it committed (its next owner
       redoes at most one commit interval); what was given waits for step 4
    3. hand the records to the partitions that are there; others' are thrown away, they are read again
    4. restore what was given: read what is committed, find the origin, seek; those that stay follow the
       number of the topic's partitions
    5. process, barrier by barrier
    6. commit outputs, offsets and journals as one step; where the stream allows it the next turns come
       meanwhile, up to the next commit

Rules
    - Between a block's end and its barrier nothing of that partition is committed: a shard restored there
      would go on without the barrier. Whatever a barrier waits for (labels, what siblings told, room in the
      journal) holds its partition back, never the others.
    - One commit at a time. Until its end is known nothing that is committed is read back, and what it carries
      is not counted. What was taken away meanwhile still counts if the commit took place: the next owner
      begins behind it.
    - A barrier may be waited for, but its position never moves: elsewhere it would change what is alerted.
    - A stop takes `STOP_S` at most, whatever the world does: calls that may take long are made beside the
      loop (`_ask`), and one that is overdue then is left behind.
    - Numbers are counted when they are committed, so received = scored + rejected and nothing counts twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from math import ceil, inf
from typing import TypeVar

from detector.config.tree import Config, ModelPart
from detector.core.jobs import AT_ONCE, Lanes
from detector.core.records import Identity, Outputs, Record
from detector.core.recovery.checkpoint import Snapshot
from detector.core.recovery.generations import (
    Origin,
    check_end,
    check_side,
    config_name,
    expired,
    find_origin,
    folders,
    move_newest,
    read_configs,
    read_journal,
    store_prefix,
    write,
)
from detector.core.recovery.journal import METADATA_BYTES_MAX, Barrier, Journal
from detector.core.recovery.sides import SIDES, Side, SideRange, SideRecords
from detector.core.reporting.counting import StageTimer, block_signals, count, measure_lag, publications
from detector.core.reporting.telemetry import Telemetry
from detector.core.shard.partition import Partition, library_versions
from detector.core.shard.warm_start import Model, first_checkpoint
from detector.errors import BrokerUnavailable, CommitFailed, LogGone, NeedsOperator, OutsideError
from detector.ports import (
    Change,
    CheckpointStore,
    Clock,
    Commit,
    Committed,
    Log,
    Message,
    PartitionStatus,
    Poll,
    SideLog,
    Status,
    Stream,
)

T = TypeVar("T")

Observe = Callable[[int, Mapping[str, float]], None]
"""Told a partition and the aggregates of one of its blocks, by signal."""

POLL_TIMEOUT_MAX_MS = 100  # also how late a stop, a finished checkpoint or a new label is noticed
BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 5.0
SLEEP_MAX_S = 0.5  # one nap between two heartbeats
RESTORING_MAX_S = 10.0  # then another turn comes first: a member that does not poll for 300 s is put out
TOLD_AGAIN_S = 60.0  # between two log lines about the same trouble
SIDE_BEGINNING_S = 60.0  # how old the answer may be where a side topic begins
CHECKPOINT_RETRY_S = 5.0  # between two tries to write the same snapshot
COMMIT_SHARE_MAX = 0.1  # of the time for those at barriers, else they come with the next regular one
FOLLOW_S = 1.0  # between two looks at how many partitions the topic has
REPEATED_MIN, REPEATED_MAX = 100, 0.05  # events, and share, that repeat one: more than retries explain
STOP_S = 8.0  # from the request to the end; who asked waits 10 s before it kills
LEAVE_S = 5.0  # of these for leaving, which `Stream.close` and `SideLog.close` promise to keep to
STOP_LOOK_S = 0.05  # how late a stop is noticed that comes during a call
STOP_WAIT_S = 2.0  # for checkpoints under way; they only make the next start faster


class _Stopped(Exception):
    """We were asked to stop, and will not wait for what was asked of the world."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Written:
    """A journal as text."""

    journal: Journal
    text: str
    bytes_next_max: int  # of the text with one more barrier


@dataclass(kw_only=True, slots=True)
class _Owned:
    """One partition of ours and what the loop knows about it."""

    partition: Partition
    partitions: int  # of the topic, as its wanted configuration says
    committed: Committed | None
    named: str  # the checkpoint that `committed` names; empty: none
    assigned_s: float  # monotonic
    checkpoint_s: float  # monotonic, when the last one was started
    origin: int  # offset at which its replay began
    lost: int  # offsets that the log dropped before they were processed; until that is committed
    backlog: list[Record] = field(default_factory=list)  # polled, not processed; at most one poll's
    outputs: list[Outputs] = field(default_factory=list)  # processed, not committed
    at_block_end: bool = False  # its barrier is not settled yet
    running: bool = False  # caught up with what was committed
    paused: bool = False
    waiting: str = ""  # for what
    snapshots: list[Snapshot] = field(default_factory=list)  # to be written, at most two
    writing: Future[str] | None = None  # of the first of them
    failed_s: float = -inf  # monotonic, when the last write failed
    written: _Written | None = None
    newest_ms: int = 0  # log time of the newest record processed
    origin_ms: int = 0  # log time of the first record after the journal's origin; 0: none yet
    block: list[Outputs] = field(default_factory=list)  # since the last block's end, for drift
    differences: int = 0  # replayed barriers with another state than before, as told


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """What a commit carries of one partition."""

    owned: _Owned
    committed: Committed
    journal: Journal
    outputs: Sequence[Outputs]
    lost: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _UnderWay:
    """A commit whose end is not known yet."""

    answer: Future[tuple[float, float]]  # how long it took, s, and when it was done, s since the epoch
    parts: Mapping[int, _Part]


class Runner:
    """Runs the shards of one process; see the module's text.

    Parameters
    ----------
    config, topic, group, entity_key
        What to compute, and who we are.
    stream, store, sides, clock, log, executor
        The world. Without `store` nothing is snapshot; of a side input that is not in `sides` nothing is
        read. `executor` writes checkpoints beside scoring. The runner closes `stream` and the side topics,
        nothing else.
    telemetry
        Where numbers are kept.
    lanes
        Where shards train beside scoring.
    commit_interval_s
        None: as configured. 0: after every turn.
    metadata_bytes_max
        What fits beside a committed offset.
    observe
        Told the aggregates of each live block, e.g. `DriftMonitor.observe`.
    warm_start
        What partitions that were never committed begin with, by way of `store`; None: with nothing.
    warnings
        What start-up found; shown by `status`.
    open_partition
        Makes a partition, as `Partition` does.
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
        observe: Observe | None = None,
        warm_start: Model | None = None,
        warnings: Sequence[str] = (),
        open_partition: Callable[..., Partition] = Partition,
    ) -> None:
        self._config = config
        self._topic, self._group, self._entity_key = topic, group, entity_key
        self._stream, self._store = stream, store
        self._sides = sides
        self._clock, self._telemetry, self._log, self._executor = clock, telemetry, log, executor
        self._lanes = lanes
        configured_s = config.commit_interval_ms / 1000.0
        self._commit_interval_s = configured_s if commit_interval_s is None else commit_interval_s
        self._metadata_bytes_max = metadata_bytes_max
        self._observe = observe
        self._warm_start = warm_start
        self._warnings = tuple(warnings)
        self._open_partition = open_partition
        self._prefix = store_prefix(group, topic)
        self._owned: dict[int, _Owned] = {}
        self._assigned: dict[int, float] = {}  # given to us, not restored yet; since when (monotonic)
        self._kept_configs: set[str] = set()
        self._keeping: tuple[str, Future[None]] | None = (
            None  # a configuration's hash and its way to the store
        )
        self._followed_s = -inf  # monotonic, of the last look at the topic
        self._connected = False  # a poll has been answered
        self._membership: object = None
        self._committed_s = -inf  # monotonic, when the last commit began
        self._commit_s = 0.0  # how long one took
        self._under_way: _UnderWay | None = None
        self._sides_began: dict[Side, tuple[float, int]] = {}  # monotonic, position
        self._told = ("", -inf)  # the last trouble logged, and when (monotonic)
        self._step = ""  # what restoring is at
        self._troubles = 0  # turns in which the world was away, since it last was not
        self._commit_failing = False  # since the last one that did not
        self._timer = StageTimer(telemetry, clock.monotonic)
        self._stopping = threading.Event()
        self._answers_until_s = inf  # monotonic; set by a stop
        self._status = Status(warnings=self._warnings)

    def run(self) -> None:
        """Turn until `stop` or until a finite log is at its end; then commit and leave.

        Raises
        ------
        OperatorError
            Only a person can go on; everything is closed.
        """
        try:
            while not self._stopping.is_set() and not self.turn():
                pass
            self._finish()
        finally:
            self._status = Status(reason="stopped", warnings=self._warnings)
            self._close()

    def stop(self) -> None:
        """Ask `run` to return, within `STOP_S`; safe from threads and signal handlers."""
        if not self._stopping.is_set():
            self._answers_until_s = self._clock.monotonic() + STOP_S - LEAVE_S
        self._stopping.set()

    def status(self) -> Status:
        """Whether we are ready, and why not."""
        return self._status

    def turn(self) -> bool:
        """Do one turn of the loop (module's text); `run` does nothing else.

        Returns
        -------
        bool
            Whether a finite log has been processed to its end.
        """
        trouble, exhausted = "", False
        self._beat()
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
            self._follow_topic()
            # Step 5
            trouble = self._process() or trouble
            # Step 6
            if self._clock.monotonic() - self._committed_s >= self._commit_interval_s:
                self._commit()
            exhausted = poll.exhausted and not trouble and self._all_done()
        except CommitFailed as error:
            trouble = str(error)
            self._commit_failing = True
            self._telemetry.commit_failures += 1
            self._log.warning("commit_failed", reason=trouble, partitions=sorted(self._owned))
            self._rebuild()
        except LogGone as error:
            if self._config.on_data_loss == "stop":
                raise
            trouble = str(error)
            self._rebuild()
        except OutsideError as error:
            trouble = str(error)
        except _Stopped:
            return False
        self._publish_status(trouble)
        if trouble:
            self._back_off(trouble)
        elif not self._commit_failing:  # else every failed commit would be followed by a restore at once
            self._troubles, self._told = 0, ("", -inf)
        return exhausted

    def _poll(self) -> Poll:
        try:
            timeout_ms = self._poll_timeout_ms()
            if self._connected:  # then it takes seconds at most, and comes too often for a thread each
                poll = self._stream.poll(timeout_ms)
            else:
                poll = self._ask(lambda: self._stream.poll(timeout_ms))
        except OutsideError:  # it may have swallowed records: read again what we do not hold
            for number, owned in self._owned.items():
                held = owned.backlog[-1].offset + 1 if owned.backlog else owned.partition.position
                self._stream.seek(number, held)
            raise
        self._membership, self._connected = poll.membership, True
        return poll

    # --- membership and restoring --------------------------------------------------------------------------

    def _apply(self, change: Change) -> None:
        for number in change.partitions:
            if (owned := self._owned.pop(number, None)) is not None:  # with its outputs
                self._drop_snapshots(owned)
            self._assigned.pop(number, None)
            if change.kind == "assigned":
                self._assigned[number] = self._clock.monotonic()
        self._log.info(f"partitions_{change.kind}", partitions=list(change.partitions))

    def _rebuild(self) -> None:
        """Only what is committed counts: drop every shard and restore it."""
        self._assigned |= dict.fromkeys(self._owned, self._clock.monotonic())
        for owned in self._owned.values():
            self._drop_snapshots(owned)
        self._owned.clear()

    def _restore_assigned(self) -> str:
        """Restore what waits for it; returns what is in the way of the rest."""
        if not self._assigned:
            return ""
        self._end_commit()
        trouble = ""
        committed = self._ask_unless_stopping(lambda: self._stream.committed(sorted(self._assigned)))
        until_s = self._clock.monotonic() + RESTORING_MAX_S
        for number, assigned_s in sorted(self._assigned.items()):
            if self._stopping.is_set() or self._clock.monotonic() >= until_s:
                break
            try:
                self._owned[number] = self._restore(number, committed[number], assigned_s)
                del self._assigned[number]
                self._stream.resume([number])
            except OutsideError as error:
                trouble = f"partition {number}: {error}"
                self._stream.pause([number])
            except NeedsOperator:
                if not self._overtaken(number, committed[number]):
                    raise
                trouble = f"partition {number}: another member goes on with it"
            finally:
                self._step = ""
        return trouble

    def _overtaken(self, number: int, committed: Committed | None) -> bool:
        """Whether more was committed since: what `committed` names may be gone, the next poll tells why."""
        now = self._ask_unless_stopping(lambda: self._stream.committed([number]))
        return now[number] != committed

    def _restore(self, number: int, committed: Committed | None, assigned_s: float) -> _Owned:
        """Bring one shard back to the origin of what is committed; the log's records do the rest.

        1. The journal: the committed one, or a bare or warm start. The log reaches to what is committed.
        2. The newest checkpoint on its chain that can be read.
        3. Everything the replay will need is there: configurations, records of side topics.
        4. The stream goes to the origin.
        5. The shard stands there, its barriers ahead.
        """
        began_s = self._clock.monotonic()
        ask, stream = self._ask_unless_stopping, self._stream
        identity = Identity(
            topic=self._topic, group=self._group, partition=number, entity_key=self._entity_key
        )

        def get(name: str) -> bytes:
            self._tell_step(number, f"reading {name}")
            return ask(lambda: self._get(name))

        self._tell_step(number, "reading what is committed")
        partitions = ask(stream.partitions_count)
        wanted = self._config.model_part(partitions)
        ask(lambda: self._keep_config(wanted))
        beginnings = {side: ask(log.beginning) for side, log in self._sides.items()}
        # Step 1
        if committed is None:
            until = ask(lambda: stream.start(number))
            journal = self._first_journal(identity, wanted, self._bare(wanted, until, beginnings))
        else:
            until = committed.offset
            journal = read_journal(committed.metadata, partition=number, group=self._group)
            end = ask(lambda: stream.log_end(number))
            check_end(until, partition=number, group=self._group, end=end)
        # Steps 2 and 3
        beginning, lost = ask(lambda: stream.beginning(number)), 0

        def find(journal: Journal) -> Origin:
            origin = find_origin(journal, get, partition=number, beginning=beginning)
            for side in SIDES:
                check_side(origin.journal, side, partition=number, beginning=beginnings.get(side))
            return origin

        try:
            origin = find(journal)
        except LogGone as error:
            if self._config.on_data_loss == "stop":
                raise
            lost = max(beginning - until, 0)
            until += lost
            journal = self._salvage(journal, get, self._bare(wanted, until, beginnings))
            model = journal.checkpoint or None
            self._log.error("log_lost", partition=number, reason=str(error), lost=lost, model=model)
            origin = find(journal)
        configs = read_configs(origin, wanted, get)
        # Step 4
        self._beat()
        stream.seek(number, origin.journal.position)
        # Step 5
        self._tell_step(number, "building the model")
        partition = self._open_partition(
            identity,
            wanted,
            origin.journal,
            until=until,
            configs=configs,
            restored=origin.restored,
            lap=self._timer,
            lanes=self._lanes,
        )
        now = self._clock.monotonic()
        self._log_restored(number, origin, until, now - began_s)
        return _Owned(
            partition=partition,
            partitions=partitions,
            committed=committed,
            named="" if committed is None else journal.checkpoint,
            assigned_s=assigned_s,
            checkpoint_s=now,
            origin=origin.journal.position,
            lost=lost,
        )

    def _bare(self, wanted: ModelPart, position: int, beginnings: Mapping[Side, int]) -> Journal:
        """Begin without a model."""
        starts = {
            side: self._ask_unless_stopping(log.log_end) if SIDES[side].starts_at_end else beginnings[side]
            for side, log in self._sides.items()
        }
        return Partition.begin(wanted, position, starts)

    def _first_journal(self, identity: Identity, wanted: ModelPart, bare: Journal) -> Journal:
        """What a partition begins with that was never committed: nothing, or a model file."""
        model = self._warm_start
        if model is None:
            return bare
        snapshot = first_checkpoint(model, wanted, identity, bare)
        name = self._ask_unless_stopping(lambda: write(snapshot, self._put))
        return replace(bare, checkpoint=name)

    def _salvage(self, journal: Journal, get: Callable[[str], bytes], bare: Journal) -> Journal:
        """Go on without what the log lost: the newest model that can be read, at `bare`'s position."""
        snapshot = move_newest(journal, get, bare.position)
        if snapshot is None:
            return bare
        name = self._ask_unless_stopping(lambda: write(snapshot, self._put))
        return replace(snapshot.since, checkpoint=name)

    def _tell_step(self, number: int, step: str) -> None:
        """Let readiness say what restoring is at."""
        self._step = f"partition {number}: {step}"
        self._publish_status("")

    def _keep_config(self, wanted: ModelPart) -> None:
        """Store it before the first journal that names it is committed."""
        name = wanted.hash()
        if self._store is not None and name not in self._kept_configs:
            self._put(config_name(name), wanted.canonical())
            self._kept_configs.add(name)

    def _follow_topic(self) -> None:
        """Tell the shards that stay how many the topic has now: each has its part of a budget per day."""
        now = self._clock.monotonic()
        if not self._owned or now - self._followed_s < FOLLOW_S:
            return
        self._followed_s = now
        try:
            count = self._ask(self._stream.partitions_count)
        except OutsideError:  # the next poll tells it
            return
        behind = [owned for owned in self._owned.values() if owned.partitions != count]
        wanted = self._config.model_part(count)
        if not behind or not self._kept(wanted):
            return
        for owned in behind:
            owned.partition.want(wanted)
            owned.partitions = count
        self._log.info("topic_has_other_partitions", count=count)

    def _kept(self, wanted: ModelPart) -> bool:
        """Whether it is in the store; if not, it is put there, beside scoring."""
        name = wanted.hash()
        if self._store is None or name in self._kept_configs:
            return True
        if self._keeping is None:
            put = self._executor.submit(self._put, config_name(name), wanted.canonical())
            self._keeping = name, put
        kept, writing = self._keeping
        if not writing.done():
            return False
        self._keeping = None
        try:
            writing.result()
        except OutsideError as error:
            self._log.warning("configuration_not_kept", config=kept, reason=str(error))
            return False
        self._kept_configs.add(kept)
        return kept == name

    def _log_restored(self, number: int, origin: Origin, until: int, seconds: float) -> None:
        for damage in origin.damages:
            self._log.error("checkpoint_damaged", partition=number, reason=damage)
        checkpoint = origin.journal.checkpoint or None
        self._log.info(
            "restored",
            partition=number,
            checkpoint=checkpoint,
            position=origin.journal.position,
            until=until,
            seconds=round(seconds, 3),
        )
        if origin.restored is not None and origin.restored[0].versions != library_versions():
            self._log.warning(
                "restored_on_other_versions",
                partition=number,
                then=origin.restored[0].versions,
                now=library_versions(),
                meaning="scores may differ in the last digits from those of an undisturbed run",
            )

    # --- processing ----------------------------------------------------------------------------------------

    def _process(self) -> str:
        """Take every partition as far as it goes; returns what is in the way of one of them."""
        trouble = self._refresh_sides()
        for number, owned in self._owned.items():
            try:
                self._collect_checkpoint(owned)
                owned.waiting = ""
                self._advance(owned)
                self._note_running(number, owned)
                if self._aged(owned):
                    self._renew_origin(owned)
            except CommitFailed:
                raise
            except OutsideError as error:
                trouble = owned.waiting = str(error)
            if owned.paused != bool(owned.backlog):  # one poll's records at most are held back
                owned.paused = bool(owned.backlog)
                (self._stream.pause if owned.paused else self._stream.resume)([number])
        return trouble

    def _refresh_sides(self) -> str:
        trouble = ""
        for log in self._sides.values():
            try:
                log.refresh()
            except OutsideError as error:  # only barriers that need it have to wait
                trouble = str(error)
        return trouble

    def _advance(self, owned: _Owned) -> None:
        """Process the backlog, block by block."""
        while True:
            if owned.at_block_end:
                if not self._settle_block(owned):
                    return
                owned.at_block_end = False
            if not owned.backlog or self._stopping.is_set():
                return
            if owned.snapshots and not owned.partition.replaying and not self._has_room(owned):
                return
            self._beat()
            self._timer.start()
            step = owned.partition.take(owned.backlog)
            owned.newest_ms = owned.backlog[step.consumed - 1].timestamp_ms
            owned.origin_ms = owned.origin_ms or owned.backlog[0].timestamp_ms
            del owned.backlog[: step.consumed]
            if step.replayed:
                self._telemetry.partitions[owned.partition.identity.partition].replayed += step.replayed
            else:
                owned.outputs.append(step.outputs)
                owned.block.append(step.outputs)
            owned.at_block_end = step.block_ended

    def _settle_block(self, owned: _Owned) -> bool:
        """Apply the barrier that belongs at this block's end, if any.

        Returns False when something must be awaited first; then nothing was done and it is asked again.

        1. Which barrier.
        2. Its entry fits the journal.
        3. What it applies of the side topics is here.
        4. It is applied, its entry is in the journal.
        5. A snapshot, if a checkpoint is due.
        6. Both become visible, with what it tells the other shards; with the next commit if they take long.
        """
        partition = owned.partition
        # Step 1
        available = {side: self._available(side, partition) for side in self._sides}
        barrier = partition.due(available, aged=self._aged(owned))
        if barrier is None:
            self._tell_drift(owned)
            return True
        live = barrier.position > partition.until
        # Step 2
        if live and not self._has_room(owned):
            return False
        # Step 3
        records: Mapping[Side, SideRecords] = {
            side: self._read(side, wanted) for side, wanted in barrier.sides.items()
        }
        if live:
            barrier, records = barrier.within_bytes(records)
        # Step 4
        self._timer.start()
        outputs = partition.barrier(barrier, records)
        self._compare_state(owned)
        self._tell_drift(owned)
        # Step 5
        if self._checkpoint_due(owned, barrier):
            del owned.snapshots[0 if owned.writing is None else 1 :]  # this one is better than those
            owned.snapshots.append(partition.snapshot())
            self._timer("snapshot")
            if owned.writing is None:
                self._write_checkpoint(owned)
        # Step 6
        if live:
            owned.outputs.append(outputs)
            owned.at_block_end = False
            enough_s = min(self._commit_s / COMMIT_SHARE_MAX, self._commit_interval_s)
            if self._clock.monotonic() - self._committed_s >= enough_s:
                self._commit()
        return True

    def _compare_state(self, owned: _Owned) -> None:
        """Tell once when a replay came to another state than the one that was committed."""
        partition, differences = owned.partition, owned.partition.differences
        number = partition.identity.partition
        if differences > owned.differences:
            self._telemetry.partitions[number].state_differences += differences - owned.differences
            if owned.differences == 0:
                self._log.error(
                    "state_differs",
                    partition=number,
                    position=partition.position,
                    state=partition.state_hash,
                    meaning="this machine computes other numbers than the one before it: later alerts may "
                    "differ from those of an undisturbed run; detector checkpoint verify tells where",
                )
            owned.differences = differences

    def _available(self, side: Side, partition: Partition) -> SideRange:
        """Positions of a side topic that a barrier may apply now."""
        end = self._sides[side].end(partition.event_time)
        return SideRange(self._side_beginning(side) if end > partition.journal.end(side) else 0, end)

    def _read(self, side: Side, wanted: SideRange) -> SideRecords:
        start, stop = wanted
        if start >= stop:
            return ()
        log = self._sides[side]
        return self._ask(lambda: log.read(start, stop))

    def _tell_drift(self, owned: _Owned) -> None:
        """Report a block that was live as a whole or in part."""
        if self._observe is not None and (signals := block_signals(owned.block)):
            self._observe(owned.partition.identity.partition, signals)
        owned.block.clear()

    def _note_running(self, number: int, owned: _Owned) -> None:
        if owned.running:
            return
        offset = self._offset(owned)
        if offset is not None and offset >= owned.partition.until:
            owned.running = True
            seconds = self._clock.monotonic() - owned.assigned_s
            self._telemetry.restores.observe(seconds)
            self._log.info("running", partition=number, position=offset, seconds=round(seconds, 3))

    def _side_beginning(self, side: Side) -> int:
        """Where a side topic begins, as of some recent moment."""
        asked_s, beginning = self._sides_began.get(side, (-inf, 0))
        if self._clock.monotonic() - asked_s > SIDE_BEGINNING_S:
            beginning = self._ask(self._sides[side].beginning)
            self._sides_began[side] = self._clock.monotonic(), beginning
        return beginning

    # --- checkpoints ---------------------------------------------------------------------------------------

    def _aged(self, owned: _Owned) -> bool:
        """Whether the log may soon forget what a recovery of a quiet partition needs."""
        if self._store is None or not owned.running or not owned.origin_ms or owned.writing is not None:
            return False
        age_s = self._clock.time() - owned.origin_ms / 1000.0
        waited_s = self._clock.monotonic() - max(owned.checkpoint_s, owned.failed_s)
        return age_s > self._config.checkpoints.age_max and waited_s >= CHECKPOINT_RETRY_S

    def _renew_origin(self, owned: _Owned) -> None:
        """Make a barrier here, within a block if need be, and write what the last one left."""
        owned.at_block_end = not self._settle_block(owned)
        if owned.snapshots and owned.writing is None:
            self._write_checkpoint(owned)

    def _has_room(self, owned: _Owned) -> bool:
        """Whether one more barrier is sure to fit the metadata; if not, press for the checkpoint."""
        if self._fits(owned):
            return True
        assert owned.snapshots, "a snapshot was taken when the journal became full"
        owned.waiting = "the journal is full until a checkpoint is written"
        if owned.writing is None and self._clock.monotonic() - owned.failed_s >= CHECKPOINT_RETRY_S:
            self._write_checkpoint(owned)
        return False

    def _fits(self, owned: _Owned) -> bool:
        return self._written(owned).bytes_next_max <= self._metadata_bytes_max

    def _written(self, owned: _Owned) -> _Written:
        """Its journal as text, written once per change: in a replay without a store it grows to the end."""
        journal, written = owned.partition.journal, owned.written
        if written is None or written.journal is not journal:
            written = _Written(
                journal=journal, text=journal.to_text(), bytes_next_max=journal.bytes_next_max()
            )
            owned.written = written
        return written

    def _checkpoint_due(self, owned: _Owned, barrier: Barrier) -> bool:
        """Whether a snapshot should be taken here, right after `barrier`."""
        journal = owned.partition.journal
        if self._store is None or journal.barriers[-1] != barrier:
            return False
        if owned.writing is not None:  # what is being written may not make room enough
            return not self._fits(owned)
        if barrier.cause == "age":
            return True
        if (
            self._written(owned).bytes_next_max > self._metadata_bytes_max // 2
        ):  # the rest is for while it is written
            return True
        age_s = self._clock.monotonic() - owned.checkpoint_s
        return age_s >= self._config.checkpoints.interval and not owned.partition.replaying

    def _write_checkpoint(self, owned: _Owned) -> None:
        owned.checkpoint_s = self._clock.monotonic()
        snapshots = owned.snapshots  # looked into when its turn comes: until then they may be dropped
        owned.writing = self._executor.submit(lambda: write(snapshots[0], self._put))

    def _drop_snapshots(self, owned: _Owned) -> None:
        """Nobody will name them: while a store hangs they must not pile up."""
        if owned.writing is not None:
            owned.writing.cancel()
        owned.snapshots.clear()

    def _collect_checkpoint(self, owned: _Owned) -> None:
        """Take the result of a finished write: the next commit names it."""
        if owned.writing is None or not owned.writing.done():
            return
        writing, owned.writing = owned.writing, None
        number, position = owned.partition.identity.partition, owned.snapshots[0].position
        seconds = round(self._clock.monotonic() - owned.checkpoint_s, 3)
        try:
            name = writing.result()
        except OutsideError as error:
            owned.failed_s = self._clock.monotonic()
            owned.checkpoint_s = -inf  # again at the next barrier
            self._log.error("checkpoint_failed", partition=number, position=position, reason=str(error))
            return
        owned.partition.rebase(name, position)
        owned.origin_ms = 0
        del owned.snapshots[0]
        self._telemetry.partitions[number].checkpoint_timestamp = self._clock.time()
        self._committed_s = -inf  # at once
        self._log.info("checkpoint_written", partition=number, checkpoint=name, seconds=seconds)

    def _prune(self, number: int, journal: Journal) -> None:
        """Delete generations that nobody needs; on the executor."""
        assert self._store is not None
        try:
            found = [name for folder in folders(number) for name in self._store.list(self._prefix + folder)]
            names = [name.removeprefix(self._prefix) for name in found]
            for name in expired(names, journal, self._get, keep=self._config.checkpoints.keep):
                self._store.delete(self._prefix + name)
        except OutsideError as error:
            self._log.warning("checkpoints_not_pruned", partition=number, reason=str(error))

    def _get(self, name: str) -> bytes:
        if self._store is None:
            raise KeyError(name)
        return self._store.get(self._prefix + name)

    def _put(self, name: str, data: bytes) -> None:
        assert self._store is not None
        self._store.put(self._prefix + name, data)

    # --- committing ----------------------------------------------------------------------------------------

    def _offset(self, owned: _Owned) -> int | None:
        """Where a partition stands: at its next unprocessed record, past gaps when there is none.

        None when it cannot be told: it was just taken away, and the next poll will say so.
        """
        position = owned.partition.position
        if owned.backlog:
            return position
        try:
            return max(position, self._stream.position(owned.partition.identity.partition))
        except BrokerUnavailable:
            return None

    def _target(self, owned: _Owned) -> Committed | None:
        """What to commit for a partition; None while that would lose or repeat something."""
        offset = self._offset(owned)
        if offset is None or owned.at_block_end or offset < owned.partition.until:
            return None
        if owned.committed is not None:  # past a gap, perhaps, before which the stream was sent back since
            offset = max(offset, owned.committed.offset)
        target = Committed(offset=offset, metadata=self._written(owned).text)
        return (
            None if target == owned.committed or len(target.metadata) > self._metadata_bytes_max else target
        )

    def _commit(self) -> None:
        """Begin to publish and commit all that changed.

        1. The commit before comes to its end.
        2. What changed, and its outputs, in the order of (partition, offset).
        3. One atomic step, with the membership of the last poll.
        """
        # Step 1
        self._end_commit()
        # Step 2
        targets = {number: self._target(owned) for number, owned in sorted(self._owned.items())}
        positions = {number: target for number, target in targets.items() if target is not None}
        self._committed_s = self._clock.monotonic()
        if not positions:
            return
        messages = [message for number in positions for message in self._messages(self._owned[number])]
        # Step 3
        commit = Commit(messages=messages, positions=positions, membership=self._membership)
        answer = self._begin(lambda: self._publish(commit))
        parts = {number: self._hand_over(self._owned[number], to) for number, to in positions.items()}
        self._under_way = _UnderWay(answer=answer, parts=parts)
        if not self._stream.commits_beside:
            self._end_commit()

    def _publish(self, commit: Commit) -> tuple[float, float]:
        """Do it; returns how long it took, s, and when it was done, s since the epoch."""
        began_s = self._clock.monotonic()
        self._stream.commit(commit)
        return self._clock.monotonic() - began_s, self._clock.time()

    @staticmethod
    def _hand_over(owned: _Owned, committed: Committed) -> _Part:
        outputs, owned.outputs = owned.outputs, []
        lost, owned.lost = owned.lost, 0
        journal = owned.partition.journal
        return _Part(owned=owned, committed=committed, journal=journal, outputs=outputs, lost=lost)

    def _end_commit(self) -> None:
        """Await the commit under way, if there is one.

        1. Its end.
        2. Count, also what was taken away meanwhile.
        3. Generations that no journal needs any more go.
        """
        if self._under_way is None:
            return
        # Step 1
        parts = self._under_way.parts
        self._timer.start()
        try:
            self._commit_s, done_s = self._await(self._under_way.answer)
        except BrokerUnavailable as error:
            raise CommitFailed(str(error)) from error
        finally:
            self._under_way = None
        self._timer("commit")
        self._commit_failing = False
        self._telemetry.commits.observe(self._commit_s)
        for number, part in parts.items():
            # Step 2
            count(self._telemetry, number, part.outputs, done_s)
            self._telemetry.partitions[number].lost += part.lost
            owned = part.owned
            if self._owned.get(number) is not owned:
                continue
            owned.committed = part.committed
            self._tell_model(number, owned)
            # Step 3
            checkpoint = part.journal.checkpoint
            if self._store is not None and checkpoint not in ("", owned.named):
                self._executor.submit(self._prune, number, part.journal)
            owned.named = checkpoint

    def _messages(self, owned: _Owned) -> list[Message]:
        identity, topics = owned.partition.identity, self._config.topics
        messages = [
            Message(
                topic=topic,
                key=key,
                value=value,
                headers=headers,
                partition=identity.partition,
                offset=offset,
            )
            for outputs in owned.outputs
            for topic, offset, key, value, headers in publications(outputs, identity, topics)
        ]
        return sorted(messages, key=lambda message: message.offset)

    def _tell_model(self, number: int, owned: _Owned) -> None:
        """Renew the numbers of a partition's model."""
        numbers = self._telemetry.partitions[number]
        numbers.gauges = owned.partition.gauges
        numbers.barrier_position = owned.partition.barrier_position
        _, _, digits = owned.partition.state_hash.partition(":")
        numbers.state_hash = int(digits, 16) if digits else None
        numbers.journal_bytes = len(owned.committed.metadata) if owned.committed is not None else None

    # --- the loop's own affairs ----------------------------------------------------------------------------

    def _beat(self) -> None:
        self._telemetry.heartbeat = self._clock.monotonic()

    def _ask(self, call: Callable[[], T]) -> T:
        """Make a call that a frozen broker or store may hold for long; see `_await`."""
        return self._await(self._begin(call))

    def _begin(self, call: Callable[[], T]) -> Future[T]:
        """Make a call beside the loop.

        Raises
        ------
        _Stopped
            We stop, and there is no time left for it.
        """
        self._beat()
        if self._clock.monotonic() >= self._answers_until_s:
            raise _Stopped("there was no time left for it")
        answer: Future[T] = Future()

        def work() -> None:
            try:
                answer.set_result(call())
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                answer.set_exception(error)

        threading.Thread(target=work, name="call", daemon=True).start()
        return answer

    def _await(self, answer: Future[T]) -> T:
        """Wait for what a call gave; a stop does not wait for its end.

        Raises
        ------
        _Stopped
            The answer is overdue after a stop, and every later one is. The call goes on behind our back;
            what it asked can only be closed now.
        """
        while True:
            try:
                answer.exception(STOP_LOOK_S)  # of the call, or TimeoutError of waiting
            except TimeoutError:
                if self._clock.monotonic() >= self._answers_until_s:
                    raise _Stopped("no answer came in time") from None
            else:
                self._beat()
                return answer.result()

    def _ask_unless_stopping(self, call: Callable[[], T]) -> T:
        """`_ask` for what is of no use any more once we stop."""
        if self._stopping.is_set():
            raise _Stopped
        return self._ask(call)

    def _poll_timeout_ms(self) -> int:
        """Wait no longer than outputs may."""
        if not any(owned.outputs for owned in self._owned.values()):
            return POLL_TIMEOUT_MAX_MS
        left_s = self._commit_interval_s - (self._clock.monotonic() - self._committed_s)
        return ceil(min(max(left_s * 1000.0, 0.0), POLL_TIMEOUT_MAX_MS))

    def _all_done(self) -> bool:
        return not self._assigned and all(
            owned.running and not owned.backlog and not owned.at_block_end for owned in self._owned.values()
        )

    def _back_off(self, reason: str) -> None:
        """Wait longer the longer the world is away; the heartbeat goes on, a stop is heard."""
        wait_s = min(BACKOFF_MIN_S * 2.0 ** min(self._troubles, 16), BACKOFF_MAX_S)
        self._troubles += 1
        now_s = self._clock.monotonic()
        told, told_s = self._told
        if reason != told or now_s - told_s >= TOLD_AGAIN_S:
            self._log.warning("not_ready", reason=reason, retries=self._troubles)
            self._told = reason, now_s
        until = now_s + wait_s
        while not self._stopping.is_set() and (left := until - self._clock.monotonic()) > 0:
            self._beat()
            self._clock.sleep(min(left, SLEEP_MAX_S))

    def _finish(self) -> None:
        """Leave nothing undone that is cheap to do, as long as a stop has time for it.

        1. Commit what is processed.
        2. Give checkpoints under way a moment, and name those that made it.
        """
        try:
            # Step 1
            self._commit()
            self._end_commit()
            # Step 2
            deadline = min(self._clock.monotonic() + STOP_WAIT_S, self._answers_until_s)
            while any(o.writing and not o.writing.done() for o in self._owned.values()):
                if self._clock.monotonic() >= deadline:
                    break
                self._beat()
                self._clock.sleep(0.02)
            for owned in self._owned.values():
                self._collect_checkpoint(owned)
            self._commit()
            self._end_commit()
        except (OutsideError, _Stopped) as error:  # the next start redoes it
            self._log.warning("not_committed_at_stop", reason=str(error))

    def _close(self) -> None:
        """Leave all topics side by side, as each may take its whole deadline."""
        until_s = self._clock.monotonic() + LEAVE_S
        leaving = [
            threading.Thread(target=log.close, name="close", daemon=True) for log in self._sides.values()
        ]
        for thread in leaving:
            thread.start()
        self._stream.close()
        for thread in leaving:
            thread.join(max(until_s - self._clock.monotonic(), 0.0))

    def _publish_status(self, trouble: str) -> None:
        """Replace the status and the gauges that follow the clock."""
        lines = [
            PartitionStatus(partition=number, state="restoring", reason=trouble or self._step or "waits")
            for number in self._assigned
        ]
        for number, owned in self._owned.items():
            until = owned.partition.until
            if owned.waiting:
                line = PartitionStatus(partition=number, state="waiting", reason=owned.waiting)
            elif owned.running:
                line = PartitionStatus(partition=number, state="running", reason="")
            else:
                done, all_ = owned.partition.position - owned.origin, until - owned.origin
                how_far = f"at {owned.partition.position} of {until}, {done / max(all_, 1):.0%} of {all_}"
                line = PartitionStatus(partition=number, state="replaying", reason=how_far)
            lines.append(line)
            if owned.committed is not None:
                measure_lag(
                    self._telemetry.partitions[number],
                    end=self._stream.end(number),
                    committed=owned.committed.offset,
                    newest_ms=owned.newest_ms,
                    now_s=self._clock.time(),
                )
        lines.sort(key=lambda line: line.partition)
        self._telemetry.owned = frozenset(self._owned)
        unready = (line for line in lines if line.state != "running")
        reason = trouble or next((f"partition {o.partition} is {o.state}: {o.reason}" for o in unready), "")
        if not reason and not self._stream.settled():
            reason = "the group is not stable"
        self._status = Status(
            ready=not reason,
            reason=reason or "running",
            partitions=tuple(lines),
            warnings=self._warnings + self._input_warnings(),
        )

    def _input_warnings(self) -> tuple[str, ...]:
        """What a schema or a producer may have wrong."""
        partitions = list(self._telemetry.partitions.values())
        found = []
        mismatches = sum(numbers.key_mismatches for numbers in partitions)
        if mismatches:
            found.append(f"{mismatches} events had a record key that is not their main entity's value")
        received = sum(numbers.received for numbers in partitions)
        repeated = sum(numbers.irregular["duplicate"] for numbers in partitions)
        if repeated > REPEATED_MIN + REPEATED_MAX * received:
            found.append(
                f"{repeated} of {received} events had the id of an earlier one: does event.id name one event "
                "each? If it does not, set event.duplicates: null"
            )
        return tuple(found)
