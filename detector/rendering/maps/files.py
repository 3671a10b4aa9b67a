"""A map of an embedding as a file, by its ending."""

from __future__ import annotations

from dataclasses import asdict

import msgspec

from detector.core.shard.embedding_map import EmbeddingMap
from detector.rendering.maps.page import page
from detector.rendering.maps.png import png
from detector.rendering.maps.svg import svg
from detector.rendering.maps.words import said_of_map

FILES = (".html", ".svg", ".png", ".json")


def map_file(drawn: EmbeddingMap, source: str, suffix: str) -> bytes:
    """A map as a file: a page, a picture (.svg, .png), or its content as data (.json).

    Raises
    ------
    UsageError
        The packages for it are missing.
    """
    if suffix == ".png":
        return png(drawn, source)
    if suffix == ".json":
        return msgspec.json.encode({**asdict(drawn), "source": source, "said": list(said_of_map(drawn))})
    return (page(drawn, source) if suffix == ".html" else svg(drawn, source)).encode()
