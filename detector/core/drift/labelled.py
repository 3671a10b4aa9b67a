"""Labels: do they come as usual, and what do they say of the alerts?

Silence is measured in labels: as many as would have come at the usual rate of these hours. It is drift where
it is longer than `SILENCE_MIN` and than `SILENCES` times the longest one before. So nights, weekends and
labels that come in batches are no drift, whatever their rhythm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.drift.bins import SLOTS, slot_of
from detector.core.drift.reference import DAY_S, completed_rates, hours_between
from detector.core.erasure import Counts, Erased, Keys

WEEK_S = 7 * DAY_S
ALERTS_MAX = 4_096  # the newest alerts, whose answers are counted
LABELS_MAX = 4_096  # the newest labels
BYTES = 8 * (4 * ALERTS_MAX + 3 * LABELS_MAX + 2 * SLOTS)
SILENCE_MIN, SILENCES = 20.0, 2.0
JUDGED_AFTER_S, JUDGED_AFTER_LABELS = 8 * DAY_S, 50
RATE_PRIOR_H = 4.0  # hours that complete an hour's rate of labels
NOT_ANSWERED, LEGITIMATE, FRAUD = -1.0, 0.0, 1.0


class LabelWatch:
    """See the module's text.

    Parameters
    ----------
    severities
        Names by rank.
    """

    def __init__(self, severities: Sequence[str]) -> None:
        self._severities = tuple(severities)
        self._alerts = np.full((ALERTS_MAX, 4), np.nan)  # offset, time, rank, answer; the oldest is replaced
        self._labels = np.full((LABELS_MAX, 3), np.nan)  # time, delay (s), 1 for a fraud; likewise
        self._counts = [0, 0]  # alerts and labels ever
        self._fresh = 0  # labels of the barrier under way
        self._volume = np.zeros((SLOTS, 2))  # labels, and hours of event time
        self._began = self._last = self._label = np.nan  # event times: first barrier, last one, last label
        self.expected = 0.0  # labels that would have come since the last one
        self._longest = 0.0  # silence so far, likewise

    def alerted(self, offsets: NDArray[np.int64], times: NDArray[np.float64], ranks: Sequence[int]) -> None:
        """Note alerts, with their offsets, event times and severities; they may be answered."""
        for offset, time, rank in zip(offsets.tolist(), times.tolist(), ranks, strict=True):
            self._alerts[self._counts[0] % ALERTS_MAX] = offset, time, rank, NOT_ANSWERED
            self._counts[0] += 1

    def apply(self, answers: Sequence[tuple[int, str, float, float]]) -> None:
        """Note labels; the barrier follows.

        Parameters
        ----------
        answers
            Offset of the event; fraud, legitimate or retracted; when it was given, and the event's time, s.
        """
        known = {"fraud": FRAUD, "legitimate": LEGITIMATE}
        for offset, label, given, time in answers:
            self._alerts[self._alerts[:, 0] == offset, 3] = known.get(label, NOT_ANSWERED)
            if label in known:
                self._labels[self._counts[1] % LABELS_MAX] = given, max(given - time, 0.0), known[label]
                self._counts[1] += 1
                self._fresh += 1

    def held(self, entities: Keys) -> Counts:
        """Nothing that counts by entity."""
        return {}

    def erase(self, erased: Erased) -> None:
        """Keep what was answered, not where these events were."""
        self._alerts[np.isin(self._alerts[:, 0], erased.offsets), 0] = np.nan

    def barrier(self, now: float) -> None:
        """Follow the silence up to event time `now`."""
        if not np.isfinite(now):
            return
        if np.isnan(self._began):
            self._began = self._last = now
        hours = hours_between(self._last, now)
        self.expected += float(completed_rates(self._volume, RATE_PRIOR_H) @ hours)
        silent = bool(self.since)
        self._last = max(now, self._last)
        if self._fresh:
            self._longest = self._longest if silent else max(self._longest, self.expected)
            self._volume[slot_of(now), 0] += self._fresh
            self._label, self.expected, self._fresh = now, 0.0, 0
        if not silent:
            self._volume[:, 1] += hours

    @property
    def since(self) -> float:
        """Event time since which labels are missing, s; 0: they come as usual."""
        known = self._counts[1] >= JUDGED_AFTER_LABELS and self._last - self._began >= JUDGED_AFTER_S
        silent = self.expected > max(SILENCE_MIN, SILENCES * self._longest)
        return float(self._label) if known and silent else 0.0

    def measures(self) -> dict[str, float]:
        """Share of frauds, median delay answered share of alerts: of a week, and of the one before."""
        found = {}
        for name, part in (("", 0.0), ("_before", WEEK_S)):
            until = self._last - part
            labels = self._labels[(self._labels[:, 0] <= until) & (self._labels[:, 0] > until - WEEK_S)]
            alerts = self._of_week(until)
            if len(labels):
                found[f"share{name}"] = float(labels[:, 2].mean())
                found[f"delay_seconds{name}"] = float(np.median(labels[:, 1]))
            if len(alerts):
                found[f"coverage{name}"] = float((alerts[:, 3] != NOT_ANSWERED).mean())
        return found

    def precision(self) -> dict[str, float]:
        """Share of frauds among the answered alerts of a week, by severity."""
        alerts = self._of_week(self._last)
        answered = alerts[alerts[:, 3] != NOT_ANSWERED]
        return {
            name: float(answered[answered[:, 2] == rank, 3].mean())
            for rank, name in enumerate(self._severities)
            if (answered[:, 2] == rank).any()
        }

    def _of_week(self, until: float) -> NDArray[np.float64]:
        return self._alerts[(self._alerts[:, 1] <= until) & (self._alerts[:, 1] > until - WEEK_S)]

    def to_state(self) -> dict[str, Any]:
        return {
            "alerts": self._alerts.copy(),
            "labels": self._labels.copy(),
            "volume": self._volume.copy(),
            "counts": np.array(self._counts),
            "numbers": np.array([self._began, self._last, self._label, self.expected, self._longest]),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._alerts, self._labels, self._volume = state["alerts"], state["labels"], state["volume"]
        self._counts = [int(count) for count in state["counts"]]
        numbers = state["numbers"].tolist()
        self._began, self._last, self._label, self.expected, self._longest = numbers
