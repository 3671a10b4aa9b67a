"""What does not fit into a message is cut."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from detector.core.records import Headers
from detector.ports import Message

MESSAGE_BYTES_MAX = 1_000_000  # key, value and headers; message.max.bytes (1,048,588) has room to frame it
_HEADER_FRAME_BYTES = 8  # the two lengths beside each header, at most
_NOTES_BYTES = 256  # room for the headers that tell of cuts
_FACTS_MAX = 16  # detector_* headers of a dead letter, the last ones: ours come after the record's own ...
_FACT_BYTES_MAX = 4096  # ... and are short (the detail has 1,024 characters)
_TRACE_BYTES_MAX = {
    "traceparent": 64,
    "tracestate": 512,
}  # W3C: the first has 55, of the second so many count


def fitted(message: Message, *, dead_letter: bool) -> Message:
    """Make a message as Kafka can take it: one that never fits would fail every commit (see `commit`)."""
    if message.key is None and message.value is None:
        message = replace(message, value=b"")
    if not dead_letter:
        message = replace(message, headers=_short_traces(message.headers))
    if _room(message.key, message.value, message.headers) >= 0:
        return message
    return _cut_dead_letter(message) if dead_letter else _cut_output(message)


def _room(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes that are left; negative: too large."""
    size = len(key or b"") + len(value or b"")
    size += sum(len(name.encode()) + len(text) + _HEADER_FRAME_BYTES for name, text in headers)
    return MESSAGE_BYTES_MAX - size


def _cut_dead_letter(message: Message) -> Message:
    """Give the room to our facts first, then to the key, the record's own headers, and the value."""
    key, value, headers = message.key, message.value, message.headers
    facts = tuple(
        (name, text)
        for name, text in headers
        if name.startswith("detector_") and len(name) + len(text) <= _FACT_BYTES_MAX
    )[-_FACTS_MAX:]
    notes: Headers = ()
    room = _room(None, None, facts) - _NOTES_BYTES
    if key is not None and len(key) > room:
        notes += (("detector_key_cut_from_bytes", _digits(len(key))),)
        key = key[:room]
    if _room(key, None, headers) < _NOTES_BYTES:
        notes += (("detector_headers_cut", _digits(len(headers) - len(facts))),)
        headers = facts
    room = _room(key, None, headers) - _NOTES_BYTES
    if value is not None and len(value) > room:
        notes = (("detector_cut_from_bytes", _digits(len(value))), *notes)
        value = value[:room]
    return replace(message, key=key, value=value, headers=headers + notes)


def _cut_output(message: Message) -> Message:
    """Leave out the event that an alert echoes; the rest of it is short. Then the key."""
    key, value, headers = message.key, message.value, message.headers
    body = msgspec.json.decode(value or b"{}", type=dict[str, msgspec.Raw])  # members stay as they are
    if "event" in body:
        headers += (("detector_event_cut", _digits(len(value or b""))),)
        value = msgspec.json.encode(body | {"event": msgspec.Raw(b"{}")})
    room = _room(None, value, headers) - _NOTES_BYTES
    if key is not None and len(key) > room:
        headers += (("detector_key_cut_from_bytes", _digits(len(key))),)
        key = key[: max(0, room)]
    return replace(message, key=key, value=value, headers=headers)


def _short_traces(headers: Headers) -> Headers:
    """Leave out trace headers that are longer than W3C has them, each or together."""
    room = dict(_TRACE_BYTES_MAX)
    kept = []
    for name, text in headers:
        kind = name.lower()
        if kind in room:
            if len(text) > room[kind]:
                continue
            room[kind] -= len(text) + 1  # several count as one, joined by a comma
        kept.append((name, text))
    return tuple(kept)


def _digits(number: int) -> bytes:
    return str(number).encode()
