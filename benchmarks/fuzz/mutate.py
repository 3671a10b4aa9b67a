"""Inputs that are almost valid: a valid one with changed bytes, tokens or values.

Changed bytes alone rarely pass the first parser, and changed values alone never fail in it. Inserted are
things on which parsers have failed before: very long numbers, half of a surrogate pair, nesting, the same key
twice, other types.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

BYTES_MAX = 1 << 17  # of one input: twice the default limit of an event, and of the largest seed
WINDOW = 2048  # bytes in which one token is chosen
PLACES_MAX = 2000  # places considered in one tree; with aliases a tree may be infinite

_WORDS = (
    "null true false NaN Infinity -Infinity 0 -0 1e999 -1e999 1e-999 1E400 00 0x10 0o17 1_000 .5 5. -1",
    '{ } [ ] , : " \\ \\" \\u0000 \\ud800 \\udfff \\u2028 /**/ //x',
    "& &a *a !!int !!python/object:os.system ! | > - ? % @ ` ~ << <<: --- ... # 1:30 190:20:30 .inf .nan",
    "2024-03-01T12:00:00Z 2024-13-01 0001-01-01 9999-12-31T23:59:59+14:00 1709294400 1709294400000 0400",
    "12h 10000000d 0s -1s UTC ../../etc/passwd s3://a:b@c ${HOME} \x00 \n \t \r \u2028 \x85",
)
TOKENS: tuple[bytes, ...] = (
    *(word.encode() for line in _WORDS for word in line.split(" ")),
    *(b"\xef\xbb\xbf", b"\xff", b"\xc0\x80", b"\xed\xa0\x80"),
    *(b"9" * 400, b"9" * 5000, b"0x" + b"f" * 5000, b"1:" * 500 + b"1"),
    *(b"[" * 100, b'{"a":' * 100, b'"' + b"x" * 3000 + b'"', b'"' + b"\\" * 301),
)
_TEXTS = "0|nan|inf|1e999|-|1_000|\u0661\u0662|\x00|\u2028|\U0001f4b3|2024-02-30|0400|null|a.b"
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**40, 10**400),
    *(0.0, -0.0, 1e-320, 1.7e308, -1.7e308, 0.1),
    *("", " ", "x" * 257, "x" * 1025, "1709294400", "12h", "UTC", "a:9092", *_TEXTS.split("|")),
    *([], {}, [[]], [None], {"": None}, {"a": {"b": 1}}, [0] * 2049, {str(n): n for n in range(2049)}),
)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[A-Za-z0-9_.+-]+|[^\sA-Za-z0-9]')


class Mutator:
    """Seeded: the same seed gives the same inputs.

    Parameters
    ----------
    seeds
        Valid inputs.
    to_tree, to_bytes
        Convert a seed to dicts, lists and plain values, and back; None: only bytes are changed.
    """

    def __init__(
        self,
        seeds: Sequence[bytes],
        seed: int,
        to_tree: Callable[[bytes], Any] | None = json.loads,
        to_bytes: Callable[[Any], bytes] = lambda tree: json.dumps(tree).encode(),
    ) -> None:
        self.seeds = seeds
        self._bytes_max = max(BYTES_MAX, 2 * max(map(len, seeds)))
        self._random = random.Random(seed)
        self._to_tree, self._to_bytes = to_tree, to_bytes

    def next(self) -> bytes:
        """Make one input; a few are valid."""
        return self.mutate(self._random.choice(self.seeds), self._random.choice((0, 1, 1, 1, 2, 2, 3, 5, 9)))

    def mutate(self, data: bytes, times: int) -> bytes:
        """Change values first: after a change of bytes there may be no tree."""
        chance = self._random
        kinds = sorted(chance.choices((0, 1, 2), weights=(5, 3, 2), k=times))
        for kind in kinds:
            data = (self._value, self._token, self._bytes)[kind](data)
        return data[: self._bytes_max]

    def _value(self, data: bytes) -> bytes:
        if self._to_tree is None:
            return self._bytes(data)
        try:
            tree = self._to_tree(data)
            self._change(tree)
            return self._to_bytes(tree)
        except Exception:  # noqa: BLE001 - a changed input may have no tree, for any reason
            return self._token(data)

    def _change(self, tree: Any) -> None:
        """Replace, drop, rename, copy or wrap one value somewhere in the tree, in place."""
        chance, places = self._random, list(islice(_places(tree), PLACES_MAX))
        if not places:
            return
        node, key = chance.choice(places)
        match chance.randrange(6):
            case 0 | 1:
                node[key] = chance.choice(VALUES)
            case 2:
                del node[key]
            case 3:
                node[key] = chance.choice([place[0][place[1]] for place in places])
            case 4:
                for _ in range(chance.choice((1, 1, 2, 20, 100))):
                    node[key] = [node[key]] if chance.random() < 0.5 else {"a": node[key]}
            case 5 if isinstance(node, dict):
                node[chance.choice((f"{key}x", str(key).upper(), "x" * 300, "", "a.b", '"', "\x00"))] = (
                    node.pop(key)
                )
            case _:
                node[key] = str(node[key])

    def _token(self, data: bytes) -> bytes:
        first = self._random.randrange(max(1, len(data) - WINDOW))
        spans = [match.span() for match in _TOKEN.finditer(data, first, first + WINDOW)] or [(0, 0)]
        start, end = self._random.choice(spans)
        what = self._random.choice(TOKENS)
        match self._random.randrange(4):
            case 0:
                return data[:start] + what + data[end:]
            case 1:
                return data[:start] + what + data[start:]
            case 2:
                return data[:start] + data[end:]
            case _:
                other, stop = self._random.choice(spans)
                return data[:start] + data[other:stop] + data[end:]

    def _bytes(self, data: bytes) -> bytes:
        chance = self._random
        at = chance.randrange(len(data) + 1)
        span = at + chance.choice((1, 1, 2, 4, 16, 64, 1024))
        match chance.randrange(6):
            case 0:
                return data[:at] + chance.randbytes(span - at) + data[span:]
            case 1:
                return data[:at] + chance.randbytes(min(span - at, 16)) + data[at:]
            case 2:
                return data[:at] + data[span:]
            case 3:
                return data[:at] + data[at:span] * chance.choice((2, 3, 50)) + data[span:]
            case 4:
                return data[:at]
            case _:
                other = chance.choice(self.seeds)
                return data[:at] + other[chance.randrange(len(other) + 1) :]


def _places(tree: Any, depth: int = 0) -> Any:
    """Containers and keys, the first hundred of each, to a parser's maximum depth."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(islice(items, 100)):
        yield tree, key
        if depth < 50:
            yield from _places(value, depth + 1)
