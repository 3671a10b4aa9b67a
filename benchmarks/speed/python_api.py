"""`Detector` over a data frame against `detector replay` of the same rows in a file.

    python -m benchmarks.speed.python_api
    python -m benchmarks.speed.python_api --events 100000 --rounds 3

Simulated cards, in turn: a JSON lines file and a Parquet file by `detector.wiring.file_replay` (scores to a
file, as the command does), and a pandas and a polars frame by `Detector.replay`. Before that each runs once
over a tenth. Time is the process's CPU time, all threads; start-up is not in it. The ratio is that of
medians, below 1 where the frame is faster. The outputs of all must be equal, or the program ends with an
error."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import msgspec
import numpy as np
import pandas
import polars

from benchmarks.speed.common import about, show
from detector import Detector
from detector.config.load import load
from detector.demo import simulation
from detector.testing import MemoryLog
from detector.wiring.file_replay import Replay, replay

CONFIG = Path(__file__).parents[2] / "configs" / "simulate.yaml"


def by_command(events: Path) -> list[float]:
    scores = events.with_suffix(".csv")
    replay(load(CONFIG), {}, Replay(events=events, scores=scores), MemoryLog(), lambda size: None)
    return [float(line.split(",")[2]) for line in scores.read_text().splitlines()[1:]]


def by_detector(frame: Any) -> list[float]:
    found: list[float] = Detector.from_config(CONFIG).replay(frame)["score"].to_numpy().tolist()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    made = simulation.traffic("cards", seed=1, customers=2_000)
    rows = list(islice(chain.from_iterable(map(made.to_events, made.days)), arguments.events))
    with TemporaryDirectory() as place:
        runs = _runs(Path(place), rows[: len(rows) // 10], "warm-up")
        _measured(runs)
        runs = _runs(Path(place), rows, "all")
        results = [_measured(runs) for _ in range(arguments.rounds)]
    cpu = {name: median(result[name][0] for result in results) for name in runs}
    wall = {name: median(result[name][1] for result in results) for name in runs}
    table = [
        [
            name,
            f"{cpu[name] / len(rows) * 1e6:.1f}",
            f"{wall[name] / len(rows) * 1e6:.1f}",
            f"{cpu[name] / cpu['file, JSON lines']:.2f}",
            f"{cpu[name] / cpu['file, Parquet']:.2f}",
        ]
        for name in runs
    ]
    header = ["", "CPU us/event", "wall us/event", "CPU to JSON lines", "CPU to Parquet"]
    show(about(f"{len(rows):,} events"), header, table)


def _runs(place: Path, rows: list[dict[str, Any]], name: str) -> dict[str, Callable[[], list[float]]]:
    frame = pandas.DataFrame(rows)
    lines, parquet = place / f"{name}.jsonl", place / f"{name}.parquet"
    lines.write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    frame.to_parquet(parquet, index=False)
    columns = polars.read_parquet(parquet)
    return {
        "file, JSON lines": lambda: by_command(lines),
        "file, Parquet": lambda: by_command(parquet),
        "pandas": lambda: by_detector(frame),
        "polars": lambda: by_detector(columns),
        "list of dicts": lambda: [row["score"] for row in Detector.from_config(CONFIG).replay(rows)],
    }


def _measured(runs: dict[str, Callable[[], list[float]]]) -> dict[str, tuple[float, float]]:
    """CPU and wall seconds of each run."""
    times, scores = {}, {}
    for name, run in runs.items():
        began_cpu, began = process_time(), perf_counter()
        scores[name] = run()
        times[name] = process_time() - began_cpu, perf_counter() - began
    first = np.array(next(iter(scores.values())))
    for name, found in scores.items():
        if not np.array_equal(first, np.array(found)):
            raise SystemExit(f"{name}: other scores")
    return times


if __name__ == "__main__":
    main()
