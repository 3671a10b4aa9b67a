"""From records to admitted events: parsing, admission, event time, dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import ModelPart
from detector.core.events import SKIPPED, Admission, BlockReader, Events, EventTime, Parser, Rejected
from detector.core.records import DeadLetter, Identity, Record
from detector.core.shard.block import Block

# Fewest records read at once: a few cost nearly as much as one. Records beyond the block are read again
# later.
READ_MIN = 16


class Admitted(NamedTuple):
    """What became of the first `consumed` records."""

    events: Events
    dead_letters: tuple[DeadLetter, ...]
    consumed: int
    irregular: Mapping[str, int]  # events out of order, late, duplicate; records skipped; by kind
    unreadable: Mapping[str, int]  # values of admitted events that could not be read, by field


class Intake:
    """Reads records of one partition. Event time follows the events that are admitted."""

    def __init__(self, config: ModelPart, identity: Identity) -> None:
        self._identity = identity
        self._reader = self._make_reader(config)
        self._admission = Admission(config.event, self._reader.parser.id_hash)
        self.time = EventTime()

    def _make_reader(self, config: ModelPart) -> BlockReader:
        return BlockReader(
            config.event,
            self._identity.entity_key,
            require_key=config.require_key,
            resources=self._identity.resources,
            source=(self._identity.topic, self._identity.partition),
        )

    def reconfigure(self, config: ModelPart) -> None:
        """Use another configuration; which events came before stays known."""
        known = self._admission.to_state()
        self._reader = self._make_reader(config)
        self._admission = Admission(config.event, self._reader.parser.id_hash)
        self._admission.load(known)

    def restart_time(self) -> None:
        """Forget how far event time has come."""
        self.time = EventTime()

    @property
    def parser(self) -> Parser:
        """Reads one record at a time, for alerts."""
        return self._reader.parser

    def read(self, records: Sequence[Record], block: Block, end: int) -> Admitted:
        """Read records until the block has `end` rows; their times are written to the block."""
        pieces: list[Events] = []
        dead: list[DeadLetter] = []
        consumed, filled, skipped = 0, block.filled, 0
        while consumed < len(records) and (room := end - filled):
            piece = records[consumed : consumed + max(room, READ_MIN)]
            events, rejected = self._reader.read(piece)
            admitted = self._admission.admit(events, rejected, self.time, room)
            entered = slice(filled, filled + len(admitted.rows))
            block.times[entered], block.now[entered] = admitted.bounded_times, admitted.now
            pieces.append(events.take(admitted.rows))
            wrong = {row: why for row, why in admitted.refused.items() if why.reason != SKIPPED}
            dead += [self._dead_letter(piece[row], why) for row, why in wrong.items()]
            skipped += len(admitted.refused) - len(wrong)
            consumed, filled = consumed + admitted.consumed, entered.stop
        joined = Events.joined(pieces or [self._reader.read([])[0]])
        irregular = self._admission.collect()
        if skipped:
            irregular["skipped"] = skipped
        unreadable = Counter(name for names in joined.unreadable if names for name in names)
        return Admitted(joined, tuple(dead), consumed, irregular, unreadable)

    def look(self, records: Sequence[Record]) -> tuple[Events, NDArray[np.float64], Mapping[int, Rejected]]:
        """Read records, each as if it were the next one; nothing changes, and none is a duplicate or late.

        Returns
        -------
        events
            The n records that are events.
        times : (n,) float64
            Their bounded event times, s since the epoch.
        rejected
            By row of `records`.
        """
        read, rejected = self._reader.read(records)
        rows = np.array([row for row in range(len(records)) if row not in rejected], dtype=np.int64)
        events = read.take(rows)
        return events, self.time.bounded(events.times), rejected

    def _dead_letter(self, record: Record, rejected: Rejected) -> DeadLetter:
        facts = {
            "detector_reason": rejected.reason,
            "detector_detail": rejected.detail[:1024],
            "detector_topic": self._identity.topic,
            "detector_partition": str(self._identity.partition),
            "detector_offset": str(record.offset),
        }
        headers = tuple((name, text.encode(errors="replace")) for name, text in facts.items())
        return DeadLetter(
            offset=record.offset,
            key=record.key,
            value=record.value,
            headers=record.headers + headers,
            reason=rejected.reason,
            detail=rejected.detail,
        )

    def to_state(self) -> dict[str, Any]:
        """State right after a barrier."""
        return {"time": self.time.to_state(), "admission": self._admission.to_state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self.time.load(state["time"])
        self._admission.load(state["admission"])
