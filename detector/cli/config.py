"""`init-config`, `check-config` and `config-schema`."""

from __future__ import annotations

import json
import os
import shlex
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from detector.cli.common import EVENTS_HELP, Overrides, check_readable, creating, err, load_config, out
from detector.config.infer import infer, render
from detector.config.load import effective
from detector.config.schema import json_schema
from detector.config.secrets import missing_here


def init_config(
    events: Annotated[str, typer.Option(help=f"A sample of your events. {EVENTS_HELP}")],
    id: Annotated[str | None, typer.Option(help="Field with the event's id.")] = None,
    time: Annotated[str | None, typer.Option(help="Field with the event's time.")] = None,
    entity: Annotated[
        list[str] | None, typer.Option(help="Field with an entity; give the main one first.")
    ] = None,
    out_: Annotated[
        Path | None, typer.Option("--out", help="File to write, instead of standard output.")
    ] = None,
) -> None:
    """Write a commented configuration for a sample of events."""
    from detector.shell.files import Source, describe, read_events

    check_readable(events)
    with closing(Source(events)) as source:
        if note := describe(source):
            err.print(note)
        with closing(read_events(source)) as lines:
            text = render(infer(lines, id=id, time=time, entities=entity or ()))
    with creating("--out", out_) as file:
        file.write(text.encode())
    if out_ is None or str(out_) == "-":
        return
    err.print(
        f"written to {out_}; try it:  detector replay --config {out_} --events {shlex.quote(events)} "
        "--alerts alerts.jsonl"
    )


def check_config(
    file: Annotated[Path, typer.Argument(help="Configuration file (YAML).")],
    effective_: Annotated[
        bool, typer.Option("--effective", help="Print all settings, defaults included.")
    ] = False,
    set_: Overrides = None,
) -> None:
    """Report all problems of a configuration at once.

    Secrets, files and packages that are missing on this machine are only
    warnings: the service often runs elsewhere.
    """
    from detector.shell.store import url_problem

    config = load_config(file, set_)
    missing = missing_here(config, os.environ)
    missing += filter(None, [url_problem(config.checkpoints.url)])
    for problem in missing:
        err.print(f"warning: not on this machine: {problem}")
    if effective_:
        sys.stdout.write(effective(config))
    else:
        out.print(f"{file}: valid (model {config.model_part(1).hash()})", markup=False, highlight=False)


def config_schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
