"""Background jobs: they run one after another, each on its own data, and are awaited later.

    result = lane(job)      # the job starts now or later, perhaps on another thread
    result()                # waits for the job and returns its result, or raises its exception

Rules
    - A job reads and changes nothing that its caller changes meanwhile. Results depend on which jobs were
      submitted and in which order, never on when they ran.
    - The caller awaits every job that it submits, and limits how many are not awaited yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


class Lane(Protocol):
    """See the module's text."""

    def __call__(self, job: Callable[[], T], /) -> Callable[[], T]:
        """Submit a job; it runs after the jobs that were submitted before it."""


def at_once(job: Callable[[], T], /) -> Callable[[], T]:
    """Run the job before returning: a lane without a thread."""
    result = job()
    return lambda: result


@dataclass(frozen=True, slots=True)
class Lanes:
    """Two lanes, so that short jobs that are awaited soon do not queue behind long ones.

    A job of `promotion` may await one of `training`, never the other way round.
    """

    training: Lane = at_once  # the learner's steps
    promotion: Lane = at_once  # builds what the next barrier installs


AT_ONCE = Lanes()
