"""The inputs of the judge: scores as written by `detector replay --scores`, and a file of labels."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from benchmarks.quality.metrics import BoolArray, FloatArray

SCORE_FIELDS = ["event_id", "event_time", "score", "quantile", "alert"]
KIND_FIELDS = ("scenario", "TX_FRAUD_SCENARIO", "label")
FLAGS = {"0": False, "false": False, "1": True, "true": True}


class InputError(ValueError):
    """The files given cannot be evaluated; the message says which and why."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scores:
    """The rows of scores.csv, one per accepted event, in input order."""

    row_of: dict[str, int]  # row by event id, in order
    score: FloatArray  # (n,) higher = more anomalous
    alert: BoolArray  # (n,)


@contextmanager
def open_maybe_gzip(path: Path) -> Iterator[IO[str]]:
    """Open a text file; it is unpacked if its name ends in .gz."""
    opener: Callable[..., IO[str]] = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        yield file


def read_scores(path: Path) -> Scores:
    """Read scores.csv; an id twice, a score that is no number and an unknown alert flag are errors."""
    row_of: dict[str, int] = {}
    score, alert = [], []
    with open_maybe_gzip(path) as file:
        rows = csv.reader(file)
        if (header := next(rows, [])) != SCORE_FIELDS:
            raise InputError(f"{path}: the header must be {','.join(SCORE_FIELDS)}, not {','.join(header)}")
        for line, row in enumerate(rows, start=2):
            try:
                event_id, _, value, _, flag = row
                score.append(float(value))
                alert.append(FLAGS[flag.lower()])
            except (ValueError, KeyError):
                raise InputError(f"{path}:{line}: not a row of scores: {row}") from None
            if row_of.setdefault(event_id, line - 2) != line - 2:
                raise InputError(f"{path}:{line}: event {event_id} is scored a second time")
    if not row_of:
        raise InputError(f"{path}: no scores")
    if np.isnan(score).any():
        raise InputError(f"{path}: {np.isnan(score).sum()} scores are NaN")
    return Scores(row_of=row_of, score=np.array(score), alert=np.array(alert))


def read_labels(path: Path) -> dict[str, int]:
    """Return the kind of each anomalous event by its id, the first column; 1 where no column says which."""
    kinds = {}
    with open_maybe_gzip(path) as file:
        rows = csv.reader(file)
        header = next(rows, [])
        column = next((header.index(name) for name in KIND_FIELDS if name in header), None)
        for line, row in enumerate(rows, start=2):
            try:
                kinds[row[0]] = 1 if column is None else int(row[column])
            except (IndexError, ValueError):
                raise InputError(f"{path}:{line}: not a row of labels: {row}") from None
    return {event_id: kind for event_id, kind in kinds.items() if kind > 0}
