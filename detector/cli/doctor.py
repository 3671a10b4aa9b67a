"""`doctor`: finds what hides outputs, and ends it."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from detector.cli.common import ConfigPath, Overrides, load_config, out
from detector.errors import NeedsOperator

MENDED = (
    "members that are alive end their own, the rest needs READ on __transaction_state or an operator "
    "(kafka-transactions.sh)"
)


def doctor(
    config: ConfigPath,
    mend: Annotated[
        bool, typer.Option("--mend", help="End them, also open ones of members that are gone.")
    ] = False,
    set_: Overrides = None,
) -> None:
    """Find hanging transactions, which hide outputs from consumers.

    Consumers that read committed records see nothing behind an open transaction of the group.

    Exit code 0: nothing hangs, or all of it was ended. 2: not allowed. 3: something still hangs.
    """
    from detector import wiring

    found = wiring.diagnose(load_config(config, set_), os.environ, mend=mend)
    for id_ in found.fenced:
        out.print(f"ended: open transaction of a member that is gone: {id_}", markup=False, highlight=False)
    for one in found.hanging:
        out.print(f"{'ended' if one in found.ended else 'hangs'}: {one}", markup=False, highlight=False)
    if not found.hanging:
        out.print("no transaction hangs", highlight=False)
    if found.left:
        advice = MENDED if mend else "--mend ends them"
        raise NeedsOperator(f"{len(found.left)} partitions have a hanging transaction; {advice}")
