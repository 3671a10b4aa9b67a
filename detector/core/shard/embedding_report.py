"""A report on an embedding: whether it is any good, and what is wrong with one that is not.

    intrinsic   from the core alone: how much of the space is used, what neighbours have in common, what each
                field moves, how well the encoder does what it was trained for
    extrinsic   where frauds are confirmed: how well distances and neighbours tell them
    flags       what is wrong, by name; each has a limit that healthy encoders keep

It is computed from a checkpoint, by a process of its own, when somebody asks; the same checkpoint gives the
same report. Figures of two versions are compared by `compared`.

The encoder's own task is to tell events from the same events with one field, or one entity's history, taken
from others. *Contrast* is the chance that it places one of the latter farther from the origin than one of the
former: .5 by chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.core.features import Group, Rows, swap
from detector.core.labels.event_buffer import FRAUD
from detector.core.model import quality_of_space as measure
from detector.core.model.encoder import Encoder
from detector.core.model.index import Exact
from detector.core.model.judgement import LEARNED
from detector.core.model.projection import steadied
from detector.core.shard.embedded import Embedded
from detector.core.shard.embedding_map import anchors, shared_clusters

SAMPLE = 2048  # core events
LEGITIMATE_MAX = 8192
FRAUDS_MIN = 20  # confirmed, below which nothing is said of labels
SEED = 19  # which events are swapped
DIGITS = 4
Floats = NDArray[np.float64]


class Flag(NamedTuple):
    """A limit that healthy encoders keep."""

    name: str
    figure: str
    limit: float
    above: bool  # whether values above it are wrong
    meaning: str


FLAGS = (
    Flag("collapsed", "largest direction", 0.9, True, "nearly all of the variance lies along one direction"),
    Flag("dead units", "dead hidden units", 0.25, True, "many hidden units are 0 whatever the event is"),
    Flag("dead dimensions", "dead dimensions", 0.2, True, "dimensions of the embedding do not vary"),
    Flag("not trained", "contrast", LEARNED, False, "changed events lie no farther out than true ones"),
    Flag("clusters do not fit", "distance to clusters", 2.0, True, "core events lie far from their clusters"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """What the embedding makes of one field, entity, or of the time."""

    name: str
    purity: float  # how much more neighbours agree than any two events: 0 by chance, 1 always
    contrast: float  # how well events with other events' values are told; .5: not seen
    moved: float  # mean distance that such a change moves an event, in mean distances of two events
    analogy: float  # whether the same change moves all events in the same direction: 0 no, 1 yes


@dataclass(frozen=True, kw_only=True, slots=True)
class Raised:
    """A flag that is raised."""

    name: str
    figure: str
    value: float
    limit: float
    meaning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingReport:
    """See the module's text. NaN: not known."""

    name: str  # of the checkpoint; empty: of a shard that runs
    version: int  # of the encoder; 0: it came with a model file
    dimension: int
    events: int  # core events that were looked at
    frauds: int  # confirmed ones that were looked at
    flags: Sequence[Raised]
    intrinsic: Mapping[str, float]
    extrinsic: Mapping[str, float]  # empty: too few frauds are confirmed
    fields: Sequence[Field]
    drift: Mapping[str, float]  # since the version before; empty: there is none to compare with
    judged: Mapping[str, float]  # when it was promoted, see `judgement`; empty: it was not judged
    refused: int  # candidates, since the model began


def embedding_report(
    embedded: Embedded, *, name: str = "", before: Embedded | None = None
) -> EmbeddingReport:
    """Judge an embedding that is ready.

    Parameters
    ----------
    name
        Of the checkpoint.
    before
        An earlier version, to say how far shared clusters have moved.
    """
    core = embedded.core.filled()
    every = -(-len(core) // SAMPLE) or 1
    rows = core.take(slice(None, None, every))
    seen = _Seen(embedded, rows)
    fields = [seen.field(number, group) for number, group in enumerate(seen.groups)]
    contrast = _mean([one.contrast for one in fields if one.moved > 0.0])
    intrinsic = {"contrast": contrast, **seen.intrinsic()}
    extrinsic, frauds = _extrinsic(embedded)
    serving = embedded.versions.serving
    return EmbeddingReport(
        name=name,
        version=embedded.versions.number,
        dimension=seen.points.shape[1],
        events=len(rows),
        frauds=frauds,
        flags=raised(intrinsic),
        intrinsic=_rounded(intrinsic),
        extrinsic=_rounded(extrinsic),
        fields=fields,
        drift={} if before is None else _rounded(_drift(embedded, before)),
        judged={} if serving is None else _rounded(serving.figures),
        refused=embedded.versions.refused,
    )


def raised(figures: Mapping[str, float]) -> list[Raised]:
    """Flags of a report with these figures."""
    return [
        Raised(name=flag.name, figure=flag.figure, value=value, limit=flag.limit, meaning=flag.meaning)
        for flag in FLAGS
        if (value := round(figures[flag.figure], DIGITS)) != flag.limit and (value > flag.limit) == flag.above
    ]


class Change(NamedTuple):
    """A figure of two versions."""

    figure: str
    first: float
    second: float

    @property
    def difference(self) -> float:
        return self.second - self.first


def compared(first: EmbeddingReport, second: EmbeddingReport) -> list[Change]:
    """Figures that both reports have, with those of fields; flags are compared by who reads them."""
    changes = []
    for of in ("intrinsic", "extrinsic"):
        here, there = getattr(first, of), getattr(second, of)
        changes += [Change(name, here[name], there[name]) for name in here if name in there]
    known = {one.name: one for one in second.fields}
    for one in first.fields:
        if other := known.get(one.name):
            changes += [
                Change(f"{one.name}: purity", one.purity, other.purity),
                Change(f"{one.name}: contrast", one.contrast, other.contrast),
                Change(f"{one.name}: analogy", one.analogy, other.analogy),
            ]
    return changes


class _Seen:
    """A sample of core events in their embedding."""

    def __init__(self, embedded: Embedded, rows: Rows) -> None:
        self._embedded, self._rows = embedded, rows
        self._layout = embedded.layout
        self.groups = self._layout.groups[: self._layout.swapped]
        self._inputs = embedded.features.compute(rows)
        seen = embedded.space.encoder.look(self._inputs, rows)
        self._points32, self._strongest = seen.out, seen.hidden.max(axis=0)  # (H,) of each hidden unit
        self.points = self._points32.astype(np.float64)
        k = min(measure.NEIGHBOURS + 1, len(rows))
        self._neighbours = Exact(self._points32).search(self._points32, k)[0][:, 1:]  # itself first
        self._spread = max(_mean_distance(self.points), measure.TINY)
        self._donors = np.random.default_rng(SEED).permutation(len(rows))

    def intrinsic(self) -> dict[str, float]:
        """Figures of the whole space; after the fields, whose changed events wake some hidden units."""
        rows, points, space = self._rows, self.points, self._embedded.space
        shares = measure.shares_of_variance(points)
        spread = points.std(axis=0)
        distances = space.nearest.search(self._points32, 1)[1][:, 0]
        radii = space.clusters.radii[space.clusters.radii > 0.0]
        radius = float(np.median(radii)) if len(radii) else 0.0
        main = rows.main()
        return {
            "effective rank": measure.effective_rank(shares),
            "largest direction": float(shares[0]),
            "dead hidden units": dead_units(space.encoder),
            "silent hidden units": float((self._strongest <= 0.0).mean()),
            "dead dimensions": float((spread < 1e-3 * max(float(spread.max()), measure.TINY)).mean()),
            "uniformity": measure.uniformity(points),
            "alignment": self._alignment(main),
            "hubness": measure.hubness(self._neighbours),
            "says only who": measure.between(points, main),
            "distance to clusters": float(np.median(distances)) / max(radius, measure.TINY),
        }

    def _alignment(self, main: NDArray[np.uint64]) -> float:
        """Mean distance of two events of an entity, one after the other, in mean distances of any two."""
        order = np.lexsort((self._rows.times, main))
        first, second = order[:-1], order[1:]
        pairs = (main[first] == main[second]) & (main[first] != 0)
        if not pairs.any():
            return math.nan
        apart = np.linalg.norm(self.points[first[pairs]] - self.points[second[pairs]], axis=1)
        return float(apart.mean()) / self._spread

    def field(self, number: int, group: Group) -> Field:
        """What it makes of one field, entity, or of the time."""
        changed = self._swapped(number, self._donors)
        length = np.linalg.norm(changed - self.points, axis=1)
        same = self._swapped(number, np.full(len(self._rows), self._other(group))) - self.points
        moved = np.linalg.norm(same, axis=1) > 1e-6 * self._spread
        return Field(
            name=group.name,
            purity=_round(self._purity(group)),
            contrast=_round(measure.contrast(self.points, changed)),
            moved=_round(float(length.mean()) / self._spread),
            analogy=_round(measure.resultant(same[moved])) if moved.any() else math.nan,
        )

    def _swapped(self, number: int, donors: NDArray[np.int64]) -> Floats:
        """Embeddings of the sample with a group taken from other events."""
        chosen = np.full(len(self._rows), number, dtype=np.int64)
        changed = swap(self._rows, self._rows.take(donors), self._layout, chosen)
        seen = self._embedded.space.encoder.look(self._embedded.features.compute(changed), changed)
        self._strongest = np.maximum(self._strongest, seen.hidden.max(axis=0))
        return seen.out.astype(np.float64)

    def _other(self, group: Group) -> int:
        """An event with a value that all events take, to see whether they move alike: a high one, or the
        second most frequent."""
        if (values := self._rows.numerics[:, group.numerics]).shape[1]:
            ascending = np.argsort(np.nan_to_num(values[:, 0]), kind="stable")
            return int(ascending[len(ascending) * 9 // 10])
        if (keys := self._keys(group)) is not None:
            distinct, first, counts = np.unique(keys, return_index=True, return_counts=True)
            return int(first[np.argsort(-counts, kind="stable")[min(1, len(distinct) - 1)]])
        return len(self._rows) // 2

    def _purity(self, group: Group) -> float:
        if (keys := self._keys(group)) is not None:
            return measure.purity(keys, self._neighbours)
        if (numbers := self._rows.numerics[:, group.numerics]).shape[1]:
            return measure.order_purity(numbers[:, 0], self._neighbours)
        return math.nan

    def _keys(self, group: Group) -> NDArray[np.uint64] | None:
        """What events of a group are named by; None: they are not."""
        if group.entity is not None:
            return self._rows.entities[:, group.entity]
        own = self._rows.categories[:, group.categories]
        return own[:, 0] if own.shape[1] else None


def dead_units(encoder: Encoder) -> float:
    """Share of the hidden units that no event can wake: the most that each input can give them is not enough.

    A unit may be silent for all events of the core and yet wake when something new comes, so what a sample
    shows does not say that it is dead.
    """
    weights, bins = encoder.weights, encoder.config.bins
    hidden = weights["hidden"]
    numeric = len(encoder.edges) * bins
    codes = hidden[:numeric].reshape(-1, bins, hidden.shape[1]).cumsum(axis=1)
    most = weights["hidden_bias"] + np.maximum(codes.max(axis=1), 0.0).sum(axis=0)
    if "rows" in weights:
        for behind in hidden[numeric:].reshape(-1, encoder.config.hash_width, hidden.shape[1]):
            most = most + np.maximum((weights["rows"] @ behind).max(axis=0), 0.0)
    return float((most <= 0.0).mean())


def _extrinsic(embedded: Embedded) -> tuple[dict[str, float], int]:
    """How well confirmed frauds are told among other events, and how many frauds that were.

    The nearest neighbours and the direction are learned on the older half and judged on the newer one.
    """
    buffer = embedded.buffer
    held = buffer.stored()
    fraud = buffer.column("flags", held) & FRAUD != 0
    others = held[~fraud]
    others = others[:: -(-len(others) // LEGITIMATE_MAX) or 1]
    numbers = np.sort(np.concatenate([held[fraud], others]))
    positive = np.isin(numbers, held[fraud])
    count = int(positive.sum())
    if count < FRAUDS_MIN or len(others) < FRAUDS_MIN:
        return {}, count
    points32 = embedded.embed(buffer.examples(numbers))
    points = points32.astype(np.float64)
    distances = embedded.space.nearest.search(points32, 1)[1][:, 0]
    plain = buffer.column("plain", numbers).astype(np.float64)
    half = int(np.flatnonzero(positive)[count // 2])  # both halves have frauds
    old, new, truth = slice(0, half), slice(half, None), positive[half:]
    near = Exact(points32[old]).search(points32[new], min(measure.NEIGHBOURS, half))[0]
    told = {
        "all parts": (plain, positive),
        "distance to clusters": (distances, positive),
        "nearest neighbours": (positive[old][near].mean(axis=1), truth),
        "linear": (points[new] @ measure.direction(points[old], positive[old]), truth),
    }
    figures = {"share of frauds": float(positive.mean())}
    for name, (scores, wanted) in told.items():
        figures[f"{name}: AUC"] = measure.area(scores, wanted)
        figures[f"{name}: AP"] = measure.average_precision(scores, wanted)
    every = Exact(points32).search(points32[positive], min(measure.NEIGHBOURS + 1, len(points)))[0][:, 1:]
    base = float(positive.mean())
    figures["purity of frauds"] = (float(positive[every].mean()) - base) / (1.0 - base)
    return figures, count


def _drift(now: Embedded, before: Embedded) -> dict[str, float]:
    """How far clusters that both versions have moved, in mean distances of a cluster to the nearest other."""
    here, there = (one.space.clusters.centres.astype(np.float64) for one in (now, before))
    own, old = shared_clusters(anchors(now, "", here), anchors(before, "", there))
    figures = {"shared clusters": len(own) / max(len(here), 1)}
    if len(own) < 3 or here.shape[1] != there.shape[1]:
        return figures
    weights = now.space.clusters.sizes[own]
    nearest = Exact(now.space.clusters.centres).search(now.space.clusters.centres, 2)[1][:, 1]
    unit = max(float(nearest.mean()), measure.TINY)
    turned = steadied(here[own], there[old], weights).move(here[own])
    for name, points in (("moved", here[own]), ("moved, after a turn", turned)):
        figures[name] = float(np.average(np.linalg.norm(points - there[old], axis=1), weights=weights)) / unit
    return figures


def _mean_distance(points: Floats) -> float:
    """Of any two, by pairs of neighbours in the sample's order, which says nothing of where they lie."""
    half = len(points) // 2
    return float(np.linalg.norm(points[:half] - points[half : 2 * half], axis=1).mean()) if half else 0.0


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.5


def _round(value: float) -> float:
    return round(value, DIGITS)


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: _round(value) for name, value in figures.items()}
