"""Original events for the console, read from the transactions topic by the places that alerts name."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from detector.config.tree import Config
from detector.console.originals import GONE, event_of, hidden_names
from detector.console.views import Event
from detector.core.records import Record
from detector.errors import BrokerUnavailable, DetectorError, OutsideError
from detector.shell.kafka import KafkaArchive

GAP = 100  # offsets between two events that are read in one go


class Originals:
    """Reads original events by their places. Callers take turns."""

    def __init__(self, config: Config, archive: KafkaArchive) -> None:
        self._archive, self._hidden = archive, hidden_names(config.event)
        self._lock = threading.Lock()

    def __call__(self, places: Sequence[tuple[int, int]]) -> list[Event]:
        """Events at (partition, offset), in that order.

        What cannot be read has a sentence that says why.
        """
        found: dict[tuple[int, int], Event] = {}
        with self._lock:
            for partition in sorted({at[0] for at in places}):
                offsets = sorted({at[1] for at in places if at[0] == partition})
                try:
                    found |= self._of(partition, offsets)
                except DetectorError as error:
                    self._archive.close()
                    why = str(error) if isinstance(error, OutsideError) else "It cannot be read."
                    left = ((partition, offset) for offset in offsets)
                    found |= {at: Event(partition=at[0], offset=at[1], value=None, why=why) for at in left}
        return [found[at] for at in places]

    def _of(self, partition: int, offsets: Sequence[int]) -> dict[tuple[int, int], Event]:
        if not 0 <= partition < self._archive.partitions_count():
            raise BrokerUnavailable(f"The topic has no partition {partition}.")
        begin = self._archive.beginning(partition)
        records: dict[int, Record] = {}
        for first, last in runs_of([offset for offset in offsets if offset >= begin]):
            for batch in self._archive.records(partition, first, last + 1):
                records |= {record.offset: record for record in batch}
        found = {}
        for offset in offsets:
            event = event_of(partition, offset, records.get(offset), self._hidden)
            if offset < begin:
                event = Event(partition=partition, offset=offset, value=None, why=GONE)
            found[partition, offset] = event
        return found


def runs_of(offsets: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of offsets that are read in one go: they are near each other."""
    runs: list[tuple[int, int]] = []
    for offset in offsets:
        if runs and offset - runs[-1][1] <= GAP:
            runs[-1] = runs[-1][0], offset
        else:
            runs.append((offset, offset))
    return runs
