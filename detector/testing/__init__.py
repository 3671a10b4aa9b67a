"""The world in memory, for tests and simulation: the real runner runs on it, and faults can be put into it.

`MemoryBroker` is what all members share; each member has a `MemoryStream` of its own. It keeps to the rules
of Kafka that the runner depends on:

    - a commit is one step: messages, offsets and metadata, or nothing
    - it is refused unless the membership it carries is of the group's present generation; who owns a
      partition is not asked (the broker does not ask either)
    - a partition that moves is first given up by its owner, then given to the next one (cooperative)
    - offsets may have gaps, and a position goes past them

Faults: `MemoryBroker.down`, `fail_commits`, `evict`, `trim`, `cut`; `MemoryStore.fail`, `tear`, `corrupt`,
`lose`; `MemorySideLog.down`, `lag`; `InlineExecutor.held`; `FakeClock.jump_wall`. The hooks of broker, store
and side logs are called with the name of each step into the world (`STEPS`, `STEPS_AFTER`), maybe on another
thread; what they raise goes through, so a test can end the process anywhere or let one call fail.
"""

from __future__ import annotations

from detector.testing.broker import POLL_S, MemoryArchive, MemoryBroker, MemoryStream
from detector.testing.clock import FakeClock, InlineExecutor, MemoryLog
from detector.testing.steps import STEPS, STEPS_AFTER, Hook, no_hook
from detector.testing.store import MemorySideLog, MemoryStore

__all__ = [
    "POLL_S",
    "STEPS",
    "STEPS_AFTER",
    "FakeClock",
    "Hook",
    "InlineExecutor",
    "MemoryArchive",
    "MemoryBroker",
    "MemoryLog",
    "MemorySideLog",
    "MemoryStore",
    "MemoryStream",
    "no_hook",
]
