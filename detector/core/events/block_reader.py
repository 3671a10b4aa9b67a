"""Many records at once, as columns: what `Parser.parse` gives for each, without an object per event.

A block is read column by column. What is plain (text where text is usual, numbers, times of the usual form)
is checked and converted for the whole column; any other value is converted by itself. A record that is not
accepted in this way, for whatever reason, is doubtful and left to `Parser.parse`, which decides: it accepts
the record, or says what is wrong with it. So the fast way needs no care for odd records, and the careful way
no speed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import TIME_MAX_S, Event
from detector.core.events.clocks import put_together
from detector.core.events.kinds import TEXT_GRAMS_MAX
from detector.core.events.parser import NO_RESOURCES, NO_SOURCE, Entity, ParsedEvent, Parser
from detector.core.events.rejection import Bad, Rejected
from detector.core.events.values import Column, HashCache, Plain, convert_each, plain
from detector.core.records import Record


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Events as the model sees them, n rows in log order, with their records."""

    records: Sequence[Record]
    offsets: NDArray[np.int64]  # (n,)
    ids: list[str]
    id_hashes: NDArray[np.uint64]  # (n,) without a key
    times: NDArray[np.float64]  # (n,) s since the epoch
    entities: NDArray[np.uint64]  # (n, E) keyed hashes, 0 for a missing one
    numerics: NDArray[np.float64]  # (n, J) raw values, NaN for a missing one
    categories: NDArray[np.uint64]  # (n, C) hashes, 0 for a missing one
    grams: NDArray[np.uint32]  # (n, T, TEXT_GRAMS_MAX) hashed trigrams, ascending, then 0
    points: NDArray[np.float64]  # (n, P, 2) latitude and longitude, degrees, NaN for a missing place
    key_matches: NDArray[np.bool_]  # (n,) the record's key is the main entity's value (or one is missing)
    unreadable: list[tuple[str, ...]]  # n; optional entities and fields whose values could not be read

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
            tuple((latitude, longitude) for latitude, longitude in self.points[row].tolist()),
            bool(self.key_matches[row]),
            int(self.id_hashes[row]),
            self.unreadable[row],
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
        records: Sequence[Record], *, entities: int, numerics: int, categories: int, texts: int, points: int
    ) -> Events:
        """Make rows to be overwritten, with as many columns per array as stated."""
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
            points=np.full((n, points, 2), np.nan),
            key_matches=np.ones(n, dtype=bool),
            unreadable=[()] * n,
        )

    def put(self, row: int, event: ParsedEvent) -> None:
        """Overwrite a row with the same record's event."""
        self.ids[row], self.id_hashes[row], self.times[row] = event.id, event.id_hash, event.time
        self.entities[row], self.numerics[row] = event.entities, event.numerics
        self.categories[row], self.key_matches[row] = event.categories, event.key_matches
        self.unreadable[row] = event.unreadable
        self.points[row], self.grams[row] = np.reshape(event.points, (-1, 2)), 0
        for text, grams in enumerate(event.grams):
            self.grams[row, text, : len(grams)] = grams


class BlockReader:
    """Reads events of one schema, many at once; see `Parser` for the parameters."""

    def __init__(
        self,
        schema: Event,
        entity_key: bytes,
        *,
        require_key: bool = False,
        resources: Mapping[str, Any] = NO_RESOURCES,
        source: tuple[str, int] = NO_SOURCE,
    ) -> None:
        self.parser = Parser(schema, entity_key, require_key=require_key, resources=resources, source=source)
        self._has_id, self._has_time = schema.id is not None, schema.time.path is not None
        self._entities = [
            HashCache(partial(self._entity_hash, entity), entity.digest, entity.texts)
            for entity in self.parser.entities
        ]

    def _entity_hash(self, entity: Entity, found: Any) -> int:
        text = self.parser.key_text(entity, found)
        return 0 if text is None else entity.digest(text)

    def read(self, records: Sequence[Record]) -> tuple[Events, dict[int, Rejected]]:
        """Read records.

        Returns
        -------
        events
            A row per record; the row of a rejected one has no meaning.
        rejected
            By row.
        """
        parser = self.parser
        events = Events.blank(records, entities=len(parser.entities), **parser.widths)
        columns, doubtful = parser.format.columns(records)
        if len(doubtful) < len(records):
            self._fill(events, columns, doubtful)
        rejected = {}
        for row in doubtful:
            parsed = parser.parse(records[row])
            if isinstance(parsed, Rejected):
                rejected[row] = parsed
            else:
                events.put(row, parsed)
        return events, rejected

    def _fill(self, events: Events, found: Sequence[Column], doubtful: set[int]) -> None:
        """Write what was decoded; rows that are not plainly right become doubtful."""
        parser = self.parser
        columns = iter(found)  # in the order of the format's paths
        ids, times, kinds, _ = islice(columns, 4)
        time = parser.schema.time
        clocks = next(columns) if time.clock is not None else None
        if len(time.parts) > 1:
            times = list(map(put_together, zip(times, *islice(columns, len(time.parts) - 1), strict=True)))
        if clocks is not None:
            times = list(zip(times, clocks, strict=True))
        events.ids[:] = (
            self._ids(ids, doubtful) if self._has_id else map(parser.own_id, events.offsets.tolist())
        )
        hashing = parser.id_hashing
        hashes = b"".join([blake2b(text.encode(), **hashing).digest() for text in events.ids])
        events.id_hashes[:] = np.frombuffer(hashes, dtype="<u8")
        events.times[:] = self._times(times, events, doubtful)
        if parser.reversals:
            doubtful.update(row for row, kind in enumerate(kinds) if plain(kind) in parser.reversals)
        for e, entity in enumerate(parser.entities):
            column = next(columns)
            events.entities[:, e] = self._entities[e].hash_column(column, doubtful)
            if e == 0:
                events.key_matches[:] = self._match(entity, column, events.records, doubtful)
        stores: dict[str, NDArray[Any]] = {
            "numerics": events.numerics,
            "categories": events.categories,
            "texts": events.grams,
            "points": events.points,
        }
        used = dict.fromkeys(stores, 0)
        for value in parser.values:
            parts = list(islice(columns, len(value.kind.field.paths)))
            column = parts[0] if len(parts) == 1 else list(zip(*parts, strict=True))
            if value.kind.field.use != "encode":
                value.kind.parse_column(column, doubtful)
                continue
            store, first = value.kind.store, used[value.kind.store]
            used[store] += len(value.kind.places(value.kind.field))
            value.kind.read_column(column, doubtful, stores[store][:, first : used[store]])

    def _ids(self, column: Column, doubtful: set[int]) -> Column:
        plainly = _as_texts(self.parser.id_texts, column)
        return convert_each(self.parser.id_text, column, doubtful, "") if plainly is None else plainly

    def _times(self, column: Column, events: Events, doubtful: set[int]) -> NDArray[np.float64]:
        times = self.parser.times
        if self._has_time:
            seconds = times.column(column)
        else:
            stamps = [record.timestamp_ms for record in events.records]
            seconds = times.of_records(stamps, events.offsets)
        for row in np.flatnonzero(~((seconds >= 0.0) & (seconds < TIME_MAX_S))).tolist():
            try:
                if not self._has_time:
                    raise Bad("missing", "time")
                seconds[row] = times.one(column[row])
            except Bad:
                doubtful.add(row)
        return seconds

    def _match(
        self, main: Entity, column: Column, records: Sequence[Record], doubtful: set[int]
    ) -> list[bool]:
        """Say whether the records' keys are the main entity's values."""
        texts = _as_texts(main.texts, column)
        if texts is None:
            texts = convert_each(partial(self.parser.key_text, main), column, doubtful, None)
        wanted = [None if text is None else text.encode() for text in texts]
        keys = [record.key for record in records]
        if self.parser.require_key:
            pairs = enumerate(zip(keys, wanted, strict=True))
            doubtful.update(row for row, (key, value) in pairs if value is not None and key != value)
        return [key is None or value is None or key == value for key, value in zip(keys, wanted, strict=True)]


def _as_texts(texts: Plain, column: Column) -> Column | None:
    """Ids or entity values as texts, if all of them plainly are; else None."""
    if texts.holds(column):
        return column
    if set(map(type, column)) == {int}:
        try:
            return _as_texts(texts, list(map(str, column)))
        except ValueError:  # more digits than Python spells
            return None
    return None
