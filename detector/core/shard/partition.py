"""One input partition: a shard and its journal.

    replaying   records below `until` (the committed offset) are processed without outputs, with exactly the
                journal's barriers: they were scored and published before
    live        records from `until` on give outputs, and barriers are made where they are due

The caller does all IO:

    1. `take` processes records, at most up to the end of a block
    2. at a block's end, or at a planned barrier, `due` tells whether a barrier belongs here; the caller reads
       the records of the side topics that it names
    3. `barrier` applies it and returns the messages for peers
    4. right after a barrier, and only there, `snapshot` may be taken and written in a background thread
    5. once that is durable, `rebase`: the next commit names it and drops the journal before it

The state is hashed after each barrier. A replayed barrier whose hash differs from the recorded one counts in
`mismatches`: this machine computes other numbers than the one that made the barrier.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from typing import Any

from detector.config.tree import ModelPart
from detector.core.drifted import Drift
from detector.core.events import Parser
from detector.core.jobs import AT_ONCE, Lanes
from detector.core.records import Identity, Lap, Outputs, PeerMessage, Record, no_lap
from detector.core.recovery.checkpoint import Manifest, Snapshot, state_hash
from detector.core.recovery.journal import WITHIN_BLOCKS, Barrier, Cause, Journal
from detector.core.recovery.sides import SIDES, Side, SideRange, SideRecords
from detector.core.shard.embedded import Embedded
from detector.core.shard.looking import Looked
from detector.core.shard.pieces import Inquired
from detector.core.shard.shard import Shard
from detector.core.state import State, copied
from detector.errors import CheckpointDamaged, NeedsOperator

SIDE_RECORDS_MAX = 1 << 30  # no limit beside that of the side topic


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Result of one call of `take`."""

    consumed: int  # records processed, from the front of those given
    replayed: int  # of these, without outputs
    outputs: Outputs
    block_ended: bool  # or a planned barrier is here: ask `due` before the next record
    inquired: Inquired | None = None  # why the event to explain gave no alert; None: it did, or was rejected


class Partition:
    """See the module's text. It starts at the journal's origin, with all its barriers planned.

    Not thread safe; used by the loop's thread only.

    Parameters
    ----------
    wanted
        The current configuration; takes effect at a barrier if another one is in force.
    journal
        The committed one, or `begin(...)`.
    until
        Committed offset: up to it the journal's barriers are followed.
    silent_until
        Records below this offset give no outputs; None: those below `until`. An audit wants more outputs.
    configs
        By hash, those that `journal.configs` names; `wanted` may be missing.
    restored
        Manifest and state of `journal.checkpoint`, if it names one.
    lanes
        Where background jobs run.
    expects_labels
        As in `Shard`.

    Raises
    ------
    NeedsOperator
        The checkpoint's entities were hashed with another key, or a configuration is missing.
    CheckpointDamaged
        The state is not one of this configuration.
    """

    def __init__(
        self,
        identity: Identity,
        wanted: ModelPart,
        journal: Journal,
        *,
        until: int,
        silent_until: int | None = None,
        configs: Mapping[str, ModelPart] | None = None,
        restored: tuple[Manifest, Mapping[str, Any]] | None = None,
        lap: Lap = no_lap,
        lanes: Lanes = AT_ONCE,
        expects_labels: bool = False,
    ) -> None:
        self.identity = identity
        self.journal = journal
        self.until = until
        self._silent_until = until if silent_until is None else silent_until
        self._wanted = wanted
        self._wanted_hash = wanted.hash()
        self._configs = {**(configs or {}), self._wanted_hash: wanted}
        missing = sorted(journal.configs - self._configs.keys())
        if missing:
            raise NeedsOperator(
                f"partition {identity.partition}: the journal names configurations that the store does "
                f"not hold: {', '.join(missing)}; is checkpoints.url the one that the group used before?"
            )
        self._plan = deque(journal.barriers)
        in_force = self._configs[journal.config]
        self._shard = Shard(
            in_force,
            identity,
            position=journal.position,
            lap=lap,
            lanes=lanes,
            expects_labels=expects_labels,
        )
        if restored is not None:
            manifest, state = restored
            if manifest.entity_key_id != self._shard.entity_key_id:
                raise NeedsOperator(
                    f"partition {identity.partition}: checkpoint {manifest.name} was made with entity key "
                    f"{manifest.entity_key_id}, this process has {self._shard.entity_key_id}: use the same "
                    "entity_key, or start a new group"
                )
            try:
                self._shard.load(state)
            except Exception as error:  # whatever a state that cannot be true leads to
                raise CheckpointDamaged(
                    f"its state cannot be loaded ({type(error).__name__}: {str(error)[:200]})"
                ) from error
        self._lap = lap
        self._state: State | None = None  # right after a barrier
        self.state_hash = "" if restored is None else restored[0].state_hash
        self.mismatches = 0

    @staticmethod
    def begin(wanted: ModelPart, position: int, sides: Mapping[Side, int] | None = None) -> Journal:
        """Journal of a partition without a committed offset: a bare start at `position`.

        Parameters
        ----------
        sides
            Position in each side topic from which records are applied; 0 where it is missing.
        """
        return Journal(checkpoint="", position=position, config=wanted.hash(), sides=sides or {})

    @property
    def position(self) -> int:
        """Offset after the last record processed."""
        return self._shard.position

    @property
    def barrier_position(self) -> int:
        """Position of `state_hash`: the last barrier, or the origin."""
        return self.journal.barriers[-1].position if self.journal.barriers else self.journal.position

    @property
    def event_time(self) -> float:
        """Current event time, s since the epoch; -inf before the first event."""
        return self._shard.event_time

    @property
    def followed(self) -> str:
        """The shift of the stream that the last barrier followed, in words; empty: none."""
        return self._shard.followed

    @property
    def refused(self) -> str:
        """Why the last barrier refused a new encoder, in words; empty: it did not."""
        return self._shard.refused

    @property
    def follows(self) -> bool:
        """Whether the next barrier is one of the journal's."""
        return bool(self._plan)

    @property
    def barrier_here(self) -> bool:
        """Whether a barrier of the journal belongs here, before the next record."""
        return bool(self._plan) and self._plan[0].position == self.position

    @property
    def undecided(self) -> int:
        """Feedback records that wait until the other shards have read them."""
        return self._shard.desk.routing.waiting

    @property
    def answered_to(self) -> int:
        """Position in the feedback topic: all records before it have their receipts."""
        oldest = self._shard.desk.routing.oldest
        return self.journal.end("feedback") if oldest is None else oldest

    @property
    def replaying(self) -> bool:
        """Whether the next record may be below `until`."""
        return self.position < self.until

    @property
    def drift(self) -> Drift | None:
        """What is known of drift; None: nothing yet."""
        return self._shard.drift

    @property
    def gauges(self) -> dict[str, float]:
        """Numbers that describe the model, e.g. clusters, threshold, warm_up."""
        return self._shard.gauges()

    def take(self, records: Sequence[Record], *, explain: int | None = None) -> Step:
        """Process records up to the end of the current block, or all of them.

        Parameters
        ----------
        records
            Ascending offsets from `position` on; gaps are normal (transaction markers, compaction).
        explain
            Offset of an event for which `Step.inquired` is wanted if it gives no alert.
        """
        self._state = None
        end = len(records)
        if self._plan and records:  # a planned barrier may be within a block
            if records[0].offset >= self._plan[0].position:
                raise self._removed(records[0].offset)
            end = _count_below(records, self._plan[0].position)
        silent = min(_count_below(records, self._silent_until), end)
        batch = records[: silent or end]
        taken = self._shard.take(batch, silent=bool(silent), explain=explain)
        block_ended = taken.block_ended or self.barrier_here
        return Step(
            consumed=taken.consumed,
            replayed=taken.consumed if silent else 0,
            outputs=taken.outputs,
            block_ended=block_ended,
            inquired=taken.inquired,
        )

    def look(self, records: Sequence[Record]) -> Looked:
        """Score records, each as if it were the next one; nothing changes."""
        return self._shard.look(records)

    @property
    def parser(self) -> Parser:
        """Reads records and values as the shard does."""
        return self._shard.parser

    @property
    def embedded(self) -> Embedded:
        """The embedding, to be looked at until the next event."""
        return self._shard.embedded

    def due(
        self,
        available: Mapping[Side, SideRange],
        *,
        aged: bool = False,
        early: bool = True,
        quiet: bool = False,
    ) -> Barrier | None:
        """Return the barrier that belongs here; None: there is none.

        Parameters
        ----------
        available
            Positions of the side topics that may be applied now, from the lowest one that the topic still
            has. A side that is missing has no new records. Not used in a replay.
        aged
            The state's origin is so old that the log may soon lose what a recovery needs. A barrier, and with
            it a checkpoint, should come now, even within a block.
        early
            Whether waiting labels may cause a barrier now. They may also wait: the journal says where it was.
        quiet
            Feedback has waited long enough: a barrier should come now, even within a block, or where no event
            came since the last one.

        Raises
        ------
        NeedsOperator
            The log does not match the journal: it lost events (expired or compacted).
        """
        if self._plan or (self.position <= self.until and not quiet):
            return self._planned()
        new = {
            side: available[side]
            for side in SIDES
            if side in available and available[side].stop > self.journal.end(side)
        }
        if not self._room("feedback"):
            new.pop("feedback", None)
        cause = self._cause(new, aged=aged, early=early, quiet=quiet)
        if cause is None:
            return None
        config = self._wanted if cause == "config" else self._shard.config
        ranges = {
            side: _next(self.journal.end(side), found, min(SIDES[side].records_max(config), self._room(side)))
            for side, found in new.items()
        }
        return Barrier(
            position=self.position,
            cause=cause,
            sides={side: found for side, found in ranges.items() if found.stop > self.journal.end(side)},
            config=self._wanted_hash if cause == "config" else None,
        )

    def _room(self, side: Side) -> int:
        """Records of a side topic that the shard can take."""
        return self._shard.desk.routing.room if side == "feedback" else SIDE_RECORDS_MAX

    @property
    def settled(self) -> bool:
        """Whether no background job of the model is under way: a barrier here would not wait for one."""
        return self._shard.settled

    def settles(self) -> bool:
        """Whether the barrier that `due` returned would not wait for background jobs; they begin now."""
        return self._shard.settles()

    @property
    def state(self) -> State | None:
        """The state right after a barrier, valid until the next record; None elsewhere."""
        return self._state

    @property
    def wanted(self) -> str:
        """Hash of the configuration that is or will be in force."""
        return self._wanted_hash

    def want(self, config: ModelPart) -> None:
        """Let another configuration take effect at the end of the next block."""
        self._wanted, self._wanted_hash = config, config.hash()
        self._configs[self._wanted_hash] = config

    def barrier(self, barrier: Barrier, records: Mapping[Side, SideRecords]) -> Outputs:
        """Apply records of the side topics, promote the learner, rebuild the index.

        Parameters
        ----------
        barrier
            What `due` returned, perhaps `within_bytes`.
        records
            What `barrier.sides` names.

        Returns
        -------
        Outputs
            Receipts, messages for peers, updates of cases, and the side records by outcome. Those of a
            replayed barrier were published and counted before.
        """
        shard = self._shard
        if barrier.config is not None:
            shard.reconfigure(self._configs[barrier.config])
        outcomes = shard.barrier(records)
        messages, exchanged = shard.exchange.collect()
        updates = shard.case_updates()
        self._lap("barrier")
        self._state = shard.to_state()
        self.state_hash = state_hash(self._state)
        if self._plan and self._plan[0] == barrier:
            self._follow(self._plan.popleft())
        else:
            erases = bool(shard.desk.erased)
            self.journal = self.journal.extended(replace(barrier, state=self.state_hash, erases=erases))
        self._lap("hash")
        return Outputs(
            receipts=shard.desk.collect(),
            case_updates=updates,
            peer_messages=tuple(PeerMessage(self.position - 1, message) for message in messages),
            side_outcomes={**outcomes, "exchange": exchanged},
        )

    def snapshot(self) -> Snapshot:
        """Copy the state for a checkpoint; only right after a barrier."""
        assert self._state is not None
        assert not self._plan
        shard = self._shard
        return Snapshot(
            partition=self.identity.partition,
            position=self.position,
            since=self.journal,
            config=self.journal.config_end,
            config_json=shard.config.canonical().decode(),
            entity_key_id=shard.entity_key_id,
            versions=library_versions(),
            state=copied(self._state),
        )

    def rebase(self, name: str, position: int, since: Journal | None = None) -> None:
        """Let the journal begin at a durable checkpoint; see `Journal.rebased`."""
        self.journal = self.journal.rebased(name, position, since)

    def _follow(self, planned: Barrier) -> None:
        """Compare with the recorded hash, if that has the same format."""
        form, _, _ = self.state_hash.partition(":")
        if planned.state.startswith(f"{form}:") and planned.state != self.state_hash:
            self.mismatches += 1
        done = len(self.journal.barriers) - len(self._plan) - 1
        self.journal = self.journal.followed(done, self.state_hash, erases=bool(self._shard.desk.erased))

    def _planned(self) -> Barrier | None:
        if not self._plan or self._plan[0].position > self.position:
            return None
        whole = not self._shard.pending or self._plan[0].cause in WITHIN_BLOCKS
        if self._plan[0].position < self.position or not whole:
            raise self._removed(self.position)
        return self._plan[0]

    def _removed(self, position: int) -> NeedsOperator:
        return NeedsOperator(
            f"partition {self.identity.partition}: the journal has a barrier at {self._plan[0].position}, "
            f"but the log has fewer events before {position}: some were removed from the topic; raise its "
            "retention above the checkpoints' age, then delete the group's offsets to start anew"
        )

    def _cause(self, new: Mapping[Side, SideRange], *, aged: bool, early: bool, quiet: bool) -> Cause | None:
        barriers, shard = self._shard.config.model.barriers, self._shard
        if quiet:
            wanted = "feedback" in new or ("exchange" in new and self.undecided)
            return "quiet" if wanted else None
        if aged and shard.since_barrier + shard.pending > 0:
            return "age"
        if shard.pending:
            return None
        if self._wanted_hash != self.journal.config_end:
            return "config"
        if shard.since_barrier >= shard.interval:
            return "every"
        waiting = any(SIDES[side].causes_barriers for side in new)
        if early and waiting and shard.since_barrier >= barriers.early_events_min:
            return "side_input"
        return None


def _count_below(records: Sequence[Record], offset: int) -> int:
    """Number of records below `offset`; they ascend."""
    return bisect_left(records, offset, key=lambda record: record.offset)


def _next(applied: int, available: SideRange, limit: int) -> SideRange:
    """Next records of a side topic, at most `limit`; it may have lost some that were not applied."""
    start = max(applied, available.start)
    return SideRange(start, max(start, min(available.stop, start + limit)))


@cache
def library_versions() -> dict[str, str]:
    """Versions that floats may depend on, and the CPU family; reading them takes a millisecond."""
    names = ("numpy", "numba", "hnswlib")
    return {name: version(name) for name in names} | {"machine": platform.machine()}
