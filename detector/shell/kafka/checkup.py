"""Look at everything of Kafka that a member of the group will need.

In order: each bootstrap server step by step (`reach`), every broker that the first usable one advertises,
permissions, topics, their settings, the brokers' settings, the clock. What cannot be known without a
permission that the service itself does not need is a warning. Nothing is changed: no record is written, no
group joined, no transaction begun.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from kafka import errors as kafka_errors
from kafka.admin import ACLOperation
from kafka.errors import KafkaError
from kafka.protocol.admin import DescribeGroupsRequest, DescribeQuorumRequest
from kafka.protocol.producer.transaction import EndTxnRequest

from detector.config.tree import Config
from detector.core.recovery.sides import SIDES
from detector.errors import EXIT_CONFIG, BrokerUnavailable, CredentialsError, DetectorError
from detector.shell import calls
from detector.shell.finding import Finding
from detector.shell.kafka.client import CALL, Settings
from detector.shell.kafka.cluster_settings import BrokerLimits, TopicLimits, described_settings
from detector.shell.kafka.probe import (
    GROUP,
    TRANSACTIONAL_ID,
    Attempt,
    Connection,
    Rights,
    missing_operations,
)
from detector.shell.kafka.reach import Reached, client_certificate

CHECKUP_S = 8.5  # for all of it: the command ends within 10 s
_BROKERS_MAX = 32  # advertised brokers that are tried
_CLOCK_S = (
    5.0  # NTP keeps clocks within a fraction of a second; a larger difference says that it does not run
)
_METADATA_LOG = "__cluster_metadata"
_SINGLE = (*SIDES,)  # topics with one partition


class Checkup:
    """One look at the cluster.

    Parameters
    ----------
    config, settings
        The configuration, and what `client_settings` made of it.
    rights
        Everything that a member needs (`rights_of`).
    recovery_s
        How long topics that are read must be kept, s.
    """

    def __init__(self, config: Config, settings: Settings, rights: Rights, recovery_s: float) -> None:
        self._config, self._settings, self._rights = config, settings, rights
        self._recovery_s = recovery_s
        self._deadline = time.monotonic() + CHECKUP_S
        self._nodes: dict[int, Reached] = {}  # usable connections to brokers, by node
        principal = config.kafka.security.username
        self._acls = f"kafka-acls.sh --add --allow-principal User:{principal or 'NAME'}"

    def run(self) -> list[Finding]:
        """Look at everything; ends within `CHECKUP_S`."""
        findings = client_certificate(self._config)
        with ExitStack() as open_:
            reached = self._reach(self._settings["bootstrap_servers"], open_)
            usable = [one for one in reached if one.connection is not None]
            for one in reached:
                findings += map(_less_urgent, one.findings) if usable else one.findings
            if usable:
                try:
                    findings += self._inside(usable[0], reached, open_)
                except (BrokerUnavailable, CredentialsError) as error:
                    remedy = "look at the broker's log, and try again"
                    findings.append(Finding.of("broker", error, remedy))
        return findings

    def _inside(self, first: Reached, reached: Iterable[Reached], open_: ExitStack) -> Iterator[Finding]:
        """What a usable connection tells."""
        attempt, connection = self._at(first)
        answer = attempt.described(connection, self._rights.uses)
        yield self._advertised(answer.brokers, reached, open_)
        if not self._nodes:
            return
        topics = {topic.name: topic for topic in answer.topics}
        missing = list(self._missing(attempt, connection, topics))
        yield from missing
        if not missing:
            yield Finding.ok("permissions", "everything that a member of the group needs is allowed")
        yield from map(self._topic, topics.values())
        node, broker = next(iter(self._nodes.items()))
        attempt, connection = self._at(broker)
        found = described_settings(attempt, connection, list(topics), node)
        known = {name: found[name] for name, topic in topics.items() if not topic.error_code}
        yield from TopicLimits(self._config, self._recovery_s).findings(known)
        yield from BrokerLimits(self._config).findings(found[None])
        yield self._clock(attempt, connection)

    def _reach(self, addresses: Iterable[str], open_: ExitStack) -> list[Reached]:
        """Try all servers at the same time: one that drops packets does not hide the others."""

        def reach(address: str) -> Reached:
            return Reached(address, self._config, self._settings, open_)

        asked = [calls.start(partial(reach, address), name=CALL) for address in addresses]
        return [calls.wait(future, self._deadline - time.monotonic()) for future in asked]

    def _at(self, server: Reached) -> tuple[Attempt, Connection]:
        assert server.connection is not None
        server.attempt.deadline = self._deadline
        return server.attempt, server.connection

    def _advertised(self, brokers: Any, reached: Iterable[Reached], open_: ExitStack) -> Finding:
        """Connect to the brokers as clients do: by the addresses that they advertise."""
        known = {one.address: one for one in reached}
        wanted = {f"{_bracketed(b.host)}:{b.port}": b.node_id for b in brokers[:_BROKERS_MAX]}
        fresh = self._reach([address for address in wanted if address not in known], open_)
        known |= {one.address: one for one in fresh}
        bad = []
        for address, node in wanted.items():
            if known[address].connection is None:
                bad.append(f"broker {node} is advertised as {known[address].findings[-1].text}")
            else:
                self._nodes[node] = known[address]
        if not bad:
            return Finding.ok("brokers", f"all {len(wanted)} brokers are reached as they are advertised")
        remedy = "correct advertised.listeners of the broker, or open the way to it"
        return Finding.error("brokers", " ".join(bad), remedy)

    # --- permissions ---

    def _missing(
        self, attempt: Attempt, connection: Connection, topics: Mapping[str, Any]
    ) -> Iterator[Finding]:
        """Name each right that is missing, and the command that grants it."""
        rights = self._rights
        for name, use in rights.uses.items():
            for operation in missing_operations(topics[name], use):
                yield self._denied(f"topic {name}", operation, f"--topic {name}")
        if not self._may_use_group(attempt, connection):
            yield self._denied(f"group {rights.group}", "READ", f"--group {rights.group}")
        id_ = rights.transactional_id
        if id_ is not None and not self._may_write_as(attempt, connection, id_):
            where = f"--transactional-id {rights.group} --resource-pattern-type prefixed"
            yield self._denied(f"transactional id {id_}", "WRITE", where)

    def _denied(self, what: str, operation: str, where: str) -> Finding:
        text = f"Not allowed: {what} needs {operation}."
        remedy = f"{self._acls} --operation {operation.title()} {where}"
        return Finding.error("permission", text, remedy, EXIT_CONFIG)

    def _may_use_group(self, attempt: Attempt, connection: Connection) -> bool:
        group = self._rights.group
        node = attempt.coordinator(connection, group, GROUP)
        if node is None:
            return False
        if node not in self._nodes:
            return True  # there is no coordinator yet; whoever may not join is told by the join
        attempt, connection = self._at(self._nodes[node])
        request = DescribeGroupsRequest(groups=[group], include_authorized_operations=True, max_version=5)
        [found] = attempt.asked(connection, request, "group").groups
        allowed = getattr(found, "authorized_operations", None)
        if allowed is None or kafka_errors.for_code(found.error_code) is not kafka_errors.NoError:
            return True  # not known; see above
        return ACLOperation.READ.value in allowed

    def _may_write_as(self, attempt: Attempt, connection: Connection, id_: str) -> bool:
        """Ask to end a transaction of a producer that cannot exist.

        The broker looks at the permission first, and then finds no such producer: nothing is ended.
        """
        if attempt.coordinator(connection, id_, TRANSACTIONAL_ID) is None:
            return False
        request = EndTxnRequest(
            transactional_id=id_, producer_id=-1, producer_epoch=-1, committed=False, max_version=3
        )
        error = kafka_errors.for_code(attempt.asked(connection, request, "transaction").error_code)
        return not issubclass(error, kafka_errors.AuthorizationError)

    # --- topics and clock ---

    def _topic(self, topic: Any) -> Finding:
        name, kind = topic.name, kafka_errors.for_code(topic.error_code)
        subject = f"topic {name}"
        if kind is kafka_errors.UnknownTopicOrPartitionError:
            single = name in {getattr(self._config.topics, side) for side in _SINGLE}
            how = f"--partitions {'1' if single else 'N'} --replication-factor 3"
            remedy = f"kafka-topics.sh --create --topic {name} {how}; or correct topics"
            return Finding.error(subject, f"Topic {name} does not exist.", remedy)
        if kind is kafka_errors.TopicAuthorizationFailedError:
            return Finding.error(subject, f"Topic {name} is not known.", "see permission", EXIT_CONFIG)
        if kind is not kafka_errors.NoError:
            return Finding.error(subject, f"Topic {name} is not available ({kind.__name__}).", "try again")
        return self._partitions(subject, topic)

    def _partitions(self, subject: str, topic: Any) -> Finding:
        partitions, name = topic.partitions, topic.name
        count, copies = len(partitions), min(len(one.replica_nodes) for one in partitions)
        headless = sorted(one.partition_index for one in partitions if one.leader_id < 0)
        behind = sorted(p.partition_index for p in partitions if len(p.isr_nodes) < len(p.replica_nodes))
        text = f"{count} partition{'s' if count > 1 else ''}, {copies} replica{'s' if copies > 1 else ''}"
        if headless:
            text = f"Topic {name} has partitions without a leader: {_some(headless)}."
            return Finding.error(subject, text, "bring back the brokers that have them")
        if count > 1 and name in {getattr(self._config.topics, side) for side in _SINGLE}:
            text = f"Topic {name} has {count} partitions, and must have exactly one."
            return Finding.error(subject, text, f"create another topic with one partition instead of {name}")
        if behind:
            text = f"{text}; replicas are behind in partitions {_some(behind)}"
            return Finding.warning(subject, text, "look at the brokers that have them")
        if copies < 2:
            text = f"{text}: one broker that is lost takes its records with it"
            remedy = f"kafka-reassign-partitions.sh: three replicas of {name}"
            return Finding.warning(subject, text, remedy)
        return Finding.ok(subject, text)

    def _clock(self, attempt: Attempt, connection: Connection) -> Finding:
        """Compare with the controller's clock, read as when it was last up to date (KIP-836)."""
        partition = DescribeQuorumRequest.TopicData.PartitionData(partition_index=0)
        topic = DescribeQuorumRequest.TopicData(topic_name=_METADATA_LOG, partitions=[partition])
        before_s = time.time()
        try:
            answer = attempt.asked(connection, DescribeQuorumRequest(topics=[topic], max_version=1), "quorum")
            after_s = time.time()
            [found] = answer.topics[0].partitions
            [leader] = [one for one in found.current_voters if one.replica_id == found.leader_id]
            there_s = leader.last_caught_up_timestamp / 1000
            if there_s <= 0:
                raise ValueError
        except (DetectorError, KafkaError, LookupError, ValueError, TypeError, AttributeError):
            text = "the broker does not tell its clock (needs DESCRIBE on the cluster, and KRaft)"
            remedy = f"{self._acls} --operation Describe --cluster; or compare the clocks by hand"
            return Finding.warning("clock", text, remedy)
        off_s = there_s - (before_s + after_s) / 2
        side = "ahead of" if off_s > 0 else "behind"
        text = f"the broker's clock is {abs(off_s):.1f} s {side} this machine's"
        if abs(off_s) <= _CLOCK_S + (after_s - before_s) / 2:
            return Finding.ok("clock", text)
        return Finding.warning("clock", text, "let both machines take their time from NTP")


def _less_urgent(finding: Finding) -> Finding:
    """A server that is away matters less where another one is usable; a refusal does not."""
    if finding.verdict == "error" and finding.exit_code != EXIT_CONFIG:
        remedy = f"{finding.remedy}; meanwhile the other servers are used"
        return Finding.warning(finding.subject, finding.text, remedy)
    return finding


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _some(numbers: list[int]) -> str:
    """At most ten of them."""
    return ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
