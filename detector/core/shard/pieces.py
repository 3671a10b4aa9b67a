"""Scored events on their way to alerts, and what was decided about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.core.events import Events
from detector.core.features import Rows
from detector.core.records import Alert, CaseUpdate


class Inquired(NamedTuple):
    """Why an event gave no alert, for an event that `Shard.take` was asked to explain."""

    fate: str
    threshold: float  # inf: none yet
    alert: Alert | None  # the alert it would have given; None without a threshold


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Piece:
    """n consecutive scored events of a block."""

    events: Events
    rows: Rows
    inputs: NDArray[np.float32]  # (n, F)
    scores: NDArray[np.float64]  # (n,)
    cold: NDArray[np.float64]  # (n,) scores without heat
    now: NDArray[np.float64]  # (n,) event time of the shard as of each event, s
    number: int  # of the first event, counted since the shard began
    warm_up_left: int  # number of these events that are still in warm-up; may be negative


@dataclass(kw_only=True, slots=True)
class Decided:
    """Alerts and decisions of a piece."""

    alerted: NDArray[np.bool_]  # (n,)
    strange: NDArray[np.bool_]  # (n,) whether the score reaches the threshold
    ranks: dict[int, int] = field(default_factory=dict)  # severities of those alerted, by row
    alerts: list[Alert] = field(default_factory=list)  # none when silent
    updates: list[CaseUpdate] = field(default_factory=list)  # none when silent
    held: dict[int, str] = field(default_factory=dict)  # candidates without an alert: offset, reason
    inquired: Inquired | None = None
