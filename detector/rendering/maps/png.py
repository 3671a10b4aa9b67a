"""The map of an embedding as PNG, the extra `notebook` (matplotlib). The picture is that of `svg`."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from detector.config.extras import install
from detector.core.shard.embedding_map import Dot, EmbeddingMap
from detector.errors import UsageError
from detector.rendering.maps.svg import ALERT, FRAUD, LARGEST, PATH, SMALLEST, Frame
from detector.rendering.maps.words import AGES, age_limits, age_of, by_size, duration, kept

DPI = 110
_POINT = 72.0 / 96.0  # of a px
_TEXT_MAX = 40


def png(drawn: EmbeddingMap, source: str) -> bytes:
    """The picture, the same bytes for the same map.

    Raises
    ------
    UsageError
        matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(f"matplotlib is not installed: {install('notebook')}") from None
    figure = Figure(figsize=(10.5, 6.8), layout="constrained")
    axes = figure.subplots()
    ages, most = age_limits(drawn.clusters), max(one.events for one in drawn.clusters)
    for n, colour in enumerate(AGES):
        own = [one for one in by_size(drawn.clusters) if age_of(one, ages) == n]
        radii = [SMALLEST + (LARGEST - SMALLEST) * math.sqrt(one.events / most) for one in own]
        axes.scatter(
            [one.x for one in own],
            [one.y for one in own],
            s=[(2.0 * radius * _POINT) ** 2 for radius in radii],
            color=colour,
            alpha=0.8,
            edgecolor="#444",
            linewidth=0.3,
            label="younger clusters" if n == 0 else f"over {duration(ages[n - 1])}",
        )
    _dots(axes, drawn.path, label=_plain(drawn.path_of), marker="s", color=PATH, line=True)
    _dots(axes, drawn.alerts, label=f"alerts: {len(drawn.alerts):,}", marker="^", color=ALERT)
    _dots(axes, drawn.frauds, label=f"confirmed frauds: {len(drawn.frauds):,}", marker="x", color=FRAUD)
    frame = Frame.around(drawn)
    axes.set_xlim(frame.left, frame.left + frame.width)
    axes.set_ylim(frame.bottom, frame.bottom + frame.height)
    axes.set_aspect("equal")
    axes.set_title(_plain(f"Map of the embedding, {source}"), loc="left", fontsize="medium")
    axes.set_xlabel("; ".join(kept(drawn)), fontsize="small")
    legend = axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")
    handles: list[Any] = legend.legend_handles
    for handle in handles:  # each as large as the others, whatever the first cluster's size is
        handle.set_sizes([40.0])
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=DPI, metadata={"Software": None})
    return written.getvalue()


def _dots(axes: Any, dots: Sequence[Dot], *, label: str, marker: str, color: str, line: bool = False) -> None:
    if not dots:
        return
    xs, ys = [dot.x for dot in dots], [dot.y for dot in dots]
    if line:
        axes.plot(xs, ys, color=color, linewidth=1.0, zorder=3)
    edge = {} if marker == "x" else {"edgecolor": "white", "linewidth": 0.6}
    axes.scatter(xs, ys, marker=marker, color=color, s=36, zorder=4, label=label, **edge)


def _plain(text: str) -> str:
    """matplotlib would take what is between dollar signs for a formula."""
    return text[:_TEXT_MAX].replace("$", r"\$")
