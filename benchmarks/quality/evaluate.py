"""Quality of the scores of a stream.

    python -m benchmarks.quality.evaluate --scores S.csv[.gz] --labels L.csv[.gz]
                                          [--handbook --events E.jsonl[.gz]]

judges a stream prequentially: every event was scored before it was learned, so all but the first tenth, the
warm-up, are test events. With --handbook it is the published test week of the Fraud Detection Handbook.

Scores have the header event_id,event_time,score,quantile,alert and one row per accepted event in input
order, as `detector replay --scores` writes them. Labels list the anomalous events, id first; a column
scenario, TX_FRAUD_SCENARIO or label says of which kind, 0 meaning none.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.quality.handbook_week import judge_week
from benchmarks.quality.inputs import InputError, Scores, read_labels, read_scores
from benchmarks.quality.metrics import Figures, figures

WARM_UP = 0.1  # as in the published comparisons of streaming detectors measured here


def judge_stream(scores: Scores, labels: dict[str, int]) -> Figures:
    """Judge the events after the warm-up.

    Raises
    ------
    InputError
        If no labelled event is among the scored ones: the files do not belong together.
    """
    kind = np.zeros(len(scores.score), dtype=np.int64)
    for event_id, value in labels.items():
        if (row := scores.row_of.get(event_id)) is not None:
            kind[row] = value
    if not kind.any():
        raise InputError("none of the labelled events has a score")
    start = int(WARM_UP * len(kind))
    return {
        "warm_up_events": start,
        "anomalies_without_score": len(labels) - int((kind > 0).sum()),
        **figures(kind[start:], scores.score[start:], scores.alert[start:]),
    }


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; a wrong argument or file gives a message and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--handbook", action="store_true", help="judge the Handbook's test week")
    parser.add_argument("--events", type=Path, help="with --handbook: its stream, for the cards")
    options = parser.parse_args(arguments)
    if options.handbook != (options.events is not None):
        parser.error("--handbook and --events go together")
    try:
        scores, labels = read_scores(options.scores), read_labels(options.labels).kind
        result = (
            judge_week(options.events, scores, labels) if options.handbook else judge_stream(scores, labels)
        )
    except (OSError, EOFError, UnicodeDecodeError, InputError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    width = max(map(len, result))
    for name, value in result.items():
        print(f"{name:<{width}}  {format(value, ',' if isinstance(value, int) else '.4f')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
