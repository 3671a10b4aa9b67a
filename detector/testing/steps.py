"""Steps into the world, at which a hook may end the process or let one call fail."""

from __future__ import annotations

from collections.abc import Callable

Hook = Callable[[str], None]

STEPS = (
    "poll:before",
    "partitions_count",
    "committed",
    "beginning",
    "start",
    "log_end",
    "commit:before",
    "put:before",
    "get",
    "list",
    "delete",
    "side:refresh",
    "side:beginning",
    "side:log_end",
    "side:read",
)
"""What hooks are called with before something is done."""

STEPS_AFTER = ("poll:after", "commit:after", "put:after")
"""What hooks are called with once it is done, but not answered yet."""


def no_hook(step: str) -> None:
    """Let everything pass."""
