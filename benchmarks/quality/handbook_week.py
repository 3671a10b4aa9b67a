"""The test week of the Fraud Detection Handbook (Le Borgne et al. 2022), by its published protocol.

Training week 2018-07-25 to 07-31, then a week whose labels have not arrived, then the test week 08-08 to
08-14. A customer is left out of test day d if a fraud of theirs is known by then: one from the training week
up to day d - 8. 58,264 transactions with 385 frauds (20, 281 and 84 by scenario) must remain. Otherwise it is
another stream or a bug, and nothing is printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.quality.inputs import InputError, Scores, open_maybe_gzip
from benchmarks.quality.metrics import BoolArray, Figures, IntArray, card_precision, figures

FIRST_DAY = date(2018, 7, 25)
TRAIN_DAYS, DELAY_DAYS, TEST_DAYS = 7, 7, 7
FIRST_TEST_DAY = TRAIN_DAYS + DELAY_DAYS
EXPECTED = {0: 57_879, 1: 20, 2: 281, 3: 84}
CARDS_LOOKED_AT = 100


class _Event(msgspec.Struct):
    TRANSACTION_ID: str
    TX_DATETIME: str
    CUSTOMER_ID: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Transactions:
    """Transactions of the three weeks."""

    event_id: list[str]
    day: IntArray  # (n,) days since FIRST_DAY
    customer: IntArray  # (n,)
    scenario: IntArray  # (n,) 0 normal


def read_three_weeks(events: Path, frauds: dict[str, int]) -> Transactions:
    """Read the training, delay and test weeks from the stream, which may hold any other days too."""
    days = TRAIN_DAYS + DELAY_DAYS + TEST_DAYS
    number_of = {(FIRST_DAY + timedelta(days=n)).isoformat(): n for n in range(days)}
    decoder = msgspec.json.Decoder(_Event)
    rows = []
    with open_maybe_gzip(events) as file:
        for line, text in enumerate(file, start=1):
            try:
                event = decoder.decode(text)
            except msgspec.DecodeError as error:
                raise InputError(f"{events}:{line}: {error}") from None
            day = number_of.get(event.TX_DATETIME[:10])
            if day is not None:
                rows.append((event.TRANSACTION_ID, day, event.CUSTOMER_ID))
    if not rows:
        raise InputError(f"{events}: no transaction from {FIRST_DAY} on for {days} days")
    event_id, day_, customer = map(list, zip(*rows, strict=True))
    return Transactions(
        event_id=event_id,
        day=np.array(day_),
        customer=np.unique(customer, return_inverse=True)[1],
        scenario=np.array([frauds.get(id_, 0) for id_ in event_id]),
    )


def in_test(day: IntArray, customer: IntArray, scenario: IntArray) -> BoolArray:
    """Return which transactions are tested: those of the test week without customers known as compromised.

    Parameters
    ----------
    day, customer, scenario : ndarray of int, shape (n,)
        Day 0 is the first of training; scenario 0 is normal.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    tested = np.zeros(len(day), dtype=bool)
    for today in range(FIRST_TEST_DAY, FIRST_TEST_DAY + TEST_DAYS):
        known = np.unique(customer[(scenario > 0) & (day <= max(TRAIN_DAYS - 1, today - DELAY_DAYS - 1))])
        tested |= (day == today) & ~np.isin(customer, known)
    return tested


def check_counts(scenario: IntArray) -> None:
    """Refuse scenarios of tested transactions, (n,), that are not the published ones.

    Raises
    ------
    InputError
        It is another stream, or there is a bug here.
    """
    counts = {int(k): int(n) for k, n in zip(*np.unique(scenario, return_counts=True), strict=True)}
    if counts != EXPECTED:
        raise InputError(
            f"the test week must have {_spell(EXPECTED)}, but has {_spell(counts)}: not the Handbook's stream"
        )


def judge_week(events: Path, scores: Scores, labels: dict[str, int]) -> Figures:
    """Judge the test week.

    Raises
    ------
    InputError
        If the week does not have the published counts, or a tested transaction has no score.
    """
    weeks = read_three_weeks(events, labels)
    tested = np.flatnonzero(in_test(weeks.day, weeks.customer, weeks.scenario))
    day, customer, scenario = weeks.day[tested], weeks.customer[tested], weeks.scenario[tested]
    check_counts(scenario)
    ids = [weeks.event_id[n] for n in tested]
    missing = [event_id for event_id in ids if event_id not in scores.row_of]
    if missing:
        raise InputError(f"{len(missing):,} tested transactions have no score, the first is {missing[0]}")
    rows = np.array([scores.row_of[event_id] for event_id in ids])
    score = scores.score[rows]
    return {
        **figures(scenario, score, scores.alert[rows]),
        f"card_precision_at_{CARDS_LOOKED_AT}": card_precision(
            day, customer, scenario > 0, score, CARDS_LOOKED_AT
        ),
    }


def _spell(counts: dict[int, int]) -> str:
    frauds = {scenario: n for scenario, n in counts.items() if scenario > 0}
    return f"{sum(counts.values()):,} transactions and {sum(frauds.values()):,} frauds (by scenario {frauds})"
