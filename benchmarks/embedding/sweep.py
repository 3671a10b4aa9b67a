"""How wide the embedding has to be, what it is trained on, and what it is worth at all.

    python -m benchmarks.embedding.sweep --streams cards:1 --events 80000 --seeds 0-2
    python -m benchmarks.embedding.sweep --streams handbook --events 150000 --folder DATA --labels

Variants, one after another, a round for each seed of the model:

    4 .. 64          width of the embedding (`model.encoder.dimension`), trained by contrast
    both, restored   16 wide, trained by contrast and to restore the input, and by the latter alone
    untrained        16 wide, with the weights that it began with
    without          the distances of the learned part are left out of the sum. The encoder is trained all
                     the same, and its clusters are still there for alerts

With --labels each fraud is confirmed `--delay` later, and an event without a label counts as legitimate
after the same time; the encoder that learns from labels has the same width. *trees* is without the latter,
*supervised* has it and leaves out the distances that are learned without labels, *without* is without either.

AP and AUC of the score after the first tenth. *alone*: the same of the distance to the nearest cluster, by
the last encoder, of remembered events without the first quarter. *rank*: effective rank of the embedding of
core events. CPU time is of all of a partition's work. A checkpoint is whole, as it is stored.

The knee is the smallest width whose AP is at most one standard error below that of the best width (Breiman
1984), over seeds. With one seed there is no error, so it is that of the best.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median, stdev
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.embedding.metric import distances
from benchmarks.embedding.runs import Label, first_lines, labels_at, seeds_of, through
from benchmarks.quality.columns import prepare
from benchmarks.quality.judge import judged
from benchmarks.quality.metrics import DAY_S, average_precision, roc_auc
from benchmarks.quality.streams import Facts, Plan, Stream, make, parse_plans
from benchmarks.speed.common import IDENTITY, about, clock_s, make_barrier, progress, show
from detector.config.load import load_mapping
from detector.config.tree import Config
from detector.core.model.labelled_parts import LabelledPart
from detector.core.recovery.checkpoint import encode
from detector.core.shard.embedding_report import embedding_report
from detector.core.shard.partition import Partition

WIDTHS = (4, 8, 16, 32, 64)
HEADER = ("AP", "AUC", "AP alone", "AUC alone", "rank", "us/event", "MB")
Figures = Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """What differs from the defaults."""

    width: int = 16
    contrastive: float = 1.0
    reconstructive: float = 0.0
    plain: bool = True  # whether the distance that is learned without labels counts
    labelled: bool = True  # whether the one that is learned from labels does

    def settings(self, seed: int, delay_days: float | None) -> list[str]:
        """Settings over those of the stream."""
        found = [f"model.seed={seed}", f"model.encoder.dimension={self.width}"]
        for name in ("contrastive", "reconstructive"):
            found.append(f"model.encoder.objectives.{name}={getattr(self, name)}")
        if delay_days is not None:
            found.append(f"model.labels.maturity_delay={delay_days:g}d")
        return found


VARIANTS = {
    **{str(width): Variant(width=width) for width in WIDTHS},
    "both": Variant(reconstructive=1.0),
    "restored": Variant(contrastive=0.0, reconstructive=1.0),
    "untrained": Variant(contrastive=0.0),
    "supervised": Variant(plain=False),
    "trees": Variant(labelled=False),
    "without": Variant(plain=False, labelled=False),
}
LABELLED = ("supervised", "trees")  # variants that differ with labels only


def knee(found: Mapping[int, Sequence[float]]) -> int:
    """The smallest width whose mean is at most one standard error of the best one's below it."""
    means = {width: mean(each) for width, each in found.items()}
    best = max(means, key=lambda width: (means[width], -width))
    each = found[best]
    error = stdev(each) / math.sqrt(len(each)) if len(each) > 1 else 0.0
    return min(width for width, figure in means.items() if figure >= means[best] - error)


def rows_of(found: Mapping[str, Sequence[Figures]]) -> list[list[str]]:
    """Rows of a stream's table: means over seeds, of time the median, and the spread of AP; * is the knee."""
    widths = {int(name): [one["AP"] for one in each] for name, each in found.items() if name.isdigit()}
    marked = str(knee(widths)) if widths else ""
    rows = []
    for name, each in found.items():
        figures = {of: (median if of == "us/event" else mean)(one[of] for one in each) for of in HEADER}
        spread = f"{stdev(one['AP'] for one in each):.3f}" if len(each) > 1 else ""
        row = [f"{figures[of]:.3f}" for of in HEADER[:4]] + [f"{figures[of]:.1f}" for of in HEADER[4:]]
        rows.append([f"{name} *" if name == marked else name, row[0], spread, *row[1:]])
    return rows


@contextmanager
def counted(variant: Variant) -> Iterator[None]:
    """Leave distances out of the sum that do not count; their encoders are trained all the same."""
    with ExitStack() as patched:
        if not variant.plain:
            for place in ("learned_part", "serving"):
                of = f"detector.core.model.{place}.learned_weight"
                patched.enter_context(patch(of, lambda *_, **__: 0.0))
        if not variant.labelled:
            patched.enter_context(patch.object(LabelledPart, "knows", False))
        yield


def run(stream: Stream, facts: Facts, lines: Sequence[bytes], delay_days: float | None) -> Figures:
    """Figures of one run."""
    wanted = stream.config.model_part(1).model_copy(update={"feedback": True})
    partition = Partition(IDENTITY, wanted, Partition.begin(wanted, 0), until=0)
    labels: list[Label] = []
    if delay_days is not None:
        there = np.searchsorted(facts.time, facts.time + delay_days * DAY_S)
        labels = labels_at(facts.kind > 0, there)
    began = clock_s()
    scores = through(lines, partition, labels)
    spent_s = clock_s() - began
    make_barrier(partition)
    _, manifest, state = encode(partition.snapshot())
    tested = judged(facts, week=False)
    frauds = facts.kind[tested] > 0
    truth, alone, _ = distances(stream, partition.embedded)
    return {
        "AP": average_precision(frauds, scores[tested]),
        "AUC": roc_auc(frauds, scores[tested]),
        "AP alone": average_precision(truth, alone.astype(np.float64)),
        "AUC alone": roc_auc(truth, alone.astype(np.float64)),
        "rank": embedding_report(partition.embedded).intrinsic["effective rank"],
        "us/event": spent_s / len(lines) * 1e6,
        "MB": (len(manifest) + len(state)) / 1e6,
    }


def swept(plan: Plan, options: argparse.Namespace, scratch: Path) -> dict[str, list[Figures]]:
    """Figures of each variant, one for each seed."""
    names = options.variants.split(",") if options.variants else list(VARIANTS)
    names = [name for name in names if name not in LABELLED or options.labels]
    delay_days = options.delay if options.labels else None
    stream = make(plan, options.folder, scratch, events_max=options.events)
    facts, _ = prepare(stream, scratch)
    lines = first_lines(stream, options.events)
    if len(lines) != len(facts.ids):
        raise SystemExit(f"{plan.name}: some events are rejected")
    found: dict[str, list[Figures]] = {name: [] for name in names}
    for seed in seeds_of(options.seeds):
        for name, variant in ((name, VARIANTS[name]) for name in names):
            config = with_settings(stream.config, variant.settings(seed, delay_days))
            with counted(variant):
                figures = run(replace(stream, config=config), facts, lines, delay_days)
            found[name].append(figures)
            progress(f"{plan.name} {plan.number}, seed {seed}, {name}: {figures['AP']:.4f}")
    return found


def with_settings(config: Config, settings: Sequence[str]) -> Config:
    """A configuration with other settings."""
    return load_mapping(config.model_dump(mode="json"), overrides=settings)


def draw(found: Mapping[str, Mapping[str, Sequence[Figures]]], path: Path) -> None:
    """AP by width, a curve for each stream; its knee is a full circle."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8.0, 5.0), layout="constrained")
    for stream, variants in found.items():
        widths = {int(name): [one["AP"] for one in each] for name, each in variants.items() if name.isdigit()}
        means = [mean(each) for each in widths.values()]
        (line,) = axes.plot(list(widths), means, marker="o", markerfacecolor="white", label=stream)
        at = knee(widths)
        axes.plot(at, mean(widths[at]), marker="o", color=line.get_color())
    axes.set_xscale("log", base=2)
    axes.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
    axes.set_xlabel("width of the embedding")
    axes.set_ylabel("average precision")
    axes.legend()
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each stream."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("--streams", default="cards:1", help="see benchmarks.quality.streams")
    made.add_argument("--folder", type=Path, help="holds NAME.jsonl.gz")
    made.add_argument("--events", type=int, default=80_000, help="of each stream")
    made.add_argument("--seeds", default="0-2", help="of the model, FIRST-LAST")
    made.add_argument("--variants", help=f"of {', '.join(VARIANTS)}; default: all")
    made.add_argument("--labels", action="store_true", help="confirm each fraud")
    made.add_argument("--delay", type=float, default=2.0, help="days from a fraud to its label")
    made.add_argument("--picture", type=Path, help="PNG of AP by width; needs matplotlib")
    options = made.parse_args(arguments)
    found = {}
    print(about())
    with threadpool_limits(1):
        for plan in [plan for text in options.streams.split(",") for plan in parse_plans(text)]:
            with TemporaryDirectory() as scratch:
                name = f"{plan.name} {plan.number}"
                found[name] = swept(plan, options, Path(scratch))
            header = ("", HEADER[0], "spread", *HEADER[1:])
            show(f"{name}{', with labels' if options.labels else ''}", header, rows_of(found[name]))
    if options.picture is not None:
        draw(found, options.picture)


if __name__ == "__main__":
    main()
