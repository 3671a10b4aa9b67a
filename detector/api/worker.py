"""`python -m detector.api.worker`: the child process of `detector.api.apart`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Answer requests on the standard input. What the libraries print goes to the standard error."""
    from detector.api.apart import serve

    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin.buffer, replies)


if __name__ == "__main__":
    main()
