"""Is the stream changing? ADWIN over aggregates of blocks, counted into the telemetry and nothing else.

The alerts never depend on it: the model follows drift by its own means (long memories, the trim quantile),
and a detector that acted would be one more thing for an attacker to trigger. What is counted is for people:
daily and weekly cycles are changes too, so a count says something against its own usual value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any

from river.drift import ADWIN

from detector.core.reporting.telemetry import Telemetry

SIGNALS = ("score_mean", "rejected_share", "exposure_log_mean")

_SCALE_BLOCKS = 64  # blocks from which a signal's scale is learned, before and after each change
_SPREADS_MAX = 4.0  # one odd block must not look like a change; one that lasts still does


_new_adwin: Callable[[], Any] = ADWIN  # river says nothing of types


class DriftMonitor:
    """Counts changes of the mean of each signal, for each partition.

    Parameters
    ----------
    telemetry
        Where changes are counted: ``telemetry.partitions[partition].drift[signal]``.
    signals
        Names that may be observed; each is counted from 0 on.

    References
    ----------
    Bifet and Gavalda (2007), "Learning from time-changing data with adaptive windowing".
    """

    def __init__(self, telemetry: Telemetry, signals: Sequence[str] = SIGNALS) -> None:
        self._telemetry = telemetry
        self._signals = tuple(signals)
        self._detectors: dict[int, dict[str, _Detector]] = {}

    def observe(self, partition: int, values: Mapping[str, float]) -> None:
        """Take the aggregates of one block of events.

        Parameters
        ----------
        partition
            Whose block it was.
        values
            By signal, in its own unit; a signal that this block does not have may be missing or not finite.
            Blocks should be of about equal size, or their noise differs.

        Raises
        ------
        ValueError
            A signal is not one of those declared.
        """
        if unknown := values.keys() - set(self._signals):
            raise ValueError(f"unknown signals: {', '.join(sorted(unknown))}")
        if partition not in self._detectors:
            self._detectors[partition] = {signal: _Detector() for signal in self._signals}
            counts = self._telemetry.partitions[partition].drift
            for signal in self._signals:
                counts[signal] += 0
        for signal, value in values.items():
            if math.isfinite(value) and self._detectors[partition][signal].changed(value):
                self._telemetry.partitions[partition].drift[signal] += 1

    def forget(self, partition: int) -> None:
        """Drop what is remembered of a partition that went to another replica; its counts stay."""
        self._detectors.pop(partition, None)


class _Detector:
    """ADWIN over one signal in units of its own spread.

    ADWIN's bound is for values in [0, 1]: on raw values it would hardly ever see a rejected share go from
    0.1 % to 1 %. The spread is that of the first blocks, and of the first ones after each change.
    """

    def __init__(self) -> None:
        self._first: list[float] = []
        self._mean = self._spread = 0.0
        self._adwin = _new_adwin()

    def changed(self, value: float) -> bool:
        """Learn one value; whether the mean is another one since some moment in the past."""
        if len(self._first) < _SCALE_BLOCKS:
            self._first.append(value)
            if len(self._first) == _SCALE_BLOCKS:
                self._mean = fmean(self._first)
                self._spread = max(pstdev(self._first), abs(self._mean) * 0.01, 1e-6)
            return False
        spreads = (value - self._mean) / self._spread
        self._adwin.update(max(-_SPREADS_MAX, min(_SPREADS_MAX, spreads)))
        if self._adwin.drift_detected:
            self._first.clear()
            self._adwin = _new_adwin()
            return True
        return False
