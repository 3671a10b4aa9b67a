"""The embedding, searched: what an event is near to, and why.

    Embedded ─> SearchedSpace ─ similar(event, among) ─> neighbours, nearest first

    normal     clusters of the core, by the index that serves
    frauds     this partition's confirmed frauds that are still known
    recent     the newest events that the shard remembers for labels

All of them are embedded by the encoder that serves, so distances can be compared. Frauds and recent events
are all compared: for one question that costs less than to build a graph (`benchmarks.embedding.search`).

Why two events are near is found by exchange, as for reasons of alerts. One subject after the other (a field,
an entity, the time) takes the neighbour's values in the event: it sets them apart if the distance falls. Or
it takes the values that are typical of everything: it brings them together if the distance rises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from detector.core.features import Features, Layout, Rows
from detector.core.features.subjects import subjects_of
from detector.core.labels.event_buffer import Examples
from detector.core.model.clusters import ENTITIES_SHOWN_MIN, EVERYTHING
from detector.core.model.index import Exact
from detector.core.shard.embedded import Embedded
from detector.core.shard.embedding_map import said_of, usual_ranges

Among = Literal["normal", "frauds", "recent"]
AMONG: tuple[Among, ...] = get_args(Among)
RECENT_MAX = 65_536
SUBJECTS_MAX = 3  # told of a neighbour
# Part of all changes of the distance below which a subject is not told.
SHARE_MIN = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbour:
    """A cluster or an event near to another event."""

    distance: float  # between embeddings
    together: tuple[str, ...]  # subjects that bring them together, the strongest first
    apart: tuple[str, ...]  # subjects that set them apart
    cluster: int | None = None
    events: int = 1  # core events of the cluster
    ranges: Mapping[str, tuple[float, float]] | None = None  # .1 and .9 quantiles of its numerics
    offset: int | None = None  # of an event
    time: float | None = None  # of an event, s since the epoch; None: not known any more
    said: tuple[str, ...] = ()  # of an event: alerted, fraud, legitimate


class _Asked(NamedTuple):
    """The event whose neighbours are searched."""

    event: Examples
    at: NDArray[np.float32]  # (1, D) its embedding
    typical: NDArray[np.float32]  # (S, D) that with each subject as is typical of everything


class SearchedSpace:
    """See the module's text."""

    def __init__(self, embedded: Embedded) -> None:
        self._embedded = embedded
        self._layout, self._features = embedded.layout, embedded.features
        self._buffer, self._frauds = embedded.buffer, embedded.frauds
        self._subjects = _places_of(self._layout, self._features)

    def event(self, *, offset: int | None = None, id_hash: int | None = None) -> tuple[int, Examples] | None:
        """Offset of an event, and what the encoder saw of it; None: the shard does not remember it."""
        name, wanted = ("ids", id_hash) if offset is None else ("offsets", offset)
        assert wanted is not None
        found = list(self._buffer.find(name, [wanted]).values())
        if not found:
            return None
        numbers = np.array(found[-1:])
        return int(self._buffer.column("offsets", numbers)[0]), self._buffer.examples(numbers)

    def similar(
        self, event: Examples, among: Among, *, count: int, without: int | None = None
    ) -> list[Neighbour]:
        """Find what one event is near to, nearest first.

        Parameters
        ----------
        event
            One row.
        count
            At most so many.
        without
            Offset of the event itself, which is left out.
        """
        match among:
            case "normal":
                return self._clusters(event, count)
            case "frauds":
                own = np.flatnonzero(self._frauds.offsets != (-1 if without is None else without))
                return self._events(event, self._frauds.examples.take(own), self._frauds.offsets[own], count)
            case "recent":
                numbers = self._buffer.stored()[-RECENT_MAX - 1 :]
                offsets = self._buffer.column("offsets", numbers)
                kept = numbers[offsets != (-1 if without is None else without)][-RECENT_MAX:]
                examples = self._buffer.examples(kept)
                return self._events(event, examples, self._buffer.column("offsets", kept), count)

    def newest(self, count: int) -> Examples:
        """The newest events that are remembered, oldest first."""
        return self._buffer.examples(self._buffer.stored()[-count:])

    def embed(self, examples: Examples) -> NDArray[np.float32]:
        """Embeddings (n, D) of n events."""
        return self._embedded.embed(examples)

    def _clusters(self, event: Examples, count: int) -> list[Neighbour]:
        space, asked = self._embedded.space, self._asked(event)
        numbers, distances = space.nearest.search(asked.at, min(count, len(space.clusters)))
        found = []
        for number, distance in zip(numbers[0].tolist(), distances[0].tolist(), strict=True):
            together: tuple[str, ...] = ()
            apart, ranges = together, None
            if space.exemplars.people[number] >= ENTITIES_SHOWN_MIN:
                other = self._of(space.exemplars.typical(number))
                together, apart = self._why(asked, other, space.clusters.centres[number])
                ranges = usual_ranges(self._embedded, number)
            found.append(
                Neighbour(
                    distance=distance,
                    together=together,
                    apart=apart,
                    cluster=number,
                    events=int(space.clusters.sizes[number]),
                    ranges=ranges,
                )
            )
        return found

    def _of(self, row: Rows) -> Examples:
        """What the encoder sees of one row."""
        return Examples(self._features.compute(row), row.categories, row.grams)

    def _events(
        self, event: Examples, others: Examples, offsets: NDArray[np.int64], count: int
    ) -> list[Neighbour]:
        if not len(others):
            return []
        embedded, asked = self.embed(others), self._asked(event)
        numbers, distances = Exact(embedded).search(asked.at, min(count, len(others)))
        held = self._buffer.find("offsets", offsets[numbers[0]].tolist())
        found = []
        for number, distance in zip(numbers[0].tolist(), distances[0].tolist(), strict=True):
            together, apart = self._why(asked, others.take(slice(number, number + 1)), embedded[number])
            offset = int(offsets[number])
            time, said = self._known(held.get(offset))
            found.append(
                Neighbour(
                    distance=distance, together=together, apart=apart, offset=offset, time=time, said=said
                )
            )
        return found

    def _known(self, number: int | None) -> tuple[float | None, tuple[str, ...]]:
        """Time of an event, and what was said of it; None: only a fraud is known longer than its event."""
        if number is None:
            return None, ("fraud",)
        numbers = np.array([number])
        said = said_of(int(self._buffer.column("flags", numbers)[0]))
        return float(self._buffer.column("times", numbers)[0]), said

    def _asked(self, event: Examples) -> _Asked:
        everything = self._of(self._embedded.space.exemplars.typical(EVERYTHING))
        return _Asked(event, self.embed(event), self.embed(self._exchanged(event, everything)))

    def _why(
        self, asked: _Asked, other: Examples, at: NDArray[np.float32]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Subjects that bring an event together with another at `at` (D,), and those that set them apart."""
        here = np.linalg.norm(asked.at[0] - at)
        rises = np.linalg.norm(asked.typical - at, axis=1) - here
        falls = here - np.linalg.norm(self.embed(self._exchanged(asked.event, other)) - at, axis=1)
        return self._strongest(rises), self._strongest(falls)

    def _exchanged(self, event: Examples, other: Examples) -> Examples:
        """An event with another one's values of one subject, for each subject."""
        mixed = event.take(np.zeros(len(self._subjects), dtype=np.int64))
        for row, (columns, categories, texts) in enumerate(self._subjects.values()):
            mixed.inputs[row, columns] = other.inputs[0, columns]
            mixed.categories[row, categories] = other.categories[0, categories]
            mixed.grams[row, texts] = other.grams[0, texts]
        return mixed

    def _strongest(self, changes: NDArray[np.float64]) -> tuple[str, ...]:
        """Subjects with the largest changes above 0."""
        names, positive = list(self._subjects), np.maximum(changes, 0.0)
        order = np.argsort(-positive, kind="stable")[:SUBJECTS_MAX]
        return tuple(names[n] for n in order if positive[n] > SHARE_MIN * positive.sum())


def _places_of(layout: Layout, features: Features) -> dict[str, tuple[list[int], list[int], list[int]]]:
    """Inputs, categories and texts that are about each subject."""
    stores = (
        subjects_of(layout, features.columns),
        [place.name for place in layout.categories],
        [place.name for place in layout.texts],
    )
    places: dict[str, tuple[list[int], list[int], list[int]]] = {}
    for store, names in enumerate(stores):
        for number, name in enumerate(names):
            places.setdefault(name, ([], [], []))[store].append(number)
    return places
