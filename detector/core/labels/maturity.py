"""When an event without a label counts as legitimate.

A missing label does not mean that an event is legitimate: fraud is reported days or weeks later. An event
is *judged* once it is older than `labels.maturity_delay` and older than the .95 quantile of the delays with
which unalerted frauds were reported. While few of these are known, delays of all frauds count, those of
peers among them. Without any delay nothing is judged. An alerted event that nobody answered is never
judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.labels.event_buffer import ALERTED, FRAUD, LEGITIMATE, EventBuffer

DELAYS_MAX = 1024  # delays stored, of each kind
DELAY_QUANTILE = 0.95
# Delays of unalerted frauds below which those of all frauds are used instead.
UNALERTED_MIN = 8


class Maturity:
    """Which events of the buffer are judged.

    Parameters
    ----------
    delay_min_s
        Lowest age of an unreported event, s of event time.
    """

    def __init__(self, buffer: EventBuffer, delay_min_s: float) -> None:
        self._buffer = buffer
        self._delay_min_s = delay_min_s
        self.end = 0  # number of the first event that has not matured
        # Delays of fraud labels, s.
        self._delays: dict[str, list[float]] = {"unalerted": [], "all": [], "peers": []}

    def observe_delay(self, delay_s: float, *, alerted: bool) -> None:
        """Store the delay of a fraud label of this shard."""
        for kind in ["all"] if alerted else ["all", "unalerted"]:
            self._extend(kind, [delay_s])

    def observe_peer_delays(self, delays_s: list[float]) -> None:
        """Store delays of fraud labels of a peer."""
        self._extend("peers", delays_s)

    def advance(self, now: float) -> NDArray[np.int64]:
        """Move on to event time `now`, s.

        Returns
        -------
        (m,) int64
            Numbers of the events that are judged from now on, ascending.
        """
        buffer = self._buffer
        held = buffer.stored(self.end)
        young = np.flatnonzero(buffer.column("times", held) > now - self._age_min_s())
        matured = held[: young[0]] if len(young) else held
        self.end = int(matured[-1]) + 1 if len(matured) else int(held[0]) if len(held) else self.end
        return matured[self.is_judged(matured)]

    def is_judged(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether mature events (n,) are judged: an alerted event only if it was answered."""
        flags = self._buffer.column("flags", numbers)
        judged: NDArray[np.bool_] = ((flags & ALERTED) == 0) | ((flags & (FRAUD | LEGITIMATE)) != 0)
        return judged

    def _age_min_s(self) -> float:
        """Lowest age of an unreported event; inf while no delay is known."""
        delays = self._delays["unalerted"]
        if len(delays) < UNALERTED_MIN:
            delays = self._delays["all"] + self._delays["peers"]
        if not delays:
            return np.inf
        return max(self._delay_min_s, float(np.quantile(delays, DELAY_QUANTILE)))

    def _extend(self, kind: str, delays_s: list[float]) -> None:
        self._delays[kind] = [*self._delays[kind], *delays_s][-DELAYS_MAX:]

    def to_state(self) -> dict[str, Any]:
        """State as plain values."""
        return {"end": self.end, "delays": {kind: list(delays) for kind, delays in self._delays.items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self.end = state["end"]
        self._delays = {kind: list(delays) for kind, delays in state["delays"].items()}
