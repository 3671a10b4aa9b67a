"""SIGTERM and SIGINT before a service runs: while it loads its libraries, for seconds on a busy machine.

Nothing is open yet, so the process ends at once, with code 0 as after any other stop. Without a handler its
supervisor would see a failure, and process 1 of a container would ignore the signal.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from types import FrameType

COMMANDS = frozenset({"run"})  # a stop of these is their usual end; others end as any program does


def leave_at_signals(arguments: Sequence[str]) -> None:
    """End the process at the first signal, until the service sets handlers of its own.

    Parameters
    ----------
    arguments
        Of the command line, without the program's name.
    """
    if COMMANDS.intersection(arguments[:1]):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(0)
