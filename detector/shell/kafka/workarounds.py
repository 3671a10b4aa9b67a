"""Everything that relies on private names of kafka-python 3.0.12, with the reason for each.

Another version may have renamed or changed what is used here, so the version is pinned exactly.
tests/unit/test_kafka_workarounds.py fails when another version is installed, when a private name is missing
or has another signature, and when another file of this package uses a private name. To move to another
version: read its code for each name used here, run tests/kafka, then change the pin and
`KAFKA_PYTHON_VERSION`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as kafka_errors
from kafka.consumer.fetcher import Fetcher
from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient
from kafka.protocol.metadata import CoordinatorType
from kafka.record.default_records import DefaultRecordBatch

from detector.core.records import Record
from detector.errors import NeedsOperator
from detector.ports import TopicIds
from detector.shell.kafka.record_batch import read_records

KAFKA_PYTHON_VERSION = "3.0.12"  # everything here was read and tested with this version

# What the broker collects before it answers a fetch. Large fetches cost less per record, but the first record
# after a pause must not wait.
_FETCH_BUSY = {"fetch_min_bytes": 32_768, "fetch_max_wait_ms": 10}
_FETCH_IDLE = {"fetch_min_bytes": 1, "fetch_max_wait_ms": 500}
_COMMIT_CHECK_S = 0.005  # interval between two checks whether a commit is done
_COMMIT_WAIT_S = 2.0  # maximum time that a join waits for a commit
_LOOKUP_INTERVAL_S = 0.1  # minimum interval between two lookups of a coordinator
_SENDER_STOP_S = 1.0  # maximum wait for a producer's thread


def ids_of(consumer: KafkaConsumer, topic: str) -> TopicIds:
    """Return the ids of cluster and topic that a consumer's metadata has; no public call has them.

    Brokers before 2.8 have no topic ids (KIP-516).
    """
    metadata = consumer._cluster
    topic_id = metadata.topic_id(topic)
    return TopicIds(metadata.cluster_id or "", "" if topic_id is None else str(topic_id))


def knows(consumer: KafkaConsumer, topic: str) -> bool:
    """Whether a consumer's metadata has a topic, without asking the broker: no public call tells."""
    return bool(consumer._cluster.partitions_for_topic(topic))


# --- connections ------------------------------------------------------------------------------------------


class NetClient(KafkaNetClient):  # type: ignore[misc]
    """The connections of one client, behaving as its producer expects."""

    def await_ready(self, node_id: Any, timeout_ms: int = 30_000) -> bool:
        """Return whether a node is ready.

        The library's method raises KafkaConnectionError when the node is not ready, but its producer expects
        False: after the exception it has lost the request to the unavailable coordinator, and the transaction
        waits for the answer for ever.
        """
        try:
            return bool(super().await_ready(node_id, timeout_ms))
        except kafka_errors.KafkaConnectionError:
            time.sleep(_LOOKUP_INTERVAL_S)  # runs on the producer's own thread, which would retry at once
            return False


# --- group membership -------------------------------------------------------------------------------------


class _UnreadJoin:
    """A join task that does not count as done until a poll has read its result."""

    is_done = False

    def __init__(self, join: Any) -> None:
        self._join = join

    def __getattr__(self, name: str) -> Any:
        return getattr(self._join, name)


def keep_unfinished_join(consumer: KafkaConsumer) -> None:
    """Make the next poll continue the join that the last poll had no time to wait for.

    Without this the client starts another join when the first one has ended between two polls. That makes
    every member join again, without end when polls are short (seen with two members and polls of 50 ms). And
    when the reason for the join was that partitions were added, the client forgets the reason, never takes
    its assignment and sleeps for ever (seen at start, when the topic's metadata came late).
    """
    coordinator = consumer._coordinator
    join = coordinator._join_task  # None: there is no join, or its result has been read
    if join is not None:
        coordinator.request_rejoin()
        if not isinstance(join, _UnreadJoin):
            coordinator._join_task = _UnreadJoin(join)


def limit_coordinator_lookups(consumer: KafkaConsumer) -> None:
    """Make the consumer look up its group's coordinator at most once per `_LOOKUP_INTERVAL_S`.

    Brokers name a dead coordinator until its session has expired, 9 s by default. The client notices that the
    coordinator is dead and asks again at once: about 600 requests and log lines per second.
    """
    coordinator = consumer._coordinator
    look_up, last_s = coordinator._send_group_coordinator_request, -_LOOKUP_INTERVAL_S

    async def look_up_later() -> Any:
        nonlocal last_s
        early_s = last_s + _LOOKUP_INTERVAL_S - time.monotonic()
        if early_s > 0:
            await coordinator._manager._net.sleep(early_s)
        last_s = time.monotonic()
        return await look_up()

    coordinator._send_group_coordinator_request = look_up_later


def delay_joins_during_commits(consumer: KafkaConsumer, committing: threading.Lock) -> None:
    """Make a join wait while `committing` is locked: a join ends the generation that the commit carries."""
    coordinator = consumer._coordinator
    prepare = coordinator._on_join_prepare_async

    async def prepare_after_commit(*args: Any, **options: Any) -> Any:
        until_s = time.monotonic() + _COMMIT_WAIT_S
        while committing.locked() and time.monotonic() < until_s:
            await coordinator._manager._net.sleep(_COMMIT_CHECK_S)
        return await prepare(*args, **options)

    coordinator._on_join_prepare_async = prepare_after_commit


def notice_fencing(consumer: KafkaConsumer, fenced: threading.Event) -> None:
    """Set an event when the group says that another process has this static member's identity.

    The client logs it, stops its heartbeats, and says nothing to whoever polls: on a quiet topic a fenced
    member stayed ready for good.
    """
    coordinator = consumer._coordinator
    send = coordinator._send_heartbeat_request

    async def send_and_notice() -> Any:
        try:
            return await send()
        except kafka_errors.FencedInstanceIdError:
            fenced.set()
            raise

    coordinator._send_heartbeat_request = send_and_notice


def is_joining(consumer: KafkaConsumer) -> bool:
    """Return whether the consumer joins its group, or is about to."""
    return bool(consumer._coordinator.need_rejoin())


# --- producers --------------------------------------------------------------------------------------------


def abandon(producer: KafkaProducer) -> None:
    """Stop a producer at once, whatever it is waiting for.

    `KafkaProducer.close` is not enough. With unsent messages it raises before it stops anything, and a thread
    that waits for a transaction never wakes up.

    1. Stop its thread without sending anything more.
    2. Fail the requests that other threads still wait for.
    3. Close it.
    """
    # Step 1
    producer._sender.force_close()
    producer._sender.join(_SENDER_STOP_S)
    # Step 2
    transactions = producer._transaction_manager
    if transactions is not None:
        transactions.authentication_failed(KafkaError("the producer was abandoned"))
    # Step 3
    with suppress(KafkaError):
        producer.close(timeout=0)


# --- administration ---------------------------------------------------------------------------------------


def send_to_coordinator(admin: KafkaAdminClient, transactional_id: str, request: Any) -> Any:
    """Send a request to the coordinator of a transactional id. The client has no method for some requests."""

    async def send() -> Any:
        nodes = await admin._find_coordinator_ids([transactional_id], key_type=CoordinatorType.TRANSACTION)
        return await admin._manager.send(request, node_id=nodes[transactional_id])

    return admin._manager.run(send)


def send_to_leader(admin: KafkaAdminClient, at: TopicPartition, request: Any) -> Any:
    """Send a request to the leader of a partition."""

    async def send() -> Any:
        [leader] = await admin._async_get_leader_for_partitions([at])
        return await admin._manager.send(request, node_id=leader)

    return admin._manager.run(send)


# --- fetches ----------------------------------------------------------------------------------------------


def tune_fetches(consumer: KafkaConsumer, *, busy: bool) -> None:
    """Let the broker collect more for each fetch while records keep coming. The client has no setter."""
    consumer._fetcher.config.update(_FETCH_BUSY if busy else _FETCH_IDLE)


def release_parked_records(consumer: KafkaConsumer) -> None:
    """Let records that were fetched before their partition was paused be delivered after it is resumed.

    The library parks them and takes them back when it holds no records of another partition. It asks whether
    that is None, but a used-up one stays there. Then a resumed partition would deliver nothing, for good.
    """
    fetcher = consumer._fetcher
    if not fetcher._next_partition_records:
        fetcher._next_partition_records = None


def read_batches_whole(consumer: KafkaConsumer) -> None:
    """Make one consumer return `Record`s, read as `_PartitionRecords` does."""
    consumer._fetcher.PartitionRecords = _PartitionRecords


class _PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """What one fetch returned for a partition, as `Record`s.

    Batches are selected as the library does it (aborted transactions, markers), but the records of a batch
    are read all at once: the library decodes them field by field, which takes six times as long as the rest
    of a poll.

    When records cannot be decoded the library raises CorruptRecordError once, without the offset. In the next
    poll it finds a decoder that has ended but is not drained, and loops for ever.
    """

    def _unpack_records(self, tp: Any, records: Any, *deserializers: Any) -> Iterator[Record]:
        try:
            while (batch := records.next_batch()) is not None:
                if type(batch) is not DefaultRecordBatch:  # an old format
                    rest = _Batches(batch, records)
                    yield from map(_record, super()._unpack_records(tp, rest, *deserializers))
                    return
                yield from self._read_batch(batch)
                self.next_fetch_offset = batch.next_offset
            self.drain()
        except Exception as error:
            self.drain()
            raise NeedsOperator(
                f"{tp.topic}/{tp.partition} cannot be read from offset {self.next_fetch_offset} on: {error}."
            ) from error

    def _read_batch(self, batch: DefaultRecordBatch) -> Iterator[Record]:
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
    """One batch, then those that `rest` still has."""

    def __init__(self, first: Any, rest: Any) -> None:
        self._first, self._rest = first, rest

    def next_batch(self) -> Any:
        batch, self._first = self._first, None
        return self._rest.next_batch() if batch is None else batch


def _record(record: Any) -> Record:
    headers = tuple((name, b"" if value is None else value) for name, value in record.headers)
    return Record(record.offset, record.timestamp, record.key, record.value, headers)
