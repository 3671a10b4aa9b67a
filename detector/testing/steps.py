"""Names of the calls into the world. A hook is called at each; what it raises goes through."""

from __future__ import annotations

from collections.abc import Callable

Hook = Callable[[str], None]
"""Called with the name of a step, maybe on another thread."""

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
"""Steps before a call takes effect."""

STEPS_AFTER = ("poll:after", "commit:after", "put:after")
"""Steps after a call has taken effect and before it returns."""


def no_hook(step: str) -> None:
    """Do nothing."""
