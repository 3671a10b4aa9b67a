"""Blocking calls with a timeout.

Clients of brokers and stores have calls that take no timeout and can block for ever. Such a call runs in a
daemon thread of its own: its caller waits for as long as it wants to, and the thread does not keep the
process alive.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class CallTimeout(TimeoutError):
    """A call did not return in time. A `TimeoutError` that the call itself raised is not one of these."""


def start(call: Callable[[], T], *, name: str = "call") -> Future[T]:
    """Run a call in a daemon thread.

    Parameters
    ----------
    name
        Name of the thread.

    Returns
    -------
    Future
        Takes the call's result or exception, of any kind.
    """
    future: Future[T] = Future()
    threading.Thread(target=settle, args=(future, call), name=name, daemon=True).start()
    return future


def wait(future: Future[T], timeout_s: float) -> T:
    """Return a call's result, or raise its exception.

    Parameters
    ----------
    timeout_s
        Maximum wait, s; zero or less: do not wait.

    Raises
    ------
    CallTimeout
        The call has not returned yet. Its thread goes on.
    """
    if not futures.wait([future], max(timeout_s, 0.0)).done:
        raise CallTimeout(f"no answer in {timeout_s:g} s")
    return future.result()


def within(timeout_s: float, call: Callable[[], T], *, name: str = "call") -> T:
    """Run a call in a daemon thread, and wait for its result.

    Parameters
    ----------
    timeout_s
        Maximum wait, s.
    name
        Name of the thread.

    Raises
    ------
    CallTimeout
        The call has not returned in time. Its thread goes on, and the call may still take effect.
    """
    return wait(start(call, name=name), timeout_s)


def settle(future: Future[T], call: Callable[[], T]) -> None:
    """Run a call, and give a future its result or exception."""
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - raised again where the future is waited for
        future.set_exception(error)
