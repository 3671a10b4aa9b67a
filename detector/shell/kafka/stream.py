"""The transactions topic as a member of a consumer group, and the commits of outputs and offsets."""

from __future__ import annotations

import logging
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

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
from detector.errors import BrokerUnavailable, CommitFailed, NeedsOperator
from detector.ports import Change, Commit, Committed, Message, Poll, TopicIds
from detector.shell import calls
from detector.shell.kafka.client import (
    CALL,
    CLOSE_S,
    CONSUMER_CLOSE_MS,
    SHORT_REQUEST_MS,
    admin_client,
    client_settings,
    left_ms,
    make_consumer,
    partitions_count,
    translated,
)
from detector.shell.kafka.ends import KafkaEnds
from detector.shell.kafka.probe import PROBE_ONE_S, PROBE_S, probe, rights_of
from detector.shell.kafka.publisher import Publisher
from detector.shell.kafka.transactions import Transactions, client_id, transactional_id
from detector.shell.kafka.workarounds import (
    delay_joins_during_commits,
    ids_of,
    is_joining,
    keep_unfinished_join,
    limit_coordinator_lookups,
    notice_fencing,
    release_parked_records,
    tune_fetches,
)

UNLIMITED_MS = sys.maxsize  # retention of a topic that keeps everything
_CHECK_AFTER_S = 2.0  # time without an answer after which a small request checks the broker
_SILENCE_MAX_S = 5.0  # time without an answer after which the broker is unavailable
_BACKLOG_SHARE = 0.5  # a poll with more than this share of poll_records_max: more records are waiting

_log = logging.getLogger(__name__)


class KafkaStream:
    """A `detector.ports.Stream`. It connects in `open` or in the first `poll`.

    Parameters
    ----------
    config
        The daemon's configuration.
    password, key_password
        Resolved values of `kafka.security.password` and `kafka.security.key_password`.

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
        self._timeout_s = config.kafka.request_timeout_ms / 1000
        self._exactly_once = config.delivery == "exactly_once"
        # A static member keeps its id over a restart, so that the new process aborts at once what a crash
        # left open. Other members have a new id per process, which is right since KIP-447: the membership
        # fences a former owner, and two replicas with one id would fence each other. Operators grant the
        # prefix. The client id names the same member: the group shows it, and so tells whose transactions
        # are alive.
        member = config.kafka.group_instance_id or uuid.uuid4().hex
        self.transactional_id = transactional_id(config.kafka.group_id, member)
        self._settings["client_id"] = client_id(member)
        self.taken_over = threading.Event()  # partitions are taken over: former owners may have died
        self._consumer: KafkaConsumer | None = None
        self._publisher = Publisher(config, self._settings, self.transactional_id)
        self._changes: deque[Change] = deque()
        self._sought: set[int] = set()  # partitions for which the caller has called `seek` since assignment
        self._answered_s = 0.0  # time of a broker's last answer, monotonic
        self._committing = threading.Lock()
        self._fenced = threading.Event()  # another process has our group_instance_id
        self._ids = TopicIds()  # as first seen
        self._polled = 0  # number of records of the last poll

    def open(self) -> None:
        """Connect. Does nothing when already connected; `poll` calls it.

        Raises
        ------
        CredentialsError
            A broker rejected the connection, or is not trusted, or does not allow the use of a topic.
        BrokerUnavailable
            No broker was reached, or a topic does not exist (it may be created later).
        """
        if self._consumer is not None:
            return
        rights = rights_of(self._config, self.transactional_id)
        probe(self._settings, {self._topic: "read"}, min(PROBE_S, self._timeout_s), rights)
        with self._translated("connect"):
            self._publisher.connect()
            kafka = self._config.kafka
            consumer = make_consumer(
                self._settings,
                group_id=kafka.group_id,
                group_instance_id=kafka.group_instance_id,
                session_timeout_ms=kafka.session_timeout_ms,
                heartbeat_interval_ms=min(3000, kafka.session_timeout_ms // 3),
                partition_assignment_strategy=[CooperativeStickyAssignor],
                max_poll_records=kafka.poll_records_max,
            )
            limit_coordinator_lookups(consumer)
            delay_joins_during_commits(consumer, self._committing)
            notice_fencing(consumer, self._fenced)
            consumer.subscribe([self._topic], listener=_Listener(self._changes))
            try:
                # Before joining: a leader that does not know the topic takes all partitions from all members.
                calls.within(self._timeout_s, lambda: consumer.partitions_for_topic(self._topic), name=CALL)
            except BaseException:
                consumer.close(timeout_ms=1)
                raise
        self._consumer, self._answered_s = consumer, time.monotonic()

    def poll(self, timeout_ms: int) -> Poll:
        """Wait up to `timeout_ms` for records or group changes.

        Records of a partition that `changes` assigns begin at an offset that the client has chosen: discard
        them and call `seek`.

        Raises
        ------
        BrokerUnavailable
            No broker has answered for some seconds; the error says which and why. Poll again later.
        CredentialsError
            A broker rejects the connection, or is not trusted.
        NeedsOperator
            The next record is no longer in the log (`LogGone`) or cannot be decoded, or another process has
            the same `group_instance_id`.
        """
        self.open()
        with self._translated("poll"):
            batches = self._records(timeout_ms)
            self._polled = sum(map(len, batches.values()))
            tune_fetches(self._client, busy=bool(batches))
            if batches:
                self._answered_s = time.monotonic()
            else:
                self._require_answers()
            if self._fenced.is_set():
                raise kafka_errors.FencedInstanceIdError(self._config.kafka.group_instance_id)
            self._require_same_topic()
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
            The number is unknown; the topic may have been deleted.
        """
        return partitions_count(self._client, self._config)

    def ids(self) -> TopicIds:
        """Ids of the cluster and of the topic that the consumer knows."""
        return ids_of(self._client, self._topic)

    def committed(self, partitions: Iterable[int]) -> dict[int, Committed | None]:
        """Read back what is committed, waiting for pending transactions.

        Raises
        ------
        BrokerUnavailable
            No answer in time. The transaction of a crashed member without `group_instance_id` stays open for
            `kafka.transaction_timeout_ms`.
        """
        deadline = time.monotonic() + self._timeout_s
        found: dict[int, Committed | None] = {}
        with self._translated("read committed offsets"):
            self._publisher.connect()  # first, as it aborts what a failed commit left pending
            self.taken_over.set()
            for partition in partitions:
                got = self._client.committed(self._at(partition), metadata=True, timeout_ms=left_ms(deadline))
                found[partition] = got and Committed(offset=got.offset, metadata=got.metadata)
                self._answered_s = time.monotonic()
        return found

    def beginning(self, partition: int) -> int:
        """Lowest offset still in the log."""
        at = self._at(partition)
        with self._translated("read the beginning"):
            offsets = self._client.beginning_offsets([at], timeout_ms=self._config.kafka.request_timeout_ms)
        return int(offsets[at])

    def start(self, partition: int) -> int:
        """Offset at which a partition without a committed offset begins, by configuration."""
        return self.beginning(partition) if self._config.start == "earliest" else self.log_end(partition)

    def seek(self, partition: int, offset: int) -> None:
        """Continue at `offset` with the next poll. Does nothing for a partition that was just revoked."""
        if self._assigned(partition):
            self._client.seek(self._at(partition), offset)
            self._sought.add(partition)

    def pause(self, partitions: Iterable[int]) -> None:
        """Deliver nothing from these partitions until `resume`. Ignores partitions that were just revoked."""
        self._client.pause(*(self._at(p) for p in partitions if self._assigned(p)))

    def resume(self, partitions: Iterable[int]) -> None:
        """Undo `pause`. Ignores partitions that were just revoked."""
        self._client.resume(*(self._at(p) for p in partitions if self._assigned(p)))

    def position(self, partition: int) -> int:
        """Offset of the next record to be fetched; may be past gaps (transaction markers, compaction).

        Raises
        ------
        BrokerUnavailable
            The partition is no longer assigned, or has no position yet.
        """
        with self._translated("read the position"):
            position = self._client.position(self._at(partition), timeout_ms=SHORT_REQUEST_MS)
        if position is None:
            raise BrokerUnavailable(f"{self._topic}/{partition} has no position yet.")
        return int(position)

    def log_end(self, partition: int) -> int:
        """Ask the broker for the offset after the last readable record; never below a committed offset.

        Raises
        ------
        BrokerUnavailable
            No answer in time.
        """
        at = self._at(partition)
        with self._translated("read the end"):
            offsets = self._client.end_offsets([at], timeout_ms=self._config.kafka.request_timeout_ms)
        return int(offsets[at])

    def retention_ms(self, topic: str) -> int | None:
        """Retention time of a topic, ms; None when the broker does not say."""

        def read_retention() -> int:
            resource = ConfigResource(ConfigResourceType.TOPIC, topic)
            with admin_client(self._settings) as admin:
                found = admin.describe_configs([resource], config_filter="all")["topic"][topic]
            kept = int(found["retention.ms"]["value"])
            return kept if kept >= 0 else UNLIMITED_MS

        try:
            return calls.within(self._timeout_s, read_retention, name=CALL)
        except (KafkaError, TimeoutError, KeyError):
            return None

    @property
    def commits_in_background(self) -> bool:
        """Whether a commit may run in a background thread while this one polls.

        Not with at_least_once, where the consumer commits. Not during a join, which ends the generation that
        a commit carries. Not without a backlog: with nothing else to do, a commit takes half the time.
        """
        backlog = self._polled > _BACKLOG_SHARE * self._config.kafka.poll_records_max
        return self._exactly_once and backlog and not is_joining(self._client)

    def commit(self, commit: Commit) -> None:
        """Publish and commit as one step (exactly_once) or in that order (at_least_once).

        Messages that are too large are cut (`size_limits`).

        Raises
        ------
        CommitFailed
            The commit was rejected, or its result is unknown: it may have happened.
        CredentialsError
            Not allowed to write to a topic, to commit for the group, or to use the transactional id.
        NeedsOperator
            Another process has the same `group_instance_id`, or a topic accepts only smaller messages.
        """
        deadline = time.monotonic() + self._timeout_s
        offsets = {}
        for partition, position in commit.positions.items():
            size = len(position.metadata.encode())
            assert size <= METADATA_BYTES_MAX, f"{size} bytes of offset metadata for partition {partition}"
            offsets[self._at(partition)] = OffsetAndMetadata(position.offset, position.metadata, -1)
        membership = commit.membership
        assert isinstance(membership, ConsumerGroupMetadata)
        if membership.generation_id < 0 or not membership.member_id:
            raise CommitFailed("This member was no longer in the group when it polled.")
        try:
            with self._committing, self._translated("commit"):
                producer = self._publisher.connect()
                calls.within(
                    deadline - time.monotonic(),
                    lambda: self._publish(producer, commit.messages, offsets, membership, deadline),
                    name=CALL,
                )
        except BrokerUnavailable as error:
            self._publisher.drop()
            raise CommitFailed(str(error)) from error
        except BaseException:
            self._publisher.drop()
            raise
        self._answered_s = time.monotonic()

    def settled(self) -> bool:
        """Whether the group is stable: this member knows its partitions, perhaps none."""
        consumer = self._consumer
        return consumer is not None and consumer.group_metadata().state is MemberState.STABLE

    def transactions(self) -> Transactions:
        """Return what sees and ends our group's transactions; for one thread."""
        return Transactions(self._config, self._settings, self.transactional_id)

    def ends(self) -> KafkaEnds:
        """Return what asks for the ends of the topic's partitions; for one thread."""
        return KafkaEnds(self._config, self._settings)

    @contextmanager
    def between_commits(self) -> Iterator[None]:
        """Keep commits waiting: inside, no transaction of ours is under way."""
        with self._committing:
            yield

    def close(self) -> None:
        """Leave within 5 s. Never raises. A static member keeps its partitions unless `leave_on_stop`."""
        kafka = self._config.kafka
        consumer, self._consumer = self._consumer, None

        def leave() -> None:
            self._publisher.drop()
            if consumer is None:
                return
            consumer.close(timeout_ms=CONSUMER_CLOSE_MS)
            # The client sends no LeaveGroup for a static member. Only an admin request removes it.
            if kafka.group_instance_id is not None and kafka.leave_on_stop:
                member = MemberToRemove(group_instance_id=kafka.group_instance_id, reason="leave_on_stop")
                with admin_client(self._settings | {"bootstrap_timeout_ms": 1500}) as admin:
                    admin.remove_group_members(kafka.group_id, [member])

        try:
            calls.within(CLOSE_S, leave, name=CALL)
        except Exception as error:  # noqa: BLE001 - the stop goes on whatever Kafka answers
            _log.warning("leaving the group failed: %s", error)

    # --- inside ---

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
        """Poll. A partition without any position gets the configured one, so that the others continue."""
        consumer = self._client
        keep_unfinished_join(consumer)
        release_parked_records(consumer)
        try:
            return consumer.poll(timeout_ms)  # type: ignore[no-any-return]
        except kafka_errors.NoOffsetForPartitionError as error:
            for at in error.args[0]:
                self.seek(at.partition, self.start(at.partition))
            return {}
        except kafka_errors.OffsetOutOfRangeError as error:
            # The caller decides whether and where to go on, and may poll for that. It gets an error, as this
            # poll may have lost records of other partitions; they are read again.
            for at in error.args[0]:
                consumer.seek(at, self.beginning(at.partition))
            if any(self._positioned(at.partition) for at in error.args[0]):
                raise
            # The client itself went to the committed offset.
            raise BrokerUnavailable("The committed offset is no longer in the log.") from error

    def _require_same_topic(self) -> None:
        now = self.ids()
        if not self._ids.topic:
            self._ids = now
        if now.topic not in ("", self._ids.topic):
            raise NeedsOperator(
                f"Topic {self._topic} was created anew (id {self._ids.topic}, now {now.topic}): its offsets "
                "name other events than those of the group. Stop all members and delete its offsets to "
                "start anew."
            )

    def _require_answers(self) -> None:
        """Raise when the broker is unavailable. A topic may just be quiet, so send a small request first."""
        silent_s = time.monotonic() - self._answered_s
        if silent_s < _CHECK_AFTER_S:
            return
        at = next(iter(self._client.assignment()), self._at(0))
        try:
            self._client.end_offsets([at], timeout_ms=SHORT_REQUEST_MS)
            self._answered_s = time.monotonic()
        except kafka_errors.RetriableError as error:  # includes timeouts
            if silent_s < _SILENCE_MAX_S:
                return
            probe(self._settings, {self._topic: "read"}, PROBE_ONE_S)  # names a topic that was deleted
            raise BrokerUnavailable(
                f"The bootstrap servers answer, but the advertised broker of {at.topic}/{at.partition} does "
                "not (check advertised.listeners, and whether the partition has a leader)."
            ) from error

    def _publish(
        self,
        producer: KafkaProducer,
        messages: Sequence[Message],
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        membership: ConsumerGroupMetadata,
        deadline: float,
    ) -> None:
        """Publish and commit. Runs in a helper thread, which may still run when `commit` has given up."""
        if self._exactly_once:
            self._publisher.transact(producer, messages, offsets, membership, deadline)
            return
        self._publisher.publish(producer, messages, deadline)
        if self._client.group_metadata()[:4] != membership[:4]:
            raise CommitFailed("The group has a new generation since the poll.")
        self._client.commit(offsets, timeout_ms=left_ms(deadline))

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        with translated(doing, self._config, self.transactional_id):
            yield


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Records what happened. Runs on the client's IO thread, so nothing here may block."""

    def __init__(self, changes: deque[Change]) -> None:
        self._changes = changes

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._record("assigned", assigned)

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._record("revoked", revoked)

    def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        self._record("lost", lost)

    def _record(
        self, kind: Literal["assigned", "revoked", "lost"], partitions: Collection[TopicPartition]
    ) -> None:
        if partitions:
            numbers = tuple(sorted(at.partition for at in partitions))
            self._changes.append(Change(kind=kind, partitions=numbers))
