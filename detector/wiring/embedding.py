"""`detector embedding map`: a map of the embedding in a partition's newest checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.config.tree import Config
from detector.core.events import Parser
from detector.core.shard.embedded import Embedded
from detector.core.shard.embedding_map import Anchors, EmbeddingMap, Wanted, anchors, embedding_map
from detector.errors import ConfigError, NeedsOperator, Problem
from detector.rendering.maps import Method, layout_of, read_before
from detector.shell.auditor import Auditor
from detector.wiring.audit import ReplayFiles, auditing, check_partition
from detector.wiring.similar import embedded_in, no_model

MAP_BYTES_MAX = 64 << 20
PREVIOUS = "previous"


@dataclass(frozen=True, kw_only=True, slots=True)
class MapWanted:
    """What a map shows beside the clusters."""

    partition: int = 0
    start: float = -math.inf  # event times of alerts, s since the epoch
    end: float = math.inf
    entity: str | None = None  # value of the main entity whose path is drawn
    before: str | None = None  # a map, a checkpoint, or `PREVIOUS`
    method: Method = "pca"


def draw_map(
    config: Config, environ: Mapping[str, str], wanted: MapWanted, files: ReplayFiles | None
) -> tuple[EmbeddingMap, str]:
    """Map the embedding in a partition's newest checkpoint.

    Returns
    -------
    tuple
        The map, and topic and partition.

    Raises
    ------
    UsageError
        The packages of the method are missing.
    ConfigError
        There is no such partition or entity, or the map before cannot be read.
    NeedsOperator
        There is no checkpoint, or no model in it, or the one before is gone.
    OutsideError
        Kafka or the store is not available.
    """
    method, layout = layout_of(wanted.method)
    with auditing(config, environ, files) as (auditor, archive):
        check_partition(wanted.partition, archive.partitions_count())
        restored = auditor.restored(wanted.partition)
        embedded = embedded_in(restored)
        made, _ = embedding_map(
            embedded,
            asked(restored.partition.parser, wanted.start, wanted.end, wanted.entity),
            name=restored.name,
            before=_before(auditor, wanted),
            method=method,
            layout=layout,
        )
    return made, f"{config.topics.transactions}-{wanted.partition}"


def asked(parser: Parser, start: float, end: float, entity: str | None) -> Wanted:
    """What the core is asked to show.

    Raises
    ------
    ConfigError
        The schema has no entity, or the value means that it is missing.
    """
    if entity is None:
        return Wanted(start=start, end=end)
    main = next(iter(parser.schema.entities), None)
    hashed = parser.main_hash(entity)
    if main is None or not hashed:
        allowed = "a value of the main entity" if main else "no entity: the schema has none"
        raise ConfigError("command line", [Problem(path="--entity", value=entity, allowed=allowed)])
    return Wanted(start=start, end=end, entity=hashed, shown_as=f"{main.name} {entity}")


def _before(auditor: Auditor, wanted: MapWanted) -> Anchors | None:
    """What the map is turned by."""
    if wanted.before is None:
        return None
    file, placed = Path(wanted.before), None
    name = auditor.predecessor(wanted.partition) if wanted.before == PREVIOUS else wanted.before
    if file.is_file():
        with file.open("rb") as opened:
            read = read_before(opened.read(MAP_BYTES_MAX).decode(errors="replace"))
        if read is None or not read[0]:
            allowed = "a map of this command (.html or .svg), the name of a checkpoint, or previous"
            raise ConfigError("command line", [Problem(path="--before", value=str(file), allowed=allowed)])
        name, placed = read
    embedded = embedded_of(auditor, wanted.partition, name)
    if placed is not None and len(placed) == len(embedded.space.clusters):
        return anchors(embedded, name, np.array(placed, dtype=np.float64).reshape(-1, 2))
    method, layout = layout_of(wanted.method)
    return embedding_map(embedded, Wanted(), name=name, method=method, layout=layout)[1]


def embedded_of(auditor: Auditor, partition: int, name: str) -> Embedded:
    """The embedding in a checkpoint.

    Raises
    ------
    NeedsOperator
        There is no such checkpoint, or no model in it.
    """
    model, state = auditor.checkpoint(partition, name)
    if not state["served"]:
        raise NeedsOperator(no_model(name))
    return Embedded.of_state(model, state)
