"""Kafka: the transactions topic as a member of a group, and side topics read whole.

The only file that imports kafka-python (3.0.12). Rules, each with the trap that it avoids:

- **No call waits for ever.** What has a timeout of its own gets one; a transaction has none and runs on a
  helper thread with a deadline. A producer whose transaction failed or is overdue is never used again.
- **The next producer fences the last one.** It has the same transactional id: its initialisation aborts what
  the old one left open. That happens before anything committed is read back, so that no read can be overtaken
  by a transaction of our own.
- **A commit carries the membership that the poll saw** (KIP-447). A membership without an id is refused here:
  a member that was evicted has one like that, and the broker lets such a commit pass unchecked, for old
  clients' sake.
- **Listeners only write down what happened**: they run on the client's IO thread, where waiting raises.
- **Positions are ours.** Without a committed offset a partition begins at `start`; an offset that the log no
  longer has stops us (NeedsOperator) instead of silently going on elsewhere.
- **Nothing that a record contains stops us, and nothing that we publish is too large**: header names that are
  not UTF-8 are mended, what does not fit is cut (`_fitted`). What cannot be decoded at all (checksum, codec)
  needs an operator: to retry would change nothing, and the client would spin on it without end.
- **Every refusal has a sentence.** The clients retry a wrong password or certificate until they time out, and
  lose the cause on the way (a refusal and the end of the connection in one read are reported as the end
  only). So we ask once ourselves before they start, and again when nothing is heard any more: `probe`.
"""

from __future__ import annotations

import logging
import socket
import ssl
import sys
import threading
import time
import uuid
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from typing import Any, Literal, TypeVar

import msgspec
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import ACLOperation, ConfigResource, ConfigResourceType, MemberToRemove
from kafka.consumer.fetcher import Fetcher
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.net.compat import KafkaNetClient
from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.broker_version_data import BrokerVersionData
from kafka.protocol.metadata import ApiVersionsRequest, MetadataRequest
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslBytesRequest, SaslHandshakeRequest
from kafka.record.default_records import DefaultRecordBatch
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata

from detector.config.tree import Config
from detector.core.records import Headers, Record
from detector.core.recovery.journal import METADATA_BYTES_MAX
from detector.core.reporting.outputs import topic_names
from detector.errors import (
    BrokerUnavailable,
    CommitFailed,
    CredentialsError,
    DetectorError,
    LogGone,
    NeedsOperator,
)
from detector.ports import Change, Commit, Committed, Message, Poll
from detector.shell.kafka.record_batch import read_records

T = TypeVar("T")
Settings = dict[str, Any]
Use = Literal["read", "write"]
TimeOf = Callable[[bytes], float | None]

UNLIMITED_MS = sys.maxsize  # retention of a topic that keeps everything
MESSAGE_BYTES_MAX = 1_000_000  # key, value and headers; message.max.bytes (1,048,588) has room to frame it

_NOT_EMPTY = (  # what a broker says to offsets of somebody who is no member of a group that has some
    kafka_errors.CommitFailedError,
    kafka_errors.UnknownMemberIdError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.RebalanceInProgressError,
)
_ABORT_S = 1.0  # for an answer to an abort; without one the next producer or a timeout does it
_PROBE_S = 8.0  # all servers together: a cause is named within 10 s
_PROBE_ONE_S = 3.0  # one server; a host that drops our packets must not hide the others
_CAUSES_MAX = 3  # servers named in one sentence
_SILENCE_ASK_S = 2.0  # nothing heard for so long: ask for something small
_SILENCE_ASK_MS = 1500  # how long that answer may take
_SILENCE_MAX_S = 5.0  # nothing heard for so long: the broker is away
_MANY = 0.5  # of the records that a poll may bring: more are waiting
# What the broker gathers for a fetch: a record costs the less the more come at once, but after a pause the
# first one must not wait.
_FLOWING = {"fetch_min_bytes": 32_768, "fetch_max_wait_ms": 10}
_IDLE = {"fetch_min_bytes": 1, "fetch_max_wait_ms": 500}
_COMMIT_LOOK_S = 0.005  # between two looks whether a commit is done
_COMMIT_WAIT_S = 2.0  # that a join waits for one
_LOOK_AGAIN_S = 0.1  # between two looks for the next coordinator while the last one is gone
_LEAVE_S = 4.5  # close() returns within 5 s
_SIDE_RECORDS_MAX = 65_536  # recent records of a side topic kept in memory, and read at the start ...
_SIDE_BYTES_MAX = 64 << 20  # ... and their bytes; older ones are read again
_POLLS_MAX = 64  # of one refresh; the rest comes with the next
_HEADER_FRAME_BYTES = 8  # the two lengths beside each header, at most
_NOTES_BYTES = 256  # room for the headers that tell of cuts
_FACTS_MAX = 16  # detector_* headers of a dead letter, the last ones: ours come after the record's own ...
_FACT_BYTES_MAX = 4096  # ... and are short (the detail has 1,024 characters)
_TRACE_BYTES_MAX = {
    "traceparent": 64,
    "tracestate": 512,
}  # W3C: the first has 55, of the second so many count

_log = logging.getLogger(__name__)


def client_settings(config: Config, password: str | None = None, key_password: str | None = None) -> Settings:
    """Keywords that all of kafka-python's clients understand.

    Parameters
    ----------
    config
        The daemon's configuration.
    password, key_password
        The values of `kafka.security.password` and `key_password`, resolved.

    Raises
    ------
    CredentialsError
        A certificate or key file cannot be used.
    """
    kafka, security = config.kafka, config.kafka.security
    settings: Settings = {
        "bootstrap_servers": list(kafka.bootstrap_servers),
        "client_id": f"detector-{kafka.group_instance_id or kafka.group_id}",
        "security_protocol": security.protocol,
        "request_timeout_ms": kafka.request_timeout_ms,
        "bootstrap_timeout_ms": kafka.request_timeout_ms // 2,  # the other half is for what is asked then
        "connections_max_idle_ms": 540_000 + kafka.request_timeout_ms,  # must exceed request_timeout_ms
        "reconnect_backoff_max_ms": 1000,  # the default of 30 s would be added to every outage
        "metadata_max_age_ms": 60_000,  # added partitions are seen within a minute
        "api_version": kafka.api_version,
    }
    if security.protocol.endswith("SSL"):
        settings["ssl_context"] = _ssl_context(config, key_password)
    if security.protocol.startswith("SASL"):
        settings |= {
            "sasl_mechanism": security.sasl_mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": password,
        }
    return settings


def _ssl_context(config: Config, key_password: str | None) -> ssl.SSLContext:
    security = config.kafka.security
    name, path = "ca_file", security.ca_file
    try:
        context = ssl.create_default_context(cafile=security.ca_file)  # without one the system's
        context.check_hostname = security.check_hostname
        if security.cert_file is not None:
            name, path = "cert_file or key_file", security.cert_file
            # Never None: OpenSSL would ask for it on the terminal.
            context.load_cert_chain(security.cert_file, security.key_file, key_password or "")
    except OSError as error:  # ssl.SSLError is one
        raise CredentialsError(f"kafka.security.{name}: {path} cannot be used: {error}.") from error
    return context


# --- the transactions topic -------------------------------------------------------------------------------


class KafkaStream:
    """A `detector.ports.Stream`. Nothing is connected before `open` or the first `poll`.

    Parameters
    ----------
    config
        The daemon's configuration.
    password, key_password
        Resolved secrets of `kafka.security`.

    Raises
    ------
    CredentialsError
        A certificate or key file cannot be used.

    Examples
    --------
    >>> stream = KafkaStream(config)  # doctest: +SKIP
    >>> stream.poll(timeout_ms=100).changes  # doctest: +SKIP
    (Change(kind='assigned', partitions=(0, 1)),)
    """

    def __init__(self, config: Config, password: str | None = None, key_password: str | None = None) -> None:
        self._config = config
        self._topic = config.topics.transactions
        self._settings = client_settings(config, password, key_password)
        self._deadline_s = config.kafka.request_timeout_ms / 1000
        self._exactly_once = config.delivery == "exactly_once"
        # A static member keeps its id over a restart, so that the next incarnation aborts at once what a
        # crash left open. Without one, a fresh id per process is right since KIP-447: it is the membership
        # that fences a former owner, and an id that two replicas shared would make them fence each other.
        # Operators grant the prefix.
        self.transactional_id = (
            f"{config.kafka.group_id}-{config.kafka.group_instance_id or uuid.uuid4().hex}"
        )
        self._consumer: KafkaConsumer | None = None
        self._producer: KafkaProducer | None = None
        self._changes: deque[Change] = deque()
        self._sought: set[int] = set()  # partitions that our caller has positioned since it was given them
        self._heard = 0.0  # when a broker last answered, monotonic s
        self._committing = threading.Lock()
        self._polled = 0  # records of the last poll

    def open(self) -> None:
        """Connect, or say why not. `poll` does it too; does nothing when connected.

        Raises
        ------
        CredentialsError
            A broker was reached and refused us, or we do not trust it, or we may not use a topic.
        BrokerUnavailable
            No broker was reached, or a topic does not exist (it may be created later).
        """
        if self._consumer is not None:
            return
        self._probe({self._topic: "read"})
        with self._translated("connect"):
            self._ensure_producer()
            kafka = self._config.kafka
            consumer = _make(
                KafkaConsumer,
                self._settings,
                group_id=kafka.group_id,
                group_instance_id=kafka.group_instance_id,
                session_timeout_ms=kafka.session_timeout_ms,
                heartbeat_interval_ms=min(3000, kafka.session_timeout_ms // 3),
                partition_assignment_strategy=[CooperativeStickyAssignor],
                enable_auto_commit=False,
                isolation_level="read_committed",
                auto_offset_reset="none",
                allow_auto_create_topics=False,
                max_poll_records=kafka.poll_records_max,
                metrics_enabled=False,
            )
            _read_whole(consumer)
            _look_at_leisure(consumer)
            _join_after_commit(consumer, self._committing)
            consumer.subscribe([self._topic], listener=_Listener(self._changes))
            try:
                # Before joining: a leader that does not know the topic yet takes everything from everybody.
                _within(self._deadline_s, lambda: consumer.partitions_for_topic(self._topic))
            except BaseException:
                consumer.close(timeout_ms=1)
                raise
        self._consumer, self._heard = consumer, time.monotonic()

    def poll(self, timeout_ms: int) -> Poll:
        """Wait up to `timeout_ms` for records or group changes.

        Records of a partition that `changes` assigns start wherever the client had begun to read; seek, and
        throw them away.

        Raises
        ------
        BrokerUnavailable
            No broker has answered for some seconds; the message says which and why. Poll again later.
        CredentialsError
            The broker refuses us, or we do not trust it.
        NeedsOperator
            The next record is no longer in the log or cannot be decoded, or another process has our static
            identity.
        """
        self.open()
        with self._translated("poll"):
            batches = self._records(timeout_ms)
            self._polled = sum(map(len, batches.values()))
            self._client._fetcher.config.update(_FLOWING if batches else _IDLE)
            if batches:
                self._heard = time.monotonic()
            else:
                self._require_answers()
            membership = self._client.group_metadata()
        changes = tuple(self._changes.popleft() for _ in range(len(self._changes)))
        self._sought.difference_update(*(change.partitions for change in changes))
        return Poll(
            records={at.partition: batch for at, batch in batches.items()},
            changes=changes,
            membership=membership,
        )

    def partitions_count(self) -> int:
        """Partitions of the transactions topic, over all members.

        Raises
        ------
        BrokerUnavailable
            Not known; the topic may have been deleted.
        """
        return _partitions_count(self._client, self._config)

    def committed(self, partitions: Iterable[int]) -> dict[int, Committed | None]:
        """Read back what is committed, waiting for pending transactions.

        Raises
        ------
        BrokerUnavailable
            No answer in time. After a crash of a member without a static identity its transaction stays
            open until `kafka.transaction_timeout_ms` is over.
        """
        deadline = time.monotonic() + self._deadline_s
        found: dict[int, Committed | None] = {}
        with self._translated("read committed offsets"):
            self._ensure_producer()  # first: it aborts what a failed commit may have left pending
            for partition in partitions:
                got = self._client.committed(
                    self._at(partition), metadata=True, timeout_ms=_left_ms(deadline)
                )
                found[partition] = got and Committed(offset=got.offset, metadata=got.metadata)
                self._heard = time.monotonic()
        return found

    def beginning(self, partition: int) -> int:
        """Lowest offset still in the log."""
        at = self._at(partition)
        with self._translated("read the beginning"):
            offsets = self._client.beginning_offsets([at], timeout_ms=self._config.kafka.request_timeout_ms)
        return int(offsets[at])

    def start(self, partition: int) -> int:
        """Where a partition that was never committed begins, by configuration."""
        return self.beginning(partition) if self._config.start == "earliest" else self.log_end(partition)

    def seek(self, partition: int, offset: int) -> None:
        """Next poll continues at `offset`. Does nothing for a partition that was just taken away."""
        if self._assigned(partition):
            self._client.seek(self._at(partition), offset)
            self._sought.add(partition)

    def pause(self, partitions: Iterable[int]) -> None:
        """Deliver nothing from these partitions until `resume`; not from those that were just taken away."""
        self._client.pause(*(self._at(p) for p in partitions if self._assigned(p)))

    def resume(self, partitions: Iterable[int]) -> None:
        """Undo `pause`."""
        self._client.resume(*(self._at(p) for p in partitions if self._assigned(p)))

    def position(self, partition: int) -> int:
        """Offset of the next record to be fetched; may be past gaps (transaction markers, compaction).

        Raises
        ------
        BrokerUnavailable
            The partition is not ours any more, or has no position yet.
        """
        with self._translated("read the position"):
            position = self._client.position(self._at(partition), timeout_ms=_SILENCE_ASK_MS)
        if position is None:
            raise BrokerUnavailable(f"{self._topic}/{partition} has no position yet.")
        return int(position)

    def log_end(self, partition: int) -> int:
        """Offset after the last readable record, asked for now; never below what was committed.

        Raises
        ------
        BrokerUnavailable
            No answer in time.
        """
        at = self._at(partition)
        with self._translated("read the end"):
            offsets = self._client.end_offsets([at], timeout_ms=self._config.kafka.request_timeout_ms)
        return int(offsets[at])

    def end(self, partition: int) -> int | None:
        """Offset after the last record as last heard from the broker; None when not known yet.

        Records of open transactions are counted too: what comes with each fetch is the high watermark, and
        the client keeps nothing else.
        """
        return self._client.highwater(self._at(partition)) if self._assigned(partition) else None

    def retention_ms(self, topic: str) -> int | None:
        """How long a topic keeps its records; None when the broker does not tell us."""

        def ask() -> int:
            resource = ConfigResource(ConfigResourceType.TOPIC, topic)
            with _admin(self._settings) as admin:
                found = admin.describe_configs([resource], config_filter="all")["topic"][topic]
            kept = int(found["retention.ms"]["value"])
            return kept if kept >= 0 else UNLIMITED_MS

        try:
            return _within(self._deadline_s, ask)
        except (KafkaError, TimeoutError, KeyError):
            return None

    @property
    def commits_beside(self) -> bool:
        """Not in at_least_once, where the consumer commits, nor while joining, which ends the generation that
        a commit carries. Nor when there is no backlog to go on with: alone a commit takes half the time.
        """
        return self._exactly_once and self._behind and not self._client._coordinator.need_rejoin()

    def commit(self, commit: Commit) -> None:
        """Publish and commit as one step (exactly_once) or in that order (at_least_once).

        A message without key and value gets an empty value, as Kafka's client takes no such record. One above
        `MESSAGE_BYTES_MAX` is cut and says so in headers:

        - a dead letter loses the end of its value (`detector_cut_from_bytes`: how long it was); if that is
          not enough the headers of the record that it was (`detector_headers_cut`: how many); and at last
          the end of its key (`detector_key_cut_from_bytes`)
        - an alert has `{}` for its `event` (`detector_event_cut`: how long the body was); any other output,
          or an alert for which that is not enough, loses the end of its key

        A traceparent or tracestate above W3C's limits is left out of outputs.

        Raises
        ------
        CommitFailed
            Refused, overdue or unknown.
        CredentialsError
            Not allowed to write to a topic, to commit for the group, or to use the transactional id.
        NeedsOperator
            Another process has our static identity, or a topic takes only smaller messages.
        """
        deadline = time.monotonic() + self._deadline_s
        offsets = {}
        for partition, position in commit.positions.items():
            size = len(position.metadata.encode())
            assert size <= METADATA_BYTES_MAX, f"{size} bytes of offset metadata for partition {partition}"
            offsets[self._at(partition)] = OffsetAndMetadata(position.offset, position.metadata, -1)
        membership = commit.membership
        assert isinstance(membership, ConsumerGroupMetadata)
        if membership.generation_id < 0 or not membership.member_id:
            raise CommitFailed("This member had lost its place in the group when it polled.")
        try:
            with self._committing, self._translated("commit"):
                producer = self._ensure_producer()
                publish = self._transact if self._exactly_once else self._send_then_commit
                _within(
                    deadline - time.monotonic(),
                    lambda: publish(producer, commit.messages, offsets, membership, deadline),
                )
        except BrokerUnavailable as error:
            self._drop_producer()
            raise CommitFailed(str(error)) from error
        except BaseException:
            self._drop_producer()
            raise
        self._heard = time.monotonic()

    def settled(self) -> bool:
        """Whether the group is stable, that is, this member knows which partitions it has (maybe none)."""
        consumer = self._consumer
        return consumer is not None and consumer.group_metadata().state is MemberState.STABLE

    def close(self) -> None:
        """Leave within 5 s; never raises. A static member keeps its partitions unless `leave_on_stop`."""
        kafka = self._config.kafka
        consumer, self._consumer = self._consumer, None

        def leave() -> None:
            self._drop_producer()
            if consumer is None:
                return
            consumer.close(timeout_ms=1500)
            # The client never sends LeaveGroup for a static member; only an administrator's request frees it.
            if kafka.group_instance_id is not None and kafka.leave_on_stop:
                member = MemberToRemove(group_instance_id=kafka.group_instance_id, reason="leave_on_stop")
                with _admin(self._settings | {"bootstrap_timeout_ms": 1500}) as admin:
                    admin.remove_group_members(kafka.group_id, [member])

        try:
            _within(_LEAVE_S, leave)
        except Exception as error:  # noqa: BLE001 - stopping goes on whatever Kafka says
            _log.warning("leaving the group failed: %s", error)

    # --- inside ---

    @property
    def _behind(self) -> bool:
        """Whether the last poll brought so much that more is waiting."""
        return self._polled > _MANY * self._config.kafka.poll_records_max

    @property
    def _client(self) -> KafkaConsumer:
        if self._consumer is None:
            raise BrokerUnavailable("Not connected yet.")
        return self._consumer

    def _at(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)

    def _assigned(self, partition: int) -> bool:
        return self._at(partition) in self._client.assignment()

    def _positioned(self, partition: int) -> bool:
        return partition in self._sought and not any(partition in c.partitions for c in self._changes)

    def _records(self, timeout_ms: int) -> Mapping[TopicPartition, list[Record]]:
        """Poll; a partition without any position gets the configured one, so that the others flow on."""
        consumer = self._client
        _keep_join(consumer)
        try:
            return consumer.poll(timeout_ms)  # type: ignore[no-any-return]
        except kafka_errors.NoOffsetForPartitionError as error:
            for at in error.args[0]:
                self.seek(at.partition, self.start(at.partition))
            return {}
        except kafka_errors.OffsetOutOfRangeError as error:
            if any(self._positioned(at.partition) for at in error.args[0]):
                raise
            # The client went to what is committed by itself; whether and where to go on is for our caller to
            # say. An error, as records of others may have been lost with it: they are read again.
            for at in error.args[0]:
                consumer.seek(at, self.beginning(at.partition))
            raise BrokerUnavailable("What was committed is no longer in the log.") from error

    def _require_answers(self) -> None:
        """Notice that the broker is away; a quiet topic is not a dead one, so ask for something small."""
        silent_s = time.monotonic() - self._heard
        if silent_s < _SILENCE_ASK_S:
            return
        at = next(iter(self._client.assignment()), self._at(0))
        try:
            self._client.end_offsets([at], timeout_ms=_SILENCE_ASK_MS)
            self._heard = time.monotonic()
        except kafka_errors.RetriableError as error:  # includes timeouts
            if silent_s < _SILENCE_MAX_S:
                return
            probe(self._settings, {}, _PROBE_ONE_S)
            raise BrokerUnavailable(
                f"The bootstrap servers answer, but the brokers that they advertise do not for {at.topic}"
                f"/{at.partition} (advertised.listeners, or a partition without leader)."
            ) from error

    def _ensure_producer(self) -> KafkaProducer:
        """Return the producer; a new one fences its predecessor (rule 2).

        Not before all outputs have leaders: what the predecessor left open is aborted now, and a broker (4.3)
        that starts again leaves out the markers of partitions whose leader it does not know yet. What was
        aborted would then be committed with the next transaction.
        """
        if self._producer is None:
            self._probe(self._outputs())
            kafka = self._config.kafka
            transactional = {
                "transactional_id": self.transactional_id,
                "transaction_timeout_ms": kafka.transaction_timeout_ms,
            }
            producer = _make(
                KafkaProducer,
                self._settings,
                **(transactional if self._exactly_once else {}),
                acks="all",
                max_block_ms=kafka.request_timeout_ms // 2,
                delivery_timeout_ms=2 * kafka.request_timeout_ms,
                max_request_size=MESSAGE_BYTES_MAX + 4096,
                allow_auto_create_topics=False,
                metrics_enabled=False,
            )
            try:
                if self._exactly_once:
                    producer.init_transactions()
            except BaseException:
                _abandon(producer)
                raise
            self._producer = producer
        return self._producer

    def _outputs(self) -> dict[str, Use]:
        return dict.fromkeys(topic_names(self._config.topics).values(), "write")

    def _probe(self, uses: Mapping[str, Use]) -> None:
        probe(self._settings, uses, min(_PROBE_S, self._deadline_s))

    def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            _abandon(producer)

    def _transact(
        self,
        producer: KafkaProducer,
        messages: Sequence[Message],
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        membership: ConsumerGroupMetadata,
        deadline: float,
    ) -> None:
        """Commit in one transaction.

        1. The messages, until the broker has all of them. One that fails while the commit is under way makes
           the client (3.0.12) go on under a new epoch and call the commit done: nothing of it has happened,
           and the next one would move the offsets past outputs that nobody has.
        2. How far, checked against the group's generation (KIP-447).
        3. Both become visible.
        """
        sent: list[Any] = []
        try:
            producer.begin_transaction()
            # Step 1
            sent = self._send_all(producer, messages)
            self._await_all(producer, sent, deadline)
            # Step 2
            producer.send_offsets_to_transaction(offsets, membership)
            # Step 3
            producer.commit_transaction()
        except KafkaError:
            with suppress(Exception):  # else readers wait for its timeout, and a broker's restart meets it
                _within(_ABORT_S, producer.abort_transaction)
            # It says "in an error state"; why is with the message that caused it.
            for future in sent:
                if future.failed() and isinstance(future.exception, kafka_errors.BrokerResponseError):
                    raise future.exception from None
            raise

    def _send_then_commit(
        self,
        producer: KafkaProducer,
        messages: Sequence[Message],
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        membership: ConsumerGroupMetadata,
        deadline: float,
    ) -> None:
        self._await_all(producer, self._send_all(producer, messages), deadline)
        if self._client.group_metadata()[:4] != membership[:4]:
            raise CommitFailed("The group has moved on since the poll.")
        self._client.commit(offsets, timeout_ms=_left_ms(deadline))

    def _send_all(self, producer: KafkaProducer, messages: Iterable[Message]) -> list[Any]:
        sent = []
        for message in messages:
            fit = _fitted(message, dead_letter=message.topic == self._config.topics.dead_letter)
            sent.append(producer.send(fit.topic, value=fit.value, key=fit.key, headers=list(fit.headers)))
        return sent

    @staticmethod
    def _await_all(producer: KafkaProducer, sent: Iterable[Any], deadline: float) -> None:
        """Until the broker has them all; raises what the first one failed with."""
        producer.flush(timeout=max(0.0, deadline - time.monotonic()))
        for future in sent:
            future.get(timeout=0)

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        with _translated(doing, self._config, self.transactional_id):
            yield


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Write down what happened. Runs on the client's IO thread: nothing here may wait."""

    def __init__(self, changes: deque[Change]) -> None:
        self._changes = changes

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._note("assigned", assigned)

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._note("revoked", revoked)

    def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        self._note("lost", lost)

    def _note(
        self, kind: Literal["assigned", "revoked", "lost"], partitions: Collection[TopicPartition]
    ) -> None:
        if partitions:
            numbers = tuple(sorted(at.partition for at in partitions))
            self._changes.append(Change(kind=kind, partitions=numbers))


class _UnreadJoin:
    """A join that counts as not done until a poll has read it."""

    is_done = False

    def __init__(self, join: Any) -> None:
        self._join = join

    def __getattr__(self, name: str) -> Any:
        return getattr(self._join, name)


def _keep_join(consumer: KafkaConsumer) -> None:
    """Let the next poll take up the join that the last one had no time to wait for.

    By itself the client starts another one when that join has ended meanwhile, which makes every member join
    again, without end when polls are short (seen: two members, polls of 50 ms). And when added partitions
    were the reason to join, it forgets the reason, never takes its assignment, and sleeps for ever (seen at
    start, when the topic's metadata came late).
    """
    coordinator = consumer._coordinator
    join = coordinator._join_task  # None: no join, or read to its end
    if join is not None:
        coordinator.request_rejoin()
        if not isinstance(join, _UnreadJoin):
            coordinator._join_task = _UnreadJoin(join)


def _look_at_leisure(consumer: KafkaConsumer) -> None:
    """Let the consumer look for its group's coordinator no more often than each `_LOOK_AGAIN_S`.

    Brokers name a dead coordinator until its session is over, 9 s by default. The client (3.0.12) sees that
    it is dead and asks again at once: some 600 times and lines of log a second.
    """
    coordinator = consumer._coordinator
    look, last_s = coordinator._send_group_coordinator_request, -_LOOK_AGAIN_S

    async def look_at_leisure() -> Any:
        nonlocal last_s
        early_s = last_s + _LOOK_AGAIN_S - time.monotonic()
        if early_s > 0:
            await coordinator._manager._net.sleep(early_s)
        last_s = time.monotonic()
        return await look()

    coordinator._send_group_coordinator_request = look_at_leisure


def _join_after_commit(consumer: KafkaConsumer, committing: threading.Lock) -> None:
    """Let a join wait for a commit under way: it would end the generation that the commit carries."""
    coordinator = consumer._coordinator
    prepare = coordinator._on_join_prepare_async

    async def prepare_after_commit(*args: Any, **options: Any) -> Any:
        until_s = time.monotonic() + _COMMIT_WAIT_S
        while committing.locked() and time.monotonic() < until_s:
            await coordinator._manager._net.sleep(_COMMIT_LOOK_S)
        return await prepare(*args, **options)

    coordinator._on_join_prepare_async = prepare_after_commit


class _Client(KafkaNetClient):  # type: ignore[misc]
    """A client's connections, as its producer expects them."""

    def await_ready(self, node_id: Any, timeout_ms: int = 30_000) -> bool:
        """Whether a node is ready.

        The client (3.0.12) raises when it is not, its producer expects False: it then forgets the request for
        a coordinator that is gone, and the transaction waits for its answer without end.
        """
        try:
            return bool(super().await_ready(node_id, timeout_ms))
        except kafka_errors.KafkaConnectionError:
            time.sleep(_LOOK_AGAIN_S)  # on the producer's own thread, which would ask again at once
            return False


# --- records as the log has them --------------------------------------------------------------------------


def _read_whole(consumer: KafkaConsumer) -> None:
    """Let one consumer read records as `_PartitionRecords` does."""
    consumer._fetcher.PartitionRecords = _PartitionRecords


class _PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """What one fetch brought for a partition, as `Record`.

    Batches are chosen as the client does it (aborted transactions, markers), but their records are read all
    at once: by itself it decodes them number by number, six times as slow as the rest of a poll together.

    When something cannot be decoded the client raises CorruptRecordError once, without the offset; the next
    poll finds the decoder ended but not drained, and spins on it for ever (seen in 3.0.12).
    """

    def _unpack_records(self, tp: TopicPartition, records: Any, *deserializers: Any) -> Iterator[Record]:
        try:
            while (batch := records.next_batch()) is not None:
                if type(batch) is not DefaultRecordBatch:
                    rest = _Batches(batch, records)
                    yield from map(_record, super()._unpack_records(tp, rest, *deserializers))
                    return
                yield from self._read(batch)
                self.next_fetch_offset = batch.next_offset
            self.drain()
        except Exception as error:
            self.drain()
            raise NeedsOperator(
                f"{tp.topic}/{tp.partition} cannot be read on from offset {self.next_fetch_offset}: {error}"
            ) from error

    def _read(self, batch: DefaultRecordBatch) -> Iterator[Record]:
        if self.check_crcs and not batch.validate_crc():
            raise kafka_errors.CorruptRecordError(f"the batch at offset {batch.base_offset} fails its crc")
        self.leader_epoch = batch.leader_epoch
        if batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
        if batch.is_control_batch or self._is_batch_aborted(batch):
            return
        batch._maybe_uncompress()
        append_time = bool(batch.timestamp_type)
        for record in read_records(
            bytes(batch._buffer[batch._pos :]),
            batch.records_count,
            base_offset=batch.base_offset,
            base_timestamp_ms=batch.max_timestamp if append_time else batch.first_timestamp,
            append_time=append_time,
        ):
            self.next_fetch_offset = record.offset + 1
            yield record


class _Batches:
    """A batch of an old format and those behind it."""

    def __init__(self, first: Any, rest: Any) -> None:
        self._first, self._rest = first, rest

    def next_batch(self) -> Any:
        batch, self._first = self._first, None
        return self._rest.next_batch() if batch is None else batch


def _record(record: Any) -> Record:
    headers = tuple((name, b"" if value is None else value) for name, value in record.headers)
    return Record(record.offset, record.timestamp, record.key, record.value, headers)


# --- what does not fit ------------------------------------------------------------------------------------


def _fitted(message: Message, *, dead_letter: bool) -> Message:
    """Make a message as Kafka can take it: one that never fits would fail every commit (see `commit`)."""
    if message.key is None and message.value is None:
        message = replace(message, value=b"")
    if not dead_letter:
        message = replace(message, headers=_short_traces(message.headers))
    if _room(message.key, message.value, message.headers) >= 0:
        return message
    return _cut_dead_letter(message) if dead_letter else _cut_output(message)


def _room(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes that are left; negative: too large."""
    size = len(key or b"") + len(value or b"")
    size += sum(len(name.encode()) + len(text) + _HEADER_FRAME_BYTES for name, text in headers)
    return MESSAGE_BYTES_MAX - size


def _cut_dead_letter(message: Message) -> Message:
    """Give the room to our facts first, then to the key, the record's own headers, and the value."""
    key, value, headers = message.key, message.value, message.headers
    facts = tuple(
        (name, text)
        for name, text in headers
        if name.startswith("detector_") and len(name) + len(text) <= _FACT_BYTES_MAX
    )[-_FACTS_MAX:]
    notes: Headers = ()
    room = _room(None, None, facts) - _NOTES_BYTES
    if key is not None and len(key) > room:
        notes += (("detector_key_cut_from_bytes", _digits(len(key))),)
        key = key[:room]
    if _room(key, None, headers) < _NOTES_BYTES:
        notes += (("detector_headers_cut", _digits(len(headers) - len(facts))),)
        headers = facts
    room = _room(key, None, headers) - _NOTES_BYTES
    if value is not None and len(value) > room:
        notes = (("detector_cut_from_bytes", _digits(len(value))), *notes)
        value = value[:room]
    return replace(message, key=key, value=value, headers=headers + notes)


def _cut_output(message: Message) -> Message:
    """Leave out the event that an alert echoes; the rest of it is short. Then the key."""
    key, value, headers = message.key, message.value, message.headers
    body = msgspec.json.decode(value or b"{}", type=dict[str, msgspec.Raw])  # members stay as they are
    if "event" in body:
        headers += (("detector_event_cut", _digits(len(value or b""))),)
        value = msgspec.json.encode(body | {"event": msgspec.Raw(b"{}")})
    room = _room(None, value, headers) - _NOTES_BYTES
    if key is not None and len(key) > room:
        headers += (("detector_key_cut_from_bytes", _digits(len(key))),)
        key = key[: max(0, room)]
    return replace(message, key=key, value=value, headers=headers)


def _short_traces(headers: Headers) -> Headers:
    """Leave out trace headers that are longer than W3C has them, each or together."""
    room = dict(_TRACE_BYTES_MAX)
    kept = []
    for name, text in headers:
        kind = name.lower()
        if kind in room:
            if len(text) > room[kind]:
                continue
            room[kind] -= len(text) + 1  # several count as one, joined by a comma
        kept.append((name, text))
    return tuple(kept)


def _digits(number: int) -> bytes:
    return str(number).encode()


# --- side topics ------------------------------------------------------------------------------------------


class KafkaSideLog:
    """A `detector.ports.SideLog`: a topic of one partition. Connected at the first use.

    It follows the topic from some thousands of records before its end; older ones are read when they are
    asked for.

    A shard with a backlog must not see a label before the event that it names, or the label finds nothing. So
    a record with a time (`time_of`) blocks itself and all behind it until the shard's time has come to its
    own, or to the moment when it arrived (its log time, but not later than when we read it), whichever is
    earlier: nobody answers before his answer is in the topic, so a `time` in the future is a mistake, and
    holds up the others only until events of the present are reached. A record without a readable `time`
    blocks nothing, nor do those older than the last 65,536 that were later than all before them. Where events
    are always of another time than the clock's (a replay of last year's), answers must be dated in that time.

    Parameters
    ----------
    config
        The daemon's configuration.
    topic
        Which topic.
    time_of
        Reads a record's own time, s since the epoch; None: nothing has one, and nothing waits.
    password, key_password
        Resolved secrets of `kafka.security`.

    Raises
    ------
    CredentialsError
        A certificate or key file cannot be used.
    """

    def __init__(
        self,
        config: Config,
        topic: str,
        password: str | None = None,
        key_password: str | None = None,
        *,
        time_of: TimeOf | None = None,
    ) -> None:
        self._config = config
        self._time_of = time_of
        self._at = TopicPartition(topic, 0)
        self._settings = client_settings(config, password, key_password)
        self._consumer: KafkaConsumer | None = None
        self._recent: deque[tuple[int, bytes]] = deque()  # everything in [_recent_from, _end)
        self._recent_from = 0
        self._recent_bytes = 0
        self._end = 0
        # Time from which it may be seen (s), position: of each record that waits longer than all before it.
        self._peaks: deque[tuple[float, int]] = deque(maxlen=_SIDE_RECORDS_MAX)

    def refresh(self) -> None:
        """Read what has come since, without waiting.

        Raises
        ------
        BrokerUnavailable
            No broker was reached, or the topic does not exist (yet).
        CredentialsError
            The broker refuses us, or we do not trust it.
        NeedsOperator
            The topic has more than one partition, a record that cannot be decoded, or was made anew.
        """
        consumer = self._open()
        with self._translated("follow"):
            try:
                for _ in range(_POLLS_MAX):
                    batches = consumer.poll(timeout_ms=0)
                    for record in batches.get(self._at, ()):
                        self._keep(record)
                    if not batches:
                        break
                self._end = max(self._end, self._position(consumer))
            except kafka_errors.OffsetOutOfRangeError:
                # Retention was faster. Who needs what is gone is told by `read`.
                beginning = self.beginning()
                if beginning <= self._end:
                    raise
                self._begin(consumer, beginning)

    def end(self, event_time: float) -> int:
        """Position of the first record that must wait (class's text), else after the last one read."""
        self._open()
        found = bisect_right(self._peaks, event_time, key=lambda peak: peak[0])
        return self._peaks[found][1] if found < len(self._peaks) else self._end

    def read(self, start: int, stop: int) -> Sequence[tuple[int, bytes]]:
        """Position and value of the records in [start, stop).

        Raises
        ------
        BrokerUnavailable
            They cannot be read right now.
        NeedsOperator
            They are no longer in the topic, or cannot be decoded.
        """
        if start >= stop:
            return ()
        consumer = self._open()
        if start >= self._recent_from and stop <= self._end:
            return [entry for entry in self._recent if start <= entry[0] < stop]
        return self._read_again(consumer, start, stop)

    def beginning(self) -> int:
        """Lowest position still in the topic, asked for now."""
        consumer = self._open()
        with self._translated("read the beginning"):
            found = consumer.beginning_offsets([self._at], timeout_ms=self._config.kafka.request_timeout_ms)
        return int(found[self._at])

    def log_end(self) -> int:
        """Position after the last readable record, asked for now."""
        consumer = self._open()
        with self._translated("read the end"):
            found = consumer.end_offsets([self._at], timeout_ms=self._config.kafka.request_timeout_ms)
        return int(found[self._at])

    def close(self) -> None:
        """Let go of the connection; never raises."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(Exception):
                _within(_LEAVE_S, lambda: consumer.close(timeout_ms=1500))

    # --- inside ---

    def _open(self) -> KafkaConsumer:
        if self._consumer is not None:
            return self._consumer
        count = probe(
            self._settings,
            {self._at.topic: "read"},
            min(_PROBE_S, self._config.kafka.request_timeout_ms / 1000),
        )[self._at.topic]
        if count != 1:
            raise NeedsOperator(
                f"Topic {self._at.topic} has {count} partitions; a side topic needs exactly one, "
                "as a shard's journal notes one position in it."
            )
        with self._translated("connect"):
            consumer = _make(
                KafkaConsumer,
                self._settings,
                enable_auto_commit=False,
                isolation_level="read_committed",
                auto_offset_reset="none",
                allow_auto_create_topics=False,
                metrics_enabled=False,
            )
            _read_whole(consumer)
            ask_ms = self._config.kafka.request_timeout_ms // 2
            try:
                consumer.assign([self._at])
                end = consumer.end_offsets([self._at], timeout_ms=ask_ms)[self._at]
                beginning = consumer.beginning_offsets([self._at], timeout_ms=ask_ms)[self._at]
                self._begin(consumer, max(beginning, end - _SIDE_RECORDS_MAX))
            except BaseException:
                consumer.close(timeout_ms=0)
                raise
        self._consumer = consumer
        return consumer

    def _begin(self, consumer: KafkaConsumer, position: int) -> None:
        """Follow from `position` on, with nothing in memory."""
        consumer.seek(self._at, position)
        self._recent.clear()
        self._peaks.clear()
        self._recent_bytes = 0
        self._recent_from = self._end = position

    def _position(self, consumer: KafkaConsumer) -> int:
        position = consumer.position(self._at, timeout_ms=_SILENCE_ASK_MS)
        return self._end if position is None else int(position)

    def _keep(self, record: Any) -> None:
        position, value = record.offset, record.value
        self._end = position + 1
        if value is None:
            return
        own = None if self._time_of is None else self._time_of(value)
        if own is not None:
            seen_from = min(own, record.timestamp_ms / 1000, time.time())
            if not self._peaks or seen_from > self._peaks[-1][0]:
                self._peaks.append((seen_from, position))
        self._recent.append((position, value))
        self._recent_bytes += len(value)
        while len(self._recent) > _SIDE_RECORDS_MAX or self._recent_bytes > _SIDE_BYTES_MAX:
            dropped, gone = self._recent.popleft()
            self._recent_from = dropped + 1
            self._recent_bytes -= len(gone)

    def _read_again(self, consumer: KafkaConsumer, start: int, stop: int) -> Sequence[tuple[int, bytes]]:
        deadline = time.monotonic() + self._config.kafka.request_timeout_ms / 1000
        found: list[tuple[int, bytes]] = []
        with self._translated("read again"):
            end = consumer.end_offsets([self._at], timeout_ms=_left_ms(deadline))[self._at]
            if end < stop:
                raise NeedsOperator(
                    f"Topic {self._at.topic} ends at {end}, but records before {stop} have been applied: "
                    "it was made anew, or lost its end."
                )
            consumer.seek(self._at, start)
            try:
                while self._position(consumer) < stop:
                    for record in consumer.poll(timeout_ms=_left_ms(deadline)).get(self._at, ()):
                        if record.offset < stop and record.value is not None:
                            found.append((record.offset, record.value))
            finally:
                consumer.seek(self._at, self._end)
        return found

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        with _translated(f"{doing} {self._at.topic}", self._config):
            yield


class KafkaArchive:
    """A `detector.ports.Archive`: the transactions topic and the group's offsets, from outside the group.

    Parameters
    ----------
    config
        The daemon's configuration.
    password, key_password
        Resolved secrets of `kafka.security`.

    Raises
    ------
    CredentialsError
        A certificate or key file cannot be used.
    """

    def __init__(self, config: Config, password: str | None = None, key_password: str | None = None) -> None:
        self._config = config
        self._topic = config.topics.transactions
        self._settings = client_settings(config, password, key_password)
        self._deadline_s = config.kafka.request_timeout_ms / 1000
        self._consumer: KafkaConsumer | None = None

    def partitions_count(self) -> int:
        """Partitions of the transactions topic."""
        return _partitions_count(self._open(), self._config)

    def committed(self, partition: int) -> Committed | None:
        """What the group has committed, waiting for pending transactions."""
        consumer, at = self._open(), TopicPartition(self._topic, partition)
        with self._translated("read committed offsets"):
            got = consumer.committed(at, metadata=True, timeout_ms=self._config.kafka.request_timeout_ms)
        return None if got is None else Committed(offset=got.offset, metadata=got.metadata)

    def beginning(self, partition: int) -> int:
        """Lowest offset still in the log."""
        consumer, at = self._open(), TopicPartition(self._topic, partition)
        with self._translated("read the beginning"):
            return int(consumer.beginning_offsets([at], timeout_ms=self._config.kafka.request_timeout_ms)[at])

    def records(self, partition: int, start: int, stop: int) -> Iterator[Sequence[Record]]:
        """Records in [start, stop), ascending, in pieces."""
        consumer, at = self._open(), TopicPartition(self._topic, partition)
        with self._translated("read the log"):
            end = int(consumer.end_offsets([at], timeout_ms=self._config.kafka.request_timeout_ms)[at])
            consumer.assign([at])
            consumer.seek(at, start)
            heard_s = time.monotonic()
            while (position := consumer.position(at, timeout_ms=_SILENCE_ASK_MS)) is not None:
                if position >= min(stop, end):
                    return
                batch = consumer.poll(timeout_ms=1000).get(at, ())
                if batch:
                    heard_s = time.monotonic()
                    yield [record for record in batch if record.offset < stop]
                elif time.monotonic() - heard_s > self._deadline_s:
                    break
        raise BrokerUnavailable(f"{self._topic}/{partition} could not be read to offset {min(stop, end)}.")

    def commit(self, partition: int, position: Committed) -> None:
        """Move the group, which must have no members.

        Raises
        ------
        NeedsOperator
            It has.
        BrokerUnavailable
        """
        consumer, at = self._open(), TopicPartition(self._topic, partition)
        offsets = {at: OffsetAndMetadata(position.offset, position.metadata, -1)}
        with self._translated("move the group"):
            try:
                consumer.commit(offsets, timeout_ms=self._config.kafka.request_timeout_ms)
            except _NOT_EMPTY as error:
                group = self._config.kafka.group_id
                raise NeedsOperator(
                    f"Group {group} has members: stop all of them first, then try again."
                ) from error

    def close(self) -> None:
        """Let go of the connection; never raises."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(Exception):
                _within(_LEAVE_S, lambda: consumer.close(timeout_ms=1500))

    # --- inside ---

    def _open(self) -> KafkaConsumer:
        if self._consumer is None:
            probe(self._settings, {self._topic: "read"}, min(_PROBE_S, self._deadline_s))
            with self._translated("connect"):
                self._consumer = _make(
                    KafkaConsumer,
                    self._settings,
                    group_id=self._config.kafka.group_id,
                    enable_auto_commit=False,
                    isolation_level="read_committed",
                    auto_offset_reset="none",
                    allow_auto_create_topics=False,
                    metrics_enabled=False,
                )
            _read_whole(self._consumer)
        return self._consumer

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        with _translated(doing, self._config):
            yield


# --- calls and errors -------------------------------------------------------------------------------------


def _partitions_count(consumer: KafkaConsumer, config: Config) -> int:
    topic = config.topics.transactions
    with _translated("count partitions", config):
        # From the metadata at hand; where they lack the topic it asks, without a timeout of its own.
        known = _within(config.kafka.request_timeout_ms / 1000, lambda: consumer.partitions_for_topic(topic))
    if not known:
        raise BrokerUnavailable(f"Topic {topic} does not exist.")
    return len(known)


def _left_ms(deadline: float) -> int:
    """Milliseconds until `deadline` (monotonic s); at least one, as 0 means for ever in some calls.

    Raises
    ------
    KafkaTimeoutError
        It is over.
    """
    left_ms = int((deadline - time.monotonic()) * 1000)
    if left_ms <= 0:
        raise KafkaTimeoutError("no answer in time")
    return left_ms


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Run `call` on a helper thread and wait so long for it.

    Raises
    ------
    TimeoutError
        It is overdue. The thread stays behind until the call returns.
    """
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            answer.set_exception(error)

    threading.Thread(target=work, name="kafka-call", daemon=True).start()
    return answer.result(timeout=max(0.0, seconds))


def _make(kind: Callable[..., Any], settings: Settings, **more: Any) -> Any:
    """Build one of kafka-python's clients; one that cannot connect would leave its IO thread running."""
    made: list[_Client] = []

    def remember(**options: Any) -> _Client:
        made.append(_Client(**options))
        return made[-1]

    try:
        return kind(kafka_client=remember, **settings, **more)
    except BaseException:
        for client in made:
            client.close()
        raise


@contextmanager
def _admin(settings: Settings) -> Iterator[KafkaAdminClient]:
    admin = _make(KafkaAdminClient, settings)
    try:
        yield admin
    finally:
        admin.close()


def _abandon(producer: KafkaProducer) -> None:
    """Stop a producer at once, whatever it is waiting for.

    Its `close` is not enough: with unsent messages it raises before it stops anything, and who waits for a
    transaction is never told.

    1. Its threads end without sending anything more.
    2. Who still waits for it is told.
    3. It is closed for itself too.
    """
    # Step 1
    producer._sender.force_close()
    producer._sender.join(1.0)
    # Step 2
    transactions = producer._transaction_manager
    if transactions is not None:
        transactions.authentication_failed(KafkaError("this producer was given up"))
    # Step 3
    with suppress(KafkaError):
        producer.close(timeout=0)


@contextmanager
def _translated(doing: str, config: Config, transactional_id: str = "") -> Iterator[None]:
    """Turn what kafka-python raises into our errors."""
    try:
        yield
    except (KafkaError, TimeoutError) as error:
        raise _our_error(doing, config, transactional_id, error) from error


def _our_error(doing: str, config: Config, transactional_id: str, error: BaseException) -> DetectorError:
    kafka, text = config.kafka, str(error) or type(error).__name__
    match error:
        case kafka_errors.TopicAuthorizationFailedError():
            return CredentialsError(f"Not allowed to {doing}: {_refused_topics(error, config)}.")
        case kafka_errors.GroupAuthorizationFailedError():
            return CredentialsError(f"Not allowed to {doing}: group {kafka.group_id} needs READ.")
        case kafka_errors.TransactionalIdAuthorizationFailedError():
            return CredentialsError(
                f"Not allowed to {doing}: transactional id {transactional_id} needs WRITE and DESCRIBE "
                f"(grant the prefix {kafka.group_id})."
            )
        case kafka_errors.AuthorizationError() | kafka_errors.SaslAuthenticationFailedError():
            return CredentialsError(f"Not allowed to {doing}: {text}.")
        case kafka_errors.OffsetOutOfRangeError() | kafka_errors.LogTruncationError():
            return LogGone(
                f"Could not {doing}: the records that come next are no longer in the log ({text}); "
                "they were deleted before they were read."
            )
        case kafka_errors.FencedInstanceIdError():
            return NeedsOperator(
                f"Another process is member {kafka.group_instance_id} of group {kafka.group_id}; "
                "kafka.group_instance_id must be different for each replica."
            )
        case kafka_errors.InconsistentGroupProtocolError():
            return NeedsOperator(
                f"Group {kafka.group_id} has members that are not ours (no common assignor); "
                "use another kafka.group_id."
            )
        case kafka_errors.InvalidSessionTimeoutError():
            return NeedsOperator(
                f"The broker does not allow kafka.session_timeout_ms: {kafka.session_timeout_ms} "
                "(group.min.session.timeout.ms, group.max.session.timeout.ms)."
            )
        case kafka_errors.MessageSizeTooLargeError() | kafka_errors.RecordListTooLargeError():
            return NeedsOperator(
                f"Could not {doing}: a topic takes only smaller messages; allow {MESSAGE_BYTES_MAX + 4096} "
                "bytes (max.message.bytes)."
            )
        case TimeoutError():
            return BrokerUnavailable(f"Could not {doing}: no answer in {kafka.request_timeout_ms} ms.")
        case _ if doing == "commit":
            return CommitFailed(f"Could not commit: {text}")
        case _:
            return BrokerUnavailable(f"Could not {doing}: {text}")


def _refused_topics(error: KafkaError, config: Config) -> str:
    """Name the topics in an error that carries a set of them, or nothing."""
    named = next((set(arg) for arg in error.args if isinstance(arg, set | frozenset | list)), None)
    topics = sorted(map(str, named or {name for name in config.topics.model_dump().values() if name}))
    return f"topic {', '.join(topics)} refuses us"


# --- why a connection fails -------------------------------------------------------------------------------


def probe(settings: Settings, uses: Mapping[str, Use], timeout_s: float) -> dict[str, int]:
    """Connect once to the first bootstrap server that can be used, step by step, and look at some topics.

    Parameters
    ----------
    settings
        From `client_settings`.
    uses
        Topics, and what we need to do with them.
    timeout_s
        Longest wait for everything, seconds.

    Returns
    -------
    dict
        Number of partitions of each topic.

    Raises
    ------
    CredentialsError
        A server was reached and refused us, or we do not trust it, or we may not use a topic.
    BrokerUnavailable
        No server was reached, or a topic does not exist.
    """
    deadline = time.monotonic() + timeout_s
    causes: list[DetectorError] = []
    for address in settings["bootstrap_servers"]:
        left_s = min(_PROBE_ONE_S, deadline - time.monotonic())
        if left_s <= 0:
            break
        try:
            return _Probe(address, settings, time.monotonic() + left_s).run(uses)
        except _TopicTrouble as trouble:
            raise trouble.error from None  # the other servers would say the same
        except (CredentialsError, BrokerUnavailable) as error:
            causes.append(error)
    kind = CredentialsError if any(isinstance(c, CredentialsError) for c in causes) else BrokerUnavailable
    raise kind(" ".join(str(cause) for cause in islice(causes, _CAUSES_MAX)))


class _TopicTrouble(Exception):
    """The server is fine, a topic is not."""

    def __init__(self, error: DetectorError) -> None:
        super().__init__(str(error))
        self.error = error


class _Probe:
    """One attempt at one server over a plain blocking socket. Never shows the password."""

    def __init__(self, address: str, settings: Settings, deadline: float) -> None:
        host, _, port = address.rpartition(":")
        self._address, self._host, self._port = address, host.strip("[]"), int(port)
        self._settings = settings
        self._deadline = deadline
        self._protocol: str = settings["security_protocol"]
        self._tls = self._protocol.endswith("SSL")

    def run(self, uses: Mapping[str, Use]) -> dict[str, int]:
        """Connect, encrypt, introduce ourselves, authenticate, look at the topics."""
        with self._connect() as plain, self._encrypt(plain) as sock:
            wire = self._greet(sock)
            if self._protocol.startswith("SASL"):
                self._authenticate(wire)
            return self._look(wire, uses)

    def _connect(self) -> socket.socket:
        try:
            return socket.create_connection((self._host, self._port), timeout=self._left_s())
        except socket.gaierror as error:
            raise BrokerUnavailable(f"{self._address}: no such host ({error.strerror}).") from error
        except ConnectionRefusedError as error:
            raise BrokerUnavailable(f"{self._address}: connection refused.") from error
        except TimeoutError as error:
            raise BrokerUnavailable(f"{self._address}: host does not answer.") from error
        except OSError as error:
            raise BrokerUnavailable(f"{self._address}: {error.strerror or error}.") from error

    def _encrypt(self, plain: socket.socket) -> socket.socket:
        if not self._tls:
            return plain
        context: ssl.SSLContext = self._settings["ssl_context"]
        try:
            return context.wrap_socket(plain, server_hostname=self._host)
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message or str(error)
            raise CredentialsError(f"{self._address}: its certificate is not trusted: {reason}.") from error
        except (ssl.SSLEOFError, ConnectionError) as error:
            if self._speaks_plaintext():
                raise CredentialsError(
                    f"{self._address}: the listener speaks no TLS, but kafka.security.protocol is "
                    f"{self._protocol}."
                ) from error
            raise BrokerUnavailable(
                f"{self._address}: closed the connection during the TLS handshake."
            ) from error
        except ssl.SSLError as error:
            raise CredentialsError(f"{self._address}: no TLS with it: {error.reason or error}.") from error
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"{self._address}: no answer to the TLS handshake; it hangs, or is no TLS listener."
            ) from error

    def _greet(self, sock: socket.socket) -> _Wire:
        wire = _Wire(sock, self._settings["client_id"], self._left_s)
        try:
            wire.greet()
        except ssl.SSLError as error:  # TLS 1.3: the server judges our certificate after the handshake
            raise CredentialsError(
                f"{self._address}: refuses our client certificate, or misses one (kafka.security.cert_file): "
                f"{error.reason or error}."
            ) from error
        except (ConnectionError, KafkaError) as error:
            if self._tls:
                raise CredentialsError(
                    f"{self._address}: closed the connection after the TLS handshake; does it ask for a "
                    "client certificate (kafka.security.cert_file)?"
                ) from error
            if self._speaks_tls():
                raise CredentialsError(
                    f"{self._address}: the listener speaks TLS, but kafka.security.protocol is "
                    f"{self._protocol}."
                ) from error
            raise BrokerUnavailable(
                f"{self._address}: closed the connection at the first request; is it Kafka?"
            ) from error
        except TimeoutError as error:
            raise BrokerUnavailable(f"{self._address}: connected, but no answer; it hangs.") from error
        return wire

    def _authenticate(self, wire: _Wire) -> None:
        name = self._settings["sasl_mechanism"]
        who = f"user {self._settings['sasl_plain_username']} by {name}"
        try:
            answer = wire.ask(SaslHandshakeRequest(mechanism=name, max_version=1))
            if answer.error_code != 0 or name not in answer.mechanisms:
                offered = ", ".join(answer.mechanisms) or "no SASL at all"
                raise CredentialsError(f"{self._address}: does not offer {name}, but {offered}.")
            mechanism = get_sasl_mechanism(name)(host=self._host, **self._settings)
            request = SaslAuthenticateRequest if answer.API_VERSION == 1 else SaslBytesRequest
            while not mechanism.is_done():
                answer = wire.ask(request(mechanism.auth_bytes()))
                if answer.error_code != 0:
                    raise CredentialsError(
                        f"{self._address}: refuses {who}: {answer.error_message or 'authentication failed'}."
                    )
                mechanism.receive(answer.auth_bytes)
            if not mechanism.is_authenticated():
                raise CredentialsError(f"{self._address}: refuses {who}.")
        except TimeoutError as error:
            raise BrokerUnavailable(f"{self._address}: no answer to authentication.") from error
        except (OSError, ValueError, KafkaError) as error:
            # ValueError: the server could not prove that it knows the password either.
            raise CredentialsError(f"{self._address}: refuses {who} ({type(error).__name__}).") from error

    def _look(self, wire: _Wire, uses: Mapping[str, Use]) -> dict[str, int]:
        request = MetadataRequest(
            topics=[MetadataRequest.MetadataRequestTopic(name=name) for name in uses],
            allow_auto_topic_creation=False,
            include_topic_authorized_operations=True,
            max_version=9,  # topics by name
        )
        try:
            answer = wire.ask(request)
        except TimeoutError as error:
            raise BrokerUnavailable(f"{self._address}: no answer about its topics.") from error
        except (OSError, KafkaError) as error:
            hint = "" if self._protocol.startswith("SASL") else "; does it ask for SASL?"
            raise CredentialsError(f"{self._address}: closed the connection unauthenticated{hint}") from error
        return {topic.name: self._check(topic, uses[topic.name]) for topic in answer.topics}

    def _check(self, topic: Any, use: Use) -> int:
        kind = kafka_errors.for_code(topic.error_code)
        needed = ACLOperation.READ if use == "read" else ACLOperation.WRITE
        allowed = getattr(topic, "topic_authorized_operations", None) or 0
        told = allowed > 0  # brokers before 2.3 do not tell; then the refusal comes with the first use
        if kind is kafka_errors.TopicAuthorizationFailedError or (told and not allowed >> needed.value & 1):
            raise _TopicTrouble(
                CredentialsError(f"Not allowed to {use} topic {topic.name} (needs {needed.name}).")
            )
        if kind is kafka_errors.UnknownTopicOrPartitionError:
            raise _TopicTrouble(BrokerUnavailable(f"Topic {topic.name} does not exist."))
        if kind is not kafka_errors.NoError:
            raise _TopicTrouble(BrokerUnavailable(f"Topic {topic.name} is not available ({kind.__name__})."))
        if use == "write" and any(partition.leader_id < 0 for partition in topic.partitions):
            raise _TopicTrouble(BrokerUnavailable(f"Topic {topic.name} has partitions without a leader."))
        return len(topic.partitions)

    def _speaks_plaintext(self) -> bool:
        with suppress(OSError, KafkaError), self._connect() as sock:
            _Wire(sock, self._settings["client_id"], self._left_s).greet()
            return True
        return False

    def _speaks_tls(self) -> bool:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is said over it
        with (
            suppress(OSError),
            self._connect() as sock,
            context.wrap_socket(sock, server_hostname=self._host),
        ):
            return True
        return False

    def _left_s(self) -> float:
        return max(0.01, self._deadline - time.monotonic())


class _Wire:
    """Kafka's requests and answers over a blocking socket, one at a time."""

    def __init__(self, sock: socket.socket, client_id: str, left_s: Callable[[], float]) -> None:
        self._sock = sock
        self._left_s = left_s
        self._frames = KafkaProtocol(client_id=client_id)
        self._versions: BrokerVersionData | None = None

    def greet(self) -> None:
        """Learn which versions of which requests the broker takes."""
        answer = self.ask(ApiVersionsRequest(version=0))
        self._versions = BrokerVersionData(
            api_versions={key.api_key: (key.min_version, key.max_version) for key in answer.api_keys}
        )

    def ask(self, request: Any) -> Any:
        """Send one request and wait for its answer.

        Raises
        ------
        OSError
            Among them ConnectionError when closed, TimeoutError, ssl.SSLError.
        KafkaError
            What came back is not Kafka's protocol.
        """
        if request.API_VERSION is None:
            assert self._versions is not None
            request.API_VERSION = self._versions.api_version(request)
        self._frames.send_request(request)
        self._sock.settimeout(self._left_s())
        self._sock.sendall(self._frames.send_bytes())
        while True:
            self._sock.settimeout(self._left_s())
            data = self._sock.recv(65536)
            if not data:
                raise ConnectionResetError("closed by the other side")
            for _, answer in self._frames.receive_bytes(data):
                return answer
