"""What part each thing that people can name has in the change of alerts.

Counted are the most anomalous events, whether the alert budget lets them become alerts or not. Of some of
them, evenly spread, it is asked by how much the score falls when one thing takes its expected value, with
everything that is derived from it: as for the reasons of an alert. A thing's share of these falls is its part
in that event.

With a share h of such events and a mean part a, now and usually, a thing's part in the change is
(h a - h' a') / (h - h'). Over all things these are 1, and nothing overlaps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

HIGH_STEP = 0.05
HIGH_SCORE = 3.0  # one accepted event in a thousand is at least as anomalous
ASKED_MAX = 8  # events of a pane where something drifts
USUAL_ASKED = 64.0  # the reference asks for one more where it has fewer
ASKED_MIN = 4.0  # before, nothing is known
SURE = 4.0  # standard errors of a change in the share of high events that is more than chance
HALF_LIFE_PANES = 512.0

Parts = Callable[[int], NDArray[np.float64]]
"""Gives the parts (G,) of the things in the score of an event of the piece, in all at most 1."""


class Weights:
    """Parts of G things.

    Parameters
    ----------
    things
        G.
    """

    def __init__(self, things: int) -> None:
        self._high = np.array([HIGH_SCORE])  # lowest score of the most anomalous events
        self.found = np.zeros(things)  # parts in the change, 0 to 1; zeros: no change
        self._now = np.zeros(3)  # events of the pane, high ones, those asked about
        self._parts = np.zeros(things)  # sum over those asked about
        self._usual = np.zeros(3)  # of the reference, likewise
        self._usual_parts = np.zeros(things)
        self._rule = np.array([1, 1])  # every so many high events are asked about, and at most

    def count(self, scores: NDArray[np.float64], parts: Parts | None) -> None:
        """Count n events with their scores (n,)."""
        places = np.flatnonzero(scores >= self._high)
        if parts is not None and len(places):
            every, most = self._rule.tolist()
            numbers = int(self._now[1]) + np.arange(len(places))
            for place in places[numbers % every == 0][: most - int(self._now[2])].tolist():
                self._parts += parts(place)
                self._now[2] += 1.0
        self._now[:2] += len(scores), len(places)

    def close(self, threshold: float, *, quiet: bool) -> None:
        """End the pane; where all was quiet, the reference learns from it.

        `threshold`: lowest score of an alert; infinite: there is none yet.
        """
        events, high, asked = np.maximum(self._now, 1e-9)
        usual_events, usual_high, usual_asked = np.maximum(self._usual, 1e-9)
        now, before = self._now[1] / events, self._usual[1] / usual_events
        pooled = (high + usual_high) / (events + usual_events)
        error = np.sqrt(pooled * (1.0 / events + 1.0 / usual_events))
        known = self._now[2] >= ASKED_MIN or (self._now[2] > 0.0 and now < before)
        self.found[:] = 0.0
        if known and abs(now - before) >= SURE * error:
            moved = now * self._parts / asked - before * self._usual_parts / usual_asked
            parts = np.clip(moved / (now - before), 0.0, 1.0)
            self.found[:] = parts / max(float(parts.sum()), 1.0)
        if quiet:
            kept = 0.5 ** (1.0 / HALF_LIFE_PANES)
            self._usual[:] = kept * self._usual + self._now
            self._usual_parts[:] = kept * self._usual_parts + self._parts
            if np.isfinite(threshold):
                self._high += HIGH_STEP * (min(threshold, HIGH_SCORE) - self._high)
        most = int(self._usual[2] < USUAL_ASKED) if quiet else ASKED_MAX
        self._rule[:] = max(int(self._now[1]) // max(most, 1), 1), most
        self._now[:], self._parts[:] = 0.0, 0.0

    def to_state(self) -> dict[str, Any]:
        return {name: getattr(self, name).copy() for name in _ARRAYS}

    def load(self, state: Mapping[str, Any]) -> None:
        for name in _ARRAYS:
            setattr(self, name, state[name])


_ARRAYS = ("_high", "found", "_now", "_parts", "_usual", "_usual_parts", "_rule")
