"""The world in memory, for tests and simulation. The real runner runs on it, and faults can be injected.

`MemoryBroker` is shared by all members; each member has its own `MemoryStream`. They keep the rules of Kafka
that the runner depends on:

    - A commit is one step: messages, offsets and metadata, or nothing.
    - A commit is refused unless the membership it carries is of the group's present generation. Who owns a
      partition is not checked (the broker does not check it either).
    - A partition that moves is first given up by its owner, then assigned to the next one (cooperative).
    - Offsets may have gaps, and a position goes past them.

Faults: `MemoryBroker.down`, `fail_commits`, `evict`, `trim`, `cut`; `MemoryStore.fail`, `tear`, `corrupt`,
`lose`; `MemorySideLog.down`, `lag`; `InlineExecutor.held`; `FakeClock.jump_wall`. The hooks of broker, store
and side topics are called at each step into the world (`STEPS`, `STEPS_AFTER`), maybe on another thread. What
a hook raises goes through, so a test can end the process at any step or let one call fail.
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
