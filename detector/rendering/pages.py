"""What reports share: pages of HTML without a script, of which nothing is fetched, and JSON."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any

_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1000px;padding:0 1em;color:#111;"
    "background:#fff}h1{font-size:1.5em}h2{font-size:1.2em;margin-top:2em}"
    "h3{font-size:1em;margin:1.6em 0 .2em}table{border-collapse:collapse}"
)


def document(title: str, heading: str, body: str, style: str = "") -> str:
    """A page.

    Parameters
    ----------
    title, heading
        As texts; they are escaped.
    body
        What comes behind the heading, as HTML.
    style
        More CSS, which counts before that of all pages.
    """
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}{style}</style></head><body><h1>{escape(heading)}</h1>{body}</body></html>\n"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], flagged: Collection[int] = ()) -> str:
    """A table of texts, which are escaped; rows of these numbers are of the class `flagged`."""
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = []
    for number, row in enumerate(rows):
        mark = ' class="flagged"' if number in flagged else ""
        lines.append(f"<tr{mark}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>")
    return f"<table><thead><tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def plain(value: Any) -> Any:
    """A report's values as JSON has them: null for NaN."""
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
