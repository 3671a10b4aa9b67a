"""Waiting with patience: a limit ends a test that hangs, and says nothing about speed."""

from __future__ import annotations

import time
from collections.abc import Callable

_POLL_INTERVAL_S = 0.02


def poll_until(condition: Callable[[], bool], *, timeout_s: float) -> bool:
    """Return True as soon as the condition holds, False when it has not within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_INTERVAL_S)
    return True
