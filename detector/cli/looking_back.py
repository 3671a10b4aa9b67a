"""`explain` and `checkpoint verify`: compute again what was done."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.common import (
    ConfigPath,
    Overrides,
    check_readable,
    err,
    inert,
    load_config,
    out,
    progress_bar,
    wrong,
)
from detector.errors import NeedsOperator

if TYPE_CHECKING:  # loads numba: at run time only in the commands that need it
    from detector.shell.auditor import Verified
    from detector.wiring.audit import ReplayFiles

PARTS_SHOWN = 10  # of a state that differs

Events = Annotated[
    str | None,
    typer.Option(
        "--events", metavar="FILE", help="Use a replay of this file instead of the topic.", show_default=False
    ),
]
Feedback = Annotated[
    str | None,
    typer.Option("--feedback", metavar="FILE", help="Feedback file of that replay.", show_default=False),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint-dir", metavar="FOLDER", help="Checkpoint folder of that replay.", show_default=False
    ),
]


def explain(
    config: ConfigPath,
    offset: Annotated[
        int, typer.Option(metavar="N", min=0, help="Offset of the event; in a replay, its line from 0.")
    ],
    partition: Annotated[int, typer.Option(metavar="N", min=0, help="Partition of the event.")] = 0,
    topic: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Topic, to check it against the configuration.", show_default=False
        ),
    ] = None,
    events: Events = None,
    feedback: Feedback = None,
    checkpoint_dir: Folder = None,
    set_: Overrides = None,
) -> None:
    """Compute an event again, from the checkpoint before it.

    Prints its alert, byte for byte as it was published. For an event without
    an alert, prints what an alert would have said, or why it was rejected.
    """
    from detector.wiring.audit import auditing, check_partition

    settings = load_config(config, set_)
    if topic is not None and topic != settings.topics.transactions:
        raise wrong("--topic", topic, f"the configured topic, {settings.topics.transactions}")
    files = replay_files(events, feedback, checkpoint_dir)
    with (
        auditing(settings, os.environ, files) as (auditor, archive),
        progress_bar("explain") as progress,
    ):
        check_partition(partition, archive.partitions_count())
        explained = auditor.explain(partition, offset, progress)
    score = "" if explained.score is None else f", score {explained.score:.4f}"
    if explained.threshold is not None and explained.threshold < inf:
        score += f", threshold {explained.threshold:.4f}"
    err.print(
        f"{settings.topics.transactions}-{partition}-{offset}: {explained.fate}{score}; "
        f"computed from {explained.origin or 'the beginning'}, {explained.replayed:,} offsets before it"
    )
    if explained.alert is not None:
        _write(explained.alert.body.decode())
    elif explained.rejected is not None:
        _write(explained.rejected.detail)


def verify(
    config: ConfigPath,
    partition: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Partition; else all.", show_default=False)
    ] = None,
    generations: Annotated[
        int,
        typer.Option(metavar="N", min=0, max=1000, help="Begin so many checkpoints before the newest one."),
    ] = 1,
    events: Events = None,
    feedback: Feedback = None,
    checkpoint_dir: Folder = None,
    set_: Overrides = None,
) -> None:
    """Replay from an earlier checkpoint and compare the state after every barrier.

    Exits with code 3 if a state differs. Reasons are another CPU, other
    library versions, or a bug.
    """
    from detector.wiring.audit import auditing, check_partition

    settings = load_config(config, set_)
    files = replay_files(events, feedback, checkpoint_dir)
    different = []
    with auditing(settings, os.environ, files) as (auditor, archive):
        if partition is not None:
            check_partition(partition, archive.partitions_count())
        for number in range(archive.partitions_count()) if partition is None else [partition]:
            if archive.committed(number) is None:
                out.print(f"partition {number}: nothing is committed", highlight=False)
                continue
            with progress_bar(f"partition {number}") as progress:
                verified = auditor.verify(number, generations=generations, progress=progress)
            for line in _verdict(verified):
                out.print(line, markup=False, highlight=False)
            if not verified.equal:
                different.append(number)
    if different:
        raise NeedsOperator(
            f"the state differs in partition {', '.join(map(str, different))}. Was it computed on another "
            "CPU or with other library versions (detector checkpoint show)? If not, please report a bug"
        )


def replay_files(events: str | None, feedback: str | None, folder: Path | None) -> ReplayFiles | None:
    """The files of a replay, as the options name them; None: the topic is meant."""
    from detector.wiring.audit import ReplayFiles

    if events is None and folder is None and feedback is None:
        return None
    if events is None or folder is None:
        missing = "--events" if events is None else "--checkpoint-dir"
        raise wrong(missing, "nothing", "both --events and --checkpoint-dir of a replay")
    for file in (events, feedback):
        check_readable(file)
    return ReplayFiles(events=events, feedback=feedback, folder=folder)


def _verdict(verified: Verified) -> Iterator[str]:
    """Summarise the verification of one partition."""
    for damage in verified.damages:
        yield f"partition {verified.partition}: could not be used: {damage}"
    unknown = sum(barrier.equal is None for barrier in verified.barriers)
    equal = sum(barrier.equal is True for barrier in verified.barriers)
    yield (
        f"partition {verified.partition}: {verified.start:,} to {verified.stop:,} from "
        f"{verified.origin or 'the beginning'}: {len(verified.barriers)} barriers, {equal} equal, "
        f"{len(verified.barriers) - equal - unknown} different, {unknown} without a recorded hash"
    )
    first = next((barrier for barrier in verified.barriers if barrier.equal is False), None)
    if first is not None:
        yield (
            f"  first at offset {first.position:,} (barrier caused by {first.cause!r}): "
            f"recorded {first.noted}, computed {first.found}"
        )
    for part in verified.differing[:PARTS_SHOWN]:
        yield f"  differs: {part}"
    if len(verified.differing) > PARTS_SHOWN:
        yield f"  and {len(verified.differing) - PARTS_SHOWN} more parts"


def _write(text: str) -> None:
    """Write a line to standard output: as it is to a file, inert to a terminal."""
    sys.stdout.write(f"{inert(text) if sys.stdout.isatty() else text}\n")
