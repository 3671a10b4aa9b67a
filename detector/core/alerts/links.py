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

import numba
import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Alerts as AlertsConfig
from detector.core.alerts.case_rows import RELATED_MAX
from detector.core.erasure import Counts, Erased, Keys, counted

EVENTS_MAX = 1 << 15  # links kept
CHAIN_MAX = 64  # links of one value that are read
CASES_MAX = 8  # cases that are named of one value
AMOUNTS_MAX = 3  # amounts that are told of one value, each of another entity
CHANCE_MAX = 0.01
NONE = -1

LINK = np.dtype(
    [
        ("key", "u8"),  # the value
        ("entity", "u8"),  # main entity
        ("case", "i8"),  # offset of its case's first alert; NONE: a fraud without a case
        ("offset", "i8"),  # of the event
        ("time", "f8"),  # s
        ("amount", "f8"),  # of the event; NaN: missing
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
    latest: float = -math.inf  # time of the newest of their events there, s
    amounts: Sequence[
        float
    ] = ()  # of the newest event there of each of a few, the newest first; NaN: missing


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

    def add(
        self,
        keys: Sequence[int],
        entity: int,
        *,
        case: int,
        offset: int,
        time: float,
        amount: float = math.nan,
    ) -> None:
        """Remember an alert or a held-back event of a case.

        Parameters
        ----------
        keys
            Hashes of its entities other than the main one; 0: missing.
        entity
            Hash of the main entity.
        case, offset
            Offsets of the case's first alert and of the event.
        time, amount
            The event's, s, and its exposure; NaN: missing.
        """
        if case == offset:
            self._times = np.append(self._times[-(1 << 14) + 1 :], time)
        for key in keys:
            if key:
                self._append(int(key), entity, case, offset, time, amount, fraud=False)

    def confirm(self, keys: Sequence[int], entity: int, *, offset: int, time: float, fraud: bool) -> None:
        """Remember the answer to an event: fraud, or not (also retracted)."""
        for key in map(int, keys):
            confirm: Any = _confirm
            found = confirm(self._ring, *self._chain(key), offset, fraud)
            if key and fraud and not found:
                self._append(key, entity, NONE, offset, time, math.nan, fraud=True)

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
        expected = float(np.count_nonzero(self._times >= now - self._days_s)) if shares is not None else 0.0
        found = []
        for i, key in enumerate(map(int, keys)):
            one = self._counts(key, entity, now - self._days_s) if key else Shared(0, 0, 0, (), related=False)
            related = shares is not None and _chance(one.alerted, expected * shares[i]) < CHANCE_MAX
            found.append(one._replace(related=related))
        return found

    def held(self, entities: Keys) -> Counts:
        """Links of the entities."""
        return {"links": counted(entities, self._ring["entity"][: len(self)])}

    def erase(self, erased: Erased) -> None:
        """Drop the links of the entities. What they shared stays a place in its chain."""
        rows = np.isin(self._ring["entity"], erased.entities)
        nothing = {
            "entity": 0,
            "case": NONE,
            "offset": NONE,
            "fraud": 0,
            "time": -math.inf,
            "amount": math.nan,
        }
        for name, value in nothing.items():
            self._ring[name][rows] = value

    def _append(
        self, key: int, entity: int, case: int, offset: int, time: float, amount: float, *, fraud: bool
    ) -> None:
        place = self._count % EVENTS_MAX
        old = int(self._ring["key"][place])
        if self._newest.get(old) == self._count - EVENTS_MAX:
            del self._newest[old]
        before = self._newest.get(key, NONE)
        self._ring[place] = (key, entity, case, offset, time, amount, fraud, before)
        self._newest[key] = self._count
        self._count += 1

    def _chain(self, key: int) -> tuple[int, int]:
        """Numbers of a value's newest link and of the oldest one that is still here, of whichever value."""
        return self._newest.get(key, NONE), max(self._count - EVENTS_MAX, 0)

    def _counts(self, key: int, entity: int, since: float) -> Shared:
        """What a value's links from `since` (s) on say of entities other than `entity`."""
        count: Any = _count
        entities = np.empty(CHAIN_MAX, dtype=np.uint64)
        cases, amounts = np.empty(CASES_MAX, dtype=np.int64), np.empty(AMOUNTS_MAX)
        alerted, frauds, named, latest = count(
            self._ring, *self._chain(key), np.uint64(entity), since, entities, cases, amounts
        )
        told = tuple(amounts[:alerted].tolist())
        return Shared(key, alerted, frauds, tuple(cases[:named].tolist()), False, float(latest), told)

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


@numba.njit(cache=True, nogil=True)
def _count(
    ring: Any, number: int, oldest: int, entity: Any, since: float, entities: Any, cases: Any, amounts: Any
) -> tuple[int, int, int, float]:
    """Count what the links of one value say, from link `number` back to `oldest`, at most `CHAIN_MAX`.

    Returns how many entities other than `entity` had an alert, how many frauds they had, how many cases were
    written to `cases`, the newest first, and the time of the latest. `entities` is working space.
    The amount of each such entity's newest event goes to `amounts`, in that order, as many as it holds.
    """
    alerted = frauds = named = steps = 0
    latest = -np.inf
    while number >= oldest and steps < CHAIN_MAX:
        link = ring[number % len(ring)]
        number, steps = link.before, steps + 1
        if link.entity == entity or not link.time >= since:
            continue
        frauds += link.fraud
        if link.case == NONE:
            continue
        latest = max(latest, link.time)
        there = False
        for n in range(alerted):
            there |= entities[n] == link.entity
        if not there:
            entities[alerted] = link.entity
            if alerted < len(amounts):
                amounts[alerted] = link.amount
            alerted += 1
        there = False
        for n in range(named):
            there |= cases[n] == link.case
        if not there and named < len(cases):
            cases[named] = link.case
            named += 1
    return alerted, frauds, named, latest


@numba.njit(cache=True, nogil=True)
def _confirm(ring: Any, number: int, oldest: int, offset: int, fraud: bool) -> int:
    """Write an answer to those links of one value that are of the event at `offset`; returns how many."""
    found = steps = 0
    while number >= oldest and steps < CHAIN_MAX:
        place = number % len(ring)
        number, steps = ring[place].before, steps + 1
        if ring[place].offset == offset:
            ring[place].fraud = fraud
            found += 1
    return found


def related(found: Sequence[Shared]) -> tuple[int, ...]:
    """First alerts of other cases that share more with an event than chance explains."""
    return tuple(dict.fromkeys(case for one in found if one.related for case in one.cases))[:RELATED_MAX]


def _chance(number: int, mean: float) -> float:
    """Chance of at least `number` where `mean` are expected (Poisson)."""
    if not number:
        return 1.0
    term = total = math.exp(-min(mean, 700.0))
    for k in range(1, number):
        term *= mean / k
        total += term
    return 1.0 - total
