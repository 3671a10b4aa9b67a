"""Which candidates are published: the budget, and the cooldown of an entity.

An event is a *candidate* if its score reaches the threshold. A candidate is published if

    1. its entity had no alert in its case, or it reaches the threshold without the entity's heat, and
    2. it is the entity's first in `cooldown`, or has a higher severity than the entity's last alert, and
    3. the budget has room: its *balance* (alerts earned less alerts published) stays above minus half a day's
       alerts. `critical` may overdraw it by one more day's alerts.

The balance also steers the threshold at every block's end: unused alerts lower it, overdrawn ones raise it.
So the number of alerts per day stays near the budget (chance alone would vary 10 alerts by a third), most
candidates are published, and the highest scores come first. Within a block, each alert raises the bar for the
next candidate by what the balance has fallen. So where a shift makes all events candidates, the first ones do
not take everything.

Rule 1 keeps the budget for those who were not alerted yet: an alerted entity is hot, and people look at it
already.

What is not published is counted in the entity's case and told there (`cases.py`).
Everything here goes by event number and event time, so it does not depend on how the log was cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from detector.config.tree import Alerts as AlertsConfig
from detector.core.alerts.case_rows import Totals
from detector.core.alerts.cases import LastAlert
from detector.core.alerts.severity import SEVERITIES
from detector.core.features import DAY_S

SUPPRESSED_REASONS = ("entity", "budget", "snooze")
# Factor of candidates at one end of the balance over those at zero, and of those at zero over the other
# end. If small, alerts that the cooldown suppresses are not made up for. If large, a quiet day is filled
# with low scores.
STEERING_MAX = 20.0
# Smallest number of alerts between the two ends of the balance: one each way.
CAPACITY_MIN = 8.0
# Smallest distance from zero to an end of the balance, in alerts of a block. The balance moves by those of
# one block before the threshold follows. With 3 it settles: its step back is then ln(STEERING_MAX) / 3,
# about the distance to zero.
STEERING_BLOCKS = 3.0


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A candidate that is not published."""

    reason: Literal["entity", "budget", "snooze"]


@dataclass(frozen=True, slots=True)
class Published:
    """A candidate that becomes an alert."""

    case: Totals  # of the entity's case, with this alert
    severity: int = 0  # rank in SEVERITIES
    priority: float = 0.0  # see `detector.core.alerts.priority`
    selection: Literal["score", "exploration"] = "score"
    rarity: float = 1.0  # share of the last alerts that are as unusual


class Policy:
    """Budget and cooldowns of one shard."""

    def __init__(self, config: AlertsConfig, partitions: int) -> None:
        self._config = config
        self._partitions = partitions
        self._balance = 0.0  # alerts earned less published
        self._steered = 0.0  # log10 of the factor of candidates that the threshold in force was set with
        self._reach = 1.0  # distance from zero to an end of the balance, in alerts
        self._events = 0  # number of the event up to which alerts were earned
        self._time = 0.0
        self.overdrafts = 0  # alerts published beyond the balance's lower end, ever

    def next_share(self, *, event: int, now: float, events_per_day: float, block_events: int) -> float:
        """Share of events that may be candidates from here on.

        Parameters
        ----------
        event, now
            As in `decide`.
        block_events
            Events until the next call.
        """
        self._credit(event, now, events_per_day)
        share = self.usual_share(events_per_day)
        self._reach = max(self._capacity(events_per_day) / 2.0, STEERING_BLOCKS * share * block_events)
        steering: float = STEERING_MAX ** min(max(self._balance / self._reach, -1.0), 1.0)
        self._steered = math.log10(steering)
        return min(share * steering, 0.5)

    def forgive(self) -> None:
        """Cancel overdrawn alerts: they were about a shift of the stream, which the model follows now."""
        self._balance = max(self._balance, 0.0)

    def _steering(self) -> float:
        """Log10 of the factor of candidates at the balance; it goes on beyond both ends."""
        return math.log10(STEERING_MAX) * self._balance / self._reach

    def explore_probability(self, events_per_day: float) -> float:
        """Probability that an event that gives no alert for its score gives one for exploration."""
        return self._budget_share(events_per_day) * self._config.exploration_share

    def decide(
        self,
        last: LastAlert | None,
        severity: int,
        *,
        cold: int | None,
        above: float = math.inf,
        event: int,
        time: float,
        now: float,
        events_per_day: float,
    ) -> Suppressed | None:
        """Decide about one candidate; None: it is published.

        Parameters
        ----------
        last
            The last alert of its entity's case; None without a case.
        severity
            Rank in SEVERITIES.
        cold
            The same without the entity's heat; None if it is no candidate without it.
        above
            Its score less the threshold.
        event
            Number of the event, counted since the shard began.
        time
            The event's own time, s: cooldowns go by it.
        now
            Event time of the shard, s: a budget per day is earned by it.
        """
        self._credit(event, now, events_per_day)
        if last is not None and self._seen(last, cold, time):
            return Suppressed("entity")
        capacity = self._capacity(events_per_day)
        lowest = -capacity / 2.0
        overdraft = capacity if severity == len(SEVERITIES) - 1 else 0.0
        # A score of 1 more is ten times as rare.
        if self._balance - 1.0 < lowest - overdraft or above < self._steered - self._steering():
            return Suppressed("budget")
        self._balance -= 1.0
        self.overdrafts += self._balance < lowest
        return None

    def _seen(self, last: LastAlert, cold: int | None, time: float) -> bool:
        """Whether the alerts of its case say enough about a candidate at `time`."""
        since = time - last.time
        if cold is None:
            return since <= max(self._config.cooldown, self._config.case_idle_timeout)
        return since < self._config.cooldown and cold <= last.severity

    def _budget_share(self, events_per_day: float) -> float:
        budget = self._config.budget
        if budget.share is not None:
            return budget.share
        assert budget.per_day is not None
        return budget.per_day / self._partitions / max(events_per_day, 1.0)

    def budget(self, events_per_day: float) -> tuple[float, float]:
        """Alerts a day that this shard may publish, and how much of its balance is used.

        The second is 0.5 while alerts are published as they are earned, 0 when half a day's alerts were
        saved, 1 when the budget is used up: there is no room for one more alert. Only critical alerts take it
        further, to about 2.
        """
        used = 0.5 - self._balance / (self._capacity(events_per_day) - 2.0)
        return self._budget_share(events_per_day) * max(events_per_day, 1.0), max(used, 0.0)

    def usual_share(self, events_per_day: float) -> float:
        """Share of events that the budget has for scores; exploration has the rest."""
        return self._budget_share(events_per_day) * (1.0 - self._config.exploration_share)

    def _capacity(self, events_per_day: float) -> float:
        """Alerts between the two ends of the balance: those of a day."""
        return max(CAPACITY_MIN, self.usual_share(events_per_day) * events_per_day)

    def _credit(self, event: int, now: float, events_per_day: float) -> None:
        budget = self._config.budget
        if budget.share is not None:
            earned = budget.share * (event - self._events)
        else:
            assert budget.per_day is not None
            since = max(now - self._time, 0.0) if self._time else 0.0
            earned = budget.per_day / self._partitions * since / DAY_S
        earned *= 1.0 - self._config.exploration_share
        # What a larger budget allowed before is no debt of a smaller one.
        capacity = self._capacity(events_per_day)
        self._balance = min(max(self._balance, -1.5 * capacity) + earned, capacity / 2.0)
        self._events = event
        self._time = now

    def to_state(self) -> dict[str, Any]:
        """State as plain values."""
        return {
            "balance": self._balance,
            "steered": self._steered,
            "reach": self._reach,
            "events": self._events,
            "time": self._time,
            "overdrafts": self.overdrafts,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self._balance, self._events, self._time = state["balance"], state["events"], state["time"]
        self._steered, self._reach = state["steered"], state["reach"]
        self.overdrafts = state["overdrafts"]
