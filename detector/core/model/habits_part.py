"""Part of the score for what keys do against their habits.

It sees the inputs marked `unusual`: pace, hours, surprises, amounts for their category. Each is 0 or more
in magnitude, and larger is stranger. At a barrier the part reads two quantiles of each column from a sample of
recent events. Between them the tail is taken as exponential. That gives every column the same unit: nats,
-log of the share of events at least as far.

The sample holds all but the strangest events, not the accepted ones alone. Those end at the trim, which the
columns themselves decide: each cut would make the next one closer.

The distance is the sum of what the columns have beyond `USUAL` nats. Events are unusual in few respects, so
a sum of what is usual in many would only be noise (docs/EXPERIMENTS.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from detector.core.features import Rows
from detector.core.model.calibration import Limit
from detector.core.model.clusters import Core
from detector.core.model.score_part import Fit, PartSetup, ScorePart

QUANTILES = (0.9, 0.99)
# Nats that count as usual: 1 accepted event of 55 has more in a column.
USUAL = 4.0
# The sample: every so many-th event, of the latest `SAMPLED` * `EVERY`.
SAMPLED, EVERY = 4096, 8
# Fewer events have no such quantile; then the core is read.
SAMPLED_MIN = 1024
# What the columns would be if they were what they are meant to be, a normal deviate or -log of a share: quantile
# .9, and units in a nat. While profiles are young, columns show less than what will come. So these bound them
# from below until the sample is full; later a part of it does.
DEVIATE, SURPRISE = (1.64, 0.41), (2.3, 1.0)
SCALE_MIN = 0.1
SURPRISES = ("surprise", "key surprise", "hours", "whereabouts")


class HabitsPart(ScorePart):
    """See the module's text."""

    name: ClassVar[str] = "habits"
    weight = 0.0
    limit = Limit.BESIDE

    def __init__(self, setup: PartSetup) -> None:
        numbered = [(place, column) for place, column in enumerate(setup.features.columns) if column.unusual]
        self._places = np.array([place for place, _ in numbered], dtype=np.int64)
        least = [SURPRISE if column.source in SURPRISES else DEVIATE for _, column in numbered]
        self._least = np.array(least).reshape(-1, 2).T
        self._start, self._scale = self._least.copy()  # quantile .9 of each column; units of it in a nat
        self._sample = np.zeros((SAMPLED, len(self._places)), dtype=np.float32)
        self._seen = 0  # ordinary events

    @classmethod
    def make(cls, setup: PartSetup) -> Self | None:
        """None without entities: then nothing has habits."""
        return cls(setup) if setup.layout.entities else None

    def distances(self, rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        columns = np.abs(inputs[:, self._places].astype(np.float64))
        nats = (columns - self._start) / self._scale - math.log1p(-QUANTILES[0])
        distances: NDArray[np.float64] = np.maximum(nats - USUAL, 0.0).sum(axis=1, keepdims=True)
        return distances

    def learn(self, rows: Rows, inputs: NDArray[np.float32], ordinary: NDArray[np.bool_]) -> None:
        found = np.flatnonzero(ordinary)
        chosen = found[-self._seen % EVERY :: EVERY]
        numbers = (self._seen + np.arange(-self._seen % EVERY, len(found), EVERY)) // EVERY
        self._sample[numbers % SAMPLED] = np.abs(inputs[np.ix_(chosen, self._places)])
        self._seen += len(found)

    def copy(self) -> Self:
        other = copy(self)
        other._sample = self._sample.copy()
        return other

    def refit(self, fit: Fit) -> None:
        sampled = self._sample[: -(-self._seen // EVERY)]
        if len(sampled) < SAMPLED_MIN:
            sampled = np.abs(fit.inputs[:, self._places])
        low, high = np.quantile(sampled.astype(np.float64), QUANTILES, axis=0)
        between = math.log((1.0 - QUANTILES[0]) / (1.0 - QUANTILES[1]))
        young = max(1.0 - self._seen / (SAMPLED * EVERY), SCALE_MIN)
        self._start, self._scale = np.maximum([low, (high - low) / between], young * self._least)

    def succeed(self, before: Self, core: Core) -> None:
        self._sample, self._seen = before._sample, before._seen

    def to_state(self) -> dict[str, Any]:
        return {"start": self._start, "scale": self._scale, "sample": self._sample.copy(), "seen": self._seen}

    def load(self, state: Mapping[str, Any], core: Core) -> None:
        self._start, self._scale = state["start"], state["scale"]
        self._sample, self._seen = state["sample"].copy(), state["seen"]
