"""A blocking call ends, or its caller goes on without it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.shell import calls
from detector.shell.background import BackgroundThread
from detector.shell.heap import give_back


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """An event that blocked calls wait for; set at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


def test_a_call_returns_its_result() -> None:
    assert calls.within(60.0, lambda: 3) == 3


def test_a_call_runs_in_a_named_daemon_thread() -> None:
    thread = calls.within(60.0, threading.current_thread, name="store")
    assert (thread.name, thread.daemon) == ("store", True)
    assert thread is not threading.current_thread()


@pytest.mark.parametrize("kind", [ValueError, TimeoutError, KeyboardInterrupt])
def test_an_exception_of_the_call_is_raised(kind: type[BaseException]) -> None:
    def fail() -> None:
        raise kind("from the call")

    with pytest.raises(kind, match="from the call") as caught:
        calls.within(60.0, fail)
    assert not isinstance(caught.value, calls.CallTimeout)


@pytest.mark.parametrize("timeout_s", [0.001, 0.0, -1.0])
def test_a_call_that_blocks_times_out(timeout_s: float, released: threading.Event) -> None:
    with pytest.raises(calls.CallTimeout, match="no answer in"):
        calls.within(timeout_s, released.wait)


def test_a_call_goes_on_after_its_caller_has_stopped_waiting(released: threading.Event) -> None:
    future = calls.start(released.wait)
    with pytest.raises(calls.CallTimeout):
        calls.wait(future, 0.0)
    released.set()
    assert calls.wait(future, 60.0) is True


def test_a_call_does_not_block_its_caller_before_the_wait(released: threading.Event) -> None:
    future = calls.start(released.wait)
    assert not future.done()
    released.set()
    assert future.result(60.0)


def test_a_background_thread_is_drained() -> None:
    thread, began, ended = BackgroundThread("test"), threading.Event(), []
    result = thread.lane(lambda: ended.append(began.wait(10)))
    thread.drain(0.0)
    assert ended == []
    began.set()
    thread.drain()
    assert ended == [True]
    result()


def test_a_background_thread_does_something_after_each_call() -> None:
    done: list[str] = []
    thread = BackgroundThread("test", after=lambda: done.append("after"))
    thread.submit(lambda: done.append("call"))
    failed = thread.submit(lambda: 1 / 0)
    thread.drain()
    assert done[:3] == ["call", "after", "after"]
    assert isinstance(failed.exception(), ZeroDivisionError)


def test_freed_memory_goes_back_to_the_system() -> None:
    blocks = [bytes(64 << 10) for _ in range(512)]  # 32 MiB below the size that is mapped by itself
    last = bytes(64 << 10)
    before = resident()
    blocks.clear()
    give_back()
    assert resident() < before - (24 << 20)
    del last


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
