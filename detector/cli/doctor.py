"""`doctor`: says what is wrong around the service, and how to mend it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.common import ConfigPath, Overrides, load_config, out

if TYPE_CHECKING:
    from detector.shell.finding import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


def doctor(
    config: ConfigPath,
    mend: Annotated[
        bool,
        typer.Option(
            "--mend",
            help="End hanging transactions, and open ones of members that are gone; may take a minute.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    set_: Overrides = None,
) -> None:
    """Look at everything around the service: a line each, with the way out.

    Names, connections, TLS, login, permissions, topics and their settings, limits and clock of the brokers,
    transactions that hide outputs, the checkpoint store, memory. Nothing is changed; one object is written
    to the checkpoint store and deleted. It ends within 10 s.

    Exit code 0: no error, perhaps warnings. 2: configuration, credentials or permissions. 3: something else
    that a person must resolve.
    """
    from detector.wiring.doctor import diagnose, exit_code

    findings = diagnose(load_config(config, set_), os.environ, mend=mend)
    code = exit_code(findings)
    if as_json:
        report = {"exit_code": code, "findings": [asdict(finding) for finding in findings]}
        out.print(json.dumps(report, indent=2), markup=False, highlight=False, soft_wrap=True)
    else:
        for finding in findings:
            _show(finding)
    raise typer.Exit(code)


def _show(finding: Finding) -> None:
    colour = _COLOURS[finding.verdict]
    out.print(f"{finding.verdict:<8}", style=colour, end="", markup=False, highlight=False)
    out.print(f"{finding.subject}: {finding.text}", markup=False, highlight=False)
    if finding.remedy is not None:
        out.print(f"        to do: {finding.remedy}", markup=False, highlight=False)
