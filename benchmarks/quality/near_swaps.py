"""Swaps near the border: what the encoder without labels would learn from harder examples.

    python -m benchmarks.quality.near_swaps [--seeds 0-1] [--events 60000]

The encoder learns to tell events from the same events with one field of another event. `near_the_border` lets
half of these be harder: of four events that could give the field, that one is taken whose swap the encoder
puts nearest to the border, the distance that a twentieth of the real events exceed. The table has the average
precision of simulated cards with and without it; `evasion --swaps near` has what a thief takes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.embedding.runs import seeds_of
from benchmarks.quality.metrics import average_precision
from benchmarks.quality.mitigation import WARM_UP, config, scores_of, written
from detector.core.features import Layout, Rows
from detector.core.model import training
from detector.core.model.encoder import Looked

TRIED = 4  # events that could give the field
BORDER = 0.95  # quantile of the real events' distances


@contextmanager
def near_the_border() -> Iterator[None]:
    """Train on swaps near the border, in this process."""
    learn, swap = training.Trainer.learn, training.swap
    now: list[training.Trainer] = []

    def learning(self: training.Trainer, rows: Rows, *others: Any) -> None:
        now[:] = [self]
        learn(self, rows, *others)

    def swapped(rows: Rows, donors: Rows, layout: Layout, chosen: NDArray[np.int64]) -> Rows:
        best = swap(rows, donors, layout, chosen)
        real, nearest = _distances(now[0], rows), _distances(now[0], best)
        border = float(np.quantile(real, BORDER))
        size, count = now[0].barriers.step_events, len(rows)
        for tried in range(1, TRIED):
            order = np.arange(count).reshape(-1, size)
            other = swap(rows, donors.take(np.roll(order, tried, axis=1).ravel()), layout, chosen)
            distances = _distances(now[0], other)
            nearer = np.flatnonzero(abs(distances - border) < abs(nearest - border))
            nearer = nearer[nearer % 2 == 0]  # the other half is as ever
            best.put(nearer, other.take(nearer))  # type: ignore[arg-type]
            nearest[nearer] = distances[nearer]
        return best

    training.Trainer.learn, training.swap = learning, swapped  # type: ignore[method-assign]
    try:
        yield
    finally:
        training.Trainer.learn, training.swap = learn, swap  # type: ignore[method-assign]


def _distances(trainer: training.Trainer, rows: Rows) -> NDArray[np.float32]:
    """Squared distances (n,) of rows from the origin, by the encoder that learns."""
    inputs, learner = trainer._features.compute(rows), trainer.learner
    out = learner._forward(*learner._blanked(inputs, Looked(rows.categories, rows.grams))).out
    squared: NDArray[np.float32] = (out * out).sum(axis=1)
    return squared


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, default=seeds_of("0-1"))
    parser.add_argument("--events", type=int, default=60_000)
    options = parser.parse_args()
    print("| seed | AP, swaps at random | near the border |\n|---|---|---|")
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            stream = written(folder, seed, options.events)
            scores = [scores_of(stream, config(()), folder).score]
            with near_the_border():
                scores.append(scores_of(stream, config(()), folder).score)
            judged = slice(int(WARM_UP * options.events), None)
            found = [average_precision(stream.frauds[judged], score[judged]) for score in scores]
            print(f"| {seed} | {found[0]:.3f} | {found[1]:.3f} |", flush=True)


if __name__ == "__main__":
    main()
