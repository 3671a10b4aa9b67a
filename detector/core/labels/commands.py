"""Feedback records, read and checked: what somebody wants, or in words why it cannot be understood.

A record names an event by `alert_id`, `case_id`, coordinates (`topic`, `partition`, `offset`) or `event_id`;
one of kind `model` names a `partition` only. Alert ids and case ids are coordinates: TOPIC-PARTITION-OFFSET.
Where several are given, the first of this order decides, and coordinates that contradict each other are
refused. A record of kind `erase` may name the value of a main entity instead, by `entity`.

Case, spaces, hyphens and one wrong letter are forgiven in kinds and labels, as long as one known word is
meant (`KINDS`, `LABELS`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec

from detector.core.codes import CODES
from detector.core.events import key_text, read_time
from detector.core.model.versions import ACTIONS

TEXT_CHARS_MAX = 1024  # of an id or a name
RECORD_BYTES_MAX = 64 * TEXT_CHARS_MAX

# What each kind of record is called, and other words for it. docs/reference/feedback.md has the same table.
KINDS: Mapping[str, tuple[str, ...]] = {
    "label": ("label", "answer", "verdict"),
    "retract_label": ("retract_label", "retract", "unlabel"),
    "snooze": ("snooze", "mute"),
    "unsnooze": ("unsnooze", "unmute"),
    "note": ("note", "comment"),
    "assign": ("assign",),
    "close": ("close",),
    "erase": ("erase",),
    "model": ("model",),
}
LABELS: Mapping[str, tuple[str, ...]] = {
    "fraud": ("fraud", "fraudulent", "confirmed_fraud", "fraud_confirmed", "is_fraud", "true_positive"),
    "legitimate": (
        "legitimate",
        "legit",
        "genuine",
        "normal",
        "benign",
        "not_fraud",
        "no_fraud",
        "non_fraud",
        "false_positive",
        "false_alarm",
    ),
    "retracted": ("retracted", "retract", "withdrawn"),
}
_TYPO_CHARS_MIN = 5  # shorter words must be right: one letter changes their meaning
_PLACE = re.compile(r"(.{1,249})-(\d{1,10})-(\d{1,20})", re.DOTALL)
_SHOWN_CHARS = 40  # of a value in a sentence


class Place(NamedTuple):
    """Coordinates of an event's record."""

    topic: str | None  # None: that of the transactions
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic or 'transactions'}-{self.partition}-{self.offset}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Echo:
    """What a receipt repeats of its record, as far as it could be read."""

    kind: str | None = None
    feedback_id: str | None = None
    actor: str | None = None
    time: float | None = None  # s since the epoch


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A record that was understood."""

    echo: Echo
    kind: str  # a key of KINDS
    time: float  # s since the epoch
    label: str | None = None  # of a label: fraud or legitimate; retracted for retract_label
    place: Place | None = None
    names: str = "coordinates"  # what decides: alert_id, case_id, coordinates, event_id or entity
    event_id: str | None = None
    entity: str | None = None  # of an erase: value of the main entity, where nothing else is named
    code: str | None = None  # of snooze and unsnooze: one of `CODES`; of close: why
    until: float | None = None  # of a snooze, s since the epoch
    partition: int | None = None  # of a model: whose it is
    action: str | None = None  # of a model: one of `ACTIONS`
    version: int | None = None  # of a model: of its encoder


@dataclass(frozen=True, kw_only=True, slots=True)
class Malformed:
    """A record that was not understood."""

    echo: Echo
    outcome: str  # malformed or unknown_kind
    why: str  # in words


class _Wrong(Exception):
    def __init__(self, why: str, outcome: str = "malformed") -> None:
        super().__init__(why)
        self.why, self.outcome = why, outcome


def read_command(raw: bytes) -> Command | Malformed:
    """Parse one record. Unknown keys are ignored, because producers add fields of their own."""
    echo = Echo()
    try:
        document = _document(raw)
        echo = _echo(document)
        return _command(document, echo)
    except _Wrong as wrong:
        return Malformed(echo=echo, outcome=wrong.outcome, why=wrong.why)


def feedback_time(raw: bytes) -> float | None:
    """Time of a feedback record, s since the epoch; None if it is missing or malformed."""
    try:
        return _seconds(msgspec.json.decode(raw)["time"])
    except (msgspec.DecodeError, RecursionError, LookupError, TypeError, ValueError):
        return None


def known_word(text: str, table: Mapping[str, tuple[str, ...]]) -> str | None:
    """The key of a table that a word stands for; None: it is none, or there is doubt."""
    word = re.sub(r"[\s\-_]+", "_", text.strip().casefold())
    exact = [key for key, words in table.items() if word in words]
    if exact or len(word) < _TYPO_CHARS_MIN:
        return exact[0] if exact else None
    near = {key for key, words in table.items() if any(_one_edit(word, known) for known in words)}
    return near.pop() if len(near) == 1 else None


def _document(raw: bytes) -> dict[str, Any]:
    if len(raw) > RECORD_BYTES_MAX:
        raise _Wrong(f"it has {len(raw):,} bytes, at most {RECORD_BYTES_MAX:,} are allowed")
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _Wrong("it is not JSON in UTF-8") from None
    except RecursionError:
        raise _Wrong("its JSON is nested too deeply") from None
    if not isinstance(document, dict):
        raise _Wrong("it is not a JSON object")
    return document


def _echo(document: dict[str, Any]) -> Echo:
    kind = document.get("kind")
    feedback_id, actor = document.get("feedback_id"), document.get("actor")
    return Echo(
        kind=(known_word(kind, KINDS) or kind[:_SHOWN_CHARS]) if isinstance(kind, str) else None,
        feedback_id=feedback_id[:TEXT_CHARS_MAX] if isinstance(feedback_id, str) else None,
        actor=actor[:TEXT_CHARS_MAX] if isinstance(actor, str) else None,
        time=_seconds(document.get("time")),
    )


def _command(document: dict[str, Any], echo: Echo) -> Command:
    kind = _kind(document)
    label = None
    if kind == "label":
        label = _label(document)
        kind = "retract_label" if label == "retracted" else kind
    elif kind == "retract_label":
        label = "retracted"
    for name in ("feedback_id", "actor"):
        _text(document, name)
    if echo.time is None:
        raise _Wrong(_unread("time", document.get("time"), "ISO 8601, or seconds or milliseconds since 1970"))
    if kind == "model":
        return _model(document, echo)
    place, names = _place(document)
    event_id = key_text(document.get("event_id"))
    if event_id is None and document.get("event_id") is not None:
        raise _Wrong(_unread("event_id", document["event_id"], "text or a whole number"))
    entity = None
    if place is None and event_id is None:
        entity = _entity(kind, document)
        names = "entity"
    _check_content(kind, document)
    return Command(
        echo=Echo(kind=kind, feedback_id=echo.feedback_id, actor=echo.actor or None, time=echo.time),
        kind=kind,
        time=echo.time,
        label=label,
        place=place,
        names=names,
        event_id=event_id,
        entity=entity,
        code=_code(kind, document),
        until=_until(document, echo.time) if kind == "snooze" else None,
    )


def _model(document: dict[str, Any], echo: Echo) -> Command:
    """What an operator wants of a partition's encoder."""
    assert echo.time is not None
    partition, version = _number(document, "partition"), _number(document, "version")
    if partition is None:
        raise _Wrong(_unread("partition", None, "that of the model"))
    given = document.get("action")
    action = known_word(given, {name: (name,) for name in ACTIONS}) if isinstance(given, str) else None
    if action is None:
        raise _Wrong(_unread("action", given, f"one of {', '.join(ACTIONS)}"))
    if action == "hold" and version is not None:
        raise _Wrong("a hold holds what serves, so it names no version")
    return Command(
        echo=replace(echo, kind="model", actor=echo.actor or None),
        kind="model",
        time=echo.time,
        names="partition",
        partition=partition,
        action=action,
        version=version,
    )


def _kind(document: dict[str, Any]) -> str:
    given = document.get("kind")
    if given is None:
        return "label"
    known = known_word(given, KINDS) if isinstance(given, str) else None
    if known is None:
        raise _Wrong(_unread("kind", given, f"one of {', '.join(KINDS)}"), "unknown_kind")
    return known


def _label(document: dict[str, Any]) -> str:
    given = document.get("label")
    known = known_word(given, LABELS) if isinstance(given, str) else None
    if known is None:
        raise _Wrong(_unread("label", given, f"one of {', '.join(LABELS)}"))
    return known


def _check_content(kind: str, document: dict[str, Any]) -> None:
    """Check what only some kinds need."""
    needed = {"note": ("note", "text"), "assign": ("assignee",), "close": ("code", "reason")}.get(kind, ())
    if needed and not any(_text(document, name, RECORD_BYTES_MAX) for name in needed):
        raise _Wrong(f"a record of kind {kind} needs {' or '.join(needed)}, which is a text")


def _code(kind: str, document: dict[str, Any]) -> str | None:
    given = _text(document, "code") or _text(document, "reason")
    if given is None or kind not in ("snooze", "unsnooze"):
        return given
    known = known_word(given, {code: (code,) for code in CODES})
    if known is None:
        raise _Wrong(_unread("code", given, f"one of {', '.join(CODES)}, or none for all alerts"))
    return known


def _until(document: dict[str, Any], time: float) -> float:
    until = _seconds(document.get("until"))
    if until is None:
        raise _Wrong(_unread("until", document.get("until"), "the event time at which the snooze ends"))
    if until <= time:
        raise _Wrong("until is not after time")
    return until


def _entity(kind: str, document: dict[str, Any]) -> str:
    """Value of the main entity that a record names, which names no event."""
    given = document.get("entity") if kind == "erase" else None
    entity = key_text(given)
    if given is not None and (entity is None or len(entity) > TEXT_CHARS_MAX):
        raise _Wrong(f"entity is no text of at most {TEXT_CHARS_MAX:,} characters, and no whole number")
    if entity is None:
        others = ", or entity" if kind == "erase" else ""
        raise _Wrong(f"it names no event: alert_id, case_id, event_id, or partition and offset{others}")
    return entity


def place_of(id_: str) -> Place | None:
    """Coordinates that an alert id or a case id stands for; None: it is none."""
    matched = _PLACE.fullmatch(id_)
    return None if matched is None else Place(matched[1], int(matched[2]), int(matched[3]))


def _place(document: dict[str, Any]) -> tuple[Place | None, str]:
    """The coordinates that a record names, and by which of its keys."""
    found: dict[str, Place] = {}
    for name in ("alert_id", "case_id"):
        given = _text(document, name)
        if given is None:
            continue
        place = place_of(given)
        if place is None:
            raise _Wrong(_unread(name, given, "TOPIC-PARTITION-OFFSET, as in the alert"))
        found[name] = place
    partition, offset = _number(document, "partition"), _number(document, "offset")
    if partition is not None and offset is not None:
        found["coordinates"] = Place(_text(document, "topic"), partition, offset)
    elif not found and (partition, offset) != (None, None) and document.get("event_id") is None:
        raise _Wrong("partition and offset name an event only together")
    for name in ("alert_id", "case_id", "coordinates"):
        if name in found:
            _check_same(found)
            return found[name], name
    return None, "event_id"


def _check_same(found: Mapping[str, Place]) -> None:
    """An alert and its coordinates must be the same record; a case may have begun with another one."""
    alert, coordinates = found.get("alert_id"), found.get("coordinates")
    if alert is not None and coordinates is not None and alert[1:] != coordinates[1:]:
        raise _Wrong(f"alert_id names record {alert}, partition and offset name another one")


def _text(document: dict[str, Any], name: str, chars_max: int = TEXT_CHARS_MAX) -> str | None:
    given = document.get(name)
    if given is None:
        return None
    if not isinstance(given, str) or len(given) > chars_max:
        raise _Wrong(_unread(name, given, f"a text of at most {chars_max:,} characters"))
    return given


def _number(document: dict[str, Any], name: str) -> int | None:
    given = document.get(name)
    if isinstance(given, str) and re.fullmatch(r"\d{1,20}", given):
        given = int(given)
    if given is None:
        return None
    if type(given) is not int or given < 0:
        raise _Wrong(_unread(name, given, "a whole number from 0 on"))
    return given


def _seconds(time: Any) -> float | None:
    return read_time(time) if isinstance(time, str | int | float) and not isinstance(time, bool) else None


def _unread(name: str, given: Any, wanted: str) -> str:
    if given is None:
        return f"{name} is missing: {wanted}"
    if isinstance(given, str):
        shown = ascii(given[:_SHOWN_CHARS]) + ("..." if len(given) > _SHOWN_CHARS else "")
    else:
        shown = f"a value of type {type(given).__name__}"
    return f"{name} is {shown}, expected {wanted}"


def _one_edit(word: str, known: str) -> bool:
    """Whether one letter added, left out or replaced, or two neighbours exchanged, make one of the other."""
    short, long = sorted((word, known), key=len)
    if len(long) - len(short) > 1 or len(known) < _TYPO_CHARS_MIN:
        return False
    start = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(short) != len(long):
        return short[start:] == long[start + 1 :]
    exchanged = word[:start] + word[start + 1 : start + 2] + word[start : start + 1] + word[start + 2 :]
    return word[start + 1 :] == known[start + 1 :] or exchanged == known
