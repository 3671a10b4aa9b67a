"""A watch survives its own bugs, looks at once when it is woken, and ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from detector.core.reporting.telemetry import Telemetry
from detector.shell import space, watch
from detector.shell.space import SpaceWatch
from detector.shell.watch import Watch
from detector.testing import MemoryLog

WAIT_S = 10.0


class Scripted(Watch):
    """Looks by a script: what a look returns or raises."""

    def __init__(self, script: list[float | Exception | None], wake: threading.Event | None = None) -> None:
        self.log, self.woken = MemoryLog(), wake
        super().__init__("scripted-watch", self.log, wake)
        self.script, self.looks, self.sessions = script, 0, 0
        self.looked = threading.Semaphore(0)

    def session(self) -> AbstractContextManager[object]:
        return self._session()

    @contextmanager
    def _session(self) -> Iterator[None]:
        self.sessions += 1
        yield

    def look(self) -> float | None:
        step = self.script[self.looks]
        self.looks += 1
        if self.woken is not None:
            self.woken.clear()
        self.looked.release()
        if isinstance(step, Exception):
            raise step
        return step

    def end(self) -> None:
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


def test_a_bug_in_a_look_is_logged_and_the_next_look_comes_in_a_new_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "AGAIN_S", 0.0)
    error = RuntimeError("a bug")
    watched = Scripted([0.0, error, 0.0, None])
    watched.start()
    watched.end()
    assert watched.looks == 4
    assert watched.sessions == 2
    assert watched.log.lines == [("error", "scripted_watch_failed", {"exc_info": error})]


def test_a_watch_that_is_woken_looks_at_once() -> None:
    wake = threading.Event()
    watched = Scripted([1e6, 1e6, None], wake)
    watched.start()
    for _ in range(2):
        assert watched.looked.acquire(timeout=WAIT_S)
        wake.set()
    watched.end()


def test_a_watch_that_waits_ends_when_it_is_stopped() -> None:
    watched = Scripted([1e6])
    watched.start()
    assert watched.looked.acquire(timeout=WAIT_S)
    watched.stop()
    watched.end()


def test_a_store_that_fails_in_an_unknown_way_does_not_end_the_watch_of_its_space(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It had no guard: the metric of the free space stood still for ever."""
    monkeypatch.setattr(watch, "AGAIN_S", 0.0)
    monkeypatch.setattr(space, "LOOK_S", 0.0)
    answers: list[int | None] = [5, 7, None]
    telemetry, log, noted = Telemetry(), MemoryLog(), list[int | None]()

    def free_bytes() -> int | None:
        noted.append(telemetry.store_free_bytes)
        if len(noted) == 2:
            raise RuntimeError("unknown")
        return answers.pop(0)

    watched = SpaceWatch(free_bytes, telemetry, log)
    watched.start()
    watched._thread.join(WAIT_S)
    assert noted == [None, 5, 5, 7]
    assert log.events() == ["space_watch_failed"]
