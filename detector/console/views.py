"""What pages show and what analysts do, as plain data; and what pages ask of the rest of the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

State = Literal["open", "answered", "closed", "snoozed"]
Order = Literal["priority", "severity", "time", "sum", "events"]
Role = Literal["viewer", "analyst", "lead"]
ActKind = Literal["label", "retract_label", "snooze", "unsnooze", "note", "assign", "close", "erase"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Which cases a queue shows, and in which order; what a URL says of it."""

    states: tuple[State, ...] = ("open",)
    severity: int = 0  # lowest rank in SEVERITIES
    assignee: str | None = None  # "" are cases without one; None: any
    code: str | None = None  # of a fact or a reason of one of its alerts
    segment: tuple[str, str] | None = None  # field and value
    amount_min: float | None = None  # of the case's sum
    amount_max: float | None = None
    since_s: float | None = None  # event time of the last event, s since the epoch
    until_s: float | None = None
    text: str = ""  # part of an entity's value, a case's id, or an event's id
    order: Order = "priority"
    descending: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A case in the queue."""

    id: str
    entity: tuple[str, str] | None  # kind and value
    headline: str
    chips: tuple[str, ...]  # the two strongest facts or reasons, in few words
    first_s: float  # event time of its first event
    last_s: float
    published_s: float  # of its first alert: its age
    events: int
    sum: float | None
    largest: float | None
    unit: str | None  # of the amounts
    severity: int  # rank in SEVERITIES
    priority: float  # expected loss
    state: State
    assignee: str | None
    answer: str | None  # fraud or legitimate: the last label that counts
    version: int  # rises with each act and message of the case


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Some rows of a queue, and how many there are."""

    rows: Sequence[Row]
    count: int  # of all cases that the filter takes
    next: str | None  # cursor of the following page; None: this is the last


@dataclass(frozen=True, kw_only=True, slots=True)
class Act:
    """What somebody did: a feedback record, and the receipt for it if there is one."""

    feedback_id: str
    kind: str
    actor: str | None
    time_s: float
    case_id: str | None
    alert_id: str | None
    event_id: str | None
    entity: str | None
    detail: Mapping[str, Any]  # label, code, until, note, assignee, as far as given
    status: Literal["pending", "applied", "declined", "malformed"]
    outcome: str | None
    text: str | None  # the receipt's sentence
    learned: Mapping[str, Any] | None  # before and after, of the receipt


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """One alert of a case, as it was published."""

    id: str
    published_s: float
    body: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseView:
    """All that a page of one case shows."""

    row: Row
    alerts: Sequence[Alert]  # the newest first, bounded
    updates: Sequence[Mapping[str, Any]]  # bodies of its case updates, the newest first, bounded
    acts: Sequence[Act]  # the oldest first, bounded
    left_out: int  # alerts and updates that are not shown
    related: Sequence[tuple[Row, str]]  # other cases, and what they share with it
    links: Sequence[tuple[str, str]]  # edges between case ids within two hops, bounded
    next_id: str | None  # the case after it in the queue of the filter, if one was given


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """What an analyst wants, before it is a record: one kind of act on some cases or alerts."""

    kind: ActKind
    id: str = ""  # of the form, made when it was shown (`Access.read_form`): a form sent twice is one act
    case_ids: tuple[str, ...] = ()
    alert_ids: tuple[str, ...] = ()
    other: tuple[
        Mapping[str, Any], ...
    ] = ()  # events named otherwise: event_id, or partition and offset, or entity
    detail: Mapping[str, Any] = field(default_factory=dict)  # label, code, until, note, assignee
    lasts: str = ""  # how long, where `until` is counted from now: a form sent again is the same act
    seen: Mapping[str, int] = field(default_factory=dict)  # case id -> version that the page showed


@dataclass(frozen=True, kw_only=True, slots=True)
class Conflict:
    """A case that somebody else changed since the page was made."""

    case_id: str
    by: str
    what: str  # a sentence


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """What became of a command: ids of its feedback records, or why nothing was sent."""

    feedback_ids: tuple[str, ...]
    conflicts: tuple[Conflict, ...]  # nothing is sent for these cases unless the command is given again


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """Who acts: the session's, never the form's."""

    name: str
    role: Role


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswersOf:
    """How one analyst, or all together, answered."""

    actor: str | None  # None: all
    answers: int
    per_hour: float  # in hours with an answer
    seconds_to_answer: float | None  # median, from the alert's publication
    precision: Sequence[tuple[str, int, int]]  # severity or code of a fact -> frauds, answered


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """An original event, read from the transactions topic."""

    partition: int
    offset: int
    value: Mapping[str, Any] | None  # None: no longer retained, or not readable
    why: str = ""  # why there is none


@dataclass(frozen=True, kw_only=True, slots=True)
class Spot:
    """A cluster of normal events on a map."""

    x: float
    y: float
    events: int
    rank: int  # by age: 0 the youngest third, 2 the oldest


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingPicture:
    """The map of a partition's embedding; without clusters there is none, and `why` says it."""

    made_s: float = 0.0  # when it was drawn
    newest_s: float = 0.0  # event time of the newest event that its checkpoint learned from
    clusters: Sequence[Spot] = ()
    alerts: Mapping[int, tuple[float, float]] = field(default_factory=dict)  # by offset
    frauds: Mapping[int, tuple[float, float]] = field(default_factory=dict)  # confirmed ones
    said: Sequence[str] = ()  # what it keeps of the truth, in sentences
    why: str = ""


class Book(Protocol):
    """What the console knows, and what it sends. Each call is quick, but for `originals`."""

    def queue(self, asked: Filter, *, after: str | None = None, limit: int = 50) -> Page:
        """A page of the queue; `after` is the cursor of the page before, ignored if it is not ours."""

    def case(self, case_id: str, asked: Filter | None = None) -> CaseView | None:
        """One case; with `asked` also the one after it in that queue."""

    def case_of(self, alert_id: str) -> str | None:
        """Id of the case of an alert."""

    def selected(self, asked: Filter, limit: int) -> Sequence[str]:
        """Ids of all cases that the filter takes, for an act over all of them; at most `limit`."""

    def choices(self) -> Mapping[str, Sequence[str]]:
        """What can be filtered by, as known: assignees, codes, segments (FIELD=VALUE)."""

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

    def answered(self) -> Sequence[AnswersOf]:
        """How analysts answered: all together first, then each."""

    def find(self, named: Sequence[Mapping[str, Any]]) -> Sequence[str | None]:
        """Alert ids, where known, of events by event_id, or partition and offset, or entity and time."""

    def send(self, person: Person, command: Command, *, anyway: bool = False) -> Sent:
        """Send a command as feedback records; `anyway`: also for cases that others changed.

        Raises
        ------
        detector.errors.DetectorError
            The broker is away, or a record would be malformed. Nothing is known to be sent.
        """

    def undo(self, person: Person, feedback_ids: Sequence[str]) -> Sent:
        """Take back what this person sent within the last `UNDO_S`: an answer, a snooze; others cannot be."""

    def originals(self, places: Sequence[tuple[int, int]]) -> Sequence[Event]:
        """Original events at (partition, offset), in that order."""

    def published(self, since_s: float) -> Mapping[int, int]:
        """How many alerts were published since then, s since the epoch, by partition."""

    def fresh(self) -> tuple[int, float]:
        """A number that rises with each change, and how old the newest read is, s."""


UNDO_S = 10.0  # how long an answer can be taken back
BULK_MAX = 10_000  # cases or rows of one command
ANALYST_BULK_MAX = 100  # of an analyst; a lead may more
