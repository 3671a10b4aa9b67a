"""Commits: outputs, offsets and journals of all owned partitions as one atomic step, one at a time.

Rules
    - A commit carries the membership of the last poll, never a fresher one: the broker checks the generation,
      not who owns a partition.
    - Between a block's end and its barrier nothing of that partition is committed: a shard restored there
      would go on without the barrier.
    - Nothing of a replay is committed before it has reached what was committed.
    - Until the end of a commit is known nothing that is committed is read back, and what the commit carries
      is not counted. What was taken away meanwhile still counts if the commit took place: the next owner
      begins after it.
    - Numbers are counted when they are committed, so received = scored + rejected and nothing counts twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from math import ceil, inf

from detector.config.tree import Topics
from detector.core.records import Outputs
from detector.core.recovery.committed import seal
from detector.core.recovery.journal import Journal
from detector.core.reporting.counting import count
from detector.errors import BrokerUnavailable, CommitFailed
from detector.ports import Commit, Committed
from detector.shell.runner.checkpointer import Checkpointer
from detector.shell.runner.owned import Owned
from detector.shell.runner.rejections import RejectionLog
from detector.shell.runner.shared import Shared
from detector.shell.runner.status import describe

COMMIT_SHARE_MAX = 0.1  # of the time for commits at barriers; above it they wait for the next regular one


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What a commit carries of one partition."""

    owned: Owned
    committed: Committed
    journal: Journal
    outputs: Sequence[Outputs]
    lost: int


@dataclass(frozen=True, kw_only=True, slots=True)
class UnderWay:
    """A commit whose end is not known yet."""

    answer: Future[tuple[float, float]]  # how long it took, s, and when it was done, s since the epoch
    parts: Mapping[int, Part]


class Committer:
    """Makes the commits of one process.

    Parameters
    ----------
    topics
        Names of the output topics.
    interval_s
        Between two regular commits; 0: one in every turn.
    metadata_bytes_max
        Maximum size of a journal's text.
    """

    def __init__(
        self,
        shared: Shared,
        checkpointer: Checkpointer,
        *,
        topics: Topics,
        interval_s: float,
        metadata_bytes_max: int,
    ) -> None:
        self._owned, self._stream, self._calls = shared.owned, shared.stream, shared.calls
        self._clock, self._telemetry, self._timer = shared.clock, shared.telemetry, shared.timer
        self._rejections = RejectionLog(shared.log, shared.clock)
        self._checkpointer = checkpointer
        self._topics = topics
        self._interval_s = interval_s
        self._metadata_bytes_max = metadata_bytes_max
        self._began_s = -inf  # monotonic, when the last commit began
        self._took_s = 0.0
        self.membership: object = None  # of the last poll
        self.under_way: UnderWay | None = None
        self.failing = False  # from a failed commit to the next one that succeeds

    def poll_timeout_ms(self, timeout_max_ms: int) -> int:
        """How long a poll may wait: not beyond the next commit, if there are outputs."""
        if not any(owned.outputs for owned in self._owned.values()):
            return timeout_max_ms
        left_s = self._interval_s - (self._clock.monotonic() - self._began_s)
        return ceil(min(max(left_s * 1000.0, 0.0), timeout_max_ms))

    def hurry(self) -> None:
        """Make the next regular commit due at once."""
        self._began_s = -inf

    def commit_if_due(self) -> None:
        """Begin a commit if the interval since the last one is over."""
        if self._clock.monotonic() - self._began_s >= self._interval_s:
            self.commit()

    def commit_at_barrier(self) -> None:
        """Begin a commit, unless commits take long: then the next regular one does."""
        enough_s = min(self._took_s / COMMIT_SHARE_MAX, self._interval_s)
        if self._clock.monotonic() - self._began_s >= enough_s:
            self.commit()

    def commit(self) -> None:
        """Begin to publish and commit all changes.

        1. Wait for the end of the commit before.
        2. Collect what changed, and its outputs in the order of (partition, offset).
        3. Make one atomic step of it, with the membership of the last poll.

        Raises
        ------
        CommitFailed
            The commit before, or this one, was refused or its outcome is unknown.
        Stopped
        """
        # Step 1
        self.end()
        # Step 2
        targets = {number: self._target(owned) for number, owned in sorted(self._owned.items())}
        positions = {number: target for number, target in targets.items() if target is not None}
        self._began_s = self._clock.monotonic()
        if not positions:
            return
        messages = [message for number in positions for message in self._owned[number].messages(self._topics)]
        # Step 3
        commit = Commit(messages=messages, positions=positions, membership=self.membership)
        answer = self._calls.begin(lambda: self._publish(commit))
        parts = {number: _part(self._owned[number], target) for number, target in positions.items()}
        self.under_way = UnderWay(answer=answer, parts=parts)
        if not self._stream.commits_in_background:
            self.end()

    def end(self) -> None:
        """Wait for the end of the commit under way, if there is one.

        1. Wait.
        2. Count what it carried, also of partitions that were taken away meanwhile.
        3. Let generations go that no journal needs any more.

        Raises
        ------
        CommitFailed
            It was refused, or its outcome is unknown.
        Stopped
        """
        if self.under_way is None:
            return
        # Step 1
        parts = self.under_way.parts
        self._timer.start()
        try:
            self._took_s, done_s = self._calls.wait(self.under_way.answer)
        except BrokerUnavailable as error:
            raise CommitFailed(str(error)) from error
        finally:
            self.under_way = None
        self._timer("commit")
        self.failing = False
        self._telemetry.commits.observe(self._took_s)
        for number, part in parts.items():
            # Step 2
            numbers = self._telemetry.partitions[number]
            count(self._telemetry, number, part.outputs, done_s)
            self._rejections.note(number, part.outputs)
            numbers.lost += part.lost
            owned = part.owned
            if self._owned.get(number) is not owned:
                continue
            owned.committed = part.committed
            describe(numbers, owned)
            # Step 3
            self._checkpointer.committed(owned, part.journal)

    def _target(self, owned: Owned) -> Committed | None:
        """What to commit of a partition; None if nothing changed, or if it would lose or repeat something."""
        offset = owned.offset(self._stream)
        if offset is None or owned.at_block_end or offset < owned.partition.until:
            return None
        if owned.committed is not None:  # past a gap, maybe, and the stream was sent back before it since
            offset = max(offset, owned.committed.offset)
        target = Committed(offset=offset, metadata=seal(owned.journal_text().text, offset, owned.place))
        if target == owned.committed or len(target.metadata) > self._metadata_bytes_max:
            return None
        return target

    def _publish(self, commit: Commit) -> tuple[float, float]:
        """Make the commit; returns how long it took, s, and when it was done, s since the epoch."""
        began_s = self._clock.monotonic()
        self._stream.commit(commit)
        return self._clock.monotonic() - began_s, self._clock.time()


def _part(owned: Owned, committed: Committed) -> Part:
    outputs, lost = owned.hand_over()
    return Part(owned=owned, committed=committed, journal=owned.partition.journal, outputs=outputs, lost=lost)
