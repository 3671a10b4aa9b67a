"""How new encoders are judged: figures of healthy ones, and whether bad ones are refused.

    python -m benchmarks.embedding.promotions --streams cards:7-9,simulate:7-9
    python -m benchmarks.embedding.promotions --streams cards:7 --broken 20000

A model learns from a stream; with `--delay` each fraud has a label so many events later. From `--broken` on
the plain learner's rate is `--factor` times as high. A row has how many encoders were refused of all that
were judged, before and after that, and their worst figures (see `detector.core.model.judgement`): what is
left of the contrast beyond chance, the order where there was no contrast, and what is left of the directions.
The first one after it may have been prepared before. Short streams need barriers that come more often:

    python -m benchmarks.embedding.promotions --streams wilt,skin --folder DATA --broken 2500 \\
        --set model.barriers.block_events=256 --set model.barriers.every_events=512 \\
        --set model.calibration.warm_up_events=1024
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from threadpoolctl import threadpool_limits

from benchmarks.embedding.runs import anomalous, first_lines, labels_of, through
from benchmarks.quality.streams import Stream, make, parse_plans
from benchmarks.speed.common import IDENTITY, show
from detector.core.model.judgement import CHANCE, LEARNED, objections
from detector.core.shard.partition import Partition

NONE = float("nan")


def spoil(partition: Partition, factor: float) -> None:
    """Make the plain learner's rate far too high."""
    learner = partition._shard._learning._trainer.learner
    rate = learner.config.learning_rate * factor
    learner.config = learner.config.model_copy(update={"learning_rate": rate})


def judged(stream: Stream, lines: Sequence[bytes], options: argparse.Namespace) -> list[dict[str, float]]:
    """Figures of every encoder that was judged, with whether it was refused, and where."""
    wanted = stream.config.model_part(1).model_copy(update={"feedback": options.delay is not None})
    partition = Partition(IDENTITY, wanted, Partition.begin(wanted, 0), until=0)
    labels = labels_of(anomalous(stream, lines), options.delay) if options.delay is not None else ()
    found: list[dict[str, float]] = []

    def noted(figures: Mapping[str, float], served: Mapping[str, float], again: int) -> list[str]:
        reasons = objections(figures, served, again)
        found.append({**figures, "refused": float(bool(reasons)), "at": float(partition.position)})
        return reasons

    with patch("detector.core.shard.learning.objections", noted):
        through(lines[: options.broken], partition, labels)
        if options.broken is not None:
            spoil(partition, options.factor)
            through(lines[options.broken :], partition, labels)
    return found


def row(stream: Stream, found: Sequence[Mapping[str, float]], broken: int | None) -> list[str]:
    """A row of the table."""

    def worst(name: str, of: Sequence[Mapping[str, float]], choose: Callable[..., float] = max) -> float:
        return choose((each[name] for each in of if name in each), default=NONE)

    healthy = [each for each in found if broken is None or each["at"] <= broken]
    spoilt = [each for each in found if each not in healthy]

    def left(of: Sequence[Mapping[str, float]]) -> list[float]:
        return [each["directions"] / each["directions_before"] for each in of if "directions" in each]

    def kept(of: Sequence[Mapping[str, float]]) -> list[float]:
        return [
            (each["contrast"] - CHANCE) / (each["contrast_before"] - CHANCE)
            for each in of
            if each.get("contrast_before", 0.0) >= LEARNED
        ]

    falls = [each["precision_before"] - each["precision"] for each in healthy if "precision" in each]
    figures = [
        min(kept(healthy), default=NONE),
        max(kept(spoilt), default=NONE),
        worst("order", healthy, min),
        worst("order", spoilt),
        min(left(healthy), default=NONE),
        max(left(spoilt), default=NONE),
        worst("beyond", healthy),
        worst("alerts", healthy),
        max(falls, default=NONE),
    ]
    counts = [f"{sum(each['refused'] > 0.0 for each in of)} of {len(of)}" for of in (healthy, spoilt)]
    return [f"{stream.plan.name} {stream.plan.number}", *counts, *(f"{figure:.3f}" for figure in figures)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("--streams", default="cards:7,simulate:7", help="see benchmarks.quality.streams")
    made.add_argument("--folder", type=Path, help="holds NAME.jsonl.gz")
    made.add_argument("--events", type=int, default=60_000, help="of each stream")
    made.add_argument("--delay", type=int, help="events from a fraud to its label; without it there are none")
    made.add_argument("--broken", type=int, help="break the learner at this event")
    made.add_argument("--factor", type=float, default=100.0, help="of the rate of a broken learner")
    made.add_argument("--set", action="append", default=[], help="setting of the service, KEY=VALUE")
    options = made.parse_args(arguments)
    rows = []
    with threadpool_limits(1):
        for plan in [plan for text in options.streams.split(",") for plan in parse_plans(text)]:
            with TemporaryDirectory() as scratch:
                stream = make(
                    plan, options.folder, Path(scratch), events_max=options.events, overrides=options.set
                )
                found = judged(stream, first_lines(stream, options.events), options)
            rows.append(row(stream, found, options.broken))
    header = ["stream", "refused", "broken", "contrast left, least", "broken, most"]
    header += ["order, least", "broken, most"]
    header += ["directions left, least", "broken, most", "beyond", "alerts", "precision lost"]
    show("Worst figures of the encoders that were judged", header, rows)


if __name__ == "__main__":
    main()
