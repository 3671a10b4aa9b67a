"""Outputs of scored events: scores, alerts, updates of cases, and what is counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from detector.config.tree import Alerts
from detector.core.events import Events
from detector.core.records import Outputs, Scored
from detector.core.shard.pieces import Decided, Inquired
from detector.core.shard.scoring import Scorer, Scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What one call of `Shard.take` did."""

    consumed: int  # records taken from the front
    outputs: Outputs  # empty when silent
    block_ended: bool
    inquired: Inquired | None = None  # why it gave no alert; None: it did, was rejected, or is not here


def with_scored(
    outputs: Outputs, events: Events, scores: Scores, decided: Decided, scorer: Scorer, config: Alerts
) -> Outputs:
    """Add the outputs of scored events to those of rejected ones."""
    pseudonyms = config.scores_key == "pseudonym"
    scored = Scored(
        offsets=events.offsets,
        times=events.times,
        scores=scores.scores,
        quantiles=1.0 - 10.0**-scores.scores,
        alerted=decided.alerted,
        timestamps_ms=np.array([record.timestamp_ms for record in events.records], dtype=np.int64),
        ids=events.ids,
        keys=[record.key for record in events.records],
        model_version=scorer.served.version,
        held=decided.held,
        entities=events.entities[:, 0] if pseudonyms and events.entities.shape[1] else None,
    )
    return replace(
        outputs,
        scored=(scored,),
        alerts=tuple(decided.alerts),
        case_updates=tuple(decided.updates),
        suppressed=Counter(decided.held.values()),
        key_mismatches=int((~events.key_matches).sum()),
    )
