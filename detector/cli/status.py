"""`status`: what a running service does, and what drifts."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Annotated

import typer

from detector.cli.common import ConfigPath, Overrides, load_config, out


def status(
    config: ConfigPath,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where the service's pages are; else http.address of this machine.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    set_: Overrides = None,
) -> None:
    """Show what a running service does: its partitions, warnings, and what drifts.

    Exit code 0: it is ready. 3: it is not, or nobody answers.
    """
    from detector.wiring.status import service_status

    found = service_status(load_config(config, set_), os.environ, url)
    if as_json:
        out.print(json.dumps(asdict(found), indent=2), markup=False, highlight=False, soft_wrap=True)
    else:
        lines = [("ready" if found.ready else f"not ready: {found.reason}")]
        lines += [
            f"partition {line.partition}: {line.state}{': ' if line.reason else ''}{line.reason}"
            for line in found.partitions
        ]
        lines += [f"warning: {warning}" for warning in found.warnings]
        lines += [f"drift: {sentence}" for sentence in found.drift] or ["no drift"]
        for line in lines:
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    if not found.ready:
        raise typer.Exit(3)
