"""The command line, one file per group of commands.

Exit codes: 0 done or stopped, 1 bug, 2 configuration or credentials, 3 needs an operator.
"""

from detector.cli.program import entry, main

__all__ = ["entry", "main"]
