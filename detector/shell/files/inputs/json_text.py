"""Events as JSON: one per line, in arrays, or one after another over several lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from detector.errors import NeedsOperator

_CHUNK_BYTES = 1 << 16
_BETWEEN = re.compile(r"[\s,\[\]]*")  # between events, and around arrays of them
_MEMBER = re.compile(r'[\s{,]*"((?:[^"\\]|\\.)*)"\s*:\s*').match
_OBJECTS = re.compile(r"\[\s*\{").match
_INSIDE = re.compile(r"[\s,]*")  # between the events of one list
_DEPTH_MAX = 3  # of objects around the list of events
_FRAME = re.compile(  # a table as pandas writes it if nobody says how
    rb'\s*\{\s*(?:"columns"\s*:\s*\[[^\[\]{}]*\]\s*,\s*"(?:index|data)"\s*:\s*\[|"[^"]*"\s*:\s*\{\s*"0"\s*:)'
).match
_ROWS_APART = re.compile(
    rb'\s*\{(?=[^\[]{0,4096}"(?:columns|fields|header|names|schema)"\s*:)'
    rb'.{0,65536}?"(?:rows|data|values|records|results?)"\s*:\s*\[\s*\[',
    re.DOTALL,
).match
_KEYED_MIN, _KEYED_LOOK = 5, 20  # objects that have the same members, at least and at most
_LINES_LOOK = 20
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


@dataclass(frozen=True, slots=True)
class Wrapped:
    """Where the events are in a text that is one object around them."""

    path: str  # of the list
    begin: int  # byte behind the bracket that opens it


def wrapped(head: bytes, *, whole: bool) -> Wrapped | None:
    """The list of objects inside of a text, if the text is one object around it.

    Parameters
    ----------
    whole
        The head is the whole text.
    """
    text = head.decode(errors="replace")
    try:
        end = _end(text, len(text) - len(text.lstrip()))
        if not whole or text[end:].strip():
            return None  # other objects follow
    except json.JSONDecodeError as error:  # it goes on after the head, or the first line is damaged
        if whole or error.pos <= len(text) - _NEAR_CHARS:
            return None
    except (ValueError, RecursionError):
        return None
    found = max(_lists(text, 0, ""), default=None)
    if found is None or (whole and 2 * found[0] < len(text)):
        return None  # one event that has a list
    if whole and len(json.loads(text[found[1] : _end(text, found[1])], strict=False)) < 2:
        return None
    return Wrapped(found[2], len(text[: found[1] + 1].encode()))


def _lists(text: str, at: int, above: str) -> Iterator[tuple[int, int, str]]:
    """Lists of objects inside of an object: characters of each, its place, its path."""
    while member := _MEMBER(text, at):
        begin, path = member.end(), f"{above}{member[1]}"
        try:
            at = _end(text, begin)
        except ValueError:  # it goes on after the text
            at = len(text) + 1
        if member[1] == "schema":  # of a table or a message; its fields are no events
            pass
        elif _OBJECTS(text, begin):
            yield at - begin, begin, path
        elif text[begin : begin + 1] == "{" and path.count(".") < _DEPTH_MAX - 1:
            yield from _lists(text, begin, f"{path}.")
        if text[at : at + 1] == "}" or at >= len(text):
            return


def is_run(head: bytes) -> bool:
    """Whether a text is a run of objects with something between them that is not for the eye.

    That is the record separator in front of each (RFC 7464), or the commas of a list without its brackets.
    """
    first, newline, rest = head.partition(b"\n")
    listed = first.startswith(b"{") and first.rstrip().endswith(b"},") and rest.lstrip()[:1] == b"{"
    return head[:1] == b"\x1e" or (listed and bool(newline))


def is_keyed(head: bytes, *, whole: bool) -> bool:
    """Whether a text is one object that has all events by their keys.

    Parameters
    ----------
    whole
        The head is the whole text.
    """
    text = head.decode(errors="replace").lstrip()
    if not text.startswith("{"):
        return False
    at = 0
    names: list[frozenset[str]] = []
    try:
        while len(names) < _KEYED_LOOK and (member := _MEMBER(text, at)):
            event, at = _DECODER.raw_decode(text, member.end())
            if not isinstance(event, dict) or not event:
                return False
            names.append(frozenset(event))
        if len(names) < _KEYED_MIN or len(set(names)) > len(names) / 2:
            return False
        return not text[_end(text, 0) :].strip()
    except json.JSONDecodeError as error:
        return not whole and len(names) >= _KEYED_MIN and error.pos > len(text) - _NEAR_CHARS
    except (ValueError, RecursionError):
        return False


def is_behind(head: bytes) -> bool:
    """Whether the first lines have something in front of their JSON, as a log has."""
    lines = [line for line in head.splitlines()[:_LINES_LOOK] if line.strip()][:-1]
    found = [line.find(b'{"') for line in lines]
    return len(lines) > 1 and all(
        at > 0 and line.rstrip().endswith(b"}") and _is_object(line[at:])
        for at, line in zip(found, lines, strict=True)
    )


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def has_rows_apart(head: bytes) -> bool:
    """Whether a text is the answer of a query: names once, rows as lists."""
    return bool(_ROWS_APART(head))


def is_frame(head: bytes) -> bool:
    """Whether a text is a table of pandas by columns, or with its rows apart from their names."""
    return bool(_FRAME(head))


def json_values(name: str, file: IO[bytes], value_bytes_max: int, inside: int = 0) -> Iterator[bytes]:
    """Objects of arrays, or one after another, each as it is written but on one line.

    Parameters
    ----------
    value_bytes_max
        A longer value ends in an error, because it cannot be skipped safely.
    inside
        Byte behind the bracket that opens the list whose objects are meant; what is around it is left out.

    Raises
    ------
    NeedsOperator
        What follows a value is not JSON.
    """
    text, position, number, line = "", 0, 0, 1 + file.read(inside).count(b"\n")
    between = _INSIDE if inside else _BETWEEN
    whole = False
    carry = b""
    while True:
        start = between.match(text, position).end()  # type: ignore[union-attr]
        line += text.count("\n", position, start)
        position = start
        end = -1
        if inside and text[position : position + 1] == "]":
            return
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
