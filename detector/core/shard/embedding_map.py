"""The embedding in two dimensions: clusters by size and age, alerts, confirmed frauds, one entity's path.

    Embedded ─ centres ─> plane (PCA, or a layout that is given) ─ shared clusters ─> turned as the map before

    clusters   of normal events. What is usual in one is told only where ten entities or more share it
    events     alerted in a period, and confirmed frauds: where they lie and which they are, no values
    path       the newest remembered events of one entity, in order

The same embedding gives the same map. What the plane keeps of the truth is measured on the clusters' centres
and told on the map (`projection`). Two clusters of two versions are shared if each holds more of the other's
events than of any other cluster's, among events that are in the core of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.features import Rows
from detector.core.labels.event_buffer import ALERTED, FRAUD, LEGITIMATE
from detector.core.model.clusters import ENTITIES_SHOWN_MIN
from detector.core.model.projection import (
    STILL,
    Points,
    continuity,
    principal,
    steadied,
    trustworthiness,
)
from detector.core.shard.embedded import Embedded

EVENTS_MAX = 1000  # of each kind: more would hide each other; the newest are shown
PATH_MAX = 25  # more cannot be followed
SHARED_EVENTS_MIN = 2  # of two clusters that are the same
AGE_S = 3600.0  # ages are told in steps of this, s: that of a small cluster would be the time of one event
DIGITS = 4

Layout = Callable[[NDArray[np.float32]], Points]
"""Places points (n, D) in a plane, (n, 2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a map shows beside the clusters."""

    start: float = -math.inf  # event times of alerts, s since the epoch
    end: float = math.inf
    entity: int | None = None  # hash of the main entity whose path is drawn
    shown_as: str = ""  # its name


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """A cluster of normal events."""

    number: int
    x: float
    y: float
    events: int  # of the core
    entities: int  # main entities among them; events, where the schema has none
    radius: float  # root mean square distance of its events to its centre
    age_s: float  # median age of its events, against the newest event of the core, in whole hours: see AGE_S
    usual: Mapping[str, tuple[float, float]] | None  # .1 and .9 quantiles; None: too few entities


@dataclass(frozen=True, kw_only=True, slots=True)
class Dot:
    """An event."""

    x: float
    y: float
    offset: int  # in the log; -1: not known
    time: float | None  # s since the epoch; None: not known any more
    said: tuple[str, ...]  # alerted, fraud, legitimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Steadied:
    """How the map was turned to lie as the one before."""

    before: str  # name of its checkpoint
    shared: int  # clusters
    shift: float  # root mean square of the distance that they moved, by events: the turn makes it least
    unturned: float  # the same without the turn


@dataclass(frozen=True, slots=True, eq=False)
class Anchors:
    """What a later map is turned by: where the clusters lay, and of which events they were made."""

    name: str  # of the checkpoint
    rows: NDArray[np.uint64]  # (n,) hashes of core events
    clusters: NDArray[np.int64]  # (n,) cluster of each
    placed: Points  # (K, 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingMap:
    """See the module's text."""

    name: str  # of the checkpoint; empty: of a shard that runs
    version: int
    method: str
    explained: tuple[float, float] | None  # share of the variance along each axis; None: not by PCA
    trustworthiness: float
    continuity: float
    people: str  # what entities are called
    newest: float  # event time of the newest core event, s since the epoch
    start: float
    end: float
    clusters: Sequence[Cluster]
    alerts: Sequence[Dot]
    frauds: Sequence[Dot]
    path: Sequence[Dot]
    path_of: str
    steadied: Steadied | None


def embedding_map(
    embedded: Embedded,
    wanted: Wanted,
    *,
    name: str = "",
    before: Anchors | None = None,
    method: str = "PCA",
    layout: Layout | None = None,
) -> tuple[EmbeddingMap, Anchors]:
    """Draw a map of an embedding that is ready, as data.

    Parameters
    ----------
    name
        Of the checkpoint.
    before
        Of the map that this one is turned like.
    layout
        How points are placed; None: by PCA.

    Returns
    -------
    tuple
        The map, and what a later one is turned by.
    """
    clusters = embedded.space.clusters
    groups = _events(embedded, wanted)
    vectors = [clusters.centres, *(embedded.embed(group.examples) for group in groups)]
    explained = None
    if layout is None:
        plane = principal(clusters.centres, clusters.sizes)
        placed, explained = [plane.place(points) for points in vectors], plane.explained
    else:
        stops = np.cumsum([len(points) for points in vectors])[:-1]
        placed = np.split(layout(np.concatenate(vectors)), stops)
    kept = trustworthiness(clusters.centres, placed[0]), continuity(clusters.centres, placed[0])
    turned, moved = STILL, None
    if before is not None:
        here, there = shared_clusters(anchors(embedded, name, placed[0]), before)
        turned = steadied(placed[0][here], before.placed[there], clusters.sizes[here])
        moved = _moved(placed[0][here], before, there, clusters.sizes[here], turned.move(placed[0][here]))
    placed = [np.round(turned.move(points), DIGITS) for points in placed]
    dots = [group.at(points) for group, points in zip(groups, placed[1:], strict=True)]
    newest = float(embedded.core.filled().times.max(initial=0.0))
    made = EmbeddingMap(
        name=name,
        version=embedded.served.version,
        method=method,
        explained=explained,
        trustworthiness=kept[0],
        continuity=kept[1],
        people=next(iter(embedded.layout.entities), "event"),
        newest=newest,
        start=wanted.start,
        end=wanted.end,
        clusters=_clusters(embedded, placed[0], newest),
        alerts=dots[0],
        frauds=dots[1],
        path=dots[2],
        path_of=wanted.shown_as,
        steadied=moved,
    )
    return made, anchors(embedded, name, placed[0])


def anchors(embedded: Embedded, name: str, placed: Points) -> Anchors:
    """What a later map is turned by, given where the clusters lie (K, 2)."""
    rows, cluster = embedded.core.filled(), embedded.core.cluster[: len(embedded.core)].astype(np.int64)
    inside = np.flatnonzero(cluster >= 0)
    return Anchors(name, _hashes(rows.take(inside)), cluster[inside], placed)


def shared_clusters(now: Anchors, before: Anchors) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the clusters that two versions share: now (m,) and before (m,)."""
    _, here, there = np.intersect1d(now.rows, before.rows, return_indices=True)
    pairs, counts = np.unique(
        np.stack([now.clusters[here], before.clusters[there]], axis=1), axis=0, return_counts=True
    )
    best = np.ones(len(pairs), dtype=bool)
    for side in (0, 1):
        order = np.lexsort((pairs[:, 1 - side], -counts, pairs[:, side]))
        first = np.append(True, np.diff(pairs[order, side]) != 0)[: len(order)]
        chosen = np.zeros(len(pairs), dtype=bool)
        chosen[order[first]] = True
        best &= chosen
    found = pairs[best & (counts >= SHARED_EVENTS_MIN)]
    return found[:, 0], found[:, 1]


def _hashes(rows: Rows) -> NDArray[np.uint64]:
    """A hash of each row's own values (n,)."""
    mixed = np.full(len(rows), 1469598103934665603, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for values in (rows.times[:, None], rows.numerics.astype(np.float64), rows.keys()):
            bits = np.ascontiguousarray(values).view(np.uint64)
            for column in range(bits.shape[1]):
                mixed = (mixed ^ bits[:, column]) * np.uint64(0x9E3779B97F4A7C15)
                mixed ^= mixed >> np.uint64(32)
    return mixed


def _moved(
    placed: Points, before: Anchors, there: NDArray[np.int64], sizes: NDArray[np.int64], turned: Points
) -> Steadied:
    """How far shared clusters moved, with the turn and without it."""
    old, weights = before.placed[there], sizes.astype(np.float64)
    total = max(float(weights.sum()), 1.0)
    shifts = [
        math.sqrt(float(weights @ np.square(points - old).sum(axis=1)) / total) for points in (turned, placed)
    ]
    return Steadied(before=before.name, shared=len(there), shift=shifts[0], unturned=shifts[1])


def _clusters(embedded: Embedded, placed: Points, newest: float) -> list[Cluster]:
    space, core = embedded.space, embedded.core
    times, cluster = core.filled().times, core.cluster[: len(core)]
    order = np.lexsort((times, cluster))
    starts = np.searchsorted(cluster[order], np.arange(len(space.clusters) + 1))
    found = []
    for number, (x, y) in enumerate(placed.tolist()):
        own = times[order[starts[number] : starts[number + 1]]]
        people = int(space.exemplars.people[number])
        found.append(
            Cluster(
                number=number,
                x=x,
                y=y,
                events=int(space.clusters.sizes[number]),
                entities=people,
                radius=round(float(space.clusters.radii[number]), DIGITS),
                age_s=AGE_S * round((newest - float(np.median(own))) / AGE_S) if len(own) else math.nan,
                usual=usual_ranges(embedded, number) if people >= ENTITIES_SHOWN_MIN else None,
            )
        )
    return found


def usual_ranges(embedded: Embedded, cluster: int) -> dict[str, tuple[float, float]]:
    """Ranges of a cluster's numerics that alerts may show, in the fields' units.

    Only for a cluster that `ENTITIES_SHOWN_MIN` entities share.
    """
    lows, highs = embedded.units.restore(embedded.space.exemplars.ends(cluster)).tolist()
    return {
        place.name: (low, high)
        for place, low, high in zip(embedded.layout.numerics, lows, highs, strict=True)
        if place.field.echo and not math.isnan(low)
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Events that are shown alike."""

    examples: Any
    offsets: NDArray[np.int64]
    times: Sequence[float | None]
    said: Sequence[tuple[str, ...]]

    def at(self, placed: Points) -> list[Dot]:
        named = zip(placed.tolist(), self.offsets.tolist(), self.times, self.said, strict=True)
        return [Dot(x=x, y=y, offset=offset, time=time, said=said) for (x, y), offset, time, said in named]


def _events(embedded: Embedded, wanted: Wanted) -> list[_Group]:
    """Alerts of the period, confirmed frauds, the path."""
    buffer, frauds = embedded.buffer, embedded.frauds
    held = buffer.stored()
    flags, times = buffer.column("flags", held), buffer.column("times", held)
    alerted = held[(flags & ALERTED != 0) & (times >= wanted.start) & (times < wanted.end)]
    known = held[flags & FRAUD != 0]
    own = np.zeros(0, dtype=np.int64)
    if wanted.entity is not None:
        own = buffer.numbers_of(np.array([wanted.entity], dtype=np.uint64))
    remembered = _remembered(embedded, known[-EVENTS_MAX:])
    # Frauds are known longer than their events are remembered.
    older = np.flatnonzero(~np.isin(frauds.offsets, buffer.column("offsets", known)))
    older = older[-EVENTS_MAX:][: EVENTS_MAX - len(remembered.offsets)]
    both = _Group(
        frauds.examples.take(older).joined(remembered.examples),
        np.concatenate([frauds.offsets[older], remembered.offsets]),
        [*[None] * len(older), *remembered.times],
        [*[("fraud",)] * len(older), *remembered.said],
    )
    return [_remembered(embedded, alerted[-EVENTS_MAX:]), both, _remembered(embedded, own[-PATH_MAX:])]


def _remembered(embedded: Embedded, numbers: NDArray[np.int64]) -> _Group:
    buffer = embedded.buffer
    return _Group(
        buffer.examples(numbers),
        buffer.column("offsets", numbers),
        buffer.column("times", numbers).tolist(),
        [said_of(int(flags)) for flags in buffer.column("flags", numbers)],
    )


def said_of(flags: int) -> tuple[str, ...]:
    """What was said of an event with these flags."""
    names = {ALERTED: "alerted", FRAUD: "fraud", LEGITIMATE: "legitimate"}
    return tuple(name for flag, name in names.items() if flags & flag)
