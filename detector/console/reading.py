"""Records of the topics as rows of the database; None: it is not what its topic should hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec

from detector.console.chips import chips
from detector.core.alerts.severity import SEVERITIES
from detector.core.codes import CODES
from detector.core.events import key_text, read_time
from detector.core.labels.commands import Malformed, read_command

Kind = Literal["alerts", "case_updates", "feedback", "receipts"]
KINDS: tuple[Kind, ...] = ("alerts", "case_updates", "feedback", "receipts")
TEXT_CHARS_MAX = 1024  # of an id, a name or an entity's value
SENTENCE_CHARS_MAX = 4096
NUMBER_MAX = 1 << 62  # SQLite's whole numbers have 64 bits
MARKS_MAX = 64  # of one alert
DETAIL = ("label", "code", "until", "note", "assignee")  # of a feedback record, beside who, when and what


class Told(NamedTuple):
    """One record of a topic."""

    kind: Kind
    topic: str
    partition: int
    offset: int
    at_s: float  # the record's time, s since the epoch
    value: bytes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertRow:
    """An alert, and what it is found by."""

    values: tuple[Any, ...]  # as the columns of `alerts`
    body: Mapping[str, Any]
    marks: Sequence[tuple[str, str]]  # kind and text: code, segment, entity, related


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What of the configuration alerts are read by."""

    segments: frozenset[str] = frozenset()  # fields of `context` to filter by
    exposure: str | None = None  # field of the amount at stake
    unit: str | None = None  # of it, where an alert does not say
    transactions: str = "transactions"  # name of the topic, part of ids of alerts


def body_of(value: bytes | None) -> Mapping[str, Any] | None:
    """The JSON object of a record; None: it is none."""
    if not value:
        return None
    try:
        body = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def read_alert(told: Told, wanted: Wanted) -> AlertRow | None:
    """Read an alert."""
    body = body_of(told.value)
    if body is None:
        return None
    id_, time_s = _text(body.get("alert_id")), _time(body.get("event_time"))
    severity = body.get("severity")
    if id_ is None or time_s is None or severity not in SEVERITIES:
        return None
    kind, value = _entity(body.get("entity"))
    values = (
        id_,
        told.at_s,
        _text(body.get("case_id")) or id_,
        _text(body.get("event_id")) or "",
        time_s,
        SEVERITIES.index(severity),
        *_totals(body),
        _unit(body, wanted),
        kind,
        value,
        _headline(body, kind, value),
        msgspec.json.encode(chips(body)).decode(),
    )
    return AlertRow(values=values, body=body, marks=list(dict.fromkeys(_marks(body, wanted)))[:MARKS_MAX])


def read_update(told: Told) -> tuple[tuple[Any, ...], Mapping[str, Any]] | None:
    """Read a case update: values as the columns of `updates`, and its body."""
    body = body_of(told.value)
    if body is None:
        return None
    id_, case_id = _text(body.get("update_id")), _text(body.get("case_id"))
    first_s, last_s = _time(body.get("first_time")), _time(body.get("last_time"))
    severity = body.get("severity")
    if id_ is None or case_id is None or first_s is None or last_s is None or severity not in SEVERITIES:
        return None
    kind, value = _entity(body.get("entity"))
    values = (
        id_,
        told.at_s,
        case_id,
        first_s,
        last_s,
        SEVERITIES.index(severity),
        *_totals(body),
        kind,
        value,
    )
    return values, body


def read_receipt(told: Told) -> tuple[Any, ...] | None:
    """Read a receipt: values as the columns of `receipts`."""
    body = body_of(told.value)
    if body is None:
        return None
    feedback, decided = _mapping(body.get("feedback")), _mapping(body.get("decided"))
    position, line = feedback.get("position"), feedback.get("line")
    if type(line) is int:  # of a replay, whose positions are those of the sorted file
        position = line - 1
    status, outcome = body.get("status"), _text(body.get("outcome"))
    if type(position) is not int or not 0 <= position < NUMBER_MAX:
        return None
    if status not in ("applied", "declined", "malformed") or outcome is None:
        return None
    learned = body.get("learned")
    return (
        f"{position}/{decided.get('partition', 0)}",
        told.at_s,
        position,
        status,
        outcome,
        str(body.get("text") or "")[:SENTENCE_CHARS_MAX],
        msgspec.json.encode(learned).decode() if isinstance(learned, Mapping) else None,
    )


def read_act(told: Told, wanted: Wanted) -> tuple[Any, ...] | None:
    """Read a feedback record: values as the columns of `acts`. One that is not understood is an act, too.

    The events of a record are named by `alert_id`, whichever way it names its place: ids of alerts are
    places.
    """
    if told.value is None:
        return None
    read = read_command(told.value)
    body = body_of(told.value) or {}
    echo = read.echo
    case_id = alert_id = event_id = entity = None
    if not isinstance(read, Malformed):
        event_id, entity = read.event_id, read.entity
        if read.names == "case_id":
            case_id = _text(body.get("case_id"))
        elif read.place is not None:
            place = read.place if read.place.topic else read.place._replace(topic=wanted.transactions)
            alert_id = _text(body.get("alert_id")) or str(place)
    detail = {name: _detail(body.get(name)) for name in DETAIL if body.get(name) is not None}
    if not isinstance(read, Malformed):
        detail |= {"label": read.label} if read.label is not None else {}
        detail |= {"code": read.code} if read.code is not None else {}
        detail |= {"until": read.until} if read.until is not None else {}
    return (
        told.offset,
        told.at_s,
        echo.feedback_id,
        (read.kind if not isinstance(read, Malformed) else echo.kind) or "label",
        echo.actor,
        echo.time if echo.time is not None else told.at_s,
        case_id,
        alert_id,
        None if case_id or alert_id else event_id,
        entity,
        msgspec.json.encode(detail).decode(),
        read.why if isinstance(read, Malformed) else None,
    )


def sniff(value: bytes) -> Kind | None:
    """What a line of a file is: None for anything else."""
    body = body_of(value) or {}
    if "receipt_id" in body:
        return "receipts"
    if "update_id" in body:
        return "case_updates"
    if "alert_id" in body and "severity" in body:
        return "alerts"
    return "feedback" if "time" in body and ({"label", "kind"} & body.keys()) else None


def time_of(kind: Kind, value: bytes) -> float:
    """When something in a file was told, s since the epoch: files have no times of records."""
    body = body_of(value) or {}
    source = _mapping(body.get("decided")) if kind == "receipts" else body
    names = {
        "alerts": "event_time",
        "case_updates": "last_time",
        "receipts": "event_time",
        "feedback": "time",
    }
    return _time(source.get(names[kind])) or 0.0


def _marks(body: Mapping[str, Any], wanted: Wanted) -> Iterable[tuple[str, str]]:
    for one in (*_list(body.get("facts")), *_list(body.get("reasons"))):
        code = _mapping(one).get("code")
        if code in CODES:
            yield "code", code
    for name, value in _mapping(body.get("context")).items():
        if name in wanted.segments and isinstance(value, str | int | float):
            yield "segment", f"{name}={str(value)[:TEXT_CHARS_MAX]}"
    kind, _ = _entity(body.get("entity"))
    for name, value in _mapping(body.get("entities")).items():
        if name != kind and isinstance(value, str) and value:
            yield "entity", f"{name}={value[:TEXT_CHARS_MAX]}"
    for other in _list(body.get("related"))[:8]:
        if isinstance(other, str) and len(other) <= TEXT_CHARS_MAX:
            yield "related", other


def _totals(body: Mapping[str, Any]) -> tuple[float, int, float | None, float | None]:
    """Priority, and of the case so far how many events, the sum and the largest of their amounts."""
    case = _mapping(body.get("case"))
    sum_, largest = _number(case.get("sum")), _number(case.get("largest"))
    return _number(body.get("priority")) or 0.0, _count(case.get("number")), sum_, largest


def _unit(body: Mapping[str, Any], wanted: Wanted) -> str | None:
    for reason in map(_mapping, _list(body.get("reasons"))):
        if reason.get("field") == wanted.exposure and isinstance(reason.get("unit"), str):
            return str(reason["unit"])[:64]
    return wanted.unit


def _headline(body: Mapping[str, Any], kind: str | None, value: str | None) -> str:
    said = _mapping(body.get("summary")).get("headline")
    if isinstance(said, str) and said:
        return said[:SENTENCE_CHARS_MAX]
    return f"{kind} {value}" if kind is not None else f"event {body.get('event_id')}"[:SENTENCE_CHARS_MAX]


def _entity(entity: Any) -> tuple[str | None, str | None]:
    if not isinstance(entity, Mapping):
        return None, None
    name, value = key_text(entity.get("name")), key_text(entity.get("value"))
    return (None, None) if name is None or value is None else (name[:TEXT_CHARS_MAX], value[:TEXT_CHARS_MAX])


def _detail(value: Any) -> Any:
    if isinstance(value, str):
        return value[:SENTENCE_CHARS_MAX]
    return value if isinstance(value, int | float) else str(value)[:SENTENCE_CHARS_MAX]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= TEXT_CHARS_MAX else None


def _time(value: Any) -> float | None:
    return read_time(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _count(value: Any) -> int:
    return value if type(value) is int and 0 < value < NUMBER_MAX else 1


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
