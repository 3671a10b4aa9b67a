"""Requests for receivers over HTTP.

| kind | format |
|---|---|
| webhook | CloudEvents 1.0, structured or batched mode; signed as Standard Webhooks 1.0 says |
| slack | incoming webhooks: one text, with its three special characters escaped |
| pagerduty | Events API v2: a case is an incident (`dedup_key`) |
| alertmanager | API v2: the labels are few and bounded, the words are annotations |
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from detector.notify.message import Message
from detector.notify.texts import details, line, title, together

PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
SLACK_CHARS_MAX = 30_000
SUMMARY_CHARS_MAX = 1024  # of PagerDuty
BATCH_MAX = 100
_PAGERDUTY_SEVERITY = {"low": "info", "medium": "warning", "high": "error", "critical": "critical"}
_WHSEC = "whsec_"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """The body and the headers of one request."""

    body: bytes
    headers: Mapping[str, str]


Build = Callable[[Sequence[Message], float], Request]
"""Makes the request of messages that are sent at a time, s since the epoch."""


def webhook(key: str | None) -> Build:
    """Build CloudEvents, signed with `key` unless it is None."""

    def build(messages: Sequence[Message], sent_s: float) -> Request:
        events = [_cloud_event(message) for message in messages]
        one = len(events) == 1
        body = msgspec.json.encode(events[0] if one else events)
        kind = "application/cloudevents+json" if one else "application/cloudevents-batch+json"
        headers = {"Content-Type": kind}
        if key is not None:
            headers |= signature(key, line(messages[0].id), int(sent_s), body)
        return Request(body=body, headers=headers)

    return build


def signature(key: str, id_: str, time_s: int, body: bytes) -> dict[str, str]:
    """Headers of Standard Webhooks 1.0 (github.com/standard-webhooks): HMAC-SHA-256 of id, time and body.

    A key that begins with `whsec_` is base64, as that document has it; any other is taken as it is.
    """
    secret = key.encode()
    if key.startswith(_WHSEC):
        with suppress(Base64Error):
            secret = base64.b64decode(key.removeprefix(_WHSEC), validate=True)
    digest = hmac.new(secret, f"{id_}.{time_s}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(time_s),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def slack(messages: Sequence[Message], sent_s: float) -> Request:
    """Build a message of Slack's incoming webhooks."""
    if len(messages) == 1:
        lines = [f"*{_escaped(title(messages[0]))}*", *map(_escaped, details(messages[0]))]
    else:
        lines = [f"*{_escaped(together(messages))}*"]
        lines += [f"{_escaped(title(one))} ({_escaped(line(one.case))})" for one in messages]
    return _json({"text": "\n".join(lines)[:SLACK_CHARS_MAX]})


def pagerduty(key: str) -> Build:
    """Build an event of PagerDuty; `key`: its routing key."""

    def build(messages: Sequence[Message], sent_s: float) -> Request:
        [message] = messages
        entity = message.entity
        return _json(
            {
                "routing_key": key,
                "event_action": "trigger",
                "dedup_key": line(message.case),
                "payload": {
                    "summary": line(title(message), SUMMARY_CHARS_MAX),
                    "source": line(message.source),
                    "severity": _PAGERDUTY_SEVERITY[message.body["severity"]],
                    "timestamp": _iso(message.published_s),
                    "component": None if entity is None else line(entity[0]),
                    "class": message.type,
                    "custom_details": {"id": line(message.id), "details": details(message)},
                },
            }
        )

    return build


def alertmanager(resolves_s: float) -> Build:
    """Build alerts of Alertmanager that resolve `resolves_s` after they were sent."""

    def build(messages: Sequence[Message], sent_s: float) -> Request:
        return _json(
            [
                {
                    "labels": {
                        "alertname": "DetectorAlert",
                        "severity": message.body["severity"],
                        "case": line(message.case),
                        "source": line(message.source),
                        **({} if message.entity is None else {"entity": line(message.entity[0])}),
                    },
                    "annotations": {"summary": title(message), "description": "\n".join(details(message))},
                    "startsAt": _iso(message.published_s),
                    "endsAt": _iso(sent_s + resolves_s),
                }
                for message in messages
            ]
        )

    return build


def _cloud_event(message: Message) -> dict[str, Any]:
    event = {
        "specversion": "1.0",
        "id": line(message.id),
        "source": line(message.source),
        "type": message.type,
        "subject": line(message.subject),
        "time": line(message.time),
        "dataschema": line(message.schema),
        "datacontenttype": "application/json",
    }
    present = {name: value for name, value in event.items() if value}
    return present | {"data": msgspec.Raw(message.raw)}


def _json(document: object) -> Request:
    return Request(body=msgspec.json.encode(document), headers={"Content-Type": "application/json"})


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
