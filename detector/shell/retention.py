"""Watches whether the topics that are read are kept as long as recovery may need them.

Somebody may shorten a topic's retention while the daemon runs. Nothing fails then, until a process dies and
finds the records deleted that its checkpoint must be replayed with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from detector.core.reporting.telemetry import Telemetry
from detector.errors import DetectorError
from detector.ports import Log
from detector.shell.watch import Watch

LOOK_S = 60.0  # between two looks; each one asks the broker for the settings of three topics at most
UNLIMITED_S = 100 * 365.25 * 86_400.0  # from here on a topic keeps everything


class RetentionWatch(Watch):
    """The background thread.

    Parameters
    ----------
    retention_ms
        Asks the broker how long a topic is kept, ms; None: it does not say. May block.
    topics
        Names of the topics that are read.
    needed_s
        How long they must be kept, s.
    telemetry
        Takes the answers.
    log
        Told of bugs.
    """

    def __init__(
        self,
        retention_ms: Callable[[str], int | None],
        topics: Sequence[str],
        needed_s: float,
        telemetry: Telemetry,
        log: Log,
    ) -> None:
        super().__init__("retention-watch", log)
        self._retention_ms, self._topics, self._needed_s = retention_ms, tuple(topics), needed_s
        self._telemetry = telemetry
        self._silent: tuple[str, ...] = ()  # topics of which the broker says nothing
        telemetry.recovery_s = needed_s

    def look(self) -> float:
        """Look once; see `Watch`. What is not told any more stays what it was."""
        silent = []
        for topic in self._topics:
            try:
                kept_ms = self._retention_ms(topic)
            except (DetectorError, OSError):
                kept_ms = None
            if kept_ms is None:
                silent.append(topic)
            else:
                kept_s = kept_ms / 1000.0
                self._telemetry.retention_s[topic] = inf if kept_s >= UNLIMITED_S else kept_s
        self._silent = tuple(silent)
        return LOOK_S

    def warnings(self) -> tuple[str, ...]:
        """What /readyz must say. May be called from any thread."""
        kept_s = dict(self._telemetry.retention_s)
        unknown = [
            f"the broker does not say how long topic {topic} is kept (needs DESCRIBE_CONFIGS on it)"
            for topic in self._silent
            if topic not in kept_s
        ]
        short = [
            f"topic {topic} is kept for {kept_s[topic] / 3600:.1f} h, less than recovery may need "
            f"({self._needed_s / 3600:.1f} h: checkpoints.age_max x keep, plus three days)"
            for topic in self._topics
            if kept_s.get(topic, inf) < self._needed_s
        ]
        return (*unknown, *short)
