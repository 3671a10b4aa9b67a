"""One case as a row of numbers: what is counted of it, and sums that are right to the last place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ALERTS_MAX = 8  # newest alerts of a case that are remembered
RELATED_MAX = 4  # newest cases that a case is related to
PLACES_MAX = 9  # decimal places of a sum
AMOUNT_MAX = 1e300  # a larger one counts as this: sums stay finite

CASE = np.dtype(
    [
        ("entity", "u8"),
        ("first", "i8"),  # offset of its first alert; -1: it has none
        ("began", "f8"),  # time of its first event, s
        ("latest", "f8"),  # of its latest
        ("alerted", "f8"),  # of its latest alert
        ("severity", "i1"),  # rank of the last alert
        ("highest", "i1"),  # of all events
        ("farthest", "f8"),  # highest score of all events
        ("alerts", "i4"),
        ("events", "i4"),
        ("sum", "f8"),  # see `Total`
        ("rest", "f8"),
        ("places", "i1"),
        ("largest", "f8"),  # NaN: none has an exposure
        ("updates", "i4"),
        ("held", "i4"),  # events held back since the last alert
        ("told_events", "i4"),  # events, sum and severity as of the last message
        ("told_sum", "f8"),
        ("told_highest", "i1"),
        ("offsets", "i8", (ALERTS_MAX,)),  # of the newest alerts, the oldest first; -1: none
        ("related", "i8", (RELATED_MAX,)),  # first alerts of other cases, the newest first; -1: none
    ]
)


class Candidate(NamedTuple):
    """An event that reached the threshold."""

    entity: int  # hash of the main entity
    value: str  # of the main entity
    offset: int
    time: float  # the event's own, s
    now: float  # event time of the shard, s
    exposure: float | None
    severity: int  # rank
    score: float
    related: Sequence[int] = ()  # offsets of the first alerts of other cases, the newest first


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """Totals of a case."""

    case: int  # offset of its first alert
    events: int = 1  # alerts and held-back events
    alerts: int = 1
    sum: float | None = None  # of the exposures' sizes; None: no event has one
    largest: float | None = None
    related: Sequence[int] = ()  # offsets of the first alerts of other cases

    @classmethod
    def of_one(cls, offset: int, exposure: float | None, related: Sequence[int] = ()) -> Totals:
        """Those of a case that has one alert and nothing else."""
        size = None if exposure is None else abs(exposure)
        return cls(case=offset, sum=size, largest=size, related=related)


class CaseBefore(NamedTuple):
    """An entity's case without the event that looks back on it."""

    first: int  # offset of its first alert
    began: float  # time of its first event, s
    events: int  # alerts and held-back events
    sum: float | None  # of their exposures' sizes; None: none has one


class Total:
    """A sum of amounts that is right to their last decimal place.

    Two doubles hold what the amounts, as doubles, add up to (Knuth 4.2.2, theorem B); of a million amounts
    below a million it is wrong by less than 1e-4 of a cent. Rounded to the places that the amounts are
    written with, it is the sum of what was written.

    Examples
    --------
    >>> Total.of([0.1, 0.2, 10131.05])
    10131.35
    """

    @staticmethod
    def add(sum_: float, rest: float, amount: float) -> tuple[float, float]:
        """Sum and rest with another amount."""
        total = sum_ + amount
        part = total - sum_
        return total, rest + ((sum_ - (total - part)) + (amount - part))

    @staticmethod
    def places(amount: float) -> int:
        """Decimal places that an amount is written with."""
        digits, _, exponent = repr(float(amount)).partition("e")
        places = len(digits.partition(".")[2].rstrip("0")) - int(exponent or 0)
        return min(max(places, 0), PLACES_MAX)

    @classmethod
    def of(cls, amounts: Sequence[float]) -> float:
        """Sum of finite amounts."""
        sum_ = rest = 0.0
        for amount in amounts:
            sum_, rest = cls.add(sum_, rest, amount)
        return round(sum_ + rest, max(map(cls.places, amounts), default=0))


def count(row: np.void, candidate: Candidate) -> None:
    """Count an event in its case."""
    row["events"] += 1
    row["began"] = min(float(row["began"]), candidate.time)
    row["latest"] = max(float(row["latest"]), candidate.time)
    row["highest"] = max(int(row["highest"]), candidate.severity)
    row["farthest"] = max(float(row["farthest"]), candidate.score)
    if candidate.related:
        related = dict.fromkeys([*candidate.related, *_known(row["related"])])
        row["related"][: len(related)] = list(related)[:RELATED_MAX]
    amount = candidate.exposure
    if amount is not None:
        amount = min(abs(amount), AMOUNT_MAX)
        row["sum"], row["rest"] = Total.add(float(row["sum"]), float(row["rest"]), amount)
        row["places"] = max(int(row["places"]), Total.places(amount))
        row["largest"] = amount if math.isnan(row["largest"]) else max(float(row["largest"]), amount)


def mark_told(row: np.void) -> None:
    """Remember that everything so far was told."""
    row["told_events"], row["told_highest"] = row["events"], row["highest"]
    row["told_sum"] = row["sum"] + row["rest"]


def totals_of(row: np.void) -> Totals:
    """Totals of a case."""
    largest = float(row["largest"])
    known = not math.isnan(largest)
    return Totals(
        case=int(row["first"]),
        events=int(row["events"]),
        alerts=int(row["alerts"]),
        sum=round(float(row["sum"] + row["rest"]), int(row["places"])) if known else None,
        largest=largest if known else None,
        related=tuple(_known(row["related"])),
    )


def alert_offsets(row: np.void) -> Sequence[int]:
    """Offsets of its newest alerts, the oldest first."""
    return _known(row["offsets"])


def _known(offsets: NDArray[np.int64]) -> list[int]:
    return [offset for offset in offsets.tolist() if offset >= 0]
