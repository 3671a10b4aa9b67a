"""The first events of a stream, by column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice, takewhile
from typing import Any

import msgspec

from detector.config.infer.choice import Choice, Kind
from detector.config.infer.column import LIMITS, PATH_CHARS_MAX, Column, text_of
from detector.config.infer.envelope import Open, find_envelope, opened, said
from detector.config.infer.looks import looks_like
from detector.config.infer.ranks import clock_rank, id_rank, time_rank
from detector.config.infer.roles import REFERENCES, judge
from detector.config.infer.times import CALENDAR, is_part
from detector.config.infer.vocabulary import ORDER_WORDS, iso8583_names
from detector.config.tree import UNREADABLE
from detector.config.words import nearest
from detector.errors import ConfigError, Problem

SAMPLE_LINES_MAX = 20_000  # keys that come back after some thousand events are seen to
SAMPLE_VALUES_MAX = 1_500_000  # of events with many fields fewer are read: some ten seconds
SAMPLE_BYTES_MAX = 1 << 26  # the whole sample is held in memory
COLUMNS_MAX = 1_024  # of an event with more fields, the first ones are used
EXAMPLES_MAX = 3
READ_TIME = "event.created"  # of Elastic's common schema: when the event, which was at @timestamp, was read
GIVEN_WORDS = REFERENCES | {"code"}
_PARTS = {word: part for part, words in enumerate(CALENDAR) for word in words}
_LONG_PARTS = {*CALENDAR[0], *CALENDAR[1]}


class Sample:
    """The first events of a stream, by column.

    Parameters
    ----------
    lines
        Messages as JSON.
    open_envelope
        Opens messages with an envelope as the service does; None: plainly, without conversions by schemas.
    """

    def __init__(self, lines: Iterable[bytes], open_envelope: Open | None = None) -> None:
        self.columns: dict[str, Column] = {}
        self.events = self.broken = self.skipped = 0
        self._first_broken = b""
        self.unnameable: dict[str, str] = {}  # keys that no path can name, with the reason
        messages = self._read(lines)
        self.envelope = find_envelope([message for _, message in messages])
        objects: set[str] = set()
        for line, message in messages:
            event = message
            if self.envelope:
                inside = opened(self.envelope, message)
                if inside is not None and open_envelope is not None:
                    inside = open_envelope(self.envelope, line)
                if inside is None:
                    self.skipped += 1
                    continue
                event = inside
                for path, value in said(self.envelope, message):
                    self._add(path, value, of_envelope=True)
            for path, value in _leaves(event, objects, self.unnameable):
                self._add(path, value)
            self.events += 1
        if not self.events:
            found = "no event: it is empty"
            if self.broken or self.skipped:
                found = f"no event in {self.broken} broken lines{looks_like(self._first_broken)}"
                found += f", and {self.skipped} messages that are none" * bool(self.skipped)
            raise sample_error("the sample", found, "JSON objects, one per line")
        self._finish(objects)

    def _read(self, lines: Iterable[bytes]) -> list[tuple[bytes, dict[str, Any]]]:
        messages = []
        size = values = 0
        for line in islice(lines, SAMPLE_LINES_MAX):
            message = _decode(line)
            size += len(line)
            if message is None:
                self.broken += bool(line.strip())
                self._first_broken = self._first_broken or line.strip()
            else:
                messages.append((line, message))
                values += max(len(message), line.count(b":"))
            if size > SAMPLE_BYTES_MAX or values > SAMPLE_VALUES_MAX:
                break
        return messages

    def _finish(self, objects: set[str]) -> None:
        torn = {path for path in objects if (c := self.columns.get(path)) and (c.values or c.trouble)}
        for path in objects - torn:
            self.columns.pop(path, None)  # an object or null
        for column in self.columns.values():
            column.events = self.events
            if any(f"{column.path}.".startswith(f"{path}.") for path in torn):
                column.trouble = "an object in only some events"
            elif not column.trouble and not column.values:
                column.trouble = "always null or empty"
        for path, called in iso8583_names(
            c.path for c in self.usable() if all(text_of(value).isalnum() for value in c.values[:100])
        ).items():
            self.columns[path].called = called
        if {"@timestamp", READ_TIME} <= self.columns.keys():
            self.columns[READ_TIME].called = "ingested at"

    def _add(self, path: str, value: Any, *, of_envelope: bool = False) -> None:
        column = self.columns.get(path)
        if column is None:
            if len(self.columns) == COLUMNS_MAX:
                return
            column = self.columns[path] = Column(path, of_envelope=of_envelope, is_first=not self.columns)
        if isinstance(value, list | dict):
            column.trouble = "a list" if isinstance(value, list) else "nested too deeply"
        elif value is not None and value != "":
            column.values.append(value)
            column.rows.append(self.events)

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

    def parts(self, path: str) -> list[Column]:
        """The columns of a field: one, whose name may have commas in it, or one for each of its parts."""
        column = self.columns.get(path)
        return [column] if column is not None else [self.columns[part] for part in path.split(", ")]

    def find_time(self, but: Sequence[Column]) -> Column | None:
        """Find the event's time. Preferred are times over dates, telling names, and ISO 8601 over numbers."""
        candidates = [column for column in self.usable() if column not in but]
        ranked = [(rank, column) for column in candidates if (rank := time_rank(column)) is not None]
        best = min(ranked, key=lambda pair: pair[0])[1] if ranked else None
        if best is not None and best.time is None and best.last_words[-1] in _PARTS:
            dated = any(set(column.last_words[-1:]) & _LONG_PARTS for column in candidates)
            return None if dated else best  # a day of a month does not count from the beginning
        return best

    def find_calendar(self, but: Sequence[Column]) -> list[Column]:
        """Find the fields of year, month and day, and hour, minute and second; empty: there are none."""
        families: dict[tuple[str, ...], dict[int, Column]] = {}
        for column in self.usable():
            part = _PARTS.get(column.last_words[-1] if column.last_words else "")
            if part is None or column in but or column.missing or "," in column.path or column.of_envelope:
                continue
            if is_part(column.values, part):
                parent = column.path.rpartition(".")[0]
                families.setdefault((parent, *column.last_words[:-1]), {}).setdefault(part, column)
        for found in families.values():
            parts = list(takewhile(found.__contains__, range(len(CALENDAR))))
            if len(parts) >= 3:
                return [found[part] for part in parts]
        return []

    def find_clock(self, day: Column, but: Sequence[Column]) -> Column | None:
        """Find the time of day that belongs to a field, or to fields, with the day alone."""
        candidates = [column for column in self.usable() if column not in but]
        ranked = [(rank, column) for column in candidates if (rank := clock_rank(column, day)) is not None]
        return min(ranked, key=lambda pair: pair[0])[1] if ranked else None

    def find_id(self, but: Sequence[Column]) -> tuple[Column, int] | None:
        """Find the id: by name, then any text that never repeats; with its rank, see `id_rank`."""
        candidates = [column for column in self.usable() if column not in but]
        ranked = [(rank, column) for column in candidates if (rank := id_rank(column)) is not None]
        # Of names that say the same, not that of what is paid for, and not a reference or a code that others
        # give. Of names that say less, not the one that counts: it begins again some day, as traces do.
        best = min(
            ranked,
            key=lambda pair: (
                pair[0],
                pair[0] > 0 and not pair[1].random,
                not ORDER_WORDS.isdisjoint(pair[1].last_words),
                not GIVEN_WORDS.isdisjoint(pair[1].words[-1:]),
                pair[0] > 0 and pair[1].ascending,
                "stan" in pair[1].words,
            ),
            default=None,
        )
        return None if best is None else (best[1], best[0])

    def choice(self, columns: Column | Sequence[Column], kind: Kind, reason: str) -> Choice:
        """Describe the choice of a kind for one column, or for the parts of one field."""
        parts = [columns] if isinstance(columns, Column) else columns
        each = EXAMPLES_MAX if len(parts) == 1 else 1
        examples = (_example(text, kind) for column in parts for text in islice(column.counts, each))
        form = parts[0].time_or_steps if kind == "time" else None
        return Choice(
            path=", ".join(column.path for column in parts),
            kind=kind,
            reason=reason,
            format="" if form is None else form.format,
            step="" if form is None else form.step,
            origin="" if form is None else form.origin,
            zone="UTC" if form is None else form.zone,
            days=form is not None and form.days,
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
        if why := _why_unnameable(key, path):
            if len(unnameable) < COLUMNS_MAX:
                unnameable.setdefault(_shortened(path), why)
            continue
        if isinstance(value, dict) and depth < LIMITS.depth_max:
            objects.add(path)
            yield from _leaves(value, objects, unnameable, path + ".", depth + 1)
        else:
            yield path, value


@lru_cache(COLUMNS_MAX)
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
    short = text if len(text) <= kept else f"{text[:kept]}..."
    return repr(short) if short.isprintable() else ascii(short)


def listed(paths: Iterable[str]) -> str:
    paths = list(paths)
    return ", ".join(paths[:50]) + (f" and {len(paths) - 50} more" if len(paths) > 50 else "") or "none"


def sample_error(path: str, value: str, allowed: str) -> ConfigError:
    return ConfigError("the sample", [Problem(path=path, value=value, allowed=allowed)])
