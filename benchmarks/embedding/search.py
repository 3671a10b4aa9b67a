"""Search among embeddings: time, recall and memory, against exact search over the same vectors.

    python -m benchmarks.embedding.search
    python -m benchmarks.embedding.search --vectors 65536 --stream handbook --folder DATA

A model learns from a stream of payments; the vectors are the embeddings of its newest events, the questions
those of other events. *Exact* is what `detector similar` uses for events, HNSW what serves where clusters are
many. Float16 and int8 (each column scaled to the range of nearly all its values) are searched exactly, too:
what they lose is what their storage loses.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.speed.common import (
    about,
    configuration,
    drive,
    first_records,
    make_barrier,
    opened,
    parser,
    show,
)
from detector.core.model.index import Exact, Hnsw, NearestCentres
from detector.core.shard.space import SearchedSpace

NEIGHBOURS = 10
TAIL = 0.001  # of a column's values, clipped on each side
Vectors = NDArray[np.float32]


def quantised(vectors: Vectors) -> tuple[Vectors, int]:
    """Vectors as int8, each column scaled to the range of nearly all, and back; and their bytes."""
    low, high = np.quantile(vectors, [TAIL, 1.0 - TAIL], axis=0)
    step = np.maximum((high - low) / 255.0, np.finfo(np.float32).tiny)
    codes = np.clip(np.rint((vectors - low) / step), 0.0, 255.0).astype(np.uint8)
    return (codes * step + low).astype(np.float32), codes.nbytes + low.nbytes + step.nbytes


def halved(vectors: Vectors) -> tuple[Vectors, int]:
    """Vectors as float16 and back; and their bytes."""
    stored = vectors.astype(np.float16)
    return stored.astype(np.float32), stored.nbytes


def asked(index: NearestCentres, questions: Vectors) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """What is found, (n, k), and the ms that each question takes, one at a time."""
    found, took = [], []
    for number in range(len(questions)):
        start = time.perf_counter()
        found.append(index.search(questions[number : number + 1], NEIGHBOURS)[0])
        took.append(1000.0 * (time.perf_counter() - start))
    return np.concatenate(found), np.array(took)


def embedded(space: SearchedSpace, count: int) -> tuple[Vectors, Vectors]:
    """Embeddings of the newest events, and of others as questions."""
    examples = space.newest(2 * count)
    every = space.embed(examples)
    distinct = every[np.sort(np.unique(every, axis=0, return_index=True)[1])]
    return distinct[:-1000][-count:], distinct[-1000:]


def main() -> None:
    """Print the tables."""
    made = parser(__doc__, events=150_000, rounds=1)
    made.add_argument("--vectors", type=int, default=65_536, help="vectors to search among")
    options = made.parse_args()
    if options.quick:
        options.events, options.vectors = 12_000, 4_096
    buffer = f"model.labels.buffer_events_max={2 * options.vectors}"
    config = configuration([*options.set, buffer, "topics.feedback=feedback"])
    with threadpool_limits(1):
        partition = opened(config)
        for _ in drive(partition, first_records(options)):
            pass
        make_barrier(partition)
        vectors, questions = embedded(SearchedSpace(partition.embedded), options.vectors)
        true = Exact(vectors).search(questions, NEIGHBOURS)[0]
        rows = []
        for name, (stored, size) in {
            "float32, exact": (vectors, vectors.nbytes),
            "float16, exact": halved(vectors),
            "int8, exact": quantised(vectors),
        }.items():
            found, took = asked(Exact(stored), questions)
            rows.append(row(name, found, took, true, size, vectors.nbytes, 0.0))
        start = time.perf_counter()
        graph = Hnsw(vectors, config.model.index)
        built_s = time.perf_counter() - start
        found, took = asked(graph, questions)
        rows.append(row("float32, HNSW", found, took, true, vectors.nbytes, vectors.nbytes, built_s))
    print(about("hnswlib", "numpy"))
    show(
        f"{len(vectors):,} vectors of {vectors.shape[1]} dimensions, {len(questions):,} questions",
        ("", f"recall@{NEIGHBOURS}", "p50 ms", "p99 ms", "MiB of vectors", "of float32", "built in s"),
        rows,
    )


def row(
    name: str,
    found: NDArray[np.int64],
    took: NDArray[np.float64],
    true: NDArray[np.int64],
    size: int,
    plain: int,
    built_s: float,
) -> list[str]:
    p50, p99 = (f"{quantile:.2f}" for quantile in np.quantile(took, [0.5, 0.99]))
    shared = float((found[:, :, None] == true[:, None, :]).any(axis=2).mean())
    recall, mib, share = f"{shared:.4f}", f"{size / 2**20:.1f}", f"{size / plain:.2f}"
    return [name, recall, p50, p99, mib, share, f"{built_s:.1f}"]


if __name__ == "__main__":
    main()
