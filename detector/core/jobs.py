"""Work beside scoring: jobs that run one after another, each on what it was given, and are awaited later.

    result = lane(job)      # begins, now or later, perhaps on another thread
    result()                # waits for it and gives what it returned, or raises what it raised

Rules
    - A job reads and changes nothing that its caller changes meanwhile. So what comes out depends on which
      jobs were given and in which order, never on when they ran.
    - Whoever gives jobs awaits each of them, and bounds how many it has not awaited.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


class Lane(Protocol):
    """See the module's text."""

    def __call__(self, job: Callable[[], T], /) -> Callable[[], T]:
        """Let a job run after those that were given before it."""


def at_once(job: Callable[[], T], /) -> Callable[[], T]:
    """A lane without a thread: the job runs before this returns."""
    result = job()
    return lambda: result


@dataclass(frozen=True, slots=True)
class Lanes:
    """Two, so that what is short and awaited soon does not stand behind what is long.

    A job of the second one may await one of the first, never the other way round.
    """

    training: Lane = at_once  # the learner's steps
    promotion: Lane = at_once  # what a barrier installs


AT_ONCE = Lanes()
