"""Restoring: from what is committed to a shard that stands at the beginning of its replay.

Rules
    - Nothing is read back before the end of the commit under way is known.
    - Restores end after `RESTORING_MAX_S` and go on in the next turn: a member that does not poll for 300 s
      is removed from the group.
    - A restore that another member has overtaken needs no operator: the next poll reports that the partition
      is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from detector.config.tree import Config, ModelPart
from detector.core.jobs import Lanes
from detector.core.records import Identity
from detector.core.recovery.checkpoint import Snapshot
from detector.core.recovery.committed import Place, check_end, check_side, read_journal
from detector.core.recovery.generations import (
    Origin,
    find_origin,
    folders,
    move_newest,
    read_configs,
    write,
)
from detector.core.recovery.journal import Journal
from detector.core.recovery.sides import SIDES, Side
from detector.core.shard.partition import Partition, library_versions
from detector.core.shard.warm_start import Model, first_checkpoint
from detector.errors import CheckpointDamaged, LogGone, NeedsOperator, OutsideError
from detector.ports import Committed, SideLog
from detector.shell.runner.configs import ModelConfigs
from detector.shell.runner.owned import Checkpointing, Owned
from detector.shell.runner.shared import Shared
from detector.shell.runner.status import StatusReporter

RESTORING_MAX_S = 10.0

IdentityOf = Callable[[int], Identity]
"""The identity of a partition, by its number."""


class Restorer:
    """Builds the tasks of assigned partitions.

    Parameters
    ----------
    identity_of
        Who we are, for each partition.
    sides
        The side topics.
    lanes
        Where shards train in the background.
    warm_start
        The model that partitions which were never committed begin with; None: with nothing.
    """

    def __init__(
        self,
        shared: Shared,
        config: Config,
        configs: ModelConfigs,
        status: StatusReporter,
        *,
        identity_of: IdentityOf,
        sides: Mapping[Side, SideLog],
        lanes: Lanes,
        warm_start: Model | None,
    ) -> None:
        self._config, self._configs, self._status = config, configs, status
        self._identity_of, self._sides = identity_of, sides
        self._lanes, self._warm_start = lanes, warm_start
        self._owned, self._assigned = shared.owned, shared.assigned
        self._stream, self._objects, self._calls = shared.stream, shared.objects, shared.calls
        self._ask = shared.calls.ask_unless_stopping
        self._clock, self._timer, self._log = shared.clock, shared.timer, shared.log

    def restore(self) -> str:
        """Restore assigned partitions, as far as there is time.

        Returns
        -------
        str
            What is in the way of those that are left; empty: nothing.
        """
        trouble = ""
        committed = self._committed()
        until_s = self._clock.monotonic() + RESTORING_MAX_S
        for number, assigned_s in sorted(self._assigned.items()):
            if self._calls.stopping or self._clock.monotonic() >= until_s:
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
                trouble = f"partition {number}: another member has taken it over"
            finally:
                self._status.restored()
        return trouble

    def _committed(self) -> Mapping[int, Committed | None]:
        self._status.restoring(min(self._assigned), "reading from the broker what is committed")
        try:
            committed = self._ask(lambda: self._stream.committed(sorted(self._assigned)))
        finally:
            self._status.restored()
        self._status.read_committed(committed)
        return committed

    def _overtaken(self, number: int, committed: Committed | None) -> bool:
        """Whether more was committed meanwhile: what `committed` names may be pruned."""
        now = self._ask(lambda: self._stream.committed([number]))
        return now[number] != committed

    def _restore(self, number: int, committed: Committed | None, assigned_s: float) -> Owned:
        """Build one shard at the origin of what is committed; the log's records do the rest.

        1. The journal: the committed one, or a bare or warm start. The log reaches to what is committed.
        2. The newest checkpoint on its chain that can be read.
        3. Everything the replay needs is there: configurations, records of side topics.
        4. The shard stands there, its barriers ahead. If the checkpoint cannot be loaded, the one before it
           is used: back to step 2.
        5. The stream goes to the origin.
        """
        began_s = self._clock.monotonic()
        ask, stream, identity = self._ask, self._stream, self._identity_of(number)
        self._status.restoring(number, "asking the broker for its partitions and the side topics")
        partitions = ask(stream.partitions_count)
        wanted = self._configs.wanted(partitions)
        beginnings = {side: ask(log.beginning) for side, log in self._sides.items()}
        here = self._here(identity)
        self._take_store(number, wanted, here)
        self._status.restoring(number, "asking the broker where the log begins and ends")
        # Step 1
        if committed is None:
            until = ask(lambda: stream.start(number))
            journal = self._first_journal(identity, wanted, self._bare(wanted, until, beginnings))
        else:
            until = committed.offset
            journal = read_journal(
                committed.metadata, partition=number, group=identity.group, offset=until, here=here
            )
            end = ask(lambda: stream.log_end(number))
            check_end(until, partition=number, group=identity.group, end=end)
        # Steps 2 to 4
        lost, refused = 0, dict[str, str]()
        while True:
            journal, origin, more = self._find(number, journal, wanted, until, beginnings, refused)
            lost, until = lost + more, until + more
            configs = read_configs(origin, wanted, lambda name: self._get(number, name))
            self._calls.beat()
            self._status.restoring(number, "building the model")
            try:
                partition = Partition(
                    identity,
                    wanted,
                    origin.journal,
                    until=until,
                    configs=configs,
                    restored=origin.restored,
                    lap=self._timer,
                    lanes=self._lanes,
                )
                break
            except CheckpointDamaged as error:
                assert origin.restored is not None, "a bare start loads nothing"
                refused[origin.restored[0].name] = str(error)
        self._configs.note_change(number, configs.get(origin.journal.config_end, wanted), wanted)
        self._note_bare_start(number, origin, lost, new=committed is None)
        # Step 5
        stream.seek(number, origin.journal.position)
        now_s = self._clock.monotonic()
        self._log_restored(number, origin, until, now_s - began_s)
        return Owned(
            partition=partition,
            topic_partitions=partitions,
            place=here,
            committed=committed,
            checkpoints=_begin_checkpointing(None if committed is None else journal, origin, now_s),
            assigned_s=assigned_s,
            origin=origin.journal.position,
            lost=lost,
        )

    def _take_store(self, number: int, wanted: ModelPart, here: Place) -> None:
        """Take our cluster's part of the store, and make sure that it has the configuration."""
        self._status.restoring(number, "reading and writing the checkpoint store")
        self._objects.enter(here.cluster)
        self._ask(lambda: self._configs.store(wanted))

    def _here(self, identity: Identity) -> Place:
        """Where the journals of this process belong."""
        cluster, topic = self._ask(self._stream.ids)
        sides = {side: self._ask(log.ids).topic for side, log in self._sides.items()}
        return Place(cluster=cluster, topic=topic, entity_key=identity.entity_key_id, sides=sides)

    def _find(
        self,
        number: int,
        journal: Journal,
        wanted: ModelPart,
        until: int,
        beginnings: Mapping[Side, int],
        refused: Mapping[str, str],
    ) -> tuple[Journal, Origin, int]:
        """Find the origin of a journal's replay.

        Returns
        -------
        journal
            The given one, or where the log lost what it needs, the one to go on with.
        origin
            Its origin.
        lost
            Offsets from `until` on that the log dropped.

        Raises
        ------
        LogGone
            The log lost what the replay needs, and `on_data_loss` is ``stop``.
        """
        beginning = self._ask(lambda: self._stream.beginning(number))

        def find(journal: Journal) -> Origin:
            origin = find_origin(
                journal,
                lambda name: self._get(number, name),
                partition=number,
                beginning=beginning,
                committed=True,
                refused=refused,
            )
            for side in SIDES:
                check_side(origin.journal, side, partition=number, beginning=beginnings.get(side))
            return origin

        try:
            return journal, find(journal), 0
        except LogGone as error:
            if self._config.on_data_loss == "stop":
                raise
            lost = max(beginning - until, 0)
            journal = self._salvage(number, journal, self._bare(wanted, until + lost, beginnings))
            model = journal.checkpoint or None
            self._log.error("data_lost", partition=number, reason=str(error), lost=lost, model=model)
        return journal, find(journal), lost

    def _get(self, number: int, name: str) -> bytes:
        self._status.restoring(number, f"reading {name} from the checkpoint store")
        return self._ask(lambda: self._objects.get(name))

    def _bare(self, wanted: ModelPart, position: int, beginnings: Mapping[Side, int]) -> Journal:
        """A start without a model."""
        starts = {
            side: self._ask(log.log_end) if SIDES[side].starts_at_end else beginnings[side]
            for side, log in self._sides.items()
        }
        return Partition.begin(wanted, position, starts)

    def _first_journal(self, identity: Identity, wanted: ModelPart, bare: Journal) -> Journal:
        """What a partition that was never committed begins with: nothing, or a model file."""
        if self._warm_start is None:
            return bare
        snapshot = first_checkpoint(self._warm_start, wanted, identity, bare)
        origin = snapshot.state["versions"]["origin"]
        self._log.info("warm_start", partition=identity.partition, **origin)
        return replace(bare, checkpoint=self._write(snapshot))

    def _note_bare_start(self, number: int, origin: Origin, lost: int, *, new: bool) -> None:
        """Tell when a model begins with nothing, and it is not the partition's first."""
        objects = self._objects
        if origin.restored is not None:
            return
        if lost or (new and objects.available and self._ask(lambda: objects.names(folders(number)[0]))):
            self._configs.note_bare_start(number, lost)

    def _salvage(self, number: int, journal: Journal, bare: Journal) -> Journal:
        """Go on without what the log lost: the newest model that can be read, at `bare`'s position."""
        snapshot = move_newest(journal, lambda name: self._get(number, name), bare.position)
        if snapshot is None:
            return bare
        return replace(snapshot.since, checkpoint=self._write(snapshot))

    def _write(self, snapshot: Snapshot) -> str:
        return self._ask(lambda: write(snapshot, self._objects.put))

    def _log_restored(self, number: int, origin: Origin, until: int, seconds: float) -> None:
        for damage in origin.damages:
            self._log.error("checkpoint_damaged", partition=number, reason=damage)
        self._log.info(
            "restored",
            partition=number,
            checkpoint=origin.journal.checkpoint or None,
            position=origin.journal.position,
            until=until,
            seconds=round(seconds, 3),
        )
        if origin.restored is not None and origin.restored[0].versions != library_versions():
            self._log.warning(
                "versions_changed",
                partition=number,
                then=origin.restored[0].versions,
                now=library_versions(),
                meaning="the checkpoint was made on another CPU or with other library versions: scores may "
                "differ in their last digits from those of an undisturbed run",
            )


def _begin_checkpointing(committed: Journal | None, origin: Origin, now_s: float) -> Checkpointing:
    """Checkpoints from here on; those before the committed one go if entities were erased since."""
    named = "" if committed is None else committed.checkpoint
    erases = bool(named and origin.manifests and origin.manifests[0].erases)
    return Checkpointing(started_s=now_s, named=named, outdated=committed if erases else None)
