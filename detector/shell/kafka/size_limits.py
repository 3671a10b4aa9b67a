"""Cut messages to the size that Kafka takes.

A message that is too large would fail its commit, and every later attempt at it. So messages above
`MESSAGE_BYTES_MAX` are cut, and headers say what was cut:

- A dead letter loses the end of its value (`detector_cut_from_bytes`: the value's length before). If that is
  not enough, it loses the headers of the original record (`detector_headers_cut`: how many), and then the end
  of its key (`detector_key_cut_from_bytes`: the key's length before).
- An alert gets `{}` as its `event` (`detector_event_cut`: the body's length before). If that is not enough,
  and for any other output, the end of the key is cut.

Outputs also lose a traceparent or tracestate header that is longer than W3C allows.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from detector.core.records import Headers
from detector.ports import Message

MESSAGE_BYTES_MAX = 1_000_000  # key, value and headers; message.max.bytes (1,048,588) leaves room for framing
REQUEST_BYTES_MAX = MESSAGE_BYTES_MAX + 4096  # what a topic must accept

_HEADER_FRAME_BYTES = 8  # maximum size of the two lengths that Kafka writes with each header
_CUT_HEADERS_BYTES = 256  # reserved for the headers that say what was cut
# A dead letter keeps its last headers named detector_*, as ours follow those of the original record.
_OUR_HEADERS_MAX = 16
_OUR_HEADER_BYTES_MAX = 4096  # ours are shorter: the detail has at most 1,024 characters
# W3C Trace Context: a traceparent has 55 characters, and vendors must propagate 512 of a tracestate.
_TRACE_BYTES_MAX = {"traceparent": 64, "tracestate": 512}


def fitted(message: Message, *, dead_letter: bool) -> Message:
    """Return the message, cut to a size that Kafka takes.

    A message without key and value gets an empty value, as Kafka's client rejects it otherwise.
    """
    if message.key is None and message.value is None:
        message = replace(message, value=b"")
    if not dead_letter:
        message = replace(message, headers=_without_long_traces(message.headers))
    if _bytes_left(message.key, message.value, message.headers) >= 0:
        return message
    return _cut_dead_letter(message) if dead_letter else _cut_output(message)


def _bytes_left(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes left below the limit; negative when the message is too large."""
    size = len(key or b"") + len(value or b"")
    size += sum(len(name.encode()) + len(text) + _HEADER_FRAME_BYTES for name, text in headers)
    return MESSAGE_BYTES_MAX - size


def _cut_dead_letter(message: Message) -> Message:
    """Keep, in this order, our headers, the key, the original record's headers, and the value."""
    key, value, headers = message.key, message.value, message.headers
    ours = tuple(
        (name, text)
        for name, text in headers
        if name.startswith("detector_") and len(name) + len(text) <= _OUR_HEADER_BYTES_MAX
    )[-_OUR_HEADERS_MAX:]
    cuts: Headers = ()
    room = _bytes_left(None, None, ours) - _CUT_HEADERS_BYTES
    if key is not None and len(key) > room:
        cuts += (("detector_key_cut_from_bytes", _digits(len(key))),)
        key = key[:room]
    if _bytes_left(key, None, headers) < _CUT_HEADERS_BYTES:
        cuts += (("detector_headers_cut", _digits(len(headers) - len(ours))),)
        headers = ours
    room = _bytes_left(key, None, headers) - _CUT_HEADERS_BYTES
    if value is not None and len(value) > room:
        cuts = (("detector_cut_from_bytes", _digits(len(value))), *cuts)
        value = value[:room]
    return replace(message, key=key, value=value, headers=headers + cuts)


def _cut_output(message: Message) -> Message:
    """Drop the event that an alert repeats (the rest of an alert is short), then the end of the key."""
    key, value, headers = message.key, message.value, message.headers
    body = msgspec.json.decode(value or b"{}", type=dict[str, msgspec.Raw])  # members keep their bytes
    if "event" in body:
        headers += (("detector_event_cut", _digits(len(value or b""))),)
        value = msgspec.json.encode(body | {"event": msgspec.Raw(b"{}")})
    room = _bytes_left(None, value, headers) - _CUT_HEADERS_BYTES
    if key is not None and len(key) > room:
        headers += (("detector_key_cut_from_bytes", _digits(len(key))),)
        key = key[: max(0, room)]
    return replace(message, key=key, value=value, headers=headers)


def _without_long_traces(headers: Headers) -> Headers:
    """Drop trace headers that are too long, each alone or all of one name together."""
    room = dict(_TRACE_BYTES_MAX)
    kept = []
    for name, text in headers:
        kind = name.lower()
        if kind in room:
            if len(text) > room[kind]:
                continue
            room[kind] -= len(text) + 1  # several headers count as one, joined by commas
        kept.append((name, text))
    return tuple(kept)


def _digits(number: int) -> bytes:
    return str(number).encode()
