"""`report bias`: how segments are treated, as a page and as JSON."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from detector.cli.common import (
    ConfigPath,
    Overrides,
    Since,
    check_readable,
    load_config,
    read_since,
    write_report,
    wrong,
)
from detector.cli.looking_back import Events, Folder, replay_files


def bias(
    config: ConfigPath,
    output: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The page; JSON is written beside it.")
    ] = Path("bias.html"),
    since: Since = None,
    events: Events = None,
    checkpoint_dir: Folder = None,
    scores: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Scores of that replay.", show_default=False)
    ] = None,
    receipts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Receipts of that replay.", show_default=False)
    ] = None,
    set_: Overrides = None,
) -> None:
    """Compare alerts, false alarms and scores of the segments of the stream.

    Segments are the fields with `use: segment`, which no model sees. Reads the topics of scores, receipts and
    transactions, or the files of a replay.
    """
    from detector import rendering
    from detector.fairness import sentences
    from detector.wiring.bias import BiasFiles
    from detector.wiring.bias import bias as compute

    settings = load_config(config, set_)
    replayed = replay_files(events, None, checkpoint_dir)
    if (replayed is None) != (scores is None):
        raise wrong(
            "--scores", str(scores or "nothing"), "--events, --checkpoint-dir and --scores of one replay"
        )
    for given in (scores, receipts):
        check_readable(given)
    files = None
    if replayed is not None and scores is not None:
        files = BiasFiles(replay=replayed, scores=scores, receipts=receipts)
    made = compute(settings, os.environ, files=files, since_s=read_since("--since", since))
    write_report(output, rendering.bias_page(made), made, sentences(made))
