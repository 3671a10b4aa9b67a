"""`python -m detector` and `detector` are the command line."""

import gc
import sys
from typing import NoReturn

from detector.early_stop import leave_at_signals

OBJECTS_BETWEEN_COLLECTIONS = 10_000  # 700: looking for garbage while loading takes .1 s of CPU time more


def entry() -> NoReturn:
    """Run the command line. Signals are handled before anything is loaded."""
    leave_at_signals(sys.argv[1:])
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    from detector.cli import entry as run_command

    run_command()


if __name__ == "__main__":
    entry()
