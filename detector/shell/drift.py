"""Drift monitor: ADWIN over aggregates of blocks. It counts changes in the telemetry and does nothing else.

Alerts never depend on it. The model follows drift in its own ways (long memories, the trim quantile), and a
detector that acted would give attackers one more thing to trigger. The counts are for people. Daily and
weekly cycles are changes too, so compare a count with its own usual value.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, pstdev
from types import ModuleType
from typing import Any

import river

from detector.core.reporting.counting import DRIFT_SIGNALS
from detector.core.reporting.telemetry import Telemetry

_SCALE_BLOCKS = 64  # blocks that set a signal's scale, at the start and after each change
_SPREADS_MAX = 4.0  # one odd block must not look like a change; a change that lasts still does

_PACKAGE = "river.drift"


def _adwin() -> Callable[[], Any]:
    """river's ADWIN without the rest of its package.

    `river.drift` also imports its data sets, and with them scikit-learn, scipy and pandas: 150 MB and 1.3 s
    of CPU time at each start (measured, river 0.26.1). So its module is imported under an empty package of
    the same name, which goes again: another import of `river.drift` finds all of it.
    """
    whole = sys.modules.get(_PACKAGE)
    if whole is None:
        empty = sys.modules[_PACKAGE] = ModuleType(_PACKAGE)
        empty.__path__ = [f"{folder}/drift" for folder in river.__path__]
    try:
        from river.drift.adwin import ADWIN
    finally:
        if whole is None:
            del sys.modules[_PACKAGE]
    found: Callable[[], Any] = ADWIN  # river has no type hints
    return found


_new_adwin = _adwin()


class DriftMonitor:
    """Counts changes of the mean of each signal, per partition.

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

    def __init__(self, telemetry: Telemetry, signals: Sequence[str] = DRIFT_SIGNALS) -> None:
        self._telemetry = telemetry
        self._signals = tuple(signals)
        self._detectors: dict[int, dict[str, _Detector]] = {}

    def observe(self, partition: int, values: Mapping[str, float]) -> None:
        """Add the aggregates of one block of events.

        Parameters
        ----------
        partition
            Number of the block's partition.
        values
            By signal, in its own unit. A signal may be missing or not finite. Blocks should be of about equal
            size, or their noise differs.

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
        """Drop the state of a partition that was revoked or lost; its counts stay.

        If the partition comes back, other replicas have processed events meanwhile: compared with the old
        state, an ordinary difference would look like a change.
        """
        self._detectors.pop(partition, None)


class _Detector:
    """ADWIN over one signal, in units of the signal's own spread.

    ADWIN's bound is for values in [0, 1]. On raw values it would hardly ever see a rejected share go from
    0.1 % to 1 %. The spread is that of the first blocks, and of the first blocks after each change.
    """

    def __init__(self) -> None:
        self._first: list[float] = []
        self._mean = self._spread = 0.0
        self._adwin = _new_adwin()

    def changed(self, value: float) -> bool:
        """Learn one value; returns whether the mean has changed since some moment in the past."""
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
