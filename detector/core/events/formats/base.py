"""What an event format is: from a record's bytes to named values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import NoneType
from typing import Any

import msgspec

from detector.config.tree import EventLimits
from detector.core.events.rejection import Bad
from detector.core.events.values import Column
from detector.core.records import Headers, Record

SCALARS = (str, int, float, bool, NoneType)


class OddPathError(Exception):
    """A path that is not plainly one value; its records are read one by one."""


class Format(ABC):
    """Reads records of one format. One object serves a shard, so it can hold what is costly to make.

    A decoded event is a nested mapping: text keys; values that are mappings, or a str, int, float, bool or
    None (missing). Lists and other types may be in it, but no path may lead to one. A format converts what
    its own types have (decimals, dates, enumerations). Texts must be encodable as UTF-8.

    Whatever the bytes are, `decode` returns an event or raises Bad. It does no IO and depends on nothing but
    its arguments and `resources`: the same record must give the same event at every replay.

    Parameters
    ----------
    paths
        Dotted paths of all values that will be read; some may repeat.
    limits
        Bounds of one event. The parser checks `bytes_max`; the others are the format's.
    resources
        Objects that the process made, by name, for formats that need more than the bytes: schemas by id,
        for instance.
    """

    skips_tombstones = False  # a record without a value is skipped, not rejected

    def __init__(self, paths: Sequence[str], limits: EventLimits, resources: Mapping[str, Any]) -> None:
        self.paths = tuple(paths)
        self.limits = limits
        self.resources = resources

    @abstractmethod
    def decode(self, value: bytes, key: bytes | None, headers: Headers) -> Any:
        """Decode one record.

        Parameters
        ----------
        value
            Not empty, at most `limits.bytes_max` bytes.
        key, headers
            Of the record. Not known (None, empty) where only the main entity is needed.

        Raises
        ------
        Bad
            The record is not an event of this format.
        """

    def reader(self, path: str) -> Callable[[Any], Any]:
        """Make a function from a decoded event to the value at a path, None if it is missing."""
        steps = path.split(".")

        def read(event: Any) -> Any:
            for step in steps:
                if event is None:
                    return None
                if not isinstance(event, Mapping):
                    raise Bad("wrong_type", f"{path}: one part of the path is a value")
                event = event.get(step)
            if not isinstance(event, SCALARS):
                raise Bad("wrong_type", f"{path}: {type(event).__name__}, expected a single value")
            return event

        return read

    @cached_property
    def _readers(self) -> list[Callable[[Any], Any]]:
        return [self.reader(path) for path in self.paths]

    def to_json(self, value: bytes, key: bytes | None, headers: Headers) -> bytes:
        """Give an event that was decoded before as JSON, for the alert about it."""
        return self.part_as_json(value, key, headers, ())

    def part_as_json(self, value: bytes, key: bytes | None, headers: Headers, path: tuple[str, ...]) -> bytes:
        """Give a part of a record that was decoded before as JSON."""
        part = self.decode(value, key, headers)
        for step in path:
            part = part[step]
        return msgspec.json.encode(part)

    def columns(self, records: Sequence[Record]) -> tuple[list[Column], set[int]]:
        """Decode many records; a format may override it to be faster.

        Returns
        -------
        columns
            For each of `paths` the values of all records. Of no meaning if all rows are doubtful.
        doubtful
            Rows that `decode` refuses, or may refuse: the parser decides on them. Their values are any other
            row's.
        """
        readers = self._readers
        decoded: dict[int, list[Any]] = {}
        for row, record in enumerate(records):
            if record.value is None or len(record.value) > self.limits.bytes_max or not record.value.strip():
                continue
            try:
                event = self.decode(record.value, record.key, record.headers)
                decoded[row] = [read(event) for read in readers]
            except Bad:
                pass
        some = next(iter(decoded.values()), [None] * len(self.paths))
        rows = [decoded.get(row, some) for row in range(len(records))]
        return list(zip(*rows, strict=True)), set(range(len(records))) - decoded.keys()


def scatter(columns: Sequence[list[Any]], rows: Sequence[int], parts: Sequence[Column]) -> None:
    """Put the values of some rows where they belong in the columns of all."""
    for column, part in zip(columns, parts, strict=True):
        for row, found in zip(rows, part, strict=True):
            column[row] = found


def without(columns: Sequence[list[Any]], doubtful: set[int], n: int) -> tuple[list[Column], set[int]]:
    """Give the doubtful ones of n rows the values of another row, as `Format.columns` asks for."""
    if len(doubtful) == n:
        return [], doubtful
    if doubtful:
        good = next(row for row in range(n) if row not in doubtful)
        for column in columns:
            for row in doubtful:
                column[row] = column[good]
    return list(columns), doubtful
