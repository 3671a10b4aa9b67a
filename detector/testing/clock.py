"""A clock, an executor and a log in memory."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

T = TypeVar("T")


class FakeClock:
    """A clock that moves only by `sleep`, which takes no time.

    Parameters
    ----------
    now_s
        Seconds since the epoch at the start.
    """

    def __init__(self, now_s: float = 1_700_000_000.0) -> None:
        self.now_s = now_s
        self.slept_s = 0.0
        self._wall_ahead_s = 0.0

    def monotonic(self) -> float:
        """Seconds; never goes back."""
        return self.now_s

    def time(self) -> float:
        """Seconds since the epoch."""
        return self.now_s + self._wall_ahead_s

    def sleep(self, seconds: float) -> None:
        """Move the clock."""
        self.now_s += seconds
        self.slept_s += seconds

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forwards, or backwards if negative; the monotonic clock does not change."""
        self._wall_ahead_s += seconds


class InlineExecutor(Executor):
    """Runs submitted calls at once, or at `release`.

    Parameters
    ----------
    held
        Keep calls until `release`, as a slow checkpoint store would.
    """

    def __init__(self, *, held: bool = False) -> None:
        self.held = held
        self._waiting: list[Callable[[], None]] = []

    def submit(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run a call, now or at `release`."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(call(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 - raised again where the future is waited for
                future.set_exception(error)

        self._waiting.append(work)
        if not self.held:
            self.release()
        return future

    @property
    def waiting(self) -> int:
        """Number of calls that are kept."""
        return len(self._waiting)

    def release(self, count: int | None = None) -> None:
        """Run the first `count` kept calls; None: all."""
        waiting, self._waiting = self._waiting[:count], self._waiting[len(self._waiting[:count]) :]
        for work in waiting:
            work()

    def drop(self) -> None:
        """Drop the kept calls, as the end of a process does."""
        self._waiting.clear()


class MemoryLog:
    """Keeps log lines as (level, event, values)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []

    def events(self) -> list[str]:
        """Event names of all lines, in order."""
        return [event for _, event, _ in self.lines]

    def debug(self, event: str, **values: object) -> None:
        """Keep a log line."""
        self.lines.append(("debug", event, values))

    def info(self, event: str, **values: object) -> None:
        """Keep a log line."""
        self.lines.append(("info", event, values))

    def warning(self, event: str, **values: object) -> None:
        """Keep a log line."""
        self.lines.append(("warning", event, values))

    def error(self, event: str, **values: object) -> None:
        """Keep a log line."""
        self.lines.append(("error", event, values))

    def exception(self, event: str, **values: object) -> None:
        """Keep a log line."""
        self.lines.append(("exception", event, values))
