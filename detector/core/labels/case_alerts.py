"""The alerts of a case: those that are stored, also where the case has ended since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from detector.core.labels.event_buffer import ALERTED, EventBuffer


class Totals(Protocol):
    """What is known of an open case."""

    @property
    def case(self) -> int:
        """Offset of its first alert."""


class OpenCases(Protocol):
    """The open cases of a shard, see `detector.core.alerts.cases`."""

    def totals(self, entity: int) -> Totals | None:
        """The open case of a main entity, given by its hash; None: it has none."""

    def close(self, first: int, at: int) -> bool:
        """End the case with this first alert, at offset `at` of the log; False: it is not open."""


class CaseAlerts:
    """Finds the alerts of cases in the event buffer, and closes cases.

    The alerts of a case are those of the entity from its first one on, none of them `idle_s` after the one
    before, and none of the entity's next case.

    Parameters
    ----------
    cases
        None: cases end by themselves only.
    """

    def __init__(self, buffer: EventBuffer, idle_s: float, cases: OpenCases | None = None) -> None:
        self._buffer, self._idle_s, self._cases = buffer, idle_s, cases

    def alerts_of(self, first: int) -> Sequence[int] | None:
        """Offsets of the alerts of the case that begins at offset `first`; None: it is not stored."""
        buffer = self._buffer
        number = buffer.find("offsets", [first]).get(first)
        if number is None or not buffer.entities:
            return None
        later = buffer.stored(first=number)
        later = later[buffer.column("flags", later) & ALERTED != 0]
        entity = int(buffer.column("keys", np.array([number]))[0, 0])
        later = later[buffer.column("keys", later)[:, 0] == np.uint64(entity)]
        if not len(later) or later[0] != number:  # that event gave no alert
            return None
        latest = np.maximum.accumulate(buffer.column("times", later))
        gaps = np.flatnonzero(np.diff(latest) > self._idle_s)
        offsets: list[int] = buffer.column("offsets", later[: gaps[0] + 1 if len(gaps) else None]).tolist()
        begun = None if self._cases is None else self._cases.totals(entity)
        return [offset for offset in offsets if begun is None or not first < begun.case <= offset]

    def close(self, first: int, at: int) -> bool:
        """End the case with this first alert, at offset `at` of the log; False: it is not open."""
        return self._cases is not None and self._cases.close(first, at)

    def close_of(self, entity: int, at: int) -> bool:
        """End the open case of a main entity; False: it has none."""
        found = None if self._cases is None else self._cases.totals(entity)
        return found is not None and self.close(found.case, at)
