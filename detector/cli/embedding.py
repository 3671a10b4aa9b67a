"""`embedding map` and `embedding report`: the learned embedding, seen and judged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from detector.cli.common import ConfigPath, Overrides, creating, err, load_config, out, read_span, wrong
from detector.cli.looking_back import Events, Feedback, Folder, replay_files


def map_(
    config: ConfigPath,
    output: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FILE", help="A page (.html), a picture (.svg, .png), or data (.json)."
        ),
    ] = Path("map.html"),
    partition: Annotated[int, typer.Option(metavar="N", min=0, help="Partition.")] = 0,
    entity: Annotated[
        str | None,
        typer.Option(metavar="VALUE", help="Main entity whose path is drawn.", show_default=False),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="First event time of alerts.", show_default=False),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="TIME", help="Last event time of alerts.", show_default=False),
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(
            metavar="MAP",
            help="Turn it to lie as this map, as that of this checkpoint, or of the previous one.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[str, typer.Option(metavar="NAME", help="pca, tsne or umap.")] = "pca",
    events: Events = None,
    feedback: Feedback = None,
    checkpoint_dir: Folder = None,
    set_: Overrides = None,
) -> None:
    """Draw the learned embedding in two dimensions, from a partition's newest checkpoint.

    Clusters of normal events by size and age, alerts, confirmed frauds, one
    entity's path, and how far the picture can be trusted.
    """
    from detector.rendering import maps
    from detector.wiring.embedding import MapWanted, draw_map

    settings = load_config(config, set_)
    if method not in maps.METHODS:
        raise wrong("--method", method, maps.METHOD_NAMES)
    if output.suffix not in maps.FILES:
        raise wrong("--out", str(output), f"a name that ends in {', '.join(maps.FILES)}")
    start, end = read_span(from_, to)
    drawn, source = draw_map(
        settings,
        os.environ,
        MapWanted(
            partition=partition,
            start=start,
            end=end,
            entity=entity,
            before=before,
            method=method,
        ),
        replay_files(events, feedback, checkpoint_dir),
    )
    body = maps.map_file(drawn, source, output.suffix)
    with creating("--out", output) as file:
        file.write(body)
    for line in (str(output), *maps.said_of_map(drawn)):
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def report(
    config: ConfigPath,
    output: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="A page (.html) or JSON (.json); else printed.", show_default=False
        ),
    ] = None,
    partition: Annotated[int, typer.Option(metavar="N", min=0, help="Partition.")] = 0,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="V1 V2",
            help="Say what changed between these two: versions of the encoder, or checkpoints.",
            show_default=False,
        ),
    ] = None,
    events: Events = None,
    feedback: Feedback = None,
    checkpoint_dir: Folder = None,
    set_: Overrides = None,
) -> None:
    """Judge the learned embedding, from a partition's newest checkpoint.

    How much of the space is used, what neighbours have in common, what each
    field moves, how well frauds are told, and what is wrong, by name. It is
    kept beside the checkpoint, as the report of the version that serves.
    """
    from detector import rendering
    from detector.wiring.embedding_reports import judge

    kinds = (".json",) if compare else (".html", ".json")
    if output is not None and output.suffix not in kinds:
        raise wrong("--out", str(output), f"a name that ends in {' or '.join(kinds)}")
    settings, files = load_config(config, set_), replay_files(events, feedback, checkpoint_dir)

    def said(sentence: str) -> None:
        err.print(sentence, markup=False, highlight=False)

    found = judge(settings, os.environ, partition, compare or (), files, said)
    if compare:
        first, second = found
        lines, text = rendering.compared_lines(first, second), rendering.compared_json(first, second)
    else:
        lines = rendering.report_lines(found[0])
        source = f"{settings.topics.transactions}-{partition}"
        html = output is not None and output.suffix == ".html"
        text = rendering.report_page(found[0], source) if html else rendering.report_json(found[0])
    if output is not None:
        with creating("--out", output) as file:
            file.write(text.encode())
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
