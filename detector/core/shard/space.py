"""The embedding of one checkpoint, to be searched: what an event is near to, and why.

    checkpoint ─> SearchedSpace ─ similar(event, among) ─> neighbours, nearest first

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

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import ModelPart
from detector.core.features import Features, Layout, Rows, Units
from detector.core.features.subjects import subjects_of
from detector.core.labels.event_buffer import ALERTED, FRAUD, LEGITIMATE, EventBuffer, Examples
from detector.core.labels.replay_buffer import ReplayBuffer
from detector.core.model.clusters import ENTITIES_SHOWN_MIN, EVERYTHING, Core
from detector.core.model.index import Exact
from detector.core.model.serving import ServedModel
from detector.core.shard.sizing import fitted

Among = Literal["normal", "frauds", "recent"]
AMONG: tuple[Among, ...] = get_args(Among)
RECENT_MAX = 65_536
EMBEDDED_AT_ONCE = 8_192
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


class SearchedSpace:
    """See the module's text.

    Parameters
    ----------
    config, state
        Of a checkpoint.
    """

    def __init__(self, config: ModelPart, state: Mapping[str, Any]) -> None:
        model = fitted(config)
        self._layout = layout = Layout(config.event, model.features)
        self._features = features = Features(layout)
        core = Core(model.clusters, layout)
        core.load(state["core"])
        self._served = ServedModel(model, layout, features, np.random.default_rng(model.seed))
        self._served.load(state["served"], core)
        self._units = Units(state["units"])
        self._buffer = EventBuffer(model.labels, layout, len(features))
        self._buffer.load(state["buffer"])
        self._frauds = ReplayBuffer(self._buffer.examples(np.zeros(0, dtype=np.int64)))
        self._frauds.load(state["supervision"]["frauds"])
        self._subjects = subjects_of(layout, features.columns)

    @property
    def ready(self) -> bool:
        """Whether there is a model yet."""
        return self._served.ready

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
        pieces = [
            slice(start, start + EMBEDDED_AT_ONCE) for start in range(0, len(examples), EMBEDDED_AT_ONCE)
        ]
        embedded = [self._embed(examples.take(piece)) for piece in pieces or [slice(0, 0)]]
        return np.concatenate(embedded)

    def _embed(self, examples: Examples) -> NDArray[np.float32]:
        return self._served.space.encoder.encode(examples.inputs, examples)

    def _clusters(self, event: Examples, count: int) -> list[Neighbour]:
        space = self._served.space
        numbers, distances = space.nearest.search(self.embed(event), min(count, len(space.clusters)))
        found = []
        for number, distance in zip(numbers[0].tolist(), distances[0].tolist(), strict=True):
            together: tuple[str, ...] = ()
            apart, ranges = together, None
            if space.exemplars.people[number] >= ENTITIES_SHOWN_MIN:
                other = self._of(space.exemplars.typical(number))
                together, apart = self._why(event, other, space.clusters.centres[number])
                ranges = self._ranges(number)
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

    def _ranges(self, cluster: int) -> dict[str, tuple[float, float]]:
        """Ranges of a cluster's numerics that alerts may show, in the fields' units."""
        lows, highs = self._units.restore(self._served.space.exemplars.ends(cluster)).tolist()
        return {
            place.name: (low, high)
            for place, low, high in zip(self._layout.numerics, lows, highs, strict=True)
            if place.field.echo and not math.isnan(low)
        }

    def _events(
        self, event: Examples, others: Examples, offsets: NDArray[np.int64], count: int
    ) -> list[Neighbour]:
        if not len(others):
            return []
        embedded = self.embed(others)
        numbers, distances = Exact(embedded).search(self.embed(event), min(count, len(others)))
        found = []
        for number, distance in zip(numbers[0].tolist(), distances[0].tolist(), strict=True):
            together, apart = self._why(event, others.take(slice(number, number + 1)), embedded[number])
            offset = int(offsets[number])
            time, said = self._known(offset)
            found.append(
                Neighbour(
                    distance=distance, together=together, apart=apart, offset=offset, time=time, said=said
                )
            )
        return found

    def _known(self, offset: int) -> tuple[float | None, tuple[str, ...]]:
        """Time of an event, and what was said of it; frauds are known longer than their events."""
        numbers = np.array(list(self._buffer.find("offsets", [offset]).values()), dtype=np.int64)
        if not len(numbers):
            return None, ("fraud",)
        flags = int(self._buffer.column("flags", numbers)[0])
        names = {ALERTED: "alerted", FRAUD: "fraud", LEGITIMATE: "legitimate"}
        return float(self._buffer.column("times", numbers)[0]), tuple(
            name for flag, name in names.items() if flags & flag
        )

    def _why(
        self, event: Examples, other: Examples, at: NDArray[np.float32]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Subjects that bring an event together with another at `at` (D,), and those that set them apart."""
        names = list(dict.fromkeys(self._all_subjects()))
        everything = self._of(self._served.space.exemplars.typical(EVERYTHING))
        exchanged = [self._exchanged(event, source, name) for source in (everything, other) for name in names]
        here = float(np.linalg.norm(self.embed(event)[0] - at))
        there = np.linalg.norm(self.embed(_joined(exchanged)) - at, axis=1)
        rises, falls = there[: len(names)] - here, here - there[len(names) :]
        return _strongest(names, rises), _strongest(names, falls)

    def _all_subjects(self) -> Sequence[str]:
        places = *self._layout.categories, *self._layout.texts
        return (*self._subjects, *(place.name for place in places))

    def _exchanged(self, event: Examples, other: Examples, subject: str) -> Examples:
        """An event with another one's values of one subject."""
        columns = [number for number, name in enumerate(self._subjects) if name == subject]
        categories = [n for n, place in enumerate(self._layout.categories) if place.name == subject]
        texts = [n for n, place in enumerate(self._layout.texts) if place.name == subject]
        mixed = Examples(event.inputs.copy(), event.categories.copy(), event.grams.copy())
        mixed.inputs[:, columns] = other.inputs[:, columns]
        mixed.categories[:, categories] = other.categories[:, categories]
        mixed.grams[:, texts] = other.grams[:, texts]
        return mixed


def _joined(examples: Sequence[Examples]) -> Examples:
    return Examples(
        np.concatenate([one.inputs for one in examples]),
        np.concatenate([one.categories for one in examples]),
        np.concatenate([one.grams for one in examples]),
    )


def _strongest(names: Sequence[str], changes: NDArray[np.float64]) -> tuple[str, ...]:
    """Names of the largest changes above 0."""
    positive = np.maximum(changes, 0.0)
    order = np.argsort(-positive, kind="stable")[:SUBJECTS_MAX]
    return tuple(names[n] for n in order if positive[n] > SHARE_MIN * positive.sum())
