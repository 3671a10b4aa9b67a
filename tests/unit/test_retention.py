"""Topics that are kept too short are told, also when somebody changes them while the daemon runs."""

from __future__ import annotations

from math import inf

from detector.core.reporting.telemetry import Telemetry
from detector.errors import BrokerUnavailable
from detector.shell.retention import RetentionWatch
from detector.testing import MemoryLog

DAY_S = 86_400.0


class Broker:
    """Tells how long topics are kept."""

    def __init__(self, **days: float | None) -> None:
        self.days = days
        self.away = False

    def retention_ms(self, topic: str) -> int | None:
        if self.away:
            raise BrokerUnavailable("no broker")
        days = self.days[topic]
        return None if days is None else int(min(days * DAY_S * 1000, 2**63 - 1))


def watch(broker: Broker, telemetry: Telemetry) -> RetentionWatch:
    return RetentionWatch(broker.retention_ms, list(broker.days), 4 * DAY_S, telemetry, MemoryLog())


def test_a_topic_that_becomes_too_short_is_told_and_one_that_is_mended_is_not() -> None:
    broker, telemetry = Broker(events=7, feedback=inf), Telemetry()
    watched = watch(broker, telemetry)
    watched.look()
    assert watched.warnings() == ()
    assert telemetry.retention_s == {"events": 7 * DAY_S, "feedback": inf}
    assert telemetry.recovery_s == 4 * DAY_S
    broker.days["events"] = 1
    watched.look()
    (text,) = watched.warnings()
    assert "topic events is kept for 24.0 h, less than recovery may need (96.0 h" in text
    assert telemetry.retention_s["events"] == DAY_S
    broker.days["events"] = 7
    watched.look()
    assert watched.warnings() == ()


def test_a_broker_that_does_not_say_is_told_once_nothing_is_known() -> None:
    broker, telemetry = Broker(events=None), Telemetry()
    watched = watch(broker, telemetry)
    watched.look()
    (text,) = watched.warnings()
    assert "DESCRIBE_CONFIGS" in text
    assert telemetry.retention_s == {}
    broker.days["events"] = 7
    watched.look()
    broker.away = True
    watched.look()
    assert watched.warnings() == ()
    assert telemetry.retention_s == {"events": 7 * DAY_S}
