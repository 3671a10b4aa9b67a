"""The alerts of a case, found again in the event buffer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detector.core.labels.event_buffer import ALERTED, EventBuffer


class CaseAlerts:
    """Finds a case's alerts by its rule: those of the entity, none of them `idle_s` after the one before."""

    def __init__(self, buffer: EventBuffer, idle_s: float) -> None:
        self._buffer, self._idle_s = buffer, idle_s

    def alerts_of(self, first: int) -> Sequence[int] | None:
        """Offsets of the alerts of the case that begins at offset `first`; None: it is not stored."""
        buffer = self._buffer
        number = buffer.find("offsets", [first]).get(first)
        if number is None or not buffer.entities:
            return None
        later = buffer.stored(first=number)
        later = later[buffer.column("flags", later) & ALERTED != 0]
        keys = buffer.column("keys", later)[:, 0]
        later = later[keys == buffer.column("keys", np.array([number]))[0, 0]]
        if not len(later) or later[0] != number:  # that event gave no alert
            return None
        latest = np.maximum.accumulate(buffer.column("times", later))
        gaps = np.flatnonzero(np.diff(latest) > self._idle_s)
        offsets: list[int] = buffer.column("offsets", later[: gaps[0] + 1 if len(gaps) else None]).tolist()
        return offsets

    def close(self, first: int, at: int) -> bool:
        """Nothing: a case has no state of its own here."""
        return True
