"""The map of an embedding as a page: the picture, and its content as tables. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from detector.core.shard.embedding_map import EmbeddingMap
from detector.rendering.maps.svg import svg
from detector.rendering.maps.words import said_of_map, tables_of
from detector.rendering.pages import document, table

STYLE = (
    "h2{font-size:1.15em}svg{max-width:100%;height:auto}table{font-size:13px}"
    "td,th{padding:2px 14px 2px 0;text-align:left;vertical-align:top}thead th{border-bottom:1px solid #999}"
)


def page(drawn: EmbeddingMap, source: str) -> str:
    """A page with the picture, what it keeps of the truth, and the same content as tables.

    Parameters
    ----------
    source
        Topic and partition, which name events and the page.
    """
    told = "".join(f"<li>{escape(line)}</li>" for line in said_of_map(drawn))
    title = f"Map of the embedding, {source}"
    tables = "".join(titled(name, head, rows) for name, head, rows in tables_of(drawn, source))
    return document(title, title, f"{svg(drawn, source)}<ul>{told}</ul>{tables}", STYLE)


def titled(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with a heading."""
    return f"<h2>{escape(title)}</h2>{table(head, rows)}"
