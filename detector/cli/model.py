"""`model`: the versions of the learned encoder, their cards, and which of them serves."""

from __future__ import annotations

import getpass
import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from detector.cli.common import ConfigPath, Overrides, creating, load_config, out, read_moment, wrong
from detector.cli.feedback import send_records
from detector.cli.looking_back import Events, Feedback, Folder, replay_files

CARDS = (".md", ".json")

Version = Annotated[int | None, typer.Argument(metavar="[V]", min=1, help="Version.", show_default=False)]
Every = Annotated[
    int | None,
    typer.Option("--partition", metavar="N", min=0, help="Partition; else all.", show_default=False),
]
Actor = Annotated[
    str | None, typer.Option("--actor", metavar="NAME", help="Who asks; else the user.", show_default=False)
]
Wait = Annotated[float, typer.Option("--wait", metavar="S", min=0, help="Seconds to wait for receipts.")]
To = Annotated[
    Path | None,
    typer.Option(
        "--to", metavar="FILE", help="Append it to the feedback file of a replay.", show_default=False
    ),
]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="Of --to: event time when it begins.", show_default=False),
]


def list_(
    config: ConfigPath,
    partition: Every = None,
    json_: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    events: Events = None,
    feedback: Feedback = None,
    checkpoint_dir: Folder = None,
    set_: Overrides = None,
) -> None:
    """List the versions of the encoder that are kept, from the newest checkpoint of each partition.

    Which one serves, what it has learned from, and how it was judged when it
    was promoted.
    """
    from detector import rendering
    from detector.wiring.model import list_versions

    files = replay_files(events, feedback, checkpoint_dir)
    listed = list_versions(load_config(config, set_), os.environ, partition, files)
    if json_:
        out.print_json(json.dumps([rendering.versions_json(*one) for one in listed]))
        return
    for one in listed:
        title = f"partition {one.partition}, checkpoint {one.checkpoint}"
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for name in rendering.VERSION_COLUMNS:
            table.add_column(name, justify="right" if name in ("version", "steps") else "left")
        for row in rendering.version_rows(one.found):
            table.add_row(*map(Text, row))
        out.print(table)
        for line in rendering.said_of_versions(one.found):
            out.print(line, markup=False, highlight=False)


def show(
    config: ConfigPath,
    version: Version = None,
    partition: Annotated[int, typer.Option(metavar="N", min=0, help="Partition.")] = 0,
    card: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write it: .md or .json; else printed.", show_default=False),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Ed25519 key that signs the card: FILE.sig beside it.", show_default=False
        ),
    ] = None,
    events: Events = None,
    feedback: Feedback = None,
    checkpoint_dir: Folder = None,
    set_: Overrides = None,
) -> None:
    """Show the card of a version; without one, of that which serves.

    What it has learned from, how it was judged, what labels say of it now,
    known limits, configuration and checksums.
    """
    from detector import rendering
    from detector.shell.signature import sign
    from detector.wiring.model import card_of

    if card is not None and card.suffix not in CARDS:
        raise wrong("--card", str(card), f"a name that ends in {' or '.join(CARDS)}")
    if key is not None and card is None:
        raise wrong("--key", str(key), "a card to sign: --card FILE")
    settings, files = load_config(config, set_), replay_files(events, feedback, checkpoint_dir)
    made = card_of(settings, os.environ, partition, version, files)
    source = f"{settings.topics.transactions}-{partition}"
    as_json = card is not None and card.suffix == ".json"
    body = (rendering.card_json if as_json else rendering.card_markdown)(made, source).encode()
    if card is None:
        out.print(body.decode(), markup=False, highlight=False, soft_wrap=True)
        return
    written = [(card, body)]
    if key is not None:
        written.append((card.with_name(f"{card.name}.sig"), sign(body, key)))
    for path, content in written:
        with creating("--card", path) as file:
            file.write(content)
        out.print(str(path), markup=False, highlight=False, soft_wrap=True)


def hold(
    config: ConfigPath,
    partition: Every = None,
    actor: Actor = None,
    wait: Wait = 0.0,
    to: To = None,
    at: At = None,
    set_: Overrides = None,
) -> None:
    """Go on with the encoder that serves: new ones are learned, and not promoted.

    It is asked for by a feedback record, so a replay does the same.
    """
    _ask("hold", None, config, partition, actor, wait, to, at, set_)


def promote(
    config: ConfigPath,
    version: Version = None,
    partition: Every = None,
    actor: Actor = None,
    wait: Wait = 0.0,
    to: To = None,
    at: At = None,
    set_: Overrides = None,
) -> None:
    """Promote new encoders again; with a version, that one serves.

    It lifts a hold. A version belongs to one partition: name it.
    """
    _ask("promote", version, config, partition, actor, wait, to, at, set_)


def rollback(
    config: ConfigPath,
    version: Version = None,
    partition: Every = None,
    actor: Actor = None,
    wait: Wait = 0.0,
    to: To = None,
    at: At = None,
    set_: Overrides = None,
) -> None:
    """Let an older encoder serve, and hold it; without a version the one before.

    Its clusters are made anew from the newest normal events. Profiles, budget,
    cases and labels stay.
    """
    _ask("rollback", version, config, partition, actor, wait, to, at, set_)


def _ask(
    action: str,
    version: int | None,
    config: Path,
    partition: int | None,
    actor: str | None,
    wait: float,
    to: Path | None,
    at: str | None,
    set_: list[str] | None,
) -> None:
    from detector.wiring.model import commands, partitions_of

    if version is not None and partition is None:
        raise wrong("--partition", "nothing", "the partition of the version: each has its own")
    settings, who = load_config(config, set_), {"actor": actor or getpass.getuser()}
    if to is None:
        if at is not None:
            raise wrong("--at", at, "nothing without --to: a running service follows at its next barrier")
        partitions = partitions_of(settings, os.environ, partition)
        records = commands(action, version, partitions)
        send_records(settings, [{**who, **record} for record in records], wait)
        return
    time = read_moment("--at", at)
    if time is None:
        raise wrong("--at", "nothing", "the event time from which on it counts")
    first = partition or 0
    [record] = commands(action, version, range(first, first + 1))
    line = json.dumps({**who, **record, "time": time})
    try:
        with to.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    except OSError as error:
        raise wrong("--to", f"{to} ({error.strerror or error})", "a file that can be written") from None
    out.print(line, markup=False, highlight=False, soft_wrap=True)
