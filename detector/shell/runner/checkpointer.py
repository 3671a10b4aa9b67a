"""Checkpoints: snapshots taken at barriers, written in the background, named by a commit, and pruned.

Rules
    - A snapshot is an immutable copy, taken right after a barrier. Scoring goes on while it is written.
    - A checkpoint is named by the next commit after it is durable, never before.
    - At most two snapshots of a partition are held: the one being written, and that of the newest barrier,
      or of one shortly before it (`HOLD_SHARE`). The latter is the next one to be written; a stop writes it,
      so that the next owner replays almost nothing. The end of a file is a stop.
    - A journal must have room for the next barrier before that barrier is made. A full one holds its
      partition back until a checkpoint is written.
    - Nothing is deleted that a committed journal could need (`expired`).
    - After a barrier that erased entities a snapshot is taken at once, and written also if nothing else
      happens: once a commit names it, older generations are deleted, by whoever owns the partition then.
"""

from __future__ import annotations

import errno
from math import inf

from detector.config.tree import Checkpoints
from detector.core.recovery.checkpoint import NUMBERS, Snapshot
from detector.core.recovery.generations import write
from detector.core.recovery.journal import Barrier, Journal
from detector.errors import OutsideError
from detector.shell import calls
from detector.shell.runner.owned import Owned
from detector.shell.runner.shared import Shared

LAST_BARRIERS_MIN = 2  # a stop writes another checkpoint if it saves so many: replaying one is as fast
HOLD_SHARE = 0.02  # of the time, for copies that only a stop may need: barriers of a full log come fast
COUNTED_MAX_S = 86_400.0  # of checkpoints of which only what changed is written
RETRY_S = 5.0  # between two attempts to write a snapshot
_KINDS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "full"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "denied"),
    errno.ETIMEDOUT: "timeout",
}  # kinds of `FAILURES`


class Checkpointer:
    """Takes and writes the checkpoints of all owned partitions.

    Parameters
    ----------
    shared
        Without a store no snapshot is taken.
    settings
        Interval, maximum age, generations to keep.
    metadata_bytes_max
        Maximum size of a journal's text.
    """

    def __init__(self, shared: Shared, settings: Checkpoints, metadata_bytes_max: int) -> None:
        self._settings = settings
        self._metadata_bytes_max = metadata_bytes_max
        # Damage of a whole state costs up to twice so many checkpoints: not where they are rare.
        self._counts_on = 2 * NUMBERS * settings.interval <= COUNTED_MAX_S
        self._objects, self._executor = shared.objects, shared.executor
        self._clock, self._telemetry, self._log = shared.clock, shared.telemetry, shared.log

    def has_room(self, owned: Owned) -> bool:
        """Whether one more barrier is sure to fit the journal; if not, press for a checkpoint."""
        if self._fits(owned):
            return True
        checkpoints = owned.checkpoints
        assert checkpoints.snapshots, "a snapshot was taken when the journal became full"
        owned.waiting_for = "the journal is full until a checkpoint is written"
        if checkpoints.writing is None and self._clock.monotonic() - checkpoints.failed_s >= RETRY_S:
            self._write(owned)
        return False

    def aged(self, owned: Owned) -> bool:
        """Whether a quiet partition's origin is so old that the log may soon drop what a recovery needs."""
        checkpoints = owned.checkpoints
        if not self._objects.available or not owned.caught_up or not owned.origin_ms:
            return False
        if checkpoints.writing is not None:
            return False
        age_s = self._clock.time() - owned.origin_ms / 1000.0
        waited_s = self._clock.monotonic() - max(checkpoints.started_s, checkpoints.failed_s)
        return age_s > self._settings.age_max and waited_s >= RETRY_S

    def due(self, owned: Owned, barrier: Barrier) -> bool:
        """Whether a snapshot should be taken now, right after `barrier`."""
        journal = owned.partition.journal
        if not self._objects.available or journal.barriers[-1] != barrier:
            return False
        if journal.barriers[-1].erases or (journal.erases and owned.checkpoints.writing is None):
            return True
        if owned.checkpoints.writing is not None:  # what is being written may not make enough room
            return not self._fits(owned)
        if barrier.cause == "age":
            return True
        # The other half is for the barriers that come while it is written.
        if owned.journal_text().bytes_next_max > self._metadata_bytes_max // 2:
            return True
        age_s = self._clock.monotonic() - owned.checkpoints.started_s
        return age_s >= self._settings.interval and not owned.partition.replaying

    def take(self, owned: Owned) -> None:
        """Take a snapshot, in place of older ones whose write has not begun."""
        checkpoints = owned.checkpoints
        checkpoints.hold_from_s = -inf
        self.hold(owned)
        if checkpoints.last is not None:
            del checkpoints.snapshots[0 if checkpoints.writing is None else 1 :]
            checkpoints.snapshots.append(checkpoints.last)

    def hold(self, owned: Owned) -> None:
        """Hold a snapshot of the barrier just made, in place of an earlier one, if copies cost little."""
        checkpoints, began_s = owned.checkpoints, self._clock.monotonic()
        if self._objects.available and began_s >= checkpoints.hold_from_s:
            checkpoints.last = owned.partition.snapshot()
            ended_s = self._clock.monotonic()
            checkpoints.hold_from_s = ended_s + (ended_s - began_s) / HOLD_SHARE
            if len(checkpoints.snapshots) > (checkpoints.writing is not None):
                checkpoints.snapshots[-1] = checkpoints.last  # it has waited, and need not be an older one

    def write_last(self, owned: Owned) -> None:
        """Begin to write the newest barrier's snapshot, at a stop, if that saves the next owner enough."""
        checkpoints = owned.checkpoints
        last, checkpoints.last = checkpoints.last, None
        if last is None or checkpoints.writing is not None:
            return
        journal = owned.partition.journal
        saved = sum(barrier.position <= last.position for barrier in journal.barriers)
        if saved >= LAST_BARRIERS_MIN or (saved and (journal.erases or not journal.checkpoint)):
            checkpoints.snapshots = [last]
            self._write(owned)

    def write_next(self, owned: Owned) -> None:
        """Write the oldest snapshot in the background, unless one is being written or there is none."""
        if owned.checkpoints.snapshots and owned.checkpoints.writing is None:
            self._write(owned)

    def writing(self, owned: Owned) -> bool:
        """Whether a write is under way."""
        return owned.checkpoints.writing is not None and not owned.checkpoints.writing.done()

    def collect(self, owned: Owned) -> bool:
        """Take the result of a finished write: the next commit names the checkpoint.

        Returns
        -------
        bool
            Whether there is a new checkpoint to name.
        """
        checkpoints = owned.checkpoints
        self._prune_outdated(owned)
        if checkpoints.writing is None:
            self._write_erased(owned)
        if checkpoints.writing is None or not checkpoints.writing.done():
            return False
        writing, checkpoints.writing = checkpoints.writing, None
        position, since = checkpoints.snapshots[0].position, checkpoints.snapshots[0].since
        seconds = round(self._clock.monotonic() - checkpoints.started_s, 3)
        numbers = self._telemetry.partitions[owned.number].checkpoints
        try:
            name, size = writing.result()
        except OutsideError as error:
            numbers.failures[failure(error)] += 1
            checkpoints.failed_s = self._clock.monotonic()
            checkpoints.started_s = -inf  # try again at the next barrier
            self._log.error("checkpoint_failed", partition=owned.number, position=position, reason=str(error))
            return False
        owned.partition.rebase(name, position, since)
        owned.origin_ms = 0
        del checkpoints.snapshots[0]
        numbers.since_s, numbers.bytes = self._clock.monotonic(), size
        numbers.largest = max(numbers.largest, size)
        self._telemetry.checkpoints.observe(seconds)
        self._log.info(
            "checkpoint_written", partition=owned.number, checkpoint=name, seconds=seconds, bytes=size
        )
        return True

    def committed(self, owned: Owned, journal: Journal) -> None:
        """Delete generations that are no longer needed, once a commit has named another checkpoint."""
        checkpoints = owned.checkpoints
        if self._objects.available and journal.checkpoint not in ("", checkpoints.named):
            checkpoints.outdated, checkpoints.prune_failed_s = journal, -inf
            self._prune_outdated(owned)
        checkpoints.named = journal.checkpoint

    def drop(self, owned: Owned) -> None:
        """Drop the snapshots of a partition that is given up: while a store hangs they must not pile up."""
        if owned.checkpoints.writing is not None:
            owned.checkpoints.writing.cancel()
        owned.checkpoints.snapshots.clear()
        owned.checkpoints.last = None

    def _fits(self, owned: Owned) -> bool:
        return owned.journal_text().bytes_next_max <= self._metadata_bytes_max

    def _write(self, owned: Owned) -> None:
        owned.checkpoints.started_s = self._clock.monotonic()
        snapshots = owned.checkpoints.snapshots  # read when the write begins: it may be dropped before that
        owned.checkpoints.writing = self._executor.submit(lambda: self._put(snapshots[0]))

    def _put(self, snapshot: Snapshot) -> tuple[str, int]:
        """Write a snapshot; returns the checkpoint's name, and the bytes that were written."""
        sizes: list[int] = []

        def put(name: str, data: bytes) -> None:
            self._objects.put(name, data)
            sizes.append(len(data))

        return write(snapshot, put, self._objects.get if self._counts_on else None), sum(sizes)

    def _write_erased(self, owned: Owned) -> None:
        """Write a snapshot without erased entities also if no barrier comes, and again if that failed."""
        checkpoints = owned.checkpoints
        waiting = checkpoints.snapshots and checkpoints.snapshots[0].since.erases
        if waiting and self._clock.monotonic() - checkpoints.failed_s >= RETRY_S:
            self._write(owned)

    def _prune_outdated(self, owned: Owned) -> None:
        """Delete generations in the background; what failed is tried again."""
        checkpoints, now_s = owned.checkpoints, self._clock.monotonic()
        if checkpoints.pruning is not None:
            journal, pruning = checkpoints.pruning
            if not pruning.done():
                return
            checkpoints.pruning = None
            if pruning.cancelled() or not pruning.result():
                checkpoints.prune_failed_s = now_s
            elif checkpoints.outdated is journal:
                checkpoints.outdated = None
        outdated = checkpoints.outdated
        if outdated is not None and now_s - checkpoints.prune_failed_s >= RETRY_S:
            pruning = self._executor.submit(self._prune, owned.number, outdated)
            checkpoints.pruning = outdated, pruning

    def _prune(self, partition: int, journal: Journal) -> bool:
        try:
            self._objects.prune(partition, journal, self._settings.keep)
        except OutsideError as error:
            self._log.warning("prune_failed", partition=partition, reason=str(error))
            return False
        return True


def failure(error: OutsideError) -> str:
    """Why a write failed, as one of `FAILURES`."""
    cause = error.__cause__
    if isinstance(cause, calls.CallTimeout):
        return "timeout"
    if isinstance(cause, OSError):
        return _KINDS.get(cause.errno or 0, "unavailable")
    return "unavailable"
