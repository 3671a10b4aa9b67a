"""Normal behaviour: a bounded sample of accepted events (the *core*) and the clusters it forms.

The core holds rows, not embeddings, so that each new encoder can embed them. It forgets exponentially: an
accepted event enters with probability capacity / memory and replaces a random row (Aggarwal 2006). Events
that are not accepted never enter, however frequent they are.

Before a barrier a copy of the core is embedded and clustered again, starting from the current clusters: the
means of their members are the first centres, and events in no cluster give the others. Two rounds of k-means
follow. Clusters of fewer than `members_min` events are dropped: what few events do is not normal yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Clusters as ClustersConfig
from detector.config.tree import Index as IndexConfig
from detector.core.erasure import Counts, Erased, Keys, counted
from detector.core.features import DAY_S, Layout, Rows, empty_rows
from detector.core.model import medians
from detector.core.model.index import Exact, build

ROUNDS = 2
NEIGHBOURS = 16  # centres compared per step of the search for a point's centre, itself included
# Average core events per cluster at least; with fewer, every event would be its own neighbour.
EVENTS_PER_CLUSTER = 16
# Medians over fewer customers could show one customer's transaction.
ENTITIES_SHOWN_MIN = 10
# Core events, evenly spread, of which the medians of everything are computed.
TYPICAL_OF = 1024
EVERYTHING = -2  # in place of a cluster's number: the whole core, if no near cluster has enough entities


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A copy of the core, n rows."""

    rows: Rows
    cluster: NDArray[np.int64]  # (n,) of each row; -1: in none

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw row numbers at random, with repetition."""
        return rng.integers(0, len(self.rows), count)


class Core:
    """A sample of accepted events: the first `len(core)` of `capacity` rows are in use."""

    def __init__(self, config: ClustersConfig, layout: Layout) -> None:
        self._memory_events, self._layout = config.memory_events, layout
        self.capacity = config.core_events
        self.rows = empty_rows(self.capacity, layout)
        # Cluster of each row in the served clusters; -1: it came later, or is in none.
        self.cluster = np.full(self.capacity, -1, dtype=np.int32)
        self._sampled = np.zeros(self.capacity, dtype=bool)  # whether the row is that of the last sample
        self._filled = 0

    def __len__(self) -> int:
        return self._filled

    def learn(self, rows: Rows, accepted: NDArray[np.int64], rng: np.random.Generator) -> None:
        """Add accepted events, given by their row numbers (m,).

        Once the core is full, each enters with probability capacity / memory.
        """
        free = min(self.capacity - self._filled, len(accepted))
        places = np.arange(self._filled, self._filled + free)
        self._filled += free
        if free:
            self._put(places, rows.take(accepted[:free]))
        late = accepted[free:]
        if len(late):
            chosen = late[rng.random(len(late)) < self.capacity / self._memory_events]
            self._put(rng.integers(0, self.capacity, len(chosen)), rows.take(chosen))

    def admit(self, rows: Rows, rng: np.random.Generator) -> None:
        """Add all of the rows, at random places once the core is full."""
        free = np.arange(self._filled, min(self._filled + len(rows), self.capacity))
        self._filled += len(free)
        places = np.concatenate([free, rng.integers(0, self.capacity, len(rows) - len(free))])
        self._put(places, rows)

    def restart(self, rows: Rows) -> None:
        """Hold the latest of these rows instead of all before."""
        rows = rows.take(slice(-self.capacity, None))
        self._filled = len(rows)
        self._put(np.arange(len(rows)), rows)

    def sample(self) -> Sample:
        """Copy the core, for clustering in a background thread."""
        self._sampled[: self._filled] = True
        return Sample(self.filled().copy(), self.cluster[: self._filled].astype(np.int64))

    def assign(self, cluster: NDArray[np.int64]) -> None:
        """Set the clusters (n,) of the last sample's rows; rows added since are in none."""
        self.cluster[: self._filled] = -1
        here = np.flatnonzero(self._sampled[: len(cluster)])
        self.cluster[here] = cluster[here]

    def filled(self) -> Rows:
        """Return views of the rows in use."""
        return self.rows.take(slice(0, self._filled))

    def forget(self, times: NDArray[np.float64], entities: NDArray[np.uint64]) -> int:
        """Remove events that turned out to be fraud, found by times (m,) and entities (m, E).

        Returns how many were removed.
        """
        rows = self.filled()
        wrong = np.isin(rows.times, times)
        if entities.shape[1]:
            known = set(zip(times.tolist(), entities[:, 0].tolist(), strict=True))
            for row in np.flatnonzero(wrong).tolist():
                wrong[row] = (float(rows.times[row]), int(rows.entities[row, 0])) in known
        kept = np.flatnonzero(~wrong)
        if len(kept) == len(wrong) or not len(kept):
            return 0
        self.keep(kept)
        return len(wrong) - len(kept)

    def held(self, entities: Keys) -> Counts:
        """Rows of the entities."""
        return {"normal_events": counted(entities, self.filled().main())}

    def erase(self, erased: Erased) -> None:
        """Drop these rows, also where none is left."""
        self.keep(np.flatnonzero(~np.isin(self.filled().main(), erased.entities)))
        rest = slice(self._filled, None)  # rows that are not in use are written anew before they are read
        self.rows.put(rest, empty_rows(self.capacity - self._filled, self._layout))

    def keep(self, kept: NDArray[np.int64]) -> None:
        """Keep these rows only, given by ascending numbers."""
        self.rows.put(slice(0, len(kept)), self.rows.take(kept))
        self.cluster[: len(kept)] = self.cluster[kept]
        self._filled = len(kept)

    def _put(self, places: NDArray[np.int64], rows: Rows) -> None:
        self.rows.put(places, rows)
        self.cluster[places] = -1
        self._sampled[places] = False

    def to_state(self) -> dict[str, Any]:
        return {"rows": self.filled().to_state(), "cluster": self.cluster[: self._filled].copy()}

    def load(self, state: Mapping[str, Any]) -> None:
        rows = Rows.from_state(state["rows"])
        self._filled = len(rows)
        self.rows.put(slice(0, self._filled), rows)
        self.cluster[: self._filled] = state["cluster"]


class Clusters:
    """K clusters of the core in the served embedding."""

    def __init__(self, config: ClustersConfig, index: IndexConfig, dimension: int) -> None:
        self._config = config
        self._index = index
        self.centres = np.zeros((0, dimension), dtype=np.float32)  # (K, D)
        self.sizes = np.zeros(0, dtype=np.int64)  # (K,) core events in each
        self.radii = np.zeros(0, dtype=np.float32)  # (K,) root mean square distance of these to the centre

    def __len__(self) -> int:
        return len(self.centres)

    def update(
        self, sample: Sample, embedded: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Cluster a sample of the core with embeddings `embedded` (n, D).

        Returns each row's cluster, (n,), -1 for none.
        """
        centres, previous = self._seeds(embedded, sample.cluster, rng)
        near = _Near(embedded, previous, centres, self._index)
        nearest = previous
        for _ in range(ROUNDS):
            nearest = near.find(centres)
            centres, sizes = _means(embedded, nearest, centres)
            kept = np.flatnonzero(sizes >= self._members_min(sizes))
            renumbered = np.full(len(centres), -1, dtype=np.int64)
            renumbered[kept] = np.arange(len(kept))
            centres, nearest = centres[kept], renumbered[nearest]
            near.keep(kept, renumbered)
        inside = nearest >= 0
        self.centres = centres
        self.sizes = np.bincount(nearest[inside], minlength=len(centres))
        squares = np.square(embedded[inside] - centres[nearest[inside]]).sum(axis=1)
        spread = np.bincount(nearest[inside], weights=squares, minlength=len(centres))
        self.radii = np.sqrt(spread / np.maximum(self.sizes, 1)).astype(np.float32)
        return nearest

    def _seeds(
        self, embedded: NDArray[np.float32], assigned: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """First centres, and for each event (n,) the number of its centre; -1: not known."""
        wanted = min(self._config.count_max, max(1, len(embedded) // EVENTS_PER_CLUSTER))
        means, sizes = _means(embedded, assigned, self.centres)
        kept = np.flatnonzero(sizes >= self._members_min(sizes))[:wanted]
        fresh = np.flatnonzero(assigned < 0)
        fresh = fresh[rng.permutation(len(fresh))][: wanted - len(kept)]
        seeds = np.concatenate([means[kept], embedded[fresh]])
        # Equal centres would disconnect the HNSW graph.
        distinct, place = np.unique(seeds, axis=0, return_inverse=True)
        place = place.reshape(-1)
        of_cluster = np.full(len(means) + 1, -1, dtype=np.int64)  # the last entry is for events in no cluster
        of_cluster[kept] = place[: len(kept)]
        begun = of_cluster[assigned]
        begun[fresh] = place[len(kept) :]
        return distinct, begun

    def _members_min(self, sizes: NDArray[np.int64]) -> int:
        """Least members of a cluster; the largest cluster always stays, as a model needs a centre."""
        return max(1, min(self._config.members_min, int(sizes.max(initial=0))))

    def to_state(self) -> dict[str, Any]:
        return {"centres": self.centres, "sizes": self.sizes, "radii": self.radii}

    def load(self, state: Mapping[str, Any]) -> None:
        self.centres, self.sizes, self.radii = state["centres"], state["sizes"], state["radii"]


def centres_of(points: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Find at most `count` centres of (n, D) points, by k-means from random points."""
    centres = np.unique(points[rng.permutation(len(points))[:count]], axis=0)
    for _ in range(ROUNDS):
        means, sizes = _means(points, Exact(centres).search(points, 1)[0][:, 0], centres)
        centres = means[sizes > 0]
    return centres


def nearest_squares(points: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared distance of each point to its nearest centre, (n,)."""
    return np.square(Exact(centres).search(points, 1)[1][:, 0])


class _Near:
    """Finds a centre near each of (n, D) points, starting from the point's previous centre.

    A point moves to the nearest neighbour of its centre as long as that is nearer. This costs a few
    distances, and nearly always finds the nearest centre of all, because centres and points have moved
    little.

    Parameters
    ----------
    begun : (n,) int64
        Number of each point's previous centre; -1: unknown, the index finds it.
    """

    def __init__(
        self,
        points: NDArray[np.float32],
        begun: NDArray[np.int64],
        centres: NDArray[np.float32],
        config: IndexConfig,
    ) -> None:
        index = build(centres, config)
        self._points = points
        self._neighbours, _ = index.search(centres, min(NEIGHBOURS, len(centres)))  # (K, m), itself first
        self._at = begun.copy()
        unknown = np.flatnonzero(begun < 0)
        if len(unknown):
            self._at[unknown] = index.search(points[unknown], 1)[0][:, 0]

    def find(self, centres: NDArray[np.float32]) -> NDArray[np.int64]:
        """Number of the centre near each point, (n,)."""
        self._at = _approach(self._points, centres, self._at, self._neighbours)
        return self._at

    def keep(self, kept: NDArray[np.int64], renumbered: NDArray[np.int64]) -> None:
        """Drop all but the kept centres; the others' points start at the nearest kept neighbour."""
        neighbours = renumbered[self._neighbours]
        nearest_kept = neighbours[np.arange(len(neighbours)), (neighbours >= 0).argmax(axis=1)]
        self._at = np.maximum(nearest_kept, 0)[self._at]
        self._neighbours = neighbours[kept]


@numba.njit(cache=True, nogil=True)
def _approach(points: Any, centres: Any, begun: Any, neighbours: Any) -> Any:
    nearest = np.empty(len(points), dtype=np.int64)
    for row in range(len(points)):
        best, at = begun[row], -1
        square = _square(points[row], centres[best])
        while best != at:
            at = best
            for number in neighbours[at]:
                if number >= 0:
                    candidate = _square(points[row], centres[number])
                    if candidate < square:
                        best, square = number, candidate
        nearest[row] = best
    return nearest


@numba.njit(cache=True, nogil=True)
def _square(point: Any, centre: Any) -> Any:
    square = np.float32(0.0)
    for column in range(len(point)):
        difference = point[column] - centre[column]
        square += difference * difference
    return square


RANGE = np.array([0.1, 0.9])
"""Quantiles between which a range of normal values lies."""


class Exemplars:
    """Typical events of each of K clusters: medians and ranges of their events in the core at a barrier.

    They are computed when they are first needed and kept until the next barrier. Events have left the core
    since the clusters were made, so the number of entities in each is counted again.
    """

    def __init__(self, core: Core, layout: Layout, count: int) -> None:
        self._rows = core.filled().copy()
        self._cluster = core.cluster[: len(core)].astype(np.int64)
        self._everything = np.arange(0, len(core), -(-len(core) // TYPICAL_OF) or 1)
        self._layout = layout
        columns = [kind.columns for kind in layout.kinds]
        self._kinds = np.array([(c.start, c.stop) for c in columns], dtype=np.int64)
        self._typical: dict[int, Rows] = {}
        self._ends: dict[int, NDArray[np.float64]] = {}
        # (K,) distinct main entities among the events of each cluster, and among those that stand for all;
        # the number of events if the schema has no entities.
        self.people = _distinct(self._cluster, self._rows.entities, count)
        everything = self._rows.entities[self._everything]
        self.everybody = int(_distinct(np.zeros(len(everything), dtype=np.int64), everything, 1)[0])

    def typical(self, cluster: int) -> Rows:
        """Return one row: medians of numerics and contexts, most frequent categories, mean time of day."""
        if cluster not in self._typical:
            self._typical[cluster] = self._median(self._rows.take(self._members(cluster)))
        return self._typical[cluster]

    def ends(self, cluster: int) -> NDArray[np.float64]:
        """Return the .1 and .9 quantiles of numerics, scaled, (2, J); NaN where all are missing."""
        if cluster not in self._ends:
            values = self._rows.numerics[self._members(cluster)]
            ends = np.empty((len(RANGE), values.shape[1]))
            medians.quantiles(values, RANGE, ends)
            self._ends[cluster] = ends
        return self._ends[cluster]

    def _members(self, cluster: int) -> Any:
        return self._everything if cluster == EVERYTHING else np.flatnonzero(self._cluster == cluster)

    def _median(self, members: Rows) -> Rows:
        typical = empty_rows(1, self._layout)
        medians.medians(members.numerics, True, typical.numerics[0])
        medians.most_frequent(members.categories, typical.categories[0])
        medians.seen_medians(members.context, self._kinds, typical.context[0])
        medians.medians(members.fraud_rates, False, typical.fraud_rates[0])
        typical.clocks[0] = _mean_time_of_day(members.clocks)
        return typical


def _distinct(cluster: NDArray[np.int64], entities: NDArray[np.uint64], count: int) -> NDArray[np.int64]:
    """Distinct main entities among the rows of each cluster, (count,); without entities the rows."""
    known = cluster >= 0
    if not entities.shape[1]:
        return np.bincount(cluster[known], minlength=count)
    known &= entities[:, 0] != 0
    of, entity = cluster[known], entities[known, 0]
    order = np.lexsort((entity, of))
    of, entity = of[order], entity[order]
    first = np.append(True, (np.diff(of) != 0) | (np.diff(entity) != 0))[: len(of)]
    return np.bincount(of[first], minlength=count)


def _mean_time_of_day(times: NDArray[np.float64]) -> float:
    phase = 2.0 * np.pi * times / DAY_S
    angle = np.arctan2(np.sin(phase).mean(), np.cos(phase).mean())
    return float(angle / (2.0 * np.pi) % 1.0 * DAY_S)


def _means(
    points: NDArray[np.float32], assigned: NDArray[np.int64], previous: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    inside = assigned >= 0
    count = len(previous)
    sizes = np.bincount(assigned[inside], minlength=count)
    sums = np.zeros((count, points.shape[1]))
    for column in range(points.shape[1]):
        sums[:, column] = np.bincount(assigned[inside], weights=points[inside, column], minlength=count)
    return (sums / np.maximum(sizes, 1)[:, None]).astype(np.float32), sizes
