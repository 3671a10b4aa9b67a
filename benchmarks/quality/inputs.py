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
KIND_FIELDS = ("scenario", "TX_FRAUD_SCENARIO", "label", "kind")
INCIDENT_FIELD = "incident"
FLAGS = {"0": False, "false": False, "1": True, "true": True}


class InputError(ValueError):
    """The files given cannot be evaluated; the message says which and why."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scores:
    """The rows of scores.csv, one per accepted event, in input order."""

    row_of: dict[str, int]  # row by event id, in order
    score: FloatArray  # (n,) higher = more anomalous
    alert: BoolArray  # (n,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """The anomalous events."""

    kind: dict[str, int]  # kind of anomaly by event id, above 0
    name: dict[int, str]  # name of each kind
    incident: dict[str, str]  # incident by event id; empty if the file names none


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


def read_labels(path: Path) -> Labels:
    """Read the anomalous events, id first; their kind is 1 where no column says which.

    A kind is a number, 0 meaning none, or in the column `kind` a name; names are numbered as they occur.
    """
    kinds: dict[str, int] = {}
    names: dict[str, int] = {}
    incidents: dict[str, str] = {}
    with open_maybe_gzip(path) as file:
        rows = csv.reader(file)
        header = next(rows, [])
        column = next((header.index(name) for name in KIND_FIELDS if name in header), None)
        named = column is not None and header[column] == "kind"
        group = header.index(INCIDENT_FIELD) if INCIDENT_FIELD in header else None
        for line, row in enumerate(rows, start=2):
            try:
                text = "1" if column is None else row[column]
                kinds[row[0]] = names.setdefault(text, len(names) + 1) if named else int(text)
                if group is not None:
                    incidents[row[0]] = row[group]
            except (IndexError, ValueError):
                raise InputError(f"{path}:{line}: not a row of labels: {row}") from None
    kinds = {event_id: kind for event_id, kind in kinds.items() if kind > 0}
    name_of = {number: name for name, number in names.items()}
    return Labels(
        kind=kinds,
        name={kind: name_of.get(kind, str(kind)) for kind in sorted(set(kinds.values()))},
        incident=incidents,
    )
