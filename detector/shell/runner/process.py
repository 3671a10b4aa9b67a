"""Processing: takes each owned partition through its polled records, block by block and barrier by barrier.

Rules
    - What a barrier waits for (labels, messages of peers, room in the journal) holds its own partition back,
      never the others.
    - A barrier may have to wait, but its position never moves: elsewhere it would change what is alerted.
    - At most one poll's records of a partition are held back; meanwhile the stream delivers no more of it.
    - Live, a barrier also waits for its model's background jobs, and a turn makes one barrier at most: the
      others follow one by one, and the rest of the stream goes on between them. Where a barrier is and what
      it does stays the same. Only early ones, whose positions are free, come later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from detector.core.recovery.sides import Side, SideRange, SideRecords
from detector.core.shard.partition import Partition
from detector.errors import CommitFailed, OutsideError
from detector.ports import Clock, SchemaSource, SideLog
from detector.shell.runner.checkpointer import Checkpointer
from detector.shell.runner.committer import Committer
from detector.shell.runner.owned import Owned
from detector.shell.runner.quiet import QuietTopics
from detector.shell.runner.shared import Shared
from detector.shell.runner.stopping import StoppableCalls

FETCHED_RECORDS_MAX = 1024  # records whose schemas are looked up at once
REFUSED_LOGGED_MAX = 64  # ids without a schema that are logged: corrupt bytes may name any
ASIDE_TIMEOUT_MAX_MS = 5  # of a poll, while a barrier waits for its turn or for a background job
FORGOTTEN_EVERY_S = 60.0  # between two lines of one partition about forgotten events
BEGINNING_AGE_MAX_S = 60.0  # of the answer to where a side topic begins


class SideInputs:
    """What barriers read of the side topics.

    Parameters
    ----------
    logs
        The side topics that are configured.
    """

    def __init__(self, logs: Mapping[Side, SideLog], calls: StoppableCalls, clock: Clock) -> None:
        self._logs, self._calls, self._clock = logs, calls, clock
        self._beginnings: dict[Side, tuple[float, int]] = {}  # monotonic time of the answer, position

    def refresh(self) -> str:
        """Read what has come since; returns what is in the way of that: only barriers that need it wait."""
        trouble = ""
        for log in self._logs.values():
            try:
                log.refresh()
            except OutsideError as error:
                trouble = str(error)
        return trouble

    def available(
        self, partition: Partition, ends: Mapping[Side, int] | None = None
    ) -> dict[Side, SideRange]:
        """Positions of each side topic that a barrier may apply now; up to `ends`, where they are given."""
        ranges = {}
        for side, log in self._logs.items():
            end = log.end(partition.event_time)
            end = end if ends is None else max(end, ends.get(side, 0))
            ranges[side] = SideRange(self._beginning(side) if end > partition.journal.end(side) else 0, end)
        return ranges

    def read(self, side: Side, wanted: SideRange) -> SideRecords:
        """Position and value of the records in a range.

        Raises
        ------
        OutsideError
            They cannot be read right now.
        NeedsOperator
            They are no longer in the topic.
        """
        start, stop = wanted
        if start >= stop:
            return ()
        log = self._logs[side]
        return self._calls.ask(lambda: log.read(start, stop))

    def _beginning(self, side: Side) -> int:
        asked_s, beginning = self._beginnings.get(side, (-inf, 0))
        if self._clock.monotonic() - asked_s > BEGINNING_AGE_MAX_S:
            beginning = self._calls.ask(self._logs[side].beginning)
            self._beginnings[side] = self._clock.monotonic(), beginning
        return beginning


class Processor:
    """Processes the backlogs of all owned partitions.

    Parameters
    ----------
    sides
        What barriers read.
    quiet
        Says when a barrier is made by command.
    schemas
        Schemas of records; None: the format has none.
    live
        Barriers wait beside the rest of the stream. A file's barriers must not depend on time.
    """

    def __init__(
        self,
        shared: Shared,
        sides: SideInputs,
        checkpointer: Checkpointer,
        committer: Committer,
        quiet: QuietTopics,
        schemas: SchemaSource | None = None,
        *,
        live: bool = False,
    ) -> None:
        self._live = live
        self._made: int | None = None  # partition of the barrier made in this turn, or in the last one
        self._open = True  # whether this turn may still make a barrier
        self._put_off = False  # whether this turn has put a barrier off
        self._sides, self._checkpointer, self._committer = sides, checkpointer, committer
        self.quiet = quiet
        self._schemas = schemas
        self._refused: set[int] = set()  # ids that the log has named
        # By partition: monotonic time of the last line about forgotten events, and how many there were
        self._forgotten: dict[int, tuple[float, int]] = {}
        self._owned, self._stream, self._calls = shared.owned, shared.stream, shared.calls
        self._clock, self._telemetry = shared.clock, shared.telemetry
        self._timer, self._log = shared.timer, shared.log

    def process(self, *, ended: bool = False) -> str:
        """Take every partition as far as it goes.

        Parameters
        ----------
        ended
            The logs have ended: feedback that waits is applied now.

        Returns
        -------
        str
            What is in the way of one of them; empty: nothing.

        Raises
        ------
        CommitFailed
            A commit after a barrier was refused, or its outcome is unknown.
        NeedsOperator
            A log or side topic does not hold what a journal names.
        Stopped
        """
        trouble = self._sides.refresh()
        self._open, self._put_off = True, False
        self.quiet.begin(ended=ended)
        for number, owned in self._in_turn():
            try:
                self.collect_checkpoint(owned)
                owned.waiting_for = ""
                self._advance(owned)
                self._note_caught_up(owned)
                self.quiet.count(owned)
                if self._checkpointer.aged(owned):
                    self._renew_origin(owned)
            except CommitFailed:
                raise
            except OutsideError as error:
                trouble = owned.waiting_for = str(error)
            if owned.paused != bool(owned.backlog):
                owned.paused = bool(owned.backlog)
                (self._stream.pause if owned.paused else self._stream.resume)([number])
        return trouble

    def poll_timeout_ms(self, timeout_max_ms: int) -> int:
        """How long a poll may wait: not long while a barrier is put off."""
        return min(timeout_max_ms, ASIDE_TIMEOUT_MAX_MS) if self._put_off else timeout_max_ms

    def _in_turn(self) -> Sequence[tuple[int, Owned]]:
        """All partitions; those after the one that made the last barrier come first."""
        made = -1 if self._made is None else self._made
        return sorted(self._owned.items(), key=lambda item: (item[0] <= made, item[0]))

    def collect_checkpoint(self, owned: Owned) -> None:
        """Take the result of a finished checkpoint write, and let a commit name it at once."""
        if self._checkpointer.collect(owned):
            self._committer.hurry()

    def _advance(self, owned: Owned) -> None:
        """Process the backlog, block by block."""
        while True:
            if owned.at_block_end:
                if not self._settle_block(owned):
                    return
                owned.at_block_end = owned.partition.barrier_here
                if owned.at_block_end:
                    continue
            if not owned.backlog:
                self._answer_quiet(owned)
                return
            if self._calls.stopping:
                return
            # The next barrier must have room before the records that lead to it are processed.
            snapshots = owned.checkpoints.snapshots
            if snapshots and not owned.partition.replaying and not self._checkpointer.has_room(owned):
                return
            self._calls.beat()
            self._fetch_schemas(owned)
            self._timer.start()
            step = owned.take(None if self._schemas is None else FETCHED_RECORDS_MAX)
            if step.replayed:
                self._telemetry.partitions[owned.number].replayed += step.replayed

    def _fetch_schemas(self, owned: Owned) -> None:
        """Fetch the schemas that the next records name.

        While the registry is away the partition waits: the shard has not seen the records yet.

        Raises
        ------
        RegistryUnavailable
        """
        source = self._schemas
        if source is not None and (ids := source.missing(owned.backlog[:FETCHED_RECORDS_MAX])):
            self._calls.ask(lambda: source.fetch(ids))
            for number in sorted(ids):
                self._log_schema(number, source.table.get(number))

    def _log_schema(self, number: int, found: Any) -> None:
        """Log a schema once, or why there is none: once for each id, and few of them together."""
        refused = found if isinstance(found, str) else None
        if refused is None:
            self._log.info("schema_read", schema=number)
            self._refused.discard(number)
        elif number not in self._refused and len(self._refused) < REFUSED_LOGGED_MAX:
            self._refused.add(number)
            self._log.warning(
                "schema_refused", schema=number, reason=refused, meaning="records that name it are rejected"
            )

    def _answer_quiet(self, owned: Owned) -> None:
        """Make a barrier by command, also within a block, if feedback has waited long enough."""
        ends = None if self._calls.stopping else self.quiet.due(owned)
        if ends is not None and self._early(owned) and self._settle_block(owned, ends):
            self.quiet.done(owned)

    def _early(self, owned: Owned) -> bool:
        """Whether a barrier whose position is free may come now."""
        return not self._live or (self._open and owned.partition.settled)

    def _settle_block(self, owned: Owned, quiet: Mapping[Side, int] | None = None) -> bool:
        """Apply the barrier that belongs at this block's end, if any.

        `quiet`: one by command, which applies side topics up to these ends.

        Returns False when it has to wait for something; then nothing was done, and the next turn asks again.

        1. Find out which barrier belongs here.
        2. Check that it is its turn, and that its entry fits the journal.
        3. Read what it applies of the side topics.
        4. Apply it; its entry is in the journal.
        5. Take a snapshot: for a checkpoint if one is due, else to have it at a stop.
        6. Commit both, with its messages to peers; if commits take long the next regular one does.
        """
        partition = owned.partition
        # Step 1
        barrier = partition.due(
            self._sides.available(partition, quiet),
            aged=self._checkpointer.aged(owned),
            early=self._early(owned),
            quiet=quiet is not None,
        )
        if barrier is None:
            return True
        live = not partition.follows
        # Step 2
        if self._waits_aside(owned, live=live):
            return False
        if live and not self._checkpointer.has_room(owned):
            return False
        # Step 3
        records: Mapping[Side, SideRecords] = {
            side: self._sides.read(side, wanted) for side, wanted in barrier.sides.items()
        }
        if live:
            barrier, records = barrier.within_bytes(records)
        # Step 4
        self._timer.start()
        outputs = partition.barrier(barrier, records)
        self._compare_state(owned)
        if live and partition.followed:
            self._log.warning(
                "shift_followed",
                partition=owned.number,
                position=partition.position,
                meaning=f"the stream has changed; {partition.followed}",
            )
        if live and partition.refused:
            self._log.warning(
                "promotion_refused",
                partition=owned.number,
                position=partition.position,
                meaning=f"the encoder of before goes on; of the new one {partition.refused}",
            )
        self._report_forgotten(owned)
        # Step 5
        if self._checkpointer.due(owned, barrier):
            self._checkpointer.take(owned)
            self._timer("snapshot")
            self._checkpointer.write_next(owned)
        elif live:
            self._checkpointer.hold(owned)
        # Step 6
        if live:
            owned.outputs.append(outputs)
            owned.at_block_end = False
            self._committer.commit_at_barrier()
        return True

    def _waits_aside(self, owned: Owned, *, live: bool) -> bool:
        """Whether the barrier that belongs here waits for its turn, or for background jobs."""
        if not self._live:
            return False
        if (live and not self._open) or not owned.partition.settles():
            self._put_off = True
            return True
        if live:
            self._open, self._made = False, owned.number
        return False

    def _renew_origin(self, owned: Owned) -> None:
        """Make a barrier here, within a block if need be, and a checkpoint at it."""
        owned.at_block_end = not self._settle_block(owned)
        self._checkpointer.write_next(owned)

    def _note_caught_up(self, owned: Owned) -> None:
        """Note that a partition has processed what was committed when it was restored."""
        if owned.caught_up:
            return
        offset = owned.offset(self._stream)
        if offset is not None and offset >= owned.partition.until:
            owned.caught_up = True
            seconds = self._clock.monotonic() - owned.assigned_s
            self._telemetry.restores.observe(seconds)
            self._log.info("running", partition=owned.number, position=offset, seconds=round(seconds, 3))

    def _compare_state(self, owned: Owned) -> None:
        """Count replayed barriers with a state that differs from the journal, and log the first one."""
        mismatches = owned.partition.mismatches
        if mismatches == owned.mismatches:
            return
        self._telemetry.partitions[owned.number].state_mismatches += mismatches - owned.mismatches
        if owned.mismatches == 0:
            self._log.error(
                "state_mismatch",
                partition=owned.number,
                position=owned.partition.position,
                state=owned.partition.state_hash,
                meaning="recovered state differs from the journal (other CPU or library versions): later "
                "alerts may differ from those of an undisturbed run; `detector checkpoint verify` finds the "
                "first difference",
            )
        owned.mismatches = mismatches

    def _report_forgotten(self, owned: Owned) -> None:
        """Log labels and alerted events that are lost because they are no longer stored."""
        labels = self._telemetry.partitions[owned.number].labels["forgotten"]
        events = int(owned.partition.gauges["answerable_dropped"])
        told_s, told = self._forgotten.setdefault(owned.number, (-inf, events))
        if labels + events <= told or self._clock.monotonic() - told_s < FORGOTTEN_EVERY_S:
            return
        self._forgotten[owned.number] = self._clock.monotonic(), labels + events
        self._log.warning(
            "labels_forgotten",
            partition=owned.number,
            labels=labels,
            alerted_events=events,
            meaning="labels came for events that are no longer stored, or alerted events were dropped before "
            "model.labels.answerable_for was over, for want of space",
        )
