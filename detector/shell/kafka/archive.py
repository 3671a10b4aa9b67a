"""Read the transactions topic and the group's offsets from outside the group."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from detector.config.tree import Config
from detector.core.records import Record
from detector.errors import (
    BrokerUnavailable,
    NeedsOperator,
)
from detector.ports import Committed, TopicIds
from detector.shell.kafka.client import (
    SHORT_REQUEST_MS,
    client_settings,
    close_consumer,
    make_consumer,
    partitions_count,
    translated,
)
from detector.shell.kafka.probe import PROBE_S, probe
from detector.shell.kafka.workarounds import ids_of

_HAS_MEMBERS = (  # how a broker rejects offsets from outside of a group that has members
    kafka_errors.CommitFailedError,
    kafka_errors.UnknownMemberIdError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.RebalanceInProgressError,
)


class KafkaArchive:
    """A `detector.ports.Archive`. It connects with the first call.

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
    """

    def __init__(self, config: Config, password: str | None = None, key_password: str | None = None) -> None:
        self._config = config
        self._topic = config.topics.transactions
        self._settings = client_settings(config, password, key_password)
        self._timeout_s = config.kafka.request_timeout_ms / 1000
        self._consumer: KafkaConsumer | None = None

    def partitions_count(self) -> int:
        """Return the number of partitions of the transactions topic."""
        return partitions_count(self._open(), self._config)

    def ids(self) -> TopicIds:
        """Return the ids that the consumer's metadata has."""
        return ids_of(self._open(), self._topic)

    def committed(self, partition: int) -> Committed | None:
        """Return what the group has committed, waiting for pending transactions."""
        consumer, at = self._open(), TopicPartition(self._topic, partition)
        with self._translated("read committed offsets"):
            got = consumer.committed(at, metadata=True, timeout_ms=self._config.kafka.request_timeout_ms)
        return None if got is None else Committed(offset=got.offset, metadata=got.metadata)

    def beginning(self, partition: int) -> int:
        """Return the lowest offset still in the log."""
        consumer, at = self._open(), TopicPartition(self._topic, partition)
        with self._translated("read the beginning"):
            return int(consumer.beginning_offsets([at], timeout_ms=self._config.kafka.request_timeout_ms)[at])

    def offset_at(self, partition: int, time_s: float) -> int:
        """Return the offset of the first record since a time, s since the epoch; else the log's end."""
        consumer, at = self._open(), TopicPartition(self._topic, partition)
        timeout_ms = self._config.kafka.request_timeout_ms
        with self._translated("look up a time"):
            if found := consumer.offsets_for_times({at: int(time_s * 1000)}, timeout_ms=timeout_ms).get(at):
                return int(found.offset)
            return int(consumer.end_offsets([at], timeout_ms=timeout_ms)[at])

    def records(self, partition: int, start: int, stop: int) -> Iterator[Sequence[Record]]:
        """Yield the records in [start, stop), ascending, in batches."""
        consumer, at = self._open(), TopicPartition(self._topic, partition)
        with self._translated("read the log"):
            end = int(consumer.end_offsets([at], timeout_ms=self._config.kafka.request_timeout_ms)[at])
            consumer.assign([at])
            consumer.seek(at, start)
            answered_s = time.monotonic()
            while (position := consumer.position(at, timeout_ms=SHORT_REQUEST_MS)) is not None:
                if position >= min(stop, end):
                    return
                batch = consumer.poll(timeout_ms=1000).get(at, ())
                if batch:
                    answered_s = time.monotonic()
                    yield [record for record in batch if record.offset < stop]
                elif time.monotonic() - answered_s > self._timeout_s:
                    break
        raise BrokerUnavailable(f"{self._topic}/{partition} could not be read to offset {min(stop, end)}.")

    def commit(self, partition: int, position: Committed) -> None:
        """Commit for the group, which must have no members.

        Raises
        ------
        NeedsOperator
            The group has members.
        BrokerUnavailable
            No answer in time.
        """
        consumer, at = self._open(), TopicPartition(self._topic, partition)
        offsets = {at: OffsetAndMetadata(position.offset, position.metadata, -1)}
        with self._translated("move the group"):
            try:
                consumer.commit(offsets, timeout_ms=self._config.kafka.request_timeout_ms)
            except _HAS_MEMBERS as error:
                group = self._config.kafka.group_id
                raise NeedsOperator(
                    f"Group {group} has members: stop all of them first, then try again."
                ) from error

    def close(self) -> None:
        """Close the connection. Never raises."""
        consumer, self._consumer = self._consumer, None
        close_consumer(consumer)

    # --- inside ---

    def _open(self) -> KafkaConsumer:
        if self._consumer is None:
            probe(self._settings, {self._topic: "read"}, min(PROBE_S, self._timeout_s))
            with self._translated("connect"):
                self._consumer = make_consumer(self._settings, group_id=self._config.kafka.group_id)
        return self._consumer

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        with translated(doing, self._config):
            yield
