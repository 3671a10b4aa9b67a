"""Snoozes: entities whose alerts somebody does not want to see for a while.

A snooze holds back the alerts of one entity until an event time, all of them or those for one reason code.
The events are scored, counted in the entity's case and marked meanwhile. A severity above the highest one of
the case when it was set breaks it: then the alert is published, and the snooze ends. Heat alone does not.

Rules
    - Times are event times of the shard. A snooze lasts at most `DAYS_MAX`; a longer one is cut.
    - At most `SNOOZES_MAX` are held; the one that ends first goes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from detector.core.erasure import Counts, Erased, Keys
from detector.core.features import DAY_S

DAYS_MAX = 7.0
SNOOZES_MAX = 16_384
CODES_MAX = 16  # reason codes of one entity
ALL = ""  # stands for all reasons
BYTES_MAX = SNOOZES_MAX * 600  # of Python objects, estimated


class Snoozes:
    """The snoozes of one shard."""

    def __init__(self, days_max: float = DAYS_MAX) -> None:
        self._longest_s = days_max * DAY_S
        # By entity, then reason code: until when, s, and the highest severity (rank) that it holds back.
        self._until: dict[int, dict[str, tuple[float, int]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def set(self, entity: int, code: str | None, until: float, now: float, severity: int = 0) -> float:
        """Hold back alerts of an entity; returns until when, s.

        Parameters
        ----------
        code
            Reason code; None: all alerts.
        until, now
            Event times, s.
        severity
            Highest rank that is held back.
        """
        ends = min(until, now + self._longest_s)
        self._drop(entity, code or ALL)
        if ends <= now:
            return ends
        mine = self._until.get(entity, {})
        if len(mine) >= CODES_MAX:
            self._drop(entity, min(mine, key=lambda one: (mine[one][0], one)))
        elif self._count >= SNOOZES_MAX:
            every = [(u, one, c) for one, codes in self._until.items() for c, (u, _) in codes.items()]
            self._drop(*min(every)[1:])
        self._until.setdefault(entity, {})[code or ALL] = ends, severity
        self._count += 1
        return ends

    def clear(self, entity: int, code: str | None = None) -> bool:
        """End a snooze; without a code all of the entity. Returns whether there was one."""
        mine = [one for one in self._until.get(entity, ()) if code in (None, one)]
        for one in mine:
            self._drop(entity, one)
        return bool(mine)

    def until(self, entity: int, time: float) -> float | None:
        """When the longest snooze of an entity ends, s; None: there is none at `time`."""
        ends = [until for until, _ in self._until.get(entity, {}).values() if until > time]
        return max(ends, default=None)

    def asks(self, entity: int, time: float) -> bool:
        """Whether `holds` needs the reason codes of an alert: a snooze names some, and none is for all."""
        found = self._until.get(entity, {}).get(ALL)
        return (found is None or found[0] <= time) and self.until(entity, time) is not None

    def holds(self, entity: int, codes: Collection[str], severity: int, time: float) -> bool:
        """Whether an alert is held back. If its severity breaks the snooze, the snooze ends.

        Parameters
        ----------
        codes
            Reason codes of the alert.
        severity
            Its rank.
        time
            Event time of the shard, s.
        """
        held = False
        for code in (ALL, *codes):
            found = self._until.get(entity, {}).get(code)
            if found is None:
                continue
            until, highest = found
            if until <= time or severity > highest:
                self._drop(entity, code)
            else:
                held = True
        return held

    def held(self, entities: Keys) -> Counts:
        """Snoozes of the entities."""
        found = [len(self._until.get(entity, ())) for entity in entities.tolist()]
        return {"snoozes": np.array(found, dtype=np.int64)}

    def erase(self, erased: Erased) -> None:
        """Drop all of these."""
        for entity in erased.entities.tolist():
            self.clear(entity)

    def _drop(self, entity: int, code: str) -> None:
        codes = self._until.get(entity, {})
        self._count -= codes.pop(code, None) is not None
        if not codes:
            self._until.pop(entity, None)

    def to_state(self) -> dict[str, Any]:
        """State as plain values."""
        rows = [[e, c, *value] for e, codes in self._until.items() for c, value in codes.items()]
        return {"until": rows}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self._until = {}
        for entity, code, until, rank in state["until"]:
            self._until.setdefault(entity, {})[code] = until, rank
        self._count = len(state["until"])
