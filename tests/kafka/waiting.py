"""Waiting in tests.

Limits here only end a test that hangs. They say nothing about how fast something is, so they are long: the
machine may be busy with other work.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 300.0
_POLL_INTERVAL_S = 0.02


def poll_until(
    condition: Callable[[], bool], *, timeout_s: float = PATIENCE_S, interval_s: float = _POLL_INTERVAL_S
) -> bool:
    """Return True as soon as the condition holds, False when it does not hold within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval_s)
    return True
