"""Events as JSON: one per line, in arrays, or one after another over several lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import IO

from detector.errors import NeedsOperator

_CHUNK_BYTES = 1 << 16
_BETWEEN = re.compile(r"[\s,\[\]]*")  # between events, and around arrays of them
_WRAPPED = re.compile(
    r'\{\s*(?:"[^"\\]*"\s*:\s*(?:"[^"\\]*"|[-\w.]+)\s*,\s*)*"([^"\\]*)"\s*:\s*\[\s*\{'
).match  # plain members, then a list of objects
_NEAR_CHARS = 4096  # to the end of a text that was cut
_FRAME_BYTES = 5  # byte 0 and the schema's number
_DECODER = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)


def over_lines(head: bytes) -> bool:
    """Whether the first object of a text is spread over several lines."""
    first, newline, rest = head.lstrip().partition(b"\n")
    if not first.startswith(b"{") or not newline or not rest.strip():
        return False
    try:
        end = _end(head.decode(errors="replace").lstrip(), 0)
    except ValueError:
        return False
    return end > len(first.rstrip().decode(errors="replace"))


def wrapped(head: bytes, *, whole: bool) -> str | None:
    """The member whose list holds the events, if a text is one object around them.

    Parameters
    ----------
    whole
        The head is the whole text.
    """
    text = head.decode(errors="replace").lstrip()
    found = _WRAPPED(text)
    if not found:
        return None
    try:
        end = _end(text, 0)
    except json.JSONDecodeError as error:  # it goes on after the head, or the first line is damaged
        return found[1] if not whole and error.pos > len(text) - _NEAR_CHARS else None
    except (ValueError, RecursionError):
        return None
    alone = whole and not text[end:].strip()
    return found[1] if alone and len(json.loads(text[:end], strict=False)[found[1]]) > 1 else None


def json_values(name: str, file: IO[bytes], value_bytes_max: int) -> Iterator[bytes]:
    """Objects of arrays, or one after another, each as it is written but on one line.

    Parameters
    ----------
    value_bytes_max
        A longer value ends in an error, because it cannot be skipped safely.

    Raises
    ------
    NeedsOperator
        What follows a value is not JSON.
    """
    text, position, number, line = "", 0, 0, 1
    whole = False
    carry = b""
    while True:
        start = _after(text, position)
        line += text.count("\n", position, start)
        position = start
        end = -1
        if position < len(text):
            try:
                end = _end(text, position)
            except (ValueError, RecursionError) as error:
                if whole or len(text) - position > value_bytes_max:
                    raise NeedsOperator(
                        f"{name}, line {line}: event {number + 1} is not a complete JSON value of at most "
                        f"{value_bytes_max:,} characters: {error}; one event per line (jq -c '.[]') would "
                        "reject that event alone"
                    ) from error
        # A number or a word may go on in what has not been read.
        if end > position and (whole or end < len(text)):
            value = text[position:end]
            line += value.count("\n")
            yield value.replace("\n", " ").replace("\r", " ").encode()
            position, number = end, number + 1
            continue
        if whole:
            return
        size = max(_CHUNK_BYTES, len(text) - position)  # twice as much each time: linear in all
        data = carry + file.read(size)
        whole = len(data) == len(carry)
        cut = len(data) if whole else _whole_characters(data)
        text, position, carry = text[position:] + data[:cut].decode(errors="replace"), 0, data[cut:]


def _after(text: str, position: int) -> int:
    found = _BETWEEN.match(text, position)
    return found.end() if found else position


def _end(text: str, position: int) -> int:
    return _DECODER.raw_decode(text, position)[1]


def _whole_characters(data: bytes) -> int:
    """Bytes of the beginning that is whole characters of UTF-8."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            return len(data) - back if back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) else len(data)
        if byte < 0x80:
            break
    return len(data)


def without_frame(line: bytes) -> bytes:
    """A line without the schema registry's header."""
    return (
        line[_FRAME_BYTES:] if line[:1] == b"\0" and line[_FRAME_BYTES : _FRAME_BYTES + 1] == b"{" else line
    )
