"""The JSON of the scores topic: one record per scored event."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache

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
    part, whole = math.modf(time)
    micros = round(part * 1e6)  # half to even, as `datetime` does
    if not 0 <= micros < 1_000_000:
        step = 1 if micros > 0 else -1
        micros, whole = micros - step * 1_000_000, whole + step
    days, seconds = divmod(int(whole), 86_400)
    clock = f"{_date(days)}{_MINUTES[seconds // 60]}{_TWO[seconds % 60]}"
    return f"{clock}.{micros:06d}Z" if micros else f"{clock}Z"


_TWO = tuple(f"{number:02d}" for number in range(60))
_MINUTES = tuple(f"T{hour:02d}:{minute}:" for hour in range(24) for minute in _TWO)


@lru_cache(4096)
def _date(days: int) -> str:
    """Date of a day since the epoch: most of the work of `datetime`, and the same for a day's events."""
    return (date(1970, 1, 1) + timedelta(days)).isoformat()
