"""Messages around events: Debezium, Connect, CloudEvents, as the first events show them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

SHARE_MIN = 0.9  # of the sample; the rest may be tombstones or heartbeats
_OPERATIONS = frozenset("crudtm")
_EVENTS = frozenset("cur")

Open = Callable[[str, bytes], dict[str, Any] | None]
"""Gives the event inside of a message, by the name of its envelope; None: it is skipped or broken."""


def find_envelope(messages: Sequence[dict[str, Any]]) -> str:
    """The envelope that most messages have, as `event.envelope.type`; "" if there is none."""
    for name, has in _KINDS.items():
        if sum(map(has, messages)) >= SHARE_MIN * len(messages) > 0:
            return name
    return ""


def _is_change(message: dict[str, Any]) -> bool:
    return message.get("op") in _OPERATIONS and ("after" in message or "before" in message)


def _is_debezium(message: dict[str, Any]) -> bool:
    payload = message.get("payload")
    return _is_change(message) or (isinstance(payload, dict) and _is_change(payload))


def _is_connect(message: dict[str, Any]) -> bool:
    return message.keys() == {"schema", "payload"} and isinstance(message["schema"], dict)


def _is_cloudevent(message: dict[str, Any]) -> bool:
    return isinstance(message.get("specversion"), str) and {"id", "source", "type"} <= message.keys()


_KINDS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "debezium": _is_debezium,
    "connect": _is_connect,
    "cloudevents": _is_cloudevent,
}


def opened(name: str, message: dict[str, Any]) -> dict[str, Any] | None:
    """The event inside of a message; None: the message is skipped."""
    if name == "debezium":
        payload = message.get("payload")
        change = payload if isinstance(payload, dict) and "op" in payload else message
        event = change.get("after") if change.get("op") in _EVENTS else None
    elif name == "connect":
        event = message.get("payload")
    else:
        event = message.get("data")
    return event if isinstance(event, dict) else None


def said(name: str, message: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the envelope says that may be needed as id or time, by its path in the configuration."""
    if name == "debezium":
        payload = message.get("payload")
        change = payload if isinstance(payload, dict) and "op" in payload else message
        source = change.get("source")
        if isinstance(source, dict):
            yield "__source.ts_ms", source.get("ts_ms")
        yield "__ts_ms", change.get("ts_ms")
    elif name == "cloudevents":
        yield from ((f"ce_{key}", message.get(key)) for key in ("id", "time", "type", "source", "subject"))
