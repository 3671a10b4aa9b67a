"""Scores of records that the shard does not take: each as if it were the next one, and nothing changes.

A record's score is bit for bit the one that `Shard.take` would give it as the next record. It does not depend
on the other records that are looked at. Budget, cooldowns and cases decide about a stream, not about one
event, so they have no part here: what reaches the threshold is a candidate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.core.events import Rejected
from detector.core.features import FraudRates
from detector.core.labels.event_buffer import Examples
from detector.core.records import Alert, Record
from detector.core.shard.alerting import Alerting
from detector.core.shard.intake import Intake
from detector.core.shard.pieces import Piece
from detector.core.shard.scoring import Scorer


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Looked:
    """Of n records."""

    scores: NDArray[np.float64]  # (n,) as `Scored.scores`; NaN: rejected
    quantiles: NDArray[np.float64]  # (n,) as `Scored.quantiles`; NaN: rejected
    candidates: Mapping[int, Alert]  # those that reach the threshold, by row
    rejected: Mapping[int, Rejected]  # by row
    examples: Examples | None = None  # what the encoder sees of those that are not rejected, in order


def look(
    records: Sequence[Record],
    intake: Intake,
    scorer: Scorer,
    rates: FraudRates,
    alerting: Alerting,
    *,
    number: int,
    warm_up: bool,
) -> Looked:
    """Score n records.

    Parameters
    ----------
    number
        Of the shard's next event.
    warm_up
        Whether that event is still in warm-up.
    """
    events, times, rejected = intake.look(records)
    scores = np.full(len(records), np.nan)
    if not len(events):
        return Looked(scores=scores, quantiles=scores, candidates={}, rejected=rejected)
    rows, inputs, scored = scorer.look(events, times, rates)
    places = [row for row in range(len(records)) if row not in rejected]
    scores[places] = scored.scores
    piece = Piece(
        events=events,
        rows=rows,
        inputs=inputs,
        scores=scored.scores,
        cold=scored.cold,
        now=times,
        number=number,
        warm_up_left=len(events) if warm_up else 0,
    )
    alerts = {places[i]: alert for i, alert in alerting.candidates(piece, scorer).items()}
    return Looked(
        scores=scores,
        quantiles=1.0 - 10.0**-scores,
        candidates=alerts,
        rejected=rejected,
        examples=Examples(inputs, rows.categories, rows.grams),
    )
