"""Receipts: what became of each feedback record, one for every record.

`detector/schemas/receipt.v1.json` describes the body. A receipt is made at the barrier that decides the
record, and published in the commit of that barrier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from detector.core.labels.commands import Command, Echo, Place
from detector.core.model.versions import ACTIONS, UNKNOWN
from detector.core.records import Identity, Receipt

TYPE = "detector.receipt.v1"
SCHEMA_VERSION = 1
DATA_SCHEMA = "urn:detector:schema:receipt.v1"
WAITING_CHARS_MAX = 64  # of an actor's name, while a record waits
EVENTS_MAX = 100  # events of a case that a receipt lists; it counts all of them

STATUSES: Mapping[str, str] = {
    "applied": "applied",
    "retracted": "applied",
    "snoozed": "applied",
    "unsnoozed": "applied",
    "noted": "applied",
    "assigned": "applied",
    "closed": "applied",
    "erased": "applied",
    **dict.fromkeys(ACTIONS.values(), "applied"),
    "duplicate": "declined",
    "rate_limited": "declined",
    "contradicts": "declined",
    "forgotten": "declined",
    "unknown_alert": "declined",
    "unknown_event": "declined",
    "unknown_entity": "declined",
    UNKNOWN: "declined",
    "unsupported": "declined",
    "unknown_kind": "malformed",
    "malformed": "malformed",
}
"""Status of a receipt, by its outcome."""

OUTCOMES = tuple(STATUSES)
"""What becomes of a feedback record."""


class Answered(NamedTuple):
    """One event that a record answered."""

    offset: int
    before: str | None  # its label before the record; None: it had none
    after: str | None
    outcome: str


@dataclass(kw_only=True, slots=True)
class Draft:
    """A receipt before its barrier is done."""

    position: int  # of the record in the feedback topic
    echo: Echo
    outcome: str
    text: str  # why, in one sentence
    place: Place | None = None
    names: str = ""
    events: Sequence[Answered] = ()
    dropped: Mapping[str, int] | None = None  # of an erase: how much, by what it was


@dataclass(frozen=True, kw_only=True, slots=True)
class Barrier:
    """What a receipt says of the barrier that decided it."""

    position: int
    event_time: float  # s since the epoch; -inf before the first event
    learned: Mapping[str, Sequence[float]] = field(default_factory=dict)  # before and after, by what changed


def answered(command: Command, events: Sequence[Answered]) -> tuple[str, str]:
    """Outcome and sentence of a label, from what became of its events."""
    done = [event for event in events if STATUSES[event.outcome] == "applied"]
    left = [event for event in events if STATUSES[event.outcome] != "applied"]
    outcome = done[0].outcome if done else left[0].outcome
    if not done:
        return outcome, ""
    what = "The label was taken back" if command.label == "retracted" else f"The label {command.label} counts"
    count = "the event" if len(done) == 1 else f"{len(done)} events of the case"
    text = f"{what} for {count}." if command.label != "retracted" else f"{what} from {count}."
    if left:
        text += f" It was not applied to {len(left)} of the case's events: {left[0].outcome}."
    return outcome, text


def make_receipt(draft: Draft, identity: Identity, barrier: Barrier) -> Receipt:
    """Write a receipt: CloudEvents binary mode, as an alert."""
    id_ = f"{identity.topic}-feedback-{draft.position}"
    here = {"topic": identity.topic, "partition": identity.partition}
    taught = any(STATUSES[event.outcome] == "applied" for event in draft.events)
    body = {
        "schema_version": SCHEMA_VERSION,
        "receipt_id": id_,
        "status": STATUSES[draft.outcome],
        "outcome": draft.outcome,
        "text": draft.text,
        "feedback": {
            "position": draft.position,
            "feedback_id": draft.echo.feedback_id,
            "kind": draft.echo.kind,
            "actor": draft.echo.actor,
            "time": _iso(draft.echo.time),
        },
        "named": None if draft.place is None else {"by": draft.names, "id": str(draft.place)},
        "events_count": len(draft.events),
        "events": [
            {
                "source": {**here, "offset": event.offset},
                "outcome": event.outcome,
                "label_before": event.before,
                "label_after": event.after,
            }
            for event in draft.events[:EVENTS_MAX]
        ],
        "dropped": None if draft.dropped is None else dict(draft.dropped),
        "learned": {name: list(values) for name, values in barrier.learned.items()} if taught else None,
        "decided": {**here, "offset": barrier.position, "event_time": _iso(barrier.event_time)},
    }
    headers = [
        ("ce_specversion", "1.0"),
        ("ce_id", id_),
        ("ce_source", f"/detector/{identity.group}"),
        ("ce_type", TYPE),
        ("ce_dataschema", DATA_SCHEMA),
        ("content-type", "application/json"),
    ]
    return Receipt(
        offset=barrier.position - 1,
        key=(draft.echo.feedback_id or id_).encode(),
        headers=tuple((name, text.encode()) for name, text in headers),
        body=msgspec.json.encode(body),
    )


def date_of(seconds: float) -> str:
    """A day for people: 3 May 2026."""
    try:
        day = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return "an unknown day"
    return f"{day.day} {day:%B %Y}"


def _iso(seconds: float | None) -> str | None:
    """ISO 8601 in UTC; None also for what no calendar has."""
    if seconds is None:
        return None
    try:
        when = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return None
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def echo_to_json(echo: Echo) -> bytes:
    """An echo as it is kept while its record waits; of the actor's name only the beginning."""
    kept = replace(echo, actor=echo.actor and echo.actor[:WAITING_CHARS_MAX])
    return msgspec.json.encode(kept)


def echo_from_json(text: bytes) -> Echo:
    """Restore what `echo_to_json` returned."""
    fields: dict[str, Any] = msgspec.json.decode(text)
    return Echo(**fields)
