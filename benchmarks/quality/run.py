"""Detection quality of the service and its peers, on the same streams in the same run.

    python -m benchmarks.quality.run --streams simulate:7-11,thyroid@5 --folder DATA --out out/quality
    python -m benchmarks.quality.run --league DATA --streams cards:7 --out out/league

--league is short for all labelled streams of a folder, with plain columns, and prints who ranks where.
Streams: cards[+N]:SEED[-SEED] (patterns of fraud; N fields constant per customer), simulate:SEED[-SEED] (the
Handbook's simulator), NAME (of the folder), NAME@ORDERS (shuffled sets), NAME:week (the Handbook's).
Labels, for the service only: none, late:DAYS[:SHARE or COUNT], answers:DAYS[:SHARE].
Detectors: detector (the service), hst, loda, rshash, xstream, iforestasd, knn; iforest, a batch reference.

Writes runs.csv, summary.csv, results.json and pictures to --out, replacing files there, and prints the
tables. With --docs FILE it writes the tables of the league and of the patterns into that file, too. See
docs/explanation/quality.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console
from threadpoolctl import threadpool_limits

from benchmarks.quality import league, ours, patterns, peers
from benchmarks.quality.answers import LabelPlan, parse_labels
from benchmarks.quality.columns import SETS, Matrix, prepare
from benchmarks.quality.inputs import InputError
from benchmarks.quality.judge import judged, ranking, service
from benchmarks.quality.metrics import DAY_S, BoolArray
from benchmarks.quality.pictures import Gallery
from benchmarks.quality.publish import tables_of, write_tables
from benchmarks.quality.report import OURS, Row, add_verdicts, show, summarise, write
from benchmarks.quality.streams import Facts, Plan, Stream, make, parse_plans
from detector.errors import OperatorError
from detector.shell import logs

DEFAULT_DETECTORS = (OURS, "hst", "loda", "rshash", "iforestasd", "knn", peers.REFERENCE)
DETECTORS = (OURS, *peers.PEERS, peers.REFERENCE)
PACKAGES = ("detector", "numpy", "river", "pysad", "scikit-learn")


@dataclass(slots=True)
class _Bench:
    """One run of everything."""

    options: argparse.Namespace
    plans: Sequence[Plan]
    labels: Sequence[LabelPlan]
    console: Console
    rows: list[Row] = field(default_factory=list)

    def run(self) -> list[Row]:
        """Measure stream by stream; what is done is on disk after each. Returns the summary."""
        summary: list[Row] = []
        for name, plans in groupby(self.plans, key=lambda plan: plan.name):
            gallery: Gallery | None = None
            for plan in plans:
                first = gallery is None
                gallery = gallery or Gallery(name, plan.instance)
                with TemporaryDirectory(dir=self.options.out, prefix="scratch-") as scratch:
                    self._run_stream(plan, Path(scratch), gallery if first else None)
                summary = summarise(self.rows)
                add_verdicts(summary)
                write(self.options.out, self.rows, summary, self._about())
            if gallery is not None and not self.options.no_pictures:
                gallery.draw(self.options.out, summary)
        return summary

    def _run_stream(self, plan: Plan, scratch: Path, gallery: Gallery | None) -> None:
        options = self.options
        stream = make(
            plan,
            options.folder,
            scratch,
            days=options.days,
            events_max=options.events,
            overrides=options.set,
        )
        wanted = self._columns(plan) if set(options.detectors) - {OURS} else ()
        facts, matrices = prepare(stream, scratch, tuple(wanted))
        tested = judged(facts, week=plan.week)
        if OURS in options.detectors:
            for labels in self.labels:
                for partitions in options.partitions:
                    self._run_ours(stream, facts, tested, labels, partitions, scratch, gallery)
        for name in options.detectors:
            for columns, matrix in matrices.items() if name != OURS else ():
                self._run_peer(name, columns, matrix, stream, facts, tested, gallery)

    def _columns(self, plan: Plan) -> Sequence[str]:
        """Sets of columns of the peers; unless they were given, those that suit the kind of stream."""
        if self.options.columns is not None:
            return list(self.options.columns)
        if plan.source in self.options.in_league:
            return ("plain",)
        return ("compact",) if plan.source == "cards" else SETS

    def _run_ours(
        self,
        stream: Stream,
        facts: Facts,
        tested: BoolArray,
        labels: LabelPlan,
        partitions: int,
        scratch: Path,
        gallery: Gallery | None,
    ) -> None:
        row = self._row(stream, OURS, "", labels.text, partitions)
        try:
            result = ours.run(stream, facts, labels, scratch, partitions=partitions)
        except (OperatorError, InputError) as error:
            row["failure"] = str(error)
        else:
            row["note"] = result.note
            row |= ranking(facts, result.score, tested)
            row |= service(facts, result.score, result.alert, tested, stream.config)
            row["accepted above .99"] = result.accepted_above
            row["us per event"] = 1e6 * result.cpu_s / len(facts.ids)
            if gallery is not None:
                anomalous, share = facts.kind > 0, stream.config.alerts.budget.share
                gallery.add_ranking(row, anomalous[tested], result.score[tested])
                gallery.add_service(row, facts.time, anomalous, result.score, result.alert, share)
        self._done(row)

    def _run_peer(
        self,
        name: str,
        columns: str,
        matrix: Matrix,
        stream: Stream,
        facts: Facts,
        tested: BoolArray,
        gallery: Gallery | None,
    ) -> None:
        row = self._row(stream, name, columns, "none", 1)
        start = 0
        if self.options.peer_days is not None:
            begin = facts.time[np.argmax(tested)] - self.options.peer_days * DAY_S
            start = int(np.searchsorted(facts.time, begin))
            row["note"] = f"from {self.options.peer_days:g} days before the judged events on"
        if name == peers.REFERENCE:
            row["note"] = "; ".join(filter(None, [row["note"], "batch, not streaming"]))
        # The judged events end before the stream does where a week is judged.
        stop = len(tested) - int(np.argmax(tested[::-1]))
        score = np.full(len(tested), math.nan)
        try:
            seconds_max = 60.0 * self.options.peer_minutes
            result = peers.run(name, matrix[start:stop], seed=self.options.seed, seconds_max=seconds_max)
            score[start:stop] = result.score
            row |= ranking(facts, score, tested)
        except Exception as error:  # noqa: BLE001 - a peer is third-party code: its failure goes into its row
            row["failure"] = f"{type(error).__name__}: {error}"
        else:
            row["us per event"] = 1e6 * result.cpu_s / (stop - start)
            if gallery is not None:
                gallery.add_ranking(row, facts.kind[tested] > 0, score[tested])
        self._done(row)

    def _row(self, stream: Stream, detector: str, columns: str, labels: str, partitions: int) -> Row:
        return {
            "stream": stream.plan.name,
            "instance": stream.plan.instance,
            "detector": detector,
            "columns": columns,
            "labels": labels,
            "partitions": partitions,
            "config": stream.config_from if detector == OURS else "",
            "note": "",
            "failure": "",
        }

    def _done(self, row: Row) -> None:
        self.rows.append(row)
        figure = row["failure"] or f"AP {row['ap']:.3f}, {row['us per event']:,.0f} us per event"
        words = " ".join(filter(None, [row["stream"], row["instance"], row["detector"], row["columns"]]))
        self.console.print(f"{words}, labels {row['labels']}: {figure}", highlight=False, markup=False)

    def _about(self) -> dict[str, Any]:
        options = {
            name: value
            for name, value in vars(self.options).items()
            if name not in ("out", "folder", "league", "docs")
        }
        return {
            "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}",
            "python": platform.python_version(),
            "packages": {name: found for name in PACKAGES if (found := _version(name))},
            "options": options,
        }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def several(text: str) -> list[str]:
        return [part for part in text.split(",") if part]

    parser.add_argument("--streams", type=several, default=[], help="names of streams, separated by commas")
    parser.add_argument("--league", type=Path, metavar="FOLDER", help="all labelled streams of this folder")
    parser.add_argument("--folder", type=Path, help="folder of streams that are not simulated")
    parser.add_argument("--out", type=Path, default=Path("out/quality"))
    parser.add_argument("--detectors", type=several, default=list(DEFAULT_DETECTORS))
    parser.add_argument(
        "--columns",
        type=several,
        help=f"of {', '.join(SETS)}, for peers; default: all, in a league plain, of cards compact",
    )
    parser.add_argument(
        "--labels", type=several, default=["none"], help="labels for the service; one run for each"
    )
    parser.add_argument(
        "--partitions",
        type=lambda text: [int(part) for part in several(text)],
        default=[1],
        help="partitions of the service, e.g. 1,8; one run for each",
    )
    parser.add_argument("--days", type=int, default=30, help="length of simulated streams")
    parser.add_argument("--events", type=int, help="use only the first events of each stream")
    parser.add_argument("--set", action="append", default=[], help="setting of the service, KEY=VALUE")
    parser.add_argument("--peer-days", type=float, help="days before the judged events at which peers begin")
    parser.add_argument("--peer-minutes", type=float, default=60.0, help="CPU time of one peer's run")
    parser.add_argument("--seed", type=int, default=0, help="seed of the peers")
    parser.add_argument("--no-pictures", action="store_true")
    parser.add_argument("--docs", type=Path, help="file into which the tables are written between markers")
    options = parser.parse_args(arguments)
    if not options.streams and options.league is None:
        parser.error("one of the arguments --streams --league is required")
    for given, known in ((options.detectors, DETECTORS), (options.columns or (), SETS)):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; an operator's mistake is a sentence and exit code 2."""
    options = _options(arguments)
    if not options.no_pictures and importlib.util.find_spec("matplotlib") is None:
        print("run: pictures need matplotlib: use make bench-quality, or --no-pictures", file=sys.stderr)
        return 2
    logs.configure("error")
    began = time.monotonic()
    progress, tables = Console(stderr=True), Console()
    try:
        options.in_league = [] if options.league is None else league.streams_of(options.league)
        options.folder = options.league or options.folder
        options.streams = [*options.in_league, *options.streams]
        plans = list(_plans(options.streams))
        labels = [parse_labels(text) for text in options.labels]
        options.out.mkdir(parents=True, exist_ok=True)
        with threadpool_limits(1):
            summary = _Bench(options, plans, labels, progress).run()
    except (OSError, EOFError, InputError, OperatorError) as error:
        print(f"run: {error}", file=sys.stderr)
        return 2
    tables = tables if tables.is_terminal else Console(width=200)
    show(tables, summary)
    league.show(tables, league.standings([row for row in summary if row["stream"] in options.in_league]))
    patterns.show(tables, summary)
    if options.docs is not None:
        try:
            write_tables(options.docs, tables_of(summary, options.in_league))
        except (OSError, InputError) as error:
            print(f"run: {error}", file=sys.stderr)
            return 2
    progress.print(f"{options.out}: runs.csv, summary.csv, results.json; {time.monotonic() - began:,.0f} s")
    return 0


def _plans(texts: Sequence[str]) -> Iterator[Plan]:
    for text in texts:
        yield from parse_plans(text)


if __name__ == "__main__":
    sys.exit(main())
