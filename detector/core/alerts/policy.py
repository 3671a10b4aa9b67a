"""From scores to alerts: severity, the budget, once per entity, cases.

An event is a *candidate* when its score reaches the threshold. Of the candidates those are published that

    1. are the entity's first in `cooldown`, or of a higher severity than its last alert, and
    2. the budget has room for: its *balance* (alerts earned less alerts published) stays within half a day's
       worth of zero; `critical` may overdraw it by one more day's worth.

The balance also steers the threshold, at every block's end: alerts left over make it more lenient, alerts
short make it stricter. So a day's number stays near the budget (the noise of chance alone would be a third of
10 alerts), most of what becomes a candidate is published, and the highest scores come first.

What is held back is counted and told in the entity's next alert. Everything here goes by event number and
event time, so it does not depend on how the log was cut.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from detector.config.tree import Alerts as AlertsConfig
from detector.core.features import DAY_S

SEVERITIES = ("low", "medium", "high", "critical")
SUPPRESSED_REASONS = ("entity", "budget")
# How many times more candidates there may be at one end of the balance than at zero, and fewer at the other.
# Small: what once-per-entity holds back is not made up for. Large: low scores are taken to fill a quiet day.
STEERING_MAX = 20.0
# Alerts that the balance has room for in all, at least: one each way.
CAPACITY_MIN = 2.0
# The balance moves by a block's worth before the threshold follows. With at least so many blocks' worth to
# either end it settles: its step back is then ln(STEERING_MAX) / 3, about the distance to zero.
STEERING_BLOCKS = 3.0


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A candidate that is not published."""

    reason: Literal["entity", "budget"]


@dataclass(frozen=True, slots=True)
class Published:
    """A candidate that becomes an alert."""

    case: str  # id of the first alert of the entity's case
    suppressed: int  # candidates of the entity held back since its last alert
    selection: Literal["score", "exploration"] = "score"


@dataclass(slots=True)
class _Case:
    first: str
    time: float  # of the last alert
    severity: int
    suppressed: int


class Policy:
    """State of budget and cases of one shard."""

    def __init__(self, config: AlertsConfig, partitions: int) -> None:
        self._config = config
        self._partitions = partitions
        self._balance = 0.0  # alerts earned less published
        self._events = 0  # number of the event up to which alerts were earned
        self._time = 0.0
        self.overdrafts = 0  # alerts published beyond the balance's lower end, ever
        self._cases: OrderedDict[int, _Case] = OrderedDict()  # by entity; the longest quiet first
        self._held: OrderedDict[int, int] = OrderedDict()  # candidates of entities without a case

    def severity(self, score: float) -> int:
        """Rank in SEVERITIES, from the score alone."""
        bounds = self._config.severity
        return bisect_right((bounds.medium, bounds.high, bounds.critical), score)

    def next_share(self, *, event: int, now: float, events_per_day: float, block_events: int) -> float:
        """Share of events that may be candidates from here on.

        Parameters
        ----------
        event, now
            As in `decide`: where we are.
        block_events
            After so many events it is asked again.
        """
        self._credit(event, now, events_per_day)
        share = self._score_share(events_per_day)
        reach = max(self._capacity(events_per_day) / 2.0, STEERING_BLOCKS * share * block_events)
        steering: float = STEERING_MAX ** min(max(self._balance / reach, -1.0), 1.0)
        return min(share * steering, 0.5)

    def explore_probability(self, events_per_day: float) -> float:
        """Chance of an event that is not published for its score to be published all the same."""
        return self._budget_share(events_per_day) * self._config.exploration_share

    def decide(
        self,
        alert_id: str,
        entity: int,
        severity: int,
        *,
        event: int,
        time: float,
        now: float,
        events_per_day: float,
    ) -> Published | Suppressed:
        """Decide about one candidate.

        Parameters
        ----------
        entity
            Hash of the main entity, 0 without one: then nothing is once per entity.
        severity
            Rank in SEVERITIES.
        event
            Number of the event in the shard, counted from its beginning.
        time
            The event's own time, s: what is once per entity goes by it.
        now
            How far event time had come, s: a budget per day is earned by it.
        """
        self._credit(event, now, events_per_day)
        case = self._cases.get(entity)
        if case is not None and time - case.time < self._config.cooldown and severity <= case.severity:
            case.suppressed += 1
            return Suppressed("entity")
        capacity = self._capacity(events_per_day)
        lowest = -capacity / 2.0
        overdraft = capacity if severity == len(SEVERITIES) - 1 else 0.0
        if self._balance - 1.0 < lowest - overdraft:
            self._hold(entity, case)
            return Suppressed("budget")
        self._balance -= 1.0
        self.overdrafts += self._balance < lowest
        return self._publish(alert_id, entity, severity, time, case)

    def _publish(
        self, alert_id: str, entity: int, severity: int, time: float, case: _Case | None
    ) -> Published:
        if not entity:
            return Published(alert_id, 0)
        held = self._held.pop(entity, 0) if case is None else case.suppressed
        quiet = case is None or time - case.time > self._config.case_idle_timeout
        first = alert_id if case is None or quiet else case.first
        latest = time if case is None else max(time, case.time)  # events may come late
        self._cases[entity] = _Case(first, latest, severity, 0)
        self._cases.move_to_end(entity)
        while len(self._cases) > self._config.cases_max:  # many at once when the bound was lowered
            self._cases.popitem(last=False)
        return Published(first, held)

    def _hold(self, entity: int, case: _Case | None) -> None:
        if case is not None:
            case.suppressed += 1
        elif entity:
            self._held[entity] = self._held.get(entity, 0) + 1
            while len(self._held) > self._config.cases_max:
                self._held.popitem(last=False)

    def _budget_share(self, events_per_day: float) -> float:
        budget = self._config.budget
        if budget.share is not None:
            return budget.share
        assert budget.per_day is not None
        return budget.per_day / self._partitions / max(events_per_day, 1.0)

    def _score_share(self, events_per_day: float) -> float:
        """What exploration leaves of the budget."""
        return self._budget_share(events_per_day) * (1.0 - self._config.exploration_share)

    def _capacity(self, events_per_day: float) -> float:
        """Alerts between the ends of the balance: a day's worth."""
        return max(CAPACITY_MIN, self._score_share(events_per_day) * events_per_day)

    def _credit(self, event: int, now: float, events_per_day: float) -> None:
        budget = self._config.budget
        if budget.share is not None:
            earned = budget.share * (event - self._events)
        else:
            assert budget.per_day is not None
            since = max(now - self._time, 0.0) if self._time else 0.0
            earned = budget.per_day / self._partitions * since / DAY_S
        earned *= 1.0 - self._config.exploration_share
        self._balance = min(self._balance + earned, self._capacity(events_per_day) / 2.0)
        self._events = event
        self._time = now

    def to_state(self) -> dict[str, Any]:
        return {
            "balance": self._balance,
            "events": self._events,
            "time": self._time,
            "overdrafts": self.overdrafts,
            "cases": [[entity, *asdict(case).values()] for entity, case in self._cases.items()],
            "held": list(self._held.items()),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._balance, self._events, self._time = state["balance"], state["events"], state["time"]
        self.overdrafts = state["overdrafts"]
        self._cases = OrderedDict((entity, _Case(*case)) for entity, *case in state["cases"])
        self._held = OrderedDict((entity, count) for entity, count in state["held"])
