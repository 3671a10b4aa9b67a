"""Cases, as alerts and case updates tell of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from detector.core.alerts.severity import SEVERITIES
from detector.notify.message import Message

MESSAGES_MAX = 1000  # of one case that are kept; the newest


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
        self.messages.append(message)

    @property
    def severity_name(self) -> str:
        """Its highest severity."""
        return SEVERITIES[self.severity]


def fold(messages: Iterable[Message]) -> dict[str, Case]:
    """Gather messages by case; those of one case come in their order. A repeated message counts once."""
    cases: dict[str, Case] = {}
    seen: set[str] = set()
    for message in messages:
        if message.id in seen:
            continue
        seen.add(message.id)
        began = str(message.body.get("first_time") or message.body.get("event_time") or "")
        case = cases.setdefault(message.case, Case(id=message.case, entity=message.entity, first_time=began))
        case.add(message)
    return cases
