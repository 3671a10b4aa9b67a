"""An alert as people and programs receive it: a CloudEvent in Kafka's binary mode.

`detector/schemas/alert.v1.json` describes the body. Headers follow the CloudEvents Kafka binding 1.0.2. Ids
are made from topic, partition and offset, so a consumer can drop duplicates.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from detector.core.alerts.explain import Reason
from detector.core.alerts.policy import Published
from detector.core.alerts.score_record import iso
from detector.core.alerts.severity import SEVERITIES
from detector.core.events import ParsedEvent, View
from detector.core.records import Alert, Headers, Identity

TYPE = "detector.alert.v1"
SCHEMA_VERSION = 1
DATA_SCHEMA = "urn:detector:schema:alert.v1"
TRACE_BYTES_MAX = 512
_CONTROLS = ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp")  # also bidirectional marks and line separators
Echo = Literal["declared", "all", "coordinates"]


def alert_id(identity: Identity, offset: int) -> str:
    """Deterministic id of the alert about the record at `offset`."""
    return f"{identity.topic}-{identity.partition}-{offset}"


def cloud_event(
    identity: Identity, *, id_: str, type_: str, subject: str, time: float, schema: str
) -> Headers:
    """Attributes of a CloudEvent as headers.

    Parameters
    ----------
    subject
        Any text; control characters are replaced.
    time
        s since the epoch.
    schema
        URN of the body's JSON schema.
    """
    attributes = (
        ("ce_specversion", "1.0"),
        ("ce_id", id_),
        ("ce_source", f"/detector/{identity.group}"),
        ("ce_type", type_),
        ("ce_subject", plain_text(subject)),
        ("ce_time", iso(time)),
        ("ce_dataschema", schema),
        ("content-type", "application/json"),
    )
    return tuple((name, text.encode()) for name, text in attributes)


def make_alert(
    identity: Identity,
    event: ParsedEvent,
    view: View,
    decision: Published,
    *,
    exposure: float | None,
    main_name: str | None,
    score: dict[str, Any],
    echo: Echo,
    reasons: Sequence[Reason],
    facts: Mapping[str, Any],
    model: dict[str, Any],
) -> Alert:
    """Make an alert.

    Parameters
    ----------
    main_name
        Name of the main entity; None without one.
    score, model
        The body's fields of these names, as the schema has them.
    facts
        Further fields of the body: `summary`, `facts`, `recent`, `usual`; more of `at_risk` and `case`; and
        those that the parts of the score add, `exemplars` and `cluster`.
    echo
        What of the event is in the alert: `alerts.echo`.
    """
    offset = event.record.offset
    id_, severity = alert_id(identity, offset), SEVERITIES[decision.severity]
    body = {
        "schema_version": SCHEMA_VERSION,
        "alert_id": id_,
        "case_id": alert_id(identity, decision.case.case),
        "severity": severity,
        "selection": decision.selection,
        "event_id": event.id,
        "event_time": iso(event.time),
        "entity": None if view.main is None else {"name": main_name, "value": view.main},
        "entities": dict(view.entities),
        "context": {} if echo == "coordinates" else dict(view.carried),
        "exposure": exposure,
        "score": {**score, "severity": severity},
        "reasons": [msgspec.to_builtins(reason) for reason in reasons],
        **facts,
        "at_risk": {**facts["at_risk"], "case": decision.case.sum},
        "priority": decision.priority,
        "case": {
            "number": decision.case.events,
            "sum": decision.case.sum,
            "largest": decision.case.largest,
            **facts["case"],
        },
        "related": [alert_id(identity, first) for first in decision.case.related],
        "model": model,
        "source": {"topic": identity.topic, "partition": identity.partition, "offset": offset},
        "event": _echoed(view, echo),
    }
    subject = view.main or event.id
    headers = cloud_event(identity, id_=id_, type_=TYPE, subject=subject, time=event.time, schema=DATA_SCHEMA)
    return Alert(
        offset=offset,
        key=subject.encode(),
        headers=headers + traces(view),
        body=msgspec.json.encode(body),
        severity=severity,
    )


def plain_text(text: str) -> str:
    """A header's text without control characters, which consumers of headers do not expect."""
    return "".join("�" if unicodedata.category(sign) in _CONTROLS else sign for sign in text)


def traces(view: View) -> Headers:
    """The record's own trace context, where it is one: printable ASCII, of a length that the W3C allows."""
    return tuple(
        (name, value)
        for name, value in view.traces
        if len(value) <= TRACE_BYTES_MAX and all(32 <= byte < 127 for byte in value)
    )


def _echoed(view: View, echo: Echo) -> Any:
    if echo == "all":
        return msgspec.Raw(view.document)
    return dict(view.values) if echo == "declared" else None
