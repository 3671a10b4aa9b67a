"""The format of checkpoints, and how the state of an earlier one is brought to it.

A change of the state that `load` cannot read as it is raises `FORMAT` by one and adds a step to `STEPS`, with
a checkpoint of the format before it in tests/data/checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from detector.errors import NeedsOperator

FORMAT = 1

BEGIN = "`detector checkpoint begin` to go on there with a new model"
"""What helps where a committed offset is right, and what was committed with it cannot be used."""

Step = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Turns a state of one format into one of the next format."""

STEPS: dict[int, Step] = {}
"""By the format that a step reads; FORMAT 1 is the first, so there is none yet."""


def check_format(number: int, name: str) -> None:
    """Check that this version reads the format of a checkpoint with this name.

    Raises
    ------
    NeedsOperator
        It does not.
    """
    oldest = min(STEPS, default=FORMAT)
    if not oldest <= number <= FORMAT:
        known = f"format {FORMAT}" if oldest == FORMAT else f"formats {oldest} to {FORMAT}"
        raise NeedsOperator(
            f"checkpoint {name} has format {number}, this version reads {known}: run the version that wrote "
            f"it, or stop all members and run {BEGIN}"
        )


def upgrade(state: Mapping[str, Any], from_format: int, name: str) -> Mapping[str, Any]:
    """Bring the state of a checkpoint with this name to the current format.

    Raises
    ------
    NeedsOperator
        This version does not know `from_format`.
    """
    check_format(from_format, name)
    for number in range(from_format, FORMAT):
        state = STEPS[number](state)
    return state
