"""How new encoders are judged: figures of healthy ones, and whether bad ones are refused.

    python -m benchmarks.embedding.promotions --streams cards:7-9,simulate:7-9
    python -m benchmarks.embedding.promotions --streams cards:7 --broken 20000

A model learns from a stream, with a label for each fraud `--delay` events later. A row has the worst figure
of all encoders that were judged (see `detector.core.model.judgement`). From event `--broken` on the plain
learner's rate is 100 times as high.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from threadpoolctl import threadpool_limits

from benchmarks.embedding.runs import anomalous, first_lines, labels_of, through
from benchmarks.quality.streams import Stream, make, parse_plans
from benchmarks.speed.common import IDENTITY, show
from detector.core.model.judgement import objections
from detector.core.shard.partition import Partition

FACTOR = 100.0  # of the learning rate of a broken learner
NONE = float("nan")


def spoil(partition: Partition) -> None:
    """Make the plain learner's rate far too high."""
    learner = partition._shard._learning._trainer.learner
    rate = learner.config.learning_rate * FACTOR
    learner.config = learner.config.model_copy(update={"learning_rate": rate})


def judged(stream: Stream, lines: Sequence[bytes], options: argparse.Namespace) -> list[dict[str, float]]:
    """Figures of every encoder that was judged, with whether it was refused, and where."""
    wanted = stream.config.model_part(1).model_copy(update={"feedback": True})
    partition = Partition(IDENTITY, wanted, Partition.begin(wanted, 0), until=0)
    labels = labels_of(anomalous(stream, lines), options.delay)
    found: list[dict[str, float]] = []

    def noted(figures: Mapping[str, float], served: Mapping[str, float], again: int) -> list[str]:
        reasons = objections(figures, served, again)
        found.append({**figures, "refused": float(bool(reasons)), "at": float(partition.position)})
        return reasons

    with patch("detector.core.shard.learning.objections", noted):
        through(lines[: options.broken], partition, labels)
        if options.broken is not None:
            spoil(partition)
            through(lines[options.broken :], partition, labels)
    return found


def row(stream: Stream, found: Sequence[Mapping[str, float]]) -> list[str]:
    """A row of the table."""

    def most(name: str) -> float:
        return max((each[name] for each in found if name in each), default=NONE)

    falls = [each["precision_before"] - each["precision"] for each in found if "precision" in each]
    figures = [
        min((each.get("neighbours", 1.0) for each in found), default=NONE),
        most("beyond"),
        most("alerts"),
        max(falls, default=NONE),
    ]
    refused = [int(each["at"]) for each in found if each["refused"]]
    name = f"{stream.plan.name} {stream.plan.number}"
    counts = [str(len(found)), str(len(falls)), str(len(refused))]
    return [name, *counts, *(f"{figure:.3f}" for figure in figures), " ".join(map(str, refused[:6]))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("--streams", default="cards:7,simulate:7", help="see benchmarks.quality.streams")
    made.add_argument("--folder", type=Path, help="holds NAME.jsonl.gz")
    made.add_argument("--events", type=int, default=60_000, help="of each stream")
    made.add_argument("--delay", type=int, default=2000, help="events from a fraud to its label")
    made.add_argument("--broken", type=int, help="break the learner at this event")
    options = made.parse_args(arguments)
    rows = []
    with threadpool_limits(1), TemporaryDirectory() as scratch:
        for plan in [plan for text in options.streams.split(",") for plan in parse_plans(text)]:
            stream = make(plan, options.folder, Path(scratch), events_max=options.events)
            rows.append(row(stream, judged(stream, first_lines(stream, options.events), options)))
    header = ["stream", "judged", "by labels", "refused"]
    header += ["neighbours, least", "beyond", "alerts", "precision lost", "refused at"]
    show("Worst figures of the encoders that were judged", header, rows)


if __name__ == "__main__":
    main()
