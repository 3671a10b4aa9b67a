"""Draws a dashboard from the answers of Prometheus, with the panels where Grafana puts them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

UNIT_IN = 0.28  # height of one unit of the grid
WIDTH_IN = 15.0
COLUMNS = 24
SERIES_MAX = 12  # with a name in the legend
DPI = 75
MARGIN = 0.012

Answers = Mapping[str, Sequence[tuple[str, Sequence[Mapping[str, Any]]]]]
"""By title of the panel: for each query its legend and its series."""


def draw(board: Mapping[str, Any], answers: Answers, began_s: float, file: Path) -> None:
    """Write a PNG of a dashboard."""
    places = [panel["gridPos"] for panel in board["panels"]]
    height = max(place["y"] + place["h"] for place in places)
    figure = plt.figure(figsize=(WIDTH_IN, height * UNIT_IN), facecolor="#f4f5f5")
    for panel in board["panels"]:
        place = panel["gridPos"]
        left, width = place["x"] / COLUMNS, place["w"] / COLUMNS
        bottom, tall = 1 - (place["y"] + place["h"]) / height, place["h"] / height
        if panel["type"] == "row":
            figure.text(
                left + MARGIN / 2, bottom + tall * 0.2, panel["title"], fontsize=12, fontweight="bold"
            )
            continue
        unit = 1 / height  # of the grid, as a share of the figure
        box = (left + MARGIN * 3, bottom + 1.9 * unit, width - MARGIN * 4, tall - 3.1 * unit)
        _panel(figure.add_axes(box), panel, answers[panel["title"]], began_s)
    figure.savefig(file, dpi=DPI)
    plt.close(figure)


def _panel(axes: Axes, panel: Mapping[str, Any], found: Any, began_s: float) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    axes.set_title(panel["title"], fontsize=8.5, loc="left", pad=4)
    lines = [
        (
            _name(legend, series["metric"]),
            [(float(at) - began_s, float(value)) for at, value in series["values"]],
        )
        for legend, answer in found
        for series in answer
    ]
    show = FuncFormatter(lambda value, _: _text(value, defaults["unit"]))
    if panel["type"] == "stat":
        axes.axis("off")
        shown = [
            (name, next((v for _, v in reversed(points) if not math.isnan(v)), math.nan))
            for name, points in lines
        ]
        parts = [f"{_text(value, defaults['unit'])} {name}" for name, value in shown]
        text = "\n".join(", ".join(parts[at : at + 2]) for at in range(0, len(parts), 2))
        axes.text(0, 0.5, text, fontsize=10 if len(parts) < 3 else 8, va="center", color="#1a7f37")
        return
    if not any(not math.isnan(value) for _, points in lines for _, value in points):
        axes.text(0.5, 0.5, "no data", ha="center", va="center", transform=axes.transAxes, color="#888888")
    stacked = defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal"
    below: dict[float, float] = {}
    for name, points in lines:
        label = name if len(lines) <= SERIES_MAX or any(value for _, value in points) else None
        minutes = [at / 60 for at, _ in points]
        heights = [value + (below.get(at, 0.0) if stacked else 0.0) for at, value in points]
        [line] = axes.plot(minutes, heights, linewidth=1.1, label=label)
        if stacked:
            floor = [below.get(at, 0.0) for at, _ in points]
            axes.fill_between(minutes, floor, heights, color=line.get_color(), alpha=0.3)
            below |= {at: height for (at, _), height in zip(points, heights, strict=True)}
    highest = max((value for _, points in lines for _, value in points if not math.isnan(value)), default=0.0)
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is not None and step["value"] < 3 * highest:
            axes.axhline(step["value"], color="#d1242f", linewidth=0.8, linestyle="--")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(show)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda minutes, _: f"{minutes:g} min"))
    axes.tick_params(labelsize=6.5)
    axes.grid(linewidth=0.3)
    if len([line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]) > 0:
        axes.legend(fontsize=5.5, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncol=4, frameon=False)


def _name(legend: str, labels: Mapping[str, str]) -> str:
    for label, value in labels.items():
        legend = legend.replace(f"{{{{{label}}}}}", value)
    return legend


def _text(value: float, unit: str) -> str:
    """A number as people read it."""
    if math.isnan(value):
        return "?"
    if unit == "percentunit":
        return f"{100 * value:,.0f} %" if abs(value) >= 1 else f"{100 * value:.3g} %"
    if unit == "bytes":
        for name, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return f"{value:.3g} B"
    if unit == "s":
        for name, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return f"{value:.3g} s"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
