"""Settings of topics and brokers, against what the service needs of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kafka import errors as kafka_errors
from kafka.admin import ConfigResourceType
from kafka.protocol.admin import DescribeConfigsRequest

from detector.config.tree import Config
from detector.core.recovery.journal import METADATA_BYTES_MAX
from detector.core.recovery.sides import SIDES
from detector.core.reporting.outputs import topic_names
from detector.shell.finding import Finding
from detector.shell.kafka.probe import Attempt, Connection
from detector.shell.kafka.size_limits import REQUEST_BYTES_MAX

Values = Mapping[str, str]
_OF_TOPICS = ["retention.ms", "retention.bytes", "cleanup.policy", "max.message.bytes", "min.insync.replicas"]
_OF_BROKERS = [
    "offset.metadata.max.bytes",
    "transaction.max.timeout.ms",
    "group.min.session.timeout.ms",
    "group.max.session.timeout.ms",
]


def described_settings(
    attempt: Attempt, connection: Connection, topics: Sequence[str], node: int
) -> dict[str | None, Values | None]:
    """Ask a broker for the settings that matter.

    Parameters
    ----------
    node
        Number of the broker that is asked: each one tells its own settings only.

    Returns
    -------
    dict
        By topic; None is the broker. The value is None where we may not know.

    Raises
    ------
    BrokerUnavailable, CredentialsError
    """
    kind = DescribeConfigsRequest.DescribeConfigsResource
    resources = [
        kind(resource_type=ConfigResourceType.TOPIC.value, resource_name=name, configuration_keys=_OF_TOPICS)
        for name in topics
    ]
    resources.append(
        kind(
            resource_type=ConfigResourceType.BROKER.value,
            resource_name=str(node),
            configuration_keys=_OF_BROKERS,
        )
    )
    answer = attempt.asked(connection, DescribeConfigsRequest(resources=resources), "settings")
    found: dict[str | None, Values | None] = dict.fromkeys((*topics, None))
    for result in answer.results:
        if kafka_errors.for_code(result.error_code) is kafka_errors.NoError:
            name = result.resource_name if result.resource_type == ConfigResourceType.TOPIC.value else None
            found[name] = {one.name: one.value for one in result.configs if one.value is not None}
    return found


class TopicLimits:
    """What topics must keep and accept.

    Parameters
    ----------
    recovery_s
        How long topics that are read must be kept, s.
    """

    def __init__(self, config: Config, recovery_s: float) -> None:
        topics = config.topics
        self._recovery_s, self._alerts = recovery_s, topics.alerts
        self._answerable_s = 0.0 if topics.feedback is None else config.model.labels.answerable_for
        self._outputs = set(topic_names(topics).values())
        sides = (getattr(topics, side) for side in SIDES)
        self._inputs = {name for name in (topics.transactions, *sides) if name is not None}

    def findings(self, found: Mapping[str, Values | None]) -> Iterator[Finding]:
        """Look at the settings of all topics, by name; None: we may not know."""
        unknown = sorted(name for name, values in found.items() if values is None)
        if unknown:
            text = f"retention and message size of {', '.join(unknown)} are not known"
            grants = " ".join(f"--topic {name}" for name in unknown)
            remedy = f"grant DESCRIBE_CONFIGS: kafka-acls.sh --add --operation DescribeConfigs {grants}"
            yield Finding.warning("settings of topics", text, remedy)
        for name, values in found.items():
            if values is not None:
                if name in self._inputs:
                    yield self._retention(name, values)
                elif name == self._alerts and self._answerable_s:
                    yield self._answers(name, values)
                if name in self._outputs:
                    yield self._message_size(name, values)

    def _retention(self, name: str, values: Values) -> Finding:
        subject, needed_h = f"retention of {name}", self._recovery_s / 3600
        if "compact" in values.get("cleanup.policy", ""):
            text = f"Topic {name} is compacted: records are removed that recovery needs."
            return Finding.error(subject, text, _alter(name, "cleanup.policy=delete"))
        kept_s = _kept_s(values)
        if kept_s is not None and kept_s < self._recovery_s:
            text = (
                f"Topic {name} is kept for {kept_s / 3600:.1f} h, and recovery may need {needed_h:.1f} h "
                "(checkpoints.age_max x keep, plus three days)."
            )
            more = _alter(name, f"retention.ms={self._recovery_s * 1000:.0f}")
            return Finding.error(subject, text, f"{more}; or a smaller checkpoints.age_max or keep")
        if int(values.get("retention.bytes", "-1")) >= 0:
            text = f"Topic {name} is also limited by size: a busy day may delete what recovery needs."
            return Finding.warning(subject, text, _alter(name, "retention.bytes=-1"))
        return Finding.ok(subject, f"{_hours(kept_s)}; recovery may need {needed_h:.1f} h")

    def _answers(self, name: str, values: Values) -> Finding:
        subject, kept_s = f"retention of {name}", _kept_s(values)
        if kept_s is not None and kept_s < self._answerable_s:
            text = (
                f"Topic {name} is kept for {kept_s / 3600:.1f} h, and alerts can be answered for "
                f"{self._answerable_s / 3600:.1f} h (model.labels.answerable_for)."
            )
            return Finding.warning(
                subject, text, _alter(name, f"retention.ms={self._answerable_s * 1000:.0f}")
            )
        return Finding.ok(subject, f"{_hours(kept_s)}; answers may take {self._answerable_s / 3600:.1f} h")

    def _message_size(self, name: str, values: Values) -> Finding:
        subject, most = f"message size of {name}", int(values.get("max.message.bytes", REQUEST_BYTES_MAX))
        if most < REQUEST_BYTES_MAX:
            text = f"Topic {name} accepts {most} bytes, and a batch of outputs may have {REQUEST_BYTES_MAX}."
            return Finding.error(subject, text, _alter(name, f"max.message.bytes={REQUEST_BYTES_MAX}"))
        return Finding.ok(subject, f"{most} bytes; {REQUEST_BYTES_MAX} are needed")


class BrokerLimits:
    """What brokers must allow."""

    def __init__(self, config: Config) -> None:
        kafka = config.kafka
        self._session_ms = kafka.session_timeout_ms
        exactly_once = config.delivery == "exactly_once"
        self._transaction_ms = kafka.transaction_timeout_ms if exactly_once else 0

    def findings(self, values: Values | None) -> Iterator[Finding]:
        """Look at a broker's settings; None: we may not know."""
        if values is None:
            text = "offset.metadata.max.bytes and the limits of timeouts are not known"
            remedy = "grant DESCRIBE_CONFIGS: kafka-acls.sh --add --operation DescribeConfigs --cluster"
            yield Finding.warning("settings of brokers", text, remedy)
            return
        yield _at_least(values, "offset metadata", "offset.metadata.max.bytes", METADATA_BYTES_MAX)
        if self._transaction_ms:
            key = "transaction.max.timeout.ms"
            yield _at_least(values, "transaction timeout", key, self._transaction_ms)
        low, high = (int(values.get(f"group.{side}.session.timeout.ms", 0)) for side in ("min", "max"))
        text = f"{self._session_ms} ms; brokers allow {low} to {high} ms"
        if low <= self._session_ms <= (high or self._session_ms):
            yield Finding.ok("session timeout", text)
        else:
            yield Finding.error("session timeout", text, "another kafka.session_timeout_ms")


def _at_least(values: Mapping[str, Any], subject: str, key: str, needed: int) -> Finding:
    most = int(values.get(key, needed))
    text = f"{key} is {most}; {needed} are needed"
    if most >= needed:
        return Finding.ok(subject, text)
    return Finding.error(subject, text, f"set {key}={needed} at the brokers (server.properties), and restart")


def _kept_s(values: Values) -> float | None:
    """How long a topic is kept, s; None: for good."""
    kept_ms = int(values.get("retention.ms", "-1"))
    return None if kept_ms < 0 or "delete" not in values.get("cleanup.policy", "delete") else kept_ms / 1000


def _hours(kept_s: float | None) -> str:
    return "kept for good" if kept_s is None else f"kept for {kept_s / 3600:.1f} h"


def _alter(topic: str, setting: str) -> str:
    return f"kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {setting}"
