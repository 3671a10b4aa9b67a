"""Normal behaviour: a bounded sample of accepted events (the *core*) and the clusters it forms.

The core holds raw rows, not embeddings, so that each new encoder can embed it afresh. It forgets
exponentially: an accepted event comes in with probability capacity / memory and takes a random place
(Aggarwal 2006). What was not accepted never comes in, however often it is seen.

Before a barrier a sample of the core is embedded again and clustered from where the clusters were: previous
members give the first centres, unassigned events the rest, two rounds of k-means follow, and clusters of
fewer than `members_min` events are dropped: what few do is not normal yet.
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
from detector.core.features import DAY_S, Layout, Rows, empty_rows
from detector.core.model.index import Exact, build

ROUNDS = 2
BESIDE = 16  # centres that count as beside one
# A cluster of so many core events on average; fewer would make every event its own neighbour.
EVENTS_PER_CLUSTER = 16
# Medians over fewer customers could be one customer's transaction.
ENTITIES_SHOWN_MIN = 10
# Core events, evenly spread, that stand for all where medians of everything are told.
TYPICAL_OF = 1024
EVERYTHING = -2  # stands for the whole core, where no near cluster is shared by so many


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """The core as it was; n rows."""

    rows: Rows
    cluster: NDArray[np.int64]  # (n,) of each row; -1: in none

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw row numbers at random, with repetition."""
        return rng.integers(0, len(self.rows), count)


class Core:
    """Accepted events; `rows` has `capacity` rows of which the first `len(core)` are filled."""

    def __init__(self, config: ClustersConfig, layout: Layout) -> None:
        self._memory_events = config.memory_events
        self.capacity = config.core_events
        self.rows = empty_rows(self.capacity, layout)
        # Cluster of each row in what serves; -1: came since it was made, or lies in none.
        self.cluster = np.full(self.capacity, -1, dtype=np.int32)
        self._sampled = np.zeros(self.capacity, dtype=bool)  # is still the row of the last sample
        self._filled = 0

    def __len__(self) -> int:
        return self._filled

    def learn(self, rows: Rows, accepted: NDArray[np.int64], rng: np.random.Generator) -> None:
        """Take in accepted events, given by their row numbers (m,)."""
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
        """Take in events for certain, at random places once it is full."""
        free = np.arange(self._filled, min(self._filled + len(rows), self.capacity))
        self._filled += len(free)
        places = np.concatenate([free, rng.integers(0, self.capacity, len(rows) - len(free))])
        self._put(places, rows)

    def sample(self) -> Sample:
        """A copy to make clusters of."""
        self._sampled[: self._filled] = True
        return Sample(self.filled().copy(), self.cluster[: self._filled].astype(np.int64))

    def assign(self, cluster: NDArray[np.int64]) -> None:
        """Take the clusters (n,) that were made of the last sample; rows that came since are in none."""
        self.cluster[: self._filled] = -1
        here = np.flatnonzero(self._sampled[: len(cluster)])
        self.cluster[here] = cluster[here]

    def filled(self) -> Rows:
        """Rows in use (views)."""
        return self.rows.take(slice(0, self._filled))

    def forget(self, times: NDArray[np.float64], entities: NDArray[np.uint64]) -> int:
        """Take out what turned out to be fraud, known by times and entities (m, E); returns how many."""
        rows = self.filled()
        wrong = np.isin(rows.times, times)
        if entities.shape[1]:
            known = set(zip(times.tolist(), entities[:, 0].tolist(), strict=True))
            for row in np.flatnonzero(wrong).tolist():
                wrong[row] = (float(rows.times[row]), int(rows.entities[row, 0])) in known
        kept = np.flatnonzero(~wrong)
        if len(kept) == len(wrong) or not len(kept):
            return 0
        self.rows.put(slice(0, len(kept)), rows.take(kept))
        self.cluster[: len(kept)] = self.cluster[kept]
        self._filled = len(kept)
        return len(wrong) - len(kept)

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
    """Clusters of the core in the embedding that serves; K of them."""

    def __init__(self, config: ClustersConfig, index: IndexConfig, dimension: int) -> None:
        self._config = config
        self._index = index
        self.centres = np.zeros((0, dimension), dtype=np.float32)  # (K, D)
        self.sizes = np.zeros(0, dtype=np.int64)  # (K,) core events in each
        self.radii = np.zeros(0, dtype=np.float32)  # (K,) root mean square distance of these to the centre

    def __len__(self) -> int:
        return len(self.centres)

    def renew(
        self, sample: Sample, embedded: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Cluster a sample of the core, of which `embedded` (n, D) are the embeddings.

        Returns each event's cluster, -1 for none, (n,).
        """
        centres, begun = self._seeds(embedded, sample.cluster, rng)
        near = _Near(embedded, begun, centres, self._index)
        nearest = begun
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
        """Centres to begin with, and the one of each event (n,) that is known; -1: none."""
        wanted = min(self._config.count_max, max(1, len(embedded) // EVENTS_PER_CLUSTER))
        means, sizes = _means(embedded, assigned, self.centres)
        kept = np.flatnonzero(sizes >= self._members_min(sizes))[:wanted]
        fresh = np.flatnonzero(assigned < 0)
        fresh = fresh[rng.permutation(len(fresh))][: wanted - len(kept)]
        seeds = np.concatenate([means[kept], embedded[fresh]])
        # Equal ones would cut the graph apart.
        distinct, place = np.unique(seeds, axis=0, return_inverse=True)
        place = place.reshape(-1)
        of_cluster = np.full(len(means) + 1, -1, dtype=np.int64)  # the last one is for those in no cluster
        of_cluster[kept] = place[: len(kept)]
        begun = of_cluster[assigned]
        begun[fresh] = place[len(kept) :]
        return distinct, begun

    def _members_min(self, sizes: NDArray[np.int64]) -> int:
        """The largest stays in any case: without a centre nothing could be told from anything."""
        return max(1, min(self._config.members_min, int(sizes.max(initial=0))))

    def to_state(self) -> dict[str, Any]:
        return {"centres": self.centres, "sizes": self.sizes, "radii": self.radii}

    def load(self, state: Mapping[str, Any]) -> None:
        self.centres, self.sizes, self.radii = state["centres"], state["sizes"], state["radii"]


def centres_of(points: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """At most `count` centres of (n, D) points, by k-means from random ones."""
    centres = np.unique(points[rng.permutation(len(points))[:count]], axis=0)
    for _ in range(ROUNDS):
        means, sizes = _means(points, Exact(centres).search(points, 1)[0][:, 0], centres)
        centres = means[sizes > 0]
    return centres


def nearest_squares(points: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared distance of each point to its nearest centre, (n,)."""
    return np.square(Exact(centres).search(points, 1)[1][:, 0])


class _Near:
    """Finds the centre near each of (n, D) points from the one that it had.

    A point goes to the nearest centre beside its own while that is nearer: of the cost of a few distances,
    and nearly always the nearest of all, as centres and points have moved little.

    Parameters
    ----------
    begun : (n,) int64
        Number of each point's centre; -1: not known, it is searched for.
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
        self._beside, _ = index.search(centres, min(BESIDE, len(centres)))  # (K, m), itself first
        self._at = begun.copy()
        unknown = np.flatnonzero(begun < 0)
        if len(unknown):
            self._at[unknown] = index.search(points[unknown], 1)[0][:, 0]

    def find(self, centres: NDArray[np.float32]) -> NDArray[np.int64]:
        """Number of the centre near each point, (n,)."""
        self._at = _approach(self._points, centres, self._at, self._beside)
        return self._at

    def keep(self, kept: NDArray[np.int64], renumbered: NDArray[np.int64]) -> None:
        """Go on without some centres; their points begin at a kept one beside them."""
        beside = renumbered[self._beside]
        heirs = beside[np.arange(len(beside)), (beside >= 0).argmax(axis=1)]
        self._at = np.maximum(heirs, 0)[self._at]
        self._beside = beside[kept]


@numba.njit(cache=True, nogil=True)
def _approach(points: Any, centres: Any, begun: Any, beside: Any) -> Any:
    nearest = np.empty(len(points), dtype=np.int64)
    for row in range(len(points)):
        best, at = begun[row], -1
        square = _square(points[row], centres[best])
        while best != at:
            at = best
            for number in beside[at]:
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


class Exemplars:
    """What is typical of each of K clusters: medians of their events that the core held at a barrier.

    Computed when asked for and kept until the next barrier; asking changes nothing. Events have left the core
    since the clusters were made, so whether enough people share one is a matter of now, too.
    """

    def __init__(self, core: Core, layout: Layout, count: int) -> None:
        self._rows = core.filled().copy()
        self._cluster = core.cluster[: len(core)].astype(np.int64)
        self._everything = slice(None, None, -(-len(core) // TYPICAL_OF))
        self._layout = layout
        self._typical: dict[int, Rows] = {}
        # (K,) distinct main entities among the events of each cluster, and of those that stand for all;
        # events, where there are no entities.
        self.people = _distinct(self._cluster, self._rows.entities, count)
        everything = self._rows.entities[self._everything]
        self.everybody = int(_distinct(np.zeros(len(everything), dtype=np.int64), everything, 1)[0])

    def typical(self, cluster: int) -> Rows:
        """One row: medians of numerics and contexts, the most frequent category, the mean time of day."""
        if cluster not in self._typical:
            everything = cluster == EVERYTHING
            of = self._everything if everything else np.flatnonzero(self._cluster == cluster)
            self._typical[cluster] = self._median(self._rows.take(of))
        return self._typical[cluster]

    def _median(self, members: Rows) -> Rows:
        typical = empty_rows(1, self._layout)
        for column in range(members.numerics.shape[1]):
            known = members.numerics[:, column]
            known = known[~np.isnan(known)]
            typical.numerics[0, column] = np.median(known) if len(known) else np.nan
        for column in range(members.categories.shape[1]):
            values, counts = np.unique(members.categories[:, column], return_counts=True)
            typical.categories[0, column] = values[counts.argmax()]
        for kind in self._layout.kinds:
            context = members.context[:, kind.columns]
            never = np.isnan(context[:, 0])
            seen = context[~never] if never.mean() < 0.5 else context[never]
            typical.context[0, kind.columns] = np.median(seen, axis=0)
        typical.fraud_rates[0] = np.median(members.fraud_rates, axis=0)
        typical.clocks[0] = _mean_time_of_day(members.clocks)
        return typical


def _distinct(cluster: NDArray[np.int64], entities: NDArray[np.uint64], count: int) -> NDArray[np.int64]:
    """Distinct main entities among the rows of each cluster, (count,); rows, where there are none."""
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
