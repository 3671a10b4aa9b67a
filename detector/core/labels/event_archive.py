"""Older events that a label can still refer to: what has left the ring of recent events.

Two kinds of events are kept here, in the order of the log:

    kept      alerted or labelled events, until they are older than `labels.answerable_for`
    sampled   other events, each with a known probability, until they are as old

Rules
    - Whether an event is in the sample depends on its offset alone: a hash of it lies below 2^64 / 2^level.
      Where the sample is full, the level rises by one and half of the sample goes. Where three quarters are
      empty, the level falls by one for the events to come.
    - So an event of the sample stands for 2^level events, itself among them. A kept event stands for itself,
      or for as many as it did when it got its label.
    - Where too many events are kept, the oldest of them are dropped and counted.
    - What is here depends on the events and on the barriers, not on how many events come at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.mixing import GOLDEN, mixed

_GROWS_FROM = 1024  # places at first
LEVEL_MAX = 60
# Part of the kept events that is dropped where there are too many, so that this is rare.
DROPPED_PART = 16
# Part of the events that must have expired before they are removed, so that this is rare.
EXPIRED_PART = 64

Columns = dict[str, NDArray[Any]]


class EventArchive:
    """The older events of one shard.

    Parameters
    ----------
    empty
        The columns of no events (0, ...): "offsets", "times" and "flags" among them.
    kept_max, sampled_max
        Bounds on the events of each kind.
    """

    def __init__(self, empty: Columns, kept_max: int, sampled_max: int) -> None:
        self.kept_max, self.sampled_max = kept_max, sampled_max
        self._columns: Columns = {
            **empty,
            "numbers": np.zeros(0, dtype=np.int64),
            "levels": np.zeros(0, dtype=np.uint8),
        }
        self._count = 0
        self._kept = 0  # events with flags
        self._lent = False  # whether a state has views of the columns, which must not change then
        self.level = 0
        self.dropped = 0  # kept events that were dropped too early, ever

    def __len__(self) -> int:
        return self._count

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Event numbers (n,), ascending."""
        return self._columns["numbers"][: self._count]

    @property
    def share(self) -> float:
        """Probability with which an event without an alert or a label enters the sample."""
        return 0.5**self.level

    def column(self, name: str, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Values (m, ...) of one column, of the events `numbers` (m,); all of them must be here."""
        values: NDArray[Any] = self._columns[name][np.searchsorted(self.numbers, numbers)]
        return values

    def weights(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """How many events each of the events `numbers` (m,) stands for."""
        weights: NDArray[np.float64] = np.exp2(self.column("levels", numbers).astype(np.float64))
        return weights

    def find(self, name: str, wanted: NDArray[Any]) -> dict[int, int]:
        """Value -> number of the latest event with it, see `EventBuffer.find`."""
        values = self._columns[name][: self._count]
        hits = np.flatnonzero(np.isin(values, wanted))
        return dict(zip(values[hits].tolist(), self.numbers[hits].tolist(), strict=True))

    def put_flags(self, number: int, flags: int) -> None:
        """Replace the flags of one event; with flags it is kept, without it is one of the sample."""
        place = int(np.searchsorted(self.numbers, number))
        if self._lent:
            self._columns["flags"] = self._columns["flags"].copy()
            self._lent = False
        here = self._columns["flags"]
        self._kept += int(flags != 0) - int(here[place] != 0)
        here[place] = flags

    def chosen(self, offsets: NDArray[np.int64], flags: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which events (n,) would be stored if they were added now."""
        chosen: NDArray[np.bool_] = (flags != 0) | _below(offsets, self.level)
        return chosen

    def add(self, columns: Columns) -> None:
        """Add events, given as one array (n, ...) per column, in the order of their numbers.

        Events that are not `chosen` are left out.
        """
        while len(columns["numbers"]):
            chosen = np.flatnonzero(self.chosen(columns["offsets"], columns["flags"]))
            kept = columns["flags"][chosen] != 0
            # The first event that is one too many ends this round.
            many = (self._kept + np.cumsum(kept) > self.kept_max) | (
                self._count - self._kept + np.cumsum(~kept) > self.sampled_max
            )
            full = np.flatnonzero(many)
            taken = chosen[: full[0] + 1] if len(full) else chosen
            self._append({name: values[taken] for name, values in columns.items()})
            rest = slice(int(taken[-1]) + 1, None) if len(full) else slice(len(columns["numbers"]), None)
            columns = {name: values[rest] for name, values in columns.items()}
            self._make_room()

    def erase(self, numbers: NDArray[np.int64]) -> None:
        """Remove events by their numbers (m,); those that are not here are left out."""
        gone = np.isin(self.numbers, numbers)
        if gone.any():
            self._keep(~gone)

    def expire(self, before: float) -> None:
        """Remove events from before this event time, s; let more events enter a sample that is not full."""
        old = self._columns["times"][: self._count] < before
        if np.count_nonzero(old) * EXPIRED_PART > self._count:
            self._keep(~old)
        if self.level and (self._count - self._kept) * 4 < self.sampled_max:
            self.level -= 1

    def _append(self, columns: Columns) -> None:
        count = len(columns["numbers"])
        self._reserve(self._count + count)
        places = slice(self._count, self._count + count)
        flagged = columns["flags"] != 0
        levels = np.where(flagged, 0, self.level).astype(np.uint8)
        for name, values in {**columns, "levels": levels}.items():
            self._columns[name][places] = values
        self._count += count
        self._kept += int(np.count_nonzero(flagged))

    def _reserve(self, count: int) -> None:
        size = len(self._columns["numbers"])
        if count <= size:
            return
        size = max(size, _GROWS_FROM)
        while size < count:
            size = min(2 * size, max(count, self.kept_max + self.sampled_max + 2))
        for name, values in self._columns.items():
            grown = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
            grown[: self._count] = values[: self._count]
            self._columns[name] = grown

    def _make_room(self) -> None:
        if self._kept > self.kept_max:
            surplus = self._kept - self.kept_max + self.kept_max // DROPPED_PART
            kept = np.flatnonzero(self._columns["flags"][: self._count])[:surplus]
            stay = np.ones(self._count, dtype=np.bool_)
            stay[kept] = False
            self.dropped += len(kept)
            self._keep(stay)
        while self._count - self._kept > self.sampled_max and self.level < LEVEL_MAX:
            self.level += 1
            flags, levels = (self._columns[name][: self._count] for name in ("flags", "levels"))
            offsets = self._columns["offsets"][: self._count]
            sampled = (flags == 0) & (levels < self.level)
            stay = ~sampled | _below(offsets, self.level)
            self._columns["levels"] = np.where(sampled, np.uint8(self.level), levels)
            self._keep(stay)

    def _keep(self, stay: NDArray[np.bool_]) -> None:
        places = np.flatnonzero(stay)
        self._columns = {name: values[places] for name, values in self._columns.items()}
        self._count, self._lent = len(places), False
        self._kept = int(np.count_nonzero(self._columns["flags"][: self._count]))

    def to_state(self) -> dict[str, Any]:
        """State: views of the columns, which stay as they are."""
        self._lent = True
        columns = {name: values[: self._count] for name, values in self._columns.items()}
        return {"level": self.level, "dropped": self.dropped, **columns}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned; a smaller archive thins it."""
        self.level, self.dropped = state["level"], state["dropped"]
        self._count = len(state["numbers"])
        self._columns = {name: np.array(state[name]) for name in self._columns}
        self._kept = int(np.count_nonzero(self._columns["flags"][: self._count]))
        self._make_room()


def _below(offsets: NDArray[np.int64], level: int) -> NDArray[np.bool_]:
    """Whether hashes of offsets (n,) lie below 2^64 / 2^level."""
    if not level:
        return np.ones(len(offsets), dtype=np.bool_)
    below: NDArray[np.bool_] = mixed(offsets.astype(np.uint64) * GOLDEN) >> np.uint64(64 - level) == 0
    return below
