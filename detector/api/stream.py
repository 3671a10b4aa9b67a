"""One shard in this process: records in, outputs out, barriers where they are due.

It does what the runner does for a partition (`detector.shell.runner`), without a log to read and without
commits. So outputs are bit for bit those of `detector replay`.

Rules
    - Linear algebra runs on one thread and background jobs end before a call returns: results depend neither
      on the number of cores nor on what the notebook does meanwhile.
    - A call that was interrupted leaves the shard in the middle of something; every later call is refused.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

from detector.api.labels import Labels
from detector.config.tree import ModelPart
from detector.core.events import Rejected
from detector.core.jobs import Lanes, Result
from detector.core.records import Identity, Outputs, Record
from detector.core.recovery.checkpoint import Manifest, Snapshot
from detector.core.recovery.journal import Barrier, Journal
from detector.core.recovery.sides import SIDES, Side, SideRange
from detector.core.shard.embedding_map import Anchors, EmbeddingMap, embedding_map
from detector.core.shard.embedding_report import EmbeddingReport, embedding_report
from detector.core.shard.looking import Looked
from detector.core.shard.model_card import ModelCard, VersionList, model_card, version_list
from detector.core.shard.partition import Partition
from detector.core.shard.space import Among, Neighbour
from detector.errors import ConfigError, UsageError
from detector.rendering.maps import Method, layout_of
from detector.shell.background import BackgroundThread
from detector.wiring.compiling import COMPILING, watching_compilation
from detector.wiring.embedding import asked
from detector.wiring.similar import Wanted, nearby

T = TypeVar("T")

FEEDBACK: Side = "feedback"
INTERRUPTED = (
    "an earlier call was interrupted, so the state is not known: make the detector anew, or load a checkpoint"
)
LOOKED_AT_ONCE = 512  # records: memory stays bounded


class Stream:
    """One shard with its labels.

    Parameters
    ----------
    model
        The configuration to use. Events are kept for labels also where it says that there are none.
    journal
        Where the state comes from; None: a bare start.
    restored
        Manifest and state of the checkpoint that the journal names.

    Raises
    ------
    NeedsOperator
        The checkpoint does not fit the entity key.
    """

    def __init__(
        self,
        model: ModelPart,
        identity: Identity,
        *,
        journal: Journal | None = None,
        configs: Mapping[str, ModelPart] | None = None,
        restored: tuple[Manifest, Mapping[str, Any]] | None = None,
    ) -> None:
        self.model = model
        begun = Partition.begin(model, 0) if journal is None else journal
        with _one_thread():
            self._partition = Partition(
                identity,
                model,
                begun,
                until=begun.position,
                configs=configs,
                restored=restored,
                lanes=Lanes(_training, _promotion),
                expects_labels=True,
            )
        self.labels = Labels(begun.end(FEEDBACK))
        self._broken = False

    @property
    def position(self) -> int:
        """Offset of the next record."""
        return self._partition.position

    @property
    def event_time(self) -> float:
        """Event time of the shard, s since the epoch; -inf before the first event."""
        return self._partition.event_time

    @property
    def gauges(self) -> dict[str, float]:
        """Numbers that describe the model."""
        return self._partition.gauges

    def take(self, records: Sequence[Record]) -> Iterator[Outputs]:
        """Score and learn records; their offsets ascend from `position` on.

        A block that is not complete waits, with its events scored, for the next call.
        """
        partition, start = self._partition, 0
        with self._working():
            while start < len(records):
                step = partition.take(records[start:] if start else records)
                start += step.consumed
                yield step.outputs
                if step.block_ended and (barrier := partition.due(self._available())) is not None:
                    yield self._barrier(barrier)

    def look(self, records: Sequence[Record]) -> Iterator[Looked]:
        """Score records, each as if it were the next one; nothing changes."""
        with _one_thread():
            self._check()
            for start in range(0, len(records), LOOKED_AT_ONCE):
                yield self._partition.look(records[start : start + LOOKED_AT_ONCE])

    def similar(self, wanted: Wanted, among: Sequence[Among], count: int) -> dict[Among, list[Neighbour]]:
        """Find what an event is near to, see `detector.wiring.similar`; nothing changes.

        Raises
        ------
        UsageError
            There is no model yet, the event is not remembered, or the record is no event.
        """
        with self._looking() as partition:
            found = nearby(partition, wanted, among, count)
        if isinstance(found, Rejected):
            raise UsageError(f"the event is rejected, {found.reason}: {found.detail}")
        if found is None:
            named = wanted.event_id if wanted.offset is None else f"at offset {wanted.offset}"
            raise UsageError(f"the event {named} is not remembered: give it as a dict with its columns")
        return found[1]

    def embedding_map(
        self, *, start: float, end: float, entity: str | None, before: Anchors | None, method: Method
    ) -> tuple[EmbeddingMap, Anchors]:
        """Draw the embedding, see `detector.wiring.embedding`; nothing changes.

        Raises
        ------
        UsageError
            There is no model yet, no such entity, or the packages of the method are missing.
        """
        name, layout = layout_of(method)
        with self._looking() as partition:
            try:
                wanted = asked(partition.parser, start, end, entity)
            except ConfigError as error:
                raise UsageError(str(error)) from None
            return embedding_map(partition.embedded, wanted, before=before, method=name, layout=layout)

    def embedding_report(self) -> EmbeddingReport:
        """Judge the embedding; nothing changes.

        Raises
        ------
        UsageError
            There is no model yet.
        """
        with self._looking() as partition:
            return embedding_report(partition.embedded)

    def versions(self) -> VersionList:
        """List the versions of the encoder; nothing changes.

        Raises
        ------
        UsageError
            There is no model yet.
        """
        with self._looking() as partition:
            return version_list(partition.embedded)

    def model_card(self, number: int | None) -> ModelCard:
        """The card of a version, None: of the one that serves; nothing changes.

        Raises
        ------
        UsageError
            There is no model yet, or the version is not kept.
        """
        with self._looking() as partition:
            embedded = partition.embedded
            wanted = embedded.versions.number if number is None else number
            made = model_card(embedded, self.model, wanted)
        if made is None:
            raise UsageError(f"no encoder version {wanted} is kept: `versions` lists those that are")
        return made

    def settle(self) -> bool:
        """Make a barrier here: learn from an incomplete block, and apply the labels that wait.

        Returns
        -------
        bool
            Whether there was anything to do.
        """
        with self._working():
            available = self._available()
            barrier = self._partition.due(available, aged=True)
            if barrier is None:
                waiting = {side: found for side, found in available.items() if found.stop > found.start}
                if not waiting:
                    return False
                barrier = Barrier(position=self.position, cause="side_input", sides=self._limited(waiting))
            self._barrier(barrier)
        return True

    def snapshot(self) -> Snapshot:
        """Copy the state, after a barrier here."""
        with self._working():
            if self._partition.state is None:
                barrier = self._partition.due(self._available(), aged=True)
                self._barrier(barrier or Barrier(position=self.position, cause="age"))
            return self._partition.snapshot()

    def rebase(self, name: str, position: int) -> None:
        """Let the journal begin at a checkpoint that was written."""
        self._partition.rebase(name, position)

    def expect_labels(self) -> None:
        """State in the configuration, from the next barrier on, that there are labels."""
        if not self.model.feedback:
            self.model = self.model.model_copy(update={"feedback": True})
            self._partition.want(self.model)

    def _available(self) -> dict[Side, SideRange]:
        return {FEEDBACK: self.labels.available(self.event_time)} if self.model.feedback else {}

    def _limited(self, ranges: Mapping[Side, SideRange]) -> dict[Side, SideRange]:
        return {
            side: SideRange(start, min(stop, start + SIDES[side].records_max(self.model)))
            for side, (start, stop) in ranges.items()
        }

    def _barrier(self, barrier: Barrier) -> Outputs:
        wanted = barrier.sides.get(FEEDBACK)
        records = {} if wanted is None else {FEEDBACK: self.labels.read(wanted)}
        outputs = self._partition.barrier(barrier, records)
        if wanted is not None:
            self.labels.done(wanted, outputs)
        return outputs

    @contextmanager
    def _looking(self) -> Iterator[Partition]:
        """The partition with a model, to be looked at on one thread."""
        with _one_thread():
            self._check()
            if not self._partition.embedded.ready:
                raise UsageError("there is no model yet: it comes after the first 256 events")
            yield self._partition

    def _check(self) -> None:
        if self._broken:
            raise UsageError(INTERRUPTED)

    @contextmanager
    def _working(self) -> Iterator[None]:
        """One thread for linear algebra, no job left behind, and no state in the middle of something."""
        self._check()
        self._broken = True
        with _one_thread():
            yield
            _background().drain()
        self._broken = False


@contextmanager
def _one_thread() -> Iterator[None]:
    """Linear algebra on one thread. The first call of an installation compiles: that is said."""
    with _controller().limit(limits=1), watching_compilation(_say_compiling):
        yield


@cache
def _say_compiling() -> None:
    """Tell somebody who waits, once in a process."""
    print(COMPILING, file=sys.stderr, flush=True)


@cache
def _controller() -> ThreadpoolController:
    """The thread pools of linear algebra; numpy is loaded by now, and finding them takes milliseconds."""
    return ThreadpoolController()


class _Background:
    """Threads for training and for promotion, for all detectors of the process; they live as long as it."""

    def __init__(self) -> None:
        self._threads = BackgroundThread("training"), BackgroundThread("promotion")
        self._busy = False

    def training(self, job: Callable[[], T], /) -> Result[T]:
        self._busy = True
        return self._threads[0].lane(job)

    def promotion(self, job: Callable[[], T], /) -> Result[T]:
        self._busy = True
        return self._threads[1].lane(job)

    def drain(self) -> None:
        """Wait for all jobs."""
        if self._busy:
            for thread in self._threads:
                thread.drain()
            self._busy = False


@cache
def _background() -> _Background:
    return _Background()


def _training(job: Callable[[], T], /) -> Result[T]:
    return _background().training(job)


def _promotion(job: Callable[[], T], /) -> Result[T]:
    return _background().promotion(job)


# A fork of the process has no threads.
os.register_at_fork(after_in_child=_background.cache_clear)
