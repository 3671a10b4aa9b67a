"""A record of the topics of alerts and case updates, as what receivers are told of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from detector.core.alerts.severity import SEVERITIES
from detector.core.records import Record

TYPES = {"detector.alert.v1": "alert", "detector.case.updated.v1": "case"}
TEXT_CHARS_MAX = 1024  # of an attribute of the CloudEvent


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One alert or case update."""

    kind: str  # alert or case
    id: str
    type: str
    source: str
    subject: str
    time: str
    schema: str
    body: Mapping[str, Any]
    raw: bytes  # the body as it was published
    topic: str
    partition: int
    offset: int
    published_s: float  # since the epoch

    @property
    def severity(self) -> int:
        """Rank in SEVERITIES."""
        return SEVERITIES.index(self.body["severity"])

    @property
    def case(self) -> str:
        """Id of its case; its own id where it has none."""
        return str(self.body.get("case_id") or self.id)

    @property
    def entity(self) -> tuple[str, str] | None:
        """Kind and value of the main entity; None without one."""
        entity = self.body.get("entity")
        if not isinstance(entity, Mapping):
            return None
        return str(entity.get("name")), str(entity.get("value"))


def read_message(topic: str, partition: int, record: Record) -> Message | None:
    """Read a record; None if it is no alert and no case update."""
    headers = {name: text.decode("utf-8", "replace")[:TEXT_CHARS_MAX] for name, text in record.headers}
    type_ = headers.get("ce_type", "")
    if type_ not in TYPES or not record.value or not headers.get("ce_id"):
        return None
    try:
        body = msgspec.json.decode(record.value)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(body, dict) or body.get("severity") not in SEVERITIES:
        return None
    return Message(
        kind=TYPES[type_],
        id=headers["ce_id"],
        type=type_,
        source=headers.get("ce_source", "/detector"),
        subject=headers.get("ce_subject", ""),
        time=headers.get("ce_time", ""),
        schema=headers.get("ce_dataschema", ""),
        body=body,
        raw=record.value,
        topic=topic,
        partition=partition,
        offset=record.offset,
        published_s=record.timestamp_ms / 1000.0,
    )
