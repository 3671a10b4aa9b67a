"""The map of an embedding in words: what it keeps of the truth, what its colours mean, tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np

from detector.core.shard.embedding_map import EVENTS_MAX, Cluster, Dot, EmbeddingMap

# Youngest first: a ramp of cividis (Nunez 2018). People who see colours otherwise tell it apart, and it
# differs in brightness.
AGES = ("#fee838", "#b1a570", "#7d7c78", "#4d576d", "#00224e")
CLUSTERS_TOLD_MAX = 1000  # rows of the table, the largest clusters first


def said_of_map(drawn: EmbeddingMap) -> Iterator[str]:
    """What the picture keeps of the truth, in sentences."""
    where = f"checkpoint {drawn.name}" if drawn.name else "the model as it is now"
    yield f"{where}, encoder version {drawn.version}, newest event {moment(drawn.newest)}"
    if drawn.explained is not None:
        yield (
            f"{drawn.method}: the two directions hold {sum(drawn.explained):.0%} of the variance of the "
            "clusters' centres"
        )
    else:
        yield f"{drawn.method}: near is near, but distances between groups and sizes of groups mean nothing"
    yield (
        f"trustworthiness {drawn.trustworthiness:.2f} (1: neighbours seen here are neighbours in truth), "
        f"continuity {drawn.continuity:.2f} (1: true neighbours are neighbours here)"
    )
    moved = drawn.steadied
    if moved is not None:
        yield (
            f"turned to lie as {moved.before}: {moved.shared} shared clusters moved by {moved.shift:.2f} on "
            f"average (without the turn {moved.unturned:.2f})"
        )


def kept(drawn: EmbeddingMap) -> Iterator[str]:
    """What the picture keeps of the truth, in a few words each."""
    if drawn.explained is not None:
        yield f"{drawn.method}: {sum(drawn.explained):.0%} of variance"
    else:
        yield drawn.method
    yield f"trustworthiness {drawn.trustworthiness:.2f}"
    yield f"continuity {drawn.continuity:.2f}"
    if drawn.steadied is not None:
        yield "turned as the map before:"
        yield f"{drawn.steadied.shared} shared clusters"
        yield f"moved by {drawn.steadied.shift:.2f} on average"


def age_limits(clusters: Sequence[Cluster]) -> list[float]:
    """Ages, s, between which the colours change: a fifth of the clusters has each."""
    ages = np.array([one.age_s for one in clusters if math.isfinite(one.age_s)])
    return np.quantile(ages, [0.2, 0.4, 0.6, 0.8]).tolist() if len(ages) else [0.0] * 4


def age_of(cluster: Cluster, limits: Sequence[float]) -> int:
    """Which of the `AGES` a cluster has."""
    return sum(cluster.age_s > limit for limit in limits)


def by_size(clusters: Sequence[Cluster]) -> list[Cluster]:
    """The largest first, so that small ones lie on top."""
    return sorted(clusters, key=lambda one: (-one.events, one.number))


def moment(time: float | None) -> str:
    return "" if time is None else f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC"


def duration(seconds: float) -> str:
    """A duration with its largest unit."""
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{max(seconds, 0.0):.0f} s"


def usual(cluster: Cluster) -> str:
    """What is usual in a cluster."""
    if cluster.usual is None:
        return "not shown: fewer than 10"
    return ", ".join(f"{name} {low:.4g} to {high:.4g}" for name, (low, high) in cluster.usual.items())


def tables_of(drawn: EmbeddingMap, source: str) -> Iterator[tuple[str, Sequence[str], list[list[str]]]]:
    """Title, head and rows of each table."""
    told = by_size(drawn.clusters)[:CLUSTERS_TOLD_MAX]
    head = ("cluster", "events", drawn.people, "age", "usual values, 10 to 90 %", "x", "y", "radius")
    rows = [
        [
            str(one.number),
            f"{one.events:,}",
            f"{one.entities:,}",
            duration(one.age_s),
            usual(one),
            f"{one.x:.3f}",
            f"{one.y:.3f}",
            f"{one.radius:.3f}",
        ]
        for one in told
    ]
    title = f"{len(drawn.clusters):,} clusters of normal events"
    yield title + (f", the {len(told):,} largest" if len(told) < len(drawn.clusters) else ""), head, rows
    since = "" if math.isinf(drawn.start) else f" from {moment(drawn.start)}"
    until = "" if math.isinf(drawn.end) else f" to {moment(drawn.end)}"
    groups = (
        (f"Alerts{since}{until}", drawn.alerts),
        ("Confirmed frauds", drawn.frauds),
        (f"Path of {drawn.path_of}", drawn.path),
    )
    for name, dots in groups:
        if dots:
            most = f", the newest {len(dots):,}" if len(dots) >= EVENTS_MAX else ""
            yield f"{name}{most}", ("event", "time", "", "x", "y"), [_row(dot, source) for dot in dots]


def _row(dot: Dot, source: str) -> list[str]:
    return [named(dot, source), moment(dot.time), ", ".join(dot.said), f"{dot.x:.3f}", f"{dot.y:.3f}"]


def named(dot: Dot, source: str) -> str:
    return "of another partition" if dot.offset < 0 else f"{source}-{dot.offset}"
