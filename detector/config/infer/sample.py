"""The first events of a stream, by column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec

from detector.config.infer.choice import Choice, Kind
from detector.config.infer.column import (
    ENTITY_WORDS,
    LIMITS,
    PATH_CHARS_MAX,
    Column,
    id_rank,
    judge,
    time_rank,
)
from detector.config.tree import UNREADABLE
from detector.config.words import nearest
from detector.errors import ConfigError, Problem

SAMPLE_LINES_MAX = 5_000  # enough to find 0.1 % of missing values, and read in a second
SAMPLE_BYTES_MAX = 1 << 26  # the whole sample is held in memory
COLUMNS_MAX = 1_024  # of an event with more fields, the first ones are used
EXAMPLES_MAX = 3


class Sample:
    """The first events of a stream, by column."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.columns: dict[str, Column] = {}
        self.events = self.broken = size = 0
        self.unnameable: dict[str, str] = {}  # keys that no path can name, with the reason
        objects: set[str] = set()
        for line in islice(lines, SAMPLE_LINES_MAX):
            event = _decode(line)
            size += len(line)
            if event is None:
                self.broken += bool(line.strip())
            else:
                self.events += 1
                for path, value in _leaves(event, objects, self.unnameable):
                    self._add(path, value)
            if size > SAMPLE_BYTES_MAX:
                break
        if not self.events:
            raise sample_error(
                "the sample", f"no event in {self.broken} broken lines", "JSON objects, one per line"
            )
        torn = {path for path in objects if (c := self.columns.get(path)) and (c.values or c.trouble)}
        for path in objects - torn:
            self.columns.pop(path, None)  # an object or null
        for column in self.columns.values():
            column.events = self.events
            if any(f"{column.path}.".startswith(f"{path}.") for path in torn):
                column.trouble = "an object in only some events"
            elif not column.trouble and not column.values:
                column.trouble = "always null or empty"

    def _add(self, path: str, value: Any) -> None:
        if path not in self.columns and len(self.columns) == COLUMNS_MAX:
            return
        column = self.columns.setdefault(path, Column(path))
        if isinstance(value, list | dict):
            column.trouble = "a list" if isinstance(value, list) else "nested too deeply"
        elif value is not None and value != "":
            column.values.append(value)

    def usable(self) -> Iterator[Column]:
        return (column for column in self.columns.values() if not column.trouble)

    def named(self, what: str, path: str, fits: Callable[[Column], bool]) -> Column:
        """Return the column that the caller named, if it fits."""
        fields = {column.path: column for column in self.usable() if fits(column)}
        if path not in fields:
            meant = nearest(path, fields)
            hint = f"; did you mean {meant}?" if meant else ""
            raise sample_error(what, repr(path), f"one of the fields that fit: {listed(fields)}{hint}")
        return fields[path]

    def find_time(self) -> Column:
        """Find the event's time. Preferred are times over dates, telling names, and ISO 8601 over numbers."""
        ranked = [(rank, column) for column in self.usable() if (rank := time_rank(column)) is not None]
        if not ranked:
            tried = "no field that is always ISO 8601 or an epoch (s or ms)"
            raise sample_error("time", tried, f"one named by --time: {listed(c.path for c in self.usable())}")
        return min(ranked, key=lambda pair: pair[0])[1]

    def find_id(self, time: Column, but: Sequence[Column]) -> tuple[Column, str, bool]:
        """Find the id: by name, then any text that never repeats, else a substitute.

        Returns
        -------
        tuple
            The column, the reason, and whether it is a real id.
        """
        ranked = [(rank, c) for c in self.usable() if c is not time and (rank := id_rank(c)) is not None]
        if ranked:
            return min(ranked, key=lambda pair: pair[0])[1], "never missing, never repeats", True
        stand_ins = [c for c in self.usable() if c.unique and c.is_key() and c not in but]
        if not stand_ins:
            tried = "no text or whole number that is never missing and never repeats"
            raise sample_error("id", tried, f"one named by --id: {listed(c.path for c in self.usable())}")
        counters = [c for c in stand_ins if c.ascending and c is not time]
        others = sorted(stand_ins, key=lambda c: (c.noun in ENTITY_WORDS, c.decimal))
        chosen = counters[0] if counters else time if time in stand_ins else others[0]
        what = "the time" if chosen is time else "this field"
        reason = (
            f"no field is named like an id: {what} is used, because it never repeats in this sample. If it "
            "repeats later, a label finds only one of those events. Better add an id"
        )
        return chosen, reason, False

    def choice(self, columns: Column | Sequence[Column], kind: Kind, reason: str) -> Choice:
        """Describe the choice of a kind for one column, or for the parts of one field."""
        parts = [columns] if isinstance(columns, Column) else columns
        each = EXAMPLES_MAX if len(parts) == 1 else 1
        examples = (_example(text, kind) for column in parts for text in islice(column.counts, each))
        return Choice(
            path=", ".join(column.path for column in parts),
            kind=kind,
            reason=reason,
            optional=any(column.optional for column in parts),
            format=parts[0].time_format(plausible=False) if kind == "time" else "",
            distinct=max(column.distinct for column in parts),
            missing=max(column.missing for column in parts),
            examples=tuple(dict.fromkeys(examples)),
        )

    def judge(self, but: Sequence[Column]) -> list[Choice]:
        """Decide what all columns but these are."""
        return [self.choice(*one) for one in judge([c for c in self.columns.values() if c not in but])]


def _decode(line: bytes) -> dict[str, Any] | None:
    """Decode an event as the service would; None: it is not one."""
    if len(line) > LIMITS.bytes_max:
        return None
    try:
        event = msgspec.json.decode(line)
        line.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _leaves(
    event: dict[str, Any], objects: set[str], unnameable: dict[str, str], prefix: str = "", depth: int = 1
) -> Iterator[tuple[str, Any]]:
    """Yield paths and values. Collects paths of objects, and keys that no path can name."""
    for key, value in event.items():
        path = prefix + key
        why = _why_unnameable(key, path)
        if why:
            if len(unnameable) < COLUMNS_MAX:
                unnameable.setdefault(_shortened(path), why)
            continue
        if isinstance(value, dict) and depth < LIMITS.depth_max:
            objects.add(path)
            yield from _leaves(value, objects, unnameable, path + ".", depth + 1)
        else:
            yield path, value


def _why_unnameable(key: str, path: str) -> str:
    if not key:
        return "its name is empty"
    if "." in key:
        return "its name has a dot, which a path reads as an object: rename it at the producer"
    if len(path) > PATH_CHARS_MAX:
        return f"its path is longer than {PATH_CHARS_MAX} characters"
    return "its name has a quote, a backslash or a control character" if UNREADABLE.search(key) else ""


def _shortened(path: str) -> str:
    return path if len(path) <= PATH_CHARS_MAX else f"{path[: PATH_CHARS_MAX - 3]}..."


def _example(text: str, kind: Kind) -> str:
    kept = 4 if kind in ("entity", "text", "ignored") else 20
    return ascii(text if len(text) <= kept else f"{text[:kept]}...")


def listed(paths: Iterable[str]) -> str:
    paths = list(paths)
    return ", ".join(paths[:50]) + (f" and {len(paths) - 50} more" if len(paths) > 50 else "") or "none"


def sample_error(path: str, value: str, allowed: str) -> ConfigError:
    return ConfigError("the sample", [Problem(path=path, value=value, allowed=allowed)])
