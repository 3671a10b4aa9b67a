"""What alerted entities share: merchants, devices, beneficiaries, and frauds that were confirmed there.

For every value of an entity other than the main one, `Links` knows which main entities had an alert with it
within `alerts.case_idle_timeout`, in which case, and which of their events were confirmed as frauds.

Rules
    - The newest `EVENTS_MAX` links are kept in a ring; one value's links form a chain through it, of which
      the newest `CHAIN_MAX` are read.
    - A value that many use is shared by many alerted entities anyway. Cases are *related* only by a value
      with more of them than its share of the traffic explains: as many would come by chance in less than
      `CHANCE_MAX` of cases (Poisson).
    - Entities are hashes; the state holds nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Alerts as AlertsConfig
from detector.core.erasure import Counts, Erased, Keys, counted

EVENTS_MAX = 1 << 15  # links kept
CHAIN_MAX = 64  # links of one value that are read
CASES_MAX = 8  # cases that are named of one value
CHANCE_MAX = 0.01
NONE = -1

LINK = np.dtype(
    [
        ("key", "u8"),  # the value
        ("entity", "u8"),  # main entity
        ("case", "i8"),  # offset of its case's first alert; NONE: a fraud without a case
        ("offset", "i8"),  # of the event
        ("time", "f8"),  # s
        ("fraud", "i1"),  # it was confirmed
        ("before", "i8"),  # number of the value's link before; NONE: there is none
    ]
)
BYTES_MAX = EVENTS_MAX * (LINK.itemsize + 120)  # with the place of a value's newest link, a Python object


class Shared(NamedTuple):
    """What one value shares with other main entities, in the last days."""

    key: int
    alerted: int  # other main entities with an alert
    frauds: int  # confirmed frauds of other main entities
    cases: Sequence[int]  # offsets of the first alerts of their cases, the newest first
    related: bool  # more than the value's share of the traffic explains


class Links:
    """The links of one shard."""

    def __init__(self, config: AlertsConfig) -> None:
        self._days_s = config.case_idle_timeout
        self._ring: NDArray[np.void] = np.zeros(EVENTS_MAX, dtype=LINK)
        self._count = 0  # links ever; the ring holds the newest
        self._newest: dict[int, int] = {}  # number of the newest link by value
        self._times: NDArray[np.float64] = np.zeros(0)  # of the newest cases, ascending

    def __len__(self) -> int:
        return min(self._count, EVENTS_MAX)

    def add(self, keys: Sequence[int], entity: int, *, case: int, offset: int, time: float) -> None:
        """Remember an alert or a held-back event of a case.

        Parameters
        ----------
        keys
            Hashes of its entities other than the main one; 0: missing.
        entity
            Hash of the main entity.
        case, offset
            Offsets of the case's first alert and of the event.
        time
            The event's, s.
        """
        if case == offset:
            self._times = np.append(self._times[-(1 << 14) + 1 :], time)
        for key in keys:
            if key:
                self._append(int(key), entity, case, offset, time, fraud=False)

    def confirm(self, keys: Sequence[int], entity: int, *, offset: int, time: float, fraud: bool) -> None:
        """Remember the answer to an event: fraud, or not (also retracted)."""
        for key in map(int, keys):
            found = [place for place in self._chain(key) if self._ring["offset"][place] == offset]
            for place in found:
                self._ring["fraud"][place] = fraud
            if key and fraud and not found:
                self._append(key, entity, NONE, offset, time, fraud=True)

    def shared(
        self, keys: Sequence[int], entity: int, now: float, shares: Sequence[float] | None = None
    ) -> list[Shared]:
        """What each of `keys` shares with main entities other than `entity`, in their order.

        Parameters
        ----------
        now
            Time of the event, s.
        shares
            Share of the traffic that each key has; None: not known, then nothing is related.
        """
        expected = float(np.count_nonzero(self._times >= now - self._days_s))
        found = []
        for i, key in enumerate(map(int, keys)):
            rows = [self._ring[place] for place in self._chain(key)] if key else []
            rows = [r for r in rows if int(r["entity"]) != entity and r["time"] >= now - self._days_s]
            alerted = {int(row["entity"]) for row in rows if row["case"] != NONE}
            cases = dict.fromkeys(int(row["case"]) for row in rows if row["case"] != NONE)
            related = shares is not None and _chance(len(alerted), expected * shares[i]) < CHANCE_MAX
            frauds = sum(int(row["fraud"]) for row in rows)
            found.append(Shared(key, len(alerted), frauds, tuple(cases)[:CASES_MAX], related))
        return found

    def held(self, entities: Keys) -> Counts:
        """Links of the entities."""
        return {"links": counted(entities, self._ring["entity"][: len(self)])}

    def erase(self, erased: Erased) -> None:
        """Drop the links of the entities. What they shared stays a place in its chain."""
        rows = np.isin(self._ring["entity"], erased.entities)
        nothing = {"entity": 0, "case": NONE, "offset": NONE, "fraud": 0, "time": -math.inf}
        for name, value in nothing.items():
            self._ring[name][rows] = value

    def _append(self, key: int, entity: int, case: int, offset: int, time: float, *, fraud: bool) -> None:
        place = self._count % EVENTS_MAX
        old = int(self._ring["key"][place])
        if self._newest.get(old) == self._count - EVENTS_MAX:
            del self._newest[old]
        self._ring[place] = (key, entity, case, offset, time, fraud, self._newest.get(key, NONE))
        self._newest[key] = self._count
        self._count += 1

    def _chain(self, key: int) -> list[int]:
        """Places of a value's links, the newest first."""
        places: list[int] = []
        number = self._newest.get(key, NONE)
        while number > max(self._count - EVENTS_MAX - 1, NONE) and len(places) < CHAIN_MAX:
            places.append(number % EVENTS_MAX)
            number = int(self._ring["before"][places[-1]])
        return places

    def to_state(self) -> dict[str, Any]:
        """State, as copies."""
        held = self._ring[: len(self)]
        return {
            "count": self._count,
            "times": self._times.copy(),
            **{name: held[name].copy() for name in LINK.names or ()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self._count, self._times = state["count"], state["times"].copy()
        self._ring = np.zeros(EVENTS_MAX, dtype=LINK)
        for name in LINK.names or ():
            self._ring[name][: len(self)] = state[name]
        first = max(self._count - EVENTS_MAX, 0)
        keys = self._ring["key"].tolist()
        numbers = range(first, self._count)
        self._newest = {keys[n % EVENTS_MAX]: n for n in numbers if keys[n % EVENTS_MAX]}


def _chance(number: int, mean: float) -> float:
    """Chance of at least `number` where `mean` are expected (Poisson)."""
    if not number:
        return 1.0
    term = total = math.exp(-min(mean, 700.0))
    for k in range(1, number):
        term *= mean / k
        total += term
    return 1.0 - total
