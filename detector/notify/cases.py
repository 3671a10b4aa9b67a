"""Cases, as alerts and case updates tell of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from detector.core.alerts.severity import SEVERITIES
from detector.notify.message import Message

MESSAGES_MAX = 1000  # of one case that are kept; the newest
CASES_MAX = 10_000  # kept; those whose last message is the oldest go
IDS_MAX = 100_000  # newest messages among which a repeated one is found


@dataclass(kw_only=True, slots=True)
class Case:
    """What was told of one case so far."""

    id: str
    entity: tuple[str, str] | None  # kind and value
    first_time: str  # of its first event, as far as it was read
    last_time: str = ""
    severity: int = 0  # the highest rank
    events: int = 0
    sum: float | None = None  # of the exposure
    largest: float | None = None
    priority: float = 0.0  # expected loss, as of the latest message
    related: tuple[str, ...] = ()
    left_out: int = 0  # earlier messages that are not kept
    messages: deque[Message] = field(default_factory=lambda: deque(maxlen=MESSAGES_MAX))  # as they came

    def add(self, message: Message) -> None:
        """Add what a message tells. One that tells less than is known already changes no total."""
        body = message.body
        totals = body.get("case") or {}
        self.first_time = min(self.first_time, str(body.get("first_time") or body.get("event_time") or ""))
        self.last_time = max(self.last_time, str(body.get("last_time") or body.get("event_time") or ""))
        self.severity = max(self.severity, message.severity)
        if totals.get("number", 0) >= self.events:
            self.events, self.sum = totals.get("number", 1), totals.get("sum")
            self.largest, self.priority = totals.get("largest"), float(body.get("priority") or 0.0)
            self.related = tuple(map(str, body.get("related") or ()))
        self.left_out += len(self.messages) == MESSAGES_MAX
        self.messages.append(message)

    @property
    def severity_name(self) -> str:
        """Its highest severity."""
        return SEVERITIES[self.severity]


@dataclass(kw_only=True, slots=True)
class Cases:
    """Cases by id, the one that was told of longest ago first; bounded."""

    of: dict[str, Case] = field(default_factory=dict)
    left_out: int = 0  # cases that were dropped: others were told of later
    _seen: dict[str, None] = field(default_factory=dict)

    def add(self, message: Message) -> None:
        """Add what a message tells of its case; those of one case come in their order."""
        if message.id in self._seen:
            return
        self._seen[message.id] = None
        if len(self._seen) > IDS_MAX:
            del self._seen[next(iter(self._seen))]
        began = str(message.body.get("first_time") or message.body.get("event_time") or "")
        case = self.of.pop(message.case, None)
        if case is None:
            case = Case(id=message.case, entity=message.entity, first_time=began)
        self.of[message.case] = case
        case.add(message)
        if len(self.of) > CASES_MAX:
            del self.of[next(iter(self.of))]
            self.left_out += 1


def fold(messages: Iterable[Message]) -> Cases:
    """Gather messages by case. A repeated message counts once."""
    cases = Cases()
    for message in messages:
        cases.add(message)
    return cases
