"""A clock, an executor and a log in memory."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

T = TypeVar("T")


class FakeClock:
    """A clock that moves only when it is slept on or pushed; sleeping takes no time.

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
        """Seconds, never going back."""
        return self.now_s

    def time(self) -> float:
        """Seconds since the epoch."""
        return self.now_s + self._wall_ahead_s

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.now_s += seconds
        self.slept_s += seconds

    def jump_wall(self, seconds: float) -> None:
        """Set the wall's clock forwards or, below zero, backwards; the monotonic one hears nothing of it."""
        self._wall_ahead_s += seconds


class InlineExecutor(Executor):
    """Does the work at once, or when told to.

    Parameters
    ----------
    held
        Keep work until `release`, as a slow checkpoint store would.
    """

    def __init__(self, *, held: bool = False) -> None:
        self.held = held
        self._waiting: list[Callable[[], None]] = []

    def submit(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run `call`, now or at `release`."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(call(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 - raised again where it is waited for
                future.set_exception(error)

        self._waiting.append(work)
        if not self.held:
            self.release()
        return future

    @property
    def waiting(self) -> int:
        """Pieces of work held back."""
        return len(self._waiting)

    def release(self, count: int | None = None) -> None:
        """Do the first `count` pieces of what was held back; None: all."""
        waiting, self._waiting = self._waiting[:count], self._waiting[len(self._waiting[:count]) :]
        for work in waiting:
            work()

    def drop(self) -> None:
        """Forget what was held back, as the end of a process does."""
        self._waiting.clear()


class MemoryLog:
    """Keeps what was logged: (level, event, values)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []

    def events(self) -> list[str]:
        """Names of all events, in order."""
        return [event for _, event, _ in self.lines]

    def debug(self, event: str, **values: object) -> None:
        """Keep a line."""
        self.lines.append(("debug", event, values))

    def info(self, event: str, **values: object) -> None:
        """Keep a line."""
        self.lines.append(("info", event, values))

    def warning(self, event: str, **values: object) -> None:
        """Keep a line."""
        self.lines.append(("warning", event, values))

    def error(self, event: str, **values: object) -> None:
        """Keep a line."""
        self.lines.append(("error", event, values))

    def exception(self, event: str, **values: object) -> None:
        """Keep a line."""
        self.lines.append(("exception", event, values))
