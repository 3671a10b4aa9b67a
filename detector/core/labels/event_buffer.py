"""Recent events as the encoder saw them, so that a late label finds its input.

A ring buffer by event number. It grows by doubling up to its limit. Then the oldest events are overwritten.
Those that were alerted or labelled stay in an archive until `labels.answerable_for` is over, and so does a
sample of the others (see `event_archive`). A label for any other event finds nothing: it is forgotten.

Rules
    - Inputs are stored as they were when the event was scored: a label must not teach what happened after the
      event.
    - Inputs are stored as half floats: their eleven bits distinguish more values than the encoder's eight
      bins.
    - Alerted events are also stored as whole rows, because an alert answered as legitimate is added to the
      core of normal events.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Labels as LabelsConfig
from detector.core.erasure import Counts, Erased, Keys, counted
from detector.core.events import TEXT_GRAMS_MAX
from detector.core.features import Layout, Rows, empty_rows
from detector.core.labels.event_archive import EventArchive

ALERTED, FRAUD, LEGITIMATE = 1, 2, 4
"""Flags of an event; they may be combined."""

# Parts of the bytes: recent events get two thirds at most, the sample of older ones as much as a quarter of
# the recent ones, alerted and labelled older ones the rest.
RECENT_PART, SAMPLED_PART = (2, 3), 4
ALERTED_MAX = 4096  # alerted events stored as whole rows
_GROWS_FROM = 4096  # places at first
HALF_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Encoder inputs and hashes of n events, to learn from."""

    inputs: NDArray[np.float32]  # (n, F)
    categories: NDArray[np.uint64]  # (n, C)
    grams: NDArray[np.uint32]  # (n, T, G)

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, index: Any) -> Examples:
        """Select rows, as numpy's indexing does."""
        return Examples(self.inputs[index], self.categories[index], self.grams[index])

    def to_state(self) -> dict[str, Any]:
        return {"inputs": self.inputs, "categories": self.categories, "grams": self.grams}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Examples:
        return cls(state["inputs"], state["categories"], state["grams"])

    def joined(self, other: Examples) -> Examples:
        """These events and then `other`."""
        return Examples(
            np.concatenate([self.inputs, other.inputs]),
            np.concatenate([self.categories, other.categories]),
            np.concatenate([self.grams, other.grams]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How many events are stored at most, and in how many bytes."""

    recent: int
    kept: int  # older ones that were alerted or labelled
    sampled: int  # other older ones
    row_bytes: int  # of one event; older ones take OLDER_BYTES more

    @property
    def bytes_max(self) -> int:
        """Bytes of all of them, without whole rows of alerted events."""
        older = (self.kept + self.sampled) * (self.row_bytes + OLDER_BYTES)
        return self.recent * self.row_bytes + older


ERASED = -1  # offset of a place without an event, and of an event that was erased
OLDER_BYTES = 9  # of an older event: its number and its level


def sizes(config: LabelsConfig, layout: Layout, inputs: int) -> Sizes:
    """How many events the buffer stores with this configuration; see `EventBuffer` for the parameters."""
    kinds = _kinds(layout, inputs).values()
    row_bytes = sum(np.dtype(kind).itemsize * int(np.prod(shape)) for shape, kind, _ in kinds)
    most = config.buffer_bytes_max // (row_bytes + OLDER_BYTES)
    recent = max(1024, min(config.buffer_events_max, most * RECENT_PART[0] // RECENT_PART[1]))
    sampled = recent // SAMPLED_PART
    older = (config.buffer_bytes_max - recent * row_bytes) // (row_bytes + OLDER_BYTES)
    return Sizes(recent=recent, kept=max(sampled, older - sampled), sampled=sampled, row_bytes=row_bytes)


def ring_of(events: int, capacity: int) -> int:
    """Places of the ring of recent events, once there were so many."""
    size = min(_GROWS_FROM, capacity)
    while size < min(events, capacity):
        size = min(2 * size, capacity)
    return size


def _kinds(layout: Layout, inputs: int) -> dict[str, tuple[tuple[int, ...], Any, Any]]:
    """Columns: shape of one value, dtype, value of an empty place."""
    columns = len(layout.entities) + len(layout.categories)
    return {
        "offsets": ((), np.int64, ERASED),
        "ids": ((), np.uint64, 0),
        "times": ((), np.float64, 0.0),
        "keys": ((columns,), np.uint64, 0),
        "inputs": ((inputs,), np.float16, 0.0),
        "grams": ((len(layout.texts), TEXT_GRAMS_MAX), np.uint32, 0),
        "plain": ((), np.float32, 0.0),
        "labelled": ((), np.float32, np.nan),
        "flags": ((), np.uint8, 0),
    }


class EventBuffer:
    """The event buffer of one shard. Events are numbered from 0 in log order.

    Parameters
    ----------
    config
        Its `buffer_events_max`, `buffer_bytes_max` and `answerable_for` limit the buffer.
    inputs
        F, the number of the encoder's inputs.
    """

    def __init__(self, config: LabelsConfig, layout: Layout, inputs: int) -> None:
        self.entities = len(layout.entities)
        self._kinds = _kinds(layout, inputs)
        limits = sizes(config, layout, inputs)
        self.capacity = limits.recent
        self._answerable_for_s = config.answerable_for
        self.events = 0  # events ever appended
        self._first = 0  # number of the first event in this buffer; a smaller buffer lost those before it
        self._first_offset = -1  # offset of the first event ever appended; -1: there was none
        self._alerted: OrderedDict[int, Rows] = OrderedDict()  # by event number, one row each; oldest first
        self._erased = False  # whether any recent event was erased
        self._allocate(0)
        self.older = EventArchive(self._arrays, limits.kept, limits.sampled)
        self._allocate(min(_GROWS_FROM, self.capacity))

    def _allocate(self, size: int) -> None:
        self._arrays = {
            name: np.full((size, *shape), empty, dtype=kind)
            for name, (shape, kind, empty) in self._kinds.items()
        }

    @property
    def size(self) -> int:
        """Places of the ring as it is now."""
        return len(self._arrays["ids"])

    @property
    def oldest(self) -> int:
        """Number of the oldest recent event, from which on all are stored."""
        return max(self._first, self.events - self.size)

    def remember(
        self,
        *,
        ids: NDArray[np.uint64],
        offsets: NDArray[np.int64],
        rows: Rows,
        inputs: NDArray[np.float32],
        plain: NDArray[np.float64],
        labelled: NDArray[np.float64],
        alerted: NDArray[np.bool_],
    ) -> None:
        """Store n scored events.

        Parameters
        ----------
        ids : (n,) uint64
            Hashes of the event ids.
        plain, labelled : (n,) float64
            Distances without labels, and of the labelled parts.
        """
        self.append(
            ids=ids,
            offsets=offsets,
            times=rows.times,
            keys=rows.keys(),
            inputs=halves(inputs),
            grams=rows.grams,
            plain=plain,
            labelled=labelled,
            flags=np.where(alerted, np.uint8(ALERTED), np.uint8(0)),
        )
        first = self.events - len(ids)
        for i in np.flatnonzero(alerted).tolist():
            self._alerted[first + i] = rows.take(slice(i, i + 1)).copy()
        while len(self._alerted) > ALERTED_MAX:
            self._alerted.popitem(last=False)

    def append(self, **columns: NDArray[Any]) -> None:
        """Store n events, given as one array (n, ...) per column; the oldest leave the ring."""
        if self._first_offset < 0 and len(columns["offsets"]):
            self._first_offset = int(columns["offsets"][0])
        self._reserve(len(columns["ids"]))
        for start in range(0, len(columns["ids"]), self.size):
            piece = {name: values[start : start + self.size] for name, values in columns.items()}
            count = len(piece["ids"])
            self._archive(max(self.oldest, self.events + count - self.size))
            self._write(self.events, piece)
            self.events += count

    def _archive(self, until: int) -> None:
        """Let the recent events before number `until` leave the ring."""
        oldest = self.oldest
        if oldest >= until:
            return
        offsets, flags = (self._recent(name, oldest, until) for name in ("offsets", "flags"))
        leaving = oldest + np.flatnonzero(self.older.chosen(offsets, flags) & (offsets != ERASED))
        if len(leaving):
            self.older.add(
                {"numbers": leaving, **{name: self.column(name, leaving) for name in self._arrays}}
            )

    def expire(self, now: float) -> None:
        """Forget older events for which `labels.answerable_for` is over at event time `now`, s."""
        self.older.expire(now - self._answerable_for_s)

    def stored(self, first: int = 0, end: int | None = None) -> NDArray[np.int64]:
        """Numbers (n,) of all stored events from `first` to before `end`, older ones too, ascending."""
        end = self.events if end is None else end
        older = self.older.numbers
        older = older[np.searchsorted(older, first) : np.searchsorted(older, end)]
        return np.concatenate([older, self._present(max(first, self.oldest), end)])

    def _present(self, first: int, end: int) -> NDArray[np.int64]:
        """Numbers of recent events from `first` to before `end`, without those that were erased."""
        if not self._erased or first >= end:
            return np.arange(first, end)
        return first + np.flatnonzero(self._recent("offsets", first, end) != ERASED)

    def main(self, numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Main entity of each of the events `numbers` (m,); 0: none."""
        keys = self.column("keys", numbers)
        return keys[:, 0] if self.entities else np.zeros(len(numbers), dtype=np.uint64)

    def numbers_of(self, entities: Keys) -> NDArray[np.int64]:
        """Numbers of all stored events of some entities, ascending."""
        held = self.stored()
        return held[np.isin(self.main(held), entities)]

    def held(self, entities: Keys) -> Counts:
        """Events of the entities."""
        return {"events": counted(entities, self.main(self.stored()))}

    def erase(self, erased: Erased) -> None:
        """Drop these events. Recent ones leave an empty place, which no one sees."""
        numbers = self.numbers_of(erased.entities)
        for number in numbers.tolist():
            self._alerted.pop(number, None)
        self.older.erase(numbers)
        places = self._places(numbers[numbers >= self.oldest])
        self._erased |= len(places) > 0
        for name, (_, _, empty) in self._kinds.items():
            self._arrays[name][places] = empty

    def weights(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """How many events each of the stored events `numbers` (m,) stands for: 1 for recent ones."""
        weights = np.ones(len(numbers))
        older = np.flatnonzero(numbers < self.oldest)
        if len(older):
            weights[older] = self.older.weights(numbers[older])
        return weights

    def column(self, name: str, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Values (m, ...) of one column, of the events `numbers` (m,); all of them must be stored."""
        older = numbers < self.oldest
        if not older.any():
            recent: NDArray[Any] = self._arrays[name][self._places(numbers)]
            return recent
        values = np.empty((len(numbers), *self._arrays[name].shape[1:]), dtype=self._arrays[name].dtype)
        values[older] = self.older.column(name, numbers[older])
        values[~older] = self._arrays[name][self._places(numbers[~older])]
        return values

    def examples(self, numbers: NDArray[np.int64]) -> Examples:
        """What the encoder saw of the events `numbers` (m,)."""
        return Examples(
            self.column("inputs", numbers).astype(np.float32),
            self.column("keys", numbers)[:, self.entities :],
            self.column("grams", numbers),
        )

    def rows(self, numbers: NDArray[np.int64], layout: Layout) -> Rows:
        """Times, keys and texts of the events `numbers` (m,); all else is missing."""
        rows, keys = empty_rows(len(numbers), layout), self.column("keys", numbers)
        rows.times[:], rows.grams[:] = self.column("times", numbers), self.column("grams", numbers)
        rows.entities[:], rows.categories[:] = keys[:, : self.entities], keys[:, self.entities :]
        return rows

    def alerted_rows(self, numbers: Iterable[int]) -> list[Rows]:
        """Rows of those events among `numbers` that were alerted and are still stored, one row each."""
        return [self._alerted[number] for number in numbers if number in self._alerted]

    def put_flags(self, number: int, flags: int) -> None:
        """Replace the flags of one event."""
        if number < self.oldest:
            self.older.put_flags(number, flags)
        else:
            self._arrays["flags"][number % self.size] = flags

    def gauges(self) -> dict[str, float]:
        """Numbers for the metrics."""
        return {
            "answerable": float(self.events - self.oldest + len(self.older)),
            "answerable_share": self.older.share,
            "answerable_dropped": float(self.older.dropped),
        }

    def was_here(self, offset: int) -> bool:
        """Whether an offset is from before the recent events, but not from before the first event."""
        numbers = self._present(self.oldest, self.events)[:1]
        if not len(numbers):
            return False
        recent = int(self.column("offsets", numbers)[0])
        return self._first_offset <= offset < recent

    def find(self, name: str, wanted: Sequence[int]) -> dict[int, int]:
        """Find events by a column of whole numbers, "ids" or "offsets".

        Returns
        -------
        dict[int, int]
            Value -> number of the latest event with it. Values that no event has are left out.
        """
        held = self._present(self.oldest, self.events)
        values = self._recent(name, self.oldest, self.events)
        if self._erased:
            values = values[held - self.oldest]
        possible = [value for value in wanted if value <= np.iinfo(values.dtype).max]
        sought = np.array(possible, dtype=values.dtype)
        hits = np.flatnonzero(np.isin(values, sought))
        recent = dict(zip(values[hits].tolist(), held[hits].tolist(), strict=True))
        return {**self.older.find(name, sought), **recent} if len(sought) else {}

    def _places(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return numbers % self.size

    def _slices(self, first: int, end: int) -> list[slice]:
        """Places of the events from `first` to before `end`, at most as many as the ring has places."""
        start, stop = first % self.size, first % self.size + end - first
        if stop <= self.size:
            return [slice(start, stop)]
        return [slice(start, self.size), slice(0, stop - self.size)]

    def _write(self, first: int, columns: Mapping[str, NDArray[Any]]) -> None:
        """Put events where those from number `first` on belong, given as one array (n, ...) per column."""
        here, count = 0, len(next(iter(columns.values())))
        for places in self._slices(first, first + count):
            part = slice(here, here + places.stop - places.start)
            for name, values in columns.items():
                self._arrays[name][places] = values[part]
            here = part.stop

    def _recent(self, name: str, first: int, end: int) -> NDArray[Any]:
        """Values (n, ...) of a column, of recent events from `first` to before `end`; a view if it can be."""
        pieces = [self._arrays[name][places] for places in self._slices(first, end)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _reserve(self, count: int) -> None:
        size = ring_of(self.events + count, self.capacity)
        if size > self.size:
            self._resize(size)

    def _resize(self, size: int) -> None:
        first = max(self.oldest, self.events - size)
        kept = {name: self._recent(name, first, self.events) for name in self._arrays}
        self._allocate(size)
        self._write(first, kept)

    def to_state(self) -> dict[str, Any]:
        """State, as copies; of older events views, which stay as they are."""
        alerted = {
            "numbers": np.array(list(self._alerted), dtype=np.int64),
            "rows": Rows.joined(list(self._alerted.values())).to_state() if self._alerted else {},
        }
        columns = {name: self._recent(name, self.oldest, self.events).copy() for name in self._arrays}
        older = {"first_offset": self._first_offset, **self.older.to_state()}
        return {"events": self.events, "alerted": alerted, "older": older, **columns}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned; in a smaller buffer fewer events are recent."""
        self.older.load(state["older"])
        self._first_offset = state["older"]["first_offset"]
        self._erased = bool((state["offsets"] == ERASED).any())
        count = len(state["ids"])
        self.events = self._first = int(state["events"]) - count
        self._allocate(ring_of(count, self.capacity))
        self.append(**{name: state[name] for name in self._arrays})
        numbers = state["alerted"]["numbers"].tolist()
        rows = Rows.from_state(state["alerted"]["rows"]) if numbers else None
        self._alerted = OrderedDict(
            (number, rows.take(slice(i, i + 1))) for i, number in enumerate(numbers) if rows is not None
        )


def halves(inputs: NDArray[np.float32]) -> NDArray[np.float16]:
    """Inputs as half floats; values beyond their range are clipped, so the result is finite."""
    return np.clip(inputs, -HALF_MAX, HALF_MAX).astype(np.float16)
