"""What goes into a shard and what comes out of it: plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Headers = tuple[tuple[str, bytes], ...]

Lap = Callable[[str], None]
"""Called with a stage's name when that stage is done: the core has no clock, its caller may have one."""


def no_lap(stage: str) -> None:
    """Measure nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Who a shard is: what its outputs say about where they come from."""

    topic: str
    group: str
    partition: int
    entity_key: bytes  # key of the hashes that stand for entity values
    resources: Mapping[str, Any] = field(default_factory=dict)  # for the event format, see `Format`


class Record(NamedTuple):
    """One record of the transactions topic as it lies in the log."""

    offset: int
    timestamp_ms: int  # the log's time (producer or broker), for latency only; the model never sees it
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
class DeadLetter:
    """One event that did not enter: original key and bytes, why, and from where."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers  # the record's own, then detector_reason, detector_detail, detector_topic, ...
    reason: str  # one of detector.core.events.REASONS
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """Scores of consecutive accepted events, in log order; n rows."""

    offsets: NDArray[np.int64]  # (n,)
    times: NDArray[np.float64]  # (n,) event time, s since the epoch
    scores: NDArray[
        np.float64
    ]  # (n,) -log10 of the share of accepted events at least as far; higher = stranger
    quantiles: NDArray[np.float64]  # (n,) 1 - that share
    alerted: NDArray[np.bool_]  # (n,)
    timestamps_ms: NDArray[np.int64]  # (n,) the records' log time
    ids: Sequence[str]  # n
    keys: Sequence[bytes | None]  # n
    model_version: int


class Told(NamedTuple):
    """One message of a shard to its siblings, made at a barrier."""

    offset: int  # of the last record before that barrier
    value: bytes  # see `detector.core.labels.peer_messages`


@dataclass(frozen=True, slots=True)
class Outputs:
    """Everything one piece of log, or one barrier, gave. received = scored + rejected, always."""

    scored: tuple[Scored, ...] = ()
    alerts: tuple[Alert, ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()
    suppressed: Mapping[str, int] = field(default_factory=dict)  # candidates held back, by reason
    key_mismatches: int = 0  # accepted events whose record key is not their main entity's value
    irregular: Mapping[str, int] = field(
        default_factory=dict
    )  # events out of order, late, twice; refused or not
    told: tuple[Told, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)  # labels read, by what became of them
    exchange: Mapping[str, int] = field(default_factory=dict)  # messages told and heard, likewise
