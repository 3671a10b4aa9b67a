"""Signals before a service runs: while it loads its libraries, for seconds on a busy machine.

At SIGTERM and SIGINT nothing is open yet, so the process ends at once, with code 0 as after any other stop.
Without a handler its supervisor would see a failure, and process 1 of a container would ignore the signal.

SIGHUP asks for the configuration to be read again. Without a handler it would end the process. It is noted,
and the service reads its configuration as soon as it runs.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from types import FrameType

COMMANDS = frozenset({"run"})  # a stop of these is their usual end; others end as any program does
HANGUP = threading.Event()
"""Set by a SIGHUP that came before the service handled it."""


def leave_at_signals(arguments: Sequence[str]) -> None:
    """End the process at the first stop, and note a SIGHUP, until the service sets handlers of its own.

    Parameters
    ----------
    arguments
        Of the command line, without the program's name.
    """
    if COMMANDS.intersection(arguments[:1]):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _leave)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, lambda *_: HANGUP.set())


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(0)
