"""A background thread for checkpoints or for training. It does not delay the end of the process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from detector.core.jobs import Result
from detector.shell import calls

T = TypeVar("T")


class BackgroundThread(Executor):
    """Runs submitted calls one after another in a daemon thread.

    The interpreter joins the threads of a `ThreadPoolExecutor` when it ends, but a store that hangs must not
    keep a stopping daemon alive. The queue has no limit: the caller limits how much it submits.

    Parameters
    ----------
    name
        Name of the thread.
    after
        Called in the thread after each call.
    """

    def __init__(self, name: str, after: Callable[[], None] = lambda: None) -> None:
        self._after = after
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Queue a call. Its future can be cancelled until it begins."""
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                calls.settle(future, lambda: call(*args, **kwargs))

        self._queue.put(run)
        return future

    def lane(self, job: Callable[[], T], /) -> Result[T]:
        """A `detector.core.jobs.Lane`."""
        future = self.submit(job)
        return Result(future.result, future.done)

    def drain(self, timeout_s: float | None = None) -> None:
        """Wait for everything that was submitted, at most `timeout_s`.

        A thread that the end of the process cuts off within C++ code aborts the process.
        """
        with suppress(TimeoutError):
            self.submit(lambda: None).result(timeout_s)

    def _run(self) -> None:
        while True:
            self._queue.get()()
            self._after()
