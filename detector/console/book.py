"""The `Book` of the pages, over the database: it reads by queries, and writes by sending feedback records.

What is sent is put into the database at once, at the place that the topic gave it: the next page shows it,
and the fold finds it there. Between looking for conflicts and that no other act comes in: two people who
answer at the same moment are one after the other, and the second is told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from detector.console import acts as acting
from detector.console import queries, statistics
from detector.console.acts import Draft, NotAllowed
from detector.console.database import Connection, Database
from detector.console.fold import Fold
from detector.console.reading import Told
from detector.console.views import (
    Act,
    AnswersOf,
    CaseView,
    Command,
    Conflict,
    Event,
    Filter,
    Page,
    Person,
    Sent,
)
from detector.errors import BrokerUnavailable
from detector.ports import Clock, Log

T = TypeVar("T")
Send = Callable[[Sequence[tuple[bytes, bytes]]], Sequence[Told]]
"""Writes records, given as key and value, to the feedback topic, and says where each of them is."""
Originals = Callable[[Sequence[tuple[int, int]]], Sequence[Event]]
PLACES_MAX = 100  # events that are read at once
UNSURE_S = 60.0  # so long, a record that nobody confirmed may still turn up in the topic
UNSURE_MAX = 10_000  # such records that are remembered; the oldest go first
KEPT_S = 5.0  # what is counted over everything is counted again after so long


class SqliteBook:
    """A `detector.console.views.Book`.

    Parameters
    ----------
    send
        None: nothing can be sent, `why` says it.
    originals
        Reads original events; None: there are none, `why` says it.
    topic
        Name of the transactions topic, part of ids of alerts.
    """

    def __init__(
        self,
        database: Database,
        fold: Fold,
        clock: Clock,
        log: Log,
        *,
        topic: str,
        send: Send | None,
        originals: Originals | None,
        why: str = "",
    ) -> None:
        self._database, self._fold, self._clock, self._log = database, fold, clock, log
        self._topic, self._send, self._originals, self._why = topic, send, originals, why
        self._sending = threading.Lock()
        self._unsure: dict[str, float] = {}  # until when, s, by id
        self._kept: dict[str, tuple[float, object]] = {}
        self.read_s: float | None = None  # when topics were last read; the reader sets it. None: all was

    # --- what is known --------------------------------------------------------------------------------------

    def queue(self, asked: Filter, *, after: str | None = None, limit: int = 50) -> Page:
        """A page of the queue."""
        with self._database.reading() as connection:
            return queries.queue(connection, asked, after, limit, self._clock.time())

    def case(self, case_id: str, asked: Filter | None = None) -> CaseView | None:
        """One case; with `asked` also the one after it in that queue."""
        with self._database.reading() as connection:
            return queries.case(connection, case_id, asked, self._clock.time())

    def case_of(self, alert_id: str) -> str | None:
        """Id of the case of an alert."""
        with self._database.reading() as connection:
            return queries.case_of(connection, alert_id)

    def selected(self, asked: Filter, limit: int) -> Sequence[str]:
        """Ids of all cases that the filter takes, at most `limit`."""
        with self._database.reading() as connection:
            return queries.selected(connection, asked, limit, self._clock.time())

    def choices(self) -> Mapping[str, Sequence[str]]:
        """What can be filtered by, as known."""
        return self._now_and_then("choices", statistics.choices)

    def acts(
        self,
        *,
        actor: str | None = None,
        case_id: str | None = None,
        entity: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> tuple[Sequence[Act], str | None]:
        """What was done, the newest first, and the cursor of the next page."""
        with self._database.reading() as connection:
            return queries.acts(
                connection, actor=actor, case_id=case_id, entity=entity, after=after, limit=limit
            )

    def answered(self) -> Sequence[AnswersOf]:
        """How analysts answered: all together first, then each."""
        return self._now_and_then("answered", statistics.answered)

    def find(self, named: Sequence[Mapping[str, object]]) -> Sequence[str | None]:
        """Of events that somebody reports: alert ids, where known."""
        with self._database.reading() as connection:
            return list(queries.find(connection, named, self._topic))

    def originals(self, places: Sequence[tuple[int, int]]) -> Sequence[Event]:
        """Original events at (partition, offset), in that order."""
        if self._originals is None:
            return [Event(partition=at[0], offset=at[1], value=None, why=self._why) for at in places]
        return self._originals(places[:PLACES_MAX])

    def published(self, since_s: float) -> Mapping[int, int]:
        """How many alerts were published since then, by partition."""
        with self._database.reading() as connection:
            return statistics.published(connection, since_s)

    def fresh(self) -> tuple[int, float]:
        """A number that rises with each change, and how old the newest read is, s."""
        age_s = 0.0 if self.read_s is None else self._clock.monotonic() - self.read_s
        return self._fold.changes, age_s

    # --- what is done ---------------------------------------------------------------------------------------

    def send(self, person: Person, command: Command, *, anyway: bool = False) -> Sent:
        """Send a command as feedback records; see `detector.console.views.Book`."""
        time_s = self._clock.time()
        with self._database.reading() as connection:
            now_s = max(time_s, queries.now_of(connection))
        acting.check_role(person, command, now_s)
        return self._deliver(person, command, acting.drafts(person, command, time_s), anyway=anyway)

    def undo(self, person: Person, feedback_ids: Sequence[str]) -> Sent:
        """Take back what this person sent within the last `UNDO_S`."""
        ids: list[str] = []
        conflicts: list[Conflict] = []
        for id_ in feedback_ids:
            time_s = self._clock.time()
            with self._database.reading() as connection:
                command, place = acting.undo_command(connection, person, id_, time_s)
            acting.check_role(person, command, time_s)
            sent = self._deliver(person, command, acting.drafts(person, command, time_s), since=place)
            ids += sent.feedback_ids
            conflicts += sent.conflicts
        return Sent(feedback_ids=tuple(ids), conflicts=tuple(conflicts))

    def _deliver(
        self,
        person: Person,
        command: Command,
        drafts: Sequence[Draft],
        *,
        anyway: bool = False,
        since: int | None = None,
    ) -> Sent:
        if self._send is None:
            raise NotAllowed(self._why)
        conflicts: dict[str, Conflict] = {}
        with self._sending:
            new: list[Draft] = []
            ids: list[str] = []
            with self._database.reading() as connection:
                for draft in drafts:
                    if acting.known(connection, draft.id):
                        ids.append(draft.id)
                        continue
                    found = None if anyway else acting.conflict(connection, person, command, draft, since)
                    if found is None:
                        new.append(draft)
                        ids.append(draft.id)
                    elif self._clock.monotonic() < self._unsure.get(draft.id, 0.0):
                        raise BrokerUnavailable("It is not known yet whether what you sent before arrived.")
                    else:
                        conflicts[found.case_id] = found
            if new:
                self._write(new)
        for draft in new:
            named = {
                name: value for name, value in draft.record.items() if name not in ("note", "actor", "kind")
            }
            self._log.info("act", actor=person.name, role=person.role, kind=draft.record["kind"], **named)
        return Sent(feedback_ids=tuple(ids), conflicts=tuple(conflicts.values()))

    # --- inside ---------------------------------------------------------------------------------------------

    def _write(self, new: Sequence[Draft]) -> None:
        """Send records; who tries again after a failure must not be told that nothing was sent."""
        assert self._send is not None
        try:
            self._fold.sent(self._send([(draft.id.encode(), draft.value) for draft in new]))
        except BrokerUnavailable:
            self._unsure |= dict.fromkeys((draft.id for draft in new), self._clock.monotonic() + UNSURE_S)
            while len(self._unsure) > UNSURE_MAX:
                del self._unsure[next(iter(self._unsure))]
            raise

    def _now_and_then(self, name: str, count: Callable[[Connection], T]) -> T:
        """What `count` finds in everything that is known; for `KEPT_S` what it found before."""
        now_s = self._clock.monotonic()
        kept = self._kept.get(name)
        if kept is not None and now_s - kept[0] < KEPT_S:
            return kept[1]  # type: ignore[return-value]
        with self._database.reading() as connection:
            found = count(connection)
        self._kept[name] = now_s, found
        return found
