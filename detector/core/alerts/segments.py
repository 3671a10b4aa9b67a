"""A budget per segment: each group of one field has alerts for the same share of its events.

A group's *lift* is added to its scores before they are compared with the threshold. It follows what the group
is *owed*. With each alert every group is owed its share of all events, and the group that was alerted one
less:

    lift = LIFT_MAX * owed / limit

All that is owed sums to nothing, so lifts move alerts between groups, and their number stays the policy's.
Groups of less than `SHARE_MIN` of the events have one lift, by what they are owed together.

Shares are counted from one of `SAMPLED` events, chosen by their numbers. Lifts change at the end of a block,
so they do not depend on how the log was cut. Neither scores nor what is learned without labels depend on any
of this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from detector.core.mixing import GOLDEN, mixed
from detector.core.records import Record

SHARE_MIN = 0.02  # of all events; at most 50 groups have a lift of their own
GROUPS_MAX = 256  # counted; of more, those with the fewest events are forgotten
SAMPLED = 16  # to read one value, the whole event is decoded again
MEMORY_EVENTS = 1 << 17
LIFT_MAX = 1.0  # a group that is owed the limit has its alerts from scores that are ten times as frequent
# Alerts. One alert moves a lift by a thirtieth at most.
LIMIT_MIN = 32.0
LIMIT_BLOCKS = 3.0  # and as many as come in so many blocks: lifts follow at their ends


class Segments:
    """Lifts of groups in one shard.

    Parameters
    ----------
    group_of
        The group of an accepted event, as a hash; 0: it has no value.
    """

    def __init__(self, group_of: Callable[[Record], int]) -> None:
        self._group_of = group_of
        self.base = math.inf  # score that the budget's share of all events reaches; inf: not known yet
        self._events = 0  # number of the event up to which counts have decayed
        self._counts: dict[int, float] = {}  # sampled events by group, decayed
        self._owed: dict[int, float] = {}  # alerts, of the same groups
        self._lifts: dict[int, float] = {}  # of groups with one of their own
        self._others = 0.0  # lift of all other groups

    def count(self, records: Sequence[Record], number: int) -> None:
        """Count scored events; `number`: of the first one, counted since the shard began."""
        numbers = np.arange(number, number + len(records)).astype(np.uint64)
        for row in np.flatnonzero(mixed(numbers * GOLDEN) % np.uint64(SAMPLED) == 0).tolist():
            group = self._group_of(records[row])
            self._counts[group] = self._counts.get(group, 0.0) + 1.0
            self._owed.setdefault(group, 0.0)

    def lift(self, record: Record) -> float:
        """What is added to an event's score."""
        return self._lifts.get(self._group_of(record), self._others)

    @property
    def highest(self) -> float:
        """The highest lift of all."""
        return max(self._others, *self._lifts.values(), 0.0)

    def note(self, record: Record) -> None:
        """Count an alert that was published for its score."""
        everything = math.fsum(self._counts.values())
        for group, count in self._counts.items():
            self._owed[group] += count / everything
        group = self._group_of(record)
        if group in self._owed:  # else nothing is known of its share
            self._owed[group] -= 1.0

    def follow(self, base: float, event: int, block_alerts: float) -> None:
        """Set lifts, at the end of a block.

        Parameters
        ----------
        base
            Score that the budget's share of all events reaches.
        event
            Number of the next event, counted since the shard began.
        block_alerts
            Alerts that the budget has for a block.
        """
        self.base = base
        decay = math.exp((self._events - event) / MEMORY_EVENTS)
        self._events = event
        kept = sorted(self._counts, key=lambda group: (-self._counts[group], group))[:GROUPS_MAX]
        self._counts = {group: self._counts[group] * decay for group in kept}
        limit = max(LIMIT_MIN, LIMIT_BLOCKS * block_alerts)
        self._owed = {group: min(max(self._owed[group], -limit), limit) for group in kept}
        least = SHARE_MIN * math.fsum(self._counts.values())
        large = [group for group in kept if self._counts[group] >= least]
        self._lifts = {group: LIFT_MAX * self._owed[group] / limit for group in large}
        others = math.fsum(self._owed[group] for group in kept[len(large) :])
        self._others = LIFT_MAX * min(max(others / limit, -1.0), 1.0)

    def to_state(self) -> dict[str, Any]:
        """State, as copies."""
        return {
            "base": self.base if math.isfinite(self.base) else None,
            "events": self._events,
            "groups": np.array(list(self._counts), dtype=np.uint64),
            "counts": np.array(list(self._counts.values())),
            "owed": np.array([self._owed[group] for group in self._counts]),
            "lifted": np.array(list(self._lifts), dtype=np.uint64),
            "lifts": np.array(list(self._lifts.values())),
            "others": self._others,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self.base = math.inf if state["base"] is None else state["base"]
        self._events, self._others = state["events"], state["others"]
        groups = state["groups"].tolist()
        self._counts = dict(zip(groups, state["counts"].tolist(), strict=True))
        self._owed = dict(zip(groups, state["owed"].tolist(), strict=True))
        self._lifts = dict(zip(state["lifted"].tolist(), state["lifts"].tolist(), strict=True))
