"""Recent events as the encoder saw them, so that a late label finds its input.

A ring buffer by event number. It grows by doubling up to its limit. Then the oldest events are overwritten,
and a label for one of them finds nothing.

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
from detector.core.events import TEXT_GRAMS_MAX
from detector.core.features import Layout, Rows

ALERTED, FRAUD, LEGITIMATE = 1, 2, 4
"""Flags of an event; they may be combined."""

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


class EventBuffer:
    """The ring buffer of one shard. Events are numbered from 0 in log order.

    Parameters
    ----------
    config
        Its `buffer_events_max` and `buffer_bytes_max` limit the buffer.
    inputs
        F, the number of the encoder's inputs.
    """

    def __init__(self, config: LabelsConfig, layout: Layout, inputs: int) -> None:
        self._entities = len(layout.entities)
        columns = len(layout.entities) + len(layout.categories)
        # Shape of one value, dtype, value of an empty place.
        self._kinds: dict[str, tuple[tuple[int, ...], Any, Any]] = {
            "offsets": ((), np.int64, -1),
            "ids": ((), np.uint64, 0),
            "times": ((), np.float64, 0.0),
            "keys": ((columns,), np.uint64, 0),
            "inputs": ((inputs,), np.float16, 0.0),
            "grams": ((len(layout.texts), TEXT_GRAMS_MAX), np.uint32, 0),
            "plain": ((), np.float32, 0.0),
            "labelled": ((), np.float32, np.nan),
            "flags": ((), np.uint8, 0),
        }
        row_bytes = sum(
            np.dtype(kind).itemsize * int(np.prod(shape)) for shape, kind, _ in self._kinds.values()
        )
        self.capacity = max(1024, min(config.buffer_events_max, config.buffer_bytes_max // row_bytes))
        self.events = 0  # events ever appended
        self._first = 0  # number of the first event in this buffer; a smaller buffer lost those before it
        self._alerted: OrderedDict[int, Rows] = OrderedDict()  # by event number, one row each; oldest first
        self._allocate(min(_GROWS_FROM, self.capacity))

    def _allocate(self, size: int) -> None:
        self._arrays = {
            name: np.full((size, *shape), empty, dtype=kind)
            for name, (shape, kind, empty) in self._kinds.items()
        }

    @property
    def bytes_max(self) -> int:
        """Bytes of the arrays once all places are taken."""
        held = sum(int(array.nbytes) for array in self._arrays.values())
        places: int = self.capacity
        return places * (held // self.size)

    @property
    def size(self) -> int:
        """Places of the ring as it is now."""
        return len(self._arrays["ids"])

    @property
    def oldest(self) -> int:
        """Number of the oldest event that is still stored."""
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
        """Store n events, given as one array (n, ...) per column; the oldest are overwritten."""
        count = len(columns["ids"])
        self._reserve(count)
        places = self._places(np.arange(self.events, self.events + count))
        for name, values in columns.items():
            self._arrays[name][places] = values
        self.events += count

    def column(self, name: str, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Values (m, ...) of one column, of the events `numbers` (m,); all of them must be in the buffer."""
        values: NDArray[Any] = self._arrays[name][self._places(numbers)]
        return values

    def examples(self, numbers: NDArray[np.int64]) -> Examples:
        """What the encoder saw of the events `numbers` (m,)."""
        return Examples(
            self.column("inputs", numbers).astype(np.float32),
            self.column("keys", numbers)[:, self._entities :],
            self.column("grams", numbers),
        )

    def alerted_rows(self, numbers: Iterable[int]) -> list[Rows]:
        """Rows of those events among `numbers` that were alerted and are still stored, one row each."""
        return [self._alerted[number] for number in numbers if number in self._alerted]

    def put_flags(self, number: int, flags: int) -> None:
        """Replace the flags of one event."""
        self._arrays["flags"][number % self.size] = flags

    def find(self, name: str, wanted: Sequence[int]) -> dict[int, int]:
        """Find events by a column of whole numbers, "ids" or "offsets".

        Returns
        -------
        dict[int, int]
            Value -> number of the latest event with it. Values that no event has are left out.
        """
        held = np.arange(self.oldest, self.events)
        values = self.column(name, held)
        possible = [value for value in wanted if value <= np.iinfo(values.dtype).max]
        hits = np.flatnonzero(np.isin(values, np.array(possible, dtype=values.dtype)))
        return dict(zip(values[hits].tolist(), held[hits].tolist(), strict=True))

    def _places(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return numbers % self.size

    def _reserve(self, count: int) -> None:
        size = self.size
        while self.events + count > size and size < self.capacity:
            size = min(2 * size, self.capacity)
        if size > self.size:
            self._resize(size)

    def _resize(self, size: int) -> None:
        held = np.arange(max(self.oldest, self.events - size), self.events)
        kept = {name: self.column(name, held) for name in self._arrays}
        self._allocate(size)
        for name, values in kept.items():
            self._arrays[name][self._places(held)] = values

    def to_state(self) -> dict[str, Any]:
        """State: views of the events from the oldest on, and copies of alerted rows."""
        held = np.arange(self.oldest, self.events)
        alerted = {
            "numbers": np.array(list(self._alerted), dtype=np.int64),
            "rows": Rows.joined(list(self._alerted.values())).to_state() if self._alerted else {},
        }
        columns = {name: self.column(name, held) for name in self._arrays}
        return {"events": self.events, "alerted": alerted, **columns}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned; a smaller buffer keeps the latest events only."""
        count = min(len(state["ids"]), self.capacity)
        self.events = self._first = int(state["events"]) - count
        size = min(_GROWS_FROM, self.capacity)
        while size < count:
            size = min(2 * size, self.capacity)
        self._allocate(size)
        self.append(**{name: state[name][len(state[name]) - count :] for name in self._arrays})
        numbers = state["alerted"]["numbers"].tolist()
        rows = Rows.from_state(state["alerted"]["rows"]) if numbers else None
        self._alerted = OrderedDict(
            (number, rows.take(slice(i, i + 1))) for i, number in enumerate(numbers) if rows is not None
        )


def halves(inputs: NDArray[np.float32]) -> NDArray[np.float16]:
    """Inputs as half floats; values beyond their range are clipped, so the result is finite."""
    return np.clip(inputs, -HALF_MAX, HALF_MAX).astype(np.float16)
