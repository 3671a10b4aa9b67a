"""A side topic: read whole by every process, outside of any group."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors

from detector.config.tree import Config
from detector.errors import BrokerUnavailable, CredentialsError, DetectorError, NeedsOperator
from detector.ports import TopicIds
from detector.shell.kafka.client import (
    SHORT_REQUEST_MS,
    client_settings,
    close_consumer,
    left_ms,
    make_consumer,
    translated,
)
from detector.shell.kafka.probe import PROBE_ONE_S, PROBE_S, probe
from detector.shell.kafka.workarounds import ids_of, knows

TimeOf = Callable[[bytes], float | None]

_RECENT_RECORDS_MAX = 65_536  # maximum number of recent records in memory, and read at the start
_RECENT_BYTES_MAX = 64 << 20  # maximum size of their values; older records are read again from the topic
_ASK_AGAIN_S = 2.0  # between two looks for a topic that is gone
_POLLS_MAX = 64  # maximum number of polls in one refresh; the next one continues


class KafkaSideLog:
    """A `detector.ports.SideLog`: a topic of one partition. It connects with the first call.

    The log follows the topic from 65,536 records before its end. It reads older records when they are asked
    for.

    A shard with a backlog must not see a label before the event that the label names, or the label finds
    nothing. So a record with a time (`time_of`) holds back itself and all later records until the shard's
    event time has reached the record's own time or its time of arrival, whichever is earlier. The time of
    arrival is the record's log time, or the time when it was read if that is earlier. Nobody labels an event
    before it happened, so a time in the future is a mistake. It holds back others only until the shard
    reaches events of the present. A record without a readable time holds back nothing. Of the records that
    are later than all before them, only the last 65,536 hold back others. When the events are always of
    another time than the clock's (a replay of last year's events), labels must carry times of that period.

    Parameters
    ----------
    config
        The daemon's configuration.
    topic
        Name of the topic.
    time_of
        Reads a record's own time, s since the epoch. None: records have no time, and none is held back.
    password, key_password
        Resolved values of `kafka.security.password` and `kafka.security.key_password`.

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
        self._gone: tuple[float, DetectorError] | None = None  # monotonic s of the last look, what it found
        self._recent: deque[tuple[int, bytes]] = deque()  # all records in [_recent_from, _end)
        self._ids = TopicIds()  # when the consumer was opened
        self._recent_from = 0
        self._recent_bytes = 0
        self._end = 0
        # (time from which it is visible (s), position) of each record that is later than all before it.
        self._peaks: deque[tuple[float, int]] = deque(maxlen=_RECENT_RECORDS_MAX)

    def refresh(self) -> None:
        """Read new records, without waiting.

        Raises
        ------
        BrokerUnavailable
            No broker was reached, or the topic does not exist (yet, or any more).
        CredentialsError
            The broker rejects the connection, or is not trusted.
        NeedsOperator
            The topic has more than one partition, has a record that cannot be decoded, or was recreated.
        """
        consumer = self._open()
        now = ids_of(consumer, self._at.topic).topic
        if self._ids.topic and now and now != self._ids.topic:
            raise NeedsOperator(
                f"Topic {self._at.topic} was created anew (id {self._ids.topic}, now {now}): its positions "
                "name other records than those that the journals have."
            )
        self._require_topic(consumer)
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
                # Retention deleted records before they were read. `read` raises for whoever needs them.
                beginning = self.beginning()
                if beginning <= self._end:
                    raise
                self._begin(consumer, beginning)

    def ids(self) -> TopicIds:
        """Return the ids of the cluster and of the topic that the consumer knows."""
        return ids_of(self._open(), self._at.topic)

    def end(self, event_time: float) -> int:
        """Return the position of the first record that is held back, else the one after the last record."""
        self._open()
        found = bisect_right(self._peaks, event_time, key=lambda peak: peak[0])
        return self._peaks[found][1] if found < len(self._peaks) else self._end

    def read(self, start: int, stop: int) -> Sequence[tuple[int, bytes]]:
        """Return position and value of the records in [start, stop).

        Raises
        ------
        BrokerUnavailable
            They cannot be read now.
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
        """Ask the broker for the lowest position still in the topic."""
        consumer = self._open()
        with self._translated("read the beginning"):
            found = consumer.beginning_offsets([self._at], timeout_ms=self._config.kafka.request_timeout_ms)
        return int(found[self._at])

    def log_end(self) -> int:
        """Ask the broker for the position after the last readable record."""
        consumer = self._open()
        with self._translated("read the end"):
            found = consumer.end_offsets([self._at], timeout_ms=self._config.kafka.request_timeout_ms)
        return int(found[self._at])

    def close(self) -> None:
        """Close the connection. Never raises."""
        consumer, self._consumer = self._consumer, None
        close_consumer(consumer)

    # --- inside ---

    def _open(self) -> KafkaConsumer:
        if self._consumer is not None:
            return self._consumer
        count = probe(
            self._settings,
            {self._at.topic: "read"},
            min(PROBE_S, self._config.kafka.request_timeout_ms / 1000),
        )[self._at.topic]
        if count != 1:
            raise NeedsOperator(
                f"Topic {self._at.topic} has {count} partitions; a side topic must have exactly one, "
                "as a shard's journal records one position in it."
            )
        with self._translated("connect"):
            consumer = make_consumer(self._settings)
            ask_ms = self._config.kafka.request_timeout_ms // 2
            try:
                consumer.assign([self._at])
                end = consumer.end_offsets([self._at], timeout_ms=ask_ms)[self._at]
                beginning = consumer.beginning_offsets([self._at], timeout_ms=ask_ms)[self._at]
                self._begin(consumer, max(beginning, end - _RECENT_RECORDS_MAX))
            except BaseException:
                consumer.close(timeout_ms=0)
                raise
        self._consumer = consumer
        self._ids = ids_of(consumer, self._at.topic)
        return consumer

    def _require_topic(self, consumer: KafkaConsumer) -> None:
        """Raise if the topic was deleted: a consumer only finds no records then."""
        if knows(consumer, self._at.topic):
            self._gone = None
            return
        if self._gone is not None and time.monotonic() - self._gone[0] < _ASK_AGAIN_S:
            raise self._gone[1]
        try:
            probe(self._settings, {self._at.topic: "read"}, PROBE_ONE_S)
        except (BrokerUnavailable, CredentialsError) as error:
            self._gone = time.monotonic(), error
            raise

    def _begin(self, consumer: KafkaConsumer, position: int) -> None:
        """Follow the topic from `position`, with no records in memory."""
        consumer.seek(self._at, position)
        self._recent.clear()
        self._peaks.clear()
        self._recent_bytes = 0
        self._recent_from = self._end = position

    def _position(self, consumer: KafkaConsumer) -> int:
        position = consumer.position(self._at, timeout_ms=SHORT_REQUEST_MS)
        return self._end if position is None else int(position)

    def _keep(self, record: Any) -> None:
        position, value = record.offset, record.value
        self._end = position + 1
        if value is None:
            return
        own = None if self._time_of is None else self._time_of(value)
        if own is not None:
            visible_from = min(own, record.timestamp_ms / 1000, time.time())
            if not self._peaks or visible_from > self._peaks[-1][0]:
                self._peaks.append((visible_from, position))
        self._recent.append((position, value))
        self._recent_bytes += len(value)
        while len(self._recent) > _RECENT_RECORDS_MAX or self._recent_bytes > _RECENT_BYTES_MAX:
            dropped, gone = self._recent.popleft()
            self._recent_from = dropped + 1
            self._recent_bytes -= len(gone)

    def _read_again(self, consumer: KafkaConsumer, start: int, stop: int) -> Sequence[tuple[int, bytes]]:
        deadline = time.monotonic() + self._config.kafka.request_timeout_ms / 1000
        found: list[tuple[int, bytes]] = []
        with self._translated("read again"):
            end = consumer.end_offsets([self._at], timeout_ms=left_ms(deadline))[self._at]
            if end < stop:
                raise NeedsOperator(
                    f"Topic {self._at.topic} ends at {end}, but records before {stop} have been applied: "
                    "it was recreated, or lost its last records."
                )
            consumer.seek(self._at, start)
            try:
                while self._position(consumer) < stop:
                    for record in consumer.poll(timeout_ms=left_ms(deadline)).get(self._at, ()):
                        if record.offset < stop and record.value is not None:
                            found.append((record.offset, record.value))
            finally:
                consumer.seek(self._at, self._end)
        return found

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        with translated(f"{doing} {self._at.topic}", self._config):
            yield
