"""The JSON of the scores topic: one record per scored event."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from detector.core.records import Headers, Identity, Scored

HEADERS: Headers = (("content-type", b"application/json"),)


class Score(msgspec.Struct, frozen=True):
    """Value of one record."""

    event_id: str
    event_time: str  # ISO 8601, UTC
    score: float  # higher = more anomalous
    quantile: float
    alert: bool
    held: str | None  # why an event above the threshold gave no alert: entity, budget or snooze
    model_version: int
    topic: str
    partition: int
    offset: int


_encode = msgspec.json.Encoder().encode
decode_score = msgspec.json.Decoder(Score).decode


def encode_scores(scored: Scored, identity: Identity) -> Iterator[tuple[int, bytes | None, bytes]]:
    """Yield offset, record key and JSON of each scored event, in log order.

    The key is the main entity's pseudonym where there is one, else that of the scored record.
    """
    keys = scored.keys if scored.entities is None else map(_pseudonym, scored.entities.tolist())
    rows = zip(
        scored.offsets.tolist(),
        keys,
        scored.ids,
        scored.times.tolist(),
        scored.scores.tolist(),
        scored.quantiles.tolist(),
        scored.alerted.tolist(),
        strict=True,
    )
    version, topic, partition = scored.model_version, identity.topic, identity.partition
    for offset, key, event_id, time, score, quantile, alert in rows:
        moment = iso(time)
        held = scored.held.get(offset)
        row = Score(event_id, moment, score, quantile, alert, held, version, topic, partition, offset)
        yield offset, key, _encode(row)


def _pseudonym(entity: int) -> bytes | None:
    """Keyed hash of an entity, as `pseudonym: true` shows it; 0: missing."""
    return b"%016x" % entity if entity else None


def iso(time: float) -> str:
    """Format s since the epoch as ISO 8601 in UTC, to the microsecond; whole seconds without a fraction."""
    return datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")
