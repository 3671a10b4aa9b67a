"""One thread beside the loop, for checkpoints or for training. It never holds up the end of the process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class BackgroundThread(Executor):
    """Runs what is submitted, one after another, on a daemon thread.

    Unlike a `ThreadPoolExecutor`, whose threads are joined when the interpreter ends: a store that hangs
    must not keep a stopping daemon alive. The caller bounds how much it submits.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Queue a call."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(call(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - the future carries it to who asked
                future.set_exception(error)

        self._calls.put(work)
        return future

    def lane(self, job: Callable[[], T], /) -> Callable[[], T]:
        """A `detector.core.jobs.Lane`."""
        return self.submit(job).result

    def _work(self) -> None:
        while True:
            self._calls.get()()
