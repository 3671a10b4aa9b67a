"""Many records at once, as columns: what `Parser.parse` gives for each, without an object per event.

A block is read column by column. What is plain (text where text is usual, numbers, times of the usual form)
is checked and converted for the whole column; any other value goes through the parser's leaf for it. A record
that is not accepted so, for whatever reason, is doubtful and left to `Parser.parse`, which has the last word:
it accepts it after all, or tells what is wrong with it. So there is one place for speed and one for care.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from hashlib import blake2b
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Event
from detector.core.events.parser import (
    DIGITS_MAX,
    TEXT_GRAMS_MAX,
    TIME_MAX_S,
    Bad,
    Leaf,
    ParsedEvent,
    Parser,
    Rejected,
    from_epoch,
    plain,
    to_float,
)
from detector.core.events.text_kernels import IsoTimes, beyond, split_grams
from detector.core.records import Record

# Values whose hashes are remembered, per entity and categorical field: at most so many of at most so many
# characters; longer ones hardly come back. Texts are not remembered: free text never repeats.
CACHE_VALUES_MAX = 32_768
CACHE_CHARS_MAX = 64
NoneType = type(None)

Column = Sequence[Any]
"""What was decoded of one field, n values."""


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Events as the model sees them, n rows in log order, with what is needed to find their originals."""

    records: Sequence[Record]
    offsets: NDArray[np.int64]  # (n,)
    ids: list[str]
    id_hashes: NDArray[np.uint64]  # (n,) without a key
    times: NDArray[np.float64]  # (n,) s since the epoch
    entities: NDArray[np.uint64]  # (n, E) keyed hashes, 0 for a missing one
    numerics: NDArray[np.float64]  # (n, J) raw values, NaN for a missing one
    categories: NDArray[np.uint64]  # (n, C) hashes, 0 for a missing one
    grams: NDArray[np.uint32]  # (n, T, TEXT_GRAMS_MAX) hashed trigrams, ascending, then 0
    key_matches: NDArray[np.bool_]  # (n,) the record's key is the main entity's value (or one is missing)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: int) -> ParsedEvent:
        return ParsedEvent(
            self.records[row],
            self.ids[row],
            float(self.times[row]),
            tuple(self.entities[row].tolist()),
            tuple(self.numerics[row].tolist()),
            tuple(self.categories[row].tolist()),
            tuple(tuple(grams[grams != 0].tolist()) for grams in self.grams[row]),
            bool(self.key_matches[row]),
            int(self.id_hashes[row]),
        )

    def take(self, rows: NDArray[np.int64]) -> Events:
        """Select rows, ascending."""
        if len(rows) == len(self):
            return self
        columns = (getattr(self, field.name) for field in fields(self))
        picked: Any = (c[rows] if isinstance(c, np.ndarray) else [c[row] for row in rows] for c in columns)
        return Events(*picked)

    @staticmethod
    def joined(pieces: Sequence[Events]) -> Events:
        """Stack rows; at least one piece."""
        if len(pieces) == 1:
            return pieces[0]
        columns = ([getattr(piece, field.name) for piece in pieces] for field in fields(Events))
        stacked: Any = (
            np.concatenate(c) if isinstance(c[0], np.ndarray) else [x for piece in c for x in piece]
            for c in columns
        )
        return Events(*stacked)

    @staticmethod
    def blank(
        records: Sequence[Record], *, entities: int, numerics: int, categories: int, texts: int
    ) -> Events:
        """Rows to be overwritten: nothing but the records, and columns enough."""
        n = len(records)
        return Events(
            records=records,
            offsets=np.array([record.offset for record in records], dtype=np.int64),
            ids=[""] * n,
            id_hashes=np.zeros(n, dtype=np.uint64),
            times=np.zeros(n),
            entities=np.zeros((n, entities), dtype=np.uint64),
            numerics=np.full((n, numerics), np.nan),
            categories=np.zeros((n, categories), dtype=np.uint64),
            grams=np.zeros((n, texts, TEXT_GRAMS_MAX), dtype=np.uint32),
            key_matches=np.ones(n, dtype=bool),
        )

    def put(self, row: int, event: ParsedEvent) -> None:
        """Overwrite a row with what is of the same record."""
        self.ids[row], self.id_hashes[row], self.times[row] = event.id, event.id_hash, event.time
        self.entities[row], self.numerics[row] = event.entities, event.numerics
        self.categories[row], self.key_matches[row] = event.categories, event.key_matches
        self.grams[row] = 0
        for text, grams in enumerate(event.grams):
            self.grams[row, text, : len(grams)] = grams


class BlockReader:
    """Reads events of one schema, many at once; see `Parser` for the parameters."""

    def __init__(self, schema: Event, entity_key: bytes, *, require_key: bool = False) -> None:
        self.parser = parser = Parser(schema, entity_key, require_key=require_key)
        leaves = [parser.id, parser.time, parser.kind, *parser.entities, *parser.checked]
        self._leaves = [*leaves, *parser.numerics, *parser.categories, *parser.texts]
        self._columns = attrgetter(*(leaf.path for leaf in self._leaves))
        self._iso = IsoTimes(parser.zone)
        keys_max, texts_max = parser.limits.key_chars_max, parser.limits.text_chars_max
        self._entities = [_Hashes(parser.entity, leaf, keys_max) for leaf in parser.entities]
        self._categories = [_Hashes(parser.category, leaf, texts_max) for leaf in parser.categories]

    def read(self, records: Sequence[Record]) -> tuple[Events, dict[int, Rejected]]:
        """Read records.

        Returns
        -------
        events
            A row per record; that of a rejected one has no meaning.
        rejected
            By row.
        """
        parser = self.parser
        events = Events.blank(
            records,
            entities=len(parser.entities),
            numerics=len(parser.numerics),
            categories=len(parser.categories),
            texts=len(parser.texts),
        )
        decoded, doubtful = self._decode([record.value for record in records])
        if len(doubtful) < len(records):
            self._fill(events, decoded, doubtful)
        rejected = {}
        for row in doubtful:
            parsed = parser.parse(records[row])
            if isinstance(parsed, Rejected):
                rejected[row] = parsed
            else:
                events.put(row, parsed)
        return events, rejected

    def _decode(self, values: Sequence[bytes | None]) -> tuple[list[Any], set[int]]:
        """Decode what is within the limits; the other rows are doubtful, and show what another one has."""
        limits, decode = self.parser.limits, self.parser.decoder.decode
        raws = [b"" if raw is None or len(raw) > limits.bytes_max else raw for raw in values]
        doubtful = set(
            beyond(raws, limits.depth_max, limits.members_max, limits.name_chars_max, DIGITS_MAX - 1)
        )
        if not doubtful:
            try:
                return list(map(decode, raws)), doubtful
            except msgspec.DecodeError:
                pass
        decoded: dict[int, Any] = {}
        for row, raw in enumerate(raws):
            if row not in doubtful:
                try:
                    decoded[row] = decode(raw)
                except msgspec.DecodeError:
                    doubtful.add(row)
        some = next(iter(decoded.values()), None)
        return [decoded.get(row, some) for row in range(len(raws))], doubtful

    def _fill(self, events: Events, decoded: Sequence[Any], doubtful: set[int]) -> None:
        """Write the columns of what was decoded; rows that are not plainly right become doubtful."""
        parser = self.parser
        try:
            columns: Iterator[Sequence[Any]] = iter(list(zip(*map(self._columns, decoded), strict=True)))
        except AttributeError:  # an object within some event is missing
            columns = iter([_column(decoded, leaf.path) for leaf in self._leaves])
        events.ids[:] = self._key_texts(parser.id_text, next(columns), doubtful, "")
        hashes = b"".join([blake2b(text.encode(), digest_size=8).digest() for text in events.ids])
        events.id_hashes[:] = np.frombuffer(hashes, dtype="<u8")
        events.times[:] = self._times(next(columns), doubtful)
        kinds = next(columns)
        if parser.reversals:
            doubtful.update(row for row, kind in enumerate(kinds) if plain(kind) in parser.reversals)
        for e, leaf in enumerate(parser.entities):
            column = next(columns)
            events.entities[:, e] = self._entities[e].of(column, doubtful)
            if e == 0:
                events.key_matches[:] = self._match(leaf, column, events.records, doubtful)
        for leaf in parser.checked:
            check = self._numbers if leaf.field.type == "numeric" else self._texts
            check(leaf, next(columns), doubtful)
        for j, leaf in enumerate(parser.numerics):
            events.numerics[:, j] = self._numbers(leaf, next(columns), doubtful)
        for c in range(len(parser.categories)):
            events.categories[:, c] = self._categories[c].of(next(columns), doubtful)
        for t, leaf in enumerate(parser.texts):
            texts = self._texts(leaf, next(columns), doubtful)
            padded = ["" if text is None else leaf.digest.padded(text) for text in texts]
            split_grams(padded, leaf.digest.salt, events.grams[:, t])

    def _key_texts(
        self, leaf: Callable[[Any], Any], column: Column, doubtful: set[int], blank: Any
    ) -> Column:
        if _are_texts(column, self.parser.limits.key_chars_max) and "" not in column:
            return column
        if set(map(type, column)) == {int}:
            return self._key_texts(leaf, list(map(str, column)), doubtful, blank)
        return _each(leaf, column, doubtful, blank)

    def _times(self, column: Column, doubtful: set[int]) -> NDArray[np.float64]:
        types, form = set(map(type, column)), self.parser.time.field.format
        if types == {str} and form in ("auto", "iso8601"):
            seconds = self._iso.read(column)
        elif types <= {int, float} and form != "iso8601":
            seconds = from_epoch(_doubles(column), form)
        else:
            seconds = np.full(len(column), np.nan)
        for row in np.flatnonzero(~((seconds >= 0.0) & (seconds < TIME_MAX_S))).tolist():
            try:
                seconds[row] = self.parser.seconds(column[row])
            except Bad:
                doubtful.add(row)
        return seconds

    def _match(self, leaf: Leaf, column: Column, records: Sequence[Record], doubtful: set[int]) -> list[bool]:
        """Tell whether the records' keys are the main entity's values."""
        mains = self._key_texts(partial(self.parser.key_text, leaf.field), column, doubtful, None)
        wanted = [None if main is None else main.encode() for main in mains]
        keys = [record.key for record in records]
        if self.parser.require_key:
            pairs = enumerate(zip(keys, wanted, strict=True))
            doubtful.update(row for row, (key, main) in pairs if main is not None and key != main)
        return [key is None or main is None or key == main for key, main in zip(keys, wanted, strict=True)]

    def _numbers(self, leaf: Leaf, column: Column, doubtful: set[int]) -> NDArray[np.float64]:
        if set(map(type, column)) <= {int, float, NoneType}:
            numbers = _doubles(column)
            wrong = np.isinf(numbers) if leaf.field.optional else ~np.isfinite(numbers)
            doubtful.update(np.flatnonzero(wrong).tolist())
            return numbers
        return np.array(_each(partial(self.parser.number, leaf), column, doubtful, np.nan))

    def _texts(self, leaf: Leaf, column: Column, doubtful: set[int]) -> Column:
        if _are_texts(column, self.parser.limits.text_chars_max):
            return column
        return _each(partial(self.parser.check, leaf.field), column, doubtful, None)


class _Hashes(dict[Any, int]):
    """Hashes of the values of one entity or category that came lately; none depends on what came before."""

    def __init__(self, read: Callable[[Leaf, Any], int], leaf: Leaf, chars_max: int) -> None:
        self._leaf = partial(read, leaf)
        self._digest = leaf.digest
        self._chars_max = chars_max

    def of(self, column: Column, doubtful: set[int]) -> NDArray[np.uint64]:
        # Python's True and 1.0 are the key 1, though their texts differ.
        remembered = set(map(type, column)) <= {str, int, NoneType}
        hashes = _each(self.__getitem__ if remembered else self._leaf, column, doubtful, 0)
        return np.array(hashes, dtype=np.uint64)

    def __missing__(self, found: Any) -> int:
        plain_text = type(found) is str and 0 < len(found) <= self._chars_max
        hashed: int = self._digest(found) if plain_text else self._leaf(found)
        if len(self) >= CACHE_VALUES_MAX:
            self.clear()
        if len(str(found)) <= CACHE_CHARS_MAX:
            self[found] = hashed
        return hashed


def _column(decoded: Column, path: str) -> Column:
    column = decoded
    for attribute in path.split("."):
        column = [None if parent is None else getattr(parent, attribute) for parent in column]
    return column


def _each(leaf: Callable[[Any], Any], column: Column, doubtful: set[int], blank: Any) -> Column:
    """Read each value by itself; those that are refused are `blank`, and doubtful."""
    try:
        return list(map(leaf, column))
    except Bad:
        pass
    values = []
    for row, found in enumerate(column):
        try:
            values.append(leaf(found))
        except Bad:
            values.append(blank)
            doubtful.add(row)
    return values


def _are_texts(column: Column, chars_max: int) -> bool:
    return set(map(type, column)) == {str} and max(map(len, column)) <= chars_max


def _doubles(column: Column) -> NDArray[np.float64]:
    """Numbers, NaN for None; beyond the largest double inf."""
    try:
        return np.array(column, dtype=np.float64)
    except OverflowError:
        return np.array([np.nan if number is None else to_float(number) for number in column])
