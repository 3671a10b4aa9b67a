"""Background jobs: they run one after another, each on its own data, and are awaited later.

    result = lane(job)      # the job starts now or later, perhaps on another thread
    result.done()           # whether the next call returns at once
    result()                # waits for the job and returns its result, or raises its exception

Rules
    - A job reads and changes nothing that its caller changes meanwhile. Results depend on which jobs were
      submitted and in which order, never on when they ran.
    - The caller awaits every job that it submits, and limits how many are not awaited yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """The result of a submitted job; see the module's text."""

    wait: Callable[[], T]
    done: Callable[[], bool] = _always

    def __call__(self) -> T:
        """Wait for the job, and return its result or raise its exception."""
        return self.wait()


class Lane(Protocol):
    """See the module's text."""

    def __call__(self, job: Callable[[], T], /) -> Result[T]:
        """Submit a job; it runs after the jobs that were submitted before it."""


def at_once(job: Callable[[], T], /) -> Result[T]:
    """Run the job before returning: a lane without a thread."""
    result = job()
    return Result(lambda: result)


@dataclass(frozen=True, slots=True)
class Lanes:
    """Two lanes, so that short jobs that are awaited soon do not queue behind long ones.

    A job of `promotion` may await one of `training`, never the other way round.
    """

    training: Lane = at_once  # the learner's steps
    promotion: Lane = at_once  # builds what the next barrier installs


AT_ONCE = Lanes()
