"""How good are the scores of one stream?

    python benchmarks/quality/evaluate.py --scores S.csv[.gz] --labels L.csv[.gz]

reads what `detector replay --scores` wrote (`event_id,event_time,score,percentile,alert`, input order) and
judges it prequentially: every event was scored before it was learned, so all but the first tenth, the warm-up,
are test events. The labels list the anomalous events, id first; a `scenario`, `TX_FRAUD_SCENARIO` or `label`
column says of which kind, 0 meaning none.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from metrics import BoolArray, FloatArray, IntArray, average_precision, roc_auc, share_within_budget

KIND_FIELDS = ("scenario", "TX_FRAUD_SCENARIO", "label")
Figures = dict[str, int | float]


class InputError(ValueError):
    """The files given cannot be evaluated; the message says which and why."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scores:
    """The rows of scores.csv, in input order."""

    event_id: list[str]
    score: FloatArray  # (n,) higher = more anomalous
    alert: BoolArray  # (n,)


@contextmanager
def open_maybe_gzip(path: Path) -> Iterator[IO[str]]:
    """Open a text file, unpacked on the way if its name ends in .gz."""
    opener: Callable[..., IO[str]] = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def _csv_rows(path: Path) -> Iterator[tuple[list[str], Iterator[list[str]]]]:
    with open_maybe_gzip(path) as file:
        rows = csv.reader(file)
        yield next(rows, []), rows


def read_scores(path: Path) -> Scores:
    """Read scores.csv; an id twice, a score that is no number and an unknown alert flag are errors."""
    flags = {"0": False, "false": False, "": False, "1": True, "true": True}
    event_id, score, alert = [], [], []
    with _csv_rows(path) as (header, rows):
        try:
            columns = [header.index(name) for name in ("event_id", "score", "alert")]
        except ValueError:
            raise InputError(f"{path}: needs the columns event_id, score, alert; has {header}") from None
        for line, row in enumerate(rows, start=2):
            try:
                id_, score_, alert_ = (row[column] for column in columns)
                value, flag = float(score_), flags[alert_.lower()]
            except (IndexError, ValueError, KeyError):
                raise InputError(f"{path}:{line}: not a row of scores: {row}") from None
            event_id.append(id_)
            score.append(value)
            alert.append(flag)
    if not event_id:
        raise InputError(f"{path}: no scores")
    if len(set(event_id)) < len(event_id):
        raise InputError(f"{path}: {len(event_id) - len(set(event_id))} events are scored more than once")
    if np.isnan(score).any():
        raise InputError(f"{path}: {np.isnan(score).sum()} scores are NaN")
    return Scores(event_id=event_id, score=np.array(score), alert=np.array(alert))


def read_labels(path: Path) -> dict[str, int]:
    """Return the kind (> 0) of each anomalous event by its id: the first column, or 1 without a kind column."""
    kinds = {}
    with _csv_rows(path) as (header, rows):
        kind = next((header.index(name) for name in KIND_FIELDS if name in header), None)
        for line, row in enumerate(rows, start=2):
            try:
                kinds[row[0]] = 1 if kind is None else int(row[kind])
            except (IndexError, ValueError):
                raise InputError(f"{path}:{line}: not a row of labels: {row}") from None
    return {event_id: value for event_id, value in kinds.items() if value > 0}


def figures(kind: IntArray, score: FloatArray, alert: BoolArray, budgets: Sequence[float]) -> Figures:
    """Judge a ranking, and the alerts actually sent.

    Parameters
    ----------
    kind : ndarray of int, shape (n,)
        0 for a normal event, else the kind of anomaly.
    score : ndarray of float, shape (n,)
    alert : ndarray of bool, shape (n,)
    budgets : sequence of float
        Shares of the events; for each, precision and recall of the highest scores.

    Returns
    -------
    dict
        Figure by name, in the order in which to print; recall also by kind where there is more than one.
    """
    label = kind > 0
    kinds = np.unique(kind[label]).tolist()
    result: Figures = {"events": len(kind), "anomalies": int(label.sum())}
    if len(kinds) > 1:
        result |= {f"anomalies_scenario_{k}": int((kind == k).sum()) for k in kinds}
    result |= {"roc_auc": roc_auc(label, score), "average_precision": average_precision(label, score)}
    selections = {f"at_{budget:.2%}": share_within_budget(score, budget) for budget in budgets}
    selections["of_alerts"] = alert.astype(float)
    for name, selected in selections.items():
        if name == "of_alerts":
            result["alerts"] = int(alert.sum())
        total = selected.sum()
        result[f"precision_{name}"] = float(selected[label].sum() / total) if total else float("nan")
        result[f"recall_{name}"] = float(selected[label].mean()) if len(kinds) else float("nan")
        if len(kinds) > 1:
            result |= {f"recall_{name}_scenario_{k}": float(selected[kind == k].mean()) for k in kinds}
    return result


def evaluate_stream(
    scores: Scores, labels: dict[str, int], *, warm_up: float, budgets: Sequence[float]
) -> Figures:
    """Judge the events after the first `warm_up` share of them.

    Raises
    ------
    InputError
        If no labelled event is among the scored ones: the files do not belong together.
    """
    kind = np.array([labels.get(event_id, 0) for event_id in scores.event_id])
    if not kind.any():
        raise InputError("none of the labelled events has a score")
    start = int(warm_up * len(kind))
    result = figures(kind[start:], scores.score[start:], scores.alert[start:], budgets)
    return {"warm_up_events": start, "anomalies_without_score": len(labels) - int((kind > 0).sum())} | result


def run_command(
    description: str, files: dict[str, str], evaluate: Callable[[argparse.Namespace], Figures]
) -> int:
    """Parse the arguments, print the figures; an operator's mistake is a sentence and exit code 2.

    Parameters
    ----------
    description : str
        For `--help`.
    files : dict
        Help text by name of each required file option.
    evaluate : callable
        Takes the parsed arguments (`scores`, the files, `warm_up`, `budgets`) and returns the figures.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, help_ in files.items():
        parser.add_argument(f"--{name}", type=Path, required=True, help=help_)
    parser.add_argument(
        "--budget",
        dest="budgets",
        type=float,
        action="append",
        help="share of the events looked at, in (0, 1]; may be repeated (default: 0.001 and 0.01)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    arguments.budgets = arguments.budgets or [0.001, 0.01]
    if not all(0 < budget <= 1 for budget in arguments.budgets):
        parser.error("--budget must be above 0 and at most 1")
    try:
        result = evaluate(arguments)
    except (OSError, EOFError, UnicodeDecodeError, InputError) as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(result))
    else:
        width = max(map(len, result))
        for name, value in result.items():
            print(
                f"{name:<{width}}  {value:,}" if isinstance(value, int) else f"{name:<{width}}  {value:.4f}"
            )
    return 0


SCORES_HELP = "scores.csv[.gz] as written by `detector replay --scores`"
WARM_UP = 0.1  # as in the table of published peers


def main() -> int:
    """Run the command."""

    def evaluate(arguments: argparse.Namespace) -> Figures:
        scores, labels = read_scores(arguments.scores), read_labels(arguments.labels)
        return evaluate_stream(scores, labels, warm_up=WARM_UP, budgets=arguments.budgets)

    files = {"scores": SCORES_HELP, "labels": "the anomalous events, id first, .csv[.gz]"}
    return run_command(__doc__ or "", files, evaluate)


if __name__ == "__main__":
    sys.exit(main())
