"""Bugs put in on purpose. The simulation must find each of them, or it proves nothing.

A mutant is the service with some lines replaced. A mutant whose lines are no longer in the source fails, so
that none is kept that breaks nothing.
"""

from __future__ import annotations
import __future__

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from detector.core.recovery.journal import Journal
from detector.core.shard.partition import Partition
from detector.shell import objects
from detector.shell.runner import restore
from detector.shell.runner.checkpointer import Checkpointer
from detector.shell.runner.committer import Committer
from detector.shell.runner.configs import ModelConfigs
from detector.shell.runner.loop import Runner
from detector.shell.runner.owned import Owned
from detector.shell.runner.process import Processor
from detector.shell.runner.restore import Restorer
from tests.chain import ChainShard


@dataclass(frozen=True, slots=True)
class Edit:
    """One piece of a function's source, and its replacement."""

    owner: Any  # class or module
    name: str
    old: str
    new: str

    def function(self) -> Callable[..., Any]:
        """The function with the replacement."""
        whole = inspect.unwrap(getattr(self.owner, self.name))
        source = textwrap.dedent(inspect.getsource(whole))
        if source.count(self.old) != 1:
            raise LookupError(f"{self.name} has {source.count(self.old)} times {self.old!r}")
        flags = __future__.annotations.compiler_flag
        code = compile(source.replace(self.old, self.new), f"<broken {self.name}>", "exec", flags, True)
        made: dict[str, Callable[..., Any]] = {}
        exec(code, whole.__globals__, made)
        return made[self.name]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug."""

    name: str
    edits: tuple[Edit, ...]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Put the bug in, for the time of the context."""
        with ExitStack() as stack:
            for edit in self.edits:
                stack.enter_context(patch.object(edit.owner, edit.name, edit.function()))
            yield


def _mutant(name: str, *edits: tuple[Any, str, str, str]) -> Mutant:
    return Mutant(name, tuple(Edit(*edit) for edit in edits))


MUTANTS = (
    _mutant(
        "a commit carries a fresher membership than its poll's",
        (Committer, "commit", "membership=self.membership", "membership=self._stream._broker.generation"),
    ),
    _mutant(
        "the offset is committed one too far",
        (Committer, "_target", "Committed(offset=offset,", "Committed(offset=offset + 1,"),
    ),
    _mutant(
        "the offset is committed one too early",
        (Committer, "_target", "Committed(offset=offset,", "Committed(offset=max(offset - 1, 0),"),
    ),
    _mutant(
        "the offset past what was polled is committed, though some is not processed",
        (Owned, "offset", "if self.backlog:", "if False:"),
    ),
    _mutant(
        "shards live on after a failed commit",
        (Runner, "_rebuild", "self._owned.clear()", "self._assigned.clear()"),
    ),
    _mutant(
        "no seek after a restore",
        (Restorer, "_restore", "stream.seek(number, origin.journal.position)", "pass"),
    ),
    _mutant(
        "records of a poll that failed are not read again",
        (Runner, "_poll", "self._stream.seek(number, owned.next_to_read)", "pass"),
    ),
    _mutant(
        "a barrier that a side input caused has no entry in the journal",
        (
            Partition,
            "barrier",
            "    self.journal = self.journal.extended(",
            '    if barrier.cause != "side_input": self.journal = self.journal.extended(',
        ),
    ),
    _mutant(
        "a snapshot is the live state itself",
        (ChainShard, "to_state", "dtype=np.uint8).copy()", "dtype=np.uint8)"),
    ),
    _mutant(
        "a checkpoint is named before it is durable",
        (
            Checkpointer,
            "_write",
            "owned.checkpoints.started_s =",
            "from detector.core.recovery.checkpoint import encode\n"
            "    first = owned.checkpoints.snapshots[0]\n"
            "    owned.partition.rebase(encode(first)[0], first.position)\n"
            "    owned.checkpoints.started_s =",
        ),
        (Checkpointer, "collect", "owned.partition.rebase(name, position, since)", "pass"),
    ),
    _mutant(
        "labels of a barrier are not applied again",
        (
            Processor,
            "_settle_block",
            "self._sides.read(side, wanted)",
            'self._sides.read(side, SideRange(0, 0) if side == "feedback" and not live else wanted)',
        ),
    ),
    _mutant(
        "peer messages of a barrier are not applied again",
        (
            Processor,
            "_settle_block",
            "self._sides.read(side, wanted)",
            'self._sides.read(side, SideRange(0, 0) if side == "exchange" and not live else wanted)',
        ),
    ),
    _mutant(
        "messages of a replayed barrier are published again",
        (Processor, "_settle_block", "if live:\n        owned.outputs", "if True:\n        owned.outputs"),
    ),
    _mutant(
        "a partition that was taken away is kept",
        (
            Runner,
            "_apply",
            "if (owned :=",
            'if change.kind == "assigned" and (owned :=',
        ),
    ),
    _mutant(
        "a commit comes between a block's end and its barrier",
        (Committer, "_target", "owned.at_block_end or ", ""),
    ),
    _mutant(
        "a replay is committed as far as it is",
        (
            Committer,
            "_target",
            "offset < owned.partition.until:\n        return None\n    if owned.committed is not None:",
            "False:\n        return None\n    if False:",
        ),
    ),
    _mutant(
        "a committed offset goes back into a gap",
        (Committer, "_target", "offset = max(offset, owned.committed.offset)", "pass"),
    ),
    _mutant(
        "barriers after a damaged checkpoint are forgotten",
        (restore, "find_origin", "manifest.since.joined(journal)", "manifest.since"),
    ),
    _mutant(
        "only one generation is kept",
        (objects, "expired", "len(kept) < keep", "len(kept) < 1"),
    ),
    _mutant(
        "generations above the committed one are taken for garbage",
        (objects, "expired", "stem < horizon", "True"),
    ),
    _mutant(
        "generations that hold what was erased are kept",
        (objects, "expired", '"" if kept[name].erases else ', ""),
    ),
    _mutant(
        "no generation is ever deleted",
        (objects, "expired", "return sorted(old", "return [] and sorted(old"),
    ),
    _mutant(
        "a checkpoint drops one barrier too many from the journal",
        (Journal, "rebased", "barriers=self.barriers[count:]", "barriers=self.barriers[count + 1 :]"),
    ),
    _mutant(
        "a checkpoint leaves its own barrier in the journal",
        (Journal, "rebased", "barriers=self.barriers[count:]", "barriers=self.barriers[count - 1 :]"),
    ),
    _mutant(
        "a configuration is named before it is kept",
        (ModelConfigs, "store", "self._objects.put(config_name(name), wanted.canonical())", "pass"),
    ),
    _mutant(
        "numbers are counted though the commit may have failed",
        (Runner, "_rebuild", "self._assigned |=",
         "from detector.core.reporting.counting import count\n"
         "    for n, o in self._owned.items(): count(self._telemetry, n, o.outputs, 0.0)\n"
         "    self._assigned |="),
    ),
    _mutant(
        "a commit begins before the last one has ended",
        (Committer, "commit", "# Step 1\n    self.end()", ""),
    ),
    _mutant(
        "what was taken away during its commit is not counted",
        (Committer, "end", "count(self._telemetry",
         "if self._owned.get(number) is part.owned: count(self._telemetry"),
    ),
    _mutant(
        "what a commit took with it stays to be committed",
        (Owned, "hand_over", "outputs, self.outputs = self.outputs, []", "outputs = self.outputs"),
    ),
    _mutant(
        "a hash is noted that is not the state's",
        (Partition, "barrier", "state_hash(self._state)", 'state_hash({"x": len(self.journal.barriers)})'),
    ),
    _mutant(
        "a journal grows beyond its room",
        (Checkpointer, "due", "if not self._objects.available or", "if True or"),
        (Checkpointer, "has_room", "if self._fits(owned):", "if True:"),
        (Committer, "_target", " or len(target.metadata) > self._metadata_bytes_max", ""),
    ),
    _mutant(
        "a partition is restored, but never resumed",
        (Restorer, "restore", "self._stream.resume([number])", "pass"),
    ),
)  # fmt: skip
