"""The desk of one shard: takes the feedback records of a barrier, and writes a receipt for each.

    record ─ read ─> command ─ routing ─> events in the buffer ─> label: book ─────────────> AppliedLabels
                │                │                             ├> snooze, close, ...: `Cases`
                │                ├─> partition ────────────────┼> model: `Governing`
                │                └─> entity ───────────────────┴> erase: `erased`
                └────────────────┴──────────────> receipt, written when the barrier is done

A shard that holds the event applies a record. A shard that had the event, by its offset, and no longer holds
it says that it is forgotten. What is applied is a function of the records, of the log and of the messages of
peers.

Entities to erase are only gathered here; the shard erases all of one barrier together. What comes after that
record in the same barrier finds nothing of them any more, and labels that came before it teach nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from detector.config.tree import Labels as LabelsConfig
from detector.core.erasure import Counts
from detector.core.labels.case_alerts import CaseAlerts
from detector.core.labels.commands import Command, Malformed, Place, read_command
from detector.core.labels.event_buffer import ALERTED, EventBuffer
from detector.core.labels.feedback import Answer, AppliedLabels, Decision, LabelBook
from detector.core.labels.receipts import (
    STATUSES,
    Answered,
    Barrier,
    Draft,
    answered,
    date_of,
    make_receipt,
)
from detector.core.labels.routing import Routing
from detector.core.records import Identity, Receipt

_PLAIN = {
    "duplicate": "A record with this feedback_id was applied before.",
    "forgotten": "The event is no longer stored: an answer came too late (model.labels.answerable_for).",
    "unknown_alert": "The record at this place gave no alert.",
    "unknown_event": "No shard holds an event of this name.",
    "rate_limited": "It exceeds model.labels.per_entity_max or per_actor_max.",
    "unsupported": "This shard cannot do that.",
    "unknown_entity": "Nothing is known of this entity.",
    "noted": "The note was received; it is kept by whoever reads the receipts.",
    "assigned": "The assignment was received; it is kept by whoever reads the receipts.",
    "closed": "The case is closed: the entity's next alert begins a new one.",
    "already_closed": "The case was not open any more.",
    "unsnoozed": "The snooze is lifted.",
    "no_snooze": "There was no snooze any more.",
    "over": "The snooze is over already: it ends before the event time of now.",
}
_OTHER_EVENT = "The event of this alert_id has another event_id: the alert may be of another cluster."


class Snoozing(Protocol):
    """Alerts that are held back on demand."""

    def snooze(self, entity: int, code: str | None, until: float, now: float) -> float:
        """Hold back alerts of a main entity, given by its hash; with `code` those with this reason only.

        Returns until which event time, s: it may be cut, and is not after `now` if nothing is held back.
        """

    def unsnooze(self, entity: int, code: str | None = None) -> bool:
        """Undo `snooze`; without `code` all of the entity. Returns whether there was a snooze."""


class Erasing(Protocol):
    """What is held of single entities."""

    def hash_of(self, value: str) -> int:
        """Hash of a value of the main entity; 0: the schema has none."""

    def known(self, entities: Sequence[int]) -> Collection[int]:
        """Which of these entities (hashes) anything is held of."""

    def drop(self, entities: Sequence[int]) -> Counts:
        """Drop all that is held of entities (hashes); returns how much that was, by ascending entity."""


class Governing(Protocol):
    """Which encoder serves."""

    def command(self, action: str, number: int | None) -> tuple[str, str]:
        """Take what an operator asks for; returns its outcome, and a sentence about it."""


class Desk:
    """See the module's text.

    Parameters
    ----------
    buffer
        The shard's events.
    id_hash
        Of event ids, as in the buffer.
    cases, snoozes, erasing, governing
        What other kinds of records change; without one of the last three such records are declined.
    """

    def __init__(
        self,
        config: LabelsConfig,
        identity: Identity,
        buffer: EventBuffer,
        id_hash: Callable[[str], int],
        routing: Routing,
        cases: CaseAlerts,
        snoozes: Snoozing | None = None,
        erasing: Erasing | None = None,
        governing: Governing | None = None,
    ) -> None:
        self._identity, self._buffer, self._id_hash = identity, buffer, id_hash
        self._cases, self._snoozes, self._erasing = cases, snoozes, erasing
        self._governing = governing
        self.book = LabelBook(config, id_hash)
        self.routing = routing
        self._drafts: list[Draft] = []  # of the barrier under way
        self._receipts: list[Receipt] = []  # of the last barrier
        self._at = -1  # offset of the last record before the barrier under way
        self._by_id: Mapping[int, int] = {}  # of the barrier under way: hash of an id -> event number
        self._by_offset: Mapping[int, int] = {}  # the same by offset
        self._known: Collection[int] = ()  # entities (hashes) that are named to be erased, and known
        self.erased: dict[int, Draft] = {}  # entities (hashes) to erase at the barrier under way

    def apply(self, records: Sequence[tuple[int, bytes]], now: float, at: int = -1) -> AppliedLabels:
        """Apply feedback records, given as position and value, in order.

        Parameters
        ----------
        now
            Event time of the shard, s since the epoch.
        at
            Offset of the last record before the barrier.
        """
        self._at = at
        self.book.begin(now)
        self._drafts, self.erased = [], {}
        answers: list[Answer] = []
        read = [read_command(raw) for _, raw in records]
        commands = [one for one in read if isinstance(one, Command)]
        ids = [self._id_hash(one.event_id) for one in commands if one.event_id is not None]
        self._by_id = self._buffer.find("ids", ids)
        offsets = [one.place.offset for one in commands if one.place is not None]
        self._by_offset = self._buffer.find("offsets", offsets)
        named = [self._hash_of(one) for one in commands if one.entity is not None]
        self._known = self._erasing.known(named) if self._erasing is not None and named else ()
        for (position, _), one in zip(records, read, strict=True):
            draft = self._answer(position, one, now, answers)
            if draft is not None:
                self._drafts.append(draft)
        if records:
            self.routing.passed(records[-1][0] + 1)
        counted = Counter(draft.outcome for draft in self._drafts)
        if self.erased:
            answers = [one for one in answers if self._event(one.number)[1] not in self.erased]
        return AppliedLabels.make(answers, self._buffer, counted)

    def settle(self) -> dict[str, int]:
        """Decide records that no shard has claimed, once peers' messages are received; counts by outcome."""
        found = self.routing.decided()
        for position, echo in found:
            outcome = "unknown_entity" if echo.kind == "erase" else "unknown_event"
            text = _PLAIN[outcome]
            self._drafts.append(Draft(position=position, echo=echo, outcome=outcome, text=text))
        return Counter(draft.outcome for draft in self._drafts[len(self._drafts) - len(found) :])

    def drop_erased(self) -> None:
        """Drop what is held of each entity of `erased`, and tell how much that was."""
        assert self._erasing is not None, "without it nothing is erased"
        counts = self._erasing.drop([*self.erased])
        for place, entity in enumerate(sorted(self.erased)):
            dropped = {name: int(numbers[place]) for name, numbers in counts.items() if numbers[place]}
            draft = self.erased[entity]
            draft.dropped = dropped
            what = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in dropped.items())
            draft.text = f"What was known of the entity is dropped: {what or 'nothing'}."

    def take_over(self, other: Desk) -> None:
        """Go on with the receipts of another desk's barrier."""
        self._drafts, self.erased = other._drafts, other.erased

    def write(self, barrier: Barrier) -> None:
        """Write the receipts, once the barrier is done."""
        self._receipts = [make_receipt(draft, self._identity, barrier) for draft in self._drafts]
        self._drafts = []

    def collect(self) -> tuple[Receipt, ...]:
        """Receipts since the last call."""
        receipts, self._receipts = tuple(self._receipts), []
        return receipts

    # --- one record --------------------------------------------------------------------------------------

    def _answer(
        self, position: int, one: Command | Malformed, now: float, answers: list[Answer]
    ) -> Draft | None:
        """What becomes of a record; None: another shard says so, or it waits."""
        if isinstance(one, Malformed):
            if not self.routing.first:
                return None
            return Draft(
                position=position, echo=one.echo, outcome=one.outcome, text=f"Not understood: {one.why}."
            )
        if one.partition is not None:
            return self._govern(position, one, one.partition)
        place = one.place
        if place is not None and place.topic not in (None, self._identity.topic):
            if one.event_id is None:
                return self._foreign(position, one, f"topic {place.topic[:80]}" if place.topic else "")
            place = None  # of a mirrored topic, perhaps: the event's id says it
        if place is not None:
            if self.routing.mode != "alone" and place.partition != self._identity.partition:
                beyond = self.routing.mode == "shared" and place.partition >= self.routing.partitions
                return self._foreign(position, one, f"partition {place.partition}") if beyond else None
            return self._decide(position, one, place, now, answers)
        return self._by_name(position, one, now, answers)

    def _govern(self, position: int, one: Command, partition: int) -> Draft | None:
        """Answer a record about the model of a partition."""
        if partition != self._identity.partition:
            mode, beyond = self.routing.mode, partition >= self.routing.partitions
            nobody = mode == "alone" or (mode == "shared" and beyond)
            return self._foreign(position, one, f"partition {partition}") if nobody else None
        if self.book.is_applied(one.echo.feedback_id):
            return self._draft(position, one, "duplicate")
        if self._governing is None:
            return self._draft(position, one, "unsupported")
        assert one.action is not None
        outcome, text = self._governing.command(one.action, one.version)
        if STATUSES[outcome] == "applied":
            self.book.mark_applied(one.echo.feedback_id)
        return self._draft(position, one, outcome, text)

    def _by_name(self, position: int, one: Command, now: float, answers: list[Answer]) -> Draft | None:
        """Answer a record that only the shard can answer that holds its event, or knows its entity."""
        if one.entity is not None:
            held = self._hash_of(one) in self._known
        else:
            assert one.event_id is not None
            held = self._id_hash(one.event_id) in self._by_id
        if held or self.book.is_applied(one.echo.feedback_id) or self.routing.mode == "alone":
            self.routing.claim(position)
            return self._decide(position, one, None, now, answers)
        if self.routing.mode == "shared" and self.routing.first:
            self.routing.wait(position, one.echo)
        return None

    def _foreign(self, position: int, one: Command, what: str) -> Draft | None:
        """A record that names what no shard of this topic has."""
        if not self.routing.first:
            return None
        text = f"The record names {what}, which these shards do not read."
        return self._draft(position, one, "unknown_event", text)

    def _decide(
        self, position: int, one: Command, place: Place | None, now: float, answers: list[Answer]
    ) -> Draft:
        """Apply a record whose event is here, or was here, or would be here."""
        if self.book.is_applied(one.echo.feedback_id):
            return self._draft(position, one, "duplicate")
        if one.entity is not None:
            return self._erase(position, one, self._hash_of(one))
        numbers, outcome = self._events(one, place)
        if numbers and not self._agrees(one, numbers[0]):
            return self._draft(position, one, "unknown_event", _OTHER_EVENT)
        if self.erased and numbers and self._event(numbers[0])[1] in self.erased:
            return self._draft(position, one, "forgotten", "The entity of the event was erased.")
        if outcome == "unknown_event" and one.kind == "erase" and place is None:
            outcome = "unknown_entity"
        if outcome:  # the same feedback id may be applied later, when the event is known
            return self._draft(position, one, outcome)
        if one.label is None:
            draft = self._other(position, one, numbers[0], now)
        else:
            draft = self._label(position, one, numbers, now, answers)
        if STATUSES[draft.outcome] == "applied":
            self.book.mark_applied(one.echo.feedback_id)
        return draft

    def _events(self, one: Command, place: Place | None) -> tuple[list[int], str]:
        """Numbers of the events that a record names, or why there are none."""
        here = place is not None and place.partition == self._identity.partition
        if place is not None and here and one.names == "case_id":
            return self._of_case(place.offset)
        by_id = one.event_id is not None and one.names in ("event_id", "coordinates")
        number = None
        if by_id and one.event_id is not None:
            number = self._by_id.get(self._id_hash(one.event_id))
        elif place is not None and here:
            number = self._by_offset.get(place.offset)
        if number is None:
            gone = place is not None and here and self._buffer.was_here(place.offset)
            return [], "forgotten" if gone else "unknown_event"
        if one.names == "alert_id" and not self._is_alerted(number):
            return [], "unknown_alert"
        return [number], ""

    def _of_case(self, first: int) -> tuple[list[int], str]:
        """Numbers of the alerted events of a case, as far as they are stored."""
        offsets = {first, *(self._cases.alerts_of(first) or ())}
        found = self._buffer.find("offsets", sorted(offsets))
        numbers = [number for number in sorted(found.values()) if self._is_alerted(number)]
        if numbers:
            return numbers, ""
        if found:
            return [], "unknown_alert"
        return [], "forgotten" if self._buffer.was_here(first) else "unknown_event"

    def _agrees(self, one: Command, number: int) -> bool:
        """Whether the event of an alert has the event id that the record names beside it."""
        if one.names != "alert_id" or one.event_id is None:
            return True
        return int(self._buffer.column("ids", np.array([number]))[0]) == self._id_hash(one.event_id)

    def _is_alerted(self, number: int) -> bool:
        return bool(int(self._buffer.column("flags", np.array([number]))[0]) & ALERTED)

    def _label(
        self, position: int, one: Command, numbers: Sequence[int], now: float, answers: list[Answer]
    ) -> Draft:
        assert one.label is not None
        events: list[Answered] = []
        decision = Decision("applied", None)
        for number in numbers:
            offset, entity = self._event(number)
            time = min(one.time, now)
            decision = self.book.decide(one.label, offset, entity, one.echo.actor, time)
            applied = STATUSES[decision.outcome] == "applied"
            after = decision.before if not applied else None if one.label == "retracted" else one.label
            events.append(Answered(offset, decision.before, after, decision.outcome))
            if applied:
                answers.append(Answer(number, offset, one.label, time))
        outcome, text = answered(one, events)
        draft = self._draft(position, one, outcome, text)
        draft.events = events
        if decision.rival:
            draft.text = f"{draft.text} {_contradiction(one, decision)}".strip()
        return draft

    def _other(self, position: int, one: Command, number: int, now: float) -> Draft:
        """Apply a record that is no label."""
        _, entity = self._event(number)
        if one.kind == "erase":
            return self._erase(position, one, entity)
        if one.kind in ("snooze", "unsnooze") and (self._snoozes is None or not entity):
            return self._draft(position, one, "unsupported")
        if one.kind == "snooze":
            assert one.until is not None
            assert self._snoozes is not None
            ends = self._snoozes.snooze(entity, one.code, one.until, now)
            text = f"Alerts of the entity are held back until {date_of(ends)}."
            return self._draft(position, one, "snoozed", text if ends > now else _PLAIN["over"])
        if one.kind == "unsnooze":
            assert self._snoozes is not None
            found = self._snoozes.unsnooze(entity, one.code)
            return self._draft(position, one, "unsnoozed", "" if found else _PLAIN["no_snooze"])
        if one.kind == "close":
            if one.place is not None and one.names == "case_id":
                closed = self._cases.close(one.place.offset, self._at)
            else:
                closed = self._cases.close_of(entity, self._at)
            return self._draft(position, one, "closed", "" if closed else _PLAIN["already_closed"])
        return self._draft(position, one, {"note": "noted", "assign": "assigned"}[one.kind])

    def _erase(self, position: int, one: Command, entity: int) -> Draft:
        """Let the barrier erase an entity, given by its hash; how much that was is told later."""
        if self._erasing is None or not entity:
            return self._draft(position, one, "unsupported", "There is no main entity.")
        by_value = one.entity is not None
        if entity in self.erased or (by_value and entity not in self._known):
            return self._draft(position, one, "unknown_entity")
        self.erased[entity] = draft = self._draft(position, one, "erased")
        self.book.mark_applied(one.echo.feedback_id)
        return draft

    def _hash_of(self, one: Command) -> int:
        assert one.entity is not None
        return 0 if self._erasing is None else self._erasing.hash_of(one.entity)

    def _event(self, number: int) -> tuple[int, int]:
        """Offset of an event, and the hash of its main entity; 0 without one."""
        here = np.array([number])
        keys = self._buffer.column("keys", here)[0]
        entity = int(keys[0]) if self._buffer.entities and len(keys) else 0
        return int(self._buffer.column("offsets", here)[0]), entity

    def _draft(self, position: int, one: Command, outcome: str, text: str = "") -> Draft:
        return Draft(
            position=position,
            echo=one.echo,
            outcome=outcome,
            text=text or _PLAIN.get(outcome, ""),
            place=one.place,
            names=one.names,
        )

    # --- state -------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """State right after a barrier, as arrays and plain values."""
        return {**self.book.to_state(), "routing": self.routing.to_state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self.book.load(state)
        self.routing.load(state["routing"])


def _contradiction(one: Command, decision: Decision) -> str:
    """Sentence about an answer of another actor."""
    here = one.echo.actor or "somebody without a name"
    there = f"{decision.rival} answered {decision.before} on {date_of(decision.rival_time)}"
    wins = here if STATUSES[decision.outcome] == "applied" else decision.rival
    return f"It contradicts another answer: {there}, {here} says {one.label}; that of {wins} counts."
