"""One input partition: a shard, its journal, and where it stands between the two ways of living.

    replaying   records below `until` (what the group had committed) go through silently, with exactly the
                journal's barriers: they were scored and published before
    live        records from `until` on give outputs, and barriers are made where they are due

The caller drives it record by record and does all IO:

    1. `take` records: at most up to the end of a block
    2. at a block's end, or wherever a planned barrier stands, ask `due` whether a barrier belongs here; read
       what it names of the side topics
    3. `barrier` applies it, and gives what siblings are to be told
    4. only right after a barrier, `snapshot` may be taken, and written beside scoring
    5. once that is durable, `rebase`: the next commit names it and drops the journal before it

After each barrier the state is hashed. A replayed barrier whose hash is not the one that was noted when it
was made counts in `differences`: then this machine does not compute what the one before it did.
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
from detector.core.jobs import AT_ONCE, Lanes
from detector.core.labels.peer_messages import RECEIVED_RECORDS_MAX
from detector.core.records import Identity, Lap, Outputs, Record, Told, no_lap
from detector.core.recovery.checkpoint import Manifest, Snapshot, state_hash
from detector.core.recovery.journal import Barrier, Cause, Journal
from detector.core.shard.alerting import Inquired
from detector.core.shard.shard import Shard
from detector.core.state import State, copied
from detector.errors import NeedsOperator


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What one call of `take` did."""

    consumed: int  # records taken from the front of what was given
    replayed: int  # of these, silently
    outputs: Outputs
    block_ended: bool  # or a planned barrier stands here: ask `due` before the next record


class Partition:
    """See the module's text. Not thread safe; belongs to the loop."""

    def __init__(
        self,
        identity: Identity,
        wanted: ModelPart,
        journal: Journal,
        *,
        until: int,
        told_until: int | None = None,
        configs: Mapping[str, ModelPart] | None = None,
        restored: tuple[Manifest, Mapping[str, Any]] | None = None,
        lap: Lap = no_lap,
        lanes: Lanes = AT_ONCE,
    ) -> None:
        """Stand at the journal's origin, with its barriers ahead.

        Parameters
        ----------
        wanted
            The configuration of now; takes effect at a barrier if another one is in force.
        journal
            What was committed, or `begin(...)`.
        until
            Committed offset: up to it the journal's barriers are followed.
        told_until
            Records below this offset are silent; None: those below `until`. An audit hears more.
        configs
            By hash, those that `journal.configs` names; `wanted` need not be among them.
        restored
            Manifest and state of `journal.checkpoint`, if it names one.
        lanes
            Where what needs not be awaited is done.

        Raises
        ------
        NeedsOperator
            The entities of the checkpoint were hashed with another key, or a configuration is missing.
        """
        self.identity = identity
        self.journal = journal
        self.until = until
        self._told_until = until if told_until is None else told_until
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
            labels_end=journal.labels,
            told_end=journal.exchange,
            lap=lap,
            lanes=lanes,
        )
        if restored is not None:
            manifest, state = restored
            if manifest.entity_key_id != self._shard.entity_key_id:
                raise NeedsOperator(
                    f"partition {identity.partition}: checkpoint {manifest.name} was made with entity key "
                    f"{manifest.entity_key_id}, this process has {self._shard.entity_key_id}: give it "
                    "the same entity_key, or start a new group"
                )
            self._shard.load(state)
        self._lap = lap
        self._explain: int | None = None
        self._inquired: Inquired | None = None
        self._state: State | None = None  # right after a barrier
        self.state_hash = "" if restored is None else restored[0].state_hash
        self.differences = 0

    @staticmethod
    def begin(wanted: ModelPart, position: int, labels: int, exchange: int = 0) -> Journal:
        """Journal of a partition that was never committed: a bare start at `position`."""
        config = wanted.hash()
        return Journal(checkpoint="", position=position, labels=labels, config=config, exchange=exchange)

    @property
    def position(self) -> int:
        """Offset after the last record taken."""
        return self._shard.position

    @property
    def barrier_position(self) -> int:
        """Where `state_hash` was taken: at the last barrier, or at the origin."""
        return self.journal.barriers[-1].position if self.journal.barriers else self.journal.position

    @property
    def event_time(self) -> float:
        """How far event time has come, s since the epoch; -inf before the first event."""
        return self._shard.event_time

    @property
    def replaying(self) -> bool:
        """Whether records below `until` are still to come, as far as this side knows."""
        return self.position < self.until

    @property
    def gauges(self) -> dict[str, float]:
        """Numbers of the model for people, e.g. clusters, threshold, warm_up."""
        return self._shard.gauges()

    def take(self, records: Sequence[Record]) -> Step:
        """Process records up to the end of the current block, or all of them.

        Ascending offsets from `position` on; gaps are normal (transaction markers, compaction).
        """
        self._state = None
        end = len(records)
        if self._plan and records:  # a planned barrier may stand within a block
            if records[0].offset >= self._plan[0].position:
                raise self._removed(records[0].offset)
            end = _count_below(records, self._plan[0].position)
        silent = min(_count_below(records, self._told_until), end)
        batch = records[: silent or end]
        taken = self._shard.take(batch, silent=bool(silent), explain=self._explain)
        self._inquired = taken.inquired or self._inquired
        block_ended = taken.block_ended or (bool(self._plan) and self.position == self._plan[0].position)
        return Step(
            consumed=taken.consumed,
            replayed=taken.consumed if silent else 0,
            outputs=taken.outputs,
            block_ended=block_ended,
        )

    def due(
        self,
        labels_end: int,
        labels_beginning: int = 0,
        exchange_end: int = 0,
        exchange_beginning: int = 0,
        *,
        aged: bool = False,
    ) -> Barrier | None:
        """Tell which barrier belongs here.

        Parameters
        ----------
        labels_end, exchange_end
            Position in the side topic after the last record that may be applied now.
        labels_beginning, exchange_beginning
            Lowest position that is still there.
        aged
            The state's origin is so old that a barrier, and with it a checkpoint, should come before the log
            forgets what a recovery needs; it may come within a block.

        Raises
        ------
        NeedsOperator
            The log does not fit the journal: events that it counted are gone (expired or compacted).
        """
        if self.position <= self.until:
            return self._planned()
        cause = self._cause(labels_end, aged=aged)
        if cause is None:
            return None
        shard = self._shard
        config = self._wanted if cause == "config" else shard.config
        labels_max, told_max = shard.config.model.labels.per_barrier_max, RECEIVED_RECORDS_MAX
        labels, labels_from = _next(shard.labels_end, labels_end, labels_beginning, labels_max)
        exchange, exchange_from = _next(
            shard.told_end, exchange_end, exchange_beginning, told_max if config.exchange else 0
        )
        return Barrier(
            position=self.position,
            labels=labels,
            cause=cause,
            config=self._wanted_hash if cause == "config" else None,
            labels_from=labels_from,
            exchange=exchange,
            exchange_from=exchange_from,
        )

    def inquire(self, offset: int) -> None:
        """Ask for an explanation of the event at `offset`, also if it gives no alert; see `inquired`."""
        self._explain = offset

    @property
    def inquired(self) -> Inquired | None:
        """Why the event that was asked for gave no alert; None: it did, was rejected, or is to come."""
        return self._inquired

    @property
    def state(self) -> State | None:
        """The state right after a barrier, good until the next record; None elsewhere."""
        return self._state

    def want(self, config: ModelPart) -> None:
        """Let another configuration take effect at the next block's end."""
        self._wanted, self._wanted_hash = config, config.hash()
        self._configs[self._wanted_hash] = config

    def labels_range(self, barrier: Barrier) -> tuple[int, int]:
        """Positions [start, stop) of the feedback records that `barrier` applies."""
        return barrier.start("labels", self._shard.labels_end), barrier.labels

    def exchange_range(self, barrier: Barrier) -> tuple[int, int]:
        """Positions [start, stop) of the exchange's records that `barrier` applies."""
        return barrier.start("exchange", self._shard.told_end), barrier.exchange

    def barrier(
        self,
        barrier: Barrier,
        labels: Sequence[tuple[int, bytes]],
        told: Sequence[tuple[int, bytes]] = (),
    ) -> Outputs:
        """Apply labels and what siblings told, promote the learner, renew the index.

        Returns
        -------
        Outputs
            What is to be told, and labels and messages counted by outcome. Those of a replayed barrier were
            published and counted before.
        """
        shard = self._shard
        if barrier.config is not None:
            shard.reconfigure(self._configs[barrier.config])
        outcomes = shard.barrier(labels, barrier.labels, told, barrier.exchange)
        messages, exchanged = shard.exchange.collect()
        self._lap("barrier")
        self._state = shard.to_state()
        self.state_hash = state_hash(self._state)
        if self._plan and self._plan[0] == barrier:
            self._follow(self._plan.popleft())
        else:
            self.journal = self.journal.extended(replace(barrier, state=self.state_hash))
        self._lap("hash")
        return Outputs(
            told=tuple(Told(self.position - 1, message) for message in messages),
            labels=outcomes,
            exchange=exchanged,
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

    def rebase(self, name: str, position: int) -> None:
        """Begin the journal at a checkpoint that is durable."""
        self.journal = self.journal.rebased(name, position)

    def _follow(self, planned: Barrier) -> None:
        """Compare with what was noted then, if that was a hash of the same format."""
        form, _, _ = self.state_hash.partition(":")
        if planned.state.startswith(f"{form}:") and planned.state != self.state_hash:
            self.differences += 1
        done = len(self.journal.barriers) - len(self._plan) - 1
        self.journal = self.journal.stated([*self.journal.states[:done], self.state_hash])

    def _planned(self) -> Barrier | None:
        if not self._plan or self._plan[0].position > self.position:
            return None
        whole = not self._shard.pending or self._plan[0].cause == "age"
        if self._plan[0].position < self.position or not whole:
            raise self._removed(self.position)
        return self._plan[0]

    def _removed(self, position: int) -> NeedsOperator:
        return NeedsOperator(
            f"partition {self.identity.partition}: the journal has a barrier at {self._plan[0].position}, "
            f"but the log has fewer events before {position}: some were removed from the topic; raise its "
            "retention above the checkpoints' age, then delete the group's offsets to start anew"
        )

    def _cause(self, labels_end: int, *, aged: bool) -> Cause | None:
        barriers, shard = self._shard.config.model.barriers, self._shard
        if aged and shard.since_barrier + shard.pending > 0:
            return "age"
        if shard.pending:
            return None
        if self._wanted_hash != self.journal.config_end:
            return "config"
        if shard.since_barrier >= shard.interval:
            return "every"
        if labels_end > shard.labels_end and shard.since_barrier >= barriers.early_events_min:
            return "labels"
        return None


def _count_below(records: Sequence[Record], offset: int) -> int:
    """How many of the first records lie below `offset`; they ascend."""
    return bisect_left(records, offset, key=lambda record: record.offset)


def _next(applied: int, end: int, beginning: int, limit: int) -> tuple[int, int | None]:
    """Where a side input is applied up to, and from where if what came before is gone."""
    start = max(applied, beginning) if end > applied else applied
    return max(start, min(end, start + limit)), start if start > applied else None


@cache
def library_versions() -> dict[str, str]:
    """Versions that floats may depend on, and the CPU family; reading them takes a millisecond."""
    names = ("numpy", "numba", "hnswlib")
    return {name: version(name) for name in names} | {"machine": platform.machine()}
