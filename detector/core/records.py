"""Inputs and outputs of a shard: plain data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Headers = tuple[tuple[str, bytes], ...]

REASONS = (
    "tombstone",  # no value: a delete marker of a compacted topic
    "empty",
    "too_large",
    "too_deep",
    "malformed",  # not of the event's format; of JSON: also bytes that are not UTF-8, and the token NaN
    "not_an_object",
    "missing",  # id, time, a required entity or a required field
    "wrong_type",
    "bad_time",
    "out_of_range",  # not finite, or a time outside 1970 to 2200
    "too_long",
    "key_mismatch",  # only with require_key
    "too_many",  # fields and items
    "reversal",  # takes back another event, see event.reversals
    "duplicate",  # an earlier event has the same id, see event.duplicates
    "late",  # see event.time.late
)
"""Why a record is rejected."""

IRREGULARITIES = ("out_of_order", "late", "duplicate", "skipped")
"""How an event can be irregular. Skipped: the record is no event, and nothing is wrong with it."""

Lap = Callable[[str], None]
"""Called with the name of a stage when it is done. The core has no clock; its caller may measure the time."""


def entity_key_id(key: bytes) -> str:
    """Return what tells whether two entity keys are the same without revealing them: 8 hex digits."""
    return hashlib.blake2b(b"entity key id", key=key, digest_size=4).hexdigest()


def no_lap(stage: str) -> None:
    """Measure nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Identifies a shard; its outputs carry these values."""

    topic: str
    group: str
    partition: int
    entity_key: bytes  # key of the hashes that replace entity values
    resources: Mapping[str, Any] = field(default_factory=dict)  # for the event format, see `Format`

    @property
    def entity_key_id(self) -> str:
        """See `entity_key_id`."""
        return entity_key_id(self.entity_key)


class Record(NamedTuple):
    """One record of the transactions topic, as stored in the log."""

    offset: int
    timestamp_ms: (
        int  # the record's time (producer or broker), 0: none; for latency, and where events have no time
    )
    key: bytes | None
    value: bytes | None  # None: a tombstone
    headers: Headers = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """One alert, ready to be published: CloudEvents binary mode (headers `ce_*`, data in the body)."""

    offset: int
    key: bytes | None  # the main entity's raw value
    headers: Headers
    body: bytes  # JSON, see detector/schemas/alert.v1.json
    severity: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseUpdate:
    """One update of a case, ready to be published: CloudEvents binary mode, as an alert."""

    offset: int  # of the record at which it was made
    key: bytes  # the main entity's raw value
    headers: Headers
    body: bytes  # JSON, see detector/schemas/case.updated.v1.json
    cause: str  # one of `detector.core.alerts.cases.CAUSES`


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One rejected event: original key and bytes, reason and origin."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers  # the record's own, then detector_reason, detector_detail, detector_topic, ...
    reason: str  # one of REASONS
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """Scores of consecutive accepted events, in log order; n rows."""

    offsets: NDArray[np.int64]  # (n,)
    times: NDArray[np.float64]  # (n,) event time, s since the epoch
    # (n,) -log10 of the share of accepted events that are at least as far; higher is more anomalous
    scores: NDArray[np.float64]
    quantiles: NDArray[np.float64]  # (n,) 1 - that share
    alerted: NDArray[np.bool_]  # (n,)
    timestamps_ms: NDArray[np.int64]  # (n,) `Record.timestamp_ms`
    ids: Sequence[str]  # n
    keys: Sequence[bytes | None]  # n, of the records
    model_version: int
    entities: NDArray[np.uint64] | None = None  # (n,) keyed hashes of the main entity, 0: missing
    held: Mapping[int, str] = field(default_factory=dict)  # why a candidate gave no alert, by offset


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What became of one feedback record: CloudEvents binary mode, as an alert."""

    offset: int  # of the last record before the barrier that decided it
    key: bytes  # the record's feedback id, or the receipt's own
    headers: Headers
    body: bytes  # JSON, see detector/schemas/receipt.v1.json


class PeerMessage(NamedTuple):
    """One message of a shard to its peers, made at a barrier."""

    offset: int  # of the last record before that barrier
    value: bytes  # see `detector.core.labels.peer_messages`


@dataclass(frozen=True, slots=True)
class Outputs:
    """Outputs of one piece of the log or of one barrier. Always received = scored + rejected."""

    scored: tuple[Scored, ...] = ()
    alerts: tuple[Alert, ...] = ()
    case_updates: tuple[CaseUpdate, ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()
    suppressed: Mapping[str, int] = field(default_factory=dict)  # suppressed alert candidates, by reason
    key_mismatches: int = 0  # accepted events whose record key is not the value of their main entity
    # events out of order, late or repeated, rejected or not; records skipped; by kind
    irregular: Mapping[str, int] = field(default_factory=dict)
    # values of scored events that could not be read and count as missing, by entity or field
    unreadable: Mapping[str, int] = field(default_factory=dict)
    receipts: tuple[Receipt, ...] = ()
    peer_messages: tuple[PeerMessage, ...] = ()  # to publish
    # records of side inputs by outcome, by name of the side input; published messages count under "exchange"
    side_outcomes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
