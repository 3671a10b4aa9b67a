"""Blocking calls that a stop does not wait for, and the heartbeat.

A stop takes `STOP_S` at most, whatever the broker and the store do. So each call that they can block runs in
a background thread. A call that is still running when the stop's time is up is left behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from math import inf
from typing import TypeVar

from detector.core.reporting.telemetry import Telemetry
from detector.ports import Clock
from detector.shell import calls

T = TypeVar("T")

STOP_S = 8.0  # from the request to the end; a supervisor commonly waits 10 s before it kills
LEAVE_S = 5.0  # the part of it for leaving the group; `Stream.close` and `SideLog.close` keep to it
PATIENCE_S = 600.0  # for a long call of our own: half a minute of work on a hundredth of a core takes longer
LOOK_S = 0.05  # maximum delay until a stop is noticed during a call


class Stopped(Exception):
    """A blocking call missed the shutdown deadline, or was not begun because of it."""


class StoppableCalls:
    """Blocking calls until a stop; also the stop itself, and the heartbeat.

    Parameters
    ----------
    clock, telemetry
        Time, and where the heartbeat is kept.
    """

    def __init__(self, clock: Clock, telemetry: Telemetry) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._stopping = threading.Event()
        self.deadline_s = inf  # monotonic; after a stop: when the last call must have returned

    @property
    def stopping(self) -> bool:
        """Whether a stop was requested."""
        return self._stopping.is_set()

    @property
    def overdue(self) -> bool:
        """Whether a stop has no time left for calls."""
        return self._clock.monotonic() >= self.deadline_s

    def stop(self) -> None:
        """Request a stop; safe from threads and signal handlers."""
        if not self.stopping:
            self.deadline_s = self._clock.monotonic() + STOP_S - LEAVE_S
        self._stopping.set()

    def beat(self) -> None:
        """Update the heartbeat."""
        self._telemetry.heartbeat = self._clock.monotonic()

    def begin(self, call: Callable[[], T]) -> Future[T]:
        """Run a call in a background thread.

        Raises
        ------
        Stopped
            A stop has no time left for it.
        """
        self.beat()
        if self.overdue:
            raise Stopped("a stop left no time for this call")
        return calls.start(call)

    def wait(self, future: Future[T]) -> T:
        """Wait for a call's result.

        Raises
        ------
        Stopped
            The call missed the shutdown deadline, and so will all later ones. It goes on in its thread; the
            stream or store that it was made on can only be closed now.
        """
        while not futures.wait([future], LOOK_S).done:
            if self.overdue:
                raise Stopped("a call did not return before the shutdown deadline")
        self.beat()
        return future.result()

    def ask(self, call: Callable[[], T]) -> T:
        """Run a call in a background thread, and wait for its result.

        Raises
        ------
        Stopped
            As `begin` and `wait`.
        """
        return self.wait(self.begin(call))

    def ask_patiently(self, call: Callable[[], object]) -> None:
        """Run a long call of our own, until a stop. The heartbeat goes on for `PATIENCE_S`.

        After a stop, the call goes on in its thread.
        """
        began_s = self._clock.monotonic()
        future = self.begin(call)
        while not futures.wait([future], LOOK_S).done:
            if self.stopping:
                return
            if self._clock.monotonic() - began_s < PATIENCE_S:
                self.beat()
        future.result()

    def ask_unless_stopping(self, call: Callable[[], T]) -> T:
        """As `ask`, for calls that a stop makes useless.

        Raises
        ------
        Stopped
            A stop was requested, or as `ask`.
        """
        if self.stopping:
            raise Stopped("a stop was requested")
        return self.ask(call)
