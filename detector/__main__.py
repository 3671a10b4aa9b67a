"""`python -m detector` and `detector` are the command line."""

import sys
from typing import NoReturn

from detector.early_stop import leave_at_signals


def entry() -> NoReturn:
    """Run the command line. Signals are handled before anything is loaded."""
    leave_at_signals(sys.argv[1:])
    from detector.cli import entry as run_command

    run_command()


if __name__ == "__main__":
    entry()
