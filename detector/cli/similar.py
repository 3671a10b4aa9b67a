"""`detector similar`: what an event is near to."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detector.cli.common import ConfigPath, Overrides, load_config, out, wrong
from detector.cli.looking_back import Events, Feedback, Folder, replay_files

if TYPE_CHECKING:  # loads numba
    from detector.core.shard.space import Neighbour
    from detector.wiring.similar import Similar

FILE_BYTES_MAX = 16 << 20
_TITLES = {"normal": "normal behaviour", "frauds": "confirmed frauds", "recent": "recent events"}


def similar(
    config: ConfigPath,
    event: Annotated[
        str | None, typer.Option("--event", metavar="ID", help="Id of the event.", show_default=False)
    ] = None,
    alert: Annotated[
        str | None,
        typer.Option(
            "--alert", metavar="ID", help="Id of its alert: TOPIC-PARTITION-OFFSET.", show_default=False
        ),
    ] = None,
    offset: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Offset of the event; in a replay, its line from 0.", show_default=False
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", metavar="FILE", help="A new event, as it would come next.", show_default=False
        ),
    ] = None,
    partition: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Partition; else all for --event, 0 for --offset.", show_default=False
        ),
    ] = None,
    among: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND", help="What to search: normal, frauds, recent; else all.", show_default=False
        ),
    ] = None,
    k: Annotated[int, typer.Option("--k", metavar="N", min=1, max=1000, help="Neighbours of each kind.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    events: Events = None,
    feedback: Feedback = None,
    checkpoint_dir: Folder = None,
    set_: Overrides = None,
) -> None:
    """Find what an event is near to: normal behaviour, confirmed frauds, recent events.

    Searches the embedding of the partition's newest checkpoint, beside a
    running service. Distances are between embeddings.
    """
    from detector.core.shard.space import AMONG
    from detector.wiring import similar as search

    _check_named(event, alert, offset, file)
    settings = load_config(config, set_)
    if alert is not None:
        partition, offset = _coordinates(alert, settings.topics.transactions)
    for one in among or ():
        if one not in AMONG:
            raise wrong("--among", one, ", ".join(AMONG))
    found = search.similar(
        settings,
        os.environ,
        search.Wanted(offset=offset, event_id=event, record=None if file is None else _read(file)),
        partition=partition,
        among=[kind for kind in AMONG if not among or kind in among],
        count=k,
        files=replay_files(events, feedback, checkpoint_dir),
    )
    if as_json:
        sys.stdout.write(json.dumps(asdict(found)) + "\n")
        return
    _show(found, settings.topics.transactions)


def _check_named(*ways: object) -> None:
    named = sum(way is not None for way in ways)
    if named != 1:
        raise wrong("the event", f"{named} of these", "one of --event, --alert, --offset and --file")


def _coordinates(alert: str, topic: str) -> tuple[int, int]:
    from detector.core.labels.commands import place_of

    place = place_of(alert)
    if place is None or place.topic != topic:
        raise wrong("--alert", alert, f"an alert's id: {topic}-PARTITION-OFFSET")
    return place.partition, place.offset


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            record = opened.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise wrong("--file", str(file), f"a file that can be read ({error.strerror})") from None
    if len(record) > FILE_BYTES_MAX:
        raise wrong("--file", str(file), f"one event of at most {FILE_BYTES_MAX >> 20} MiB")
    return record


def _show(found: Similar, topic: str) -> None:
    event = "the event" if found.offset is None else f"{topic}-{found.partition}-{found.offset}"
    out.print(f"{event}, in the embedding of checkpoint {found.checkpoint}", markup=False, highlight=False)
    if not found.remembered:
        words = "          not in it: placed as if it came next, with what is known of its entities there"
        out.print(words, markup=False, highlight=False)
    if found.offset is not None and found.offset in found.values:
        out.print(f"          {_spelled(found.values[found.offset])}", markup=False, highlight=False)
    for kind, near in found.near.items():
        out.print(f"\n{_TITLES[kind]}", markup=False, highlight=False)
        if not near:
            out.print("  none", markup=False, highlight=False)
        for one in near:
            for line in _lines(one, found, topic):
                out.print(line, markup=False, highlight=False)


def _lines(one: Neighbour, found: Similar, topic: str) -> list[str]:
    """What is shown of a neighbour; the first line names it."""
    if one.cluster is not None:
        lines = [f"{one.distance:8.3f}  cluster {one.cluster}, {one.events:,} events of the sample"]
    else:
        said = "".join(f", {word}" for word in one.said)
        time = "" if one.time is None else f", {datetime.fromtimestamp(one.time, UTC):%Y-%m-%d %H:%M} UTC"
        lines = [f"{one.distance:8.3f}  {topic}-{found.partition}-{one.offset}{time}{said}"]
    told = []
    if one.ranges:
        told.append(
            "usually " + ", ".join(f"{name} {a:.4g} to {b:.4g}" for name, (a, b) in one.ranges.items())
        )
    if one.offset is not None and one.offset in found.values:
        told.append(_spelled(found.values[one.offset]))
    if one.together:
        told.append(f"near by {', '.join(one.together)}")
    if one.apart:
        told.append(f"apart by {', '.join(one.apart)}")
    return lines + [f"          {line}" for line in told]


def _spelled(values: Mapping[str, Any]) -> str:
    """Values of an event in a line, without those that are missing."""
    return ", ".join(
        f"{name} {value:.10g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
        if value is not None
    )
