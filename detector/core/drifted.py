"""What a shard knows of drift: plain data, for metrics, status and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

KINDS = ("feature", "new_entities", "embedding", "score", "labels", "unseen")
"""What drifts: the values of a field; the share of keys never seen before; where events lie in the embedding;
the scores; labels; the share of values never seen before.
"""


SEVERAL = ("new_entities", "embedding", "score", "labels")
"""Those that are no field's."""

BIN_NAMES = (*map(str, range(10)), "other", "unseen", "missing")
"""Bins of numbers and of the most frequent categories; other categories; those never seen before; missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldDrift:
    """One field, or the rate of events (`time`), against its reference."""

    psi: float
    threshold: float  # drift where `psi` is above it in two windows, one after the other
    weight: float  # 0 to 1, its part in the change of alerts
    since: float  # event time at which its drift began, s since the epoch; 0: there is none
    unseen: bool = False  # whether it is mostly values never seen before
    usual: tuple[float, ...] = ()  # events in each bin, as the reference expects them in this window
    current: tuple[float, ...] = ()  # events in each bin; as many in all


@dataclass(frozen=True, kw_only=True, slots=True)
class ShareDrift:
    """A share of events, and the usual one at these hours."""

    current: float
    usual: float
    since: float  # as of `FieldDrift`


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """Everything at the end of the last window."""

    time: float  # event time, s since the epoch
    events: int  # of the window
    fields: Mapping[str, FieldDrift]
    new_shares: Mapping[tuple[str, str], ShareDrift]  # by entity and kind: entities, contacts
    embedding: Mapping[str, float]  # by measure
    labels: Mapping[str, float]  # by measure
    precision: Mapping[str, float]  # by severity
    score_changes: int
    since: Mapping[str, float]  # by kind, of those without a field: as of `FieldDrift`
    sentences: tuple[str, ...] = field(default=())  # one for each drift, the heaviest first
