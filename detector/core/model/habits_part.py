"""Part of the score for what keys do against their habits.

It sees the inputs marked `unusual`: pace, hours, surprises, novelty, amounts for their category. Their
magnitude is larger the stranger they are. At a barrier the part reads quantiles of each column from a sample
of recent events, and takes the tail between them, and beyond, as exponential. That gives all columns the same
unit: nats, -log of the share of events at least as far.

The sample holds all but the strangest events, not the accepted ones alone. Those end at the trim, which the
columns themselves decide: each cut would make the next one closer.

The distance is the sum of what the columns have beyond `USUAL` nats, each with a weight. Events are unusual
in few respects, so a sum of what is usual in many would only be noise (docs/explanation/experiments.md). All
paces say the same, how fast events come: one of k of them is as far by chance k times as often, so log k more
nats of a pace are usual. So do all meetings, of how many new contacts come. A column weighs by what it tells
at all (`useful`), and less if others say the same (`Overlap`).

The surprise of a category that the main entity's history mostly takes away counts as far as there is a
history: where everybody lives at a rare place, the first events of a card are not strange. What a history of
n events leaves of it even if all of them had the category, up to log(1 + 1 / n) nats, says only that the
history is short.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, ClassVar, Self

import numba
import numpy as np
from numpy.typing import NDArray

from detector.core.erasure import Erased
from detector.core.features import Column, Layout, Rows, explained_surprises, respect_of
from detector.core.model.calibration import Limit
from detector.core.model.clusters import Core
from detector.core.model.overlap import Overlap
from detector.core.model.score_part import Fit, PartSetup, ScorePart
from detector.core.model.useful import Useful

QUANTILES = (0.9, 0.99, 0.998)
NATS = -np.log1p(-np.array(QUANTILES))
FIRST_NATS = float(NATS[0])
# Nats that count as usual: 1 accepted event of 55 has more in a column.
USUAL = 4.0
# The sample: every so many-th event, of the latest `SAMPLED` * `EVERY`.
SAMPLED, EVERY = 4096, 8
# Fewer events have no such quantile; then the core is read.
SAMPLED_MIN = 1024
# What columns are if they are as meant, a normal deviate or -log of a share: quantile .9, and units in a
# nat. While profiles are young, columns show less than what will come. So these bound them from
# below until the sample is full; later `LEAST` of them does.
DEVIATE, SURPRISE = (1.64, 0.41), (2.3, 1.0)
LEAST = 0.1
SHORTEST = 1e-9  # a shorter history, in events, is none
# Nats beyond these that a column counts at most: no sample tells how rare it is to be farther.
NATS_MAX = 10.0
# Nats of a column from which it says in which respect an event is unusual.
RESPECT_MIN = 1.0
# Sources whose columns come second, see `Overlap`.
SECOND = ("meeting", "repeat", "change")
# Sources whose columns all say the same: how many events, or new contacts, come just now.
COUNTED = ("pace", "meeting")
SURPRISES = ("surprise", "bins", "novelty", "whereabouts", "repeat", "change")


class HabitsPart(ScorePart):
    """See the module's text."""

    name: ClassVar[str] = "habits"
    weight = 0.0
    limit = Limit.BESIDE

    def __init__(self, setup: PartSetup) -> None:
        numbered = [(place, column) for place, column in enumerate(setup.features.columns) if column.unusual]
        self._places = np.array([place for place, _ in numbered], dtype=np.int64)
        self._useful = Useful(setup.layout, [column for _, column in numbered])
        second = np.array([column.source in SECOND for _, column in numbered], dtype=bool)
        self._respects = np.array([respect_of(column) for _, column in numbered], dtype=np.int64)
        self._overlap = Overlap(second, setup.config.calibration.memory_events)
        self._weights = np.ones(len(numbered))
        self._layout = setup.layout
        self._count = setup.features.count_column(setup.layout.kind_of(0))
        self._surprises = [number for number, (_, c) in enumerate(numbered) if c.source == "surprise"]
        # Columns that say that a category is new to the main entity, and these categories.
        self._new, self._new_of = _new_categories([column for _, column in numbered], setup.layout)
        # Share of each category's surprise that the main entity's history takes away.
        self._told = np.zeros(len(setup.layout.categories))
        least = [SURPRISE if column.source in SURPRISES else DEVIATE for _, column in numbered]
        self._least = np.array(least).reshape(-1, 2).T
        alike = Counter(column.source for _, column in numbered if column.source in COUNTED)
        self._usual = np.array([USUAL + np.log(max(alike[column.source], 1)) for _, column in numbered])
        pieces = len(QUANTILES) - 1
        self._knots = np.tile(self._least[0], (pieces, 1))  # quantiles of each column, but the last
        self._scales = np.tile(self._least[1], (pieces, 1))  # units of it in a nat, from each of these on
        self._sample = np.zeros((SAMPLED, len(least)), dtype=np.float32)
        self._sampled = np.zeros(SAMPLED, dtype=np.uint64)  # main entity of each
        self._seen = 0  # ordinary events

    @classmethod
    def make(cls, setup: PartSetup) -> Self | None:
        """None without entities: then nothing has habits."""
        return cls(setup) if setup.layout.entities else None

    def distances(self, rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        distances: NDArray[np.float64] = np.einsum("ij,j->i", self._beyond(inputs), self._weights)
        return distances[:, None]

    def respects(self, inputs: NDArray[np.float32]) -> NDArray[np.int64]:
        """In which respect events are most unusual, (n,): numbers in `detector.core.codes.RESPECTS`."""
        nats = self._beyond(inputs) * self._weights
        found: NDArray[np.int64] = np.where(
            nats.max(axis=1) >= RESPECT_MIN, self._respects[nats.argmax(axis=1)], 0
        )
        return found

    def _beyond(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Nats of each column beyond what is usual, (n, U)."""
        columns = self._columns(inputs)
        beyond = np.empty_like(columns)
        write: Any = _beyond
        write(columns, self._knots, self._scales, self._usual, beyond)
        return beyond

    def _columns(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """How far events are from the habits of their keys, (n, U)."""
        # In rows: else one event alone would be summed in another order than events together.
        columns = np.abs(inputs[:, self._places], dtype=np.float64, order="C")
        if self._told.any():
            unknown = np.exp(-inputs[:, self._count, None].astype(np.float64))  # 1 / (count + 1)
            short = -np.log(np.maximum(1.0 - unknown, SHORTEST))  # log(1 + 1 / count)
            surprises = columns[:, self._surprises]
            columns[:, self._surprises] = surprises - self._told * np.minimum(surprises, short)
            columns[:, self._new] *= 1.0 - self._told[self._new_of] * unknown
        return columns

    def learn(self, rows: Rows, inputs: NDArray[np.float32], ordinary: NDArray[np.bool_]) -> None:
        found = np.flatnonzero(ordinary)
        chosen = found[-self._seen % EVERY :: EVERY]
        numbers = (self._seen + np.arange(-self._seen % EVERY, len(found), EVERY)) // EVERY
        self._sample[numbers % SAMPLED] = self._columns(inputs[chosen])
        self._sampled[numbers % SAMPLED] = rows.main()[chosen]
        self._seen += len(found)
        self._overlap.learn(self._beyond(inputs))

    def copy(self) -> Self:
        other = copy(self)
        other._sample, other._overlap = self._sample.copy(), self._overlap.copy()
        other._sampled = self._sampled.copy()
        return other

    def refit(self, fit: Fit) -> None:
        useful = self._useful.weights(fit.sample.rows)
        self._weights = useful * self._overlap.weights(useful)
        self._told = explained_surprises(fit.sample.rows, self._layout)
        sampled: NDArray[Any] = self._sample[: -(-self._seen // EVERY)]
        if len(sampled) < SAMPLED_MIN:
            sampled = self._columns(fit.inputs)
        young = max(1.0 - self._seen / (SAMPLED * EVERY), LEAST)
        knots = np.quantile(sampled, QUANTILES, axis=0)
        knots = np.maximum(knots, young * self._least[0])
        scales = np.diff(knots, axis=0) / np.diff(NATS)[:, None]
        seen = np.where(scales > 0.0, young, 1.0)  # where no tail was seen, it is as meant
        self._knots, self._scales = knots[:-1], np.maximum(scales, seen * self._least[1])

    def succeed(self, before: Self, core: Core) -> None:
        self._sample, self._seen, self._overlap = before._sample, before._seen, before._overlap
        self._sampled = before._sampled

    def erase(self, erased: Erased) -> None:
        """Put events of others in their place, in turn: the sample's size says how old it is."""
        filled = min(-(-self._seen // EVERY), SAMPLED)
        gone = np.isin(self._sampled[:filled], erased.entities)
        places, others = np.flatnonzero(gone), np.flatnonzero(~gone)
        if not len(others):
            self._sample[:], self._sampled[:], self._seen = 0.0, 0, 0
        elif len(places):
            taken = others[np.arange(len(places)) % len(others)]
            self._sample[places], self._sampled[places] = self._sample[taken], self._sampled[taken]

    def to_state(self) -> dict[str, Any]:
        return {
            "knots": self._knots,
            "scales": self._scales,
            "weights": self._weights,
            "overlap": self._overlap.to_state(),
            "told": self._told,
            "sample": self._sample.copy(),
            "sampled": self._sampled.copy(),
            "seen": self._seen,
        }

    def load(self, state: Mapping[str, Any], core: Core) -> None:
        self._knots, self._scales = state["knots"], state["scales"]
        self._weights, self._told = state["weights"], state["told"]
        self._overlap.load(state["overlap"])
        self._sample, self._seen = state["sample"].copy(), state["seen"]
        self._sampled = state["sampled"].copy()


def _new_categories(columns: Sequence[Column], layout: Layout) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the columns that say that a category is new to the main entity, and these categories."""
    found = []
    for number, column in enumerate(columns):
        right = None if column.kind is None else column.kind.right
        if column.source == "novelty" and right is not None and right >= len(layout.entities):
            found.append((number, right - len(layout.entities)))
    numbers = np.array(found, dtype=np.int64).reshape(-1, 2)
    return numbers[:, 0], numbers[:, 1]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _beyond(columns: Any, knots: Any, scales: Any, usual: Any, out: Any) -> None:
    """Write nats of columns beyond what is usual, (n, U): linear between quantiles, and on beyond the last.

    Parameters
    ----------
    columns : (n, U)
        How far events are from habits.
    knots, scales : (pieces, U)
        Where each piece begins, and units of the column in a nat there.
    usual : (U,)
        Nats that are usual.
    """
    pieces = len(knots)
    for row in range(len(out)):
        for column in range(len(usual)):
            nats = FIRST_NATS
            for piece in range(pieces):
                end = max(columns[row, column], knots[piece, column])
                if piece + 1 < pieces:
                    end = min(end, knots[piece + 1, column])
                nats += (end - knots[piece, column]) / scales[piece, column]
            out[row, column] = min(max(nats - usual[column], 0.0), NATS_MAX)
