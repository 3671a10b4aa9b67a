"""The map of an embedding as a page: the picture, and its content as tables. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from detector.core.shard.embedding_map import EmbeddingMap
from detector.wiring.map_svg import FONT, svg
from detector.wiring.map_words import said_of_map, tables_of

STYLE = (
    f"body{{font-size:15px;line-height:1.45;{FONT};margin:2em auto;max-width:1000px;padding:0 1em;color:#111;"
    "background:#fff}h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}svg{max-width:100%;height:auto}"
    "table{border-collapse:collapse;font-size:13px}td,th{padding:2px 14px 2px 0;text-align:left;"
    "vertical-align:top}thead th{border-bottom:1px solid #999}"
)


def page(drawn: EmbeddingMap, source: str) -> str:
    """A page with the picture, what it keeps of the truth, and the same content as tables.

    Parameters
    ----------
    source
        Topic and partition, which name events and the page.
    """
    told = "".join(f"<li>{escape(line)}</li>" for line in said_of_map(drawn))
    tables = "".join(table(title, head, rows) for title, head, rows in tables_of(drawn, source))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>Map of the embedding, {escape(source)}</title><style>{STYLE}</style></head><body>"
        f"<h1>Map of the embedding, {escape(source)}</h1>{svg(drawn, source)}<ul>{told}</ul>{tables}"
        "</body></html>\n"
    )


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<h2>{escape(title)}</h2><table><thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table>"
