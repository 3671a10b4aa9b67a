"""Cosine or Euclid: how well the distance to the nearest cluster tells known frauds, measured either way.

    python -m benchmarks.embedding.metric --streams cards:7,simulate:7
    python -m benchmarks.embedding.metric --streams handbook,mammography --folder DATA --events 40000

A model learns from a stream without labels. The events that it remembers at the end, the first quarter left
out, are embedded and compared with the clusters' centres. *Cosine* is 1 minus the cosine of the angle at the
origin, around which the encoder's objective places normal events. It uses the same vectors and clusters.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.embedding.runs import first_lines, through
from benchmarks.quality.streams import Stream, make, parse_plans
from benchmarks.speed.common import IDENTITY, make_barrier, show
from detector.core.events import id_hash
from detector.core.model.index import Exact
from detector.core.model.quality_of_space import area, average_precision
from detector.core.shard.embedded import Embedded
from detector.core.shard.partition import Partition

Vectors = NDArray[np.float32]


def learned(stream: Stream, events: int) -> Partition:
    """A partition that has seen the first events of a stream."""
    wanted = stream.config.model_part(1).model_copy(update={"feedback": True})
    partition = Partition(IDENTITY, wanted, Partition.begin(wanted, 0), until=0)
    through(first_lines(stream, events), partition)
    make_barrier(partition)
    return partition


def units(vectors: Vectors) -> Vectors:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def distances(stream: Stream, embedded: Embedded) -> tuple[NDArray[np.bool_], Vectors, Vectors]:
    """Which remembered events are frauds, and their distances to the nearest cluster, Euclid and cosine."""
    numbers = embedded.buffer.stored()
    numbers = numbers[len(numbers) // 4 :]
    names = {id_hash(name, IDENTITY.entity_key) for name, kind in stream.labels.kind.items() if kind}
    truth = np.isin(embedded.buffer.column("ids", numbers), np.array(sorted(names), dtype=np.uint64))
    points, centres = embedded.embed(embedded.buffer.examples(numbers)), embedded.space.clusters.centres
    euclid = Exact(centres).search(points, 1)[1][:, 0]
    cosine = Exact(units(centres)).search(units(points), 1)[1][:, 0]  # grows with the angle
    return truth, euclid, cosine


def judged(stream: Stream, events: int) -> list[str]:
    """A row of the table."""
    truth, *found = distances(stream, learned(stream, events).embedded)
    figures = [f"{figure(each, truth):.3f}" for figure in (average_precision, area) for each in found]
    return [stream.plan.name, f"{len(truth):,}", str(int(truth.sum())), *figures]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("--streams", default="cards:7,simulate:7", help="see benchmarks.quality.streams")
    made.add_argument("--folder", type=Path, help="holds NAME.jsonl.gz")
    made.add_argument("--events", type=int, default=40_000, help="of each stream")
    options = made.parse_args(arguments)
    rows = []
    with threadpool_limits(1), TemporaryDirectory() as scratch:
        plans = [plan for text in options.streams.split(",") for plan in parse_plans(text)]
        for plan in plans:
            rows.append(
                judged(make(plan, options.folder, Path(scratch), events_max=options.events), options.events)
            )
    head = ("", "events", "frauds", "AP Euclid", "AP cosine", "AUC Euclid", "AUC cosine")
    show("Distance to the nearest cluster", head, rows)


if __name__ == "__main__":
    main()
