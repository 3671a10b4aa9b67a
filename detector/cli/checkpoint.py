"""`checkpoint list`, `show`, `rollback`, `begin` and `export`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from detector.cli.common import (
    ConfigPath,
    EncoderOnly,
    Overrides,
    WarmStart,
    creating,
    err,
    load_config,
    out,
    warm_start_of,
)


def list_(config: ConfigPath, set_: Overrides = None) -> None:
    """List the group's checkpoints, oldest first."""
    from detector.wiring.checkpoints import checkpoints_place, list_checkpoints

    settings = load_config(config, set_)
    listed = list_checkpoints(settings)
    if not listed:
        out.print(f"nothing under {checkpoints_place(settings)}", markup=False, highlight=False)
        return
    row = "{:>9} {:>15} {:>15}  {:12}  {}"
    out.print(row.format("partition", "position", "bytes", "model", "name"), highlight=False)
    for found in listed:
        manifest = found.manifest
        facts: tuple[object, ...] = ("?", "?", "?", "damaged")
        if manifest is not None:
            facts = (
                manifest.partition,
                f"{manifest.position:,}",
                f"{manifest.state_bytes:,}",
                manifest.config,
            )
        out.print(row.format(*facts, found.name), markup=False, highlight=False)
        if found.problem:
            out.print(f"          {found.problem}", markup=False, highlight=False)


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of `checkpoint list`.")],
    config: ConfigPath,
    set_: Overrides = None,
) -> None:
    """Show one checkpoint: its position, its versions and the arrays in it."""
    from detector.wiring.checkpoints import show_checkpoint

    out.print_json(json.dumps(show_checkpoint(load_config(config, set_), name)))


def rollback(
    config: ConfigPath,
    partition: Annotated[int, typer.Option(metavar="N", min=0, help="Partition to roll back.")],
    to: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Checkpoint to take; else the one before the newest."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    set_: Overrides = None,
) -> None:
    """Give a partition the model of an older checkpoint. Stop all members of the group first.

    The committed offset stays: no event is scored again. What the model has
    learned since then is lost.
    """
    from detector.wiring.audit import roll_back

    settings = load_config(config, set_)
    if not yes:
        group, chosen = settings.kafka.group_id, to or "the checkpoint before the newest"
        question = f"Group {group}, partition {partition}: forget what was learned since {chosen}?"
        typer.confirm(question, abort=True, err=True)
    taken = roll_back(settings, os.environ, partition, to)
    out.print(f"partition {partition} continues with {taken}", markup=False, highlight=False)


def begin(
    config: ConfigPath,
    warm_start: WarmStart = None,
    encoder_only: EncoderOnly = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    set_: Overrides = None,
) -> None:
    """Let the group begin with new models at its committed offsets. Stop all members first.

    For offsets without a journal of this cluster: after a failover to a
    mirrored cluster, or where offsets were set by hand. No event before
    them is scored. What the group has learned is lost, but for a model
    file of `checkpoint export`.
    """
    from detector.wiring import audit

    settings = load_config(config, set_)
    group = settings.kafka.group_id
    if not yes:
        question = f"Group {group}: begin with new models at the committed offsets?"
        typer.confirm(question, abort=True, err=True)
    begun = audit.begin(settings, os.environ, warm_start_of(warm_start, encoder_only))
    which = "a new model" if warm_start is None else f"the model of {warm_start}"
    for partition, offset in begun.items():
        out.print(f"partition {partition} begins at {offset} with {which}", markup=False, highlight=False)
    if not begun:
        out.print(f"group {group} has committed nothing: nothing to do", markup=False, highlight=False)


def export(
    config: ConfigPath,
    out_: Annotated[Path, typer.Option("--out", metavar="FILE", help="Model file to write.")],
    partition: Annotated[
        int, typer.Option(metavar="N", min=0, help="Partition whose newest checkpoint is taken.")
    ] = 0,
    set_: Overrides = None,
) -> None:
    """Write a partition's model to a file, for `--warm-start`.

    Profiles, budget, cases and labels are left out. The file holds real
    events, without ids: protect it like a checkpoint.
    """
    from detector.wiring import checkpoints

    name, data = checkpoints.export(load_config(config, set_), partition)
    with creating("--out", out_) as file:
        file.write(data)
    err.print(f"{len(data):,} bytes of checkpoint {name}")
