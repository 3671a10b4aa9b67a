"""The map of an embedding as a picture: SVG, no script, nothing is fetched.

Clusters differ in brightness by age, alerts and frauds in shape, so nothing hangs on colours alone
(`words.AGES`; the others are of Okabe and Ito 2008). What a shape is, is told where the pointer rests.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from html import escape, unescape
from typing import NamedTuple

import numpy as np

from detector.core.shard.embedding_map import Cluster, Dot, EmbeddingMap
from detector.rendering.maps.words import (
    AGES,
    age_limits,
    age_of,
    by_size,
    duration,
    kept,
    moment,
    named,
    said_of_map,
    usual,
)

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 640, 56, 190, 16, 44
ALERT, FRAUD, PATH = "#d55e00", "#000000", "#0072b2"
SMALLEST, LARGEST = 2.5, 15.0  # radius of a circle, px
# Events may lie this share of the clusters' extent outside of it; farther ones are drawn at the edge.
MARGIN = 0.5
FONT = "font-family:system-ui,sans-serif"
TEXT_MAX = 28  # characters beside the plot


class Frame(NamedTuple):
    """Which part of the plane is seen; one unit is as long in both directions."""

    left: float
    bottom: float
    scale: float  # px of a unit

    @classmethod
    def around(cls, drawn: EmbeddingMap) -> Frame:
        spots = np.array([(one.x, one.y) for one in drawn.clusters])
        dots = np.array([(dot.x, dot.y) for dot in (*drawn.alerts, *drawn.frauds, *drawn.path)])
        low, high = spots.min(axis=0), spots.max(axis=0)
        margin = MARGIN * max(float((high - low).max()), 1e-9)
        if len(dots):
            low, high = (
                np.maximum(np.minimum(low, dots.min(axis=0)), low - margin),
                np.minimum(np.maximum(high, dots.max(axis=0)), high + margin),
            )
        inner = np.array([WIDTH - LEFT - RIGHT - 2 * LARGEST, HEIGHT - TOP - BOTTOM - 2 * LARGEST])
        scale = float((inner / np.maximum(high - low, 1e-9)).min())
        rest = (inner / scale - (high - low)) / 2.0 + LARGEST / scale
        return cls(float(low[0] - rest[0]), float(low[1] - rest[1]), scale)

    @property
    def width(self) -> float:
        return (WIDTH - LEFT - RIGHT) / self.scale

    @property
    def height(self) -> float:
        return (HEIGHT - TOP - BOTTOM) / self.scale

    def x(self, value: float) -> float:
        return LEFT + (value - self.left) * self.scale

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.bottom) * self.scale

    def dot(self, one: Dot) -> tuple[float, float, bool]:
        """Where an event is drawn, and whether it lies farther out."""
        x, y = self.x(one.x), self.y(one.y)
        held = min(max(x, LEFT + 6.0), WIDTH - RIGHT - 6.0), min(max(y, TOP + 6.0), HEIGHT - BOTTOM - 6.0)
        return *held, held != (x, y)


class _Picture:
    """Draws one map."""

    def __init__(self, drawn: EmbeddingMap, source: str) -> None:
        self._drawn, self._source = drawn, source
        self._frame, self._ages = Frame.around(drawn), age_limits(drawn.clusters)
        self._most = max((one.events for one in drawn.clusters), default=1)
        self._beyond = 0  # events that lie outside of the frame

    def text(self) -> str:
        """The whole SVG."""
        drawn, source = self._drawn, self._source
        shapes = [
            *self._axes(),
            *map(self._circle, by_size(drawn.clusters)),
            *self._path(),
            *map(self._triangle, drawn.alerts),
            *map(self._cross, drawn.frauds),
        ]
        title = f"Map of the embedding, {source}: {'; '.join(said_of_map(drawn))}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
            f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" style="{FONT};font-size:11px;background:#fff">'
            f"<title>{escape(title)}</title><metadata>{escape(_metadata(drawn))}</metadata>"
            f"{''.join(shapes)}{''.join(self._legend())}</svg>"
        )

    def _axes(self) -> Iterator[str]:
        frame, right, low = self._frame, WIDTH - RIGHT, HEIGHT - BOTTOM
        yield f'<path d="M{LEFT} {TOP}H{right}V{low}H{LEFT}z" fill="none" stroke="#bbb"/>'
        step = _step(frame.width)
        for value in _ticks(frame.left, frame.width, step):
            at = frame.x(value)
            yield f'<path d="M{at:.1f} {low}v4" stroke="#888"/>'
            yield f'<text x="{at:.1f}" y="{low + 16}" text-anchor="middle" fill="#555">{value:.4g}</text>'
        for value in _ticks(frame.bottom, frame.height, step):
            at = frame.y(value)
            yield f'<path d="M{LEFT - 4} {at:.1f}h4" stroke="#888"/>'
            yield f'<text x="{LEFT - 7}" y="{at + 4:.1f}" text-anchor="end" fill="#555">{value:.4g}</text>'
        first, second = self._directions()
        yield f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{first}</text>'
        turned = f"translate(14 {(TOP + low) / 2}) rotate(-90)"
        yield f'<text transform="{turned}" text-anchor="middle">{second}</text>'

    def _directions(self) -> tuple[str, str]:
        """Names of the axes; a map that was turned does not lie along directions of its own."""
        drawn = self._drawn
        if drawn.explained is None or drawn.steadied is not None:
            return "distance in the plane", "distance in the plane"
        first, second = drawn.explained
        return f"first direction, {first:.0%} of the variance", f"second direction, {second:.0%}"

    def _circle(self, one: Cluster) -> str:
        said = (
            f"cluster {one.number}: {one.events:,} events, {self._drawn.people}: {one.entities:,}, "
            f"age {duration(one.age_s)}; usual values {usual(one)}"
        )
        radius = SMALLEST + (LARGEST - SMALLEST) * math.sqrt(one.events / self._most)
        at = f'cx="{self._frame.x(one.x):.1f}" cy="{self._frame.y(one.y):.1f}" r="{radius:.1f}"'
        look = f'fill="{AGES[age_of(one, self._ages)]}" fill-opacity=".8" stroke="#444" stroke-width=".4"'
        return f"<circle {at} {look}>{_hover(said)}</circle>"

    def _triangle(self, dot: Dot) -> str:
        x, y, outside = self._dot(dot)
        fill = "#fff" if outside else ALERT
        look = f'fill="{fill}" stroke="{ALERT if outside else "#fff"}" stroke-width="1"'
        path = f"M{x:.1f} {y - 6:.1f}l5.5 10h-11z"
        return f'<path d="{path}" {look}>{_hover(self._said("alert", dot, outside))}</path>'

    def _cross(self, dot: Dot) -> str:
        x, y, outside = self._dot(dot)
        path = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0-8l-8 8"
        colour, width = ("#777", 1.2) if outside else (FRAUD, 2.2)
        hover = _hover(self._said("confirmed fraud", dot, outside))
        return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}">{hover}</path>'

    def _path(self) -> Iterator[str]:
        spots = [(dot, *self._dot(dot)) for dot in self._drawn.path]
        if not spots:
            return
        points = " ".join(f"{x:.1f},{y:.1f}" for _, x, y, _ in spots)
        yield f'<polyline points="{points}" fill="none" stroke="{PATH}" stroke-width="1.2"/>'
        for number, (dot, x, y, outside) in enumerate(spots, 1):
            hover = _hover(f"{number} of {len(spots)}, {self._said(self._drawn.path_of, dot, outside)}")
            last = number == len(spots)
            look = f'fill="{PATH if last else "#fff"}" stroke="{PATH}" stroke-width="1.6"'
            yield f'<path d="M{x - 3.5:.1f} {y - 3.5:.1f}h7v7h-7z" {look}>{hover}</path>'

    def _dot(self, dot: Dot) -> tuple[float, float, bool]:
        x, y, outside = self._frame.dot(dot)
        self._beyond += outside
        return x, y, outside

    def _said(self, what: str, dot: Dot, outside: bool) -> str:
        others = [word for word in dot.said if word != "fraud" or what != "confirmed fraud"]
        told = [f"{what} {named(dot, self._source)}", moment(dot.time), *others]
        return ", ".join(filter(None, told)) + ("; it lies farther out" if outside else "")

    def _legend(self) -> Iterator[str]:
        x, y, drawn = WIDTH - RIGHT + 14, TOP + 12, self._drawn
        yield f'<text x="{x}" y="{y}" font-weight="600">age of clusters</text>'
        names = ["younger", *(f"over {duration(limit)}" for limit in self._ages)]
        for colour, name in zip(AGES, names, strict=True):
            y += 17
            yield f'<circle cx="{x + 6}" cy="{y - 4}" r="6" fill="{colour}" stroke="#444" stroke-width=".4"/>'
            yield f'<text x="{x + 18}" y="{y}">{escape(name)}</text>'
        y += 26
        yield f'<text x="{x}" y="{y}">area: events, up to {self._most:,}</text>'
        shown = (
            (self._sign_alert, f"alerts: {len(drawn.alerts):,}"),
            (self._sign_fraud, f"confirmed frauds: {len(drawn.frauds):,}"),
            (self._sign_path, f"{drawn.path_of}: {len(drawn.path):,} events" if drawn.path_of else ""),
        )
        for sign, name in shown:
            if name:
                y += 20
                yield sign(x + 6, y - 4)
                yield f'<text x="{x + 18}" y="{y}">{escape(name[:TEXT_MAX])}</text>'
        if self._beyond:
            y += 20
            yield f'<text x="{x}" y="{y}">{self._beyond:,} lie beyond the frame,</text>'
            yield f'<text x="{x}" y="{y + 14}">drawn open at its edge</text>'
            y += 14
        y += 28
        for line in kept(drawn):
            yield f'<text x="{x}" y="{y}">{escape(line)}</text>'
            y += 15

    @staticmethod
    def _sign_alert(x: float, y: float) -> str:
        return f'<path d="M{x} {y - 6}l5.5 10h-11z" fill="{ALERT}"/>'

    @staticmethod
    def _sign_fraud(x: float, y: float) -> str:
        return f'<path d="M{x - 4} {y - 4}l8 8m0-8l-8 8" stroke="{FRAUD}" stroke-width="2.2"/>'

    @staticmethod
    def _sign_path(x: float, y: float) -> str:
        return f'<path d="M{x - 3.5} {y - 3.5}h7v7h-7z" fill="{PATH}"/>'


def svg(drawn: EmbeddingMap, source: str) -> str:
    """The picture.

    Parameters
    ----------
    source
        Topic and partition, which name events and the picture.
    """
    return _Picture(drawn, source).text()


def read_before(text: str) -> tuple[str, list[tuple[float, float]]] | None:
    """Checkpoint of a map that `svg` or `page` made, and where its clusters lie; None: it is no such map."""
    found = re.search(r"<metadata>(\{[^<]*\})</metadata>", text)
    try:
        read = json.loads(unescape(found.group(1))) if found else {}
        placed = [(float(x), float(y)) for x, y in read["clusters"]]
        name = read["checkpoint"]
    except (ValueError, KeyError, TypeError):
        return None
    finite = all(math.isfinite(value) for spot in placed for value in spot)
    return (name, placed) if isinstance(name, str) and finite else None


def _metadata(drawn: EmbeddingMap) -> str:
    """What a later map is turned by."""
    return json.dumps(
        {"checkpoint": drawn.name, "clusters": [(one.x, one.y) for one in drawn.clusters]},
        separators=(",", ":"),
    )


def _hover(text: str) -> str:
    return f"<title>{escape(text)}</title>"


def _ticks(start: float, extent: float, step: float) -> Iterator[float]:
    """Multiples of a step within an axis."""
    first = math.ceil(start / step)
    for n in range(first, math.floor((start + extent) / step) + 1):
        yield n * step


def _step(extent: float) -> float:
    """A round distance between ticks: about eight of them."""
    raw = extent / 8.0
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw)
