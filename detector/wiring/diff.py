"""What two runs over the same events alerted differently, and why.

    alerts of A ─┐
    alerts of B ─┴─> those of one side only ─┐
    scores of A, B ──────────────────────────┴─> why the other side gave no alert

A side is a replay's files or a live service's topics (`diff_sides.py`). An alert is known by its id, which is
the event's place; a score by the event's id. Without the scores of a side nothing says why it gave no alert.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from detector.errors import ConfigError, Problem

ALERTS_MAX = 200_000  # of each side
UNKNOWN, UNSCORED = "its scores are not given", "it has no score"
BELOW, HELD = (
    "its score is below those of all alerts",
    "its score would do: held back, or the threshold was higher then",
)


class Entity(msgspec.Struct, frozen=True):
    """The main entity of an alert."""

    name: str
    value: str | int


class Rank(msgspec.Struct, frozen=True):
    """Where the score of an event lies."""

    quantile: float


class Reason(msgspec.Struct, frozen=True):
    """What an alert is for."""

    field: str
    code: str


class Model(msgspec.Struct, frozen=True):
    """What scored an event."""

    version: int
    config: str


class RunAlert(msgspec.Struct, frozen=True):
    """What of an alert is compared."""

    alert_id: str
    event_id: str
    severity: str
    event_time: str
    score: Rank
    model: Model
    selection: str = "score"
    entity: Entity | None = None
    reasons: tuple[Reason, ...] = ()

    @property
    def main(self) -> str:
        """What it is mainly for."""
        return f"{self.reasons[0].field} ({self.reasons[0].code})" if self.reasons else "nothing by itself"


@dataclass(frozen=True, slots=True)
class Run:
    """One of the two."""

    alerts: Mapping[str, RunAlert]  # by id, in the order in which they were given
    quantiles: Mapping[str, float]  # of events that the other one alone alerted, by the event's id
    scored: bool  # whether there is a file of scores
    lowest: float  # quantile from which on there were alerts for their score

    def why_not(self, alert: RunAlert) -> str:
        """Why it gave no such alert."""
        if not self.scored:
            return UNKNOWN
        if (quantile := self.quantiles.get(alert.event_id)) is None:
            return UNSCORED
        return BELOW if quantile < self.lowest else HELD

    @property
    def configs(self) -> list[str]:
        """Fingerprints of the configurations that gave its alerts."""
        return sorted({alert.model.config for alert in self.alerts.values()})


class Side(Protocol):
    """Where one of the two is read."""

    @property
    def name(self) -> str:
        """What errors call it."""

    def alerts(self) -> Iterable[RunAlert]:
        """All of its alerts."""

    def quantiles(self, wanted: Collection[str]) -> tuple[Mapping[str, float], bool]:
        """Quantiles of some events, by the event's id, and whether there are any scores."""


@dataclass(frozen=True, slots=True)
class Diff:
    """Two runs beside each other."""

    a: Run
    b: Run
    only_a: list[RunAlert] = field(default_factory=list)
    only_b: list[RunAlert] = field(default_factory=list)
    both: list[tuple[RunAlert, RunAlert]] = field(default_factory=list)
    events: int | None = None  # that both have decided about; None: not known

    @property
    def severities(self) -> int:
        """Alerts of both with another severity."""
        return sum(a.severity != b.severity for a, b in self.both)

    @property
    def reasons(self) -> int:
        """Alerts of both that are mainly for something else."""
        return sum(a.main != b.main for a, b in self.both)


def diff(a: Side, b: Side, events: int | None = None) -> Diff:
    """Compare the alerts of two runs.

    Parameters
    ----------
    events
        How many both have decided about, if that is known.

    Raises
    ------
    ConfigError
        A side cannot be read, is none, or has more than `ALERTS_MAX` alerts.
    """
    of_a, of_b = _by_id(a), _by_id(b)
    only_a = [alert for name, alert in of_a.items() if name not in of_b]
    only_b = [alert for name, alert in of_b.items() if name not in of_a]
    return Diff(
        Run(of_a, *a.quantiles({alert.event_id for alert in only_b}), _lowest(of_a)),
        Run(of_b, *b.quantiles({alert.event_id for alert in only_a}), _lowest(of_b)),
        only_a,
        only_b,
        [(alert, of_b[name]) for name, alert in of_a.items() if name in of_b],
        events,
    )


def why(alerts: Collection[RunAlert], other: Run) -> Counter[str]:
    """How many alerts the other side did not give, by why."""
    return Counter(map(other.why_not, alerts))


def main_reasons(alerts: Collection[RunAlert]) -> Counter[str]:
    """How many alerts, by what they are mainly for."""
    return Counter(alert.main for alert in alerts)


def _by_id(side: Side) -> dict[str, RunAlert]:
    found: dict[str, RunAlert] = {}
    for alert in side.alerts():
        found[alert.alert_id] = alert
        if len(found) > ALERTS_MAX:
            allowed = f"at most {ALERTS_MAX:,}, of topics with a later --since"
            raise ConfigError("command line", [Problem(path=side.name, value="more alerts", allowed=allowed)])
    return found


def _lowest(alerts: Mapping[str, RunAlert]) -> float:
    return min((one.score.quantile for one in alerts.values() if one.selection == "score"), default=1.0)
