"""Pictures of one stream's runs (of its first seed or order).

    NAME-precision.png   precision over recall: the service by labels, each peer with its best columns
    NAME-scores.png      the service's score over time, with anomalies and alerts
    NAME-alerts.png      its alerts per day (or window) over the budget
    NAME-labels.png      AP by number of labels, where runs with 50, 200, ... labels were asked for

Points are thinned when they are added, so memory does not depend on the length of the stream.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.metrics import DAY_S, BoolArray, FloatArray, budget_use, precision_recall
from benchmarks.quality.report import OURS, Row

POINTS_MAX = 500  # of a curve
EVENTS_MAX = 20_000  # normal events of a scatter
SIZE = (9.0, 5.0)  # inches
UNITS = {"days": DAY_S, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0}
OURS_COLOURS = ("#c1121f", "#780000", "#f08a5d", "#b5838d")
PEER_COLOURS = ("#264653", "#2a9d8f", "#7b9acc", "#8a8a8a", "#6a4c93", "#b8a13a", "#4f772d")


@dataclass(frozen=True, slots=True, eq=False)
class _Curve:
    detector: str
    words: str
    ap: float
    recall: FloatArray
    precision: FloatArray


class Gallery:
    """Collects the data of one stream's pictures."""

    def __init__(self, name: str, instance: str) -> None:
        self._name = name
        self._instance = instance
        self._curves: list[_Curve] = []
        self._scores: dict[str, FloatArray] = {}
        self._unit, self._thinned = "days", False  # of the scores
        self._budget: dict[str, tuple[FloatArray, str]] = {}

    def add_ranking(self, row: Row, label: BoolArray, score: FloatArray) -> None:
        """Take the precision-recall curve of judged events, (n,) each."""
        recall, precision = precision_recall(label, score)
        step = max(1, len(recall) // POINTS_MAX)
        # Few points matter at the top of the ranking, where each one is seen.
        keep = np.unique(np.r_[np.arange(min(POINTS_MAX, len(recall))), np.arange(0, len(recall), step)])
        words = f"{row['detector']}, {row['columns'] or 'labels ' + row['labels']}"
        if row["partitions"] != 1:
            words += f", {row['partitions']} partitions"
        self._curves.append(_Curve(row["detector"], words, row["ap"], recall[keep], precision[keep]))

    def add_service(
        self,
        row: Row,
        time: FloatArray,
        label: BoolArray,
        score: FloatArray,
        alert: BoolArray,
        share: float | None,
    ) -> None:
        """Take scores and alerts of all events of a run, (n,) each."""
        if share is not None:
            self._budget[f"labels {row['labels']}"] = budget_use(time, alert, share)
        if self._scores:  # one run is enough
            return
        span = time[-1] - time[0]
        self._unit = next((unit for unit in UNITS if span >= 2 * UNITS[unit]), "seconds")
        since = (time - time[0]) / UNITS[self._unit]
        normal = np.flatnonzero(~label & ~alert)
        self._thinned = len(normal) > EVENTS_MAX
        normal = normal[:: max(1, -(-len(normal) // EVENTS_MAX))]
        kinds = {"normal": normal, "anomalous": np.flatnonzero(label & ~alert)}
        kinds |= {"false alert": np.flatnonzero(alert & ~label), "true alert": np.flatnonzero(alert & label)}
        self._scores = {kind: np.stack([since[at], score[at]]) for kind, at in kinds.items()}

    def draw(self, folder: Path, summary: Sequence[Row]) -> None:
        """Write the pictures; `summary` has the rows of this stream, among others."""
        stem = re.sub(r"[^\w.-]+", "-", self._name)
        if self._curves:
            self._draw_precision(folder / f"{stem}-precision.png")
        if self._scores:
            self._draw_scores(folder / f"{stem}-scores.png")
        if any(len(ratios) > 1 for ratios, _ in self._budget.values()):
            self._draw_alerts(folder / f"{stem}-alerts.png")
        base = [row for row in summary if self._is_ours(row) and row["labels"] == "none"]
        counted: dict[str, list[tuple[int, Row]]] = {}  # by delay
        for row in filter(self._is_ours, summary):
            found = re.fullmatch(r"late:([\d.]+):(\d+)", row["labels"])
            if found and int(found[2]) > 1:
                counted.setdefault(found[1], [(0, row) for row in base]).append((int(found[2]), row))
        if counted:
            self._draw_labels(folder / f"{stem}-labels.png", counted)

    # --- one picture each ----------------------------------------------------------------------------------

    def _draw_precision(self, path: Path) -> None:
        figure, axes = _axes(f"{self._name}, {self._instance}: precision over recall", "recall", "precision")
        ours = [curve for curve in self._curves if curve.detector == OURS]
        peers: dict[str, _Curve] = {}
        for curve in self._curves:
            if curve.detector != OURS and curve.ap >= peers.get(curve.detector, curve).ap:
                peers[curve.detector] = curve
        drawn = [(c, OURS_COLOURS[n % len(OURS_COLOURS)], 2.2) for n, c in enumerate(ours)]
        drawn += [(c, PEER_COLOURS[n % len(PEER_COLOURS)], 1.1) for n, c in enumerate(peers.values())]
        for curve, colour, width in sorted(drawn, key=lambda item: -item[0].ap):
            axes.step(
                curve.recall,
                curve.precision,
                where="pre",
                color=colour,
                linewidth=width,
                zorder=width,
                label=f"{curve.words}: AP {curve.ap:.3f}",
            )
        axes.set_xlim(0.0, 1.0)
        axes.set_ylim(0.0, 1.02)
        _legend_beside(axes)
        _save(figure, path)

    def _draw_scores(self, path: Path) -> None:
        title = f"{self._name}, {self._instance}: score of {OURS}"
        figure, axes = _axes(title, f"{self._unit} since the first event", "score")
        looks: dict[str, dict[str, Any]] = {
            "normal": {"s": 4, "color": "#b4bbc5", "linewidths": 0},
            "anomalous": {"s": 9, "color": "#2a6f97", "linewidths": 0},
            "false alert": {"s": 22, "facecolors": "none", "edgecolors": "#e07a1f", "linewidths": 1.0},
            "true alert": {"s": 26, "color": "#c1121f", "marker": "D", "linewidths": 0},
        }
        for kind, look in looks.items():
            since, score = self._scores[kind]
            some = " (a sample)" if kind == "normal" and self._thinned else ""
            axes.scatter(since, score, label=f"{kind}{some}, {len(since):,}", **look)
        axes.set_ylim(bottom=0.0)
        _legend_beside(axes)
        _save(figure, path)

    def _draw_alerts(self, path: Path) -> None:
        window = next(iter(self._budget.values()))[1]
        figure, axes = _axes(
            f"{self._name}, {self._instance}: alerts over the budget", f"window ({window})", "alerts / budget"
        )
        axes.axhspan(0.7, 1.3, color="#e9f5ec", zorder=0)
        axes.axhline(1.0, color="#6c757d", linewidth=0.8, zorder=1)
        for n, (words, (ratios, _)) in enumerate(self._budget.items()):
            colour = OURS_COLOURS[n % len(OURS_COLOURS)]
            axes.plot(
                np.arange(1, 1 + len(ratios)), ratios, marker=".", color=colour, linewidth=1.0, label=words
            )
        axes.set_ylim(bottom=0.0)
        _legend_beside(axes)
        _save(figure, path)

    def _draw_labels(self, path: Path, counted: Mapping[str, Sequence[tuple[int, Row]]]) -> None:
        figure, axes = _axes(f"{self._name}: average precision by number of labels", "fraud labels", "AP")
        counts = sorted({count for points in counted.values() for count, _ in points})
        for n, (days, points) in enumerate(counted.items()):
            points = sorted(points, key=lambda point: point[0])
            places = [counts.index(count) for count, _ in points]
            values = [row["ap"] for _, row in points]
            spread = np.nan_to_num([row["ap spread"] for _, row in points])
            colour = OURS_COLOURS[n % len(OURS_COLOURS)]
            words = f"{days} days late"
            axes.errorbar(places, values, yerr=spread, marker="o", color=colour, capsize=3, label=words)
            for place, value in zip(places, values, strict=True):
                axes.annotate(f"{value:.3f}", (place, value), textcoords="offset points", xytext=(8, 6))
        axes.set_xticks(range(len(counts)), [f"{count:,}" for count in counts])
        axes.set_ylim(bottom=0.0)
        axes.margins(x=0.12)
        _legend_beside(axes)
        _save(figure, path)

    def _is_ours(self, row: Row) -> bool:
        named = row["stream"] == self._name and row["detector"] == OURS
        return named and row["partitions"] == 1 and "ap" in row


def _axes(title: str, across: str, up: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=130, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eceff1", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _legend_beside(axes: Any) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=8, borderaxespad=0.0)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path)
