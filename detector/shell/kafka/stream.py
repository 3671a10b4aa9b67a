"""Kafka: the transactions topic as a member of a group, and side topics read whole.

The only package that imports kafka-python (3.0.12). Rules, each with the trap that it avoids:

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
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType, MemberToRemove
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata

from detector.config.tree import Config
from detector.core.records import Record
from detector.core.recovery.journal import METADATA_BYTES_MAX
from detector.errors import (
    BrokerUnavailable,
    CommitFailed,
    CredentialsError,
)
from detector.ports import Change, Commit, Committed, Message, Poll
from detector.shell.kafka.client import (
    LEAVE_S,
    SILENCE_ASK_MS,
    admin_client,
    client_settings,
    left_ms,
    make,
    partitions_count,
    translated,
    within,
)
from detector.shell.kafka.probe import PROBE_ONE_S, PROBE_S, Use, probe
from detector.shell.kafka.size_limits import MESSAGE_BYTES_MAX, fitted
from detector.shell.kafka.transactions import Transactions, client_id, transactional_id
from detector.shell.kafka.workarounds import (
    abandon,
    join_after_commit,
    keep_join,
    look_at_leisure,
    read_whole,
)

UNLIMITED_MS = sys.maxsize  # retention of a topic that keeps everything
_ABORT_S = 1.0  # for an answer to an abort; without one the next producer or a timeout does it
_SILENCE_ASK_S = 2.0  # nothing heard for so long: ask for something small
_SILENCE_MAX_S = 5.0  # nothing heard for so long: the broker is away
_MANY = 0.5  # of the records that a poll may bring: more are waiting
# What the broker gathers for a fetch: a record costs the less the more come at once, but after a pause the
# first one must not wait.
_FLOWING = {"fetch_min_bytes": 32_768, "fetch_max_wait_ms": 10}
_IDLE = {"fetch_min_bytes": 1, "fetch_max_wait_ms": 500}
_log = logging.getLogger(__name__)


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
        # Operators grant the prefix. The client id names the same member, so that the others see in the group
        # whose transactions are alive.
        member = config.kafka.group_instance_id or uuid.uuid4().hex
        self.transactional_id = transactional_id(config.kafka.group_id, member)
        self._settings["client_id"] = client_id(member)
        self.taken_over = threading.Event()  # partitions are taken over: former owners may have died
        self._fenced = config.kafka.group_instance_id is not None  # our id may have had a producer before
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
            consumer = make(
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
            read_whole(consumer)
            look_at_leisure(consumer)
            join_after_commit(consumer, self._committing)
            consumer.subscribe([self._topic], listener=Listener(self._changes))
            try:
                # Before joining: a leader that does not know the topic yet takes everything from everybody.
                within(self._deadline_s, lambda: consumer.partitions_for_topic(self._topic))
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
        return partitions_count(self._client, self._config)

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
            self.taken_over.set()
            for partition in partitions:
                got = self._client.committed(self._at(partition), metadata=True, timeout_ms=left_ms(deadline))
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
            position = self._client.position(self._at(partition), timeout_ms=SILENCE_ASK_MS)
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
            with admin_client(self._settings) as admin:
                found = admin.describe_configs([resource], config_filter="all")["topic"][topic]
            kept = int(found["retention.ms"]["value"])
            return kept if kept >= 0 else UNLIMITED_MS

        try:
            return within(self._deadline_s, ask)
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
                within(
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

    def transactions(self) -> Transactions:
        """Return what sees and ends our group's transactions; for one thread."""
        return Transactions(self._config, self._settings, self.transactional_id)

    @contextmanager
    def between_commits(self) -> Iterator[None]:
        """Keep commits waiting: inside, no transaction of ours is under way."""
        with self._committing:
            yield

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
                with admin_client(self._settings | {"bootstrap_timeout_ms": 1500}) as admin:
                    admin.remove_group_members(kafka.group_id, [member])

        try:
            within(LEAVE_S, leave)
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
        keep_join(consumer)
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
            self._client.end_offsets([at], timeout_ms=SILENCE_ASK_MS)
            self._heard = time.monotonic()
        except kafka_errors.RetriableError as error:  # includes timeouts
            if silent_s < _SILENCE_MAX_S:
                return
            probe(self._settings, {}, PROBE_ONE_S)
            raise BrokerUnavailable(
                f"The bootstrap servers answer, but the brokers that they advertise do not for {at.topic}"
                f"/{at.partition} (advertised.listeners, or a partition without leader)."
            ) from error

    def _ensure_producer(self) -> KafkaProducer:
        """Return the producer; a new one fences its predecessor (rule 2).

        Not before all outputs have leaders: what the predecessor left open is aborted now, and a broker (4.3)
        that starts again leaves out the markers of partitions whose leader it does not know yet. What was
        aborted would then be committed with the next transaction, so it is mended before there is one.
        """
        if self._producer is None:
            self._probe(self._outputs())
            kafka = self._config.kafka
            transactional = {
                "transactional_id": self.transactional_id,
                "transaction_timeout_ms": kafka.transaction_timeout_ms,
            }
            producer = make(
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
                    if self._fenced:
                        within(self._deadline_s, self._mend_own)
            except BaseException:
                abandon(producer)
                raise
            self._producer, self._fenced = producer, True
        return self._producer

    def _mend_own(self) -> None:
        transactions = self.transactions()
        try:
            with transactions.connected():
                for one in transactions.mend(transactions.hanging(own_only=True)):
                    _log.warning("ended a hanging transaction of our own: %s", one)
        except CredentialsError as error:
            _log.warning("hanging transactions of our own were not looked for: %s", error)

    def _outputs(self) -> dict[str, Use]:
        topics = self._config.topics
        written = topics.alerts, topics.dead_letter, topics.scores, topics.exchange
        return {topic: "write" for topic in written if topic is not None}

    def _probe(self, uses: Mapping[str, Use]) -> None:
        probe(self._settings, uses, min(PROBE_S, self._deadline_s))

    def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            abandon(producer)

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
                within(_ABORT_S, producer.abort_transaction)
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
        self._client.commit(offsets, timeout_ms=left_ms(deadline))

    def _send_all(self, producer: KafkaProducer, messages: Iterable[Message]) -> list[Any]:
        sent = []
        for message in messages:
            fit = fitted(message, dead_letter=message.topic == self._config.topics.dead_letter)
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
        with translated(doing, self._config, self.transactional_id):
            yield


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]
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
