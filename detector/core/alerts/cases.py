"""Cases: what is alerted and held back of one entity, and what is told of it meanwhile.

A case begins with an entity's alert and ends after `alerts.case_idle_timeout` without another one. Its totals
count the alerts and every candidate that was held back. What is held back is told in *updates*:

    at once                    the first `AT_ONCE` ones after an alert; then whenever the sum of the exposure
                               or the number of events has doubled since the last message, the severity is
                               higher than any before, or `WAITING_MAX` events wait to be told
    at the end of the cooldown what has not been told by then

Rules
    - Sums are right to the last decimal place of the amounts, however many there are (`case_rows.py`).
    - An update names every event that was held back since the last one. So all updates of a case together
      name all of them; nothing is left out, also where a case is dropped or closed.
    - The cooldown ends at the first event at which the shard's event time has reached its end. So what is
      told, and when, is a function of the log.
    - A candidate that the budget holds back before its entity has an alert is counted. When the entity's
      alert comes, within `case_idle_timeout`, it is in the case's totals. Without an alert nothing is told:
      the budget says how much people can read.
    - Of a snoozed case only a higher severity is told at once.
    - Of entities only hashes are kept. The value that an update at the end of a cooldown needs is kept until
      then, encrypted with the entity key.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Alerts as AlertsConfig
from detector.core.alerts.case_rows import (
    CASE,
    Candidate,
    CaseBefore,
    Total,
    Totals,
    alert_offsets,
    count,
    mark_told,
    totals_of,
)
from detector.core.erasure import Counts, Erased, Keys

AT_ONCE = 16  # held-back events after an alert that are told one by one: a burst is known at once
WAITING_MAX = 16  # held-back events of one case that wait to be told
WAITING_CASES_MAX = 1024  # cases with such events; the next one tells those of the one that waits for longest
VALUE_BYTES_MAX = 256  # of an entity whose events may wait; those of longer names are told at once
# Entities without a case whose held-back events are counted; the one without any for longest is dropped.
WITHOUT_CASE_MAX = 16_384

# Bytes of a case: rows grow by a quarter, and two tables of Python objects know where it is. Of an event that
# waits: its numbers as Python objects, estimated.
CASE_BYTES, HELD_BYTES = CASE.itemsize * 5 // 4 + 300, 300


class Held(NamedTuple):
    """An event that was held back."""

    offset: int
    time: float  # s
    exposure: float | None
    severity: int  # rank
    score: float
    reason: str


class LastAlert(NamedTuple):
    """The last alert of an entity's case."""

    time: float  # s
    severity: int  # rank


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """What is told of a case."""

    at: int  # offset of the record at which it is told
    value: str  # of the main entity
    entity: int
    number: int  # 1 for the first update of the case
    cause: str  # one of CAUSES
    totals: Totals
    severity: int  # the highest rank of its events
    score: float  # the highest one of its events
    began: float  # time of its first event, s
    latest: float  # of its latest
    held: Sequence[Held]  # since the last update
    alerts: Sequence[int] = ()  # offsets of its newest alerts, the oldest first


CAUSES = ("event", "sum", "events", "severity", "waiting", "cooldown", "alert", "ended")
"""Why an update is told: one of the first events held back; the sum or the number has doubled; a higher
severity; as many events wait as may; the end of the cooldown; another alert; the case ends or is dropped."""


@dataclass(slots=True)
class _Waiting:
    """Events of one case that are not told yet."""

    due: float  # event time at which they are told, s
    value: bytes  # of the entity, encrypted
    held: list[Held] = field(default_factory=list)


def bytes_max(config: AlertsConfig) -> tuple[int, int]:
    """Bytes of the cases of one shard at most, and of a copy of their state."""
    rows = config.cases_max + min(WITHOUT_CASE_MAX, config.cases_max)
    waiting = WAITING_CASES_MAX * (WAITING_MAX * HELD_BYTES + 4 * VALUE_BYTES_MAX)
    return rows * CASE_BYTES + waiting, rows * CASE.itemsize + waiting


class Cases:
    """The cases of one shard.

    Parameters
    ----------
    entity_key
        Encrypts values of entities that wait.
    """

    def __init__(self, config: AlertsConfig, entity_key: bytes) -> None:
        self._config = config
        self._key = entity_key
        self._rows: NDArray[np.void] = np.zeros(16, dtype=CASE)
        # Slots by entity: of cases, the one without an alert for longest first; of entities without one.
        self._open: OrderedDict[int, int] = OrderedDict()
        self._without: OrderedDict[int, int] = OrderedDict()
        self._by_first: dict[int, int] = {}  # entity by the offset of its case's first alert
        self._free = list(range(15, -1, -1))
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()  # by entity; due in about this order
        self._told: list[Update] = []

    def __len__(self) -> int:
        return len(self._open)

    # --- what the policy asks ------------------------------------------------------------------------------

    def last_alert(self, entity: int) -> LastAlert | None:
        """The last alert of an entity's case; None without a case."""
        slot = self._open.get(entity)
        if slot is None:
            return None
        row = self._rows[slot]
        return LastAlert(float(row["alerted"]), int(row["severity"]))

    def alerts_of(self, first: int) -> Sequence[int] | None:
        """Offsets of the newest alerts of the case with this first one; None: it is not open."""
        entity = self._by_first.get(first)
        return None if entity is None else alert_offsets(self._rows[self._open[entity]])

    def highest(self, entity: int) -> int:
        """Highest severity (rank) of an entity's case; 0 without one."""
        slot = self._open.get(entity)
        return 0 if slot is None else int(self._rows[slot]["highest"])

    def entity_of(self, first: int) -> int | None:
        """Hash of the entity of a case; None: it is not open."""
        return self._by_first.get(first)

    def totals(self, entity: int) -> Totals | None:
        """Totals of an entity's case; None without one."""
        slot = self._open.get(entity)
        return None if slot is None else totals_of(self._rows[slot])

    def before(self, entity: int, counted: int | None, exposure: float | None) -> CaseBefore | None:
        """An entity's case without an event of this exposure, which counts in the case `counted` already.

        None without a case, or if the event is the only one of it.
        """
        slot = self._open.get(entity)
        if slot is None:
            return None
        totals, began = totals_of(self._rows[slot]), float(self._rows[slot]["began"])
        events, rest = totals.events, totals.sum
        if totals.case == counted:
            events -= 1
            rest = rest if rest is None or exposure is None else Total.of([rest, -abs(exposure)])
        return CaseBefore(totals.case, began, events, rest) if events else None

    # --- candidates ----------------------------------------------------------------------------------------

    def alert(self, candidate: Candidate) -> Totals:
        """Count an alert in its entity's case, which it may begin; returns the totals.

        Without a main entity there is no case but the alert itself.
        """
        entity, time = candidate.entity, candidate.time
        if not entity:
            return Totals.of_one(candidate.offset, candidate.exposure)
        slot = self._open.get(entity)
        if slot is not None:
            if entity in self._waiting:
                self._tell_waiting(entity, candidate.offset, "alert")
            if self._is_idle(slot, time):
                self._drop(self._open, entity)
                slot = None
        if slot is None:
            slot = self._begin(candidate)
        row = self._rows[slot]
        row["alerted"] = max(time, float(row["alerted"]))  # events may be late
        row["severity"], row["held"] = candidate.severity, 0
        row["alerts"] += 1
        offsets = row["offsets"]
        offsets[:-1], offsets[-1] = offsets[1:].copy(), candidate.offset
        count(row, candidate)
        mark_told(row)
        self._open.move_to_end(entity)
        while len(self._open) > self._config.cases_max:  # several at once if the limit was lowered
            self._end(next(iter(self._open)), candidate.offset)
        return totals_of(row)

    def hold(self, candidate: Candidate, reason: str) -> None:
        """Count a candidate that is held back."""
        entity = candidate.entity
        if not entity:
            return
        slot = self._open.get(entity)
        if slot is not None and self._is_idle(slot, candidate.time):
            self._end(entity, candidate.offset)
            slot = None
        if slot is None:
            self._hold_without_case(candidate)
            return
        row = self._rows[slot]
        count(row, candidate)
        row["held"] += 1
        waiting = self._waiting.get(entity)
        if waiting is None:
            ends = float(row["alerted"]) + self._config.cooldown
            due = candidate.now + self._config.cooldown
            waiting = _Waiting(min(ends, due) if ends > candidate.now else due, b"")
        held = Held(
            candidate.offset, candidate.time, candidate.exposure, candidate.severity, candidate.score, reason
        )
        waiting.held.append(held)
        cause = self._cause(row, waiting, candidate, reason)
        if cause:
            self._waiting.pop(entity, None)
            self._tell(row, candidate.value, waiting.held, candidate.offset, cause)
        elif entity not in self._waiting:
            waiting.value = self._encrypted(candidate.value.encode(), int(row["first"]))
            self._waiting[entity] = waiting
            if len(self._waiting) > WAITING_CASES_MAX:
                self._tell_waiting(next(iter(self._waiting)), candidate.offset, "waiting")

    def _cause(self, row: np.void, waiting: _Waiting, candidate: Candidate, reason: str) -> str:
        """Why a case is told of at once; empty: it is not. Of a snoozed one little is."""
        long = len(candidate.value.encode()) > VALUE_BYTES_MAX
        if row["highest"] > row["told_highest"]:
            return "severity"
        if long or len(waiting.held) >= WAITING_MAX:
            return "waiting"
        if reason == "snooze":
            return ""
        if (row["sum"] + row["rest"]) / 2.0 >= row["told_sum"] > 0.0:
            return "sum"
        if row["events"] >= 2 * row["told_events"]:
            return "events"
        return "event" if row["held"] <= AT_ONCE else ""

    def _hold_without_case(self, candidate: Candidate) -> None:
        entity = candidate.entity
        slot = self._without.get(entity)
        if slot is not None and self._is_old(slot, candidate.time):
            self._drop(self._without, entity)
            slot = None
        if slot is None:
            slot = self._without[entity] = self._new_row(candidate)
        count(self._rows[slot], candidate)
        self._without.move_to_end(entity)
        while len(self._without) > min(WITHOUT_CASE_MAX, self._config.cases_max):
            self._drop(self._without, next(iter(self._without)))

    def _is_idle(self, slot: int, time: float) -> bool:
        """Whether the case has ended before `time`."""
        return bool(time - self._rows[slot]["alerted"] > self._config.case_idle_timeout)

    def _is_old(self, slot: int, time: float) -> bool:
        return bool(time - self._rows[slot]["latest"] > self._config.case_idle_timeout)

    # --- what is told --------------------------------------------------------------------------------------

    @property
    def next_due(self) -> float:
        """Event time at which the next cooldown with something to tell ends, s; inf: none."""
        return next(iter(self._waiting.values())).due if self._waiting else math.inf

    def tell_due(self, at: int) -> None:
        """Tell what is due next, at the record with this offset."""
        self._tell_waiting(next(iter(self._waiting)), at, "cooldown")

    def collect(self) -> list[Update]:
        """Take the updates since the last call, in the order in which they were made."""
        told, self._told = self._told, []
        return told

    def close(self, first: int, at: int) -> bool:
        """End a case by the offset of its first alert: its entity's next candidate begins another one.

        Parameters
        ----------
        at
            Offset of the newest record: what was not told yet is told there.

        Returns
        -------
        bool
            Whether it was open.
        """
        entity = self._by_first.get(first)
        if entity is not None:
            self._end(entity, at)
        return entity is not None

    def held(self, entities: Keys) -> Counts:
        """Cases of the entities, and what was held back of them without one."""
        found = [(entity in self._open) + (entity in self._without) for entity in entities.tolist()]
        return {"cases": np.array(found, dtype=np.int64)}

    def erase(self, erased: Erased) -> None:
        """Drop all of that; nothing is told. Other cases name these no more."""
        gone = set(erased.entities.tolist())
        for entity in gone:
            self._waiting.pop(entity, None)
            for slots in (self._open, self._without):
                if entity in slots:
                    self._drop(slots, entity)
        self._told = [update for update in self._told if update.entity not in gone]
        related = self._rows["related"]
        for row in np.flatnonzero(np.isin(related, erased.offsets).any(axis=1)).tolist():
            kept = related[row][~np.isin(related[row], erased.offsets)]
            related[row] = np.append(kept, np.full(len(related[row]) - len(kept), -1, dtype=np.int64))

    def _end(self, entity: int, at: int) -> None:
        if entity in self._waiting:
            self._tell_waiting(entity, at, "ended")
        self._drop(self._open, entity)

    def _tell_waiting(self, entity: int, at: int, cause: str) -> None:
        waiting = self._waiting.pop(entity)
        row = self._rows[self._open[entity]]
        value = self._encrypted(waiting.value, int(row["first"])).decode()
        self._tell(row, value, waiting.held, at, cause)

    def _tell(self, row: np.void, value: str, held: Sequence[Held], at: int, cause: str) -> None:
        row["updates"] += 1
        update = Update(
            at=at,
            value=value,
            entity=int(row["entity"]),
            number=int(row["updates"]),
            cause=cause,
            totals=totals_of(row),
            severity=int(row["highest"]),
            score=float(row["farthest"]),
            began=float(row["began"]),
            latest=float(row["latest"]),
            held=tuple(held),
            alerts=alert_offsets(row),
        )
        mark_told(row)
        self._told.append(update)

    def _encrypted(self, text: bytes, nonce: int) -> bytes:
        """Encrypt or decrypt by a stream that the entity key makes of the case's first offset."""
        stream = b"".join(
            hashlib.blake2b(f"{nonce} {block}".encode(), key=self._key, person=b"detector case").digest()
            for block in range(len(text) // 64 + 1)
        )
        return bytes(one ^ other for one, other in zip(text, stream, strict=False))

    # --- rows ----------------------------------------------------------------------------------------------

    def _begin(self, candidate: Candidate) -> int:
        """Begin a case; what was held back of its entity before is in it."""
        entity = candidate.entity
        if entity in self._without and self._is_old(self._without[entity], candidate.time):
            self._drop(self._without, entity)
        slot = self._without.pop(entity, None)
        if slot is None:
            slot = self._new_row(candidate)
        self._open[entity] = slot
        self._rows[slot]["first"] = candidate.offset
        self._by_first[candidate.offset] = entity
        return slot

    def _new_row(self, candidate: Candidate) -> int:
        if not self._free:
            size = len(self._rows)
            larger = size + size // 4
            self._rows = np.concatenate([self._rows, np.zeros(larger - size, dtype=CASE)])
            self._free = list(range(larger - 1, size - 1, -1))
        slot = self._free.pop()
        row = self._rows[slot]
        row["entity"], row["first"] = candidate.entity, -1
        row["offsets"] = row["related"] = -1
        row["began"] = row["latest"] = candidate.time
        row["alerted"], row["largest"] = -math.inf, math.nan
        return slot

    def _drop(self, slots: OrderedDict[int, int], entity: int) -> None:
        slot = slots.pop(entity)
        self._by_first.pop(int(self._rows[slot]["first"]), None)
        self._rows[slot] = 0
        self._free.append(slot)

    # --- state ---------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """State as arrays and plain values; nothing is left to collect."""
        assert not self._told
        rows = {name: self._rows[list(slots.values())] for name, slots in self._both().items()}
        return {
            **{
                name: {column: found[column].copy() for column in CASE.names or ()}
                for name, found in rows.items()
            },
            "waiting": [
                [entity, waiting.due, waiting.value.hex(), [list(held) for held in waiting.held]]
                for entity, waiting in self._waiting.items()
            ],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        counts = {name: len(state[name]["entity"]) for name in self._both()}
        size = max(sum(counts.values()), 16)
        self._rows = np.zeros(size, dtype=CASE)
        start = 0
        for name, slots in self._both().items():
            stop = start + counts[name]
            for column in CASE.names or ():
                self._rows[column][start:stop] = state[name][column]
            slots.clear()
            slots.update(zip(state[name]["entity"].tolist(), range(start, stop), strict=True))
            start = stop
        self._free = list(range(size - 1, start - 1, -1))
        self._by_first = {int(self._rows[slot]["first"]): entity for entity, slot in self._open.items()}
        self._waiting = OrderedDict(
            (entity, _Waiting(due, bytes.fromhex(value), [Held(*one) for one in held]))
            for entity, due, value, held in state["waiting"]
        )

    def _both(self) -> dict[str, OrderedDict[int, int]]:
        return {"open": self._open, "without": self._without}
