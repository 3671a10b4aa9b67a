"""What the watch costs per event: alone, by schema, and in a partition on the Handbook's events.

Alone, events come in blocks of 512 with a barrier every 8,192, after a first part that is not measured. In a
partition everything that scoring spends on the watch is counted: its values, counts, questions about scores,
and its part of a barrier. CPU time of the process, in the fastest of some rounds: other load only adds to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drift.whole import PIECE, events, log_of
from benchmarks.speed.common import clock_s, configuration, drive, opened
from detector.core.drift.columns import Columns, Key, Values
from detector.core.drift.watch import DriftWatch
from detector.core.shard.scoring import Scorer

BLOCK, BARRIER_EVENTS = 512, 8_192
ROUNDS, ROUND_EVENTS = 8, 1 << 18
SECONDS_PER_EVENT = 1.5  # of event time
SCHEMAS = ((1, 0, 2), (5, 3, 3), (64, 0, 0))
WARM_UP_EVENTS, SERVED_EVENTS = 1 << 18, 1 << 16
WATCHED = ((Scorer, "watch"), (DriftWatch, "end_block"), (DriftWatch, "barrier"))


def alone(numbers: int, categories: int, entities: int) -> float:
    """Seconds per event of a watch of so many fields and entities."""
    rng = np.random.default_rng(1)
    columns = Columns(
        [f"number {n}" for n in range(numbers)],
        [f"category {n}" for n in range(categories)],
        [Key(f"entity {n}", "entities", (n, -1, n)) for n in range(entities)],
    )
    block = Values(
        rng.normal(size=(BLOCK, numbers)),
        rng.integers(1, 12, (BLOCK, categories)).astype(np.uint64),
        rng.integers(1, 1000, (BLOCK, entities)).astype(np.uint64),
        np.where(rng.random((BLOCK, entities)) < 0.05, np.nan, 0.0).astype(np.float32),
        1.7e9 + np.arange(BLOCK) * SECONDS_PER_EVENT,
    )
    scores, watch, costs, done = rng.exponential(0.43, BLOCK), DriftWatch(columns), [], 0
    for _ in range(ROUNDS + 1):
        began_s = clock_s()
        for _ in range(ROUND_EVENTS // BLOCK):
            times = block.times + done * SECONDS_PER_EVENT
            watch.add(block._replace(times=times), scores)
            watch.end_block(float(times[-1]))
            done += BLOCK
            if done % BARRIER_EVENTS == 0:
                watch.barrier(float(times[-1]), 2.5)
        costs.append((clock_s() - began_s) / ROUND_EVENTS)
    return min(costs[1:])


def served(path: Path) -> tuple[float, float]:
    """Seconds per event of the watch in a partition, and of everything."""
    partition, source, spent = opened(configuration()), events(path), [0.0]

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def made(*given: Any, **named: Any) -> Any:
            began_s = clock_s()
            try:
                return call(*given, **named)
            finally:
                spent[0] += clock_s() - began_s

        return made

    def run(count: int) -> float:
        log = log_of(list(islice(source, count)), partition.position)
        spent[0], began_s = 0.0, clock_s()
        for start in range(0, len(log), PIECE):
            for _ in drive(partition, log[start : start + PIECE]):
                pass
        return clock_s() - began_s

    rounds: list[tuple[float, float]] = []
    before = [getattr(owner, name) for owner, name in WATCHED]
    for (owner, name), call in zip(WATCHED, before, strict=True):
        setattr(owner, name, timed(call))
    try:
        run(WARM_UP_EVENTS)
        for _ in range(ROUNDS):
            whole_s = run(SERVED_EVENTS)
            rounds.append((spent[0] / SERVED_EVENTS, whole_s / SERVED_EVENTS))
    finally:
        for (owner, name), call in zip(WATCHED, before, strict=True):
            setattr(owner, name, call)
    return min(rounds)


def main(folder: Path | None, schemas: Sequence[tuple[int, int, int]] = SCHEMAS) -> None:
    """Print a line for each."""
    for numbers, categories, entities in schemas:
        cost = alone(numbers, categories, entities) * 1e6
        what = f"{numbers} numbers, {categories} categories, {entities} entities"
        print(f"alone, {what}: {cost:.2f} us per event", flush=True)
    if folder is not None:
        watch_s, whole_s = served(folder / "handbook.jsonl.gz")
        print(f"in a partition, Handbook: {watch_s * 1e6:.2f} us of {whole_s * 1e6:.2f} us per event")
