"""Made-up streams for the watch: what is usual follows the hour and the day, and may then be changed.

Everything that a shard would tell the watch is here: values, which keys are new, and a score. So a month
takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.core.drift.columns import Columns, Key, Values

START_S = 1_700_000_000.0
DAY_S = 86_400.0
BLOCK = 512
PAIRS = 1 << 22  # hashes of pairs

Change = Callable[["Piece", np.random.Generator], None]


@dataclass(slots=True, eq=False)
class Piece:
    """Some events before the watch sees them; a change edits them in place."""

    times: NDArray[np.float64]
    numbers: NDArray[np.float64]  # (n, 4) amount, sensor, count, rarely given
    categories: NDArray[np.uint64]  # (n, 2) few values; many values, some of them new
    entities: NDArray[np.uint64]  # (n, 2)
    new: NDArray[np.bool_]  # (n, 3) each entity, and the pair
    scores: NDArray[np.float64]


NAMES = ("amount", "sensor", "count", "rare")
COLUMNS = Columns(
    NAMES,
    ("kind", "shop"),
    (
        Key("card", "entities", (0, -1, 0)),
        Key("shop", "entities", (1, -1, 1)),
        Key("shop", "contacts", (0, 1, 2)),
    ),
)


class Stream:
    """A stream with its own habits, drawn from a seed; it begins on one of the days of a week."""

    def __init__(
        self, seed: int, per_day: float, change: Change | None = None, from_day: float = np.inf
    ) -> None:
        rng = self._rng = np.random.default_rng(seed)
        self.per_day, self._change, self.start_s = per_day, change, START_S + seed % 7 * DAY_S
        self._from_s = self.start_s + from_day * DAY_S
        self._peak, self._depth = rng.uniform(0, 24), rng.uniform(0.2, 0.9)
        self._weekend, self._sway = rng.uniform(0.3, 1.2), rng.uniform(0.0, 0.4)
        self._cards = int(rng.integers(2_000, 30_000))
        self._level = rng.normal(0.0, rng.uniform(0.2, 1.0), self._cards)  # of each card's amounts
        self._run = int(rng.integers(1, 12))  # events of a card in a row
        self._kinds = rng.dirichlet(np.full(12, 0.7), 2)  # on weekdays, at weekends
        self._wander_h = rng.uniform(0.05, 8.0)  # how slowly the sensor wanders
        self._sensor = 0.0
        self._known = np.zeros((3, PAIRS), dtype=bool)
        self._burst = 1.0
        self.rate_factor: Callable[[float], float] = lambda time: 1.0

    def rate(self, time: float) -> float:
        """Events per second."""
        hour, day = time / 3600.0 % 24.0, int(time // DAY_S + 3) % 7
        daily = 1.0 + self._depth * np.cos((hour - self._peak) / 24.0 * 2.0 * np.pi)
        weekly = self._weekend if day >= 5 else 1.0
        return float(self.per_day / DAY_S * daily * weekly * self._burst * self.rate_factor(time))

    def pieces(self, days: float) -> Iterator[Piece]:
        """Blocks of events up to a day."""
        rng, time = self._rng, self.start_s
        while time < self.start_s + days * DAY_S:
            self._burst = float(np.exp(0.97 * np.log(self._burst) + rng.normal(0.0, 0.03)))
            times = time + np.cumsum(rng.exponential(1.0 / self.rate(time), BLOCK))
            piece = self._piece(times)
            if self._change is not None and times[0] >= self._from_s:
                self._change(piece, rng)
            time = float(times[-1])
            yield piece

    def _piece(self, times: NDArray[np.float64]) -> Piece:
        rng, n = self._rng, len(times)
        hour, weekend = times[0] / 3600.0 % 24.0, int(times[0] // DAY_S + 3) % 7 >= 5
        cards = np.minimum(rng.zipf(1.3, -(-n // self._run)) - 1, self._cards - 1)
        cards = np.repeat(cards, self._run)[:n]
        sway = self._sway * np.cos((hour - self._peak) / 24.0 * 2.0 * np.pi)
        amount = np.exp(3.0 + sway + self._level[cards] + rng.normal(0.0, 0.6, n) + 0.2 * weekend)
        gap = (times[-1] - times[0]) / 3600.0 / self._wander_h
        self._sensor = self._sensor * np.exp(-gap) + rng.normal() * np.sqrt(1.0 - np.exp(-2.0 * gap))
        sensor = 20.0 + self._sensor + rng.normal(0.0, 0.5, n)
        count = rng.poisson(2.0 + sway, n).astype(np.float64)
        rare = np.where(rng.random(n) < 0.7, np.nan, rng.normal(0.0, 1.0, n))
        kind = rng.choice(12, n, p=self._kinds[int(weekend)])
        shop = np.minimum(rng.zipf(1.5, n), 1 << 20)
        hashed = np.uint64(0x9E3779B97F4A7C15)
        categories = (np.stack([kind + 1, shop + 100], axis=1).astype(np.uint64)) * hashed
        entities = np.stack([cards + 1, shop + 1], axis=1).astype(np.uint64)
        new = np.zeros((n, 3), dtype=bool)
        pair = (entities[:, 0] * hashed + entities[:, 1]) % np.uint64(PAIRS)
        for column, keys in enumerate((entities[:, 0], entities[:, 1], pair)):
            first = np.unique(keys, return_index=True)[1]
            new[first, column] = ~self._known[column, keys[first].astype(np.int64)]
            self._known[column, keys.astype(np.int64)] = True
        scores = rng.exponential(0.43, n) + np.maximum(np.log(amount / 200.0), 0.0)
        return Piece(
            times, np.stack([amount, sensor, count, rare], axis=1), categories, entities, new, scores
        )


def shown(piece: Piece) -> Values:
    """What the watch is told."""
    context = np.where(piece.new, np.float32(np.nan), np.float32(0.0)).astype(np.float32)
    return Values(piece.numbers, piece.categories, piece.entities, context, piece.times)
