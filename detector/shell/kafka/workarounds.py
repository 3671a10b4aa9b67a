"""What works around kafka-python (3.0.12)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as kafka_errors
from kafka.consumer.fetcher import Fetcher
from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient
from kafka.record.default_records import DefaultRecordBatch

from detector.core.records import Record
from detector.errors import (
    NeedsOperator,
)
from detector.shell.kafka.record_batch import read_records

_COMMIT_LOOK_S = 0.005  # between two looks whether a commit is done
_COMMIT_WAIT_S = 2.0  # that a join waits for one
_LOOK_AGAIN_S = 0.1  # between two looks for the next coordinator while the last one is gone


class _UnreadJoin:
    """A join that counts as not done until a poll has read it."""

    is_done = False

    def __init__(self, join: Any) -> None:
        self._join = join

    def __getattr__(self, name: str) -> Any:
        return getattr(self._join, name)


def keep_join(consumer: KafkaConsumer) -> None:
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


def look_at_leisure(consumer: KafkaConsumer) -> None:
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


def join_after_commit(consumer: KafkaConsumer, committing: threading.Lock) -> None:
    """Let a join wait for a commit under way: it would end the generation that the commit carries."""
    coordinator = consumer._coordinator
    prepare = coordinator._on_join_prepare_async

    async def prepare_after_commit(*args: Any, **options: Any) -> Any:
        until_s = time.monotonic() + _COMMIT_WAIT_S
        while committing.locked() and time.monotonic() < until_s:
            await coordinator._manager._net.sleep(_COMMIT_LOOK_S)
        return await prepare(*args, **options)

    coordinator._on_join_prepare_async = prepare_after_commit


class Client(KafkaNetClient):  # type: ignore[misc]
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


def abandon(producer: KafkaProducer) -> None:
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


def read_whole(consumer: KafkaConsumer) -> None:
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
