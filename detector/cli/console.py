"""`console`: pages where analysts work, and who gets in."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from detector.cli.common import ConfigPath, Overrides, load_config, out, wrong


class Role(StrEnum):
    """What somebody may do."""

    VIEWER = "viewer"
    ANALYST = "analyst"
    LEAD = "lead"


def console(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="Configuration file (YAML).", show_default=False),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Show the outputs of a replay (alerts, case updates, receipts), without Kafka.",
            show_default=False,
        ),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Show alerts to analysts in a browser, and take their answers.

    A process of its own beside the service: it reads the topics of alerts, case updates, feedback and
    receipts, and writes to that of feedback alone. It listens on this machine only, unless console.address
    says otherwise. It stops at SIGTERM or SIGINT.
    """
    if context.invoked_subcommand is not None:
        return
    from detector.wiring.console import console as serve

    if config is None:
        raise wrong("--config", "nothing", "a configuration file")
    serve(load_config(config, set_), os.environ, replay)


def token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who: the actor of their answers.")],
    config: ConfigPath,
    role: Annotated[
        Role, typer.Option(help="viewer sees, analyst answers, lead also erases and answers in bulk.")
    ] = Role.ANALYST,
    set_: Overrides = None,
) -> None:
    """Make a token with which somebody logs in, and print it: once, as only its hash is kept.

    An earlier token of the name ends, with its log-ins. To take somebody's token away, delete their line in
    the file console.tokens.
    """
    from detector.wiring.console import console_token

    made = console_token(load_config(config, set_), name, role.value)
    out.print(made, markup=False, highlight=False)
