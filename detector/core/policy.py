"""From scores to alerts: severity, the budget, once per entity, cases.

An event is a *candidate* when its score reaches the threshold. Of the candidates those are published that

    1. are the entity's first in `once_per`, or of a higher severity than its last alert, and
    2. find a token in the bucket; `critical` may overdraw it by one more day's worth.

What is held back is counted and told in the entity's next alert. Everything here happens at candidates, by
event number and event time, so it does not depend on how the log was cut.
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
# Once per entity and the bucket hold candidates back; the threshold is lowered to make up for them, but not
# without end: a single entity may produce any number of candidates.
WIDENING_MAX = 20.0
WIDENING_STEP = 1.25


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A candidate that is not published."""

    reason: Literal["entity", "budget"]


@dataclass(frozen=True, slots=True)
class Published:
    """A candidate that becomes an alert."""

    case: str  # id of the first alert of the entity's case
    suppressed: int  # candidates of the entity held back since its last alert


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
        self._tokens = 1.0
        self._events = 0  # number of the event up to which tokens were credited
        self._time = 0.0
        self._credited = 0.0  # since the last barrier
        self._spent = 0
        self._candidates = 0
        self._widening = 1.0
        self.overdrafts = 0  # alerts published beyond the budget, ever
        self._cases: OrderedDict[int, _Case] = OrderedDict()  # by entity; the longest quiet first
        self._held: OrderedDict[int, int] = OrderedDict()  # candidates of entities without a case

    def severity(self, score: float) -> int:
        """Rank in SEVERITIES, from the score alone."""
        bounds = self._config.severity
        return bisect_right((bounds.medium, bounds.high, bounds.critical), score)

    def share(self, events_per_day: float) -> float:
        """Share of events that may be candidates, to fill the budget in spite of what is held back."""
        return min(self._budget_share(events_per_day) * self._widening, 0.5)

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
            How far event time had come, s: the bucket fills by it.
        """
        self._candidates += 1
        self._credit(event, now, events_per_day)
        case = self._cases.get(entity)
        if case is not None and time - case.time < self._config.once_per and severity <= case.severity:
            case.suppressed += 1
            return Suppressed("entity")
        overdraft = self._capacity(events_per_day) if severity == len(SEVERITIES) - 1 else 0.0
        if self._tokens - 1.0 < -overdraft:
            self._hold(entity, case)
            return Suppressed("budget")
        self._tokens -= 1.0
        self._spent += 1
        self.overdrafts += self._tokens < 0.0
        return self._publish(alert_id, entity, severity, time, case)

    def at_barrier(self) -> None:
        """Follow the ratio of what the budget allowed to what was published."""
        if self._candidates:
            ratio = (self._credited + 1.0) / (self._spent + 1.0)
            self._widening *= min(max(ratio, 1.0 / WIDENING_STEP), WIDENING_STEP)
            self._widening = min(max(self._widening, 1.0), WIDENING_MAX)
        self._credited, self._spent, self._candidates = 0.0, 0, 0

    def _publish(
        self, alert_id: str, entity: int, severity: int, time: float, case: _Case | None
    ) -> Published:
        if not entity:
            return Published(alert_id, 0)
        held = self._held.pop(entity, 0) if case is None else case.suppressed
        quiet = case is None or time - case.time > self._config.case_quiet
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

    def _capacity(self, events_per_day: float) -> float:
        """One day of the budget, at least one alert."""
        return max(1.0, self._budget_share(events_per_day) * events_per_day)

    def _credit(self, event: int, now: float, events_per_day: float) -> None:
        budget = self._config.budget
        if budget.share is not None:
            earned = budget.share * (event - self._events)
        else:
            assert budget.per_day is not None
            since = max(now - self._time, 0.0) if self._time else 0.0
            earned = budget.per_day / self._partitions * since / DAY_S
        self._tokens = min(self._tokens + earned, self._capacity(events_per_day))
        self._credited += earned
        self._events = event
        self._time = now

    def to_state(self) -> dict[str, Any]:
        return {
            "tokens": self._tokens,
            "events": self._events,
            "time": self._time,
            "credited": self._credited,
            "spent": self._spent,
            "candidates": self._candidates,
            "widening": self._widening,
            "overdrafts": self.overdrafts,
            "cases": [[entity, *asdict(case).values()] for entity, case in self._cases.items()],
            "held": list(self._held.items()),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._tokens, self._events, self._time = state["tokens"], state["events"], state["time"]
        self._credited, self._spent = state["credited"], state["spent"]
        self._candidates, self._widening = state["candidates"], state["widening"]
        self.overdrafts = state["overdrafts"]
        self._cases = OrderedDict((entity, _Case(*case)) for entity, *case in state["cases"])
        self._held = OrderedDict((entity, count) for entity, count in state["held"])
