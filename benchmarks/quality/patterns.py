"""Which patterns of fraud a score finds, kind by kind.

    python -m benchmarks.quality.patterns                       the service over `cards` traffic, seed 0
    python -m benchmarks.quality.patterns --seed 1 --events 300000 --set model.seed=1
    python -m benchmarks.quality.patterns --scores S.csv --labels L.csv     judge scores that are there

    recall      share of the kind's events whose score is above the .99 quantile of the normal events' scores
    incidents   share of the kind's incidents with an alert on one of their events

The first tenth of the stream is not judged. The service's alerts are its own, at a budget of 1 %; a peer has
no alerts, so its highest 1 % of scores are taken in hindsight.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.quality import ours
from benchmarks.quality.answers import parse_labels
from benchmarks.quality.columns import prepare
from benchmarks.quality.evaluate import WARM_UP
from benchmarks.quality.inputs import InputError, Labels, Scores, read_labels, read_scores
from benchmarks.quality.judge import EVENTS_OF, INCIDENTS, INCIDENTS_OF, RECALL, by_kind, judged
from benchmarks.quality.metrics import average_precision
from benchmarks.quality.report import Row
from benchmarks.quality.streams import Facts, make, parse_plans
from detector.errors import OperatorError
from detector.shell import logs


def kinds_of(row: Row) -> list[str]:
    """Names of the kinds that a row judges."""
    return [name.removeprefix(RECALL) for name in row if name.startswith(RECALL)]


def show(console: Console, rows: Sequence[Row]) -> None:
    """Print recall and incidents by kind, one column for each row that has them."""
    rows = [row for row in rows if kinds_of(row)]
    if not rows:
        return
    table = Table(
        title="patterns: recall above the normal events' .99 quantile / incidents alerted at a budget of 1 %",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    heads, body = cells(rows)
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left")
    for line in body:
        table.add_row(*line)
    console.print(table)


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the lines of the table: a line per kind, and the average precision."""
    heads = ["pattern", "events", "incidents", *(_name(row) for row in rows)]
    kinds = sorted({kind for row in rows for kind in kinds_of(row)})
    body = [
        [
            kind.replace("_", " "),
            f"{rows[0][EVENTS_OF + kind]:,.0f}",
            f"{rows[0][INCIDENTS_OF + kind]:,.0f}",
            *(f"{row[RECALL + kind]:.2f} / {row[INCIDENTS + kind]:.2f}" for row in rows),
        ]
        for kind in kinds
    ]
    return heads, [*body, ["average precision", "", "", *(f"{row['ap']:.3f}" for row in rows)]]


def judge(scores: Scores, labels: Labels) -> Row:
    """Judge scores that are there, without the first tenth.

    Raises
    ------
    InputError
        No labelled event has a score, or the labels name no incidents.
    """
    if not labels.incident:
        raise InputError("the labels need the columns kind and incident")
    n = len(scores.score)
    facts = Facts.of(list(scores.row_of), np.zeros(n), labels)
    tested = judged(facts, week=False)
    score = scores.score[tested]
    found = by_kind(facts, score, scores.alert[tested], tested)
    ap = average_precision(facts.kind[tested] > 0, score)
    return {"detector": "", "columns": "", "ap": ap, **found}


def _name(row: Row) -> str:
    return " ".join(filter(None, [row["detector"], row["columns"]])) or "scores"


def _measure(options: argparse.Namespace) -> Row:
    """Run the service over simulated card traffic."""
    (plan,) = parse_plans(f"cards:{options.seed}")
    with TemporaryDirectory(prefix="patterns-") as folder:
        scratch = Path(folder)
        stream = make(plan, None, scratch, days=None, events_max=options.events, overrides=options.set)
        facts, _ = prepare(stream, scratch)
        began = time.process_time()
        result = ours.run(stream, facts, parse_labels("none"), scratch)
        took = time.process_time() - began
        row = judge(read_scores(scratch / "scores.csv"), stream.labels)
    alerts = result.alert[int(WARM_UP * len(facts.ids)) :]
    note = f"{alerts.mean():.2%} alerts, {result.accepted_above:.1%} of accepted events above .99"
    return row | {"detector": f"seed {options.seed}", "note": f"{note}, {1e6 * took / len(facts.ids):.0f} us"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; an operator's mistake is a sentence and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="patterns", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the traffic")
    parser.add_argument("--events", type=int, default=200_000, help="length of the stream")
    parser.add_argument("--set", action="append", default=[], help="setting of the service, KEY=VALUE")
    parser.add_argument("--scores", type=Path, help="judge these scores of `detector replay --scores`")
    parser.add_argument(
        "--labels", type=Path, help="with --scores: labels with the columns kind and incident"
    )
    options = parser.parse_args(arguments)
    if (options.scores is None) != (options.labels is None):
        parser.error("--scores and --labels go together")
    logs.configure("error")
    try:
        if options.scores is None:
            row = _measure(options)
        else:
            row = judge(read_scores(options.scores), read_labels(options.labels))
    except (OSError, EOFError, InputError, OperatorError) as error:
        print(f"patterns: {error}", file=sys.stderr)
        return 2
    console = Console() if sys.stdout.isatty() else Console(width=120)
    show(console, [row])
    if "note" in row:
        console.print(row["note"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
