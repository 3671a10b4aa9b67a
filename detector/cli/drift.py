"""`drift report`: what has changed in the stream, as a page and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detector.cli.common import ConfigPath, Overrides, load_config, read_span, write_report


def report(
    config: ConfigPath,
    output: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The page; JSON is written beside it.")
    ] = Path("drift.html"),
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="First event time.", show_default=False),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="TIME", help="Last event time.", show_default=False),
    ] = None,
    checkpoint_dir: Annotated[
        Path | None,
        typer.Option("--checkpoint-dir", metavar="FOLDER", help="Folder of a replay.", show_default=False),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Write what has changed in the stream, from the newest checkpoints.

    The last 14 days by the hour, and the last window of events by bins.
    """
    from detector import rendering
    from detector.wiring.drift_report import drift_report

    settings = load_config(config, set_)
    start, end = read_span(from_, to)
    found = drift_report(settings, folder=checkpoint_dir, start=start, end=end)
    said = (
        f"partition {part['partition']}: {sentence}"
        for part in found["partitions"]
        for sentence in part["sentences"]
    )
    write_report(output, rendering.drift_page(found), found, said)
