"""What became of each row of a table, as columns."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.core.events import Rejected
from detector.core.records import Alert, DeadLetter, Outputs
from detector.core.shard.looking import Looked


class Results:
    """Columns of a result, filled as outputs come."""

    def __init__(self, size: int, start: int) -> None:
        self._start = start
        self._looked = 0
        self._scores = np.full(size, np.nan)
        self._alerted = np.zeros(size, dtype=bool)
        self._reasons: list[str | None] = [None] * size
        self._rejected: list[str | None] = [None] * size

    def add(self, outputs: Outputs) -> None:
        """Add outputs of the shard."""
        for scored in outputs.scored:
            rows = scored.offsets - self._start
            self._scores[rows], self._alerted[rows] = scored.scores, scored.alerted
        for alert in outputs.alerts:
            self._reasons[alert.offset - self._start] = _reasons_of(alert)
        for letter in outputs.dead_letters:
            self._rejected[letter.offset - self._start] = why(letter)

    def add_looked(self, looked: Looked) -> None:
        """Add the next rows, which were looked at."""
        first, count = self._looked, len(looked.scores)
        self._scores[first : first + count] = looked.scores
        for row, alert in looked.candidates.items():
            self._alerted[first + row], self._reasons[first + row] = True, _reasons_of(alert)
        for row, rejected in looked.rejected.items():
            self._rejected[first + row] = why(rejected)
        self._looked += count

    def columns(self) -> dict[str, NDArray[Any] | list[str | None]]:
        return {
            "score": self._scores,
            "quantile": 1.0 - 10.0**-self._scores,
            "alert": self._alerted,
            "reasons": self._reasons,
            "rejected": self._rejected,
        }


def _reasons_of(alert: Alert) -> str:
    return "; ".join(reason["detail"] for reason in msgspec.json.decode(alert.body)["reasons"])


def why(rejected: Rejected | DeadLetter) -> str:
    """Reason and detail of a rejected record."""
    return ": ".join(dict.fromkeys(part for part in (rejected.reason, rejected.detail) if part))
